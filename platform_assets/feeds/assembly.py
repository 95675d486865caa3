"""The feeds, from the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaredTable
from platform_assets.dlp.assembly import InspectionRoom
from platform_assets.errors import FeedError
from platform_assets.feeds.settings import FeedColumnSettings, FeedsSettings
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import KeptTable
from platform_assets.objects.assembly import ObjectsRoom
from platform_assets.rooms import Assembly
from platform_assets.stored import FEED, FEED_LEDGER
from platform_assets.warehouse.assembly import WarehouseRoom

if TYPE_CHECKING:
    import datetime as dt

    import duckdb

    from platform_assets.feeds.feed import Feed
    from platform_assets.feeds.feeding import Feeding
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.interfaces import CurrentTable
    from platform_assets.lake.past import PastTable

UPLOADS = "uploads"
"""Group of the feeds' tables, and the first part of their asset keys."""


class FeedsRoom(Assembly[FeedsSettings]):
    """The feeds: uploaded files that become rows of tables."""

    settings_class = FeedsSettings

    @property
    def descriptions(self) -> dict[str, str]:
        """The feeds by name, each with a sentence about the objects that it loads."""
        return {
            name: f"Rows of the {feed.format} files {feed.pattern} of {feed.watch}."
            for name, feed in self.settings.feeds.items()
        }

    def feed(self, name: str) -> Feed:
        """Return a feed as configured.

        Raises:
            FeedError: There is no such feed, or its parts are inconsistent.
        """
        from platform_assets.feeds.feed import CsvDialect, Feed, Sheet
        from platform_assets.model.table import Column, Text
        from platform_assets.source.declaration import parse_type

        def column(key: str, declared: FeedColumnSettings) -> Column:
            type_ = parse_type(declared.type)
            if declared.max_length is not None and isinstance(type_, Text):
                type_ = replace(type_, max_length=declared.max_length)
            return Column(key, type_, nullable=declared.nullable, accepted=declared.accepted)

        if name not in self.settings.feeds:
            known = ", ".join(self.settings.feeds) or "none"
            raise FeedError(f"The configuration has no feed {name}; it has {known}.")
        given = self.settings.feeds[name]
        return Feed(
            name,
            given.watch,
            given.pattern,
            given.format,
            tuple(column(key, declared) for key, declared in given.columns.items()),
            {key: column.format for key, column in given.columns.items() if column.format},
            given.key,
            given.mode,
            given.new_columns,
            CsvDialect(**given.dialect.model_dump()),
            given.encoding,
            Sheet(**given.sheet.model_dump()),
        )

    def feeding(self, name: str) -> Feeding:
        """Return the load of uploaded files into the table of a feed.

        Raises:
            FeedError: The feed's parts are inconsistent.
        """
        from platform_assets.feeds.feeding import Feeding
        from platform_assets.feeds.load import Feeds

        lake = self.rooms.of(LakeRoom)
        feeds = Feeds(lake.lake, lake.engine, lake.spill_directory)
        findings, watch = self.rooms.of(InspectionRoom).findings, self.rooms.of(ObjectsRoom).watch
        return Feeding(feeds, findings, watch, self.feed(name))

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: the files, and the tables that they become."""
        from platform_assets.column_lineage import ROWS
        from platform_assets.feeds.feed import PLACE_COLUMNS

        says = {
            "_batch": "Number of the load",
            "_seen_at": "Time of the load",
            "_object": "Name of the file",
            "_line": "Place of the row in the file",
        }
        for name in self.settings.feeds:
            feed, description = self.feed(name), self.descriptions[name]
            file, table = ("file", feed.watch, name), (UPLOADS, name)
            unknown = "" if feed.columns else "its columns are those of the first file that is uploaded"
            yield DeclaredTable(
                file,
                feed.columns,
                constants={column.name: "Uploaded" for column in feed.columns},
                description=f"Files {feed.pattern} of the watch {feed.watch}.",
                is_asset=False,
                kind="file",
                unknown=unknown,
            )
            columns = (*feed.columns, *PLACE_COLUMNS) if feed.columns else ()
            checks = {"nothing_failed": (ROWS,)}
            yield DeclaredTable(
                table,
                columns,
                file,
                constants=says,
                group=UPLOADS,
                description=description,
                checks=checks,
                unknown=unknown,
            )
            for copy, group in self._copies(name):
                yield DeclaredTable(
                    copy, columns, table, group=group, description=description, unknown=unknown
                )

    def _copies(self, feed: str) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the path and the group of each copy of a feed's table."""
        for warehouse in self.rooms.of(WarehouseRoom).engines:
            yield (warehouse, UPLOADS, feed), UPLOADS
        if "snowflake" in self.rooms:
            yield ("snowflake", f"{UPLOADS}_{feed}"), "snowflake"

    def warehouse_schemas(self) -> list[str]:
        """See `WritesToWarehouses.warehouse_schemas`."""
        return [UPLOADS] if self.settings.feeds else []

    def lake_paths(self) -> list[tuple[str, ...]]:
        """See `HasLakeTables.lake_paths`."""
        return [(UPLOADS, name) for name in self.settings.feeds]

    def lake_tables(self) -> dict[tuple[str, ...], LakeTable]:
        """Return the feeds' tables by the path of their asset key.

        They are declared without columns, which may only be known from a feed's first object.
        """
        from platform_assets.lake.delta import LakeTable

        lake = self.rooms.of(LakeRoom).lake
        return {
            (UPLOADS, name): LakeTable(lake.path("ingestion", UPLOADS, name), (), lake.storage_options, FEED)
            for name in self.settings.feeds
        }

    def current_paths(self) -> list[tuple[str, ...]]:
        """See `HasCurrentTables.current_paths`."""
        return self.lake_paths()

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """See `HasCurrentTables.current_table`.

        Raises:
            FeedError: The feed has no table yet.
        """
        from platform_assets.feeds.load import Feeds

        lake = self.rooms.of(LakeRoom)
        feeds = Feeds(lake.lake, lake.engine, lake.spill_directory)
        return feeds.counting(self.feed(path[1])).current_table()

    def delta_tables(self) -> Iterator[KeptTable]:
        """See `HasDeltaTables.delta_tables`: the table and the ledger of each feed.

        Rows of withdrawn files leave the table for good.
        """
        from platform_assets.feeds.ledger import LEDGER_COLUMNS, FeedLedger
        from platform_assets.lake.delta import LakeTable

        room = self.rooms.of(LakeRoom)
        for (_, name), table in self.lake_tables().items():
            uri = room.lake.path("ingestion", f"_{UPLOADS}", name)
            kept = LakeTable(uri, LEDGER_COLUMNS, room.lake.storage_options, FEED_LEDGER)
            ledger = FeedLedger(kept, room.engine)
            yield KeptTable(f"{UPLOADS}/{name}", table, outdated=ledger.withdrawn_rows)
            yield ledger.log.kept(f"{UPLOADS}/{name} (ledger)")

    def past_tables(self) -> Iterator[PastTable]:
        """See `HasPastTables.past_tables`: feeds without a table are left out."""
        from platform_assets.feeds.load import Feeds
        from platform_assets.feeds.past import past_feed_table, unreadable_feed_table

        lake = self.rooms.of(LakeRoom)
        feeds = Feeds(lake.lake, lake.engine, lake.spill_directory)
        for path in self.lake_paths():
            feed, name = self.feed(path[1]), "/".join(path)
            try:
                layout = feeds.layout(feed)
            except BaseException as error:
                if not is_isolated(error):
                    raise
                yield unreadable_feed_table(name, reason_of(error))
                continue
            if layout.columns:
                yield past_feed_table(feeds, feed, layout, name)

    def settled_letters(self, connection: duckdb.DuckDBPyConnection, before: dt.datetime) -> str:
        """See `SettlesDeadLetters.settled_letters`: rows of files that were replaced or withdrawn."""
        from platform_assets.feeds.load import Feeds
        from platform_assets.model.dialects import literal

        lake = self.rooms.of(LakeRoom)
        feeds = Feeds(lake.lake, lake.engine, lake.spill_directory)
        conditions = []
        for number, name in enumerate(self.settings.feeds):
            counting = f"counting_{number}"
            try:
                has_loads = feeds.ledger(self.feed(name)).counting_batches(connection, counting)
            except BaseException as error:
                if not is_isolated(error):
                    raise
                continue  # its rows stay; the upkeep of the ledger itself tells the reason
            if has_loads:
                conditions.append(
                    f'(source = {literal(UPLOADS)} AND "table" = {literal(name)} '
                    f"AND _batch NOT IN (SELECT batch FROM {counting}))"
                )
        old = f"_seen_at < {literal(before.isoformat())}::TIMESTAMPTZ AND row <> '{{}}'"
        return f"{old} AND ({' OR '.join(conditions)})" if conditions else ""

    def upload_assets(self) -> Sequence[tuple[str, ...]]:
        """See `UsesUploads.upload_assets`."""
        warehouses = self.rooms.of(WarehouseRoom).engines
        return [
            path
            for name in self.settings.feeds
            for path in ((UPLOADS, name), *((warehouse, UPLOADS, name) for warehouse in warehouses))
        ]


ROOM = FeedsRoom
