output "host" {
  description = "The server's name in the network."
  value       = aws_db_instance.this.address
}

output "instance_id" {
  description = "The server's name for metrics."
  value       = aws_db_instance.this.identifier
}

output "database" {
  description = "The database."
  value       = aws_db_instance.this.db_name
}

output "secret_arn" {
  description = "The secret, a JSON object with username and password."
  value       = aws_secretsmanager_secret.this.arn
}

output "secret_name" {
  description = "The secret's name, as `secret://aws/<name>#password` has it."
  value       = aws_secretsmanager_secret.this.name
}

output "security_group_id" {
  description = "The server's security group."
  value       = aws_security_group.this.id
}

output "user" {
  description = "The user of the platform."
  value       = local.user
}
