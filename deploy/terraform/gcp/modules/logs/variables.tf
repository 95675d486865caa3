variable "project" {
  description = "Id of the project."
  type        = string
}

variable "location" {
  description = "Location of the bucket."
  type        = string
}

variable "prefix" {
  description = "Prefix of the bucket's name."
  type        = string
}

variable "name" {
  description = "Prefix of the role's name."
  type        = string
}

variable "kms_key" {
  description = "Cloud KMS key; null for Google's own keys."
  type        = string
  default     = null
}

variable "force_destroy" {
  description = "Whether the bucket may be destroyed with its objects."
  type        = bool
  default     = false
}

variable "accounts" {
  description = "The accounts of what runs steps, as members, by component."
  type        = map(string)
}

variable "reader" {
  description = "The webserver's account as a member."
  type        = string
}
