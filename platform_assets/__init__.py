"""A Dagster code location that turns an operational PostgreSQL into a lake, three star schemas and a warehouse."""
