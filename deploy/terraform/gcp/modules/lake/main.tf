# The lake's two zones. In Cloud Storage, to overwrite an object (a Delta table's pointer to its last checkpoint) takes the
# right to delete it, so who writes has roles/storage.objectUser; versioning brings back what was deleted by mistake.

module "bucket" {
  source   = "../bucket"
  for_each = toset(["ingestion", "processed"])

  project       = var.project
  name          = "${var.prefix}-${each.key}"
  location      = var.location
  kms_key       = var.kms_key
  force_destroy = var.force_destroy
}

locals {
  grants = {
    extraction     = { ingestion = "roles/storage.objectUser" }
    transformation = { ingestion = "roles/storage.objectViewer", processed = "roles/storage.objectUser" }
    # Tables of feeds are in the ingestion zone, findings and the logs of objects in the processed one.
    inspection = { ingestion = "roles/storage.objectUser", processed = "roles/storage.objectUser" }
    # Copies of tables that the policy changes are made when they are loaded.
    loads    = { processed = "roles/storage.objectUser" }
    delivery = { processed = "roles/storage.objectUser" }
    upkeep   = { ingestion = "roles/storage.objectUser", processed = "roles/storage.objectUser" }
    sensors  = { ingestion = "roles/storage.objectViewer", processed = "roles/storage.objectUser" }
  }
  members = merge([
    for component, buckets in local.grants : {
      for zone, role in buckets : "${component}/${zone}" => { component = component, zone = zone, role = role }
    }
  ]...)
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = local.members

  bucket = module.bucket[each.value.zone].name
  role   = each.value.role
  member = var.accounts[each.value.component]
}
