locals {
  labels = merge({ application = "platform_assets" }, var.labels)
  prefix = "${var.project}-${var.name}"
}

module "accounts" {
  source  = "./modules/accounts"
  project = var.project
  name    = var.name
}

module "lake" {
  source = "./modules/lake"
  count  = var.lake ? 1 : 0

  project       = var.project
  location      = var.location
  prefix        = local.prefix
  kms_key       = var.kms_key
  force_destroy = var.force_destroy
  accounts      = module.accounts.members
}

module "uploads" {
  source = "./modules/uploads"

  project       = var.project
  location      = var.location
  prefix        = local.prefix
  name          = var.name
  watch_prefix  = var.upload_prefix
  kms_key       = var.kms_key
  force_destroy = var.force_destroy
  keep_days     = var.upload_days
  inspector     = module.accounts.members["inspection"]
  sensors       = module.accounts.members["sensors"]
  uploaders     = var.uploaders
}

module "logs" {
  source = "./modules/logs"

  project       = var.project
  location      = var.location
  prefix        = local.prefix
  name          = var.name
  kms_key       = var.kms_key
  force_destroy = var.force_destroy
  accounts      = { for component, member in module.accounts.members : component => member if component != "webserver" }
  reader        = module.accounts.members["webserver"]
}

module "inspection" {
  source = "./modules/inspection"
  count  = var.google_inspector ? 1 : 0

  project   = var.project
  name      = var.name
  kms_key   = var.kms_key
  bucket    = module.uploads.bucket
  inspector = module.accounts.members["inspection"]
}

module "bigquery" {
  source = "./modules/bigquery"
  count  = var.warehouse == null ? 0 : 1

  project       = var.project
  location      = var.location
  star          = var.warehouse.star
  platform      = var.warehouse.platform
  others        = var.warehouse.others
  kms_key       = var.kms_key
  force_destroy = var.force_destroy
  loader        = module.accounts.members["loads"]
  readers       = var.readers
}
