"""The warehouse: the star schema in a database that people query, loaded from the lake exactly once per batch."""
