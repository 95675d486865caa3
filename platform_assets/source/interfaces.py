"""The interface by which a room offers an embedded database to sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from platform_assets.source.connection import Connection


@runtime_checkable
class HasSampleDatabase(Protocol):
    """A room with a database that takes the place of the user's own."""

    def sample_database(self, sales: int, seed: int) -> Connection:
        """Start the database, create its content if it is missing, and return how to read it.

        Args:
            sales: Number of sales orders when it is created.
            seed: Seed of all chance when it is created.

        Raises:
            SourceError: It cannot be started or created.
        """
        ...

    def sample_state(self) -> Literal["missing", "stopped", "running"]:
        """Return the state of the database; nothing is started or created."""
        ...
