output "datasets" {
  description = "Names of the datasets."
  value       = [for dataset in google_bigquery_dataset.this : dataset.dataset_id]
}
