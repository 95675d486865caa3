"""Substitutions: what `${NAME}` stands for, and where a key of the resolved configuration is written.

A name is looked up among the keys first, from the root of the file that it is written in and then from that
of each file that includes it; then among the names that the caller gives, and at last in the environment. A
key that refers to itself means the value that it was given before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from platform_assets.configuration.hocon import (
    DEEPEST,
    UNKNOWN,
    Appended,
    Items,
    Joined,
    Key,
    Layers,
    Members,
    Place,
    Reference,
    Spelled,
    joined,
    merged,
    written,
)
from platform_assets.configuration.secrets import ENV_NAME
from platform_assets.errors import SettingsError

_NOTHING = object()
"""The value of `${?NAME}` where nothing has that name."""
_LONGEST_CHAIN = 50
_MOST_ERRORS = 100
_MOST_STEPS = 50_000
_MOST_VALUES = 200_000
_LONGEST_TEXT = 16 * 1024 * 1024


class _TooMuchError(SettingsError):
    """The document grows beyond all bounds; looking at the rest of it is of no use."""


class Resolution:
    """The resolution of one document.

    Args:
        root: The document as it was parsed.
        given: Texts by name, for names that are no keys.

    Attributes:
        errors: The mistakes that `content` has met.
    """

    def __init__(self, root: Members, given: Mapping[str, str]) -> None:
        self._root = root
        self._given = given
        self.errors: list[SettingsError] = []
        self._depth = 0
        # The depth of the outermost key whose earlier values were used for another one while it was being
        # resolved itself; what depends on it is no final value.
        self._unfinished = _LONGEST_CHAIN + 1
        self._went_round = False
        self._steps = self._values = self._length = 0
        self._around: set[int] = set()

    def content(self) -> dict[str, Any]:
        """The document as plain values; `errors` then has each substitution that cannot be resolved."""
        try:
            found: dict[str, Any] = self._plain(self._root, None)
        except _TooMuchError as error:
            self.errors.append(error)
            return {}
        return found

    def place(self, key: Sequence[str | int]) -> Place | None:
        """Return the place of a key, or of the nearest block or list around it; None for the document."""
        place = None
        for found, _ in self._way_to(key):
            place = found
        return place

    def variables(self, key: Sequence[str | int]) -> tuple[str, ...]:
        """The names that a key's value refers to and that variables can have, the last one on top."""
        way = [*self._way_to(key)]
        names = _names(way[-1][1]) if way and len(way) == len(key) else ()
        return tuple(name for name in names if name not in self._given)

    def all_variables(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """The same for each key that refers to any."""
        return dict(_all_names(self._root, ()))

    def _way_to(self, key: Sequence[str | int]) -> Iterator[tuple[Place, Any]]:
        """The place and the value, as it is written, of each part of a key path, as far as it is there."""
        node: Any = self._root
        for part in key:
            try:
                value = self._value(node)
                if type(value) is Members and isinstance(part, str) and part in value.members:
                    node = value.members[part]
                    place = self._place_on_top(node) or value.places[part]
                elif type(value) is Items and isinstance(part, int):
                    there = [
                        pair
                        for pair in zip(value.items, value.places, strict=True)
                        if self._value(pair[0]) is not _NOTHING
                    ]
                    node, place = there[part]
                else:
                    return
            except (SettingsError, IndexError):
                return
            yield place, node

    def _place_on_top(self, node: Any) -> Place | None:
        """The place of the value that counts among several of one key; None if the key has one value."""
        if type(node) is not Layers:
            return None
        layers = zip(reversed(node.nodes), reversed(node.places), strict=True)
        return next((place for layer, place in layers if self._value(layer) is not _NOTHING), node.places[-1])

    def _plain(self, node: Any, place: Place | None) -> Any:
        """A value as plain Python values, with all that is inside it."""
        value = self._value(node)
        kind = type(value)
        if kind is not Members and kind is not Items:
            return value.value if kind is Spelled else value
        self._values += len(value.places)
        if self._values > _MOST_VALUES:
            raise _too_much(place, f"more than {_MOST_VALUES} values")
        if id(value) in self._around:
            raise _error(place, "a block or list is inside itself by a substitution.")
        if len(self._around) > DEEPEST:
            raise _error(place, f"blocks and lists are nested more than {DEEPEST} deep.")
        self._around.add(id(value))
        try:
            if kind is Members:
                found = (
                    (name, member if type(member) is str else self._plain_member(member, value.places[name]))
                    for name, member in value.members.items()
                )
                return {name: member for name, member in found if member is not _NOTHING}
            members = map(self._plain_member, value.items, value.places)
            return [member for member in members if member is not _NOTHING]
        finally:
            self._around.discard(id(value))

    def _plain_member(self, node: Any, place: Place) -> Any:
        try:
            return self._plain(node, place)
        except _TooMuchError:
            raise
        except SettingsError as error:
            if len(self.errors) == _MOST_ERRORS:
                raise _TooMuchError(str(_error(place, "there are more mistakes than these."))) from None
            self.errors.append(error)
            return _NOTHING

    def _value(self, node: Any) -> Any:
        """A value without substitutions at its top; what is inside a block or list stays as it is.

        Raises:
            SettingsError: A substitution cannot be resolved.
        """
        kind = type(node)
        if kind is Layers:
            return self._layered(node) if node.value is UNKNOWN else node.value
        if kind is Reference:
            return self._looked_up(node)
        return self._joined(node) if kind is Joined else node

    def _looked_up(self, reference: Reference) -> Any:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _too_much((reference.source, reference.at), f"more than {_MOST_STEPS} substitutions")
        before, self._went_round = self._went_round, False
        for root, prefix in reference.source.scopes:
            value = self._member(root, prefix + reference.path)
            if value is not _NOTHING:
                self._went_round = before
                return value
        went_round, self._went_round = self._went_round, before
        name = ".".join(reference.path)
        for names in (self._given, os.environ):
            if name in names:
                return names[name]
        if reference.optional:
            return _NOTHING
        reason = "no key and no environment variable has that name; ${?...} may be missing"
        if went_round:
            reason = "it refers to itself, directly or through other keys, and has no value before"
        raise reference.source.error(reference.at, f"${{{name}}} cannot be resolved: {reason}.")

    def _member(self, root: Members, path: Key) -> Any:
        """The value at a path, of which only what is needed is resolved."""
        node: Any = root
        for part in path:
            value = self._value(node)
            if type(value) is not Members or part not in value.members:
                return _NOTHING
            node = value.members[part]
        return self._value(node)

    def _joined(self, node: Joined) -> Any:
        values = [self._value(part) for part in node.parts]
        there = [value for value in values if value is not _NOTHING]
        if not there:
            return _NOTHING
        if any(type(value) in (Members, Items) for value in there):
            return joined(there, [], node.source, node.at)
        texts = ["" if value is _NOTHING else written(value) for value in values]
        self._length += sum(map(len, texts))
        if self._length > _LONGEST_TEXT:
            raise _too_much((node.source, node.at), "texts of more than 16 MiB")
        return joined(texts, node.gaps, node.source, node.at)

    def _layered(self, layers: Layers) -> Any:
        """The value of a key that has several, or of those before the one that refers to the key itself."""
        goes_back = layers.layer is not None
        top = len(layers.nodes) if layers.layer is None else layers.layer
        before, self._unfinished = self._unfinished, _LONGEST_CHAIN + 1
        outer = layers.layer, layers.depth
        self._depth += 1
        if self._depth > _LONGEST_CHAIN:
            self._depth -= 1
            raise _error(layers.places[-1], f"more than {_LONGEST_CHAIN} substitutions depend on each other.")
        depth = self._depth
        if goes_back:
            self._unfinished = layers.depth
        else:
            layers.depth = depth
        try:
            value = self._counting(layers, top)
        finally:
            layers.layer, layers.depth = outer
            self._depth -= 1
            unfinished, self._unfinished = self._unfinished, before
        if unfinished < depth:
            self._unfinished = min(before, unfinished)
        elif not goes_back:
            layers.value = value
        if goes_back and value is _NOTHING:
            self._went_round = True
        return value

    def _counting(self, layers: Layers, top: int) -> Any:
        """The value that counts, of the values below a layer; blocks are merged."""
        blocks: list[Members] = []
        appended: list[Appended] = []
        value: Any = _NOTHING
        for index in reversed(range(top)):
            layers.layer = index
            node = layers.nodes[index]
            if type(node) is Appended and not blocks:
                appended.append(node)
                continue
            found = _NOTHING if type(node) is Appended else self._value(node)
            if type(found) is Members and not appended:
                blocks.append(found)
            elif found is not _NOTHING or type(node) is Appended:
                value = found
                break
        if appended:
            value = Items() if value is _NOTHING else value
            if type(value) is not Items:
                raise appended[0].source.error(
                    appended[0].at, "+= adds to a list, and this key has another value."
                )
            both = Items()
            for items in (value, *(extension.items for extension in reversed(appended))):
                both.items += items.items
                both.places += items.places
            return both
        for block in reversed(blocks):
            value = merged(value, block) if type(value) is Members else block
        return value


def _names(node: Any) -> Iterator[str]:
    """The names in a value that variables can have; without those inside blocks and lists."""
    kind = type(node)
    if kind is Reference:
        name = ".".join(node.path)
        if ENV_NAME.fullmatch(name):
            yield name
    for part in node.nodes if kind is Layers else node.parts if kind is Joined else ():
        yield from _names(part)


def _all_names(block: Members, path: Key) -> Iterator[tuple[Key, tuple[str, ...]]]:
    for name, node in block.members.items():
        if type(node) is Members:
            yield from _all_names(node, (*path, name))
        elif names := tuple(_names(node)):
            yield (*path, name), names


def _error(place: Place | None, message: str) -> SettingsError:
    return SettingsError(message) if place is None else place[0].error(place[1], message)


def _too_much(place: Place | None, what: str) -> _TooMuchError:
    message = f"the configuration has {what}, with all that substitutions repeat; it cannot be that large."
    return _TooMuchError(str(_error(place, message)))
