"""Parquet footers: columns, row counts and sizes. No row is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from platform_assets.parquet.stores import Store
from platform_assets.parquet.types import ParquetType, parquet_type

_MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
_GZIP = b"\x1f\x8b"
# One request is enough for nearly every file: the footer of 50 columns and one row group takes some 10 kB.
_BYTES_OF_TAIL = 64 * 1024
_SMALLEST_FILE = 12
_SCHEMAS_KEPT = 8
_BYTES_AFTER_FOOTER = 8
# https://parquet.apache.org/docs/file-format/data-pages/encryption: where columns are encrypted, a footer
# that stays readable is followed by a nonce and a tag.
_BYTES_OF_SIGNATURE = 28
_BYTES_OF_INTERVAL = 12
# Arrow types without a Parquet equivalent, as Arrow and pandas record them.
_PANDAS = b"pandas"
_PERIOD = b'"period['
_EXTENSION = b"ARROW:extension:name"
# These Arrow types are unambiguous. Nothing more is read for them, as that takes most of the time.
_TOLD_BY_ARROW = {
    pa.bool_().id: ParquetType("boolean"),
    **{pa.type_for_alias(f"int{bits}").id: ParquetType("int", bits=bits) for bits in (8, 16, 32, 64)},
    **{
        pa.type_for_alias(f"uint{bits}").id: ParquetType("int", bits=bits, signed=False)
        for bits in (8, 16, 32, 64)
    },
    pa.float16().id: ParquetType("float16"),
    pa.float32().id: ParquetType("float32"),
    pa.float64().id: ParquetType("float64"),
    pa.date32().id: ParquetType("date"),
}


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """A column of one file.

    Attributes:
        name: Its name, in the file's case.
        type: Its type.
        nullable: True if the file allows nulls.
    """

    name: str
    type: ParquetType
    nullable: bool


@dataclass(frozen=True, slots=True)
class Footer:
    """The content of one file's footer.

    Attributes:
        columns: Its columns, in order.
        rows: Number of rows.
        size: The file's size in bytes.
    """

    columns: tuple[ParquetColumn, ...]
    rows: int
    size: int


class KnownSchemas:
    """Cache of recently seen schemas: files of a folder are often alike, and decoding a schema is slow.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._known: tuple[tuple[pq.ParquetSchema, tuple[ParquetColumn, ...]], ...] = ()

    def columns(self, schema: pq.ParquetSchema) -> tuple[ParquetColumn, ...]:
        """The top-level columns of a file's schema."""
        for known, columns in self._known:
            if known.equals(schema):
                return columns
        columns = columns_of(schema)
        # Assigned in one step, so that another thread sees either the old or the new tuple.
        self._known = ((schema, columns), *self._known[: _SCHEMAS_KEPT - 1])
        return columns


class UnreadableFile(Exception):
    """A file whose footer cannot be read; the message gives the reason but not the file."""


def read_footer(store: Store, path: str, schemas: KnownSchemas | None = None) -> Footer:
    """Read the footer of a file.

    Args:
        store: The store of the file.
        path: Its path in the store.
        schemas: The cache of known schemas.

    Raises:
        UnreadableFile: The file cannot be read, is not Parquet, or is truncated.
    """
    try:
        with store.files.open_input_file(path) as file:
            size = file.size()
            tail = _tail(file, size)
    except OSError as error:
        raise UnreadableFile(
            f"it cannot be opened: {' '.join(str(error).split())[:300].rstrip('.')}"
        ) from error
    try:
        # Build a file without rows in memory: its footer gives the same schema.
        metadata = pq.ParquetFile(pa.BufferReader(_MAGIC + tail)).metadata
        if len(tail) - _BYTES_AFTER_FOOTER - metadata.serialized_size == _BYTES_OF_SIGNATURE:
            raise UnreadableFile(_encrypted("some of its columns are"))
        # The metadata object and its schema would refer to each other and stay in memory until the next
        # garbage collection; with 50 columns that is 90 kB for each file.
        columns = (schemas or KnownSchemas()).columns(pq.ParquetSchema(metadata))
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            "the name of one of its columns is not UTF-8; write it with names in UTF-8"
        ) from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UnreadableFile(
            f"its footer cannot be read: {' '.join(str(error).split())[:300].rstrip('.')}"
        ) from error
    if not columns:
        raise UnreadableFile("it has no columns; write it with at least one column")
    return Footer(columns, metadata.num_rows, size)


def _tail(file: pa.NativeFile, size: int) -> bytes:
    """The end of a file, from the start of its footer.

    Raises:
        UnreadableFile: The file is not a complete Parquet file.
    """
    if size == 0:
        raise UnreadableFile("it is empty, 0 bytes; remove it or write it again")
    length = min(size, _BYTES_OF_TAIL)
    tail: bytes = file.read_at(length, size - length)
    if tail.endswith(_ENCRYPTED):
        raise UnreadableFile(_encrypted("its footer is"))
    if size < _SMALLEST_FILE or not tail.endswith(_MAGIC):
        head: bytes = file.read_at(min(size, 4), 0)
        if head == _MAGIC:
            raise UnreadableFile(
                f"it is truncated at {size:,} bytes: it begins as a Parquet file, but its end is missing"
            )
        if head.startswith(_GZIP):
            raise UnreadableFile(
                "the whole file is compressed with gzip; decompress it, as Parquet compresses its content"
            )
        raise UnreadableFile("it is not a Parquet file: it has neither the beginning nor the end of one")
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    if footer + len(_MAGIC) > size:
        raise UnreadableFile(f"it is damaged: its footer would have {footer:,} bytes in a file of {size:,}")
    return tail[-footer:] if footer <= length else bytes(file.read_at(footer, size - footer))


def _encrypted(what: str) -> str:
    return (
        f"{what} encrypted (Parquet modular encryption), which no warehouse reads; write it without "
        "encryption, and have the bucket encrypt it"
    )


def columns_of(schema: pq.ParquetSchema) -> tuple[ParquetColumn, ...]:
    """The top-level columns of a file; a nested column is one column."""
    columns = []
    leaf = 0
    arrow_schema = schema.to_arrow_schema()
    has_periods = _PERIOD in (arrow_schema.metadata or {}).get(_PANDAS, b"")
    for field in arrow_schema:
        arrow = field.type
        type_ = _TOLD_BY_ARROW.get(arrow.id)
        leaves = 1
        if has_periods and _is_period(field):
            type_ = ParquetType("period")
        elif type_ is None:
            type_, leaves = _nested(arrow), _leaves(arrow)
        if type_ is None and pa.types.is_duration(arrow):
            type_ = ParquetType("duration", unit=arrow.unit)
        if type_ is None:
            type_ = _type_of(schema.column(leaf))
        leaf += leaves
        columns.append(ParquetColumn(field.name, type_, field.nullable))
    return tuple(columns)


def _is_period(field: pa.Field) -> bool:
    """Return True if the type is a pandas period, an extension type registered by loading pandas."""
    noted = (field.metadata or {}).get(_EXTENSION, b"").decode()
    return "pandas.period" in (noted, getattr(field.type, "extension_name", ""))


def _type_of(column: pq.ColumnSchema) -> ParquetType:
    length = column.length
    # Only old interval types are identified by the converted type alone.
    converted = column.converted_type if length == _BYTES_OF_INTERVAL else ""
    return parquet_type(column.physical_type, column.logical_type.to_json(), converted, length)


def declared_columns(schema: pa.Schema) -> tuple[ParquetColumn, ...]:
    """The columns that a file with an Arrow schema would have."""
    file = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), file)
    return columns_of(pq.ParquetFile(pa.BufferReader(file.getvalue())).metadata.schema)


def _nested(type_: pa.DataType) -> ParquetType | None:
    storage = _storage(type_)
    if not pa.types.is_nested(storage):
        return None
    if _first_in(storage, _is_variant) is not None:
        return ParquetType("variant")
    if (length := _first_in(storage, pa.types.is_duration)) is not None:
        return ParquetType("duration", unit=length.unit)
    has_moments = _first_in(storage, pa.types.is_timestamp) is not None
    has_nanoseconds = _first_in(storage, _is_of_nanoseconds) is not None
    kind = "list"
    if pa.types.is_map(storage):
        kind = "map"
    elif pa.types.is_struct(storage):
        kind = "struct"
    return ParquetType(kind, utc=has_moments, unit="ns" if has_nanoseconds else "")


def _is_of_nanoseconds(type_: pa.DataType) -> bool:
    return type_ == pa.time64("ns") or (pa.types.is_timestamp(type_) and str(type_.unit) == "ns")


def _is_variant(type_: pa.DataType) -> bool:
    """Return True if a group has the layout of a variant; early writers do not annotate it."""
    if not pa.types.is_struct(type_):
        return False
    names = {type_.field(index).name for index in range(type_.num_fields)}
    if names not in (
        {"metadata", "value"},
        {"metadata", "value", "typed_value"},
        {"metadata", "typed_value"},
    ):
        return False
    return all(
        pa.types.is_binary(type_.field(name).type) or pa.types.is_large_binary(type_.field(name).type)
        for name in names - {"typed_value"}
    )


def _first_in(type_: pa.DataType, wanted: Callable[[pa.DataType], bool]) -> pa.DataType | None:
    """The type itself or the first nested type that satisfies the condition; None if there is none."""
    storage = _storage(type_)
    if wanted(storage):
        return storage
    if pa.types.is_nested(storage):
        for index in range(storage.num_fields):
            if (found := _first_in(storage.field(index).type, wanted)) is not None:
                return found
    return None


def _leaves(type_: pa.DataType) -> int:
    """The number of Parquet columns that store an Arrow type."""
    storage = _storage(type_)
    if not pa.types.is_nested(storage):
        return 1
    return sum(_leaves(storage.field(index).type) for index in range(storage.num_fields))


def _storage(type_: pa.DataType) -> pa.DataType:
    """The storage type of an Arrow type: extension types and dictionaries affect reading only."""
    if isinstance(type_, pa.BaseExtensionType):
        return _storage(type_.storage_type)
    return _storage(type_.value_type) if pa.types.is_dictionary(type_) else type_
