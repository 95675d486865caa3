output "balancer_dns_name" {
  description = "Point the name in `url` at it: an alias or CNAME record in your DNS."
  value       = module.balancer.dns_name
}

output "registry_url" {
  description = "Push the image here."
  value       = module.registry.url
}

output "buckets" {
  description = "Buckets by use."
  value       = module.buckets.names
}

output "lifecycle_rules" {
  description = "What the rules of each bucket remove, in days; null for nothing."
  value       = module.buckets.lifecycle_rules
}

output "uploads_queue_url" {
  description = "The queue that uploads are told to."
  value       = module.buckets.queue_url
}

output "secrets" {
  description = "Names of the secrets that wait for their values."
  value       = module.secrets.names
}

output "database_secrets" {
  description = "Names of the secrets of the databases, which have their values."
  value       = merge({ storage = module.storage.secret_name }, local.warehouse == null ? {} : { warehouse = local.warehouse.secret_name })
}

output "roles" {
  description = "Roles by component."
  value       = module.roles.role_arns
}

output "execution_role" {
  description = "The role of ECS's agent."
  value       = module.roles.execution_role_arn
}

output "cluster" {
  description = "The ECS cluster."
  value       = module.services.cluster_name
}

output "run_network" {
  description = "Network of the tasks that runs are, for `aws ecs run-task`."
  value       = { subnets = local.network.private_subnet_ids, security_group = module.services.security_group_ids["run"] }
}

output "log_groups" {
  description = "Log groups by process."
  value       = module.services.log_groups
}

output "alarm_topic" {
  description = "The topic of alarms."
  value       = module.alarms.topic_arn
}

output "metric_filters" {
  description = "Patterns of the metric filters by name."
  value       = module.alarms.filters
}

output "environment" {
  description = "Environment variables of the processes, without secrets."
  value       = local.environment
}

output "dashboard" {
  description = "QuickSight's dashboard, where there is one."
  value       = one(module.quicksight[*].dashboard_id)
}
