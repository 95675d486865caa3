"""Another star, of another source, is built, checked and loaded from its declaration and SQL alone."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal as Number
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pg8000.native
import pytest

from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.lake.rules import row_checks
from platform_assets.model.star_model import StarModel
from platform_assets.model.table import Column, Date, Decimal, Integer, Table, Text
from platform_assets.orchestration import LAKE_IO_MANAGER
from platform_assets.source.extract import Extractor
from platform_assets.source.snapshot import SourceDatabase
from platform_assets.star.defs import build_star_defs
from platform_assets.star.transform import StarBuilder, StarChange
from platform_assets.star.verify import StarVerifier
from platform_assets.warehouse.duckdb import DuckDBWarehouse
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

PLANT = Table(
    "plant",
    "One row per plant that the nursery grows.",
    (Column("plant_no", Integer()), Column("latin", Text()), Column("height_cm", Integer(), nullable=True)),
    ("plant_no",),
)
SALE = Table(
    "sale",
    "One row per sale at the gate.",
    (
        Column("sale_no", Integer()),
        Column("plant_no", Integer(), references="plant"),
        Column("price", Decimal(8, 2)),
        Column("sold_on", Date()),
    ),
    ("sale_no",),
)
SPECIES = Table(
    "species",
    "One row per plant.",
    (Column("species_id", Integer()), Column("latin_name", Text()), Column("is_tall", Text())),
    ("species_id",),
    kind="dimension",
    reads=("plant",),
)
SOLD = Table(
    "sold",
    "One row per version of a sale.",
    (
        Column("sold_record_id", Integer()),
        Column("sale_no", Integer()),
        Column("species_id", Integer(), references="species"),
        Column("price", Decimal(8, 2)),
        Column("sold_on", Date()),
    ),
    ("sold_record_id",),
    kind="fact",
    business_key="sale_no",
    reads=("sale",),
)
SELECTS = {
    "species": """
        SELECT p.plant_no AS species_id, p.latin AS latin_name,
          CASE WHEN p.height_cm > 200 THEN 'yes' ELSE 'no' END AS is_tall, p._change, p._batch, p._seen_at
        FROM nursery.plant AS p;
    """,
    "sold": """
        SELECT CAST($last_record_id + ROW_NUMBER() OVER (ORDER BY s._batch, s.sale_no) AS INT)
          AS sold_record_id, s.sale_no, s.plant_no AS species_id, s.price, s.sold_on,
          s._change, s._batch, s._seen_at
        FROM nursery.sale AS s
    """,
    "day_of_sale": """
        SELECT d.date_id AS day, DAYOFYEAR(d.date_id) AS number, 'insert' AS _change, d._batch, d._seen_at
        FROM reference.calendar AS d
    """,
}
DAY_OF_SALE = Table(
    "day_of_sale",
    "One row per day of the years in which something was sold.",
    (Column("day", Date()), Column("number", Integer())),
    ("day",),
    kind="dimension",
    inputs=("calendar",),
    derived_from=("sold",),
)
SOLD_ON_DAYS = replace(
    SOLD, columns=(*SOLD.columns[:-1], Column("sold_on", Date(), references="day_of_sale"))
)


@dataclass(frozen=True)
class Nursery:
    """A source of two tables with a star."""

    database: Database
    model: StarModel
    lake: Lake
    engine: SqlEngine
    warehouse: DuckDBWarehouse

    def tick(self, *statements: str) -> dict[str, StarChange]:
        """Change the source, and bring lake, star and warehouse up to date."""
        owner = self.database.owner
        with contextlib.closing(
            pg8000.native.Connection(
                owner.user, owner.host, owner.database, owner.port, owner.password, ssl_context=False
            )
        ) as session:
            for statement in statements:
                session.run(statement)
        source = SourceDatabase("nursery", (PLANT, SALE), lambda: self.database.reader)
        Extractor(source, self.lake, self.engine).extract((PLANT, SALE))
        changes = StarBuilder(self.lake, self.model, self.engine).build(self.model.tables)
        self.warehouse.load(self.lake, self.model.tables)
        return changes

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Columns of a star table in the lake, ordered."""
        target = self.lake.star(self.model.table(table))
        rows = target.scan(target.open()).read_all().to_pylist()
        return sorted(tuple(row[name] for name in columns) for row in rows)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the warehouse."""
        with contextlib.closing(duckdb.connect(str(self.warehouse.path), read_only=True)) as connection:
            return connection.sql(sql).fetchall()

    def broken(self) -> dict[str, int]:
        """Numbers of rows that break a rule, by `table:check`."""
        own = {"dimension": ["primary_key"], "fact": ["primary_key", "record_ids_dense"]}
        with StarVerifier.open(self.lake, self.model, self.engine) as verifier:
            counts = {
                f"{table.name}:{check}": verifier.verify(table, check, 0).broken
                for table in self.model.tables
                for check in (*own[table.kind], *row_checks(table))
            }
        return {name: count for name, count in counts.items() if count}


def nursery(database: Database, folder: Path, *tables: Table) -> Nursery:
    selects = folder / "selects"
    selects.mkdir()
    for table in tables:
        (selects / f"{table.name}.sql").write_text(SELECTS[table.name])
    engine = SqlEngine(256, 2, folder / "spill")
    return Nursery(
        database,
        StarModel("nursery", (PLANT, SALE), tables, selects),
        Lake(str(folder / "ingestion"), str(folder / "processed")),
        engine,
        DuckDBWarehouse(folder / "warehouse.duckdb", engine, 5, tables),
    )


FIRST = (
    "CREATE TABLE plant (plant_no int PRIMARY KEY, latin text NOT NULL, height_cm int)",
    "CREATE TABLE sale (sale_no int PRIMARY KEY, plant_no int NOT NULL REFERENCES plant, "
    "price numeric(8,2) NOT NULL, sold_on date NOT NULL)",
    "INSERT INTO plant VALUES (1, 'Acer campestre', 900), (2, 'Bellis perennis', NULL)",
    "INSERT INTO sale VALUES (10, 1, 49.90, '2024-03-01'), (11, 2, 1.20, '2024-03-02')",
)
SECOND = (
    "UPDATE plant SET height_cm = 1100, latin = 'Acer platanoides' WHERE plant_no = 1",
    "INSERT INTO plant VALUES (3, 'Crocus vernus', 12)",
    "UPDATE sale SET price = 1.50 WHERE sale_no = 11",
    "INSERT INTO sale VALUES (12, 3, 2.00, '2023-12-31')",
    "DELETE FROM sale WHERE sale_no = 10",
)


def test_a_star_without_a_calendar_is_built_checked_and_loaded(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    # The fact is declared first, and depends on the dimension.
    made = nursery(new_database(), tmp_path, SOLD, SPECIES)
    first = made.tick(*FIRST)
    assert {name: (one.batch, one.rows_written) for name, one in first.items()} == {
        "species": (1, 2),
        "sold": (1, 2),
    }
    second = made.tick(*SECOND)
    assert {name: (one.after, one.rows_written, one.row_count) for name, one in second.items()} == {
        "species": (1, 2, 3),
        "sold": (1, 3, 5),
    }
    assert list(second) == ["species", "sold"]
    assert made.rows("species", "species_id", "latin_name", "is_tall", "_change", "_batch") == [
        (1, "Acer platanoides", "yes", "update", 2),
        (2, "Bellis perennis", "no", "insert", 1),
        (3, "Crocus vernus", "no", "insert", 2),
    ]
    assert made.rows("sold", "sold_record_id", "sale_no", "price", "_change", "_batch") == [
        (1, 10, Number("49.90"), "insert", 1),
        (2, 11, Number("1.20"), "insert", 1),
        (3, 10, Number("49.90"), "delete", 2),
        (4, 11, Number("1.50"), "update", 2),
        (5, 12, Number("2.00"), "insert", 2),
    ]
    assert made.broken() == {}
    assert made.query(
        "SELECT latin_name, price FROM star.sold_current JOIN star.species USING (species_id) ORDER BY price"
    ) == [("Bellis perennis", Number("1.50")), ("Crocus vernus", Number("2.00"))]
    assert made.tick()["sold"].rows_written == 0


def test_a_calendar_of_another_name_grows_with_the_dates_that_reference_it(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    # The calendar is declared first, although it is derived from the fact.
    made = nursery(new_database(), tmp_path, DAY_OF_SALE, SOLD_ON_DAYS, SPECIES)
    assert list(made.tick(*FIRST)) == ["species", "sold", "day_of_sale"]
    assert made.rows("day_of_sale", "day")[::365] == [(dt.date(2024, 1, 1),), (dt.date(2024, 12, 31),)]
    changes = made.tick(*SECOND)
    assert (changes["day_of_sale"].rows_written, changes["day_of_sale"].row_count) == (365, 731)
    assert made.broken() == {}
    days = "SELECT min(day), max(day), count(*), count(DISTINCT day), max(number) FROM star.day_of_sale"
    assert made.query(days) == [(dt.date(2023, 1, 1), dt.date(2024, 12, 31), 731, 731, 366)]


def test_the_assets_of_a_star_follow_from_its_declaration(tmp_path: Path) -> None:
    model = StarModel("nursery", (PLANT, SALE), (DAY_OF_SALE, SOLD_ON_DAYS, SPECIES), tmp_path)
    resources = {"lake": object(), "engine": object(), LAKE_IO_MANAGER: dg.mem_io_manager}
    graph = dg.Definitions.merge(
        build_star_defs(model), dg.Definitions(resources=resources)
    ).resolve_asset_graph()
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in (dg.AssetKey(["star", table.name]) for table in model.tables)
    }
    assert parents == {
        "star/species": {"nursery/plant"},
        "star/sold": {"nursery/sale"},
        "star/day_of_sale": {"star/sold"},
    }
    assert {key.asset_key.path[1] for key in graph.asset_check_keys if key.name == "record_ids_dense"} == {
        "sold"
    }
    metadata = graph.get(dg.AssetKey(["star", "species"])).metadata
    assert metadata["sql"] == str(tmp_path / "species.sql")


@pytest.mark.parametrize(
    ("tables", "mistake"),
    [
        ((SPECIES, replace(SOLD, reads=("sales",))), "star table sold needs tables that do not exist: sales"),
        ((SOLD,), "star table sold needs tables that do not exist: species"),
        (
            (SPECIES, SOLD_ON_DAYS, replace(DAY_OF_SALE, derived_from=("bought",))),
            "star table day_of_sale needs tables that do not exist: bought",
        ),
        (
            (SPECIES, SOLD_ON_DAYS, replace(DAY_OF_SALE, inputs=())),
            "star table day_of_sale is derived from sold without a reference input",
        ),
        (
            (
                SOLD,
                replace(SPECIES, columns=(*SPECIES.columns, Column("last", Integer(), references="sold"))),
            ),
            "star tables depend on each other: s",
        ),
    ],
)
def test_a_declaration_that_cannot_be_built_is_refused(tables: tuple[Table, ...], mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        StarModel("nursery", (PLANT, SALE), tables, Path())


def test_an_unknown_reference_input_stops_its_table_with_the_names_of_the_others(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    moons = replace(SPECIES, inputs=("moon_phase",))
    made = nursery(new_database(), tmp_path, SOLD, moons)
    changes = made.tick(*FIRST)
    assert changes["species"].stopped == (
        "star/species declares reference inputs that do not exist: moon_phase. The platform has calendar, "
        "currency_name; add others to star/reference_inputs.py."
    )
    assert changes["sold"].rows_written == 2
