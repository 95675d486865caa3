# Dagster's three processes on Fargate, and the definition of the tasks that runs are.

locals {
  processes = {
    webserver     = { port = 3000, role = "webserver", size = var.sizes.webserver }
    daemon        = { port = null, role = "daemon", size = var.sizes.daemon }
    code-location = { port = 4000, role = "code-location", size = var.sizes.code_location }
    run           = { port = null, role = "run", size = var.sizes.run }
  }
  groups = { webserver = "webserver", daemon = "daemon", code-location = "code-location", run = "runs" }

  home = "${var.state_dir}/dagster"

  # Dagster reads its instance and the address of the code location from files, which each task writes as it starts:
  # the image is the same everywhere.
  entry_point = ["sh", "-c", join(" && ", [
    "mkdir -p \"$DAGSTER_HOME\" \"$TMPDIR\"",
    "printf '%s' \"$DAGSTER_INSTANCE\" > \"$DAGSTER_HOME/dagster.yaml\"",
    "printf '%s' \"$DAGSTER_WORKSPACE\" > \"$DAGSTER_HOME/workspace.yaml\"",
    "exec \"$@\"",
  ]), "--"]

  workspace = yamlencode({
    load_from = [{
      grpc_server = {
        host          = "code-location.${aws_service_discovery_private_dns_namespace.this.name}"
        port          = 4000
        location_name = "platform_assets"
      }
    }]
  })

  environment = merge(
    {
      AWS_REGION                = var.region
      LOG_FORMAT                = "json"
      DAGSTER_HOME              = local.home
      DAGSTER_INSTANCE          = var.instance
      DAGSTER_WORKSPACE         = local.workspace
      DAGSTER_DISABLE_TELEMETRY = "yes"
      TMPDIR                    = "${var.state_dir}/tmp"
    },
    var.environment
  )
  secrets = {
    DAGSTER_POSTGRES_USER     = "${var.storage_secret_arn}:username::"
    DAGSTER_POSTGRES_PASSWORD = "${var.storage_secret_arn}:password::"
  }

  command = merge(
    {
      webserver     = ["dagster-webserver", "--host", "0.0.0.0", "--port", "3000", "--workspace", "${local.home}/workspace.yaml", "--log-format", "json"]
      daemon        = ["dagster-daemon", "run", "--workspace", "${local.home}/workspace.yaml", "--log-format", "json"]
      code-location = ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "platform_assets.definitions", "--location-name", "platform_assets", "--log-format", "json"]
      run           = ["dagster", "--version"] # the launcher of runs replaces it
    },
    var.commands
  )

  # The webserver's health is seen by the load balancer.
  health = {
    daemon        = ["CMD", "dagster-daemon", "liveness-check"]
    code-location = ["CMD", "dagster", "api", "grpc-health-check", "--port", "4000"]
  }
}

resource "aws_ecs_cluster" "this" {
  #checkov:skip=CKV_AWS_65:A metric for each container costs more than the webserver; set container_insights for a search.
  name = var.name

  setting {
    name  = "containerInsights"
    value = var.container_insights ? "enabled" : "disabled"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each          = local.groups
  name              = "/${var.name}/${each.value}"
  retention_in_days = var.retention_days
  kms_key_id        = var.operation_key_arn
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = "${var.name}.internal"
  description = "Where the webserver and the daemon find the code location"
  vpc         = var.vpc_id
}

resource "aws_service_discovery_service" "code_location" {
  name = "code-location"

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.this.id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_ecs_task_definition" "this" {
  for_each                 = local.processes
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.size.cpu
  memory                   = each.value.size.memory
  execution_role_arn       = var.execution_role_arn
  task_role_arn            = var.role_arns[each.value.role]

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  ephemeral_storage {
    size_in_gib = each.value.size.disk_gb
  }

  # The root file system is read-only; what is written goes here, and ends with the task. The image declares the folder
  # as a volume, so that it belongs to the image's user.
  volume {
    name = "state"
  }

  container_definitions = jsonencode([merge(
    {
      name                   = each.key
      image                  = var.image
      essential              = true
      entryPoint             = local.entry_point
      command                = local.command[each.key]
      cpu                    = 0
      readonlyRootFilesystem = true
      stopTimeout            = 120
      environment            = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
      secrets                = [for name in sort(keys(local.secrets)) : { name = name, valueFrom = local.secrets[name] }]
      mountPoints            = [{ sourceVolume = "state", containerPath = var.state_dir, readOnly = false }]
      volumesFrom            = []
      systemControls         = []
      portMappings           = each.value.port == null ? [] : [{ containerPort = each.value.port, hostPort = each.value.port, protocol = "tcp" }]
      linuxParameters = {
        initProcessEnabled = true # a run starts processes, and somebody has to wait for their end
      }
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          "awslogs-group"         = aws_cloudwatch_log_group.this[each.key].name
          "awslogs-region"        = var.region
          "awslogs-stream-prefix" = each.key
        }
      }
    },
    contains(keys(local.health), each.key) ? {
      healthCheck = { command = local.health[each.key], interval = 30, timeout = 20, retries = 3, startPeriod = 120 }
    } : {}
  )])
}

resource "aws_ecs_service" "this" {
  for_each               = toset(["webserver", "daemon", "code-location"])
  name                   = each.key
  cluster                = aws_ecs_cluster.this.id
  task_definition        = aws_ecs_task_definition.this[each.key].arn
  desired_count          = 1
  launch_type            = "FARGATE"
  platform_version       = "LATEST"
  enable_execute_command = false
  propagate_tags         = "SERVICE"

  # There is never a second daemon: it would tick twice. The others are replaced without a gap.
  deployment_minimum_healthy_percent = each.key == "daemon" ? 0 : 100
  deployment_maximum_percent         = each.key == "daemon" ? 100 : 200
  health_check_grace_period_seconds  = each.key == "webserver" ? 120 : null

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.this[each.key].id]
    assign_public_ip = false
  }

  dynamic "load_balancer" {
    for_each = each.key == "webserver" ? [var.target_group_arn] : []
    content {
      target_group_arn = load_balancer.value
      container_name   = "webserver"
      container_port   = 3000
    }
  }

  dynamic "service_registries" {
    for_each = each.key == "code-location" ? [aws_service_discovery_service.code_location.arn] : []
    content {
      registry_arn = service_registries.value
    }
  }
}

# Who speaks to whom: balancer to webserver, webserver and daemon to code location, all of them to databases and out.
resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5:The group of runs is named to the launcher of runs, which Terraform does not see.
  for_each    = local.processes
  name        = "${var.name}-${each.key}"
  description = "The platform: ${each.key}"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = aws_security_group.this
  security_group_id = each.value.id
  description       = "HTTPS: services of AWS, and channels of alerts"
  cidr_ipv4         = "0.0.0.0/0"
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
}

# Databases of the platform, and those that it reads: their addresses are not known here.
resource "aws_vpc_security_group_egress_rule" "postgres" {
  for_each          = aws_security_group.this
  security_group_id = each.value.id
  description       = "PostgreSQL: Dagster's storage, sources, the warehouse"
  cidr_ipv4         = "0.0.0.0/0"
  from_port         = 5432
  to_port           = 5432
  ip_protocol       = "tcp"
}

# Further ports that runs and sensors need: SFTP and mail servers of deliveries and alerts.
resource "aws_vpc_security_group_egress_rule" "more" {
  for_each = merge([
    for process in ["code-location", "run"] : { for port in var.egress_ports : "${process}/${port}" => { process = process, port = port } }
  ]...)
  security_group_id = aws_security_group.this[each.value.process].id
  description       = "Port ${each.value.port}, for deliveries and alerts"
  cidr_ipv4         = "0.0.0.0/0"
  from_port         = each.value.port
  to_port           = each.value.port
  ip_protocol       = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "grpc" {
  for_each                     = toset(["webserver", "daemon"])
  security_group_id            = aws_security_group.this[each.key].id
  description                  = "gRPC to the code location"
  referenced_security_group_id = aws_security_group.this["code-location"].id
  from_port                    = 4000
  to_port                      = 4000
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_ingress_rule" "grpc" {
  for_each                     = toset(["webserver", "daemon"])
  security_group_id            = aws_security_group.this["code-location"].id
  description                  = "gRPC from the ${each.key}"
  referenced_security_group_id = aws_security_group.this[each.key].id
  from_port                    = 4000
  to_port                      = 4000
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_ingress_rule" "ui" {
  security_group_id            = aws_security_group.this["webserver"].id
  description                  = "HTTP from the load balancer, and from nobody else: the UI has no login of its own"
  referenced_security_group_id = var.balancer_security_group_id
  from_port                    = 3000
  to_port                      = 3000
  ip_protocol                  = "tcp"
}
