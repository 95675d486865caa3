"""What the lake shows of an earlier batch is what the source and the star had then, also after upkeep."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.errors import LakeError, SettingsError
from platform_assets.lake.lake import Lake
from platform_assets.lake.lookback import compare, look_back
from platform_assets.rooms import Rooms
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, STAR_TABLE, Totesys, sql_value
from platform_assets_tests.fixtures.upkeep import Kept

Row = tuple[Any, ...]
Copy = Mapping[str, Mapping[Any, Row]]
TICKS = 7
CHANGING = {
    "department": ("department_name", ["Sales", "Dispatch", "Facilities", None]),
    "address": ("phone", ["0", "1", "2", "3"]),
    "staff": ("department_id", [1, 2]),
    "currency": ("currency_code", ["GBP", "USD", "EUR"]),
    "counterparty": ("legal_address_id", [1, 2]),
    "sales_order": ("units_sold", list(range(1, 60))),
    "payment": ("paid", [True, False]),
    "design": ("design_name", ["Wooden", "Bronze", "Granite"]),
}


def copy_of_source(totesys: Totesys) -> Copy:
    """All rows of the source by key, read past the platform."""
    return {
        name: {
            row[table.column_names.index(table.primary_key[0])]: tuple(row)
            for row in totesys.run(f"SELECT {', '.join(table.column_names)} FROM {name}")
        }
        for name, table in SOURCE_TABLE.items()
    }


def change(totesys: Totesys, chance: random.Random, tick: int) -> None:
    """Insert, update and delete some rows."""
    for number in range(chance.randrange(1, 4)):
        totesys.insert("sales_order", 100 * tick + number, units_sold=chance.randrange(1, 60))
    totesys.insert("design", 100 + tick, design_name=f"design {tick}")
    for name in chance.sample(sorted(CHANGING), 4):
        column, values = CHANGING[name]
        keys = [key for (key,) in totesys.run(f"SELECT {name}_id FROM {name} ORDER BY 1")]
        value = chance.choice(values)
        if value is None and name == "department":
            value = "None"
        key = chance.choice(keys)
        totesys.run(f"UPDATE {name} SET {column} = {sql_value(value)} WHERE {name}_id = {key}")
    gone = totesys.run("SELECT sales_order_id FROM sales_order WHERE sales_order_id >= 100 ORDER BY random()")
    for (key,) in gone[: chance.randrange(0, 2)]:
        totesys.delete("sales_order", key)
    if tick > 2:
        totesys.run(f"DELETE FROM design WHERE design_id = {98 + tick}")


@dataclass
class History:
    """A lake, and what the source and the star had after each batch."""

    kept: Kept
    rooms: Rooms
    source: dict[int, Copy]
    star: dict[int, Mapping[str, Sequence[Mapping[str, Any]]]]

    def in_lake(self, batch: int | str | dt.datetime) -> Copy:
        past = look_back(self.rooms, batch, ["totesys"])
        found = {}
        for name, table in SOURCE_TABLE.items():
            rows = past.rows(f"totesys/{name}", 10_000)
            key = table.primary_key[0]
            found[name] = {
                row[key]: tuple(row[column_name] for column_name in table.column_names) for row in rows
            }
        return found

    def star_in_lake(self, batch: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        past = look_back(self.rooms, batch, ["star"])
        return {name: past.rows(f"star/{name}", 10_000) for name in STAR_TABLE}


@pytest.fixture(scope="module")
def history(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> History:
    totesys = Totesys.with_rows(new_module_database())
    folder = tmp_path_factory.mktemp("history")
    lake = Lake(str(folder / "lake" / "ingestion"), str(folder / "lake" / "processed"))
    kept = Kept.under(totesys, folder, lake)
    chance = random.Random(20261129)
    found = History(kept, Rooms(kept.settings), {0: {name: {} for name in SOURCE_TABLE}}, {})
    for tick in range(1, TICKS + 1):
        if tick > 1:
            change(totesys, chance, tick)
        kept.platform.extract()
        kept.platform.build()
        batch = kept.platform.lake.ledger.read().last_batch
        found.source[batch] = copy_of_source(totesys)
        found.star[batch] = {name: kept.platform.star(name) for name in STAR_TABLE}
    return found


def differences(before: Mapping[Any, Row], after: Mapping[Any, Row]) -> tuple[int, int, int]:
    both = before.keys() & after.keys()
    return (
        len(after.keys() - before.keys()),
        sum(before[key] != after[key] for key in both),
        len(before.keys() - after.keys()),
    )


def test_every_batch_shows_what_the_source_and_the_star_had_then_before_and_after_upkeep(
    history: History,
) -> None:
    for is_merged in (False, True):
        if is_merged:
            history.kept.run()
        for batch, copied in history.source.items():
            assert history.in_lake(batch) == copied, (batch, is_merged)
        for batch, stars in history.star.items():
            shown = history.star_in_lake(batch)
            for name, rows in stars.items():
                assert shown[name] == rows, (batch, name, is_merged)


def test_differences_are_those_of_the_recorded_copies(history: History) -> None:
    batches = sorted(history.source)
    pairs = [*itertools.pairwise(batches), (0, batches[-1]), (batches[1], batches[-1])]
    for before, after in [*pairs, (batches[3], batches[3])]:
        found = {
            table.table: (table.inserted, table.updated, table.deleted)
            for table in compare(history.rooms, before, after, ["totesys"]).tables()
        }
        assert found == {
            f"totesys/{name}": differences(history.source[before][name], history.source[after][name])
            for name in SOURCE_TABLE
        }, (before, after)
    last, first = batches[-1], batches[1]
    rows = compare(history.rooms, first, last, ["totesys/sales_order"]).rows("totesys/sales_order", 1_000)
    names = SOURCE_TABLE["sales_order"].column_names
    old, new = history.source[first]["sales_order"], history.source[last]["sales_order"]
    for row in rows:
        key = (row.after or row.before or {})["sales_order_id"]
        assert (None if row.before is None else tuple(row.before[name] for name in names)) == old.get(key)
        assert (None if row.after is None else tuple(row.after[name] for name in names)) == new.get(key)
    assert len(rows) == sum(differences(old, new))


def test_differences_of_the_star_count_deleted_dimension_rows_as_gone(history: History) -> None:
    batches = sorted(history.star)

    def present(batch: int, name: str) -> dict[Any, Row]:
        table = STAR_TABLE[name]
        return {
            row[table.primary_key[0]]: tuple(row[column_name] for column_name in table.column_names)
            for row in history.star[batch][name]
            if table.kind == "fact" or row["_change"] != "delete"
        }

    for before, after in [(batches[0], batches[-1]), (batches[2], batches[4])]:
        for one in compare(history.rooms, before, after, ["star"]).tables():
            name = one.table.partition("/")[2]
            expected = differences(present(before, name), present(after, name))
            assert (one.inserted, one.updated, one.deleted) == expected, (one, before, after)
            assert not one.problem


def test_a_time_means_the_last_snapshot_taken_until_then(history: History) -> None:
    state = history.kept.platform.lake.ledger.read()
    batch = sorted(history.source)[3]
    at = state.seen_at(batch)
    assert at is not None
    for when in (at, at.isoformat(), at.replace(tzinfo=None).isoformat(), batch, str(batch)):
        assert look_back(history.rooms, when).batch == batch
    assert look_back(history.rooms, at - dt.timedelta(microseconds=1)).batch < batch
    assert look_back(history.rooms, "2020-01-01").batch == 0
    with pytest.raises(LakeError, match="has no batch 10000 yet; its last batch is"):
        look_back(history.rooms, 10_000)
    with pytest.raises(SettingsError, match="neither the number of a batch nor a time"):
        look_back(history.rooms, "yesterday")
    with pytest.raises(SettingsError, match="no table star/none to look back at"):
        look_back(history.rooms, 1, ["star/none"])
    with pytest.raises(SettingsError, match="give the earlier one first"):
        compare(history.rooms, batch, 1)
    last = state.seen_at(max(history.source))
    assert last is not None
    earlier, later = (last + dt.timedelta(minutes=minutes) for minutes in (1, 2))
    with pytest.raises(SettingsError, match="give the earlier one first"):
        compare(history.rooms, later, earlier)  # the same batch, but feeds have states of their own
    assert compare(history.rooms, earlier, later).after.batch == max(history.source)


def test_a_table_with_a_lost_file_is_named_and_the_others_are_counted(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion = Path(history.kept.platform.lake.ingestion)
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(ingestion.parents[1]))
    files = sorted(
        path for path in ingestion.glob("**/design/**/*.parquet") if "_delta_log" not in path.parts
    )
    assert files
    for file in files:
        file.rename(file.with_suffix(".lost"))
    try:
        ended = CliRunner().invoke(app, ["lake", "at", str(max(history.source)), "totesys"])
        alone = CliRunner().invoke(app, ["lake", "at", str(max(history.source)), "totesys/design"])
        rows = CliRunner().invoke(
            app, ["lake", "diff", "1", str(max(history.source)), "--rows", "totesys/design"]
        )
    finally:
        for file in files:
            file.with_suffix(".lost").rename(file)
    assert ended.exit_code == 1
    assert isinstance(ended.exception, SystemExit), ended.exception
    assert "totesys/sales_order" in ended.output
    assert "totesys/design: " in ended.output
    for of_one in (alone, rows):
        assert isinstance(of_one.exception, SystemExit), of_one.exception
        assert ".parquet" in of_one.output, of_one.output


def test_rows_that_differ_are_shown_of_one_table_only(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(Path(history.kept.platform.lake.ingestion).parents[1]))
    ended = CliRunner().invoke(app, ["lake", "diff", "1", "2", "--rows", "star"])
    assert ended.exit_code == 1
    assert "star means 11 tables: name one of star/" in " ".join(ended.output.split())


def test_the_commands_print_sql_write_files_and_show_rows(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(Path(history.kept.platform.lake.ingestion).parents[1]))
    batch = sorted(history.source)[3]

    def said(*arguments: str) -> str:
        ended = CliRunner().invoke(app, ["lake", *arguments], catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return ended.output

    expected = [tuple(row.values()) for row in history.star[batch]["dim_staff"]]
    query = said("at", str(batch), "star/dim_staff", "--sql")
    with duckdb.connect() as plain:
        plain.execute("SET TimeZone = 'UTC'")
        assert len(plain.sql(query).fetchall()) == len(expected)
        plain.execute(said("at", str(batch), "--sql"))
        assert plain.sql("SELECT count(*) FROM totesys.sales_order").fetchall() == [
            (len(history.source[batch]["sales_order"]),)
        ]
        assert plain.sql("SELECT count(*) FROM star.dim_currency").fetchall() == [
            (len(history.star[batch]["dim_currency"]),)
        ]
    for options in ((), ("--copy",)):
        file = tmp_path / "then.duckdb"
        assert "has 22 tables after batch" in said("at", str(batch), "--duckdb", str(file), *options)
        with duckdb.connect(str(file), read_only=True) as written:
            held = written.sql("SELECT * FROM star.dim_staff ORDER BY 1").fetchall()
            assert [row[:6] for row in held] == [row[:6] for row in expected]
    assert f"{len(expected)} rows; 1 shown." in said("at", str(batch), "dim_staff", "--limit", "1")
    assert "totesys/sales_order" in said("at", str(batch), "totesys")
    last = max(history.source)
    counted = json.loads(said("diff", str(batch), str(last), "totesys/sales_order", "--json"))
    [table] = counted["tables"]
    expected_counts = differences(history.source[batch]["sales_order"], history.source[last]["sales_order"])
    assert (table["inserted"], table["updated"], table["deleted"]) == expected_counts
    rows = json.loads(
        said("diff", str(batch), str(last), "--rows", "totesys/sales_order", "--json", "--limit", "1000")
    )
    assert len(rows["rows"]) == sum(expected_counts)
    assert "insert" in said("diff", str(batch), str(last), "--rows", "totesys/sales_order")
    assert "No table differs." in said("diff", str(batch), str(batch))


@pytest.mark.soak
def test_a_lake_in_a_bucket_shows_the_same(
    new_database: NewDatabase, s3_server: S3Server, tmp_path: Path
) -> None:
    totesys = Totesys.with_rows(new_database())
    bucket = s3_server.create_bucket()
    lake = Lake(f"s3://{bucket}/i", f"s3://{bucket}/p", lambda: s3_server.storage_options)
    kept = Kept.under(totesys, tmp_path, lake)
    kept.platform.extract()
    kept.platform.build()
    first = copy_of_source(totesys)["department"]
    totesys.update("department", 1, department_name="Other")
    kept.platform.extract()
    kept.platform.build()
    rooms = Rooms(kept.settings)
    columns = SOURCE_TABLE["department"].column_names
    then = look_back(rooms, 1, ["totesys/department", "star/dim_staff"])
    assert {
        row["department_id"]: tuple(row[column] for column in columns)
        for row in then.rows("totesys/department", 9)
    } == first
    assert {row["department_name"] for row in then.rows("star/dim_staff", 9)} == {"Sales", "Dispatch"}
    assert then.write(tmp_path / "then.duckdb") == {}
    with duckdb.connect(str(tmp_path / "then.duckdb"), read_only=True) as written:
        assert written.sql("SELECT count(*) FROM totesys.department").fetchall() == [(2,)]
    changed = {
        table.table: table.updated for table in compare(rooms, 1, 2, ["department", "dim_staff"]).tables()
    }
    assert changed == {"totesys/department": 1, "star/dim_staff": 1}
