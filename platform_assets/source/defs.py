"""Source tables as assets: one multi-asset per source and snapshot, its checks and its own job."""

import contextlib
import dataclasses
import datetime as dt
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.dagster_internals import look_up_assets
from platform_assets.lake.resources import EngineResource, LakeResource
from platform_assets.logs import event
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Table
from platform_assets.orchestration import (
    AFTER_BATCH,
    BATCH,
    DELETIONS,
    EXTRACTION,
    LAKE_IO_MANAGER,
    OWNERS,
    REPORTS_STOPPED,
    SOURCE_MATCHES_LAKE,
    STOPPED,
    check_specs,
    clear_failures,
    fail_for_stopped,
    hold_back,
    lazy_resource,
    multi_asset_check,
    name_of,
    preview,
    row_count_metadata,
    run_checks,
    scheduled_job,
    source_pool,
    stopped_failure,
    stopped_metadata,
    table_schema,
    with_resource_keys,
)
from platform_assets.rooms import Rooms
from platform_assets.source.assembly import SourceRoom, lake_job
from platform_assets.source.resources import DatabaseResource

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.lake import BronzeReader, Lake
    from platform_assets.source.first_load import FirstLoader
    from platform_assets.source.outcome import Extraction, TableChange, Verification

STAR = "star"
"""Group of the assets that read the main source in the same run."""
SOURCE_SCHEMA = "source_schema"
"""Name of the check that the lake can store the source's tables with their current columns."""
LOOKED_AT = "snapshot taken at"
"""Materialization metadata: time of the snapshot that the table matches, by the source's clock, UTC."""
DRIFT = "schema drift"
"""Materialization metadata: schema changes of the table that were applied, if any."""
_CHECKS = {
    "not_null": "No current row has a null where none is allowed.",
    "accepted_values": "Every current row's values are among those that are declared: lists, ranges, "
    "lengths, dates.",
    "foreign_key": "Every current row points to rows that exist.",
}
_VERIFIED_AT = "0 3 * * *"
# Kept short because `dg list defs` prints a description with one word per line.
_MATCHES = "Hash sums of key ranges are equal in PostgreSQL and the lake."
_SCHEMA = "The lake can load the table; if not, the table keeps its last loaded data."
_DEAD_LETTERS = " Other rows are dead letters."


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the assets, checks and jobs of all sources, and their databases as resources.

    Args:
        rooms: The rooms.
    """
    room, (main, *discovered) = rooms.of(SourceRoom), rooms.of(SourceRoom).names
    tables = room.source_tables()
    defs = [build_source_defs(main, tables[main], read_by=STAR, first_loader=room.workers_of_first_loads)]
    defs.append(build_verification_defs(main, tables[main], room.platform.schedule.timezone))
    defs += [build_discovered_defs(room, name, tables[name]) for name in discovered if tables[name]]
    databases = {
        name: lazy_resource(partial(room.database, name, tables[name]), f"The source database {name}")
        for name in room.names
    }
    return dg.Definitions.merge(*defs, dg.Definitions(resources=databases))


def build_discovered_defs(room: SourceRoom, name: str, tables: Sequence[Table]) -> dg.Definitions:
    """Build the assets, checks and jobs of a source that the model does not declare.

    Args:
        room: The sources.
        name: Name of the source.
        tables: Its tables.
    """
    of_source = build_source_defs(name, tables, is_declared=False, first_loader=room.workers_of_first_loads)
    schedule = room.settings.sources.discovered[name].schedule or room.platform.schedule
    checks = [key for asset_check in of_source.asset_checks or () for key in asset_check.check_keys]
    return dg.Definitions.merge(
        of_source,
        build_source_job(name, checks, schedule.cron, schedule.timezone),
        build_verification_defs(name, tables, room.platform.schedule.timezone),
    )


def build_source_defs(
    source: str,
    tables: Sequence[Table],
    *,
    is_declared: bool = True,
    read_by: str = "",
    first_loader: "Callable[[], FirstLoader | None]" = lambda: None,
) -> dg.Definitions:
    """Build the assets and checks of one source.

    Args:
        source: Name of the source: the first part of the asset keys, the group, and the name of the database
            resource.
        tables: Tables of the source; a table that is not in a catalogue yet has no columns.
        is_declared: Whether `tables` declares all columns; if not, columns from the lake are shown too.
        read_by: Group of the assets that read these tables and hold back the readers of a table whose check
            failed; empty if nothing reads the tables in the same run.
        first_loader: Returns the workers that read large tables which the lake does not have yet, if any.
    """
    by_key = {dg.AssetKey([source, table.name]): table for table in tables}
    outs = {
        name_of(key): dg.AssetOut.from_spec(
            _spec(key, table), is_required=False, io_manager_key=LAKE_IO_MANAGER
        )
        for key, table in by_key.items()
    }

    @dg.multi_asset(
        name=source,
        outs=outs,
        can_subset=True,
        description=f"Reads {source} in one consistent snapshot and appends what changed to the lake, as "
        f"one batch.",
        op_tags=EXTRACTION,
        pool=source_pool(source),
    )
    @with_resource_keys(database=source)
    def extract(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        lake: LakeResource,
        engine: EngineResource,
    ) -> Iterator[dg.MaterializeResult[None]]:
        from platform_assets.source.extract import Extractor, sample_rows

        extractor = Extractor(database, lake, engine, context.log.info, first_loader())
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        began = time.monotonic()
        with clear_failures():
            extraction = extractor.extract(list(selected.values()))
            _log_extraction(source, extraction, time.monotonic() - began)
            as_read = {
                key: table
                if is_declared or extraction.tables[table.name].stopped
                else _as_stored(lake, source, table)
                for key, table in selected.items()
            }
            rows = sample_rows(lake, engine, source, list(as_read.values()))
        for key, table in selected.items():
            change = extraction.tables[table.name]
            columns = _columns(as_read[key]) if as_read[key] is not table else {}
            if change.stopped:
                metadata = {
                    **stopped_metadata(context.instance, key, change.stopped, LOOKED_AT),
                    "inserted": 0,
                    "updated": 0,
                    "deleted": 0,
                    "dead letters": 0,
                    "capture": "nothing",
                    "rows read": 0,
                }
            else:
                metadata = {
                    **row_count_metadata(extraction.row_counts[table.name]),
                    "inserted": change.inserted,
                    "updated": change.updated,
                    "deleted": change.deleted,
                    "dead letters": change.dead_lettered,
                    BATCH: extraction.batch,
                    **_loaded_metadata(extraction.seen_at, change),
                    "preview": preview(rows[table.name]),
                    AFTER_BATCH: extraction.batch - 1 if change.rows else extraction.batch,
                }
            yield dg.MaterializeResult(asset_key=key, metadata={**metadata, **columns})
        stopped = {key: extraction.tables[table.name].stopped for key, table in selected.items()}
        fail_for_stopped(context, {key: reason for key, reason in stopped.items() if reason}, source)

    @multi_asset_check(
        name=f"{source}_checks",
        specs=[spec for key, table in by_key.items() for spec in check_specs(key, _checks_of(table))],
    )
    def check(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, engine: EngineResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        from platform_assets.lake.checks import check_dead_letters, check_unique
        from platform_assets.lake.lake import BronzeReader

        with clear_failures(), contextlib.ExitStack() as opened:

            @functools.cache
            def bronze() -> "tuple[duckdb.DuckDBPyConnection, BronzeReader]":
                return opened.enter_context(engine.connect()), BronzeReader(lake, source, lake.ledger.read())

            def run(key: dg.AssetCheckKey, after: int) -> tuple[int, Sequence[str]]:
                table = by_key[key.asset_key]
                connection, reader = bronze()
                if key.name == "primary_key":
                    reader.create_versions_view(connection, ["versions"], table, valid_only=False)
                    identity = (*table.primary_key, "_batch")
                    outcome = check_unique(connection, '"versions"', identity, after=after)
                else:
                    outcome = check_dead_letters(connection, reader, table, key.name)
                return outcome.broken, outcome.examples

            yield from hold_back(context, run_checks(context, run, bronze), read_by)

    @multi_asset_check(
        name=f"{source}_schema",
        specs=[dg.AssetCheckSpec(SOURCE_SCHEMA, asset=key, description=_SCHEMA) for key in by_key],
        tags={REPORTS_STOPPED: source},
    )
    def look_at_schema(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        # The result comes from the table's last materialization; this check reads nothing itself.
        look_up_assets(context)
        keys = [key.asset_key for key in context.selected_asset_check_keys]
        looks = context.instance.event_log_storage.get_latest_materialization_events(keys)
        results = [_schema_result(key, looks.get(key)) for key in sorted(keys, key=lambda key: key.path)]
        yield from results
        stopped = {
            result.asset_key: str(result.description)
            for result in results
            if result.asset_key is not None and not result.passed
        }
        if stopped:
            # Nothing depends on this step, so everything else continues, and the run still fails.
            raise stopped_failure(stopped)

    return dg.Definitions(assets=[extract], asset_checks=[check, look_at_schema])


def _log_extraction(source: str, extraction: "Extraction", seconds: float) -> None:
    """Log what was read of each table, and the batch."""
    for name, change in extraction.tables.items():
        place = {"source": source, "table": name, "asset": f"{source}/{name}", "batch": extraction.batch}
        if change.stopped:
            event(
                "table_skipped",
                f"{source}/{name} was skipped: {change.stopped}",
                level="warning",
                **place,
                reason=change.stopped,
            )
            continue
        counts = {
            "rows_read": change.rows_read,
            "inserted": change.inserted,
            "updated": change.updated,
            "deleted": change.deleted,
        }
        sentence = f"{source}/{name}: {change.rows} new row versions"
        event("table_read", sentence, level="info" if change.rows else "debug", **place, **counts)
        if change.dead_lettered:
            event(
                "dead_letters",
                f"{source}/{name}: {change.dead_lettered} rows broke a declared rule",
                level="warning",
                **place,
                rows=change.dead_lettered,
            )
    changes = [table for table in extraction.tables.values() if not table.stopped]
    event(
        "batch_committed",
        f"{source} was read; the lake ends at batch {extraction.batch}",
        source=source,
        batch=extraction.batch,
        tables=len(changes),
        tables_changed=sum(1 for change in changes if change.rows),
        rows=sum(change.rows for change in changes),
        seconds=round(seconds, 3),
    )


def build_verification_defs(source: str, tables: Sequence[Table], timezone: str) -> dg.Definitions:
    """Build the checks that prove the lake complete, and their job and schedule.

    The checks are separate from the job that reads the source, because the server scans and hashes every row.

    Args:
        source: Name of the source.
        tables: Tables of the source.
        timezone: Time zone of the schedule.
    """
    by_key = {dg.AssetKey([source, table.name]): table for table in tables}

    @multi_asset_check(
        name=f"{source}_verification_checks",
        specs=[dg.AssetCheckSpec(SOURCE_MATCHES_LAKE, asset=key, description=_MATCHES) for key in by_key],
        tags=EXTRACTION,
        pool=source_pool(source),
    )
    @with_resource_keys(database=source)
    def check(
        context: dg.AssetCheckExecutionContext,
        database: DatabaseResource,
        lake: LakeResource,
        engine: EngineResource,
    ) -> Iterator[dg.AssetCheckResult]:
        from platform_assets.source.extract import Extractor

        extractor = Extractor(database, lake, engine, report=context.log.info)
        keys = sorted((key.asset_key for key in context.selected_asset_check_keys), key=lambda key: key.path)
        with clear_failures():
            found = extractor.verify([by_key[key] for key in keys])
        for key in keys:
            yield _verification_result(key, found[by_key[key].name])

    verification = scheduled_job(
        f"{source}_verification",
        dg.AssetSelection.checks(*check.check_keys),
        f"Verifies that the lake and {source} have the same rows, and reloads key ranges that differ.",
        _VERIFIED_AT,
        timezone,
        is_exclusive=True,
    )
    return dg.Definitions.merge(dg.Definitions(asset_checks=[check]), verification)


def _verification_result(key: dg.AssetKey, found: "Verification") -> dg.AssetCheckResult:
    comparison = found.comparison
    is_mended = found.after is not None and found.after.equal
    metadata = (
        {
            "rows in the source": comparison.rows_in_source,
            "rows in the lake": comparison.rows_in_lake,
            "ranges compared": comparison.ranges,
            "ranges that differ": len(comparison.differing),
        }
        if comparison is not None
        else {}
    )
    return dg.AssetCheckResult(
        passed=found.passed,
        asset_key=key,
        check_name=SOURCE_MATCHES_LAKE,
        severity=dg.AssetCheckSeverity.WARN if is_mended else dg.AssetCheckSeverity.ERROR,
        description=found.sentence,
        metadata=metadata,
    )


def build_source_job(
    source: str, checks: Sequence[dg.AssetCheckKey], cron: str, timezone: str
) -> dg.Definitions:
    """Build the job that loads a single source into the lake, and its schedule.

    Args:
        source: Name of the source.
        checks: The checks that the job runs.
        cron: Cron expression of the schedule.
        timezone: Time zone of the schedule.
    """
    return scheduled_job(
        lake_job(source),
        dg.AssetSelection.groups(source).without_checks() | dg.AssetSelection.checks(*checks),
        f"Loads the changes of {source} into the lake, and checks them.",
        cron,
        timezone,
        is_exclusive=True,
    )


def _spec(key: dg.AssetKey, table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        description=f"{table.description} All its versions are kept, append-only, in the lake's "
        f"ingestion zone.",
        group_name=key.path[0],
        owners=OWNERS,
        kinds={"postgres", "deltalake"},
        metadata=_columns(table),
    ).with_io_manager_key(LAKE_IO_MANAGER)


def _columns(table: Table) -> dict[str, Any]:
    """Return a table's column schema as metadata; empty if its columns are unknown."""
    if not table.columns:
        return {}
    columns = (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN)
    return {"dagster/column_schema": table_schema(columns, primary_key=table.primary_key)}


def _as_stored(lake: "Lake", source: str, table: Table) -> Table:
    """Return the table with the lake's columns that its declaration lacks; unchanged without such columns."""
    from platform_assets.lake.delta import stored_columns

    handle = lake.bronze(source, table).open()
    known = {column.name for column in (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN)}
    stored = stored_columns(handle) if handle is not None else ()
    further = tuple(column for column in stored if column.name not in known)
    return dataclasses.replace(table, columns=(*table.columns, *further)) if further else table


def _loaded_metadata(seen_at: dt.datetime, change: "TableChange") -> dict[str, Any]:
    drift = (
        {DRIFT: dg.MetadataValue.md("\n".join(f"- {line}" for line in change.drift))} if change.drift else {}
    )
    return {
        LOOKED_AT: dg.MetadataValue.timestamp(seen_at),
        "capture": change.capture,
        "rows read": change.rows_read,
        **(
            {DELETIONS: dg.MetadataValue.timestamp(change.deletions_looked_for)}
            if change.deletions_looked_for
            else {}
        ),
        **drift,
    }


def _schema_result(key: dg.AssetKey, look: dg.EventLogEntry | None) -> dg.AssetCheckResult:
    """Build the schema check's result from a table's last materialization."""
    metadata = look.asset_materialization.metadata if look and look.asset_materialization else {}
    stopped, drift = metadata.get(STOPPED), metadata.get(DRIFT)
    return dg.AssetCheckResult(
        passed=stopped is None,
        asset_key=key,
        check_name=SOURCE_SCHEMA,
        severity=dg.AssetCheckSeverity.ERROR,
        description=str(stopped.value) if stopped else f"Applied:\n\n{drift.value}" if drift else None,
        metadata={DRIFT: drift} if drift else {},
    )


def _checks_of(table: Table) -> dict[str, tuple[str, bool]]:
    from platform_assets.lake.rules import row_checks

    checks = {}
    if table.primary_key:
        checks["primary_key"] = ("No batch holds two versions of a row.", True)
    checks.update({name: (_CHECKS[name] + _DEAD_LETTERS, False) for name in row_checks(table)})
    return checks
