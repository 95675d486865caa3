# Sensitive Data Protection: requests are sent by the inspection's account; jobs read the bucket as Google's own service
# agent, and tell a topic when they have ended.

data "google_project" "this" {
  project_id = var.project
}

resource "google_project_service" "dlp" {
  project            = var.project
  service            = "dlp.googleapis.com"
  disable_on_destroy = false
}

locals {
  agent = "serviceAccount:service-${data.google_project.this.number}@dlp-api.iam.gserviceaccount.com"
}

resource "google_project_iam_member" "inspects" {
  project = var.project
  role    = "roles/dlp.user" # contents by request
  member  = var.inspector
}

resource "google_project_iam_custom_role" "jobs" {
  project     = var.project
  role_id     = replace("${var.name}_dlp_jobs", "-", "_")
  title       = "platform_assets: inspection jobs"
  description = "Start inspection jobs, find them again, and read their results."
  permissions = ["dlp.jobs.create", "dlp.jobs.get", "dlp.jobs.list"]
}

resource "google_project_iam_member" "starts_jobs" {
  project = var.project
  role    = google_project_iam_custom_role.jobs.name
  member  = var.inspector
}

resource "google_pubsub_topic" "this" {
  project      = var.project
  name         = "${var.name}-inspected"
  kms_key_name = var.kms_key
}

resource "google_pubsub_topic_iam_member" "agent" {
  project = var.project
  topic   = google_pubsub_topic.this.name
  role    = "roles/pubsub.publisher"
  member  = local.agent

  depends_on = [google_project_service.dlp]
}

resource "google_storage_bucket_iam_member" "agent" {
  bucket = var.bucket
  role   = "roles/storage.objectViewer"
  member = local.agent

  depends_on = [google_project_service.dlp]
}
