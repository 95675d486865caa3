variable "name" {
  description = "Name of the load balancer."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in two zones."
  type        = list(string)
}

variable "allowed_cidrs" {
  description = "Networks that users come from, as they reach this one: by VPN, Direct Connect or peering."
  type        = list(string)
}

variable "webserver_security_group_id" {
  description = "The webserver's security group."
  type        = string
}

variable "certificate_arn" {
  description = "The certificate in ACM for the UI's name."
  type        = string
}

variable "oidc" {
  description = "The identity provider; client_secret_id is a secret of Secrets Manager, whose whole text is the client's secret."
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
    client_secret_id       = string
    scope                  = string
  })
}

variable "access_log_bucket" {
  description = "The bucket of access logs."
  type        = string
}

variable "deletion_protection" {
  description = "True so that `terraform destroy` fails."
  type        = bool
}
