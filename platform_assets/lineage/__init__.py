"""The lineage of columns: derived from SQL and declarations, proved by experiment."""
