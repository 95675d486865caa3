# A dashboard in QuickSight on the warehouse in PostgreSQL. Amounts of different currencies are never added up.

locals {
  order_columns = [
    { name = "created_date", type = "DATETIME" },
    { name = "counterparty", type = "STRING" },
    { name = "country", type = "STRING" },
    { name = "currency", type = "STRING" },
    { name = "amount", type = "DECIMAL" },
  ]
  data_sets = {
    sales = {
      title   = "Sales"
      columns = concat(local.order_columns, [{ name = "units", type = "INTEGER" }, { name = "design", type = "STRING" }])
      sql     = <<-SQL
        SELECT s.created_date, c.counterparty_legal_name AS counterparty, c.counterparty_legal_country AS country,
               m.currency_code AS currency, s.units_sold * s.unit_price AS amount, s.units_sold AS units,
               d.design_name AS design
        FROM ${var.star_schema}.fact_sales_order_current AS s
        JOIN ${var.star_schema}.dim_counterparty AS c USING (counterparty_id)
        JOIN ${var.star_schema}.dim_currency AS m USING (currency_id)
        JOIN ${var.star_schema}.dim_design AS d USING (design_id)
      SQL
    }
    purchases = {
      title   = "Purchases"
      columns = concat(local.order_columns, [{ name = "quantity", type = "INTEGER" }])
      sql     = <<-SQL
        SELECT p.created_date, c.counterparty_legal_name AS counterparty, c.counterparty_legal_country AS country,
               m.currency_code AS currency, p.item_quantity * p.item_unit_price AS amount, p.item_quantity AS quantity
        FROM ${var.star_schema}.fact_purchase_order_current AS p
        JOIN ${var.star_schema}.dim_counterparty AS c USING (counterparty_id)
        JOIN ${var.star_schema}.dim_currency AS m USING (currency_id)
      SQL
    }
    payments = {
      title   = "Payments"
      columns = concat(local.order_columns, [{ name = "payment_type", type = "STRING" }, { name = "paid", type = "STRING" }])
      sql     = <<-SQL
        SELECT p.created_date, c.counterparty_legal_name AS counterparty, c.counterparty_legal_country AS country,
               m.currency_code AS currency, p.payment_amount AS amount, t.payment_type_name AS payment_type,
               CASE WHEN p.paid THEN 'paid' ELSE 'open' END AS paid
        FROM ${var.star_schema}.fact_payment_current AS p
        JOIN ${var.star_schema}.dim_counterparty AS c USING (counterparty_id)
        JOIN ${var.star_schema}.dim_currency AS m USING (currency_id)
        JOIN ${var.star_schema}.dim_payment_type AS t USING (payment_type_id)
      SQL
    }
  }
  read = [
    "quicksight:DescribeDataSet", "quicksight:DescribeDataSetPermissions", "quicksight:PassDataSet",
    "quicksight:DescribeIngestion", "quicksight:ListIngestions",
  ]
  # The second figure of each sheet, beside the amount for each month: a column of its data set.
  compared = { sales = "design", purchases = "counterparty", payments = "payment_type" }
}

# QuickSight reaches the private subnets by network interfaces, which it makes with this role.
resource "aws_iam_role" "network" {
  name = "${var.name}-quicksight"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "quicksight.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "network" {
  #checkov:skip=CKV_AWS_290:AWS knows no resource for network interfaces that do not exist yet.
  #checkov:skip=CKV_AWS_355:As above.
  name = "network-interfaces"
  role = aws_iam_role.network.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "ec2:CreateNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute", "ec2:DeleteNetworkInterface",
        "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups",
      ]
      Resource = ["*"]
    }]
  })
}

resource "aws_security_group" "this" {
  name        = "${var.name}-quicksight"
  description = "QuickSight: PostgreSQL to the warehouse"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-quicksight" }
}

resource "aws_vpc_security_group_egress_rule" "warehouse" {
  security_group_id            = aws_security_group.this.id
  description                  = "PostgreSQL to the warehouse"
  referenced_security_group_id = var.warehouse.security_group_id
  from_port                    = 5432
  to_port                      = 5432
  ip_protocol                  = "tcp"
}

# QuickSight's interfaces keep no state: answers come in by any port, from the warehouse alone.
resource "aws_vpc_security_group_ingress_rule" "answers" {
  #checkov:skip=CKV_AWS_24:Its source is the warehouse's group, not a network.
  #checkov:skip=CKV_AWS_25:Its source is the warehouse's group, not a network.
  #checkov:skip=CKV_AWS_260:Its source is the warehouse's group, not a network.
  security_group_id            = aws_security_group.this.id
  description                  = "Answers of the warehouse"
  referenced_security_group_id = var.warehouse.security_group_id
  from_port                    = 0
  to_port                      = 65535
  ip_protocol                  = "tcp"
}

resource "aws_quicksight_vpc_connection" "this" {
  vpc_connection_id  = var.name
  name               = var.name
  role_arn           = aws_iam_role.network.arn
  security_group_ids = [aws_security_group.this.id]
  subnet_ids         = var.subnet_ids
}

resource "aws_quicksight_data_source" "warehouse" {
  data_source_id = "${var.name}-warehouse"
  name           = "${var.name}: warehouse"
  type           = "POSTGRESQL"

  parameters {
    postgresql {
      host     = var.warehouse.host
      port     = 5432
      database = var.warehouse.database
    }
  }

  # A user that reads only; QuickSight reads its password from Secrets Manager.
  credentials {
    secret_arn = var.warehouse.secret_arn
  }

  vpc_connection_properties {
    vpc_connection_arn = aws_quicksight_vpc_connection.this.arn
  }

  ssl_properties {
    disable_ssl = false
  }

  permission {
    principal = var.owner_arn
    actions = [
      "quicksight:DescribeDataSource", "quicksight:DescribeDataSourcePermissions", "quicksight:PassDataSource",
      "quicksight:UpdateDataSource", "quicksight:DeleteDataSource", "quicksight:UpdateDataSourcePermissions",
    ]
  }
}

resource "aws_quicksight_data_set" "this" {
  for_each    = local.data_sets
  data_set_id = "${var.name}-${each.key}"
  name        = "${var.name}: ${each.value.title}"
  import_mode = "DIRECT_QUERY" # always what the warehouse has, and no capacity of SPICE to pay for

  physical_table_map {
    physical_table_map_id = each.key

    custom_sql {
      name            = each.key
      data_source_arn = aws_quicksight_data_source.warehouse.arn
      sql_query       = trimspace(each.value.sql)

      dynamic "columns" {
        for_each = each.value.columns
        content {
          name = columns.value.name
          type = columns.value.type
        }
      }
    }
  }

  permissions {
    principal = var.owner_arn
    actions = concat(local.read, [
      "quicksight:UpdateDataSet", "quicksight:DeleteDataSet", "quicksight:CreateIngestion",
      "quicksight:CancelIngestion", "quicksight:UpdateDataSetPermissions",
    ])
  }
}

resource "aws_quicksight_dashboard" "this" {
  dashboard_id        = var.name
  name                = "${var.name}: orders and payments"
  version_description = "Made by Terraform"

  permissions {
    principal = var.owner_arn
    actions = [
      "quicksight:DescribeDashboard", "quicksight:ListDashboardVersions", "quicksight:UpdateDashboardPermissions",
      "quicksight:QueryDashboard", "quicksight:UpdateDashboard", "quicksight:DeleteDashboard",
      "quicksight:DescribeDashboardPermissions", "quicksight:UpdateDashboardPublishedVersion",
    ]
  }

  definition {
    dynamic "data_set_identifiers_declarations" {
      for_each = local.data_sets
      content {
        identifier   = data_set_identifiers_declarations.key
        data_set_arn = aws_quicksight_data_set.this[data_set_identifiers_declarations.key].arn
      }
    }

    dynamic "sheets" {
      for_each = local.data_sets
      content {
        sheet_id = sheets.key
        name     = sheets.value.title
        title    = sheets.value.title

        visuals {
          line_chart_visual {
            visual_id = "${sheets.key}-months"

            title {
              format_text {
                plain_text = "${sheets.value.title} by month, one line for each currency"
              }
            }

            chart_configuration {
              type = "LINE"

              field_wells {
                line_chart_aggregated_field_wells {
                  category {
                    date_dimension_field {
                      field_id         = "${sheets.key}-month"
                      date_granularity = "MONTH"

                      column {
                        data_set_identifier = sheets.key
                        column_name         = "created_date"
                      }
                    }
                  }

                  values {
                    numerical_measure_field {
                      field_id = "${sheets.key}-month-amount"

                      column {
                        data_set_identifier = sheets.key
                        column_name         = "amount"
                      }

                      aggregation_function {
                        simple_numerical_aggregation = "SUM"
                      }
                    }
                  }

                  colors {
                    categorical_dimension_field {
                      field_id = "${sheets.key}-month-currency"

                      column {
                        data_set_identifier = sheets.key
                        column_name         = "currency"
                      }
                    }
                  }
                }
              }
            }
          }
        }

        visuals {
          bar_chart_visual {
            visual_id = "${sheets.key}-compared"

            title {
              format_text {
                plain_text = "${sheets.value.title} by ${replace(local.compared[sheets.key], "_", " ")} and currency"
              }
            }

            chart_configuration {
              orientation = "HORIZONTAL"

              field_wells {
                bar_chart_aggregated_field_wells {
                  category {
                    categorical_dimension_field {
                      field_id = "${sheets.key}-compared-by"

                      column {
                        data_set_identifier = sheets.key
                        column_name         = local.compared[sheets.key]
                      }
                    }
                  }

                  values {
                    numerical_measure_field {
                      field_id = "${sheets.key}-compared-amount"

                      column {
                        data_set_identifier = sheets.key
                        column_name         = "amount"
                      }

                      aggregation_function {
                        simple_numerical_aggregation = "SUM"
                      }
                    }
                  }

                  colors {
                    categorical_dimension_field {
                      field_id = "${sheets.key}-compared-currency"

                      column {
                        data_set_identifier = sheets.key
                        column_name         = "currency"
                      }
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}
