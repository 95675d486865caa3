output "ingestion" {
  description = "Name of the bucket of the ingestion zone."
  value       = module.bucket["ingestion"].name
}

output "processed" {
  description = "Name of the bucket of the processed zone."
  value       = module.bucket["processed"].name
}
