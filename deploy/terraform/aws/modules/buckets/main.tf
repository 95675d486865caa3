# The buckets: the lake's two zones, uploads, logs of runs, and access logs of all of them.
#
# Upkeep alone decides what goes from the lake: no rule here expires a current object of a zone, or moves it to a
# storage class that cannot be read at once. Rules see only what upkeep has removed already (earlier versions of
# objects), and what nothing refers to (parts of uploads that were never completed).

locals {
  names = {
    for use in concat(["ingestion", "processed", "uploads", "runs"], var.quarantine ? ["quarantine"] : []) :
    use => "${var.prefix}-${use}"
  }
  # Days after which current objects go; null: never.
  expire = {
    ingestion  = null
    processed  = null
    uploads    = var.uploads_days
    quarantine = null
    runs       = var.run_log_days
  }
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_144:A copy in a second region is a decision about cost; docs/backup.md says what to copy.
  #checkov:skip=CKV2_AWS_62:Only uploads have a reader of notifications.
  for_each      = local.names
  bucket        = each.value
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    bucket_key_enabled = true # one call to KMS for many objects, not one for each

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = aws_s3_bucket.this
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_logging" "this" {
  for_each      = aws_s3_bucket.this
  bucket        = each.value.id
  target_bucket = aws_s3_bucket.access.id
  target_prefix = "s3/${each.key}/"
  depends_on    = [aws_s3_bucket_policy.access]
}

resource "aws_s3_bucket_policy" "this" {
  for_each   = aws_s3_bucket.this
  bucket     = each.value.id
  policy     = jsonencode({ Version = "2012-10-17", Statement = [local.tls_only[each.key]] })
  depends_on = [aws_s3_bucket_public_access_block.this]
}

locals {
  tls_only = {
    for use, bucket in merge(aws_s3_bucket.this, { access = aws_s3_bucket.access }) : use => {
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [bucket.arn, "${bucket.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each   = aws_s3_bucket.this
  bucket     = each.value.id
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "earlier-versions"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  dynamic "rule" {
    for_each = local.expire[each.key] == null ? [] : [local.expire[each.key]]
    content {
      id     = "current-objects"
      status = "Enabled"
      filter {}

      expiration {
        days = rule.value
      }
    }
  }

  dynamic "rule" {
    # A rule with days takes care of these itself, and S3 refuses both together.
    for_each = local.expire[each.key] == null ? [1] : []
    content {
      id     = "markers-of-nothing"
      status = "Enabled"
      filter {}

      expiration {
        expired_object_delete_marker = true
      }
    }
  }
}

# Uploads tell a queue. Messages are hints: what is lost here, the next listing finds.
resource "aws_sqs_queue" "uploads" {
  name                       = "${var.name}-uploads"
  kms_master_key_id          = var.key_arn
  message_retention_seconds  = 345600
  visibility_timeout_seconds = 300

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.unread.arn
    maxReceiveCount     = 10
  })
}

resource "aws_sqs_queue" "unread" {
  name                      = "${var.name}-uploads-unread"
  kms_master_key_id         = var.key_arn
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue_policy" "uploads" {
  queue_url = aws_sqs_queue.uploads.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "NotificationsOfTheBucket"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.uploads.arn
        Condition = {
          ArnEquals    = { "aws:SourceArn" = aws_s3_bucket.this["uploads"].arn }
          StringEquals = { "aws:SourceAccount" = var.account_id }
        }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.uploads.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_s3_bucket_notification" "uploads" {
  bucket     = aws_s3_bucket.this["uploads"].id
  depends_on = [aws_sqs_queue_policy.uploads]

  queue {
    id        = "uploads"
    queue_arn = aws_sqs_queue.uploads.arn
    events    = ["s3:ObjectCreated:*"]
  }
}

# Access logs, of the buckets and of the load balancer. Neither service can write with a key of KMS.
resource "aws_s3_bucket" "access" {
  #checkov:skip=CKV_AWS_145:The load balancer can write its logs only with keys of S3.
  #checkov:skip=CKV_AWS_18:It is the bucket of access logs.
  #checkov:skip=CKV_AWS_144:Access logs are not copied to a second region.
  #checkov:skip=CKV2_AWS_62:Nobody waits for access logs.
  #checkov:skip=CKV_AWS_21:Access logs are written once, and never overwritten.
  bucket        = "${var.prefix}-access"
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_server_side_encryption_configuration" "access" {
  bucket = aws_s3_bucket.access.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "access" {
  bucket                  = aws_s3_bucket.access.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "access" {
  bucket = aws_s3_bucket.access.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "access" {
  bucket = aws_s3_bucket.access.id

  rule {
    id     = "old-logs"
    status = "Enabled"
    filter {}

    expiration {
      days = var.access_log_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_s3_bucket_policy" "access" {
  bucket     = aws_s3_bucket.access.id
  depends_on = [aws_s3_bucket_public_access_block.access]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([for use, bucket in aws_s3_bucket.this : {
      Sid       = "LogsOf${title(use)}"
      Effect    = "Allow"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "${aws_s3_bucket.access.arn}/s3/${use}/*"
      Condition = {
        ArnLike      = { "aws:SourceArn" = bucket.arn }
        StringEquals = { "aws:SourceAccount" = var.account_id }
      }
      }], [
      local.tls_only["access"],
      {
        Sid       = "LogsOfTheLoadBalancer"
        Effect    = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.access.arn}/balancer/AWSLogs/${var.account_id}/*"
      },
    ])
  })
}
