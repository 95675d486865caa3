"""The source tables as assets: one multi-asset per source, for one snapshot, and its checks."""

from collections.abc import Iterator, Sequence

import dagster as dg

from platform_assets.lake.defs import (
    AFTER_BATCH,
    BATCH,
    LAKE_IO_MANAGER,
    OWNERS,
    RETRY_POLICY,
    check_specs,
    clear_failures,
    preview,
    row_count_metadata,
    run_checks,
    table_schema,
)
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Table

_CHECKS = {
    "not_null": "No current row has a null where none is allowed.",
    "accepted_values": "Every current row's values are among those that are declared: lists, ranges, "
    "lengths, dates.",
    "foreign_key": "Every current row points to rows that exist.",
}
_DEAD_LETTERS = " Rows that break it are in the lake's dead-letter table; every other row goes on."


def build_source_defs(source: str, tables: Sequence[Table]) -> dg.Definitions:
    """Assets and checks of one source.

    Args:
        source: Its name: the first part of the asset keys, the group, and the resource that is the database.
        tables: Its tables.
    """
    by_key = {dg.AssetKey([source, table.name]): table for table in tables}
    specs = [
        dg.AssetSpec(
            key,
            description=f"{table.description} All its versions are kept, append-only, in the lake's "
            f"ingestion zone.",
            group_name=source,
            owners=OWNERS,
            kinds={"postgres", "deltalake"},
            metadata={
                "dagster/column_schema": table_schema(
                    (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN), primary_key=table.primary_key
                )
            },
        ).with_io_manager_key(LAKE_IO_MANAGER)
        for key, table in by_key.items()
    ]

    @dg.multi_asset(
        name=source,
        specs=specs,
        can_subset=True,
        retry_policy=RETRY_POLICY,
        required_resource_keys={source, "lake", "engine"},
        description=f"Reads {source} in one consistent snapshot and appends what changed to the lake, as "
        f"one batch.",
    )
    def extract(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        from platform_assets.source.extract import Extractor, sample_rows

        lake, engine = context.resources.lake, context.resources.engine
        extractor = Extractor(getattr(context.resources, source), lake, engine, report=context.log.info)
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        with clear_failures():
            extraction = extractor.extract(list(selected.values()))
            rows = sample_rows(lake, engine, source, list(selected.values()))
        for key, table in selected.items():
            change = extraction.tables[table.name]
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    **row_count_metadata(extraction.row_counts[table.name]),
                    "inserted": change.inserted,
                    "updated": change.updated,
                    "deleted": change.deleted,
                    "dead letters": change.dead_lettered,
                    BATCH: extraction.batch,
                    "snapshot taken at": dg.MetadataValue.timestamp(extraction.seen_at),
                    "capture": "full comparison",
                    "preview": preview(rows[table.name]),
                    AFTER_BATCH: extraction.batch - 1 if change.rows else extraction.batch,
                },
            )

    @dg.multi_asset_check(
        name=f"{source}_checks",
        specs=[spec for key, table in by_key.items() for spec in check_specs(key, _checks_of(table))],
        can_subset=True,
        required_resource_keys={"lake", "engine"},
        retry_policy=RETRY_POLICY,
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        from platform_assets.lake.checks import check_dead_letters, check_unique
        from platform_assets.lake.lake import BronzeReader

        lake, engine = context.resources.lake, context.resources.engine
        with clear_failures(), engine.connect() as connection:
            reader = BronzeReader(lake, source, lake.ledger.read())

            def run(key: dg.AssetCheckKey, after: int) -> tuple[int, Sequence[str]]:
                table = by_key[key.asset_key]
                if key.name == "primary_key":
                    reader.create_versions_view(connection, ["versions"], table, valid_only=False)
                    identity = (*table.primary_key, "_batch")
                    outcome = check_unique(connection, '"versions"', identity, after=after)
                else:
                    outcome = check_dead_letters(connection, reader, table, key.name)
                return outcome.broken, outcome.examples

            yield from run_checks(context, run)

    return dg.Definitions(assets=[extract], asset_checks=[check])


def _checks_of(table: Table) -> dict[str, tuple[str, bool]]:
    from platform_assets.lake.rules import row_checks

    checks = {"primary_key": ("No batch holds two versions of a row.", True)}
    checks.update({name: (_CHECKS[name] + _DEAD_LETTERS, False) for name in row_checks(table)})
    return checks
