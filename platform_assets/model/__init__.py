"""Declarations of source and star tables, their columns and rules; nothing that acts on them."""
