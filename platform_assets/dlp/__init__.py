"""Inspection of objects and columns for sensitive data: the model, inspectors, findings and policy."""
