"""Parquet files to Snowflake: what their footers say, the statements that load them, and running those."""
