"""Data sources of deliveries."""
