"""The warehouse: the star schema in a database for queries, with each batch loaded exactly once."""
