"""The tasks and their files, from the settings."""

from __future__ import annotations

import datetime as dt
import os
import sys
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaredTable, LineageQuery
from platform_assets.errors import SettingsError
from platform_assets.isolation import result_or_reason
from platform_assets.processes import without_garbage_collection
from platform_assets.rooms import Assembly
from platform_assets.tasks.names import TASKS
from platform_assets.tasks.settings import TasksRoomSettings

if TYPE_CHECKING:
    from platform_assets.configuration.folder import ConfigFile
    from platform_assets.delivery.interfaces import TaskOutput
    from platform_assets.stored import Stored
    from platform_assets.tasks.execution import TaskRunner
    from platform_assets.tasks.files import TaskFile
    from platform_assets.tasks.plan import Elsewhere, PlannedTask, TaskPlan
    from platform_assets.tasks.registry import TaskRegistry

_FOLDER = "tasks"
_JOBS_OF_NO_ROOM = ("totesys_to_warehouse", "freshness_checks_job")
"""Names of the jobs that are defined over the rooms."""


class TasksRoom(Assembly[TasksRoomSettings]):
    """The known tasks, the task files, and what executes them."""

    settings_class = TasksRoomSettings

    @property
    def files_folder(self) -> Path:
        """The folder of the task files."""
        return self.rooms.config_dir / _FOLDER

    @property
    def has_files(self) -> bool:
        """True if there is a task file."""
        if self.rooms.given.get(_FOLDER):
            return True
        return self.files_folder.exists() and any(self.files_folder.glob("*.conf"))

    def elsewhere(self) -> Elsewhere:
        """Return the assets, jobs, schedules and sensors of the other rooms, by their names."""
        from platform_assets.tasks.plan import Elsewhere

        assets: dict[str, list[str]] = {}
        jobs, ticks = (
            {*_JOBS_OF_NO_ROOM},
            {f"{job.removesuffix('_job')}_schedule" for job in _JOBS_OF_NO_ROOM},
        )
        for name, defs in self.rooms.definitions().items():
            if name == _FOLDER:
                continue
            # A definition of assets has specs; the spec of an external asset stands for itself.
            specs = (spec for asset in defs.assets or () for spec in getattr(asset, "specs", (asset,)))
            for spec in specs:
                assets["/".join(spec.key.path)] = ["/".join(dep.asset_key.path) for dep in spec.deps]
            jobs |= {job.name for job in defs.jobs or ()}
            ticks |= {tick.name for tick in (*(defs.schedules or ()), *(defs.sensors or ()))}
        return Elsewhere(assets, frozenset(jobs), frozenset(ticks), frozenset(self._deliveries()))

    def _deliveries(self) -> Sequence[str]:
        if "delivery" not in self.rooms:
            return ()
        from platform_assets.delivery.interfaces import MakesDeliveries

        return [name for room in self.rooms.offering(MakesDeliveries) for name in room.delivery_names()]

    @cached_property
    def registry(self) -> TaskRegistry:
        """The known tasks."""
        from platform_assets.tasks.registry import TaskRegistry

        return TaskRegistry(self.settings.tasks.folders)

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The platform's variables, for `${NAME}` in task files."""
        today = dt.datetime.now(zoneinfo.ZoneInfo(self.platform.schedule.timezone)).date()
        return {
            "TODAY": today.isoformat(),
            "PLATFORM": "macos" if sys.platform == "darwin" else sys.platform,
            "CWD": os.getcwd(),
            "STATE": str(self.platform.state_dir),
            "PYTHON": sys.executable,
        }

    def plans(self, elsewhere: Elsewhere | None) -> list[TaskPlan]:
        """Load and check all task files; a file with mistakes leaves the others as they are.

        Args:
            elsewhere: What the rest of the platform defines; None leaves asset keys and names unchecked.
        """
        from platform_assets.configuration.folder import checked, load_files
        from platform_assets.tasks.files import TaskFile
        from platform_assets.tasks.plan import build_plans

        given = self.rooms.given.get(_FOLDER, {})
        with without_garbage_collection():
            files = load_files(self.files_folder, TaskFile, variables=self.variables)
            files += [checked(name, document, TaskFile) for name, document in given.items()]
            return build_plans(files, self.registry, elsewhere, self.settings.tasks.external_assets)

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: the results of SQL tasks."""
        for plan in self.plans(None):
            for task in plan.tasks:
                if task.known.name == "sql":
                    yield from self._declared_results(plan.name, task)

    def _declared_results(self, plan: str, task: PlannedTask) -> Iterator[DeclaredTable]:
        """Yield the table or the file of an SQL task, and the assets that it makes."""
        given = task.arguments
        query, database = given.get("query"), str(given.get("database", "warehouse"))
        unknown = ""
        if query is None and given.get("query_file") is not None:
            found = result_or_reason(lambda file: str(file.read_text(encoding="utf-8")), given["query_file"])
            query = found
        if query is None:
            unknown = "its query is not known before it runs"
        table = given.get("table")
        place = (str(given.get("table_in", "warehouse")), *str(table).split(".")) if table else None
        result = place or (TASKS, plan, task.id)
        yield DeclaredTable(
            result,
            query=None if unknown else self._query(str(query).strip().rstrip(";"), database),
            group=TASKS,
            description=f"The result of the task {task.id} of {plan}.",
            is_asset=False,
            kind="task",
            unknown=unknown,
        )
        for key in task.produces:
            yield DeclaredTable(
                tuple(key.split("/")), copy_of=result, group=TASKS, kind="task", unknown=unknown
            )

    def _query(self, sql: str, database: str) -> LineageQuery:
        from platform_assets.source.assembly import SourceRoom, database_path
        from platform_assets.warehouse.assembly import WarehouseRoom

        warehouses = self.rooms.of(WarehouseRoom)
        if database in warehouses.engines:
            return LineageQuery(sql, warehouses.query_tables(database), warehouses.engines[database])
        tables = {}
        for table in self.rooms.of(SourceRoom).source_tables().get(database, ()):
            tables[table.name] = tables[f"public.{table.name}"] = database_path(database, table.name)
        return LineageQuery(sql, tables, "postgres")

    @cached_property
    def checked_plans(self) -> list[TaskPlan]:
        """The plans of all task files, checked against all rooms."""
        return self.plans(self.elsewhere())

    def plan(self, file: str, given: Sequence[str], elsewhere: Elsewhere | None) -> TaskPlan:
        """Load and check one task file, together with the others.

        Args:
            file: Its path, or its name in the folder of the task files.
            given: Values `key=value` that take the place of the file's own; a key without a known first part
                is one of `vars`.
            elsewhere: As for `plans`.

        Raises:
            SettingsError: There is no such file, or a given value is not of the form `key=value` or takes the
                place of nothing.
        """
        from platform_assets.configuration.folder import load_file, load_files
        from platform_assets.tasks.files import TaskFile, replacement
        from platform_assets.tasks.plan import build_plans

        path = self._located(file)
        replaced = [replacement(plan) for plan in given]
        chosen = load_file(path, TaskFile, variables=self.variables, replaced=replaced)
        if replaced:
            self._check_known(chosen, given)
        others = load_files(self.files_folder, TaskFile, variables=self.variables)
        files = [chosen, *(other for other in others if other.name != chosen.name)]
        plans = build_plans(files, self.registry, elsewhere, self.settings.tasks.external_assets)
        return next(plan for plan in plans if plan.file == path)

    def _check_known(self, chosen: ConfigFile[TaskFile], given: Sequence[str]) -> None:
        """Check that given values of `vars` take the place of others: a misspelt one would be ignored.

        Raises:
            SettingsError: The file has no such value, and does not ask for one either: `${?vars.days}`.
        """
        from platform_assets.configuration.folder import load_file
        from platform_assets.tasks.files import TaskFile, replacement

        own = load_file(chosen.file, TaskFile, variables=self.variables).content
        for line in map(replacement, given):
            first, *parts = line.partition(" = ")[0].split(".")
            block, known = first, own.get(first, {})
            while parts and isinstance(known, Mapping) and parts[0] in known:
                block, known = f"{block}.{parts[0]}", known[parts.pop(0)]
            if first != "vars" or not parts or not isinstance(known, Mapping):
                continue
            alone = load_file(chosen.file, TaskFile, variables=self.variables, replaced=[line]).content
            if all(alone[key] == own.get(key) for key in alone if key != "vars"):
                name = f"{block}.{parts[0]}".removeprefix("vars.")
                raise SettingsError(
                    f"--set {name}: {chosen.file.name} has no such value. Its values in {block} are: "
                    f"{', '.join(known) or 'none'}."
                )

    def _located(self, file: str) -> Path:
        named = self.files_folder / f"{file.removesuffix('.conf')}.conf"
        path = Path(file) if "/" in file or not named.is_file() else named
        if not path.is_file():
            known = ", ".join(sorted(path.stem for path in self.files_folder.glob("*.conf"))) or "none"
            raise SettingsError(
                f"There is no task file {file}. Name a file, or one of {self.files_folder}: {known}."
            )
        return path.resolve()

    @cached_property
    def runner(self) -> TaskRunner:
        """The executor of tasks."""
        from platform_assets.tasks.execution import TaskRunner, TaskServices
        from platform_assets.tasks.services import (
            RoomAlerts,
            RoomBuckets,
            RoomDeliveries,
            RoomInspection,
            RoomQueries,
        )

        services = TaskServices(
            RoomQueries(self.rooms),
            RoomInspection(self.rooms),
            RoomBuckets(self.rooms),
            RoomAlerts(self.rooms),
            RoomDeliveries(self.rooms),
        )
        return TaskRunner(self.platform.state_dir / _FOLDER, self.variables, services)

    def stored(self) -> Iterator[Stored]:
        """See `StoresFormats.stored`: the records of what tasks made."""
        yield from self.runner.stored()

    def task_names(self) -> Sequence[str]:
        """See `HasTaskOutputs.task_names`."""
        return [f"{plan.name}/{task.id}" for plan in self.plans(None) for task in plan.tasks]

    def task_output(self, name: str) -> TaskOutput | None:
        """See `HasTaskOutputs.task_output`.

        Raises:
            SettingsError: The name is not of the form `file/task`.
        """
        from platform_assets.delivery.interfaces import TaskOutput

        plan, _, task = name.partition("/")
        if not plan or not task or "/" in task or ".." in name:
            raise SettingsError(f"{name} names no task. Write FILE/TASK: the file's name and the task's id.")
        found = self.runner.output(plan, task)
        return None if found is None else TaskOutput(*found)

    def problems(self) -> list[str]:
        """See `HasProblems.problems`.

        Asset keys and names of jobs are checked if the definitions of the rooms have been built, which takes
        a while; packages are looked into only if a file needs a task of theirs.
        """
        elsewhere = self.elsewhere() if self.rooms.has_definitions else None
        mistakes = [mistake for plan in self.plans(elsewhere) for mistake in plan.mistakes]
        is_searched = bool(self.settings.tasks.folders) or self.registry.is_searched
        broken = self.registry.broken if is_searched else ()
        return [*mistakes, *(f"{problem.origin}: {problem.reason}" for problem in broken)]


ROOM = TasksRoom
