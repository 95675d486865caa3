"""Objects in local folders, S3 and Google Cloud Storage: which are new, and each version exactly once."""
