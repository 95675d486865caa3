output "data_arn" {
  description = "The key of buckets and the queue."
  value       = aws_kms_key.data.arn
}

output "operation_arn" {
  description = "The key of secrets, logs, databases and alarms."
  value       = aws_kms_key.operation.arn
}
