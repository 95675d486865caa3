"""Executing one task of a plan: its context, time limit and log, and the record of what it made."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from platform_assets.isolation import is_isolated, reason_of
from platform_assets.processes import write_whole
from platform_assets.stored import TASK_OUTPUT, Stored, format_version, json_file
from platform_assets.tasks.interfaces import Alerts, Buckets, Deliveries, FileInspection, Queries
from platform_assets.tasks.logs import Redactor, TaskLog
from platform_assets.tasks.plan import PlannedTask, TaskPlan
from platform_assets.tasks.publishing import plain_paths
from platform_assets.tasks.task import Deadline, TaskContext, TaskError, TaskOutcome, TaskTimeout

_TRACEBACK_LINES = 40
_OUTPUTS = ".outputs"


@dataclass(frozen=True)
class TaskServices:
    """The parts of the platform that tasks may use.

    Attributes:
        queries: The platform's databases.
        inspection: The inspection for sensitive data.
        buckets: Folders and buckets.
        alerts: Alerts to people.
        deliveries: Deliveries, data sources and destinations.
    """

    queries: Queries
    inspection: FileInspection
    buckets: Buckets
    alerts: Alerts
    deliveries: Deliveries


class _Alarm(BaseException):
    """The time of a task is up; no `except Exception` of a task takes it."""


@dataclass(frozen=True)
class TaskRunner:
    """Executes tasks.

    Args:
        folder: The folder for the jobs' working folders and the record of what tasks made.
        variables: The platform's variables.
        services: What tasks may use.
    """

    folder: Path
    variables: Mapping[str, str]
    services: TaskServices

    def run(
        self,
        plan: TaskPlan,
        task: PlannedTask,
        run_id: str,
        line: Callable[[str], None],
        warning: Callable[[str], None],
        *,
        dry_run: bool = False,
    ) -> TaskOutcome:
        """Execute a task once.

        Args:
            plan: Its file.
            task: The task.
            run_id: Identifies the run of the job.
            line: Takes the lines of its log.
            warning: Takes the lines that need attention.
            dry_run: Change nothing; only for tasks that support it.

        Returns:
            What it made.

        Raises:
            TaskError: It failed; secrets are replaced in the message.
        """
        redactor = Redactor()
        log = TaskLog(redactor, line, warning)
        started = time.monotonic()
        failure, outcome = None, TaskOutcome()
        try:
            with plain_paths():
                if (recorded := self._record_file(plan.name, task.id)).is_file():
                    self._recorded(recorded)
                context = self._context(plan, task, run_id, redactor, log, dry_run)
                log(f"{task.id}: {task.known.name}{' (dry run)' if dry_run else ''}")
                outcome = _within(context.deadline, partial(self._call, task, context))
                if not dry_run:
                    self._record(plan, task, outcome)
        except BaseException as error:
            if not is_isolated(error):
                log.close()
                raise
            failure = self._failure(error, redactor, log)
        log.close()
        if failure is not None:
            # Raised here, so that the original error, which may quote a secret, is not part of its context.
            raise failure
        facts = "".join(f", {name} {value}" for name, value in outcome.facts.items())
        unchanged = "" if outcome.changed or dry_run else ", nothing had to be changed"
        line(redactor.clean(f"{task.id}: done in {time.monotonic() - started:.1f} s{facts}{unchanged}"))
        return TaskOutcome(
            outcome.files,
            {name: redactor.clean(v) if isinstance(v, str) else v for name, v in outcome.facts.items()},
            outcome.changed,
            {
                key: {name: redactor.clean(text) for name, text in shown.items()}
                for key, shown in outcome.assets.items()
            },
        )

    def _context(
        self,
        plan: TaskPlan,
        task: PlannedTask,
        run_id: str,
        redactor: Redactor,
        log: TaskLog,
        dry_run: bool,
    ) -> TaskContext:
        folder = self.folder / plan.name
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
        given = self.services
        return TaskContext(
            plan.name,
            task.id,
            run_id,
            folder,
            self.variables,
            log,
            log.warn,
            redactor.resolve,
            Deadline(task.timeout),
            dry_run,
            given.queries,
            given.inspection,
            given.buckets,
            given.alerts,
            given.deliveries,
        )

    def _call(self, task: PlannedTask, context: TaskContext) -> TaskOutcome:
        arguments: dict[str, Any] = dict(task.arguments)
        if task.known.signature.takes_context:
            arguments["context"] = context
        made = task.known.task().run(**arguments)
        if made is None:
            return TaskOutcome()
        if not isinstance(made, TaskOutcome):
            raise TaskError(
                f"The task {task.known.name} returned {type(made).__name__}. Let its `run` return a "
                "TaskOutcome "
                "or nothing."
            )
        return made

    def _failure(self, error: BaseException, redactor: Redactor, lines: TaskLog) -> TaskError:
        if not isinstance(error, TaskError) and reason_of(error).startswith("unexpected"):
            trace = "".join(traceback.format_exception(error)).splitlines()
            for text in trace[-_TRACEBACK_LINES:]:
                lines.warn(text)
        kind = TaskTimeout if isinstance(error, TaskTimeout) else TaskError
        return kind(redactor.clean(reason_of(error)))

    def _record(self, plan: TaskPlan, task: PlannedTask, outcome: TaskOutcome) -> None:
        """Write down what a task made, for deliveries."""
        file = self._record_file(plan.name, task.id)
        files = [os.path.abspath(file) for file in outcome.files]
        if not file.is_file() or self._recorded(file) != files:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps({"format": TASK_OUTPUT.version, "files": files}).encode())

    def _recorded(self, file: Path) -> list[str]:
        """Return the files in a record.

        Raises:
            TaskError: Another version of the platform has written the record.
        """
        recorded = json.loads(file.read_bytes())
        if reason := TASK_OUTPUT.refusal(format_version(recorded), str(file)):
            raise TaskError(reason)
        return list(recorded["files"])

    def stored(self) -> Iterator[Stored]:
        """Yield the records of what tasks made, for upgrades and reports."""
        for file in sorted((self.folder / _OUTPUTS).rglob("*.json")):
            yield json_file(TASK_OUTPUT, file)

    def output(self, plan: str, task: str) -> tuple[str, list[Path]] | None:
        """Return what a task made last: a version that changes with it, and its files.

        Args:
            plan: Name of the task file.
            task: The task's id.

        Returns:
            None before the task's first success.

        Raises:
            TaskError: Another version of the platform has recorded it.
        """
        file = self._record_file(plan, task)
        if not file.is_file():
            return None
        with plain_paths():
            recorded = [Path(recorded_path) for recorded_path in self._recorded(file)]
            files = [file for path in recorded for file in _files_below(path)]
            state = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
        return hashlib.sha256(repr(state).encode()).hexdigest()[:32], files

    def _record_file(self, plan: str, task: str) -> Path:
        return self.folder / _OUTPUTS / plan / f"{task}.json"


def _files_below(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def _within(deadline: Deadline, call: Callable[[], TaskOutcome]) -> TaskOutcome:
    """Call a task, and interrupt it at its deadline.

    Outside of the main thread there is no interruption; the built-in tasks look at the clock themselves.

    Raises:
        TaskTimeout: The deadline was reached.
    """
    if deadline.seconds is None or threading.current_thread() is not threading.main_thread():
        return call()

    def ring(signal_number: int, frame: object) -> None:
        raise _Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(deadline.at_most(deadline.seconds), 0.001))
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as error:
        # What cleans up after the alarm may fail, too.
        if not _is_due_to_alarm(error):
            raise
    finally:
        signal.signal(signal.SIGALRM, before)
    # Raised here, so that the alarm, which looks like an interruption, is not part of its context.
    raise deadline.reached()


def _is_due_to_alarm(error: BaseException | None) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, _Alarm):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
