"""Lake tables as temporary views: the Delta log says which files to read, and Spark reads them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.lake.arrow import arrow_type, logical_type_of
from platform_assets.lake.delta import file_statistics, stored_columns
from platform_assets.lake.lake import BronzeReader, key_columns_sql
from platform_assets.model.dialects import SPARK
from platform_assets.model.table import Column, LogicalType

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession

    from platform_assets.lake.batches import Batches
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.model.table import Table
    from platform_assets.spark.session import SparkTarget

_PLACE = "place of the version"


@dataclass
class Views:
    """Temporary views of one piece of work.

    Args:
        session: The session that they are created in.
        target: How its Spark writes addresses.
        rows: Rows in all files that the views read.
    """

    session: SparkSession
    target: SparkTarget
    rows: int = 0
    _names: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(cls, session: SparkSession, target: SparkTarget) -> Iterator[Views]:
        """Create views that are dropped at the end."""
        views = cls(session, target)
        try:
            yield views
        finally:
            views._drop()

    def add(self, frame: DataFrame) -> str:
        """Create a view of a query's rows, and return its name."""
        name = f"platform_assets_{uuid.uuid4().hex}"
        frame.createOrReplaceTempView(name)
        self._names.append(name)
        return name

    def add_sql(self, sql: str) -> str:
        """Create a view of a SELECT, and return its name."""
        return self.add(self.session.sql(sql))

    def add_arrow(self, rows: pa.Table) -> str:
        """Create a view of a few rows, and return its name."""
        if rows.num_rows:
            return self.add(self.session.createDataFrame(rows))
        columns = [Column(column.name, logical_type_of(column.type), "") for column in rows.schema]
        return self.add(self.session.createDataFrame([], ddl(columns)))

    def add_table(
        self,
        table: LakeTable,
        handle: DeltaTable | None,
        *,
        batches: tuple[int, int] | None = None,
        only: Batches | None = None,
    ) -> tuple[str, bool]:
        """Create a view of a lake table with its declared columns.

        Args:
            table: The table.
            handle: The table in its current state; None for a table without rows.
            batches: Only rows with first < `_batch` <= last; files outside this range are not opened.
            only: The batches to include. Files known to hold only other batches are skipped.

        Returns:
            The view's name, and True if it may contain rows of batches other than `only`.
        """
        paths, is_mixed = table.files(handle, batches, only) if handle is not None else ([], False)
        if not paths or handle is None:
            return self.add(self.session.createDataFrame([], ddl(table.columns))), is_mixed
        self.target.require_files(table, paths)
        stored = stored_columns(handle)
        self.rows += _rows_in(handle, {path.rpartition("/")[2] for path in paths})
        # Files written before a column was added lack it, and have NULL in it.
        frame = self.session.read.schema(ddl(stored)).parquet(*map(self.target.place, paths))
        raw = self.add(frame)
        known = {column.name for column in stored}
        selected = ", ".join(
            f"CAST({SPARK.quote(column.name) if column.name in known else 'NULL'} "
            f"AS {stored_type(column.type)}) AS {SPARK.quote(column.name)}"
            for column in table.columns
        )
        condition = "" if batches is None else f" WHERE _batch > {batches[0]:d} AND _batch <= {batches[1]:d}"
        return self.add_sql(f"SELECT {selected} FROM {raw}{condition}"), is_mixed

    def add_versions(self, reader: BronzeReader, table: Table, after: int, engine: SqlEngine) -> str:
        """Create a view of the committed valid row versions of a source table, and return its name.

        The rows are those of `BronzeReader.create_versions_view`.

        Args:
            reader: Reader of the source.
            table: The source table.
            after: Only batches after this one.
            engine: DuckDB, which reads the dead letters.
        """
        last = reader.state.last_batch
        bronze = reader.lake.bronze(reader.source, table)
        counting = reader.state.batches_of(reader.source, table.name)
        name, is_mixed = self.add_table(
            bronze, reader.opened(table, after), batches=(after, last), only=counting
        )
        if is_mixed:
            # Rows of batches that lost a race are in a file with others.
            batches = pa.table({"_batch": pa.array(counting, pa.int64())})
            name = self.add_sql(
                f"SELECT * FROM {name} LEFT SEMI JOIN {self.add_arrow(batches)} USING (_batch)"
            )
        if reader.state.dead_letters(reader.source, table.name):
            with engine.connect() as connection:
                reader.create_dead_letters_view(connection, ["dead"], table)
                keys = connection.sql(
                    f"SELECT DISTINCT _batch, {key_columns_sql(table)} FROM dead "
                    f"WHERE _batch > {after:d} AND _batch <= {last:d}"
                ).to_arrow_table()
            using = SPARK.columns(["_batch", *table.primary_key])
            name = self.add_sql(f"SELECT * FROM {name} LEFT ANTI JOIN {self.add_arrow(keys)} USING ({using})")
        return name

    def add_latest(self, reader: BronzeReader, table: Table, after: int, engine: SqlEngine) -> str:
        """Create a view of the latest valid version of each row; see `add_versions`."""
        versions = self.add_versions(reader, table, after, engine)
        columns = SPARK.columns([column.name for column in reader.lake.bronze(reader.source, table).columns])
        place = SPARK.quote(_PLACE)
        return self.add_sql(
            f"SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY "
            f"{SPARK.columns(table.primary_key)} ORDER BY _batch DESC) AS {place} FROM {versions}) "
            f"WHERE {place} = 1"
        )

    def _drop(self) -> None:
        for name in self._names:
            self.session.catalog.dropTempView(name)


def stored_type(type_: LogicalType) -> str:
    """Return Spark's name of the type by which the lake's files store a logical type: times are text."""
    return SPARK.type_name(logical_type_of(arrow_type(type_)))


def ddl(columns: Sequence[Column]) -> str:
    """Return columns as Spark declares those of files of the lake."""
    return ", ".join(f"{SPARK.quote(column.name)} {stored_type(column.type)}" for column in columns)


def _rows_in(handle: DeltaTable, names: set[str]) -> int:
    """Return the number of rows in files, from their statistics."""
    files = file_statistics(handle)
    counts = zip(files["path"].to_pylist(), files["num_records"].to_pylist(), strict=True)
    return sum(count or 0 for path, count in counts if path.rpartition("/")[2] in names)
