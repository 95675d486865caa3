"""The embedded PostgreSQL server, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from platform_assets.rooms import Assembly
from platform_assets.source.assembly import SourceRoom

if TYPE_CHECKING:
    from platform_assets.sample.embedded import EmbeddedPostgres
    from platform_assets.source.connection import Connection


class SampleRoom(Assembly[None]):
    """The embedded server and the sample business in it."""

    @property
    def server(self) -> EmbeddedPostgres:
        """The server; it is not started."""
        from platform_assets.sample.embedded import EmbeddedPostgres

        return EmbeddedPostgres(self.platform.state_dir / "source")

    @property
    def size(self) -> tuple[int, int]:
        """Number of sales orders of the sample when it is created, and the seed of all chance."""
        configured = self.rooms.of(SourceRoom).settings.sources.totesys.sample
        return configured.sales, configured.seed

    def sample_database(self, sales: int, seed: int) -> Connection:
        """See `HasSampleDatabase.sample_database`."""
        from platform_assets.sample.database import ensure_sample

        return ensure_sample(self.server, sales, seed)

    def sample_state(self) -> Literal["missing", "stopped", "running"]:
        """See `HasSampleDatabase.sample_state`."""
        status = self.server.status()
        return "running" if status.running else "stopped" if status.created else "missing"


ROOM = SampleRoom
