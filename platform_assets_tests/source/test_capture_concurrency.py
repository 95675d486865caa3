"""Eight sessions write while ticks run: every version that a tick could see is in the lake, and no other.

The truth is read from the source itself, at every tick in the tick's own snapshot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pg8000.native
import pytest

from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.connection import Connection
from platform_assets.source.extract import Extractor
from platform_assets.source.policy import CapturePolicy
from platform_assets_tests.fixtures.capture import (
    Capture,
    Observed,
    Row,
    by_key,
    running_server,
    session,
    without_platform,
)
from platform_assets_tests.fixtures.postgres import create_database, drop_database

WRITERS = 8
GROUPS = ("a", "b", "c", "d")
KEYS = 60
PLAIN = "CREATE TABLE item ({columns}) WITH (fillfactor = 70)"
PARTITIONED = "CREATE TABLE item ({columns}) PARTITION BY LIST (part)"
COLUMNS = """
part text, id integer, name text, amount numeric(12,2), note text,
last_updated timestamp NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (part, id)
"""
SETTINGS = {"max_prepared_transactions": "64", "max_connections": "60"}
POLICIES = {
    "keys compared at every tick": CapturePolicy("auto"),
    "deletions looked for at the end": CapturePolicy(
        "xmin", small_table_rows=0, deletions_every=dt.timedelta(days=1), costly_look=dt.timedelta(0)
    ),
}


@dataclass(frozen=True)
class Load:
    """How long writers write, and how late they commit.

    Args:
        seconds: How long they write at least, however much has happened by then.
        ticks: How often is looked at the source at least, while they write.
        changes: How many statements they have run at least.
        lateness: The longest time that a transaction stays open after its last statement, in seconds.
        between: Seconds from one tick to the next.
    """

    seconds: float
    ticks: int
    changes: int
    lateness: float
    between: float = 0


BRIEF = Load(seconds=0, ticks=8, changes=1_000, lateness=0.6)
KINDS = ("insert", "stamped", "silent", "same", "delete", "move")
ENDS = ("COMMIT", "ROLLBACK", "COMMIT PREPARED", "late")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that takes prepared transactions."""
    with running_server(**SETTINGS) as started:
        yield started


@dataclass
class Writer:
    """One session that writes: mostly to rows of its own, so that it can wait with its commit.

    Args:
        number: Which of the writers it is.
        chance: Where its decisions come from.
        connection: How the database is reached.
        load: How late it commits.
        over: Set when all is to end.
        did: What it did, counted.
    """

    number: int
    chance: random.Random
    connection: Connection
    load: Load
    over: threading.Event
    did: Counter[str] = field(default_factory=Counter)
    failure: list[BaseException] = field(default_factory=list)
    _prepared: list[tuple[float, str]] = field(default_factory=list)

    def write(self) -> None:
        """Write until it is over, and end what was prepared."""
        try:
            with session(self.connection) as opened:
                opened.run("SET lock_timeout = '150ms'")
                for turn in itertools.count():
                    if self.over.is_set():
                        break
                    try:
                        self._transact(opened, turn)
                    except pg8000.native.DatabaseError as error:
                        # A lock that another writer holds for long, or a key that it has just used.
                        if error.args[0]["C"] not in ("55P03", "40P01", "23505"):
                            raise
                        opened.run("ROLLBACK")
                        self.did["given up"] += 1
                    self._end_prepared(opened, time.monotonic())
                    self.over.wait(self.chance.uniform(0, 0.03))
                self._end_prepared(opened, float("inf"))
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            self.failure.append(error)

    def _transact(self, opened: pg8000.native.Connection, turn: int) -> None:
        chance = self.chance
        opened.run("BEGIN")
        for _ in range(chance.randint(1, 4)):
            if chance.random() < 0.35:
                opened.run("SAVEPOINT inner_one")
                self._change(opened)
                if chance.random() < 0.3:
                    opened.run("SAVEPOINT innermost")
                    self._change(opened)
                kept = chance.random() < 0.6
                opened.run("RELEASE SAVEPOINT inner_one" if kept else "ROLLBACK TO SAVEPOINT inner_one")
                self.did["savepoint kept" if kept else "savepoint rolled back"] += 1
            else:
                self._change(opened)
        if chance.random() < 0.4:
            self.over.wait(chance.uniform(0, self.load.lateness))
            self.did["late"] += 1
        [end] = chance.choices(("COMMIT", "ROLLBACK", "PREPARE"), (7, 2, 1.5))
        if end == "PREPARE":
            name = f"{self.number}-{turn}"
            opened.run(f"PREPARE TRANSACTION '{name}'")
            self._prepared.append((time.monotonic() + chance.uniform(0, self.load.lateness), name))
        else:
            opened.run(end)
        self.did[end] += 1

    def _change(self, opened: pg8000.native.Connection) -> None:
        chance = self.chance
        own = chance.random() < 0.75
        part = chance.choice(GROUPS)
        key = chance.randrange(KEYS) + KEYS * (self.number if own else WRITERS)
        where = f"WHERE part = '{part}' AND id = {key}"
        value = f"{self.number}:{chance.randrange(10**9)}"
        kinds = {"insert": 5, "stamped": 3, "silent": 3, "same": 1, "delete": 2, "move": 1}
        [kind] = chance.choices(list(kinds), list(kinds.values()))
        self.did[kind] += 1
        if kind == "insert":
            amount = chance.choice(("NULL", f"{chance.randrange(10**6)} / 100.0"))
            opened.run(
                f"INSERT INTO item VALUES ('{part}', {key}, '{value}', {amount}, NULL) "
                "ON CONFLICT (part, id) DO UPDATE SET name = excluded.name"
            )
        elif kind == "stamped":
            opened.run(f"UPDATE item SET name = '{value}', last_updated = clock_timestamp() {where}")
        elif kind == "silent":
            opened.run(f"UPDATE item SET note = '{value}', amount = 1.5 {where}")
        elif kind == "same":
            opened.run(f"UPDATE item SET name = name {where}")
        elif kind == "delete":
            opened.run(f"DELETE FROM item {where}")
        else:
            target = chance.choice(GROUPS)
            opened.run(f"UPDATE item SET part = '{target}', id = {key + 10_000} {where}")

    def _end_prepared(self, opened: pg8000.native.Connection, now: float) -> None:
        for due, name in list(self._prepared):
            if due <= now:
                [end] = self.chance.choices(("COMMIT", "ROLLBACK"), (7, 3))
                opened.run(f"{end} PREPARED '{name}'")
                self._prepared.remove((due, name))
                self.did[f"{end} PREPARED"] += 1


def keep_house(connection: Connection, chance: random.Random, over: threading.Event) -> None:
    """Move rows about without changing them, as a server does and its owner."""
    chores = ("VACUUM item", "VACUUM FREEZE item", "VACUUM FULL item", "ANALYZE item", "CHECKPOINT")
    with session(connection) as opened:
        opened.run("SET lock_timeout = '20ms'")
        while not over.wait(chance.uniform(0.05, 0.4)):
            with contextlib.suppress(pg8000.native.DatabaseError):
                opened.run(chance.choice(chores))


def prepare(capture: Capture, layout: str, chance: random.Random) -> None:
    """Make the table, in which the order of keys, of transactions and of places disagree."""
    with session(capture.owner()) as owner:
        owner.run((PLAIN if layout == "plain" else PARTITIONED).format(columns=COLUMNS))
        if layout == "partitioned":
            for part in GROUPS[1:]:
                owner.run(f"CREATE TABLE item_{part} PARTITION OF item FOR VALUES IN ('{part}')")
            owner.run("CREATE TABLE item_other PARTITION OF item DEFAULT")
        keys = [(part, key) for part in GROUPS for key in range(0, KEYS * (WRITERS + 1), 3)]
        chance.shuffle(keys)
        for start in range(0, len(keys), 100):
            values = ", ".join(f"('{part}', {key}, 'first', 0.25)" for part, key in keys[start : start + 100])
            owner.run(f"INSERT INTO item (part, id, name, amount) VALUES {values}")
            # Room in the first pages, where later rows come to lie.
            owner.run("DELETE FROM item WHERE id % 10 = 1")
            owner.run("UPDATE item SET note = 'x' WHERE id % 7 = 2")
            owner.run("VACUUM item")


def replayed(state: dict[Any, Row], versions: list[Row]) -> None:
    """Apply versions to what the lake held, each of which must change it."""
    for version in versions:
        key, row = (version["part"], version["id"]), without_platform(version)
        before = state.get(key)
        match version["_change"]:
            case "insert":
                assert before is None
                state[key] = row
            case "update":
                assert before not in (None, row)
                state[key] = row
            case _:
                assert state.pop(key) == row


def check_history(
    truths: list[list[Row]], batches: list[int], versions: list[Row], *, deletions_lag: bool
) -> int:
    """Compare what each tick could see with what the lake held after it; how many row states were compared.

    Where deletions lag, rows may be in the lake that are gone from the source, and no others; a row that is
    put back before its deletion was seen never was deleted.
    """
    state: dict[Any, Row] = {}
    once: set[Any] = set()
    compared = 0
    for number, (truth, batch) in enumerate(zip(truths, batches, strict=True)):
        earlier = batches[number - 1] if number else 0
        replayed(state, [version for version in versions if earlier < version["_batch"] <= batch])
        wanted = {(row["part"], row["id"]): row for row in truth}
        if deletions_lag and number + 1 < len(truths):
            assert {key: state.get(key) for key in wanted} == wanted
            assert state.keys() - wanted.keys() <= once
        else:
            assert state == wanted
        once |= wanted.keys()
        compared += len(wanted)
    return compared


def has_happened(load: Load, ticks: int, writers: list[Writer]) -> bool:
    """Whether enough has happened; of a writer that failed nothing more is to be expected."""
    if any(writer.failure for writer in writers):
        return True
    did = sum((Counter(dict(writer.did)) for writer in writers), Counter[str]())
    is_enough = ticks >= load.ticks and sum(did[kind] for kind in KINDS) >= load.changes
    return is_enough and all(did[kind] for kind in (*KINDS, *ENDS))


def run_ticks(capture: Capture, layout: str, load: Load, seed: int) -> Counter[str]:
    """Let writers write while ticks run, and compare; what happened, counted."""
    chance = random.Random(seed)
    prepare(capture, layout, chance)
    tables = capture.tables()
    plain = capture.source(tables)
    source = Observed(
        **{column.name: getattr(plain, column.name) for column in dataclasses.fields(plain)},
        observer=capture.owner,
    )
    over = threading.Event()
    writers = [
        Writer(number, random.Random(seed * 100 + number), capture.owner(), load, over)
        for number in range(WRITERS)
    ]
    threads = [threading.Thread(target=writer.write) for writer in writers]
    threads.append(threading.Thread(target=keep_house, args=(capture.owner(), random.Random(seed), over)))
    batches: list[int] = []

    def tick(source: Observed) -> None:
        extraction = Extractor(source, capture.lake, capture.engine).extract(tables)
        assert extraction.tables["item"].stopped == ""
        batches.append(extraction.batch)
        counted["rows read"] += extraction.tables["item"].rows_read

    counted: Counter[str] = Counter()
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + load.seconds
        while time.monotonic() < end or not has_happened(load, len(batches), writers):
            tick(source)
            over.wait(load.between)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for writer in writers:
        for failure in writer.failure:
            raise failure
        counted.update(writer.did)
    due = dataclasses.replace(source.policy, deletions_every=dt.timedelta(0))
    tick(dataclasses.replace(source, policy=due))
    capture.assert_equal()
    versions = capture.versions(tables[0])
    assert all(isinstance(version["amount"], Decimal | None) for version in versions)
    truths = [by_key(seen["item"], tables[0].primary_key) for seen in source.seen]
    lag = capture.policy.small_table_rows == 0
    counted["row states"] = check_history(truths, batches, versions, deletions_lag=lag)
    counted["ticks"], counted["versions"] = len(batches), len(versions)
    # After the last one nothing is left to be seen.
    assert capture.tick().rows == 0
    return counted


def follow(
    server: EmbeddedPostgres, folder: Path, load: Load, layout: str, policy: str, seed: int
) -> Counter[str]:
    """Make a database for one seed, and run it; what happened, counted."""
    name = f"writers_{seed}"
    create_database(server, name)
    try:
        capture = Capture(
            lambda: server.owner(name), lambda: server.reader(name), folder, policy=POLICIES[policy]
        )
        return run_ticks(capture, layout, load, seed)
    finally:
        drop_database(server, name)


@pytest.mark.sampled(3)
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("layout", "policy", "seed"),
    [
        ("plain", "keys compared at every tick", 1),
        ("partitioned", "deletions looked for at the end", 2),
        ("plain", "deletions looked for at the end", 3),
    ],
)
def test_every_version_that_a_tick_could_see_is_in_the_lake_and_no_other(
    server: EmbeddedPostgres, tmp_path: Path, layout: str, policy: str, seed: int
) -> None:
    counted = follow(server, tmp_path, BRIEF, layout, policy, seed)
    assert counted["ticks"] > BRIEF.ticks
    assert counted["versions"] > 400
