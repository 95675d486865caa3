"""BigQuery: access to it, its types and names, load jobs, and Parquet files loaded in one command."""
