"""Spark as the engine of star tables.

Files are taken from the Delta log, so Spark needs no Delta library. Its workers write the rows of a first
build and of facts as files; the changed rows of a dimension come to this process, which merges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.lake.arrow import logical_type_of
from platform_assets.lake.lake import BronzeReader
from platform_assets.model.dialects import SPARK
from platform_assets.model.star_model import STREAM
from platform_assets.spark.dialect import LAST_RECORD_ID, Numbering, constant, spark_sql, sql_of
from platform_assets.spark.files import written
from platform_assets.spark.tables import Views, stored_type

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame
    from sqlglot import exp

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.spark.session import SparkTarget
    from platform_assets.star.engine import StarTask

_SAMPLED_PER_RANGE = 200


@dataclass(frozen=True)
class SparkEngine:
    """An engine for star tables on Spark or Sail.

    Args:
        target: The Spark.
        sql: DuckDB, for the little that is computed in this process.
        rows_per_range: Rows from which on the numbering of rows is split into ranges.
    """

    target: SparkTarget
    sql: SqlEngine
    rows_per_range: int = 1_000_000

    @property
    def name(self) -> str:
        """See `StarEngine.name`."""
        return self.target.name

    def write(self, task: StarTask) -> int:
        """See `StarEngine.write`."""
        with (
            self.target.working(f"building star/{task.table.name}") as session,
            Views.open(session, self.target) as views,
        ):
            rows = self._new_rows(task, views)
            if task.handle is not None and task.table.kind != "fact":
                changed = views.add(rows)
                if self._has_any(task, views, changed):
                    return self._upsert(task, task.handle, session.table(changed))
            return self._append(task, rows)

    def fetch(self, sql: str, tables: Mapping[str, LakeTable]) -> Sequence[tuple[Any, ...]]:
        """See `StarEngine.fetch`."""
        with (
            self.target.working(f"reading {', '.join(tables)}") as session,
            Views.open(session, self.target) as views,
        ):
            names = {name: views.add_table(table, table.open())[0] for name, table in tables.items()}
            found = session.sql(sql_of(spark_sql(sql, names))).toArrow()
            return [tuple(row.values()) for row in found.to_pylist()]

    def _new_rows(self, task: StarTask, views: Views) -> DataFrame:
        """Return the query for the new rows of a table, with the stored columns."""
        reader = BronzeReader(task.lake, task.model.source, task.state)
        names = {}
        for table, after in task.reads:
            names[f"{task.model.source}.{table.name}"] = (
                views.add_versions(reader, table, task.after, self.sql)
                if after is None
                else views.add_latest(reader, table, after, self.sql)
            )
        for name, rows in task.inputs.items():
            names[f"reference.{name}"] = views.add_arrow(rows)
        select = spark_sql(task.model.select_of(task.table), names, {LAST_RECORD_ID: task.last_record_id})
        if task.table.kind == "fact":
            select = self._numbered_in_ranges(select, views)
        columns = ", ".join(
            f"CAST({SPARK.quote(column.name)} AS {stored_type(column.type)}) AS {SPARK.quote(column.name)}"
            for column in task.target.columns
        )
        new = "" if task.new_after is None else f" WHERE _batch > {task.new_after:d}"
        return views.session.sql(f"SELECT {columns} FROM ({sql_of(select)}) AS new{new}")

    def _numbered_in_ranges(self, select: exp.Select, views: Views) -> exp.Select:
        """Return a SELECT whose rows several workers number; the same SELECT where one worker can."""
        numbering = Numbering.find(select) if views.rows > self.rows_per_range else None
        if numbering is None:
            return select
        ranges = max(self.target.partitions, views.rows // self.rows_per_range + 1)
        bounds = self._bounds(numbering, views, ranges)
        if not bounds:
            return select
        counted = views.session.sql(numbering.counts(bounds)).toArrow().to_pylist()
        rows = {row["place"]: row["how_many"] for row in counted}
        sizes = [rows.get(place, 0) for place in range(len(bounds) + 1)]
        return numbering.numbered(bounds, list(accumulate(sizes[:-1], initial=0)))

    def _bounds(self, numbering: Numbering, views: Views, ranges: int) -> list[tuple[exp.Expr, ...]]:
        """Return lower bounds of ranges of about equal size, from a sample of the rows."""
        one_in = max(views.rows // (ranges * _SAMPLED_PER_RANGE), 1)
        sample: pa.Table = views.session.sql(numbering.sample(one_in)).toArrow()
        try:
            types = [logical_type_of(field.type) for field in sample.schema]
        except ValueError:
            return []
        places = sorted({len(sample) * number // ranges for number in range(1, ranges)} - {0})
        values = [tuple(row.values()) for row in sample.take(places).to_pylist()] if places else []
        return [
            tuple(constant(value, type_) for value, type_ in zip(row, types, strict=True))
            for row in dict.fromkeys(values)
            if None not in row
        ]

    def _has_any(self, task: StarTask, views: Views, changed: str) -> bool:
        """Return whether the table has a row with any key of the changed rows."""
        existing, _ = views.add_table(task.target, task.handle)
        using = SPARK.columns(task.table.primary_key)
        found = views.session.sql(
            f"SELECT 1 AS found FROM {existing} LEFT SEMI JOIN {changed} USING ({using}) LIMIT 1"
        ).toArrow()
        return bool(found.num_rows)

    def _upsert(self, task: StarTask, handle: DeltaTable, rows: DataFrame) -> int:
        found: pa.Table = rows.toArrow()
        changed = found.select(task.target.arrow_schema.names).cast(task.target.arrow_schema)
        task.target.upsert(
            handle,
            changed,
            key=task.table.primary_key,
            stream=STREAM,
            version=task.state.last_batch,
            also=task.also,
        )
        return int(changed.num_rows)

    def _append(self, task: StarTask, rows: DataFrame) -> int:
        with written(rows, task.target, self.target) as files:
            if not files.files:
                return 0
            if files.fit(task.handle):
                task.target.append_files(
                    task.handle,
                    files.placed(),
                    stream=STREAM,
                    version=task.state.last_batch,
                    description=task.description,
                    also=task.also,
                )
            else:
                # A column was added to the declaration, or has left it.
                task.target.append(
                    task.handle,
                    files.stream(),
                    stream=STREAM,
                    version=task.state.last_batch,
                    also=task.also,
                )
            return files.rows
