"""The star tables in Snowflake as assets, and the job that loads them."""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg

from platform_assets.lake.defs import (
    OWNERS,
    RETRY_POLICY,
    clear_failures,
    row_count_metadata,
    table_schema,
)
from platform_assets.model import star

GROUP = "snowflake"
SNOWFLAKE_JOB = "snowflake_load"
STAR_COPIES = "snowflake"
"""Key of the resource: a function that gives the `StarCopies`, or says what to configure."""


def build_snowflake_defs() -> dg.Definitions:
    """Assets `snowflake/<table>` and the job `snowflake_load`; the resource is asked for when one is made."""
    by_key = {dg.AssetKey([GROUP, table.name]): table for table in star.TABLES}
    specs = [
        dg.AssetSpec(
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
    ]

    @dg.multi_asset(
        name=GROUP,
        specs=specs,
        can_subset=True,
        retry_policy=RETRY_POLICY,
        required_resource_keys={STAR_COPIES, "protection"},
        description="Brings the star tables' copies in Snowflake up to date, each in one transaction, by "
        "CREATE TABLE, CREATE STAGE and COPY statements that the Parquet files' footers give.",
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        keys = {table.name: key for key, table in selected.items()}
        failed = []
        with clear_failures():
            copies = getattr(context.resources, STAR_COPIES)()
            # A column that the policy blocks stops the load; one that it changes arrives changed.
            lake = context.resources.protection.lake_for(copies.lake, GROUP, context.run.run_id)
            copies = replace(copies, lake=lake)
            for table, done in copies.refresh(list(selected.values())):
                result = done.result
                if result.error is not None:
                    failed.append(f"{table.name}: {result.error}")
                    continue
                context.log.info(
                    "snowflake/%s: %s, %d rows loaded in %.1f s",
                    table.name,
                    done.how,
                    result.rows_loaded,
                    result.seconds,
                )
                yield dg.MaterializeResult(
                    asset_key=keys[table.name],
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
                    },
                )
        if failed:
            raise dg.Failure("Not loaded into Snowflake, and as it was before: " + " ".join(failed))

    job = dg.define_asset_job(
        SNOWFLAKE_JOB,
        selection=dg.AssetSelection.assets(*by_key).without_checks(),
        description="Brings the star tables' copies in Snowflake to what the lake has.",
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[load], jobs=[job])
