output "role_arns" {
  description = "Roles of tasks by name."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
  # A task that starts before its policies are attached would be refused.
  depends_on = [aws_iam_role_policy_attachment.this]
}

output "execution_role_arn" {
  description = "The role of ECS's agent."
  value       = aws_iam_role.execution.arn
  depends_on  = [aws_iam_role_policy.execution]
}

output "components" {
  description = "Policies by role."
  value       = local.roles
}
