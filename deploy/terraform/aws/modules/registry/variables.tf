variable "name" {
  description = "The repository's name."
  type        = string
}

variable "key_arn" {
  description = "The key of KMS that encrypts images."
  type        = string
}

variable "keep_images" {
  description = "Number of images that are kept."
  type        = number
}

variable "force_destroy" {
  description = "True to let `terraform destroy` delete a repository with images in it."
  type        = bool
}
