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

variable "kms_key" {
  description = "Cloud KMS key; null for Google's own keys."
  type        = string
  default     = null
}

variable "force_destroy" {
  description = "Whether the buckets may be destroyed with their objects."
  type        = bool
  default     = false
}

variable "accounts" {
  description = "The components' accounts as members, by component."
  type        = map(string)
}
