"""What Dagster's steps and sensors ask of the inspection, as it is configured."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
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
class InspectedColumns:
    """The result of an inspection of columns.

    Args:
        tables: Number of tables that were inspected.
        failing: Tables and warehouses that could not be.
    """

    tables: int
    failing: Isolation


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

    def inspect_columns(self, run_id: str, report: Callable[..., object]) -> InspectedColumns:
        """Inspect the tables that have changed since their last inspection.

        A table that cannot be inspected leaves the others alone, and is inspected the next time.

        Args:
            run_id: The run that does it.
            report: Told of each table, as a logger's method.

        Raises:
            LakeError: It cannot be read which tables have changed.
        """
        failing = Isolation("Inspecting columns")
        seen = 0
        known = self.findings.inspected_versions(*self.detector)
        with self.columns() as inspector:
            for name, inspected in self._tables(inspector, known, failing):
                with failing.guard(name) as guard:
                    if (table := inspected()) is not None:
                        self._record(table, run_id)
                        report(
                            "%s: %d of %d rows inspected, %d verdicts",
                            table.table,
                            table.rows_inspected,
                            table.rows_total,
                            len(table.verdicts),
                        )
                        seen += 1
                        for column, reason in table.failures.items():
                            failing.record(f"{name}.{column}", DlpError(reason))
                if guard.failed:
                    report("%s could not be inspected: %s", name, failing.failures[-1].reason)
        return InspectedColumns(seen, failing)

    def _record(self, table: InspectedTable, run_id: str) -> None:
        self.findings.record_columns(
            [table],
            self.policy,
            detector=self.detector[0],
            detector_version=self.detector[1],
            inspected_at=self.clock(),
            run_id=run_id,
        )

    def _tables(
        self, inspector: ColumnInspector, known: Mapping[tuple[str, str], str], failing: Isolation
    ) -> Iterator[tuple[str, Callable[[], InspectedTable | None]]]:
        """The tables by name, each with what inspects it where it has changed."""

        def in_lake(key: str, table: LakeTable) -> InspectedTable | None:
            handle = table.open()
            if handle is None or known.get(("lake", key)) == str(handle.version()):
                return None
            return inspector.inspect_lake_table(table, key)

        def in_warehouse(warehouse: str, table: WarehouseTable) -> InspectedTable | None:
            if known.get((warehouse, table.key)) == table.version:
                return None
            with table.read() as rows:
                return inspector.inspect_rows(rows, warehouse, table.key, table.version)

        for key, table in self.lake_tables.items():
            yield key, partial(in_lake, key, table)
        for name, tables in self.warehouse_tables.items():
            listed: Sequence[WarehouseTable] = ()
            with failing.guard(name):
                listed = tables()
            for one in listed:
                yield one.key, partial(in_warehouse, name, one)

    def unexpected_columns(self) -> list[dict[str, Any]]:
        """What columns hold that no rule allows or de-identifies, by the policy as it is now."""
        unexpected = []
        for row in self.findings.sensitive_columns():
            place = f"{row['table']}.{row['column']}"
            # One that nobody can read is taken for the surest.
            likelihood = Likelihood.__members__.get(row["likelihood"], Likelihood.VERY_LIKELY)
            decision = self.policy.decide(row["info_type"], likelihood, place)
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
