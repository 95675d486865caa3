# A service account for each component. None has a key: attach it to what runs the component (Cloud Run, a node pool by
# workload identity, a machine). Rights are given by the other modules, on single buckets, datasets and subscriptions.

locals {
  components = {
    extraction     = "Reads the source, writes the lake's ingestion bucket"
    transformation = "Reads the ingestion bucket, writes the processed bucket"
    inspection     = "Reads uploads and the lake, writes feeds and findings, quarantines, asks Sensitive Data Protection"
    loads          = "Reads the processed bucket, loads BigQuery"
    delivery       = "Reads the processed bucket, records receipts there"
    upkeep         = "Merges and removes files of the lake"
    sensors        = "The code location: notices uploads, records and sends alerts"
    webserver      = "Shows what steps have printed"
  }
}

resource "google_service_account" "this" {
  for_each = local.components

  project      = var.project
  account_id   = "${var.name}-${each.key}"
  display_name = "platform_assets: ${each.key}"
  description  = each.value
}
