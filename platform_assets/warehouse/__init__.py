"""The warehouse: the star schema in a database that people query, each batch loaded exactly once."""
