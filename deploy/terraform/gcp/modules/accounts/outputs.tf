output "emails" {
  description = "E-mail addresses of the accounts, by component."
  value       = { for component, account in google_service_account.this : component => account.email }
}

output "members" {
  description = "The accounts as members of policies, by component."
  value       = { for component, account in google_service_account.this : component => "serviceAccount:${account.email}" }
}
