# One role for each component, with what it needs and nothing else, and the roles of Dagster's own processes.
#
# What a component may do is a row of `needs`; the statements are made from it in one way for all. The tests run each
# component under its role, and see every other call refused.

locals {
  arn = "arn:${var.partition}"

  # read, write, delete, tag: buckets by use. ledger: reads which batches are complete. queue: the notifications of
  # uploads. alerts: may publish to the topic of alarms.
  needs = {
    extraction     = { read = ["ingestion"], write = ["ingestion"] }
    transformation = { read = ["ingestion", "processed"], write = ["processed"] }
    inspection = {
      read   = ["uploads", "ingestion", "processed"]
      write  = concat(["processed"], local.quarantine)
      tag    = ["uploads"]
      delete = length(local.quarantine) == 0 ? [] : ["uploads"]
      queue  = true
      alerts = true
    }
    loads    = { read = ["processed"], ledger = true }
    delivery = { read = ["processed"], write = ["processed"], alerts = true }
    upkeep   = { read = ["ingestion", "processed"], write = ["ingestion", "processed"], delete = ["ingestion", "processed"] }
    # The code location looks for new uploads, and records and sends alerts.
    sensors = { read = ["uploads", "ingestion", "processed"], write = ["processed"], queue = true, alerts = true }
  }
  quarantine = contains(keys(var.bucket_arns), "quarantine") ? ["quarantine"] : []

  # A run of the main job is one process that reads the source, builds the star and loads the warehouse.
  roles = merge(
    { for component in ["extraction", "transformation", "inspection", "loads", "delivery", "upkeep"] : component => [component, "runs"] },
    {
      run           = ["extraction", "transformation", "loads", "runs"]
      code-location = ["sensors"]
      webserver     = ["watching"]
      daemon        = ["watching", "launching"]
    }
  )

  # All that a component could need, on the resources that it does need; what has no resource is left out.
  statements = {
    for component, needs in local.needs : component => [
      for statement in [
        {
          Sid      = "List"
          Effect   = "Allow"
          Action   = ["s3:ListBucket", "s3:GetBucketLocation"]
          Resource = [for use in distinct(concat(needs.read, try(needs.write, []))) : var.bucket_arns[use]]
        },
        {
          Sid      = "Read"
          Effect   = "Allow"
          Action   = ["s3:GetObject"]
          Resource = [for use in needs.read : "${var.bucket_arns[use]}/*"]
        },
        {
          Sid       = "ListLedger"
          Effect    = "Allow"
          Action    = ["s3:ListBucket"]
          Resource  = [for arn in [var.bucket_arns["ingestion"]] : arn if try(needs.ledger, false)]
          Condition = { StringLike = { "s3:prefix" = ["_ledger", "_ledger/*"] } }
        },
        {
          Sid      = "ReadLedger"
          Effect   = "Allow"
          Action   = ["s3:GetObject"]
          Resource = [for arn in [var.bucket_arns["ingestion"]] : "${arn}/_ledger/*" if try(needs.ledger, false)]
        },
        {
          Sid      = "Write"
          Effect   = "Allow"
          Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
          Resource = [for use in try(needs.write, []) : "${var.bucket_arns[use]}/*"]
        },
        {
          Sid      = "Delete"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject"]
          Resource = [for use in try(needs.delete, []) : "${var.bucket_arns[use]}/*"]
        },
        {
          Sid      = "Tag"
          Effect   = "Allow"
          Action   = ["s3:GetObjectTagging", "s3:PutObjectTagging"]
          Resource = [for use in try(needs.tag, []) : "${var.bucket_arns[use]}/*"]
        },
        {
          Sid      = "ReadKey"
          Effect   = "Allow"
          Action   = ["kms:Decrypt"]
          Resource = [var.data_key_arn]
        },
        {
          Sid      = "WriteKey"
          Effect   = "Allow"
          Action   = ["kms:GenerateDataKey"]
          Resource = [for key in [var.data_key_arn] : key if length(try(needs.write, [])) > 0]
        },
        {
          Sid      = "Deliver"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
          Resource = [for place in var.delivery_places : "${local.arn}:s3:::${place}/*" if component == "delivery"]
        },
        {
          Sid      = "Secrets"
          Effect   = "Allow"
          Action   = ["secretsmanager:GetSecretValue"]
          Resource = local.secrets[component]
        },
        {
          Sid       = "SecretsKey"
          Effect    = "Allow"
          Action    = ["kms:Decrypt"]
          Resource  = [for key in [var.operation_key_arn] : key if length(local.secrets[component]) > 0]
          Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.amazonaws.com" } }
        },
        {
          Sid      = "Notifications"
          Effect   = "Allow"
          Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
          Resource = [for queue in [var.queue_arn] : queue if try(needs.queue, false)]
        },
        {
          Sid      = "Alerts"
          Effect   = "Allow"
          Action   = ["sns:Publish"]
          Resource = [for topic in [var.topic_arn] : topic if try(needs.alerts, false)]
        },
        {
          Sid       = "AlertsKey"
          Effect    = "Allow"
          Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource  = [for key in [var.operation_key_arn] : key if try(needs.alerts, false)]
          Condition = { StringEquals = { "kms:ViaService" = "sns.${var.region}.amazonaws.com" } }
        },
      ] : statement if length(statement.Resource) > 0
    ]
  }

  secrets = {
    for component in keys(local.needs) : component => sort([
      for name, secret in var.secrets : secret.arn if contains(secret.readers, component)
    ])
  }

  # Dagster's own needs: output of steps into the bucket of runs, and starting and ending tasks.
  dagster = {
    runs = [
      {
        Sid      = "WriteOutputOfSteps"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = ["${var.bucket_arns["runs"]}/*"]
      },
      {
        Sid      = "WriteOutputKey"
        Effect   = "Allow"
        Action   = ["kms:GenerateDataKey"]
        Resource = [var.data_key_arn]
      },
    ]
    watching = [
      {
        Sid      = "ReadOutputOfSteps"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${var.bucket_arns["runs"]}/*"]
      },
      {
        Sid      = "ListOutputOfSteps"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [var.bucket_arns["runs"]]
      },
      {
        Sid      = "ReadOutputKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = [var.data_key_arn]
      },
      {
        Sid      = "WatchAndEndRuns"
        Effect   = "Allow"
        Action   = ["ecs:DescribeTasks", "ecs:StopTask"]
        Resource = ["${local.arn}:ecs:${var.region}:${var.account_id}:task/${var.name}/*"]
      },
      {
        # AWS knows no resource for this action.
        Sid      = "ReadTaskDefinitions"
        Effect   = "Allow"
        Action   = ["ecs:DescribeTaskDefinition"]
        Resource = ["*"]
      },
    ]
    launching = [
      {
        Sid      = "StartRuns"
        Effect   = "Allow"
        Action   = ["ecs:RunTask"]
        Resource = ["${local.arn}:ecs:${var.region}:${var.account_id}:task-definition/${var.name}-run:*"]
        Condition = {
          ArnEquals = { "ecs:cluster" = "${local.arn}:ecs:${var.region}:${var.account_id}:cluster/${var.name}" }
        }
      },
      {
        Sid       = "NameRuns"
        Effect    = "Allow"
        Action    = ["ecs:TagResource"]
        Resource  = ["${local.arn}:ecs:${var.region}:${var.account_id}:task/${var.name}/*"]
        Condition = { StringEquals = { "ecs:CreateAction" = "RunTask" } }
      },
      {
        # A run gets one of the roles of runs, and never the daemon's own.
        Sid    = "GiveRunsTheirRoles"
        Effect = "Allow"
        Action = ["iam:PassRole"]
        Resource = concat(
          [aws_iam_role.execution.arn],
          [for name, role in aws_iam_role.this : role.arn if contains(local.roles[name], "runs")]
        )
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
      {
        Sid      = "SayWhyARunEnded"
        Effect   = "Allow"
        Action   = ["logs:GetLogEvents"]
        Resource = ["${local.arn}:logs:${var.region}:${var.account_id}:log-group:/${var.name}/runs:log-stream:*"]
      },
    ]
  }

  by_ecs = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = var.account_id }
        ArnLike      = { "aws:SourceArn" = "${local.arn}:ecs:${var.region}:${var.account_id}:*" }
      }
    }]
  })

  attached = merge([
    for role, parts in local.roles : { for part in parts : "${role}/${part}" => { role = role, part = part } }
  ]...)
}

resource "aws_iam_role" "this" {
  for_each           = local.roles
  name               = "${var.name}-${each.key}"
  description        = "The platform's component ${each.key}"
  assume_role_policy = local.by_ecs
}

resource "aws_iam_policy" "this" {
  for_each    = toset(concat(keys(local.statements), keys(local.dagster)))
  name        = "${var.name}-${each.key}"
  description = "What the platform's ${each.key} needs"
  policy      = jsonencode({ Version = "2012-10-17", Statement = try(local.statements[each.key], local.dagster[each.key]) })
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each   = local.attached
  role       = aws_iam_role.this[each.value.role].name
  policy_arn = aws_iam_policy.this[each.value.part].arn
}

# The role of ECS's agent: it pulls the image, writes logs, and hands tasks the password of Dagster's database.
resource "aws_iam_role" "execution" {
  name               = "${var.name}-execution"
  description        = "Starts the platform's tasks"
  assume_role_policy = local.by_ecs
}

resource "aws_iam_role_policy" "execution" {
  name = "start-tasks"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # AWS knows no resource for this action.
        Sid      = "SignInToTheRegistry"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
      {
        Sid      = "PullTheImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = [var.registry_arn]
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${local.arn}:logs:${var.region}:${var.account_id}:log-group:/${var.name}/*"]
      },
      {
        Sid      = "HandOverThePassword"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [var.storage_secret_arn]
      },
      {
        Sid      = "SecretsKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = [var.operation_key_arn]
        Condition = {
          StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.amazonaws.com" }
        }
      },
    ]
  })
}
