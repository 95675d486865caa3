"""The content hash: 64 bits computed from a row's values, independent of column order and physical width.

The hash is part of the lake's format. Every row version carries the hash that was computed when it was
written, and a row is unchanged while its hash is the same. The results of this module must never change.

Definition. Arithmetic is on 64 bits, modulo 2^64; `F` is the finaliser of SplitMix64 (Steele, Lea and
Flood, Fast splittable pseudorandom number generators, 2014) with David Stafford's constants, variant 13.

- The hash of a row is the sum of the contributions of its columns that are not NULL.
- `seed` of a column is the first 8 bytes of the BLAKE2b-512 of its name in UTF-8, little-endian.
- A number `v` contributes `F(v * ODD + seed)`. For an integer or a boolean, `v` is its value; for a date, its
  days since 1970; for a timestamp, its microseconds since 1970; for a decimal, its digits as one integer;
  for a float, the bits of its value as a binary64, with a single NaN.
- A decimal beyond 64 bits contributes `F(high * ODD + F(low * ODD + seed))` of its two words.
- A text or binary of `n` bytes contributes the last state of `state = F(n * ODD + seed)`, then
  `state = F(word * ODD + state)` for each 8 bytes, little-endian, the last word padded with zeros. A value
  longer than 1,024 bytes has a single word: its BLAKE2b with `digest_size=8`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_Words = npt.NDArray[np.uint64]
_Bytes = npt.NDArray[np.uint8]

LONGEST_BY_WORDS = 1_024
"""Bytes of the longest text or binary that is hashed word by word."""

# Size at which a chunk of a column and its scratch arrays fit in a processor's second-level cache.
_ROWS_PER_CHUNK = 32_768
_MASK = 2**64 - 1
_ODD = 0x9E3779B97F4A7C15
_SHIFT_MULTIPLY = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
_NAN = 0x7FF8000000000000
_LOW, _HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)
_WORD = 8
_OFFSETS: Mapping[pa.DataType, npt.DTypeLike] = {
    pa.string(): np.int32,
    pa.binary(): np.int32,
    pa.large_string(): np.int64,
    pa.large_binary(): np.int64,
}
_NUMBERS: Mapping[pa.DataType, npt.DTypeLike] = {
    pa.int8(): np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.date32(): np.int32,
    pa.float16(): np.float16,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
}
# Masks that keep the first 0 to 8 bytes of a word.
_KEPT = np.array([(1 << (8 * size)) - 1 for size in range(_WORD + 1)], dtype=np.uint64)


def content_hash(batch: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    """Hash the rows of a batch over the named columns.

    The hash does not change when a column that is entirely NULL is added, a column moves or its type widens.
    Renaming a column changes it. Several threads may call this function at once.

    Args:
        batch: The rows. Columns may be signed integers, booleans, floats, decimals of at most 38 digits,
            dates (date32), timestamps, texts and binaries of any layout, dictionaries of these, or nulls.
        names: The columns to hash, in any order.

    Returns:
        An int64 array without nulls, one hash per row.

    Raises:
        KeyError: The batch has no such column.
        TypeError: A column has a type without a content hash.
    """
    rows = batch.num_rows
    total = np.zeros(rows, dtype=np.uint64)
    columns = [_column(name, batch.column(name)) for name in names] if rows else []
    word, spare = np.empty((2, min(rows, _ROWS_PER_CHUNK)), dtype=np.uint64)
    for start in range(0, rows, _ROWS_PER_CHUNK):
        stop = min(start + _ROWS_PER_CHUNK, rows)
        scratch = word[: stop - start], spare[: stop - start]
        for column in columns:
            column.add(total[start:stop], start, stop, *scratch)
    return pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(total)])


@lru_cache(maxsize=4_096)
def column_seed(name: str) -> int:
    """Return a column's seed, which makes equal values of different columns differ; unsigned, 64 bits."""
    return int.from_bytes(hashlib.blake2b(name.encode()).digest()[:8], "little")


@dataclass(frozen=True)
class _HashedColumn:
    """A column of numbers: the location of its values and their contributions.

    Args:
        seed: The column's seed.
        values: The values: booleans and numbers as they are, decimals as two words each, texts as offsets.
        validity: Bitmap of the values that are not null; None if no value is null.
        offset: Position of the first row in that bitmap.
    """

    seed: int
    values: npt.NDArray[Any]
    validity: pa.Buffer | None
    offset: int

    def add(self, total: _Words, start: int, stop: int, word: _Words, spare: _Words) -> None:
        """Add the contributions of rows `start` to `stop` to `total`; `word` and `spare` are scratch."""
        valid = None if self.validity is None else _bits(self.validity, self.offset + start, stop - start)
        self._contribution(start, stop, valid, word, spare)
        if valid is not None:
            np.multiply(word, valid, out=word)
        np.add(total, word, out=total)

    def _contribution(
        self, start: int, stop: int, valid: npt.NDArray[np.bool_] | None, word: _Words, spare: _Words
    ) -> None:
        """Write the contributions into `word`; the values at null positions are undefined."""
        values = self.values[start:stop]
        if values.dtype.kind == "f":
            with np.errstate(invalid="ignore"):  # widening a signalling NaN would warn
                np.copyto(word.view(np.float64), values)
            is_nan = np.isnan(values)
            if is_nan.any():
                word[is_nan] = _NAN
        else:
            # Sign extension gives equal values of any width the same 64 bits.
            np.copyto(word.view(np.int64), values)
        _mix(word, self.seed, spare)


class _DecimalColumn(_HashedColumn):
    """A column of decimals, each stored as two words of 64 bits."""

    def _contribution(
        self, start: int, stop: int, valid: npt.NDArray[np.bool_] | None, word: _Words, spare: _Words
    ) -> None:
        low, high = self.values[start:stop, _LOW], self.values[start:stop, _HIGH]
        np.copyto(word.view(np.int64), low)
        sign = np.right_shift(word.view(np.int64), 63, out=spare.view(np.int64))
        beyond = np.flatnonzero(sign != high)
        _mix(word, self.seed, spare)
        if beyond.size:
            words = high[beyond].view(np.uint64)
            _mix(words, word[beyond], np.empty_like(words))
            word[beyond] = words


@dataclass(frozen=True)
class _BytesColumn(_HashedColumn):
    """A column of texts or binaries, whose `values` are offsets into `data`."""

    data: _Bytes

    def _contribution(
        self, start: int, stop: int, valid: npt.NDArray[np.bool_] | None, word: _Words, spare: _Words
    ) -> None:
        offsets = self.values[start : stop + 1]
        lengths = np.diff(offsets).astype(np.int64, copy=False)
        data = self.data[int(offsets[0]) : int(offsets[-1])]
        longest = int(lengths.max())
        if valid is None and int(lengths.min()) == longest <= LONGEST_BY_WORDS:
            self._equal_lengths(data, longest, word, spare)
        else:
            if valid is not None:
                lengths *= valid
            self._any_lengths(
                data, np.subtract(offsets[:-1], offsets[0], dtype=np.int64), lengths, word, spare
            )

    def _equal_lengths(self, data: _Bytes, length: int, state: _Words, spare: _Words) -> None:
        """Mix values of equal length, whose words lie at equal distances and are read without indices."""
        state[:] = length
        _mix(state, self.seed, spare)
        word = np.empty_like(state)
        if length < _WORD:
            data = _padded(data)
        for place in range(0, length, _WORD):
            # The last word is read at an offset at which it ends with the value.
            at = min(place, max(length - _WORD, 0))
            np.copyto(word, np.ndarray(len(state), "<u8", data, at, (length,)))
            if length - place < _WORD:
                np.right_shift(word, np.uint64(8 * (place - at)), out=word)
                np.bitwise_and(word, _KEPT[length - place], out=word)
            _mix(word, state, spare)
            state[:] = word

    def _any_lengths(
        self,
        data: _Bytes,
        places: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        state: _Words,
        spare: _Words,
    ) -> None:
        """Mix values of different lengths, one word of each value per round, until the longest is done."""
        np.copyto(state.view(np.int64), lengths)
        _mix(state, self.seed, spare)
        for row in np.flatnonzero(lengths > LONGEST_BY_WORDS).tolist():
            value = data.data[places[row] : places[row] + lengths[row]]
            digest = int.from_bytes(hashlib.blake2b(value, digest_size=_WORD).digest(), "little")
            state[row] = _mixed(digest, int(state[row]))
            lengths[row] = 0
        if len(data) < _WORD:
            data = _padded(data)
        words: _Words = np.ndarray(len(data) - _WORD + 1, "<u8", data, 0, (1,))
        rows = np.flatnonzero(lengths)
        left, places = lengths[rows], places[rows]
        while rows.size:
            # A word that would reach beyond the data is read from an earlier offset.
            at = np.minimum(places, len(words) - 1)
            word: _Words = words[at] >> ((places - at) * 8).view(np.uint64)
            word &= _KEPT[np.minimum(left, _WORD)]
            _mix(word, state[rows], spare[: len(rows)])
            state[rows] = word
            goes_on = left > _WORD
            rows, left, places = rows[goes_on], left[goes_on] - _WORD, places[goes_on] + _WORD


def _column(name: str, array: pa.Array) -> _HashedColumn:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    type_ = array.type
    if pa.types.is_string_view(type_):
        array = array.cast(pa.large_string())
    elif pa.types.is_binary_view(type_) or pa.types.is_fixed_size_binary(type_):
        array = array.cast(pa.large_binary())
    elif pa.types.is_timestamp(type_) and type_.unit != "us":
        array = array.cast(pa.timestamp("us", tz=type_.tz))
    elif pa.types.is_decimal32(type_) or pa.types.is_decimal64(type_):
        array = array.cast(pa.decimal128(type_.precision, type_.scale))
    elif pa.types.is_null(type_):
        array = array.cast(pa.bool_())
    type_, offset, rows, buffers = array.type, array.offset, len(array), array.buffers()
    seed, validity = column_seed(name), buffers[0] if array.null_count else None
    if pa.types.is_boolean(type_):
        return _HashedColumn(seed, _bits(buffers[1], offset, rows), validity, offset)
    if pa.types.is_decimal128(type_):
        words = _view(buffers[1], np.int64, 2 * offset, 2 * rows).reshape(-1, 2)
        return _DecimalColumn(seed, words, validity, offset)
    if type_ in _OFFSETS:
        offsets = _view(buffers[1], _OFFSETS[type_], offset, rows + 1)
        data = np.frombuffer(buffers[2] or b"", dtype=np.uint8)
        return _BytesColumn(seed, offsets, validity, offset, data)
    number = np.int64 if pa.types.is_timestamp(type_) else _NUMBERS.get(type_)
    if number is None:
        raise TypeError(f"column {name} is of type {type_}, which has no content hash")
    return _HashedColumn(seed, _view(buffers[1], number, offset, rows), validity, offset)


def _padded(data: _Bytes) -> _Bytes:
    return np.concatenate((data, np.zeros(_WORD, dtype=np.uint8)))


def _view(buffer: pa.Buffer, number: npt.DTypeLike, offset: int, count: int) -> npt.NDArray[Any]:
    return np.frombuffer(buffer, dtype=number)[offset : offset + count]


def _bits(buffer: pa.Buffer, offset: int, count: int) -> npt.NDArray[np.bool_]:
    """Read `count` bits of a bitmap, starting at bit `offset`."""
    whole = np.frombuffer(buffer, dtype=np.uint8)[offset // 8 : (offset + count + 7) // 8]
    bits = np.unpackbits(whole, bitorder="little")[offset % 8 : offset % 8 + count]
    return bits.view(np.bool_)


def _mix(word: _Words, seed: int | _Words, spare: _Words) -> None:
    """Compute `F(word * ODD + seed)` in place; `spare` is a scratch array of the same length."""
    np.multiply(word, np.uint64(_ODD), out=word)
    np.add(word, np.uint64(seed) if isinstance(seed, int) else seed, out=word)
    for shift, multiplier in _SHIFT_MULTIPLY:
        np.right_shift(word, np.uint64(shift), out=spare)
        np.bitwise_xor(word, spare, out=word)
        np.multiply(word, np.uint64(multiplier), out=word)
    np.right_shift(word, np.uint64(_LAST_SHIFT), out=spare)
    np.bitwise_xor(word, spare, out=word)


def _mixed(word: int, seed: int) -> int:
    """Compute `F(word * ODD + seed)` of a single word."""
    word = (word * _ODD + seed) & _MASK
    for shift, multiplier in _SHIFT_MULTIPLY:
        word = ((word ^ (word >> shift)) * multiplier) & _MASK
    return word ^ (word >> _LAST_SHIFT)
