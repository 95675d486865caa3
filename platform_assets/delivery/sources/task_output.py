"""The files that a task made."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from platform_assets.delivery.interfaces import Bytes, DeliveryError, HasTaskOutputs, Rows, TaskOutput
from platform_assets.delivery.sources.files import file_bytes, found_file


@dataclass
class TaskSource:
    """The latest output of a task.

    Args:
        name: The task, as `file/task`.
        rooms: The rooms with tasks.
    """

    name: str
    rooms: Sequence[HasTaskOutputs] = field(repr=False)
    _seen: TaskOutput | None = None

    def version(self) -> str | None:
        """See `DataSource.version`; the next `open` reads the same output."""
        self._seen = self._latest()
        return self._seen.version

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`."""
        output, self._seen = self._seen or self._latest(), None
        found = [found_file(path, path.name) for path in output.files]
        yield (file_bytes(file) for file in found)

    def _latest(self) -> TaskOutput:
        known = {name: room for room in self.rooms for name in room.task_names()}
        if self.name not in known:
            close = difflib.get_close_matches(self.name, known, n=1)
            hint = f"; perhaps {close[0]}" if close else ""
            raise DeliveryError(f"There is no task {self.name}{hint}. Correct source.task.")
        output = known[self.name].task_output(self.name)
        if output is None:
            raise DeliveryError(
                f"The task {self.name} has not made anything yet. Run it first; the next run delivers it."
            )
        return output
