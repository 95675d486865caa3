"""Parquet files of any writer: grouping them into tables, and the schema of each table. No row is read."""
