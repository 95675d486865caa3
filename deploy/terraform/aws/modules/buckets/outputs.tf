output "names" {
  description = "Bucket names by use: ingestion, processed, uploads, runs, and quarantine where there is one."
  value       = { for use, bucket in aws_s3_bucket.this : use => bucket.id }
}

output "arns" {
  description = "Bucket ARNs by use."
  value       = { for use, bucket in aws_s3_bucket.this : use => bucket.arn }
}

output "access_name" {
  description = "The bucket of access logs."
  value       = aws_s3_bucket.access.id
  # A load balancer tries to write when it is created.
  depends_on = [aws_s3_bucket_policy.access]
}

output "queue_url" {
  description = "The queue that new uploads are told to."
  value       = aws_sqs_queue.uploads.id
}

output "queue_arn" {
  description = "The ARN of that queue."
  value       = aws_sqs_queue.uploads.arn
}

output "unread_queue_name" {
  description = "The queue of messages that were received ten times and never acknowledged."
  value       = aws_sqs_queue.unread.name
}

output "lifecycle_rules" {
  description = "Lifecycle rules by bucket; null for what no rule does. The lake's upkeep has to agree with them."
  value = {
    for use in keys(local.names) : use => {
      expire_days     = local.expire[use]
      noncurrent_days = var.noncurrent_days
    }
  }
}
