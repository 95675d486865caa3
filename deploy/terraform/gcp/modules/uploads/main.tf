# The bucket that files are uploaded to, the one that they are quarantined in, and the notifications about new objects:
# Cloud Storage tells a topic, the platform reads a subscription. A lost notification costs nothing but time: listings
# find every object.

module "uploads" {
  source = "../bucket"

  project       = var.project
  name          = "${var.prefix}-uploads"
  location      = var.location
  kms_key       = var.kms_key
  keep_days     = var.keep_days
  force_destroy = var.force_destroy
}

module "quarantine" {
  source = "../bucket"

  project       = var.project
  name          = "${var.prefix}-quarantine"
  location      = var.location
  kms_key       = var.kms_key
  force_destroy = var.force_destroy
}

data "google_storage_project_service_account" "agent" {
  project = var.project
}

resource "google_pubsub_topic" "this" {
  project      = var.project
  name         = "${var.name}-uploads"
  kms_key_name = var.kms_key
}

resource "google_pubsub_topic_iam_member" "storage" {
  project = var.project
  topic   = google_pubsub_topic.this.name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:${data.google_storage_project_service_account.agent.email_address}"
}

resource "google_storage_notification" "this" {
  bucket         = module.uploads.name
  topic          = google_pubsub_topic.this.id
  payload_format = "NONE" # names and generations are in the attributes
  event_types    = ["OBJECT_FINALIZE"]

  object_name_prefix = var.watch_prefix == "" ? null : "${var.watch_prefix}/"

  # Cloud Storage refuses a topic that it may not publish to.
  depends_on = [google_pubsub_topic_iam_member.storage]
}

resource "google_pubsub_subscription" "this" {
  project                    = var.project
  name                       = "${var.name}-uploads"
  topic                      = google_pubsub_topic.this.id
  ack_deadline_seconds       = 600
  message_retention_duration = "604800s"

  # By default Google deletes a subscription that nobody has read for a month.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
}

# What the inspection does with uploads: it lists and reads them, and moves some into quarantine.
resource "google_project_iam_custom_role" "move_out" {
  project     = var.project
  role_id     = replace("${var.name}_move_out", "-", "_")
  title       = "platform_assets: move uploads out"
  description = "Delete an upload that has been copied to the quarantine."
  permissions = ["storage.objects.delete"]
}

resource "google_project_iam_custom_role" "move_in" {
  project     = var.project
  role_id     = replace("${var.name}_move_in", "-", "_")
  title       = "platform_assets: move into quarantine"
  description = "Copy an upload to the quarantine, and see whether it is there already."
  permissions = ["storage.objects.create", "storage.objects.get"]
}

resource "google_storage_bucket_iam_member" "reads" {
  bucket = module.uploads.name
  role   = "roles/storage.objectViewer"
  member = var.inspector
}

resource "google_storage_bucket_iam_member" "moves_out" {
  bucket = module.uploads.name
  role   = google_project_iam_custom_role.move_out.name
  member = var.inspector
}

resource "google_storage_bucket_iam_member" "moves_in" {
  bucket = module.quarantine.name
  role   = google_project_iam_custom_role.move_in.name
  member = var.inspector
}

# What the sensors do: they list the bucket, and read the notifications.
resource "google_storage_bucket_iam_member" "notices" {
  bucket = module.uploads.name
  role   = "roles/storage.objectViewer"
  member = var.sensors
}

resource "google_pubsub_subscription_iam_member" "consumes" {
  for_each = toset(["roles/pubsub.subscriber", "roles/pubsub.viewer"]) # the latter for `platform-assets doctor`

  project      = var.project
  subscription = google_pubsub_subscription.this.name
  role         = each.key
  member       = var.sensors
}

resource "google_storage_bucket_iam_member" "uploads" {
  for_each = var.uploaders

  bucket = module.uploads.name
  role   = "roles/storage.objectCreator"
  member = each.key
}
