# The warehouse: a dataset for the star schema, one for the record of loads and staging, others for the tables of feeds and
# of your own assets. The tables are made by loads.

locals {
  read     = setunion([var.star], var.others)
  datasets = setunion(local.read, [var.platform])
  grants   = { for pair in setproduct(local.read, var.readers) : "${pair[0]} ${pair[1]}" => { dataset = pair[0], member = pair[1] } }
}

resource "google_bigquery_dataset" "this" {
  for_each = local.datasets

  project                    = var.project
  dataset_id                 = each.key
  location                   = var.location
  description                = each.key == var.platform ? "Record of loads and staging of platform_assets" : "Tables of platform_assets"
  delete_contents_on_destroy = var.force_destroy

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

# Running jobs is a right in the project; what they may read and write is given by dataset. As the datasets are there,
# loads need not create any.
resource "google_project_iam_member" "runs_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = var.loader
}

resource "google_bigquery_dataset_iam_member" "loads" {
  for_each = local.datasets

  project    = var.project
  dataset_id = google_bigquery_dataset.this[each.key].dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = var.loader
}

resource "google_bigquery_dataset_iam_member" "reads" {
  for_each = local.grants

  project    = var.project
  dataset_id = google_bigquery_dataset.this[each.value.dataset].dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value.member
}
