variable "project" {
  description = "Id of the project."
  type        = string
}

variable "name" {
  description = "Name of the bucket."
  type        = string
}

variable "location" {
  description = "Location of the bucket."
  type        = string
}

variable "kms_key" {
  description = "Cloud KMS key; null for Google's own keys."
  type        = string
  default     = null
}

variable "restorable_days" {
  description = "Days for which deleted and overwritten objects can be brought back."
  type        = number
  default     = 7
}

variable "keep_days" {
  description = "Days after which objects are deleted; null for never."
  type        = number
  default     = null
}

variable "force_destroy" {
  description = "Whether the bucket may be destroyed with its objects."
  type        = bool
  default     = false
}
