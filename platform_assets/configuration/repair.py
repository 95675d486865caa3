"""Repair of a block that has mistakes, so that its other parts can be checked in the same round.

The repaired block is for checks only: nothing runs with it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from platform_assets.configuration.document import Document
from platform_assets.configuration.mistakes import causes, explained, member_type, models_of

B = TypeVar("B", bound=BaseModel)
Key = tuple[str | int, ...]

_MOST_ROUNDS = 20


@dataclass(frozen=True)
class Repaired(Generic[B]):
    """A block without its mistakes.

    Attributes:
        block: The block.
        lost: The keys whose values were left out or replaced.
    """

    block: B
    lost: tuple[Key, ...]

    def has_lost(self, *names: str) -> bool:
        """Return whether values of these top-level keys were lost."""
        return any(key[0] in names for key in self.lost)


def repair(document: Document, model: type[B], context: Mapping[str, Any]) -> Repaired[B] | None:
    """Leave out what is wrong, with as little around it as possible.

    A wrong value falls back to its default; where it has none, the `stand_ins` of its block replace it.

    Args:
        document: The block, with mistakes.
        model: Its model.
        context: As for the model's validation.

    Returns:
        The repaired block; None where too little of it is right.
    """
    content = copy.deepcopy(document.content)
    lost: dict[Key, None] = {}
    tried: set[Key] = set()
    for _ in range(_MOST_ROUNDS):
        try:
            return Repaired(model.model_validate(content, context=dict(context)), tuple(lost))
        except ValidationError as error:
            found = causes(error.errors(include_url=False))
        current = Document(document.file, content)
        for detail in found:
            key = explained(current, detail, model).key
            if detail["type"] == "extra_forbidden":
                _pop(content, key)
            elif (changed := _mended(content, key, model, tried)) is not None:
                tried.add(changed)
                lost[changed] = None
            else:
                return None
    return None


def _mended(content: Any, key: Key, model: type[BaseModel], tried: set[Key]) -> Key | None:
    """Change the innermost part of a key that was not changed yet; return it, None if nothing can be."""
    for length in range(len(key), 0, -1):
        path = key[:length]
        node = _node(content, path[:-1])
        if path in tried or node is None:
            continue
        around = _type_at(model, path[:-1])
        owner = next(models_of(around), None)
        field = None
        if owner is not None:
            field = {
                model_field.alias or name: model_field for name, model_field in owner.model_fields.items()
            }.get(str(path[-1]))
        own = getattr(owner, "stand_ins", {})
        element = getattr(next(models_of(_type_at(model, path)), None), "stand_ins", {})
        if field is not None and not field.is_required():
            _pop(content, path)
        elif field is not None and path[-1] in own:
            node[path[-1]] = copy.deepcopy(own[path[-1]])
        elif field is None and element:
            node[path[-1]] = copy.deepcopy(element)
        elif field is None and isinstance(node, dict):
            _pop(content, path)
        else:
            continue
        return path
    return None


def _type_at(model: type[BaseModel], path: Sequence[str | int]) -> object:
    found: object = model
    for part in path:
        found, _, _ = member_type(found, str(part))
    return found


def _node(content: Any, path: Sequence[str | int]) -> Any:
    """Return what is at a path; None if nothing is."""
    for part in path:
        if isinstance(content, dict):
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int) and part < len(content):
            content = content[part]
        else:
            return None
    return content


def _pop(content: Any, path: Sequence[str | int]) -> None:
    node = _node(content, path[:-1])
    if isinstance(node, dict):
        node.pop(path[-1], None)
