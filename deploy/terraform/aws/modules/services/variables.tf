variable "name" {
  description = "Name of the cluster, and prefix of all else."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "image" {
  description = "The image with its tag or digest."
  type        = string
}

variable "architecture" {
  description = "X86_64 or ARM64, as the image was built."
  type        = string
}

variable "sizes" {
  description = "Processor units (1024 are one core), megabytes and gigabytes of disk of each process."
  type = object({
    webserver     = object({ cpu = number, memory = number, disk_gb = number })
    daemon        = object({ cpu = number, memory = number, disk_gb = number })
    code_location = object({ cpu = number, memory = number, disk_gb = number })
    run           = object({ cpu = number, memory = number, disk_gb = number })
  })
}

variable "environment" {
  description = "Environment variables of all processes."
  type        = map(string)
}

variable "commands" {
  description = "Other commands than the usual ones, by process."
  type        = map(list(string))
}

variable "instance" {
  description = "Dagster's instance, the text of dagster.yaml."
  type        = string
}

variable "state_dir" {
  description = "The folder that processes write to, a volume of the image."
  type        = string
}

variable "role_arns" {
  description = "Roles of tasks by name."
  type        = map(string)
}

variable "execution_role_arn" {
  description = "The role of ECS's agent."
  type        = string
}

variable "storage_secret_arn" {
  description = "The secret with user and password of Dagster's database."
  type        = string
}

variable "operation_key_arn" {
  description = "The key that encrypts log groups."
  type        = string
}

variable "retention_days" {
  description = "Days that logs are kept."
  type        = number
}

variable "container_insights" {
  description = "True for metrics of each container, which cost extra."
  type        = bool
}

variable "target_group_arn" {
  description = "The load balancer's target group of the webserver."
  type        = string
}

variable "balancer_security_group_id" {
  description = "The load balancer's security group."
  type        = string
}

variable "egress_ports" {
  description = "Ports beside 443 and 5432 that runs and sensors may connect to."
  type        = set(number)
}
