"""Inspection of table columns, in the lake or in a warehouse, by their distinct values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.dlp.column_parts import ColumnPart, FailedPart, inspected_part, merged_parts
from platform_assets.dlp.findings import InspectedTable
from platform_assets.dlp.model import ColumnVerdict, InfoType, Sensitivity
from platform_assets.formats.isolation import is_about_content, kind_of_error
from platform_assets.lake.column_values import pieces

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from platform_assets.dlp.column_parts import LargeTables
    from platform_assets.dlp.model import Inspector
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine

# Types that cannot hold sensitive data, or whose source text is inspected instead.
_NOT_INSPECTED = ("BOOLEAN", "TIME", "INTERVAL", "UUID", "HUGEINT")
_ROWS_OF_A_SAMPLE = 200_000


@dataclass(frozen=True)
class ColumnInspector:
    """Inspects tables column by column.

    Args:
        inspector: The inspector of values.
        engine: Memory and threads for finding distinct values.
        sample_rows: Tables with more rows are sampled evenly to this many; a column with a finding of a
            severe info type is then inspected in full.
        large_tables: Inspects large tables of the lake in full, by workers; if None, they are sampled here.
    """

    inspector: Inspector
    engine: SqlEngine
    sample_rows: int = _ROWS_OF_A_SAMPLE
    large_tables: LargeTables | None = None

    def inspect_lake_table(self, table: LakeTable, key: str) -> InspectedTable | None:
        """Inspect a table of the lake; None if it does not exist yet.

        Args:
            table: The table; its declared columns are inspected, or all columns if none are declared.
            key: Its asset key, joined by `/`.
        """
        handle = table.open()
        if handle is None:
            return None
        from platform_assets.lake.delta import LakeTable, stored_columns

        columns = table.columns or stored_columns(handle)
        whole = LakeTable(table.uri, columns, table.storage_options)
        version = str(handle.version())
        with self.engine.connect() as connection:
            whole.create_view(connection, ["given"], handle)
            if self.large_tables is None or not self.large_tables.has(whole, handle):
                return self._inspect(connection, "lake", key, version)
            names = _inspected_columns(connection)
        total = whole.row_count(handle)
        found = _by_column(names, self.large_tables.parts(whole, handle, names))
        return _inspected_table(("lake", key, version), names, found, total, total)

    def inspect_rows(self, rows: pa.RecordBatchReader, place: str, key: str, version: str) -> InspectedTable:
        """Inspect streamed rows, such as those of a warehouse table; the rows are read once.

        Args:
            rows: The rows.
            place: Name of the warehouse.
            key: The table's asset key, joined by `/`.
            version: Identifies this content of the table.
        """
        with self.engine.connect() as connection:
            connection.register("rows", rows)
            # Stored in DuckDB, which spills to disk beyond its memory limit: every column reads the rows.
            connection.execute("CREATE TEMP TABLE given AS FROM rows")
            connection.unregister("rows")
            return self._inspect(connection, place, key, version)

    def _inspect(
        self, connection: duckdb.DuckDBPyConnection, place: str, key: str, version: str
    ) -> InspectedTable:
        columns = _inspected_columns(connection)
        [[total]] = connection.sql("SELECT count(*) FROM given").fetchall()
        inspected = total
        source = "given"
        if total > self.sample_rows:
            connection.execute(
                "CREATE TEMP TABLE sampled AS FROM given USING SAMPLE "
                f"{self.sample_rows:d} ROWS (reservoir, 1)"
            )
            source, inspected = "sampled", self.sample_rows
        found: dict[str, list[ColumnVerdict] | FailedPart] = {}
        for column in columns:
            found[column] = self._inspect_column(connection, source, column)
            if source != "given" and _has_severe(found[column]):
                found[column] = self._inspect_column(connection, "given", column)
        return _inspected_table((place, key, version), columns, found, inspected, total)

    def _inspect_column(
        self, connection: duckdb.DuckDBPyConnection, source: str, column: str
    ) -> list[ColumnVerdict] | FailedPart:
        """One verdict for each info type in a column: for the column as a whole or for some values."""
        try:
            values = pieces(connection, source, column)
            return merged_parts(column, (inspected_part(self.inspector, column, value) for value in values))
        except BaseException as error:
            if not is_about_content(error):
                raise
            return FailedPart(kind_of_error(error))


def _inspected_columns(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The columns of the view `given` that may hold sensitive data."""
    relation = connection.sql("FROM given")
    return [
        name
        for name, type_ in zip(relation.columns, relation.types, strict=True)
        if not name.startswith("_") and str(type_).split("(")[0] not in _NOT_INSPECTED
    ]


def _by_column(
    columns: Sequence[str], parts: Iterable[tuple[str, ColumnPart | FailedPart]]
) -> dict[str, list[ColumnVerdict] | FailedPart]:
    """The verdicts on columns whose parts were inspected elsewhere."""
    gathered: dict[str, list[ColumnPart | FailedPart]] = {column: [] for column in columns}
    for column, part in parts:
        gathered[column].append(part)
    return {column: merged_parts(column, of) for column, of in gathered.items()}


def _inspected_table(
    named: tuple[str, str, str],
    columns: Sequence[str],
    found: Mapping[str, list[ColumnVerdict] | FailedPart],
    inspected: int,
    total: int,
) -> InspectedTable:
    verdicts: list[ColumnVerdict] = []
    failures: dict[str, str] = {}
    for column in columns:
        of = found[column]
        if isinstance(of, FailedPart):
            failures[column] = f"the inspection failed over its values ({of.reason})"
        else:
            verdicts += of
    return InspectedTable(*named, tuple(columns), tuple(verdicts), inspected, total, failures)


def _has_severe(found: list[ColumnVerdict] | FailedPart) -> bool:
    return not isinstance(found, FailedPart) and any(_is_severe(verdict.info_type) for verdict in found)


def _is_severe(info_type: InfoType) -> bool:
    return info_type.sensitivity is Sensitivity.HIGH
