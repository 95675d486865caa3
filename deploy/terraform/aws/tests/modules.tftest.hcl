# The modules, applied with a provider that answers by itself: no account, no network. `terraform test`.
# Terraform cannot yet play ephemeral resources, by which the databases get their passwords: that module, and the whole,
# are applied in platform_assets_tests/deploy/ to a local AWS.

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
  name       = "platform"
  region     = "eu-west-2"
  account_id = "123456789012"
  key_arn    = "arn:aws:kms:eu-west-2:123456789012:key/1"
  vpc_id     = "vpc-1"
  subnet_ids = ["subnet-1", "subnet-2"]
}

run "buckets_of_the_lake_keep_what_is_current" {
  command = apply

  module {
    source = "./modules/buckets"
  }

  variables {
    prefix          = "platform-123456789012"
    quarantine      = false
    noncurrent_days = 14
    uploads_days    = 400
    run_log_days    = 90
    access_log_days = 90
    force_destroy   = false
  }

  assert {
    condition     = toset(keys(aws_s3_bucket.this)) == toset(["ingestion", "processed", "uploads", "runs"])
    error_message = "There are four buckets, and none for a quarantine that nobody asked for."
  }
  assert {
    condition = alltrue([for use in ["ingestion", "processed"] : alltrue([
      for rule in aws_s3_bucket_lifecycle_configuration.this[use].rule :
      length(rule.transition) == 0 && alltrue([for one in rule.expiration : coalesce(one.days, 0) == 0])
    ])])
    error_message = "No rule may expire or move what the lake has."
  }
  assert {
    condition     = one([for rule in aws_s3_bucket_lifecycle_configuration.this["uploads"].rule : rule if rule.id == "current-objects"]).expiration[0].days == 400
    error_message = "Uploads go after the days that were given."
  }
  assert {
    condition     = alltrue([for one in aws_s3_bucket_versioning.this : one.versioning_configuration[0].status == "Enabled"])
    error_message = "Every bucket is versioned."
  }
  assert {
    condition = alltrue([
      for one in aws_s3_bucket_public_access_block.this :
      one.block_public_acls && one.block_public_policy && one.ignore_public_acls && one.restrict_public_buckets
    ])
    error_message = "No bucket may be public."
  }
  assert {
    condition     = alltrue([for one in aws_s3_bucket_server_side_encryption_configuration.this : one.rule[*].apply_server_side_encryption_by_default[0].kms_master_key_id == tolist([var.key_arn])])
    error_message = "Every bucket is encrypted with our key."
  }
}

run "a_quarantine_has_a_bucket_like_the_others" {
  command = apply

  module {
    source = "./modules/buckets"
  }

  variables {
    prefix          = "platform-123456789012"
    quarantine      = true
    noncurrent_days = 14
    uploads_days    = null
    run_log_days    = 90
    access_log_days = 90
    force_destroy   = false
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.this["quarantine"].restrict_public_buckets && aws_s3_bucket_versioning.this["quarantine"].versioning_configuration[0].status == "Enabled"
    error_message = "The bucket of quarantined objects is locked and versioned."
  }
}

run "the_ui_is_within_the_network_and_behind_a_login" {
  command = plan

  module {
    source = "./modules/balancer"
  }

  variables {
    allowed_cidrs               = ["10.0.0.0/8"]
    webserver_security_group_id = "sg-1"
    certificate_arn             = "arn:aws:acm:eu-west-2:123456789012:certificate/1"
    access_log_bucket           = "platform-access"
    deletion_protection         = true
    oidc = {
      issuer                 = "https://id.example.org"
      authorization_endpoint = "https://id.example.org/authorize"
      token_endpoint         = "https://id.example.org/token"
      user_info_endpoint     = "https://id.example.org/userinfo"
      client_id              = "platform"
      client_secret_id       = "oidc"
      scope                  = "openid"
    }
  }

  assert {
    condition     = aws_lb.this.internal
    error_message = "The load balancer must be internal."
  }
  assert {
    condition     = [for action in aws_lb_listener.https.default_action : action.type] == ["authenticate-oidc", "forward"] && aws_lb_listener.https.protocol == "HTTPS"
    error_message = "Nobody reaches the UI without signing in."
  }
}

run "processes_write_nowhere_but_to_their_folder" {
  command = plan

  module {
    source = "./modules/services"
  }

  variables {
    image                      = "registry/platform:0.1.0"
    architecture               = "X86_64"
    environment                = {}
    commands                   = {}
    instance                   = "{}"
    state_dir                  = "/var/lib/platform"
    role_arns                  = { webserver = "arn:aws:iam::123456789012:role/w", daemon = "arn:aws:iam::123456789012:role/d", code-location = "arn:aws:iam::123456789012:role/c", run = "arn:aws:iam::123456789012:role/r" }
    execution_role_arn         = "arn:aws:iam::123456789012:role/e"
    storage_secret_arn         = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:storage"
    operation_key_arn          = "arn:aws:kms:eu-west-2:123456789012:key/1"
    retention_days             = 365
    container_insights         = false
    target_group_arn           = "arn:aws:elasticloadbalancing:eu-west-2:123456789012:targetgroup/platform/1"
    balancer_security_group_id = "sg-1"
    egress_ports               = [587]
    sizes = {
      webserver     = { cpu = 512, memory = 1024, disk_gb = 21 }
      daemon        = { cpu = 512, memory = 1024, disk_gb = 21 }
      code_location = { cpu = 1024, memory = 2048, disk_gb = 21 }
      run           = { cpu = 2048, memory = 4096, disk_gb = 40 }
    }
  }

  assert {
    condition     = aws_ecs_service.this["daemon"].deployment_maximum_percent == 100
    error_message = "There may never be two daemons."
  }
  assert {
    condition     = alltrue([for service in aws_ecs_service.this : !service.network_configuration[0].assign_public_ip && !service.enable_execute_command])
    error_message = "No task has an address of its own in the internet, or a shell."
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.more)) == toset(["code-location/587", "run/587"])
    error_message = "Only runs and sensors use further ports."
  }
}

run "a_dashboard_has_its_data_sets" {
  command = plan

  module {
    source = "./modules/quicksight"
  }

  variables {
    star_schema = "star"
    owner_arn   = "arn:aws:quicksight:eu-west-2:123456789012:group/default/analysts"
    warehouse = {
      host              = "warehouse.example.org"
      database          = "analytics"
      secret_arn        = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:reader"
      security_group_id = "sg-2"
    }
  }

  assert {
    condition     = toset([for sheet in aws_quicksight_dashboard.this.definition[0].sheets : sheet.sheet_id]) == toset(["sales", "purchases", "payments"])
    error_message = "Each fact has a sheet."
  }
  assert {
    condition     = alltrue([for sheet in aws_quicksight_dashboard.this.definition[0].sheets : length(sheet.visuals) == 2])
    error_message = "Each sheet has two visuals."
  }
}

run "a_network_has_private_subnets_in_two_zones" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    cidr           = "10.40.0.0/16"
    retention_days = 365
  }

  assert {
    condition     = length(toset(aws_subnet.private[*].availability_zone)) == 2 && !anytrue([for subnet in aws_subnet.private : subnet.map_public_ip_on_launch])
    error_message = "Two zones, and no public addresses."
  }
}
