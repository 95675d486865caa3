variable "name" {
  description = "Prefix of all names."
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

variable "key_arn" {
  description = "The key of the topic and the heartbeat's log group."
  type        = string
}

variable "emails" {
  description = "Addresses that alarms go to."
  type        = set(string)
}

variable "log_groups" {
  description = "Log groups by process: webserver, daemon, code-location, run."
  type        = map(string)
}

variable "main_job" {
  description = "The job whose ticks are missed."
  type        = string
}

variable "source_name" {
  description = "The source whose batches are missed."
  type        = string
}

variable "most_errors" {
  description = "Lines of the level error in five minutes from which on it is an alarm."
  type        = number
}

variable "tick_minutes" {
  description = "Minutes without a tick of the main job until it is an alarm."
  type        = number
}

variable "stale_minutes" {
  description = "Minutes without a batch until it is an alarm; as `freshness.within`."
  type        = number
}

variable "cluster_name" {
  description = "The ECS cluster."
  type        = string
}

variable "services" {
  description = "Names of the services in it."
  type        = set(string)
}

variable "balancer" {
  description = "The load balancer, as metrics name it."
  type        = string
}

variable "target_group" {
  description = "The target group, as metrics name it."
  type        = string
}

variable "databases" {
  description = "Database servers, by a name."
  type        = map(string)
}

variable "unread_queue_name" {
  description = "The queue of messages that nobody could read."
  type        = string
}

variable "mail_schedule" {
  description = "When a message proves that e-mails arrive, UTC."
  type        = string
}
