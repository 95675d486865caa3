"""The command `upgrade`: migrate what older versions of the platform have stored."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_rows, this_command, warn

if TYPE_CHECKING:
    from pathlib import Path

    from platform_assets.stored import FormatProblem
    from platform_assets.upgrades.upgrade import Due

app = typer.Typer(help="Upgrades.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Migrate what older versions have stored."""


@app.command()
def upgrade(
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without it, only show what would be done.")
    ] = False,
) -> None:
    """Migrate what older versions of the platform have stored; without --apply, nothing is changed."""
    with plain_errors():
        from platform_assets.processes import one_at_a_time
        from platform_assets.rooms import Rooms
        from platform_assets.runs import refuse_while_used
        from platform_assets.settings import dagster_home, load_settings
        from platform_assets.stored import FormatProblem, StoresFormats, everything_stored, format_problems
        from platform_assets.upgrades.steps import STEPS
        from platform_assets.upgrades.upgrade import apply as apply_steps
        from platform_assets.upgrades.upgrade import due

        settings = load_settings(check_state=False)
        rooms, state_dir, home = Rooms(settings), settings.platform.state_dir, dagster_home(settings)
        found: list[Due] = []
        problems: list[FormatProblem] = []
        with contextlib.ExitStack() as stack:
            if apply and state_dir.is_dir():
                refuse_while_used(home)
                stack.enter_context(one_at_a_time(state_dir / "upgrade.lock"))
            # One after the other: a step for the state folder may move what is listed after it.
            for step in due(everything_stored(state_dir, rooms.offering(StoresFormats)), STEPS):
                if isinstance(step, FormatProblem):
                    problems.append(step)
                    continue
                found.append(step)
                failed = apply_steps(step, typer.echo) if apply else None
                problems += [failed] if failed else []
            if apply and not problems:
                problems = format_problems(everything_stored(state_dir, rooms.offering(StoresFormats)))
        _print(found, problems, is_done=apply)
        is_outdated = _look_at_dagster(home)
    if problems:
        raise typer.Exit(1)
    if not found and not is_outdated:
        typer.echo("Everything has the format of this version; there is nothing to do.")


def _print(found: list[Due], problems: list[FormatProblem], *, is_done: bool) -> None:
    if found and not is_done:
        rows = [
            [
                problem.stored.place,
                step.to - 1 if number else problem.version,
                step.to,
                step.name,
                step.summary,
            ]
            for problem in found
            for number, step in enumerate(problem.steps)
        ]
        print_rows(["stored", "version", "to version", "step", "what it does"], rows)
        typer.echo(f"Nothing was changed. To do it: {this_command()} upgrade --apply")
    for problem in problems:
        warn(f"{problem.place}: {problem.reason}")


def _look_at_dagster(home: Path) -> bool:
    """Say whether Dagster's own storage has to be migrated, by Dagster's command; return True if so."""
    from platform_assets.dagster_internals import outdated_storages
    from platform_assets.runs import open_instance

    if not home.is_dir():
        return False
    with open_instance(home) as instance:
        outdated = outdated_storages(instance)
    if outdated:
        warn(
            f"Dagster's storage in {home} is older than this Dagster ({', '.join(outdated)}). Stop "
            f"the UI and its daemon, then migrate it: DAGSTER_HOME={home} dagster instance migrate"
        )
    return bool(outdated)
