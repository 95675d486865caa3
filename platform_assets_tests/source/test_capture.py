"""Every edit is seen whatever `last_updated` says, and nothing that did not happen."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from platform_assets.model.totesys.source import ADDRESS, PAYMENT, SALES_ORDER, TABLES
from platform_assets.source.capture import parents_first
from platform_assets.source.policy import CapturePolicy
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import CREATED, SOURCE_TABLE, Platform, Totesys, rows_of

LATER = CREATED + dt.timedelta(days=1)


@dataclass(frozen=True)
class Story:
    """What happens to a row of `address` between ticks, and the versions of it that the lake then has.

    Args:
        title: What the story shows.
        before: Values of the row at the first tick; None where there is no row yet.
        changes: SQL between the first tick and the second; `{id}` is the row's key.
        versions: (batch, change, then the columns in `shows`).
        shows: Columns to compare.
        later: SQL between the second tick and the third.
    """

    title: str
    before: dict[str, Any] | None
    changes: tuple[str, ...]
    versions: tuple[tuple[Any, ...], ...]
    shows: tuple[str, ...] = ("city",)
    later: tuple[str, ...] = ()


def set_sql(assignments: str) -> str:
    return f"UPDATE address SET {assignments} WHERE address_id = {{id}}"


DELETE = "DELETE FROM address WHERE address_id = {id}"
INSERT = (
    "INSERT INTO address VALUES ({id}, '1 Mill Lane', NULL, NULL, 'York', '08841', 'Chad', '0', "
    "'2023-03-01 09:30:15.123', '2023-03-01 09:30:15.123')"
)
STORIES = (
    Story(
        "an edit that sets last_updated is an update",
        {},
        (set_sql("city = 'Bath', last_updated = '2023-03-02 09:30:15.123'"),),
        ((1, "insert", "Leeds", CREATED), (2, "update", "Bath", LATER)),
        ("city", "last_updated"),
    ),
    Story(
        "an edit that leaves last_updated alone is an update",
        {},
        (set_sql("city = 'Bath'"),),
        ((1, "insert", "Leeds", CREATED), (2, "update", "Bath", CREATED)),
        ("city", "last_updated"),
    ),
    Story(
        "a change of last_updated alone is an update, be it one millisecond",
        {},
        (set_sql("last_updated = last_updated + interval '1 ms'"),),
        ((1, "insert", CREATED), (2, "update", CREATED + dt.timedelta(milliseconds=1))),
        ("last_updated",),
    ),
    Story(
        "a last_updated that goes back in time is an update",
        {},
        (set_sql("last_updated = '1999-12-31 23:59:59.999'"),),
        ((1, "insert"), (2, "update")),
        (),
    ),
    Story(
        "an update that changes no value is none", {}, (set_sql("city = city"),), ((1, "insert", "Leeds"),)
    ),
    Story(
        "an edit there and back between two ticks leaves no version",
        {},
        (set_sql("city = 'Bath'"), set_sql("city = 'Leeds'")),
        ((1, "insert", "Leeds"),),
    ),
    Story(
        "two edits between two ticks are one update",
        {},
        (set_sql("city = 'Bath'"), set_sql("city = 'York'")),
        ((1, "insert", "Leeds"), (2, "update", "York")),
    ),
    Story(
        "an edit that is taken back at a later tick is two updates",
        {},
        (set_sql("city = 'Bath'"),),
        ((1, "insert", "Leeds"), (2, "update", "Bath"), (3, "update", "Leeds")),
        later=(set_sql("city = 'Leeds'"),),
    ),
    Story(
        "a deletion repeats the last values", {}, (DELETE,), ((1, "insert", "Leeds"), (2, "delete", "Leeds"))
    ),
    Story(
        "what is deleted stays deleted and is reported once",
        {},
        (DELETE,),
        ((1, "insert"), (2, "delete")),
        (),
    ),
    Story(
        "a row that is edited and then deleted between two ticks is deleted with the values that were seen",
        {},
        (set_sql("city = 'Bath'"), DELETE),
        ((1, "insert", "Leeds"), (2, "delete", "Leeds")),
    ),
    Story(
        "a row that is put back after its deletion was seen is an insert",
        {},
        (DELETE,),
        ((1, "insert", "Leeds"), (2, "delete", "Leeds"), (3, "insert", "York")),
        later=(INSERT,),
    ),
    Story(
        "a key that is reused between two ticks is an update",
        {},
        (DELETE, INSERT),
        ((1, "insert", "Leeds", "0113 496 0000"), (2, "update", "York", "0")),
        ("city", "phone"),
    ),
    Story(
        "a row that is deleted and put back as it was leaves no version",
        {"city": "York", "country": "Chad", "phone": "0"},
        (DELETE, INSERT),
        ((1, "insert", "York"),),
    ),
    Story("a row that comes and goes between two ticks leaves no version", None, (INSERT, DELETE), ()),
    Story("a new row is an insert", None, (INSERT,), ((2, "insert", "York"),)),
    Story(
        "a new row that is deleted at the next tick is an insert and a delete",
        None,
        (INSERT,),
        ((2, "insert", "York"), (3, "delete", "York")),
        later=(DELETE,),
    ),
    Story(
        "NULL and an empty text differ",
        {"district": None},
        (set_sql("district = ''"),),
        ((1, "insert", None), (2, "update", ""), (3, "update", None)),
        ("district",),
        (set_sql("district = NULL"),),
    ),
    Story(
        "a value that moves to the neighbouring column is an update",
        {"address_line_2": "Avon", "district": None},
        (set_sql("address_line_2 = NULL, district = 'Avon'"),),
        ((1, "insert", "Avon", None), (2, "update", None, "Avon")),
        ("address_line_2", "district"),
    ),
    Story(
        "a letter that moves to the neighbouring column is an update",
        {"city": "Bat", "postal_code": "h1"},
        (set_sql("city = 'Bath', postal_code = '1'"),),
        ((1, "insert", "Bat", "h1"), (2, "update", "Bath", "1")),
        ("city", "postal_code"),
    ),
    Story(
        "control characters in values cannot pass for the borders between them",
        {"city": "a\x1f1\x1fb", "postal_code": "c"},
        (set_sql("city = 'a', postal_code = E'b\\x1f1\\x1fc'"),),
        ((1, "insert", "a\x1f1\x1fb"), (2, "update", "a")),
    ),
    Story(
        "a blank at the end is a change",
        {},
        (set_sql("city = 'Leeds '"),),
        ((1, "insert", "Leeds"), (2, "update", "Leeds ")),
    ),
    Story(
        "upper and lower case differ",
        {},
        (set_sql("city = 'LEEDS'"),),
        ((1, "insert", "Leeds"), (2, "update", "LEEDS")),
    ),
    Story(
        "two ways to write the same accent differ",
        {"city": "Orl\u00e9ans"},
        (set_sql("city = E'Orle\\u0301ans'"),),
        ((1, "insert", "Orl\u00e9ans"), (2, "update", "Orle\u0301ans")),
    ),
    Story(
        "leading zeros count",
        {"postal_code": "08841"},
        (set_sql("postal_code = '8841'"),),
        ((1, "insert", "08841"), (2, "update", "8841")),
        ("postal_code",),
    ),
)


@pytest.fixture(scope="module", params=["xmin", "diff"])
def told(
    request: pytest.FixtureRequest,
    new_module_database: NewDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Platform:
    """A platform that has seen all stories, each happening to a row of its own."""
    totesys = Totesys.create(new_module_database())
    platform = Platform.on_disk(totesys, tmp_path_factory.mktemp("capture"))
    source = dataclasses.replace(platform.source, policy=CapturePolicy(request.param))
    platform = dataclasses.replace(platform, source=source)
    keys = list(enumerate(STORIES, start=1))
    totesys.run(
        *(
            totesys.insert_sql("address", key, **story.before)
            for key, story in keys
            if story.before is not None
        )
    )
    assert platform.extract("address").tables["address"].inserted == sum(
        story.before is not None for story in STORIES
    )
    totesys.run(*(change.format(id=key) for key, story in keys for change in story.changes))
    platform.extract("address")
    totesys.run(*(change.format(id=key) for key, story in keys for change in story.later))
    platform.extract("address")
    return platform


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
def test_of_a_row(told: Platform, story: Story) -> None:
    key = STORIES.index(story) + 1
    rows = [row for row in told.bronze("address") if row["address_id"] == key]
    assert rows_of(rows, "_batch", "_change", *story.shows) == list(story.versions)


def test_rows_of_a_transaction_that_was_open_at_a_tick_are_seen_when_it_is_committed(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    totesys = Totesys.with_rows(new_database())
    platform = Platform.on_disk(totesys, tmp_path)
    platform.extract("currency")
    with totesys.session() as late:
        late.run("BEGIN")
        late.run("UPDATE currency SET currency_code = 'CHF' WHERE currency_id = 1")
        # A later transaction ends first, so that the tick's snapshot reaches beyond the open one. No number
        # of rows changes, which would have the whole table read.
        totesys.update("currency", 2, currency_code="EUR")
        assert platform.extract("currency").tables["currency"].rows == 1
        late.run("COMMIT")
    platform.extract("currency")
    assert platform.versions("currency", "currency_code") == [
        (1, "insert", 1, "GBP"),
        (1, "insert", 2, "USD"),
        (2, "update", 2, "EUR"),
        (3, "update", 1, "CHF"),
    ]


def test_the_counts_of_a_batch_are_those_of_its_rows(told: Platform) -> None:
    rows = sorted(told.lake.ledger.read().rows.to_pylist(), key=lambda entry: entry["batch"])
    for entry in rows:
        changes = [row["_change"] for row in told.bronze("address") if row["_batch"] == entry["batch"]]
        assert (entry["inserted"], entry["updated"], entry["deleted"]) == tuple(
            changes.count(change) for change in ("insert", "update", "delete")
        )
    assert [entry["batch"] for entry in rows] == [1, 2, 3]


def test_all_rows_of_a_batch_bear_the_time_of_its_snapshot_in_utc(told: Platform) -> None:
    seen = {row["_batch"]: row["_seen_at"] for row in told.bronze("address")}
    assert {(row["_batch"], row["_seen_at"]) for row in told.bronze("address")} == set(seen.items())
    ledger = told.lake.ledger.read().rows.to_pylist()
    assert {entry["batch"]: entry["seen_at"] for entry in ledger} == seen
    now = dt.datetime.now(dt.UTC)
    assert now - dt.timedelta(minutes=50) < seen[1] < seen[2] < seen[3] < now


@pytest.mark.parametrize("tables", [TABLES, TABLES[::-1], (PAYMENT, SALES_ORDER), (PAYMENT, ADDRESS)])
def test_parents_come_before_their_children(tables: tuple[Any, ...]) -> None:
    ordered = [table.name for table in parents_first(tables)]
    assert sorted(ordered) == sorted(table.name for table in tables)
    for table in tables:
        for _, parent in table.foreign_keys:
            if parent in ordered:
                assert ordered.index(parent) < ordered.index(table.name)


def test_tables_that_need_no_reordering_keep_their_order() -> None:
    names = ["address", "counterparty", "currency", "department", "design"]
    assert [table.name for table in parents_first([SOURCE_TABLE[name] for name in names])] == names
