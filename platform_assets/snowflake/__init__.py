"""Loading Parquet files into Snowflake: scripts, their execution, and copies of the lake's tables."""
