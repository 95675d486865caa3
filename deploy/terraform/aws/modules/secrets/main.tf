# Empty places for secrets. Values are put there by people, and never by Terraform: they would be in its state.

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:These belong to other systems, whose owners change them; the platform reads them at every use.
  for_each                = var.secrets
  name                    = "${var.name}/${each.key}"
  description             = each.value.description
  kms_key_id              = var.key_arn
  recovery_window_in_days = var.recovery_days
}
