"""Builds and checks the tables of a star schema from its declaration and SQL; knows no table by name.

In a fact's SELECT, a source table holds its new row versions; in a dimension's SELECT, the latest version of
each row. The SQL uses only what DuckDB and Spark both support, translated by sqlglot.
"""
