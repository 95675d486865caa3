"""Every type goes all the way: from a discovered table to the lake, compared, verified, updated, deleted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from platform_assets.lake.lake import BronzeReader
from platform_assets.model.table import Text
from platform_assets.source.catalogue import declare
from platform_assets.source.extract import Extractor
from platform_assets.source.snapshot import SourceDatabase
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Platform, Totesys

VALUES = {
    "smallint": ("-32768", "7"),
    "integer": ("2147483647", "-1"),
    "bigint": ("9223372036854775807", "0"),
    "oid": ("4294967295", "1"),
    "numeric(10,2)": ("-12345678.90", "0.01"),
    "numeric(38,10)": ("1234567890123456789012345678.0123456789", "-0.0000000001"),
    "numeric": ("'NaN'", "1e-30"),
    "money": ("'-92233720368547758.08'", "'0.10'"),
    "real": ("'Infinity'", "1e-20"),
    "double precision": ("'NaN'", "-1.7976931348623157e308"),
    "text": ("E'a\\nb\\\\c ''\"\u00e9\U0001d11e'", "''"),
    "varchar(5)": ("'\u00e4b  '", "'x'"),
    "char(4)": ("'ab'", "''"),
    "bytea": ("'\\x00ff0a5c'", "''"),
    "boolean": ("true", "false"),
    "date": ("'4713-01-01 BC'", "'infinity'"),
    "timestamp": ("'10000-01-01 00:00:00.000001'", "'-infinity'"),
    "timestamptz": ("'1999-12-31 23:59:59.999999+05:30'", "'infinity'"),
    "time": ("'24:00:00'", "'00:00:00.000001'"),
    "timetz": ("'12:34:56.789+02'", "'00:00:00-12'"),
    "interval": ("'1 year -2 days 03:04:05.6'", "'-1 mon'"),
    "uuid": ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000000'"),
    "json": ('\'{"b":  1, "a": null}\'', "'null'"),
    "jsonb": ('\'{"b":  1, "a": [1.50]}\'', "'\"x\"'"),
    "integer[]": ("'{{1,NULL},{3,4}}'", "'{}'"),
    "text[]": ('\'{"a,b",NULL,"NULL",""}\'', "'[2:3]={x,y}'"),
    "int4range": ("'[1,5)'", "'empty'"),
    "datemultirange": ("'{[2020-01-01,2020-02-01),[2021-01-01,)}'", "'{}'"),
    "inet": ("'192.168.0.1'", "'2001:db8::/32'"),
    "cidr": ("'10.0.0.0/8'", "'0.0.0.0/0'"),
    "macaddr": ("'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"),
    "bit(3)": ("B'101'", "B'000'"),
    "varbit": ("B'1'", "B''"),
    "tsvector": ("'a:1A fat:2B'", "''"),
    "mood": ("'sad'", "'o''k'"),
    "pair": ("ROW(NULL,NULL)", "ROW(1,'a \"b\"')"),
    "positive": ("1", "2147483647"),
}


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    totesys = Totesys(new_database())
    columns = ", ".join(f'"{number} {type_}" {type_}' for number, type_ in enumerate(VALUES))
    totesys.run(
        "CREATE TYPE mood AS ENUM ('sad', 'o''k')",
        "CREATE TYPE pair AS (a integer, b text)",
        "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
        f"CREATE TABLE everything (id uuid PRIMARY KEY, {columns}, twice integer GENERATED ALWAYS AS "
        '("1 integer" / 2) STORED)',
    )
    names = ", ".join(f'"{number} {type_}"' for number, type_ in enumerate(VALUES))
    for number in range(2):
        values = ", ".join(pair[number] for pair in VALUES.values())
        totesys.run(
            f"INSERT INTO everything (id, {names}) VALUES ('00000000-0000-0000-0000-00000000000{number}', "
            f"{values})"
        )
    totesys.run("INSERT INTO everything (id) VALUES ('00000000-0000-0000-0000-000000000002')")
    totesys.run(f"GRANT SELECT ON everything TO {totesys.database.reader.user}")
    return totesys


def test_every_type_is_captured_compared_and_verified(totesys: Totesys, tmp_path: Path) -> None:
    platform = Platform.on_disk(totesys, tmp_path)
    source = SourceDatabase("erp", (), lambda: totesys.database.reader, declared=False)
    with source.snapshot() as snapshot:
        table = declare(snapshot.relations(["everything"])["everything"])
    source = dataclasses.replace(source, tables=(table,))
    extractor = Extractor(source, platform.lake, platform.engine)
    assert extractor.extract([table]).tables["everything"].inserted == 3
    assert extractor.extract([table]).tables["everything"].rows == 0

    # All rows are written again by a transaction of its own: each is read, and dropped by its hash.
    totesys.run("UPDATE everything SET id = id")
    again = extractor.extract([table]).tables["everything"]
    assert (again.rows_read, again.rows) == (3, 0)
    found = extractor.verify([table])["everything"]
    assert found.passed, found.sentence

    # A row is a change when any one column is.
    for number, type_ in enumerate(VALUES):
        name = f'"{number} {type_}"'
        totesys.run(f"UPDATE everything SET {name} = NULL WHERE id::text LIKE '%1'")
        assert extractor.extract([table]).tables["everything"].updated == 1, type_
    totesys.run("DELETE FROM everything WHERE id::text LIKE '%2'")
    assert extractor.verify([table])["everything"].passed

    printed = [column.name for column in table.columns if isinstance(column.type, Text)]
    concat = ", ".join(
        f'CASE WHEN "{name}" IS DISTINCT FROM NULL THEN concat("{name}") END' for name in printed
    )
    [[*from_server]] = totesys.run(
        "SET TimeZone = 'UTC'", f"SELECT {concat} FROM everything WHERE id::text LIKE '%0'"
    )
    with platform.engine.connect() as connection:
        reader = BronzeReader(platform.lake, "erp", platform.lake.ledger.read())
        reader.create_current_view(connection, ["current"], table)
        names = ", ".join(f'"{name}"' for name in printed)
        [in_lake] = connection.sql(f"SELECT {names} FROM current WHERE id LIKE '%0'").fetchall()
        assert connection.sql("SELECT count(*) FROM current").fetchall() == [(2,)]
    assert dict(zip(printed, in_lake, strict=True)) == dict(zip(printed, from_server, strict=True))
