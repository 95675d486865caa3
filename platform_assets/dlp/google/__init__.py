"""The inspector that uses Google's Sensitive Data Protection: by content, and by jobs on Cloud Storage."""
