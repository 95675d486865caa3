"""Renderers: rows to files, and files to compressed, packed or encrypted files."""
