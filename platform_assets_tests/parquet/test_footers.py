"""A footer is all that is read of a file, and says which files are no whole Parquet files."""

from __future__ import annotations

import datetime as dt
import gc
import gzip
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from platform_assets.parquet.footers import Footer, UnreadableFile, read_footer
from platform_assets.parquet.stores import Store
from platform_assets_tests.parquet.conftest import Write

LOCAL = Store("", pyarrow.fs.LocalFileSystem())
NOW = dt.datetime(2024, 2, 29, 10, 30, tzinfo=dt.UTC)


def names_and_types(footer: Footer) -> list[tuple[str, str]]:
    return [(column.name, column.type.name) for column in footer.columns]


def test_columns_rows_and_size_are_those_of_the_file(write: Write) -> None:
    file = write("t.parquet", Id=pa.array([1, 2, 3], pa.int16()), Name=["a", "b", "c"])
    footer = read_footer(LOCAL, file)
    assert names_and_types(footer) == [("Id", "int16"), ("Name", "string")]
    assert (footer.rows, footer.size) == (3, Path(file).stat().st_size)


def test_nested_columns_are_one_column_each_and_shift_no_other(write: Write) -> None:
    file = write(
        "t.parquet",
        a=pa.array([{"x": 1, "y": [{"z": "q"}]}]),
        b=pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
        c=pa.array([[[1]]]),
        d=pa.array([2.5]),
        e=pa.array(["u"]).dictionary_encode(),
    )
    assert names_and_types(read_footer(LOCAL, file)) == [
        *(("a", "struct"), ("b", "map"), ("c", "list"), ("d", "float64"), ("e", "string")),
    ]


def test_what_parquet_holds_as_a_bare_number_or_bytes_is_told(tmp_path: Path) -> None:
    parts = [("metadata", pa.binary()), ("value", pa.binary()), ("typed_value", pa.int64())]
    shredded = pa.array([{"metadata": b"m", "typed_value": 1}], pa.struct(parts))
    columns = {
        "length": pa.array([1], pa.duration("ms")),
        "variant": pa.array([{"metadata": b"m", "value": b"v"}]),
        "shredded": shredded,
        "inside": pa.array([[{"a": {"value": b"v", "metadata": b"m"}}]]),
        "no_variant": pa.array([{"metadata": b"m", "value": "text"}]),
        "no_variant_either": pa.array([{"metadata": b"m"}]),
        "number": pa.array([1]),
        "lengths": pa.array([[{"a": 1}]], pa.list_(pa.struct([("a", pa.duration("us"))]))),
    }
    rows = pa.table(columns)
    pq.write_table(rows, tmp_path / "t.parquet")
    assert names_and_types(read_footer(LOCAL, str(tmp_path / "t.parquet"))) == [
        *(("length", "duration(ms)"), ("variant", "variant"), ("shredded", "variant"), ("inside", "variant")),
        *(("no_variant", "struct"), ("no_variant_either", "struct"), ("number", "int64")),
        ("lengths", "duration(us)"),
    ]


def test_a_period_of_pandas_is_told(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame({"month": pandas.period_range("2024-01", periods=2, freq="M"), "n": [1, 2]})
    rows.to_parquet(tmp_path / "t.parquet")
    code = (
        "import pyarrow.fs\n"
        "from platform_assets.parquet.footers import read_footer\n"
        "from platform_assets.parquet.stores import Store\n"
        "store = Store('', pyarrow.fs.LocalFileSystem())\n"
        f"print([one.type.name for one in read_footer(store, {str(tmp_path / 't.parquet')!r}).columns])"
    )
    # Where pandas is loaded it is an extension of Arrow, and elsewhere it is not.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['period', 'int64']"
    assert names_and_types(read_footer(LOCAL, str(tmp_path / "t.parquet"))) == [
        *(("month", "period"), ("n", "int64")),
    ]


def test_moments_among_nested_values_are_known(write: Write) -> None:
    file = write("t.parquet", a=pa.array([[{"at": NOW}]]), b=pa.array([[1]]))
    assert [column.type.utc for column in read_footer(LOCAL, file).columns] == [True, False]


def test_a_footer_that_was_read_is_gone_without_a_search_for_circles(write: Write) -> None:
    file = write("t.parquet", **{f"column_{number}": [number] for number in range(50)})
    read_footer(LOCAL, file)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(object_, pq.FileMetaData) for object_ in gc.get_objects())
        for _ in range(20):
            read_footer(LOCAL, file)
        assert sum(isinstance(object_, pq.FileMetaData) for object_ in gc.get_objects()) == before
    finally:
        gc.enable()


def test_a_footer_larger_than_one_request_is_read_whole(tmp_path: Path) -> None:
    wide = pa.table({f"column_with_a_long_name_{number}": [number] for number in range(3000)})
    pq.write_table(wide, tmp_path / "t.parquet")
    assert len(read_footer(LOCAL, str(tmp_path / "t.parquet")).columns) == 3000


def test_not_null_is_known(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int32(), nullable=False), pa.field("b", pa.int32())])
    pq.write_table(pa.table({"a": [1], "b": [1]}, schema=schema), tmp_path / "t.parquet")
    assert [column.nullable for column in read_footer(LOCAL, str(tmp_path / "t.parquet")).columns] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: b"", "it is empty, 0 bytes"),
        (lambda whole: whole[: len(whole) // 2], "it is truncated at"),
        (lambda whole: whole[:5], "it is truncated at 5 bytes"),
        (lambda whole: b"id,name\n1,a\n" * 5, "it is not a Parquet file"),
        (gzip.compress, "the whole file is compressed with gzip"),
        (
            lambda whole: whole[:-8] + b"\xff\xff\xff\x7fPAR1",
            "it is damaged: its footer would have 2,147,483,655 bytes",
        ),
        (lambda whole: whole[:-30] + b"\xff" * 22 + whole[-8:], "its footer cannot be read"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why(write: Write, damage: object, reason: str) -> None:
    file = Path(write("t.parquet"))
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UnreadableFile, match=reason):
        read_footer(LOCAL, str(file))


def test_a_file_without_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "t.parquet")
    with pytest.raises(UnreadableFile, match="it has no columns"):
        read_footer(LOCAL, str(tmp_path / "t.parquet"))


class Keys(pe.KmsClient):  # type: ignore[misc]
    """Wraps keys by turning them round."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return key_bytes[::-1].hex().encode()

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return bytes.fromhex(wrapped_key.decode())[::-1]


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_an_encrypted_file_is_refused(tmp_path: Path, plaintext_footer: bool) -> None:
    configuration = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"columns": ["secret"]}, plaintext_footer=plaintext_footer
    )
    factory = pe.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    table = pa.table({"secret": [1], "open": [2]})
    with pq.ParquetWriter(tmp_path / "t.parquet", table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    with pytest.raises(UnreadableFile, match="encrypted"):
        read_footer(LOCAL, str(tmp_path / "t.parquet"))
