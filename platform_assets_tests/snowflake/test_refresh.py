"""A table in Snowflake equals the Delta table that it is a copy of, whatever happened to that meanwhile."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from snowflake.connector.errors import ProgrammingError

from platform_assets.errors import ParquetError
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import KeptTable, VersionInUse
from platform_assets.lake.upkeep.upkeep import Positions, TableUpkeep
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.refresh import RECORD, Refresh, _Refreshing, held_versions, refresh
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.fixtures.upkeep import DAYS_LATER, age, upkeep_of

Rows = list[tuple[Any, ...]]


class Copy:
    """A Delta table `dim_staff` and its copy in Snowflake."""

    def __init__(self, place: Path, connection: Any) -> None:
        self.place = str(place / "dim_staff")
        self.connection = connection

    def write(self, *ids: int, **more: Any) -> None:
        columns = {
            "staff_id": pa.array(ids, pa.int64()),
            "first_name": pa.array([f"n{number}" for number in ids], pa.string()),
        }
        write_deltalake(self.place, pa.table(columns | more), mode="append", schema_mode="merge")

    def merge(self, **names: str) -> None:
        changed = pa.table({"staff_id": [int(key[1:]) for key in names], "first_name": list(names.values())})
        merging = DeltaTable(self.place).merge(changed, "t.staff_id = s.staff_id", "s", "t")
        merging.when_matched_update_all().when_not_matched_insert_all().execute()

    def refresh(self, **options: Any) -> Refresh:
        done = refresh(self.place, ScriptOptions(case="upper", **options), self.connection)
        assert done.result.error is None
        return done

    def rows(self, columns: str = "staff_id, first_name") -> Rows:
        found: Rows = self.query(f"SELECT {columns} FROM dim_staff ORDER BY 1")
        return found

    def query(self, sql: str) -> Rows:
        with self.connection.cursor() as cursor:
            return [tuple(row) for row in cursor.execute(sql).fetchall()]


@pytest.fixture
def copy(tmp_path: Path, snowflake_server: SnowflakeServer, snowflake_database: str) -> Iterator[Copy]:
    with snowflake_server.connect(snowflake_database, "STAR") as connection:
        yield Copy(tmp_path, connection)


def test_the_first_time_everything_is_loaded(copy: Copy) -> None:
    copy.write(1, 2)
    done = copy.refresh()
    assert (done.how, done.result.rows_loaded, done.rows, done.version) == ("replaced", 2, 2, 0)
    assert copy.rows() == [(1, "n1"), (2, "n2")]
    record = copy.query(f"SELECT table_name, version FROM {RECORD} ORDER BY version")
    assert record == [("DIM_STAFF", 0), ("platform_assets/format", 1)]


def test_a_repeat_loads_nothing(copy: Copy) -> None:
    copy.write(1, 2)
    copy.refresh()
    done = copy.refresh()
    assert (done.how, done.result.rows_loaded, done.rows) == ("unchanged", 0, 2)
    assert copy.rows() == [(1, "n1"), (2, "n2")]


def test_a_table_that_was_dropped_is_filled_also_where_a_run_broke_off_after_making_it(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.write(1, 2)
    copy.refresh()
    copy.query("DROP TABLE dim_staff")
    usual = _Refreshing._run

    def breaking(refreshing: Any, sql: str) -> Any:
        done = usual(refreshing, sql)
        if "CREATE TABLE IF NOT EXISTS" in sql and RECORD not in sql:
            raise OSError("the connection is gone")
        return done

    monkeypatch.setattr(_Refreshing, "_run", breaking)
    with pytest.raises(OSError, match="the connection is gone"):
        copy.refresh()
    assert copy.rows() == []
    monkeypatch.undo()
    assert copy.refresh().how == "replaced"
    assert copy.rows() == [(1, "n1"), (2, "n2")]


def test_what_was_appended_is_appended(copy: Copy) -> None:
    copy.write(1)
    copy.refresh()
    copy.write(2)
    copy.write(3)
    done = copy.refresh()
    assert (done.how, done.result.rows_loaded, done.rows, done.version) == ("appended", 2, 3, 2)
    assert copy.rows() == [(1, "n1"), (2, "n2"), (3, "n3")]


def test_what_was_merged_replaces_what_was_there(copy: Copy) -> None:
    copy.write(1, 2)
    copy.refresh()
    copy.merge(_2="other", _3="new")
    done = copy.refresh()
    assert (done.how, done.result.rows_loaded) == ("replaced", 3)
    assert copy.rows() == [(1, "n1"), (2, "other"), (3, "new")]


def test_rows_that_were_deleted_are_gone(copy: Copy) -> None:
    copy.write(1, 2)
    copy.refresh()
    DeltaTable(copy.place).delete("staff_id = 1")
    assert copy.refresh().how == "replaced"
    assert copy.rows() == [(2, "n2")]
    DeltaTable(copy.place).delete()
    done = copy.refresh()
    assert (done.how, done.rows) == ("replaced", 0)
    assert copy.rows() == []


def test_a_compaction_brings_no_row_twice(copy: Copy) -> None:
    copy.write(1)
    copy.refresh()
    copy.write(2)
    copy.write(3)
    DeltaTable(copy.place).optimize.compact()
    done = copy.refresh()
    assert (done.how, done.result.rows_loaded) == ("appended", 2)
    assert copy.rows() == [(1, "n1"), (2, "n2"), (3, "n3")]
    DeltaTable(copy.place).optimize.compact()
    assert copy.refresh().result.rows_loaded == 0


def test_upkeep_brings_no_row_twice_and_keeps_what_the_copy_has_not_loaded_yet(
    copy: Copy, tmp_path: Path
) -> None:
    options = ScriptOptions(case="upper")
    assert held_versions(copy.connection, options) == []
    copy.write(1)
    copy.refresh()
    identity = str(DeltaTable(copy.place).metadata().id)
    assert held_versions(copy.connection, options) == [(identity, 0)]
    copy.write(2)
    copy.write(3)
    kept = KeptTable("dim_staff", LakeTable(copy.place, ()), is_loaded_elsewhere=True)

    def positions() -> Positions:
        held = held_versions(copy.connection, options)
        return Positions({one: [VersionInUse(one, version, "a copy")] for one, version in held})

    def care() -> TableUpkeep:
        [one] = dataclasses.replace(upkeep_of(kept, tmp_path, later=DAYS_LATER), positions=positions).run()
        age(Path(copy.place), 10)
        return one

    assert care().files == (3, 1)
    shutil.rmtree(tmp_path / "journal")  # so that old versions are looked for again
    one = care()
    assert (one.pinned_by, one.oldest, one.removed.files) == (("a copy",), 0, 0)
    done = copy.refresh()
    assert (done.how, done.result.rows_loaded) == ("appended", 2)
    shutil.rmtree(tmp_path / "journal")
    assert care().removed.files == 3
    assert copy.refresh().how == "unchanged"
    copy.write(4)
    assert copy.refresh().how == "appended"
    assert copy.rows() == [(1, "n1"), (2, "n2"), (3, "n3"), (4, "n4")]


def test_where_old_files_and_commits_are_gone_everything_is_replaced(copy: Copy) -> None:
    copy.write(1)
    copy.refresh()
    copy.write(2)
    table = DeltaTable(copy.place)
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert copy.refresh().how == "replaced"
    assert copy.rows() == [(1, "n1"), (2, "n2")]
    copy.write(3)
    commit = Path(copy.place) / "_delta_log" / f"{DeltaTable(copy.place).version():020d}.json"
    DeltaTable(copy.place).create_checkpoint()
    commit.unlink()
    assert copy.refresh().how == "replaced"
    assert copy.rows() == [(1, "n1"), (2, "n2"), (3, "n3")]


def test_a_new_column_arrives(copy: Copy) -> None:
    copy.write(1)
    copy.refresh()
    copy.write(2, joined=pa.array([dt.date(2024, 2, 29)]))
    assert copy.refresh().how == "appended"
    assert copy.rows("staff_id, joined") == [(1, None), (2, dt.date(2024, 2, 29))]


def test_a_table_that_was_made_anew_is_another_table(copy: Copy, tmp_path: Path) -> None:
    copy.write(1)
    copy.write(2)
    copy.refresh()
    Path(copy.place).rename(tmp_path / "old")
    copy.write(7)
    assert (copy.refresh().how, copy.rows()) == ("replaced", [(7, "n7")])


def test_a_copy_that_was_dropped_is_made_again(copy: Copy) -> None:
    copy.write(1, 2)
    copy.refresh()
    copy.query("DROP TABLE dim_staff")
    assert (copy.refresh().how, copy.rows()) == ("replaced", [(1, "n1"), (2, "n2")])


def test_an_empty_table_is_made_with_its_columns(copy: Copy) -> None:
    copy.write()
    DeltaTable(copy.place).delete()
    done = copy.refresh()
    assert (done.rows, copy.rows()) == (0, [])
    copy.write(1)
    copy.refresh()
    assert copy.rows() == [(1, "n1")]


def test_times_that_the_lake_holds_as_text_can_be_times(copy: Copy) -> None:
    copy.write(1, starts=pa.array(["08:30:00.000001"]))
    copy.refresh(columns={"starts": "TIME(6)"})
    assert copy.rows("starts") == [(dt.time(8, 30, 0, 1),)]


class Interrupted(Exception):
    """The process is gone."""


@pytest.mark.parametrize("word", ["BEGIN", "UPDATE", "DELETE FROM DIM", "COPY", "COMMIT"])
def test_a_load_that_is_interrupted_leaves_what_was_there_and_can_be_repeated(
    copy: Copy, word: str, snowflake_server: SnowflakeServer
) -> None:
    copy.write(1, 2)
    copy.refresh()
    copy.merge(_1="other")
    with snowflake_server.connect(copy.connection.database, "STAR") as connection:
        with pytest.raises(Interrupted):
            refresh(copy.place, ScriptOptions(case="upper"), _Interrupting(connection, word))  # type: ignore[arg-type]
        connection.cursor().execute("ROLLBACK")  # as Snowflake does with a session that is gone
    assert copy.rows() == [(1, "n1"), (2, "n2")]
    copy.refresh()
    assert copy.rows() == [(1, "other"), (2, "n2")]


class _Interrupting:
    """A connection whose process ends before a statement."""

    def __init__(self, connection: Any, word: str) -> None:
        self._connection = connection
        self._word = word
        self._is_gone = False

    def cursor(self) -> Any:
        cursor = self._connection.cursor()
        run: Callable[..., Any] = cursor.execute

        def execute(sql: str, *arguments: Any) -> Any:
            self._is_gone = self._is_gone or sql.startswith(self._word)
            if self._is_gone:
                raise Interrupted
            return run(sql, *arguments)

        cursor.execute = execute
        return cursor


def test_two_loaders_at_once_load_each_row_once(copy: Copy, snowflake_server: SnowflakeServer) -> None:
    copy.write(1)
    copy.refresh()
    copy.write(2)
    done: list[Refresh] = []

    def load() -> None:
        with snowflake_server.connect(copy.connection.database, "STAR") as connection:
            done.append(refresh(copy.place, ScriptOptions(case="upper"), connection))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(done) == 2
    # The local server keeps the files of both temporary stages in one place, so that one may miss its own.
    assert copy.refresh().how in ("unchanged", "appended")
    assert copy.rows() == [(1, "n1"), (2, "n2")]


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("CREATE TABLE IF NOT EXISTS PLATFORM_", 2002),
        ("CREATE TABLE IF NOT EXISTS DIM_STAFF", 2002),
        ("CREATE TABLE IF NOT EXISTS DIM_STAFF", None),
        ("ALTER TABLE", 1430),
        ("UPDATE", None),
    ],
)
def test_a_loader_whose_step_another_one_has_just_done_goes_on(
    copy: Copy, snowflake_server: SnowflakeServer, statement: str, answer: int | None
) -> None:
    copy.write(1)
    if not statement.startswith("CREATE"):
        copy.refresh()
        copy.write(2, note=pa.array(["new"]))
    with snowflake_server.connect(copy.connection.database, "STAR") as connection:
        racing = _Racing(connection, statement, copy.refresh, answer)
        done = refresh(copy.place, ScriptOptions(case="upper"), racing)  # type: ignore[arg-type]
    assert racing.has_lost
    assert (done.result.error, done.how) == (None, "unchanged")
    assert copy.rows() == [(1, "n1")] if statement.startswith("CREATE") else [(1, "n1"), (2, "n2")]
    assert copy.refresh().how == "unchanged"


class _Racing:
    """A connection before one of whose statements another loader does everything."""

    def __init__(self, connection: Any, word: str, other: Callable[[], Any], answer: int | None) -> None:
        self._connection = connection
        self._word = word
        self._other = other
        self._answer = answer
        self.has_lost = False

    def cursor(self) -> Any:
        cursor = self._connection.cursor()
        run: Callable[..., Any] = cursor.execute

        def execute(sql: str, *arguments: Any) -> Any:
            if sql.startswith(self._word) and not self.has_lost:
                self.has_lost = True
                if self._word == "UPDATE":
                    run("ROLLBACK")  # the local server would refuse the other loader's change
                self._other()
                if self._word == "UPDATE":
                    run("BEGIN")
                if self._answer is not None:
                    raise ProgrammingError("It already exists.", errno=self._answer, sqlstate="42710")
            return run(sql, *arguments)

        cursor.execute = execute
        return cursor


def test_what_snowflake_refuses_is_in_the_result(copy: Copy) -> None:
    copy.write(1)
    done = refresh(copy.place, ScriptOptions(case="upper", schema="nowhere"), copy.connection)

    assert done.result.error is not None
    assert "NOWHERE" in done.result.error
    assert done.how == "unchanged"


def test_the_statement_that_failed_is_named_and_not_what_tidied_up_after_it(copy: Copy) -> None:
    copy.write(1)
    copy.query("CREATE TABLE dim_staff (staff_id NUMBER(19, 0), first_name DATE)")
    done = refresh(copy.place, ScriptOptions(case="upper"), copy.connection)
    assert (done.result.error or "").startswith("Snowflake refused `COPY INTO DIM_STAFF")
    assert copy.rows() == []


def test_files_without_a_delta_log_are_refused(copy: Copy, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ParquetError, match="is not a Delta table"):
        refresh(str(tmp_path), ScriptOptions(), copy.connection)
