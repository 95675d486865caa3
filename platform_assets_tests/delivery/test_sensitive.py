"""Sensitive data in deliveries: changed or held back by the policy, for all destinations or for one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.delivery.engine import Order
from platform_assets.delivery.interfaces import Bytes, DeliveryError, Query, Rows
from platform_assets.delivery.renderers.settings import RenderStep, build_renderers
from platform_assets.delivery.renderers.workshop import Workshop
from platform_assets.dlp.assembly import InspectionRoom
from platform_assets.dlp.protect import StarProtection
from platform_assets.errors import DlpError
from platform_assets.lake.duck import SqlEngine
from platform_assets.rooms import Rooms
from platform_assets_tests.delivery.house import NewHouse, new_house
from platform_assets_tests.delivery.making import Deliveries, contents, folder_block
from platform_assets_tests.fixtures.house import engine_of

__all__ = ["new_house"]

CARD = "4111111111111111"
PEOPLE = pa.table({"id": [1, 2], "email": ["ann@example.org", "bob@example.org"], "card": [CARD, CARD]})


@dataclass
class People:
    """Rows with sensitive columns."""

    opened: int = 0
    columns: list[str] = field(default_factory=lambda: ["id", "email", "card"])

    def version(self) -> str:
        return "1"

    @contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        self.opened += 1
        yield iter([Rows("people", PEOPLE.select(self.columns).to_reader())])


@dataclass
class Letter:
    """A file with something sensitive in it."""

    text: bytes = f"Please charge the credit card {CARD}, ann@example.org.\n".encode()

    def version(self) -> str:
        return "1"

    @contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        yield iter([Bytes("letter.txt", iter([self.text]), len(self.text))])


Protected = Callable[..., Deliveries]


@pytest.fixture
def protected(new_house: NewHouse, tmp_path: Path) -> Protected:
    """Make deliveries under rules, each given as a line of dlp.rules."""

    def under(*rules: str) -> Deliveries:
        named = " ".join(f'"rule {number}" {{ {rule} }}' for number, rule in enumerate(rules))
        settings = new_house(f"dlp.rules = null\ndlp.rules {{ {named} }}")
        protection = Rooms(settings).of(InspectionRoom).protection()
        assert isinstance(protection, StarProtection)
        deliveries = Deliveries(tmp_path, protection)
        deliveries.render = lambda folder: build_renderers(  # type: ignore[attr-defined]
            (RenderStep.model_validate("csv"),), Workshop(engine_of(settings), folder)
        )
        return deliveries

    return under


def rows_of(folder: Path) -> list[dict[str, str]]:
    [content] = contents(folder).values()
    return list(csv.DictReader(io.StringIO(content.decode())))


def places(tmp_path: Path) -> dict[str, dict[str, str]]:
    return {name: folder_block(tmp_path / "to" / name) for name in ("archive", "partner")}


def order(deliveries: Deliveries, source: object, tmp_path: Path, *, rows: bool = True) -> Order:
    render = deliveries.render if rows else (lambda folder: ())  # type: ignore[attr-defined]
    return deliveries.order(source, places(tmp_path), renderers=render)


def test_a_column_is_changed_for_all_destinations(protected: Protected, tmp_path: Path) -> None:
    deliveries = protected(
        'action = mask, info_types = [EMAIL_ADDRESS], places = ["delivery/*"], keep_last = 3'
    )
    people = People()
    result = deliveries.make(order(deliveries, people, tmp_path))
    assert result.failures == {}
    for name in ("archive", "partner"):
        assert [row["email"] for row in rows_of(tmp_path / "to" / name)] == ["************org"] * 2
    assert people.opened == 1, "destinations with equal rules share their files"


def test_a_query_is_copied_only_where_the_policy_changes_nothing(
    protected: Protected, tmp_path: Path
) -> None:
    deliveries = protected(
        'action = redact, info_types = ["*"], places = ["delivery/customers/partner.email"]'
    )

    @dataclass
    class Asked:
        """Rows whose query has another value, which shows what was read."""

        connection: duckdb.DuckDBPyConnection

        def version(self) -> str:
            return "1"

        @contextmanager
        def open(self) -> Iterator[Iterator[Rows | Bytes]]:
            query = Query(self.connection, "SELECT 7 AS id, 'queried' AS email", ("INTEGER", "VARCHAR"))
            yield iter([Rows("people", PEOPLE.select(["id", "email"]).to_reader(), query)])

    deliveries.render = lambda folder: build_renderers(  # type: ignore[attr-defined]
        (RenderStep.model_validate("parquet"),), Workshop(SqlEngine(256, 2, tmp_path / "spill"), folder)
    )
    with duckdb.connect() as connection:
        deliveries.make(order(deliveries, Asked(connection), tmp_path))
    read = {name: pq.read_table(tmp_path / "to" / name / "people.parquet") for name in ("archive", "partner")}
    assert read["archive"].to_pylist() == [{"id": 7, "email": "queried"}]
    assert read["partner"]["id"].to_pylist() == [1, 2]
    assert "example.org" not in str(read["partner"])


def test_a_column_is_changed_for_one_destination(protected: Protected, tmp_path: Path) -> None:
    deliveries = protected(
        'action = redact, info_types = ["*"], places = ["delivery/customers/partner.email"]'
    )
    people = People()
    deliveries.make(order(deliveries, people, tmp_path))
    assert rows_of(tmp_path / "to" / "archive")[0]["email"] == "ann@example.org"
    assert "example.org" not in rows_of(tmp_path / "to" / "partner")[0]["email"]
    assert people.opened == 2


def test_a_blocking_rule_refuses_a_delivery_before_it_is_sent(protected: Protected, tmp_path: Path) -> None:
    deliveries = protected(
        'action = block, info_types = [CREDIT_CARD_NUMBER], places = ["delivery/customers.*"]'
    )
    with pytest.raises(DlpError, match="CREDIT_CARD_NUMBER"):
        deliveries.make(order(deliveries, People(), tmp_path))
    assert not (tmp_path / "to").exists()
    assert deliveries.rows()[-1].status == "failed"
    assert CARD not in str(deliveries.rows())
    assert deliveries.staged() == []


def test_a_blocking_rule_for_one_destination_refuses_that_one(protected: Protected, tmp_path: Path) -> None:
    deliveries = protected(
        'action = block, info_types = [CREDIT_CARD_NUMBER], places = ["delivery/customers/partner.*"]'
    )
    result = deliveries.make(order(deliveries, People(), tmp_path))
    assert list(result.failures) == ["partner"]
    assert "CREDIT_CARD_NUMBER" in result.failures["partner"]
    assert rows_of(tmp_path / "to" / "archive")[0]["card"] == CARD
    assert not (tmp_path / "to" / "partner").exists()


def test_rules_of_other_places_do_not_concern_a_delivery(protected: Protected, tmp_path: Path) -> None:
    deliveries = protected('action = block, info_types = ["*"], places = ["star/*", "delivery/others*"]')
    assert deliveries.make(order(deliveries, People(), tmp_path)).failures == {}


@pytest.mark.parametrize("place", ["delivery/customers", "delivery/customers.letter.txt", "delivery/*"])
def test_a_file_is_inspected_before_it_leaves(protected: Protected, tmp_path: Path, place: str) -> None:
    deliveries = protected(f'action = block, info_types = [CREDIT_CARD_NUMBER], places = ["{place}"]')
    with pytest.raises(DlpError, match="Nothing of delivery/customers leaves"):
        deliveries.make(order(deliveries, Letter(), tmp_path, rows=False))
    assert not (tmp_path / "to").exists()
    clean = Letter(b"Nothing to see here.\n")
    assert deliveries.make(order(deliveries, clean, tmp_path, rows=False)).failures == {}
    assert contents(tmp_path / "to" / "archive") == {"letter.txt": clean.text}


def test_a_file_is_held_back_from_one_destination(protected: Protected, tmp_path: Path) -> None:
    deliveries = protected(
        'action = mask, info_types = [CREDIT_CARD_NUMBER], places = ["delivery/customers/partner"]'
    )
    result = deliveries.make(order(deliveries, Letter(), tmp_path, rows=False))
    assert list(result.failures) == ["partner"]
    assert "deliver rows, whose columns a rule can change" in result.failures["partner"]
    assert list(contents(tmp_path / "to" / "archive")) == ["letter.txt"]


def test_rows_without_a_format_are_refused(protected: Protected, tmp_path: Path) -> None:
    deliveries = protected("action = alert")
    with pytest.raises(DeliveryError, match="have no format"):
        deliveries.make(order(deliveries, People(), tmp_path, rows=False))
