"""Graphs for tests: a small one that has everything, and generated ones of any size."""

from __future__ import annotations

import random

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ROWS, ColumnRef, Subtype
from platform_assets.lineage.graph import Edge, Graph, GraphColumn, GraphTable

HOSTILE = '</script><img src=x onerror="document.title=1">'
STAFF, TEAM, DIM, REPORT = (
    ("totesys", "staff"),
    ("totesys", "team"),
    ("star", "dim_staff"),
    ("star", "report"),
)
DIM_SQL = """-- Everybody who works here, 🙂 each once.
SELECT
  s.staff_id,
  lower(s.email_address) AS email_address,
  s.first_name || ' ' || s.last_name AS full_name,
  t.team_name
FROM totesys.staff AS s
JOIN totesys.team AS t ON t.team_id = s.team_id
WHERE s.staff_id > 0"""
REPORT_SQL = (
    "SELECT team_name, count(email_address) AS people, 'EU' AS region FROM dim_staff GROUP BY team_name"
)


def _columns(*names: str) -> tuple[GraphColumn, ...]:
    return tuple(GraphColumn(name, "text", f"The {name}") for name in names)


def small_graph() -> Graph:
    """Two source tables, a dimension and a report with every kind of edge, and a table with hostile names."""
    tables = [
        GraphTable(
            STAFF,
            _columns("staff_id", "email_address", "first_name", "last_name", "team_id"),
            group="totesys",
        ),
        GraphTable(TEAM, _columns("team_id", "team_name"), group="totesys"),
        GraphTable(
            DIM, _columns("staff_id", "email_address", "full_name", "team_name"), DIM_SQL, "duckdb",
            owners=("team:data-platform",), group="star", description="Staff, each once.",
        ),
        GraphTable(
            REPORT,
            (*_columns("team_name", "people"), GraphColumn("region", "text", constant="one region only")),
            REPORT_SQL, "duckdb", group="star",
        ),
        GraphTable(("uploads", HOSTILE), _columns(HOSTILE, "plain"), f"SELECT '{HOSTILE}'", group=HOSTILE),
    ]  # fmt: skip

    def edge(source: tuple[str, ...], name: str, target: tuple[str, ...], to: str, subtype: Subtype,
             text: str = "", masking: bool = False, proved: bool | None = True) -> Edge:  # fmt: skip
        sql = {DIM: DIM_SQL, REPORT: REPORT_SQL}.get(target, "")
        start = sql.index(text) if text else -1
        span = (start, start + len(text)) if text else None
        return Edge(ColumnRef(source, name), ColumnRef(target, to), subtype, masking, span, proved)

    names = "s.first_name || ' ' || s.last_name"
    edges = [
        edge(STAFF, "staff_id", DIM, "staff_id", Subtype.IDENTITY, "s.staff_id"),
        edge(STAFF, "email_address", DIM, "email_address", Subtype.TRANSFORMATION, "lower(s.email_address)"),
        edge(STAFF, "first_name", DIM, "full_name", Subtype.TRANSFORMATION, names),
        edge(STAFF, "last_name", DIM, "full_name", Subtype.TRANSFORMATION, names, proved=False),
        edge(TEAM, "team_name", DIM, "team_name", Subtype.IDENTITY, "t.team_name"),
        edge(TEAM, "team_id", DIM, ROWS, Subtype.JOIN, "t.team_id = s.team_id"),
        edge(STAFF, "team_id", DIM, ROWS, Subtype.JOIN, "t.team_id = s.team_id"),
        edge(STAFF, "staff_id", DIM, ROWS, Subtype.FILTER, "s.staff_id > 0"),
        edge(DIM, "team_name", REPORT, "team_name", Subtype.IDENTITY, "team_name"),
        edge(
            DIM, "email_address", REPORT, "people", Subtype.AGGREGATION, "count(email_address)", masking=True
        ),
        edge(DIM, "team_name", REPORT, "people", Subtype.GROUP_BY),
        edge(TEAM, ROWS, REPORT, "people", Subtype.AGGREGATION, masking=True, proved=None),
        edge(DIM, "full_name", ("uploads", HOSTILE), HOSTILE, Subtype.IDENTITY, proved=None),
    ]
    return Graph(tables, edges)


def small_marks() -> list[Mark]:
    """What the columns of the small graph hold: an address found, its copy derived, and a name declared."""
    address, copied = ColumnRef(STAFF, "email_address"), ColumnRef(DIM, "email_address")
    return [
        Mark(address, "EMAIL_ADDRESS", "VERY_LIKELY", Origin.FOUND),
        Mark(copied, "EMAIL_ADDRESS", "VERY_LIKELY", Origin.DERIVED, address),
        Mark(ColumnRef(STAFF, "first_name"), "PERSON_NAME", "VERY_LIKELY", Origin.DECLARED),
    ]


def generated_graph(tables: int = 1000, columns: int = 20, seed: int = 7) -> Graph:
    """Tables that each read two earlier ones, with SQL whose expressions the edges name."""
    chance = random.Random(seed)
    made: list[GraphTable] = []
    edges: list[Edge] = []
    subtypes = [Subtype.IDENTITY, Subtype.TRANSFORMATION, Subtype.AGGREGATION]
    for number in range(tables):
        asset = (f"layer_{number * 10 // tables}", f"table_{number:04d}")
        parents = (
            [made[chance.randrange(max(0, number - 200), number)] for _ in range(2)] if number > 20 else []
        )
        names = [f"column_{number:04d}_{at:02d}" for at in range(columns)]
        sql = "SELECT\n"
        for at, name in enumerate(names):
            if not parents:
                break
            parent = parents[at % 2]
            source = parent.columns[chance.randrange(columns)].name
            start = len(sql) + 2
            sql += f"  coalesce({parent.asset[1]}.{source}, 'none') AS {name},\n"
            span = (start, len(sql) - len(f" AS {name},\n"))
            edges.append(
                Edge(
                    ColumnRef(parent.asset, source),
                    ColumnRef(asset, name),
                    chance.choice(subtypes),
                    False,
                    span,
                    at % 9 > 0,
                )
            )
            if at == 0:
                edges.append(
                    Edge(
                        ColumnRef(parent.asset, source),
                        ColumnRef(asset, ROWS),
                        Subtype.JOIN,
                        False,
                        None,
                        True,
                    )
                )
        if parents:
            sql += f"FROM {' NATURAL JOIN '.join(parent.asset[1] for parent in parents)}"
        made.append(
            GraphTable(
                asset,
                _columns(*names),
                sql if parents else None,
                "duckdb",
                group=asset[0],
                owners=("team:data-platform",),
            )
        )
    return Graph(made, edges)
