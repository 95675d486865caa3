"""Encoder of number and text columns to PostgreSQL's binary COPY format, one chunk at a time.

Rows are laid out as one numpy record array, without loops over rows. The format is documented for
`COPY ... WITH (FORMAT binary)`: https://www.postgresql.org/docs/current/sql-copy.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH_US = 946_684_800_000_000
_NULL = -1


@dataclass(frozen=True)
class Field:
    """A column of a chunk: the bytes of every value, and their lengths.

    Args:
        values: One value per row, in network byte order; two-dimensional if a value has several numbers.
        lengths: Number of bytes of each value, -1 for NULL; a single number if all values have that length.
    """

    values: NDArray[Any]
    lengths: Integers | int


def integer(values: Integers, null: Flags | None = None) -> Field:
    """Build an `integer` column, NULL where `null` is true."""
    packed = values.astype(">i4")
    return Field(packed, 4 if null is None else np.where(null, _NULL, 4))


def boolean(values: Flags) -> Field:
    """Build a `boolean` column."""
    return Field(values.astype("u1"), 1)


def timestamp(microseconds: Integers) -> Field:
    """Build a `timestamp` column from microseconds since 1970-01-01 00:00."""
    return Field((microseconds - _POSTGRES_EPOCH_US).astype(">i8"), 8)


def numeric(hundredths: Integers) -> Field:
    """Build a `numeric` column with two digits after the point, from hundredths from 0 to 9,999,999,999."""
    packed = np.empty((len(hundredths), 7), ">i2")
    whole, fraction = np.divmod(hundredths, 100)
    # Three digits to the base 10,000, the first of weight 1; PostgreSQL drops leading zeros itself.
    packed[:, :4] = (3, 1, 0, 2)
    packed[:, 4], packed[:, 5] = np.divmod(whole, 10_000)
    packed[:, 6] = fraction * 100
    return Field(packed, 14)


def fixed_text(values: NDArray[np.bytes_]) -> Field:
    """Build a `text` column whose values all have the same number of bytes."""
    return Field(values, values.dtype.itemsize)


def text(values: Sequence[str | None] | NDArray[np.bytes_]) -> Field:
    """Build a `text`, `varchar` or enumerated column with values of any length; None becomes NULL."""
    if isinstance(values, np.ndarray):
        return Field(values, np.char.str_len(values).astype(np.int64))
    encoded = [value.encode() if value is not None else b"" for value in values]
    lengths = [_NULL if value is None else len(raw) for value, raw in zip(values, encoded, strict=True)]
    width = max(1, *map(len, encoded)) if encoded else 1
    return Field(np.array(encoded, f"S{width}"), np.array(lengths, np.int64))


def encode(fields: Sequence[Field]) -> bytes:
    """Encode rows of these columns as a complete COPY stream, including header and trailer."""
    layout: list[Any] = [("count", ">i2")]
    for number, field in enumerate(fields):
        layout += [(f"length{number}", ">i4"), (f"value{number}", field.values.dtype, field.values.shape[1:])]
    rows = np.empty(len(fields[0].values), np.dtype(layout))
    rows["count"] = len(fields)
    for number, field in enumerate(fields):
        rows[f"length{number}"] = field.lengths
        rows[f"value{number}"] = field.values
    if all(isinstance(field.lengths, int) for field in fields):
        return b"".join((_HEADER, rows.data if len(rows) else b"", _TRAILER))
    # Rows of different lengths: lay out every value at its full width, then keep the bytes in use.
    grid = rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)
    counts = np.ones(grid.shape, np.bool_)
    places: Any = rows.dtype.fields
    for number, field in enumerate(fields):
        if not isinstance(field.lengths, int):
            dtype, start = places[f"value{number}"][:2]
            here = counts[:, start : start + dtype.itemsize]
            here[:] = np.arange(dtype.itemsize) < field.lengths[:, None]
    return b"".join((_HEADER, grid[counts].data, _TRAILER))


def pieces(stream: bytes, size: int = 1 << 20) -> Iterator[memoryview]:
    """Split the stream into pieces that PostgreSQL accepts as single messages."""
    view = memoryview(stream)
    for start in range(0, len(view), size):
        yield view[start : start + size]
