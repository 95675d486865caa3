"""The reference of all configuration keys as Markdown, made from the blocks' classes."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from platform_assets.configuration.mistakes import parts_of
from platform_assets.configuration.secrets import REFERENCES, Secret

Key = tuple[str, ...]

_INTRODUCTION = """# Configuration

Every key of [config/platform.conf](../config/platform.conf) and of the files that it includes. This page is
generated from the code: `platform-assets settings-reference > docs/configuration.md`.

The language is HOCON: `key = value`, blocks in braces, `include "file"`, and `key = ${?NAME}` for the value
of an environment variable where it is set. In quotes a backslash is doubled; text in triple quotes is taken
as it is. `<name>` stands for a name of your choice. Relative paths start from the folder of the configuration
file. All mistakes are reported at once when the platform starts, each with its file, its line, its key, what
was found and what was expected.

The last column names the environment variable that the project's file offers for a key; give any other key a
variable in the same way. Two more variables are read: `PLATFORM_CONFIG` names another configuration file, and
`DAGSTER_HOME` another folder for Dagster's runs than `dagster` in `state_dir`.

A secret is written as a reference: `secret://env/NAME`, `secret://file/PATH`, `secret://file/PATH#KEY`,
`secret://aws/SECRET-ID` or `secret://aws/SECRET-ID#KEY` (AWS Secrets Manager), `secret://ssm/NAME` or
`secret://ssm/NAME#KEY` (AWS Systems Manager Parameter Store). It is fetched when it is used, and is never
logged.
"""
_COLUMNS = ("key", "type", "value", "default", "meaning", "variable")
_PLACEHOLDERS = {"overrides": "<table>", "types": "<column>", "columns": "<column>"}
_TYPES: Mapping[object, str] = {
    bool: "true or false",
    int: "number",
    float: "number",
    str: "text",
    Path: "path",
    Secret: "secret",
}


def reference(
    sections: Iterable[tuple[str, type[BaseModel]]],
    variables: Mapping[Key, tuple[str, ...]],
    files: Iterable[tuple[str, type[BaseModel]]] = (),
) -> str:
    """Describe all keys of the configuration.

    Args:
        sections: The title and the class of each part, in the order of the page.
        variables: The environment variables that a configuration file refers to, by key.
        files: The title and the class of each kind of file of its own.

    Returns:
        A page of Markdown.
    """
    documented: dict[type[BaseModel], str] = {}
    lines = [_INTRODUCTION]
    for title, model in sections:
        lines += [f"## {title}", ""]
        lines += _block(model, (), variables, documented)
    for title, model in files:
        lines += [f"## {title}", "", _flowing(inspect.getdoc(model)), ""]
        lines += _block(model, (), {}, documented)
    return "\n".join(lines).rstrip() + "\n"


def _block(
    model: type[BaseModel],
    path: Key,
    variables: Mapping[Key, tuple[str, ...]],
    documented: dict[type[BaseModel], str],
) -> Iterator[str]:
    """The table of a block's own keys, followed by the blocks inside it."""
    rows: list[str] = []
    inner: list[tuple[type[BaseModel], Key]] = []
    for name, field in model.model_fields.items():
        key = (*path, field.alias or name)
        block, is_named = _block_of(field)
        if block is None:
            rows.append(_row(model, name, field, key, variables))
            if (listed := _listed_block(field)) is not None:
                inner.append((listed, (*path, f"{key[-1]}[]")))
        else:
            inner.append((block, (*key, _PLACEHOLDERS.get(key[-1], "<name>")) if is_named else key))
    named = getattr(model, "named_block", None)
    if named is not None:
        inner.append((named, (*path, "<name>")))
    if path:
        documented[model] = ".".join(path)
        yield from (f"### `{'.'.join(path)}`", "", _flowing(inspect.getdoc(model)), "")
    if rows:
        yield from (_row_of(_COLUMNS), _row_of(["---"] * len(_COLUMNS)), *rows, "")
    for block, key in inner:
        if block in documented:
            yield from (f"### `{'.'.join(key)}`", "", f"The same keys as `{documented[block]}`.", "")
        else:
            yield from _block(block, key, variables, documented)


def _row(
    model: type[BaseModel], name: str, field: FieldInfo, key: Key, variables: Mapping[Key, tuple[str, ...]]
) -> str:
    expected = (field.description or "").removesuffix(f": {REFERENCES}").replace("*", "\\*")
    offered = [
        variable if found == key or variable == found[-1] else f"{variable} (`{'.'.join(found)}`)"
        for found, names in variables.items()
        if _is_at(found, key)
        for variable in names
        if variable.isupper()
    ]
    meaning = _meanings(model).get(name, "")
    cells = (_type(field.annotation), expected, _default(field), meaning, ", ".join(offered))
    return _row_of([f"`{'.'.join(key)}`", *cells])


def _row_of(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _is_at(found: Key, key: Key) -> bool:
    """Return True if a key of a file is a key of the reference, or is in its block."""
    return len(found) >= len(key) and all(
        part.startswith("<") or part == own for part, own in zip(key, found, strict=False)
    )


def _listed_block(field: FieldInfo) -> type[BaseModel] | None:
    """The class of the blocks in a list."""
    for part in parts_of(field.annotation):
        for member in get_args(part)[:1] if get_origin(part) is tuple else ():
            if isinstance(member, type) and issubclass(member, BaseModel):
                return member
    return None


def _block_of(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The class of a field's blocks, and whether they have names of the user's choice."""
    for part in parts_of(field.annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, False
        if get_origin(part) is dict:
            for value in parts_of(get_args(part)[1]):
                if isinstance(value, type) and issubclass(value, BaseModel):
                    return value, True
    return None, False


def _type(annotation: object) -> str:
    found = []
    for part in parts_of(annotation):
        if part is NoneType:
            continue
        if get_origin(part) is Literal:
            found.append("choice")
        elif get_origin(part) in (tuple, dict):
            found.append("list" if get_origin(part) is tuple else "block")
        else:
            found.append(_TYPES[part])
    return " or ".join(found)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default == {}:
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(_quoted(item) for item in default)}]`"
    return f"`{_quoted(default)}`"


def _quoted(value: object) -> str:
    """Write a value as in HOCON; text in quotes if it is not a plain word."""
    text = str(value)
    return json.dumps(text) if isinstance(value, str) and not text.replace("_", "").isalnum() else text


@cache
def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below a class's fields, inherited fields included."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        statements = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, below in itertools.pairwise(statements):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[field.target.id] = _flowing(str(below.value.value))
    return found


def _flowing(text: str | None) -> str:
    return " ".join((text or "").split())
