"""Probes of deliveries: signing in to each destination, and the permission to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from platform_assets.delivery.interfaces import Writer
from platform_assets.diagnosis import Observation, ok


@runtime_checkable
class CanBeTried(Protocol):
    """A writer that can find out if it may write, without leaving anything at the destination."""

    def try_out(self) -> str:
        """Try it.

        Returns:
            What was found, in words.

        Raises:
            DeliveryError: It may not.
            DestinationUnavailable: The destination does not answer.
        """
        ...


def look_at_destination(subject: str, build: Callable[[], Writer]) -> Iterator[Observation]:
    """Yield a finding about a destination.

    Args:
        subject: Its name.
        build: Builds its writer.

    Raises:
        DeliveryError: The destination refuses the connection or the permission to write.
        DestinationUnavailable: It does not answer.
    """
    writer = build()
    if isinstance(writer, CanBeTried):
        yield ok(subject, f"{writer.address}: {writer.try_out()}")
        return
    with writer.open():
        yield ok(subject, f"{writer.address}: can be signed in to")
