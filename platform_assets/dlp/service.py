"""The configured inspection, as Dagster's steps use it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from platform_assets.dlp.findings import FindingsStore, InspectedTable
from platform_assets.dlp.model import Likelihood, Status
from platform_assets.dlp.policy import Action, Policy
from platform_assets.errors import DlpError
from platform_assets.formats.problems import ProblemKind
from platform_assets.isolation import Isolation

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.dlp.columns import ColumnInspector
    from platform_assets.dlp.uploads import UploadInspector
    from platform_assets.lake.delta import LakeTable
    from platform_assets.objects.watch import Watch


@dataclass(frozen=True)
class WarehouseTable:
    """A warehouse table to inspect.

    Args:
        key: Its asset key, joined by `/`.
        version: Changes when its content changes.
        read: Streams its rows.
    """

    key: str
    version: str
    read: Callable[[], AbstractContextManager[pa.RecordBatchReader]]


@dataclass(frozen=True)
class InspectedColumns:
    """The result of inspecting columns.

    Args:
        tables: Number of tables that were inspected.
        failing: Tables and warehouses that could not be inspected.
    """

    tables: int
    failing: Isolation


@dataclass(frozen=True)
class InspectionService:
    """The configured inspection.

    Args:
        findings: The tables of findings.
        policy: The policy.
        detector: Name and version of the inspector.
        watch: Returns a watch by its name.
        uploads: Opens the inspector of a watch's objects.
        columns: Opens the inspector of tables' columns.
        lake_tables: The tables of the lake by asset key.
        warehouse_tables: Returns the tables of a warehouse, by the warehouse's name.
        send_alerts: Sends the alerts that are due.
        clock: Returns the time, UTC.
    """

    findings: FindingsStore
    policy: Policy
    detector: tuple[str, str]
    watch: Callable[[str], Watch]
    uploads: Callable[[str], AbstractContextManager[UploadInspector]]
    columns: Callable[[], AbstractContextManager[ColumnInspector]]
    lake_tables: Mapping[str, LakeTable]
    warehouse_tables: Mapping[str, Callable[[], Sequence[WarehouseTable]]]
    send_alerts: Callable[[], object]
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.UTC))

    def inspect_columns(self, run_id: str, report: Callable[..., object]) -> InspectedColumns:
        """Inspect the tables that have changed since their last inspection.

        A table that cannot be inspected does not affect the others, and is inspected the next time.

        Args:
            run_id: The run.
            report: Called with a message for each table, as a logger's method.

        Raises:
            LakeError: The inspected versions of the tables cannot be read.
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
        """The tables by name, each with a function that inspects it if it has changed."""

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
            for file in listed:
                yield file.key, partial(in_warehouse, name, file)

    def unexpected_columns(self) -> list[dict[str, Any]]:
        """The verdicts on columns that no rule allows or de-identifies, by the current policy."""
        unexpected = []
        for row in self.findings.sensitive_columns():
            place = f"{row['table']}.{row['column']}"
            # An unreadable likelihood counts as the highest.
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
        """The objects of a watch that were noticed longer ago than a limit and are not inspected yet.

        Args:
            watch: Name of the watch.
            within: How long an object may wait.
        """
        from platform_assets.objects.plan import ObjectStatus

        state = self.watch(watch).log.read()
        limit = self.clock() - within
        waiting = state.with_status(ObjectStatus.PLANNED, ObjectStatus.FAILED, ObjectStatus.PARKED)
        return sum(entry.object.modified < limit for entry in waiting)
