# Plans with a provider that answers by itself: no account, no network. `terraform test`.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-2a", "eu-west-2b", "eu-west-2c"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_data "aws_secretsmanager_secret_version" {
    defaults = { secret_string = "not a secret" }
  }
}

variables {
  region          = "eu-west-2"
  image           = "123456789012.dkr.ecr.eu-west-2.amazonaws.com/platform:0.1.0"
  certificate_arn = "arn:aws:acm:eu-west-2:123456789012:certificate/00000000-0000-0000-0000-000000000000"
  url             = "https://platform.example.org"
  alarm_emails    = ["ops@example.org"]
  totesys         = { host = "db.example.org", database = "totesys", user = "reader" }
  oidc = {
    issuer                 = "https://id.example.org"
    authorization_endpoint = "https://id.example.org/authorize"
    token_endpoint         = "https://id.example.org/token"
    user_info_endpoint     = "https://id.example.org/userinfo"
    client_id              = "platform"
    client_secret_id       = "oidc"
  }
}

run "as_it_stands" {
  command = plan

  assert {
    condition     = toset(keys(output.lifecycle_rules)) == toset(["ingestion", "processed", "uploads", "runs"])
    error_message = "There are four buckets, and none for a quarantine that nobody asked for."
  }
  assert {
    condition     = alltrue([for use in ["ingestion", "processed"] : output.lifecycle_rules[use].expire_days == null])
    error_message = "No rule may expire what the lake has."
  }
  assert {
    condition     = length(module.network) == 1 && length(module.warehouse) == 1 && length(module.quicksight) == 0
    error_message = "A network and a warehouse are made; QuickSight is not."
  }
  assert {
    condition     = output.environment["LAKE_INGESTION"] != output.environment["LAKE_PROCESSED"]
    error_message = "The zones of the lake have a bucket each."
  }
}

run "in_a_network_of_yours_without_a_warehouse" {
  command = plan

  variables {
    network   = { vpc_id = "vpc-1", private_subnet_ids = ["subnet-1", "subnet-2"] }
    warehouse = null
  }

  assert {
    condition     = length(module.network) == 0 && length(module.warehouse) == 0
    error_message = "Nothing is made that is there already."
  }
  assert {
    condition     = !contains(keys(output.environment), "WAREHOUSE_HOST")
    error_message = "There is no warehouse to name."
  }
}

run "with_quarantine_and_dashboard" {
  command = plan

  variables {
    quarantine = true
    quicksight = { owner_arn = "arn:aws:quicksight:eu-west-2:123456789012:group/default/analysts", reader_secret_arn = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:reader" }
  }

  assert {
    condition     = contains(keys(output.lifecycle_rules), "quarantine") && length(module.quicksight) == 1
    error_message = "The bucket of quarantined objects and the dashboard are made."
  }
}

run "the_ui_is_never_public" {
  command = plan

  variables {
    allowed_cidrs = ["10.0.0.0/8", "0.0.0.0/0"]
  }

  expect_failures = [var.allowed_cidrs]
}

run "output_of_steps_stays_as_long_as_their_runs" {
  command = plan

  variables {
    run_log_days = 30
  }

  expect_failures = [var.run_log_days]
}

run "earlier_versions_stay_as_long_as_readers_need_them" {
  command = plan

  variables {
    upkeep = { keep_hours = 720 }
  }

  expect_failures = [var.noncurrent_days]
}

run "a_dashboard_needs_a_warehouse" {
  command = plan

  variables {
    warehouse  = null
    quicksight = { owner_arn = "arn:aws:quicksight:eu-west-2:123456789012:group/default/analysts", reader_secret_arn = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:reader" }
  }

  expect_failures = [var.quicksight]
}

run "a_secret_is_read_by_components_that_exist" {
  command = plan

  variables {
    secrets = { slack = { description = "A webhook", readers = ["everybody"] } }
  }

  expect_failures = [var.secrets]
}
