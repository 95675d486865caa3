# ---- What has to be given --------------------------------------------------------------------------------------------

variable "region" {
  description = "The region, such as eu-west-2."
  type        = string
}

variable "image" {
  description = "The platform's image with its tag or digest, such as <registry>/platform:0.1.0; output `registry_url` has the registry."
  type        = string
}

variable "certificate_arn" {
  description = "A certificate in ACM, in this region, for the name that people open the UI by."
  type        = string
}

variable "url" {
  description = "The address of the UI, such as https://platform.example.org; its name points at the load balancer in your DNS."
  type        = string

  validation {
    condition     = can(regex("^https://[^/]+$", var.url))
    error_message = "Write the address as https://name, without a slash at the end."
  }
}

variable "oidc" {
  description = "Your identity provider, with the addresses of its discovery document. client_secret_id names a secret of Secrets Manager that you have made: its whole text is the client's secret."
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
    client_secret_id       = string
    scope                  = optional(string, "openid email")
  })
}

variable "alarm_emails" {
  description = "Addresses that alarms go to. Each confirms by a link in a first e-mail."
  type        = set(string)

  validation {
    condition     = length(var.alarm_emails) > 0
    error_message = "Name at least one address: alarms that nobody gets are none."
  }
}

variable "totesys" {
  description = "The PostgreSQL that is read. Its password is the member `password` of the secret <name>/totesys."
  type = object({
    host     = string
    port     = optional(number, 5432)
    database = string
    user     = string
    schema   = optional(string, "public")
    sslmode  = optional(string, "require")
  })
}

# ---- What may be changed ---------------------------------------------------------------------------------------------

variable "name" {
  description = "Prefix of all names, unique in the account and region."
  type        = string
  default     = "platform"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "Use 3 to 16 lower-case letters, digits and hyphens; load balancers have short names."
  }
}

variable "tags" {
  description = "Tags of everything, beside `platform` and `managed_by`."
  type        = map(string)
  default     = {}
}

variable "bucket_prefix" {
  description = "Prefix of the buckets' names, which are unique in the world; by default <name>-<account>."
  type        = string
  default     = null
}

variable "network" {
  description = "A network of yours with private subnets in two zones that reach the internet by a NAT gateway; null for a new one."
  type = object({
    vpc_id             = string
    private_subnet_ids = list(string)
  })
  default = null
}

variable "network_cidr" {
  description = "Addresses of the new network, if there is one; /16 to /20."
  type        = string
  default     = "10.40.0.0/16"
}

variable "allowed_cidrs" {
  description = "Networks that may open the UI, as they reach the network by VPN, Direct Connect or peering. Nobody else can."
  type        = list(string)
  default     = ["10.0.0.0/8"]

  validation {
    condition     = !contains(var.allowed_cidrs, "0.0.0.0/0")
    error_message = "The UI has no login of its own and is never public. Name the networks of those who use it."
  }
}

variable "architecture" {
  description = "X86_64 or ARM64, as the image was built. ARM64 costs a fifth less."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "Write X86_64 or ARM64."
  }
}

variable "sizes" {
  description = "Processor units (1024 are one core), megabytes and gigabytes of disk (21 to 200) of each process, as Fargate offers them."
  type = object({
    webserver     = optional(object({ cpu = number, memory = number, disk_gb = number }), { cpu = 512, memory = 1024, disk_gb = 21 })
    daemon        = optional(object({ cpu = number, memory = number, disk_gb = number }), { cpu = 512, memory = 1024, disk_gb = 21 })
    code_location = optional(object({ cpu = number, memory = number, disk_gb = number }), { cpu = 1024, memory = 2048, disk_gb = 21 })
    run           = optional(object({ cpu = number, memory = number, disk_gb = number }), { cpu = 2048, memory = 4096, disk_gb = 40 })
  })
  default = {}
}

variable "environment" {
  description = "Further environment variables of all processes, such as those that config/aws.conf reads. No secrets: everybody who may read task definitions sees them."
  type        = map(string)
  default     = {}
}

variable "commands" {
  description = "Other commands than the usual ones, by process: webserver, daemon, code-location."
  type        = map(list(string))
  default     = {}
}

variable "app_dir" {
  description = "The folder in the image that has config/."
  type        = string
  default     = "/opt/platform"
}

variable "state_dir" {
  description = "The folder that processes write to, a volume of the image."
  type        = string
  default     = "/var/lib/platform"
}

variable "concurrent_runs" {
  description = "Runs that work at the same time; further ones wait. The jobs that write to the lake never overlap."
  type        = number
  default     = 6
}

variable "secrets" {
  description = "Further secrets by name, such as the webhook of a channel: what each is, and the components that read it (extraction, transformation, inspection, loads, delivery, upkeep, sensors)."
  type        = map(object({ description = string, readers = set(string) }))
  default     = {}

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : length(setsubtract(
        secret.readers, ["extraction", "transformation", "inspection", "loads", "delivery", "upkeep", "sensors"]
      )) == 0
    ])
    error_message = "Readers are extraction, transformation, inspection, loads, delivery, upkeep and sensors."
  }

  validation {
    condition     = length(setintersection(keys(var.secrets), ["totesys", "dlp-key"])) == 0
    error_message = "The secrets totesys and dlp-key are there already."
  }
}

variable "delivery_places" {
  description = "Buckets, or bucket/prefix, of yours that deliveries are written to."
  type        = list(string)
  default     = []
}

variable "egress_ports" {
  description = "Ports beside 443 and 5432 that runs and sensors connect to, such as 22 for SFTP and 587 for mail."
  type        = set(number)
  default     = []
}

variable "quarantine" {
  description = "True for a bucket that objects are moved to which a rule quarantines. Inspection may then delete uploads."
  type        = bool
  default     = false
}

variable "upkeep" {
  description = "Keys of the lake's upkeep, as in the configuration: upkeep.keep_hours and upkeep.retention.failed_runs_days. Lifecycle rules may not be shorter."
  type = object({
    keep_hours       = optional(number, 24)
    failed_runs_days = optional(number, 60)
  })
  default = {}
}

variable "noncurrent_days" {
  description = "Days that a deleted or overwritten object of a bucket can be restored for. Upkeep deletes files; this is the time to notice that something else did."
  type        = number
  default     = 14

  validation {
    condition     = var.noncurrent_days * 24 >= var.upkeep.keep_hours
    error_message = "Keep earlier versions at least as long as upkeep.keep_hours: a reader may still need them."
  }
}

variable "uploads_days" {
  description = "Days after which uploads go; null to keep them. Findings of objects that are gone follow after upkeep.retention.findings_days."
  type        = number
  default     = null
}

variable "run_log_days" {
  description = "Days that the output of steps is kept, at least as long as Dagster keeps failed runs."
  type        = number
  default     = 90

  validation {
    condition     = var.run_log_days >= var.upkeep.failed_runs_days
    error_message = "Keep the output of steps at least as long as upkeep.retention.failed_runs_days: a run without its output explains nothing."
  }
}

variable "log_days" {
  description = "Days that logs are kept in CloudWatch."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "CloudWatch knows 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 and some longer times."
  }
}

variable "storage" {
  description = "The PostgreSQL server of Dagster's runs, events and schedules."
  type = object({
    instance_class   = optional(string, "db.t4g.small")
    storage_gb       = optional(number, 20)
    multi_az         = optional(bool, false)
    backup_days      = optional(number, 14)
    password_version = optional(number, 1)
  })
  default = {}
}

variable "warehouse" {
  description = "A PostgreSQL server for the warehouse; null if the warehouse is elsewhere, such as in Snowflake."
  type = object({
    instance_class   = optional(string, "db.t4g.medium")
    storage_gb       = optional(number, 50)
    multi_az         = optional(bool, false)
    backup_days      = optional(number, 14)
    password_version = optional(number, 1)
  })
  default = {}
}

variable "postgres_version" {
  description = "Major version of PostgreSQL of both servers."
  type        = string
  default     = "17"
}

variable "container_insights" {
  description = "True for CloudWatch's metrics of each container, which cost extra."
  type        = bool
  default     = false
}

variable "alarms" {
  description = "When it is an alarm: lines of the level error in five minutes; minutes without a tick of the main job; minutes without a batch, as freshness.within."
  type = object({
    most_errors   = optional(number, 1)
    tick_minutes  = optional(number, 15)
    stale_minutes = optional(number, 30)
    mail_schedule = optional(string, "cron(0 7 ? * MON *)")
  })
  default = {}
}

variable "quicksight" {
  description = "QuickSight's data source, data sets and dashboard on the warehouse; null without. QuickSight is signed up for already; reader_secret_arn is a JSON secret with username and password of a role that reads the star schema."
  type = object({
    owner_arn         = string
    reader_secret_arn = string
    star_schema       = optional(string, "star")
  })
  default = null

  validation {
    condition     = var.quicksight == null || var.warehouse != null
    error_message = "The dashboard reads the warehouse in PostgreSQL: set warehouse too."
  }
}

variable "protect" {
  description = "True so that `terraform destroy` deletes no database, no load balancer and no bucket with content. False for a trial."
  type        = bool
  default     = true
}
