output "topic_arn" {
  description = "The topic of alarms."
  value       = aws_sns_topic.this.arn
}

output "filters" {
  description = "Patterns of the metric filters by name."
  value       = { for name, filter in local.filters : name => filter.pattern }
}

output "namespace" {
  description = "The namespace of the metrics."
  value       = local.namespace
}
