"""What a policy does on the way to a warehouse: nothing, other values, or no load at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ColumnRef
from platform_assets.dlp.columns import ColumnInspector
from platform_assets.dlp.findings import FindingsStore
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, Likelihood
from platform_assets.dlp.policy import Action, Deidentification, Policy, Rule
from platform_assets.dlp.protect import StarProtection
from platform_assets.errors import DlpError
from platform_assets.lake.lake import Lake
from platform_assets.model.totesys import star
from platform_assets.sample.database import advance_sample, create_sample
from platform_assets.warehouse.duckdb import DuckDBWarehouse
from platform_assets.warehouse.interface import Load
from platform_assets_tests.fixtures.house import engine_of, lake_of
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.integration.installation import Installation

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
TOKENS = Rule(
    "staff addresses",
    Action.DEIDENTIFY,
    ("EMAIL_ADDRESS",),
    places=("star/dim_staff.*",),
    deidentify=Deidentification("tokenize", prefix="tok_"),
)
INITIALS = Rule(
    "names",
    Action.DEIDENTIFY,
    places=("warehouse/dim_staff.last_name",),
    deidentify=Deidentification("mask"),
)
PRICES = Rule(
    "prices",
    Action.DEIDENTIFY,
    places=("star/fact_sales_order.unit_price",),
    deidentify=Deidentification("drop"),
)
BLOCKED = Rule(
    "no addresses", Action.BLOCK, ("EMAIL_ADDRESS",), places=("star/*",), source="config/dlp.conf line 9"
)


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    """A small sample business."""
    created = new_module_database()
    create_sample(created.owner, sales=150, seed=3)
    return created


@pytest.fixture(scope="module")
def built(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A platform whose star schema and warehouse are built, without a policy."""
    platform = Installation.create(tmp_path_factory.mktemp("protected"), database.reader)
    platform.extract()
    platform.load()
    return platform


@pytest.fixture
def lake(built: Installation, tmp_path: Path) -> Lake:
    """A copy of its lake."""
    shutil.copytree(built.folder / "lake", tmp_path / "lake")
    return Lake(str(tmp_path / "lake" / "ingestion"), str(tmp_path / "lake" / "processed"))


class Loads:
    """A warehouse of the test's own that is loaded through a policy."""

    def __init__(self, built: Installation, lake: Lake, folder: Path) -> None:
        self.lake = lake
        self.engine = engine_of(built.settings)
        self.warehouse = DuckDBWarehouse(folder / "w.duckdb", self.engine, 60)
        self.inspections = 0

    def protection(self, *rules: Rule, key: bytes = KEY, marks: Sequence[Mark] = ()) -> StarProtection:
        @contextlib.contextmanager
        def inspector() -> Iterator[ColumnInspector]:
            self.inspections += 1
            yield ColumnInspector(LocalInspector(InspectConfig(), KEY), self.engine)

        findings = FindingsStore(self.lake, self.engine)
        return StarProtection(
            Policy(rules),
            inspector,
            findings,
            lambda: key,
            self.engine,
            lambda: ("local", "1"),
            star.TABLES,
            lambda: marks,
        )

    def load(self, *rules: Rule, key: bytes = KEY, marks: Sequence[Mark] = ()) -> dict[str, Load]:
        lake = self.protection(*rules, key=key, marks=marks).lake_for(self.lake, "warehouse", "run")
        return self.warehouse.load(lake, star.TABLES)

    def rows(self, table: str) -> dict[Any, dict[str, Any]]:
        key = next(one for one in star.TABLES if one.name == table).primary_key[0]
        return {row[key]: row for row in rows_of(self.warehouse, table)}


def rows_of(warehouse: DuckDBWarehouse, table: str) -> list[dict[str, Any]]:
    with warehouse.query(f'SELECT * FROM star."{table}"') as rows:
        found: list[dict[str, Any]] = rows.read_all().to_pylist()
        return found


@pytest.fixture
def loads(built: Installation, lake: Lake, tmp_path: Path) -> Loads:
    return Loads(built, lake, tmp_path)


@pytest.fixture(scope="module")
def plain(built: Installation) -> Mapping[str, list[dict[str, Any]]]:
    """What a warehouse without a policy has."""
    warehouse = DuckDBWarehouse(built.warehouse, engine_of(built.settings), 60)
    return {table.name: rows_of(warehouse, table.name) for table in star.TABLES}


def test_without_a_rule_for_columns_the_lake_is_loaded_as_it_is_and_nothing_inspected(loads: Loads) -> None:
    alert = Rule("alert", Action.ALERT)
    objects = Rule("objects", Action.QUARANTINE, places=("objects/*",))
    assert loads.protection(alert, objects).lake_for(loads.lake, "warehouse") is loads.lake
    assert loads.inspections == 0


def test_what_is_found_arrives_changed_and_everything_else_as_it_is(
    loads: Loads, plain: Mapping[str, list[dict[str, Any]]]
) -> None:
    loads.load(TOKENS)
    for table in star.TABLES:
        changed = {"email_address"} if table.name == "dim_staff" else set()
        arrived = loads.rows(table.name)
        assert len(arrived) == len(plain[table.name])
        for row in plain[table.name]:
            other = arrived[row[table.primary_key[0]]]
            assert {name for name in row if row[name] != other[name]} == changed, table.name
    tokens = [row["email_address"] for row in loads.rows("dim_staff").values()]
    assert all(token.startswith("tok_") and "@" not in token for token in tokens)
    assert len({*tokens}) == len({row["email_address"] for row in plain["dim_staff"]})


def test_a_lake_in_a_bucket_is_changed_on_its_way_like_one_on_disk(
    built: Installation, lake: Lake, s3_server: S3Server, tmp_path: Path
) -> None:
    zones = {zone: s3_server.create_bucket(zone) for zone in ("ingestion", "processed")}
    client = s3_server.client()
    for zone, bucket in zones.items():
        for file in (tmp_path / "lake" / zone).rglob("*"):
            if file.is_file():
                client.upload_file(str(file), bucket, str(file.relative_to(tmp_path / "lake" / zone)))
    there = Lake(*(f"s3://{bucket}" for bucket in zones.values()), lambda: s3_server.storage_options)
    here_loads, there_loads = Loads(built, lake, tmp_path / "here"), Loads(built, there, tmp_path / "there")
    for loads in (here_loads, there_loads):
        loads.load(TOKENS, PRICES)
    for table in ("dim_staff", "fact_sales_order"):
        assert there_loads.rows(table) == here_loads.rows(table)


def test_a_repeat_inspects_nothing_and_loads_nothing(loads: Loads) -> None:
    loads.load(TOKENS)
    before, seen = loads.warehouse.status(), loads.inspections
    assert seen == 1
    loads.load(TOKENS)
    assert loads.inspections == seen
    assert loads.warehouse.status() == before


def test_later_batches_come_in_changed_too(database: Database, loads: Loads, tmp_path: Path) -> None:
    loads.load(TOKENS, INITIALS, PRICES)
    facts = len(loads.rows("fact_sales_order"))
    folder = tmp_path / "later"
    folder.mkdir()
    shutil.copytree(tmp_path / "lake", folder / "lake")
    later = Installation.create(folder, database.reader)
    advance_sample(database.owner, days=2, seed=4)
    later.extract()
    later.load()
    loads.lake = lake_of(later.settings)
    loads.load(TOKENS, INITIALS, PRICES)
    rows = loads.rows("fact_sales_order")
    assert len(rows) > facts
    assert len(rows) == len(rows_of(DuckDBWarehouse(later.warehouse, loads.engine, 60), "fact_sales_order"))
    assert {row["unit_price"] for row in rows.values()} == {0}
    assert all(set(row["last_name"]) == {"*"} for row in loads.rows("dim_staff").values())


def test_another_key_or_rule_changes_what_is_there_already(
    loads: Loads, plain: Mapping[str, list[dict[str, Any]]]
) -> None:
    loads.load(TOKENS)
    first = loads.rows("dim_staff")
    loads.load(TOKENS, key=OTHER_KEY)
    second = loads.rows("dim_staff")
    assert set(first) == set(second)
    assert all(first[key]["email_address"] != second[key]["email_address"] for key in first)
    loads.load()
    third = loads.rows("dim_staff")
    assert [third[row["staff_id"]] for row in plain["dim_staff"]] == plain["dim_staff"]


def test_a_blocked_table_names_column_type_and_the_line_of_the_policy_and_keeps_no_other_out(
    loads: Loads, plain: Mapping[str, list[dict[str, Any]]]
) -> None:
    done = loads.load(BLOCKED)
    said = done["dim_staff"].stopped
    assert "star/dim_staff.email_address contains EMAIL_ADDRESS (VERY_LIKELY)" in said
    assert "config/dlp.conf line 9, rule no addresses" in said
    assert "dim_staff was not loaded into warehouse" in said
    # Sales and purchases point to staff; all else is there.
    held_back = {"dim_staff", "fact_sales_order", "fact_purchase_order"}
    assert {name for name, one in done.items() if one.stopped} == held_back
    for name in plain.keys() - held_back:
        assert len(loads.rows(name)) == len(plain[name])
    assert loads.rows("dim_staff") == {}
    loads.load()
    assert {name: len(loads.rows(name)) for name in plain} == {
        name: len(rows) for name, rows in plain.items()
    }


def test_a_rule_that_asks_for_more_certainty_than_there_is_lets_the_load_pass(loads: Loads) -> None:
    ibans = Rule("ibans", Action.BLOCK, ("IBAN_CODE",), Likelihood.LIKELY, ("star/*",))
    loads.load(ibans)
    assert len(loads.warehouse.status()) == len(star.TABLES)


def notes(*mails: str | None) -> pa.RecordBatchReader:
    ids = [str(number) for number in range(len(mails))]
    return pa.table({"id": ids, "mail": pa.array(mails, pa.string())}).to_reader(2)


def test_other_tables_are_changed_or_blocked_by_what_their_rows_hold(loads: Loads) -> None:
    mails = [f"somebody{number}@company.example.org" for number in range(5)]
    masked = Rule(
        "mails", Action.DEIDENTIFY, ("EMAIL_ADDRESS",), places=("reports/*",),
        deidentify=Deidentification("redact"),
    )  # fmt: skip
    protection = loads.protection(masked)
    rows = protection.applied(notes(*mails, None), "reports/notes").read_all()
    assert rows["mail"].to_pylist() == ["[EMAIL_ADDRESS]"] * 5 + [None]
    assert rows["id"].to_pylist() == ["0", "1", "2", "3", "4", "5"]
    assert protection.applied(notes("none"), "reports/notes").read_all()["mail"].to_pylist() == ["none"]

    block = Rule(
        "no mails", Action.BLOCK, ("EMAIL_ADDRESS",), places=("reports/*",), source="dlp.conf line 3"
    )
    with pytest.raises(
        DlpError, match=r"reports/notes\.mail contains EMAIL_ADDRESS .*dlp\.conf line 3, rule no mails"
    ):
        loads.protection(block).applied(notes(*mails), "reports/notes")


def test_a_rule_that_blocks_sees_the_last_of_many_rows_and_leaves_nothing_on_disk(loads: Loads) -> None:
    block = Rule("no mails", Action.BLOCK, ("EMAIL_ADDRESS",), places=("reports/*",))
    whole = loads.protection(block)

    @contextlib.contextmanager
    def sampling() -> Iterator[ColumnInspector]:
        with whole.inspector() as inspector:
            yield replace(inspector, sample_rows=10)

    protection = replace(whole, inspector=sampling)
    batches = [pa.record_batch({"note": ["nothing"] * 20_000}) for _ in range(3)]
    last = pa.record_batch({"note": ["write to somebody@company.example.org"]})
    rows = pa.RecordBatchReader.from_batches(last.schema, [*batches, last])
    with pytest.raises(DlpError, match=r"reports/notes\.note contains EMAIL_ADDRESS"):
        protection.applied(rows, "reports/notes")
    spill = protection.engine.spill_directory
    assert list(spill.iterdir()) == []
    passed = protection.applied(pa.Table.from_batches(batches).to_reader(), "reports/notes")
    assert passed.read_all().num_rows == 60_000
    del passed
    assert list(spill.iterdir()) == []


def test_rows_of_places_that_no_rule_concerns_pass_unseen(loads: Loads) -> None:
    rows = notes("a@b.example.org")
    assert loads.protection(BLOCKED).applied(rows, "reports/notes") is rows
    assert loads.inspections == 0


def test_what_lineage_derives_is_changed_though_the_inspection_finds_nothing_in_it(
    loads: Loads, plain: Mapping[str, list[dict[str, Any]]]
) -> None:
    passports = Rule(
        "passports",
        Action.DEIDENTIFY,
        ("PASSPORT",),
        places=("star/*", "delivery/*"),
        deidentify=Deidentification("tokenize", prefix="tok_"),
    )
    marks = [
        Mark(ColumnRef(table, "design_name"), "PASSPORT", "LIKELY", Origin.DERIVED)
        for table in (("star", "dim_design"), ("delivery", "designs"))
    ]
    loads.load(passports, marks=marks)
    names = {row["design_name"] for row in loads.rows("dim_design").values()}
    assert names
    assert all(name.startswith("tok_") for name in names)
    assert names.isdisjoint(row["design_name"] for row in plain["dim_design"])
    # On the way to each destination of a delivery too, and in no other column.
    rows = pa.table({"design_name": ["Amber"], "file_name": ["amber.json"]})
    protection = loads.protection(passports, marks=marks)
    for place in ("delivery/designs", "delivery/designs/bucket"):
        sent = protection.applied(rows.to_reader(), place).read_all()
        assert sent["design_name"][0].as_py().startswith("tok_")
        assert sent["file_name"].to_pylist() == ["amber.json"]
    assert protection.applied(rows.to_reader(), "delivery/designs_too").read_all() == rows
