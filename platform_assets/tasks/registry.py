"""Finding tasks: the built-in ones, modules in the user's folders, entry points of installed packages.

A built-in task is found by its module's name without importing the others. Folders and packages are only
looked into for a name that is not built in.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from platform_assets.isolation import is_isolated, reason_of
from platform_assets.tasks import builtin
from platform_assets.tasks.signature import Signature
from platform_assets.tasks.task import Task, TaskError

GROUP = "platform_assets.tasks"
"""Group of the entry points of packages that bring tasks."""
_BUILTIN = "platform_assets"


@dataclass(frozen=True)
class KnownTask:
    """A task that task files can use.

    Attributes:
        name: Its name.
        origin: The place it comes from: `platform_assets`, a file, or an entry point.
        signature: Its arguments.
    """

    name: str
    origin: str
    signature: Signature

    @property
    def task(self) -> type[Task]:
        """The task's class."""
        return self.signature.task


@dataclass(frozen=True)
class BrokenOrigin:
    """A module or an entry point whose tasks cannot be used.

    Attributes:
        origin: The file or the entry point.
        reason: Why.
        name: The name of the task that cannot be used; empty if no task of it can.
    """

    origin: str
    reason: str
    name: str = ""


class TaskRegistry:
    """The known tasks.

    Args:
        folders: Folders with modules of tasks.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._found: dict[str, KnownTask] = {}

    @cached_property
    def builtin_names(self) -> tuple[str, ...]:
        """Names of the built-in tasks."""
        folder = Path(builtin.__file__).parent
        return tuple(sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")))

    def find(self, name: str) -> KnownTask | None:
        """Return a task by its name, or None.

        Raises:
            TaskError: The task exists and cannot be used.
        """
        if name not in self._found:
            known = self._builtin(name) if name in self.builtin_names else self._others[0].get(name)
            if known is None:
                return None
            known.signature.check()
            self._found[name] = known
        return self._found[name]

    def names(self) -> list[str]:
        """Return the names of all known tasks, in order."""
        return sorted({*self.builtin_names, *self._others[0]})

    @property
    def is_searched(self) -> bool:
        """True if folders and packages were looked into."""
        return "_others" in vars(self)

    @property
    def broken(self) -> Sequence[BrokenOrigin]:
        """The modules and entry points that cannot be used, or some of whose tasks cannot be used."""
        return self._others[1]

    def _builtin(self, name: str) -> KnownTask:
        module = importlib.import_module(f"{builtin.__name__}.{name}")
        task = next(task_ for task_ in _tasks_of(module) if task_.name == name)
        return KnownTask(name, _BUILTIN, Signature(task))

    @cached_property
    def _others(self) -> tuple[Mapping[str, KnownTask], Sequence[BrokenOrigin]]:
        """The tasks of folders and entry points by name, and the broken ones."""
        found: dict[str, KnownTask] = {}
        broken: list[BrokenOrigin] = []
        for origin, load in (*self._modules(), *_entry_points()):
            tasks = _isolated(load)
            if isinstance(tasks, str):
                broken.append(BrokenOrigin(origin, tasks))
                continue
            for task in tasks:
                known = KnownTask(task.name, origin, Signature(task))
                taken = _BUILTIN if task.name in self.builtin_names else None
                if task.name in found and found[task.name].task is not task:
                    taken = found[task.name].origin
                if taken is not None:
                    reason = f"the name {task.name} is taken by a task of {taken}; give this one another name"
                    broken.append(BrokenOrigin(origin, reason, task.name))
                    continue
                reason = _isolated(known.signature.check)
                if isinstance(reason, str):
                    broken.append(BrokenOrigin(origin, reason, task.name))
                    continue
                found[task.name] = known
        return found, broken

    def _modules(self) -> Iterator[tuple[str, Callable[[], Sequence[type[Task]]]]]:
        """Yield the modules of the folders, each with how to import it."""
        for folder in self._folders:
            if not folder.is_dir():
                yield str(folder), _no_folder(folder)
                continue
            for file in sorted(folder.glob("*.py")):
                if not file.stem.startswith("_"):
                    yield str(file), _module_loader(folder, file)


def _no_folder(folder: Path) -> Callable[[], Sequence[type[Task]]]:
    def fail() -> Sequence[type[Task]]:
        raise TaskError(f"{folder}, named in tasks.folders, is no folder. Create it, or correct its path.")

    return fail


def _module_loader(folder: Path, file: Path) -> Callable[[], Sequence[type[Task]]]:
    def load() -> Sequence[type[Task]]:
        # A package of its own for each folder: its modules import each other with `from . import other`.
        package = f"platform_assets_tasks_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
        if package not in sys.modules:
            made = types.ModuleType(package, "Tasks of a folder that the settings name.")
            made.__path__ = [str(folder)]
            sys.modules[package] = made
        return _tasks_of(importlib.import_module(f"{package}.{file.stem}"))

    return load


def _entry_points() -> Iterator[tuple[str, Callable[[], Sequence[type[Task]]]]]:
    """Yield the entry points of installed packages, each with how to load it: a module or a class."""
    for point in importlib.metadata.entry_points(group=GROUP):

        def load(point: importlib.metadata.EntryPoint = point) -> Sequence[type[Task]]:
            loaded = point.load()
            if isinstance(loaded, types.ModuleType):
                return _tasks_of(loaded)
            if isinstance(loaded, type) and issubclass(loaded, Task):
                return [loaded]
            raise TaskError(
                f"{point.value} is neither a module nor a subclass of Task. Correct the entry point."
            )

        package = f" of {point.dist.name}" if point.dist is not None else ""
        yield f"the entry point {point.name}{package}", load


def _tasks_of(module: types.ModuleType) -> list[type[Task]]:
    """Return the tasks that a module defines, not those that it imports; a base class has no `run`."""
    return [
        var
        for var in vars(module).values()
        if isinstance(var, type)
        and issubclass(var, Task)
        and var.__module__ == module.__name__
        and hasattr(var, "run")
    ]


def _isolated(load: Callable[[], Any]) -> Any:
    """Return a result, or the reason of the failure; a module that ends the program has failed, too."""
    try:
        return load()
    except SystemExit as error:
        return f"it ends the program when it is imported (exit code {error.code})."
    except BaseException as error:
        if not is_isolated(error):
            raise
        return reason_of(error)
