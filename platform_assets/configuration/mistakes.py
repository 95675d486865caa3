"""Configuration mistakes in the user's words: file, key, found, expected; never a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from platform_assets.configuration.document import Document, Located, located
from platform_assets.configuration.hocon import Period
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.stores import SECRET_OPTION
from platform_assets.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake: the key path (numbers are places in lists), the value found, and what is expected."""

    key: tuple[str | int, ...]
    found: str
    expected: str


def description_of(document: Document, mistake: Mistake) -> Located:
    """The mistake with its file and line."""
    sentence = f"found {mistake.found}; expected {mistake.expected}."
    return located(document.place(mistake.key), mistake.key, sentence)


def refusal(mistakes: Iterable[Located]) -> SettingsError:
    """One error for all mistakes of the configuration, in the order of their places."""
    lines = sorted({*mistakes})
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    title = f"The configuration has {count}; nothing was started."
    return SettingsError("\n  ".join([title, *map(str, lines)]))


def explained(document: Document, detail: Mapping[str, Any], model: type[BaseModel]) -> Mistake:
    """Convert a pydantic error to a mistake in the user's words.

    Args:
        document: The configuration.
        detail: The error, as pydantic gives it.
        model: The model of the whole configuration.
    """
    key, is_there, block, annotation, expected = _declared(document, detail, model)
    if detail["type"] == "extra_forbidden":
        return Mistake(key, "an unknown key", _suggest(model, _model(block), tuple(map(str, key))))
    if detail["type"] == "missing":
        return Mistake(key, f"nothing{_variable_hint(document, key)}", expected)
    given = detail["input"]
    types = {*parts_of(annotation)}
    in_options = "storage_options" in key[:-1]
    if not is_there:
        found = "nothing"
    elif (Secret in types and str not in types) or (in_options and SECRET_OPTION.search(str(key[-1]))):
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
    return Mistake(key, found, expected)


def all_explained(
    document: Document, details: Iterable[Mapping[str, Any]], model: type[BaseModel]
) -> list[Mistake]:
    """Convert pydantic's errors to mistakes, without consequences of others; see `explained`."""
    return [explained(document, detail, model) for detail in causes(details)]


def causes(details: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out errors that follow from others: a list is too short because its members are wrong."""
    given = list(details)
    places = [tuple(detail["loc"]) for detail in given]

    def is_consequence(detail: Mapping[str, Any]) -> bool:
        own = tuple(detail["loc"])
        return detail["type"] == "too_short" and any(
            len(place) > len(own) and place[: len(own)] == own for place in places
        )

    return [detail for detail in given if not is_consequence(detail)]


def _declared(
    document: Document, detail: Mapping[str, Any], model: type[BaseModel]
) -> tuple[tuple[str | int, ...], bool, object, object, str]:
    """The key of an error, whether it is there, the types of its block and of its value, and its description.

    Where a value can have one of several types, pydantic puts the name of the one that it tried among the
    parts of the key; it is no part of it. Members of lists and blocks use the description of those.
    """
    key: list[str | int] = []
    node: object = document.content
    block: object = None
    annotation: object = model
    branch: object = model
    expected = "something else"
    is_there = True
    names: tuple[str | int, ...] = detail["loc"]
    for place, part in enumerate(names):
        member, description, is_field = member_type(branch, str(part))
        is_there = (
            part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)
        )
        may_be_absent = place == len(names) - 1 and (is_field or detail["type"] == "missing")
        if not is_there and not may_be_absent:
            branch, is_there = _branch(branch, str(part)), True
            continue
        key.append(part)
        node = _member(node, part)
        block, annotation, branch = branch, member, member
        expected = description or expected
    return tuple(key), is_there, block, annotation, expected


def _member(node: Any, part: str | int) -> object:
    if isinstance(node, dict):
        return node.get(part)
    return node[part] if isinstance(node, list) and isinstance(part, int) and part < len(node) else None


def member_type(annotation: object, part: str) -> tuple[object, str, bool]:
    """Return the type of a type's member, its own description, and whether it is a field of a block."""
    for model in models_of(annotation):
        found = {
            model_field.alias or name: model_field for name, model_field in model.model_fields.items()
        }.get(part)
        if found is not None:
            return found.annotation, found.description or "", True
        if (named := named_block(model)) is not None:
            return named, "", False
    for block in parts_of(annotation):
        if get_origin(block) in (dict, tuple, list):
            return get_args(block)[1 if get_origin(block) is dict else 0], "", False
    return None, "", False


def _branch(annotation: object, name: str) -> object:
    """The one of several types that pydantic calls by a name: its class, or the value of a literal field."""
    for model in models_of(annotation):
        literals = (field.annotation for field in model.model_fields.values())
        tags = {
            value for literal in literals if get_origin(literal) is Literal for value in get_args(literal)
        }
        if name == model.__name__ or name in tags:
            return model
    return annotation


def parts_of(annotation: object) -> Iterator[object]:
    """Yield the members of a union, or the type itself, without annotations."""
    if get_origin(annotation) is Annotated:
        yield from parts_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from parts_of(member)
    else:
        yield annotation


def models_of(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the classes of the blocks that a type is or includes."""
    for part in parts_of(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _model(annotation: object) -> type[BaseModel] | None:
    return next(models_of(annotation), None)


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
            value = _model(member_type(declared.annotation, "<table>")[0])
            yield from _known_keys(value, (*key, "<table>")) if value else ()
    if (named := named_block(model)) is not None:
        yield from _known_keys(named, (*prefix, "<name>"))


def _suggest(whole: type[BaseModel], model: type[BaseModel] | None, key: tuple[str, ...]) -> str:
    """Suggest what an unknown key may mean: a similar name in the same block, or the same name elsewhere."""
    import difflib

    names = [model_field.alias or name for name, model_field in model.model_fields.items()] if model else []
    close = difflib.get_close_matches(key[-1].lower().replace("-", "_"), names, n=1)
    elsewhere = [known for known in _known_keys(whole) if known[-1] == key[-1]]
    if close:
        return f"a known one, perhaps {'.'.join((*key[:-1], close[0]))}"
    if elsewhere:
        return f"a known one, perhaps {'.'.join(elsewhere[0])}"
    return f"one of {', '.join(sorted(names))}"


def _variable_hint(document: Document, key: Sequence[str | int]) -> str:
    unset = [name for name in document.variables(key) if name not in os.environ]
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
        return "a block" if value else "an empty block"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return "a period with a unit" if isinstance(value, Period) else str(value)
