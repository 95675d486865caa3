"""The task `python_function`: a function by its module or its file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.secrets import Secret, absolute_path, base_folder
from platform_assets.errors import PlatformError
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome


def _function(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    place, separator, name = value.rpartition(":")
    if not separator or not place or not name.isidentifier():
        raise ValueError("write package.module:function or path/to/file.py:function")
    if place.endswith(".py"):
        return f"{absolute_path(place, base_folder(info))}:{name}"
    if not all(part.isidentifier() for part in place.split(".")):
        raise ValueError("write package.module:function or path/to/file.py:function")
    return value


Function = Annotated[str, BeforeValidator(_function)]


class PythonFunction(Task):
    """Call a Python function of an installed package or of a file.

    The function gets `args` and `kwargs`, and the task's context if it has a parameter `context`. It may
    return an TaskOutcome (from platform_assets.tasks.task); any other result is left alone.

    Idempotent: as the function is. Let it compare before it writes, and write to a temporary name first.
    """

    def run(
        self,
        context: TaskContext,
        function: Function,
        args: list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        secrets: dict[str, Secret] | None = None,
    ) -> TaskOutcome:
        """Call it.

        Args:
            context: The task's context.
            function: The function: package.module:function or path/to/file.py:function.
            args: Its arguments by position.
            kwargs: Its arguments by name.
            secrets: Further arguments by name that are secrets; the function gets their values.
        """
        found = _load(function)
        named = {
            **(kwargs or {}),
            **{name: context.secret(secret) for name, secret in (secrets or {}).items()},
        }
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):
            signature = None
        if signature is not None:
            if "context" in signature.parameters and "context" not in named:
                named["context"] = context
            try:
                signature.bind(*(args or []), **named)
            except TypeError as error:
                raise TaskError(f"{function} does not take these arguments: {error}.") from None
        try:
            made = found(*(args or []), **named)
        except SystemExit as error:
            if error.code not in (None, 0):
                raise TaskError(f"{function} ended the program with exit code {error.code}.") from None
            return TaskOutcome()
        if inspect.iscoroutine(made):
            made.close()
        if inspect.isgenerator(made) or inspect.isawaitable(made) or inspect.isasyncgen(made):
            raise TaskError(
                f"{function} is a generator or a coroutine, whose code has not run. Call it in a function "
                "that returns when the work is done."
            )
        return made if isinstance(made, TaskOutcome) else TaskOutcome()


def _load(function: str) -> Callable[..., Any]:
    place, _, name = function.rpartition(":")
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except PlatformError:
        raise
    except SystemExit as error:
        raise TaskError(f"{place} ends the program when it is imported (exit code {error.code}).") from None
    except Exception as error:
        raise TaskError(f"{place} cannot be imported: {type(error).__name__}: {error}.") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise TaskError(f"{place} has no function {name}. Correct the name.")
    return found  # type: ignore[no-any-return]


def _module_of_file(file: Path) -> Any:
    if not file.is_file():
        raise TaskError(f"The file {file} does not exist. Correct its path.")
    name = f"platform_assets_function_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TaskError(f"{file} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Found by name where the module defines dataclasses or pickles something.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
