"""Data sources: tables of the platform, queries, files, objects, addresses, texts, functions and tasks."""
