"""The task `sql`: the result of a query, as a file or as a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from platform_assets.tasks.publishing import is_same, whole_file
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome

if TYPE_CHECKING:
    import pyarrow as pa

_SUFFIXES = (".csv", ".parquet")


def _table(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", value):
        raise ValueError("write schema.table")
    return value


class Sql(Task):
    """Run a query on a source or a warehouse, and keep its result as a file or as a table of a warehouse.

    The query only reads: sources are never written to, and a table is replaced as a whole in one
    transaction. Rows are streamed, and never logged.

    Idempotent: the result takes the place of the last one. Order the rows, so that the same rows give the
    same file.
    """

    def run(
        self,
        context: TaskContext,
        query: str | None = None,
        query_file: Path | None = None,
        database: str = "warehouse",
        output: Path | None = None,
        table: Annotated[str, AfterValidator(_table)] | None = None,
        table_in: str = "warehouse",
        expect_rows: bool | None = None,
    ) -> TaskOutcome:
        """Run it.

        Args:
            context: The task's context.
            query: One SELECT, in the database's dialect.
            query_file: A file with the query, instead of `query`.
            database: Name of a source or a warehouse of the configuration.
            output: The file to write, .csv or .parquet.
            table: The table to replace, schema.table.
            table_in: Name of the warehouse that has this table.
            expect_rows: Fail the task if there are no rows (true), or if there are any (false), as a check.
        """
        if (query is None) == (query_file is None):
            raise TaskError("Give either query or query_file.")
        if output is not None and output.suffix not in _SUFFIXES:
            raise TaskError(f"{output} has an unknown suffix. Write a .csv or a .parquet file.")
        if output is not None and table is not None:
            raise TaskError("Give either output or table, in two tasks if both are needed.")
        text = query if query is not None else query_file.read_text(encoding="utf-8") if query_file else ""
        with context.queries.open(database, text.strip().rstrip(";")) as rows:
            count, changed = self._keep(context, rows, output, table, table_in)
        if expect_rows is not None and (count > 0) != expect_rows:
            wanted = "and there must be some" if expect_rows else "and there must be none"
            raise TaskError(f"The query on {database} returned {count:,} rows, {wanted}.")
        return TaskOutcome([output] if output is not None else [], {"rows": count}, changed)

    def _keep(
        self,
        context: TaskContext,
        rows: pa.RecordBatchReader,
        output: Path | None,
        table: str | None,
        table_in: str,
    ) -> tuple[int, bool]:
        """Keep the result; returns the number of rows, and whether anything changed."""
        if table is not None:
            return context.queries.replace(table_in, table.split("."), rows), True
        if output is None:
            return sum(batch.num_rows for batch in rows), False
        with whole_file(output) as part:
            count = _write(rows, part, output.suffix)
            changed = not is_same(part, output)
        context.log(f"{output}: {count:,} rows{'' if changed else ', unchanged'}")
        return count, changed


def _write(rows: pa.RecordBatchReader, file: Path, suffix: str) -> int:
    import pyarrow.csv
    import pyarrow.parquet

    count = 0
    writer = (
        pyarrow.csv.CSVWriter(file, rows.schema)
        if suffix == ".csv"
        else pyarrow.parquet.ParquetWriter(file, rows.schema)
    )
    with writer:
        for batch in rows:
            writer.write(batch)
            count += batch.num_rows
    return count
