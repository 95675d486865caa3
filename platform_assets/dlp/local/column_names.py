"""Evidence from the name of a column about its values; in a document the name is a path of keys.

Documents about data (schemas, descriptions of services, forms) have names of sensitive data as keys, and
below them keys such as `type` or `description`, whose values describe the data and are none.
"""

from __future__ import annotations

import re
from functools import lru_cache

from platform_assets.formats.words import word_set, words_of

_DESCRIBING = word_set("""
    type types shape format pattern regex description descriptions documentation desc doc docs summary comment
    comments ref schema enum enums required optional example examples annotations annotation help hint
    tooltip title kind datatype validation validators deprecated readonly scopes
    """)


@lru_cache(maxsize=16_384)
def describes_another(name: str) -> bool:
    """Return True if values of a path of keys describe what the keys above name, as `password.type` does."""
    key = _last_key(name)
    words = words_of(key)
    return len(key) < len(name) and bool(words) and words[-1] in _DESCRIBING


_VALUE_KEYS = word_set("value values val text item items element entry content data raw plain current")


@lru_cache(maxsize=16_384)
def words_of_keys(name: str, count: int) -> tuple[str, ...]:
    """The words of the last keys of a path, without those at its end that only say that they hold a value.

    Args:
        name: The path.
        count: Number of keys.
    """
    keys = [words_of(key) for key in re.split(r"[./@]", name)]
    while len(keys) > 1 and all(word in _VALUE_KEYS or word.isdigit() for word in keys[-1]):
        keys.pop()
    return tuple(word for key in keys[-count:] for word in key)


@lru_cache(maxsize=16_384)
def words_of_column(name: str) -> tuple[str, ...]:
    """The words of a column's name, or only of its last key if that describes what the keys above name."""
    if not describes_another(name):
        return words_of(name)
    return words_of(_last_key(name))


def _last_key(name: str) -> str:
    return name[max(name.rfind("."), name.rfind("/"), name.rfind("@")) + 1 :]
