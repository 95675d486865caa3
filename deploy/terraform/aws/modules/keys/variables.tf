variable "name" {
  description = "Prefix of the keys' aliases."
  type        = string
}

variable "region" {
  description = "The region whose log groups the key encrypts."
  type        = string
}
