"""Isolation of things that are taken one by one: what fails is recorded by its name, and the others go on.

Every loop over independent things (tables, objects, alerts, feeds) has its boundary here: one place decides
what counts as a failure of one thing, and what ends all of them.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from platform_assets.errors import PlatformError, path_error

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_LONGEST_REASON = 500
_MOST_TOLD = 20
_PACKAGE = Path(__file__).parent
# DuckDB and Arrow's C streams make an ordinary error of an interruption; only its text is left.
_HIDDEN = re.compile(
    r"Python exception: .*\b(KeyboardInterrupt|SystemExit|DagsterExecutionInterruptedError)\b", re.DOTALL
)
_INTERRUPTED_QUERY = "Query interrupted"


class IsolatedFailure(PlatformError):
    """Some of several independent things failed; the others were done.

    Args:
        message: What failed, and why, one by one.
        retryable: Whether another attempt may do better for one of them.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True)
class Failed:
    """One thing that failed.

    Attributes:
        name: What it is called in messages.
        error: What was raised.
    """

    name: str
    error: BaseException

    @property
    def reason(self) -> str:
        """Why, as a sentence; see `reason_of`."""
        return reason_of(self.error)

    @property
    def retryable(self) -> bool:
        """Whether the same attempt may succeed a moment later."""
        return is_retryable(self.error)


@dataclass
class Isolation:
    """The failures of things that are taken one by one.

    ```
    loading = Isolation("Loading into the warehouse")
    for table in tables:
        with loading.guard(table.name):
            load(table)
    loading.raise_failures()
    ```

    Args:
        attempt: What is done with each, as the subject of a sentence.
        failures: What failed so far, in order.
    """

    attempt: str
    failures: list[Failed] = field(default_factory=list)

    def guard(self, name: str) -> Guard:
        """A block in which one thing is worked on: whatever it raises is recorded, and goes no further.

        An interruption goes on, also one that a library has made an ordinary error of.

        Args:
            name: What the thing is called in messages.
        """
        return Guard(self, name)

    def record(self, name: str, error: BaseException) -> None:
        """Record that one thing failed."""
        self.failures.append(Failed(name, error))

    def has_failed(self, name: str) -> bool:
        """Whether something of this name has failed."""
        return any(one.name == name for one in self.failures)

    def raise_failures(self) -> None:
        """Raise one error that lists what failed and why; nothing where nothing did.

        Raises:
            IsolatedFailure: Something failed. Its cause is the first error.
        """
        if not self.failures:
            return
        told = " ".join(f"{one.name}: {ended(one.reason)}" for one in self.failures[:_MOST_TOLD])
        left = len(self.failures) - _MOST_TOLD
        more = f" And {left} more." if left > 0 else ""
        raise IsolatedFailure(
            f"{self.attempt} failed for {len(self.failures)}; all others were done. {told}{more}",
            retryable=any(one.retryable for one in self.failures),
        ) from self.failures[0].error


class Guard:
    """The block of one thing; see `Isolation.guard`.

    Attributes:
        failed: Whether it failed.
    """

    def __init__(self, isolation: Isolation, name: str) -> None:
        self._isolation = isolation
        self._name = name
        self.failed = False

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        if not is_isolated(error):
            return False
        self.failed = True
        self._isolation.record(self._name, error)
        return True


def result_or_reason(
    function: Callable[[Argument], Result], argument: Argument, *, tell_text: bool = True
) -> Result | str:
    """What a function gives, or why it failed, for what is only shown to people; see `reason_of`."""
    try:
        return function(argument)
    except BaseException as error:
        if not is_isolated(error):
            raise
        return reason_of(error, tell_text=tell_text)


def is_isolated(error: BaseException) -> bool:
    """Whether an error is the failure of one thing; False for one that is an interruption by itself.

    Raises:
        KeyboardInterrupt: A library was interrupted, and has made an error like any other of it.
    """
    if not (isinstance(error, Exception) or _is_panic(error)):
        return False
    if any(_is_interruption(one) for one in _chain(error)):
        raise KeyboardInterrupt from error
    return True


def failure_of(step: Callable[[], object]) -> BaseException | None:
    """Take one step; the error that it fails with, None where it does not. An interruption goes on."""
    try:
        step()
    except BaseException as error:
        if not is_isolated(error):
            raise
        return error
    return None


def reason_of(error: BaseException, *, tell_text: bool = True) -> str:
    """Why something failed, in one line.

    A `PlatformError` has a sentence of its own; of any other error its class, its text and the line of the
    platform's code where it happened are told.

    Args:
        error: What was raised.
        tell_text: Whether an unexpected error's text may be told; it may hold values.
    """
    told = path_error(error) if isinstance(error, OSError) else None
    if isinstance(error, PlatformError) or told is not None:
        return _one_line(_text(told or error))
    text = _text(error) if tell_text else (isinstance(error, OSError) and error.strerror) or ""
    name = type(error).__name__
    module = type(error).__module__
    known = name if module in ("builtins", "__main__") else f"{module.lstrip('_')}.{name}"
    said = f"unexpected error {known}{f': {text.strip()}' if text.strip() else ''}"
    line = _one_line(said)
    return f"{line.rstrip('.')} ({where})." if (where := place_of(error)) else ended(line)


def renamed(reason: str, name: str, shown: str) -> str:
    """A reason with another name for a thing, where its own may not be told."""
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: shown, reason)


def is_retryable(error: BaseException) -> bool:
    """Whether the same attempt may succeed a moment later: only the platform's own errors say so."""
    return isinstance(error, PlatformError) and bool(error.retryable)


def place_of(error: BaseException) -> str:
    """The innermost line of the platform's code that an error came through, as `folder/module.py:12`."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(_PACKAGE) and file.name != Path(__file__).name:
            place = f"{file.relative_to(_PACKAGE).as_posix()}:{line}"
    return place


def ended(sentence: str) -> str:
    """A sentence with one full stop at its end."""
    text = sentence.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _is_panic(error: BaseException) -> bool:
    """Whether it is a panic of Rust code, which is no `Exception`, and is a fault like any other."""
    return type(error).__name__ == "PanicException" and type(error).__module__ == "pyo3_runtime"


def _is_interruption(error: BaseException) -> bool:
    if isinstance(error, GeneratorExit):
        return False  # how a stream is closed, after which something else failed
    if not (isinstance(error, Exception) or _is_panic(error)):
        return True
    text = _text(error)
    return _HIDDEN.search(text) is not None or (type(error) is RuntimeError and text == _INTERRUPTED_QUERY)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error with all that it came from."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions


def _text(error: BaseException) -> str:
    """What an error says; nothing where its class cannot even say that."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken error must not break the isolation of others
        return ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
