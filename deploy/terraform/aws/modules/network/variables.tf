variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "region" {
  description = "The region, for the name of the S3 endpoint."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network, such as 10.40.0.0/16."
  type        = string
}

variable "retention_days" {
  description = "Days that refused connections stay in the log group."
  type        = number
}

variable "key_arn" {
  description = "The key of KMS that encrypts the log group."
  type        = string
}
