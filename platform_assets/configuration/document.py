"""HOCON configuration files: parsing them with their includes, and locating where a key is set."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform_assets.configuration.secrets import ENV_NAME
from platform_assets.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed configuration: the resolved content, and the environment variables that each key refers to.

    `files` lists the files of blocks that have a file of their own, by the first two parts of their key;
    `unread` has one line for each include that could not be read.
    """

    file: Path
    content: dict[str, Any]
    variables: Mapping[tuple[str, ...], tuple[str, ...]]
    files: Mapping[tuple[str, ...], Path] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def variables_set(self, key: tuple[str, ...]) -> list[str]:
        """Return the environment variables that a key refers to and that are set."""
        return [name for name in self.variables.get(key, ()) if name in os.environ]


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        SettingsError: The file cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{file}: the file cannot be read: {reason}.") from None


def parse_document(file: Path, given: Mapping[str, str] | None = None) -> Document:
    """Parse a file with its includes and resolve its substitutions.

    Args:
        file: The file.
        given: Texts by name for `${NAME}`; the file's own keys win over them, and they over the environment.

    Raises:
        SettingsError: The file is not HOCON or cannot be read.
    """
    # Importing pyhocon and pyparsing takes 70 ms, which callers that build Settings in Python need not pay.
    from pyhocon import ConfigFactory, ConfigParser, ConfigTree
    from pyhocon.exceptions import ConfigException
    from pyparsing import ParseBaseException

    text = read_text(file)
    try:
        with _unread_includes() as unread:
            tree = ConfigFactory.parse_string(text, basedir=str(file.parent), resolve=False)
        if not isinstance(tree, ConfigTree):
            raise SettingsError(f"{file}: found a list at the top level; expected keys with values.")
        variables = dict(_find_variables(tree))
        if _INCLUDE.search(text):
            _mend_includes(tree, file)
        own = {name.strip('"') for name in tree}
        if given:
            tree = ConfigTree.merge_configs(ConfigFactory.from_dict(dict(given)), tree)
        ConfigParser.resolve_substitutions(tree)
        for name in (given or {}).keys() - own:
            tree.pop(name)
        unread_lines = tuple(_unread_lines(file, unread)) if unread else ()
        return Document(file, _plain(tree), variables, unread=unread_lines)
    except ParseBaseException as error:
        unclear = SettingsError(f"{file}: line {error.lineno}: this is not HOCON.")
        raise _syntax_error(file) or unclear from None
    except UnicodeDecodeError:
        unclear = SettingsError(f"{file}: a file that it includes is not UTF-8 text.")
        raise _syntax_error(file) or unclear from None
    except OSError as error:
        reason = f"the included file {error.filename} cannot be read: {error.strerror}"
        if error.filename is None:
            reason = f"an included address cannot be read: {error}"
        raise SettingsError(f"{file}: {reason}.") from None
    except (AttributeError, ValueError) as error:
        # pyhocon fails on a pattern that matches no file and on an address of an unknown kind.
        lines = [*_unread_lines(file, [])] or [f"{file}: an include cannot be read: {error}."]
        raise SettingsError("\n  ".join(lines)) from None
    except RecursionError:
        raise SettingsError(f"{file}: it includes itself, directly or through another file.") from None
    except ConfigException as error:
        raise SettingsError(f"{file}: {error}.") from None


@contextlib.contextmanager
def _unread_includes() -> Iterator[list[str]]:
    """Collect the includes that pyhocon skipped; it only logs them."""
    unread: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        unread.append(
            str(record.args[0]) if isinstance(record.args, tuple) and record.args else record.getMessage()
        )
        return False

    logger = logging.getLogger("pyhocon.config_parser")
    logger.addFilter(collect)
    # The mistakes must be found even where the library's logger is disabled.
    level, disabled = logger.level, logger.disabled
    logger.setLevel(logging.WARNING)
    logger.disabled = False
    try:
        yield unread
    finally:
        logger.setLevel(level)
        logger.disabled = disabled
        logger.removeFilter(collect)


def _unread_lines(file: Path, unread: list[str]) -> Iterator[str]:
    """One line for each skipped include, with its file and key."""
    includes = list(_includes(file))
    for name in unread:
        target = Path(os.path.normpath(name))
        outer, key = next(((one, key) for one, key, path in includes if path == target), (file, ()))
        where = f"{outer}: {'.'.join(key)}: " if key else f"{outer}: "
        try:
            target.read_bytes()
            reason = "it cannot be read"
        except OSError as error:
            reason = "it cannot be fetched" if "://" in name else error.strerror or str(error)
        yield f"{where}found an include of {name} ({reason}); expected the name of a file that can be read."
    for outer, key, path in includes:
        if re.search(r"[*?]", str(path)) and not glob.glob(str(path), recursive=True):
            where = f"{outer}: {'.'.join(key)}: " if key else f"{outer}: "
            yield f"{where}found an include of {path} (no file matches); expected a pattern of files."


def _includes(file: Path, prefix: tuple[str, ...] = ()) -> Iterator[tuple[Path, tuple[str, ...], Path]]:
    """The includes of a file and of its included files: the including file, the key, the included name."""
    _, targets = _own_keys(file)
    for path, target in targets:
        yield file, (*prefix, *path), target
        if target.is_file():
            yield from _includes(target, (*prefix, *path))


def _mend_includes(tree: Any, file: Path) -> None:
    """Work around two pyhocon bugs with `port = 5432, port = ${?PORT}` in an included file.

    pyhocon drops the default of keys at the top level of the file. It also copies trees to merge them and
    leaves deeper values pointing to the original tree, where it then stores their resolved values: the key
    would become null.
    """
    from pyhocon.config_tree import ConfigTree, ConfigValues

    own_trees = list(_own_trees(file))

    def default(key: tuple[str, ...]) -> Any:
        for prefix, own in own_trees:
            found = _member(own, key[len(prefix) :]) if key[: len(prefix)] == prefix else None
            if found is not None:
                return found.overridden_value if isinstance(found, ConfigValues) else None
        return None

    def mend(node: Any, path: tuple[str, ...]) -> None:
        for name, value in node.items():
            key = (*path, name.strip('"'))
            if isinstance(value, ConfigTree):
                mend(value, key)
            elif isinstance(value, ConfigValues) and value.overridden_value is None:
                value.overridden_value = default(key)
            version = value
            while isinstance(version, ConfigValues):
                version.parent, version.key = node, name
                version = version.overridden_value

    mend(tree, ())


def _syntax_error(file: Path) -> SettingsError | None:
    """Locate the HOCON syntax error in a file or one of its includes.

    Each file is parsed on its own, because an error inside an include is reported at the wrong place of the
    including file.
    """
    from pyparsing import ParseBaseException

    try:
        _, includes = _own_keys(file)
    except ParseBaseException as error:
        # Do not repeat the line or the text found there: either may be part of a secret.
        hint = f" ({error.msg})" if len(error.msg) < 40 else ""
        return SettingsError(
            f"{file}: line {error.lineno}, column {error.column}: this is not HOCON{hint}; check this line "
            "and the line before it for an open quote or bracket, a missing = or a value that needs quotes."
        )
    errors = (_syntax_error(target) for _, target in includes if target.is_file())
    return next((error for error in errors if error is not None), None)


def _find_variables(
    tree: Any, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Find the keys of an unresolved tree that have substitutions, with the variable names they refer to."""
    from pyhocon.config_tree import ConfigTree, ConfigValues

    for name, value in tree.items():
        key = (*prefix, name.strip('"'))
        if isinstance(value, ConfigTree):
            yield from _find_variables(value, key)
        elif isinstance(value, ConfigValues):
            names = (part.variable for part in value.get_substitutions())
            yield key, tuple(name for name in names if ENV_NAME.fullmatch(name))


def _plain(value: Any) -> Any:
    """Convert pyhocon's types to plain ones; periods stay as they are and are rejected later by name."""
    from pyhocon.config_tree import ConfigTree, NoneValue

    if isinstance(value, ConfigTree):
        return {name.strip('"'): _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return None if isinstance(value, NoneValue) else value


_INCLUDE = re.compile(
    r'\binclude[ \t]+(?:required\([ \t]*)?(?:(?:file|url|package)\([ \t]*)?"([^"\n]+)"[ \t)]*'
)


def find_definition(file: Path, key: tuple[str, ...]) -> Path | None:
    """Find which file, among a file and its includes, sets a key; the outermost wins if several do."""
    tree, includes = _own_keys(file)
    if _member(tree, key) is not None:
        return file
    for prefix, target in includes:
        if prefix == key[: len(prefix)] and len(key) > len(prefix) and target.is_file():
            found = find_definition(target, key[len(prefix) :])
            if found is not None:
                return found
    return None


def _member(node: Any, key: tuple[str, ...]) -> Any:
    """The value of a tree at a key path, or None."""
    for part in key:
        members = node.items() if isinstance(node, Mapping) else ()
        node = next((value for name, value in members if name.strip('"') == part), None)
    return node


def _own_trees(file: Path, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The unresolved trees of a file and of its includes, each parsed on its own, with their key paths."""
    tree, includes = _own_keys(file)
    yield prefix, tree
    for path, target in includes:
        if target.is_file():
            yield from _own_trees(target, (*prefix, *path))


def _own_keys(file: Path) -> tuple[Any, list[tuple[tuple[str, ...], Path]]]:
    """Parse one file alone: its unresolved tree, and its includes with the key paths they are at."""
    from pyhocon import ConfigFactory
    from pyhocon.config_tree import ConfigTree

    targets: list[str] = []

    def mark(match: re.Match[str]) -> str:
        targets.append(match[1])
        return f"__include_{len(targets) - 1} = 1"

    def walk(tree: Any, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Path]]:
        for name, value in tree.items():
            if name.startswith("__include_"):
                target = targets[int(name.removeprefix("__include_"))]
                # Join the path as pyhocon does: it supports neither ~ nor our own address schemes.
                yield prefix, Path(os.path.normpath(file.parent / target))
            elif isinstance(value, ConfigTree):
                yield from walk(value, (*prefix, name.strip('"')))

    tree = ConfigFactory.parse_string(_INCLUDE.sub(mark, read_text(file)), resolve=False)
    return tree, list(walk(tree, ()))


def line_of(file: Path, name: str) -> int | None:
    """The line of a file, from 1, where the block of a key starts, or None.

    Args:
        file: A HOCON file.
        name: The last part of the key, as written in the file.
    """
    quoted = re.escape(name)
    pattern = rf"""^[ \t]*(?:[\w-]+[ \t]*\.[ \t]*)*(?:"{quoted}"|{quoted})[ \t]*[:=]?[ \t]*\{{"""
    text = read_text(file)
    found = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None
