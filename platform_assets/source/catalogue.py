"""PostgreSQL's catalogue as values: the columns, types, keys, sizes and privileges of relations.

One connection reads all relations in two statements. The use of these values is left to other modules.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from platform_assets.errors import SourceError
from platform_assets.model.dialects import literal
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Column, LogicalType, Table
from platform_assets.source.types import (
    SourceType,
    decoded,
    holds,
    logical_type,
    may_lose_to_null,
    written,
)

Kind = Literal["table", "partitioned", "view", "materialized view", "foreign table"]

_KINDS: Mapping[str, Kind] = {
    "r": "table",
    "p": "partitioned",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
RESERVED_COLUMNS = frozenset(column.name for column in (*PLATFORM_COLUMNS, HASH_COLUMN))
"""Names of the platform's own columns, which a source's columns must not have, in any case."""

KEY_IS_MISSING = "nothing identifies its rows"
"""Beginning of the message for a table that needs a configured key."""

_IS_LISTED = """NOT c.relispartition AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_depend AS d
  WHERE d.classid = CAST('pg_catalog.pg_class' AS regclass) AND d.objid = c.oid AND d.deptype = 'e')"""
_LIST = f"""
SELECT c.relname, c.relkind FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_IS_LISTED}
ORDER BY c.relname
"""
_RELATIONS = (
    """
WITH RECURSIVE
relation AS (
  SELECT c.oid, c.relname, c.relkind
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND CASE
          WHEN CAST({names} AS json) IS NOT NULL
          THEN CAST(c.relname AS text) IN (SELECT json_array_elements_text(CAST({names} AS json)))
          -- What belongs to an extension (its statistics, its lookup tables) is not the owner's data.
          ELSE IS_LISTED
        END
),
-- A relation's partitions, or the tables that inherit from it: reading it reads them.
member (root, oid) AS (
  SELECT oid, oid FROM relation
  UNION
  SELECT member.root, i.inhrelid FROM member JOIN pg_catalog.pg_inherits AS i ON i.inhparent = member.oid
),
part AS (
  SELECT member.root,
         array_agg(CAST(c.oid AS bigint) ORDER BY c.oid) FILTER (WHERE c.relkind IN ('r', 'm')) AS oids,
         array_agg(form.form ORDER BY c.oid) FILTER (WHERE c.relkind IN ('r', 'm')) AS forms,
         -- What is kept elsewhere, or in another way than PostgreSQL's own, has no transaction ids to go by.
         bool_and(c.relkind IN ('r', 'm', 'p') AND coalesce(am.amname, 'heap') = 'heap') AS has_xmin,
         count(*) > 1 AS is_divided
  FROM member JOIN pg_catalog.pg_class AS c ON c.oid = member.oid
  LEFT JOIN pg_catalog.pg_am AS am ON am.oid = c.relam
  -- A part that is taken out, altered and put back keeps its object id and its rows.
  LEFT JOIN LATERAL (
    SELECT left(md5(string_agg(concat_ws(' ', a.attname, a.attnum, a.atttypid,
             CASE WHEN a.attgenerated = 'v' THEN pg_get_expr(d.adbin, d.adrelid) END), chr(31)
             ORDER BY a.attnum)), 8) AS form
    FROM pg_catalog.pg_attribute AS a
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = member.oid AND member.oid <> member.root AND a.attnum > 0 AND NOT a.attisdropped
  ) AS form ON true
  GROUP BY member.root
),
extent AS (
  SELECT member.root, c.reltuples, c.relpages, size.pages
  FROM member
  JOIN pg_catalog.pg_class AS c ON c.oid = member.oid AND c.relkind IN ('r', 'm')
  CROSS JOIN LATERAL (
    -- Of a member, as measuring any other relation may wait for its lock.
    SELECT coalesce(pg_relation_size(member.oid), 0) / CAST(current_setting('block_size') AS int) AS pages
  ) AS size
),
size AS (
  SELECT root, max(pages) AS pages,
         -- As the planner estimates: the density at the last ANALYZE, times the pages there are now.
         CASE WHEN bool_or(pages > 0 AND (relpages = 0 OR reltuples < 0)) THEN NULL
              ELSE CAST(sum(coalesce(reltuples / nullif(relpages, 0), 0) * pages) AS bigint)
         END AS "rows"
  FROM extent GROUP BY root
),
base (oid, base, modifier) AS (
  SELECT oid, typbasetype, typtypmod FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL
  SELECT base.oid, t.typbasetype, t.typtypmod
  FROM base JOIN pg_catalog.pg_type AS t ON t.oid = base.base AND t.typtype = 'd'
),
-- The types that the values of a type are made of.
made_of (type, oid) AS (
  SELECT DISTINCT atttypid, atttypid FROM pg_catalog.pg_attribute
  WHERE attrelid IN (SELECT oid FROM relation) AND attnum > 0 AND NOT attisdropped
  UNION
  SELECT made_of.type, inner_type.oid
  FROM made_of
  JOIN pg_catalog.pg_type AS t ON t.oid = made_of.oid
  CROSS JOIN LATERAL (
    SELECT t.typelem AS oid UNION ALL SELECT t.typbasetype
    UNION ALL SELECT rngsubtype FROM pg_catalog.pg_range WHERE t.oid IN (rngtypid, rngmultitypid)
    UNION ALL SELECT atttypid FROM pg_catalog.pg_attribute WHERE attrelid = t.typrelid AND attnum > 0
  ) AS inner_type
  WHERE inner_type.oid <> 0
),
-- First which types there are, as a catalogue of many thousand objects is looked through for some of them.
t AS MATERIALIZED (
  SELECT oid, typname, typrelid FROM pg_catalog.pg_type WHERE oid IN (SELECT oid FROM made_of)
),
piece AS (
  SELECT t.oid, left(md5(piece.text), 8) AS hash
  FROM t
  CROSS JOIN LATERAL (
    -- Another type may come to have its name.
    SELECT concat('type ', t.oid) WHERE t.oid >= FIRST_OWN_OID
    UNION ALL
    SELECT concat(oid, ' ', enumlabel) FROM pg_catalog.pg_enum WHERE enumtypid = t.oid
    UNION ALL
    SELECT concat(a.attrelid, ' ', string_agg(CAST(a.attnum AS text), ' ' ORDER BY a.attnum))
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
    UNION ALL
    -- Another release of an extension may print its types in another way.
    SELECT concat(e.oid, ' ', e.extversion)
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
    WHERE d.classid = CAST('pg_catalog.pg_type' AS regclass) AND d.objid = t.oid AND d.deptype = 'e'
      AND d.refclassid = CAST('pg_catalog.pg_extension' AS regclass)
    -- A number whose point is where the locale has it.
    UNION ALL SELECT current_setting('lc_monetary') WHERE t.oid = CAST('money' AS regtype)
    -- Numbers of objects, which print as their names: those that somebody may give another one.
    UNION ALL
    SELECT concat(oid, ' ', CAST(oid AS regclass)) FROM pg_catalog.pg_class
    WHERE t.oid = CAST('regclass' AS regtype) AND oid >= FIRST_OWN_OID AND relpersistence <> 't'
      AND relkind <> 't'
    UNION ALL
    SELECT concat(oid, ' ', CAST(oid AS regtype)) FROM pg_catalog.pg_type
    WHERE t.oid = CAST('regtype' AS regtype) AND oid >= FIRST_OWN_OID
    UNION ALL
    SELECT concat(oid, ' ', CASE t.typname WHEN 'regproc' THEN CAST(CAST(oid AS regproc) AS text)
                            ELSE CAST(CAST(oid AS regprocedure) AS text) END)
    FROM pg_catalog.pg_proc
    WHERE t.oid IN (CAST('regproc' AS regtype), CAST('regprocedure' AS regtype)) AND oid >= FIRST_OWN_OID
    UNION ALL
    SELECT concat(oid, ' ', CASE t.typname WHEN 'regoper' THEN CAST(CAST(oid AS regoper) AS text)
                            ELSE CAST(CAST(oid AS regoperator) AS text) END)
    FROM pg_catalog.pg_operator
    WHERE t.oid IN (CAST('regoper' AS regtype), CAST('regoperator' AS regtype)) AND oid >= FIRST_OWN_OID
    UNION ALL
    SELECT concat(oid, ' ', CAST(oid AS regrole)) FROM pg_catalog.pg_roles
    WHERE t.oid IN (CAST('regrole' AS regtype), CAST('aclitem' AS regtype))
    UNION ALL
    SELECT concat(oid, ' ', CAST(oid AS regnamespace)) FROM pg_catalog.pg_namespace
    WHERE t.oid = CAST('regnamespace' AS regtype) AND nspname !~ '^pg_(toast_)?temp_'
    UNION ALL
    SELECT concat(oid, ' ', CAST(oid AS regconfig)) FROM pg_catalog.pg_ts_config
    WHERE t.oid = CAST('regconfig' AS regtype)
    UNION ALL
    SELECT concat(oid, ' ', CAST(oid AS regdictionary)) FROM pg_catalog.pg_ts_dict
    WHERE t.oid = CAST('regdictionary' AS regtype)
    UNION ALL
    SELECT concat(oid, ' ', CAST(oid AS regcollation)) FROM pg_catalog.pg_collation
    WHERE t.oid = CAST('regcollation' AS regtype) AND oid >= FIRST_OWN_OID
  ) AS piece (text)
),
form AS (
  SELECT type, CASE WHEN count(*) <= MOST_PIECES THEN string_agg(hash, ' ' ORDER BY hash)
                    ELSE md5(string_agg(hash, ' ' ORDER BY hash)) END AS form
  FROM (SELECT DISTINCT made_of.type, piece.hash FROM made_of JOIN piece ON piece.oid = made_of.oid) AS piece
  GROUP BY type
),
-- Which dictionaries make lexemes of words, wherever a column is computed by them when it is read.
text_search AS (
  SELECT md5(string_agg(concat_ws(' ', m.mapcfg, m.maptokentype, m.mapseqno, d.oid, d.dicttemplate,
             d.dictinitoption), chr(31) ORDER BY m.mapcfg, m.maptokentype, m.mapseqno)) AS form
  FROM pg_catalog.pg_ts_config_map AS m JOIN pg_catalog.pg_ts_dict AS d ON d.oid = m.mapdict
)
SELECT r.oid, r.relname, r.relkind, coalesce(size.pages, 0),
       CASE WHEN size.root IS NULL THEN 0 ELSE size."rows" END,
       has_schema_privilege({schema}, 'USAGE')
         AND (has_table_privilege(r.oid, 'SELECT') OR has_any_column_privilege(r.oid, 'SELECT')),
       has_schema_privilege({schema}, 'USAGE') AND has_table_privilege(r.oid, 'SELECT'),
       row_security_active(r.oid), part.oids, part.forms, coalesce(part.has_xmin, false),
       coalesce(r.relkind <> 'p' AND part.is_divided, false),
       {table_comment},
       a.attname, a.attnum, t.typname, t.typtype,
       CAST(t.typnamespace AS regnamespace) = CAST('pg_catalog' AS regnamespace),
       CASE WHEN base.base IS NULL THEN a.atttypmod ELSE base.modifier END,
       format_type(a.atttypid, a.atttypmod), t.typcategory = 'A',
       a.attnotnull AND NOT EXISTS (
         -- PostgreSQL 18 has NOT NULL constraints that old rows may break.
         SELECT FROM pg_catalog.pg_constraint AS k
         WHERE k.contype = 'n' AND NOT k.convalidated AND k.conrelid = r.oid AND a.attnum = ANY (k.conkey)),
       a.attgenerated <> '', has_column_privilege(r.oid, a.attnum, 'SELECT'),
       {column_comment},
       concat_ws(' ', CASE WHEN a.attgenerated = 'v' THEN md5(computed.expression) END, form.form, query.form,
                 CASE WHEN computed.expression ~ 'ts(vector|query)|regconfig|regdictionary'
                      THEN (SELECT form FROM text_search) END)
FROM relation AS r
LEFT JOIN size ON size.root = r.oid
LEFT JOIN part ON part.root = r.oid
LEFT JOIN LATERAL (SELECT md5(pg_get_viewdef(r.oid)) AS form) AS query ON r.relkind = 'v'
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN (
  SELECT base.* FROM base JOIN pg_catalog.pg_type AS t ON t.oid = base.base AND t.typtype <> 'd'
) AS base ON base.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type AS t ON t.oid = coalesce(base.base, a.atttypid)
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
LEFT JOIN LATERAL (SELECT pg_get_expr(d.adbin, d.adrelid)) AS computed (expression) ON a.attgenerated = 'v'
LEFT JOIN form ON form.type = a.atttypid
ORDER BY r.relname, a.attnum
""".replace("FIRST_OWN_OID", "16384")
    .replace("MOST_PIECES", "2000")
    .replace("IS_LISTED", _IS_LISTED)
)
# Objects below FIRST_OWN_OID are built into the server and keep their names. With more than MOST_PIECES
# pieces, one hash of all of them is stored: less precise, but smaller in the cursor.

# The SQL has no parameters: pg8000 searches for them character by character, which takes longer than the
# server needs for the query.
_RELATIONS = re.sub(r"\s*--.*|\s+", " ", _RELATIONS)
_KEYS = """
SELECT i.indrelid, CASE WHEN i.indisprimary THEN 'primary' ELSE 'unique' END, i.indexrelid, part.position,
       a.attname, NULL
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY AS part (number, position)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = part.number
WHERE i.indrelid = ANY (CAST({relations} AS oid[])) AND i.indisunique AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL AND part.position <= i.indnkeyatts
UNION ALL
SELECT k.conrelid, 'foreign', k.oid, 1, a.attname, parent.relname
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS child ON child.oid = k.conrelid
JOIN pg_catalog.pg_class AS parent ON parent.oid = k.confrelid
JOIN pg_catalog.pg_index AS key ON key.indexrelid = k.conindid AND key.indisprimary
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
-- A key to a partitioned table is listed once more for each of its partitions. One that is not enforced
-- (PostgreSQL 18) counts as not validated.
WHERE k.conrelid = ANY (CAST({relations} AS oid[])) AND k.contype = 'f' AND k.convalidated
  AND cardinality(k.conkey) = 1 AND parent.relnamespace = child.relnamespace AND NOT parent.relispartition
ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True)
class SourceColumn:
    """A column of a relation.

    Args:
        name: Column name.
        number: Column number (`attnum`), from 1; it survives renames and is never reused.
        type: Column type.
        nullable: Whether the column can hold NULL, old rows included.
        generated: Whether the server computes the column from other columns.
        can_read: Whether the role may SELECT the column.
        comment: The owner's comment; empty without one.
        form: Everything outside the rows that affects how values are printed, as hashes separated by blanks.
            Hashed are, anywhere in the type: labels of enums, attributes of composites, names of objects that
            `regclass` and similar types may print, the locale of `money` and the release of an extension;
            also the expression of a column that is computed on read, and a view's query. Empty for all other
            columns.
    """

    name: str
    number: int
    type: SourceType
    nullable: bool = True
    generated: bool = False
    can_read: bool = True
    comment: str = ""
    form: str = ""


@dataclass(frozen=True)
class Relation:
    """A table, view, materialized view or foreign table.

    Args:
        schema: Its schema.
        name: Relation name.
        oid: Object id; a table that is dropped and recreated gets a new one.
        kind: Kind of relation; `partitioned` is the parent that stands for its partitions.
        columns: Columns by number.
        primary_key: Columns of the primary key in key order; empty without a primary key.
        unique_keys: Further sets of columns that are unique and never NULL: those of unique indexes that are
            valid, not partial and without expressions; the smallest first.
        foreign_keys: Pairs of (column, parent table) of the validated single-column foreign keys to the
            primary key of a table in the same schema.
        pages: Number of blocks; for a table with partitions or inheriting tables, those of the largest one.
        estimated_rows: The planner's estimate, partitions and inheriting tables included; 0 for relations
            without storage, None if a part with rows was never analysed.
        can_read: Whether the role may SELECT at least one column.
        can_read_all: Whether the role may SELECT everything, including system columns such as `xmin`.
        row_security: Whether row-level security may hide rows from the role.
        parts: Object ids of the tables that hold the rows: the table itself, its partitions, or the tables
            that inherit from it.
        part_forms: For each part except the table itself, a hash of its columns (names, numbers, types).
        has_xmin: Whether every row has the id of the transaction that wrote it.
        has_heirs: Whether other tables inherit from the table. Their rows are read with its own rows, and no
            key of the table is enforced over both.
        comment: The owner's comment; empty without one.
    """

    schema: str
    name: str
    oid: int
    kind: Kind
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[tuple[str, str], ...] = ()
    pages: int = 0
    estimated_rows: int | None = 0
    can_read: bool = True
    can_read_all: bool = True
    row_security: bool = False
    parts: tuple[int, ...] = ()
    part_forms: Mapping[int, str] = field(default_factory=dict)
    has_xmin: bool = True
    has_heirs: bool = False
    comment: str = ""

    def column(self, name: str) -> SourceColumn | None:
        """Return the column called `name`, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """All unique sets of columns, the primary key first."""
        return ((self.primary_key,) if self.primary_key else ()) + self.unique_keys

    def enforces(self, key: Sequence[str]) -> bool:
        """Return whether the server enforces that no two of the rows read are equal in these columns."""
        return tuple(key) in self.keys and not self.has_heirs


@dataclass(frozen=True)
class Selection:
    """Result of applying a list of patterns.

    Args:
        names: Names of the selected relations, in the order given.
        unmatched: Patterns to select or exclude that match no relation, probably misspelt.
    """

    names: tuple[str, ...]
    unmatched: tuple[str, ...] = field(default=())


def read_relations(
    run: Callable[..., list[Any]], schema: str, names: Sequence[str] | None = None, encoding: str = ""
) -> dict[str, Relation]:
    """Read the relations of a schema in two statements.

    Args:
        run: `run` of a pg8000 connection: SQL to rows.
        schema: The schema.
        names: Names of relations, including partitions; names that do not exist are ignored. None for all
            tables, partitioned tables, views, materialized views and foreign tables, except partitions and
            relations that belong to extensions.
        encoding: Encoding of comments in a database without an encoding of its own; see `types.decoded`.

    Returns:
        The relations by name, in the order of the names.
    """
    relations_sql = _RELATIONS.format(
        table_comment=decoded("obj_description(r.oid, 'pg_class')", encoding),
        column_comment=decoded("col_description(r.oid, a.attnum)", encoding),
        schema=literal(schema),
        names="NULL" if names is None else literal(json.dumps(list(names))),
    )
    rows = run(relations_sql)
    columns: dict[int, list[SourceColumn]] = {}
    heads: dict[int, list[Any]] = {}
    for row in rows:
        head, (name, number, *details) = row[:13], row[13:]
        heads[head[0]] = head
        listed = columns.setdefault(head[0], [])
        if name is None:
            continue  # PostgreSQL has tables without columns.
        *type_, not_null, generated, can_read, comment, form = details
        type_of_it = SourceType(*type_)
        listed.append(
            SourceColumn(
                name, number, type_of_it, not not_null, generated, can_read, comment or "", form or ""
            )
        )
    if not heads:
        return {}
    keys = _keys(run(_KEYS.format(relations=literal("{" + ",".join(map(str, heads)) + "}"))))
    found = {}
    for oid, name, kind, pages, estimated, can_read, can_read_all, *more in heads.values():
        row_security, parts, forms, has_xmin, has_heirs, comment = more
        never_null = {column.name for column in columns[oid] if not column.nullable}
        uniques = [unique for unique in keys.get((oid, "unique"), []) if never_null.issuperset(unique)]
        number = {column.name: column.number for column in columns[oid]}
        found[name] = Relation(
            schema=schema,
            name=name,
            oid=oid,
            kind=_KINDS[kind],
            columns=tuple(columns[oid]),
            primary_key=next(iter(keys.get((oid, "primary"), [])), ()),
            # Sorted by columns, because the order in which indexes were created is arbitrary.
            unique_keys=tuple(
                sorted(set(uniques), key=lambda key: (len(key), [number[part] for part in key]))
            ),
            foreign_keys=tuple(sorted(set(keys.get((oid, "foreign"), [])), key=lambda pair: number[pair[0]])),
            pages=pages,
            estimated_rows=estimated,
            can_read=can_read,
            can_read_all=can_read_all,
            row_security=row_security,
            parts=tuple(parts or ()),
            part_forms={part: form for part, form in zip(parts or (), forms or (), strict=True) if form},
            has_xmin=has_xmin,
            has_heirs=has_heirs,
            comment=comment or "",
        )
    return found


def read_kinds(run: Callable[..., list[Any]], schema: str) -> dict[str, Kind]:
    """List the relations that `read_relations` reads without names, in the order of their names.

    The server opens none of them, so it waits for no lock on them.

    Args:
        run: As in `read_relations`.
        schema: The schema.

    Returns:
        The kind of each relation by name.
    """
    return {name: _KINDS[kind] for name, kind in run(_LIST, schema=schema)}


def _keys(rows: list[Any]) -> dict[tuple[int, str], list[Any]]:
    """Return the keys by relation and kind: tuples of columns, and pairs of column and parent."""
    parts: dict[tuple[int, str, int], tuple[str, ...]] = {}
    for oid, kind, key, _, column, parent in rows:
        parts[oid, kind, key] = (*parts.get((oid, kind, key), ()), column, *([parent] if parent else []))
    keys: dict[tuple[int, str], list[Any]] = {}
    for (oid, kind, _), names in parts.items():
        keys.setdefault((oid, kind), []).append(names)
    return keys


def select_relations(
    names: Collection[str], patterns: Sequence[str], exclude: Sequence[str] = ()
) -> Selection:
    """Choose relations by name.

    Args:
        names: Names of all relations.
        patterns: Case-sensitive shell patterns (`*`, `?`, `[abc]`); a name must match at least one of them. A
            pattern that is itself a relation's name selects that relation.
        exclude: Patterns that a name must not match.

    Returns:
        The selected relations, and the patterns that match no relation.
    """

    def matching(pattern: str) -> set[str]:
        if pattern in names:
            return {pattern}
        return {name for name in names if fnmatch.fnmatchcase(name, pattern)}

    matches = {pattern: matching(pattern) for pattern in (*patterns, *exclude)}
    wanted = set[str]().union(*(matches[pattern] for pattern in patterns))
    unwanted = set[str]().union(*(matches[pattern] for pattern in exclude))
    return Selection(
        tuple(name for name in names if name in wanted - unwanted),
        tuple(pattern for pattern, matched in matches.items() if not matched),
    )


def declare(
    relation: Relation,
    *,
    key: Sequence[str] | None = None,
    types: Mapping[str, LogicalType] | None = None,
) -> Table:
    """Declare a discovered relation.

    The declaration has the columns that the role may read, in the source's order. A column is nullable if the
    source says so, or if its type has values that the lake stores as NULL (`types.may_lose_to_null`). Key
    columns are never nullable.

    Args:
        relation: The relation in the source.
        key: Columns that identify a row; by default the primary key, else the smallest unique key.
        types: Logical types that override the default of a column (`types.logical_type`).

    Raises:
        SourceError: Nothing identifies a row, a name cannot be used, or `key` or `types` do not fit; the
            message lists every mistake.
    """
    columns = {column.name: column for column in relation.columns if column.can_read}
    types = types or {}
    readable_keys = [found for found in relation.keys if columns.keys() >= set(found)]
    chosen = tuple(key) if key else next(iter(readable_keys), ())
    mistakes = list(_mistakes(relation, columns, chosen, types))
    if mistakes:
        raise SourceError(
            f"The {relation.kind if relation.kind != 'partitioned' else 'partitioned table'} "
            f"{relation.schema}.{relation.name} cannot be read: {'; '.join(mistakes)}."
        )
    declared = []
    for column in columns.values():
        type_ = types.get(column.name) or logical_type(column.type)
        nullable = column.name not in chosen and (column.nullable or may_lose_to_null(type_, column.type))
        declared.append(Column(column.name, type_, column.comment, nullable=nullable))
    return Table(
        relation.name,
        relation.comment or f"A row of the source's {relation.kind} {relation.schema}.{relation.name}",
        tuple(declared),
        chosen,
    )


def _mistakes(
    relation: Relation,
    columns: Mapping[str, SourceColumn],
    key: Sequence[str],
    types: Mapping[str, LogicalType],
) -> Iterator[str]:
    """Yield the reasons why a relation cannot be declared, as clauses that include the remedy."""
    if not columns:
        yield (
            "the role may not SELECT any of its columns; GRANT SELECT ON it TO the role"
            if relation.columns
            else "it has no columns; exclude it"
        )
        return
    reserved = [name for name in columns if name.lower() in RESERVED_COLUMNS]
    if reserved:
        yield (
            f"its column {', '.join(reserved)} has the name of one of the platform's own columns; rename "
            "it, read a view that renames it, or exclude the table"
        )
    by_case: dict[str, list[str]] = {}
    for name in columns:
        by_case.setdefault(name.lower(), []).append(name)
    for alike in by_case.values():
        if len(alike) > 1:
            yield (
                f"its columns {' and '.join(alike)} differ in upper and lower case only, which the lake's "
                "readers cannot distinguish; rename one, read a view that renames one, or exclude the table"
            )
    if not key:
        yield (
            f"{KEY_IS_MISSING}, as it has no primary key and no unique index on columns that are "
            "NOT NULL and readable; name the columns that do as its key in the source's configuration, or "
            "exclude the table"
        )
    for what, names in (("key", key), ("types", types)):
        unknown = [name for name in names if name not in columns]
        if unknown:
            yield (
                f"its {what} in the configuration name {', '.join(unknown)}, which it lacks or the role may "
                f"not read; it has {', '.join(columns)}"
            )
    for name, type_ in types.items():
        if name in columns and not holds(type_, columns[name].type):
            yield f"{name} is {columns[name].type.text}, which cannot be read as {written(type_)}"
