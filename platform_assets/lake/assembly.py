"""The lake and the SQL engine, from the settings."""

from __future__ import annotations

import datetime as dt
from functools import cached_property, partial
from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaredTable
from platform_assets.diagnosis import Probe
from platform_assets.lake.interfaces import HasDeltaTables, HasLakeTables, KeptTable, RefersToVersions
from platform_assets.lake.settings import LakeSettings
from platform_assets.rooms import Assembly
from platform_assets.stored import UPKEEP, FormatProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from platform_assets.isolation import Isolation
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.lake.settings import RetentionSettings
    from platform_assets.lake.upkeep.journal import Journal
    from platform_assets.lake.upkeep.upkeep import Upkeep
    from platform_assets.model.table import Column
    from platform_assets.stored import Stored, StoredFormat


class LakeRoom(Assembly[LakeSettings]):
    """The lake and the SQL engine."""

    settings_class = LakeSettings

    @cached_property
    def engine(self) -> SqlEngine:
        """The embedded SQL engine."""
        from platform_assets.lake.duck import SqlEngine

        given = self.settings.engine
        return SqlEngine(given.memory_limit_mb, given.threads, self.spill_directory)

    @cached_property
    def lake(self) -> Lake:
        """The lake; its secrets are resolved when a table is opened."""
        from platform_assets.lake.lake import Lake

        given = self.settings.lake
        return Lake(given.ingestion, given.processed, given.resolve_storage_options)

    @property
    def spill_directory(self) -> Path:
        """Folder for data that does not fit into memory."""
        return self.platform.state_dir / "tmp"

    def storage_options(self) -> dict[str, str]:
        """Return the options of the lake's object store, with secrets fetched; never log or store them.

        Raises:
            SettingsError: A secret cannot be fetched.
        """
        return self.settings.lake.resolve_storage_options()

    @property
    def retention(self) -> RetentionSettings:
        """The time that rows and files are kept when nothing needs them any more."""
        return self.settings.upkeep.retention

    def delta_tables(self) -> Iterator[KeptTable]:
        """See `HasDeltaTables.delta_tables`: the ledger, and the journal of upkeep."""
        from platform_assets.lake.ledger import CURSORS

        yield KeptTable("ledger", self.lake.ledger.table, metadata=CURSORS)
        yield self._journal.kept()

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: the asset of the lake's tables."""
        from platform_assets.column_lineage import ROWS, ColumnRef, StatedEdge, Subtype
        from platform_assets.lake.upkeep.columns import UPKEEP_COLUMNS

        paths = [tuple(path) for room in self.rooms.offering(HasLakeTables) for path in room.lake_paths()]
        says = "Read from the Delta table's log, not from its rows"
        yield DeclaredTable(
            ("lake", "tables"),
            UPKEEP_COLUMNS,
            edges=tuple(
                StatedEdge(ColumnRef(path, ROWS), "rows", Subtype.AGGREGATION, True) for path in paths
            ),
            constants={column.name: says for column in UPKEEP_COLUMNS if column.name != "rows"},
            group="lake",
            description="The Delta tables of the lake: files, bytes, rows, versions, and their last upkeep.",
            checks={"within_bounds": (ROWS,)},
        )

    @property
    def _journal(self) -> Journal:
        from platform_assets.lake.upkeep.journal import JOURNAL_COLUMNS, Journal

        return Journal(self.processed_table(JOURNAL_COLUMNS, UPKEEP, "_upkeep"))

    def upkeep(self, report: Callable[[str], None] = lambda message: None) -> Upkeep:
        """Return the upkeep of all tables of all rooms; nothing is read yet.

        Args:
            report: Receives progress messages.
        """
        from platform_assets.lake.upkeep.tables import kept_tables, positions
        from platform_assets.lake.upkeep.upkeep import Upkeep, UpkeepPolicy

        given = self.settings.upkeep
        return Upkeep(
            partial(kept_tables, self.lake, lambda: self.rooms.offering(HasDeltaTables)),
            self._journal,
            self.engine,
            partial(positions, lambda: self.rooms.offering(RefersToVersions)),
            UpkeepPolicy(dt.timedelta(hours=given.keep_hours), given.small_files),
            report,
        )

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: both zones, tables that belong to nothing, files left by killed runs."""
        from platform_assets.lake import probes

        for zone in ("ingestion", "processed"):
            yield Probe("lake", zone, partial(probes.look_at_zone, self.lake, zone))
        yield Probe("lake", "tables", partial(probes.look_for_orphans, self.lake, self._known_tables), 60.0)
        yield Probe("lake", "staged files", partial(probes.look_for_staged_files, self._leftovers))

    def _known_tables(self) -> set[str]:
        return {
            kept.table.uri for room in self.rooms.offering(HasDeltaTables) for kept in room.delta_tables()
        }

    def _leftovers(self) -> Iterator[Path]:
        from platform_assets.lake.upkeep.staged import leftovers

        hours = self.retention.staged_files_hours
        return leftovers(self.spill_directory, dt.timedelta(hours=hours), dt.datetime.now(dt.UTC))

    def remove_staged_files(self) -> tuple[int, Isolation]:
        """Remove what killed runs have left on this machine; see `staged.remove_staged_files`."""
        from platform_assets.lake.upkeep.staged import remove_staged_files

        hours = self.retention.staged_files_hours
        return remove_staged_files(self.spill_directory, dt.timedelta(hours=hours), dt.datetime.now(dt.UTC))

    def processed_table(self, columns: Sequence[Column], format_: StoredFormat, *path: str) -> LakeTable:
        """Return a table of the processed zone.

        Args:
            columns: Its columns.
            format_: Its format.
            *path: Its path in the zone.
        """
        from platform_assets.lake.delta import LakeTable

        uri = self.lake.path("processed", *path)
        return LakeTable(uri, tuple(columns), self.lake.storage_options, format_)

    def stored(self) -> Iterator[Stored | FormatProblem]:
        """See `StoresFormats.stored`: the tables of the lake's zones, of all rooms."""
        from platform_assets.isolation import result_or_reason
        from platform_assets.lake.delta import LakeTable
        from platform_assets.lake.upkeep.tables import kept_tables

        for kept_table in kept_tables(self.lake, lambda: self.rooms.offering(HasDeltaTables)):
            if not isinstance(kept_table, KeptTable):
                yield FormatProblem(kept_table.name, kept_table.reason)
                continue
            table = result_or_reason(LakeTable.stored, kept_table.table)
            if isinstance(table, str):
                yield FormatProblem(kept_table.table.uri, table)
            elif table is not None:
                yield table


ROOM = LakeRoom
