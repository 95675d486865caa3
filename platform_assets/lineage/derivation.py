"""Derivation of column lineage from a query: names resolved as the engine does it, expression by expression.

sqlglot parses; resolving names, expanding stars and following values is done here, because its own resolution
errs without saying so in some of DuckDB's constructs and takes a hundred times as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from platform_assets.column_lineage import ROWS, ColumnRef, LineageQuery, Subtype
from platform_assets.lineage.flows import Flow, Flows, Passage, QueryRelation, deciding, made, merged, placed
from platform_assets.lineage.masking import hiding_of
from platform_assets.lineage.positions import Span, SqlPositions

_OF_ONE_ROW = (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)
"""Window functions that sqlglot takes for aggregates; their value is that of one row."""
_SET_RETURNING = frozenset({
    "GENERATE_SUBSCRIPTS", "JSONB_ARRAY_ELEMENTS", "JSONB_ARRAY_ELEMENTS_TEXT", "JSONB_EACH",
    "JSONB_EACH_TEXT", "JSONB_OBJECT_KEYS", "JSON_ARRAY_ELEMENTS", "JSON_ARRAY_ELEMENTS_TEXT",
    "JSON_EACH", "JSON_EACH_TEXT", "JSON_OBJECT_KEYS", "REGEXP_SPLIT_TO_TABLE", "STRING_TO_TABLE",
})  # fmt: skip
"""Functions that return several rows for one, and that sqlglot has no type for."""
_READING_BY_TEXT = frozenset({"DYNAMICIDENTIFIER", "QUERY", "QUERY_TABLE", "RESULT_SCAN"})
"""Table functions that read what a text names: a table, a query, or the result of an earlier query."""
_UNPARSED = {"apply": "list_transform", "reduce": "list_reduce"}
"""Functions of DuckDB that sqlglot takes for something else, with their other names."""
_MOST_ROUNDS = 20
"""Rounds after which the flows of a recursive query no longer change: one for each column that they pass."""


class UnknownLineage(Exception):
    """The lineage of a query cannot be derived; the message says why, and what to write instead."""


@dataclass(frozen=True)
class Derived:
    """The lineage of a query.

    Args:
        columns: Flows of its columns, by their names as written, in order.
        rows: What decides which rows there are.
        places: Places of the columns' expressions in the SQL, where they are known.
    """

    columns: Mapping[str, Flows]
    rows: Flows
    places: Mapping[str, Span]


def derive(
    query: LineageQuery, columns_of: Callable[[str], Sequence[str]], masking: frozenset[str]
) -> Derived:
    """Derive the lineage of a query.

    Args:
        query: The query.
        columns_of: Returns the columns of a table by the query's name for it.
        masking: Names of further functions that mask, in upper case.

    Raises:
        UnknownLineage: It cannot be derived.
    """
    try:
        dialect = sqlglot.Dialect.get_or_raise(query.dialect)
        tokens = dialect.tokenize(query.sql)
        trees = [
            tree
            for tree in dialect.parser().parse(tokens, query.sql)
            # A comment after the last semicolon is a tree of its own.
            if tree is not None and not isinstance(tree, exp.Semicolon)
        ]
    except SqlglotError as error:
        reason = str(error).partition("\n")[0].strip().removesuffix(".")
        advice = "".join(
            f"; write {known} instead of {name}"
            for name, known in _UNPARSED.items()
            if query.dialect == "duckdb" and re.search(rf"\b{name}\s*\(", query.sql, re.IGNORECASE)
        )
        raise UnknownLineage(f"it cannot be parsed ({reason}){advice}") from None
    except RecursionError:
        raise UnknownLineage("it is nested too deeply; write parts of it as WITH queries") from None
    if len(trees) != 1:
        raise UnknownLineage(f"it has {len(trees)} statements; write one SELECT")
    try:
        relation = _Deriving(query, columns_of, masking, SqlPositions(tokens)).query(trees[0], _Env())
    except RecursionError:
        raise UnknownLineage("it is nested too deeply; write parts of it as WITH queries") from None
    names = {name: relation.names.get(name, name) for name in relation.columns}
    return Derived(
        {names[name]: flows for name, flows in relation.columns.items()},
        relation.rows,
        {names[name]: place for name, place in relation.places.items() if name in names},
    )


@dataclass
class _Env:
    """Names that an expression can use.

    Args:
        parent: Names of the query around this one, for correlated subqueries.
        sources: Relations of FROM and JOIN by their aliases.
        written: Names of tables without an alias as they are written, by their keys in `sources`.
        shared: Columns that USING and NATURAL have merged.
        aliases: Expressions of the select list so far, by their aliases.
        ctes: The WITH queries.
        locals: Parameters of lambdas and list comprehensions.
        named: Aliases of the select list that come before columns, outside of aggregates, as in HAVING.
        windows: Named windows.
    """

    parent: _Env | None = None
    sources: dict[str, QueryRelation] = field(default_factory=dict)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shared: dict[str, Flows] = field(default_factory=dict)
    aliases: dict[str, Flows] = field(default_factory=dict)
    ctes: dict[str, QueryRelation] = field(default_factory=dict)
    locals: dict[str, Flows] = field(default_factory=dict)
    named: Mapping[str, Flows] = field(default_factory=dict)
    windows: dict[str, exp.Expr] = field(default_factory=dict)

    def chain(self) -> Iterator[_Env]:
        """Yield this and the environments around it, from the inside out."""
        env: _Env | None = self
        while env is not None:
            yield env
            env = env.parent

    def cte(self, name: str) -> QueryRelation | None:
        """Return the WITH query of this name that is visible here."""
        return next((env.ctes[name] for env in self.chain() if name in env.ctes), None)

    def source(self, prefix: Sequence[str]) -> QueryRelation | None:
        """Return the relation that the parts before a column's name stand for, such as `schema.table`."""
        for scope in self.chain():
            if len(prefix) > 1:
                # Of tables of one name in two schemas, the one that shares most parts.
                shared = {
                    key: min(len(parts), len(prefix))
                    for key, parts in scope.written.items()
                    if key in scope.sources and _end_alike(parts, prefix)
                }
                if shared:
                    return scope.sources[max(shared, key=lambda key: shared[key])]
            if prefix[-1] in scope.sources:
                return scope.sources[prefix[-1]]
        return None

    def window(self, name: str) -> exp.Expr | None:
        """Return the named window of this name that is visible here."""
        return next((env.windows[name] for env in self.chain() if name in env.windows), None)


class _Deriving:
    def __init__(
        self,
        query: LineageQuery,
        columns_of: Callable[[str], Sequence[str]],
        masking: frozenset[str],
        positions: SqlPositions,
    ) -> None:
        self._tables = {name.lower(): name for name in query.tables}
        self._paths = query.tables
        self._is_model = query.is_model
        self._dialect = query.dialect
        self._columns_of = columns_of
        self._masking = masking
        self._positions = positions
        self._known: dict[str, QueryRelation] = {}
        # What decides how many rows the SELECT gives for one that it reads, as `unnest(...)` does.
        self._multiplied: list[Flows] = []

    # Queries

    def query(self, node: exp.Expr, env: _Env) -> QueryRelation:
        """Return the relation of a query: SELECT, a set operation, VALUES, or one of them in brackets."""
        inner = _Env(env)
        if (with_ := node.args.get("with_")) is not None:
            self._ctes(with_, inner)
        if node.args.get("pivots"):
            raise _refused_pivot()
        match node:
            case exp.Select():
                return self._select(node, inner)
            case exp.SetOperation():
                return self._set_operation(node, inner)
            case exp.Values():
                return self._values(node, inner)
            case exp.Subquery():
                return self._subquery(node, inner)
            case exp.Table():
                return self._source(node, inner)[1]
            case exp.Pivot():
                raise _refused_pivot()
        raise UnknownLineage(f"it is {node.key.upper()}, not one SELECT")

    def _ctes(self, with_: exp.Expr, env: _Env) -> None:
        for cte in with_.expressions:
            name, names = cte.alias.lower(), cte.alias_column_names
            body = cte.this
            if with_.args.get("recursive") and isinstance(body, exp.SetOperation):
                env.ctes[name] = self._recursive(name, names, body, env)
            else:
                # Before it is added: a WITH query that is not recursive may read a table of its own name.
                env.ctes[name] = self.query(body, env).renamed(names)

    def _recursive(self, name: str, names: Sequence[str], body: exp.SetOperation, env: _Env) -> QueryRelation:
        """Return a recursive WITH query: its flows go round until nothing is added."""
        inner = _Env(env)
        known = self.query(body.this, inner).renamed(names)
        for _ in range(_MOST_ROUNDS + len(known.columns)):
            inner.ctes[name] = known
            following = self.query(body, inner).renamed(names)
            if following.columns == known.columns and following.rows == known.rows:
                break
            known = following
        return known

    def _set_operation(self, node: exp.SetOperation, env: _Env) -> QueryRelation:
        left, right = self.query(node.this, env), self.query(node.expression, env)
        by_name = bool(node.args.get("by_name"))
        if by_name and self._is_model and list(left.columns) != list(right.columns):
            raise UnknownLineage(
                "it has UNION BY NAME over columns in different orders; name the columns in one order in "
                "both parts, and write UNION ALL"
            )
        if (
            not by_name
            and len(left.columns) != len(right.columns)
            and left.rest is None
            and right.rest is None
        ):
            raise UnknownLineage(
                f"the parts of its {node.key.upper()} have {len(left.columns)} and {len(right.columns)} "
                "columns"
            )
        if isinstance(node, exp.Union):
            if by_name:
                names = dict.fromkeys((*left.columns, *right.columns))
                columns = {
                    name: merged([left.columns.get(name, {}), right.columns.get(name, {})]) for name in names
                }
            else:
                columns = {
                    name: merged(pair)
                    for name, *pair in zip(
                        left.columns, left.columns.values(), right.columns.values(), strict=False
                    )
                }
            rows = merged([left.rows, right.rows])
        else:
            # The values are those of the left side; the right side decides which rows stay.
            columns = dict(left.columns)
            rows = merged([left.rows, right.rows, deciding(merged(right.columns.values()), Subtype.FILTER)])
        if node.args.get("distinct"):
            rows = merged([rows, deciding(merged(columns.values()), Subtype.GROUP_BY)])
        tables = (*left.tables, *right.tables)
        result = QueryRelation(columns, {**right.names, **left.names}, rows, None, tables, left.places)
        env.aliases.update(columns)
        return self._ordered(node, env, result)

    def _values(self, node: exp.Values, env: _Env) -> QueryRelation:
        rows = [
            expression.expressions if isinstance(expression, exp.Tuple) else [expression]
            for expression in node.expressions
        ]
        columns = {
            f"col{number}": made(merged(self.flows(row[number], env) for row in rows), Subtype.TRANSFORMATION)
            for number in range(min(map(len, rows), default=0))
        }
        return QueryRelation(columns).renamed(node.alias_column_names)

    def _subquery(self, node: exp.Subquery, env: _Env) -> QueryRelation:
        inner = node.this
        if isinstance(inner, exp.Table):
            # Joins in brackets with an alias of their own.
            joined, rows = _Env(env), list[Flows]()
            self._add_source(inner, joined, rows)
            rows += [*self._join(node, joined), *(source.rows for source in joined.sources.values())]
            columns: dict[str, Flows] = {}
            names: dict[str, str] = {}
            for name, shown, flows in self._star(joined, ()):
                columns.setdefault(name, flows)
                names.setdefault(name, shown)
            relation = QueryRelation(columns, names, merged(rows), None, _tables_of(joined))
        else:
            relation = self.query(inner, env)
            env.aliases.update(relation.columns)
            relation = self._ordered(node, env, relation)
        return relation.renamed(node.alias_column_names)

    def _select(self, node: exp.Select, env: _Env) -> QueryRelation:
        if node.args.get("match") is not None:
            raise UnknownLineage(
                "it has MATCH_RECOGNIZE, which is not followed; read a table or a view of its rows"
            )
        if node.args.get("exclude"):
            raise UnknownLineage("it has EXCLUDE after its columns; name the columns that it gives")
        rows: list[Flows] = []
        around, self._multiplied = self._multiplied, []
        if (from_ := node.args.get("from_")) is not None:
            self._add_source(from_.this, env, rows)
        rows += self._join(node, env)
        for lateral in node.args.get("laterals") or ():
            self._add_source(lateral, env, rows)
        rows += [source.rows for source in env.sources.values()]
        for window in node.args.get("windows") or ():
            env.windows[window.name.lower()] = window
        projections = list(node.expressions)
        names: dict[str, str] = {}
        columns: dict[str, Flows] = {}
        places: dict[str, Span] = {}
        projected: list[tuple[exp.Expr, Flows]] = []
        for projection in projections:
            place = self._positions.projection(projection)
            for shown, flows in self._projected(projection, env):
                name, number = shown.lower(), 0
                # DuckDB calls the second column of a name name_1; a query around it sees the first.
                while name in columns:
                    number += 1
                    name = f"{shown.lower()}_{number}"
                columns[name], names[name] = flows, f"{shown}_{number}" if number else shown
                projected.append((projection, flows))
                env.aliases.setdefault(name, flows)
                if place is not None:
                    places[name] = place
        rows += [*self._multiplied, *self._conditions(node, env, columns, projected)]
        self._multiplied = around
        relation = QueryRelation(columns, names, merged(rows), None, _tables_of(env), places)
        return self._ordered(node, env, relation)

    def _conditions(
        self,
        node: exp.Select,
        env: _Env,
        columns: Mapping[str, Flows],
        projected: Sequence[tuple[exp.Expr, Flows]],
    ) -> Iterator[Flows]:
        """Yield what decides about the rows of a SELECT: WHERE, GROUP BY, HAVING, QUALIFY, DISTINCT."""
        group = node.args.get("group")
        if (connect := node.args.get("connect")) is not None:
            for condition in filter(None, (connect.args.get("start"), connect.args.get("connect"))):
                yield deciding(self.flows(condition, env), Subtype.FILTER, self._place(condition))
        for key in ("prewhere", "where", "having", "qualify"):
            if (clause := node.args.get(key)) is not None:
                seen = _Env(env, named=_named_in_having(columns, group)) if key == "having" else env
                yield deciding(self.flows(clause.this, seen), Subtype.FILTER, self._place(clause.this))
        if group is not None:
            yield from self._grouped(group, env, columns, projected)
        if (distinct := node.args.get("distinct")) is not None:
            if (on := distinct.args.get("on")) is not None:
                for expression in on.expressions if isinstance(on, exp.Tuple) else [on]:
                    yield deciding(
                        self._by_alias(expression, env, columns), Subtype.GROUP_BY, self._place(expression)
                    )
            else:
                yield deciding(merged(columns.values()), Subtype.GROUP_BY)

    def _grouped(
        self,
        group: exp.Expr,
        env: _Env,
        columns: Mapping[str, Flows],
        projected: Sequence[tuple[exp.Expr, Flows]],
    ) -> Iterator[Flows]:
        if group.args.get("all"):
            for projection, flows in projected:
                if not _aggregates(projection):
                    yield deciding(flows, Subtype.GROUP_BY, self._positions.projection(projection))
            return
        keys = [*group.expressions]
        for kind in ("cube", "rollup", "grouping_sets"):
            keys += group.args.get(kind) or ()
        for key in keys:
            position = _position(key)
            if position is not None and position < len(columns):
                flows = list(columns.values())[position]
            else:
                flows = self.flows(key, env)
            yield deciding(flows, Subtype.GROUP_BY, self._place(key))

    def _ordered(self, node: exp.Expr, env: _Env, relation: QueryRelation) -> QueryRelation:
        orders = [node.args.get(key) for key in ("order", "sort", "cluster", "distribute")]
        found: list[Flows] = []
        for item in (key for order in orders if order is not None for key in order.expressions):
            key = item.this if isinstance(item, exp.Ordered) else item
            position = _position(key)
            if isinstance(key, exp.Var) and key.name.upper() == "ALL":
                flows = merged(relation.columns.values())
            elif position is not None and position < len(relation.columns):
                flows = list(relation.columns.values())[position]
            else:
                flows = self._by_alias(key, env, relation.columns)
            found.append(deciding(flows, Subtype.SORT, self._place(key)))
        for clause in ("limit", "offset"):
            limit = node.args.get(clause)
            if limit is not None and isinstance(limit.expression, exp.Expr):
                found.append(deciding(self.flows(limit.expression, env), Subtype.FILTER))
            # ClickHouse's LIMIT n BY.
            for key in limit.expressions if limit is not None else ():
                found.append(deciding(self._by_alias(key, env, relation.columns), Subtype.FILTER))
        if not found:
            return relation
        return replace(relation, rows=merged([relation.rows, *found]))

    def _by_alias(self, node: exp.Expr, env: _Env, columns: Mapping[str, Flows]) -> Flows:
        """Return the flows of a key: a name alone is an alias of the select list first, then a column."""
        name = node.name.lower() if isinstance(node, exp.Column) and not node.table else ""
        return dict(columns[name]) if name in columns else self.flows(node, env)

    # FROM and JOIN

    def _add_source(self, node: exp.Expr, env: _Env, rows: list[Flows]) -> str:
        if (
            isinstance(node, exp.Subquery)
            and isinstance(node.this, exp.Table | exp.Subquery)
            and not node.alias
            and not node.args.get("with_")
        ):
            # Joins in brackets: their tables are seen by their own names.
            name = self._add_source(node.this, env, rows)
            rows += self._join(node, env)
            return name
        name, relation = self._source(node, env)
        while name in env.sources:
            name = f"{name}\0"
        env.sources[name] = relation
        if isinstance(node, exp.Table) and not node.alias:
            env.written[name] = tuple(part.name.lower() for part in node.parts)
        if not isinstance(node, exp.Subquery):
            rows += self._join(node, env)
        return name

    def _source(self, node: exp.Expr, env: _Env) -> tuple[str, QueryRelation]:
        """Return the name and the relation of an item of FROM."""
        if node.args.get("pivots"):
            raise _refused_pivot()
        alias = node.alias_or_name.lower()
        names = node.alias_column_names
        match node:
            case exp.Table():
                return alias, self._table(node, env).renamed(names)
            case exp.Subquery():
                return alias, self._subquery(node, _Env(env))
            case exp.Values():
                return alias, self._values(node, env)
            case exp.Lateral() if isinstance(node.this, exp.Subquery):
                return alias, self.query(node.this, env).renamed(names)
            case exp.Lateral() | exp.Unnest() | exp.TableFromRows():
                inputs = node.expressions if isinstance(node, exp.Unnest) else [node.this]
                self._refuse_text(inputs[0])
                flows = made(merged(self.flows(input_, env) for input_ in inputs), Subtype.TRANSFORMATION)
                kept = QueryRelation(
                    {name.lower(): flows for name in names}, {name.lower(): name for name in names}
                )
                offset = node.args.get("offset")
                columns = dict(kept.columns)
                if isinstance(offset, exp.Expr):
                    columns[offset.name.lower()] = {}
                rows = deciding(flows, Subtype.JOIN, self._place(node))
                return alias or "".join(names[:1]).lower(), QueryRelation(columns, kept.names, rows, flows)
        raise UnknownLineage(f"it reads from {node.key.upper()}, which is not followed")

    def _table(self, node: exp.Table, env: _Env) -> QueryRelation:
        function = node.this.expression if isinstance(node.this, exp.Dot) else node.this
        if isinstance(function, exp.Func):
            self._refuse_text(function)
            flows = made(self._of_children(function, env), Subtype.TRANSFORMATION)
            return QueryRelation({}, {}, deciding(flows, Subtype.JOIN, self._place(function)), flows)
        if not isinstance(node.this, exp.Identifier | exp.Dot):
            raise UnknownLineage(
                f"it reads from {node.sql(self._dialect)}, which is not followed; read a table, a view or a "
                "subquery"
            )
        parts = [part.name for part in node.parts]
        if len(parts) == 1 and (cte := env.cte(parts[0].lower())) is not None:
            return cte
        for start in range(len(parts)):
            # The name of a database may stand before that of the schema.
            name = ".".join(parts[start:]).lower()
            if name in self._tables:
                return self._base(self._tables[name])
        known = ", ".join(sorted(self._tables.values())[:8]) or "no tables"
        raise UnknownLineage(f"it reads {'.'.join(parts)}, whose columns are not declared; known are {known}")

    def _refuse_text(self, node: exp.Expr) -> None:
        """Refuse a source that only a text names: which table it is cannot be told from the query."""
        name = node.name.upper() if isinstance(node, exp.Anonymous) else node.key.upper()
        if name in _READING_BY_TEXT or isinstance(node, exp.Literal):
            raise UnknownLineage(
                f"it reads what a text names ({node.sql(self._dialect)}); write the table or the query itself"
            )

    def _base(self, name: str) -> QueryRelation:
        if name not in self._known:
            path = self._paths[name]
            columns = self._columns_of(name)
            self._known[name] = QueryRelation(
                {
                    column.lower(): {Flow(ColumnRef(path, column), Subtype.IDENTITY): Passage()}
                    for column in columns
                },
                {column.lower(): column for column in columns},
                tables=(path,),
            )
        return self._known[name]

    def _join(self, node: exp.Expr, env: _Env) -> list[Flows]:
        """Add the joined relations of a node; return what decides about the rows."""
        found: list[Flows] = []
        for join in node.args.get("joins") or ():
            before = list(env.sources)
            added = self._add_source(join.this, env, found)
            using = [column.name.lower() for column in join.args.get("using") or ()]
            side = str(join.args.get("side") or "").upper()
            if str(join.args.get("method") or "").upper() == "NATURAL":
                seen = {name for alias in before for name in env.sources[alias].columns}
                using = [name for name in env.sources[added].columns if name in seen]
            for name in using:
                left = env.shared.get(name) or self._first(name, [env.sources[alias] for alias in before])
                right = env.sources[added].columns.get(name)
                if left is None or right is None:
                    raise UnknownLineage(f"a side of its join has no column {name}")
                found.append(deciding(merged([left, right]), Subtype.JOIN, self._place(join)))
                env.shared[name] = (
                    made(merged([left, right]), Subtype.TRANSFORMATION)
                    if side == "FULL"
                    else right
                    if side == "RIGHT"
                    else left
                )
            for on in filter(None, (join.args.get("on"), join.args.get("match_condition"))):
                found.append(deciding(self.flows(on, env), Subtype.JOIN, self._place(on)))
            if str(join.args.get("kind") or "").upper() in ("SEMI", "ANTI"):
                found.append(env.sources.pop(added).rows)
        return found

    @staticmethod
    def _first(name: str, relations: Iterable[QueryRelation]) -> Flows | None:
        return next((relation.columns[name] for relation in relations if name in relation.columns), None)

    # The select list

    def _projected(self, node: exp.Expr, env: _Env) -> Iterator[tuple[str, Flows]]:
        """Yield the names and flows of the columns that an item of a select list gives."""
        star = node.this if isinstance(node, exp.Column) and isinstance(node.this, exp.Star) else node
        if isinstance(star, exp.Star):
            of = [part.name.lower() for part in node.parts[:-1]] if isinstance(node, exp.Column) else []
            yield from self._starred(star, of, env)
            return
        if node.find(exp.Columns) is not None:
            raise UnknownLineage("it has COLUMNS(...); name the columns one by one")
        if isinstance(node, exp.Alias | exp.Column | exp.Dot):
            shown = node.output_name
        elif isinstance(node, exp.Subquery) and node.alias:
            shown = node.alias
        else:
            shown = node.sql("duckdb").lower()
        span = self._positions.projection(node)
        inner = node.this if isinstance(node, exp.Alias) else node
        if isinstance(inner, exp.Dot) and isinstance(inner.expression, exp.Star):
            raise UnknownLineage(
                f"it has {inner.sql(self._dialect)}; write the fields of a struct one by one, as columns of "
                "their own"
            )
        yield shown, placed(self.flows(inner, env), span)

    def _starred(self, star: exp.Star, of: Sequence[str], env: _Env) -> Iterator[tuple[str, Flows]]:
        if star.args.get("ilike") is not None:
            raise _refused_pattern()
        excluded = {item.name.lower() for item in star.args.get("except_") or ()}
        replaced = {item.alias.lower(): item.this for item in star.args.get("replace") or ()}
        renamed = {item.this.name.lower(): item.alias for item in star.args.get("rename") or ()}
        span = self._place(star)
        for name, shown, flows in self._star(env, of):
            if name in excluded:
                continue
            if name in replaced:
                yield shown, placed(self.flows(replaced[name], env), self._place(replaced[name]))
                continue
            found = flows if all(flow.span for flow in flows.values()) else placed(flows, span)
            yield renamed.get(name, shown), found

    def _star(self, env: _Env, of: Sequence[str]) -> Iterator[tuple[str, str, Flows]]:
        """Yield what `*`, or `name.*`, stands for: names in lower case and as written, and flows."""
        if of:
            source, shown = env.source(of), ".".join(of)
            if source is None:
                raise UnknownLineage(
                    f"it has {shown}.*, and {shown} is not a table of its FROM; write the fields of a struct "
                    "one by one, as columns of their own"
                )
            if source.rest is not None and not source.columns:
                raise UnknownLineage(f"it has {shown}.* over columns that are not known; name the columns")
            for name, flows in source.columns.items():
                yield name, source.names.get(name, name), flows
            return
        done: set[str] = set()
        for alias, source in env.sources.items():
            if source.rest is not None and not source.columns:
                # A table function without names for its columns has one, which is called like it.
                yield alias, alias, source.rest
                continue
            for name, flows in source.columns.items():
                if name not in env.shared:
                    yield name, source.names.get(name, name), flows
                elif name not in done:
                    done.add(name)
                    yield name, source.names.get(name, name), env.shared[name]
        if not env.sources:
            raise UnknownLineage("it has * without a table")

    # Expressions

    def flows(self, node: exp.Expr, env: _Env) -> Flows:
        """Return the columns that reach an expression."""
        match node:
            case exp.Column():
                return self._column(node, env)
            case exp.Paren() | exp.Alias():
                return self.flows(node.this, env)
            case exp.Case() | exp.If():
                return self._case(node, env)
            case exp.Subquery():
                return self._scalar(self.query(node, env))
            case exp.Exists():
                inner = self.query(node.this, env)
                return deciding(merged([inner.rows, _rows_of(inner.tables)]), Subtype.CONDITIONAL)
            case exp.In():
                return self._in(node, env)
            case exp.Query():
                return self._scalar(self.query(node, env))
            case exp.Window():
                return self._window(node, env)
            case exp.Filter():
                condition = node.expression.this
                decides = deciding(self.flows(condition, env), Subtype.CONDITIONAL, self._place(condition))
                return merged([self.flows(node.this, env), decides])
            case exp.Aliases():
                raise UnknownLineage(
                    f"it names several columns of one function ({node.sql(self._dialect)}); write one SELECT "
                    "for each part of a UNION ALL, or a table function in FROM"
                )
            case exp.Parameter() if self._dialect == "snowflake" and node.name.isdigit():
                raise UnknownLineage(f"it reads a column by its place (${node.name}); name the column")
            case exp.WithinGroup() | exp.Order():
                return self._with_order(node, env)
            case exp.Lambda():
                names = {expression.name.lower(): Flows() for expression in node.expressions}
                self._refuse_hiding(names, node.this, env)
                return self.flows(node.this, _Env(env, locals=names))
            case exp.ToMap():
                return self._map(node, env)
            case exp.Comprehension():
                return self._comprehension(node, env)
            case exp.Columns():
                raise UnknownLineage("it has COLUMNS(...); name the columns one by one")
            case exp.Star() if isinstance(node.parent, exp.Binary):
                raise _refused_pattern()
            case exp.Star():
                return merged(flows for _, flows in self._starred(node, (), env))
            case exp.Count() if isinstance(node.this, exp.Star):
                return made(self._every_row(env), Subtype.AGGREGATION, hiding=hiding_of(node, self._masking))
            case exp.Dot():
                self._refuse_fields(node)
            case exp.StructExtract():
                self._refuse_fields(node)
            case exp.Bracket() if any(
                isinstance(expression, exp.Literal) and expression.is_string
                for expression in node.expressions
            ):
                self._refuse_fields(node)
        aggregates = isinstance(node, exp.AggFunc) and not isinstance(node, _OF_ONE_ROW)
        subtype = Subtype.AGGREGATION if aggregates else Subtype.TRANSFORMATION
        if aggregates and env.named and env.parent is not None:
            env = env.parent
        found = self._of_children(node, env)
        if isinstance(node, exp.Count | exp.CountIf) and not found:
            found = self._every_row(env)
        if isinstance(node, exp.Explode | exp.ExplodingGenerateSeries) or (
            isinstance(node, exp.Anonymous) and node.name.upper() in _SET_RETURNING
        ):
            if any(
                option.this.name.lower() == "recursive" for option in node.find_all(exp.PropertyEQ, exp.Kwarg)
            ):
                raise UnknownLineage(
                    "it has unnest(..., recursive := true), which makes a column of each field of a struct; "
                    "unnest the list alone, and write the fields one by one"
                )
            self._multiplied.append(deciding(found, Subtype.JOIN, self._place(node)))
        return made(found, subtype, hiding=hiding_of(node, self._masking))

    def _of_children(self, node: exp.Expr, env: _Env) -> Flows:
        return merged(self.flows(expression, env) for expression in node.iter_expressions())

    def _refuse_fields(self, node: exp.Expr) -> None:
        """Refuse fields of structs in model SQL: all fields of a struct have the lineage of the struct."""
        if self._is_model:
            raise UnknownLineage(
                f"it reads a field of a struct ({node.sql('duckdb')}); keep the field as a column of its own "
                "in the query below, and read that"
            )

    def _column(self, node: exp.Column, env: _Env) -> Flows:
        if isinstance(node.this, exp.Star):
            of = [part.name.lower() for part in node.parts[:-1]]
            return merged(flows for _, flows in self._starred(node.this, of, env))
        parts = [part.name.lower() for part in node.parts]
        if len(parts) > 1:
            # `alias.column`, `schema.table.column`, or a field of a struct in one of them.
            for place in range(len(parts) - 1):
                source = env.source(parts[: place + 1])
                if source is None:
                    continue
                flows = source.columns.get(parts[place + 1], source.rest)
                if flows is None:
                    continue
                if place + 2 < len(parts):
                    self._refuse_fields(node)
                    return made(flows, Subtype.TRANSFORMATION)
                return dict(flows)
            is_table = env.source(parts[:1]) is not None
            found = None if is_table else self._unqualified(parts[0], env)
            if found is not None:
                self._refuse_fields(node)
                return made(found, Subtype.TRANSFORMATION)
            raise UnknownLineage(f"it reads {node.sql('duckdb')}, which its tables do not have")
        found = self._unqualified(parts[0], env)
        if found is None:
            raise UnknownLineage(f"it reads the column {node.name}, which none of its tables has")
        return dict(found)

    def _unqualified(self, name: str, env: _Env) -> Flows | None:
        """Return the flows of a name from the inside out: parameter, column, alias of a select list."""
        for scope in env.chain():
            if name in scope.locals:
                return scope.locals[name]
            if name in scope.named:
                return scope.named[name]
            if name in scope.shared:
                return scope.shared[name]
            having = [source for source in scope.sources.values() if name in source.columns]
            if len(having) > 1:
                raise UnknownLineage(f"the column {name} is in several of its tables; write table.{name}")
            if having:
                return having[0].columns[name]
            if name in scope.aliases:
                return scope.aliases[name]
            if name in scope.sources:
                # A whole row as a value.
                whole = scope.sources[name]
                return made(merged([*whole.columns.values(), whole.rest or {}]), Subtype.TRANSFORMATION)
            open_ = [source.rest for source in scope.sources.values() if source.rest is not None]
            if len(open_) == 1:
                return open_[0]
        return None

    def _case(self, node: exp.Expr, env: _Env) -> Flows:
        """Return the flows of CASE and IF: branches give the value, conditions decide which."""
        conditions = [node.this] if node.this is not None else []
        branches = []
        if isinstance(node, exp.If):
            branches.append(node.args.get("true"))
            branches.append(node.args.get("false"))
        else:
            for when in node.args.get("ifs") or ():
                conditions.append(when.this)
                branches.append(when.args.get("true"))
            branches.append(node.args.get("default"))
        values = [self.flows(branch, env) for branch in branches if branch is not None]
        decides = [
            deciding(self.flows(condition, env), Subtype.CONDITIONAL, self._place(condition))
            for condition in conditions
        ]
        return merged([made(merged(values), Subtype.TRANSFORMATION), *decides])

    def _in(self, node: exp.In, env: _Env) -> Flows:
        query = node.args.get("query")
        listed = [self.flows(element, env) for element in (node.this, *node.expressions)]
        if isinstance(node.args.get("field"), exp.Expr):
            listed.append(self.flows(node.args["field"], env))
        if (unnested := node.args.get("unnest")) is not None:
            listed.append(self._of_children(unnested, env))
        if query is not None:
            found = self.query(query, env)
            listed.append(deciding(self._scalar(found), Subtype.CONDITIONAL))
        return made(merged(listed), Subtype.TRANSFORMATION)

    def _window(self, node: exp.Window, env: _Env) -> Flows:
        found = [made(self.flows(node.this, env), Subtype.TRANSFORMATION)]
        found += self._window_keys(node, env)
        return merged(found)

    def _window_keys(self, node: exp.Expr, env: _Env) -> Iterator[Flows]:
        """Yield what decides which rows a window has; it takes over the clauses of a window that it names."""
        base = node.args.get("alias")
        known = None if base is None else env.window(base.name.lower())
        if known is not None:
            yield from self._window_keys(known, env)
        keys = list(node.args.get("partition_by") or ())
        if (order := node.args.get("order")) is not None:
            keys += [
                expression.this if isinstance(expression, exp.Ordered) else expression
                for expression in order.expressions
            ]
        if (frame := node.args.get("spec")) is not None:
            bounds = (frame.args.get("start"), frame.args.get("end"))
            keys += [bound for bound in bounds if isinstance(bound, exp.Expr)]
        for key in keys:
            yield deciding(self.flows(key, env), Subtype.WINDOW, self._place(key))

    def _with_order(self, node: exp.Expr, env: _Env) -> Flows:
        """Return the flows of an aggregate with an order; in an ordered set, the order is the value."""
        order = node.expression if isinstance(node, exp.WithinGroup) else node
        keys = [
            expression.this if isinstance(expression, exp.Ordered) else expression
            for expression in order.expressions
        ]
        flows = [self.flows(key, env) for key in keys]
        # An ordered list or text only has its order from it.
        if isinstance(node, exp.WithinGroup) and not isinstance(node.this, exp.ArrayAgg | exp.GroupConcat):
            return made(merged([self.flows(node.this, env), *flows]), Subtype.AGGREGATION)
        decides = [
            deciding(flow, Subtype.SORT, self._place(key)) for flow, key in zip(flows, keys, strict=True)
        ]
        return merged([self.flows(node.this, env) if node.this is not None else {}, *decides])

    def _comprehension(self, node: exp.Comprehension, env: _Env) -> Flows:
        items = self.flows(node.args["iterator"], env)
        names = {node.expression.name.lower(): items}
        if (position := node.args.get("position")) is not None:
            names[position.name.lower()] = {}
        self._refuse_hiding(names, node.this, env)
        inner = _Env(env, locals=names)
        found = [items, self.flows(node.this, inner)]
        if (condition := node.args.get("condition")) is not None:
            found.append(deciding(self.flows(condition, inner), Subtype.CONDITIONAL))
        return made(merged(found), Subtype.TRANSFORMATION)

    @staticmethod
    def _refuse_hiding(names: Iterable[str], body: exp.Expr, env: _Env) -> None:
        """Refuse `p.a` where the parameter p of a lambda is called like a table, whose column it would be."""
        dotted = {dot.this.name.lower() for dot in body.find_all(exp.Dot)}
        dotted |= {column.table.lower() for column in body.find_all(exp.Column)}
        for name in names:
            if name in dotted and env.source([name]) is not None:
                raise UnknownLineage(
                    f"a parameter of its lambda is called like the table {name}; give the parameter another "
                    "name"
                )

    def _map(self, node: exp.ToMap, env: _Env) -> Flows:
        """Return the flows of `map {key: value}`; sqlglot takes a column that is a key for a name."""
        pairs = node.this.expressions if isinstance(node.this, exp.Struct) else ()
        keys = [pair.this for pair in pairs if isinstance(pair, exp.PropertyEQ)]
        found = [self._column(exp.column(key), env) for key in keys if isinstance(key, exp.Identifier)]
        return made(merged([self._of_children(node, env), *found]), Subtype.TRANSFORMATION)

    @staticmethod
    def _scalar(relation: QueryRelation) -> Flows:
        """Return the flows of a subquery as a value; what decides about its rows decides about the value."""
        return merged([made(merged(relation.columns.values()), Subtype.TRANSFORMATION), relation.rows])

    @staticmethod
    def _every_row(env: _Env) -> Flows:
        """Return the flows of a value that only depends on how many rows there are."""
        return _rows_of(_tables_of(env))

    def _place(self, node: exp.Expr) -> Span | None:
        return self._positions.expression(node)


def _rows_of(tables: Iterable[tuple[str, ...]]) -> Flows:
    return {Flow(ColumnRef(table, ROWS), Subtype.TRANSFORMATION): Passage() for table in tables}


def _tables_of(env: _Env) -> tuple[tuple[str, ...], ...]:
    """Return the tables whose rows the relations of FROM are made of."""
    return tuple(dict.fromkeys(table for source in env.sources.values() for table in source.tables))


def _refused_pivot() -> UnknownLineage:
    return UnknownLineage(
        "it has PIVOT or UNPIVOT; write one aggregate with FILTER (WHERE ...) for each column, or one SELECT "
        "for each part of a UNION ALL"
    )


def _refused_pattern() -> UnknownLineage:
    return UnknownLineage("it picks columns by a pattern (* LIKE ...); name the columns one by one")


def _aggregates(node: exp.Expr) -> bool:
    """Return whether an expression aggregates the rows of a group; a window or a subquery does not."""
    inner = node.walk(prune=lambda inner_node: isinstance(inner_node, exp.Query))
    return any(
        isinstance(inner_node, exp.AggFunc) and not isinstance(inner_node.parent, exp.Window)
        for inner_node in inner
    )


def _end_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(a == b for a, b in zip(reversed(one), reversed(other), strict=False))


def _named_in_having(columns: Mapping[str, Flows], group: exp.Expr | None) -> Mapping[str, Flows]:
    """Return the aliases that HAVING reads before columns: those that are no names of columns in GROUP BY."""
    keys = group.expressions if group is not None else ()
    grouped = {key.name.lower() for key in keys if isinstance(key, exp.Column)}
    return {name: flows for name, flows in columns.items() if name not in grouped}


def _position(node: exp.Expr) -> int | None:
    """Return the place in the select list that a number in ORDER BY or GROUP BY stands for, from 0."""
    return int(node.name) - 1 if isinstance(node, exp.Literal) and node.is_int else None
