"""Readers, one module per file format: they turn streams into pieces and report unreadable content."""
