output "bucket" {
  description = "Name of the bucket."
  value       = module.bucket.name
}
