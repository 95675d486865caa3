"""Objects in local folders, S3 and GCS: discovery, and processing of each version exactly once."""
