variable "project" {
  description = "Id of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project's id has 6 to 30 lower case letters, digits and hyphens, and starts with a letter."
  }
}

variable "region" {
  description = "Region of the provider, such as europe-west2."
  type        = string
}

variable "location" {
  description = "Location of the buckets and datasets: a region, or EU or US. BigQuery reads buckets of its own location only."
  type        = string
}

variable "name" {
  description = "Prefix of the names of buckets, topics and service accounts. Names of buckets are unique in the whole world: the project's id comes first."
  type        = string
  default     = "platform"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}$", var.name))
    error_message = "The name has 2 to 15 lower case letters, digits and hyphens, and starts with a letter."
  }
}

variable "labels" {
  description = "Labels of everything, beside application = platform_assets."
  type        = map(string)
  default     = {}
}

variable "kms_key" {
  description = "Cloud KMS key of the buckets, topics and datasets, projects/P/locations/L/keyRings/R/cryptoKeys/K; null for Google's own keys. The service agents of Cloud Storage, Pub/Sub and BigQuery must be allowed to use it."
  type        = string
  default     = null
}

variable "lake" {
  description = "Whether the lake's two buckets are made here; false if the lake is somewhere else."
  type        = bool
  default     = true
}

variable "upload_prefix" {
  description = "The watched prefix of the upload bucket, without a slash at either end; empty for the whole bucket."
  type        = string
  default     = ""
}

variable "uploaders" {
  description = "Who may put files into the upload bucket (and see and change none): members such as group:suppliers@example.org."
  type        = set(string)
  default     = []
}

variable "google_inspector" {
  description = "Whether dlp.inspect.inspector = google: Sensitive Data Protection inspects, by request and by job."
  type        = bool
  default     = false
}

variable "warehouse" {
  description = "Whether the warehouse is BigQuery: the names of its datasets, as star_schema and platform_schema in the configuration; null without."
  type = object({
    star     = optional(string, "star")
    platform = optional(string, "platform")
    others   = optional(set(string), [])
  })
  default = {}
}

variable "readers" {
  description = "Who may read the star schema and the other datasets in BigQuery: members such as group:analysts@example.org."
  type        = set(string)
  default     = []
}

variable "upload_days" {
  description = "Days that uploaded files are kept; null for ever."
  type        = number
  default     = null
}

variable "force_destroy" {
  description = "Whether `terraform destroy` may delete buckets and datasets with what is in them."
  type        = bool
  default     = false
}
