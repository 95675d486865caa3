"""Integers that share a field on the way arrive as what they were, and only those share one that may."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.model.table import Column, Integer, Table, Text
from platform_assets.source.catalogue import Relation, SourceColumn
from platform_assets.source.fields import fields_of
from platform_assets.source.snapshot import SourceDatabase
from platform_assets.source.types import SourceType
from platform_assets_tests.fixtures.capture import session
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.reading import read_table

LEAST, GREATEST = -(2**31), 2**31 - 1
AWKWARD = (LEAST, LEAST + 1, -65_536, -1, 0, 1, 65_535, GREATEST - 1, GREATEST)


def table(**columns: Integer | Text) -> Table:
    declared = [Column(name, type_, "", nullable=True) for name, type_ in columns.items()]
    return Table("t", "", tuple(declared), primary_key=("a",))


def relation(**columns: tuple[str, bool]) -> Relation:
    described = [
        SourceColumn(name, number, SourceType(type_, "b", True, -1, type_), nullable=nullable)
        for number, (name, (type_, nullable)) in enumerate(columns.items(), start=1)
    ]
    return Relation("public", "t", 1, "table", tuple(described), primary_key=("a",), parts=(1,))


INTEGERS = table(a=Integer(), b=Integer(64), c=Integer(), d=Integer(), e=Integer(), f=Text())
RELATION = relation(
    a=("int4", False),
    b=("int2", False),
    c=("int4", True),
    d=("int8", False),
    e=("int4", False),
    f=("text", False),
)


def fields(of: Relation) -> tuple[tuple[str, ...], ...]:
    return fields_of(INTEGERS, of, INTEGERS.column_names).columns


def test_two_integers_of_at_most_32_bits_that_are_never_null_share_a_field() -> None:
    assert fields(RELATION) == (("a", "b"), ("c",), ("d",), ("e",), ("f",))


@pytest.mark.parametrize(
    "changed",
    [{"kind": "view"}, {"kind": "foreign"}, {"parts": (1, 2)}, {"has_xmin": False}],
    ids=["view", "foreign", "inherited", "foreign partition"],
)
def test_nothing_is_shared_where_nobody_enforces_not_null(changed: dict[str, object]) -> None:
    assert fields(replace(RELATION, **changed)) == (("a",), ("b",), ("c",), ("d",), ("e",), ("f",))


def test_partitions_inherit_not_null() -> None:
    partitioned = replace(RELATION, kind="partitioned", parts=(1, 2))
    assert fields(partitioned)[0] == ("a", "b")


def test_a_null_where_none_can_be_is_an_error_and_no_number() -> None:
    shared = fields_of(INTEGERS, RELATION, ["a", "b"])
    batch = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int64())], ["a"])
    with pytest.raises(pa.ArrowInvalid, match=r"^a or b is NULL where the source says NOT NULL$"):
        shared.decode(batch)


def test_every_pair_of_awkward_integers_arrives(new_database: NewDatabase) -> None:
    database = new_database()
    values = ", ".join(str(value) for value in AWKWARD)
    with session(database.owner) as owner:
        owner.run(
            "CREATE TABLE t (a integer NOT NULL, b integer NOT NULL, c smallint NOT NULL, "
            "d integer NOT NULL, e integer NOT NULL, PRIMARY KEY (a, b))"
        )
        owner.run(
            f"INSERT INTO t SELECT a, b, CASE WHEN a < 0 THEN -32768 ELSE 32767 END, b, a "
            f"FROM unnest(ARRAY[{values}]) AS a CROSS JOIN unnest(ARRAY[{values}]) AS b"
        )
    declared = table(a=Integer(), b=Integer(64), c=Integer(), d=Integer(), e=Integer())
    rows = read_table(SourceDatabase("s", (declared,), lambda: database.reader), declared)
    assert rows.schema.field("b").type == pa.int64()
    assert sorted(tuple(row.values()) for row in rows.to_pylist()) == [
        (a, b, -32768 if a < 0 else 32767, b, a) for a in AWKWARD for b in AWKWARD
    ]


def test_taking_in_a_large_table_imports_no_pandas(new_database: NewDatabase, tmp_path: Path) -> None:
    database = new_database()
    with session(database.owner) as owner:
        owner.run(
            "CREATE TABLE t (a integer PRIMARY KEY, b timestamp NOT NULL, c timestamptz NOT NULL, "
            "d numeric(8,2) NOT NULL, e date NOT NULL)"
        )
        owner.run(
            "INSERT INTO t SELECT n, localtimestamp, now(), n, current_date "
            "FROM generate_series(1, 20000) AS n"
        )
    code = """
import json, sys
from pathlib import Path
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model.table import Column, Date, Decimal, Integer, Table, Timestamp
from platform_assets.source.connection import Connection
from platform_assets.source.extract import Extractor
from platform_assets.source.snapshot import SourceDatabase
connection = Connection(**json.load(sys.stdin))
types = {"a": Integer(), "b": Timestamp(), "c": Timestamp(utc=True), "d": Decimal(8, 2), "e": Date()}
table = Table("t", "", tuple(Column(name, type_, "") for name, type_ in types.items()), primary_key=("a",))
folder = Path(sys.argv[1])
lake = Lake(str(folder / "ingestion"), str(folder / "processed"))
source = SourceDatabase("s", (table,), lambda: connection)
extractor = Extractor(source, lake, SqlEngine(112, 2, folder / "spill"))
changes = [extractor.extract((table,)).tables["t"].rows for _ in range(2)]
print(*changes, "pandas" in sys.modules)
"""
    given = json.dumps(dataclasses.asdict(database.reader))
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], input=given, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["20000", "0", "False"]
