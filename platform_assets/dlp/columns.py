"""Inspection of table columns, in the lake or in a warehouse, by their distinct values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.dlp.findings import InspectedTable
from platform_assets.dlp.model import ColumnVerdict, InfoType, Likelihood, Sensitivity, Tally
from platform_assets.formats.isolation import is_about_content, kind_of_error
from platform_assets.model.dialects import quote

if TYPE_CHECKING:
    import duckdb

    from platform_assets.dlp.model import Inspector
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine

_VALUES_AT_ONCE = 50_000
_BYTES_AT_ONCE = 8_000_000
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
    """

    inspector: Inspector
    engine: SqlEngine
    sample_rows: int = _ROWS_OF_A_SAMPLE

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
        with self.engine.connect() as connection:
            LakeTable(table.uri, columns, table.storage_options).create_view(connection, ["given"], handle)
            return self._inspect(connection, "lake", key, str(handle.version()))

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
        relation = connection.sql("FROM given")
        columns = [
            name
            for name, type_ in zip(relation.columns, relation.types, strict=True)
            if not name.startswith("_") and str(type_).split("(")[0] not in _NOT_INSPECTED
        ]
        [[total]] = connection.sql("SELECT count(*) FROM given").fetchall()
        inspected = total
        source = "given"
        if total > self.sample_rows:
            connection.execute(
                "CREATE TEMP TABLE sampled AS FROM given USING SAMPLE "
                f"{self.sample_rows:d} ROWS (reservoir, 1)"
            )
            source, inspected = "sampled", self.sample_rows
        verdicts: list[ColumnVerdict] = []
        failures: dict[str, str] = {}
        for column in columns:
            try:
                found = self._inspect_column(connection, source, column)
                if source != "given" and any(_is_severe(verdict.info_type) for verdict in found):
                    found = self._inspect_column(connection, "given", column)
            except BaseException as error:
                if not is_about_content(error):
                    raise
                failures[column] = f"the inspection failed over its values ({kind_of_error(error)})"
                continue
            verdicts += found
        return InspectedTable(
            place, key, version, tuple(columns), tuple(verdicts), inspected, total, failures
        )

    def _inspect_column(
        self, connection: duckdb.DuckDBPyConnection, source: str, column: str
    ) -> list[ColumnVerdict]:
        """One verdict for each info type in a column: for the column as a whole or for some values."""
        name = quote(column)
        values = connection.sql(
            f"SELECT DISTINCT CAST({name} AS VARCHAR) AS value FROM {source} WHERE {name} IS NOT NULL "
            f"AND CAST({name} AS VARCHAR) <> ''"
        ).to_arrow_reader(_VALUES_AT_ONCE)
        distinct = 0
        tallies: dict[str, Tally] = {}
        types: dict[str, InfoType] = {}
        whole: dict[str, ColumnVerdict] = {}
        for batch in _bounded(values):
            distinct += batch.num_rows
            found = self.inspector.inspect_columns({column: batch.column(0)})
            types |= {finding.info_type.name: finding.info_type for finding in found}
            for verdict in found.columns:
                known = whole.get(verdict.info_type.name)
                types[verdict.info_type.name] = verdict.info_type
                whole[verdict.info_type.name] = (
                    ColumnVerdict(
                        column,
                        verdict.info_type,
                        max(known.likelihood, verdict.likelihood),
                        known.distinct + verdict.distinct,
                        known.matching + verdict.matching,
                    )
                    if known
                    else verdict
                )
            for info_type, tally in found.tallies.items():
                tallies[info_type] = tallies[info_type].plus(tally) if info_type in tallies else tally
        verdicts = []
        for info_type in sorted({*tallies, *whole}):
            seen = whole.get(info_type)
            tally = tallies.get(info_type, Tally(0, Likelihood.VERY_UNLIKELY))
            verdicts.append(
                ColumnVerdict(
                    column,
                    types.get(info_type, InfoType(info_type)),
                    max(seen.likelihood, tally.highest) if seen else tally.highest,
                    distinct,
                    # A value may contain several findings of one info type.
                    min(max(seen.matching if seen else 0, tally.count), distinct),
                )
            )
        return verdicts


def _is_severe(info_type: InfoType) -> bool:
    return info_type.sensitivity is Sensitivity.HIGH


def _bounded(values: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The values in pieces as large as one inspection takes.

    A column is judged by all values of a piece together. DuckDB returns distinct values in batches of any
    size, depending on its threads.
    """
    gathered: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _cut(values):
        if gathered and (rows + batch.num_rows > _VALUES_AT_ONCE or size + batch.nbytes > _BYTES_AT_ONCE):
            yield pa.concat_batches(gathered)
            gathered, rows, size = [], 0, 0
        gathered.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
    if gathered:
        yield pa.concat_batches(gathered)


def _cut(values: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches, split so that none has much more text than one inspection takes."""
    for batch in values:
        pieces = max(1, -(-batch.nbytes // _BYTES_AT_ONCE))
        rows = max(1, -(-batch.num_rows // pieces))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
