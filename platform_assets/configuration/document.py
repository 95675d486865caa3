"""Configuration documents: the content of a file with its includes, and where each key of it is written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from platform_assets.configuration.hocon import Reader
from platform_assets.configuration.resolution import Resolution
from platform_assets.errors import SettingsError

_REPLACED = "--set"
"""The place of values that replace a file's own, for messages."""


class Located(NamedTuple):
    """A mistake with its place; mistakes sort by places, and are shown as `file:line: key: what is wrong`."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        """Show it in one line."""
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


def located(place: tuple[Path, int | None], key: Sequence[str | int], sentence: str) -> Located:
    """A mistake in the value of a key.

    Args:
        place: The file, and the line if one is known.
        key: The parts of the key; numbers are places in lists.
        sentence: What was found and what is expected.
    """
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")
    return Located(str(place[0]), place[1] or 0, f"{path}: {sentence}" if path else sentence)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed configuration.

    Attributes:
        file: The file.
        content: Its keys with their values, substitutions resolved.
        unread: The includes that could not be read.
        parts: Blocks that have a file of their own, by their key; that file is a document too.
        lines: The line of each key, in a document that is not HOCON.
    """

    file: Path
    content: dict[str, Any]
    unread: tuple[Located, ...] = ()
    parts: Mapping[tuple[str, ...], Document] = field(default_factory=dict)
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict, repr=False, compare=False)
    _resolution: Resolution | None = field(default=None, repr=False, compare=False)

    def place(self, key: Sequence[str | int]) -> tuple[Path, int | None]:
        """The file and the line, from 1, where a key is written; or where the nearest block around it starts.

        Args:
            key: The parts of the key; numbers are places in lists. The line of what is at the top level, and
                missing there, is None.
        """
        document, inner = self._part(key)
        for length in range(len(inner), 0, -1):
            if (line := document.lines.get(tuple(inner[:length]))) is not None:
                return document.file, line
        found = document._resolution.place(inner) if document._resolution is not None else None
        return (document.file, None) if found is None else (found[0].file, found[0].line(found[1]))

    def variables(self, key: Sequence[str | int]) -> tuple[str, ...]:
        """The environment variables that a key refers to, the one that wins last."""
        document, inner = self._part(key)
        return document._resolution.variables(inner) if document._resolution is not None else ()

    def variables_set(self, key: Sequence[str | int]) -> list[str]:
        """The environment variables that a key refers to and that are set."""
        return [name for name in self.variables(key) if name in os.environ]

    def all_variables(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """The environment variables that the file offers for its keys."""
        return self._resolution.all_variables() if self._resolution is not None else {}

    def with_parts(
        self, key: str, blocks: Mapping[str, Any], parts: Mapping[str, Document], unread: Sequence[Located]
    ) -> Document:
        """Take blocks that have files of their own into a block.

        Args:
            key: The block's key.
            blocks: All blocks that it then has, by name.
            parts: The documents of the blocks that have a file of their own.
            unread: The includes that these files lack.
        """
        return dataclasses.replace(
            self,
            content={**self.content, key: dict(blocks)},
            unread=(*self.unread, *unread),
            parts={**self.parts, **{(key, name): part for name, part in parts.items()}},
        )

    def _part(self, key: Sequence[str | int]) -> tuple[Document, Sequence[str | int]]:
        """The document of the file that a key is in, and the key within it."""
        part = self.parts.get((str(key[0]), str(key[1]))) if len(key) > 1 else None
        return (self, key) if part is None else (part, key[1:])


def parse_document(
    file: Path, given: Mapping[str, str] | None = None, replaced: Sequence[str] = ()
) -> Document:
    """Parse a file with its includes and resolve its substitutions.

    Args:
        file: The file.
        given: Texts by name for `${NAME}`; the file's own keys win over them, and they over the environment.
        replaced: Lines `key = value` in HOCON that take the place of the file's own.

    Raises:
        SettingsError: The file is not HOCON or cannot be read. Each line of the message is a mistake.
    """
    reader = Reader()
    try:
        root = reader.read(file)
        if replaced:
            reader.add(root, Path(_REPLACED), "\n".join(replaced))
        resolution = Resolution(root, given or {})
        content = resolution.content()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{file}: the file cannot be read: {reason}.") from None
    except RecursionError:
        raise SettingsError(f"{file}: its blocks, includes or substitutions are nested too deep.") from None
    unread = tuple(
        located((source.file, source.line(at)), key, sentence)
        for (source, at), key, sentence in reader.unread
    )
    if resolution.errors:
        raise SettingsError("\n  ".join(map(str, [*unread, *resolution.errors])))
    return Document(file, content, unread, _resolution=resolution)
