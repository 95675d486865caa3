"""Configuration mistakes in the user's words: file, key, found, expected; never a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from platform_assets.configuration.document import Document, find_definition
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.stores import SECRET_OPTION


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake: the key path (numbers are places in lists), the value found, and what is expected."""

    key: tuple[str | int, ...]
    found: str
    expected: str


def description_of(document: Document, mistake: Mistake) -> str:
    """One line that describes a mistake, with its file."""
    names = tuple(str(part) for part in mistake.key)
    own = document.files.get(names[:2])
    file = own or document.file
    if file.is_file():
        file = find_definition(file, names[1:] if own else names) or file
    return f"{file}: {key_path(mistake.key)}: found {mistake.found}; expected {mistake.expected}."


def key_path(key: Sequence[str | int]) -> str:
    """A key path as text, such as `tasks[3].args.script`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def explained(document: Document, detail: Mapping[str, Any], model: type[BaseModel]) -> Mistake:
    """Convert a pydantic error to a mistake in the user's words.

    Args:
        document: The configuration.
        detail: The error, as pydantic gives it.
        model: The model of the whole configuration.
    """
    path: tuple[str | int, ...] = detail["loc"]
    key = tuple(str(part) for part in path)
    if detail["type"] == "extra_forbidden":
        return Mistake(path, "an unknown key", _suggest(model, key))
    annotation, expected = declared_field(model, key)
    if detail["type"] == "missing":
        return Mistake(path, f"nothing{_variable_hint(document, key)}", expected)
    given = detail["input"]
    in_options = "storage_options" in key[:-1]
    if {*parts_of(annotation)} - {NoneType} == {Secret} or (in_options and SECRET_OPTION.search(key[-1])):
        is_reference = str(given).startswith("secret://")
        found = "a reference that cannot be used" if is_reference else "a literal value (not shown)"
    else:
        found = shown(given)
    if variables := document.variables_set(key):
        found += f" (from the environment variable {variables[-1]})"
    if detail["type"] in ("value_error", "storage_option"):
        context = detail.get("ctx", {})
        reason = str(context.get("error") or context.get("reason"))
        # The validators of secrets already say what to write.
        expected = reason if REFERENCES in reason else f"{expected} ({reason})"
    return Mistake(path, found, expected)


def declared_field(model: type[BaseModel], key: tuple[str, ...]) -> tuple[object, str]:
    """Look up the declared type and description of a key path; list members use those of the list."""
    annotation: object = model
    expected = "something else"
    for part in key:
        annotation, description = _member_type(annotation, part)
        expected = description or expected
    return annotation, expected


def _member_type(annotation: object, part: str) -> tuple[object, str]:
    """The type of a type's member, and the member's own description if it has one."""
    model = _model(annotation)
    if model is not None:
        found = {one.alias or name: one for name, one in model.model_fields.items()}.get(part)
        if found is not None:
            return found.annotation, found.description or ""
        return named_block(model), ""
    for block in parts_of(annotation):
        if get_origin(block) in (dict, tuple):
            return get_args(block)[1 if get_origin(block) is dict else 0], ""
    return None, ""


def parts_of(annotation: object) -> Iterator[object]:
    """Yield the members of a union, or the type itself, without annotations."""
    if get_origin(annotation) is Annotated:
        yield from parts_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from parts_of(member)
    else:
        yield annotation


def _model(annotation: object) -> type[BaseModel] | None:
    """The model class that a type is or includes."""
    parts = parts_of(annotation)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def named_block(model: type[BaseModel]) -> type[BaseModel] | None:
    """The class of the blocks that a model takes under names of the user's choice, beside its own fields."""
    found = getattr(model, "named_block", None)
    return found if isinstance(found, type) else None


def _known_keys(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All keys that can be set; user-chosen names of sources and tables appear as <name> and <table>."""
    for name, declared in model.model_fields.items():
        key = (*prefix, declared.alias or name)
        yield key
        inner = _model(declared.annotation)
        if inner is not None:
            yield from _known_keys(inner, key)
        elif declared.annotation is not None and "overrides" in key:
            value = _model(_member_type(declared.annotation, "<table>")[0])
            yield from _known_keys(value, (*key, "<table>")) if value else ()
    if (named := named_block(model)) is not None:
        yield from _known_keys(named, (*prefix, "<name>"))


def _suggest(whole: type[BaseModel], key: tuple[str, ...]) -> str:
    """Suggest what an unknown key may mean: a similar name in the same block, or the same name elsewhere."""
    import difflib

    model = _model(declared_field(whole, key[:-1])[0]) if len(key) > 1 else whole
    names = [one.alias or name for name, one in model.model_fields.items()] if model else []
    close = difflib.get_close_matches(key[-1].lower().replace("-", "_"), names, n=1)
    elsewhere = [known for known in _known_keys(whole) if known[-1] == key[-1]]
    if close:
        return f"a known one, perhaps {'.'.join((*key[:-1], close[0]))}"
    if elsewhere:
        return f"a known one, perhaps {'.'.join(elsewhere[0])}"
    return f"one of {', '.join(sorted(names))}"


def _variable_hint(document: Document, key: tuple[str, ...]) -> str:
    unset = [name for name in document.variables.get(key, ()) if name not in os.environ]
    return f" (the environment variable {unset[-1]} is not set either)" if unset else ""


def shown(value: object) -> str:
    """Render a value that was found, without the password of a URL."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, str):
        shown = re.sub(r"//[^/\s]*@", "//***@", value)
        # A line break would split the entry in the list of mistakes.
        shown = re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], shown)
        return '"' + (shown if len(shown) <= 80 else shown[:77] + "...") + '"'
    if isinstance(value, dict):
        return "a block"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int | float):
        return str(value)
    return "a period with a unit"
