variable "project" {
  description = "Id of the project."
  type        = string
}

variable "location" {
  description = "Location of the buckets."
  type        = string
}

variable "prefix" {
  description = "Prefix of the buckets' names."
  type        = string
}

variable "name" {
  description = "Prefix of the names of topic, subscription and roles."
  type        = string
}

variable "watch_prefix" {
  description = "The watched prefix of the bucket, without a slash at either end; empty for the whole bucket."
  type        = string
  default     = ""
}

variable "kms_key" {
  description = "Cloud KMS key; null for Google's own keys."
  type        = string
  default     = null
}

variable "keep_days" {
  description = "Days that uploaded files are kept; null for ever."
  type        = number
  default     = null
}

variable "force_destroy" {
  description = "Whether the buckets may be destroyed with their objects."
  type        = bool
  default     = false
}

variable "inspector" {
  description = "The inspection's account as a member."
  type        = string
}

variable "sensors" {
  description = "The code location's account as a member."
  type        = string
}

variable "uploaders" {
  description = "Members that may put files into the bucket."
  type        = set(string)
  default     = []
}
