"""The star schema: one SELECT per dimension and fact (`*.sql`), the calendar, and the engine that runs them.

In a fact's SELECT, a source table holds its new row versions; in a dimension's SELECT, the latest version of
each row. The SQL uses only what DuckDB and Spark both support, translated by sqlglot.
"""
