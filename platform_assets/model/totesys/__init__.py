"""Totesys as data: the source's tables, the star schema, and one SELECT (`*.sql`) for each table of the star.

Another star is another folder like this one, and a `StarModel` that names it.
"""
