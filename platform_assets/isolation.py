"""Isolation of independent items: a failure is recorded under the item's name, and the other items continue.

Every loop over independent items (tables, objects, alerts, feeds) uses this boundary: one place decides which
errors fail a single item, and which errors end the loop.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from platform_assets.errors import PlatformError, lake_file_error, path_error

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_LONGEST_REASON = 500
_MOST_TOLD = 20
_READERS_OF_THE_LAKE = ("duckdb", "pyarrow")
_PACKAGE = Path(__file__).parent
# DuckDB and Arrow's C streams turn an interruption into an ordinary error; only its text identifies it.
_HIDDEN = re.compile(
    r"Python exception: .*\b(KeyboardInterrupt|SystemExit|DagsterExecutionInterruptedError)\b", re.DOTALL
)
_INTERRUPTED_QUERY = "Query interrupted"


class IsolatedFailure(PlatformError):
    """Some of several independent items failed; the others succeeded.

    Args:
        message: Each failed item and its reason.
        retryable: Whether another attempt may succeed for at least one item.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True)
class Failed:
    """An item that failed.

    Attributes:
        name: Name of the item in messages.
        error: The raised error.
    """

    name: str
    error: BaseException

    @property
    def reason(self) -> str:
        """Reason of the failure as a sentence; see `reason_of`."""
        return reason_of(self.error)

    @property
    def retryable(self) -> bool:
        """True if the same attempt may succeed a moment later."""
        return is_retryable(self.error)


@dataclass
class Isolation:
    """Collector of the failures of independent items.

    ```
    loading = Isolation("Loading into the warehouse")
    for table in tables:
        with loading.guard(table.name):
            load(table)
    loading.raise_failures()
    ```

    Args:
        attempt: The action on each item, as the subject of a sentence.
        failures: Failures so far, in order.
    """

    attempt: str
    failures: list[Failed] = field(default_factory=list)

    def guard(self, name: str) -> Guard:
        """Guard a block that works on one item: its error is recorded and not raised.

        Interruptions are raised, even if a library has turned them into ordinary errors.

        Args:
            name: Name of the item in messages.
        """
        return Guard(self, name)

    def record(self, name: str, error: BaseException) -> None:
        """Record the failure of an item."""
        self.failures.append(Failed(name, error))

    def has_failed(self, name: str) -> bool:
        """Return whether an item with this name has failed."""
        return any(failure.name == name for failure in self.failures)

    def raise_failures(self) -> None:
        """Raise one error that lists all failures and their reasons, if any.

        Raises:
            IsolatedFailure: At least one item failed. The cause is the first error.
        """
        if not self.failures:
            return
        reasons = " ".join(
            f"{failure.name}: {ended(failure.reason)}" for failure in self.failures[:_MOST_TOLD]
        )
        left = len(self.failures) - _MOST_TOLD
        more = f" And {left} more." if left > 0 else ""
        raise IsolatedFailure(
            f"{self.attempt} failed for {len(self.failures)}; all others succeeded. {reasons}{more}",
            retryable=any(failure.retryable for failure in self.failures),
        ) from self.failures[0].error


class Guard:
    """Context manager for the block of one item; see `Isolation.guard`.

    Attributes:
        failed: Whether the block failed.
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
    """Return a function's result, or the reason of its failure; for display only, see `reason_of`."""
    try:
        return function(argument)
    except BaseException as error:
        if not is_isolated(error):
            raise
        return reason_of(error, tell_text=tell_text)


def is_isolated(error: BaseException) -> bool:
    """Return whether an error is the failure of a single item; False for an interruption.

    Raises:
        KeyboardInterrupt: A library was interrupted, and has turned the interruption into an ordinary error.
    """
    if not (isinstance(error, Exception) or _is_panic(error)):
        return False
    if any(_is_interruption(cause) for cause in _chain(error)):
        raise KeyboardInterrupt from error
    return True


def failure_of(step: Callable[[], object]) -> BaseException | None:
    """Run a step and return its error, or None if it succeeds. Interruptions are raised."""
    try:
        step()
    except BaseException as error:
        if not is_isolated(error):
            raise
        return error
    return None


def reason_of(error: BaseException, *, tell_text: bool = True) -> str:
    """Return the reason of an error in one line.

    For a `PlatformError`, the reason is its message; for any other error, its class, its text and the line of
    the platform's code where it occurred.

    Args:
        error: The raised error.
        tell_text: Whether to include an unexpected error's text, which may contain values.
    """
    known_error: PlatformError | None = None
    if tell_text and isinstance(error, OSError):
        known_error = path_error(error)
    elif tell_text and type(error).__module__.lstrip("_").partition(".")[0] in _READERS_OF_THE_LAKE:
        known_error = lake_file_error(_text(error))
    if isinstance(error, PlatformError) or known_error is not None:
        # Whole, however long: its end says what to do.
        return " ".join(_text(known_error or error).split())
    text = _text(error) if tell_text else (isinstance(error, OSError) and error.strerror) or ""
    name = type(error).__name__
    module = type(error).__module__
    kind = name if module in ("builtins", "__main__") else f"{module.lstrip('_')}.{name}"
    line = _one_line(f"unexpected error {kind}{f': {text.strip()}' if text.strip() else ''}")
    return f"{line.rstrip('.')} ({where})." if (where := place_of(error)) else ended(line)


def renamed(reason: str, name: str, shown: str) -> str:
    """Replace a name in a reason, for names that must not be shown."""
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: shown, reason)


def is_retryable(error: BaseException) -> bool:
    """Return whether the same attempt may succeed a moment later; true only for platform errors."""
    return isinstance(error, PlatformError) and bool(error.retryable)


def place_of(error: BaseException) -> str:
    """Return the innermost line of the platform's code in an error's traceback, as `folder/module.py:12`."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(_PACKAGE) and file.name != Path(__file__).name:
            place = f"{file.relative_to(_PACKAGE).as_posix()}:{line}"
    return place


def ended(sentence: str) -> str:
    """Return a sentence that ends with a full stop, unless it ends with another end mark."""
    text = sentence.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _is_panic(error: BaseException) -> bool:
    """Return whether an error is a panic of Rust code, which is a failure although not an `Exception`."""
    return type(error).__name__ == "PanicException" and type(error).__module__ == "pyo3_runtime"


def _is_interruption(error: BaseException) -> bool:
    if isinstance(error, GeneratorExit):
        return False  # closes a stream after another failure
    if not (isinstance(error, Exception) or _is_panic(error)):
        return True
    text = _text(error)
    return _HIDDEN.search(text) is not None or (type(error) is RuntimeError and text == _INTERRUPTED_QUERY)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error with all its causes, contexts and group members."""
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
    """Return an error's text; empty if converting the error to text fails."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken error must not break the isolation of others
        return ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
