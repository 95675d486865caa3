"""De-identification: change sensitive values so that a column keeps its type and its use.

Keyed transformations use HMAC-SHA256: equal values become equal tokens in every table, so that joins still
work, and nobody without the key can test guesses. A key is never part of a message.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.dlp.policy import Deidentification
from platform_assets.errors import DlpError
from platform_assets.model.table import (
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    Text,
    Timestamp,
)

if TYPE_CHECKING:
    from platform_assets.model.table import Table

_DIGITS_OF_A_TOKEN = 32
_SECONDS_OF_A_DAY = 86_400


@dataclass(frozen=True)
class ColumnChange:
    """The change of one column's values.

    Args:
        column: The column, as declared.
        how: The change.
        info_type: The info type of the column's values; `SENSITIVE` if unknown.
        scope: Part of the seed of a date shift, besides the key: dates of one scope keep their distances.
    """

    column: Column
    how: Deidentification
    info_type: str = "SENSITIVE"
    scope: str = ""

    def refusal(self, table: Table) -> str | None:
        """The reason why the column cannot be changed in this way, or None."""
        type_, how = self.column.type, self.how
        if self.column.name in table.primary_key or self.column.references:
            return "it is a key that joins tables"
        if self.column.name.startswith("_"):
            return "it is one of the platform's own columns"
        allowed = {
            "mask": (Text,),
            "redact": (Text,),
            "tokenize": (Text, Integer),
            "date_shift": (Date, Timestamp),
            "drop": (Text, Integer, Decimal, Float, Boolean, Date, Timestamp),
        }[how.transformation]
        if not isinstance(type_, allowed):
            names = " or ".join(type_.__name__.lower() for type_ in allowed)
            return f"{how.transformation} needs a column of {names}"
        if isinstance(type_, Text) and type_.max_length is not None:
            longest = {
                "redact": len(self._replacement),
                "tokenize": len(how.prefix) + _DIGITS_OF_A_TOKEN,
            }.get(how.transformation, 0)
            if longest > type_.max_length:
                return f"its values have at most {type_.max_length} characters, but {longest} are needed"
        if isinstance(type_, Text) and (self.column.accepted or self.column.iso_date):
            return "its values are dates, or from a list" if how.transformation != "drop" else None
        return None

    @property
    def _replacement(self) -> str:
        return self.how.replacement if self.how.replacement is not None else f"[{self.info_type}]"

    def apply(self, values: pa.Array, key: bytes) -> pa.Array:
        """Change values; nulls stay null.

        Args:
            values: Values of the column.
            key: The key for tokens and shifts.
        """
        match self.how.transformation:
            case "mask":
                return _masked(values, self.how)
            case "redact":
                return _constant(values, self._replacement)
            case "tokenize":
                return _tokens(values, self.how, key)
            case "date_shift":
                return _shifted(values, shift_in_days(key, self.scope, self.how.days))
            case "drop":
                return pa.nulls(len(values), values.type) if self.column.nullable else _neutral(values)


@dataclass(frozen=True)
class TransformedTable:
    """The changes of one table's rows.

    Args:
        table: The table, as declared.
        changes: The columns that are changed.
        key: Returns the key for tokens and shifts when rows are changed.
    """

    table: Table
    changes: tuple[ColumnChange, ...]
    key: Callable[[], bytes] = field(repr=False)

    def __post_init__(self) -> None:
        """Reject impossible changes before any row is read.

        Raises:
            DlpError: A column cannot be changed as asked.
        """
        for change in self.changes:
            refusal = change.refusal(self.table)
            if refusal is not None:
                raise DlpError(
                    f"Column {self.table.name}.{change.column.name} cannot be de-identified by "
                    f"{change.how.transformation}: {refusal}. Choose another action for it in "
                    "config/dlp.conf."
                )

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that depend on the key and the changes, and disclose neither."""
        identity = repr(
            [(change.column.name, change.how, change.info_type, change.scope) for change in self.changes]
        )
        return hmac.digest(self.key(), identity.encode(), "sha256").hex()[:16]

    def applied(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """Stream the rows with their columns changed; the schema stays the same."""
        key = self.key()
        by_name = {change.column.name: change for change in self.changes}
        schema = rows.schema

        def batches() -> Any:
            for batch in rows:
                arrays = [
                    by_name[name].apply(array, key).cast(array.type) if name in by_name else array
                    for name, array in zip(schema.names, batch.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, batches())


def shift_in_days(key: bytes, scope: str, most: int) -> int:
    """The number of days by which a scope's dates are shifted: from -most to most, 0 only if most is 0."""
    number = int.from_bytes(hmac.digest(key, f"date_shift:{scope}".encode(), "sha256")[:8])
    if most < 1:
        return 0
    moved = number % (2 * most) - most
    return moved if moved < 0 else moved + 1


def _masked(values: pa.Array, how: Deidentification) -> pa.Array:
    import pyarrow.compute as pc

    text = values.cast(pa.string())
    length = pc.utf8_length(text)
    if how.keep_last < 1:
        return pc.binary_repeat(how.character, length.cast(pa.int64()))
    # Too much of a short value would remain visible.
    kept = pc.if_else(pc.greater_equal(length, 2 * how.keep_last), how.keep_last, 0)
    hidden = pc.binary_repeat(how.character, pc.subtract(length, kept).cast(pa.int64()))
    ends = pc.utf8_slice_codeunits(text, -how.keep_last, 2**31 - 1)
    return pc.binary_join_element_wise(hidden, pc.if_else(pc.equal(kept, 0), "", ends), "")


def _constant(values: pa.Array, text: str) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(values.is_valid(), pa.scalar(text, pa.string()), pa.scalar(None, pa.string()))


def _tokens(values: pa.Array, how: Deidentification, key: bytes) -> pa.Array:
    encoded = values.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    distinct = encoded.dictionary.to_pylist()
    digests = [hmac.digest(key, f"token:{value}".encode(), "sha256") for value in distinct]
    tokens: pa.Array
    if pa.types.is_integer(values.type):
        # Positive numbers of the column's width, so that tokens of different values stay different.
        most = 2 ** (values.type.bit_width - 1) - 1
        tokens = pa.array([int.from_bytes(digest[:8]) % most + 1 for digest in digests], values.type)
    else:
        made = [how.prefix + digest.hex()[:_DIGITS_OF_A_TOKEN] for digest in digests]
        tokens = pa.array(made, pa.string())
    return tokens.take(encoded.indices)


def _shifted(values: pa.Array, days: int) -> pa.Array:
    import pyarrow.compute as pc

    if pa.types.is_date(values.type):
        moved = pc.add(values.cast(pa.date32()).cast(pa.int32()), pa.scalar(days, pa.int32()))
        return moved.cast(pa.date32()).cast(values.type)
    units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[values.type.unit]
    return pc.add(values.cast(pa.int64()), days * _SECONDS_OF_A_DAY * units).cast(values.type)


def _neutral(values: pa.Array) -> pa.Array:
    """The replacement in a column that may not be null: an empty text, 0, false, 1 January 1970."""
    type_ = values.type
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        nothing: object = (
            dt.date(1970, 1, 1) if pa.types.is_date(type_) else dt.datetime.fromtimestamp(0, dt.UTC)
        )
    elif pa.types.is_decimal(type_):
        nothing = decimal.Decimal(0)
    elif pa.types.is_boolean(type_):
        nothing = False
    else:
        nothing = "" if pa.types.is_string(type_) or pa.types.is_large_string(type_) else 0
    return pa.repeat(pa.scalar(nothing, type_), len(values))
