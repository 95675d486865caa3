output "bucket" {
  description = "Name of the upload bucket."
  value       = module.uploads.name
}

output "quarantine" {
  description = "Name of the quarantine's bucket."
  value       = module.quarantine.name
}

output "subscription" {
  description = "The subscription, as `subscription` of a watch has it."
  value       = google_pubsub_subscription.this.id
}
