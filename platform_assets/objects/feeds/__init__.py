"""Feeds: uploaded files that match a pattern become rows of a lake table, exactly once per version."""
