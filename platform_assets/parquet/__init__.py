"""Parquet files that others wrote: which of them are one table, and what that table is. No row is read."""
