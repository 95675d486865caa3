data "aws_caller_identity" "me" {}
data "aws_partition" "here" {}

locals {
  account_id = data.aws_caller_identity.me.account_id
  partition  = data.aws_partition.here.partition
  prefix     = coalesce(var.bucket_prefix, "${var.name}-${local.account_id}")
  network    = var.network == null ? one(module.network) : { vpc_id = var.network.vpc_id, private_subnet_ids = var.network.private_subnet_ids }

  # Secrets that are always there, and yours.
  secrets = merge(
    {
      totesys = { description = "The source: a JSON object with password", readers = ["extraction"] }
      dlp-key = { description = "The key of fingerprints and tokens: dlp.key", readers = ["inspection", "loads", "delivery"] }
    },
    var.secrets
  )
  # A deleted secret keeps its name for a while; a trial is set up again at once.
  recovery_days = var.protect ? 30 : 0

  warehouse = one(module.warehouse)

  # What config/aws.conf reads.
  environment = merge(
    {
      PLATFORM_CONFIG    = "${var.app_dir}/config/aws.conf"
      PLATFORM_STATE_DIR = var.state_dir
      LAKE_INGESTION     = "s3://${module.buckets.names["ingestion"]}"
      LAKE_PROCESSED     = "s3://${module.buckets.names["processed"]}"
      UPLOADS_PLACE      = "s3://${module.buckets.names["uploads"]}"
      UPLOADS_QUEUE      = module.buckets.queue_url
      TOTESYS_HOST       = var.totesys.host
      TOTESYS_PORT       = tostring(var.totesys.port)
      TOTESYS_DATABASE   = var.totesys.database
      TOTESYS_USER       = var.totesys.user
      TOTESYS_SCHEMA     = var.totesys.schema
      TOTESYS_SSLMODE    = var.totesys.sslmode
      TOTESYS_SECRET     = module.secrets.names["totesys"]
      DLP_KEY_SECRET     = module.secrets.names["dlp-key"]
      ALERTS_TOPIC       = module.alarms.topic_arn
      DAGSTER_URL        = var.url
    },
    local.warehouse == null ? {} : {
      WAREHOUSE_HOST     = local.warehouse.host
      WAREHOUSE_DATABASE = local.warehouse.database
      WAREHOUSE_USER     = local.warehouse.user
      WAREHOUSE_SECRET   = local.warehouse.secret_name
    },
    var.quarantine ? { UPLOADS_QUARANTINE = "s3://${module.buckets.names["quarantine"]}" } : {},
    var.environment
  )

  # Dagster's instance: dagster.yaml of one machine, with storage in PostgreSQL, and with runs and logs as
  # deploy/dagster/ecs.yaml has them, in the tasks and the bucket of this configuration.
  one_machine = yamldecode(file("${path.module}/../../../dagster.yaml"))
  on_ecs      = yamldecode(file("${path.module}/../../dagster/ecs.yaml"))
  instance = merge(
    { for key, value in local.one_machine : key => value if key != "instance_class" },
    local.on_ecs,
    {
      storage = {
        postgres = {
          postgres_db = {
            hostname = module.storage.host
            db_name  = module.storage.database
            username = { env = "DAGSTER_POSTGRES_USER" }
            password = { env = "DAGSTER_POSTGRES_PASSWORD" }
            params   = { sslmode = "require" }
          }
        }
      }
      run_launcher = merge(local.on_ecs.run_launcher, {
        config = merge(local.on_ecs.run_launcher.config, {
          # The tasks of runs are declared here, so that nobody needs the right to register others.
          use_current_ecs_task_config = false
          task_definition             = "${var.name}-run"
          container_name              = "run"
          run_resources               = {} # those of the task; a larger job asks for more by its tags ecs/cpu and ecs/memory
          run_task_kwargs = {
            cluster       = var.name
            launchType    = "FARGATE"
            propagateTags = "TASK_DEFINITION"
            networkConfiguration = {
              awsvpcConfiguration = {
                subnets        = local.network.private_subnet_ids
                securityGroups = [module.services.security_group_ids["run"]]
                assignPublicIp = "DISABLED"
              }
            }
          }
        })
      })
      compute_logs = merge(local.on_ecs.compute_logs, {
        config = merge(local.on_ecs.compute_logs.config, {
          bucket    = module.buckets.names["runs"]
          region    = var.region
          local_dir = "${var.state_dir}/compute-logs"
        })
      })
      concurrency = {
        runs = merge(local.one_machine.concurrency.runs, { max_concurrent_runs = var.concurrent_runs })
      }
    }
  )
}

module "keys" {
  source = "./modules/keys"

  name   = var.name
  region = var.region
}

module "network" {
  source = "./modules/network"
  count  = var.network == null ? 1 : 0

  name           = var.name
  region         = var.region
  cidr           = var.network_cidr
  retention_days = var.log_days
  key_arn        = module.keys.operation_arn
}

module "buckets" {
  source = "./modules/buckets"

  name            = var.name
  prefix          = local.prefix
  account_id      = local.account_id
  key_arn         = module.keys.data_arn
  quarantine      = var.quarantine
  noncurrent_days = var.noncurrent_days
  uploads_days    = var.uploads_days
  run_log_days    = var.run_log_days
  access_log_days = 90
  force_destroy   = !var.protect
}

module "secrets" {
  source = "./modules/secrets"

  name          = var.name
  secrets       = { for name, secret in local.secrets : name => { description = secret.description } }
  key_arn       = module.keys.operation_arn
  recovery_days = local.recovery_days
}

module "registry" {
  source = "./modules/registry"

  name          = var.name
  key_arn       = module.keys.operation_arn
  keep_images   = 20
  force_destroy = !var.protect
}

module "roles" {
  source = "./modules/roles"

  name               = var.name
  region             = var.region
  account_id         = local.account_id
  partition          = local.partition
  bucket_arns        = module.buckets.arns
  queue_arn          = module.buckets.queue_arn
  topic_arn          = module.alarms.topic_arn
  data_key_arn       = module.keys.data_arn
  operation_key_arn  = module.keys.operation_arn
  registry_arn       = module.registry.arn
  storage_secret_arn = module.storage.secret_arn
  delivery_places    = var.delivery_places
  secrets = merge(
    { for name, secret in local.secrets : name => { arn = module.secrets.arns[name], readers = secret.readers } },
    # Inspection looks at its columns; upkeep asks which versions of tables it still needs.
    local.warehouse == null ? {} : {
      warehouse = { arn = local.warehouse.secret_arn, readers = ["loads", "inspection", "upkeep"] }
    }
  )
}

module "storage" {
  source = "./modules/database"

  name                = "${var.name}-dagster"
  database            = "dagster"
  vpc_id              = local.network.vpc_id
  subnet_ids          = local.network.private_subnet_ids
  clients             = module.services.security_group_ids
  key_arn             = module.keys.operation_arn
  engine_version      = var.postgres_version
  instance_class      = var.storage.instance_class
  storage_gb          = var.storage.storage_gb
  multi_az            = var.storage.multi_az
  backup_days         = var.storage.backup_days
  deletion_protection = var.protect
  recovery_days       = local.recovery_days
  password_version    = var.storage.password_version
}

module "warehouse" {
  source = "./modules/database"
  count  = var.warehouse == null ? 0 : 1

  name       = "${var.name}-warehouse"
  database   = "analytics"
  vpc_id     = local.network.vpc_id
  subnet_ids = local.network.private_subnet_ids
  clients = merge(
    { for process in ["code-location", "run"] : process => module.services.security_group_ids[process] },
    var.quicksight == null ? {} : { quicksight = module.quicksight[0].security_group_id }
  )
  key_arn             = module.keys.operation_arn
  engine_version      = var.postgres_version
  instance_class      = var.warehouse.instance_class
  storage_gb          = var.warehouse.storage_gb
  multi_az            = var.warehouse.multi_az
  backup_days         = var.warehouse.backup_days
  deletion_protection = var.protect
  recovery_days       = local.recovery_days
  password_version    = var.warehouse.password_version
}

module "services" {
  source = "./modules/services"

  name                       = var.name
  region                     = var.region
  vpc_id                     = local.network.vpc_id
  subnet_ids                 = local.network.private_subnet_ids
  image                      = var.image
  architecture               = var.architecture
  sizes                      = var.sizes
  environment                = local.environment
  commands                   = var.commands
  instance                   = yamlencode(local.instance)
  state_dir                  = var.state_dir
  role_arns                  = module.roles.role_arns
  execution_role_arn         = module.roles.execution_role_arn
  storage_secret_arn         = module.storage.secret_arn
  operation_key_arn          = module.keys.operation_arn
  retention_days             = var.log_days
  container_insights         = var.container_insights
  target_group_arn           = module.balancer.target_group_arn
  balancer_security_group_id = module.balancer.security_group_id
  egress_ports               = var.egress_ports
}

module "balancer" {
  source = "./modules/balancer"

  name                        = var.name
  vpc_id                      = local.network.vpc_id
  subnet_ids                  = local.network.private_subnet_ids
  allowed_cidrs               = var.allowed_cidrs
  webserver_security_group_id = module.services.security_group_ids["webserver"]
  certificate_arn             = var.certificate_arn
  oidc                        = var.oidc
  access_log_bucket           = module.buckets.access_name
  deletion_protection         = var.protect
}

module "alarms" {
  source = "./modules/alarms"

  name              = var.name
  region            = var.region
  account_id        = local.account_id
  key_arn           = module.keys.operation_arn
  emails            = var.alarm_emails
  log_groups        = module.services.log_groups
  main_job          = "totesys_to_warehouse"
  source_name       = "totesys"
  most_errors       = var.alarms.most_errors
  tick_minutes      = var.alarms.tick_minutes
  stale_minutes     = var.alarms.stale_minutes
  mail_schedule     = var.alarms.mail_schedule
  cluster_name      = module.services.cluster_name
  services          = ["webserver", "daemon", "code-location"]
  balancer          = module.balancer.arn_suffix
  target_group      = module.balancer.target_group_arn_suffix
  unread_queue_name = module.buckets.unread_queue_name
  databases = merge(
    { storage = module.storage.instance_id },
    local.warehouse == null ? {} : { warehouse = local.warehouse.instance_id }
  )
}

module "quicksight" {
  source = "./modules/quicksight"
  count  = var.quicksight == null ? 0 : 1

  name        = var.name
  account_id  = local.account_id
  vpc_id      = local.network.vpc_id
  subnet_ids  = local.network.private_subnet_ids
  star_schema = var.quicksight.star_schema
  owner_arn   = var.quicksight.owner_arn
  warehouse = {
    host              = local.warehouse.host
    database          = local.warehouse.database
    secret_arn        = var.quicksight.reader_secret_arn
    security_group_id = local.warehouse.security_group_id
  }
}
