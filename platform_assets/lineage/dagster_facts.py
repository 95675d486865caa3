"""Facts from Dagster: what users' own assets declare in their metadata, and which runs have ended."""

import datetime as dt
import importlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import dagster as dg

from platform_assets.column_lineage import ROWS, ColumnRef, DeclaredTable, StatedEdge, Subtype
from platform_assets.errors import LineageError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lineage.events import EndedRun
from platform_assets.model.table import Column, Text

LINEAGE = "platform_assets/lineage"
"""Metadata of an asset: from which columns each of its columns is made; see docs/your_own_assets.md."""
_CONSTANT = "constant:"
_MASKED = "masked"
_SOURCE = re.compile(r"(?P<asset>[^\s]+)\.(?P<column>[^\s.]+)(?:\s+(?P<words>.+))?")
_SUBTYPES = {subtype.lower(): subtype for subtype in Subtype}


def own_tables(module: str, known: Collection[tuple[str, ...]]) -> list[DeclaredTable]:
    """Return the assets of the code location that no room declares.

    Args:
        module: Name of the module that Dagster loads.
        known: Paths of the tables that the rooms declare.

    Raises:
        LineageError: The module cannot be imported, or a declaration has mistakes.
    """
    try:
        defs = getattr(importlib.import_module(module), "defs", None)
    except Exception as error:
        if not is_isolated(error):
            raise
        raise LineageError(
            f"The module {module}, set in lineage.definitions, cannot be imported: {reason_of(error)}"
        ) from error
    if not isinstance(defs, dg.Definitions):
        raise LineageError(
            f"The module {module}, set in lineage.definitions, has no dagster.Definitions called defs."
        )
    specs = [spec for spec in defs.resolve_all_asset_specs() if tuple(spec.key.path) not in known]
    return [table for spec in specs if (table := _table(spec)) is not None]


def _table(spec: dg.AssetSpec) -> DeclaredTable | None:
    """Return an asset as a table of the graph; None if it is no table."""
    schema, lineage = _value(spec, "dagster/column_schema"), _value(spec, "dagster/column_lineage")
    declared = _value(spec, LINEAGE)
    if schema is None and lineage is None and declared is None:
        return None
    asset = tuple(spec.key.path)
    mistakes: list[str] = []
    constants: dict[str, str] = {}
    edges: list[StatedEdge] = []
    if isinstance(lineage, dg.TableColumnLineage):
        for column, deps in lineage.deps_by_column.items():
            edges += [
                StatedEdge(
                    ColumnRef(tuple(dep.asset_key.path), dep.column_name), column, Subtype.TRANSFORMATION
                )
                for dep in deps
            ]
    if isinstance(declared, Mapping):
        for column, given in declared.items():
            if isinstance(given, str) and given.startswith(_CONSTANT):
                constants[column] = given.removeprefix(_CONSTANT).strip() or "declared"
                continue
            for text in [given] if isinstance(given, str) else given:
                edge = _edge(column, str(text))
                if isinstance(edge, str):
                    mistakes.append(edge)
                else:
                    edges.append(edge)
    elif declared is not None:
        mistakes.append(f"found {type(declared).__name__}; expected a block of columns")
    if mistakes:
        lines = "\n  ".join(mistakes)
        raise LineageError(f"The metadata {LINEAGE} of {'/'.join(asset)} has mistakes:\n  {lines}")
    columns = (
        [Column(column.name, Text(), column.description or "") for column in schema.columns] if schema else []
    )
    known = {column.name for column in columns} | {ROWS}
    names = dict.fromkeys([*(edge.column for edge in edges), *constants])
    columns += [Column(name, Text()) for name in names if name not in known]
    is_declared = bool(edges or constants)
    return DeclaredTable(
        asset,
        tuple(columns),
        edges=tuple(edges),
        constants=constants,
        group=spec.group_name or "",
        owners=tuple(spec.owners),
        description=spec.description or "",
        unknown="" if is_declared else f"its asset declares no lineage; set the metadata {LINEAGE}",
    )


def _value(spec: dg.AssetSpec, key: str) -> Any:
    found = spec.metadata.get(key)
    return getattr(found, "value", found)


def _edge(column: str, text: str) -> StatedEdge | str:
    """Return the edge that a line declares, or what is wrong with it."""
    found = _SOURCE.fullmatch(text.strip())
    if found is None:
        return f"{column}: found {text!r}; expected a column such as star/dim_staff.location"
    words = (found["words"] or "").lower().replace(",", " ").split()
    subtypes = [word for word in words if word in _SUBTYPES]
    unknown = [word for word in words if word not in _SUBTYPES and word != _MASKED]
    if unknown or len(subtypes) > 1:
        return f"{column}: found {' '.join(words)}; expected one of {', '.join(_SUBTYPES)}, and {_MASKED}"
    default = Subtype.FILTER if column == ROWS else Subtype.TRANSFORMATION
    return StatedEdge(
        ColumnRef(tuple(found["asset"].split("/")), found["column"]),
        column,
        _SUBTYPES[subtypes[0]] if subtypes else default,
        _MASKED in words,
    )


def ended_runs(
    instance: dg.DagsterInstance, after: dt.datetime, known: Collection[str], most: int
) -> Iterator[tuple[EndedRun, dt.datetime]]:
    """Yield runs that have ended, oldest first, each with the time at which Dagster has noted it.

    Args:
        instance: Dagster's instance.
        after: Only runs that were noted at this time or later, UTC.
        known: Ids of runs to leave out.
        most: The largest number of runs.
    """
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    records = instance.get_run_records(
        # The limit itself is left out by Dagster.
        dg.RunsFilter(statuses=finished, updated_after=after - dt.timedelta(milliseconds=1)),
        limit=most + len(known),
        order_by="update_timestamp",
        ascending=True,
    )
    for record in records:
        run = record.dagster_run
        noted = record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or dt.UTC)
        if run.run_id in known:
            continue
        start, end = (
            dt.datetime.fromtimestamp(at, dt.UTC) if at else noted
            for at in (record.start_time, record.end_time)
        )
        kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.RUN_FAILURE}
        written: dict[tuple[str, ...], None] = {}
        failure = ""
        for event_record in instance.get_records_for_run(run.run_id, of_type=kinds).records:
            event = event_record.event_log_entry.dagster_event
            if event is not None and event.asset_key is not None:
                written[tuple(event.asset_key.path)] = None
            elif event is not None:
                failure = event.message or "The run failed."
        succeeded = run.status == dg.DagsterRunStatus.SUCCESS
        yield EndedRun(run.run_id, run.job_name, succeeded, start, end, tuple(written), failure), noted
