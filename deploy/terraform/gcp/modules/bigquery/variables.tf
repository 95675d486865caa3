variable "project" {
  description = "Id of the project that has the datasets, and that jobs are billed to."
  type        = string
}

variable "location" {
  description = "Location of the datasets and of all jobs."
  type        = string
}

variable "star" {
  description = "Name of the dataset of the star schema."
  type        = string
  default     = "star"
}

variable "platform" {
  description = "Name of the dataset of the record of loads."
  type        = string
  default     = "platform"
}

variable "others" {
  description = "Names of further datasets that loads write to: uploads with feeds, those of your own assets."
  type        = set(string)
  default     = []
}

variable "kms_key" {
  description = "Cloud KMS key of the datasets; null for Google's own keys."
  type        = string
  default     = null
}

variable "force_destroy" {
  description = "Whether the datasets may be destroyed with their tables."
  type        = bool
  default     = false
}

variable "loader" {
  description = "The account of loads as a member."
  type        = string
}

variable "readers" {
  description = "Members that may read all datasets but that of the record of loads."
  type        = set(string)
  default     = []
}
