"""Dagster vocabulary of all rooms: parts of asset specs, resources, materializations, checks and failures.

The assets themselves are defined in the rooms that build them.
"""

import contextlib
import datetime as dt
import functools
import hashlib
import inspect
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import dagster as dg

from platform_assets.column_lineage import OWNERS as OWNERS
from platform_assets.column_lineage import ColumnRef
from platform_assets.dagster_internals import (
    CheckResult,
    last_check_results,
    look_up_assets,
    record_origin,
)
from platform_assets.description import TableNotes
from platform_assets.errors import path_error
from platform_assets.isolation import ended, is_isolated, is_retryable, reason_of, result_or_reason
from platform_assets.model.dialects import type_name
from platform_assets.model.table import Column

LAKE_IO_MANAGER = "lake_io_manager"
MAIN_JOB = "totesys_to_warehouse"
"""Name of the job that brings the main source's changes to the warehouse."""
BATCH = "batch"
"""Metadata: the last batch that a materialization has processed, or that a check has examined."""
STOPPED = "stopped"
"""Materialization metadata: reason why a table was skipped; present only on skipped tables."""
REPORTS_STOPPED = "platform_assets/reports_stopped"
"""Tag of a final step that fails the run for stopped tables; its value is a comma-separated list of the asset
groups that the step reports.
"""
UP_TO_DATE_AT = "platform_assets/up_to_date_at"
"""Materialization metadata of a skipped table: when a run last updated it."""
_ROW_COUNT = "dagster/row_count"
DELETIONS = "deletions looked for"
"""Materialization metadata: time of the last search for deletions, by the source's clock, UTC."""
FRESHNESS = "freshness"
"""Name of the check that an asset was updated recently."""
SOURCE_MATCHES_LAKE = "source_matches_lake"
"""Name of the check that source and lake hold the same rows."""
BLOCKING_CHECKS = "blocking_checks"
"""Resource: the blocking checks of each asset of the code location, by the asset's key."""
CHECKS_WITH_OWN_JOB = frozenset({FRESHNESS, SOURCE_MATCHES_LAKE})
"""Checks that are not part of the jobs that build their assets."""
FAILED = "failures"
"""Materialization metadata: objects that failed in a run, and why; present only if there are any."""
NOTHING_FAILED = "nothing_failed"
"""Name of the check that a run processed all of its objects."""
TELLS_ITS_OWN_FAILURES = "platform_assets/tells_its_own_failures"
"""Tag of runs whose job alerts people itself when it fails, so that the watch does not."""
EXCLUSIVE_TAG = {"platform_assets/exclusive": MAIN_JOB}
"""Runs with this tag wait for each other: `dagster.yaml` allows one at a time."""
AFTER_BATCH = "platform_assets/after_batch"
"""Materialization metadata: the run wrote the rows of later batches; equal to `BATCH` if it wrote no rows."""

QUEUE = "dagster-celery/queue"
"""Tag of steps and runs: the queue of Celery that they go to, where steps or runs are spread over workers."""
EXTRACTION = {QUEUE: "extraction"}
"""Tags of steps that read sources."""
TRANSFORMATION = {QUEUE: "transformation"}
"""Tags of steps that compute in the lake; steps without a tag go to the same queue."""
INSPECTION = {QUEUE: "inspection"}
"""Tags of steps that look for sensitive data."""
LOADS = {QUEUE: "loads"}
"""Tags of steps that write to warehouses and send deliveries."""


def source_pool(source: str) -> str:
    """Return the pool that limits how many steps read a source at the same time."""
    return f"source/{source}"


def warehouse_pool(warehouse: str) -> str:
    """Return the pool that limits how many steps load a warehouse at the same time."""
    return f"warehouse/{warehouse}"


@runtime_checkable
class PlacesJobs(Protocol):
    """A room that decides where runs of jobs and their steps work."""

    def places_jobs(self) -> bool:
        """Return False if all jobs stay as they are."""
        ...

    def placed(self, job: Any) -> Any:
        """Return a job of the code location with its executor and tags; the same job if nothing changes."""
        ...


_MOST_RETRIES = 1
_LONGEST_WAIT = 1.0
"""Longest wait before a retry, in seconds: with a connect timeout of 2 s, even a source that accepts
connections and never answers fails the run well within 10 s.
"""


def table_schema(columns: Sequence[Column], *, primary_key: Sequence[str] = ()) -> dg.TableSchema:
    """Build Dagster's column schema of a table."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type_name(column.type),
                column.description or None,
                dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=tuple(primary_key) == (column.name,),
                    other=[f"references {column.references}"] if column.references else [],
                ),
            )
            for column in columns
        ]
    )


Notes = Callable[[tuple[str, ...]], TableNotes | None]
"""Returns the notes about the table of an asset key."""
_SCHEMA, _LINEAGE = "dagster/column_schema", "dagster/column_lineage"


def with_notes(assets: Iterable[Any], notes: Notes) -> list[Any]:
    """Return assets with what rooms note about their tables: tags of columns, their lineage, and a link.

    Args:
        assets: Assets as definitions hold them.
        notes: Returns the notes.
    """

    @functools.cache
    def dep(ref: ColumnRef) -> dg.TableColumnDep:
        return dg.TableColumnDep(dg.AssetKey(ref.asset), ref.column)

    def noted(spec: dg.AssetSpec) -> dg.AssetSpec:
        found = notes(tuple(spec.key.path))
        if found is None:
            return spec
        metadata: dict[str, Any] = {}
        schema = spec.metadata.get(_SCHEMA)
        table = getattr(schema, "value", schema)
        if found.tags and isinstance(table, dg.TableSchema):
            metadata[_SCHEMA] = _tagged(table, found.tags)
        if found.sources:
            metadata[_LINEAGE] = dg.TableColumnLineage(
                {column: [dep(ref) for ref in sources] for column, sources in found.sources.items()}
            )
        if found.link:
            metadata["column lineage"] = dg.MetadataValue.url(found.link)
        return spec.merge_attributes(metadata=metadata)

    return [
        asset.map_asset_specs(noted)
        if isinstance(asset, dg.AssetsDefinition)
        else noted(asset)
        if isinstance(asset, dg.AssetSpec)
        else asset
        for asset in assets
    ]


def _tagged(schema: dg.TableSchema, tags: Mapping[str, Mapping[str, str]]) -> dg.TableSchema:
    columns = [
        dg.TableColumn(
            column.name,
            column.type,
            column.description,
            column.constraints,
            {**column.tags, **tags[column.name]},
        )
        if column.name in tags
        else column
        for column in schema.columns
    ]
    return dg.TableSchema(columns, schema.constraints)


def preview(rows: Sequence[Mapping[str, Any]] | str) -> dg.MetadataValue:
    """Render a few rows as a Markdown table; long cells are truncated.

    Args:
        rows: The rows, or the reason why no rows can be shown.
    """
    if isinstance(rows, str):
        return dg.MetadataValue.md(f"*cannot be shown:* {rows}")
    if not rows:
        return dg.MetadataValue.md("*no rows*")

    def line(cells: Sequence[object]) -> str:
        return (
            "| " + " | ".join(str(cell)[:60].replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )

    names = list(rows[0])
    body = [line(["" if row[name] is None else row[name] for name in names]) for row in rows]
    return dg.MetadataValue.md("\n".join([line(names), line(["---"] * len(names)), *body]))


@contextlib.contextmanager
def clear_failures(*, retried: bool = True) -> Iterator[None]:
    """Fail a step with a one-sentence reason, and retry it if the error is retryable.

    Only errors marked as retryable are retried. Dagster's own retry policy retries every error, interruptions
    included, so an interruption would not end the run.

    Args:
        retried: Request the retry here; if false, the retry policy of the step decides.
    """
    try:
        yield
    except (dg.Failure, dg.RetryRequested, dg.DagsterError):
        raise
    except BaseException as error:
        if not is_isolated(error):
            raise
        known = path_error(error) if isinstance(error, OSError) else None
        reason, retryable = reason_of(known or error), is_retryable(known or error)
        failure = dg.Failure(description=reason, allow_retries=retryable)
        if not (retried and retryable):
            raise failure from error
        failure.__cause__ = error
        wait = random.uniform(0, _LONGEST_WAIT)  # noqa: S311 - spreads tries, guards nothing
        raise dg.RetryRequested(_MOST_RETRIES, wait) from failure


def check_specs(key: dg.AssetKey, checks: Mapping[str, tuple[str, bool]]) -> list[dg.AssetCheckSpec]:
    """Build the check specs of an asset from name -> (description, blocking)."""
    return [
        dg.AssetCheckSpec(name, asset=key, description=description, blocking=blocking)
        for name, (description, blocking) in checks.items()
    ]


def name_of(key: dg.AssetKey) -> str:
    """Return a name for the inputs and outputs of an asset, unique among all assets."""
    if all(re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", part) for part in key.path):
        return "__".join(key.path)
    readable = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(key.path)).strip("_")
    return f"{readable}__{hashlib.blake2b(key.to_db_string().encode(), digest_size=8).hexdigest()}"


def multi_asset_check(
    *,
    name: str,
    specs: Sequence[dg.AssetCheckSpec],
    tags: Mapping[str, str] | None = None,
    pool: str | None = None,
) -> Callable[[Callable[..., Iterator[Any]]], dg.AssetChecksDefinition]:
    """Dagster's decorator of the same name, for tables with any name.

    Dagster's own decorator names the step's inputs and outputs after the assets, which fails for some names.

    Args:
        name: Name of the step.
        specs: The checks, any of which can be selected.
        tags: Tags of the step.
        pool: The pool that limits how many such steps run at the same time.
    """
    outputs = {f"{name_of(spec.asset_key)}_{spec.name}": spec for spec in specs}
    inputs = {name_of(spec.asset_key): spec.asset_key for spec in specs}

    def define(function: Callable[..., Iterator[Any]]) -> dg.AssetChecksDefinition:
        step = dg.op(
            name=name,
            ins={name: dg.In(dg.Nothing) for name in inputs},
            out={name: dg.Out(dg.Nothing, is_required=False) for name in outputs},
            tags=tags,
            pool=pool,
        )(function)
        made: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
            keys_by_input_name=inputs, node_def=step, check_specs_by_output_name=outputs, can_subset=True
        )
        return made

    return define


@dataclass(frozen=True)
class _Written:
    """Batches that a run wrote to an asset: those after `after` up to `batch`; none if they are equal."""

    after: int
    batch: int


def _written(context: dg.AssetCheckExecutionContext) -> dict[dg.AssetKey, _Written]:
    """Return what this run wrote to each asset whose checks are selected and that it materialized."""
    keys = {key.asset_key for key in context.selected_asset_check_keys}
    events = context.instance.event_log_storage.get_latest_materialization_events(list(keys))
    written = {}
    for key, event in events.items():
        if event is None or event.run_id != context.run.run_id or event.asset_materialization is None:
            continue
        after, batch = (event.asset_materialization.metadata.get(name) for name in (AFTER_BATCH, BATCH))
        if after is not None and batch is not None:
            written[key] = _Written(int(str(after.value)), int(str(batch.value)))
    return written


def _passed_up_to(last: CheckResult | None) -> int:
    """Return the batch up to which all rows are known to pass a check; 0 if its last run failed."""
    if last is None or not last.evaluation.passed:
        return 0
    batch = last.evaluation.metadata.get(BATCH)
    return int(str(batch.value)) if batch is not None else 0


def run_checks(
    context: dg.AssetCheckExecutionContext,
    check: Callable[[dg.AssetCheckKey, int], tuple[int, Sequence[str]]],
    prepare: Callable[[], object] = lambda: None,
) -> Iterator[dg.AssetCheckResult]:
    """Run the selected checks of a multi-asset check, each on the rows added since it last passed.

    A run that wrote nothing proves nothing about the rows of earlier runs. A failed check therefore examines
    all rows until it passes, and a check that an earlier run did not reach also examines that run's rows. A
    check that runs on its own examines all rows. A check that raises any error has failed, and the other
    checks continue.

    Args:
        context: The check step's context.
        check: Takes a check and the batch after which to look; returns the number of rows that break the
            check, and examples of them.
        prepare: Opens what the checks read; called once, if any check has rows to look at, which after most
            ticks none has. Its errors fail the step.
    """
    written = _written(context)
    look_up_assets(context)
    last = last_check_results(
        context.instance, [key for key in context.selected_asset_check_keys if key.asset_key in written]
    )
    is_prepared = False
    # Ordered by asset, so that data read for one check can be reused by the next.
    for key in sorted(context.selected_asset_check_keys, key=lambda key: (key.asset_key.path, key.name)):
        new = written.get(key.asset_key)
        after = min(new.after, _passed_up_to(last.get(key))) if new else 0
        is_known = new is not None and after >= new.batch
        if not is_known and not is_prepared:
            prepare()
            is_prepared = True
        outcome = (0, ()) if is_known else result_or_reason(partial(check, key), after)
        if isinstance(outcome, str):
            yield dg.AssetCheckResult(
                passed=False,
                asset_key=key.asset_key,
                check_name=key.name,
                description=f"It could not be run: {outcome}",
            )
            continue
        broken, examples = outcome
        scope = "nothing, as none are new" if is_known else f"batches after {after}" if after else "all rows"
        yield dg.AssetCheckResult(
            passed=broken == 0,
            asset_key=key.asset_key,
            check_name=key.name,
            description=None if broken == 0 else f"{broken} broken, such as {'; '.join(examples)}",
            metadata={
                "broken": broken,
                "looked at": scope,
                "examples": list(examples),
                **({BATCH: new.batch} if new else {}),
            },
        )


def hold_back(
    context: dg.AssetCheckExecutionContext, results: Iterator[dg.AssetCheckResult], group: str
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """Yield a step's check results so that a failed blocking check does not fail the step.

    In Dagster, a failed step stops everything that depends on any of its assets. Here, the next steps hold
    back only the tables concerned (`failed_checks`), and the last step of the run fails the run.

    Args:
        context: The check step's context.
        results: The results.
        group: Group of the assets that hold back the readers of a failed table; empty without readers.

    Raises:
        dagster.Failure: A blocking check failed, and no later step of the run is tagged to report it.
    """
    step, failed = context.get_step_execution_context(), {}
    for result in results:
        evaluation = result.to_asset_check_evaluation(step)
        name = step.job_def.asset_layer.get_op_output_name(evaluation.asset_check_key)
        if name is not None:
            yield dg.Output(None, output_name=name)
        if evaluation.blocking and not evaluation.passed:
            failed[evaluation.asset_key] = _of_check(evaluation)
        yield dg.AssetCheckEvaluation(
            asset_key=evaluation.asset_key,
            check_name=evaluation.check_name,
            passed=evaluation.passed,
            metadata=evaluation.metadata,
            target_materialization_data=evaluation.target_materialization_data,
            severity=evaluation.severity,
            description=evaluation.description,
            blocking=False,
            partition=evaluation.partition,
        )
    fail_for_stopped(context, failed, group)


def failed_checks(
    instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey], run_id: str | None = None
) -> dict[dg.AssetKey, str]:
    """Return the assets with failed checks and the reasons, from the last run of each check.

    Args:
        instance: Dagster instance that holds the check results.
        checks: The checks to look up.
        run_id: Consider only checks of this run.
    """
    failed: dict[dg.AssetKey, str] = {}
    # If another run has planned a check and not yet run it, the last result counts.
    for key, last in sorted(last_check_results(instance, checks).items()):
        if last.evaluation.passed or run_id not in (None, last.run_id):
            continue
        reason = _of_check(last.evaluation)
        failed[key.asset_key] = f"{failed[key.asset_key]} {reason}" if key.asset_key in failed else reason
    return failed


def _of_check(evaluation: dg.AssetCheckEvaluation) -> str:
    asset = "/".join(evaluation.asset_key.path)
    return ended(f"The check {evaluation.check_name} of {asset} failed: {evaluation.description}")


def stopped_metadata(
    instance: dg.DagsterInstance, key: dg.AssetKey, reason: str, *kept: str
) -> dict[str, Any]:
    """Build the metadata of a skipped table: the reason, and when it was last updated.

    Args:
        instance: Dagster instance that holds the events of earlier runs.
        key: The table's asset.
        reason: Reason why the table was skipped.
        *kept: Names of further metadata of the last materialization that are still valid.
    """
    metadata: dict[str, Any] = {STOPPED: reason}
    event = instance.get_latest_materialization_event(key)
    before = event.asset_materialization.metadata if event and event.asset_materialization else {}
    metadata |= {name: before[name] for name in (_ROW_COUNT, BATCH, UP_TO_DATE_AT, *kept) if name in before}
    if BATCH in before:
        metadata[AFTER_BATCH] = before[BATCH]
    if UP_TO_DATE_AT not in before and event is not None and STOPPED not in before:
        metadata[UP_TO_DATE_AT] = dg.MetadataValue.timestamp(event.timestamp)
    return metadata


def fail_for_stopped(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    stopped: Mapping[dg.AssetKey, str],
    group: str,
) -> None:
    """Fail a step because of stopped tables, unless a later step fails the run for them.

    A failed step would stop everything downstream, also for the tables that succeeded.

    Raises:
        dagster.Failure: Tables were stopped, and no step of the run is tagged to report it for the group.
    """
    tags = (node.definition.tags.get(REPORTS_STOPPED, "") for node in context.job_def.nodes)
    if stopped and not (group and any(group in tag.split(",") for tag in tags)):
        raise stopped_failure(stopped)


def report_stopped(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    keys: Sequence[dg.AssetKey],
    failed: Mapping[dg.AssetKey, str],
) -> None:
    """Fail a step for the tables that its run has stopped; used by steps with the tag `REPORTS_STOPPED`.

    Args:
        context: The step's context.
        keys: The tables.
        failed: Further tables that have failed, with the reasons.

    Raises:
        dagster.Failure: At least one of these tables was stopped.
    """
    events = context.instance.event_log_storage.get_latest_materialization_events(keys)
    stopped = {
        key: str(event.asset_materialization.metadata[STOPPED].value)
        for key, event in events.items()
        if event is not None
        and event.run_id == context.run.run_id
        and event.asset_materialization is not None
        and STOPPED in event.asset_materialization.metadata
    }
    if stopped or failed:
        raise stopped_failure({**failed, **stopped})


def stopped_failure(stopped: Mapping[dg.AssetKey, str]) -> dg.Failure:
    """Build the failure that reports stopped tables, each with its reason."""
    reasons = " ".join(f"{'/'.join(key.path)}: {ended(reason)}" for key, reason in sorted(stopped.items()))
    return dg.Failure(
        description=f"Some tables failed; all others were brought up to date. {reasons}",
        allow_retries=False,
    )


def row_count_metadata(row_count: int) -> dict[str, Any]:
    """Return the number of rows under the metadata key that Dagster plots."""
    return {_ROW_COUNT: row_count}


def lazy_resource(build: Callable[[], Any], description: str) -> dg.ResourceDefinition:
    """Define a resource that is built, and whose libraries are imported, when a step first needs it."""

    def init(context: dg.InitResourceContext) -> Any:
        record_origin(context)
        return build()

    return dg.ResourceDefinition(init, description=description)


def with_resource_keys(**keys: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let parameters of a step take resources whose keys are only known when the step is defined.

    Dagster takes a resource's key from the name of the parameter. The step is a generator function.

    Args:
        **keys: The key of the resource for each parameter.
    """

    def decorate(step: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(step)
        names = {key: name for name, key in keys.items()}

        # Dagster treats generator functions differently from others.
        @functools.wraps(step)
        def renamed(*args: Any, **resources: Any) -> Iterator[Any]:
            yield from step(*args, **{names.get(key, key): value for key, value in resources.items()})

        parameters = [
            parameter.replace(name=keys.get(parameter.name, parameter.name))
            for parameter in signature.parameters.values()
        ]
        renamed.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return renamed

    return decorate


def blocking_checks(of_rooms: Iterable[dg.Definitions]) -> dict[dg.AssetKey, list[dg.AssetCheckKey]]:
    """Return the checks that hold back the readers of their assets."""
    found: dict[dg.AssetKey, list[dg.AssetCheckKey]] = {}
    for defs in of_rooms:
        for asset in (*(defs.assets or ()), *(defs.asset_checks or ())):
            for spec in asset.check_specs if isinstance(asset, dg.AssetsDefinition) else ():
                if spec.blocking:
                    found.setdefault(spec.asset_key, []).append(spec.key)
    return found


def build_failure_check(key: dg.AssetKey, description: str) -> dg.AssetChecksDefinition:
    """The check that fails a run if some of its objects failed; assets that do not depend on them continue.

    A failing step would also stop everything downstream of the objects that were loaded.
    """

    @multi_asset_check(
        name=f"{name_of(key)}_failures",
        specs=[dg.AssetCheckSpec(NOTHING_FAILED, asset=key, description=description)],
    )
    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        event = context.instance.event_log_storage.get_latest_materialization_events([key]).get(key)
        metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
        problem = str(metadata[FAILED].value) if FAILED in metadata else None
        yield dg.AssetCheckResult(
            passed=problem is None, asset_key=key, check_name=NOTHING_FAILED, description=problem
        )
        if problem is not None:
            raise dg.Failure(description=problem, allow_retries=False)

    return look


def build_freshness_defs(within: Mapping[dg.AssetKey, dt.timedelta]) -> dg.Definitions:
    """Build freshness checks, and the job and schedule that run them.

    Every tick materializes its assets, changed or not, so an old materialization means that the platform has
    stopped. A skipped table records the time of its last update in its metadata (`UP_TO_DATE_AT`). The checks
    are separate from the main job, which would always find its own work fresh, and run on their own schedule.

    Args:
        within: Maximum age of each asset.
    """

    @multi_asset_check(
        name=f"{FRESHNESS}_checks",
        specs=[
            dg.AssetCheckSpec(
                FRESHNESS,
                asset=key,
                description=f"The asset was updated within the last {_minutes(limit)} minutes.",
            )
            for key, limit in within.items()
        ],
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = dt.datetime.now(dt.UTC)
        for key in sorted(context.selected_asset_check_keys, key=lambda key: key.asset_key.path):
            event = context.instance.get_latest_materialization_event(key.asset_key)
            last = _up_to_date_at(event) if event else None
            age = now - last if last else None
            yield dg.AssetCheckResult(
                passed=age is not None and age <= within[key.asset_key],
                asset_key=key.asset_key,
                check_name=key.name,
                description="never updated" if age is None else f"updated {_minutes(age)} minutes ago",
                metadata={"last up to date": dg.MetadataValue.timestamp(last)} if last else {},
            )

    job = dg.define_asset_job(
        f"{FRESHNESS}_checks_job",
        selection=dg.AssetSelection.checks(*[dg.AssetCheckKey(key, FRESHNESS) for key in within]),
        description="Checks the age of all assets.",
        executor_def=dg.in_process_executor,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{FRESHNESS}_checks_schedule",
        job=job,
        cron_schedule="*/10 * * * *",
        description="Checks the age of all assets every 10 minutes.",
    )
    return dg.Definitions(asset_checks=[check], jobs=[job], schedules=[schedule])


def scheduled_job(
    name: str,
    selection: dg.AssetSelection,
    description: str,
    cron: str,
    timezone: str,
    *,
    is_exclusive: bool = False,
) -> dg.Definitions:
    """Define a job over assets and checks that runs in one process, and its schedule.

    Args:
        name: Name of the job; the schedule is `<name>_schedule`.
        selection: The assets and checks.
        description: Description of both.
        cron: Cron expression of the schedule.
        timezone: Time zone of `cron`.
        is_exclusive: Whether its runs wait for the runs of other exclusive jobs.
    """
    tags = EXCLUSIVE_TAG if is_exclusive else None
    job = dg.define_asset_job(
        name,
        selection=selection,
        description=description,
        executor_def=dg.in_process_executor,
        tags=tags,
        run_tags=tags,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=description,
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])


def _up_to_date_at(event: dg.EventLogEntry) -> dt.datetime | None:
    """Return the time (UTC) of an asset's last update; None if it was never updated."""
    metadata = event.asset_materialization.metadata if event.asset_materialization else {}
    if UP_TO_DATE_AT in metadata:
        return dt.datetime.fromtimestamp(float(str(metadata[UP_TO_DATE_AT].value)), dt.UTC)
    return None if STOPPED in metadata else dt.datetime.fromtimestamp(event.timestamp, dt.UTC)


def _minutes(time: dt.timedelta) -> int:
    return round(time.total_seconds() / 60)
