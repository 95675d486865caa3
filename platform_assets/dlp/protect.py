"""The policy on the way to a warehouse or a destination: tables are held back, or loaded with changed values.

Engines read the lake's files directly, some of them without this process in between. So a star table with
columns to change gets a copy in the lake, `protected/<table>/<fingerprint>`. Each batch is added to the
copy once, and engines load the copy instead of the table. Another key or rule gives another copy, which a
warehouse treats as a recreated table: it drops the rows that it had.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from platform_assets.dlp.deidentify import ColumnChange, TransformedTable
from platform_assets.dlp.model import Likelihood, Status
from platform_assets.dlp.policy import Action, Decision, Policy, strictest
from platform_assets.errors import DlpError
from platform_assets.formats.problems import ProblemKind
from platform_assets.isolation import Isolation, is_isolated
from platform_assets.lake.delta import LakeTable, table_identity
from platform_assets.lake.lake import Lake
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.star_model import STREAM
from platform_assets.model.table import (
    PLATFORM_COLUMNS,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Table,
    Text,
    Timestamp,
)
from platform_assets.stored import COPY

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from platform_assets.classification import Mark
    from platform_assets.dlp.columns import ColumnInspector
    from platform_assets.dlp.findings import FindingsStore, InspectedTable
    from platform_assets.lake.duck import SqlEngine

_ALL_LATER_BATCHES = 2**62
_OF_FILES = "Files are not changed on their way out: deliver rows, whose columns a rule can change."


@dataclass(frozen=True)
class ProtectedLake(Lake):
    """A lake that returns the changed copies of star tables, where they exist.

    Args:
        copies: Folder of the copy, below the processed zone, by name of the star table.
    """

    copies: Mapping[str, str] = field(default_factory=dict)

    def star(self, table: Table) -> LakeTable:
        """Return a table of the star schema, or its copy; see `Lake.star`."""
        itself = super().star(table)
        folder = self.copies.get(table.name)
        if folder is None:
            return itself
        return LakeTable(
            self.path("processed", folder), (*table.columns, *PLATFORM_COLUMNS), self.storage_options, COPY
        )


@dataclass(frozen=True)
class StarProtection:
    """Applies a policy to what is loaded into warehouses.

    Args:
        policy: The policy.
        inspector: Opens the inspector when columns have to be inspected.
        findings: Stores the verdicts.
        key: Returns the key for tokens and shifts.
        engine: Memory and threads for creating copies.
        detector: Returns name and version of the inspector.
        tables: The star schema.
        marks: Returns what columns hold by declaration and by lineage; called when a rule needs it.
    """

    policy: Policy
    inspector: Callable[[], AbstractContextManager[ColumnInspector]]
    findings: FindingsStore
    key: Callable[[], bytes] = field(repr=False)
    engine: SqlEngine
    detector: Callable[[], tuple[str, str]]
    tables: Sequence[Table]
    marks: Callable[[], Iterable[Mark]] = field(default=tuple)

    def known(self, place: str) -> dict[str, list[tuple[str, Likelihood]]]:
        """Return the info types that columns of a table hold by declaration and by lineage, by column.

        They count before any value was inspected, and beside what was found.

        Args:
            place: The table's asset key, joined by `/`; what follows the key, as in
                `delivery/<name>/<destination>`, is left out of account.
        """
        found: dict[str, list[tuple[str, Likelihood]]] = {}
        for (table, column), held in self._known.items():
            if place == table or place.startswith(f"{table}/"):
                found.setdefault(column, []).extend(held)
        return found

    @cached_property
    def _known(self) -> dict[tuple[str, str], list[tuple[str, Likelihood]]]:
        found: dict[tuple[str, str], list[tuple[str, Likelihood]]] = {}
        for mark in self.marks():
            key = ("/".join(mark.column.asset), mark.column.column)
            found.setdefault(key, []).append((mark.info_type, Likelihood[mark.likelihood]))
        return found

    def lake_for(self, lake: Lake, warehouse: str, run_id: str = "") -> Lake:
        """The lake as a warehouse may see it: opening a table that the policy holds back raises an error.

        Args:
            lake: The lake.
            warehouse: Name of the warehouse, part of the places of its columns.
            run_id: The run that loads, for the records.
        """
        concerned = [table for table in self.tables if self._concerned(table, warehouse)]
        if not concerned:
            return lake
        protecting = Isolation(f"Applying the policy for {warehouse}")
        asked = [table for table in concerned if self._needs_verdicts(table, warehouse)]
        found: dict[tuple[str, str], list[tuple[str, Likelihood]]] = {}
        failed: dict[tuple[str, str], str] = {}
        try:
            found, failed = self._verdicts(lake, asked, run_id, protecting)
            for table in asked:
                for key in (f"star/{table.name}", f"{warehouse}/{table.name}"):
                    for name, held in self.known(key).items():
                        found.setdefault((f"star/{table.name}", name), []).extend(held)
        except BaseException as error:
            if not is_isolated(error):
                raise
            for table in asked:
                protecting.record(table.name, error)
        copies = {}
        for table in concerned:
            if protecting.has_failed(table.name):
                continue
            with protecting.guard(table.name):
                folder = self._copy_for(lake, table, warehouse, found, failed)
                if folder is not None:
                    copies[table.name] = folder
        held_back = lake.holding_back({failure.name: failure.reason for failure in protecting.failures})
        if not copies:
            return held_back
        return ProtectedLake(
            lake.ingestion, lake.processed, lake.storage_options, held_back.held_back, copies
        )

    def _copy_for(
        self,
        lake: Lake,
        table: Table,
        warehouse: str,
        found: Mapping[tuple[str, str], Sequence[tuple[str, Likelihood]]],
        failed: Mapping[tuple[str, str], str],
    ) -> str | None:
        """The folder of the table's copy with changed values; None if no column is changed.

        Raises:
            DlpError: A rule blocks a column, or cannot be applied.
        """
        key = f"star/{table.name}"
        changes, refused = [], []
        for column in table.columns:
            places = _places(table, column, warehouse)
            held = found.get((key, column.name), ())
            decision = strictest(self.policy.decide_column(held, place) for place in places)
            reason = failed.get((key, column.name))
            if reason is not None and (problem := uninspected(self.policy, places, reason)):
                refused.append(problem)
            elif decision.action >= Action.BLOCK:
                refused.append(blocked(f"{key}.{column.name}", decision))
            elif change := changed(column, decision, table.name):
                changes.append(change)
        if refused:
            raise DlpError(
                f"{table.name} was not loaded into {warehouse}: {'; '.join(refused)}. Correct the data in "
                "its source, or change the rule."
            )
        return self._bring_up(lake, TransformedTable(table, tuple(changes), self.key)) if changes else None

    def applied(self, rows: pa.RecordBatchReader, place: str) -> pa.RecordBatchReader:
        """Apply the policy to rows of a table outside the star schema, on their way to a warehouse.

        All rows are inspected before the first is passed on; meanwhile they wait on disk. The findings are
        not stored.

        Args:
            rows: The rows.
            place: The table's asset key, joined by `/`.

        Raises:
            DlpError: A rule blocks a column, or cannot be applied.
        """
        # The platform's own columns contain no personal data, and rules may not change them.
        names = [name for name in rows.schema.names if not name.startswith("_")]
        rules = self.policy.rules_for_columns()
        if not any(rule.concerns(f"{place}.{name}") for rule in rules for name in names):
            return rows
        asked = [
            name
            for name in names
            if any(rule.concerns(f"{place}.{name}") and rule.depends_on_content for rule in rules)
        ]
        schema = rows.schema
        by_column: dict[str, list[tuple[str, Likelihood]]] = {}
        if asked:
            rows, seen = self._looked_at(rows, asked, place)
            for name, reason in seen.failures.items():
                if problem := uninspected(self.policy, [f"{place}.{name}"], reason):
                    raise DlpError(f"Nothing was written to {place}: {problem}.")
            for verdict in seen.verdicts:
                by_column.setdefault(verdict.column, []).append((verdict.info_type.name, verdict.likelihood))
            for name, held in self.known(place).items():
                by_column.setdefault(name, []).extend(held)
        changes = []
        for name in names:
            decision = self.policy.decide_column(by_column.get(name, ()), f"{place}.{name}")
            if decision.action >= Action.BLOCK:
                raise DlpError(f"Nothing was written to {place}: {blocked(f'{place}.{name}', decision)}.")
            if decision.rule is not None and decision.rule.deidentify is not None:
                type_ = _logical_type(schema.field(name).type)
                if type_ is None:
                    raise DlpError(
                        f"Nothing was written to {place}: {decision.rule} de-identifies its column {name}, "
                        f"which is impossible for values of type {schema.field(name).type}. Change the rule, "
                        "or convert the column."
                    )
                column = Column(name, type_, nullable=schema.field(name).nullable)
                if change := changed(column, decision, place):
                    changes.append(change)

        if not changes:
            return rows
        table = Table(place, "", tuple(change.column for change in changes), ())
        return TransformedTable(table, tuple(changes), self.key).applied(rows)

    def rules_for(self, place: str, columns: Sequence[str]) -> list[str]:
        """See `Protection.rules_for`."""
        return [
            f"{number}.{rule.name}"
            for number, name in enumerate(columns)
            for rule in self.policy.rules
            if rule.concerns(f"{place}.{name}" if name else place)
        ]

    def concerns_file(self, name: str, place: str) -> bool:
        """See `Protection.concerns_file`."""
        rules, places = self.policy.rules_for_columns(), _file_places(name, place)
        return any(rule.concerns(place) for rule in rules for place in places)

    def check_file(self, file: BinaryIO, name: str, size: int | None, place: str) -> None:
        """Refuse a file in which something is found that a rule blocks, or would change in a table.

        Args:
            file: The file, from its start.
            name: Its name.
            size: Its size in bytes, if known.
            place: The place of what is delivered.

        Raises:
            DlpError: A rule blocks the file, or the file could not be inspected.
        """
        from platform_assets.dlp.scan import scan_object

        with self.inspector() as columns:
            result = scan_object(file, name, columns.inspector, size=size)
        kinds = [problem.kind for problem in result.problems]
        decision = strictest(
            decision
            for file_place in _file_places(name, place)
            for decision in (
                self.policy.decide_object(result.tallies, file_place),
                self.policy.decide_uninspected(result.status, kinds, file_place),
            )
        )
        if decision.action < Action.DEIDENTIFY:
            return
        if decision.info_type is not None:
            raise DlpError(f"Nothing of {place} leaves: {blocked('the file', decision)}. {_OF_FILES}")
        raise DlpError(
            f"Nothing of {place} leaves: the file could not be inspected as a whole, and such files are "
            f"blocked by {decision.rule or 'the default'}. {_OF_FILES}"
        )

    def _looked_at(
        self, rows: pa.RecordBatchReader, columns: Sequence[str], place: str
    ) -> tuple[pa.RecordBatchReader, InspectedTable]:
        """The rows again, and the verdicts on some columns of all rows; in between the rows wait on disk."""
        scratch = self.engine.spill_directory
        scratch.mkdir(parents=True, exist_ok=True)
        # Named like the engine's own files, which the engine removes after a crash.
        folder = tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-rows-", dir=scratch)
        file, schema = Path(folder.name) / "rows.arrow", rows.schema
        try:
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with (
                pa.OSFile(str(file), "wb") as sink,
                pa.ipc.new_stream(sink, schema, options=options) as writer,
            ):
                for batch in rows:
                    writer.write_batch(batch)
            narrow = pa.schema([schema.field(name) for name in columns])
            look = pa.RecordBatchReader.from_batches(
                narrow, (batch.select(columns) for batch in _batches(file))
            )
            with self.inspector() as inspector:
                # The column inspector samples larger tables, but a blocking rule must hold for every row.
                whole = replace(inspector, sample_rows=sys.maxsize)
                seen = whole.inspect_rows(look, place.partition("/")[0], place, "")
        except BaseException:
            folder.cleanup()
            raise

        def again() -> Iterator[pa.RecordBatch]:
            with folder:
                yield from _batches(file)

        return pa.RecordBatchReader.from_batches(schema, again()), seen

    def _concerned(self, table: Table, warehouse: str) -> bool:
        return any(
            rule.concerns(place)
            for rule in self.policy.rules_for_columns()
            for column in table.columns
            for place in _places(table, column, warehouse)
        )

    def _needs_verdicts(self, table: Table, warehouse: str) -> bool:
        """Return True if a rule for the table depends on the content of a column."""
        return any(
            rule.concerns(place) and rule.depends_on_content
            for rule in self.policy.rules_for_columns()
            for column in table.columns
            for place in _places(table, column, warehouse)
        )

    def _verdicts(
        self, lake: Lake, tables: Sequence[Table], run_id: str, protecting: Isolation
    ) -> tuple[dict[tuple[str, str], list[tuple[str, Likelihood]]], dict[tuple[str, str], str]]:
        """The current verdicts on columns of star tables, and the reasons why others could not be inspected.

        A table that has changed is inspected again. A table that fails as a whole is recorded as failed:
        nothing is known about its content.
        """
        if not tables:
            return {}, {}
        detector, version = self.detector()
        known = self.findings.inspected_versions(detector, version)
        inspected = []
        for table in tables:
            key = f"star/{table.name}"
            with protecting.guard(table.name):
                source = lake.star(table)
                handle = source.open()
                if handle is not None and known.get(("lake", key)) != str(handle.version()):
                    with self.inspector() as inspector:
                        found = inspector.inspect_lake_table(source, key)
                    if found is not None:
                        inspected.append(found)
        if inspected:
            self.findings.record_columns(
                inspected,
                self.policy,
                detector=detector,
                detector_version=version,
                inspected_at=dt.datetime.now(dt.UTC),
                run_id=run_id,
            )
        held: dict[tuple[str, str], list[tuple[str, Likelihood]]] = {}
        for row in self.findings.sensitive_columns():
            if row["place"] == "lake":
                verdict = (row["info_type"], Likelihood[row["likelihood"]])
                held.setdefault((row["table"], row["column"]), []).append(verdict)
        failed = {
            (table.table, name): reason for table in inspected for name, reason in table.failures.items()
        }
        return held, failed

    def _bring_up(self, lake: Lake, change: TransformedTable) -> str | None:
        """Bring the copy of a star table up to date; return its folder, or None if the table does not exist.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
        """
        table = change.table
        source = lake.star(table)
        handle = source.open()
        if handle is None:
            return None
        # A recreated star schema numbers its batches from the beginning again; rebuilt rows may differ.
        identity = hashlib.sha256(table_identity(handle).encode()).hexdigest()[:8]
        folder = f"protected/{table.name}/{change.fingerprint}-{identity}"
        copied_to = {table.name: folder}
        copy = ProtectedLake(lake.ingestion, lake.processed, lake.storage_options, copies=copied_to).star(
            table
        )
        goal = source.cursor(handle, STREAM)

        def bring_up() -> None:
            copied = copy.open()
            have = copy.cursor(copied, STREAM)
            if copied is not None and have >= goal:
                return
            after = have if table.kind == "fact" else 0
            rows = change.applied(self._rows(source, handle, after))
            if table.kind == "fact" or copied is None:
                copy.append(copied, rows, stream=STREAM, version=goal)
            else:
                copy.overwrite(copied, rows, stream=STREAM, version=goal)

        retry_while_others_progress(bring_up, copy.version)
        return folder

    def _rows(self, source: LakeTable, handle: DeltaTable, after: int) -> pa.RecordBatchReader:
        def prepare(connection: duckdb.DuckDBPyConnection) -> None:
            batches = (after, _ALL_LATER_BATCHES) if after else None
            source.create_view(connection, ["given"], handle, batches=batches)

        return self.engine.stream("FROM given", source.arrow_schema, prepare)


def _file_places(name: str, place: str) -> tuple[str, str]:
    return place, f"{place}.{name}"


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(file), "rb") as source, pa.ipc.open_stream(source) as reader:
        yield from reader


def _logical_type(type_: pa.DataType) -> LogicalType | None:
    """The type of a column whose values can be changed; None for other types."""
    found: tuple[tuple[bool, LogicalType], ...] = (
        (pa.types.is_string(type_) or pa.types.is_large_string(type_), Text()),
        (type_ == pa.int32(), Integer()),
        (type_ == pa.int64(), Integer(64)),
        (pa.types.is_floating(type_), Float()),
        (pa.types.is_boolean(type_), Boolean()),
        (pa.types.is_date(type_), Date()),
        (pa.types.is_timestamp(type_), Timestamp()),
    )
    if pa.types.is_decimal(type_):
        return Decimal(type_.precision, type_.scale)
    return next((logical for is_it, logical in found if is_it), None)


def _places(table: Table, column: Column, warehouse: str) -> tuple[str, str]:
    return f"star/{table.name}.{column.name}", f"{warehouse}/{table.name}.{column.name}"


def changed(column: Column, decision: Decision, scope: str) -> ColumnChange | None:
    """The change of a column's values after a decision; None if they stay the same.

    Args:
        column: The column.
        decision: The decision about it.
        scope: Separates shifts and tokens of different tables.
    """
    if decision.rule is None or decision.rule.deidentify is None:
        return None
    return ColumnChange(column, decision.rule.deidentify, decision.info_type or "SENSITIVE", scope)


def uninspected(policy: Policy, places: Sequence[str], reason: str) -> str:
    """Explain that a column could not be inspected and which rule blocks it; empty if it may pass.

    Without an inspection there are no findings, so only rules that depend on the column's content matter.

    Args:
        policy: The policy.
        places: The column's places; the first is used as its name.
        reason: Why it could not be inspected.
    """
    rules = policy.rules_for_columns()
    if not any(rule.concerns(place) and rule.depends_on_content for rule in rules for place in places):
        return ""
    decision = strictest(
        policy.decide_uninspected(Status.UNREADABLE, [ProblemKind.FAILED], place) for place in places
    )
    if decision.action < Action.BLOCK:
        return ""
    return f"{places[0]} is blocked by {decision.rule or 'the default'}: {reason}"


def blocked(column: str, decision: Decision) -> str:
    """Explain what a column, given with its table, contains and which rule blocks it."""
    found = f"{decision.info_type} ({decision.likelihood.name})" if decision.likelihood else "sensitive data"
    return f"{column} contains {found}, which {decision.rule} blocks"
