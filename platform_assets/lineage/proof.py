"""Proof of edges by experiment: a query runs on small data, before and after one source column is changed.

An observed change without an edge means that the graph is wrong. An edge that no change shows is not proved:
the data may not reach it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.column_lineage import ROWS, ColumnRef, Subtype
from platform_assets.errors import LineageError
from platform_assets.isolation import Isolation
from platform_assets.lineage.graph import Edge, Graph, GraphColumn, GraphTable
from platform_assets.model.dialects import columns_sql, literal, quote

if TYPE_CHECKING:
    import duckdb

_ROWS = 14
_SEEDS = 3
_SHARE_OF_NULLS = 0.4
_SHARE_OF_REPEATS = 0.5
_ROWS_OF_A_VALUE = 3
_FIRST_DAY = dt.date(2024, 1, 1)
Observed = dict[tuple[ColumnRef, ColumnRef], bool]


@dataclass(frozen=True)
class Proof:
    """Result of the experiments.

    Args:
        observed: Whether a change of the source changed the target, by the ends of each edge that was tried.
        wrong: Observed changes that no edge explains, as source and target.
        failed: Reasons why a table's query could not be tried, by the table's name.
        tables: Names of the tables that were tried.
    """

    observed: Observed = field(default_factory=dict)
    wrong: tuple[tuple[ColumnRef, ColumnRef], ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[str, ...] = ()


def try_edges(graph: Graph, layer: str = "") -> Proof:
    """Try the edges of all queries in DuckDB's dialect.

    Args:
        graph: The graph.
        layer: Only tables whose path starts with this, such as `star`; all by default.

    Raises:
        LineageError: No table of the layer has a query.
    """
    observed: Observed = {}
    wrong: list[tuple[ColumnRef, ColumnRef]] = []
    tried: list[str] = []
    proving = Isolation("Proving lineage")
    for table in graph.tables.values():
        if table.sql is None or table.dialect != "duckdb" or table.unknown or not table.reads:
            continue
        if layer and table.asset[0] != layer:
            continue
        with proving.guard(table.name):
            experiment = _Experiment(graph, table)
            experiment.run()
            observed |= experiment.observed
            wrong += experiment.wrong
            tried.append(table.name)
    failed = {failure.name: failure.reason for failure in proving.failures}
    if layer and not tried and not failed:
        layers = dict.fromkeys(table.asset[0] for table in graph.tables.values() if table.sql is not None)
        raise LineageError(f"No table of {layer} has a query. Groups with queries are {', '.join(layers)}.")
    return Proof(observed, tuple(wrong), failed, tuple(tried))


class _Experiment:
    """The experiments on one table's query."""

    def __init__(self, graph: Graph, table: GraphTable) -> None:
        self._graph = graph
        self._table = table
        self._edges = list(graph.into_table(table.asset))
        self._sources = list(dict.fromkeys(edge.source for edge in self._edges if edge.source.column != ROWS))
        read = dict.fromkeys(edge.source.asset for edge in self._edges)
        names = {name: path for name, path in table.reads.items() if path in read}
        self._names = names
        self._read = [graph.tables[path] for path in read if path in names.values()]
        self._parameters = dict.fromkeys(_parameters(table.sql or ""), 0)
        self.observed: Observed = {}
        self.wrong: list[tuple[ColumnRef, ColumnRef]] = []

    def run(self) -> None:
        """Change each column of the read tables, in several data sets, until all of its edges are shown.

        A data set that the query does not take is left out: not every query takes missing values.

        Raises:
            LineageError: The query fails on each of the data sets.
        """
        import duckdb

        wrong: dict[tuple[ColumnRef, ColumnRef], None] = {}
        failures: list[duckdb.Error] = []
        for edge in self._edges:
            if edge.source.column != ROWS:
                self.observed.setdefault((edge.source, edge.target), False)
        for seed in range(_SEEDS):
            with contextlib.closing(duckdb.connect()) as connection:
                connection.execute(
                    "SET enable_external_access = false; SET threads = 1; SET TimeZone = 'UTC'"
                )
                try:
                    self._create(connection, seed)
                    noise = self._noise(connection)
                except duckdb.Error as error:
                    failures.append(error)
                    continue
                for table in self._read:
                    for column in table.columns:
                        source = ColumnRef(table.asset, column.name)
                        if seed == 0 or not self._is_shown(source):
                            wrong |= dict.fromkeys(self._try(connection, source, column, seed, noise))
        if len(failures) == _SEEDS:
            first = failures[0]
            text = str(first).strip().partition("\n")[0]
            raise LineageError(f"The query of {self._table.name} fails on small data: {text}") from first
        self.wrong = list(wrong)

    def _is_shown(self, source: ColumnRef) -> bool:
        """Return whether all edges from a column have been observed."""
        return all(shown for (one, _), shown in self.observed.items() if one == source)

    def _create(self, connection: duckdb.DuckDBPyConnection, seed: int) -> None:
        """Create the tables that the query reads, with small data, under the names that it uses."""
        joined = {edge.source for edge in self._edges if edge.subtype is Subtype.JOIN}
        for number, table in enumerate(self._read):
            kinds = [_duckdb_type(column.type) for column in table.columns]
            declared = ", ".join(
                f"{quote(column.name)} {kind}" for column, kind in zip(table.columns, kinds, strict=True)
            )
            connection.execute(f"CREATE TABLE {quote(f'data {number}')} (_row INTEGER, {declared})")
            data = random.Random(f"{seed} {table.name}")  # noqa: S311 - test data
            columns = [
                _values(
                    column,
                    kind,
                    data,
                    shared=ColumnRef(table.asset, column.name) in joined,
                    shift=number if seed else 0,
                    nulls=seed == 1 and ColumnRef(table.asset, column.name) not in joined,
                    repeats=seed > 1,
                )
                for column, kind in zip(table.columns, kinds, strict=True)
            ]
            rows = [(place, *values) for place, values in enumerate(zip(*columns, strict=True))]
            marks = ", ".join("?" for _ in range(len(kinds) + 1))
            connection.executemany(f"INSERT INTO {quote(f'data {number}')} VALUES ({marks})", rows)
            for name, path in self._names.items():
                if path == table.asset:
                    self._create_view(connection, name, number, table)

    def _create_view(
        self, connection: duckdb.DuckDBPyConnection, name: str, number: int, table: GraphTable
    ) -> None:
        schema, _, rest = ("", "", name) if "/" in name else name.rpartition(".")
        if schema:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
        shown = [
            column.name
            for column in table.columns
            if not (name in self._table.plain and column.name.startswith("_"))
        ]
        view = quote(schema, rest) if schema else quote(rest)
        connection.execute(
            f"CREATE VIEW {view} AS SELECT {columns_sql(shown)} FROM {quote(f'data {number}')}"
        )

    def _rows(self, connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
        names = [column.name for column in self._table.columns]
        found = connection.execute(self._table.sql or "", self._parameters or None)
        given = {column[0].casefold(): place for place, column in enumerate(found.description or ())}
        places = [given.get(name.casefold(), place) for place, name in enumerate(names)]
        return [
            {name: _comparable(row[place]) for name, place in zip(names, places, strict=True)}
            for row in found.fetchall()
        ]

    def _noise(self, connection: duckdb.DuckDBPyConnection) -> set[str]:
        """Return the columns that differ between two runs on the same data, such as the time."""
        first, second = self._rows(connection), self._rows(connection)
        return {
            column.name
            for column in self._table.columns
            if [row[column.name] for row in first] != [row[column.name] for row in second]
        }

    def _try(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: ColumnRef,
        column: GraphColumn,
        seed: int,
        noise: set[str],
    ) -> Iterator[tuple[ColumnRef, ColumnRef]]:
        """Change a column in several ways; yield the changes that no edge explains."""
        import duckdb

        into = {edge.target.column for edge in self._edges if edge.source == source}
        before = self._rows(connection)
        number = next(place for place, table in enumerate(self._read) if table.asset == source.asset)
        name, data = quote(source.column), quote(f"data {number}")
        for change in _changes(name, data, column, seed):
            after = before
            connection.execute("BEGIN")
            try:
                connection.execute(
                    f"UPDATE {data} SET {name} = changed.value FROM (SELECT _row AS at, {change} AS value "
                    f"FROM {data}) AS changed WHERE _row = changed.at"
                )
                with contextlib.suppress(duckdb.Error):
                    # A value that the query does not take, such as no key for a map, shows nothing.
                    after = self._rows(connection)
            finally:
                connection.execute("ROLLBACK")
            changed = self._changed(before, after, into, noise) if before != after else set()
            for target in changed:
                ref = ColumnRef(self._table.asset, target)
                if (source, ref) in self.observed:
                    self.observed[source, ref] = True
                elif (target != ROWS and ROWS not in into) or (target == ROWS and not into):
                    yield source, ref
            if self._is_shown(source):
                return

    def _changed(
        self,
        before: Sequence[Mapping[str, Any]],
        after: Sequence[Mapping[str, Any]],
        into: set[str],
        noise: set[str],
    ) -> set[str]:
        """Return the columns that differ between two results, with `ROWS` if they have other rows.

        Rows are aligned by the columns that the changed column has no edge to. Where these have changed all
        the same, rows are aligned by one of them that is unique in both results, else by their place.
        """
        names = [column.name for column in self._table.columns if column.name not in noise]
        others = [name for name in names if name not in into]
        keys = [[tuple(row[name] for name in others) for row in rows] for rows in (before, after)]
        if Counter(keys[0]) == Counter(keys[1]):
            # No order is certain without ORDER BY: rows are put in the order of what did not change.
            ordered = (
                sorted(rows, key=lambda row: repr([row[name] for name in others])) for rows in (before, after)
            )
            pairs = list(zip(*ordered, strict=True))
            found = {
                name for name in into if name in names and any(one[name] != two[name] for one, two in pairs)
            }
            return found | ({ROWS} if ROWS in into and before != after else set())
        key = next((name for name in others if _is_key(name, before, after)), None)
        if key is None:
            pairs, is_other = list(zip(before, after, strict=False)), len(before) != len(after)
        else:
            by_key = {row[key]: row for row in after}
            pairs = [(row, by_key[row[key]]) for row in before if row[key] in by_key]
            is_other = {row[key] for row in before} != by_key.keys()
        found = {name for name in names if any(one[name] != two[name] for one, two in pairs)}
        return found | ({ROWS} if is_other or ROWS in into else set())


def _is_key(name: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> bool:
    return all(
        len({row[name] for row in rows}) == len(rows) and all(row[name] is not None for row in rows)
        for rows in (before, after)
    )


def _comparable(value: Any) -> Any:
    """Return a value that can be compared and hashed: lists and structs as text."""
    return value if value is None or isinstance(value, int | str | dt.date) else repr(value)


def _parameters(sql: str) -> set[str]:
    """Return the names of the parameters of a query, such as `last_record_id` for `$last_record_id`."""
    from sqlglot import exp, parse_one

    return {
        parameter.name
        for parameter in parse_one(sql, dialect="duckdb").find_all(exp.Placeholder, exp.Parameter)
        if parameter.name
    }


_TYPES = {
    "integer": "INTEGER", "bigint": "BIGINT", "boolean": "BOOLEAN", "date": "DATE", "text": "VARCHAR",
    "real": "REAL", "double precision": "DOUBLE", "bytea": "BLOB", "timestamp": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMPTZ",
}  # fmt: skip
"""DuckDB's types by the display names of logical types; others are text, as the lake stores times."""


_LATER = ("{} + INTERVAL 401 DAY + INTERVAL 3661 SECOND",)
_NEW_VALUES: Mapping[str, Sequence[str]] = {
    "VARCHAR": ("{} || 'x'",),
    "BOOLEAN": ("NOT {}",),
    "DATE": ("{} + 401",),
    "TIMESTAMP": _LATER,
    "TIMESTAMPTZ": _LATER,
    "BLOB": ("{} || 'x'::BLOB",),
}
"""SQL of new values by DuckDB's types; others are numbers."""


def _duckdb_type(shown: str) -> str:
    if shown.startswith("numeric"):
        return shown.replace("numeric", "DECIMAL")
    return _TYPES.get(shown, "VARCHAR")


def _values(
    column: GraphColumn,
    kind: str,
    data: random.Random,
    *,
    shared: bool,
    shift: int,
    nulls: bool,
    repeats: bool,
) -> list[Any]:
    """Return the values of a column: different in each row, with the same values where tables are joined.

    Args:
        column: The column.
        kind: Its type in DuckDB.
        data: Source of randomness.
        shared: Whether it is joined, so that its values are those of other tables too.
        shift: Numbers by which shared values are shifted, so that some have no partner.
        nulls: Whether some values are missing.
        repeats: Whether rows may have the same value, as those of one batch have.
    """
    places = list(range(1, _ROWS + 1))
    data.shuffle(places)
    if shared:
        places = [place + shift for place in places]
    elif repeats and (column.name.startswith("_") or data.random() < _SHARE_OF_REPEATS):
        places = [place // _ROWS_OF_A_VALUE for place in places]
    found = [_value(column, kind, place, shared=shared) for place in places]
    return [None if nulls and data.random() < _SHARE_OF_NULLS else value for value in found]


def _value(column: GraphColumn, kind: str, place: int, *, shared: bool) -> Any:
    if column.accepted:
        return column.accepted[place % len(column.accepted)]
    day = _FIRST_DAY + dt.timedelta(days=place * 40)
    match kind:
        case "BOOLEAN":
            return place % 2 == 0
        case "DATE":
            return day
        case "TIMESTAMP" | "TIMESTAMPTZ":
            return dt.datetime.combine(day, dt.time(place % 24, place, place), dt.UTC)
        case "VARCHAR" if column.is_iso_date:
            return day.isoformat()
        case "VARCHAR":
            return f"{'' if shared else column.name} {place}"
        case "BLOB":
            return str(place).encode()
    return place


def _changes(name: str, data: str, column: GraphColumn, seed: int) -> Iterator[str]:
    """Yield SQL of other values for a column: values of other rows, new values, and none.

    Args:
        name: The column, quoted.
        data: Its table, quoted.
        column: The column.
        seed: Number of the data set.
    """
    yield f"coalesce(lag({name}, {1 + seed}) OVER (ORDER BY _row), (SELECT max({name}) FROM {data}))"
    yield f"CASE WHEN _row % 2 = 0 THEN {name} ELSE (SELECT max({name}) FROM {data}) END"
    if column.accepted:
        for value in column.accepted:
            yield literal(value)
        return
    if column.is_iso_date:
        yield f"strftime(CAST({name} AS DATE) + 401, '%Y-%m-%d')"
    else:
        yield from (
            change.format(name) for change in _NEW_VALUES.get(_duckdb_type(column.type), ("{} + 1", "-{}"))
        )
    yield f"CASE WHEN _row % 3 = 0 THEN NULL ELSE {name} END"


@dataclass(frozen=True)
class Shares:
    """Shares of edges that were proved.

    Args:
        direct: Direct edges that were proved, and all of them.
        indirect: The same of indirect edges.
    """

    direct: tuple[int, int]
    indirect: tuple[int, int]


def shares(edges: Sequence[Edge]) -> Shares:
    """Count the edges that were tried, and those that were proved."""

    def count(of: list[Edge]) -> tuple[int, int]:
        tried = [edge for edge in of if edge.proved is not None]
        return sum(edge.proved is True for edge in tried), len(tried)

    return Shares(
        count([edge for edge in edges if edge.is_direct]),
        count([edge for edge in edges if not edge.is_direct]),
    )
