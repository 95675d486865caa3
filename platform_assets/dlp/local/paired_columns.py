"""Secrets in tables of names and values: a column names what another column of the same row holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.dlp.local.column_names import describes_another
from platform_assets.dlp.local.regex import compiled, matching
from platform_assets.dlp.local.scanners.pairs import (
    is_name_field,
    is_value_field,
    paired_secret,
    secrets_below,
)
from platform_assets.dlp.local.scanners.secrets import NAMES
from platform_assets.dlp.local.scanners.text import ENTROPY, HEADER, HOTWORD, LIKELY, Match
from platform_assets.formats.words import words_of

PAIRED_TYPES = frozenset({"PASSWORD", "AUTH_TOKEN"})
"""The info types of secrets in pairs."""

_NAME_ALONE = f"^[A-Za-z0-9_.\\-]{{0,40}}(?:{NAMES})[A-Za-z0-9_.\\-]{{0,20}}$"
_MOST_PAIRS = 4
_MOST_VALUES = 10_000
_SECRET_NAME = compiled(f"(?i)(?:{NAMES})")
_BEST_NAMES = ("name", "key", "parameter", "variable", "property", "id")


class PairedSecret(NamedTuple):
    """A value of a column that is a secret by the name beside or above it.

    Args:
        value: The value.
        match: Its match.
    """

    value: str
    match: Match


def _always(column: str) -> bool:
    return True


def paired_secrets(
    columns: Mapping[str, pa.Array],
    dummies: bool = False,
    *,
    may_name: Callable[[str], bool] = _always,
    may_be_named: Callable[[str], bool] = _always,
) -> dict[str, list[PairedSecret]]:
    """The secrets of a table that need the row's name or the path of keys to be known, by column.

    Args:
        columns: The columns of the table, all of one length.
        dummies: True if sequences and UUIDs count as secrets, also under a name of their own.
        may_name: Returns False only if a column names no other, or no value of it mentions the name of a
            secret.
        may_be_named: Returns False only if no key of a column's path is named after secrets.

    Returns:
        Distinct values with their matches; only columns that have any.
    """
    found: dict[str, dict[str, Match]] = {}
    for value_name, named_by in _pairs(tuple(map(str, columns))) if any(map(may_name, columns)) else ():
        for place in filter(may_name, named_by):
            for name, value in _named_values(columns[place], columns[value_name]):
                _judge(found, value_name, (name, value), HOTWORD, dummies=dummies)
    for column in columns:
        is_named, is_list = may_be_named(column), column.endswith("[]")
        if not (is_named or is_list) or describes_another(column):
            continue
        above = secrets_below(column) if is_named else None
        if (
            above is None
            and dummies
            and is_named
            and _SECRET_NAME.search(_split(column)[1].encode()) is not None
        ):
            above = _split(column)[1].strip("[]")
        if above is not None:
            values = pc.unique(columns[column].cast(pa.large_string())).slice(0, _MOST_VALUES)
            for value in values.to_pylist():
                _judge(found, column, (above, value or ""), HEADER, dummies=dummies)
        if is_list and may_name(column):
            for name, value in _pairs_of_elements(columns[column]):
                _judge(found, column, (name, value), HOTWORD, LIKELY, dummies)
    return {
        column: [PairedSecret(value, match) for value, match in matches.items()]
        for column, matches in found.items()
    }


def _judge(
    found: dict[str, dict[str, Match]],
    column: str,
    pair: tuple[str, str],
    evidence: int,
    least: int = 0,
    dummies: bool = False,
) -> None:
    name, value = pair
    judged = paired_secret(name, value, dummies=dummies)
    if judged is not None and judged[1] >= least:
        size = len(value.encode("utf-8", "replace"))
        found.setdefault(column, {})[value] = Match(0, size, *judged, ENTROPY | evidence, 0)


@lru_cache(maxsize=1_024)
def _pairs(names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The columns of values, each with the columns that name them, the likeliest first."""
    naming: dict[str, list[str]] = {}
    parts = [(name, *_split(name)) for name in names]
    for name, above, last in parts:
        if is_name_field(last):
            naming.setdefault(above.rstrip("./@"), []).append(name)
    if not naming:
        return ()
    pairs = []
    for name, above, last in parts:
        # The text of an XML element is named by its own attributes.
        candidates = [candidate for candidate in naming.get(name, ()) if "/@" in candidate]
        if is_value_field(last):
            candidates += [
                candidate for candidate in naming.get(above.rstrip("./@"), ()) if candidate != name
            ]
        if candidates:
            stem = words_of(last)[:-1]
            candidates.sort(key=lambda candidate, stem=stem: _rank(candidate, stem))  # type: ignore[misc]
            pairs.append((name, tuple(candidates[:_MOST_PAIRS])))
    return tuple(pairs)


def _rank(name: str, stem: tuple[str, ...]) -> tuple[bool, int]:
    words = words_of(_split(name)[1])
    best = _BEST_NAMES.index(words[-1]) if words[-1] in _BEST_NAMES else len(_BEST_NAMES)
    return words[:-1] != stem, best


def _split(name: str) -> tuple[str, str]:
    at = max(name.rfind("."), name.rfind("/"), name.rfind("@")) + 1
    return name[:at], name[at:]


def _named_values(names: pa.Array, values: pa.Array) -> Iterator[tuple[str, str]]:
    """The distinct pairs of a secret's name and a value."""
    if not (_is_text(names.type) and _is_text(values.type)):
        return
    names, values = names.cast(pa.large_string()), values.cast(pa.large_string())
    named = matching(names, f"(?:{NAMES})", ignore_case=True)
    if not named.any():
        return
    held = pa.array(named)
    both = pa.table({"name": names.filter(held), "value": values.filter(held)}).group_by(["name", "value"])
    for row in both.aggregate([]).slice(0, _MOST_VALUES).to_pylist():
        if row["name"] and row["value"]:
            yield row["name"], row["value"]


def _pairs_of_elements(column: pa.Array) -> Iterator[tuple[str, str]]:
    """The elements of lists that are the name of a secret, each with the next one: `["password", "..."]`."""
    if not _is_text(column.type) or len(column) < 2:
        return
    # Lists of pairs are short; long lists are of something else, and would take their time.
    elements = column.slice(0, 2 * _MOST_VALUES).cast(pa.large_string())
    held = matching(elements, _NAME_ALONE, ignore_case=True)
    for place in np.flatnonzero(held)[:_MOST_VALUES].tolist():
        if place + 1 < len(elements):
            name, value = elements[place].as_py(), elements[place + 1].as_py()
            if value and not held[place + 1]:
                yield name, value


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (pa.types.is_dictionary(kind) and _is_text(kind.value_type))
    )
