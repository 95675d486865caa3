variable "name" {
  description = "First part of the secrets' names."
  type        = string
}

variable "secrets" {
  description = "Secrets by name: what each is."
  type        = map(object({ description = string }))
}

variable "key_arn" {
  description = "The key of KMS that encrypts them."
  type        = string
}

variable "recovery_days" {
  description = "Days that a deleted secret can be restored for: 0, or 7 to 30."
  type        = number
}
