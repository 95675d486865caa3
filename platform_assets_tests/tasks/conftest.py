"""A configuration of its own for each test, and the context that a task gets."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import platform_assets
from platform_assets.rooms import Rooms
from platform_assets.runs import PLAIN, PLAIN_LOGGER, JobRun, open_instance, run_job
from platform_assets.settings import Settings, dagster_home, load_settings
from platform_assets.tasks.assembly import TasksRoom
from platform_assets.tasks.defs import RUN_FROM, build_jobs
from platform_assets.tasks.logs import Redactor
from platform_assets.tasks.plan import Elsewhere, TaskPlan
from platform_assets.tasks.registry import TaskRegistry
from platform_assets.tasks.task import Deadline, Task, TaskContext, TaskOutcome

ROOT = Path(platform_assets.__file__).parents[1]


class TaskHouse:
    """A platform with task files of its own.

    Args:
        folder: Holds its configuration in `config` and its state in `state`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.state = folder / "state"
        self.config.mkdir()
        for name in ("platform.conf", "dlp.conf"):
            shutil.copy(ROOT / "config" / name, self.config)

    def write(self, name: str, text: str) -> Path:
        """Write a file below the configuration's folder."""
        file = self.config / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def add_settings(self, text: str) -> None:
        """Add lines to platform.conf."""
        file = self.config / "platform.conf"
        file.write_text(f"{file.read_text()}\n{text}\n")

    @property
    def settings(self) -> Settings:
        return load_settings(self.config / "platform.conf")

    @property
    def room(self) -> TasksRoom:
        return Rooms(self.settings).of(TasksRoom)

    def plans(self, elsewhere: Elsewhere | None = None) -> dict[str, TaskPlan]:
        return {plan.name: plan for plan in self.room.plans(elsewhere)}

    def mistakes(self, name: str, elsewhere: Elsewhere | None = None) -> list[str]:
        """Return a file's mistakes without the path of the folder."""
        found = self.plans(elsewhere)[name].mistakes
        return [line.replace(f"{self.config}/", "") for line in found]

    def run(self, name: str, start: str | None = None) -> tuple[JobRun, list[str]]:
        """Run the job of a file in this process; returns its result and the lines of its log."""
        room, lines = self.room, list[str]()
        defs = build_jobs(room, room.plans(None), loggers={PLAIN_LOGGER: PLAIN})
        with open_instance(dagster_home(self.settings)) as instance:
            job = defs.resolve_job_def(name)
            done = run_job(job, instance, lines.append, {RUN_FROM: start} if start else None)
        return done, lines


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskHouse:
    """A platform with embedded defaults and no task files."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("PLATFORM_CONFIG", str(tmp_path / "config" / "platform.conf"))
    made = TaskHouse(tmp_path)
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(made.state))
    return made


class Bench:
    """Runs single tasks with a context that records their log, and platform services that a test sets.

    Args:
        folder: The working folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.redactor = Redactor()
        self.services: dict[str, Any] = {}
        self.timeout: float | None = None
        self.dry_run = False

    def context(self) -> TaskContext:
        unset: Any = None
        given: dict[str, Any] = {
            **dict.fromkeys(("queries", "inspection", "buckets", "alerts", "deliveries"), unset),
            **self.services,
        }
        return TaskContext(
            file="file",
            task="task",
            run_id="run",
            folder=self.folder,
            variables={"TODAY": "2026-02-28", "STATE": str(self.folder / "state")},
            log=lambda text: self.lines.extend(text.split("\n")),
            warn=lambda text: self.warnings.extend(text.split("\n")),
            secret=self.redactor.resolve,
            deadline=Deadline(self.timeout),
            dry_run=self.dry_run,
            **given,
        )

    def run(self, name: str, /, **arguments: Any) -> TaskOutcome:
        """Validate arguments as a task file has them, and run the task."""
        known = TaskRegistry().find(name)
        assert known is not None
        values, wrong = known.signature.validate(arguments, self.folder / "file.conf")
        assert wrong == []
        made = known.task().run(context=self.context(), **values)
        assert isinstance(made, TaskOutcome)
        return made


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def signature_of(run: Callable[..., Any], doc: str = "A task.") -> Any:
    """Return the signature of a task with this method `run`."""
    from platform_assets.tasks.signature import Signature

    return Signature(type("Probe", (Task,), {"run": run, "__doc__": doc, "__module__": __name__}))


def tree(folder: Path) -> list[tuple[str, bytes, int]]:
    """Return the files below a folder with their bytes and modification times."""
    files: Sequence[Path] = sorted(one for one in folder.rglob("*") if one.is_file())
    return [(str(one.relative_to(folder)), one.read_bytes(), one.stat().st_mtime_ns) for one in files]
