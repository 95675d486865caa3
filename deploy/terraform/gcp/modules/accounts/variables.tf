variable "project" {
  description = "Id of the project."
  type        = string
}

variable "name" {
  description = "Prefix of the accounts' names."
  type        = string
}
