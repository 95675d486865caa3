"""The `platform-assets` command: run, status, and the commands of the rooms, imported when they are used."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from platform_assets.processes import leave, without_garbage_collection
from platform_assets.rooms import Room, door, has_door, present
from platform_assets.terminal import plain_errors, this_command, warn

if TYPE_CHECKING:
    from platform_assets.rooms import Rooms


class _RoomCommand(TyperGroup):
    """The command of a room, which is imported when it is used."""

    def __init__(self, room: Room) -> None:
        super().__init__(name=room.name, help=room.summary)
        self._room = room

    def make_context(self, *args: Any, **options: Any) -> Any:
        module = door(self._room, "command")
        return typer.main.get_group(module.app).make_context(*args, **options) if module else None


class _OwnCommand(TyperCommand):
    """A command of a room that stands beside those of the platform; the room is imported when it is used."""

    def __init__(self, room: Room, name: str, summary: str) -> None:
        super().__init__(name=name, help=summary)
        self._of = room

    def make_context(self, *args: Any, **options: Any) -> Any:
        module = door(self._of, "command")
        group = typer.main.get_group(module.app) if module else None
        return group.commands[self.name or ""].make_context(*args, **options) if group else None


class _Commands(TyperGroup):
    """The commands of this module, and those of the rooms."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for room in present():
            if not has_door(room, "command"):
                continue
            for name, summary in room.commands.items():
                self.add_command(_OwnCommand(room, name, summary))
            if not room.commands:
                self.add_command(_RoomCommand(room))


app = typer.Typer(
    name="platform-assets",
    help="An operational PostgreSQL as a lake, three star schemas and a warehouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    cls=_Commands,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from platform_assets.stored import program_version

        typer.echo(f"platform-assets {program_version()}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Load an operational PostgreSQL database into a lake, three star schemas and a warehouse."""


def _rooms() -> Rooms:
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    return Rooms(load_settings())


def _dagster_home() -> Path:
    from platform_assets.settings import dagster_home, load_settings

    return dagster_home(load_settings())


@app.command()
def run(
    source: Annotated[
        str, typer.Argument(help="The source to read; only the job of Totesys also loads the warehouse.")
    ] = "totesys",
) -> None:
    """Run a source's job once (for Totesys, up to the warehouse), then show the content of each layer."""
    with plain_errors(), contextlib.ExitStack() as opened:
        import gc
        import time

        started = time.monotonic()
        with without_garbage_collection():
            from platform_assets.build import MAIN_JOB, build_defs
            from platform_assets.logs import is_json
            from platform_assets.rooms import Rooms
            from platform_assets.runs import open_instance, run_job
            from platform_assets.settings import dagster_home, load_settings
            from platform_assets.source.assembly import SourceRoom, lake_job
            from platform_assets.summary import print_summary

            settings = load_settings()
            rooms = Rooms(settings)
            rooms.of(SourceRoom).readable_tables(source)
            job = build_defs(settings).resolve_job_def(MAIN_JOB if source == "totesys" else lake_job(source))
            instance = opened.enter_context(open_instance(dagster_home(settings)))
            # What is loaded by now lives as long as the process: the garbage collector need not visit it.
            gc.freeze()
        done = run_job(job, instance, lambda line: typer.echo(f"  {line}"))
        gc.unfreeze()
        opened.close()
        seconds = time.monotonic() - started
        if is_json():
            # The run has logged its end, and what failed in it.
            if source == "totesys" and done.succeeded:
                _give_heartbeat(rooms)
            raise typer.Exit(0 if done.succeeded else 1)
        for check in done.failed_checks:
            # A check that failed the run is reported only once, as the failure.
            description = check.split(": ", 2)[-1]
            if not any(description in failure for failure in done.failures):
                typer.secho(f"Check failed: {check}", fg=typer.colors.YELLOW, err=True)
        if not done.succeeded:
            for failure in done.failures:
                typer.secho(failure, fg=typer.colors.RED, err=True)
            typer.secho(
                f"The run failed after {seconds:.1f} s; its id is {done.run_id}. To look for the cause: "
                f"{this_command()} doctor",
                err=True,
            )
            raise typer.Exit(1)
        print_summary(rooms, dagster_home(settings))
        if source == "totesys":
            _give_heartbeat(rooms)
        example = f'{this_command()} warehouse query "FROM star.dim_staff"'
        hint = f" To query the warehouse: {example}" if source == "totesys" else ""
        typer.echo(f"The run took {seconds:.1f} s.{hint}")


def _give_heartbeat(rooms: Rooms) -> None:
    from platform_assets.alert import GivesHeartbeat

    for room in rooms.offering(GivesHeartbeat):
        if reason := room.beat():
            warn(reason)


@app.command(hidden=True)
def prepare(
    env_file: Annotated[Path | None, typer.Option(help="A .env that is to name this instance.")] = None,
) -> None:
    """Create the folders that users expect before the first run, and write Dagster's folder to .env."""
    with plain_errors():
        from platform_assets.preparation import name_instance, prepare_state

        home = prepare_state()
        if env_file is not None:
            name_instance(env_file, home)


@app.command(hidden=True)
def ui(
    port: Annotated[int, typer.Option(help="Port to serve on.", min=1, max=65535)] = 3000,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
) -> None:
    """Serve the Dagster UI and its daemon, as `make ui` does; fails if this instance is already served."""
    with plain_errors():
        from platform_assets.preparation import prepare_state
        from platform_assets.runs import fail_abandoned_runs, serve_ui
        from platform_assets.settings import hand_on_dagster_home

        home = prepare_state()
        for run_id in fail_abandoned_runs(home):
            typer.echo(f"Run {run_id} is marked as failed: its process has ended.")
        hand_on_dagster_home(home)
        with contextlib.ExitStack() as pages:
            _serve_pages(pages, host, port + 1)
            serve_ui(home, host, port)


def _serve_pages(stack: contextlib.ExitStack, host: str, port: int) -> None:
    """Serve the pages of rooms beside the UI, which links to them; the UI is served without them too."""
    from platform_assets.description import ServesPage
    from platform_assets.errors import PlatformError
    from platform_assets.settings import hand_on_page

    for room in _rooms().offering(ServesPage):
        try:
            hand_on_page(stack.enter_context(room.serve_page(host, port)))
        except PlatformError as error:
            warn(str(error))


@app.command(name="settings-reference", hidden=True)
def print_settings_reference() -> None:
    """Print the page docs/configuration.md, made from the settings of all rooms."""
    with plain_errors():
        from platform_assets.settings import settings_reference

        typer.echo(settings_reference(), nl=False)


_IN_USE = 3


@app.command(name="check-idle", hidden=True)
def check_idle() -> None:
    """Exit with code 3 while the UI, its daemon or a run uses the local state; used by `make clean`."""
    from platform_assets.errors import AlreadyServed

    with plain_errors():
        from platform_assets.runs import refuse_while_used

        try:
            refuse_while_used(_dagster_home())
        except AlreadyServed as error:
            typer.secho(f"Nothing was removed. {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(_IN_USE) from None


@app.command(name="status")
def show_status() -> None:
    """Show the content and freshness of each layer."""
    with plain_errors():
        from platform_assets.summary import print_summary

        print_summary(_rooms(), _dagster_home())


@app.command()
def doctor(
    *, json: Annotated[bool, typer.Option("--json", help="Print the findings as a JSON array.")] = False
) -> None:
    """Look at settings, secrets, connections, permissions, disk and schedules; exit with 1 on an error."""
    with plain_errors():
        from platform_assets import doctor as platform_doctor

        has_errors = platform_doctor.examine(as_json=json)
    raise typer.Exit(int(has_errors))


def main() -> None:
    """Run the command that the arguments of the process name, and end the process."""
    try:
        app()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            leave(ended.code or 0)
        raise


if __name__ == "__main__":
    main()
