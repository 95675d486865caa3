"""The common parts of renderers of rows: DuckDB over the streamed rows, and files that cannot be streamed."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows
from platform_assets.delivery.values import without_values
from platform_assets.errors import LakeError, lake_file_error
from platform_assets.isolation import is_isolated
from platform_assets.model.dialects import literal, quote

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.duck import SqlEngine

CHUNK = 1024 * 1024
"""Bytes in a chunk of a file's content, about."""

ROWS_PER_BATCH = 16_384
"""Rows in a batch of rendered lines: enough to keep the work per batch small beside the work per row."""

_RELATION = "delivered"
# The types that DuckDB writes from its own rows as it writes them from a stream.
_WRITTEN_ALIKE = re.compile(
    r"BOOLEAN|U?(TINY|SMALL|BIG)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|VARCHAR|BLOB|DATE|TIME|TIMESTAMP"
    r"( WITH TIME ZONE)?"
)


@dataclass(frozen=True)
class Workshop:
    """Means that renderers work with.

    Args:
        engine: Memory and threads for DuckDB.
        folder: Folder for files that cannot be streamed, created with the first of them. The caller removes
            it when the rendered files were read.
    """

    engine: SqlEngine
    folder: Path

    def new_file(self, suffix: str) -> Path:
        """Create an empty file with a name of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix=suffix, dir=self.folder)
        with open(descriptor, "wb"):
            return Path(name)

    @contextlib.contextmanager
    def copyable(self, rows: Rows) -> Iterator[StreamedRows]:
        """Open rows as `relation` does, or the query with the same rows, which DuckDB copies much faster.

        Args:
            rows: The rows.

        Raises:
            DeliveryError: As `relation`.
        """
        query = rows.query
        if query is not None and all(_WRITTEN_ALIKE.fullmatch(type_) for type_ in query.types):
            columns = tuple(
                SqlColumn(field.name, quote(field.name), field.type) for field in rows.batches.schema
            )
            # Otherwise a column is nullable in some files and not in others: its statistics decide.
            query.connection.execute("SET disabled_optimizers = 'statistics_propagation'")
            try:
                yield StreamedRows(rows.name, query.connection, columns, f"({query.sql})", _damaged)
            finally:
                query.connection.execute("RESET disabled_optimizers")
            return
        with self.relation(rows) as relation:
            # With more threads, DuckDB makes a row group of each small batch, and is no faster over a stream.
            relation.connection.execute("SET threads = 1")
            yield relation

    @contextlib.contextmanager
    def relation(self, rows: Rows, timezone: str = "UTC") -> Iterator[StreamedRows]:
        """Open rows as a relation of DuckDB, which reads them once.

        Args:
            rows: The rows.
            timezone: The time zone in which DuckDB writes times with a zone as text.

        Raises:
            DeliveryError: The rows have no columns, or one of a type that no format has.
        """
        if not rows.batches.schema.names:
            raise DeliveryError(
                f"{rows.name} has no columns, and no format can hold that. Select at least one column."
            )
        guarded = _Guarded(rows)
        with self.engine.connect() as connection:
            connection.execute(f"SET TimeZone = '{timezone}'")
            connection.register(_RELATION, guarded.readable())
            yield StreamedRows(rows.name, connection, guarded.columns, _RELATION, guarded.own_error)


@dataclass(frozen=True)
class SqlColumn:
    """A column of a relation.

    Attributes:
        name: Its name, which need not be unique.
        sql: How SQL refers to it.
        type: Its type as DuckDB reads it.
    """

    name: str
    sql: str
    type: pa.DataType


@dataclass(frozen=True)
class StreamedRows:
    """Streamed rows that SQL reads once.

    Attributes:
        title: Their name in messages.
        connection: The connection that has them.
        columns: Their columns.
        source: SQL for the rows, behind FROM.
        error: Returns the error of the rows' source for one that DuckDB raises, if it is that.
    """

    title: str
    connection: duckdb.DuckDBPyConnection
    columns: tuple[SqlColumn, ...]
    source: str
    error: Callable[[Exception], BaseException | None]

    def stream(self, columns: str, batch_size: int = ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """Stream the result of SQL expressions over each row.

        Args:
            columns: The expressions.
            batch_size: Rows in a batch.

        Raises:
            DeliveryError: DuckDB cannot convert a value; any error of the stream of rows is raised as it is.
        """
        with self.explained():
            rows = self.connection.sql(f"SELECT {columns} FROM {self.source}")
            yield from rows.to_arrow_reader(batch_size)

    def copy_to(self, columns: str, path: Path, options: str) -> int:
        """Write the result of SQL expressions over each row to a file; return the number of rows.

        Args:
            columns: The expressions.
            path: The file.
            options: Options of DuckDB's COPY.

        Raises:
            DeliveryError: As `stream`.
        """
        with self.explained():
            copied = self.connection.execute(
                f"COPY (SELECT {columns} FROM {self.source}) TO {literal(str(path))} ({options})"
            )
            return int(copied.fetchall()[0][0])

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what the stream of rows raised, of which DuckDB keeps only the text."""
        import duckdb

        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as error:
            if (of_source := self.error(error)) is not None:
                raise of_source from None
            # While rows are streamed, an error of DuckDB arrives as an OSError without a number.
            is_about_rows = not isinstance(error, RuntimeError) or isinstance(error, duckdb.Error)
            if is_about_rows and getattr(error, "errno", None) is None and is_isolated(error):
                text = without_values(str(error).strip())
                raise DeliveryError(f"{self.title} could not be rendered: {text}") from error
            raise


def _damaged(error: Exception) -> LakeError | None:
    """The error about a damaged file of the lake, which a query in DuckDB reads itself."""
    return lake_file_error(str(error))


class _Guarded:
    """A stream of rows with columns that DuckDB can read, which remembers its own error."""

    def __init__(self, rows: Rows) -> None:
        self.error: BaseException | None = None
        self._title = rows.name
        self._rows = rows.batches
        schema = rows.batches.schema
        if unknown := next((field for field in schema if pa.types.is_union(field.type)), None):
            raise DeliveryError(
                f"{rows.name} cannot be rendered: column {unknown.name} is of type {unknown.type}, which no "
                "format has. Convert it."
            )
        fields = [pa.field(f"c{place}", readable_type(field.type)) for place, field in enumerate(schema)]
        self._schema = pa.schema(fields)
        self.columns = tuple(
            SqlColumn(field.name, known.name, known.type) for field, known in zip(schema, fields, strict=True)
        )

    def own_error(self, _: Exception) -> BaseException | None:
        """The error that ended the stream."""
        return self.error

    def readable(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _converted(self, array: pa.Array, column: SqlColumn) -> pa.Array:
        try:
            return _readable(array, column.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            # Without the library's words, which repeat the value.
            raise DeliveryError(
                f"{self._title} cannot be rendered: column {column.name}, of type {array.type}, cannot be "
                f"converted to {column.type} without loss. Convert it."
            ) from error

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._rows:
                arrays = [
                    self._converted(array, column)
                    for array, column in zip(batch.columns, self.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def readable_type(type_: pa.DataType) -> pa.DataType:
    """Return the type as which DuckDB reads a type; decimals of more than 38 digits become text."""
    if isinstance(type_, pa.BaseExtensionType):
        if type_.extension_name == "arrow.bool8":
            return pa.bool_()
        return type_ if type_.extension_name == "arrow.uuid" else readable_type(type_.storage_type)
    if pa.types.is_float16(type_):
        return pa.float32()
    if pa.types.is_decimal256(type_):
        return pa.string()
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return readable_type(type_.value_type)
    if pa.types.is_duration(type_):
        return pa.duration("us")
    return _readable_nested(type_)


def _readable_nested(type_: pa.DataType) -> pa.DataType:
    """Return a type with readable types within it."""
    if pa.types.is_struct(type_):
        fields = (type_.field(place) for place in range(type_.num_fields))
        return pa.struct([field.with_type(readable_type(field.type)) for field in fields])
    if pa.types.is_map(type_):
        return pa.map_(readable_type(type_.key_type), readable_type(type_.item_type))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(readable_type(type_.value_type), type_.list_size)
    if pa.types.is_large_list(type_):
        return pa.large_list(readable_type(type_.value_type))
    if pa.types.is_list(type_):
        return pa.list_(readable_type(type_.value_type))
    return type_


def _readable(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if array.type == type_:
        return array
    if isinstance(array, pa.ExtensionArray):
        return _readable(array.storage, type_)
    if isinstance(array, pa.RunEndEncodedArray):
        import pyarrow.compute

        return _readable(pyarrow.compute.run_end_decode(array), type_)
    return array.cast(type_)


def rows_only(content: Iterator[Rows | Bytes], format_: str) -> Iterator[Rows]:
    """Yield streams of rows; raise an error at the first file.

    Args:
        content: What is rendered.
        format_: Name of the format in the message.

    Raises:
        DeliveryError: The content has a file.
    """
    for item in content:
        if isinstance(item, Bytes):
            raise DeliveryError(
                f"{item.name} is a file already, and {format_} is made of rows. Remove {format_} from "
                "render, or deliver an asset or a query."
            )
        yield item


def files_only(content: Iterator[Rows | Bytes], step: str) -> Iterator[Bytes]:
    """Yield files; raise an error at the first stream of rows.

    Args:
        content: What is rendered.
        step: Name of the step in the message.

    Raises:
        DeliveryError: The content has rows.
    """
    for item in content:
        if isinstance(item, Rows):
            raise DeliveryError(
                f"{item.name} is rows, and {step} takes files. Put a format such as csv before {step} in "
                "render."
            )
        yield item


def chunks_of(path: Path) -> Iterator[bytes]:
    """Read a file in chunks."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def write_chunks(content: Bytes, path: Path) -> None:
    """Write the content of a file to a path."""
    with path.open("wb") as file:
        for chunk in content.chunks:
            file.write(chunk)
