"""Telling people: what a message says, by which channels it goes, and an outbox until they take it."""
