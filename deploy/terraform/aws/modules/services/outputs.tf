output "cluster_name" {
  description = "The cluster."
  value       = aws_ecs_cluster.this.name
}

output "security_group_ids" {
  description = "Security groups by process."
  value       = { for name, group in aws_security_group.this : name => group.id }
}

output "log_groups" {
  description = "Log groups by process."
  value       = { for name, group in aws_cloudwatch_log_group.this : name => group.name }
}

output "run_task_definition" {
  description = "The family of the tasks that runs are."
  value       = aws_ecs_task_definition.this["run"].family
}

output "services" {
  description = "Names of the services."
  value       = [for service in aws_ecs_service.this : service.name]
}
