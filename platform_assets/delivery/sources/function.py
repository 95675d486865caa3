"""The result of a Python function as a data source."""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows
from platform_assets.delivery.sources.files import content_type_of, file_bytes, found_file
from platform_assets.errors import PlatformError
from platform_assets.isolation import is_isolated
from platform_assets.lake.exchange import as_rows

_ROWS_PER_BATCH = 10_000
_RESULTS = (
    "text, bytes, a path or a list of paths, a pandas or Arrow table, a pyarrow.RecordBatchReader, or rows "
    "as dictionaries"
)


@dataclass(frozen=True)
class FunctionSource:
    """A function that returns text, bytes, files or rows.

    A function may have an attribute `version`, a text or a function without arguments that returns one: its
    result is then delivered once per version.

    Args:
        path: `package.module:function`.
        arguments: Its keyword arguments.
        name: Name of the delivery, for rows.
        file: Name of the file, for text and bytes; None for the delivery's name.
    """

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    name: str = "rows"
    file: str | None = None

    def version(self) -> str | None:
        """See `DataSource.version`."""
        declared = getattr(self._function(), "version", None)
        if callable(declared):
            declared = self._called(declared, f"{self.path}.version")
        return None if declared is None else str(declared)

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`."""
        function = self._function()
        yield self._content(self._called(lambda: function(**self.arguments), self.path))

    def _function(self) -> Callable[..., Any]:
        """Import the function.

        Raises:
            DeliveryError: The module cannot be imported, or has no such function.
        """
        module_name, _, name = self.path.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
        except SystemExit as error:
            raise DeliveryError(
                f"The function {self.path} cannot be imported: its module ends the program (exit code "
                f"{error.code}). Put that behind if __name__ == '__main__'."
            ) from None
        except Exception as error:
            if not is_isolated(error):
                raise
            raise DeliveryError(
                f"The function {self.path} cannot be imported: {type(error).__name__}: {error}. Install its "
                "package where the platform runs, or correct the path."
            ) from error
        for part in name.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            raise DeliveryError(f"The module {module_name} has no function {name}. Correct the path.")
        return found  # type: ignore[no-any-return]

    def _called(self, function: Callable[[], Any], path: str) -> Any:
        """Call a function; an error of its own names it."""
        try:
            return function()
        except PlatformError:
            raise
        except SystemExit as error:
            raise DeliveryError(
                f"The function {path} ended the program (exit code {error.code}) instead of returning. Let "
                "it return its result, or raise an error."
            ) from None
        except Exception as error:
            if not is_isolated(error):
                raise
            raise DeliveryError(f"The function {path} failed: {type(error).__name__}: {error}") from error

    def _content(self, value: Any) -> Iterator[Rows | Bytes]:
        if isinstance(value, str):
            yield self._file(self._encoded(value), ".txt")
        elif isinstance(value, bytes | bytearray | memoryview):
            yield self._file(bytes(value), ".bin")
        elif isinstance(value, Path):
            yield file_bytes(found_file(value, value.name))
        elif isinstance(value, Sequence) and value and all(isinstance(path, Path) for path in value):
            yield from (file_bytes(found_file(path, path.name)) for path in value)
        else:
            yield Rows(self.name, self._rows(value))

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise DeliveryError(
                f"The function {self.path} returned a text that UTF-8 cannot hold: half of a character, "
                f"U+{ord(text[error.start]):04X}, at position {error.start:,}. Return bytes, or replace it."
            ) from None

    def _file(self, content: bytes, suffix: str) -> Bytes:
        name = self.file or f"{self.name}{suffix}"
        return Bytes(name, iter([content]), len(content), content_type=content_type_of(name))

    def _rows(self, value: Any) -> pa.RecordBatchReader:
        if isinstance(value, pa.RecordBatch):
            value = pa.Table.from_batches([value])
        with contextlib.suppress(TypeError):
            return as_rows(value)
        if isinstance(value, Mapping) or not isinstance(value, Iterable):
            raise self._unusable(f"a {type(value).__name__}")
        return self._from_dictionaries(value)

    def _from_dictionaries(self, rows: Iterable[Any]) -> pa.RecordBatchReader:
        """Stream rows that are dictionaries; the first 10,000 decide on names and types."""
        left = iter(rows)

        def table(schema: pa.Schema | None) -> pa.Table | None:
            some = self._called(lambda: list(itertools.islice(left, _ROWS_PER_BATCH)), self.path)
            if not some:
                return None
            # Lists, because what is found may be false itself: None as a row, "" as a name.
            if others := [row for row in some if not isinstance(row, Mapping)]:
                raise self._unusable(f"rows that are {type(others[0]).__name__}")
            names = (
                schema.names if schema is not None else dict.fromkeys(name for row in some for name in row)
            )
            if wrong := [name for name in names if not isinstance(name, str)]:
                raise self._unusable(f"rows with a key that is {type(wrong[0]).__name__}, not text")
            known = set(names)
            if unknown := [name for row in some for name in row if name not in known]:
                raise DeliveryError(
                    f"The function {self.path} returned rows with other columns later: {unknown[0]!r} is not "
                    f"in the first {_ROWS_PER_BATCH:,}. Return an Arrow table, or every column from "
                    "the start."
                )
            columns = []
            for place, name in enumerate(names):
                try:
                    values = [row.get(name) for row in some]
                    columns.append(pa.array(values, None if schema is None else schema.field(place).type))
                except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError) as error:
                    # Without the library's words, which repeat the value.
                    raise DeliveryError(
                        f"The function {self.path} returned values that do not fit into one column: column "
                        f"{name}{'' if schema is None else f', until then {schema.field(place).type}'} "
                        f"({type(error).__name__}). Return an Arrow table with the types that are meant."
                    ) from None
            return pa.Table.from_arrays(columns, list(names))

        first = table(None)
        if first is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])

        def batches() -> Iterator[pa.RecordBatch]:
            following: pa.Table | None = first
            while following is not None:
                yield from following.to_batches()
                following = table(first.schema)

        return pa.RecordBatchReader.from_batches(first.schema, batches())

    def _unusable(self, found: str) -> DeliveryError:
        return DeliveryError(f"The function {self.path} returned {found}. It may return {_RESULTS}.")
