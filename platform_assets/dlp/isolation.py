"""Errors over one piece of content, which must not end the inspection of everything else."""

from __future__ import annotations

from platform_assets.errors import PlatformError
from platform_assets.isolation import is_isolated, place_of


def is_about_content(error: BaseException) -> bool:
    """Whether an error is about the piece at hand, so that the other pieces can still be inspected.

    A `PlatformError` is about the place that the content is in or about the service that inspects it, and an
    interruption about neither.

    Raises:
        KeyboardInterrupt: A library has made an ordinary error of an interruption.
    """
    return not isinstance(error, PlatformError) and is_isolated(error)


def kind_of_error(error: BaseException) -> str:
    """An error's class and the line of the platform's code it came through; its words may quote content."""
    name, place = type(error).__name__, place_of(error)
    return f"{name} at {place}" if place else name
