"""Isolation of errors about one piece of content, so that the rest is still inspected."""

from __future__ import annotations

from platform_assets.errors import PlatformError
from platform_assets.isolation import is_isolated, place_of


def is_about_content(error: BaseException) -> bool:
    """Return True if an error is about the current piece of content; other pieces can still be inspected.

    A `PlatformError` is about the store of the content or the service that inspects it; an interruption is
    about neither.

    Raises:
        KeyboardInterrupt: A library has converted an interruption to an ordinary error.
    """
    return not isinstance(error, PlatformError) and is_isolated(error)


def kind_of_error(error: BaseException) -> str:
    """An error's class and the line of the platform's code in its traceback; the message may quote data."""
    name, place = type(error).__name__, place_of(error)
    return f"{name} at {place}" if place else name
