"""Marks of columns: from declarations, the configuration and findings, and where the policy ends them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ColumnRef
from platform_assets.dlp.model import Likelihood

if TYPE_CHECKING:
    from platform_assets.dlp.policy import Deidentification, Policy
    from platform_assets.model.table import Table

_DECLARED = Likelihood.VERY_LIKELY.name


def marks_of_tables(tables: Mapping[tuple[str, ...], Table]) -> Iterator[Mark]:
    """Yield the marks that the declarations of tables give.

    Args:
        tables: The tables by the path of their asset key.
    """
    for asset, table in tables.items():
        for column in table.columns:
            for info_type in column.info_types:
                yield Mark(ColumnRef(asset, column.name), info_type, _DECLARED, Origin.DECLARED)


def configured_marks(columns: Mapping[str, Sequence[str]]) -> Iterator[Mark]:
    """Yield the marks of `dlp.columns`.

    Args:
        columns: Info types by column, which is written as its table's asset key, a dot and its name.
    """
    for written, info_types in columns.items():
        # A column's name can have dots, an asset key of the platform has none after its last slash.
        folder, _, rest = written.rpartition("/")
        table, _, column = rest.partition(".")
        for info_type in info_types:
            ref = ColumnRef((*folder.split("/"), table), column)
            yield Mark(ref, info_type, _DECLARED, Origin.DECLARED)


def found_marks(verdicts: Iterable[Mapping[str, Any]]) -> list[Mark]:
    """Return the marks of verdicts on columns, the most likely of each info type.

    Args:
        verdicts: Rows of `dlp/columns` with findings.
    """
    found: dict[tuple[ColumnRef, str], Mark] = {}
    for row in verdicts:
        column = ColumnRef(tuple(row["table"].split("/")), row["column"])
        # An unreadable likelihood counts as the highest.
        likelihood = row["likelihood"] if row["likelihood"] in Likelihood.__members__ else _DECLARED
        known = found.get((column, row["info_type"]))
        if known is None or Likelihood[known.likelihood] < Likelihood[likelihood]:
            found[column, row["info_type"]] = Mark(column, row["info_type"], likelihood, Origin.FOUND)
    return list(found.values())


def is_removed(policy: Policy, column: ColumnRef, info_type: str, likelihood: str) -> bool:
    """Return True if the policy removes an info type from values on their way into a column.

    Args:
        policy: The policy.
        column: The column of a warehouse or a delivery.
        info_type: The info type of the values.
        likelihood: Name of its likelihood.
    """
    from platform_assets.dlp.policy import strictest

    places = [str(column)]
    if column.asset[0] != "delivery":
        # A rule for a star table holds on the way into every warehouse.
        places.insert(0, f"star/{column.asset[-1]}.{column.column}")
    held = [(info_type, Likelihood[likelihood])]
    decision = strictest(policy.decide_column(held, place) for place in places)
    how = decision.rule.deidentify if decision.rule is not None else None
    return how is not None and _removes(how)


def _removes(how: Deidentification) -> bool:
    """Return True if nobody can tell a value from its replacement; a shifted date is still one."""
    match how.transformation:
        case "tokenize" | "redact" | "drop":
            return True
        case "mask":
            return how.keep_last == 0
        case "date_shift":
            return False
