"""Schema drift: finds changes of a source table since the last batch, and decides whether to apply them.

Additive changes are applied. A change that would lose data stops the table, with a message that says what to
do. The functions are pure: they read and write nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from platform_assets.errors import SourceError
from platform_assets.lake.arrow import arrow_type
from platform_assets.model.dialects import quote
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Column, LogicalType, Table
from platform_assets.source.catalogue import Relation, SourceColumn, declare
from platform_assets.source.types import holds, is_readable, logical_type, widens, written

_OWN = frozenset(column.name for column in (*PLATFORM_COLUMNS, HASH_COLUMN))
_WAY_OUT = (
    "Undo the change, or read the table through a view with a new name, which starts a new table in the lake"
)


@dataclass(frozen=True)
class RememberedColumn:
    """A source column as a batch remembers it.

    Args:
        number: Column number (`attnum`), which survives renames.
        type: Type as PostgreSQL writes it.
        nullable: Whether the column could hold NULL.
        form: See `SourceColumn.form`.
    """

    number: int
    type: str
    nullable: bool
    form: str = ""


@dataclass(frozen=True)
class Remembered:
    """A source table as a batch remembers it, stored in the cursor.

    Args:
        oid: Object id of the table; column numbers are only comparable between tables with the same id.
        key: The columns that identified its rows.
        columns: The columns that were read, by name.
        parts: See `Relation.parts`.
        part_forms: See `Relation.part_forms`; empty in cursors of earlier releases.
        row_security: Whether row-level security may have hidden rows from the batch.
    """

    oid: int
    key: tuple[str, ...]
    columns: Mapping[str, RememberedColumn]
    parts: tuple[int, ...] = ()
    part_forms: Mapping[int, str] = field(default_factory=dict)
    row_security: bool = False

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON-compatible value."""
        columns = {
            name: [column.number, column.type, column.nullable, *([column.form] if column.form else [])]
            for name, column in self.columns.items()
        }
        return {
            "oid": self.oid,
            "key": list(self.key),
            "columns": columns,
            "parts": list(self.parts),
            **({"part_forms": dict(self.part_forms)} if self.part_forms else {}),
            **({"row_security": True} if self.row_security else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Remembered:
        """Restore from the result of `to_json`."""
        columns = {name: RememberedColumn(*stored) for name, stored in value["columns"].items()}
        return cls(
            value["oid"],
            tuple(value["key"]),
            columns,
            tuple(value.get("parts", ())),
            {int(part): form for part, form in value.get("part_forms", {}).items()},
            value.get("row_security", False),
        )


def remember(relation: Relation, table: Table) -> Remembered:
    """Create the record of a table that a batch has read as `table` from `relation`."""
    read = (column for column in relation.columns if column.name in table.column_names)
    columns = {
        column.name: RememberedColumn(column.number, column.type.text, column.nullable, column.form)
        for column in read
    }
    return Remembered(
        relation.oid,
        table.primary_key,
        columns,
        relation.parts,
        relation.part_forms,
        relation.row_security,
    )


@dataclass(frozen=True)
class Drift:
    """Differences between a source table and its table in the lake.

    Args:
        table: The table to read from now on; None if a change is incompatible.
        columns: The lake's columns from now on, without the platform's own: existing columns first, then new
            ones. Columns that `table` lacks are NULL in new rows.
        added: Columns that the last batch did not read, except renamed columns.
        dropped: Columns that the last batch read and that no longer exist, except renamed columns.
        renamed: Pairs of former and new name. In the lake, the new name is another column.
        replaced: Columns that were dropped and recreated with the same name, in the same table.
        widened: Columns with a new type that the lake's type can also hold, as triples of name, former type
            and new type.
        reprinted: Columns whose values print differently without having been written, see
            `SourceColumn.form`.
        made_nullable: Columns that could not be NULL and now can.
        made_required: Columns that could be NULL and now cannot.
        incompatible: Sentences with the incompatible changes and their remedies; empty if all changes can be
            applied.
    """

    table: Table | None
    columns: tuple[Column, ...]
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    replaced: tuple[str, ...] = ()
    widened: tuple[tuple[str, str, str], ...] = ()
    reprinted: tuple[str, ...] = ()
    made_nullable: tuple[str, ...] = ()
    made_required: tuple[str, ...] = ()
    incompatible: tuple[str, ...] = field(default=())

    @property
    def is_read_in_full(self) -> bool:
        """True if unwritten rows have values that the lake lacks, so that all rows must be compared once."""
        # A cidr that becomes an inet prints differently, although PostgreSQL rewrites no row. A type that
        # only gains room prints the same.
        retyped = any(_without_modifiers(was) != _without_modifiers(now) for _, was, now in self.widened)
        return bool(self.added or self.renamed or self.replaced or self.reprinted or retyped)

    @property
    def notes(self) -> tuple[str, ...]:
        """The applied changes in words, one sentence each."""
        return (
            *(f"Column {name} is new." for name in self.added),
            *(f"Column {name} was dropped; the lake keeps it, NULL from now on." for name in self.dropped),
            *(
                f"Column {former} is now called {name}; the lake keeps {former}, NULL from now on."
                for former, name in self.renamed
            ),
            *(f"Column {name} was dropped and recreated." for name in self.replaced),
            *(f"Column {name} was {former} and is {now}." for name, former, now in self.widened),
            *(f"Column {name} has values whose text has changed." for name in self.reprinted),
            *(f"Column {name} can be NULL now." for name in self.made_nullable),
            *(f"Column {name} cannot be NULL any more." for name in self.made_required),
        )


def compare(
    before: Sequence[Column],
    relation: Relation | None,
    declared: Table | None = None,
    *,
    name: str,
    remembered: Remembered | None = None,
    key: Sequence[str] | None = None,
    types: Mapping[str, LogicalType] | None = None,
) -> Drift:
    """Compare a table in the lake with the table in the source.

    Args:
        before: The table's columns in the lake, with or without the platform's own; empty if it has none.
        relation: The table in the catalogue; None if the catalogue does not have it.
        declared: The model's declaration of the table, with the columns to read; they must all exist.
            None for a discovered table, all of whose columns are read.
        name: The table's name, for messages.
        remembered: The last batch's record of the table; None without one.
        key: For a discovered table, the configured key.
        types: For a discovered table, the configured types; see `catalogue.declare`.
    """
    lake = {column.name: column for column in before if column.name not in _OWN}
    if relation is None:
        return _stopped(
            lake, [f"Table {name} does not exist. Create it, or remove it from the configuration."]
        )
    if not relation.can_read:
        schema = quote(relation.schema)
        return _stopped(
            lake,
            [f"The role may not SELECT from {name}. GRANT SELECT ON it, and USAGE ON SCHEMA {schema}."],
        )
    table, incompatible = (
        (declared, list(_unlike_declared(name, declared, relation, remembered)))
        if declared is not None
        else _discovered(name, lake, relation, remembered, key, types or {})
    )
    if table is not None:
        incompatible.extend(_unlike_lake(name, lake, table))
        incompatible.extend(_other_key(name, table.primary_key, remembered, relation))
    if incompatible or table is None:
        return _stopped(lake, incompatible)
    return _flowing(lake, table, relation, remembered)


def _stopped(lake: Mapping[str, Column], incompatible: Sequence[str]) -> Drift:
    return Drift(None, tuple(lake.values()), incompatible=tuple(incompatible))


def _flowing(
    lake: Mapping[str, Column], table: Table, relation: Relation, remembered: Remembered | None
) -> Drift:
    renamed = _renamed(relation, remembered)
    current = {column.name: column for column in table.columns}
    known = remembered.columns if remembered else lake
    shared = [
        (name, remembered.columns[name], column)
        for name in table.column_names
        if remembered and name in remembered.columns and (column := relation.column(name))
    ]
    same_table = remembered is not None and remembered.oid == relation.oid
    return Drift(
        table,
        (
            *(current.get(name, column) for name, column in lake.items()),
            *(column for name, column in current.items() if name not in lake),
        ),
        added=tuple(name for name in current if known and name not in known and name not in renamed.values()),
        dropped=tuple(name for name in known if name not in current and name not in renamed),
        renamed=tuple(pair for pair in renamed.items() if pair[1] in current),
        replaced=tuple(name for name, old, now in shared if same_table and old.number != now.number),
        widened=tuple(
            (name, old.type, now.type.text) for name, old, now in shared if old.type != now.type.text
        ),
        reprinted=tuple(
            name
            for name, old, now in shared
            # No row has a label that was just added to an enum.
            if same_table and old.type == now.type.text and not set(old.form.split()) <= set(now.form.split())
        ),
        made_nullable=tuple(name for name, old, now in shared if now.nullable and not old.nullable),
        made_required=tuple(name for name, old, now in shared if old.nullable and not now.nullable),
    )


def _without_modifiers(type_: str) -> str:
    """Remove the modifiers from a type such as `numeric(10,2)[]`."""
    return re.sub(r"\(.*?\)", "", type_)


def _renamed(relation: Relation, remembered: Remembered | None) -> dict[str, str]:
    """Map former to new column names; a column keeps its number for the lifetime of its table."""
    if remembered is None or remembered.oid != relation.oid:
        return {}
    now = {column.number: column.name for column in relation.columns}
    return {
        former: now[column.number]
        for former, column in remembered.columns.items()
        if now.get(column.number, former) != former
    }


def _unlike_declared(
    name: str, declared: Table, relation: Relation, remembered: Remembered | None
) -> Iterator[str]:
    """Yield the parts of the model's declaration that a table lacks."""
    renamed = _renamed(relation, remembered)
    for column in declared.columns:
        found = relation.column(column.name)
        if found is None:
            now = f"; it is now called {renamed[column.name]}" if column.name in renamed else ""
            yield (
                f"Table {name} has no column {column.name}, which is declared{now}. Undo the change, or "
                "change the declaration."
            )
        elif not found.can_read:
            yield _denied(name, found)
        elif not is_readable(column, found.type):
            yield (
                f"{name}.{column.name} is {found.type.text}, which does not fit the declared type, "
                f"{written(column.type)}. Undo the change, or change the declaration."
            )


def _discovered(
    name: str,
    lake: Mapping[str, Column],
    relation: Relation,
    remembered: Remembered | None,
    key: Sequence[str] | None,
    types: Mapping[str, LogicalType],
) -> tuple[Table | None, list[str]]:
    """Declare a discovered table with the lake's types, and list the incompatibilities."""
    incompatible = []
    chosen = {}
    for column_name, column in lake.items():
        found = relation.column(column_name)
        if found is None:
            continue
        wanted = types.get(column_name) or logical_type(found.type)
        if not found.can_read:
            incompatible.append(_denied(name, found))
        elif arrow_type(wanted) == arrow_type(column.type):
            chosen[column_name] = wanted
        elif column_name not in types and holds(column.type, found.type):
            chosen[column_name] = column.type
        elif widens(column.type, wanted):
            chosen[column_name] = wanted
        else:
            former = remembered.columns.get(column_name) if remembered else None
            was = f" (before: {former.type})" if former and former.type != found.type.text else ""
            incompatible.append(
                f"{name}.{column_name} is {found.type.text}{was}: the lake would store it as "
                f"{written(wanted)}, but has it as {written(column.type)}. {_WAY_OUT}."
            )
    if incompatible:
        return None, incompatible
    former_key = remembered.key if remembered else ()
    try:
        # The key stays the same while it is still unique, whatever keys are added.
        table = declare(
            relation,
            key=key or (former_key if former_key in relation.keys else None),
            types={**types, **chosen},
        )
    except SourceError as error:
        return None, [str(error)]
    return table, []


def _unlike_lake(name: str, lake: Mapping[str, Column], table: Table) -> Iterator[str]:
    """Yield the columns that conflict with the lake's columns in name or type."""
    by_case = {name.lower(): name for name in lake}
    for column in table.columns:
        alike = by_case.get(column.name.lower(), column.name)
        if alike != column.name and column.name not in lake:
            yield (
                f"{name} has the columns {alike} in the lake and {column.name} in the source, which the "
                f"lake's readers cannot distinguish: they differ only in upper and lower case. {_WAY_OUT}."
            )
        elif (
            column.name in lake
            and arrow_type(lake[column.name].type) != arrow_type(column.type)
            and not widens(lake[column.name].type, column.type)
        ):
            yield (
                f"{name}.{column.name} is declared as {written(column.type)}, but the lake has it as "
                f"{written(lake[column.name].type)}. Undo the change of the declaration, or declare the "
                "table under another name."
            )


def _other_key(
    name: str, key: Sequence[str], remembered: Remembered | None, relation: Relation
) -> Iterator[str]:
    if remembered is None or tuple(key) == remembered.key:
        return
    renamed = _renamed(relation, remembered)
    was, now = ", ".join(remembered.key), ", ".join(key)
    why = "".join(f"; {part} is now called {renamed[part]}" for part in remembered.key if part in renamed)
    yield (
        f"The key of {name} has changed from ({was}) to ({now}){why}: rows of the lake cannot be matched "
        f"with those of the source. {_WAY_OUT}."
    )


def _denied(name: str, column: SourceColumn) -> str:
    return (
        f"The role may not SELECT {column.name} of {name}, which is declared or was read before. "
        "GRANT SELECT ON the table, or on the column."
    )
