terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.0"
    }
  }

  # The bucket is given at init: terraform init -backend-config=bucket=NAME. Cloud Storage locks the state itself.
  backend "gcs" {
    prefix = "platform-assets"
  }
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = local.labels
}
