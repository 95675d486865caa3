"""A batch is all of what changed at one moment or nothing, and is counted exactly once."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from platform_assets.errors import LakeConflict, LakeError, SourceUnavailable
from platform_assets.lake.lake import Lake, stream_current, stream_versions
from platform_assets.lake.ledger import LedgerEntry
from platform_assets.lake.races import Patience, retry_while_others_progress
from platform_assets.model.totesys.source import TABLES
from platform_assets.source import extract
from platform_assets.source.capture import CaptureCursor
from platform_assets.source.extract import Extractor
from platform_assets.source.outcome import TableChange
from platform_assets.source.snapshot import SourceDatabase
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, STAR_TABLE, Platform, Totesys, rows_of

pytestmark = pytest.mark.sampled(2)

STREAM = "platform_assets/totesys"


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    return Platform.on_disk(totesys, tmp_path)


def ledger(platform: Platform) -> list[tuple[Any, ...]]:
    rows = platform.lake.ledger.read().rows.to_pylist()
    return sorted(rows_of(rows, "batch", "table", "inserted", "updated", "deleted", "dead_lettered"))


def current_designs(platform: Platform) -> list[tuple[Any, ...]]:
    rows = (
        stream_current(platform.lake, platform.engine, "totesys", SOURCE_TABLE["design"])
        .read_all()
        .to_pylist()
    )
    return sorted(rows_of(rows, "design_id", "design_name", "_change", "_batch"))


def append(platform: Platform, table: str, batch: int, rows: list[dict[str, Any]]) -> None:
    """What an attempt leaves that dies before it gets to the ledger."""
    bronze = platform.lake.bronze("totesys", SOURCE_TABLE[table])
    bronze.append(
        bronze.open(), pa.Table.from_pylist(rows, schema=bronze.arrow_schema), stream=STREAM, version=batch
    )


def test_the_first_batch_holds_every_row_of_every_table(platform: Platform) -> None:
    extraction = platform.extract()
    expected = {
        "address": 2,
        "counterparty": 2,
        "currency": 2,
        "department": 2,
        "design": 2,
        "staff": 2,
        "sales_order": 2,
        "purchase_order": 1,
        "payment_type": 2,
        "transaction": 3,
        "payment": 3,
    }
    assert extraction.batch == 1
    assert extraction.row_counts == expected
    assert extraction.tables == {name: TableChange(inserted=count) for name, count in expected.items()}
    assert ledger(platform) == sorted((1, name, count, 0, 0, 0) for name, count in expected.items())


def test_a_look_that_finds_nothing_changed_writes_nothing_at_all(platform: Platform) -> None:
    first = platform.extract()
    before = platform.files()
    second = platform.extract()
    assert platform.files() == before
    assert (second.batch, second.seen_at > first.seen_at) == (1, True)
    assert second.row_counts == first.row_counts
    assert set(second.tables.values()) == {TableChange()}


def test_an_empty_source_gives_no_batch_and_no_file(new_database: NewDatabase, tmp_path: Path) -> None:
    platform = Platform.on_disk(Totesys.create(new_database()), tmp_path)
    extraction = platform.extract()
    assert (extraction.batch, set(extraction.row_counts.values())) == (0, {0})
    assert platform.files() == {}
    platform.build()
    platform.load()
    assert platform.files() == {}


def test_tables_that_did_not_change_get_no_file_in_a_batch_that_changes_others(
    totesys: Totesys, platform: Platform
) -> None:
    platform.extract()
    before = platform.files()
    totesys.update("design", 2, design_name="Steel")
    totesys.delete("payment", 3)
    extraction = platform.extract()
    assert extraction.tables["design"] == TableChange(updated=1)
    assert extraction.tables["payment"] == TableChange(deleted=1)
    assert extraction.row_counts["payment"] == 2
    new = platform.files().keys() - before.keys()
    places = {Path(file).relative_to(platform.lake.ingestion).parts[:2] for file in new}
    assert {(first, "data" if second.endswith(".parquet") else second) for first, second in places} == {
        ("totesys", "design"),
        ("totesys", "payment"),
        ("_ledger", "_delta_log"),
        ("_ledger", "data"),
    }
    assert ledger(platform)[-2:] == [(2, "design", 0, 1, 0, 0), (2, "payment", 0, 0, 1, 0)]


def test_bronze_is_append_only(totesys: Totesys, platform: Platform) -> None:
    platform.extract()
    before = {file: content for file, content in platform.files().items() if file.endswith(".parquet")}
    for table, key in (("payment", 1), ("transaction", 1), ("sales_order", 1)):
        totesys.delete(table, key)
    totesys.update("sales_order", 2, units_sold=1)
    platform.extract()
    after = platform.files()
    assert {file: after[file] for file in before} == before
    assert platform.versions("sales_order", "units_sold") == [
        (1, "insert", 1, 84754),
        (1, "insert", 2, 5),
        (2, "delete", 1, 84754),
        (2, "update", 2, 1),
    ]


def test_only_the_tables_that_are_asked_for_are_looked_at(totesys: Totesys, platform: Platform) -> None:
    totesys.run("REVOKE SELECT ON payment, address FROM PUBLIC, " + platform.source.connect().user)
    extraction = platform.extract("design", "currency")
    assert extraction.row_counts == {"design": 2, "currency": 2}
    totesys.update("design", 1, design_name="Steel")
    totesys.update("currency", 1, currency_code="EUR")
    assert platform.extract("currency").batch == 2
    assert current_designs(platform) == [(1, "Wooden", "insert", 1), (2, "Bronze", "insert", 1)]
    assert platform.extract("design").batch == 3
    assert ledger(platform) == [
        (1, "currency", 2, 0, 0, 0),
        (1, "design", 2, 0, 0, 0),
        (2, "currency", 0, 1, 0, 0),
        (3, "design", 0, 1, 0, 0),
    ]


def test_the_commit_of_a_batch_carries_its_cursor(platform: Platform) -> None:
    extraction = platform.extract("design")
    handle = platform.lake.bronze("totesys", SOURCE_TABLE["design"]).open()
    assert handle is not None
    [commit] = [entry for entry in handle.history() if "platform_assets.cursor" in entry]
    cursor = CaptureCursor.from_json(commit["platform_assets.cursor"])
    state = platform.lake.ledger.read()
    assert state.cursors == {"totesys/design": commit["platform_assets.cursor"]}
    entry = state.rows.to_pylist()[0]
    assert (cursor.snapshot, cursor.taken_at) == (entry["snapshot"], extraction.seen_at)
    assert cursor.keys_compared_at == extraction.seen_at
    assert set(cursor.remembered.columns) == set(SOURCE_TABLE["design"].column_names)
    xmin, xmax, _ = entry["snapshot"].split(":")
    assert 0 < int(xmin) <= int(xmax)
    assert entry["seen_at"] == extraction.seen_at
    assert handle.transaction_version(STREAM) == 1


AN_ORPHAN = {
    "design_id": 77,
    "design_name": "Never seen",
    "file_location": "/",
    "file_name": "x",
    "created_at": dt.datetime(2023, 1, 1),  # noqa: DTZ001 - the source's have none
    "last_updated": dt.datetime(2023, 1, 1),  # noqa: DTZ001
    "_change": "insert",
    "_seen_at": dt.datetime(2023, 1, 1, tzinfo=dt.UTC),
    "_hash": 1,
}


def test_what_an_attempt_left_that_never_got_to_the_ledger_is_read_by_nobody(
    totesys: Totesys, platform: Platform
) -> None:
    platform.tick()
    append(platform, "design", 2, [AN_ORPHAN | {"_batch": 2}, AN_ORPHAN | {"_batch": 2, "design_id": 1}])
    assert platform.extract().tables["design"] == TableChange()
    assert current_designs(platform) == [(1, "Wooden", "insert", 1), (2, "Bronze", "insert", 1)]
    totesys.update("design", 2, design_name="Steel")
    totesys.update("currency", 2, currency_code="EUR")
    extraction = platform.tick()
    assert extraction.batch == 3
    assert current_designs(platform) == [(1, "Wooden", "insert", 1), (2, "Steel", "update", 3)]
    versions = stream_versions(platform.lake, platform.engine, "totesys", SOURCE_TABLE["design"]).read_all()
    assert versions["_batch"].to_pylist() == [1, 1, 3]
    assert rows_of(platform.star("dim_design"), "design_id", "design_name") == [(1, "Wooden"), (2, "Steel")]


def test_a_number_that_another_table_took_from_a_dead_attempt_does_not_bring_its_rows_to_life(
    totesys: Totesys, platform: Platform
) -> None:
    platform.extract()
    append(platform, "design", 2, [AN_ORPHAN | {"_batch": 2}])
    totesys.update("currency", 2, currency_code="EUR")
    assert platform.extract("currency").batch == 2
    assert current_designs(platform) == [(1, "Wooden", "insert", 1), (2, "Bronze", "insert", 1)]
    totesys.update("design", 1, design_name="Steel")
    assert platform.extract().batch == 3
    assert [row[3] for row in current_designs(platform)] == [3, 1]


def test_a_first_attempt_that_died_is_done_again_under_the_next_number(platform: Platform) -> None:
    append(platform, "design", 1, [AN_ORPHAN | {"_batch": 1}])
    extraction = platform.extract()
    assert (extraction.batch, extraction.row_counts["design"]) == (2, 2)
    assert current_designs(platform) == [(1, "Wooden", "insert", 2), (2, "Bronze", "insert", 2)]


def test_dead_letters_of_an_attempt_that_died_are_not_reported(totesys: Totesys, platform: Platform) -> None:
    class Died(BaseException):
        """What no boundary catches, as a kill."""

    def report(message: str) -> None:
        if message.startswith("totesys/sales_order: "):
            raise Died

    totesys.insert("sales_order", 3, units_sold=-3)
    with pytest.raises(Died):
        Extractor(platform.source, platform.lake, platform.engine, report).extract(TABLES)
    assert len(platform.dead_letters()) == 1
    assert platform.broken() == {}
    totesys.update("sales_order", 3, units_sold=3)
    platform.extract()
    assert platform.broken() == {}
    rows = stream_current(platform.lake, platform.engine, "totesys", SOURCE_TABLE["sales_order"]).read_all()
    assert sorted(rows["units_sold"].to_pylist()) == [3, 5, 84754]


def interrupted(platform: Platform, meanwhile: Callable[[], object]) -> Extractor:
    """An extractor to which something happens once, after the first table that changed."""
    waiting = [meanwhile]

    def report(_: str) -> None:
        if waiting:
            waiting.pop()()

    return Extractor(platform.source, platform.lake, platform.engine, report)


def commit_to_the_ledger(lake: Lake) -> None:
    now = dt.datetime.now(dt.UTC)
    state = lake.ledger.read()
    entry = LedgerEntry(state.last_batch + 1, "another", "thing", 1, 0, 0, 0, "1:1:", now, now)
    lake.ledger.commit(state, [entry])


def test_of_two_extractions_at_once_one_counts_and_the_other_finds_nothing_left_to_do(
    totesys: Totesys, platform: Platform
) -> None:
    platform.extract()
    totesys.update("design", 1, design_name="Steel")
    totesys.update("payment", 1, paid=True)
    loser = interrupted(platform, platform.extract).extract(TABLES)
    assert (loser.batch, set(loser.tables.values())) == (3, {TableChange()})
    # The loser had written 2 into the tables before `payment`, so the winner took 3.
    assert ledger(platform)[-2:] == [(3, "design", 0, 1, 0, 0), (3, "payment", 0, 1, 0, 0)]
    assert platform.extract().batch == 3
    assert current_designs(platform) == [(1, "Steel", "update", 3), (2, "Bronze", "insert", 1)]
    platform.build("fact_payment")
    assert rows_of(platform.star("fact_payment"), "payment_record_id", "payment_id", "paid", "_batch") == [
        (1, 1, False, 1),
        (2, 2, False, 1),
        (3, 3, False, 1),
        (4, 1, True, 3),
    ]


def test_the_loser_of_two_first_extractions_leaves_nothing_that_counts(platform: Platform) -> None:
    loser = interrupted(platform, platform.extract).extract(TABLES)
    assert (loser.batch, set(loser.tables.values())) == (2, {TableChange()})
    assert {entry[:2] for entry in ledger(platform)} == {(2, table.name) for table in TABLES}
    assert set(platform.extract().tables.values()) == {TableChange()}
    platform.build()
    platform.load()
    assert platform.query("SELECT count(*), max(payment_record_id) FROM star.fact_payment") == [(3, 3)]


def test_the_ledger_refuses_a_batch_that_rests_on_an_old_state(platform: Platform) -> None:
    now = dt.datetime.now(dt.UTC)
    old = platform.lake.ledger.read()
    commit_to_the_ledger(platform.lake)
    for state in (old, dataclasses.replace(old)):
        with pytest.raises(LakeConflict):
            platform.lake.ledger.commit(
                state, [LedgerEntry(1, "totesys", "design", 9, 0, 0, 0, "1:1:", now, now)]
            )
    assert platform.lake.ledger.read().row_count("totesys", "design") == 0
    stale = platform.lake.ledger.read()
    commit_to_the_ledger(platform.lake)
    with pytest.raises(LakeConflict):
        platform.lake.ledger.commit(
            stale, [LedgerEntry(2, "totesys", "design", 9, 0, 0, 0, "1:1:", now, now)]
        )
    assert platform.lake.ledger.read().last_batch == 2


def test_the_ledger_and_the_cursors_survive_delta_checkpoints(totesys: Totesys, platform: Platform) -> None:
    platform.extract()
    totesys.update("design", 1, design_name="Steel")
    platform.extract()
    platform.build("dim_design")
    before = platform.lake.ledger.read()
    design = platform.lake.bronze("totesys", SOURCE_TABLE["design"])
    for table in (platform.lake.ledger.table, design, platform.lake.star(STAR_TABLE["dim_design"])):
        handle = table.open()
        assert handle is not None
        # Delta does this by itself every hundred commits, and drops the commits before after a month.
        handle.create_checkpoint()
        for commit in sorted((Path(table.uri) / "_delta_log").glob("*.json"))[:-1]:
            commit.unlink()
    after = platform.lake.ledger.read()
    assert (after.last_batch, after.lake_id) == (2, before.lake_id)
    assert (after.row_count("totesys", "design"), after.row_count("totesys", "staff")) == (2, 2)
    assert design.cursor(design.open(), STREAM) == 2
    assert platform.extract().batch == 2
    assert platform.build("dim_design")["dim_design"].rows_written == 0
    totesys.update("design", 1, design_name="Granite")
    assert platform.extract().batch == 3
    assert platform.build("dim_design")["dim_design"].rows_written == 1


def test_two_hundred_thousand_rows_and_three_edits_among_them(totesys: Totesys, platform: Platform) -> None:
    totesys.run(
        "INSERT INTO design SELECT n, '2023-03-01'::timestamp + n * interval '1 ms', 'Design ' || n, "
        "'/usr', 'f-' || n, '2023-03-01' FROM generate_series(3, 200000) AS n"
    )
    first = platform.extract("design")
    assert (first.row_counts["design"], first.tables["design"].inserted) == (200_000, 200_000)
    totesys.run(
        "UPDATE design SET file_name = '' WHERE design_id IN (100, 150000)",
        "DELETE FROM design WHERE design_id = 200000",
    )
    second = platform.extract("design")
    assert second.tables["design"] == TableChange(updated=2, deleted=1)
    assert second.row_counts["design"] == 199_999
    new = [row for row in platform.bronze("design") if row["_batch"] == 2]
    assert rows_of(new, "design_id", "_change", "file_name") == [
        (100, "update", ""),
        (150_000, "update", ""),
        (200_000, "delete", "f-200000"),
    ]
    [change] = platform.build("dim_design").values()
    assert (change.rows_written, change.row_count) == (200_000, 200_000)


@pytest.mark.parametrize(
    "name",
    [
        "with spaces, 'quotes' and \"more\"",
        "ünïcode ✓ 湖; 100% #1 a+b&c=d",
        "100%",
        "key=value/year=2023/*{1,2}~`",
    ],
)
def test_the_lake_and_the_warehouse_may_have_any_path(totesys: Totesys, tmp_path: Path, name: str) -> None:
    platform = Platform.on_disk(totesys, tmp_path / name)
    platform.tick()
    totesys.update("design", 1, design_name="Steel")
    totesys.delete("payment", 3)
    assert platform.tick().batch == 2
    assert platform.query("SELECT design_name FROM star.dim_design ORDER BY design_id") == [
        ("Steel",),
        ("Bronze",),
    ]
    assert platform.query("SELECT count(*) FROM star.fact_payment") == [(4,)]
    parents = {path.name for path in tmp_path.iterdir()}
    assert parents == {Path(name).parts[0]}


@pytest.mark.parametrize("name", ["a%2Fb", "[old]", "a^b", "a|b", "back\\slash", "two\nlines"])
def test_a_path_that_delta_lake_mistakes_for_another_is_refused(
    totesys: Totesys, tmp_path: Path, name: str
) -> None:
    platform = Platform.on_disk(totesys, tmp_path / name)
    for attempt in (platform.extract, platform.build, platform.load):
        with pytest.raises(LakeError, match="Delta Lake does not support"):
            attempt()
    assert list(tmp_path.rglob("*.parquet")) == []


def test_progress_is_reported_by_table(totesys: Totesys, platform: Platform) -> None:
    totesys.insert("sales_order", 3, units_sold=-1)
    said: list[str] = []
    Extractor(platform.source, platform.lake, platform.engine, report=said.append).extract(TABLES)
    assert "totesys/design: 2 inserted, 0 updated, 0 deleted" in said
    assert "totesys/sales_order: 3 inserted, 0 updated, 0 deleted, 1 of them rejected as dead letters" in said
    assert len(said) == len(TABLES)


def test_a_connection_that_breaks_in_the_middle_of_a_table_counts_nothing(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.extract()
    totesys.update("design", 1, design_name="Steel")
    totesys.run(
        "INSERT INTO payment_type SELECT n, 'SALES_RECEIPT', '2023-03-01', '2023-03-01' "
        "FROM generate_series(100, 400000) AS n"
    )

    # The readers wait for their consumer after every batch, so that the table is not read by then.
    monkeypatch.setattr("platform_assets.source.bulk._BYTES_QUEUED", 1)

    def report(message: str) -> None:
        if "design" in message:
            terminate_readers(totesys)

    extractor = Extractor(platform.source, platform.lake, platform.engine, report)
    with pytest.raises(SourceUnavailable, match="cannot be reached, or the connection was lost") as error:
        extractor.extract(TABLES)
    assert error.value.retryable
    assert platform.lake.ledger.read().last_batch == 1
    assert current_designs(platform)[0] == (1, "Wooden", "insert", 1)
    again = platform.extract()
    assert again.row_counts["payment_type"] == 2 + 399_901
    assert current_designs(platform)[0][1] == "Steel"


def terminate_readers(totesys: Totesys) -> None:
    totesys.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = current_database() AND usename = '{totesys.database.reader.user}'"
    )


def test_a_lake_that_cannot_be_written_is_named(totesys: Totesys, platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lake = Lake(str(tmp_path / "file"), str(tmp_path / "processed"))
    with pytest.raises(LakeError, match="file"):
        Extractor(platform.source, lake, platform.engine).extract(TABLES)


def test_a_long_load_does_not_lose_to_every_batch_of_another_source(platform: Platform) -> None:
    lost: list[int] = []

    def report(_: str) -> None:
        # A short tick of another source during every attempt, as often as there are attempts.
        if len(lost) < 20:
            lost.append(platform.lake.ledger.read().last_batch)
            commit_to_the_ledger(platform.lake)

    extraction = Extractor(platform.source, platform.lake, platform.engine, report).extract([TABLES[0]])
    assert extraction.tables[TABLES[0].name].inserted > 0
    # The second attempt left room for others' batches before its own.
    assert lost == [0, 1]
    assert platform.lake.ledger.read().last_batch == extraction.batch > 2
    assert platform.extract().batch > extraction.batch


def test_what_a_run_appended_itself_is_not_taken_for_the_progress_of_another(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = Patience(idle_tries=2, first_wait=0, longest_wait=0, quiet=0.01, longest_quiet=0.01)
    monkeypatch.setattr(
        extract, "retry_while_others_progress", partial(retry_while_others_progress, patience=hasty)
    )
    versions: list[int] = []

    def always_lost(*arguments: Any) -> None:
        versions.append(platform.lake.bronze("totesys", SOURCE_TABLE["design"]).version())
        assert len(versions) < 10, "the run takes its own rows for others' progress, and never ends"
        raise LakeConflict("lost")

    monkeypatch.setattr(Extractor, "_commit", always_lost)
    with pytest.raises(LakeConflict, match="lost"):
        platform.extract("design")
    # Every attempt had written its rows by then.
    assert versions == list(range(versions[0], versions[0] + hasty.idle_tries + 2))


def test_a_snapshot_that_is_older_than_the_ledger_is_never_committed(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.extract()
    totesys.update("design", 1, design_name="Steel")
    take = SourceDatabase.snapshot

    @contextlib.contextmanager
    def overtaken(source: SourceDatabase) -> Iterator[Any]:
        with take(source) as snapshot:
            # After the snapshot was taken, another run takes in what changed later.
            monkeypatch.undo()
            totesys.update("design", 1, design_name="Silver")
            platform.extract()
            yield snapshot

    monkeypatch.setattr(SourceDatabase, "snapshot", overtaken)
    assert platform.extract().tables["design"].rows == 0
    assert current_designs(platform)[0][:2] == (1, "Silver")
    names = [row["design_name"] for row in platform.bronze("design") if row["_batch"] == 2]
    assert names == ["Silver"]
