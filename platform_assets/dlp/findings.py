"""Inspection results in three Delta tables of the lake: `dlp/objects`, `dlp/findings`, `dlp/columns`.

An inspection's findings are written first; they count once its row in `dlp/objects`, which has the
inspection's id, is committed. Findings left by a crash in between are ignored.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.dlp.model import ColumnVerdict, InspectResult, Likelihood, Status
from platform_assets.dlp.policy import Decision, Policy
from platform_assets.dlp.tables import COLUMN_COLUMNS, FINDING_COLUMNS, OBJECT_COLUMNS
from platform_assets.formats.problems import ProblemKind
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import create_text_table, fetch_rows
from platform_assets.lake.interfaces import CurrentTable, KeptTable, Outdated
from platform_assets.lake.log import AppendLog, LogVersion
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.dialects import literal, quote
from platform_assets.stored import FINDINGS, INSPECTED_COLUMNS, INSPECTIONS, StoredFormat

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Column

_LEVELS = "[" + ", ".join(literal(likelihood.name) for likelihood in Likelihood) + "]"


@dataclass(frozen=True)
class Inspection:
    """An inspected version of an object, with the policy's decision.

    Args:
        watch: Name of the watch.
        uri: Its address, with the sensitive parts of its name masked.
        object_id: SHA-256 of the unmasked URI, hexadecimal.
        version: The object's version.
        size: Its size in bytes, if known.
        modified_at: When it was last written, UTC, if known.
        result: The result of the inspection.
        decision: The policy's decision.
        rule: The rule that decided, or None.
        detector: Name of the inspector.
        detector_version: Its version.
        inspected_at: When it was inspected, UTC.
        run_id: The run that inspected it.
    """

    watch: str
    uri: str
    object_id: str
    version: str
    size: int | None
    modified_at: dt.datetime | None
    result: InspectResult
    decision: str
    rule: str | None
    detector: str
    detector_version: str
    inspected_at: dt.datetime
    run_id: str

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The identity of an inspection: a version of an object, inspected by a version of an inspector."""
        return self.object_id, self.version, self.detector, self.detector_version


@dataclass(frozen=True)
class InspectedTable:
    """A table of the lake or of a warehouse whose columns were inspected.

    Args:
        place: `lake`, or the name of a warehouse.
        table: The table's asset key, joined by `/`.
        version: The version that was inspected.
        columns: All columns that were inspected.
        verdicts: The verdicts on them.
        rows_inspected: Number of rows that values were taken from.
        rows_total: Number of rows in the table.
        failures: Columns that could not be inspected, with reasons.
    """

    place: str
    table: str
    version: str
    columns: tuple[str, ...]
    verdicts: tuple[ColumnVerdict, ...]
    rows_inspected: int
    rows_total: int
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def recorded_version(self) -> str:
        """The version to record; none after a failure, so that the table is inspected again."""
        return "" if self.failures else self.version


@dataclass(frozen=True)
class Summary:
    """The state of all objects at their latest inspection.

    Args:
        objects: Number of objects, by status.
        counts: Number of findings by info type, most frequent first.
        highest: Highest likelihood by info type.
        worst: The objects with the most severe findings: id, masked URI, counts by info type as JSON,
            likelihood, findings, status, decision.
    """

    objects: Mapping[str, int]
    counts: Mapping[str, int]
    highest: Mapping[str, Likelihood]
    worst: Sequence[Mapping[str, Any]]

    @property
    def chart(self) -> str:
        """Findings by info type as a Markdown table with bars."""
        if not self.counts:
            return "Nothing was found."
        most = max(self.counts.values())
        lines = ["| info type | findings | highest likelihood | |", "|---|---:|---|---|"]
        lines += [
            f"| {name} | {count:,} | {self.highest[name].name} | {'█' * max(1, round(30 * count / most))} |"
            for name, count in self.counts.items()
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class FindingsStore:
    """The three tables of inspection results.

    Args:
        lake: The lake; the tables are in its processed zone.
        engine: Memory and threads for reading them.
    """

    lake: Lake
    engine: SqlEngine

    @property
    def objects(self) -> AppendLog:
        """The table `dlp/objects`: a row for each inspection."""
        return self._log(INSPECTIONS, "objects", OBJECT_COLUMNS, "object_id")

    @property
    def findings(self) -> AppendLog:
        """The table `dlp/findings`: a row for each finding."""
        return self._log(FINDINGS, "findings", FINDING_COLUMNS, "inspection_id")

    @property
    def columns(self) -> AppendLog:
        """The table `dlp/columns`: a row for each inspected column and info type."""
        return self._log(INSPECTED_COLUMNS, "columns", COLUMN_COLUMNS, "place", "table")

    def current_table(self, name: str) -> CurrentTable:
        """Return one of the tables as it can be queried, without what unfinished inspections left in it.

        Args:
            name: `objects`, `findings` or `columns`.
        """
        log = {"objects": self.objects, "findings": self.findings, "columns": self.columns}[name]
        at = log.read()
        # An inspection counts, with its findings, once it is in the table of objects.
        objects = self.objects.read() if name == "findings" else at
        names = tuple(column.name for column in log.table.columns)

        def create_view(connection: duckdb.DuckDBPyConnection, view: str) -> None:
            at.create_view(connection, f"{view} all")
            objects.create_view(connection, f"{view} counting")
            counting = f" SEMI JOIN {quote(f'{view} counting')} USING (inspection_id)"
            connection.execute(
                f"CREATE VIEW {quote(view)} AS SELECT * FROM {quote(f'{view} all')}"
                f"{counting if name == 'findings' else ''}"
            )

        return CurrentTable(f"{at.number}.{objects.number}", names, create_view)

    def _log(self, format_: StoredFormat, name: str, columns: tuple[Column, ...], *key: str) -> AppendLog:
        uri = self.lake.path("processed", "dlp", name)
        table = LakeTable(uri, columns, self.lake.storage_options, format_)
        return AppendLog(table, "The table of inspection results", stream="platform_assets/dlp", key=key)

    def record(self, inspections: Sequence[Inspection]) -> list[Inspection]:
        """Record inspections; an object version that was already inspected by the same inspector is skipped.

        Returns:
            The inspections that were new.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
            LakeError: The lake cannot be written.
        """

        def record() -> list[Inspection]:
            objects = self.objects.read()
            known = self._recorded(objects, inspections)
            new = []
            for inspection in inspections:
                if inspection.identity not in known:
                    known.add(inspection.identity)
                    new.append(inspection)
            if not new:
                return []
            ids = {inspection.identity: uuid.uuid4().hex for inspection in new}
            found = [row for inspection in new for row in _finding_rows(inspection, ids[inspection.identity])]
            if found:
                self.findings.read().append(found)
            objects.append(_object_row(inspection, ids[inspection.identity]) for inspection in new)
            return new

        tables = (self.objects.table, self.findings.table)
        return retry_while_others_progress(record, lambda: [table.version() for table in tables])

    def _recorded(
        self, objects: LogVersion, inspections: Sequence[Inspection]
    ) -> set[tuple[str, str, str, str]]:
        """The earlier inspections of the same objects."""
        wanted = ", ".join(sorted({literal(inspection.object_id) for inspection in inspections}))
        if not wanted:
            return set()
        with self.engine.connect() as connection:
            objects.create_view(connection, "recorded")
            rows = connection.sql(
                "SELECT object_id, version, detector, detector_version FROM recorded "
                f"WHERE object_id IN ({wanted})"
            ).fetchall()
        return {tuple(row) for row in rows}

    def record_columns(
        self,
        tables: Sequence[InspectedTable],
        policy: Policy,
        *,
        detector: str,
        detector_version: str,
        inspected_at: dt.datetime,
        run_id: str,
    ) -> None:
        """Record the verdicts on columns. The latest inspection of a table counts.

        Args:
            tables: The inspected tables.
            policy: Decides about each verdict, by the table's key and the column.
            detector: Name of the inspector.
            detector_version: Its version.
            inspected_at: When they were inspected, UTC.
            run_id: The run that inspected them.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
            LakeError: The lake cannot be written.
        """
        rows = []
        for table in tables:
            by_column: dict[str, list[ColumnVerdict | None]] = {name: [] for name in table.columns}
            for verdict in table.verdicts:
                by_column.setdefault(verdict.column, []).append(verdict)
            for column, verdicts in by_column.items():
                problem = table.failures.get(column)
                for given in verdicts or [None]:
                    place = f"{table.table}.{column}"
                    if problem is not None:
                        decision = policy.decide_uninspected(Status.UNREADABLE, [ProblemKind.FAILED], place)
                    elif given is not None:
                        decision = policy.decide(given.info_type.name, given.likelihood, place)
                    else:
                        decision = Decision()
                    rows.append(
                        {
                            "place": table.place,
                            "table": table.table,
                            "column": column,
                            "info_type": given.info_type.name if given else None,
                            "likelihood": given.likelihood.name if given else None,
                            "share": given.share if given else 0.0,
                            "distinct_values": given.distinct if given else 0,
                            "rows_inspected": table.rows_inspected,
                            "rows_total": table.rows_total,
                            "table_version": table.recorded_version,
                            "problem": problem,
                            "decision": decision.word,
                            "rule": decision.rule.name if decision.rule else None,
                            "detector": detector,
                            "detector_version": detector_version,
                            "inspected_at": inspected_at,
                            "run_id": run_id,
                        }
                    )
        if rows:
            self.columns.append(rows)

    def inspected_versions(self, detector: str, detector_version: str) -> dict[tuple[str, str], str]:
        """The version of each table, by place and table, at its latest inspection by an inspector."""
        rows = self._rows(
            self.columns,
            'SELECT place, "table", arg_max(table_version, inspected_at) AS version FROM given '
            f"WHERE detector = {literal(detector)} AND detector_version = {literal(detector_version)} "
            'GROUP BY place, "table"',
        )
        return {(row["place"], row["table"]): row["version"] for row in rows}

    def sensitive_columns(self) -> list[dict[str, Any]]:
        """The columns with findings and their verdicts, by the latest inspection of each table."""
        # A table without findings has rows without an info type from its latest inspection.
        return self._rows(
            self.columns,
            'SELECT * FROM given WHERE info_type IS NOT NULL ORDER BY place, "table", "column", info_type',
            'FROM raw QUALIFY inspected_at = max(inspected_at) OVER (PARTITION BY place, "table")',
        )

    def uninspected_columns(self) -> list[dict[str, Any]]:
        """The columns that could not be inspected, by the latest inspection of each table."""
        return self._rows(
            self.columns,
            'SELECT * FROM given WHERE problem IS NOT NULL ORDER BY place, "table", "column"',
            'FROM raw QUALIFY inspected_at = max(inspected_at) OVER (PARTITION BY place, "table")',
        )

    def count_columns(self) -> int:
        """Number of rows in `dlp/columns`, including earlier inspections."""
        [counted] = self._rows(self.columns, "SELECT count(*) AS number FROM given") or [{"number": 0}]
        return int(counted["number"])

    def decisions(self, watch: str) -> dict[tuple[str, str], tuple[str, bool]]:
        """The policy's decision for each object version of a watch, by object id and version.

        Each has a flag that is true if the whole object was inspected and nothing was found.
        """
        rows = self._rows(
            self.objects,
            "SELECT object_id, version, arg_max(decision, inspected_at) AS decision, "
            "arg_max(status = 'INSPECTED' AND findings = 0, inspected_at) AS clean "
            f"FROM given WHERE watch = {literal(watch)} GROUP BY object_id, version",
        )
        return {(row["object_id"], row["version"]): (row["decision"], row["clean"]) for row in rows}

    def summary(self, worst: int = 10) -> Summary:
        """Summarize all objects, each by its latest inspection."""
        latest = (
            "SELECT * FROM raw QUALIFY row_number() OVER (PARTITION BY object_id ORDER BY inspected_at DESC) "
            "= 1"
        )
        objects = self._rows(
            self.objects,
            "SELECT status, count(*) AS number FROM given GROUP BY status ORDER BY status",
            latest,
        )
        counted = self._rows(
            self.objects,
            "SELECT key AS info_type, sum(CAST(value->>'$.count' AS BIGINT)) AS number, "
            f"max(list_position({_LEVELS}, value->>'$.highest')) AS highest "
            "FROM given, json_each(given.info_types) GROUP BY key ORDER BY number DESC, key",
            latest,
        )
        listed = self._rows(
            self.objects,
            "SELECT object_id, uri, info_types, likelihood, findings, status, decision FROM given "
            f"WHERE findings > 0 ORDER BY list_position({_LEVELS}, likelihood) DESC, findings DESC, uri "
            f"LIMIT {worst:d}",
            latest,
        )
        return Summary(
            {row["status"]: row["number"] for row in objects},
            {row["info_type"]: int(row["number"]) for row in counted},
            {row["info_type"]: Likelihood(row["highest"]) for row in counted},
            listed,
        )

    def count_findings(self) -> int:
        """Number of stored findings, without those of unfinished inspections."""
        with self.engine.connect() as connection:
            self._create_views(connection)
            [[number]] = connection.sql(
                "SELECT count(*) FROM findings SEMI JOIN objects USING (inspection_id)"
            ).fetchall()
        return int(number)

    def latest_findings(self, limit: int) -> list[dict[str, Any]]:
        """A few of the newest findings, the most likely first."""
        with self.engine.connect() as connection:
            self._create_views(connection)
            return fetch_rows(
                connection,
                'SELECT inspected_at, uri, info_type, likelihood, evidence, row, "column", container '
                "FROM findings SEMI JOIN objects USING (inspection_id) ORDER BY inspected_at DESC, "
                f"list_position({_LEVELS}, likelihood) DESC, uri, byte_start LIMIT {limit:d}",
            )

    def kept(
        self, watches: Mapping[str, Callable[[], Iterable[tuple[str, str]]]], days: int
    ) -> list[KeptTable]:
        """Return the tables as upkeep takes care of them.

        Inspections of object versions that no longer exist go first, then the findings of inspections that
        are gone or were never finished. In columns, a later inspection by the same inspector takes the place
        of an earlier one.

        Args:
            watches: For each watch, a function that returns the ids and versions of the objects that exist.
            days: Age of the rows that go.
        """

        def limit(now: dt.datetime) -> str:
            return f"inspected_at < TIMESTAMPTZ {literal(str(now - dt.timedelta(days=days)))}"

        def gone(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated:
            connection.execute("CREATE OR REPLACE TEMP TABLE gone (inspection_id VARCHAR)")
            for watch, existing in watches.items():
                old = f"{limit(now)} AND watch = {literal(watch)}"
                if not connection.sql(f"SELECT 1 FROM stored WHERE {old} LIMIT 1").fetchall():
                    continue
                # A bucket without any object is more likely not the right one, or not mounted.
                if create_text_table(connection, "there", ["object_id", "version"], existing()):
                    connection.execute(
                        f"INSERT INTO gone SELECT inspection_id FROM (FROM stored WHERE {old}) AS old "
                        "ANTI JOIN there USING (object_id, version)"
                    )
            return Outdated("inspection_id IN (SELECT inspection_id FROM gone)")

        def without_inspection(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated:
            self.objects.read().create_view(connection, "objects")
            return Outdated(f"{limit(now)} AND inspection_id NOT IN (SELECT inspection_id FROM objects)")

        def replaced(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated:
            connection.execute(
                'CREATE OR REPLACE TEMP TABLE newest AS SELECT place, "table", detector, detector_version, '
                "max(inspected_at) AS last FROM stored GROUP BY ALL"
            )
            return Outdated(
                f"{limit(now)} AND EXISTS (FROM newest WHERE newest.place = stored.place AND "
                'newest."table" = stored."table" AND newest.detector = stored.detector AND '
                "newest.detector_version = stored.detector_version AND newest.last > stored.inspected_at)"
            )

        return [
            self.objects.kept("dlp/objects", outdated=gone),
            self.findings.kept("dlp/findings", outdated=without_inspection),
            self.columns.kept("dlp/columns", outdated=replaced),
        ]

    def _rows(self, log: AppendLog, sql: str, given: str = "FROM raw") -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            log.read().create_view(connection, "raw")
            return fetch_rows(connection, f"WITH given AS ({given}) {sql}")

    def _create_views(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.objects.read().create_view(connection, "objects")
        self.findings.read().create_view(connection, "findings")


def _object_row(inspection: Inspection, inspection_id: str) -> dict[str, Any]:
    result, coverage = inspection.result, inspection.result.coverage
    highest = result.highest
    return {
        "inspection_id": inspection_id,
        "watch": inspection.watch,
        "uri": inspection.uri,
        "object_id": inspection.object_id,
        "version": inspection.version,
        "size": inspection.size,
        "modified_at": inspection.modified_at,
        "status": result.status.value,
        "reason": result.reason,
        "problems": json.dumps(
            [
                {"kind": problem.kind.value, "container": problem.container, "message": problem.message}
                for problem in result.problems
            ],
            ensure_ascii=False,
        ),
        "bytes_inspected": coverage.bytes_inspected,
        "bytes_total": coverage.bytes_total,
        "rows_inspected": coverage.rows_inspected,
        "rows_total": coverage.rows_total,
        "findings": sum(tally.count for tally in result.tallies.values()),
        "info_types": json.dumps(
            {
                name: {"count": tally.count, "highest": tally.highest.name}
                for name, tally in sorted(result.tallies.items())
            }
        ),
        "likelihood": highest.name if highest else None,
        "decision": inspection.decision,
        "rule": inspection.rule,
        "detector": inspection.detector,
        "detector_version": inspection.detector_version,
        "inspected_at": inspection.inspected_at,
        "run_id": inspection.run_id,
    }


def _finding_rows(inspection: Inspection, inspection_id: str) -> Iterable[dict[str, Any]]:
    for finding in inspection.result.findings:
        place = finding.location
        yield {
            "inspection_id": inspection_id,
            "uri": inspection.uri,
            "version": inspection.version,
            "container": json.dumps(place.container, ensure_ascii=False),
            "info_type": finding.info_type.name,
            "likelihood": finding.likelihood.name,
            "evidence": ",".join(finding.evidence),
            "row": place.row,
            "column": place.column,
            "byte_start": place.byte_range.start,
            "byte_end": place.byte_range.end,
            "codepoint_start": place.codepoint_range.start,
            "codepoint_end": place.codepoint_range.end,
            "fingerprint": finding.fingerprint,
            "detector": inspection.detector,
            "detector_version": finding.info_type.version,
            "inspected_at": inspection.inspected_at,
            "run_id": inspection.run_id,
        }
