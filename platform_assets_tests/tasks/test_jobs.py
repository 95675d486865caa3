"""Jobs: one for each file, a step for each task, assets in the lineage graph; one too for a broken file."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from platform_assets.build import build_defs
from platform_assets.runs import open_instance
from platform_assets.settings import dagster_home
from platform_assets.tasks.defs import build_jobs
from platform_assets_tests.tasks.conftest import TaskHouse, tree

MY_TASKS = """
import time
from pathlib import Path
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome


class Note(Task):
    '''Add a line to a file.'''

    def run(self, context: TaskContext, text: str, file: Path = Path("notes"), fail: int = 0) -> TaskOutcome:
        '''Add it.'''
        file = context.folder / file.name
        with file.open("a") as notes:
            notes.write(text + "\\n")
        if file.read_text().splitlines().count(text) <= fail:
            raise TaskError(f"{text} fails on purpose.")
        return TaskOutcome(files=[file], facts={"text": text})


class Stuck(Task):
    '''Wait for ever, and take no error for an answer.'''

    def run(self) -> None:
        while True:
            try:
                time.sleep(600)
            except Exception:
                pass


class Cleaning(Task):
    '''Fail while cleaning up.'''

    def run(self) -> None:
        try:
            time.sleep(600)
        finally:
            1 / 0


class Crash(Task):
    '''Fail in a way that nobody foresaw.'''

    def run(self) -> None:
        {}["missing"]


class Wrong(Task):
    '''Return something else.'''

    def run(self) -> int:
        return 3
"""


@pytest.fixture
def jobs(house: TaskHouse) -> TaskHouse:
    """A platform with tasks that note what they do."""
    house.add_settings("tasks.folders = [my_tasks]")
    house.write("my_tasks/notes.py", MY_TASKS)
    return house


def notes(house: TaskHouse, name: str = "x") -> list[str]:
    file = house.state / "tasks" / name / "notes"
    return file.read_text().splitlines() if file.exists() else []


def note(text: str, more: str = "", arguments: str = "") -> str:
    more = f", {more}" if more else ""
    return f"{{ name = note, id = {text}, args {{ text = {text} {arguments} }} {more} }}"


def write(house: TaskHouse, *tasks: str, more: str = "", name: str = "x") -> None:
    house.write(f"tasks/{name}.conf", f"{more}\ntasks = [{', '.join(tasks)}]")


def test_each_task_is_a_step_with_its_own_log_in_order(jobs: TaskHouse) -> None:
    write(jobs, note("a"), note("b"), note("c", "needs = []"))
    done, lines = jobs.run("x")
    assert done.succeeded
    assert sorted(notes(jobs)) == ["a", "b", "c"]
    assert notes(jobs).index("a") < notes(jobs).index("b")
    with open_instance(dagster_home(jobs.settings)) as instance:
        events = [
            event.step_key
            for entry in instance.all_logs(done.run_id)
            if (event := entry.dagster_event) is not None and event.is_step_success
        ]
        logged = {
            entry.step_key
            for entry in instance.all_logs(done.run_id)
            if entry.dagster_event is None and "a: note" in entry.user_message
        }
    assert sorted(map(str, events)) == ["a", "b", "c"]
    assert logged == {"a"}
    assert any(line.startswith("a: done in") and "text a" in line for line in lines)


def test_a_failure_stops_what_needs_it_and_nothing_else(jobs: TaskHouse) -> None:
    write(jobs, note("a", arguments=", fail = 9"), note("b"), note("c", "needs = []"))
    done, _ = jobs.run("x")
    assert not done.succeeded
    assert done.failures == ("a: a fails on purpose.",)
    assert sorted(notes(jobs)) == ["a", "c"]


def test_a_task_is_tried_again_as_often_as_configured(jobs: TaskHouse) -> None:
    write(jobs, note("a", "retries = 2, retry_delay = 0", ", fail = 2"))
    done, lines = jobs.run("x")
    assert done.succeeded
    assert notes(jobs) == ["a", "a", "a"]
    assert "a: attempt 2 failed; the next in 0 s. a fails on purpose." in lines


def test_retries_come_to_an_end(jobs: TaskHouse) -> None:
    write(jobs, note("a", "retries = 1, retry_delay = 0", ", fail = 9"))
    done, _ = jobs.run("x")
    assert (done.succeeded, done.failures, notes(jobs)) == (False, ("a: a fails on purpose.",), ["a", "a"])


def test_a_task_that_does_not_end_is_ended_at_its_timeout(jobs: TaskHouse) -> None:
    cleaning = "{ name = cleaning, timeout = 1, needs = [] }"
    write(jobs, "{ name = stuck, timeout = 1 }", cleaning, note("b", "needs = []"))
    done, _ = jobs.run("x")
    assert not done.succeeded
    for name, failure in zip(("cleaning", "stuck"), done.failures, strict=True):
        assert failure.startswith(f"{name}: It took longer than its timeout of 1 s")
    assert notes(jobs) == ["b"]


def test_an_error_that_nobody_foresaw_fails_its_task_and_shows_where(jobs: TaskHouse) -> None:
    write(jobs, "{ name = crash }", "{ name = wrong, needs = [] }", note("c", "needs = []"))
    done, lines = jobs.run("x")
    assert done.failures[0].startswith("crash: unexpected error KeyError: 'missing'")
    assert "returned int" in done.failures[1]
    assert any('{}["missing"]' in line for line in lines)
    assert notes(jobs) == ["c"]


def test_conditions_leave_out_run_after_failures_or_always(jobs: TaskHouse) -> None:
    write(
        jobs,
        note("a", arguments=", fail = 9"),
        note("b"),
        note("on_failure", "when = failure"),
        note("clean_up", "when = always"),
        note("never", "when = false, needs = []"),
    )
    done, lines = jobs.run("x")
    assert not done.succeeded
    assert done.failures == ("a: a fails on purpose.",)
    assert notes(jobs) == ["a", "on_failure", "clean_up"]
    assert "b: skipped, a failed" in lines
    assert "never: skipped, its condition `when` is false" in lines


def test_after_a_success_what_waits_for_a_failure_does_not_run(jobs: TaskHouse) -> None:
    write(jobs, note("a"), note("on_failure", "when = failure"), note("clean_up", "when = always"), note("d"))
    done, _ = jobs.run("x")
    assert done.succeeded
    assert notes(jobs) == ["a", "clean_up", "d"]


def test_a_run_can_start_at_a_task(jobs: TaskHouse) -> None:
    write(jobs, note("a"), note("b"), note("c"))
    done, lines = jobs.run("x", start="b")
    assert done.succeeded
    assert notes(jobs) == ["b", "c"]
    assert "a: skipped, the run starts at b" in lines


def test_a_task_that_produces_is_an_asset_of_the_lineage_graph(jobs: TaskHouse) -> None:
    write(
        jobs,
        note("a", "reads = [star/dim_staff], produces = [tasks/first, crm/second]"),
        note("b", "produces = [tasks/third]"),
        note("c", "when = always"),
    )
    room = jobs.room
    defs = build_jobs(room, room.plans(None))
    graph = defs.resolve_asset_graph()
    parents = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.materializable_asset_keys
    }
    assert parents == {
        "tasks/first": ["star/dim_staff"],
        "crm/second": ["star/dim_staff"],
        "tasks/third": ["crm/second", "star/dim_staff", "tasks/first"],
        "tasks/x": ["crm/second", "star/dim_staff", "tasks/first", "tasks/third"],
    }
    done, _ = jobs.run("x")
    assert done.succeeded
    with open_instance(dagster_home(jobs.settings)) as instance:
        for key in parents:
            event = instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
            assert event is not None, key
            assert event.run_id == done.run_id


def test_an_asset_is_made_although_a_later_task_fails(jobs: TaskHouse) -> None:
    write(jobs, note("a", "produces = [tasks/first]"), note("b", arguments=", fail = 9"))
    done, _ = jobs.run("x")
    assert not done.succeeded
    with open_instance(dagster_home(jobs.settings)) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey(["tasks", "first"])) is not None
        assert instance.get_latest_materialization_event(dg.AssetKey(["tasks", "x"])) is None


def test_a_broken_file_has_a_job_that_lists_its_mistakes_and_fails_with_them(jobs: TaskHouse) -> None:
    write(jobs, "{ name = nothing }", more='schedule { cron = "0 6 * * *" }', name="broken")
    jobs.write("tasks/no-name.conf", "tasks = [")
    write(jobs, note("a"))
    room = jobs.room
    defs = build_jobs(room, room.plans(None))
    job = defs.resolve_job_def("broken")
    assert job.description is not None
    assert "broken.conf has mistakes; its tasks do not run until they are corrected." in job.description
    assert 'found "nothing"' in job.description
    specs = {one.key.to_user_string(): one for one in defs.assets or () if isinstance(one, dg.AssetSpec)}
    assert set(specs) == {"tasks/broken", "tasks/no_name"}
    assert specs["tasks/broken"].kinds == {"disabled"}
    assert 'found "nothing"' in (specs["tasks/broken"].description or "")
    assert [(one.name, one.job_name) for one in defs.schedules or ()] == [("broken_schedule", "broken")]
    assert defs.resolve_job_def("no_name").description is not None
    done, _ = jobs.run("broken")
    assert not done.succeeded
    assert 'found "nothing"' in done.failures[0]
    assert jobs.run("x")[0].succeeded


def test_an_error_in_one_files_job_that_nobody_foresaw_leaves_the_others(
    jobs: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platform_assets.tasks import defs as module

    whole = module._graph

    def poisoned(plan: object, steps: object) -> dg.GraphDefinition:
        if getattr(plan, "name", "") == "poisoned":
            raise KeyError("nobody foresaw it")
        return whole(plan, steps)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_graph", poisoned)
    write(jobs, note("a"), name="poisoned")
    write(jobs, note("a"))
    room = jobs.room
    made = build_jobs(room, room.plans(None))
    description = made.resolve_job_def("poisoned").description
    assert description is not None
    assert "nobody foresaw it" in description
    assert made.resolve_job_def("x").description == "The tasks of x.conf."


def test_a_schedule_has_its_time_zone_and_is_off_until_it_is_switched_on(jobs: TaskHouse) -> None:
    write(jobs, note("a"), more='schedule { cron = "0 6 * * *", timezone = Europe/London }')
    room = jobs.room
    [schedule] = build_jobs(room, room.plans(None)).schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.name, schedule.cron_schedule, schedule.execution_timezone) == (
        "x_schedule", "0 6 * * *", "Europe/London"
    )  # fmt: skip
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_whole_code_location_loads_with_good_and_broken_files(jobs: TaskHouse) -> None:
    write(jobs, note("a", "reads = [star/dim_staff, warehouse/dim_staff], produces = [tasks/first]"))
    write(jobs, note("a", "reads = [star/dim_stff]"), name="broken")
    for taken in (
        "totesys_to_warehouse",
        "freshness_checks_job",
        "deliver_alerts",
        "inspect_uploads",
        "class",
    ):
        write(jobs, note("a"), name=taken)
    write(jobs, note("a"), more='schedule { cron = "0 6 * * *" }', name="freshness_checks")
    defs = build_defs(jobs.settings)
    names = {job.name for job in defs.resolve_all_job_defs()}
    assert {"x", "broken", "totesys_to_warehouse", "freshness_checks_job"} <= names
    description = defs.resolve_job_def("broken").description
    assert description is not None
    assert "perhaps star/dim_staff" in description
    assert {"totesys_to_warehouse_broken", "class_broken", "freshness_checks"} <= names
    description = defs.resolve_job_def("totesys_to_warehouse_broken").description
    assert description is not None
    assert "the platform has a job totesys_to_warehouse" in description
    mistakes = {plan.name: len(plan.mistakes) for plan in jobs.room.plans(jobs.room.elsewhere())}
    assert mistakes == {
        "x": 0, "broken": 1, "totesys_to_warehouse": 1, "freshness_checks_job": 1, "deliver_alerts": 1,
        "inspect_uploads": 1, "class": 1, "freshness_checks": 1,
    }  # fmt: skip


def test_what_a_task_made_is_recorded_for_deliveries(jobs: TaskHouse) -> None:
    write(jobs, note("a"), note("b", arguments=", fail = 9"))
    jobs.run("x")
    room = jobs.room
    assert list(room.task_names()) == ["x/a", "x/b"]
    first = room.task_output("x/a")
    assert first is not None
    assert first.files == [jobs.state / "tasks" / "x" / "notes"]
    assert room.task_output("x/b") is None
    before = tree(jobs.state / "tasks" / ".outputs")
    (jobs.state / "tasks" / "x" / "notes").write_text("other")
    jobs.run("x")
    assert tree(jobs.state / "tasks" / ".outputs") == before
    second = room.task_output("x/a")
    assert second is not None
    assert second.version != first.version


@pytest.mark.parametrize("name", ["x", "x/", "/x", "x/../y", "../x/a", "x/a/b"])
def test_a_name_that_is_no_tasks_is_refused(jobs: TaskHouse, name: str) -> None:
    from platform_assets.errors import SettingsError

    with pytest.raises(SettingsError):
        jobs.room.task_output(name)


def test_problems_are_offered_with_their_places(jobs: TaskHouse) -> None:
    write(jobs, note("a", "reads = [nowhere/at_all]"))
    jobs.write("my_tasks/broken.py", "import nowhere_at_all")
    room = jobs.room
    assert len(room.problems()) == 1
    room.rooms.definitions()
    problems = [one.replace(str(jobs.config), "") for one in room.problems()]
    assert problems[0].startswith("/tasks/x.conf")
    assert problems[1].startswith("/my_tasks/broken.py")


def test_without_files_nothing_is_defined_and_nothing_is_imported(house: TaskHouse) -> None:
    from platform_assets.tasks.defs import build_defs as build_task_defs

    made = build_task_defs(house.room.rooms)
    assert not made.jobs
    assert not Path(house.state / "tasks").exists()
