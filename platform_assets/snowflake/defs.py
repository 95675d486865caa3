"""Assets for star tables and feed tables in Snowflake, and the job that loads them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from platform_assets.isolation import Isolation, ended
from platform_assets.lake.resources import ProtectionResource
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Table
from platform_assets.orchestration import (
    LOADS,
    OWNERS,
    clear_failures,
    lazy_resource,
    row_count_metadata,
    table_schema,
    warehouse_pool,
)
from platform_assets.rooms import Rooms
from platform_assets.snowflake.assembly import SnowflakeRoom
from platform_assets.snowflake.resources import CopiesResource
from platform_assets.star.assembly import StarRoom

GROUP = "snowflake"
SNOWFLAKE_JOB = "snowflake_load"
LAKE_COPIES = "snowflake_copies"
"""Key of the resource: a function that returns the `LakeCopies`, or says in an error what to configure.

`snowflake` is the resource of dagster-snowflake, for the user's own assets.
"""
_NO_ACCOUNT = (
    "no Snowflake account is configured. Add a block snowflake with account, user, private_key, warehouse, "
    "database and schema to config/platform.conf (docs/warehouse_snowflake.md)."
)
NOT_LOADED = "Not loaded into Snowflake; each table keeps its last loaded data: "


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the assets `snowflake/<table>` of the star schema, and the job `snowflake_load`.

    Without an account the assets exist for their lineage only and cannot be materialized; their descriptions
    and the job say what to configure.

    Args:
        rooms: The rooms.
    """
    room, tables = rooms.of(SnowflakeRoom), rooms.of(StarRoom).model.tables
    resources = {
        LAKE_COPIES: lazy_resource(
            lambda: room.copies, "The lake's tables in Snowflake, where an account is configured"
        )
    }
    if not has_account(rooms):
        assets = [without_account(spec) for spec in _star_specs(tables).values()]
        return dg.Definitions(assets=assets, jobs=[_job_without_account()], resources=resources)
    job = dg.define_asset_job(
        SNOWFLAKE_JOB,
        selection=dg.AssetSelection.groups(GROUP).without_checks(),
        description="Updates the copies of the star schema's and the feeds' tables in Snowflake.",
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[_star_copies(tables)], jobs=[job], resources=resources)


def has_account(rooms: Rooms) -> bool:
    """Return True if an account is configured, or the caller gives the resource."""
    return rooms.of(SnowflakeRoom).has_account or LAKE_COPIES in rooms.replaced


def without_account(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return the spec of an asset that cannot be materialized, as no account is configured."""
    description = f"{spec.description} **Not loaded: {_NO_ACCOUNT}** With one it can be materialized."
    return spec.replace_attributes(description=description).merge_attributes(
        metadata={"configure": _NO_ACCOUNT}
    )


def _job_without_account() -> dg.JobDefinition:
    @dg.op(name=GROUP, description=_NO_ACCOUNT)
    def say_what_to_configure(snowflake_copies: CopiesResource) -> None:
        with clear_failures():
            snowflake_copies()

    @dg.job(
        name=SNOWFLAKE_JOB, description=f"Loads nothing: {_NO_ACCOUNT}", executor_def=dg.in_process_executor
    )
    def job() -> None:
        say_what_to_configure()

    return job


def _star_specs(tables: Sequence[Table]) -> dict[dg.AssetKey, dg.AssetSpec]:
    by_key = {dg.AssetKey([GROUP, table.name]): table for table in tables}
    return {
        key: dg.AssetSpec(
            key,
            deps=[dg.AssetKey(["star", table.name])],
            description=f"{table.description} A copy in Snowflake, loaded from the lake's Parquet files.",
            group_name=GROUP,
            owners=OWNERS,
            kinds={"snowflake", "table"},
            metadata={
                "dagster/column_schema": table_schema(columns_of(table), primary_key=table.primary_key)
            },
        )
        for key, table in by_key.items()
    }


def _star_copies(tables: Sequence[Table]) -> dg.AssetsDefinition:
    by_key = {dg.AssetKey([GROUP, table.name]): table for table in tables}

    @dg.multi_asset(
        name=GROUP,
        specs=list(_star_specs(tables).values()),
        can_subset=True,
        description="Brings the star tables' copies in Snowflake up to date, each in one transaction, by "
        "CREATE TABLE, CREATE STAGE and COPY statements that the Parquet files' footers give.",
        op_tags=LOADS,
        pool=warehouse_pool(GROUP),
    )
    def load(
        context: dg.AssetExecutionContext, snowflake_copies: CopiesResource, protection: ProtectionResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        keys = {table.name: key for key, table in selected.items()}
        failing = Isolation("Loading into Snowflake")
        with clear_failures():
            copies = snowflake_copies()
            # A column that the policy blocks stops its table; a column that the policy changes is loaded
            # changed.
            lake = protection.lake_for(copies.lake, GROUP, context.run.run_id)
            copies = replace(copies, lake=lake)
            for table, done in copies.refresh_star(list(selected.values()), failing):
                yield loaded(context, keys[table.name], done)
        if failing.failures:
            reasons = " ".join(f"{failure.name}: {ended(failure.reason)}" for failure in failing.failures)
            is_retryable = any(failure.retryable for failure in failing.failures)
            raise dg.Failure(NOT_LOADED + reasons, allow_retries=is_retryable)

    return load


def loaded(
    context: dg.AssetExecutionContext, key: dg.AssetKey, done: Any, more: Mapping[str, Any] | None = None
) -> dg.MaterializeResult[None]:
    """Metadata of a table that was brought up to date."""
    result = done.result
    context.log.info(
        "%s: %s, %d rows loaded in %.1f s", "/".join(key.path), done.how, result.rows_loaded, result.seconds
    )
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            **row_count_metadata(done.rows),
            "dagster/table_name": result.target,
            "rows loaded": result.rows_loaded,
            "how": done.how,
            "lake version": done.version,
            "seconds": round(result.seconds, 3),
            "statements": dg.MetadataValue.md(
                "```sql\n" + "\n".join(f"{sql};" for sql in result.statements) + "\n```"
            ),
            **(more or {}),
        },
    )
