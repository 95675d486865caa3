"""Marks: which columns hold sensitive data, and how that is known.

The inspection knows what it has found and what is declared; lineage carries these marks to the columns that
are made from such columns. Each works without the other: they meet here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from platform_assets.column_lineage import ColumnRef

INFO_TYPE_TAG = "platform_assets/info_type"
"""Tag of a column in Dagster: the info types that it holds, separated by commas."""
ORIGIN_TAG = "platform_assets/classified_by"
"""Tag of a column in Dagster: how its info types are known, as in `Origin`, in the same order."""


class Origin(StrEnum):
    """The origin of a mark, the most certain first."""

    FOUND = "found"
    """The inspection has found such values in the column."""
    DECLARED = "declared"
    """The column's declaration or the configuration says so."""
    DERIVED = "derived"
    """The column is made from a column with this mark."""


@dataclass(frozen=True)
class Mark:
    """An info type that a column holds, or can hold.

    Args:
        column: The column.
        info_type: The info type, such as `EMAIL_ADDRESS`.
        likelihood: Name of the likelihood; a derived mark has that of its source.
        origin: How it is known.
        source: The marked column that a derived mark comes from; None otherwise.
    """

    column: ColumnRef
    info_type: str
    likelihood: str
    origin: Origin
    source: ColumnRef | None = None


@runtime_checkable
class KnowsSensitiveColumns(Protocol):
    """A room that knows which columns hold sensitive data."""

    def declared_marks(self) -> Sequence[Mark]:
        """Return the marks that are declared; nothing is read."""
        ...

    def found_marks(self) -> Sequence[Mark]:
        """Return the marks of what was found in tables of the lake and of warehouses.

        Raises:
            PlatformError: The findings cannot be read.
        """
        ...

    def inspected_assets(self) -> frozenset[tuple[str, ...]]:
        """Return the tables whose columns have been inspected, by the path of their asset key.

        Raises:
            PlatformError: The findings cannot be read.
        """
        ...

    def removed_on_the_way(self, column: ColumnRef, info_type: str, likelihood: str) -> bool:
        """Return True if the policy changes values on their way into a column so that nothing can be read.

        Args:
            column: The column of a warehouse or a delivery.
            info_type: The info type of the values.
            likelihood: Name of its likelihood.
        """
        ...

    def removal_rules(self) -> str:
        """Return a text that differs where `removed_on_the_way` may answer otherwise; nothing is read."""
        ...


@runtime_checkable
class CarriesClassification(Protocol):
    """A room that knows which columns are made from which."""

    def derived_marks(self, marks: Sequence[Mark]) -> Sequence[Mark]:
        """Return the marks that follow from given ones, without these.

        Args:
            marks: Marks that were found or declared.
        """
        ...
