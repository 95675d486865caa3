variable "name" {
  description = "Prefix of the queues' names."
  type        = string
}

variable "prefix" {
  description = "Prefix of the buckets' names, which are unique in the world."
  type        = string
}

variable "account_id" {
  description = "The account, for the conditions of policies."
  type        = string
}

variable "key_arn" {
  description = "The key of KMS that encrypts buckets and queues."
  type        = string
}

variable "quarantine" {
  description = "True for a bucket that objects are moved to which a rule quarantines."
  type        = bool
}

variable "noncurrent_days" {
  description = "Days that an object can be restored for after it was deleted or overwritten."
  type        = number
}

variable "uploads_days" {
  description = "Days after which uploads go; null to keep them."
  type        = number
}

variable "run_log_days" {
  description = "Days after which the captured output of runs goes."
  type        = number
}

variable "access_log_days" {
  description = "Days after which access logs go."
  type        = number
}

variable "force_destroy" {
  description = "True to let `terraform destroy` delete buckets with objects in them."
  type        = bool
}
