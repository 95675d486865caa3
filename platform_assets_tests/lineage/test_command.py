"""The command `lineage`: a column without a sub-command, formats, proof, and errors with advice."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from platform_assets.lineage.command import app
from platform_assets.settings import Settings


@pytest.fixture(autouse=True)
def _shipped(shipped: Settings) -> None:
    """Keep the environment of the shipped configuration for the command."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_column_is_shown_without_a_sub_command() -> None:
    shown = run("star/dim_staff.location")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[:4] == [
        "star/dim_staff.location: text, City the department is in; Unknown where the source has none",
        "star/dim_staff.location is made from",
        "└── totesys/department.location  transformation: COALESCE(d.location, 'Unknown') AS location",
        "    └── database/totesys/department.location  identity",
    ]
    assert "├── totesys/department.department_id  join: d.department_id = s.department_id" in shown.stdout
    assert "warehouse/dim_staff.location  identity" in shown.stdout
    assert run("show", "star/dim_staff.location").stdout == shown.stdout


def test_options_may_come_before_the_column() -> None:
    up = run("--up", "--direct", "star/dim_staff.location").stdout
    assert "totesys/department.location" in up
    assert "warehouse" not in up
    assert "join" not in up
    down = run("star/dim_staff.location", "--down", "--direct").stdout
    assert "warehouse/dim_staff.location" in down
    assert "totesys" not in down


def test_a_constant_says_why_it_has_no_source() -> None:
    assert (
        "star/dim_date._change has no source: A day never changes: insert."
        in run("star/dim_date._change", "--up").stdout
    )


def test_json_has_every_edge_with_its_distance() -> None:
    told = json.loads(run("star/dim_staff.location", "--up", "--format", "json").stdout)
    assert told["column"] == "star/dim_staff.location"
    assert [(one["source"], one["subtype"], one["depth"]) for one in told["up"]] == [
        ("totesys/department.location", "TRANSFORMATION", 1),
        ("totesys/department.department_id", "JOIN", 1),
        ("totesys/staff.department_id", "JOIN", 1),
        ("database/totesys/department.location", "IDENTITY", 2),
    ]
    assert "down" not in told


def test_mermaid_has_solid_arrows_for_values_and_dotted_ones_for_decisions() -> None:
    lines = run("star/dim_staff.location", "--up", "--format", "mermaid").stdout.splitlines()
    assert lines[0] == "flowchart LR"
    assert '  subgraph t0["star/dim_staff"]' in lines
    assert sum("-->|transformation|" in line for line in lines) == 1
    assert sum("-.->|join|" in line for line in lines) == 2


def test_openlineage_has_the_datasets_of_the_walk() -> None:
    told = json.loads(run("star/dim_staff.location", "--up", "--format", "openlineage").stdout)
    assert [one["name"] for one in told] == ["star/dim_staff", "totesys/department"]
    assert set(told[0]["facets"]["columnLineage"]["fields"]) == {"location"}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("dim_staff.location", "is the name of 3 columns: star/dim_staff.location, "),
        ("star/dim_staff.locaton", "star/dim_staff has no column locaton. The nearest are: location"),
        ("star/dim_stuff.location", "The nearest are: star/dim_staff.location"),
        ("nonsense", "Write a column as star/fact_sales_order.units_sold."),
    ],
)
def test_a_wrong_column_is_answered_with_the_nearest(column: str, message: str) -> None:
    failed = run(column)
    assert failed.exit_code == 1
    assert message in failed.stderr


def test_prove_counts_the_edges_of_each_query() -> None:
    proved = run("prove", "delivery")
    assert proved.exit_code == 0
    assert "delivery/daily_sales: 5 of 5 direct and" in proved.stdout
    assert "of 2 queries are proved." in proved.stdout
    failed = run("prove", "nothing")
    assert failed.exit_code == 1
    assert "No table of nothing has a query." in failed.stderr


def test_help_lists_the_sub_commands() -> None:
    shown = run("--help").stdout
    assert all(name in shown for name in ("show", "prove", "impact"))
    assert run().stdout.strip() == shown.strip()
