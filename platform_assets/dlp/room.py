"""What Dagster's steps and sensors ask of the inspection, as it is configured."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.dlp.findings import FindingsStore, InspectedTable
from platform_assets.dlp.model import Likelihood, ProblemKind, Status
from platform_assets.dlp.policy import Action, Policy
from platform_assets.errors import DlpError
from platform_assets.isolation import Isolation
from platform_assets.objects.plan import Status as LogStatus

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.alerts.outbox import Channel, Delivery, Outbox
    from platform_assets.dlp.columns import ColumnInspector
    from platform_assets.dlp.uploads import UploadInspector
    from platform_assets.lake.delta import LakeTable
    from platform_assets.objects.watch import Watch

_MOST_ALERTS = 1_000


@dataclass(frozen=True)
class WarehouseTable:
    """A table of a warehouse, to be inspected.

    Args:
        key: Its asset key, joined by `/`.
        version: What changes when its content does.
        read: Streams its rows.
    """

    key: str
    version: str
    read: Callable[[], AbstractContextManager[pa.RecordBatchReader]]


@dataclass(frozen=True)
class InspectionRoom:
    """The inspection as it is configured.

    Args:
        findings: The tables of findings.
        policy: The policy.
        detector: Name and version of the inspector.
        watch: Gives a watch by its name.
        uploads: Opens what inspects a watch's objects.
        columns: Opens what inspects the columns of tables.
        lake_tables: The tables of the lake by asset key.
        warehouse_tables: Gives the tables of a warehouse, by the warehouse's name.
        outbox: The alerts.
        channels: Gives whom they go to.
        clock: Gives the time, UTC.
    """

    findings: FindingsStore
    policy: Policy
    detector: tuple[str, str]
    watch: Callable[[str], Watch]
    uploads: Callable[[str], AbstractContextManager[UploadInspector]]
    columns: Callable[[], AbstractContextManager[ColumnInspector]]
    lake_tables: Mapping[str, LakeTable]
    warehouse_tables: Mapping[str, Callable[[], Sequence[WarehouseTable]]]
    outbox: Outbox
    channels: Callable[[], Sequence[Channel]]
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.UTC))

    def inspect_columns(self, run_id: str, report: Callable[..., object]) -> int:
        """Inspect the tables that have changed since their last inspection; how many that were.

        Args:
            run_id: The run that does it.
            report: Told of each table, as a logger's method.

        Raises:
            IsolatedFailure: A table cannot be read, a column of it cannot be inspected, or what was found
                cannot be recorded. All others were inspected; the next run tries those that failed again.
        """
        seen = 0
        inspecting = Isolation("Inspecting columns")
        with self.columns() as inspector:
            known = self.findings.inspected_versions(*self.detector)
            for name, inspect in self._tables(inspector, known, inspecting):
                with inspecting.guard(name):
                    table = inspect()
                    if table is None:
                        continue
                    self.findings.record_columns(
                        [table],
                        self.policy,
                        detector=self.detector[0],
                        detector_version=self.detector[1],
                        inspected_at=self.clock(),
                        run_id=run_id,
                    )
                    report(
                        "%s: %d of %d rows inspected, %d verdicts",
                        table.table,
                        table.rows_inspected,
                        table.rows_total,
                        len(table.verdicts),
                    )
                    seen += 1
                    for column, reason in table.failures.items():
                        inspecting.record(f"{name}.{column}", DlpError(reason))
        inspecting.raise_failures()
        return seen

    def _tables(
        self, inspector: ColumnInspector, known: Mapping[tuple[str, str], str], inspecting: Isolation
    ) -> Iterator[tuple[str, Callable[[], InspectedTable | None]]]:
        """Each table by its name, and what inspects it where it has changed."""
        for key, table in self.lake_tables.items():

            def of_lake(key: str = key, table: LakeTable = table) -> InspectedTable | None:
                handle = table.open()
                if handle is None or known.get(("lake", key)) == str(handle.version()):
                    return None
                return inspector.inspect_lake_table(table, key)

            yield key, of_lake
        for name, tables in self.warehouse_tables.items():
            of_warehouse: Sequence[WarehouseTable] = ()
            with inspecting.guard(name):
                of_warehouse = tables()
            for one in of_warehouse:

                def by_rows(name: str = name, one: WarehouseTable = one) -> InspectedTable | None:
                    if known.get((name, one.key)) == one.version:
                        return None
                    with one.read() as rows:
                        return inspector.inspect_rows(rows, name, one.key, one.version)

                yield one.key, by_rows

    def unexpected_columns(self) -> list[dict[str, Any]]:
        """What columns hold that no rule allows or de-identifies, by the policy as it is now."""
        unexpected = []
        for row in self.findings.sensitive_columns():
            place = f"{row['table']}.{row['column']}"
            decision = self.policy.decide(row["info_type"], Likelihood[row["likelihood"]], place)
            if decision.action not in (Action.ALLOW, Action.DEIDENTIFY) or decision.rule is None:
                unexpected.append({**row, "rule": str(decision.rule) if decision.rule else None})
        return unexpected

    def uninspected_columns(self) -> list[dict[str, Any]]:
        """The columns that could not be inspected and that no rule allows, with the problem of each."""
        return [
            row
            for row in self.findings.uninspected_columns()
            if self.policy.decide_uninspected(
                Status.UNREADABLE, [ProblemKind.FAILED], f"{row['table']}.{row['column']}"
            ).action
            is not Action.ALLOW
        ]

    def uninspected(self, watch: str, within: dt.timedelta) -> int:
        """Objects of a watch that were noticed longer ago than this and have not been inspected.

        Args:
            watch: Name of the watch.
            within: How long an object may wait.
        """
        state = self.watch(watch).log.read()
        limit = self.clock() - within
        waiting = state.with_status(LogStatus.PLANNED, LogStatus.FAILED, LogStatus.PARKED)
        return sum(entry.object.modified < limit for entry in waiting)

    def deliver_alerts(self) -> Delivery:
        """Send the alerts that are due; a channel that is down delays its own."""
        return self.outbox.deliver(list(self.channels()), self.clock(), _MOST_ALERTS)
