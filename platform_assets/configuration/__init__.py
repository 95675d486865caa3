"""The configuration language: HOCON documents, value types, secrets and mistakes; it knows no room."""
