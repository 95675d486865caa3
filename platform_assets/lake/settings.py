"""Settings of the lake: its two zones, their object store, and the resources of the SQL engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.stores import StoreOptions, Zone, resolve_options, with_http
from platform_assets.configuration.values import Block, Cron, Integer

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
    """The engine that builds the star schema, and the machine resources that DuckDB may use."""

    name: Literal["duckdb", "spark", "sail"] = Field(default="duckdb", description="duckdb, spark or sail")
    """The engine that runs the SQL of the star tables: DuckDB in this process, or Spark or Sail as `spark`
    says. They also inspect large tables. Also written as `engine = spark`. Everything else runs on DuckDB."""
    memory_limit_mb: Integer = Field(
        default=112, ge=64, le=1_048_576, description="whole megabytes, 64 or more"
    )
    """Megabytes that DuckDB may use to build the star schema; it spills to disk beyond that."""
    threads: Integer = Field(default=2, ge=1, le=1024, description="a whole number, 1 or more")
    """Threads that DuckDB uses."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class RetentionSettings(Block):
    """The time that rows and files are kept which nothing needs; versions of business rows stay."""

    dead_letters_days: Integer = Field(default=365, ge=1, le=36_500, description="whole days, 1 or more")
    """Days after which the content of a dead letter that was mended is emptied; its key and reason stay."""
    objects_days: Integer = Field(default=90, ge=1, le=36_500, description="whole days, 1 or more")
    """Days after which entries of the object logs go that a later entry follows, and those of objects that no
    longer exist."""
    findings_days: Integer = Field(default=30, ge=1, le=36_500, description="whole days, 1 or more")
    """Days after which findings go whose object is gone or was overwritten, and outdated ones in columns."""
    alerts_days: Integer = Field(default=90, ge=1, le=36_500, description="whole days, 1 or more")
    """Days after which alerts go that were delivered or given up."""
    staged_files_hours: Integer = Field(default=48, ge=6, le=8_760, description="whole hours, 6 or more")
    """Hours after which files go that a killed run has left in the state folder's `tmp`."""
    runs_days: Integer = Field(default=7, ge=1, le=36_500, description="whole days, 1 or more")
    """Days after which Dagster's successful runs go, with their events and logs."""
    failed_runs_days: Integer = Field(default=60, ge=1, le=36_500, description="whole days, 1 or more")
    """Days after which Dagster's other finished runs go, with their events and logs."""


class UpkeepSettings(Block):
    """Upkeep of the lake: few files, few old versions, and nothing kept that nobody needs."""

    cron: Cron = Field(default="*/15 * * * *", description='five cron fields, such as "*/15 * * * *"')
    """When `lake_upkeep` runs, in the time zone of `schedule`."""
    keep_hours: Integer = Field(default=24, ge=6, le=8_760, description="whole hours, 6 or more")
    """Hours for which every version of a table stays readable, for queries and loads that have begun. A
    version that a warehouse or a copy refers to stays longer."""
    small_files: Integer = Field(default=16, ge=2, le=1_000, description="a whole number, 2 or more")
    """Number of small files of a table that are worth merging."""
    most_files: Integer = Field(default=60, ge=2, le=100_000, description="a whole number, 2 or more")
    """Number of mergeable files of a table beyond which its check fails: upkeep does not run, or fails."""
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings, description="a block with numbers of days"
    )


class LakeSettings(RoomSettings):
    """The lake's keys."""

    lake: ZonesSettings = Field(description="a block with ingestion and processed")
    engine: EngineSettings = Field(
        default_factory=EngineSettings, description="a block with memory_limit_mb and threads"
    )

    upkeep: UpkeepSettings = Field(
        default_factory=UpkeepSettings, description="a block with cron, keep_hours and retention"
    )

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that neither zone is inside the other."""
        ingestion, processed = self.lake.ingestion, self.lake.processed
        if f"{ingestion}/".startswith(f"{processed}/") or f"{processed}/".startswith(f"{ingestion}/"):
            expected = f"a place apart from lake.ingestion, which is {shown(ingestion)}"
            yield Mistake(("lake", "processed"), shown(processed), expected)


SETTINGS = LakeSettings
