output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnets in two zones, without addresses that can be reached from outside."
  value       = aws_subnet.private[*].id
}
