"""Column lineage of queries: names are resolved as DuckDB does it, and every construct has its neighbour."""

from __future__ import annotations

import pytest

from platform_assets.column_lineage import LineageQuery
from platform_assets.lineage.derivation import Derived, UnknownLineage, derive
from platform_assets.lineage.flows import Flows
from platform_assets.lineage.masking import Hiding

COLUMNS = {
    "t": ["a", "b", "c", "s"],
    "u": ["a", "d", "k"],
    "sch.v": ["a", "b"],
    "two.v": ["a", "b"],
    "o.mixed": ["OrderId", "Größe"],
}


def derived(sql: str, *, is_model: bool = True, dialect: str = "duckdb", masking: str = "") -> Derived:
    tables = {name: ("two", "w") if name == "two.v" else tuple(name.split(".")) for name in COLUMNS}
    query = LineageQuery(sql, tables, dialect, is_model=is_model)
    return derive(query, lambda name: COLUMNS[name], frozenset({masking}))


def shown(flows: Flows) -> str:
    return " ".join(
        sorted(f"{flow.source.asset[-1]}.{flow.source.column}:{flow.subtype[:4].lower()}" for flow in flows)
    )


def lineage(sql: str, **options: object) -> dict[str, str]:
    found = derived(sql, **options)  # type: ignore[arg-type]
    return {**{name: shown(flows) for name, flows in found.columns.items()}, "*": shown(found.rows)}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        # Values as they are, changed, and made from several columns; a literal has no source.
        ("SELECT a, b AS x FROM t", {"a": "t.a:iden", "x": "t.b:iden", "*": ""}),
        ("SELECT (a) AS x FROM t", {"x": "t.a:iden", "*": ""}),
        ("SELECT a + b AS x, 'k' AS k FROM t", {"x": "t.a:tran t.b:tran", "k": "", "*": ""}),
        (
            "SELECT CAST(a AS INT) AS x, EXTRACT(YEAR FROM b) AS y FROM t",
            {"x": "t.a:tran", "y": "t.b:tran", "*": ""},
        ),
        ("SELECT COALESCE(a, b, 'x') AS x FROM t", {"x": "t.a:tran t.b:tran", "*": ""}),
        ("SELECT $p + a AS x FROM t", {"x": "t.a:tran", "*": ""}),
        # Filters, joins.
        ("SELECT a FROM t WHERE b = 1 AND c > 2", {"a": "t.a:iden", "*": "t.b:filt t.c:filt"}),
        (
            "SELECT t.b, d FROM t JOIN u ON t.a = u.k",
            {"b": "t.b:iden", "d": "u.d:iden", "*": "t.a:join u.k:join"},
        ),
        ("SELECT t.b FROM t SEMI JOIN u ON t.a = u.k", {"b": "t.b:iden", "*": "t.a:join u.k:join"}),
        ("SELECT t.b FROM t ASOF JOIN u ON t.a >= u.k", {"b": "t.b:iden", "*": "t.a:join u.k:join"}),
        # USING: the value is that of the side that always has it.
        ("SELECT a FROM t JOIN u USING (a)", {"a": "t.a:iden", "*": "t.a:join u.a:join"}),
        ("SELECT a FROM t RIGHT JOIN u USING (a)", {"a": "u.a:iden", "*": "t.a:join u.a:join"}),
        ("SELECT a FROM t FULL JOIN u USING (a)", {"a": "t.a:tran u.a:tran", "*": "t.a:join u.a:join"}),
        ("SELECT a, d FROM t NATURAL JOIN u", {"a": "t.a:iden", "d": "u.d:iden", "*": "t.a:join u.a:join"}),
        ("SELECT u.a FROM t JOIN u USING (a)", {"a": "u.a:iden", "*": "t.a:join u.a:join"}),
        # Stars.
        ("SELECT * FROM sch.v", {"a": "v.a:iden", "b": "v.b:iden", "*": ""}),
        ("FROM sch.v", {"a": "v.a:iden", "b": "v.b:iden", "*": ""}),
        ("FROM sch.v SELECT b", {"b": "v.b:iden", "*": ""}),
        ("SELECT * EXCLUDE (a) REPLACE (b || a AS b) FROM sch.v", {"b": "v.a:tran v.b:tran", "*": ""}),
        ("SELECT * RENAME (a AS z) FROM sch.v", {"z": "v.a:iden", "b": "v.b:iden", "*": ""}),
        ("SELECT u.* FROM sch.v, u", {"a": "u.a:iden", "d": "u.d:iden", "k": "u.k:iden", "*": ""}),
        (
            "SELECT * FROM sch.v JOIN u USING (a)",
            {"a": "v.a:iden", "b": "v.b:iden", "d": "u.d:iden", "k": "u.k:iden", "*": "u.a:join v.a:join"},
        ),
        # Names: shadowing, qualified, in other case, quoted.
        ("SELECT a AS b, b AS a FROM sch.v WHERE b = 1", {"b": "v.a:iden", "a": "v.b:iden", "*": "v.b:filt"}),
        ("SELECT a AS b, b AS a FROM sch.v ORDER BY b", {"b": "v.a:iden", "a": "v.b:iden", "*": "v.a:sort"}),
        ("SELECT a AS b FROM sch.v GROUP BY b", {"b": "v.a:iden", "*": "v.b:grou"}),
        ("SELECT sch.v.a FROM sch.v", {"a": "v.a:iden", "*": ""}),
        ("SELECT V.A, x.B FROM SCH.V, sch.v AS x", {"A": "v.a:iden", "B": "v.b:iden", "*": ""}),
        (
            'SELECT "ORDERID", größe AS g FROM o.mixed',
            {"ORDERID": "mixed.OrderId:iden", "g": "mixed.Größe:iden", "*": ""},
        ),
        ("SELECT u.a FROM t AS u", {"a": "t.a:iden", "*": ""}),
        ("SELECT x.a FROM (SELECT * FROM (SELECT a AS b, b AS a FROM t)) AS x", {"a": "t.b:iden", "*": ""}),
        ("SELECT p FROM (SELECT a, b FROM t) AS x(p, q)", {"p": "t.a:iden", "*": ""}),
        # Tables of one name in two schemas.
        (
            "SELECT sch.v.a AS x, two.v.a AS y, db.two.v.b AS z FROM sch.v JOIN two.v ON sch.v.b = two.v.b",
            {"x": "v.a:iden", "y": "w.a:iden", "z": "w.b:iden", "*": "v.b:join w.b:join"},
        ),
        # In ORDER BY and DISTINCT ON an alias alone comes before columns, in an expression after them.
        ("SELECT a AS b, b AS a FROM sch.v ORDER BY -b", {"b": "v.a:iden", "a": "v.b:iden", "*": "v.b:sort"}),
        ("SELECT a + 1 AS x FROM t ORDER BY -x", {"x": "t.a:tran", "*": "t.a:sort"}),
        ("SELECT DISTINCT ON (c, b) a AS c FROM t", {"c": "t.a:iden", "*": "t.a:grou t.b:grou"}),
        # In HAVING an alias comes first, but for what is grouped by and in aggregates.
        (
            "SELECT a, sum(c) AS b FROM t GROUP BY a HAVING b > 1",
            {"a": "t.a:iden", "b": "t.c:aggr", "*": "t.a:grou t.c:filt"},
        ),
        (
            "SELECT a, sum(c) AS b FROM t GROUP BY a HAVING max(b) > 1",
            {"a": "t.a:iden", "b": "t.c:aggr", "*": "t.a:grou t.b:filt"},
        ),
        (
            "SELECT max(c) AS a, count(b) AS n FROM t GROUP BY a HAVING a > 1",
            {"a": "t.c:aggr", "n": "t.b:aggr", "*": "t.a:filt t.a:grou"},
        ),
        # Aliases of the same SELECT; a column comes first.
        (
            "SELECT a + 1 AS x, x * 2 AS y FROM t WHERE x > 2",
            {"x": "t.a:tran", "y": "t.a:tran", "*": "t.a:filt"},
        ),
        ("SELECT c AS a, a AS y FROM t", {"a": "t.c:iden", "y": "t.a:iden", "*": ""}),
        # WITH queries.
        ("WITH x AS (SELECT a AS z FROM t WHERE b) SELECT z FROM x", {"z": "t.a:iden", "*": "t.b:filt"}),
        ("WITH t AS (SELECT b AS a FROM t) SELECT a FROM t", {"a": "t.b:iden", "*": ""}),
        (
            "WITH x AS (SELECT a FROM t), w AS (SELECT d AS a FROM u), y AS (SELECT a FROM x) "
            "SELECT y.a, w.a AS z FROM y, w",
            {"a": "t.a:iden", "z": "u.d:iden", "*": ""},
        ),
        (
            "WITH x AS (WITH x AS (SELECT b FROM t) SELECT b AS q FROM x) SELECT q FROM x",
            {"q": "t.b:iden", "*": ""},
        ),
        (
            "WITH RECURSIVE r(p, q) AS (SELECT a, b FROM t UNION ALL SELECT q, p FROM r WHERE p < 9) "
            "SELECT p FROM r",
            {"p": "t.a:iden t.b:iden", "*": "t.a:filt t.b:filt"},
        ),
        # Conditions decide, branches are the value.
        (
            "SELECT CASE WHEN a = 1 THEN b WHEN c THEN 'x' ELSE s END AS z FROM t",
            {"z": "t.a:cond t.b:tran t.c:cond t.s:tran", "*": ""},
        ),
        ("SELECT CASE a WHEN b THEN 1 END AS z FROM t", {"z": "t.a:cond t.b:cond", "*": ""}),
        ("SELECT IF(a, b, c) AS z FROM t", {"z": "t.a:cond t.b:tran t.c:tran", "*": ""}),
        ("SELECT CASE WHEN a THEN a END AS z FROM t", {"z": "t.a:cond t.a:tran", "*": ""}),
        # Aggregates.
        ("SELECT a, sum(b) AS x FROM t GROUP BY a", {"a": "t.a:iden", "x": "t.b:aggr", "*": "t.a:grou"}),
        ("SELECT a, sum(b) AS x FROM t GROUP BY ALL", {"a": "t.a:iden", "x": "t.b:aggr", "*": "t.a:grou"}),
        (
            "SELECT a AS z, max(b) AS x FROM t GROUP BY 1 ORDER BY 2",
            {"z": "t.a:iden", "x": "t.b:aggr", "*": "t.a:grou t.b:sort"},
        ),
        (
            "SELECT a, sum(b) AS x FROM t GROUP BY ROLLUP (a, c)",
            {"a": "t.a:iden", "x": "t.b:aggr", "*": "t.a:grou t.c:grou"},
        ),
        (
            "SELECT a, sum(b) AS x FROM t GROUP BY GROUPING SETS ((a), (c))",
            {"a": "t.a:iden", "x": "t.b:aggr", "*": "t.a:grou t.c:grou"},
        ),
        (
            "SELECT sum(b) AS x FROM t GROUP BY a HAVING max(c) > 1",
            {"x": "t.b:aggr", "*": "t.a:grou t.c:filt"},
        ),
        ("SELECT sum(b) AS x FROM t GROUP BY a HAVING x > 1", {"x": "t.b:aggr", "*": "t.a:grou t.b:filt"}),
        (
            "SELECT *, count(b) AS n FROM sch.v GROUP BY ALL",
            {"a": "v.a:iden", "b": "v.b:iden", "n": "v.b:aggr", "*": "v.a:grou v.b:grou"},
        ),
        (
            "SELECT (SELECT max(d) FROM u) AS m, count(b) AS n FROM t GROUP BY ALL",
            {"m": "u.d:aggr", "n": "t.b:aggr", "*": "u.d:grou"},
        ),
        ("SELECT sum(b) FILTER (WHERE c) AS x FROM t", {"x": "t.b:aggr t.c:cond", "*": ""}),
        ("SELECT string_agg(a, ',' ORDER BY b) AS x FROM t", {"x": "t.a:aggr t.b:sort", "*": ""}),
        ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) AS x FROM t", {"x": "t.a:aggr", "*": ""}),
        ("SELECT count(*) AS n FROM t, u", {"n": "t.*:aggr u.*:aggr", "*": ""}),
        ("SELECT count(DISTINCT *) AS n FROM sch.v", {"n": "v.a:aggr v.b:aggr", "*": ""}),
        ("SELECT count(a) AS n FROM t", {"n": "t.a:aggr", "*": ""}),
        ("SELECT upper(max(a)) AS x FROM t", {"x": "t.a:aggr", "*": ""}),
        ("SELECT max(upper(a)) AS x FROM t", {"x": "t.a:aggr", "*": ""}),
        # Windows.
        (
            "SELECT row_number() OVER (PARTITION BY a ORDER BY b) AS n FROM t",
            {"n": "t.a:wind t.b:wind", "*": ""},
        ),
        (
            "SELECT sum(c) OVER w AS n FROM t WINDOW w AS (PARTITION BY a)",
            {"n": "t.a:wind t.c:aggr", "*": ""},
        ),
        ("SELECT lag(c) OVER (ORDER BY b) AS n FROM t", {"n": "t.b:wind t.c:tran", "*": ""}),
        (
            "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b) = 1",
            {"a": "t.a:iden", "*": "t.b:filt"},
        ),
        (
            "SELECT a, row_number() OVER (ORDER BY b) AS n FROM t QUALIFY n = 1",
            {"a": "t.a:iden", "n": "t.b:wind", "*": "t.b:filt"},
        ),
        (
            "SELECT sum(c) OVER (ORDER BY s ROWS BETWEEN a PRECEDING AND b + 1 FOLLOWING) AS n FROM t",
            {"n": "t.a:wind t.b:wind t.c:aggr t.s:wind", "*": ""},
        ),
        (
            "SELECT sum(c) OVER y AS n FROM t WINDOW x AS (PARTITION BY a), y AS (x ORDER BY b)",
            {"n": "t.a:wind t.b:wind t.c:aggr", "*": ""},
        ),
        (
            "SELECT sum(c) OVER (x RANGE BETWEEN b PRECEDING AND CURRENT ROW) AS n FROM t "
            "WINDOW x AS (ORDER BY a)",
            {"n": "t.a:wind t.b:wind t.c:aggr", "*": ""},
        ),
        # DISTINCT, ORDER BY, LIMIT.
        ("SELECT DISTINCT a FROM t", {"a": "t.a:iden", "*": "t.a:grou"}),
        ("SELECT DISTINCT ON (b) a FROM t ORDER BY c", {"a": "t.a:iden", "*": "t.b:grou t.c:sort"}),
        ("SELECT a, b FROM sch.v ORDER BY ALL", {"a": "v.a:iden", "b": "v.b:iden", "*": "v.a:sort v.b:sort"}),
        ("SELECT a FROM t LIMIT (SELECT max(d) FROM u)", {"a": "t.a:iden", "*": "u.d:filt"}),
        # Set operations.
        (
            "SELECT a, b FROM sch.v UNION ALL SELECT d, k FROM u",
            {"a": "u.d:iden v.a:iden", "b": "u.k:iden v.b:iden", "*": ""},
        ),
        ("SELECT a FROM t UNION SELECT d FROM u", {"a": "t.a:iden u.d:iden", "*": "t.a:grou u.d:grou"}),
        ("SELECT a FROM t EXCEPT ALL SELECT d FROM u", {"a": "t.a:iden", "*": "u.d:filt"}),
        ("SELECT a FROM t INTERSECT ALL SELECT d FROM u", {"a": "t.a:iden", "*": "u.d:filt"}),
        (
            "SELECT a, b FROM sch.v UNION ALL BY NAME SELECT a, d AS b FROM u",
            {"a": "u.a:iden v.a:iden", "b": "u.d:iden v.b:iden", "*": ""},
        ),
        (
            "(SELECT a FROM t) UNION ALL (SELECT d FROM u ORDER BY k LIMIT 1) ORDER BY 1",
            {"a": "t.a:iden u.d:iden", "*": "t.a:sort u.d:sort u.k:sort"},
        ),
        # Subqueries.
        (
            "SELECT (SELECT max(d) FROM u WHERE u.a = t.b) AS m FROM t",
            {"m": "t.b:filt u.a:filt u.d:aggr", "*": ""},
        ),
        (
            "SELECT (SELECT max(d) FROM u WHERE k = s) AS m FROM t",
            {"m": "t.s:filt u.d:aggr u.k:filt", "*": ""},
        ),
        (
            "SELECT EXISTS (SELECT 1 FROM u WHERE u.k = t.b) AS e FROM t",
            {"e": "t.b:cond u.*:cond u.k:cond", "*": ""},
        ),
        ("SELECT EXISTS (SELECT d FROM u) AS e FROM t", {"e": "u.*:cond", "*": ""}),
        (
            "SELECT a FROM t WHERE EXISTS (FROM u WHERE u.k = t.b)",
            {"a": "t.a:iden", "*": "t.b:filt u.*:filt u.k:filt"},
        ),
        (
            "SELECT a FROM t WHERE c IN (SELECT d FROM u WHERE k = 1)",
            {"a": "t.a:iden", "*": "t.c:filt u.d:filt u.k:filt"},
        ),
        (
            "SELECT a FROM t WHERE (a, b) NOT IN (SELECT d, k FROM u)",
            {"a": "t.a:iden", "*": "t.a:filt t.b:filt u.d:filt u.k:filt"},
        ),
        ("SELECT b FROM t WHERE a > (SELECT avg(a) FROM u)", {"b": "t.b:iden", "*": "t.a:filt u.a:filt"}),
        # Lateral joins, table functions, VALUES.
        ("SELECT q FROM t, LATERAL (SELECT b || s AS q) AS l", {"q": "t.b:tran t.s:tran", "*": ""}),
        (
            "SELECT m FROM t LEFT JOIN LATERAL (SELECT max(d) AS m FROM u WHERE u.a = t.a) AS l ON TRUE",
            {"m": "u.d:aggr", "*": "t.a:filt u.a:filt"},
        ),
        # How long a list is decides how many rows there are.
        ("SELECT k FROM t, UNNEST(s) AS x(k)", {"k": "t.s:tran", "*": "t.s:join"}),
        ("SELECT k FROM t, LATERAL (SELECT unnest(s) AS k) AS l", {"k": "t.s:tran", "*": "t.s:join"}),
        ("SELECT n FROM t, range(a) AS r(n)", {"n": "t.a:tran", "*": "t.a:join"}),
        ("SELECT unnest(s) AS k FROM t", {"k": "t.s:tran", "*": "t.s:join"}),
        ("SELECT (SELECT sum(k) FROM unnest(s) AS x(k)) AS k FROM t", {"k": "t.s:aggr t.s:join", "*": ""}),
        (
            "SELECT (SELECT max(k) FROM (SELECT unnest(s) AS k)) AS k FROM t",
            {"k": "t.s:aggr t.s:join", "*": ""},
        ),
        ("SELECT generate_subscripts(s, 1) AS k FROM t", {"k": "t.s:tran", "*": "t.s:join"}),
        ("SELECT i FROM range(10) AS r(i)", {"i": "", "*": ""}),
        ("SELECT x, d FROM (VALUES (1, 2)) AS v(x, y), u", {"x": "", "d": "u.d:iden", "*": ""}),
        ("SELECT x.b FROM ((t AS x JOIN u ON x.a = u.k))", {"b": "t.b:iden", "*": "t.a:join u.k:join"}),
        ("SELECT x.b FROM ((SELECT b FROM t)) AS x", {"b": "t.b:iden", "*": ""}),
        ("SELECT b FROM ((SELECT b FROM t))", {"b": "t.b:iden", "*": ""}),
        (
            "SELECT d FROM (t JOIN u USING (a)) WHERE t.b",
            {"d": "u.d:iden", "*": "t.a:join t.b:filt u.a:join"},
        ),
        # Lists and lambdas: a parameter is no column, also if it is called like one.
        ("SELECT list_transform(s, b -> b || c) AS x FROM t", {"x": "t.c:tran t.s:tran", "*": ""}),
        (
            "SELECT [a || c FOR a IN s IF a <> b] AS x FROM t",
            {"x": "t.b:cond t.c:tran t.s:cond t.s:tran", "*": ""},
        ),
        ("SELECT [a || i FOR a, i IN s] AS x FROM t", {"x": "t.s:tran", "*": ""}),
        ("SELECT {'p': a, 'q': b} AS x FROM t", {"x": "t.a:tran t.b:tran", "*": ""}),
        ("SELECT {p: a, c: b} AS x FROM t", {"x": "t.a:tran t.b:tran", "*": ""}),
        # In a map, a name before the colon is a column.
        ("SELECT map {c: b, 'k': 1} AS x FROM t", {"x": "t.b:tran t.c:tran", "*": ""}),
        ("SELECT a FROM t; -- the end", {"a": "t.a:iden", "*": ""}),
        (
            "SELECT s[1] AS x, list_filter(s, y -> y > 1) AS z FROM t",
            {"x": "t.s:tran", "z": "t.s:tran", "*": ""},
        ),
        ("SELECT v FROM sch.v", {"v": "v.a:tran v.b:tran", "*": ""}),
    ],
)
def test_each_construct_has_the_edges_of_its_meaning(sql: str, expected: dict[str, str]) -> None:
    assert lineage(sql) == expected


@pytest.mark.parametrize(
    ("sql", "advice"),
    [
        ("SELECT a, b FROM sch.v UNION ALL BY NAME SELECT d AS b, k AS a FROM u", "write UNION ALL"),
        ("FROM t UNPIVOT (x FOR n IN (a, b))", "one SELECT for each part of a UNION ALL"),
        ("UNPIVOT t ON a, b INTO NAME n VALUE x", "one SELECT for each part of a UNION ALL"),
        ("PIVOT t ON a USING sum(b)", r"FILTER \(WHERE \.\.\.\)"),
        ("SELECT * FROM t PIVOT (sum(b) FOR a IN (1, 2))", r"FILTER \(WHERE \.\.\.\)"),
        ("SELECT COLUMNS('a|b') FROM t", "name the columns one by one"),
        ("SELECT max(COLUMNS(*)) FROM t", "name the columns one by one"),
        ("SELECT * LIKE 'a%' FROM t", "picks columns by a pattern .* name the columns one by one"),
        ("SELECT * NOT SIMILAR TO 'a.*' FROM t", "picks columns by a pattern"),
        ("SELECT * ILIKE 'A%' FROM t", "picks columns by a pattern"),
        ("SELECT unnest(s, recursive := true) FROM t", "unnest the list alone"),
        ("SELECT list_transform(s, t -> t.a) FROM t", "give the parameter another name"),
        ("SELECT [t.a FOR t IN s] FROM t", "give the parameter another name"),
        ("SELECT a FROM query_table('t')", r"what a text names .* write the table or the query itself"),
        ("SELECT a FROM query('SELECT a FROM t')", "write the table or the query itself"),
        ("SELECT s.* FROM t", "write the fields of a struct one by one"),
        ("SELECT s.f FROM t", "keep the field as a column of its own"),
        ("SELECT t.s.f FROM t", "keep the field as a column of its own"),
        ("SELECT s['f'] FROM t", "keep the field as a column of its own"),
        ("SELECT struct_extract(s, 'f') FROM t", "keep the field as a column of its own"),
        ("SELECT * FROM nowhere", "reads nowhere, whose columns are not declared; known are"),
        ("SELECT nothing FROM t", "the column nothing, which none of its tables has"),
        ("SELECT t.nothing FROM t", "reads t.nothing, which its tables do not have"),
        ("SELECT a FROM t, u", r"write table\.a"),
        ("SELECT a FROM t; SELECT a FROM t", "2 statements; write one SELECT"),
        ("CREATE TABLE x AS SELECT a FROM t", "not one SELECT"),
        ("SELECT a FROM", "cannot be parsed"),
        ("SELECT reduce(s, lambda x, y: x + y) FROM t", "write list_reduce instead of reduce"),
        ("SELECT apply(s, lambda x: x + 1) FROM t", "write list_transform instead of apply"),
        ("SELECT a, b FROM t UNION ALL SELECT a FROM u", "2 and 1 columns"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_what_to_write(sql: str, advice: str) -> None:
    with pytest.raises(UnknownLineage, match=advice):
        derived(sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT s.f AS x FROM t", {"x": "t.s:tran", "*": ""}),
        ("SELECT s['f'] AS x FROM t", {"x": "t.s:tran", "*": ""}),
        (
            "SELECT a, b FROM sch.v UNION ALL BY NAME SELECT d AS b, k AS a FROM u",
            {"a": "u.k:iden v.a:iden", "b": "u.d:iden v.b:iden", "*": ""},
        ),
    ],
)
def test_other_sql_than_the_models_may_use_structs_and_unions_by_name(
    sql: str, expected: dict[str, str]
) -> None:
    assert lineage(sql, is_model=False) == expected


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        (
            "snowflake",
            "SELECT f.value:x AS v FROM t, LATERAL FLATTEN(input => t.s) f",
            {"v": "t.s:tran", "*": "t.s:join"},
        ),
        (
            "snowflake",
            "SELECT f.value AS v FROM t, TABLE(FLATTEN(input => t.s)) f",
            {"v": "t.s:tran", "*": "t.s:join"},
        ),
        # A star in a function is all columns, and in COUNT the rows.
        (
            "snowflake",
            "SELECT OBJECT_CONSTRUCT(*) AS o, HASH(* EXCLUDE b) AS h, COUNT(*) AS n FROM sch.v",
            {"o": "v.a:tran v.b:tran", "h": "v.a:tran", "n": "v.*:aggr", "*": ""},
        ),
        ("snowflake", "SELECT two.v.* FROM sch.v, two.v", {"a": "w.a:iden", "b": "w.b:iden", "*": ""}),
        (
            "bigquery",
            "SELECT x FROM `proj.sch.v`, UNNEST(b) AS x",
            {"x": "v.b:tran", "*": "v.b:join"},
        ),
        ("postgres", "SELECT v.a::text AS x FROM sch.v WHERE b ~ 'x'", {"x": "v.a:tran", "*": "v.b:filt"}),
        (
            "postgres",
            "SELECT regexp_split_to_table(a, ',') AS x, generate_series(1, b) AS y FROM sch.v",
            {"x": "v.a:tran", "y": "v.b:tran", "*": "v.a:join v.b:join"},
        ),
        (
            "snowflake",
            "SELECT a FROM t START WITH b = 1 CONNECT BY PRIOR a = c",
            {"a": "t.a:iden", "*": "t.a:filt t.b:filt t.c:filt"},
        ),
        (
            "snowflake",
            "SELECT t.b FROM t ASOF JOIN u MATCH_CONDITION (t.s >= u.d) ON t.c = u.k",
            {"b": "t.b:iden", "*": "t.c:join t.s:join u.d:join u.k:join"},
        ),
        (
            "snowflake",
            "SELECT ARRAY_AGG(a) WITHIN GROUP (ORDER BY b) AS l FROM t",
            {"l": "t.a:aggr t.b:sort", "*": ""},
        ),
        ("bigquery", "SELECT a IN UNNEST(s) AS x FROM t", {"x": "t.a:tran t.s:tran", "*": ""}),
        ("spark", "SELECT a FROM t DISTRIBUTE BY b SORT BY c", {"a": "t.a:iden", "*": "t.b:sort t.c:sort"}),
        ("spark", "SELECT a FROM t CLUSTER BY b", {"a": "t.a:iden", "*": "t.b:sort"}),
        (
            "clickhouse",
            "SELECT a FROM t PREWHERE b = 1 LIMIT 1 BY c",
            {"a": "t.a:iden", "*": "t.b:filt t.c:filt"},
        ),
        ("tsql", "SELECT f.x AS y FROM srv.db.sch.fn(1) AS f, t", {"y": "", "*": ""}),
    ],
)
def test_warehouses_have_their_own_dialects(dialect: str, sql: str, expected: dict[str, str]) -> None:
    assert lineage(sql, dialect=dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "sql", "advice"),
    [
        ("snowflake", "SELECT a FROM IDENTIFIER('t')", "write the table or the query itself"),
        ("snowflake", "SELECT a FROM TABLE('t')", "write the table or the query itself"),
        ("snowflake", "SELECT a FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))", "what a text names"),
        ("snowflake", "SELECT a FROM SEMANTIC_VIEW(t FACTS b)", "read a table, a view or a subquery"),
        ("snowflake", "SELECT $2 AS x FROM t", r"by its place \(\$2\); name the column"),
        (
            "snowflake",
            "SELECT * FROM t MATCH_RECOGNIZE (MEASURES MAX(c) AS m PATTERN (x+) DEFINE x AS c > 3)",
            "read a table or a view of its rows",
        ),
        ("redshift", "SELECT *, a + 1 AS d EXCLUDE b FROM t", "name the columns that it gives"),
        ("spark", "SELECT stack(2, a, b) AS (x, y) FROM t", "one SELECT for each part of a UNION ALL"),
        ("postgres", "SELECT (s).* FROM t", r"it has \(s\)\.\*; write the fields of a struct one by one"),
    ],
)
def test_what_only_warehouses_have_is_followed_or_refused(dialect: str, sql: str, advice: str) -> None:
    with pytest.raises(UnknownLineage, match=advice):
        derived(sql, is_model=False, dialect=dialect)


@pytest.mark.parametrize(
    ("expression", "hides"),
    [
        ("md5(a)", Hiding.VALUE),
        ("hash(a)", Hiding.VALUE),
        ("upper(sha256(a))", Hiding.VALUE),
        ("coalesce(md5(a), md5(b))", Hiding.VALUE),
        ("count(a)", Hiding.ALL),
        ("count(DISTINCT upper(a))", Hiding.ALL),
        ("approx_count_distinct(a)", Hiding.ALL),
        ("token(a)", Hiding.ALL),
        ("token(a) || md5(b)", Hiding.ALL),
        ("a IS NOT NULL", Hiding.ALL),
        ("year(a)", Hiding.ALL),
        ("extract(year FROM a)", Hiding.ALL),
        ("date_part('year', a)", Hiding.ALL),
        ("date_trunc('year', a)", Hiding.ALL),
        ("strftime(a, '%Y')", Hiding.ALL),
        ("decade(a)", Hiding.ALL),
        ("upper(a)", Hiding.NOTHING),
        ("min(a)", Hiding.NOTHING),
        ("md5(a) || a", Hiding.NOTHING),
        ("month(a)", Hiding.NOTHING),
        ("date_trunc('month', a)", Hiding.NOTHING),
        ("strftime(a, '%Y-%m-%d')", Hiding.NOTHING),
    ],
)
def test_functions_hide_nothing_the_value_or_all_of_their_argument(expression: str, hides: Hiding) -> None:
    [flows] = derived(f"SELECT {expression} AS x FROM t", masking="TOKEN").columns.values()
    assert {passage.hiding for flow, passage in flows.items() if flow.source.column == "a"} == {hides}


def test_the_path_that_hides_least_of_several_counts() -> None:
    sql = "SELECT count(a) AS x FROM t UNION ALL SELECT count(upper(a)) FROM t"
    assert {one.hiding for one in derived(sql).columns["x"].values()} == {Hiding.ALL}
    through = "WITH w AS (SELECT year(a) AS y FROM t) SELECT y + 1 AS x FROM w"
    assert {one.hiding for one in derived(through).columns["x"].values()} == {Hiding.ALL}


@pytest.mark.parametrize(
    ("sql", "column", "places"),
    [
        ("SELECT a, upper(b) AS x, c FROM t", "x", {"b": "upper(b) AS x"}),
        (
            "SELECT {'p': a, 'q': [b]} AS x, c FROM t",
            "x",
            {"a": "{'p': a, 'q': [b]} AS x", "b": "{'p': a, 'q': [b]} AS x"},
        ),
        (
            "SELECT CASE WHEN a > 1 THEN b END AS x FROM t",
            "x",
            {"a": "a > 1", "b": "CASE WHEN a > 1 THEN b END AS x"},
        ),
        (
            "SELECT (SELECT max(d) FROM u WHERE u.k = 1) AS x FROM t",
            "x",
            {"d": "(SELECT max(d) FROM u WHERE u.k = 1) AS x", "k": "u.k = 1"},
        ),
        ("SELECT CAST(a AS INT) FROM t", "cast(a as int)", {"a": "CAST(a AS INT)"}),
        ("WITH y AS (SELECT a + 1 AS x FROM t) SELECT * FROM y", "x", {"a": "a + 1 AS x"}),
        (
            "SELECT a FROM t WHERE (b = 1 OR c IN (2, 3))",
            "*",
            {"b": "b = 1 OR c IN (2, 3)", "c": "b = 1 OR c IN (2, 3)"},
        ),
        (
            "SELECT a FROM t JOIN u USING (a) ORDER BY lower(t.b)",
            "*",
            {"b": "lower(t.b)", "a": "u USING (a)"},
        ),
    ],
)
def test_edges_know_the_place_of_their_expression(sql: str, column: str, places: dict[str, str]) -> None:
    found = derived(sql)
    flows = found.rows if column == "*" else {n.lower(): f for n, f in found.columns.items()}[column]
    assert {
        flow.source.column: sql[slice(*passage.span)] for flow, passage in flows.items() if passage.span
    } == places
