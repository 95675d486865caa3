"""Task files: every mistake with file and key path, and each file by itself."""

from __future__ import annotations

import os

import pytest

from platform_assets.tasks.plan import Elsewhere
from platform_assets_tests.tasks.conftest import TaskHouse

ELSEWHERE = Elsewhere(
    assets={"star/dim_staff": [], "star/fact_sales_order": ["star/dim_staff"], "delivery/sales": ["tasks/a"]},
    jobs=frozenset({"totesys_to_warehouse"}),
    ticks=frozenset({"reports_schedule"}),
)
COPY = "name = copy, args { source = a, target = b }"


def keys_and_findings(lines: list[str]) -> list[tuple[str, str]]:
    """Return the key path and the rest of each mistake of the file `odd.conf`, whichever line it names."""
    found = []
    for line in lines:
        place, _, rest = line.partition(": found ")
        file, *_, key = place.split(": ")
        assert file.split(":")[0] == "tasks/odd.conf"
        found.append((key, rest))
    return found


def test_a_file_becomes_a_plan_in_sequence(house: TaskHouse) -> None:
    house.write("tasks/x.conf", f"tasks = [{{ {COPY} }}, {{ {COPY} }}, {{ {COPY}, id = last }}]")
    plan = house.plans()["x"]
    assert plan.mistakes == ()
    assert [(task.id, task.needs) for task in plan.tasks] == [
        ("copy", ()), ("copy_2", ("copy",)), ("last", ("copy_2",))
    ]  # fmt: skip
    assert plan.tasks[0].arguments == {
        "source": house.config / "tasks" / "a", "target": house.config / "tasks" / "b"
    }  # fmt: skip


def test_needs_give_another_order(house: TaskHouse) -> None:
    house.write(
        "tasks/x.conf",
        f"tasks = [{{ {COPY}, id = a, needs = [c] }}, {{ {COPY}, id = b, needs = [] }}, "
        f"{{ {COPY}, id = c }}]",
    )
    assert [task.id for task in house.plans()["x"].tasks] == ["b", "c", "a"]


def test_all_mistakes_are_found_at_once_each_with_its_place(house: TaskHouse) -> None:
    house.write(
        "tasks/odd.conf",
        """
        schedule { cron = "0 6 * * *" }
        tasks = [
          { name = shel_script, args { script = sh } }
          { name = copy, id = c, needs = [d], args { source = 3, pattern = x, taget = y } }
          { name = copy, id = d, needs = [c], reads = [star/dim_stff], produces = [star/dim_staff],
            args { source = a, target = b } }
          { name = delete_older_than, args { folder = x, days = "five", keep = -1 } }
          { name = copy, id = c, args { source = a, target = b } }
          { name = copy, needs = [e], produces = [tasks/y, tasks/y], args { source = a, target = b } }
        ]
        """,
    )
    found = keys_and_findings(house.mistakes("odd", ELSEWHERE))
    assert [key for key, _ in found] == [
        "tasks[0].name",
        "tasks[1].args.source",
        "tasks[1].args.taget",
        "tasks[1].args.target",
        "tasks[2].produces[0]",
        "tasks[2].reads[0]",
        "tasks[3].args.days",
        "tasks[3].args.keep",
        "tasks[4].id",
        "tasks[5].needs[0]",
        "tasks[5].produces[1]",
    ]
    texts = dict(found)
    assert texts["tasks[0].name"] == '"shel_script"; expected a known one, perhaps shell_script.'
    assert texts["tasks[2].reads[0]"].startswith(
        '"star/dim_stff"; expected a known one, perhaps star/dim_staff;'
    )
    assert texts["tasks[3].args.days"] == '"five"; expected a number (Age in days, by the modification time).'


def test_a_cycle_is_shown_with_its_tasks(house: TaskHouse) -> None:
    house.write(
        "tasks/odd.conf",
        f"tasks = [{{ {COPY}, id = z }}, {{ {COPY}, id = a, needs = [c] }}, {{ {COPY}, id = b }}, "
        f"{{ {COPY}, id = c }}]",
    )
    assert keys_and_findings(house.mistakes("odd")) == [
        (
            "tasks[1].needs",
            "a cycle: a needs c, c needs b, b needs a; expected an order in which each task can run.",
        )
    ]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("tasks = []", "tasks"),
        ("", "tasks"),
        (f"taks = [{{ {COPY} }}], tasks = [{{ {COPY} }}]", "taks"),
        (f"tasks = [{{ {COPY}, id = a-b }}]", "tasks[0].id"),
        (f"tasks = [{{ {COPY}, id = config }}]", "tasks[0].id"),
        (f"tasks = [{{ {COPY}, retries = -1 }}]", "tasks[0].retries"),
        (f"tasks = [{{ {COPY}, timeout = 0 }}]", "tasks[0].timeout"),
        (f"tasks = [{{ {COPY}, produces = [a b] }}]", "tasks[0].produces[0]"),
        (f'tasks = [{{ {COPY} }}], schedule {{ cron = "61 * * * *" }}', "schedule.cron"),
        (f'tasks = [{{ {COPY} }}], schedule {{ cron = "1 * * * *", timezone = Mars }}', "schedule.timezone"),
        (f"tasks = [{{ {COPY}, args = 3 }}]", "tasks[0].args"),
    ],
)
def test_what_is_no_task_file_is_told(house: TaskHouse, line: str, key: str) -> None:
    house.write("tasks/odd.conf", line)
    assert key in [key for key, _ in keys_and_findings(house.mistakes("odd"))]


def test_the_condition_when_is_one_of_five(house: TaskHouse) -> None:
    house.write("tasks/odd.conf", f"tasks = [{{ {COPY}, when = sometimes }}]")
    assert len(house.mistakes("odd")) >= 1
    for given, when in (("true", "success"), ("false", False), ('"false"', False), ("failure", "failure")):
        house.write("tasks/odd.conf", f"tasks = [{{ {COPY}, when = {given} }}]")
        assert house.plans()["odd"].tasks[0].when == when


def test_a_broken_file_leaves_the_others_as_they_are(house: TaskHouse) -> None:
    house.write("tasks/good.conf", f"tasks = [{{ {COPY}, reads = [crm/new, tasks/worse] }}]")
    house.write("tasks/odd.conf", f"tasks = [{{ {COPY}, produces = [crm/new], needs = [x] }}]")
    house.write("tasks/worse.conf", "tasks = [")
    plans = house.plans(ELSEWHERE)
    assert plans["good"].mistakes == ()
    assert len(plans["odd"].mistakes) == len(plans["worse"].mistakes) == 1


def test_a_file_that_reads_what_an_unreadable_file_produces_does_not_break_with_it(house: TaskHouse) -> None:
    house.write("tasks/good.conf", f"tasks = [{{ {COPY}, reads = [crm/new] }}]")
    house.write("tasks/worse.conf", f"tasks = [{{ {COPY}, produces = [crm/new] }}")
    assert house.plans(ELSEWHERE)["good"].mistakes == ()


def test_assets_outside_of_the_platform_are_declared_once(house: TaskHouse) -> None:
    house.write("tasks/odd.conf", f"tasks = [{{ {COPY}, reads = [crm/customers] }}]")
    assert "tasks.external_assets" in house.mistakes("odd", ELSEWHERE)[0]
    house.add_settings('tasks.external_assets = ["crm/customers"]')
    assert house.mistakes("odd", ELSEWHERE) == []


def test_two_files_cannot_produce_one_asset(house: TaskHouse) -> None:
    for name in ("even", "odd"):
        house.write(f"tasks/{name}.conf", f"tasks = [{{ {COPY}, produces = [crm/new] }}]")
    assert house.mistakes("even", ELSEWHERE) == []
    [(key, text)] = keys_and_findings(house.mistakes("odd", ELSEWHERE))
    assert key == "tasks[0].produces[0]"
    assert text.endswith("even.conf produces it.")


def test_a_file_cannot_take_the_name_of_another_job(house: TaskHouse) -> None:
    house.write("tasks/totesys_to_warehouse.conf", f"tasks = [{{ {COPY} }}]")
    assert (
        "the platform has a job totesys_to_warehouse" in house.mistakes("totesys_to_warehouse", ELSEWHERE)[0]
    )
    house.write("tasks/reports.conf", f'tasks = [{{ {COPY} }}], schedule {{ cron = "0 6 * * *" }}')
    assert "the platform has a schedule reports_schedule" in house.mistakes("reports", ELSEWHERE)[0]


def test_a_file_name_that_is_no_jobs_name_is_told(house: TaskHouse) -> None:
    house.write("tasks/my-job.conf", f"tasks = [{{ {COPY} }}]")
    assert 'found the file name "my-job"' in house.mistakes("my-job")[0]


@pytest.mark.parametrize("name", ["class", "type", "context", "None"])
def test_a_file_name_that_has_a_meaning_in_dagster_or_python_is_told(house: TaskHouse, name: str) -> None:
    house.write(f"tasks/{name}.conf", f"tasks = [{{ {COPY} }}]")
    [mistake] = house.mistakes(name)
    assert f'found the file name "{name}"; expected another file name' in mistake


@pytest.mark.parametrize("name", ["class", "type", "result"])
def test_an_id_that_has_a_meaning_in_dagster_or_python_is_told(house: TaskHouse, name: str) -> None:
    house.write("tasks/x.conf", f"tasks = [{{ {COPY}, id = {name} }}]")
    assert f'tasks[0].id: found "{name}"' in house.mistakes("x")[0]


def test_a_pipe_is_no_file_and_holds_up_no_other(house: TaskHouse) -> None:
    house.write("tasks/x.conf", f"tasks = [{{ {COPY} }}]")
    house.write("tasks/y.conf", f'include "pipe.conf"\ntasks = [{{ {COPY} }}]')
    os.mkfifo(house.config / "tasks" / "pipe.conf")
    plans = house.plans(ELSEWHERE)
    assert plans["x"].mistakes == ()
    assert "pipe.conf: the file cannot be read: it is a pipe or a device." in plans["pipe"].mistakes[0]
    assert "pipe.conf (it is a pipe or a device); expected the name of a file" in plans["y"].mistakes[0]


def test_assets_that_depend_on_each_other_over_files_are_refused_where_they_meet(house: TaskHouse) -> None:
    house.write("tasks/a.conf", f"tasks = [{{ {COPY}, reads = [tasks/b], produces = [tasks/a] }}]")
    house.write("tasks/b.conf", f"tasks = [{{ {COPY}, reads = [tasks/a], produces = [tasks/b] }}]")
    house.write("tasks/c.conf", f"tasks = [{{ {COPY}, reads = [tasks/a], produces = [tasks/c] }}]")
    plans = house.plans(ELSEWHERE)
    assert "a cycle" in plans["a"].mistakes[0]
    assert "a cycle" in plans["b"].mistakes[0]
    assert plans["c"].mistakes == ()


def test_a_cycle_over_an_asset_of_another_room_is_refused(house: TaskHouse) -> None:
    house.write("tasks/a.conf", f"tasks = [{{ {COPY}, reads = [delivery/sales], produces = [tasks/a] }}]")
    assert "a cycle" in house.mistakes("a", ELSEWHERE)[0]


def test_a_task_comes_after_the_one_that_makes_what_it_reads(house: TaskHouse) -> None:
    house.write(
        "tasks/x.conf",
        f"tasks = [{{ {COPY}, id = second, needs = [], reads = [tasks/made] }},"
        f" {{ {COPY}, id = first, needs = [], produces = [tasks/made] }}]",
    )
    plan = house.plans(ELSEWHERE)["x"]
    assert [(task.id, task.needs, task.reads) for task in plan.tasks] == [
        ("first", (), ()), ("second", ("first",), ())
    ]  # fmt: skip


def test_a_file_in_the_lineage_graph_whose_tasks_lead_to_no_asset_is_one_itself(house: TaskHouse) -> None:
    house.write("tasks/x.conf", f"tasks = [{{ {COPY}, reads = [star/dim_staff] }}, {{ {COPY} }}]")
    house.write("tasks/y.conf", f"tasks = [{{ {COPY}, reads = [star/dim_staff], produces = [tasks/made] }}]")
    house.write("tasks/z.conf", f"tasks = [{{ {COPY} }}]")
    house.write("tasks/w.conf", f"produces = [crm/w], tasks = [{{ {COPY} }}]")
    plans = house.plans(ELSEWHERE)
    assert {name: plan.produces for name, plan in plans.items()} == {
        "w": ["crm/w"], "x": ["tasks/x"], "y": ["tasks/made"], "z": []
    }  # fmt: skip


def test_variables_are_substituted(house: TaskHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/elsewhere")
    house.write("tasks/common.inc", 'vars.folder = ${STATE}"/x"')
    house.write(
        "tasks/x.conf",
        """
        include "common.inc"
        vars.days = 3
        tasks = [{ name = delete_older_than, args { folder = ${vars.folder}, days = ${vars.days} } },
                 { name = copy, args { source = ${WHERE}"/"${TODAY}"-"${PLATFORM}, target = ${CWD}"/b" } }]
        """,
    )
    plan = house.plans()["x"]
    assert plan.mistakes == ()
    assert plan.tasks[0].arguments == {"folder": house.state / "x", "days": 3.0}
    variables = house.room.variables
    assert (
        str(plan.tasks[1].arguments["source"]) == f"/elsewhere/{variables['TODAY']}-{variables['PLATFORM']}"
    )
    assert str(plan.tasks[1].arguments["target"]) == f"{variables['CWD']}/b"


def test_set_replaces_a_value_for_one_run(house: TaskHouse) -> None:
    house.write(
        "tasks/x.conf",
        """
        vars { days = 3, folder = a }
        tasks = [{ name = delete_older_than, args { folder = ${vars.folder}"/b", days = ${vars.days} } }]
        """,
    )
    plan = house.room.plan("x", ["days=7", "vars.folder=/tmp/new place"], None)
    assert plan.mistakes == ()
    assert plan.tasks[0].arguments["days"] == 7
    assert str(plan.tasks[0].arguments["folder"]) == "/tmp/new place/b"
    assert house.plans()["x"].tasks[0].arguments["days"] == 3


def test_a_module_that_may_have_defined_an_unknown_task_is_named(house: TaskHouse) -> None:
    house.add_settings("tasks.folders = [my_tasks]")
    house.write("my_tasks/broken.py", "import nowhere_at_all")
    house.write(
        "my_tasks/good.py",
        "from platform_assets.tasks.task import Task\nclass Good(Task):\n def run(self): ...",
    )
    house.write("tasks/odd.conf", "tasks = [{ name = mine }]")
    house.write("tasks/even.conf", "tasks = [{ name = good }]")
    [mistake] = house.mistakes("odd")
    assert "my_tasks/broken.py cannot be used" in mistake.replace(str(house.config), "")
    assert "nowhere_at_all" in mistake
    assert house.mistakes("even") == []
