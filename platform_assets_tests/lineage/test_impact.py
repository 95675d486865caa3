"""Impact of a change: what differs between two graphs and what depends on it, and graphs of git revisions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from platform_assets.column_lineage import ROWS, ColumnRef, DeclaredTable, LineageQuery
from platform_assets.errors import LineageError
from platform_assets.lineage.construction import build_graph
from platform_assets.lineage.graph import Graph
from platform_assets.lineage.impact import Impact, impact_markdown, impact_of
from platform_assets.lineage.revisions import graph_at
from platform_assets.model.table import Column, Integer, LogicalType, Text
from platform_assets.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
BASE = ("base",)
TEXT = Text()


def graph_of(model: str, delivery: str = "SELECT x FROM model", kind: LogicalType = TEXT) -> Graph:
    columns = (Column("a", kind), Column("b", Text()))
    return build_graph(
        [
            DeclaredTable(BASE, columns, constants={"a": "given", "b": "given"}),
            DeclaredTable(
                ("model",),
                query=LineageQuery(model, {"base": BASE}),
                checks={"not_null": ("x",), "unique": ("y",), "matches": (ROWS,)},
            ),
            DeclaredTable(
                ("delivery", "sent"),
                query=LineageQuery(delivery, {"model": ("model",)}),
                kind="delivery",
                owners=("team:sales",),
                description="Sales",
            ),
            DeclaredTable(("other",), columns, BASE),
        ]
    )


BEFORE = "SELECT a AS x, b AS y FROM base"


def changed(impact: Impact) -> dict[str, str]:
    return {str(ref): how for ref, how in impact.changed.items()}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (BEFORE, {}),
        ("-- why\nSELECT a AS x,\n  b AS y\nFROM base", {}),
        ("SELECT lower(a) AS x, b AS y FROM base", {"model.x": "`a AS x` -> `lower(a) AS x`"}),
        ("SELECT a AS x, 'k' AS y FROM base", {"model.y": "`b AS y` -> `'k' AS y`"}),
        (
            "SELECT a AS x, b AS y FROM base WHERE b > 'm'",
            {"model.*": "which rows there are, or their order"},
        ),
        (f"{BEFORE} LIMIT 10", {"model.*": "its SQL"}),
        ("SELECT a AS x, b AS y, a AS z FROM base", {"model.z": "new"}),
    ],
)
def test_a_change_of_sql_is_told_for_the_columns_that_it_concerns(
    model: str, expected: dict[str, str]
) -> None:
    assert changed(impact_of(graph_of(BEFORE), graph_of(model))) == expected


def test_what_depends_on_a_changed_column_is_followed_to_deliveries_checks_and_owners() -> None:
    impact = impact_of(graph_of(BEFORE), graph_of("SELECT upper(a) AS x, b AS y FROM base"))
    assert impact.downstream == {"delivery/sent": ["x"]}
    assert impact.checks == ("model: not_null", "model: matches")
    assert [table.name for table in impact.ends] == ["delivery/sent"]
    assert impact.owners == {"team:data-platform": 1, "team:sales": 1}


def test_a_column_that_nothing_reads_has_no_delivery() -> None:
    impact = impact_of(graph_of(BEFORE), graph_of("SELECT a AS x, upper(b) AS y FROM base"))
    assert (impact.downstream, impact.ends) == ({}, ())
    assert impact.checks == ("model: unique", "model: matches")


def test_other_rows_are_a_change_of_all_columns() -> None:
    impact = impact_of(graph_of(BEFORE), graph_of(f"{BEFORE} WHERE b = '1'"))
    assert impact.downstream == {"model": ["y", "x"], "delivery/sent": ["x"]}


def test_a_removed_column_touches_what_read_it() -> None:
    after = graph_of("SELECT b AS y FROM base", "SELECT y AS x FROM model")
    impact = impact_of(graph_of(BEFORE), after)
    assert changed(impact)["model.x"] == "removed"
    assert changed(impact)["delivery/sent.x"] == "`x` -> `y AS x`"


def test_a_change_of_type_is_followed_through_copies() -> None:
    impact = impact_of(graph_of(BEFORE), graph_of(BEFORE, kind=Integer()))
    assert changed(impact)["base.a"] == "type text -> integer"
    assert changed(impact)["delivery/sent.x"] == "type text -> integer"


def test_sql_that_can_no_longer_be_followed_is_told() -> None:
    impact = impact_of(graph_of(BEFORE), graph_of(BEFORE, "PIVOT model ON y USING max(x)"))
    assert "its lineage is unknown" in impact.changed[ColumnRef(("delivery", "sent"), ROWS)]
    assert "May be touched too" in impact_markdown(impact, "main")


def test_the_markdown_has_all_parts() -> None:
    impact = impact_of(graph_of(BEFORE), graph_of("SELECT a || '|' AS x, b AS y FROM base"))
    text = impact_markdown(impact, "main")
    assert text.startswith(
        "## Lineage since `main`\n\n**1 change; downstream 1 column of 1 table, 2 checks, "
    )
    assert "| model.x | `a AS x` -> `a \\|\\| '\\|' AS x` |" in text
    assert "- delivery/sent: Sales" in text
    assert "| delivery/sent | x |" in text
    same = impact_markdown(impact_of(graph_of(BEFORE), graph_of(BEFORE)), "main")
    assert same.endswith("No column changes.")


def is_clone() -> bool:
    found = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, check=False)
    return found.returncode == 0


@pytest.mark.skipif(not is_clone(), reason="needs a clone with git: there is no history to compare with")
def test_the_graph_of_the_last_commit_is_loaded_from_git(shipped: Settings) -> None:
    graph = graph_at("HEAD", load_settings().file)
    assert graph.find("star/dim_staff.location") in set(graph.columns())


@pytest.mark.skipif(not is_clone(), reason="needs a clone with git: there is no history to compare with")
def test_a_revision_that_does_not_exist_is_told_with_what_to_name(shipped: Settings) -> None:
    with pytest.raises(LineageError, match=r"git rev-parse nowhere failed: .*Name a commit, a branch"):
        graph_at("nowhere", shipped.file)
    with pytest.raises(LineageError, match="Name a commit"):
        graph_at("--help", shipped.file)
