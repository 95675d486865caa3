"""The content hash is what its definition says, for ever, and differs wherever rows differ.

The rows of the property tests come from seeded random generators.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import math
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.lake.content_hash import LONGEST_BY_WORDS, column_seed, content_hash

EPOCH = dt.date(1970, 1, 1)
EPOCH_START = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - the lake's timestamps without zone have none
MASK = 2**64 - 1


def batch(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def hashes(rows: pa.RecordBatch, names: Sequence[str] | None = None) -> list[int]:
    hashed = content_hash(rows, rows.schema.names if names is None else names)
    assert hashed.type == pa.int64()
    assert hashed.null_count == 0
    return hashed.to_pylist()


def hash_of(value: Any, type_: pa.DataType, name: str = "a") -> int:
    return hashes(batch(**{name: pa.array([value], type_)}))[0]


def finalised(word: int, seed: int) -> int:
    word = (word * 0x9E3779B97F4A7C15 + seed) & MASK
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
    return word ^ word >> 31


def contribution(name: str, value: Any) -> int:
    """What the definition says, value by value, in plain Python."""
    seed = int.from_bytes(hashlib.blake2b(name.encode()).digest()[:8], "little")
    match value:
        case None:
            return 0
        case str() | bytes():
            data = value.encode() if isinstance(value, str) else value
            state = finalised(len(data), seed)
            if len(data) > 1024:
                data = hashlib.blake2b(data, digest_size=8).digest()
            for start in range(0, len(data), 8):
                state = finalised(int.from_bytes(data[start : start + 8], "little"), state)
            return state
        case float():
            bits = (
                0x7FF8000000000000 if math.isnan(value) else struct.unpack("<Q", struct.pack("<d", value))[0]
            )
            return finalised(bits, seed)
        case dt.datetime():
            value = (value.replace(tzinfo=None) - EPOCH_START) // dt.timedelta(microseconds=1)
        case dt.date():
            value = (value - EPOCH).days
        case Decimal():
            sign, digits, _ = value.as_tuple()
            value = int("".join(map(str, digits))) * (-1 if sign else 1)
    if -(2**63) <= value < 2**63:
        return finalised(value & MASK, seed)
    return finalised(value >> 64 & MASK, finalised(value & MASK, seed))


def expected(row: Mapping[str, Any]) -> int:
    total = sum(contribution(name, value) for name, value in row.items()) & MASK
    return total - 2**64 if total >= 2**63 else total


ROW: Mapping[str, tuple[Any, pa.DataType]] = {
    "small": (-7, pa.int16()),
    "sales_order_id": (12345, pa.int32()),
    "big": (-(2**63), pa.int64()),
    "unit_price": (Decimal("2.43"), pa.decimal128(10, 2)),
    "huge": (Decimal("-12345678901234567890123456789.012345678"), pa.decimal128(38, 9)),
    "paid": (True, pa.bool_()),
    "weight": (0.1, pa.float64()),
    "day": (dt.date(2023, 3, 1), pa.date32()),
    "created_at": (dt.datetime(2023, 3, 1, 9, 30, 15, 123000), pa.timestamp("us")),  # noqa: DTZ001
    "seen_at": (dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC), pa.timestamp("us", "UTC")),
    "agreed_delivery_date": ("2023-03-10", pa.string()),
    "Straße und Nr.": ("Žižkov 5\n“x”", pa.string()),
    "photo": (bytes(range(256)), pa.binary()),
    "novel": ("ab" * 600, pa.string()),
}
GOLDEN = {
    "small": -9_079_398_498_532_094_686,
    "sales_order_id": -489_123_877_679_560_822,
    "big": 7_415_363_457_450_450_776,
    "unit_price": -3_973_784_723_545_813_142,
    "huge": 3_097_530_681_212_585_028,
    "paid": -2_790_207_989_435_065_934,
    "weight": -6_116_362_724_013_768_731,
    "day": 6_964_870_374_986_563_535,
    "created_at": -895_964_847_544_395_755,
    "seen_at": 3_544_452_001_285_426_383,
    "agreed_delivery_date": -7_394_076_318_796_230_787,
    "Straße und Nr.": -8_007_142_788_234_102_266,
    "photo": 1_121_021_958_092_518_563,
    "novel": 1_837_722_745_729_397_557,
}
GOLDEN_ROW = 3_681_643_524_685_461_335
GOLDEN_SEED = 11_543_282_470_236_406_101


@pytest.mark.parametrize("name", ROW)
def test_the_hash_of_a_value_stays_what_it_is(name: str) -> None:
    value, type_ = ROW[name]
    assert hash_of(value, type_, name) == GOLDEN[name] == expected({name: value})


def test_the_hash_of_a_row_is_the_sum_of_its_values_and_stays_what_it_is() -> None:
    rows = batch(**{name: pa.array([value], type_) for name, (value, type_) in ROW.items()})
    assert hashes(rows) == [GOLDEN_ROW]
    assert (sum(GOLDEN.values()) + 2**63) % 2**64 - 2**63 == GOLDEN_ROW


def test_the_seed_of_a_name_stays_what_it_is() -> None:
    assert column_seed("sales_order_id") == GOLDEN_SEED


def random_text(random: np.random.Generator, longest: int) -> str:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789 -'\"\n\x00éßŽ東🎉"))
    return "".join(random.choice(letters, random.integers(0, longest + 1)))


VALUES: Mapping[str, tuple[pa.DataType, Callable[[np.random.Generator], Any]]] = {
    "int8": (pa.int8(), lambda random: int(random.integers(-128, 128))),
    "int16": (pa.int16(), lambda random: int(random.integers(-(2**15), 2**15))),
    "int32": (pa.int32(), lambda random: int(random.integers(-(2**31), 2**31))),
    "int64": (pa.int64(), lambda random: int(random.integers(-(2**63), 2**63 - 1))),
    "short decimal": (
        pa.decimal128(10, 2),
        lambda random: Decimal(int(random.integers(-(10**9), 10**9))).scaleb(-2),
    ),
    "long decimal": (
        pa.decimal128(38, 4),
        lambda random: Decimal(f"{random.integers(-(10**18), 10**18)}{'0' * random.integers(0, 20)}E-4"),
    ),
    "bool": (pa.bool_(), lambda random: bool(random.integers(0, 2))),
    "float32": (pa.float32(), lambda random: float(np.float32(random.normal() * 1e10))),
    "float64": (
        pa.float64(),
        lambda random: float(random.choice([random.normal(), np.nan, np.inf, -np.inf, 0.0])),
    ),
    "date": (pa.date32(), lambda random: EPOCH + dt.timedelta(int(random.integers(-700_000, 2_900_000)))),
    "timestamp": (
        pa.timestamp("us"),
        lambda random: EPOCH_START + dt.timedelta(microseconds=int(random.integers(-(2**54), 2**57))),
    ),
    "text": (pa.string(), lambda random: random_text(random, 40)),
    "short text": (pa.string(), lambda random: random_text(random, 3)),
    "large text": (pa.large_string(), lambda random: random_text(random, 20)),
    "long text": (pa.string(), lambda random: random_text(random, 1) * int(random.integers(1000, 1050))),
    "code": (pa.string(), lambda random: "".join(random.choice(list("abc"), 5))),
    "iso date": (pa.string(), lambda random: str(EPOCH + dt.timedelta(int(random.integers(0, 40_000))))),
    "key": (pa.binary(), lambda random: random.bytes(16)),
    "bytes": (pa.binary(), lambda random: random.bytes(int(random.integers(0, 30)))),
    "large bytes": (pa.large_binary(), lambda random: random.bytes(int(random.integers(1015, 1035)))),
}


@pytest.mark.parametrize("nulls", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", VALUES)
def test_a_column_of_any_type_is_hashed_as_defined_also_in_slices(name: str, nulls: float) -> None:
    type_, value = VALUES[name]
    random = np.random.default_rng([int(nulls * 10), *name.encode()])
    values = [None if random.random() < nulls else value(random) for _ in range(200)]
    whole = [expected({name: value}) for value in values]
    rows = batch(**{name: pa.array(values, type_)})
    assert hashes(rows) == whole
    for start, length in ((0, 1), (1, 7), (13, 64), (64, 136), (199, 1), (5, 0)):
        assert hashes(rows.slice(start, length)) == whole[start : start + length]


def test_rows_of_all_types_are_hashed_as_defined_across_the_chunks_of_a_batch() -> None:
    random = np.random.default_rng(4)
    some = [
        {name: None if random.random() < 0.1 else value(random) for name, (_, value) in VALUES.items()}
        for _ in range(101)
    ]
    few = batch(**{name: pa.array([row[name] for row in some], type_) for name, (type_, _) in VALUES.items()})
    copies = 500
    many = pa.Table.from_batches([few] * copies).combine_chunks().to_batches()[0]
    assert hashes(many) == [expected(row) for row in some] * copies


def test_several_threads_compute_what_one_does() -> None:
    random = np.random.default_rng(5)
    batches = [
        batch(
            n=pa.array(random.integers(0, 10**9, 40_000)),
            t=pa.array([str(number) for number in random.integers(0, 10**6, 40_000)]),
        )
        for _ in range(8)
    ]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(hashes, batches * 3)) == [hashes(batch_) for batch_ in batches] * 3


def test_garbage_under_nulls_does_not_count() -> None:
    validity = pa.py_buffer(b"\x05")

    def numbers(*values: int) -> pa.Array:
        return pa.Array.from_buffers(pa.int64(), 3, [validity, pa.py_buffer(np.array(values, np.int64))])

    def texts(offsets: list[int], data: bytes) -> pa.Array:
        places = pa.py_buffer(np.array(offsets, np.int32))
        return pa.Array.from_buffers(pa.string(), 3, [validity, places, pa.py_buffer(data)])

    clean = batch(n=numbers(1, 0, 3), t=texts([0, 2, 2, 4], b"abcd"))
    dirty = batch(n=numbers(1, 99, 3), t=texts([0, 2, 9, 11], b"abGARBAGEcd"))
    dirty_of_one_length = batch(n=numbers(1, -1, 3), t=texts([0, 2, 4, 6], b"ab\xff\xffcd"))
    assert hashes(clean) == hashes(dirty) == hashes(dirty_of_one_length)


def test_a_null_contributes_nothing_and_columns_may_move() -> None:
    a, b = pa.array([1, 2, None]), pa.array(["x", None, "z"])
    rows = batch(a=a, b=b)
    assert hashes(rows) == hashes(batch(b=b, a=a)) == hashes(rows, ["b", "a"])
    for null in (pa.nulls(3), pa.nulls(3, pa.string()), pa.nulls(3, pa.int32()), pa.nulls(3, pa.float64())):
        assert hashes(batch(a=a, added=null, b=b)) == hashes(rows)
    assert hashes(rows, []) == [0, 0, 0]
    assert hashes(rows, ["a"])[2] == 0


def test_a_rename_and_a_swap_of_values_change_the_hash() -> None:
    rows = batch(a=pa.array([1, 2, 2]), b=pa.array([2, 1, 2]))
    renamed = batch(a=pa.array([1, 2, 2]), c=pa.array([2, 1, 2]))
    assert len({*hashes(rows), *hashes(renamed)}) == 6
    texts = batch(a=pa.array(["x", "y"]), b=pa.array(["y", "x"]))
    assert len(set(hashes(texts))) == 2


@pytest.mark.parametrize("value", [0, 1, -1, 127, -128])
def test_an_integer_hashes_alike_at_every_width(value: int) -> None:
    types = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.decimal128(5, 0), pa.decimal128(38, 0)]
    assert len({hash_of(value, type_) for type_ in types}) == 1


@pytest.mark.parametrize("value", [0.0, 1.5, -3e38, math.inf, -math.inf, math.nan, 2.0**-149])
def test_a_float_hashes_alike_at_both_widths(value: float) -> None:
    narrow = float(np.float32(value))
    assert hash_of(narrow, pa.float32()) == hash_of(narrow, pa.float64())


def test_every_nan_is_the_same_one() -> None:
    bits = np.array(
        [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF], np.uint64
    )
    narrow = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF], np.uint32)
    wide = pa.Array.from_buffers(pa.float64(), 4, [None, pa.py_buffer(bits)])
    halves = pa.Array.from_buffers(pa.float32(), 4, [None, pa.py_buffer(narrow)])
    assert len({*hashes(batch(a=wide)), *hashes(batch(a=halves))}) == 1


@pytest.mark.parametrize("text", ["", "a", "Leeds", "8 bytes.", "Žižkov", "x" * 500, "y" * 5000])
def test_a_text_hashes_alike_in_every_layout(text: str) -> None:
    types = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
    binaries = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(len(text.encode()))]
    found = {hash_of(text, type_) for type_ in types} | {hash_of(text.encode(), type_) for type_ in binaries}
    assert len(found) == 1


def test_a_timestamp_hashes_alike_in_every_unit_and_zone() -> None:
    moment = dt.datetime(2023, 3, 1, 9, 30, 15, tzinfo=dt.UTC)
    types = [
        pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in ("UTC", "Europe/Riga", None)
    ]
    assert len({hash_of(moment.replace(tzinfo=None), type_) for type_ in types}) == 1


def test_the_scale_of_a_decimal_does_not_matter_and_its_digits_do() -> None:
    assert hash_of(Decimal("1.00"), pa.decimal128(10, 2)) == hash_of(Decimal("10.0"), pa.decimal128(12, 1))
    assert hash_of(Decimal("1.00"), pa.decimal32(9, 2)) == hash_of(Decimal("1.00"), pa.decimal128(38, 2))
    assert hash_of(Decimal("1.00"), pa.decimal64(18, 2)) == hash_of(Decimal("1.00"), pa.decimal128(38, 2))


def test_texts_that_look_alike_differ() -> None:
    texts = [
        None, "", " ", "\0", "\0\0", "a", "a\0", "a ", "A", "\0a", "ab", "ba", "é", "e\u0301",
        "12345678", "12345678\0", "1234567\0", "1234567", "123456781234567", "1234567812345678",
        *("x" * size for size in (1023, 1024, 1025, 1026)),
        *("\0" * size for size in (8, 16, 1024, 1025)),
    ]  # fmt: skip
    assert len(set(hashes(batch(a=pa.array(texts))))) == len(texts)


def test_how_a_long_text_is_hashed_depends_on_its_own_length_alone() -> None:
    texts = ["short", "x" * LONGEST_BY_WORDS, "x" * (LONGEST_BY_WORDS + 1), "y" * 70_000, ""]
    alone = [hash_of(text, pa.string()) for text in texts]
    for order in itertools.permutations(range(len(texts))):
        assert hashes(batch(a=pa.array([texts[place] for place in order]))) == [
            alone[place] for place in order
        ]
    assert hashes(batch(a=pa.array(["x" * 1024] * 3 + ["z" * 1024]))) == [alone[1]] * 3 + [
        hash_of("z" * 1024, pa.string())
    ]


def test_two_million_varied_rows_have_as_many_hashes() -> None:
    # Two of 2,000,000 random 64-bit numbers are equal once in ten million such tests.
    rows = 2_000_000
    number = np.arange(rows)
    texts = np.char.zfill((number % 1000).astype("S4"), 10)
    offsets = np.arange(0, 10 * (rows + 1), 10, dtype=np.int32)
    varied = batch(
        a=pa.array(number // 10_000),
        b=pa.array((number // 1000 % 10).astype(np.int32)),
        c=pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(texts)]),
    )
    assert len(np.unique(content_hash(varied, ["a", "b", "c"]))) == rows


def test_neighbouring_numbers_and_single_bits_change_half_of_the_hash() -> None:
    random = np.random.default_rng(6)
    numbers = random.integers(-(2**62), 2**62, 5_000)
    original = content_hash(batch(a=pa.array(numbers)), ["a"]).to_numpy().view(np.uint64)
    others = [numbers + 1, numbers - 1, -numbers, *(numbers ^ (1 << bit) for bit in range(63))]
    for other in others:
        changed = content_hash(batch(a=pa.array(other)), ["a"]).to_numpy().view(np.uint64)
        flipped = np.bitwise_count(original ^ changed)
        assert flipped.min() > 0
        assert 31 < flipped.mean() < 33


@pytest.mark.parametrize("length", [1, 7, 8, 9, 10, 16, 31])
def test_every_bit_of_a_text_changes_half_of_the_hash(length: int) -> None:
    rows = 2_000
    data = np.random.default_rng(length).integers(0, 256, (rows, length), dtype=np.uint8)

    def hashed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        offsets = np.arange(0, length * (rows + 1), length, dtype=np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))]
        array = pa.Array.from_buffers(pa.binary(), rows, buffers)
        return content_hash(batch(a=array), ["a"]).to_numpy().view(np.uint64)

    original = hashed(data)
    for byte, bit in itertools.product(range(length), range(8)):
        changed = data.copy()
        changed[:, byte] ^= 1 << bit
        flipped = np.bitwise_count(original ^ hashed(changed))
        assert flipped.min() > 0
        assert 31 < flipped.mean() < 33


def test_small_changes_of_two_columns_at_once_never_cancel() -> None:
    near = range(-20, 21)
    pairs = list(itertools.product(near, near))
    rows = batch(a=pa.array([a for a, _ in pairs]), b=pa.array([b for _, b in pairs]))
    assert len(set(hashes(rows))) == len(pairs)


def test_a_batch_without_rows_has_no_hashes() -> None:
    rows = batch(a=pa.array([], pa.int32()), b=pa.array([], pa.string()), c=pa.nulls(0))
    assert hashes(rows) == []
    assert hashes(batch(a=pa.array(["x"])).slice(1)) == []


def test_a_type_that_has_no_hash_is_refused_by_name() -> None:
    with pytest.raises(
        TypeError, match=r"^column tags is of type list<item: string>, which has no content hash$"
    ):
        content_hash(batch(tags=pa.array([["x"]], pa.list_(pa.string()))), ["tags"])
    with pytest.raises(KeyError):
        content_hash(batch(a=pa.array([1])), ["b"])


def test_hashing_imports_no_pandas() -> None:
    code = """
import sys, numpy as np, pyarrow as pa
from platform_assets.lake.content_hash import content_hash
number = pa.Array.from_buffers(pa.int64(), 3, [None, pa.py_buffer(np.arange(3))])
text = number.cast(pa.string())
batch = pa.RecordBatch.from_arrays([number, text, text.dictionary_encode()], names=["a", "b", "c"])
assert content_hash(batch, ["a", "b", "c"]).null_count == 0
sys.exit("pandas" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
