"""Folders of configuration files: each `*.conf` is one block, and a broken one leaves the others usable."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from platform_assets.configuration.document import Document, Located, parse_document
from platform_assets.configuration.hocon import is_special
from platform_assets.configuration.mistakes import Mistake, all_explained, description_of
from platform_assets.configuration.repair import Repaired, repair
from platform_assets.errors import SettingsError
from platform_assets.isolation import ended, result_or_reason

B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class ConfigFile(Generic[B]):
    """A file of a folder, valid or not.

    Attributes:
        name: The file's name without its suffix.
        file: The file.
        block: The validated block; None if the file has mistakes.
        mistakes: One line for each mistake: file, line, key path, what was found and what is expected.
        repaired: The block, or what is left of it without its mistakes; None if that is too little.
    """

    name: str
    file: Path
    block: B | None
    mistakes: tuple[str, ...]
    _document: Document = field(repr=False, compare=False)
    repaired: Repaired[B] | None = field(default=None, repr=False, compare=False)
    _located: tuple[Located, ...] = field(default=(), repr=False, compare=False)
    _keys: tuple[tuple[str | int, ...], ...] = field(default=(), repr=False, compare=False)

    @property
    def content(self) -> Mapping[str, Any]:
        """The content as it was read, valid or not; empty if the file is not HOCON."""
        return self._document.content

    def with_mistakes(self, found: Iterable[Mistake]) -> ConfigFile[B]:
        """Add what is valid by itself but not together with the rest of the configuration.

        Args:
            found: The mistakes; their key paths start inside the file: `("tasks", 3, "args", "script")`. What
                concerns a key that is wrong by itself is left out.

        Returns:
            The same file with these mistakes too and without a block; or as it is if there are none.
        """
        further = [
            mistake for mistake in found if not any(mistake.key[: len(key)] == key for key in self._keys)
        ]
        if not further:
            return self
        located = sorted({*self._located, *(description_of(self._document, mistake) for mistake in further)})
        earlier = {str(text) for text in self._located}
        lines = [*(line for line in self.mistakes if line not in earlier), *map(str, located)]
        return dataclasses.replace(
            self, block=None, mistakes=tuple(dict.fromkeys(lines)), _located=tuple(located)
        )


def load_files(
    folder: Path, model: type[B], *, variables: Mapping[str, str] | None = None
) -> list[ConfigFile[B]]:
    """Read and validate every `*.conf` file of a folder, each on its own, in the order of their names.

    Args:
        folder: The folder; one that does not exist has no files.
        model: The model of a file's content.
        variables: Texts by name for `${NAME}`, such as TODAY. A key that the file itself sets wins over them,
            and they win over environment variables of the same name.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        line = f"{folder}: the folder cannot be read: {error.strerror}."
        return [ConfigFile(folder.name, folder, None, (line,), Document(folder, {}))]
    # Editors keep hidden files beside the one that is edited.
    files = [folder / name for name in names if name.endswith(".conf") and not name.startswith(".")]
    # All are parsed before the first is validated: in turns, both would run a fifth slower, because each
    # would displace the code and data of the other from the processor's caches.
    parsed = [_special(file) or _parsed(file, variables or {}, ()) for file in files]
    return [_validated(found, model) for found in parsed]


def _special(file: Path) -> ConfigFile[Any] | None:
    if not is_special(file):
        return None
    line = f"{file}: the file cannot be read: it is a pipe or a device."
    return ConfigFile(file.stem, file, None, (line,), Document(file, {}))


def load_file(
    file: Path, model: type[B], *, variables: Mapping[str, str] | None = None, replaced: Sequence[str] = ()
) -> ConfigFile[B]:
    """Read and validate one file, as `load_files` does.

    Args:
        file: The file.
        model: The model of its content.
        variables: As for `load_files`.
        replaced: Lines `key = value` in HOCON that take the place of the file's own.
    """
    return _validated(_parsed(file, variables or {}, replaced), model)


def _parsed(file: Path, variables: Mapping[str, str], replaced: Sequence[str]) -> Document | ConfigFile[Any]:
    """Return the document of a file; where it has none, the file with its mistakes."""
    # The text of an error that nobody foresaw may have a secret in it.
    found = result_or_reason(lambda file: _document(file, variables, replaced), file, tell_text=False)
    return _broken(file, found) if isinstance(found, str) else found


def _document(
    file: Path, variables: Mapping[str, str], replaced: Sequence[str]
) -> Document | ConfigFile[Any]:
    try:
        return parse_document(file, variables, replaced)
    except SettingsError as error:
        lines = tuple(line.strip() for line in str(error).splitlines())
        return ConfigFile(file.stem, file, None, lines, Document(file, {}))


def _validated(found: Document | ConfigFile[Any], model: type[B]) -> ConfigFile[B]:
    if isinstance(found, ConfigFile):
        return found
    name = found.file.stem
    file = result_or_reason(lambda document: checked(name, document, model), found, tell_text=False)
    return _broken(found.file, file) if isinstance(file, str) else file


def _broken(file: Path, reason: str) -> ConfigFile[Any]:
    return ConfigFile(file.stem, file, None, (f"{file}: {ended(reason)}",), Document(file, {}))


def checked(name: str, document: Document, model: type[B]) -> ConfigFile[B]:
    """Validate a document, whatever it was read from.

    Args:
        name: The name of what it describes.
        document: The document.
        model: The model of its content.
    """
    file = document.file
    context = {"base": file.parent, "file": file}
    repaired: Repaired[B] | None
    found: list[Mistake] = []
    try:
        repaired = Repaired(model.model_validate(document.content, context=context), ())
    except ValidationError as error:
        found = all_explained(document, error.errors(include_url=False), model)
        repaired = repair(document, model, context)
    located = sorted({*document.unread, *(description_of(document, mistake) for mistake in found)})
    block = repaired.block if repaired is not None and not located else None
    keys = (*(mistake.key for mistake in found), *(repaired.lost if repaired is not None else ()))
    return ConfigFile(name, file, block, tuple(map(str, located)), document, repaired, tuple(located), keys)
