"""Runs and steps on workers of several machines: Celery with Redis, and what runs take on Kubernetes."""
