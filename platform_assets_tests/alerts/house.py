"""A platform with channels of its own, and jobs that fail as a test says."""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.alerts.dagster_facts import Deadlines, FactReader
from platform_assets.alerts.facts import Observed
from platform_assets.alerts.incidents import Incident
from platform_assets.orchestration import clear_failures
from platform_assets.rooms import Rooms
from platform_assets.runs import PLAIN, PLAIN_LOGGER, open_instance, run_job
from platform_assets.settings import Settings, dagster_home, load_settings

OWNER = "sales@example.org"
LIMITS = Deadlines(dt.timedelta(minutes=10), dt.timedelta(minutes=5), dt.timedelta(hours=24))
NewHouse = Callable[..., "House"]


@dataclass
class House:
    """A platform, Dagster's instance, and what its jobs do.

    Attributes:
        settings: The configuration.
        instance: Dagster's instance.
        error: What the step raises; None if it succeeds.
        check: Result of the check in the next runs: passed, severity, description.
        stopped: The reason why the table is skipped; empty if it is not.
        metadata: Metadata of the check.
    """

    settings: Settings
    instance: dg.DagsterInstance
    error: Exception | None = None
    check: tuple[bool, dg.AssetCheckSeverity, str] = (True, dg.AssetCheckSeverity.ERROR, "")
    stopped: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def room(self) -> AlertsRoom:
        return Rooms(self.settings).of(AlertsRoom)

    def run(self, name: str = "nightly", **tags: str) -> str:
        """Run the job `nightly`, or the asset job `sales`, and return the run's id."""
        house = self

        @dg.op
        def fetch() -> None:
            with clear_failures():
                if house.error is not None:
                    raise house.error

        @dg.job(name="nightly", logger_defs={PLAIN_LOGGER: PLAIN}, executor_def=dg.in_process_executor)
        def nightly() -> None:
            fetch()

        @dg.asset(key=["shop", "sales"], check_specs=[dg.AssetCheckSpec("no_gaps", asset=["shop", "sales"])])
        def sales() -> Iterator[dg.MaterializeResult[None]]:
            if house.error is not None:
                raise house.error
            passed, severity, description = house.check
            result = dg.AssetCheckResult(
                passed=passed,
                check_name="no_gaps",
                severity=severity,
                description=description,
                metadata=house.metadata,
            )
            yield dg.MaterializeResult(
                metadata={"stopped": house.stopped} if house.stopped else {}, check_results=[result]
            )

        defs = dg.Definitions(
            assets=[sales],
            jobs=[nightly, dg.define_asset_job("sales", executor_def=dg.in_process_executor)],
            loggers={PLAIN_LOGGER: PLAIN},
        )
        job = nightly if name == "nightly" else defs.resolve_job_def(name)
        return run_job(job, self.instance, lambda line: None, tags).run_id

    def observe(self, now: dt.datetime | None = None) -> Observed:
        """Look at the instance; the asset `shop/sales` has an owner."""
        room = self.room
        at = now or dt.datetime.now(dt.UTC)
        _, cursor = room.incidents.read()
        reader = FactReader(self.instance, room.rooms, LIMITS, room.masking, lambda: None)
        found = reader.observe(cursor, at)
        return Observed(found.facts, found.cursor, {**found.owners, "shop/sales": (OWNER,)})

    def look(self, now: dt.datetime | None = None) -> list[Incident]:
        """Look, and send what is due."""
        room = self.room
        at = now or dt.datetime.now(dt.UTC)
        told = room.apply(self.observe(at), at)
        done = room.outbox.deliver(room.channels, max(at, dt.datetime.now(dt.UTC)))
        assert not done.problems
        return told


@pytest.fixture
def new_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a platform with these alerts."""
    from contextlib import ExitStack

    @contextmanager
    def made(alerts: str) -> Any:
        (tmp_path / "config").mkdir()
        file = tmp_path / "config" / "platform.conf"
        file.write_text(
            'state_dir = "../state"\n'
            "sources.totesys { embedded = true }\n"
            'lake { ingestion = "../state/lake/in", processed = "../state/lake/out" }\n'
            'warehouse { engine = duckdb, duckdb { path = "../state/warehouse.duckdb" } }\n'
            f"alerts {{\n{alerts}\n}}\n"
        )
        monkeypatch.setenv("PLATFORM_CONFIG", str(file))
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        settings = load_settings()
        with open_instance(dagster_home(settings)) as instance:
            yield House(settings, instance)

    with ExitStack() as stack:
        yield lambda alerts="": stack.enter_context(made(alerts))
