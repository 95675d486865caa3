"""The star schema: one SELECT per dimension and fact (`*.sql`), the calendar, and the engine that runs them.

In a fact's SELECT a source table stands for its new versions; in a dimension's for the latest version of each
row. The SQL keeps to what DuckDB and Spark both speak, by way of sqlglot.
"""
