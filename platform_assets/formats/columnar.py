"""Parquet and ORC: read by row group; every type becomes text, nested types are flattened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import (
    ColumnsPiece,
    Item,
    Reading,
    Stream,
    TextPiece,
    Unit,
    sampled,
)
from platform_assets.formats.text import read_strings

_ROWS = 65_536
_SCHEMA_KEYS = (b"ARROW:schema", b"pandas", b"org.apache.spark", b"parquet.avro.schema", b"iceberg.schema")
_DEEPEST = 8


def read_parquet(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read a Parquet file; only its footer and the inspected row groups are read."""
    import pyarrow.parquet

    def groups(file: Any) -> Iterator[tuple[int, Any]]:
        metadata = file.metadata
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            width = max(group.total_byte_size // max(group.num_rows, 1), 1)
            rows = min(max(reading.limits.block // width, 64), _ROWS)

            def batches(index: int = index, rows: int = rows) -> Iterator[pa.RecordBatch]:
                return file.iter_batches(batch_size=rows, row_groups=[index], use_threads=False)  # type: ignore[no-any-return]

            yield group.num_rows, batches

    def described(file: Any) -> dict[bytes, bytes]:
        return dict(file.metadata.metadata or {})

    def open_file(source: BinaryIO) -> Any:
        return pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=256 * 1024)

    yield from _read(stream, reading, "Parquet", open_file, groups, described)


def read_orc(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read an ORC file."""
    import pyarrow.orc

    def stripes(file: Any) -> Iterator[tuple[int, Any]]:
        rows = file.nrows // max(file.nstripes, 1)
        for index in range(file.nstripes):

            def batches(index: int = index) -> Iterator[pa.RecordBatch]:
                stripe = file.read_stripe(index)
                for start in range(0, stripe.num_rows, _ROWS):
                    yield stripe.slice(start, _ROWS)

            yield rows, batches

    def described(file: Any) -> dict[bytes, bytes]:
        return dict(file.schema.metadata or {})

    yield from _read(stream, reading, "ORC", pyarrow.orc.ORCFile, stripes, described)


def _read(
    stream: Stream, reading: Reading, kind: str, open_file: Any, groups: Any, described: Any
) -> Iterator[Item]:
    failures: list[str] = []
    source = stream.random_access()
    try:
        file = open_file(source)
        metadata = described(file)
        units = list(groups(file))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        yield reading.problem(
            ProblemKind.CORRUPT,
            f"its {kind} footer cannot be read ({_reason(error)}); its strings were read",
        )
        stream.rewind()
        yield from read_strings(stream, reading)
        return
    lines = [key + b": " + value for key, value in metadata.items() if not key.startswith(_SCHEMA_KEYS)]
    if lines:
        yield TextPiece(_valid(b"\n".join(lines)), (*reading.container, "(metadata)"))

    def one(batches: Any, first_row: int) -> Iterator[Item]:
        row = first_row
        try:
            for batch in batches():
                yield from column_pieces(batch, row, reading.container)
                row += batch.num_rows
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            failures.append(_reason(error))

    def as_units() -> Iterator[Unit]:
        first_row = 0
        for rows, batches in units:
            yield Unit(lambda batches=batches, first_row=first_row: one(batches, first_row), rows)  # type: ignore[misc]
            first_row += rows

    yield from sampled(as_units, stream, reading)
    if failures:
        yield reading.problem(
            ProblemKind.CORRUPT,
            f"{len(failures):,} of {len(units):,} row groups cannot be read ({failures[0]}); its strings "
            "were read",
        )
        stream.rewind()
        yield from read_strings(stream, reading)


def _reason(error: Exception) -> str:
    """The kind of an error; its message may quote the data."""
    return type(error).__name__


def _valid(data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode()


def column_pieces(
    batch: pa.RecordBatch, first_row: int, container: tuple[str, ...]
) -> Iterator[ColumnsPiece]:
    """Convert rows of any types to columns of text.

    Args:
        batch: The rows.
        first_row: The number of the first row.
        container: The place of the rows.
    """
    flat: dict[str, pa.Array] = {}
    lists: list[tuple[str, pa.Array, pa.Array]] = []
    for place, field in enumerate(batch.schema):
        _flatten(field.name or f"column_{place + 1}", batch.column(place), flat, lists, 0)
    if flat:
        yield ColumnsPiece(flat, first_row, container)
    is_new = not flat
    while lists:
        name, parents, values = lists.pop(0)
        inner: dict[str, pa.Array] = {}
        deeper: list[tuple[str, pa.Array, pa.Array]] = []
        _flatten(f"{name}[]", values, inner, deeper, 1)
        if inner:
            rows = pc.add(parents, first_row).to_pylist()
            yield ColumnsPiece(inner, first_row, container, rows, is_new)
        if name.count("[]") < _DEEPEST:
            lists += [(name, parents.take(places), members) for name, places, members in deeper]
            continue
        for name_, places, members in deeper:
            rows = pc.add(parents.take(places), first_row).to_pylist()
            yield ColumnsPiece({f"{name_}[]": _written(members)}, first_row, container, rows, False)


def _flatten(
    name: str,
    array: pa.Array,
    flat: dict[str, pa.Array],
    lists: list[tuple[str, pa.Array, pa.Array]],
    depth: int,
) -> None:
    type_ = array.type
    if pa.types.is_null(type_) or pa.types.is_boolean(type_):
        return
    if depth > _DEEPEST:
        # Below the maximum depth, everything becomes one text.
        flat[name] = _written(array)
    elif isinstance(array, pa.ExtensionArray):
        _flatten(name, array.storage, flat, lists, depth)
    elif pa.types.is_struct(type_):
        for index in range(type_.num_fields):
            _flatten(
                f"{name}.{type_.field(index).name}", pc.struct_field(array, index), flat, lists, depth + 1
            )
    elif pa.types.is_map(type_):
        entries = array.cast(pa.list_(pa.struct([("key", type_.key_type), ("value", type_.item_type)])))
        _flatten(name, entries, flat, lists, depth)
    elif pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        lists.append((name, pc.list_parent_indices(array).cast(pa.int64()), pc.list_flatten(array)))
    elif (text := text_of(array)) is not None:
        unique, number = name, 1
        while unique in flat:
            number += 1
            unique = f"{name}_{number}"
        flat[unique] = text


def text_of(array: pa.Array) -> pa.Array | None:
    """Text of values of any type without members; None for types that contain neither text nor numbers."""
    type_ = array.type
    if pa.types.is_dictionary(type_):
        array, type_ = array.cast(type_.value_type), type_.value_type
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return array.cast(pa.large_string())
    if (
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_fixed_size_binary(type_)
        or pa.types.is_binary_view(type_)
    ):
        return _text_of_binary(array)
    if pa.types.is_floating(type_):
        wide = array.cast(pa.float64())
        # A card number that a spreadsheet turned into a float is written as a whole number.
        whole = pc.and_kleene(pc.equal(wide, pc.floor(wide)), pc.less(pc.abs(wide), 9e15))
        as_integers = pc.if_else(whole, wide, None).cast(pa.int64(), safe=False).cast(pa.large_string())
        return pc.if_else(whole, as_integers, wide.cast(pa.large_string()))
    try:
        return array.cast(pa.large_string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return _written(array)


def _written(array: pa.Array) -> pa.Array:
    """Values of any type in Python's notation."""
    return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.large_string())


def _text_of_binary(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        values = array.to_pylist()
        return pa.array(
            [None if value is None else value.decode("utf-8", "replace") for value in values],
            pa.large_string(),
        )
