output "dns_name" {
  description = "The load balancer's name; point the UI's name at it in your DNS."
  value       = aws_lb.this.dns_name
}

output "arn_suffix" {
  description = "The load balancer in metrics."
  value       = aws_lb.this.arn_suffix
}

output "target_group_arn" {
  description = "The target group of the webserver."
  # ECS takes a target group only once a listener forwards to it.
  value      = aws_lb_target_group.webserver.arn
  depends_on = [aws_lb_listener.https]
}

output "target_group_arn_suffix" {
  description = "The target group in metrics."
  value       = aws_lb_target_group.webserver.arn_suffix
}

output "security_group_id" {
  description = "The load balancer's security group."
  value       = aws_security_group.this.id
}
