"""Renderers of deliveries."""
