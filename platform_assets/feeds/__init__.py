"""Feeds: load uploaded files that match a pattern into a lake table, exactly once per version."""
