"""Star tables as assets: one multi-asset that runs the SQL of the selected tables, and their checks."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.lake.resources import EngineResource, LakeResource
from platform_assets.logs import event
from platform_assets.model.star_model import StarModel, columns_of
from platform_assets.model.table import Table
from platform_assets.orchestration import (
    AFTER_BATCH,
    BATCH,
    LAKE_IO_MANAGER,
    OWNERS,
    check_specs,
    clear_failures,
    fail_for_stopped,
    failed_checks,
    hold_back,
    preview,
    row_count_metadata,
    run_checks,
    stopped_metadata,
    table_schema,
)
from platform_assets.rooms import Rooms
from platform_assets.star.assembly import StarRoom

if TYPE_CHECKING:
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.star.engine import StarEngine
    from platform_assets.star.transform import StarChange

GROUP = "star"
_CHECKS = {
    "not_null": "No row has a null where none is allowed.",
    "accepted_values": "Every row's values are among those that are declared: lists and ranges.",
    "foreign_key": "Every row points to dimension rows that exist.",
}


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the assets and checks of the star schema.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(StarRoom)
    return build_star_defs(room.model, room.engine_name, room.star_engine)


def build_star_defs(
    model: StarModel,
    engine_name: str = "duckdb",
    star_engine: "Callable[[SqlEngine], StarEngine | None]" = lambda engine: None,
) -> dg.Definitions:
    """Build the assets and checks of a star schema.

    Args:
        model: The star schema.
        engine_name: Name of the engine that runs its SQL, shown as the assets' kind.
        star_engine: Returns the engine; DuckDB if it returns None.
    """
    by_key = {dg.AssetKey([GROUP, table.name]): table for table in model.tables}
    specs = [
        dg.AssetSpec(
            key,
            deps=[
                *(dg.AssetKey([model.source, name]) for name in table.reads),
                *(dg.AssetKey([GROUP, name]) for name in table.derived_from),
            ],
            description=table.description,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"deltalake", "sql", engine_name},
            metadata={
                "dagster/column_schema": table_schema(columns_of(table), primary_key=table.primary_key),
                "sql": model.displayed_file(table),
            },
        ).with_io_manager_key(LAKE_IO_MANAGER)
        for key, table in by_key.items()
    ]

    @dg.multi_asset(
        name=GROUP,
        specs=specs,
        can_subset=True,
        description="Adds the new batches of the lake to the star schema, each table in one commit "
        "with its cursor.",
    )
    def build(
        context: dg.AssetExecutionContext, lake: LakeResource, engine: EngineResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        from platform_assets.star.transform import StarBuilder, StarChange, sample_rows

        builder = StarBuilder(lake, model, engine, context.log.info, star_engine(engine))
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        unfit = failed_checks(
            context.instance,
            [
                dg.AssetCheckKey(dg.AssetKey([model.source, name]), "primary_key")
                for name in sorted(table.name for table in model.source_tables)
            ],
        )
        began = time.monotonic()
        held_back: dict[str, str] = {}
        for table in selected.values():
            keys = [dg.AssetKey([model.source, read]) for read in table.reads]
            if reasons := [unfit[key] for key in keys if key in unfit]:
                held_back[table.name] = " ".join(reasons)
        with clear_failures():
            fit = [table for table in selected.values() if table.name not in held_back]
            changes = builder.build(fit) if fit else {}
            changes |= {name: StarChange(0, 0, 0, 0, reason) for name, reason in held_back.items()}
            _log_changes(changes, time.monotonic() - began)
            rows = sample_rows(lake, engine, list(selected.values()))
        # Dagster expects a table after those that it depends on.
        for table in model.in_building_order(selected.values()):
            key, change = dg.AssetKey([GROUP, table.name]), changes[table.name]
            if change.stopped:
                metadata = stopped_metadata(context.instance, key, change.stopped)
            else:
                metadata = {
                    **row_count_metadata(change.row_count),
                    "rows written": change.rows_written,
                    BATCH: change.batch,
                    "preview": preview(rows[table.name]),
                    AFTER_BATCH: change.after if change.rows_written else change.batch,
                    **({"to rebuild": change.outdated} if change.outdated else {}),
                }
                if change.outdated:
                    context.log.warning(change.outdated)
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        stopped = {key: changes[table.name].stopped for key, table in selected.items()}
        fail_for_stopped(context, {key: reason for key, reason in stopped.items() if reason}, GROUP)

    @dg.multi_asset_check(
        name=f"{GROUP}_checks",
        specs=[spec for key, table in by_key.items() for spec in check_specs(key, _checks_of(table))],
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, engine: EngineResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        from platform_assets.star.verify import StarVerifier

        with clear_failures(), contextlib.ExitStack() as opened:

            @functools.cache
            def verifier() -> StarVerifier:
                return opened.enter_context(StarVerifier.open(lake, model, engine))

            def run(key: dg.AssetCheckKey, after: int) -> tuple[int, Sequence[str]]:
                outcome = verifier().verify(by_key[key.asset_key], key.name, after)
                return outcome.broken, outcome.examples

            yield from hold_back(context, run_checks(context, run, verifier), GROUP)

    return dg.Definitions(assets=[build], asset_checks=[check])


def _log_changes(changes: "Mapping[str, StarChange]", seconds: float) -> None:
    """Log what was written to each star table; `seconds` is the time that all of them took."""
    for name, change in changes.items():
        place = {"asset": f"{GROUP}/{name}", "table": name, "batch": change.batch}
        if change.stopped:
            sentence = f"{GROUP}/{name} was skipped: {change.stopped}"
            event("table_skipped", sentence, level="warning", **place, reason=change.stopped)
            continue
        event(
            "star_built",
            f"{GROUP}/{name}: {change.rows_written} rows written",
            level="info" if change.rows_written else "debug",
            **place,
            rows=change.rows_written,
            row_count=change.row_count,
            all_tables_seconds=round(seconds, 3),
        )


def blocking_checks(model: StarModel) -> list[dg.AssetCheckKey]:
    """Return the checks that star tables must pass before anything uses them."""
    return [
        dg.AssetCheckKey(dg.AssetKey([GROUP, table.name]), name)
        for table in model.tables
        for name, (_, is_blocking) in _checks_of(table).items()
        if is_blocking
    ]


def _checks_of(table: Table) -> dict[str, tuple[str, bool]]:
    from platform_assets.lake.rules import row_checks

    checks = {"primary_key": ("No two rows have the same key.", True)}
    if table.kind == "fact":
        checks["record_ids_dense"] = ("Record ids run from 1 to the number of rows, without a gap.", True)
    checks.update({name: (_CHECKS[name], True) for name in row_checks(table)})
    return checks
