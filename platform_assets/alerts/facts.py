"""Facts about the platform's work: what failed and what works again, as plain values without Dagster."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from platform_assets.alert import Severity


class Kind(StrEnum):
    """The subject of a fact; each kind has its section in docs/operations.md."""

    JOB = "job"
    TABLE = "table"
    ASSET = "asset"
    CHECK = "check"
    FRESHNESS = "freshness"
    SCHEDULE = "schedule"
    SENSOR = "sensor"
    SILENCE = "silence"
    DAEMON = "daemon"
    UPKEEP = "upkeep"
    WATCH = "watch"


WHAT_TO_DO: Mapping[str, str] = {
    Kind.JOB: "Open the run and read the error of the first failed step. Once its cause is mended, run the "
    "job again or wait for its schedule: it catches up by itself.",
    Kind.TABLE: "The table keeps its last loaded data, all others go on. Mend what the reason names; the "
    "next run catches up.",
    Kind.ASSET: "Open the run and read the error of the failed step, then materialize the asset again.",
    Kind.CHECK: "Open the check of the asset in Dagster: it shows the rows. Mend them at the source, or the "
    "rule in the model; the check runs again with its job.",
    Kind.FRESHNESS: "See whether the job's schedule is on, whether the daemon runs, and what the last run "
    "says.",
    Kind.SCHEDULE: "Open the schedule's last tick in Dagster under Automation; it shows the error.",
    Kind.SENSOR: "Open the sensor's last tick in Dagster under Automation; it shows the error.",
    Kind.SILENCE: "See whether the daemon runs. If this is no longer part of the code location, switch it "
    "off in Dagster under Automation.",
    Kind.DAEMON: "Start the daemon again (make ui, or dagster-daemon run). Schedules catch up at their next "
    "time.",
    Kind.UPKEEP: "Switch on lake_upkeep_schedule, or run: platform-assets lake upkeep --apply",
    Kind.WATCH: "Read the reason. All else was watched; nothing is known of this part until it works again.",
}


@dataclass(frozen=True)
class Fact:
    """Something that fails, or that works.

    Args:
        kind: What it is about.
        subject: Name of the job, table, check, schedule, sensor or daemon.
        at: The time of the event, UTC. Of two facts with the same kind and subject, the later one counts.
        failing: True if it fails; False if it works.
        severity: How severe it is.
        sentence: The reason, without secrets and values.
        tried: What was tried.
        assets: The assets concerned, such as `star/dim_staff`; their owners are notified.
        run_id: Dagster's id of the run.
        counted: True for an event, such as a run, of which several in a row may be needed for an alarm; False
            for a state that is seen at each look.
    """

    kind: Kind
    subject: str
    at: dt.datetime
    failing: bool
    severity: Severity = Severity.ERROR
    sentence: str = ""
    tried: str = ""
    assets: tuple[str, ...] = ()
    run_id: str = ""
    counted: bool = True

    @property
    def key(self) -> str:
        """Identifies the incident."""
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True)
class Cursor:
    """Up to where the watch has looked.

    Attributes:
        since: When it looked first, UTC.
        runs: End of the newest run that it has seen, UTC.
    """

    since: dt.datetime
    runs: dt.datetime


@dataclass(frozen=True)
class Observed:
    """The facts of one look.

    Attributes:
        facts: The facts.
        cursor: From where the next look goes on.
        owners: The owners of each asset.
    """

    facts: tuple[Fact, ...]
    cursor: Cursor
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
