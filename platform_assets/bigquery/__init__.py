"""BigQuery: access, types and names, load jobs, and the command that loads Parquet files."""
