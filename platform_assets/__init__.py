"""A Dagster code location: an operational PostgreSQL as a lake, three star schemas and a warehouse."""
