variable "name" {
  description = "Prefix of the roles, and name of the cluster."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "account_id" {
  description = "The account."
  type        = string
}

variable "partition" {
  description = "The partition, such as aws."
  type        = string
}

variable "bucket_arns" {
  description = "Buckets by use, as the module buckets names them."
  type        = map(string)
}

variable "queue_arn" {
  description = "The queue of uploads."
  type        = string
}

variable "topic_arn" {
  description = "The topic that alerts may be published to."
  type        = string
}

variable "data_key_arn" {
  description = "The key of buckets and the queue."
  type        = string
}

variable "operation_key_arn" {
  description = "The key of secrets and the topic."
  type        = string
}

variable "registry_arn" {
  description = "The registry of the image."
  type        = string
}

variable "storage_secret_arn" {
  description = "The secret with the password of Dagster's database."
  type        = string
}

variable "secrets" {
  description = "Secrets by name: ARN, and the components that may read it."
  type        = map(object({ arn = string, readers = set(string) }))
}

variable "delivery_places" {
  description = "Destinations of deliveries in S3, each a bucket or bucket/prefix."
  type        = list(string)
}
