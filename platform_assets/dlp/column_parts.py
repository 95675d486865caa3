"""Pieces of a column's distinct values, inspected here or by workers, and merged to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from platform_assets.dlp.model import ColumnVerdict, InfoType, Likelihood, Tally
from platform_assets.formats.isolation import is_about_content, kind_of_error

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from pydantic import TypeAdapter

    from platform_assets.dlp.model import Inspector
    from platform_assets.lake.column_values import ValueWorkers
    from platform_assets.lake.delta import LakeTable


@dataclass(frozen=True)
class ColumnPart:
    """Findings in a piece of a column's distinct values.

    Args:
        distinct: Number of the values.
        types: The info types, by name.
        whole: By info type of the column as a whole: its likelihood, and how many values are of it.
        tallies: The tallies of findings in single values, by info type.
    """

    distinct: int
    types: Mapping[str, InfoType]
    whole: Mapping[str, Tally]
    tallies: Mapping[str, Tally]


@dataclass(frozen=True)
class FailedPart:
    """A piece whose values could not be inspected.

    Args:
        reason: The error, without its message, which may quote a value.
    """

    reason: str


def inspected_part(inspector: Inspector, column: str, values: pa.Array) -> ColumnPart | FailedPart:
    """Inspect a piece of a column's distinct values.

    Raises:
        PlatformError: The service that inspects cannot be reached.
    """
    try:
        found = inspector.inspect_columns({column: values})
    except BaseException as error:
        if not is_about_content(error):
            raise
        return FailedPart(kind_of_error(error))
    types = {finding.info_type.name: finding.info_type for finding in found}
    types |= {verdict.info_type.name: verdict.info_type for verdict in found.columns}
    whole = {column.info_type.name: Tally(column.matching, column.likelihood) for column in found.columns}
    return ColumnPart(len(values), types, whole, found.tallies)


def merged_parts(column: str, parts: Iterable[ColumnPart | FailedPart]) -> list[ColumnVerdict] | FailedPart:
    """Merge the pieces of a column: one verdict for each info type, or the first failure.

    A verdict is about the column as a whole, or about some of its values.
    """
    distinct = 0
    types: dict[str, InfoType] = {}
    whole: dict[str, Tally] = {}
    tallies: dict[str, Tally] = {}
    for part in parts:
        if isinstance(part, FailedPart):
            return part
        distinct += part.distinct
        types |= part.types
        for gathered, found in ((whole, part.whole), (tallies, part.tallies)):
            for name, tally in found.items():
                gathered[name] = gathered[name].plus(tally) if name in gathered else tally
    verdicts = []
    for name in sorted({*tallies, *whole}):
        none = Tally(0, Likelihood.VERY_UNLIKELY)
        seen, tally = whole.get(name, none), tallies.get(name, none)
        likelihood = max(seen.highest, tally.highest)
        # A value may contain several findings of one info type.
        matching = min(max(seen.count, tally.count), distinct)
        verdicts.append(
            ColumnVerdict(column, types.get(name, InfoType(name)), likelihood, distinct, matching)
        )
    return verdicts


@dataclass(frozen=True)
class LargeTables:
    """Inspects large tables of the lake by workers, all of their values.

    Args:
        workers: The workers.
        new_inspector: Returns an inspector. It travels to the workers, each of which needs one of its own.
    """

    workers: ValueWorkers
    new_inspector: Callable[[], Inspector]

    def has(self, table: LakeTable, handle: DeltaTable) -> bool:
        """Return True if a table is large enough for the workers."""
        return table.row_count(handle) >= self.workers.least_rows

    def parts(
        self, table: LakeTable, handle: DeltaTable, columns: Sequence[str]
    ) -> Iterator[tuple[str, ColumnPart | FailedPart]]:
        """Yield what was found in each piece, with its column.

        Args:
            table: The table.
            handle: The table in its current state.
            columns: Names of its columns.

        Raises:
            PlatformError: The workers do not answer, or cannot read the table.
        """
        read = _parts().validate_json
        for column, answer in self.workers.look(table, handle, columns, _PartOnWorker(self.new_inspector)):
            yield column, read(answer)


@dataclass(frozen=True)
class _PartOnWorker:
    """Inspects pieces on a worker."""

    new_inspector: Callable[[], Inspector]

    def __call__(self, column: str, values: pa.Array) -> str:
        return _parts().dump_json(inspected_part(self._inspector, column, values)).decode()

    @cached_property
    def _inspector(self) -> Inspector:
        return self.new_inspector()


def _parts() -> TypeAdapter[ColumnPart | FailedPart]:
    from pydantic import TypeAdapter

    return TypeAdapter(ColumnPart | FailedPart)
