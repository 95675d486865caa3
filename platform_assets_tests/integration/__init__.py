"""The platform as a whole, from a real PostgreSQL to the warehouse file, judged from outside."""
