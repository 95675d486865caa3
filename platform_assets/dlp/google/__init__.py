"""The inspector that asks Google's Sensitive Data Protection: by content, and by jobs on Cloud Storage."""
