variable "project" {
  description = "Id of the project that inspects, and that Google bills."
  type        = string
}

variable "name" {
  description = "Prefix of the names of topic and role."
  type        = string
}

variable "kms_key" {
  description = "Cloud KMS key of the topic; null for Google's own keys."
  type        = string
  default     = null
}

variable "bucket" {
  description = "Name of the bucket whose objects jobs read."
  type        = string
}

variable "inspector" {
  description = "The inspection's account as a member."
  type        = string
}
