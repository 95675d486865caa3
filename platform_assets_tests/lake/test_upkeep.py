"""Upkeep of a whole lake: few files and versions afterwards, and everything that reads or writes goes on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from platform_assets.errors import UpkeepBusy
from platform_assets.lake.batches import Batches
from platform_assets.lake.delta import LakeTable, _holds_only
from platform_assets.lake.interfaces import KeptTable
from platform_assets.lake.lake import BronzeReader, Lake, write_table
from platform_assets.lake.ledger import CURSORS
from platform_assets.lake.upkeep import rewrite
from platform_assets.lake.upkeep.upkeep import UpkeepPolicy
from platform_assets.model.table import Column, Integer, Text
from platform_assets.model.totesys.source import TABLES
from platform_assets.source.extract import Extractor
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.racing import together
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, STAR_TABLE, Platform, Totesys
from platform_assets_tests.fixtures.upkeep import (
    DAYS_LATER,
    EAGER,
    Kept,
    age,
    content,
    file_counts,
    merged,
    opened,
    rows_hash,
    upkeep_of,
)

COLUMNS = (Column("id", Integer(64)), Column("name", Text()), Column("_batch", Integer(64)))
SALES, FACTS = "ingestion/totesys/sales_order", "processed/star/fact_sales_order"


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture
def kept(totesys: Totesys, tmp_path: Path) -> Kept:
    return Kept.under(totesys, tmp_path)


def change(totesys: Totesys, number: int) -> None:
    """Changes of every kind, a dead letter and its correction among them."""
    key = 100 + number
    totesys.run(
        totesys.insert_sql("sales_order", key, units_sold=-1 if number % 3 == 1 else number + 1),
        f"UPDATE sales_order SET units_sold = {number + 5} WHERE sales_order_id IN (1, {key - 1})",
        f"UPDATE design SET design_name = 'n{number}' WHERE design_id = 1",
        f"DELETE FROM sales_order WHERE sales_order_id = {key - 3} AND {key} > 105",
    )


def grow(platform: Platform, totesys: Totesys, ticks: int, first: int = 0) -> None:
    for number in range(first, first + ticks):
        change(totesys, number)
        platform.tick()


def rebuilt(platform: Platform, folder: Path) -> dict[str, str]:
    """The star schema, built from bronze alone."""
    lake = Lake(platform.lake.ingestion, str(folder))
    dataclasses.replace(platform, lake=lake).build()
    return {path: one for path, one in content(lake).items() if path.startswith("processed/star/")}


def test_upkeep_leaves_few_files_and_every_row_and_a_rebuilt_star_is_the_same(
    kept: Kept, totesys: Totesys, tmp_path: Path
) -> None:
    platform = kept.platform
    platform.tick()
    grow(platform, totesys, 6)
    before, rows = file_counts(platform.lake), content(platform.lake)
    star = rebuilt(platform, tmp_path / "rebuilt before")
    assert (before[SALES], before[FACTS], before["ingestion/_ledger"]) == (7, 7, 7)
    planned = {one.table: one for one in kept.upkeep().plan()}
    assert file_counts(platform.lake) == before
    done = kept.run()
    assert planned["totesys/sales_order"].rewritten == done["totesys/sales_order"].rewritten > 0
    after = file_counts(platform.lake)
    assert {path: count for path, count in after.items() if count > 1 and path != "processed/_upkeep"} == {}
    assert content(platform.lake) == rows
    assert rebuilt(platform, tmp_path / "rebuilt after") == star
    assert not any(one.rewritten for name, one in kept.run().items() if name != "upkeep")
    grow(platform, totesys, 2, first=6)
    verified = Extractor(platform.source, platform.lake, platform.engine).verify(TABLES)
    assert all(one.passed for one in verified.values())
    in_lake = opened(platform.lake.star(STAR_TABLE["fact_sales_order"])).count()
    assert platform.query("SELECT count(*) FROM star.fact_sales_order") == [(in_lake,)]


def test_a_merged_file_is_compressed_and_readers_choose_and_trust_it(kept: Kept, totesys: Totesys) -> None:
    platform = kept.platform
    platform.tick()
    grow(platform, totesys, 3)
    kept.run()
    bronze = platform.lake.bronze("totesys", SOURCE_TABLE["sales_order"])
    [uri] = opened(bronze).file_uris()
    assert Path(uri).name.startswith("batches-4-")
    assert pq.read_metadata(uri).row_group(0).column(0).compression == "ZSTD"
    state = platform.lake.ledger.read()
    counting = state.batches_of("totesys", "sales_order")
    with platform.engine.connect() as connection:
        assert not bronze.create_view(connection, ["all"], bronze.open(), only=counting)
        # A ledger that was set back no longer accounts for all rows: they are filtered one by one.
        fewer = Batches(sorted(counting)[:-1])
        assert bronze.create_view(connection, ["some"], bronze.open(), only=fewer)
        reader = BronzeReader(platform.lake, "totesys", state)
        reader.create_versions_view(
            connection, ["new"], SOURCE_TABLE["sales_order"], after=state.last_batch - 1
        )
        new = connection.sql("SELECT DISTINCT _batch FROM new").fetchall()
    assert new == [(state.last_batch,)]


def test_a_merged_file_is_trusted_only_for_its_own_batches() -> None:
    assert _holds_only("batches-2-part.parquet", 3, 5, Batches([1, 3, 5, 6]))
    # A run that began before batch 5 counts its own batch 4, in which the table need not have a row.
    assert not _holds_only("batches-2-part.parquet", 3, 5, Batches([1, 3, 4]))
    assert not _holds_only("batches-2-part.parquet", 3, 5, Batches([4, 5, 6]))
    assert not _holds_only("batches-2-part.parquet", 3, 5, Batches([3, 4, 5]))


def test_the_rows_of_a_batch_under_way_and_of_one_that_never_counted_stay_apart(
    kept: Kept, totesys: Totesys
) -> None:
    platform = kept.platform
    platform.tick()
    grow(platform, totesys, 3)
    bronze = platform.lake.bronze("totesys", SOURCE_TABLE["design"])
    state = platform.lake.ledger.read()
    rows = bronze.scan(opened(bronze)).read_all().slice(0, 1)

    def leave(batch: int) -> None:
        place = rows.schema.get_field_index("_batch")
        one = rows.set_column(place, "_batch", pa.array([batch], pa.int64()))
        bronze.append(bronze.open(), one, stream="platform_assets/totesys", version=batch)

    leave(state.last_batch + 1)
    kept.run()
    assert len(opened(bronze).file_uris()) == 2
    grow(platform, totesys, 3, first=3)
    counting = platform.lake.ledger.read().batches_of("totesys", "design")
    assert state.last_batch + 1 not in counting
    before = platform.versions("design")
    kept.run()
    assert platform.versions("design") == before
    assert sorted(Path(uri).name.partition("-")[0] for uri in opened(bronze).file_uris()) == [
        "batches",
        "part",
    ]
    assert_verified(platform)


def assert_verified(platform: Platform) -> None:
    verified = Extractor(platform.source, platform.lake, platform.engine).verify(TABLES)
    assert all(one.passed for one in verified.values())


def test_the_cursors_in_the_newest_commit_are_repeated(kept: Kept, totesys: Totesys) -> None:
    platform = kept.platform
    platform.tick()
    grow(platform, totesys, 3)
    before = platform.lake.ledger.read()
    kept.run()
    after = platform.lake.ledger.read()
    assert (after.cursors, after.last_batch, after.lake_id) == (
        before.cursors,
        before.last_batch,
        before.lake_id,
    )
    assert after.version == before.version + 1
    assert json.loads(platform.lake.ledger.table.commit_info(after.version)[CURSORS]) == before.cursors
    # The next tick reads only what changed.
    totesys.update("design", 2, design_name="Gold")
    assert platform.tick().tables["design"].rows_read == 1


def test_a_commit_that_comes_in_between_is_kept_with_its_cursors(tmp_path: Path) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)

    def append(number: int) -> None:
        rows = pa.table([[number], ["x"], [number]], schema=table.arrow_schema)
        table.append(table.open(), rows, stream="s", version=number, metadata={"at": str(number)})

    for number in range(1, 5):
        append(number)
    others = iter(range(5, 8))

    def beside() -> None:
        # Called before each commit of upkeep.
        if (number := next(others, None)) is not None:
            append(number)

    kept = KeptTable("table", table, metadata="at")
    work = upkeep_of(kept, tmp_path)
    original = rewrite.Rewriter._try_commit

    def raced(self: rewrite.Rewriter, *arguments: object, **named: object) -> None:
        beside()
        original(self, *arguments, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewrite.Rewriter, "_try_commit", raced)
        [one] = work.run()
    assert one.error == ""
    handle = opened(table)
    assert (handle.version(), table.commit_metadata(handle, "at", look_back=1)) == (7, "7")
    assert table.scan(handle, ["id"]).read_all().num_rows == 7
    assert handle.transaction_version("s") == 7


def test_a_commit_whose_answer_was_lost_is_recognized(tmp_path: Path) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)
    for number in range(3):
        rows = pa.table([[number], ["x"], [number]], schema=table.arrow_schema)
        table.append(table.open(), rows, stream="s", version=number + 1)
    original = rewrite.Rewriter._try_commit

    def lost(self: rewrite.Rewriter, *arguments: object, **named: object) -> None:
        original(self, *arguments, **named)  # type: ignore[arg-type]
        raise CommitFailedError("the answer was lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewrite.Rewriter, "_try_commit", lost)
        [one] = upkeep_of(KeptTable("table", table), tmp_path).run()
    assert (one.error, one.files, opened(table).version()) == ("", (3, 1), 3)
    assert table.scan(opened(table)).read_all().num_rows == 3


def test_old_versions_go_and_what_a_warehouse_refers_to_stays(
    kept: Kept, totesys: Totesys, tmp_path: Path
) -> None:
    platform = kept.platform
    platform.tick()
    grow(platform, totesys, 3)
    fact = STAR_TABLE["fact_sales_order"]
    loaded = {one.table: one.lake_version for one in platform.warehouse.status()}["fact_sales_order"]
    for number in range(3, 6):  # the lake goes on without the warehouse
        change(totesys, number)
        platform.extract()
        platform.build()
    kept.run()
    age(tmp_path / "processed", 10)
    age(tmp_path / "ingestion", 10)
    rows = content(platform.lake)
    done = kept.run(later=DAYS_LATER)
    star = done["star/fact_sales_order"]
    assert (star.pinned_by, star.oldest) == (("warehouse",), loaded)
    assert done["totesys/sales_order"].removed.files == 7
    assert content(platform.lake) == rows
    at = platform.lake.star(fact).open_at(loaded)
    assert at is not None
    assert (
        at.to_pyarrow_table().num_rows == platform.query("SELECT count(*) FROM star.fact_sales_order")[0][0]
    )
    platform.load()
    age(tmp_path / "processed", 10)
    kept.run(later=DAYS_LATER * 2)
    left = list((tmp_path / "processed/star/fact_sales_order").glob("*.parquet"))
    assert len(left) == 1
    assert content(platform.lake) == rows
    grow(platform, totesys, 2, first=6)
    assert_verified(platform)


def test_the_log_is_cleaned_up_to_a_checkpoint_and_keeps_metadata_and_transactions(tmp_path: Path) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)
    for number in range(1, 61):
        rows = pa.table([[number], ["x"], [number]], schema=table.arrow_schema)
        table.append(table.open(), rows, stream="s", version=number, metadata={"at": str(number)})
    kept = KeptTable("table", table, metadata="at")
    upkeep_of(kept, tmp_path).run()
    age(tmp_path / "table", 10)
    [one] = upkeep_of(kept, tmp_path, later=DAYS_LATER).run()
    assert (one.removed.files, one.removed.entries) == (60, 60)
    entries = sorted(path.name for path in (tmp_path / "table/_delta_log").iterdir())
    assert [name for name in entries if name.endswith(".json")] == [f"{60:020d}.json"]
    handle = opened(table)
    assert table.commit_metadata(handle, "at", look_back=100) == "60"
    assert handle.transaction_version("s") == 60
    assert sorted(table.scan(handle, ["id"]).read_all()["id"].to_pylist()) == list(range(1, 61))


def test_a_young_file_in_no_version_stays_and_an_old_one_goes(tmp_path: Path) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)
    rows = pa.table([[1], ["x"], [1]], schema=table.arrow_schema)
    table.append(None, rows, stream="s", version=1)
    left = tmp_path / "table" / "part-left.parquet"
    left.write_bytes(b"x")
    policy = UpkeepPolicy()
    upkeep_of(KeptTable("table", table), tmp_path, policy, later=dt.timedelta(hours=29)).run()
    assert left.exists()
    age(tmp_path / "table", 10)
    os.utime(left, (0, 0))
    upkeep_of(KeptTable("table", table), tmp_path, policy, later=DAYS_LATER).run()
    assert not left.exists()
    assert table.scan(opened(table)).read_all().num_rows == 1


def test_columns_that_were_added_are_null_in_older_rows_of_a_merged_file(tmp_path: Path) -> None:
    old = LakeTable(str(tmp_path / "table"), COLUMNS)
    old.append(None, pa.table([[1], ["x"], [1]], schema=old.arrow_schema), stream="s", version=1)
    new = dataclasses.replace(old, columns=(*COLUMNS, Column("more", Text(), nullable=True)))
    rows = pa.table([[2], ["y"], [2], ["z"]], schema=new.arrow_schema)
    new.append(new.open(), rows, stream="s", version=2)
    before = rows_hash(new)
    assert merged(KeptTable("table", new), tmp_path)
    assert rows_hash(new) == before
    rows = pa.table([[3], ["y"], [3], ["z"]], schema=new.arrow_schema)
    new.append(new.open(), rows, stream="s", version=3)
    assert new.scan(opened(new), ["more"]).read_all()["more"].to_pylist().count(None) == 1


def test_a_table_with_features_of_another_program_is_left_alone_and_the_others_go_on(
    kept: Kept, totesys: Totesys, tmp_path: Path
) -> None:
    platform = kept.platform
    platform.tick()
    grow(platform, totesys, 2)
    for number in range(3):
        rows = pa.table({"part": ["a"], "n": [number]})
        write_deltalake(tmp_path / "processed/marts/parted", rows, mode="append", partition_by=["part"])
    rows = content(platform.lake)
    done = {one.table: one for one in kept.upkeep().run()}
    failed = {name: one.error for name, one in done.items() if one.error}
    assert list(failed) == ["marts/parted"]
    assert "partitions by part" in failed["marts/parted"]
    assert done["totesys/design"].files == (3, 1)
    assert content(platform.lake) == rows


def test_a_damaged_file_fails_its_table_only_and_the_next_run_tries_again(
    kept: Kept, totesys: Totesys
) -> None:
    platform = kept.platform
    platform.tick()
    grow(platform, totesys, 2)
    bronze = opened(platform.lake.bronze("totesys", SOURCE_TABLE["design"]))
    file = Path(bronze.file_uris()[0])
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    done = {one.table: one for one in kept.upkeep().run()}
    assert [name for name, one in done.items() if one.error] == ["totesys/design"]
    assert done["star/fact_sales_order"].files == (3, 1)
    assert kept.upkeep().journal.last()["totesys/design"].error
    file.write_bytes(whole)
    assert kept.run()["totesys/design"].files == (3, 1)
    assert kept.upkeep().journal.last()["totesys/design"].error == ""


def test_one_run_works_at_a_time_and_a_dead_one_holds_nothing_up(kept: Kept, totesys: Totesys) -> None:
    kept.platform.tick()
    first, second = kept.upkeep(), kept.upkeep()
    with first.journal.locked(), pytest.raises(UpkeepBusy, match=r"process \d+ on .* holds its lock until"):
        second.run()
    second.run()
    # A process of this machine that has ended, and one of another machine whose term is over.
    journal = first.journal
    dead = json.dumps({"host": journal._host, "pid": 2**22 + 7, "run": "x"})
    journal.take_lock(dead, dt.datetime.now(dt.UTC))
    second.run()
    far = json.dumps({"host": "elsewhere", "pid": 1, "run": "y"})
    journal.take_lock(far, dt.datetime.now(dt.UTC))
    with pytest.raises(UpkeepBusy):
        second.run()
    journal.take_lock(far, dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    second.run()


def test_a_run_that_lost_its_lock_stops(kept: Kept, totesys: Totesys) -> None:
    kept.platform.tick()
    work = kept.upkeep()
    with work.journal.locked() as lock:
        lock.until = dt.datetime.now(dt.UTC)
        lock.extend()  # nobody else wanted it
        work.journal.take_lock(lock.holder, dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
        other = json.dumps({"host": "elsewhere", "pid": 1, "run": "y"})
        work.journal.take_lock(other, dt.datetime.now(dt.UTC))
        lock.until = dt.datetime.now(dt.UTC)
        with pytest.raises(UpkeepBusy):
            lock.extend()


@pytest.mark.parametrize("storage", ["local", pytest.param("s3", marks=pytest.mark.soak)])
def test_ticks_verification_and_readers_go_on_beside_upkeep(
    totesys: Totesys, tmp_path: Path, s3_server: S3Server, storage: str
) -> None:
    lake = None
    if storage == "s3":
        bucket = s3_server.create_bucket()
        lake = Lake(f"s3://{bucket}/i", f"s3://{bucket}/p", lambda: s3_server.storage_options)
    kept = Kept.under(totesys, tmp_path, lake)
    warehouse = dataclasses.replace(kept.platform.warehouse, wait=300)
    platform = dataclasses.replace(kept.platform, warehouse=warehouse)
    platform.tick()
    is_over = threading.Event()
    policy = UpkeepPolicy(dt.timedelta(hours=6), 2)
    merges = []

    def work(number: int) -> None:
        if number == 0:
            while not is_over.wait(0.01):
                done = kept.upkeep(policy).run()
                assert [one.error for one in done if one.error] == []
                merges.append(sum(one.rewritten > 0 for one in done))
        elif number == 1:
            verified = Extractor(platform.source, platform.lake, platform.engine).verify(TABLES)
            assert [str(one.comparison) for one in verified.values() if not one.passed] == []
        else:
            try:
                grow(platform, totesys, 4)
            finally:
                is_over.set()

    together(work, 3)
    platform.tick()
    assert sum(merges) > 0
    assert_verified(platform)
    rows = content(platform.lake)
    kept.run()
    assert content(platform.lake) == rows
    fact = opened(platform.lake.star(STAR_TABLE["fact_sales_order"]))
    assert platform.query("SELECT count(*), max(sales_record_id) FROM star.fact_sales_order") == [
        (fact.count(), fact.count())
    ]


def test_tables_that_no_room_knows_lose_old_versions_too(
    kept: Kept, totesys: Totesys, tmp_path: Path
) -> None:
    kept.platform.tick()
    for number in range(3):
        write_table(kept.platform.lake, ["marts", "daily"], pa.table({"n": [number]}).to_reader())
    kept.run()
    age(tmp_path / "processed/marts", 10)
    assert kept.run(later=DAYS_LATER)["marts/daily"].removed.files == 2
    assert DeltaTable(str(tmp_path / "processed/marts/daily")).to_pyarrow_table()["n"].to_pylist() == [2]


def test_with_the_usual_limits_few_small_files_are_not_worth_a_merge(kept: Kept, totesys: Totesys) -> None:
    kept.platform.tick()
    grow(kept.platform, totesys, 2)
    assert not any(one.rewritten for one in kept.run(UpkeepPolicy()).values())
    assert EAGER.keep == UpkeepPolicy().keep
