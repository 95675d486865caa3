"""Times the whole job side by side with what people would put together otherwise.

The platform's main job against dlt with connectorx into DuckDB and dbt-duckdb for the stars with its tests,
without an orchestrator, which favours them. All read the same database and take turns after each change, so
that a machine whose speed drifts treats them alike. dlt and dbt each have an environment of its own, made by
pip in a temporary folder, and are run in two ways:

- `incremental`: rows by `last_updated`, merged into the raw tables; facts append what is new.
- `snapshots`: every table is loaded whole, and dbt's snapshots compare it with the last load.

Every figure is of whole processes. What each has in its stars is compared with the database: wrong values,
rows too many and rows missing. LONG=1 in the environment adds 300,000 and 1,000,000 sales.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from platform_assets.source.connection import Connection

ROOT = Path(__file__).resolve().parent.parent
PLATFORM = "the platform"
DLT = (
    "dlt[duckdb,sql-database]==1.31.0",
    "psycopg2-binary",
    "connectorx==0.4.6",
    "duckdb==2.0.1",
    "pyarrow==26.0.1",
    "sqlalchemy<2.1",
)
DBT = ("dbt-core==1.10.23", "dbt-duckdb==1.10.1", "duckdb==2.0.1")
FIRST_LOAD, TICKS = 1.5, 2.5
"""How many times as fast as the faster of the others the platform is to be."""

LOAD = """
import sys
import dlt
from dlt.sources.sql_database import sql_table

mode, url, database, pipelines, *tables = sys.argv[1:]
pipeline = dlt.pipeline(
    "totesys", pipelines_dir=pipelines, destination=dlt.destinations.duckdb(database), dataset_name="raw"
)

def resource(name):
    options = {"backend": "connectorx", "table": name, "schema": "public", "reflection_level": "full"}
    options["backend_kwargs"] = {"return_type": "arrow"}
    if mode == "snapshots":
        return sql_table(url, write_disposition="replace", **options)
    changed = dlt.sources.incremental("last_updated")
    return sql_table(
        url, incremental=changed, primary_key=f"{name}_id", write_disposition="merge", **options
    )

print(pipeline.run([resource(name) for name in tables]))
"""
PROFILE = "totesys:\n  target: it\n  outputs:\n    it: {type: duckdb, path: '%s', threads: 2}\n"
PROJECT = (
    "name: totesys\nprofile: totesys\nversion: '1.0.0'\nmodels: {+materialized: table}\n"
    "snapshots: {+schema: snapshots}\nflags: {send_anonymous_usage_stats: false}\n"
)
SNAPSHOT = """{%% snapshot %(table)s_snapshot %%}
{{ config(unique_key='%(table)s_id', strategy='check', check_cols='all', hard_deletes='invalidate') }}
SELECT * FROM raw.%(table)s
{%% endsnapshot %%}
"""
DIMENSIONS = {
    "dim_staff": (
        "staff_id",
        "SELECT s.staff_id, s.first_name, s.last_name, d.department_name, "
        "COALESCE(d.location, 'Unknown') AS location, s.email_address "
        "FROM {staff} s JOIN {department} d USING (department_id)",
    ),
    "dim_design": ("design_id", "SELECT design_id, design_name, file_location, file_name FROM {design}"),
    "dim_currency": ("currency_id", "SELECT currency_id, currency_code FROM {currency}"),
    "dim_location": (
        "location_id",
        "SELECT address_id AS location_id, address_line_1, address_line_2, district, city, postal_code, "
        "country, phone FROM {address}",
    ),
    "dim_counterparty": (
        "counterparty_id",
        "SELECT c.counterparty_id, c.counterparty_legal_name, a.address_line_1, a.address_line_2, "
        "a.district, a.city, a.postal_code, a.country, a.phone "
        "FROM {counterparty} c JOIN {address} a ON a.address_id = c.legal_address_id",
    ),
    "dim_payment_type": ("payment_type_id", "SELECT payment_type_id, payment_type_name FROM {payment_type}"),
    "dim_transaction": (
        "transaction_id",
        "SELECT transaction_id, transaction_type, sales_order_id, purchase_order_id FROM {transaction}",
    ),
    "dim_date": (
        "date_id",
        "SELECT CAST(d AS DATE) AS date_id, year(d) AS year, month(d) AS month, day(d) AS day, "
        "isodow(d) AS day_of_week, dayname(d) AS day_name, monthname(d) AS month_name, "
        "quarter(d) AS quarter FROM generate_series(DATE '2022-01-01', DATE '2030-12-31', "
        "INTERVAL 1 DAY) AS t(d)",
    ),
}
STAMPS = (
    "CAST(created_at AS DATE) AS created_date, CAST(created_at AS TIME) AS created_time, "
    "CAST(last_updated AS DATE) AS last_updated_date, CAST(last_updated AS TIME) AS last_updated_time"
)
FACTS = {
    "fact_sales_order": (
        "sales_order",
        "staff_id, counterparty_id, units_sold, unit_price, currency_id, design_id, "
        "CAST(agreed_payment_date AS DATE) AS agreed_payment_date, "
        "CAST(agreed_delivery_date AS DATE) AS agreed_delivery_date, agreed_delivery_location_id",
    ),
    "fact_purchase_order": (
        "purchase_order",
        "staff_id, counterparty_id, item_code, item_quantity, item_unit_price, currency_id, "
        "CAST(agreed_delivery_date AS DATE) AS agreed_delivery_date, "
        "CAST(agreed_payment_date AS DATE) AS agreed_payment_date, agreed_delivery_location_id",
    ),
    "fact_payment": (
        "payment",
        "transaction_id, counterparty_id, payment_amount, currency_id, payment_type_id, paid, "
        "CAST(payment_date AS DATE) AS payment_date",
    ),
}
COMPARED = {
    "fact_sales_order": (
        "sales_order",
        "sales_order_id",
        "counterparty_id units_sold unit_price currency_id design_id agreed_payment_date "
        "agreed_delivery_date agreed_delivery_location_id",
    ),
    "fact_purchase_order": (
        "purchase_order",
        "purchase_order_id",
        "counterparty_id item_code item_quantity item_unit_price currency_id agreed_delivery_date "
        "agreed_payment_date agreed_delivery_location_id",
    ),
    "fact_payment": (
        "payment",
        "payment_id",
        "transaction_id counterparty_id payment_amount currency_id payment_type_id paid payment_date",
    ),
    "dim_staff": ("staff", "staff_id", "first_name last_name email_address"),
    "dim_design": ("design", "design_id", "design_name file_location file_name"),
    "dim_transaction": (
        "transaction",
        "transaction_id",
        "transaction_type sales_order_id purchase_order_id",
    ),
}
"""Of each star table: the table of the source, the key, and the columns that both have under one name."""
SOURCE_TABLES = (
    *("address", "counterparty", "currency", "department", "design", "payment", "payment_type"),
    *("purchase_order", "sales_order", "staff", "transaction"),
)


@dataclass(frozen=True)
class Run:
    """A run of one contestant: wall and CPU seconds of its processes, and the largest peak memory in MB."""

    seconds: float
    cpu: float
    peak_mb: float


@dataclass(frozen=True)
class Wrong:
    """Differences from the source: values, and rows that are too many or missing."""

    values: int = 0
    too_many: int = 0
    missing: int = 0


@dataclass
class Measured:
    """What one contestant did at one size of the source."""

    name: str
    sales: int
    first: Run | None = None
    ticks: list[Run] = field(default_factory=list)
    wrong: Wrong = Wrong()

    @property
    def tick(self) -> float:
        """Median seconds of a tick."""
        return statistics.median(run.seconds for run in self.ticks)

    @property
    def peak_mb(self) -> float:
        """Largest peak memory of any process."""
        return max(run.peak_mb for run in [*self.ticks, *([self.first] if self.first else [])])


@dataclass(frozen=True)
class Contestant:
    """A way to keep stars up to date.

    Args:
        name: Its name.
        commands: Its commands, which run one after another.
        cwd: The folder that they run in.
        database: The DuckDB file with its stars.
        schema: Their schema.
    """

    name: str
    commands: Sequence[Sequence[str]]
    cwd: Path
    database: Path
    schema: str

    def run(self, environment: dict[str, str]) -> Run:
        """Run its processes to their ends."""
        runs = [timed(command, self.cwd, environment) for command in self.commands]
        seconds, cpu = sum(run.seconds for run in runs), sum(run.cpu for run in runs)
        return Run(seconds, cpu, max(run.peak_mb for run in runs))

    def current(self, table: str, key: str) -> str:
        """Return the query of the latest rows of a star table."""
        if self.name == PLATFORM:
            name = f"other.{self.schema}.{table}"
            return (
                f"FROM {name}_current"
                if table.startswith("fact_")
                else f"FROM {name} WHERE _change <> 'delete'"
            )
        name = f"other.{self.schema}.{table}"
        if table.startswith("dim_"):
            return f"FROM {name}"
        if self.name.endswith("snapshots"):
            return f"FROM {name} WHERE dbt_valid_to IS NULL"
        latest = "QUALIFY row_number() OVER (PARTITION BY {} ORDER BY last_updated DESC) = 1"
        return f"FROM {name} {latest.format(key)}"


def timed(command: Sequence[str], cwd: Path, environment: dict[str, str]) -> Run:
    """Run a process to its end; exit with its output if it fails."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)[:300]} failed:\n{output.read().decode(errors='replace')[-4000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


def main() -> None:
    """Measure, print a table, write JSON; exit with 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [13_000, 300_000, 1_000_000] if os.environ.get("LONG") else [13_000]
    parser.add_argument("--sales", type=int, nargs="+", default=sizes, help="sales of the sources")
    parser.add_argument("--ticks", type=int, default=3, help="days of business, each followed by a tick")
    parser.add_argument("--environments", type=Path, help="folder to keep the others' environments in")
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "whole_job.json")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="platform-assets-whole-"))
    folder.chmod(0o755)
    try:
        environments = arguments.environments or folder / "environments"
        dlt = _environment(environments / "dlt", DLT)
        dbt = _environment(environments / "dbt", DBT)
        measured = [
            one for sales in arguments.sales for one in _size(folder, sales, arguments.ticks, dlt, dbt)
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    found = json.dumps([asdict(one) for one in measured], indent=2)
    arguments.json.write_text(found + "\n", encoding="utf-8")
    sys.exit(not all(_reported(measured, sales) for sales in arguments.sales))


def _environment(folder: Path, packages: Sequence[str]) -> Path:
    """Make a virtual environment with packages, unless it is there; return its `bin`."""
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "complete").touch()
    return folder / "bin"


def _size(folder: Path, sales: int, ticks: int, dlt: Path, dbt: Path) -> list[Measured]:
    state = folder / str(sales)
    (state / "dagster").mkdir(parents=True)
    shutil.copy(ROOT / "dagster.yaml", state / "dagster")
    state.chmod(0o755)
    environment = {
        **os.environ,
        "PLATFORM_STATE_DIR": str(state),
        "LAKE_INGESTION": str(state / "lake" / "ingestion"),
        "LAKE_PROCESSED": str(state / "lake" / "processed"),
        "WAREHOUSE_PATH": str(state / "warehouse.duckdb"),
        "DAGSTER_HOME": str(state / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
    }
    sample = (sys.executable, "-m", "platform_assets.cli", "sample")
    timed((*sample, "create", "--sales", str(sales)), ROOT, environment)
    try:
        connection = _connection(state)
        url = _url(connection)
        own = Contestant(
            PLATFORM,
            [(sys.executable, "-m", "platform_assets.cli", "run")],
            ROOT,
            state / "warehouse.duckdb",
            "star",
        )
        others = (_other(state / mode, mode, url, dlt, dbt) for mode in ("incremental", "snapshots"))
        contestants = [own, *others]
        measured = [Measured(contestant.name, sales) for contestant in contestants]
        for contestant, result in zip(contestants, measured, strict=True):
            result.first = contestant.run(environment)
        for tick in range(ticks):
            change = ("--days", "1", "--silent-edits", "30", "--deletes", "10")
            timed((*sample, "advance", *change), ROOT, environment)
            turn = [(tick + place) % len(contestants) for place in range(len(contestants))]
            for place in turn:
                measured[place].ticks.append(contestants[place].run(environment))
        for contestant, result in zip(contestants, measured, strict=True):
            result.wrong = _compared(contestant, connection)
    finally:
        timed((*sample, "stop"), ROOT, environment)
    return measured


def _connection(state: Path) -> Connection:
    from platform_assets.sample.embedded import EmbeddedPostgres

    return EmbeddedPostgres(state / "source").reader()


def _url(connection: Connection) -> str:
    place = f"{connection.host}:{connection.port}/{connection.database}"
    return f"postgresql://{connection.user}:{quote(connection.password)}@{place}"


def _other(folder: Path, mode: str, url: str, dlt: Path, dbt: Path) -> Contestant:
    """Write the load and the project of one way, and return it."""
    models, snapshots = folder / "models", folder / "snapshots"
    for place in (models, snapshots):
        place.mkdir(parents=True)
    database = folder / "stars.duckdb"
    (folder / "load.py").write_text(LOAD)
    (folder / "dbt_project.yml").write_text(PROJECT)
    (folder / "profiles.yml").write_text(PROFILE % database)
    is_snapshot = mode == "snapshots"
    newest = (
        "(SELECT * FROM {{{{ ref('{}_snapshot') }}}} WHERE dbt_valid_to IS NULL)" if is_snapshot else "raw.{}"
    )
    latest = {name: newest.format(name) for name in SOURCE_TABLES}
    for name in SOURCE_TABLES if is_snapshot else ():
        (snapshots / f"{name}.sql").write_text(SNAPSHOT % {"table": name})
    for name, (_, sql) in DIMENSIONS.items():
        (models / f"{name}.sql").write_text(sql.format(**latest))
    for name, (table, columns) in FACTS.items():
        key, extra = f"{table}_id", ", dbt_valid_from, dbt_valid_to" if is_snapshot else ""
        source = f"{{{{ ref('{table}_snapshot') }}}}" if is_snapshot else f"raw.{table}"
        config = "" if is_snapshot else "{{ config(materialized='incremental') }}\n"
        record = f"row_number() OVER (ORDER BY {key}) AS record_id, " if is_snapshot else ""
        loaded = "(SELECT max(last_updated) FROM {{ this }})"
        only_new = f"{{% if is_incremental() %}} WHERE last_updated > {loaded} {{% endif %}}"
        (models / f"{name}.sql").write_text(
            f"{config}SELECT {record}{key}, {STAMPS}, last_updated, {columns}{extra} FROM {source} "
            + ("" if is_snapshot else only_new)
        )
    (models / "tests.yml").write_text(_tests())
    python, run = str(dlt / "python"), str(dbt / "dbt")
    load = (python, "load.py", mode, url, str(database), str(folder / "pipelines"), *SOURCE_TABLES)
    commands = [load, (run, "--quiet", "build", "--profiles-dir", ".")]
    return Contestant(f"dlt and dbt, {mode}", commands, folder, database, "main")


def _tests() -> str:
    """Return dbt's tests: keys are unique and not null, and facts refer to dimensions that exist."""
    models = [
        {"name": name, "columns": [{"name": key, "data_tests": ["unique", "not_null"]}]}
        for name, (key, _) in DIMENSIONS.items()
    ]
    for name, (table, _) in FACTS.items():
        columns = [{"name": f"{table}_id", "data_tests": ["not_null"]}]
        for dimension in ("counterparty", "currency"):
            to = {"to": f"ref('dim_{dimension}')", "field": f"{dimension}_id"}
            columns.append({"name": f"{dimension}_id", "data_tests": ["not_null", {"relationships": to}]})
        models.append({"name": name, "columns": columns})
    return json.dumps({"version": 2, "models": models})


def _compared(one: Contestant, connection: Connection) -> Wrong:
    """Compare the latest rows of the stars with the source."""
    import adbc_driver_postgresql.dbapi
    import duckdb

    values = too_many = missing = 0
    with (
        closing(adbc_driver_postgresql.dbapi.connect(_url(connection))) as source,
        closing(duckdb.connect()) as engine,
    ):
        engine.execute(f"ATTACH '{one.database}' AS other (READ_ONLY)").fetchall()
        for table, (origin, key, names) in COMPARED.items():
            columns = names.split()
            listed = ", ".join(f'CAST("{name}" AS text) AS "{name}"' for name in (key, *columns))
            with source.cursor() as cursor:
                cursor.execute(f'SELECT {listed} FROM public."{origin}"')
                engine.register("source", cursor.fetch_arrow_table())
            star = f"(SELECT {listed.replace('AS text', 'AS VARCHAR')} {one.current(table, key)})"
            pairs = ((_plain("s", name), _plain("o", name)) for name in columns)
            differs = " OR ".join(f"{expected} IS DISTINCT FROM {found}" for expected, found in pairs)
            found = engine.execute(
                f"SELECT count(*) FILTER (s.{key} IS NOT NULL AND o.{key} IS NOT NULL AND ({differs})), "
                f"count(*) FILTER (s.{key} IS NULL), count(*) FILTER (o.{key} IS NULL) "
                f"FROM source s FULL JOIN {star} o ON s.{key} = o.{key}"
            ).fetchall()[0]
            values, too_many, missing = values + found[0], too_many + found[1], missing + found[2]
    return Wrong(values, too_many, missing)


def _plain(alias: str, name: str) -> str:
    """Return a value in one notation: of numbers without trailing zeros, of truth values in lower case."""
    number = f'TRY_CAST({alias}."{name}" AS DECIMAL(30, 6))'
    return f'COALESCE(CAST({number} AS VARCHAR), lower({alias}."{name}"))'


def _reported(measured: Sequence[Measured], sales: int) -> bool:
    """Print the figures of one size; return False where a limit is not kept."""
    from rich.console import Console
    from rich.table import Table

    of_size = [one for one in measured if one.sales == sales]
    own, others = of_size[0], of_size[1:]
    first: Callable[[Measured], float] = lambda one: one.first.seconds if one.first else 0.0  # noqa: E731
    title = f"The whole job at {sales:,} sales on {os.cpu_count()} cores, whole processes"
    table = Table(title=title)
    timings = ("first load s", "CPU s", "tick s", "CPU s", "peak MB")
    for name in ("who", *timings, "wrong values", "too many", "missing"):
        table.add_column(name, justify="left" if name == "who" else "right")
    for one in of_size:
        cpu = statistics.median(run.cpu for run in one.ticks)
        figures = (first(one), one.first.cpu if one.first else 0.0, one.tick, cpu)
        counts = (one.wrong.values, one.wrong.too_many, one.wrong.missing)
        shown = [f"{value:.1f}" for value in figures] + [f"{one.peak_mb:.0f}"]
        table.add_row(one.name, *shown, *(f"{number:,}" for number in counts))
    console = Console(width=120)
    console.print(table)
    limits: dict[str, Any] = {
        f"first load at least {FIRST_LOAD} x": min(map(first, others)) / first(own),
        f"ticks at least {TICKS} x": min(other.tick for other in others) / own.tick,
        "memory below 1 x": own.peak_mb / min(other.peak_mb for other in others),
    }
    kept = {
        name: value < 1 if name.startswith("memory") else value >= (FIRST_LOAD if "first" in name else TICKS)
        for name, value in limits.items()
    }
    for name, value in limits.items():
        console.print(f"{name}: {value:.2f} x, {'kept' if kept[name] else 'NOT kept'}")
    is_right = own.wrong == Wrong()
    console.print(f"nothing wrong, too many or missing: {'kept' if is_right else 'NOT kept'}")
    return all(kept.values()) and is_right


if __name__ == "__main__":
    main()
