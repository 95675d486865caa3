# Plans with a provider that answers by itself: no project, no network. `terraform test`.

mock_provider "google" {
  mock_data "google_storage_project_service_account" {
    defaults = { email_address = "service-1@gs-project-accounts.iam.gserviceaccount.com" }
  }
  mock_data "google_project" {
    defaults = { number = "1" }
  }
}

variables {
  project          = "example-project"
  region           = "europe-west2"
  location         = "EU"
  google_inspector = true
  readers          = ["group:analysts@example.org"]
  uploaders        = ["group:suppliers@example.org"]
  warehouse        = { others = ["uploads"] }
}

run "everything" {
  command = apply

  assert {
    condition     = output.accounts != null && length(output.accounts) == 8
    error_message = "Each component has an account of its own."
  }

  assert {
    condition     = strcontains(output.configuration, "place = \"gs://example-project-platform-uploads\"")
    error_message = "The watch is on the upload bucket."
  }

  assert {
    condition     = strcontains(output.configuration, "project = \"example-project\", location = \"EU\", star_schema = \"star\"")
    error_message = "The warehouse has the datasets of the configuration."
  }
}

run "uploads" {
  command = plan

  module {
    source = "./modules/uploads"
  }

  variables {
    prefix       = "example-project-platform"
    name         = "platform"
    watch_prefix = "in"
    inspector    = "serviceAccount:inspection@example-project.iam.gserviceaccount.com"
    sensors      = "serviceAccount:sensors@example-project.iam.gserviceaccount.com"
  }

  assert {
    condition     = google_storage_notification.this.object_name_prefix == "in/"
    error_message = "Only objects below the watched prefix are notified."
  }

  assert {
    condition     = google_storage_notification.this.event_types == toset(["OBJECT_FINALIZE"])
    error_message = "New objects are notified, and nothing else."
  }

  assert {
    condition     = google_pubsub_subscription.this.expiration_policy[0].ttl == ""
    error_message = "The subscription never expires."
  }

  assert {
    condition     = google_project_iam_custom_role.move_out.permissions == toset(["storage.objects.delete"])
    error_message = "The inspection may delete an upload, and write none."
  }

  assert {
    condition     = toset([for one in google_storage_bucket_iam_member.uploads : one.role]) == toset(["roles/storage.objectCreator"])
    error_message = "Who uploads may not read."
  }
}

run "bucket" {
  command = plan

  module {
    source = "./modules/bucket"
  }

  variables {
    name      = "example-project-platform-uploads"
    keep_days = 30
    kms_key   = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
  }

  assert {
    condition     = google_storage_bucket.this.public_access_prevention == "enforced" && google_storage_bucket.this.uniform_bucket_level_access
    error_message = "No object is public, and none has permissions of its own."
  }

  assert {
    condition     = google_storage_bucket.this.encryption[0].default_kms_key_name == var.kms_key
    error_message = "Objects are encrypted with the key."
  }

  assert {
    condition     = length(google_storage_bucket.this.lifecycle_rule) == 3
    error_message = "Old versions, old objects and unfinished uploads are removed."
  }
}

run "warehouse" {
  command = plan

  module {
    source = "./modules/bigquery"
  }

  variables {
    others = ["uploads"]
    loader = "serviceAccount:loads@example-project.iam.gserviceaccount.com"
  }

  assert {
    condition     = toset([for one in google_bigquery_dataset_iam_member.reads : one.dataset_id]) == toset(["star", "uploads"])
    error_message = "Readers do not see the record of loads."
  }

  assert {
    condition     = google_project_iam_member.runs_jobs.role == "roles/bigquery.jobUser"
    error_message = "In the project, loads may run jobs and nothing else."
  }
}

run "without_a_warehouse" {
  command = plan

  variables {
    warehouse        = null
    google_inspector = false
    lake             = false
  }

  assert {
    condition     = !strcontains(nonsensitive(output.configuration), "bigquery") && !strcontains(output.configuration, "lake.")
    error_message = "What is not made is not configured."
  }
}

run "logs" {
  command = plan

  module {
    source = "./modules/logs"
  }

  variables {
    prefix   = "example-project-platform"
    name     = "platform"
    accounts = { loads = "serviceAccount:loads@example-project.iam.gserviceaccount.com" }
    reader   = "serviceAccount:webserver@example-project.iam.gserviceaccount.com"
  }

  assert {
    condition     = !contains(google_project_iam_custom_role.write.permissions, "storage.objects.get")
    error_message = "A step cannot read what other steps have printed."
  }

  assert {
    condition     = google_storage_bucket_iam_member.reads.member == var.reader
    error_message = "Only the webserver reads."
  }
}

run "a_name_that_no_account_can_have" {
  command = plan

  variables {
    name = "A platform with a long name"
  }

  expect_failures = [var.name]
}
