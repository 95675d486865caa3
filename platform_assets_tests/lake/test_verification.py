"""Whatever is removed from a lake is named, and a copy taken beside ticks continues."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import Loss
from platform_assets.lake.lake import Lake
from platform_assets.lake.lookback import look_back
from platform_assets.lake.verification import LakeVerifier, accept_loss
from platform_assets.rooms import Rooms
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.properties import examples
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, STAR_TABLE, Platform, Totesys
from platform_assets_tests.fixtures.upkeep import Kept, opened
from platform_assets_tests.star.test_transform import fourth_tick, second_tick, third_tick

LOG = "_delta_log"


@dataclass
class Place:
    """A platform whose files may be removed."""

    totesys: Totesys
    kept: Kept

    @classmethod
    def under(cls, totesys: Totesys, folder: Path) -> Place:
        lake = Lake(str(folder / "lake" / "ingestion"), str(folder / "lake" / "processed"))
        return cls(totesys, Kept.under(totesys, folder, lake))

    @property
    def platform(self) -> Platform:
        return self.kept.platform

    def path(self, *parts: str) -> Path:
        return Path(self.platform.lake.ingestion).parent.joinpath(*parts)

    def losses(self, *, deep: bool = False) -> list[Loss]:
        rooms = Rooms(self.kept.settings)
        room = rooms.of(LakeRoom)
        return list(LakeVerifier(rooms, room.lake, room.engine, deep).losses())

    def state_of_source(self) -> dict[str, set[tuple[object, ...]]]:
        return {
            name: set(map(tuple, self.totesys.run(f"SELECT {', '.join(table.column_names)} FROM {name}")))
            for name, table in SOURCE_TABLE.items()
        }

    def state_of_lake(self) -> dict[str, set[tuple[object, ...]]]:
        rooms = Rooms(self.kept.settings)
        past = look_back(rooms, self.platform.lake.ledger.read().last_batch, ["totesys"])
        return {
            name: {
                tuple(row[column_name] for column_name in table.column_names)
                for row in past.rows(f"totesys/{name}", 10_000)
            }
            for name, table in SOURCE_TABLE.items()
        }


@pytest.fixture(scope="module")
def four_batches(
    new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Totesys, Path]:
    totesys = Totesys.with_rows(new_module_database())
    folder = tmp_path_factory.mktemp("whole")
    place = Place.under(totesys, folder)
    place.platform.tick()
    for change in (second_tick, third_tick, fourth_tick):
        change(totesys)
        place.platform.tick()
    return totesys, folder


@pytest.fixture
def place(four_batches: tuple[Totesys, Path], tmp_path: Path) -> Iterator[Place]:
    totesys, folder = four_batches
    shutil.copytree(folder, tmp_path / "copy")
    yield Place.under(totesys, tmp_path / "copy")
    totesys.delete("sales_order", 9)


def newest(folder: Path) -> Path:
    return max((folder / LOG).glob("*.json"))


def test_a_whole_lake_has_no_losses_before_and_after_upkeep(place: Place) -> None:
    assert place.losses(deep=True) == []
    place.kept.run()
    assert place.losses(deep=True) == []


@pytest.mark.thorough
def test_any_file_that_is_removed_or_damaged_is_named_with_its_table(place: Place) -> None:
    chance = random.Random(7)
    lake = place.path()
    used = {uri for _, _, table in place.platform.lake.found_tables() for uri in opened(table).file_uris()}
    files = [
        file
        for file in sorted(lake.rglob("*"))
        if (LOG in file.parts and file.suffix == ".json") or str(file) in used
    ]
    for file in chance.sample(files, examples(25)):
        content = file.read_bytes()
        parts = file.relative_to(lake).parts
        table = "/".join(parts[1 : parts.index(LOG)] if LOG in parts else parts[1:-1])
        wanted = {"_ledger": "ledger", "_dead_letters": "dead letters"}.get(table, table)
        file.unlink()
        named = {loss.table for loss in place.losses()}
        assert named, file
        if wanted.startswith(("totesys/", "star/")):
            assert wanted in named, (file, named)
        if file.suffix == ".parquet":
            file.write_bytes(content[:-8])
            assert place.losses(), file
            file.write_bytes(content[:100] + bytes(len(content) - 100))
            assert place.losses(), file
        file.write_bytes(content)
    assert place.losses() == []


def test_a_lost_file_of_a_source_is_named_with_batches_and_rows_and_its_loss_can_be_accepted(
    place: Place,
) -> None:
    folder = place.path("ingestion", "totesys", "sales_order")
    versions = {(row["_batch"], row["sales_order_id"]) for row in place.platform.bronze("sales_order")}
    lost = {version for version in versions if version[0] == 2}
    [file] = [one for one in folder.glob("*.parquet") if duckdb.sql(f"FROM '{one}'").fetchall()[0][-3] == 2]
    file.unlink()
    [loss] = [loss for loss in place.losses() if loss.table == "totesys/sales_order"]
    assert (loss.batches, loss.rows) == ((2,), len(lost))
    assert "is missing" in loss.what
    assert "--accept-loss totesys/sales_order" in loss.advice
    rooms = Rooms(place.kept.settings)
    room = rooms.of(LakeRoom)
    assert "has forgotten 1 files" in accept_loss(rooms, room.lake, room.engine, "totesys/sales_order")
    place.totesys.insert("sales_order", 9)
    extraction = place.platform.tick()
    assert not extraction.tables["sales_order"].stopped
    assert place.state_of_lake() == place.state_of_source()
    assert place.losses() == []
    left = {(row["_batch"], row["sales_order_id"]) for row in place.platform.bronze("sales_order")}
    assert versions - lost < left
    assert not lost & left


def test_ticks_notice_that_a_table_has_lost_its_newest_log_entry(place: Place) -> None:
    folder = place.path("ingestion", "totesys", "sales_order")
    entry = newest(folder)
    content = entry.read_bytes()
    entry.unlink()
    place.totesys.insert("sales_order", 9)
    stopped = place.platform.extract().tables
    assert "has lost its newest commits: it ends with batch 3" in stopped["sales_order"].stopped
    assert [name for name, one in stopped.items() if one.stopped] == ["sales_order"]
    shutil.rmtree(place.path("processed", "star", "fact_sales_order"))
    assert "has lost its newest commits" in place.platform.build()["fact_sales_order"].stopped
    [loss] = [loss for loss in place.losses() if loss.table == "totesys/sales_order"]
    assert (loss.batches, loss.rows) == ((4,), 1)
    entry.write_bytes(content)
    assert not place.platform.tick().tables["sales_order"].stopped
    assert place.losses() == []
    assert place.state_of_lake() == place.state_of_source()


def test_a_table_without_its_newest_entry_goes_on_once_the_loss_is_accepted(place: Place) -> None:
    newest(place.path("ingestion", "totesys", "sales_order")).unlink()
    rooms = Rooms(place.kept.settings)
    room = rooms.of(LakeRoom)
    accept_loss(rooms, room.lake, room.engine, "totesys/sales_order")
    assert not place.platform.tick().tables["sales_order"].stopped
    assert place.state_of_lake() == place.state_of_source()
    assert place.platform.tick().tables["sales_order"].rows == 0


def test_a_warehouse_and_a_star_that_do_not_fit_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with duckdb.connect(str(place.platform.warehouse.path)) as connection:
        connection.execute("DELETE FROM star.fact_payment WHERE payment_record_id = 4")
    newest(place.path("processed", "star", "dim_location")).unlink()
    newest(place.path("ingestion", "_ledger")).unlink()
    found = {loss.table: loss for loss in place.losses()}
    assert (found["warehouse/fact_payment"].batches, found["warehouse/fact_payment"].rows) == ((4,), 1)
    assert "is ahead of the star" in found["warehouse/dim_location"].what
    assert "is at batch 4, and the ledger at batch 3" in found["star/fact_payment"].what
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(place.path("..").resolve()))

    def said(*arguments: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, ["lake", *arguments], catch_exceptions=False)
        return ended.exit_code, ended.output

    code, told = said("verify")
    assert (code, "warehouse/fact_payment: It lacks 1 rows (batch 4). Batches: 4; rows: 1." in told) == (
        1,
        True,
    )
    assert said("rebuild", "--apply")[0] == 0
    place.platform.tick()
    assert said("rebuild", "--apply")[0] == 0
    assert said("verify", "--deep") == (0, "Everything is there, and fits together.\n")
    assert place.state_of_lake() == place.state_of_source()


def copied_as_documented(place: Place, to: Path) -> None:
    """The steps of docs/backup.md for local folders."""
    lake = place.path()

    def copy(root: str, wanted: Callable[[Path], bool]) -> None:
        for file in sorted((lake / root).rglob("*")):
            if file.is_file() and file.name != "_last_checkpoint" and wanted(file):
                target = to / "lake" / file.relative_to(lake)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copy2(file, target)

    def of(file: Path) -> str:
        return file.relative_to(lake).parts[1]

    copy("processed", lambda file: LOG in file.parts and of(file) == "objects")
    copy("processed", lambda file: LOG in file.parts and of(file) != "objects")
    copy("ingestion", lambda file: LOG in file.parts and of(file) in {"_ledger", "_uploads"})
    copy("ingestion", lambda file: LOG in file.parts and of(file) not in {"_ledger", "_uploads"})
    copy("ingestion", lambda file: LOG not in file.parts)
    copy("processed", lambda file: LOG not in file.parts)


def test_a_copy_that_was_taken_beside_ticks_continues_and_catches_up(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    totesys = Totesys.with_rows(new_database())
    place = Place.under(totesys, tmp_path / "first")
    place.platform.tick()
    is_over = threading.Event()
    failures: list[BaseException] = []

    def ticks() -> None:
        try:
            for number in range(10, 40):
                if is_over.is_set():
                    return
                totesys.insert("sales_order", number, units_sold=number)
                totesys.update("department", 1, department_name=f"Department {number}")
                place.platform.tick()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    thread = threading.Thread(target=ticks)
    thread.start()
    try:
        while place.platform.lake.ledger.read().last_batch < 3 and not failures:
            is_over.wait(0.05)
        copied_as_documented(place, tmp_path / "second")
        batch = place.platform.lake.ledger.read().last_batch
        while place.platform.lake.ledger.read().last_batch < batch + 1 and not failures:
            is_over.wait(0.05)
    finally:
        is_over.set()
        thread.join()
    assert failures == []
    restored = Place.under(totesys, tmp_path / "second")
    assert [loss for loss in restored.losses() if not loss.table.startswith("warehouse/")] == []
    restored.platform.tick()
    assert restored.state_of_lake() == restored.state_of_source()
    assert restored.losses(deep=True) == []
    ids = [row["sales_record_id"] for row in restored.platform.star("fact_sales_order")]
    assert ids == list(range(1, len(ids) + 1))
    [(loaded,)] = restored.platform.query("SELECT count(*) FROM star.fact_sales_order")
    assert loaded == len(ids)
    assert len(STAR_TABLE) == 11


@pytest.mark.soak
def test_a_bucket_is_verified_too(new_database: NewDatabase, s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.create_bucket()
    lake = Lake(f"s3://{bucket}/i", f"s3://{bucket}/p", lambda: s3_server.storage_options)
    totesys = Totesys.with_rows(new_database())
    kept = Kept.under(totesys, tmp_path, lake)
    kept.platform.extract()
    place = Place(totesys, kept)
    assert [loss for loss in place.losses() if loss.table.startswith("totesys/")] == []
    [key] = [one for one in s3_server.keys(bucket) if one.startswith("i/totesys/staff/") and LOG not in one]
    s3_server.client().delete_object(Bucket=bucket, Key=key)
    [loss] = [loss for loss in place.losses() if loss.table == "totesys/staff"]
    assert ("is missing" in loss.what, loss.batches, loss.rows) == (True, (1,), 2)
