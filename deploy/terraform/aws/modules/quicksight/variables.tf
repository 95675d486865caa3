variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "account_id" {
  description = "The account."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets in two zones, in which QuickSight gets network interfaces."
  type        = list(string)
}

variable "warehouse" {
  description = "The warehouse in PostgreSQL; secret_arn is a JSON secret with username and password of a role that reads."
  type = object({
    host              = string
    database          = string
    secret_arn        = string
    security_group_id = string
  })
}

variable "star_schema" {
  description = "The schema of the star tables."
  type        = string
}

variable "owner_arn" {
  description = "The user or group of QuickSight that owns the data sets and the dashboard."
  type        = string
}
