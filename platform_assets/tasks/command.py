"""The command `tasks`: list, describe, validate and run tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.terminal import plain_errors, print_rows, this_command

if TYPE_CHECKING:
    from platform_assets.tasks.assembly import TasksRoom
    from platform_assets.tasks.plan import PlannedTask, TaskPlan
    from platform_assets.tasks.signature import Parameter

app = typer.Typer(help="Tasks by configuration.", no_args_is_help=True, pretty_exceptions_enable=False)
_HIDDEN = "(not shown)"
_LONGEST = 100


def _room() -> TasksRoom:
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings
    from platform_assets.tasks.assembly import TasksRoom

    return Rooms(load_settings()).of(TasksRoom)


def _mistakes(lines: list[str]) -> None:
    for line in lines:
        typer.secho(line, fg=typer.colors.RED, err=True)


@app.command(name="list")
def list_tasks() -> None:
    """List the known tasks, and the task files with their jobs."""
    with plain_errors():
        room = _room()
        registry = room.registry
        rows: list[tuple[object, ...]] = []
        for name in registry.names():
            known = registry.find(name)
            if known is not None:
                origin = "built in" if known.origin == "platform_assets" else known.origin
                rows.append((name, known.signature.summary.rstrip("."), origin))
        print_rows(("task", "what it does", "from"), rows)
        plans = room.plans(None)
        if plans:
            print_rows(
                ("file", "tasks", "schedule", "state"),
                [
                    (
                        plan.file.name,
                        len(plan.tasks),
                        f"{plan.schedule.cron} {plan.schedule.timezone}" if plan.schedule else "",
                        f"{len(plan.mistakes)} mistakes" if plan.mistakes else "valid",
                    )
                    for plan in plans
                ],
            )
        else:
            typer.echo(f"There are no task files in {room.files_folder}.")
        _mistakes([f"{problem.origin}: {problem.reason}" for problem in registry.broken])


@app.command()
def describe(name: Annotated[str, typer.Argument(help="The name of a task, or of a task file.")]) -> None:
    """Describe a task: its purpose and its arguments; or a task file: its tasks and its schedule."""
    with plain_errors():
        from platform_assets.tasks.signature import suggestion
        from platform_assets.tasks.task import TaskError

        room = _room()
        registry = room.registry
        known = registry.find(name)
        if known is None:
            plan = next((plan for plan in room.plans(None) if name in (plan.name, plan.file.name)), None)
            if plan is not None:
                _describe_file(plan)
                return
            raise TaskError(f"There is no task {name}; expected {suggestion(name, registry.names())}.")
        typer.echo(f"{known.name}\n\n{known.signature.help}\n")
        rows = [
            (parameter.name, parameter.expected, _default(parameter), parameter.help)
            for parameter in known.signature.parameters
        ]
        if rows:
            print_rows(("argument", "type", "default", "meaning"), rows)
        else:
            typer.echo("It takes no arguments.")


def _describe_file(plan: TaskPlan) -> None:
    typer.echo("\n\n".join(part for part in (plan.file.name, plan.description) if part))
    if plan.mistakes:
        _mistakes(list(plan.mistakes))
        raise typer.Exit(1)
    if plan.schedule is not None:
        typer.echo(f"\nSchedule: {plan.schedule.cron} {plan.schedule.timezone}, once it is switched on")
    rows = [
        (task.id, task.known.name, task.known.signature.summary.rstrip("."), _notes(task))
        for task in plan.tasks
    ]
    print_rows(("id", "task", "what it does", "how"), rows)
    typer.echo(f"Their arguments: {this_command()} tasks run {plan.name} --dry-run")


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "(required)"
    if parameter.default is None:
        return ""
    return str(parameter.default).lower() if isinstance(parameter.default, bool) else str(parameter.default)


@app.command()
def validate() -> None:
    """Check all task files and all modules with tasks, as at start-up; exits with 1 if there are mistakes."""
    with plain_errors():
        room = _room()
        plans = room.plans(room.elsewhere())
        broken = [f"{problem.origin}: {problem.reason}" for problem in room.registry.broken]
        mistakes = [line for plan in plans for line in plan.mistakes]
        _mistakes([*mistakes, *broken])
        valid = sum(not plan.mistakes for plan in plans)
        count = sum(len(plan.tasks) for plan in plans)
        typer.echo(
            f"{valid} of {len(plans)} task files are valid, with {count} tasks; "
            f"{len(mistakes) + len(broken)} mistakes."
        )
        if mistakes or broken:
            raise typer.Exit(1)


@app.command()
def run(
    file: Annotated[str, typer.Argument(help="A task file: its path, or its name in config/tasks/.")],
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the file, such as vars.days=7."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the tasks with their arguments, and change nothing.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="ID", help="Start at this task; those before it are skipped."),
    ] = None,
) -> None:
    """Run the job of a task file in this process; exits with 0 only if every task succeeded."""
    with plain_errors():
        import time

        from platform_assets.tasks.defs import RUN_FROM, after, build_jobs
        from platform_assets.tasks.task import TaskError

        room = _room()
        plan = room.plan(file, given or (), room.elsewhere())
        if plan.mistakes:
            _mistakes(list(plan.mistakes))
            typer.secho("Nothing was run.", err=True)
            raise typer.Exit(1)
        if start is not None and start not in {task.id for task in plan.tasks}:
            ids = ", ".join(task.id for task in plan.tasks)
            raise TaskError(f"{plan.file.name} has no task with the id {start}; it has {ids}.")
        if dry_run:
            _show(plan, room, start)
            return
        from platform_assets.runs import PLAIN, PLAIN_LOGGER, open_instance, run_job
        from platform_assets.settings import dagster_home, load_settings

        started = time.monotonic()
        defs = build_jobs(room, [plan], loggers={PLAIN_LOGGER: PLAIN})
        with open_instance(dagster_home(load_settings())) as instance:
            done = run_job(
                defs.resolve_job_def(plan.name),
                instance,
                _echo,
                tags={RUN_FROM: start} if start else None,
            )
        seconds = time.monotonic() - started
        if not done.succeeded:
            for failure in done.failures:
                typer.secho(failure, fg=typer.colors.RED, err=True)
            failed = (
                task.id for task in plan.tasks if any(f"{task.id}: " in failure for failure in done.failures)
            )
            again = f"{this_command()} tasks run {file} --from {next(failed, 'ID')}"
            hint = f"To continue there: {again}"
            typer.secho(f"The run failed after {seconds:.1f} s; its id is {done.run_id}. {hint}", err=True)
            raise typer.Exit(1)
        count = len(after(plan, start) if start else plan.tasks)
        typer.echo(f"{count} {'task' if count == 1 else 'tasks'} succeeded in {seconds:.1f} s.")


def _show(plan: TaskPlan, room: TasksRoom, start: str | None) -> None:
    """Print a plan, and let the tasks that can tell what they would do."""
    from platform_assets.tasks.defs import after

    ids = after(plan, start) if start else {task.id for task in plan.tasks}
    rows: list[tuple[object, ...]] = []
    for task in plan.tasks:
        if task.id not in ids:
            continue
        shown = [f"{name} = {_shown(task, name, value)}" for name, value in task.arguments.items()] or [""]
        notes = _notes(task)
        for number, line in enumerate(shown):
            first = (task.id, task.known.name) if number == 0 else ("", "")
            rows.append((*first, line, notes if number == 0 else ""))
    print_rows(("id", "task", "arguments", "how"), rows)
    for task in plan.tasks:
        if task.id in ids and task.known.task.supports_dry_run and task.when is not False:
            room.runner.run(plan, task, "", _echo, _echo, dry_run=True)
    typer.echo("Nothing was changed.")


def _echo(text: str) -> None:
    for line in text.split("\n"):
        typer.echo(f"  {line}")


def _notes(task: PlannedTask) -> str:
    notes = [f"after {', '.join(task.needs)}"] if task.needs else []
    notes += [f"{task.retries} retries"] if task.retries else []
    notes += [f"at most {task.timeout} s"] if task.timeout else []
    notes += [f"when {str(task.when).lower()}"] if task.when != "success" else []
    notes += [f"reads {', '.join(task.reads)}"] if task.reads else []
    notes += [f"produces {', '.join(task.produces)}"] if task.produces else []
    return "; ".join(notes)


def _shown(task: PlannedTask, name: str, value: Any) -> str:
    """Render an argument; secrets and what looks like one stay hidden, references are shown as such."""
    from pydantic import BaseModel

    from platform_assets.configuration.secrets import Secret
    from platform_assets.configuration.stores import SECRET_OPTION

    def render(key: str, item: Any) -> str:
        if isinstance(item, Secret):
            return str(item)
        if isinstance(item, BaseModel):
            # Secrets become references.
            item = item.model_dump(exclude_unset=True, mode="json")
        if isinstance(item, dict):
            return "{" + ", ".join(f"{inner} = {render(str(inner), it)}" for inner, it in item.items()) + "}"
        if SECRET_OPTION.search(key) or key.lower() in _SECRET_HEADERS:
            return _HIDDEN
        if isinstance(item, list | tuple):
            return "[" + ", ".join(render("", it) for it in item) + "]"
        from platform_assets.configuration.mistakes import shown

        return str(item) if isinstance(item, Path) else shown(item).strip('"')

    text = render(name, value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_SECRET_HEADERS = frozenset({"authorization", "cookie", "x-api-key", "proxy-authorization"})
