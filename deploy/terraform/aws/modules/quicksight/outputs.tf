output "queries" {
  description = "SQL of the data sets by name."
  value       = { for name, set in local.data_sets : name => trimspace(set.sql) }
}

output "columns" {
  description = "Columns of the data sets by name."
  value       = { for name, set in local.data_sets : name => [for column in set.columns : column.name] }
}

output "dashboard_id" {
  description = "The dashboard."
  value       = aws_quicksight_dashboard.this.dashboard_id
}

output "security_group_id" {
  description = "The security group of QuickSight's network interfaces."
  value       = aws_security_group.this.id
}
