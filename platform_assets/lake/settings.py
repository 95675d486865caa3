"""Settings of the lake: its two zones, their object store, and the resources of the SQL engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.stores import StoreOptions, Zone, resolve_options, with_http
from platform_assets.configuration.values import Block, Integer

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings


class ZonesSettings(Block):
    """The lake's two zones: absolute local paths, or `s3://` and `gs://` URIs without a trailing slash."""

    ingestion: Zone = Field(description="a local path, s3://bucket/prefix or gs://bucket/prefix")
    """The append-only copies of the sources' tables, and the dead letters."""
    processed: Zone = Field(description="a local path, s3://bucket/prefix or gs://bucket/prefix")
    """The star schema, findings and receipts."""
    storage_options: StoreOptions = Field(
        default_factory=dict,
        description="text, a number, true or false, as deltalake takes it",
    )
    """Options of the object store, by the names that `deltalake` knows. AWS credentials also come from
    the environment or the machine's role."""

    def resolve_storage_options(self) -> dict[str, str]:
        """Return the options as `deltalake` takes them, with secrets fetched; never log or store the result.

        Raises:
            SettingsError: if a secret cannot be fetched.
        """
        return with_http(resolve_options(self.storage_options))


class EngineSettings(Block):
    """The machine resources that the SQL engine of the star schema may use."""

    memory_limit_mb: Integer = Field(
        default=112, ge=64, le=1_048_576, description="whole megabytes, 64 or more"
    )
    """Megabytes that DuckDB may use to build the star schema; it spills to disk beyond that."""
    threads: Integer = Field(default=2, ge=1, le=1024, description="a whole number, 1 or more")
    """Threads that DuckDB uses."""


class LakeSettings(RoomSettings):
    """The lake's keys."""

    lake: ZonesSettings = Field(description="a block with ingestion and processed")
    engine: EngineSettings = Field(
        default_factory=EngineSettings, description="a block with memory_limit_mb and threads"
    )

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that neither zone is inside the other."""
        ingestion, processed = self.lake.ingestion, self.lake.processed
        if f"{ingestion}/".startswith(f"{processed}/") or f"{processed}/".startswith(f"{ingestion}/"):
            expected = f"a place apart from lake.ingestion, which is {shown(ingestion)}"
            yield Mistake(("lake", "processed"), shown(processed), expected)


SETTINGS = LakeSettings
