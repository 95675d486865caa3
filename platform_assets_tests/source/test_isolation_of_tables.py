"""A source table that fails, at any step and with any error, keeps no other table from landing."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from platform_assets.errors import LakeError, SourceError, SourceUnavailable
from platform_assets.lake.delta import LakeTable
from platform_assets.source import bulk, extract
from platform_assets.source.compare import Comparison
from platform_assets.source.dead_letters import DeadLetters
from platform_assets.source.scan import Scan
from platform_assets.source.session import ValueRefused
from platform_assets.source.snapshot import Snapshot
from platform_assets_tests.fixtures.poison import (
    UNEXPECTED,
    OwnError,
    name_of,
    poison_call,
    told,
)
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, Platform, Totesys

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcConnection

POISONED = "design"
OTHERS = ("currency", "department")
TABLES = (OTHERS[0], POISONED, OTHERS[1])

# Where a call works on the poisoned table; the arguments are those of the function.
STEPS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "opening what the lake has": (LakeTable, "open", lambda table: table.uri.endswith(f"/{POISONED}")),
    "comparing the schema": (extract, "compare", lambda *_, name, **__: name == POISONED),
    "planning": (extract, "plan", lambda table, *_: table.name == POISONED),
    "reading": (bulk, "_read", lambda _, __, scan, ___: scan.table == POISONED),
    "comparing the rows": (Comparison, "changed", lambda one, *_: one.table.name == POISONED),
    "appending": (LakeTable, "append", lambda table, *_, **__: table.uri.endswith(f"/{POISONED}")),
    "looking at it again": (Snapshot, "is_still_there", lambda _, relation: relation.name == POISONED),
    "setting dead letters apart": (DeadLetters, "set_apart", lambda _, table, __: table.name == POISONED),
}

REFUSED = SourceError("The server refused to read it.")
BROKEN = SourceUnavailable("The connection broke.")
OWN = OwnError("what nobody expected")
# One boundary is around all steps: each error at one of them, in a reading thread, and two errors at each.
CASES = [
    *(("reading", error) for error in (REFUSED, BROKEN, LakeError("It cannot be written."), *UNEXPECTED)),
    *((step, error) for step in STEPS if step != "reading" for error in (BROKEN, OWN)),
]


def name_of_case(value: object) -> str:
    return name_of(value) if isinstance(value, BaseException) else str(value)


keys = itertools.count(100)


@pytest.fixture(scope="module")
def totesys(new_module_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_module_database())


@pytest.fixture(scope="module")
def platform(totesys: Totesys, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    made = Platform.on_disk(totesys, tmp_path_factory.mktemp("poisoned"))
    made.extract(*TABLES)
    return made


def insert_into_each(totesys: Totesys) -> int:
    """A new row in each table, under the same key."""
    key = next(keys)
    totesys.run(*(totesys.insert_sql(table, key) for table in TABLES))
    return key


def counted(platform: Platform, table: str, key: int) -> int:
    """How many versions of a row count."""
    batches = platform.lake.ledger.read().batches_of("totesys", table)
    return sum(1 for batch, _, versioned in platform.versions(table) if versioned == key and batch in batches)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("step", "error"), CASES, ids=name_of_case)
def test_a_poisoned_table_is_stopped_alone_and_catches_up(
    totesys: Totesys,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
) -> None:
    key = insert_into_each(totesys)
    with monkeypatch.context() as patch:
        poison_call(patch, *STEPS[step], error)
        found = platform.extract(*TABLES).tables
    assert told(error) in found[POISONED].stopped
    assert found[POISONED].rows == 0
    for table in OTHERS:
        assert (found[table].inserted, found[table].stopped) == (1, "")
        assert counted(platform, table, key) == 1
    assert counted(platform, POISONED, key) == 0
    again = platform.extract(*TABLES).tables
    assert [(again[table].inserted, again[table].stopped) for table in TABLES] == [(0, ""), (1, ""), (0, "")]
    assert [counted(platform, table, key) for table in TABLES] == [1, 1, 1]


@pytest.mark.parametrize("step", sorted(set(STEPS) - {"looking at it again"}))
def test_a_table_that_is_poisoned_at_its_first_read_keeps_no_other_from_landing(
    totesys: Totesys, platform: Platform, tmp_path_factory: pytest.TempPathFactory, step: str
) -> None:
    first = Platform.on_disk(totesys, tmp_path_factory.mktemp("first"))
    with pytest.MonkeyPatch.context() as patch:
        poison_call(patch, *STEPS[step], OWN)
        found = first.extract(*TABLES).tables
    assert told(OWN) in found[POISONED].stopped
    assert all(found[table].inserted > 0 for table in OTHERS)
    assert first.extract(*TABLES).tables[POISONED].inserted > 0
    assert first.extract(*TABLES).batch == 2


def test_a_statement_that_the_server_refuses_leaves_the_snapshot_readable(
    totesys: Totesys, platform: Platform
) -> None:
    with platform.source.snapshot() as snapshot:
        for _ in range(2):
            with pytest.raises(SourceError, match="division by zero"):
                snapshot.run("SELECT 1 / 0")
            assert snapshot.is_open()
        assert snapshot.run("SELECT count(*) > 0 FROM currency") == [[True]]


def test_the_end_of_the_snapshots_session_ends_the_whole_attempt(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_into_each(totesys)

    def end_the_session(one: Comparison, *_: object) -> bool:
        if one.table.name == POISONED:
            totesys.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return False

    with monkeypatch.context() as patch:
        poison_call(patch, Comparison, "changed", end_the_session, OWN)
        with pytest.raises(SourceUnavailable):
            platform.extract(*TABLES)
    assert [platform.extract(*TABLES).tables[table].inserted for table in TABLES][:1] == [1]


def test_a_connection_that_breaks_while_it_reads_one_table_is_replaced_by_another(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_into_each(totesys)
    calls = []

    def first_time(_: object, __: object, scan: Any, ___: object) -> bool:
        calls.append(scan.table)
        return scan.table == POISONED and calls.count(POISONED) == 1

    with monkeypatch.context() as patch:
        poison_call(patch, bulk, "_read", first_time, BROKEN)
        found = platform.extract(*TABLES).tables
    assert [(found[table].inserted, found[table].stopped) for table in TABLES] == [(1, "")] * 3


@pytest.mark.parametrize("error", [REFUSED, ValueRefused("It refused a value.")], ids=["table", "value"])
def test_a_connection_that_cannot_be_closed_keeps_no_table_waiting(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    insert_into_each(totesys)
    open_adbc, closed = bulk.open_adbc, []

    @contextlib.contextmanager
    def opened(*arguments: Any, **settings: Any) -> Iterator[AdbcConnection]:
        with open_adbc(*arguments, **settings) as connection:
            yield connection
        closed.append(connection)
        raise RuntimeError("Cannot close AdbcConnection with open AdbcStatement")

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "open_adbc", opened)
        poison_call(patch, bulk, "_read", lambda _, __, scan, ___: scan.table == POISONED, error)
        found = platform.extract(*TABLES).tables
    assert told(error) in found[POISONED].stopped
    assert [(found[table].inserted, found[table].stopped) for table in OTHERS] == [(1, "")] * 2
    assert len(closed) >= 2
    assert platform.extract(*TABLES).tables[POISONED].inserted == 1


def test_a_thread_that_the_system_refuses_leaves_the_reading_to_the_others(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.table({"n": [1]})
    started, start = [], threading.Thread.start

    def refuse_the_second(thread: threading.Thread) -> None:
        if thread.name.startswith("bulk reader"):
            started.append(thread)
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
        start(thread)

    with platform.source.snapshot() as snapshot:
        scans = [
            Scan(name, ("SELECT 1::bigint AS n", "SELECT 2::bigint AS n"), rows.schema, lambda batch: batch)
            for name in OTHERS
        ]
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse_the_second)
            with bulk.BulkReader(snapshot, scans) as reader:
                read = []
                for name in OTHERS:
                    with reader.stream(name) as stream:
                        read.append(sorted(stream.read_all()["n"].to_pylist()))
    assert len(started) == 2
    assert read == [[1, 2]] * 2


@pytest.mark.parametrize("limits", [{"lock_timeout": 0.3}, {"statement_timeout": 1}], ids=str)
def test_a_table_that_another_session_has_locked_is_stopped_alone_and_catches_up(
    totesys: Totesys, platform: Platform, limits: dict[str, float]
) -> None:
    totesys.run(
        f"ALTER TABLE {POISONED} ADD IF NOT EXISTS twice int GENERATED ALWAYS AS (design_id * 2) VIRTUAL",
        "CREATE TABLE IF NOT EXISTS parted (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE IF NOT EXISTS part PARTITION OF parted FOR VALUES FROM (0) TO (9)",
    )
    platform.extract(*TABLES)
    insert_into_each(totesys)
    hurried = dataclasses.replace(platform, source=dataclasses.replace(platform.source, **limits))
    with totesys.session() as other:
        other.run("BEGIN")
        other.run(f"LOCK TABLE {POISONED} IN ACCESS EXCLUSIVE MODE")
        found = hurried.extract(*TABLES).tables
        other.run("ROLLBACK")
    assert f"reading the catalogue entry of {POISONED}: canceling" in found[POISONED].stopped
    assert "Another session holds a lock on the table" in found[POISONED].stopped
    assert [(found[table].inserted, found[table].stopped) for table in OTHERS] == [(1, "")] * 2
    again = hurried.extract(*TABLES).tables
    assert [(again[table].inserted, again[table].stopped) for table in TABLES] == [(0, ""), (1, ""), (0, "")]


def test_a_lake_that_takes_no_table_at_all_fails_the_extraction(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_into_each(totesys)
    with monkeypatch.context() as patch:
        poison_call(patch, LakeTable, "append", lambda *_, **__: True, LakeError("It is full."))
        with pytest.raises(LakeError, match="It is full"):
            platform.extract(*TABLES)
    assert [table.inserted for table in platform.extract(*TABLES).tables.values()] == [1, 1, 1]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_what_is_no_failure_of_one_table_goes_on(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    insert_into_each(totesys)
    with monkeypatch.context() as patch:
        poison_call(
            patch, DeadLetters, "set_apart", lambda _, table, __: table.name == POISONED, interruption()
        )
        with pytest.raises(interruption):
            platform.extract(*TABLES)
    assert [table.inserted for table in platform.extract(*TABLES).tables.values()] == [1, 1, 1]


@pytest.mark.parametrize("error", [REFUSED, BROKEN, OWN, OverflowError("out of range")], ids=name_of)
def test_a_table_that_cannot_be_compared_keeps_no_other_from_being_verified(
    totesys: Totesys,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    extractor = extract.Extractor(platform.source, platform.lake, platform.engine)
    tables = [SOURCE_TABLE[name] for name in TABLES]
    with monkeypatch.context() as patch:
        poison_call(
            patch, extract, "compare_table", lambda _, __, table, **___: table.name == POISONED, error
        )
        found = extractor.verify(tables)
    assert told(error) in found[POISONED].sentence
    assert [found[table].passed for table in TABLES] == [True, False, True]
    assert all(one.passed for one in extractor.verify(tables).values())


def _truncate(folder: Path) -> Callable[[], object]:
    file = max(folder.glob("*.parquet"), key=lambda one: one.stat().st_size)
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    return lambda: file.write_bytes(whole)


def _remove(folder: Path) -> Callable[[], object]:
    file = max(folder.glob("*.parquet"), key=lambda one: one.stat().st_size)
    away = file.rename(folder / "away")
    return lambda: away.rename(file)


def _cut_the_log(folder: Path) -> Callable[[], object]:
    file = max((folder / "_delta_log").glob("*.json"))
    whole = file.read_bytes()
    file.write_bytes(whole[:20])
    return lambda: file.write_bytes(whole)


def _put_a_file_there(folder: Path) -> Callable[[], object]:
    away = folder.rename(folder.with_name("away"))
    folder.write_text("")

    def undo() -> None:
        folder.unlink()
        away.rename(folder)

    return undo


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, r"The lake's file .*\.parquet cannot be read: it is damaged\. Restore it "),
        (_remove, r"The lake's file .*\.parquet cannot be read: it does not exist\. Restore it "),
        (_cut_the_log, r"The lake table .* cannot be read: .* Check that the location exists"),
        (_put_a_file_there, r"/design cannot be used: Not a directory\. A file is where a folder is needed"),
    ],
)
def test_a_table_that_is_damaged_in_the_lake_is_stopped_alone_and_goes_on_once_mended(
    totesys: Totesys, tmp_path: Path, damage: Callable[[Path], Callable[[], object]], reason: str
) -> None:
    platform = Platform.on_disk(totesys, tmp_path)
    platform.extract(*TABLES)
    undo = damage(tmp_path / "ingestion" / "totesys" / POISONED)
    key = next(keys)
    for table in TABLES:
        totesys.insert(table, key)
    found = platform.extract(*TABLES).tables
    assert re.search(reason, found[POISONED].stopped)
    assert [found[name].inserted for name in OTHERS] == [1, 1]
    undo()
    found = platform.extract(*TABLES).tables
    assert {name: (one.inserted, one.stopped) for name, one in found.items()} == {
        POISONED: (1, ""),
        **dict.fromkeys(OTHERS, (0, "")),
    }
    assert platform.versions(POISONED).count((3, "insert", key)) == 1
