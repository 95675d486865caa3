"""Assets for star tables and feed tables in Snowflake, and the job that loads them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dagster as dg

from platform_assets.isolation import Isolation, ended
from platform_assets.lake.defs import (
    OWNERS,
    clear_failures,
    row_count_metadata,
    table_schema,
)
from platform_assets.model import star

GROUP = "snowflake"
SNOWFLAKE_JOB = "snowflake_load"
LAKE_COPIES = "snowflake"
"""Key of the resource: a function that returns the `LakeCopies`, or says in an error what to configure."""
_NO_ACCOUNT = (
    "no Snowflake account is configured. Add a block snowflake with account, user, private_key, warehouse, "
    "database and schema to config/platform.conf (docs/warehouse_snowflake.md)."
)
_NOT_LOADED = "Not loaded into Snowflake, and as it was before: "


def build_snowflake_defs(feeds: Mapping[str, str], *, has_account: bool) -> dg.Definitions:
    """Assets `snowflake/<table>` and the job `snowflake_load`; the resource is used only in runs.

    Args:
        feeds: The feeds by name, each with a sentence that says which objects it takes.
        has_account: True if an account is configured. Otherwise the assets exist for their lineage only and
            cannot be materialized; their descriptions and the job say what to configure.
    """
    if not has_account:
        specs = [*_star_specs().values(), *(_feed_spec(name, said) for name, said in feeds.items())]
        return dg.Definitions(
            assets=[_without_account(spec) for spec in specs], jobs=[_job_without_account()]
        )
    assets = [_star_copies(), *(_feed_copy(name, description) for name, description in feeds.items())]
    job = dg.define_asset_job(
        SNOWFLAKE_JOB,
        selection=dg.AssetSelection.assets(*(key for one in assets for key in one.keys)).without_checks(),
        description="Brings the copies of the star schema's and the feeds' tables in Snowflake to what the "
        "lake has.",
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=assets, jobs=[job])


def _without_account(spec: dg.AssetSpec) -> dg.AssetSpec:
    said = f"{spec.description} **Not loaded: {_NO_ACCOUNT}** With one it can be materialized."
    return spec.replace_attributes(description=said).merge_attributes(metadata={"configure": _NO_ACCOUNT})


def _job_without_account() -> dg.JobDefinition:
    @dg.op(name=GROUP, required_resource_keys={LAKE_COPIES}, description=_NO_ACCOUNT)
    def say_what_to_configure(context: dg.OpExecutionContext) -> None:
        with clear_failures():
            getattr(context.resources, LAKE_COPIES)()

    @dg.job(
        name=SNOWFLAKE_JOB, description=f"Loads nothing: {_NO_ACCOUNT}", executor_def=dg.in_process_executor
    )
    def job() -> None:
        say_what_to_configure()

    return job


def _star_specs() -> dict[dg.AssetKey, dg.AssetSpec]:
    by_key = {dg.AssetKey([GROUP, table.name]): table for table in star.TABLES}
    return {
        key: dg.AssetSpec(
            key,
            deps=[dg.AssetKey(["star", table.name])],
            description=f"{table.description} A copy in Snowflake, loaded from the lake's Parquet files.",
            group_name=GROUP,
            owners=OWNERS,
            kinds={"snowflake", "table"},
            metadata={
                "dagster/column_schema": table_schema(star.columns_of(table), primary_key=table.primary_key)
            },
        )
        for key, table in by_key.items()
    }


def _star_copies() -> dg.AssetsDefinition:
    by_key = {dg.AssetKey([GROUP, table.name]): table for table in star.TABLES}

    @dg.multi_asset(
        name=GROUP,
        specs=list(_star_specs().values()),
        can_subset=True,
        required_resource_keys={LAKE_COPIES, "protection"},
        description="Brings the star tables' copies in Snowflake up to date, each in one transaction, by "
        "CREATE TABLE, CREATE STAGE and COPY statements that the Parquet files' footers give.",
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        keys = {table.name: key for key, table in selected.items()}
        failing = Isolation("Loading into Snowflake")
        with clear_failures():
            copies = getattr(context.resources, LAKE_COPIES)()
            # A column that the policy blocks stops its table; a column that the policy changes is loaded
            # changed.
            lake = context.resources.protection.lake_for(copies.lake, GROUP, context.run.run_id)
            copies = replace(copies, lake=lake)
            for table, done in copies.refresh_star(list(selected.values()), failing):
                yield _loaded(context, keys[table.name], done)
        if failing.failures:
            told = " ".join(f"{one.name}: {ended(one.reason)}" for one in failing.failures)
            is_retryable = any(one.retryable for one in failing.failures)
            raise dg.Failure(_NOT_LOADED + told, allow_retries=is_retryable)

    return load


def _feed_spec(feed: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        dg.AssetKey([GROUP, f"uploads_{feed}"]),
        deps=[dg.AssetKey(["uploads", feed])],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"snowflake", "table"},
        description=f"{description} Those that count now, as the policy lets them pass, in Snowflake, loaded "
        "from Parquet files in one transaction.",
    )


def _feed_copy(feed: str, description: str) -> dg.AssetsDefinition:
    name = f"uploads_{feed}"
    spec = _feed_spec(feed, description)
    key = spec.key

    @dg.asset(
        key=key,
        # Without uploads there is nothing to load.
        output_required=False,
        deps=spec.deps,
        group_name=GROUP,
        owners=OWNERS,
        kinds=spec.kinds,
        required_resource_keys={LAKE_COPIES, "feeding", "protection"},
        description=spec.description,
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        with clear_failures():
            copies = getattr(context.resources, LAKE_COPIES)()
            feeding = context.resources.feeding(feed)
            if not feeding.has_table():
                context.log.info("%s: nothing was uploaded yet, and its columns are not declared", feed)
                return
            table = feeding.copy_for(context.resources.protection, GROUP, name, context.run.run_id)
            done = copies.refresh(table, name)
        if done.result.error is not None:
            raise dg.Failure(f"{_NOT_LOADED}{name}: {done.result.error}")
        yield _loaded(context, key, done, {"dagster/column_schema": table_schema(table.columns)})

    return load


def _loaded(
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
