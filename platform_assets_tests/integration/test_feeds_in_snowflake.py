"""What was uploaded for a feed is in Snowflake as it is in the warehouse, whatever happened on the way."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable

from platform_assets.build import build_defs
from platform_assets.objects.defs import INSPECT_JOB
from platform_assets.rooms import Rooms
from platform_assets.runs import open_instance
from platform_assets.settings import load_settings
from platform_assets.snowflake.assembly import SnowflakeRoom
from platform_assets.snowflake.defs import LAKE_COPIES, SNOWFLAKE_JOB
from platform_assets.source.connection import Connection
from platform_assets_tests.feeds.workbooks import a_workbook, encrypted, far_apart
from platform_assets_tests.fixtures.house import with_keys
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.fixtures.totesys import failures
from platform_assets_tests.integration.installation import Installation

NOBODY = Connection("127.0.0.1", 1, "nothing", "nobody", "no password")
ACCOUNT = """{
  account = "organisation-account", user = loader, private_key = "secret://env/NO_SUCH_KEY"
  warehouse = small, database = sales, schema = PUBLIC
}"""
FEEDS = """{
  prices {
    watch = uploads, pattern = "prices/*.csv", format = csv, mode = merge, key = [label]
    columns { label { type = text }, price { type = "decimal(8,2)" }, since { type = time, nullable = true } }
  }
  visits { watch = uploads, pattern = "visits/*.jsonl", format = jsonl }
  stock {
    watch = uploads, pattern = "stock/*.xlsx", format = excel, sheet { name = "Stock", header_row = 3 }
    columns { item { type = text }, pieces { type = integer }, counted { type = date, nullable = true } }
  }
}"""


@dataclass
class Platform:
    """A platform with two feeds, whose tables go to a warehouse and to a local Snowflake server."""

    installation: Installation
    uploads: Path
    instance: dg.DagsterInstance
    server: SnowflakeServer
    database: str
    interrupted_at: str = ""
    writes: int = field(default=0)

    def put(self, name: str, content: str | bytes) -> None:
        """Put a file there as a whole, each a second newer than the one before it."""
        new = self.uploads.parent / "new"
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.writes += 1
        os.utime(new, (1_700_000_000 + self.writes, 1_700_000_000 + self.writes))
        target = self.uploads / name
        target.parent.mkdir(parents=True, exist_ok=True)
        new.rename(target)

    def run(self, job: str, **options: Any) -> dg.ExecuteInProcessResult:
        """Run a job in this process, with Snowflake where the local server is."""
        given = Rooms(self.installation.settings).of(SnowflakeRoom).copies()
        copies = replace(given, connect=self._connect)
        resources = {LAKE_COPIES: dg.ResourceDefinition(lambda _: lambda: copies)}
        definition = build_defs(self.installation.settings, resources=resources).resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, raise_on_error=False, **options)

    def load(self, *names: str) -> dict[str, dict[str, Any]]:
        """Load feeds into Snowflake: what was said of each that was loaded."""
        result = self.run(SNOWFLAKE_JOB, asset_selection=keys(*names))
        assert failures(result) == []
        return said(result)

    def refused(self, *names: str) -> list[str]:
        """Load feeds into Snowflake: why some were not."""
        return failures(self.run(SNOWFLAKE_JOB, asset_selection=keys(*names)))

    def ingest(self) -> None:
        """Inspect and load what was uploaded, into the lake and the warehouse."""
        assert failures(self.run(INSPECT_JOB)) == []

    def with_rules(self, rules: str) -> Platform:
        """The same platform with another policy."""
        config = self.installation.folder / "with rules.conf"
        shipped = self.installation.folder / "platform.conf"
        config.write_text(f'include file("{shipped}")\ndlp.rules = null\ndlp.rules {{\n{rules}\n}}\n')
        return replace(self, installation=replace(self.installation, settings=load_settings(config)))

    def in_snowflake(self, feed: str, columns: str) -> list[tuple[Any, ...]]:
        with self._connect() as connection, connection.cursor() as cursor:
            return rows(cursor.execute(f"SELECT {columns} FROM uploads_{feed}").fetchall())

    def in_the_warehouse(self, feed: str, columns: str) -> list[tuple[Any, ...]]:
        return rows(self.installation.query(f"SELECT {columns} FROM uploads.{feed}"))

    def _connect(self) -> Any:
        connected = self.server.connect(self.database, "STAR")
        return _Interrupting(connected, self.interrupted_at) if self.interrupted_at else connected


def keys(*feeds: str) -> list[dg.AssetKey]:
    return [dg.AssetKey(["snowflake", f"uploads_{name}"]) for name in feeds]


def rows(found: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(map(str, row)) for row in found), key=repr)


def said(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        event.asset_key.path[-1]: {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


@pytest.fixture
def platform(
    tmp_path: Path, snowflake_server: SnowflakeServer, snowflake_database: str
) -> Iterator[Platform]:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    installation = Installation.create(
        tmp_path / "platform",
        NOBODY,
        watches__uploads__place=json.dumps(str(uploads)),
        feeds=FEEDS,
        snowflake=ACCOUNT,
    )
    home = tmp_path / "instance"
    home.mkdir()
    with open_instance(home) as instance:
        yield Platform(installation, uploads, instance, snowflake_server, snowflake_database)


def test_without_an_account_the_tables_are_in_the_graph_and_say_what_to_configure(
    platform: Platform,
) -> None:
    settings = with_keys(platform.installation.settings, snowflake=None)
    graph = build_defs(settings).resolve_asset_graph()
    for name in ("prices", "visits"):
        [key] = keys(name)
        assert graph.get(key).parent_keys == {dg.AssetKey(["uploads", name])}
        assert (graph.get(key).group_name, graph.get(key).kinds) == ("snowflake", {"snowflake", "table"})
        assert graph.get(key).is_external
        assert "no Snowflake account is configured" in graph.get(key).description
    job = build_defs(settings).resolve_job_def(SNOWFLAKE_JOB)
    result = job.execute_in_process(instance=platform.instance, raise_on_error=False)
    [sentence] = failures(result)
    assert "No Snowflake account is configured for these tables. Add a block snowflake" in sentence


def test_feeds_arrive_as_they_are_in_the_warehouse_and_stay_equal(platform: Platform) -> None:
    platform.put("prices/1.csv", "label,price,since\npen,1.50,08:30\nink,4.00,\npad,cheap,\n")
    platform.put("visits/a.jsonl", '{"page": "/", "seen": "2024-05-01T10:00:00Z", "n": 1}\n')
    platform.ingest()

    def are_equal() -> None:
        for feed, given in (("prices", "label, price, CAST(since AS TIME)"), ("visits", "page, n")):
            columns = f"{given}, _object, _line, _batch"
            assert platform.in_snowflake(feed, columns) == platform.in_the_warehouse(feed, columns), feed

    first = platform.load("prices", "visits")
    are_equal()
    assert platform.in_snowflake("prices", "label, price, since") == [
        ("ink", "4.00", "None"),
        ("pen", "1.50", "08:30:00"),
    ]
    assert {name: (one["dagster/row_count"], one["rows loaded"]) for name, one in first.items()} == {
        "uploads_prices": (2, 2),
        "uploads_visits": (1, 1),
    }
    assert first["uploads_prices"]["dagster/table_name"].upper() == "UPLOADS_PRICES"
    assert "COPY INTO" in first["uploads_prices"]["statements"]

    again = platform.load("prices", "visits")
    assert {(one["how"], one["rows loaded"]) for one in again.values()} == {("unchanged", 0)}

    # Rows that nothing was said of before are only appended.
    platform.put("prices/2.csv", "label,price,since\ncap,9.00,\n")
    platform.put("visits/b.jsonl", '{"page": "/b", "seen": "2024-05-02T10:00:00Z", "n": 2}\n')
    platform.ingest()
    more = platform.load("prices", "visits")
    assert {(one["how"], one["rows loaded"]) for one in more.values()} == {("appended", 1)}
    are_equal()

    # What a newer file says otherwise, or an overwritten one says no longer, takes the old rows' place.
    platform.put("prices/3.csv", "label,price,since\npen,1.75,\n")
    platform.put("visits/a.jsonl", '{"page": "/c", "seen": "2024-05-03T10:00:00Z", "n": 3}\n')
    platform.ingest()
    other = platform.load("prices", "visits")
    assert {one["how"] for one in other.values()} == {"replaced"}
    are_equal()
    assert platform.in_snowflake("visits", "page, n") == [("/b", "2"), ("/c", "3")]
    assert ("pen", "1.75") in platform.in_snowflake("prices", "label, price")


def test_a_feed_that_was_never_uploaded_to_has_nothing_to_load_yet(platform: Platform) -> None:
    platform.put("prices/1.csv", "label,price,since\npen,1.50,\n")
    platform.run(INSPECT_JOB)
    assert set(platform.load("prices", "visits")) == {"uploads_prices"}
    assert platform.in_snowflake("prices", "label") == [("pen",)]


def card(seed: int = 7) -> str:
    """A number that a card could have; made here, as nothing of the kind may lie in a repository."""
    numbers = random.Random(seed)
    digits = [4, *(numbers.randrange(10) for _ in range(14))]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return "".join(map(str, [*digits, -sum(doubled) % 10]))


def test_a_blocked_column_stops_that_load_alone_until_the_upload_is_mended(platform: Platform) -> None:
    rules = '"no cards" { action = block, info_types = [CREDIT_CARD_NUMBER], places = ["uploads/visits.*"] }'
    guarded = platform.with_rules(rules)
    guarded.put("visits/a.jsonl", "".join(json.dumps({"card": card(n), "n": n}) + "\n" for n in range(5)))
    guarded.put("prices/1.csv", "label,price,since\npen,1.50,\n")
    guarded.run(INSPECT_JOB)
    [sentence] = guarded.refused("prices", "visits")
    line = (guarded.installation.folder / "with rules.conf").read_text().splitlines().index(rules) + 1
    assert (
        "Nothing was loaded into snowflake/uploads_visits: uploads/visits.card contains CREDIT_CARD_NUMBER"
        in (sentence)
    )
    assert f"with rules.conf line {line}, rule no cards" in sentence
    assert card(1) not in sentence
    assert guarded.in_snowflake("prices", "label") == [("pen",)]
    # The rows of the older version are still in the feed's files, and count no longer.
    guarded.put("visits/a.jsonl", '{"n": 1}\n')
    guarded.run(INSPECT_JOB)
    assert guarded.load("visits")["uploads_visits"]["rows loaded"] == 1
    assert guarded.in_snowflake("visits", "card, n") == [("None", "1")]


def test_a_rule_for_snowflake_alone_holds_there_alone(platform: Platform) -> None:
    guarded = platform.with_rules(
        '"not there" { action = block, info_types = [EMAIL_ADDRESS], places = ["snowflake/*"] }'
    )
    guarded.put("prices/1.csv", "label,price,since\nann.lee@company-one.com,1.50,\n")
    guarded.put("visits/a.jsonl", '{"page": "/", "n": 1}\n')
    guarded.ingest()
    assert guarded.in_the_warehouse("prices", "label") == [("ann.lee@company-one.com",)]
    [sentence] = guarded.refused("prices")
    assert "uploads/prices.label contains EMAIL_ADDRESS" in sentence


@pytest.mark.soak
def test_masked_columns_arrive_masked_and_as_they_are_once_the_rule_is_gone(platform: Platform) -> None:
    masked = platform.with_rules(
        '"addresses" { action = tokenize, prefix = "t_", info_types = [EMAIL_ADDRESS], '
        'places = ["uploads/prices.*"] }\n'
        '"pages" { action = redact, places = ["snowflake/uploads_visits.page"] }'
    )
    masked.put("prices/1.csv", "label,price,since\nann.lee@company-one.com,1.50,\n")
    masked.put("visits/a.jsonl", '{"page": "/", "n": 1}\n')
    masked.ingest()
    masked.load("prices", "visits")
    [(token,)] = masked.in_snowflake("prices", "label")
    assert token.startswith("t_")
    assert masked.in_the_warehouse("prices", "label") == [(token,)]
    assert masked.in_snowflake("visits", "page, n") == [("[SENSITIVE]", "1")]
    assert masked.in_the_warehouse("visits", "page") == [("/",)]
    masked.put("prices/2.csv", "label,price,since\nbob.ray@company-two.com,2.50,\n")
    masked.ingest()
    assert masked.load("prices")["uploads_prices"]["how"] == "appended"
    assert len([one for (one,) in masked.in_snowflake("prices", "label") if one.startswith("t_")]) == 2
    assert masked.load("prices")["uploads_prices"]["how"] == "unchanged"

    assert platform.load("prices")["uploads_prices"]["how"] == "replaced"
    assert platform.in_snowflake("prices", "label") == [
        ("ann.lee@company-one.com",),
        ("bob.ray@company-two.com",),
    ]
    masked.load("prices")
    assert all(one.startswith("t_") for (one,) in masked.in_snowflake("prices", "label"))


def test_a_sheet_arrives_and_workbooks_that_could_not_be_inspected_in_full_are_blocked(
    platform: Platform,
) -> None:
    header = [["Stock of the shop"], [], ["item", "pieces", "counted"]]
    rows = [*header, ["pen", 7, dt.date(2024, 2, 29)], ["ink", "some", None], ["pad", 12.0, None]]
    platform.put("stock/1.xlsx", a_workbook({"Notes": [["nothing"]], "Stock": rows}))
    platform.put("stock/locked.xlsx", encrypted())
    platform.put("stock/wide.xlsx", far_apart("Stock"))
    assert failures(platform.run(INSPECT_JOB)) == []
    platform.run(INSPECT_JOB)
    platform.load("stock")
    columns = "item, pieces, counted, _line"
    expected = [("pad", "12", "None", "6"), ("pen", "7", "2024-02-29", "4")]
    assert platform.in_snowflake("stock", columns) == platform.in_the_warehouse("stock", columns) == expected
    decisions = platform.installation.processed / "dlp" / "objects"
    blocked = DeltaTable(str(decisions)).to_pyarrow_table(filters=[("decision", "=", "block")])
    assert sorted((Path(one["uri"]).name, one["status"]) for one in blocked.to_pylist()) == [
        ("locked.xlsx", "UNREADABLE"),
        ("wide.xlsx", "PARTIAL"),
    ]


class Interrupted(BaseException):
    """The process is gone."""


class _Interrupting:
    """A connection whose process ends before a statement."""

    def __init__(self, opened: Any, word: str) -> None:
        self._opened = opened
        self._word = word
        self._is_gone = False

    def __enter__(self) -> Any:
        self._connection = self._opened.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._is_gone:  # as Snowflake does with a session that is gone
            self._connection.cursor().execute("ROLLBACK")
        self._opened.__exit__(*error)

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


@pytest.mark.soak
def test_a_load_that_is_interrupted_leaves_what_was_there_and_the_next_brings_each_row_once(
    platform: Platform,
) -> None:
    platform.put("prices/0.csv", "label,price,since\npen,1.50,\nink,4.00,\n")
    platform.put("visits/a.jsonl", '{"page": "/", "n": 1}\n')
    platform.ingest()
    platform.load("prices")
    for number, word in enumerate(("CREATE TABLE", "COPY", "COMMIT"), 1):
        before = platform.in_snowflake("prices", "label, price")
        # One row takes the place of another, and one is new.
        platform.put(f"prices/{number}.csv", f"label,price,since\npen,{number}.75,\nbag {number},9.00,\n")
        platform.ingest()
        platform.interrupted_at = word
        assert not platform.run(SNOWFLAKE_JOB, asset_selection=keys("prices")).success
        platform.interrupted_at = ""
        assert platform.in_snowflake("prices", "label, price") == before, word
        if number % 2:  # the next process comes when the feed has moved on, or before
            platform.put(f"prices/more {number}.csv", f"label,price,since\nmore {number},7.00,\n")
            platform.ingest()
        assert platform.load("prices")["uploads_prices"]["how"] == "replaced"
        columns = "label, price, _object"
        assert platform.in_snowflake("prices", columns) == platform.in_the_warehouse("prices", columns), word
    assert len(platform.in_snowflake("prices", "label")) == 2 + 3 + 2
