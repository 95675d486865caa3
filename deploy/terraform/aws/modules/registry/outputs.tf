output "arn" {
  description = "The repository, for the policy of what may pull from it."
  value       = aws_ecr_repository.this.arn
}

output "url" {
  description = "The address that images are pushed to."
  value       = aws_ecr_repository.this.repository_url
}
