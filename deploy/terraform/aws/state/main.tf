# Run once, before all else: the bucket that keeps Terraform's state. Its own state stays on your machine; whoever
# loses it imports the bucket again.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

variable "region" {
  description = "The region of the state."
  type        = string
}

variable "name" {
  description = "Prefix of all names, as in the main configuration."
  type        = string
  default     = "platform"
}

provider "aws" {
  region = var.region
}

data "aws_caller_identity" "me" {}
data "aws_partition" "here" {}

resource "aws_kms_key" "state" {
  description             = "${var.name}: Terraform's state"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ByThePoliciesOfTheAccount"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.me.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_s3_bucket" "state" {
  #checkov:skip=CKV_AWS_144:The state can be imported again from what exists.
  #checkov:skip=CKV_AWS_18:Only Terraform reads it; CloudTrail has who did.
  #checkov:skip=CKV2_AWS_62:Nobody waits for a new state.
  bucket = "${var.name}-${data.aws_caller_identity.me.account_id}-terraform"

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.state.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket                  = aws_s3_bucket.state.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "state" {
  bucket     = aws_s3_bucket.state.id
  depends_on = [aws_s3_bucket_public_access_block.state]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.state.arn, "${aws_s3_bucket.state.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket     = aws_s3_bucket.state.id
  depends_on = [aws_s3_bucket_versioning.state]

  rule {
    id     = "earlier-states"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 365
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

output "backend" {
  description = "Content of backend.hcl of the main configuration."
  value       = <<-HCL
    bucket     = "${aws_s3_bucket.state.id}"
    key        = "${var.name}.tfstate"
    region     = "${var.region}"
    kms_key_id = "${aws_kms_key.state.arn}"
  HCL
}
