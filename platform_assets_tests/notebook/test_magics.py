"""The magics, as somebody at a notebook uses them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from platform_assets_tests.fixtures.stackql import TEXT, FakeStackql, Reply
from platform_assets_tests.integration.installation import Installation
from platform_assets_tests.notebook.conftest import Notebook

INSTANCES = "SELECT name, zone, status, cpus, preemptible, price FROM google.compute.instances"


def test_a_statement_in_a_line_gives_a_data_frame(notebook: Notebook, stackql: FakeStackql) -> None:
    frame = notebook.value(f"%stackql {INSTANCES}")
    assert frame["name"].tolist() == ["vm-1", "vm-2", "vm-3"]
    assert dict(frame.dtypes.astype(str)) == {
        "name": "object",
        "zone": "object",
        "status": "object",
        "cpus": "int64",
        "preemptible": "bool",
        "price": "float64",
    }
    assert notebook.shell.user_ns["stackql_df"] is frame
    assert stackql.logins[-1]["user"] == "stackql"


def test_a_cell_has_variables_in_three_forms(notebook: Notebook, stackql: FakeStackql) -> None:
    notebook.value("zone, table, name = 'europe-west2-a', 'instances', \"O'Brien\"")
    frame = notebook.value(
        f"%%stackql --as found --limit 5\n-- not $this\n{INSTANCES.replace('instances', '{{table}}')}\n"
        "WHERE zone = '$zone' AND x <> '${name}' AND y = '$.a.b'"
    )
    assert frame["name"].tolist() == ["vm-1"]
    assert notebook.shell.user_ns["found"] is frame
    assert stackql.cloud.asked[-1].endswith("zone = 'europe-west2-a' AND x <> 'O''Brien' AND y = '$.a.b'")


def test_raw_sends_the_statement_as_it_is(notebook: Notebook, stackql: FakeStackql) -> None:
    stackql.cloud.answers["SELECT '$nothing'"] = Reply([("x", TEXT)], [["$nothing"]])
    assert notebook.value("%stackql --raw SELECT '$nothing'")["x"].tolist() == ["$nothing"]
    assert "The variable nothing does not exist" in notebook.error("%stackql SELECT '$nothing'")


def test_every_kind_of_statement_gives_something_to_work_with(
    notebook: Notebook, stackql: FakeStackql
) -> None:
    assert notebook.value("%stackql SHOW PROVIDERS")["name"].tolist() == ["google", "aws"]
    assert notebook.value("%stackql DESCRIBE google.compute.instances")["type"].tolist() == ["string"]
    pulled = notebook.value("%stackql REGISTRY PULL google")
    assert pulled["message"].tolist() == [
        "a notice level event has occurred: google provider, version 'v24.1' installed"
    ]
    for statement in ("INSERT INTO x(a) SELECT 1", "DELETE FROM x WHERE y = 1", "EXEC x.y.z @a='b'"):
        done = notebook.value(f"%stackql {statement}")
        assert done["message"].tolist() == ["The operation was despatched successfully"]
    empty = notebook.value(f"%stackql {INSTANCES} WHERE zone = 'nowhere'")
    assert (len(empty), list(empty.columns)[:2]) == (0, ["name", "zone"])


def test_notices_beside_rows_are_told(notebook: Notebook, stackql: FakeStackql) -> None:
    stackql.cloud.failing.append(("http response status code: 403", "no access to project b"))
    ran = notebook.run(f"%stackql {INSTANCES}")
    assert len(ran.result) == 3
    assert ran.err == "http response status code: 403: no access to project b\n"


def test_a_result_can_be_bound_without_being_shown_and_offered_as_csv(
    notebook: Notebook, stackql: FakeStackql
) -> None:
    assert notebook.value(f"%stackql --no-display --as kept {INSTANCES}") is None
    assert len(notebook.shell.user_ns["kept"]) == 3
    ran = notebook.run(f"%%stackql --csv-download --limit 1\n{INSTANCES}")
    link = ran.shown[0]["text/html"]
    assert 'download="stackql.csv"' in link
    content = base64.b64decode(link.split("base64,")[1].split('"')[0]).decode()
    assert content == "name,zone,status,cpus,preemptible,price\nvm-1,europe-west2-a,RUNNING,2,True,0.0475\n"
    assert "The first 1 rows; there are more." in ran.err


def test_another_server_can_be_named(notebook: Notebook, stackql: FakeStackql) -> None:
    notebook.value(
        f"%stackql --connect postgresql://me@{stackql.address}/cloud --protocol auto SHOW PROVIDERS"
    )
    assert (stackql.logins[-1]["user"], stackql.logins[-1]["database"]) == ("me", "cloud")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%stackql BROKEN", "rejected the statement: syntax error at position 7"),
        ("%stackql --connect 127.0.0.1:1 SHOW PROVIDERS", "127.0.0.1:1 cannot be reached"),
        ("%stackql --limt 3 SHOW PROVIDERS", "There is no option --limt. Did you mean --limit?"),
        ("%stackql --limit many SHOW PROVIDERS", "--limit has the value many: expected a whole number"),
        ("%stackql --timeout 0 SHOW PROVIDERS", "expected a number of seconds"),
        ("%stackql --as 1a SHOW PROVIDERS", "expected the name of a variable"),
        ("%stackql --protocol odd SHOW PROVIDERS", "expected one of simple, extended, auto"),
        ("%stackql --limit", "The option --limit needs a value: --limit N."),
        ("%stackql", "%stackql needs a statement"),
        ("%%stackql --no-display\n \n", "%stackql needs a statement"),
        ("%warehouse SELECT * FROM star.dim_stuff", "could not run the query"),
        ("%warehouse SELECT $first_name", "The variable first_name does not exist"),
        ("%warehouse --of finance SELECT 1", "There is no warehouse finance"),
        ("%warehouse --lake --of finance SELECT 1", "use one of them"),
        (
            "%warehouse --lake FROM star.dim_stuff",
            "The lake has no table star.dim_stuff. Did you mean star.dim_st",
        ),
        ("%warehouse --lake SELEC 1", "The lake could not run the query"),
        ("%warehouse --arrow --plot SELECT 1", "leave out one of the options"),
        (
            "%warehouse --plot SELECT 'a' AS x, 'b' AS y",
            "no numeric column after the first one. It has x (object)",
        ),
        ("%warehouse --plot SELECT 1 AS x, 2 AS y WHERE false", "it has no rows"),
        ("%platform", "%platform does not exist. Use %platform status"),
        ("%platform stats", "%platform stats does not exist. Use %platform status"),
        ("%platform at", "%platform at needs a batch"),
        ("%platform at 77", "The lake has no batch 77 yet"),
        ("%platform at 1 star/dim_stuff", "There is no table star/dim_stuff"),
        ("%warehouse --at 1 FROM star.dim_staff", "write --lake before it"),
        ("%warehouse --lake --at soon FROM star.dim_staff", "neither the number of a batch nor a time"),
        ("%platform lineage", "%platform lineage needs a column"),
        ("%platform lineage star/dim_staff.frst_name", "first_name"),
        ("%platform status now", "takes options only, not now"),
    ],
)
def test_every_error_is_one_readable_line(
    notebook: Notebook, stackql: FakeStackql, cell: str, says: str
) -> None:
    assert says in notebook.error(cell)


def test_a_mistake_in_the_configuration_is_one_line(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_CONFIG", "/nowhere/platform.conf")
    assert "/nowhere/platform.conf" in notebook.error("%warehouse SELECT 1")


def test_the_warehouse_is_queried_with_bound_values(notebook: Notebook) -> None:
    notebook.value('name, some = "\'; DROP TABLE star.dim_staff; --", [1, 2, 3]')
    frame = notebook.value(
        "%warehouse SELECT $name AS given, count(*) AS n FROM star.dim_staff WHERE first_name = $name"
    )
    assert frame.to_dict("records") == [{"given": "'; DROP TABLE star.dim_staff; --", "n": 0}]
    frame = notebook.value(
        "%%warehouse --as chosen\nSELECT staff_id FROM star.dim_staff WHERE staff_id IN ({{some}}) ORDER BY 1"
    )
    assert frame["staff_id"].tolist() == [1, 2, 3]
    assert notebook.shell.user_ns["chosen"] is frame
    assert "$name stands in quotes" in notebook.error("%warehouse SELECT '$name'")
    assert notebook.value("%warehouse --raw SELECT '$name' AS x")["x"].tolist() == ["$name"]


def test_frames_calculate_and_arrow_is_exact(notebook: Notebook) -> None:
    query = (
        "SELECT 1.10::DECIMAL(10,2) AS m, DATE '2026-01-02' AS d, 9007199254740993 AS i, NULL::INT AS n, "
        "'é' AS t"
    )
    frame = notebook.value(
        f"%warehouse {query} UNION ALL SELECT 2.2, DATE '2026-01-03', NULL, 1, NULL ORDER BY 1"
    )
    assert {name: str(type_) for name, type_ in frame.dtypes.items()} == {
        "m": "float64",
        "d": "datetime64[ms]",
        "i": "Int64",
        "n": "Int32",
        "t": "object",
    }
    assert frame["i"][0] == 9007199254740993
    table = notebook.value(f"%warehouse --arrow {query}")
    assert isinstance(table, pa.Table)
    assert table["m"].to_pylist() == [Decimal("1.10")]
    twice = notebook.value("%warehouse --raw SELECT 1 AS a, 2 AS a")
    assert twice.shape == (1, 2)


def test_a_limit_reads_only_the_first_rows(notebook: Notebook) -> None:
    ran = notebook.run("%warehouse --limit 3 FROM range(10000000000) AS numbers(n)")
    assert ran.result["n"].tolist() == [0, 1, 2]
    assert "The first 3 rows; there are more." in ran.err


def test_a_query_that_takes_too_long_is_stopped(notebook: Notebook) -> None:
    slow = "SELECT count(*) FROM range(100000000) a, range(100000) b"
    says = "The query took longer than 0.3 seconds and was stopped"
    assert says in notebook.error(f"%warehouse --timeout 0.3 {slow}")
    assert says in notebook.error(f"%warehouse --lake --timeout 0.3 {slow}")
    assert notebook.value("%warehouse --timeout 60 SELECT 1 AS x")["x"].tolist() == [1]


def test_the_lake_is_queried_by_the_names_of_its_assets(notebook: Notebook) -> None:
    notebook.value("least = 1")
    frame = notebook.value(
        "%%warehouse --lake\nWITH chosen AS (FROM totesys.staff WHERE staff_id > $least)\n"
        "SELECT count(*) AS n, count(d.staff_id) AS in_star FROM chosen JOIN star.dim_staff AS d USING "
        "(staff_id)"
    )
    in_warehouse = notebook.value("%warehouse SELECT count(*) AS n FROM star.dim_staff WHERE staff_id > 1")
    assert frame["n"].tolist() == frame["in_star"].tolist() == in_warehouse["n"].tolist()
    assert "_batch" not in notebook.value("%warehouse --lake FROM totesys.staff LIMIT 1").columns
    assert (
        notebook.value("%warehouse --lake SUMMARIZE star.dim_staff")["column_name"].tolist()[0] == "staff_id"
    )


@pytest.mark.parametrize("kind", ["", " line", " bar", " barh", " area", " scatter", " hist"])
def test_a_result_is_drawn(notebook: Notebook, kind: str) -> None:
    ran = notebook.run(
        f"%%warehouse --plot{kind}\nSELECT DATE '2026-01-01' + i::INT AS day, i * 2 AS revenue, i AS cost "
        "FROM range(30) AS numbers(i)"
    )
    assert ran.error == ""
    assert ran.result is None
    picture = ran.shown[0]["image/png"]
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert len(notebook.shell.user_ns["warehouse_df"]) == 30


def test_the_status_is_a_data_frame(notebook: Notebook) -> None:
    frame = notebook.value("%platform status --as state")
    assert set(frame["layer"]) == {"totesys", "star", "warehouse"}
    sales = frame[frame["table"].isin(["sales_order", "fact_sales_order"])]
    assert sales["rows"].tolist() == [60, 60, 60]
    assert isinstance(frame["as_of"].dtype, pd.DatetimeTZDtype)
    assert notebook.shell.user_ns["state"] is frame


def test_the_lineage_of_a_column_is_a_data_frame(notebook: Notebook) -> None:
    frame = notebook.value("%platform lineage --direct star/dim_staff.first_name")
    up, down = (frame[frame["direction"] == one] for one in ("up", "down"))
    assert up.iloc[0][["steps", "source", "target", "kind", "subtype"]].tolist() == [
        *(1, "totesys/staff.first_name", "star/dim_staff.first_name", "DIRECT", "IDENTITY")
    ]
    assert "warehouse/dim_staff.first_name" in set(down["target"])
    only_up = notebook.value("%platform lineage --up --as above star/dim_staff.location")
    assert set(only_up["direction"]) == {"up"}
    assert "INDIRECT" in set(only_up["kind"])
    assert notebook.shell.user_ns["above"] is only_up


def test_tables_are_there_as_they_were(notebook: Notebook) -> None:
    frame = notebook.value("%platform at 1 star/dim_staff")
    now = notebook.value("%warehouse SELECT staff_id, first_name FROM star.dim_staff ORDER BY staff_id")
    assert frame.sort_values("staff_id")["first_name"].tolist() == now["first_name"].tolist()
    past = notebook.value("%platform at --as earlier --limit 2 1")
    assert notebook.shell.user_ns["earlier"] is past
    assert {"totesys/staff", "star/fact_sales_order"} <= set(past)
    assert len(past["star/fact_sales_order"]) == 2
    assert repr(past).startswith("After batch 1, seen at ")
    notebook.value("least = 1")
    counted = "%warehouse --lake --at {} SELECT count(*) AS n FROM totesys.staff WHERE staff_id > $least"
    assert notebook.value(counted.format(1))["n"].tolist() == [len(now) - 1]
    assert notebook.value(counted.format(0))["n"].tolist() == [0]
    assert notebook.value(counted.format("2020-01-01T12:00"))["n"].tolist() == [0]


@pytest.mark.parametrize("magic", ["%stackql", "%warehouse", "%platform status"])
def test_help_lists_the_options(notebook: Notebook, magic: str) -> None:
    said = notebook.run(f"{magic} --help").out
    assert "--no-display" in said
    assert "--help" in said


def test_loading_the_magics_imports_what_every_result_needs_and_neither_dagster_nor_more() -> None:
    program = (
        "import json, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(history_length=0)\n"
        "before = set(sys.modules)\n"
        "shell.run_line_magic('load_ext', 'platform_assets.notebook')\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_plain_environment()
    )
    loaded = set(json.loads(ended.stdout.splitlines()[-1]))
    assert loaded >= {"platform_assets", "pandas", "duckdb"}
    assert loaded.isdisjoint({"dagster", "deltalake", "matplotlib", "pg8000"})


def _plain_environment() -> dict[str, str]:
    return {**os.environ, "IPYTHONDIR": tempfile.gettempdir()}


def test_the_command_starts_a_shell_with_the_magics(installation: Installation, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "platform_assets.cli", "notebook"],
        input="%warehouse SELECT 41 + 1 AS answer\n%warehouse SELECT nothing\nexit\n",
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PLATFORM_CONFIG": str(installation.folder / "platform.conf"),
            "IPYTHONDIR": str(tmp_path),
        },
    )
    assert "42" in ended.stdout
    assert 'Referenced column "nothing" was not found' in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_without_ipython_the_command_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['IPython'] = None\nsys.argv = ['platform-assets', 'notebook']\n"
        "from platform_assets.cli import app\napp()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        "A notebook needs IPython, which is not installed: pip install 'platform-assets[notebook]'.\n"
    )


def test_without_matplotlib_a_chart_says_what_to_install(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "A chart needs matplotlib" in notebook.error("%warehouse --plot SELECT 1 AS x, 2 AS y")
