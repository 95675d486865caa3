"""Environment variables that libraries read, and that have no other setting."""

import os


def set_unless_given(name: str, value: str) -> None:
    """Set an environment variable of this process, unless the user has set it."""
    os.environ.setdefault(name, value)
