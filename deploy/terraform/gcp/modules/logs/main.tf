# What steps print, for Dagster's GCSComputeLogManager (deploy/dagster/gcs.yaml): DAGSTER_LOGS_BUCKET. Every component
# writes its own output, a later upload replaces an earlier one, and only the webserver's account reads.

module "bucket" {
  source = "../bucket"

  project       = var.project
  name          = "${var.prefix}-logs"
  location      = var.location
  kms_key       = var.kms_key
  keep_days     = 90
  force_destroy = var.force_destroy
}

resource "google_project_iam_custom_role" "write" {
  project     = var.project
  role_id     = replace("${var.name}_write_logs", "-", "_")
  title       = "platform_assets: write logs of steps"
  description = "Write what steps print, replace a partial upload, and see that the bucket is there."
  permissions = ["storage.buckets.get", "storage.objects.create", "storage.objects.delete"]
}

resource "google_storage_bucket_iam_member" "writes" {
  for_each = var.accounts

  bucket = module.bucket.name
  role   = google_project_iam_custom_role.write.name
  member = each.value
}

resource "google_project_iam_custom_role" "read" {
  project     = var.project
  role_id     = replace("${var.name}_read_logs", "-", "_")
  title       = "platform_assets: read logs of steps"
  description = "Read what steps have printed, and see that the bucket is there."
  permissions = ["storage.buckets.get", "storage.objects.get", "storage.objects.list"]
}

resource "google_storage_bucket_iam_member" "reads" {
  bucket = module.bucket.name
  role   = google_project_iam_custom_role.read.name
  member = var.reader
}
