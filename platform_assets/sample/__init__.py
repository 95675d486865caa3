"""The sample: an embedded PostgreSQL server and the sample business in it."""
