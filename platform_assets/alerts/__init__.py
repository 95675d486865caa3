"""Alerts: messages, channels, and an outbox that keeps messages until a channel accepts them."""
