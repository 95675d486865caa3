"""Declarations of tables and columns, and nothing that acts on them: source tables, star tables, logical types."""
