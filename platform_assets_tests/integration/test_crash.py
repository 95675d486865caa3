"""Ticks that are killed, or that run at the same time, lose no row and double none."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from platform_assets.build import MAIN_JOB
from platform_assets.errors import LakeConflict
from platform_assets.lake.delta import LakeTable
from platform_assets.model.table import Column, Integer
from platform_assets.model.totesys import source as totesys
from platform_assets.sample.database import advance_sample, create_sample
from platform_assets.source.extract import Extractor
from platform_assets.source.outcome import Extraction
from platform_assets_tests.fixtures.house import engine_of, lake_of, source_of
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.integration import totesys_files as files
from platform_assets_tests.integration.installation import FACTS, ROOT, Installation, session, wait_until

SALES = 400
KILLS = {"reading": 2, "bronze": 5, "star": 5, "checking": 1, "loading": 5, "after": 2}
"""Number of kills that are aimed at each phase of a tick."""
MOST_KILLS = 100

Result = TypeVar("Result")


class TickServer:
    """A `tick_server` process."""

    def __init__(self, platform: Installation) -> None:
        self._log = (platform.folder / "ticks.log").open("ab")
        # What the killed leave behind in the folder for temporary files goes with the rest of the platform.
        temporary = platform.folder / "temporary"
        temporary.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "platform_assets_tests.integration.tick_server"],
            cwd=ROOT,
            env={**platform.environment, "TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._said = self._process.stdout
        assert self._hear() == "ready"

    def start(self, job: str = MAIN_JOB) -> int:
        """Starts a run of a job; its process group."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{job}\n")
        self._process.stdin.flush()
        word, pid = self._hear().split(" ")
        assert word == "started"
        return int(pid)

    def end(self) -> int:
        """Waits for the tick to end; its exit code, negative where a signal ended it."""
        word, code = self._hear().split(" ")
        assert word == "ended"
        return int(code)

    def tick(self) -> None:
        """Runs a whole tick."""
        self.start()
        assert self.end() == 0

    def close(self) -> None:
        """Ends the server."""
        assert self._process.stdin is not None
        assert self._said is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()
        self._log.close()

    def _hear(self) -> str:
        assert self._said is not None
        return self._said.readline().strip()


@dataclass
class History:
    """A source that goes on, a platform that follows it, and what the source held at each batch.

    Args:
        database: The source.
        platform: The platform.
        batches: Numbers of the batches that the ledger counts, in their order.
        states: What the source held at each of them.
    """

    database: Database
    platform: Installation
    batches: list[int] = field(default_factory=list)
    states: list[files.Snapshot] = field(default_factory=list)

    def source(self) -> files.Snapshot:
        """What the source holds."""
        with session(self.database.owner) as owner:
            return files.in_database(owner)

    def advance(self, seed: int) -> files.Snapshot:
        """Lets the business go on by a day, with silent edits and deletions; what the source holds then."""
        advance_sample(self.database.owner, days=1, silent_edits=12, deletes=3, seed=seed)
        return self.source()

    def note(self, source: files.Snapshot) -> bool:
        """Records what the ledger has taken since the last discovery: at most one batch, of this state."""
        counted = ledger_batches(self.platform)
        assert counted[: len(self.batches)] == self.batches
        new = counted[len(self.batches) :]
        assert len(new) <= 1
        self.batches += new
        self.states += [source for _ in new]
        return bool(new)

    def expected_facts(self, count: int) -> dict[str, list[tuple[Any, ...]]]:
        """The rows that each fact has after so many batches, without record id and `_seen_at`."""
        return {
            fact: [
                (*mapped(row), change, self.batches[number - 1])
                for number, _, change, row in files.versions(state[table] for state in self.states[:count])
            ]
            for fact, (table, mapped) in files.FACTS.items()
        }

    def loaded(self) -> int:
        """How many batches the warehouse holds, after a look that it holds exactly these and nothing else."""
        warehouse = self.platform.warehouse_rows()
        newest = max(row[-2] for rows in warehouse.values() for row in rows)
        count = self.batches.index(newest) + 1
        assert {fact: [row[1:-1] for row in warehouse[fact]] for fact in FACTS} == self.expected_facts(count)
        for fact in FACTS:
            ids = [row[0] for row in warehouse[fact]]
            assert ids == list(range(1, len(ids) + 1))
        for name, rows in files.dimensions(self.states[count - 1]).items():
            assert {row[0]: row[:-3] for row in warehouse[name] if row[-3] != "delete"} == rows
        facts = {fact: [row[1:-3] for row in warehouse[fact]] for fact in FACTS}
        assert [row[:-3] for row in warehouse["dim_date"]] == files.calendar(facts)
        return count


def ledger_batches(platform: Installation) -> list[int]:
    """The batches that the ledger counts, in their order."""
    ledger = DeltaTable(str(platform.ingestion / "_ledger")).to_pyarrow_table()
    return sorted(set(ledger["batch"].to_pylist()))


def commits(folder: Path) -> int:
    """Number of commits to the Delta tables under a folder."""
    return sum(1 for _ in folder.glob("**/_delta_log/*.json"))


@dataclass(frozen=True)
class Progress:
    """How far a tick has come, seen from its files.

    Args:
        bronze: Commits to bronze tables.
        ledger: Commits to the ledger.
        star: Commits to star tables.
        warehouse: When the warehouse's file was last written (ns).
        is_loading: Whether the tick has the warehouse open for writing, where the system lets one see it.
    """

    bronze: int
    ledger: int
    star: int
    warehouse: int
    is_loading: bool

    @classmethod
    def of(cls, platform: Installation, pid: int = 0) -> Progress:
        return cls(
            commits(platform.ingestion / "totesys"),
            commits(platform.ingestion / "_ledger"),
            commits(platform.processed / "star"),
            platform.warehouse.stat().st_mtime_ns,
            has_open_for_writing(pid, platform.warehouse),
        )

    def phase_since(self, start: Progress) -> str:
        """The phase that a tick is in which began at `start`."""
        if self.is_loading:
            return "loading"
        if self.warehouse > start.warehouse:
            return "after"
        if self.star > start.star:
            return "checking" if self.star - start.star >= 5 else "star"
        if self.ledger > start.ledger:
            return "star"
        return "bronze" if self.bronze > start.bronze else "reading"


def has_open_for_writing(pid: int, file: Path) -> bool:
    """Whether a process has a file open for writing; no, too, where there is no /proc."""
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(link) == str(file):
                flags = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text().split("flags:")[1].split()[0]
                if int(flags, 8) & os.O_RDWR:
                    return True
    return False


@pytest.fixture
def history(new_database: NewDatabase, tmp_path: Path) -> History:
    """A sample business and a platform that has never looked at it."""
    database = new_database()
    create_sample(database.owner, sales=SALES, seed=7)
    return History(database, Installation.create(tmp_path / "platform", database.reader))


@contextlib.contextmanager
def tick_server(platform: Installation) -> Iterator[TickServer]:
    server = TickServer(platform)
    try:
        yield server
    finally:
        server.close()


@pytest.mark.soak
def test_ticks_killed_at_random_moments_leave_no_trace_in_the_final_state(
    history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(20)
    platform = history.platform
    hits: Counter[str] = Counter()
    committed_by_the_killed = 0
    with tick_server(platform) as server:
        source = history.source()
        server.tick()
        assert history.note(source)
        source = history.advance(seed=0)
        lengths = measured_phases(server, platform)
        assert history.note(source)
        held = history.loaded()
        assert held == 2
        for seed, aim in enumerate(aimed_at(hits, chance), start=1):
            source = history.advance(seed)
            before = Progress.of(platform)
            group = server.start()
            wait_for_phase(platform, group, before, aim, lengths)
            time.sleep(0.8 * chance.random() * lengths[aim])
            is_loading = has_open_for_writing(group, platform.warehouse)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            code = server.end()
            landed = replace(Progress.of(platform), is_loading=is_loading).phase_since(before)
            landed = landed if code == -signal.SIGKILL else "missed"
            hits[landed] += 1
            if landed != aim:
                # This tick was faster than the measured one.
                lengths[aim] /= 2
            assert code in (0, -signal.SIGKILL)
            committed_by_the_killed += history.note(source)
            held, before_held = history.loaded(), held
            assert held == len(history.batches) if landed == "after" else held >= before_held
        server.tick()
        history.note(source)
    with capsys.disabled():
        sys.stdout.write(f"\nkills landed: {dict(hits)}; phases (s): {lengths}\n")
    assert history.source() == source
    assert history.states[-1] == source
    assert history.loaded() == len(history.batches)
    assert 0 < committed_by_the_killed < hits.total()
    twin = Installation.create(tmp_path / "twin", history.database.reader)
    twin.tick()
    assert current_values(platform) == current_values(twin)


def aimed_at(hits: Counter[str], chance: random.Random) -> Iterator[str]:
    """The phases to kill a tick in: as often as planned, and again while a phase was hit less than twice."""
    aims = [phase for phase, count in KILLS.items() for _ in range(count)]
    chance.shuffle(aims)
    yield from aims
    needed = ("bronze", "star", "loading" if Path("/proc").exists() else "checking")
    for _ in range(MOST_KILLS):
        if sum(hits[phase] for phase in KILLS) >= len(aims) and all(hits[phase] >= 2 for phase in needed):
            return
        yield min(needed, key=lambda phase: hits[phase])
    pytest.fail(
        f"{MOST_KILLS} more kills did not hit each of the phases {', '.join(needed)} twice: {dict(hits)}"
    )


def measured_phases(server: TickServer, platform: Installation) -> dict[str, float]:
    """Runs a tick to its end and says how long each of its phases took, in seconds."""
    before = Progress.of(platform)
    lengths = dict.fromkeys(KILLS, 0.0)
    ended = threading.Event()
    pid = server.start()
    waiter = threading.Thread(target=lambda: (server.end(), ended.set()))
    waiter.start()
    last = time.monotonic()
    while not ended.wait(0.005):
        now = time.monotonic()
        lengths[Progress.of(platform, pid).phase_since(before)] += now - last
        last = now
    waiter.join()
    return lengths


def wait_for_phase(
    platform: Installation, pid: int, before: Progress, phase: str, lengths: dict[str, float]
) -> None:
    """Waits until a tick that began at `before` is in a phase, or past it."""
    order = list(KILLS)
    wait_until(
        lambda: order.index(Progress.of(platform, pid).phase_since(before)) >= order.index(phase),
        f"the phase {phase} of the tick",
        every=0.002,
    )


def current_values(platform: Installation) -> dict[str, list[tuple[Any, ...]]]:
    """What the warehouse says the source holds now, without keys and columns of the platform."""
    values = {}
    for fact in FACTS:
        rows = platform.query(f"FROM star.{fact}_current ORDER BY 2")
        values[fact] = [row[1:-3] for row in rows]
    for name, rows in platform.warehouse_rows().items():
        if name.startswith("dim_") and name != "dim_date":
            values[name] = [row[:-3] for row in rows if row[-3] != "delete"]
    return values


def test_rows_of_a_batch_that_died_before_the_ledger_had_it_are_never_read(history: History) -> None:
    platform = history.platform
    source = history.source()
    platform.tick()
    assert history.note(source)
    source = history.advance(seed=1)
    run_until_killed(platform, after="totesys/payment: ")
    assert not history.note(source)
    left = DeltaTable(str(platform.ingestion / "totesys" / "sales_order")).to_pyarrow_table()["_batch"]
    assert set(left.to_pylist()) == {1, 2}
    platform.load()
    assert history.loaded() == 1
    extraction = platform.tick()
    assert extraction.batch == 3
    assert history.note(source)
    assert history.batches == [1, 3]
    assert history.loaded() == 2
    bronze = {row["_batch"] for row in platform.bronze_versions("sales_order")}
    assert bronze == {1, 3}


def run_until_killed(platform: Installation, after: str) -> None:
    """Extracts in a process that kills itself once it has reported something that starts with `after`."""
    script = f"""
        import os, signal
        from platform_assets_tests.fixtures.house import engine_of, lake_of, source_of
        from platform_assets.model.totesys import source as totesys
        from platform_assets.settings import load_settings
        from platform_assets.source.extract import Extractor

        def report(message):
            if message.startswith({after!r}):
                os.kill(os.getpid(), signal.SIGKILL)

        settings = load_settings()
        source, lake, engine = source_of(settings, "totesys"), lake_of(settings), engine_of(settings)
        Extractor(source, lake, engine, report=report).extract(totesys.TABLES)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    died = subprocess.run(command, cwd=ROOT, env=platform.environment, timeout=PATIENCE, check=False)
    assert died.returncode == -signal.SIGKILL


def test_of_two_extractions_at_once_one_counts_and_the_other_finds_nothing_left(
    history: History,
) -> None:
    platform = history.platform
    source = history.source()
    platform.tick()
    assert history.note(source)
    source = history.advance(seed=1)
    first_is_writing, second_is_done = threading.Event(), threading.Event()

    def report(_: str) -> None:
        first_is_writing.set()
        assert second_is_done.wait(PATIENCE)

    first = Attempt(lambda: extractor(platform, report).extract(totesys.TABLES))
    assert first_is_writing.wait(PATIENCE)
    second = extractor(platform).extract(totesys.TABLES)
    second_is_done.set()
    retried = first.result()
    assert history.note(source)
    assert retried.batch == second.batch
    assert {name for name, change in retried.tables.items() if change.rows} == set()
    platform.load()
    assert history.loaded() == 2


def test_extractions_that_start_together_take_every_change_exactly_once(history: History) -> None:
    platform = history.platform
    outcomes: Counter[str] = Counter()
    for seed in range(1, 5):
        source = history.source() if seed == 1 else history.advance(seed)
        together = threading.Barrier(2)

        def attempt(together: threading.Barrier = together) -> Extraction:
            own = extractor(platform)
            together.wait(PATIENCE)
            return own.extract(totesys.TABLES)

        outcomes += outcomes_of([Attempt(attempt), Attempt(attempt)])
        assert history.note(source)
    platform.load()
    assert history.loaded() == 4
    assert outcomes == {"done": 8}


def test_only_one_of_two_writers_creates_a_table(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for attempt in range(20):
        table = LakeTable(str(tmp_path / str(attempt)), (Column("number", Integer()),))
        rows = pa.table({"number": [1, 2, 3]}, schema=table.arrow_schema)
        together = threading.Barrier(2)

        def write(
            table: LakeTable = table, rows: pa.Table = rows, together: threading.Barrier = together
        ) -> int:
            together.wait(PATIENCE)
            return table.append(None, rows, stream="numbers", version=1)

        outcomes += outcomes_of([Attempt(write), Attempt(write)])
        assert table.row_count(table.open()) == 3
    assert outcomes == {"done": 20, "conflict": 20}


def test_two_runs_of_the_main_job_at_once_both_end_well(history: History) -> None:
    platform = history.platform
    with tick_server(platform) as one, tick_server(platform) as other:
        for seed in (1, 2):
            source = history.source() if seed == 1 else history.advance(seed)
            one.start()
            other.start()
            assert (one.end(), other.end()) == (0, 0)
            assert history.note(source)
            assert history.loaded() == seed


def extractor(platform: Installation, report: Callable[[str], None] = lambda _: None) -> Extractor:
    settings = platform.settings
    source, lake, engine = source_of(settings, "totesys"), lake_of(settings), engine_of(settings)
    return Extractor(source, lake, engine, report=report)


class Attempt(Generic[Result]):
    """Work in a thread, whose error is that of who asks for the result."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._outcome: list[Result | BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], Result]) -> None:
        try:
            self._outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._outcome.append(error)

    def result(self) -> Result:
        self._thread.join(PATIENCE)
        assert self._outcome, "the work did not end in time"
        [outcome] = self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def outcomes_of(attempts: list[Attempt[Any]]) -> Counter[str]:
    """How many attempts were done, and how many gave way to another."""
    outcomes: Counter[str] = Counter()
    for attempt in attempts:
        try:
            attempt.result()
            outcomes["done"] += 1
        except LakeConflict:
            outcomes["conflict"] += 1
    return outcomes
