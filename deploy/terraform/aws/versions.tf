terraform {
  # 1.11 knows write-only arguments, by which no password gets into the state, and locks the state in S3 itself.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Bucket, key, region and key of KMS come from backend.hcl, which the folder state/ prints.
  backend "s3" {
    use_lockfile = true
    encrypt      = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge({ platform = var.name, managed_by = "terraform" }, var.tags)
  }
}
