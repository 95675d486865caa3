"""Whatever a server does to a table and to its transaction numbers: nothing is missed, nothing invented."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pg8000.native
import pytest

from platform_assets.model.table import Column, Integer, Text
from platform_assets.model.table import Table as DeclaredTable
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.extract import Extractor
from platform_assets.source.outcome import TableChange
from platform_assets.source.policy import CapturePolicy
from platform_assets.source.snapshot import Snapshot
from platform_assets_tests.fixtures.capture import Capture, run_binary, running_server, session
from platform_assets_tests.fixtures.postgres import NewDatabase, create_database, drop_database
from platform_assets_tests.fixtures.totesys import Platform, Totesys

pytestmark = pytest.mark.sampled(2)

ROWS = 200
TABLE = """
CREATE TABLE item (id integer PRIMARY KEY, name text NOT NULL, amount numeric(10,2), note text)
WITH (fillfactor = 60);
INSERT INTO item SELECT n, 'item ' || n, n / 7.0 FROM generate_series(1, 200) AS n ORDER BY md5(n::text);
UPDATE item SET note = 'touched' WHERE id % 3 = 0
"""
PARTIAL = "rows written since the last batch, by transaction visibility (xmin)"
SMALL = CapturePolicy()
# Deletions are not looked for, so that the number of rows gives away nothing that was missed.
LARGE = CapturePolicy(small_table_rows=0, deletions_every=dt.timedelta(days=365), costly_look=dt.timedelta(0))

Act = Callable[[pg8000.native.Connection], object]


SEEN = DeclaredTable(
    "seen", "A view.", (Column("id", Integer(64)), Column("name", Text(), nullable=True)), ("id",)
)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that takes prepared transactions."""
    with running_server(max_prepared_transactions="10") as started:
        yield started


@contextlib.contextmanager
def database_of(server: EmbeddedPostgres, name: str) -> Iterator[Callable[[Path, CapturePolicy], Capture]]:
    create_database(server, name)
    try:
        yield lambda folder, policy: Capture(
            lambda: server.owner(name), lambda: server.reader(name), folder, policy=policy
        )
    finally:
        drop_database(server, name)


@pytest.fixture
def capture(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Capture]:
    """A lake that has seen the table once and does not count its rows."""
    with database_of(server, "history") as made:
        capture = made(tmp_path, LARGE)
        capture.run(TABLE)
        assert capture.tick().inserted == ROWS
        yield capture


def sql(*statements: str) -> Act:
    return lambda owner: [owner.run(statement) for statement in statements]


def copy_freeze(owner: pg8000.native.Connection) -> None:
    """TRUNCATE, and the same rows again by COPY, frozen from the first moment on."""
    rows = io.BytesIO()
    owner.run("COPY item TO STDOUT", stream=rows)
    owner.run("BEGIN")
    owner.run("TRUNCATE item")
    owner.run("COPY item FROM STDIN WITH (FREEZE)", stream=io.BytesIO(rows.getvalue()))
    owner.run("COMMIT")


NOTHING = TableChange()
ANEW = "CREATE TABLE other (LIKE item INCLUDING ALL); INSERT INTO other SELECT * FROM item;"


@dataclass(frozen=True)
class Case:
    """Something that happens between two ticks.

    Args:
        title: What it is.
        act: Does it.
        reason: A word of why all rows are read; empty where only those that were written are.
        read: Rows that the second tick reads.
        change: What it adds to the lake.
        deleted: Rows that are gone, which are looked for afterwards.
    """

    title: str
    act: Act
    reason: str = ""
    read: int = 0
    change: TableChange = NOTHING
    deleted: int = 0


CASES = (
    Case("nothing", sql()),
    Case("frozen", sql("VACUUM FREEZE item")),
    Case("VACUUM FULL", sql("VACUUM FULL item")),
    Case("VACUUM FULL and FREEZE", sql("VACUUM (FULL, FREEZE) item")),
    Case("CLUSTER", sql("CLUSTER item USING item_pkey")),
    Case("other storage", sql("ALTER TABLE item SET (fillfactor = 20)", "VACUUM FULL item")),
    Case("an update that changes nothing", sql("UPDATE item SET name = name WHERE id <= 30"), read=30),
    Case("rolled back", sql("BEGIN", "UPDATE item SET name = 'x'", "ROLLBACK")),
    Case("locked", sql("BEGIN", "SELECT FROM item FOR UPDATE", "COMMIT")),
    Case("COPY FREEZE of the same rows", copy_freeze, read=ROWS),
    Case(
        "TRUNCATE and half of the rows",
        sql(
            "CREATE TEMP TABLE kept AS SELECT * FROM item",
            "TRUNCATE item",
            "INSERT INTO item SELECT * FROM kept WHERE id > 100",
        ),
        read=100,
        deleted=100,
    ),
    Case("TRUNCATE", sql("TRUNCATE item"), deleted=ROWS),
    Case(
        "dropped and recreated",
        sql(
            ANEW,
            "UPDATE other SET name = 'x' WHERE id = 7",
            "DROP TABLE item",
            "ALTER TABLE other RENAME TO item",
        ),
        "dropped and recreated",
        ROWS,
        TableChange(updated=1),
    ),
    Case(
        "exchanged by name for one that was filled before the last tick",
        sql("ALTER TABLE item RENAME TO old", "ALTER TABLE prepared RENAME TO item"),
        "dropped and recreated",
        ROWS,
        TableChange(updated=3),
    ),
    Case("rewritten for a wider type", sql("ALTER TABLE item ALTER id TYPE bigint"), "columns changed", ROWS),
    Case("a wider type without rewriting", sql("ALTER TABLE item ALTER amount TYPE numeric(12,2)")),
    Case(
        "a new column with a default",
        sql("ALTER TABLE item ADD size integer NOT NULL DEFAULT 4"),
        "columns changed",
        ROWS,
        TableChange(updated=ROWS),
    ),
    Case("a new column without values", sql("ALTER TABLE item ADD size integer"), "columns changed", ROWS),
    Case(
        "a column under another name",
        sql("ALTER TABLE item RENAME note TO remark"),
        "columns changed",
        ROWS,
        TableChange(updated=66),
    ),
    Case("a column dropped", sql("ALTER TABLE item DROP note")),
    Case(
        "a savepoint that is kept and one that is not",
        sql(
            "BEGIN",
            "SAVEPOINT a",
            "UPDATE item SET name = 'x' WHERE id <= 10",
            "RELEASE a",
            "SAVEPOINT b",
            "UPDATE item SET name = 'y' WHERE id > 100",
            "ROLLBACK TO b",
            "INSERT INTO item VALUES (1000, 'z', 1, NULL)",
            "COMMIT",
        ),
        read=11,
        change=TableChange(inserted=1, updated=10),
    ),
    Case("keys that move", sql("UPDATE item SET id = -id WHERE id <= 5"), "", 5, TableChange(inserted=5), 5),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_happens_between_two_ticks_is_seen_and_nothing_else(capture: Capture, case: Case) -> None:
    with session(capture.owner()) as owner:
        owner.run("CREATE TABLE prepared (LIKE item INCLUDING ALL)")
        owner.run("INSERT INTO prepared SELECT * FROM item")
        owner.run("UPDATE prepared SET name = 'x' WHERE id <= 3")
        capture.tick()
        case.act(owner)
    [change] = capture.extract().tables.values()
    assert (change.rows_read, change) == (case.read, case.change)
    assert (change.capture == PARTIAL) if not case.reason else (case.reason in change.capture)
    after = capture.with_policy(deletions_every=dt.timedelta(0)).tick()
    assert (after, after.capture) == (TableChange(deleted=case.deleted), PARTIAL)
    again = capture.with_policy(deletions_every=dt.timedelta(0)).tick()
    assert (again, again.capture) == (TableChange(), PARTIAL)


def test_a_transaction_with_subtransactions_that_is_open_at_a_tick_is_seen_when_it_is_committed(
    capture: Capture,
) -> None:
    with session(capture.owner()) as late:
        late.run("BEGIN")
        late.run("INSERT INTO item VALUES (1001, 'late', 1, NULL)")
        for number in range(100):
            late.run(f"SAVEPOINT s{number}")
            late.run(f"UPDATE item SET name = 'late' WHERE id = {number + 1}")
            late.run(f"{'ROLLBACK TO' if number % 2 else 'RELEASE'} s{number}")
            if number % 10 == 0:
                capture.run(f"UPDATE item SET note = 'meanwhile' WHERE id = {number + 101}")
        assert capture.tick() == TableChange(updated=10)
        capture.run("UPDATE item SET note = 'after' WHERE id = 200")
        assert capture.tick() == TableChange(updated=1)
        late.run("COMMIT")
    assert capture.tick() == TableChange(inserted=1, updated=50)
    assert capture.tick().rows == 0


def test_a_prepared_transaction_that_is_open_at_a_tick_is_seen_when_it_is_committed(capture: Capture) -> None:
    with session(capture.owner()) as owner:
        for number, outcome in enumerate(("COMMIT", "ROLLBACK")):
            owner.run("BEGIN")
            owner.run("SAVEPOINT a")
            owner.run(f"UPDATE item SET name = 'prepared' WHERE id = {number + 1}")
            owner.run("RELEASE a")
            owner.run(f"INSERT INTO item VALUES ({2000 + number}, 'prepared', 1, NULL)")
            owner.run(f"PREPARE TRANSACTION '{outcome}'")
        owner.run("UPDATE item SET note = 'meanwhile' WHERE id = 100")
        assert capture.tick() == TableChange(updated=1)
        owner.run("COMMIT PREPARED 'COMMIT'")
        owner.run("ROLLBACK PREPARED 'ROLLBACK'")
    assert capture.tick() == TableChange(inserted=1, updated=1)
    assert capture.tick() == TableChange()


PARTED = """
CREATE TABLE item (id integer, part text, name text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE item_a PARTITION OF item FOR VALUES IN ('a');
CREATE TABLE item_b PARTITION OF item FOR VALUES IN ('b');
INSERT INTO item SELECT n, CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END, 'item ' || n
FROM generate_series(1, 100) AS n
"""


@pytest.fixture
def parted(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Capture]:
    """A lake that has seen a partitioned table, and does not count its rows."""
    with database_of(server, "parted") as made:
        capture = made(tmp_path, LARGE)
        capture.run(PARTED)
        assert capture.tick().inserted == 100
        yield capture


def test_rows_that_move_between_partitions_are_seen(parted: Capture) -> None:
    parted.run(
        "ALTER TABLE item DROP CONSTRAINT item_pkey",
        "CREATE UNIQUE INDEX ON item (id, part)",
        "UPDATE item SET part = 'b' WHERE id IN (2, 4)",
    )
    [change] = parted.extract().tables.values()
    assert (change, change.rows_read, change.capture) == (TableChange(inserted=2), 2, PARTIAL)
    assert parted.with_policy(deletions_every=dt.timedelta(0)).tick() == TableChange(deleted=2)


def test_rows_of_a_partition_that_was_filled_before_it_was_attached_are_seen(parted: Capture) -> None:
    parted.run(
        "CREATE TABLE item_c AS SELECT n AS id, 'c' AS part, 'new' AS name FROM generate_series(1, 9) AS n"
    )
    parted.run("UPDATE item SET name = 'x' WHERE id = 1")
    assert parted.tick() == TableChange(updated=1)
    parted.run(
        "ALTER TABLE item_c ALTER id SET NOT NULL, ALTER part SET NOT NULL",
        "ALTER TABLE item ATTACH PARTITION item_c FOR VALUES IN ('c')",
    )
    change = parted.tick()
    assert (change, change.rows_read) == (TableChange(inserted=9), 9)
    assert parted.tick().rows_read == 0


def test_a_partition_that_is_exchanged_for_another_with_the_same_keys_is_read(parted: Capture) -> None:
    parted.run("CREATE TABLE mended AS SELECT id, part, name || '!' AS name FROM item_a")
    parted.run("UPDATE item SET name = 'x' WHERE id = 1")
    assert parted.tick() == TableChange(updated=1)
    parted.run(
        "ALTER TABLE mended ALTER id SET NOT NULL, ALTER part SET NOT NULL",
        "ALTER TABLE item DETACH PARTITION item_a",
        "ALTER TABLE item ATTACH PARTITION mended FOR VALUES IN ('a')",
    )
    change = parted.tick()
    assert (change, change.rows_read) == (TableChange(updated=50), 50)


DETACH, ATTACH = (
    "ALTER TABLE item DETACH PARTITION item_a",
    "ALTER TABLE item ATTACH PARTITION item_a FOR VALUES IN ('a')",
)


@pytest.mark.parametrize(
    ("meanwhile", "change"),
    [
        ("", NOTHING),
        (
            "ALTER TABLE item_a DROP name; ALTER TABLE item_a ADD name text DEFAULT 'other'",
            TableChange(updated=50),
        ),
        (
            "ALTER TABLE item_a RENAME name TO was; ALTER TABLE item_a ADD name text DEFAULT 'other'; "
            "ALTER TABLE item_a DROP was",
            TableChange(updated=50),
        ),
        (
            "ALTER TABLE item_a ADD further text; UPDATE item_a SET name = 'y' WHERE id = 2; "
            "ALTER TABLE item_a DROP further",
            TableChange(updated=1),
        ),
        (
            "ALTER TABLE item_a RENAME TO old; CREATE TABLE item_a (LIKE item INCLUDING ALL); "
            "INSERT INTO item_a SELECT id, part, name || '!' FROM old",
            TableChange(updated=50),
        ),
    ],
    ids=["nothing", "column made anew", "column renamed", "row written", "another table of its name"],
)
def test_a_partition_that_is_detached_altered_and_attached_again_between_two_ticks_is_read(
    parted: Capture, meanwhile: str, change: TableChange
) -> None:
    parted.run("UPDATE item SET name = 'x' WHERE id = 1")
    assert parted.tick() == TableChange(updated=1)
    parted.run(DETACH, *filter(None, meanwhile.split("; ")), ATTACH)
    assert parted.tick() == change
    assert parted.tick().rows_read == 0


def test_parts_of_parts_and_heirs_that_were_altered_apart_are_read(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    anew = "ALTER TABLE {0} DROP name; ALTER TABLE {0} ADD name text DEFAULT 'other'"
    with database_of(server, "parts") as made:
        capture = made(tmp_path, LARGE)
        capture.run(
            "CREATE TABLE item (id integer, part text, name text, PRIMARY KEY (id, part)) "
            "PARTITION BY LIST (part)",
            "CREATE TABLE item_a PARTITION OF item FOR VALUES IN ('a') PARTITION BY RANGE (id)",
            "CREATE TABLE item_a_1 PARTITION OF item_a FOR VALUES FROM (0) TO (50)",
            "CREATE TABLE item_a_2 PARTITION OF item_a FOR VALUES FROM (50) TO (101)",
            "INSERT INTO item SELECT n, 'a', 'item' FROM generate_series(1, 100) AS n",
        )
        assert capture.tick().inserted == 100
        capture.run(
            "ALTER TABLE item_a DETACH PARTITION item_a_1",
            *anew.format("item_a_1").split("; "),
            "ALTER TABLE item_a ATTACH PARTITION item_a_1 FOR VALUES FROM (0) TO (50)",
        )
        change = capture.tick()
        assert (change, change.rows_read) == (TableChange(updated=49), 49)
        capture.run("DROP TABLE item", "CREATE TABLE item (id integer PRIMARY KEY, name text)")
        capture.run(
            "CREATE TABLE heir () INHERITS (item)", "INSERT INTO heir VALUES (1, 'heir'), (2, 'heir')"
        )
        capture = dataclasses.replace(capture, folder=tmp_path / "heirs")
        assert capture.tick().inserted == 2
        capture.run(
            "ALTER TABLE heir NO INHERIT item",
            *anew.format("heir").split("; "),
            "ALTER TABLE heir INHERIT item",
        )
        assert capture.tick() == TableChange(updated=2)


def test_rows_of_a_table_that_comes_to_inherit_are_seen(capture: Capture) -> None:
    capture.run("CREATE TABLE heir AS SELECT 500 + id AS id, name, amount, note FROM item WHERE id <= 5")
    capture.run("UPDATE item SET name = 'x' WHERE id = 1", "ALTER TABLE heir ALTER name SET NOT NULL")
    assert capture.tick() == TableChange(updated=1)
    capture.run("ALTER TABLE heir ALTER id SET NOT NULL", "ALTER TABLE heir INHERIT item")
    assert capture.tick() == TableChange(inserted=5)
    capture.run("UPDATE heir SET name = 'y' WHERE id = 501")
    assert capture.tick() == TableChange(updated=1)


MOOD = "CREATE TYPE mood AS ENUM ('good', 'bad')"
MOODS = f"{MOOD}; CREATE TYPE moods AS RANGE (subtype = mood, multirange_type_name = many_moods)"
BETTER = "ALTER TYPE mood RENAME VALUE 'good' TO 'excellent'"
FELT = "ALTER TYPE mood RENAME TO feeling"
THING, OBJECT = "CREATE TABLE thing ()", "ALTER TABLE thing RENAME TO object"
PLACE, ELSEWHERE = "CREATE SCHEMA place", "ALTER SCHEMA place RENAME TO elsewhere"
POINT = "CREATE TYPE place AS (x integer, y integer)"
CLERK, SCRIBE = "CREATE ROLE clerk", "ALTER ROLE clerk RENAME TO scribe"
TWICE = "CREATE FUNCTION twice(x integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * x'"


def having(*statements: str, type_: str, value: str) -> str:
    """SQL that makes these, and then a column of a type with one value."""
    return "; ".join((*statements, f"ALTER TABLE item ADD extra {type_} DEFAULT {value}"))


REPRINTED = {
    "enum": (having(MOOD, type_="mood", value="'good'"), BETTER),
    "array of an enum": (having(MOOD, type_="mood[]", value="'{good}'"), BETTER),
    "range of an enum": (having(MOODS, type_="moods", value="'[good,bad]'"), BETTER),
    "multirange of an enum": (having(MOODS, type_="many_moods", value="'{[good,bad]}'"), BETTER),
    "array of multiranges": (
        having(MOODS, type_="many_moods[]", value="ARRAY['{[good,bad]}'::many_moods]"),
        BETTER,
    ),
    "domain over an enum": (having(MOOD, "CREATE DOMAIN d AS mood", type_="d", value="'good'"), BETTER),
    "domain over a domain over a multirange": (
        having(
            MOODS,
            "CREATE DOMAIN d AS many_moods",
            "CREATE DOMAIN e AS d",
            type_="e",
            value="'{[good,bad]}'",
        ),
        BETTER,
    ),
    "composite of an array of domains over a range": (
        having(
            MOODS,
            "CREATE DOMAIN d AS moods",
            "CREATE TYPE pair AS (x integer, y d[])",
            type_="pair",
            value="ROW(1, ARRAY['[good,bad]'::d])::pair",
        ),
        BETTER,
    ),
    "range of a domain over an enum": (
        having(
            MOOD,
            "CREATE DOMAIN d AS mood",
            "CREATE TYPE r AS RANGE (subtype = d)",
            type_="r",
            value="'[good,bad]'",
        ),
        BETTER,
    ),
    "row of another table": (
        having(MOOD, "CREATE TABLE kind (x integer, y mood)", type_="kind", value="'(1,good)'"),
        BETTER,
    ),
    "composite": (
        having(POINT, type_="place", value="'(1,2)'"),
        "ALTER TYPE place ADD ATTRIBUTE z integer",
    ),
    "composite without an attribute": (
        having(POINT, type_="place[]", value="ARRAY[ROW(1,2)::place]"),
        "ALTER TYPE place DROP ATTRIBUTE y",
    ),
    "virtual column": (
        "ALTER TABLE item ADD extra integer GENERATED ALWAYS AS (id + 1) VIRTUAL",
        "ALTER TABLE item ALTER extra SET EXPRESSION AS (id + 2)",
    ),
    "virtual column by another dictionary": (
        "CREATE TEXT SEARCH CONFIGURATION words (COPY = simple); ALTER TABLE item ADD extra tsvector "
        "GENERATED ALWAYS AS (to_tsvector('words', 'running')) VIRTUAL",
        "ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING REPLACE simple WITH english_stem",
    ),
    "cidr to inet": (having(type_="cidr", value="'10.1.2.3/32'"), "ALTER TABLE item ALTER extra TYPE inet"),
    "domain that was exchanged for another of its name": (
        having("CREATE DOMAIN d AS cidr", "CREATE DOMAIN e AS inet", type_="d", value="'10.1.2.3/32'"),
        "ALTER TABLE item ALTER extra TYPE e; DROP DOMAIN d; ALTER DOMAIN e RENAME TO d",
    ),
    "integer to oid": (having(type_="integer", value="-1"), "ALTER TABLE item ALTER extra TYPE oid"),
    "regclass": (having(THING, type_="regclass", value="'thing'"), OBJECT),
    "regclass of an index": (
        having(type_="regclass", value="'item_pkey'"),
        "ALTER INDEX item_pkey RENAME TO item_key",
    ),
    "regclass of a table that is dropped": (
        having(THING, type_="text", value="'thing'::regclass::oid::text")
        + "; ALTER TABLE item ALTER extra DROP DEFAULT; ALTER TABLE item ALTER extra TYPE regclass "
        "USING extra::oid::regclass",
        "DROP TABLE thing",
    ),
    "regclass in another schema": (
        having(PLACE, "CREATE TABLE place.thing ()", type_="regclass", value="'place.thing'"),
        ELSEWHERE,
    ),
    "array of regclass": (having(THING, type_="regclass[]", value="'{thing,NULL}'"), OBJECT),
    "domain over regtype": (
        having(MOOD, "CREATE DOMAIN d AS regtype", type_="d", value="'mood'"),
        FELT,
    ),
    "composite of regtype": (
        having(MOOD, "CREATE TYPE pair AS (x regtype, y integer)", type_="pair", value="'(mood[],1)'"),
        FELT,
    ),
    "regproc": (having(TWICE, type_="regproc", value="'twice'"), "ALTER FUNCTION twice RENAME TO double"),
    "regproc with a namesake": (
        having(
            "CREATE FUNCTION public.namesake(x integer) RETURNS integer LANGUAGE sql AS 'SELECT x'",
            type_="regproc",
            value="'namesake'",
        ),
        "CREATE FUNCTION public.namesake(x text) RETURNS text LANGUAGE sql AS 'SELECT x'",
    ),
    "regprocedure": (
        having(
            MOOD,
            "CREATE FUNCTION twice(x mood) RETURNS integer LANGUAGE sql AS 'SELECT 2'",
            type_="regprocedure",
            value="'twice(mood)'",
        ),
        FELT,
    ),
    "regoper": (
        having(
            PLACE,
            "CREATE OPERATOR === (leftarg = integer, rightarg = integer, function = int4eq)",
            type_="regoper",
            value="'==='",
        ),
        "ALTER OPERATOR === (integer, integer) SET SCHEMA place",
    ),
    "regoperator": (
        having(
            MOOD,
            "CREATE FUNCTION same(x mood, y mood) RETURNS boolean LANGUAGE sql AS 'SELECT x = y'",
            "CREATE OPERATOR === (leftarg = mood, rightarg = mood, function = same)",
            type_="regoperator",
            value="'===(mood,mood)'",
        ),
        FELT,
    ),
    "regrole": (
        having(CLERK, type_="text", value="'clerk'") + "; ALTER TABLE item ALTER extra DROP DEFAULT"
        "; ALTER TABLE item ALTER extra TYPE regrole USING extra::regrole",
        SCRIBE,
    ),
    "access list": (having(CLERK, type_="aclitem[]", value="'{clerk=r/clerk}'"), SCRIBE),
    "regnamespace": (having(PLACE, type_="regnamespace", value="'place'"), ELSEWHERE),
    "regconfig": (
        having("CREATE TEXT SEARCH CONFIGURATION words (COPY = simple)", type_="regconfig", value="'words'"),
        "ALTER TEXT SEARCH CONFIGURATION words RENAME TO terms",
    ),
    "regdictionary": (
        having(
            "CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple)", type_="regdictionary", value="'words'"
        ),
        "ALTER TEXT SEARCH DICTIONARY words RENAME TO terms",
    ),
    "regcollation": (
        having('CREATE COLLATION words FROM "C"', type_="regcollation", value="'words'"),
        "ALTER COLLATION words RENAME TO terms",
    ),
}


def test_values_that_look_otherwise_though_no_row_was_written_are_seen(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    tables = {f"item_{number}": case for number, case in enumerate(REPRINTED)}

    def run_in(capture: Capture, table: str, statement: str) -> None:
        """Run a case's statement on its own table, with all else it makes in a schema of its own."""
        statement = re.sub(r"\bitem(_pkey)?\b", rf"public.{table}\1", statement)
        statement = re.sub(r"\b(place|elsewhere|clerk|scribe)\b", rf"\1_{table}", statement)
        with session(capture.owner()) as owner:
            owner.run(f"SET search_path = of_{table}, public")
            owner.run(statement)

    with database_of(server, "reprinted") as made:
        capture = dataclasses.replace(made(tmp_path, LARGE), names=tuple(tables))
        try:
            for table, case in tables.items():
                capture.run(
                    f"CREATE SCHEMA of_{table}",
                    f"GRANT USAGE ON SCHEMA of_{table} TO PUBLIC",
                    f"CREATE TABLE {table} (id integer PRIMARY KEY, name text)",
                    f"INSERT INTO {table} VALUES (1), (2), (3)",
                )
                run_in(capture, table, REPRINTED[case][0])

            def ticked(what: str) -> dict[str, int]:
                found = capture.extract().tables
                assert not [change.stopped for change in found.values() if change.stopped]
                return {case: getattr(found[table], what) for table, case in tables.items()}

            def of_all(number: int) -> dict[str, int]:
                return dict.fromkeys(REPRINTED, number)

            assert ticked("inserted") == of_all(3)
            capture.run(*(f"UPDATE {table} SET name = 'x' WHERE id = 1" for table in tables))
            assert ticked("updated") == of_all(1)
            # What only comes to be changes no value that there is.
            capture.run(
                "CREATE TABLE further (x integer)",
                "CREATE FUNCTION further(x integer) RETURNS integer LANGUAGE sql AS 'SELECT x'",
                "CREATE SCHEMA beside",
                *(
                    f"ALTER TYPE of_{table}.mood ADD VALUE 'soso'"
                    for table in tables
                    if MOOD in REPRINTED[tables[table]][0]
                ),
            )
            assert ticked("rows_read") == of_all(0)
            for table, case in tables.items():
                run_in(capture, table, REPRINTED[case][1])
            assert ticked("updated") == of_all(3)
            assert ticked("rows_read") == of_all(0)
            assert all(one.passed for one in capture.verify().values())
        finally:
            roles = capture.run("SELECT rolname FROM pg_roles WHERE rolname ~ '^(clerk|scribe)_'")
            for [role] in roles:
                capture.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_rows_that_row_level_security_no_longer_hides_are_read_though_nobody_wrote_them(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with database_of(server, "hidden") as made:
        capture = made(tmp_path, LARGE)
        capture.run(
            TABLE,
            "ALTER TABLE item ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY seen ON item FOR SELECT USING (id <= 100)",
        )
        [change] = capture.extract().tables.values()
        assert (change, change.capture) == (TableChange(inserted=100), "a comparison of all rows (diff)")
        # Another policy, which shows as many rows as the one before it.
        capture.run("ALTER POLICY seen ON item USING (id > 50 AND id <= 150)")
        [change] = capture.extract().tables.values()
        assert change == TableChange(inserted=50, deleted=50)
        capture.run("ALTER TABLE item DISABLE ROW LEVEL SECURITY")
        change = capture.tick()
        assert change == TableChange(inserted=100)
        assert "row-level security may have hidden rows" in change.capture
        change = capture.tick()
        assert (change.rows_read, change.capture) == (0, PARTIAL)


def test_a_view_with_another_query_is_compared_whole_though_it_is_captured_by_a_column(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with database_of(server, "viewed") as made:
        policy = CapturePolicy("last_updated", "id", small_table_rows=0)
        settings = {"keys": {"seen": ("id",)}}
        capture = dataclasses.replace(made(tmp_path, policy), names=("seen",), settings=settings)
        capture.run(TABLE, "CREATE VIEW seen AS SELECT id, name FROM item")
        capture.run("GRANT SELECT ON seen TO PUBLIC")
        declared = (SEEN,)
        extractor = Extractor(capture.source(declared), capture.lake, capture.engine)

        def ticked() -> TableChange:
            [change] = extractor.extract(declared).tables.values()
            return change

        assert ticked() == TableChange(inserted=ROWS)
        assert ticked().rows == 0
        change = ticked()
        assert (change.rows_read, change.rows) == (1, 0)
        capture.run("CREATE OR REPLACE VIEW seen AS SELECT id, upper(name) AS name FROM item")
        assert ticked() == TableChange(updated=ROWS)
        assert ticked().rows_read == 1


def test_rows_that_are_gone_from_a_large_table_are_found_at_the_next_tick(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with database_of(server, "large") as made:
        capture = made(tmp_path, CapturePolicy(small_table_rows=0, costly_look=dt.timedelta(hours=1)))
        capture.run(TABLE)
        capture.tick()
        capture.run("DELETE FROM item WHERE id <= 30")
        assert capture.tick() == TableChange(deleted=30)
        # As many that come as go leave the count as it is.
        capture.run("DELETE FROM item WHERE id = 31", "INSERT INTO item VALUES (1000, 'new', 1, NULL)")
        assert capture.tick() == TableChange(inserted=1, deleted=1)
        before = capture.lake.ledger.read()
        change = capture.tick()
        assert (change.rows, change.rows_read) == (0, 0)
        assert change.deletions_looked_for is not None
        # A look that costs little leaves nothing behind.
        assert capture.lake.ledger.read().cursors == before.cursors


def test_a_look_for_deletions_that_took_long_is_put_off_and_says_when_the_last_one_was(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with database_of(server, "costly") as made:
        policy = CapturePolicy(
            small_table_rows=0,
            costly_look=dt.timedelta(microseconds=1),
            deletions_every=dt.timedelta(hours=1),
        )
        capture = made(tmp_path, policy)
        capture.run(TABLE)
        capture.tick()
        capture.run("DELETE FROM item WHERE id = 1")
        # Nothing is known yet of what a look takes.
        looked = capture.tick()
        assert looked == TableChange(deleted=1)
        capture.run("DELETE FROM item WHERE id = 2", "UPDATE item SET name = 'x' WHERE id = 3")
        [change] = capture.extract().tables.values()
        assert change == TableChange(updated=1)
        assert change.deletions_looked_for == looked.deletions_looked_for
        # In small tables they are looked for whatever it takes, and in large ones when the time has come.
        small = capture.with_policy(small_table_rows=ROWS)
        [change] = small.extract().tables.values()
        assert change == TableChange(deleted=1)
        capture.run("DELETE FROM item WHERE id = 4")
        assert capture.with_policy(deletions_every=dt.timedelta(0)).tick() == TableChange(deleted=1)


def test_a_parent_and_an_heir_with_rows_of_one_key_stop_that_table_alone_and_say_what_to_do(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with database_of(server, "heirs") as made:
        capture = dataclasses.replace(made(tmp_path, SMALL), names=("item", "beside"))
        capture.run(TABLE, "CREATE TABLE heir () INHERITS (item)")
        capture.run("CREATE TABLE beside (id integer PRIMARY KEY)", "INSERT INTO beside VALUES (1)")
        capture.run("INSERT INTO heir VALUES (1, 'archived', 1, NULL)")

        def ticked() -> tuple[str, TableChange]:
            found = capture.extract().tables
            return found["item"].stopped, found["beside"]

        stopped, beside = ticked()
        assert "rows with the same key (id): other tables inherit from it" in stopped
        assert "SELECT * FROM ONLY item" in stopped
        assert beside == TableChange(inserted=1)
        capture.run("UPDATE heir SET id = 500")
        assert ticked() == ("", NOTHING)
        capture.assert_equal()
        # Later, in a row that comes, in one that moves, and in a table that comes to inherit.
        capture.run("CREATE TABLE other AS SELECT * FROM item WHERE id = 7")
        capture.run("ALTER TABLE other ALTER name SET NOT NULL", "ALTER TABLE other ALTER id SET NOT NULL")
        for act, undo in (
            ("INSERT INTO heir VALUES (2, 'archived')", "DELETE FROM heir WHERE id = 2"),
            ("UPDATE heir SET id = 3", "UPDATE heir SET id = 500"),
            ("ALTER TABLE other INHERIT item", "ALTER TABLE other NO INHERIT item"),
        ):
            capture.run(act, "INSERT INTO beside SELECT max(id) + 1 FROM beside")
            stopped, beside = ticked()
            assert "rows with the same key" in stopped, act
            assert beside == TableChange(inserted=1)
            found = capture.verify()
            assert "rows with the same key" in found["item"].sentence
            assert found["beside"].passed
            capture.run(undo)
            assert ticked() == ("", NOTHING)
        assert all(one.passed for one in capture.verify().values())


@pytest.mark.parametrize("policy", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("meanwhile", "change"),
    [
        ("ALTER TABLE item ALTER id TYPE bigint", TableChange()),
        ("TRUNCATE item", TableChange(deleted=ROWS)),
        ("BEGIN; " + ANEW + "DROP TABLE item; ALTER TABLE other RENAME TO item; COMMIT", TableChange()),
    ],
    ids=["rewritten", "truncated", "exchanged"],
)
def test_a_table_that_is_rewritten_while_a_tick_runs_is_not_taken_for_empty(
    capture: Capture,
    meanwhile: str,
    change: TableChange,
    policy: CapturePolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = dataclasses.replace(capture, policy=policy)
    before = capture.version_count()
    look, to_come = Snapshot.relations_or_reasons, [meanwhile]

    def look_and_change(snapshot: Snapshot, names: list[str]) -> object:
        found = look(snapshot, names)
        if to_come:
            capture.run(to_come.pop())
        return found

    monkeypatch.setattr(Snapshot, "relations_or_reasons", look_and_change)
    [during] = capture.extract().tables.values()
    assert to_come == []
    assert "while it was read" in during.stopped
    assert capture.version_count() == before
    assert capture.with_policy(deletions_every=dt.timedelta(0)).tick() == change


def next_transaction(server: EmbeddedPostgres) -> int:
    """The number, of 64 bits, that the next transaction gets."""
    [[number]] = server.query("SELECT pg_snapshot_xmax(pg_current_snapshot())")
    return int(number)


def jump(server: EmbeddedPostgres, to: int) -> None:
    """Move a server's transaction numbers on, as billions of transactions would, freezing rows on the way.

    PostgreSQL manual, pg_resetwal and "Preventing Transaction ID Wraparound Failures".
    """
    server.query("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    while (now := next_transaction(server)) < to:
        for [name] in server.query("SELECT datname FROM pg_database"):
            server.query("VACUUM (FREEZE)", name)
        target = min(to, now + 1_500_000_000)
        server.stop()
        epoch, number = divmod(target, 2**32)
        run_binary(
            server, "pg_resetwal", f"--epoch={epoch}", f"--next-transaction-id={number}", str(server.data)
        )
        # The state of transactions is kept in files of a million of them each.
        segment = server.data / "pg_xact" / f"{number // 2**20:04X}"
        if not segment.exists():
            segment.write_bytes(bytes(2**18))
            owner = server.data.stat()
            os.chown(segment, owner.st_uid, owner.st_gid)
        server.start()
        assert next_transaction(server) == target


def spend(capture: Capture, count: int) -> None:
    """Let so many transactions go by that write nothing."""
    with session(capture.owner()) as owner:
        for _ in range(count):
            owner.run("SELECT pg_current_xact_id()")


def change_a_little(capture: Capture, round_: int) -> TableChange:
    """Change rows in each of the ways there are; what a tick is to find."""
    capture.run(
        f"UPDATE item SET name = 'round {round_}' WHERE id % 50 = {round_}",
        f"INSERT INTO item VALUES ({1000 + round_}, 'new', 1, NULL)",
        f"DELETE FROM item WHERE id = {40 + round_}",
        f"UPDATE item SET name = name WHERE id = {101 + round_}",
    )
    return TableChange(inserted=1, updated=4, deleted=1)


@pytest.mark.soak
def test_nothing_is_missed_while_transaction_numbers_pass_2_31_and_2_32(tmp_path: Path) -> None:
    with running_server() as server, database_of(server, "around") as made:
        capture = made(tmp_path, SMALL)
        capture.run(TABLE)
        assert capture.tick().inserted == ROWS
        for round_, near in enumerate((2**31, 2**32, 2**32 + 2**31 + 1_000), start=1):
            for step, short_of_it in enumerate((1_000_000_000, 40)):
                jump(server, near - short_of_it)
                expected = change_a_little(capture, 10 * round_ + step)
                change = capture.tick()
                assert (change, change.capture) == (expected, PARTIAL)
                # In the third round numbers come again, and rows that bear them look new, once.
                assert change.rows_read == 6 if round_ < 3 else 6 < change.rows_read < 2 * ROWS
            # A transaction that is open while the numbers pass, and the cursor, are on the other side.
            with session(capture.owner()) as late:
                late.run("BEGIN")
                late.run(f"UPDATE item SET name = 'late' WHERE id = {150 + round_}")
                late.run("SAVEPOINT a")
                late.run(f"UPDATE item SET name = 'later' WHERE id = {160 + round_}")
                spend(capture, 60)
                assert next_transaction(server) > near
                expected = change_a_little(capture, 10 * round_ + 2)
                change = capture.tick()
                assert (change, change.rows_read, change.capture) == (expected, 6, PARTIAL)
                late.run("COMMIT")
            change = capture.tick()
            assert (change, change.capture) == (TableChange(updated=2), PARTIAL)
            quiet = capture.tick()
            assert (quiet, quiet.rows_read) == (TableChange(), 0)


def test_a_cursor_that_is_too_old_to_compare_with_is_not_compared_with(tmp_path: Path) -> None:
    with running_server() as server, database_of(server, "old") as made:
        capture = made(tmp_path, LARGE)
        capture.run(TABLE)
        capture.tick()
        jump(server, next_transaction(server) + 2**31)
        capture.run("UPDATE item SET name = 'x' WHERE id = 7")
        change = capture.tick()
        assert (change, change.rows_read) == (TableChange(updated=1), ROWS)
        assert "the last batch is too many transactions ago" in change.capture
        assert capture.tick().capture == PARTIAL


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, Capture]]:
    """A server that may be stopped and changed, and a lake that has seen a table of it."""
    with running_server() as server, database_of(server, "history") as made:
        capture = made(tmp_path / "lake", LARGE)
        capture.run(TABLE)
        capture.run(*["SELECT pg_current_xact_id()"] * 50)
        assert capture.tick().inserted == ROWS
        yield server, capture


def assert_compared_anew(capture: Capture, reason: str) -> None:
    """One row has changed: all are read for this reason, and from then on only those that are written."""
    capture.run("UPDATE item SET name = 'x' WHERE id = 7")
    change = capture.tick()
    assert (change, change.rows_read) == (
        TableChange(updated=1),
        capture.run("SELECT count(*) FROM item")[0][0],
    )
    assert reason in change.capture
    capture.run("UPDATE item SET name = 'y' WHERE id = 7")
    change = capture.tick()
    assert (change, change.capture) == (TableChange(updated=1), PARTIAL)


def test_a_dump_that_is_restored_into_another_database_is_compared_and_makes_no_version(
    moved: tuple[EmbeddedPostgres, Capture], tmp_path: Path
) -> None:
    server, capture = moved
    create_database(server, "restored")
    restore(server, server, "restored")
    elsewhere = dataclasses.replace(
        capture, owner=lambda: server.owner("restored"), reader=lambda: server.reader("restored")
    )
    assert_compared_anew(elsewhere, "the server has changed")


def restore(server: EmbeddedPostgres, target: EmbeddedPostgres, database: str) -> None:
    """Dump the database `history` of a server, and restore it into a database of another one."""
    owner = server.owner("history")
    where = (f"--host={owner.host}", f"--port={owner.port}", f"--username={owner.user}", "--no-password")
    dump = run_binary(server, "pg_dump", *where, "--inserts", owner.database, client=True)
    # Newer versions begin a dump with a command of psql's that psql itself is to be told of.
    target.query("\n".join(line for line in dump.splitlines() if not line.startswith("\\")), database)


def test_another_cluster_with_the_same_data_is_compared_and_makes_no_version(
    moved: tuple[EmbeddedPostgres, Capture],
) -> None:
    server, capture = moved
    with running_server() as another:
        create_database(another, "history")
        restore(server, another, "history")
        assert_compared_anew(
            dataclasses.replace(
                capture, owner=lambda: another.owner("history"), reader=lambda: another.reader("history")
            ),
            "the server has changed",
        )


def test_another_timeline_as_after_a_promotion_is_compared_and_makes_no_version(
    moved: tuple[EmbeddedPostgres, Capture],
) -> None:
    server, capture = moved
    server.stop()
    # A standby takes WAL of a kind that these servers do not write; this sets what a promotion sets.
    run_binary(server, "pg_resetwal", "--next-wal-file=000000020000000000000020", str(server.data))
    server.start()
    assert_compared_anew(capture, "the server has changed")


def test_an_old_copy_of_the_files_is_compared_and_what_it_lacks_is_deleted(
    moved: tuple[EmbeddedPostgres, Capture], tmp_path: Path
) -> None:
    server, capture = moved
    server.stop()
    copy = server.directory / "copy"
    subprocess.run(["cp", "-a", server.data, copy], check=True)
    server.start()
    capture.run(
        "INSERT INTO item VALUES (1000, 'lost', 1, NULL)", "UPDATE item SET name = 'lost' WHERE id = 1"
    )
    assert capture.tick() == TableChange(inserted=1, updated=1)
    server.stop()
    shutil.rmtree(server.data)
    shutil.move(copy, server.data)
    server.start()
    change = capture.tick()
    assert change == TableChange(updated=1, deleted=1)
    assert "transaction numbers went back, as after a restored copy" in change.capture


def test_a_table_part_of_which_is_kept_elsewhere_is_not_captured_by_transactions(capture: Capture) -> None:
    capture.run("CREATE FOREIGN DATA WRAPPER none", "CREATE SERVER none FOREIGN DATA WRAPPER none")
    capture.run("CREATE FOREIGN TABLE heir () INHERITS (item) SERVER none")
    [change] = capture.with_policy(strategy="xmin").extract().tables.values()
    assert "some of its parts store no transaction ids" in change.stopped
    with capture.source(capture.tables()).snapshot() as snapshot:
        relation = snapshot.relations(["item"])["item"]
    assert (relation.kind, relation.has_xmin, relation.parts) == ("table", False, (relation.oid,))


@pytest.mark.parametrize(
    "policy", [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="large", marks=pytest.mark.soak)]
)
def test_a_dead_letter_that_only_its_parent_mends_waits_through_many_ticks_and_is_not_read_again(
    new_database: NewDatabase, tmp_path: Path, policy: CapturePolicy
) -> None:
    totesys = Totesys.with_rows(new_database())
    totesys.run(
        "ALTER TABLE address ALTER city DROP NOT NULL",
        "ALTER TABLE sales_order DROP CONSTRAINT sales_order_design_id_fkey",
    )
    platform = Platform.on_disk(totesys, tmp_path)
    platform = dataclasses.replace(platform, source=dataclasses.replace(platform.source, policy=policy))
    totesys.insert("sales_order", 3, design_id=77)
    totesys.insert("address", 9, city=None)
    totesys.insert("counterparty", 9, legal_address_id=9)
    assert platform.extract().tables["sales_order"].dead_lettered == 1
    broken = {"address:not_null": 1, "counterparty:foreign_key": 1, "sales_order:foreign_key": 1}
    for round_ in range(6):
        # Other rows come and change; those that wait are not touched by it.
        if round_ % 2:
            totesys.update("sales_order", 1, units_sold=round_)
            totesys.update("design", 1, design_name=f"design {round_}")
        extraction = platform.extract()
        assert {name: change.rows for name, change in extraction.tables.items() if change.rows} == (
            {"sales_order": 1, "design": 1} if round_ % 2 else {}
        )
        assert platform.broken() == broken
    totesys.insert("design", 77)
    totesys.update("address", 9, city="Bath")
    mended = platform.extract().tables
    assert (mended["design"], mended["address"]) == (TableChange(inserted=1), TableChange(updated=1))
    for name in ("sales_order", "counterparty"):
        assert (mended[name], mended[name].rows_read) == (TableChange(updated=1), 0)
        assert mended[name].capture == PARTIAL
    assert platform.broken() == {}
    for _ in range(3):
        assert set(platform.extract().tables.values()) == {TableChange()}
    assert len(platform.dead_letters()) == 3
    assert platform.versions("sales_order", "design_id")[-1] == (mended_batch(platform), "update", 3, 77)


def mended_batch(platform: Platform) -> int:
    return platform.lake.ledger.read().last_batch
