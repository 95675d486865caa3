output "accounts" {
  description = "E-mail addresses of the service accounts, by component: attach each to what runs the component."
  value       = module.accounts.emails
}

output "logs_bucket" {
  description = "Bucket of what steps print: DAGSTER_LOGS_BUCKET of deploy/dagster/gcs.yaml."
  value       = module.logs.bucket
}

output "configuration" {
  description = "Lines for the platform's configuration (HOCON)."
  value = join("\n", compact([
    var.lake ? "lake.ingestion = \"gs://${module.lake[0].ingestion}/lake\"" : "",
    var.lake ? "lake.processed = \"gs://${module.lake[0].processed}/lake\"" : "",
    "watches.uploads {",
    "  place = \"gs://${join("/", compact([module.uploads.bucket, var.upload_prefix]))}\"",
    "  subscription = \"${module.uploads.subscription}\"",
    "  quarantine = \"gs://${module.uploads.quarantine}/held\"",
    "  sweep_every = 60",
    "}",
    var.google_inspector ? "dlp.inspect { inspector = google, project = \"${var.project}\", topic = \"${module.inspection[0].topic}\" }" : "",
    var.warehouse == null ? "" : "warehouse { engine = bigquery, bigquery { project = \"${var.project}\", location = \"${var.location}\", star_schema = \"${var.warehouse.star}\", platform_schema = \"${var.warehouse.platform}\" } }",
  ]))
}
