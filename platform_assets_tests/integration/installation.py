"""One platform in a folder of its own: configuration, lake, warehouse, Dagster home, and looks into them.

The looks go past the platform's code: duckdb reads the warehouse, deltalake the lake, pg8000 the source.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pg8000.native
from deltalake import DeltaTable

import platform_assets
from platform_assets.build import MAIN_JOB, build_defs
from platform_assets.model.totesys import source as totesys_source
from platform_assets.model.totesys import star
from platform_assets.settings import Settings, load_settings
from platform_assets.source.connection import Connection
from platform_assets.source.extract import Extractor
from platform_assets.source.outcome import Extraction
from platform_assets.star.transform import StarBuilder
from platform_assets_tests.fixtures.environment import python_path
from platform_assets_tests.fixtures.house import engine_of, lake_of, source_of, warehouse_of
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.recorder import VARIABLE as LINES

ROOT = Path(platform_assets.__file__).parents[1]
BIN = Path(sys.executable).parent
NO_TELEMETRY = {"telemetry": {"enabled": False}}
"""Settings for Dagster instances without `dagster.yaml`, which would write into the home folder."""
FACTS = {
    "fact_sales_order": ("sales_record_id", "sales_order_id"),
    "fact_purchase_order": ("purchase_record_id", "purchase_order_id"),
    "fact_payment": ("payment_record_id", "payment_id"),
}
"""Record id and business key of each fact."""


@dataclass(frozen=True)
class Installation:
    """A platform that reads one database.

    Args:
        folder: Where everything of it is.
        settings: Its configuration, as loaded from `folder/platform.conf`.
    """

    folder: Path
    settings: Settings

    @classmethod
    def create(cls, folder: Path, connection: Connection, **overrides: str) -> Installation:
        """Writes the configuration of a platform that reads `connection`, and loads it.

        Args:
            folder: An empty folder.
            connection: The database.
            overrides: Further values by key path, dots written as double underscores.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "password").write_text(connection.password)
        given = {
            "sources.totesys.embedded": "false",
            "sources.totesys.connection.host": json.dumps(connection.host),
            "sources.totesys.connection.port": str(connection.port),
            "sources.totesys.connection.database": json.dumps(connection.database),
            "sources.totesys.connection.user": json.dumps(connection.user),
            "sources.totesys.connection.password": '"secret://file/./password"',
            "sources.totesys.connection.sslmode": connection.sslmode,
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        return cls._configured(folder, given)

    @classmethod
    def create_embedded(cls, folder: Path, sales: int) -> Installation:
        """Writes the configuration of a platform with a sample database of its own, and loads it."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls._configured(folder, {"sources.totesys.sample.sales": str(sales)})

    @classmethod
    def _configured(cls, folder: Path, given: dict[str, str]) -> Installation:
        places = {
            "state_dir": '"state"',
            "lake.ingestion": '"lake/ingestion"',
            "lake.processed": '"lake/processed"',
            "warehouse.duckdb.path": '"warehouse.duckdb"',
        }
        lines = [f'include file("{ROOT / "config" / "platform.conf"}")']
        lines += [f"{key} = {value}" for key, value in {**places, **given}.items()]
        config = folder / "platform.conf"
        config.write_text("\n".join(lines) + "\n")
        home = folder / "dagster"
        home.mkdir(exist_ok=True)
        shutil.copy(ROOT / "dagster.yaml", home)
        return cls(folder, load_settings(config))

    @property
    def ingestion(self) -> Path:
        """The lake's zone of bronze tables, dead letters and the ledger."""
        return self.folder / "lake" / "ingestion"

    @property
    def processed(self) -> Path:
        """The lake's zone of star tables."""
        return self.folder / "lake" / "processed"

    @property
    def warehouse(self) -> Path:
        """The warehouse's file."""
        return self.folder / "warehouse.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a program that runs this platform: an empty home, nothing of the caller's."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        kept = {key: os.environ[key] for key in ("LANG", "TMPDIR", LINES) if key in os.environ}
        return {
            **kept,
            "PATH": f"{BIN}:/usr/bin:/bin",
            "PYTHONPATH": python_path(ROOT),
            "HOME": str(home),
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "PLATFORM_CONFIG": str(self.folder / "platform.conf"),
        }

    def run_job(self, instance: dg.DagsterInstance, **options: Any) -> dg.ExecuteInProcessResult:
        """Runs the main job in this process."""
        job = build_defs(self.settings).resolve_job_def(MAIN_JOB)
        return job.execute_in_process(instance=instance, **options)

    def extract(self) -> Extraction:
        """Extracts one batch, without Dagster."""
        engine = engine_of(self.settings)
        extractor = Extractor(source_of(self.settings, "totesys"), lake_of(self.settings), engine)
        return extractor.extract(totesys_source.TABLES)

    def load(self) -> None:
        """Brings star schema and warehouse up to date, without Dagster."""
        lake, engine = lake_of(self.settings), engine_of(self.settings)
        StarBuilder(lake, star.STAR, engine).build(star.TABLES)
        warehouse_of(self.settings).load(lake, star.TABLES)

    def tick(self) -> Extraction:
        """Does what a run of the main job does, without Dagster and its checks."""
        extraction = self.extract()
        self.load()
        return extraction

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Runs a query on the warehouse's file."""
        with contextlib.closing(duckdb.connect(str(self.warehouse), read_only=True)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    def warehouse_rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every star table in the warehouse, sorted by its first column."""
        names = [
            name
            for (name,) in self.query("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'star'")
        ]
        return {name: self.query(f"FROM star.{name} ORDER BY 1") for name in sorted(names)}

    def star_rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every star table in the lake, sorted by its first column."""
        return {folder.name: lake_rows(folder) for folder in sorted((self.processed / "star").iterdir())}

    def star_rows_as_loaded(self) -> dict[str, list[tuple[Any, ...]]]:
        """The same, with times of day as the warehouse has them: the lake holds them as text."""
        times = {"created_time", "last_updated_time"}
        tables = {}
        for folder in sorted((self.processed / "star").iterdir()):
            indices = {
                i for i, name in enumerate(DeltaTable(str(folder)).schema().to_arrow().names) if name in times
            }
            tables[folder.name] = [
                tuple(dt.time.fromisoformat(value) if i in indices else value for i, value in enumerate(row))
                for row in lake_rows(folder)
            ]
        return tables

    def bronze_versions(self, table: str) -> list[dict[str, Any]]:
        """The versions of a source table's rows that the ledger counts, in order of batch and key."""
        ledger = DeltaTable(str(self.ingestion / "_ledger")).to_pyarrow_table().to_pylist()
        counted = {entry["batch"] for entry in ledger if entry["table"] == table}
        rows = DeltaTable(str(self.ingestion / "totesys" / table)).to_pyarrow_table().to_pylist()
        versions = [row for row in rows if row["_batch"] in counted]
        return sorted(versions, key=lambda row: (row["_batch"], row[f"{table}_id"]))

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of change (ns) of every file of lake and warehouse."""
        found = [self.warehouse, *self.folder.glob("warehouse.duckdb.*"), *self.ingestion.rglob("*")]
        found += self.processed.rglob("*")
        return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in found if file.is_file()}


def lake_rows(folder: Path) -> list[tuple[Any, ...]]:
    """Every row of a Delta table, sorted by its first column."""
    table = DeltaTable(str(folder)).to_pyarrow_table()
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=lambda row: row[0])


@contextlib.contextmanager
def session(connection: Connection) -> Iterator[pg8000.native.Connection]:
    """A session with the source database."""
    opened = pg8000.native.Connection(
        connection.user,
        host=connection.host,
        port=connection.port,
        database=connection.database,
        password=connection.password,
        ssl_context=False,
    )
    with contextlib.closing(opened):
        yield opened


def wait_until(condition: Callable[[], Any], what: str, *, every: float = 0.05) -> Any:
    """Waits for a condition to give something true, and gives it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen")
        time.sleep(every)
