# From a line in a log to an e-mail: metric filters on the JSON logs, alarms, a topic; and what does not happen at all.

data "aws_partition" "here" {}

locals {
  namespace = "Platform/${var.name}"

  # What docs/logs.md promises to keep. Dagster's own processes name level and event in the same way.
  filters = merge(
    {
      for process, group in var.log_groups : "errors-${process}" => {
        group   = group
        metric  = "Errors"
        pattern = "{ ($.level = \"error\") || ($.level = \"critical\") }"
      }
    },
    {
      # A run whose process dies writes nothing; the rule `dead_tasks` below sees it.
      for process in ["run", "code-location"] : "failed-runs-${process}" => {
        group   = var.log_groups[process]
        metric  = "FailedRuns"
        pattern = "{ $.event = \"run_failed\" }"
      }
    },
    {
      ticks = {
        group   = var.log_groups["run"]
        metric  = "Ticks"
        pattern = "{ ($.event = \"run_started\") && ($.job = \"${var.main_job}\") }"
      }
      batches = {
        group   = var.log_groups["run"]
        metric  = "Batches"
        pattern = "{ ($.event = \"batch_committed\") && ($.source = \"${var.source_name}\") }"
      }
      stale = {
        group   = var.log_groups["run"]
        metric  = "StaleTables"
        pattern = "{ ($.event = \"check_failed\") && ($.check = \"freshness\") }"
      }
      heartbeats = {
        group   = aws_cloudwatch_log_group.heartbeat.name
        metric  = "Heartbeats"
        pattern = "{ $.source = \"aws.events\" }"
      }
    }
  )

  # Alarms on our own metrics. `missing`: what it means that there is no value.
  alarms = {
    errors = {
      metric      = "Errors"
      about       = "Lines of the level error. Look at the log groups; docs/troubleshooting.md says what they mean."
      comparison  = "GreaterThanOrEqualToThreshold"
      threshold   = var.most_errors
      minutes     = 5
      missing     = "notBreaching"
      evaluations = 1
    }
    failed-runs = {
      metric      = "FailedRuns"
      about       = "A run has failed. The UI has its reason, under Runs."
      comparison  = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      minutes     = 5
      missing     = "notBreaching"
      evaluations = 1
    }
    missing-ticks = {
      metric      = "Ticks"
      about       = "The main job has not started for ${var.tick_minutes} minutes. Is its schedule on, and does the daemon run?"
      comparison  = "LessThanThreshold"
      threshold   = 1
      minutes     = var.tick_minutes
      missing     = "breaching"
      evaluations = 1
    }
    stale-data = {
      metric      = "Batches"
      about       = "No batch was read for ${var.stale_minutes} minutes. Tables are older than their readers expect."
      comparison  = "LessThanThreshold"
      threshold   = 1
      minutes     = var.stale_minutes
      missing     = "breaching"
      evaluations = 1
    }
    stale-tables = {
      metric      = "StaleTables"
      about       = "The check `freshness` of a table has failed. The UI names the table."
      comparison  = "GreaterThanOrEqualToThreshold"
      threshold   = 1
      minutes     = 15
      missing     = "notBreaching"
      evaluations = 1
    }
    heartbeat = {
      metric      = "Heartbeats"
      about       = "EventBridge's heartbeat stays away: nothing that this topic says, or does not say, can be relied on."
      comparison  = "LessThanThreshold"
      threshold   = 1
      minutes     = 15
      missing     = "breaching"
      evaluations = 2
    }
  }
}

resource "aws_sns_topic" "this" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.key_arn
}

resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AlarmsAndEventsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com"] }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.this.arn
        Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.this.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# Everybody confirms by a link in a first e-mail; until then nothing is sent to them.
resource "aws_sns_topic_subscription" "email" {
  for_each  = var.emails
  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each       = local.filters
  name           = "${var.name}-${each.key}"
  log_group_name = each.value.group
  pattern        = each.value.pattern

  metric_transformation {
    namespace     = local.namespace
    name          = each.value.metric
    value         = "1"
    default_value = "0"
    unit          = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.about
  namespace           = local.namespace
  metric_name         = each.value.metric
  statistic           = "Sum"
  period              = each.value.minutes * 60
  evaluation_periods  = each.value.evaluations
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

resource "aws_cloudwatch_metric_alarm" "unread" {
  alarm_name          = "${var.name}-unread-notifications"
  alarm_description   = "Messages about uploads cannot be read. Listings find the uploads; look at ${var.unread_queue_name}."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = var.unread_queue_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

# ECS sends a value for each minute in which a task of the service runs.
resource "aws_cloudwatch_metric_alarm" "service" {
  for_each            = var.services
  alarm_name          = "${var.name}-no-${each.value}"
  alarm_description   = "No task of the service ${each.value} has run for ten minutes. ECS says why, under Events of the service."
  namespace           = "AWS/ECS"
  metric_name         = "CPUUtilization"
  dimensions          = { ClusterName = var.cluster_name, ServiceName = each.value }
  statistic           = "SampleCount"
  period              = 300
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

resource "aws_cloudwatch_metric_alarm" "ui" {
  alarm_name          = "${var.name}-ui"
  alarm_description   = "The load balancer gets no answer from the webserver."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = var.balancer, TargetGroup = var.target_group }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 10
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

resource "aws_cloudwatch_metric_alarm" "disk" {
  for_each            = var.databases
  alarm_name          = "${var.name}-disk-${each.key}"
  alarm_description   = "The database ${each.value} has less than 2 GB left, and has grown as far as it may."
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  dimensions          = { DBInstanceIdentifier = each.value }
  statistic           = "Minimum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = 2147483648
  treat_missing_data  = "missing"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

# A task that was killed, by a lack of memory or with its machine, logs nothing.
resource "aws_cloudwatch_event_rule" "dead_tasks" {
  name        = "${var.name}-dead-tasks"
  description = "Tasks that ended with another exit code than 0, or did not start"
  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail = {
      clusterArn = ["arn:${data.aws_partition.here.partition}:ecs:${var.region}:${var.account_id}:cluster/${var.cluster_name}"]
      lastStatus = ["STOPPED"]
      "$or" = [
        { containers = { exitCode = [{ anything-but = [0, 143] }] } }, # 143: it was asked to end, as in a deployment
        { stopCode = ["TaskFailedToStart"] },
      ]
    }
  })
}

resource "aws_cloudwatch_event_target" "dead_tasks" {
  rule      = aws_cloudwatch_event_rule.dead_tasks.name
  target_id = "alarms"
  arn       = aws_sns_topic.this.arn

  input_transformer {
    input_paths = {
      task   = "$.detail.taskArn"
      group  = "$.detail.group"
      reason = "$.detail.stoppedReason"
    }
    input_template = "\"A task of ${var.name} has died: <group>, <task>. Reason: <reason>\""
  }
}

# The heartbeat: EventBridge says every five minutes that it is alive, through a log group and a metric filter like
# those of the alarms; where it stays away, the silence of the other alarms means nothing.
resource "aws_cloudwatch_log_group" "heartbeat" {
  #checkov:skip=CKV_AWS_338:A heartbeat of last week says nothing.
  name              = "/aws/events/${var.name}-heartbeat" # EventBridge writes only to names that begin so
  retention_in_days = 7
  kms_key_id        = var.key_arn
}

data "aws_iam_policy_document" "heartbeat" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.heartbeat.arn}:*"]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com", "delivery.logs.amazonaws.com"]
    }
  }
}

resource "aws_cloudwatch_log_resource_policy" "heartbeat" {
  policy_name     = "${var.name}-heartbeat"
  policy_document = data.aws_iam_policy_document.heartbeat.json
}

resource "aws_cloudwatch_event_rule" "heartbeat" {
  name                = "${var.name}-heartbeat"
  description         = "A sign of life of EventBridge and CloudWatch"
  schedule_expression = "rate(5 minutes)"
}

resource "aws_cloudwatch_event_target" "heartbeat" {
  rule       = aws_cloudwatch_event_rule.heartbeat.name
  target_id  = "log"
  arn        = aws_cloudwatch_log_group.heartbeat.arn
  depends_on = [aws_cloudwatch_log_resource_policy.heartbeat]
}

# And once a week people see that e-mails arrive.
resource "aws_cloudwatch_event_rule" "mail" {
  name                = "${var.name}-mail"
  description         = "Proves that e-mails of alarms arrive"
  schedule_expression = var.mail_schedule
}

resource "aws_cloudwatch_event_target" "mail" {
  rule      = aws_cloudwatch_event_rule.mail.name
  target_id = "alarms"
  arn       = aws_sns_topic.this.arn
  input     = jsonencode("The alarms of ${var.name} reach you. If this message stays away one week, look at the topic ${var.name}-alarms.")
}
