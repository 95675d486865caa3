"""Resources of the lake, and its upkeep: the asset `lake/tables`, its check, job and schedule."""

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from platform_assets.dagster_internals import record_origin, storage_held_open
from platform_assets.errors import UpkeepBusy
from platform_assets.isolation import Isolation
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import HasOutdatedTables, HasSourceTables, HasStarTables
from platform_assets.lake.upkeep.columns import UPKEEP_COLUMNS
from platform_assets.orchestration import (
    LAKE_IO_MANAGER,
    OWNERS,
    clear_failures,
    lazy_resource,
    preview,
    row_count_metadata,
    scheduled_job,
    table_schema,
)
from platform_assets.rooms import Rooms
from platform_assets.runs import forget_old_runs
from platform_assets.stored import stamp_new_state

if TYPE_CHECKING:
    from platform_assets.lake.upkeep.upkeep import TableUpkeep

GROUP = "lake"
TABLES = dg.AssetKey([GROUP, "tables"])
UPKEEP_JOB = "lake_upkeep"
REBUILD_JOB = "lake_rebuild"
BUILT_BY_CURRENT_SQL = "built_by_current_sql"
"""Name of the check that no table waits for a rebuild."""
WITHIN_BOUNDS = "within_bounds"
"""Name of the check that upkeep keeps up with every table."""
_MOST_NAMED = 20


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the lake's resources.

    Args:
        rooms: The rooms.
    """
    return dg.Definitions.merge(_resources(rooms), _upkeep_defs(rooms), _rebuild_defs(rooms))


def _resources(rooms: Rooms) -> dg.Definitions:
    @contextlib.contextmanager
    def engine(context: dg.InitResourceContext) -> Iterator[object]:
        with storage_held_open(context):
            record_origin(context)
            yield rooms.of(LakeRoom).engine

    def lake() -> object:
        stamp_new_state(rooms.platform.state_dir)
        return rooms.of(LakeRoom).lake

    def protection() -> object:
        from platform_assets.lake.protection import NoProtection

        return NoProtection()

    def io_manager(_: dg.InitResourceContext) -> dg.IOManager:
        from platform_assets.lake.io_manager import LakeIOManager

        sources = {
            name: {table.name: table for table in tables}
            for room in rooms.offering(HasSourceTables)
            for name, tables in room.source_tables().items()
        }
        star = {table.name: table for room in rooms.offering(HasStarTables) for table in room.star_tables()}
        return LakeIOManager(sources, star)

    return dg.Definitions(
        resources={
            "lake_room": lazy_resource(lambda: rooms.of(LakeRoom), "The lake with its upkeep"),
            "lake": lazy_resource(lake, "The lake's two zones"),
            "engine": dg.ResourceDefinition(engine, description="The SQL engine, with bounded memory"),
            "protection": lazy_resource(protection, "No protection: no room inspects data"),
            LAKE_IO_MANAGER: dg.IOManagerDefinition(
                io_manager,
                description="Assets as Delta tables in the lake",
                required_resource_keys={"lake", "engine"},
            ),
        }
    )


def _upkeep_defs(rooms: Rooms) -> dg.Definitions:
    """Define the asset of the lake's tables, which is what upkeep leaves, and when upkeep runs."""
    room = rooms.of(LakeRoom)
    most_files = room.settings.upkeep.most_files

    @dg.asset(
        key=TABLES,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"deltalake"},
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(
                WITHIN_BOUNDS,
                asset=TABLES,
                description=f"Upkeep of every table succeeded and left at most {most_files} files to merge.",
            ),
            dg.AssetCheckSpec(
                BUILT_BY_CURRENT_SQL,
                asset=TABLES,
                description="The SQL of no star table has changed since its rows were built. If it has, "
                "new rows are built by the new SQL, and older ones wait for a rebuild.",
            ),
        ],
        description="The Delta tables of the lake: files, bytes, rows, versions, and their last upkeep, "
        "which merges small files, applies retention and removes versions that nobody needs.",
        metadata={"dagster/column_schema": table_schema(UPKEEP_COLUMNS)},
    )
    def tables(
        context: dg.AssetExecutionContext, lake_room: dg.ResourceParam[LakeRoom]
    ) -> Iterator[dg.MaterializeResult[None]]:
        with clear_failures(retried=False):
            try:
                done = lake_room.upkeep(context.log.info).run()
            except UpkeepBusy as busy:
                context.log.warning("%s", busy)
                return
        failed = [f"{upkeep.table}: {upkeep.error}" for upkeep in done if upkeep.error]
        failed += _retained(context, lake_room)
        problems = [*failed, *_too_many_files(done, most_files)]
        yield dg.MaterializeResult(
            metadata=_metadata(done),
            check_results=[
                dg.AssetCheckResult(
                    passed=not problems,
                    check_name=WITHIN_BOUNDS,
                    description=" ".join(problems[:_MOST_NAMED]) or None,
                    metadata={"tables out of bounds": len(problems)},
                ),
                _outdated(rooms),
            ],
        )
        if failed:
            raise dg.Failure(
                description=f"Upkeep failed for {len(failed)}; everything else was taken care of. "
                + " ".join(failed[:_MOST_NAMED]),
                allow_retries=False,
            )

    job = scheduled_job(
        UPKEEP_JOB,
        dg.AssetSelection.assets(TABLES),
        "Merges small files of the lake's tables, applies retention, and removes old versions. It runs "
        "beside all other jobs.",
        room.settings.upkeep.cron,
        room.platform.schedule.timezone,
    )
    return dg.Definitions.merge(dg.Definitions(assets=[tables]), job)


def _outdated(rooms: Rooms) -> dg.AssetCheckResult:
    """Look for tables that were built by other SQL; a warning, because ticks go on."""
    looking = Isolation("Looking for changed SQL")
    outdated: list[str] = []
    for room in rooms.offering(HasOutdatedTables):
        with looking.guard(type(room).__name__):
            outdated += room.outdated_tables()
    outdated += [failure.reason for failure in looking.failures]
    return dg.AssetCheckResult(
        passed=not outdated,
        check_name=BUILT_BY_CURRENT_SQL,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(outdated[:_MOST_NAMED]) or None,
        metadata={"tables to rebuild": len(outdated)},
    )


class RebuildConfig(dg.Config):
    """Configuration of a run of `lake_rebuild`."""

    tables: list[str] = Field(
        default=[],
        description="Tables, such as star/dim_staff, or layers: star, warehouse; all where none is named.",
    )
    from_batch: int = Field(default=0, ge=0, description="First batch whose star rows are recomputed.")
    apply: bool = Field(default=False, description="Do it; otherwise the run only says what would change.")


def _rebuild_defs(rooms: Rooms) -> dg.Definitions:
    """Define the job that rebuilds star tables and warehouses, as `lake rebuild` does."""

    @dg.op(name="rebuild", description="Computes the star from bronze, and loads warehouses from the star.")
    def rebuild(context: dg.OpExecutionContext, config: RebuildConfig) -> None:
        from platform_assets.lake.interfaces import RebuildOptions
        from platform_assets.lake.rebuild import rebuild_tables

        options = RebuildOptions(config.from_batch, config.apply, report=context.log.info)
        with clear_failures(retried=False):
            done = list(rebuild_tables(rooms, config.tables, options))
        for upkeep in done:
            if upkeep.why:
                context.log.info(upkeep.sentence)
        due = [upkeep for upkeep in done if upkeep.why]
        context.log.info("%d of %d tables %s", len(due), len(done), "rebuilt" if config.apply else "differ")
        if failed := [f"{upkeep.table}: {upkeep.problem}" for upkeep in done if upkeep.problem]:
            raise dg.Failure(
                description=f"{len(failed)} tables were not rebuilt: {' '.join(failed[:_MOST_NAMED])}",
                allow_retries=False,
            )

    @dg.job(
        name=REBUILD_JOB,
        description="Rebuilds star tables and warehouses where their rows differ from those of the layer "
        "below. Without apply in its configuration, it only says what would change. It runs beside all other "
        "jobs.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        rebuild()

    return dg.Definitions(jobs=[job])


def _retained(context: dg.AssetExecutionContext, lake_room: LakeRoom) -> list[str]:
    """Remove Dagster's old runs, and files that killed runs have left; return what failed."""
    retention, now = lake_room.retention, dt.datetime.now(dt.UTC)
    removing = Isolation("Removing what is old")
    problems: list[str] = []
    with removing.guard("Dagster's runs"):
        succeeded = dt.timedelta(days=retention.runs_days)
        others = dt.timedelta(days=retention.failed_runs_days)
        forgotten = forget_old_runs(context.instance, succeeded, others, now)
        problems += [f"Run {failure.name}: {failure.reason}" for failure in forgotten.failures]
    with removing.guard("staged files"):
        size, left = lake_room.remove_staged_files()
        problems += [f"{failure.name}: {failure.reason}" for failure in left.failures]
        if size:
            context.log.info("%d bytes of staged files were removed", size)
    return problems + [f"{failure.name}: {failure.reason}" for failure in removing.failures]


def _too_many_files(done: Sequence["TableUpkeep"], most_files: int) -> list[str]:
    """Return a sentence for each table that has too many files."""
    return [
        f"{upkeep.table} has {upkeep.mergeable} files to merge, more than {most_files}: upkeep runs too "
        "seldom, or other commits keep it from merging. Look at the last runs of lake_upkeep."
        for upkeep in done
        if upkeep.mergeable > most_files
    ]


def _metadata(done: Sequence["TableUpkeep"]) -> dict[str, Any]:
    return {
        **row_count_metadata(len(done)),
        "files": sum(upkeep.files[1] for upkeep in done),
        "files to merge": sum(upkeep.mergeable for upkeep in done),
        "most files of a table": max((upkeep.files[1] for upkeep in done), default=0),
        "bytes": sum(upkeep.size[1] for upkeep in done),
        "bytes rewritten": sum(upkeep.rewritten for upkeep in done),
        "bytes of old versions removed": sum(upkeep.removed.size for upkeep in done),
        "versions": sum(upkeep.versions for upkeep in done),
        "outdated rows": sum(upkeep.outdated for upkeep in done),
        "tables": preview([_table_row(upkeep) for upkeep in sorted(done, key=lambda one: -one.size[1])]),
    }


def _table_row(upkeep: "TableUpkeep") -> dict[str, Any]:
    return {
        "table": upkeep.table,
        "rows": f"{upkeep.rows:,}",
        "files": upkeep.files[1],
        "to merge": upkeep.mergeable,
        "bytes": f"{upkeep.size[1]:,}",
        "versions": upkeep.versions,
        "oldest needed version": "" if upkeep.oldest is None else upkeep.oldest,
        "kept for": ", ".join(upkeep.pinned_by),
        "old versions removed": "" if upkeep.removed_at is None else f"{upkeep.removed_at:%Y-%m-%d %H:%M}",
        "problem": upkeep.error,
    }
