variable "name" {
  description = "The server's name."
  type        = string
}

variable "database" {
  description = "The database in it."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets in at least two zones."
  type        = list(string)
}

variable "clients" {
  description = "Security groups that may connect, by a name."
  type        = map(string)
}

variable "key_arn" {
  description = "The key of KMS that encrypts the disk, the secret and Performance Insights."
  type        = string
}

variable "engine_version" {
  description = "Major version of PostgreSQL; minor ones are installed by RDS."
  type        = string
}

variable "instance_class" {
  description = "Size of the server."
  type        = string
}

variable "storage_gb" {
  description = "Gigabytes to begin with; the disk grows up to five times."
  type        = number
}

variable "multi_az" {
  description = "True for a second server in another zone."
  type        = bool
}

variable "backup_days" {
  description = "Days that the server can be restored to."
  type        = number
}

variable "deletion_protection" {
  description = "True so that `terraform destroy` fails, and a last snapshot is taken where it is allowed."
  type        = bool
}

variable "recovery_days" {
  description = "Days that the deleted secret can be restored for: 0, or 7 to 30."
  type        = number
}

variable "password_version" {
  description = "Raise it by one for a new password; restart the services afterwards."
  type        = number
}
