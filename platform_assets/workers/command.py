"""The `workers` commands: start a worker, and show the queues with their workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_rows

if TYPE_CHECKING:
    from platform_assets.workers.assembly import WorkersRoom

app = typer.Typer(help="Runs and steps on workers of several machines.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Runs and steps on workers of several machines, by Celery."""


def _room() -> WorkersRoom:
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings
    from platform_assets.workers.assembly import WorkersRoom

    return Rooms(load_settings()).of(WorkersRoom)


@app.command()
def start(
    queues: Annotated[
        str, typer.Option(help="The queues to take from, separated by commas; all if none is named.")
    ] = "",
    processes: Annotated[int, typer.Option(help="Runs and steps at the same time.", min=1)] = 1,
    up_to: Annotated[
        int | None,
        typer.Option(help="Processes to grow to while work waits; `processes` is then the smallest number."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the worker; %h stands for the host.")] = "worker@%h",
) -> None:
    """Start a worker in this process, until SIGTERM: it then ends what it works on, and takes nothing new."""
    with plain_errors():
        import gc

        from platform_assets.dagster_internals import load_code_location
        from platform_assets.settings import dagster_home, load_settings
        from platform_assets.warming import warm_up
        from platform_assets.workers.executor import build_worker

        room = _room()
        # Each process of the worker is a copy of this one, and shares its memory.
        load_code_location(dagster_home(load_settings()))
        warm_up(room.rooms)
        gc.collect()
        gc.freeze()
        known = room.queues()
        taken = queues or ",".join(known)
        for name in sorted({name.strip() for name in taken.split(",")} - set(known)):
            typer.echo(
                f"No job of the configuration uses the queue {name}: only steps that carry its name as a tag "
                f"come here. The queues of the configuration are {', '.join(known)}.",
                err=True,
            )
        program = build_worker(room.settings.workers, room.celery())
        size = ["--autoscale", f"{up_to},{processes}"] if up_to else ["--concurrency", str(processes)]
        program.worker_main(
            [
                *("worker", "--queues", taken, "--hostname", name, *size, "--loglevel", "INFO"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ]
        )


@app.command(name="queues")
def show_queues() -> None:
    """Show how much waits in each queue, and how many workers take from it."""
    with plain_errors():
        from platform_assets.workers.queues import Broker, workers_by_queue

        room = _room()
        with Broker.open(room.celery().broker.resolve()) as broker:
            waiting = broker.waiting(room.queues())
        workers = workers_by_queue(room.celery(), 2.0)
        rows = [(name, count, len(workers.get(name, []))) for name, count in waiting.items()]
        print_rows(("queue", "waiting", "workers"), rows)
