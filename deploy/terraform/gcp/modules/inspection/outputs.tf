output "topic" {
  description = "The topic, as dlp.inspect.topic has it."
  value       = google_pubsub_topic.this.id
}
