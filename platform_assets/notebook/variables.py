"""Variables of a notebook in SQL: `$name`, `${name}` and `{{name}}`.

A `$` that belongs to the query stays. The text is read as SQL is, in one pass:

- Comments, `-- ...` and `/* ... */`, stay as they are.
- Dollar quotes, `$$ ... $$` and `$tag$ ... $tag$` with both ends, stay as they are. A `$$` without an end
stays.
- `$` before anything that cannot start a name stays: `$1`, the JSON paths `$.a.b` and `$[0]`, a price `$ 5`.
- Outside quotes, `$` after a letter, a digit or `_` is part of a name, as in the PostgreSQL name `v$session`.
- `{{...}}` around anything but one name stays, such as the array `'{{1,2},{3,4}}'`.
- In quotes, '...', "..." and `...`, variables are found too, as in `WHERE region = '$region'`.

Values are either pasted as text (`pasted`), where the server takes no others, or travel beside it
(`bound_sql`).
"""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
import numbers
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from platform_assets.errors import PlatformError
from platform_assets.warehouse.interface import BoundSql

_NAME = r"[^\W\d]\w*"
_TOKEN = re.compile(
    rf"""
      (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<dollar_quote> (?<![\w$])\$(?P<tag>(?:{_NAME})?)\$.*?\$(?P=tag)\$ )
    | (?P<dollars> \$\$ )
    | (?P<escape> (?<!\w)[eE](?=') )
    | (?P<quote> ['"`] )
    | (?P<part_of_a_name> \w+(?:\$\w*)* )
    | \${{(?P<braced>{_NAME})}}
    | {{{{\s*(?P<double>{_NAME})\s*}}}}
    | \$(?P<plain>{_NAME})
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_QUOTES = re.compile(
    rf"""
      (?P<dollars> \$\$ )
    | \${{(?P<braced>{_NAME})}}
    | {{{{\s*(?P<double>{_NAME})\s*}}}}
    | \$(?P<plain>{_NAME})
    """,
    re.VERBOSE,
)
_CONTENT = {
    "E": re.compile(r"(?:\\.|''|[^'\\])*", re.DOTALL),
    **{quote: re.compile(f"(?:{quote}{quote}|[^{quote}])*") for quote in "'\"`"},
}
"""The content of each kind of quote; doubled, the quote is part of it."""
_PASTED = (str, numbers.Number, decimal.Decimal, dt.date, dt.time, uuid.UUID, PurePath)


class VariableError(PlatformError):
    """A variable of a query does not exist, or its value cannot be used."""


@dataclass(frozen=True)
class Mention:
    """A variable in a query.

    Args:
        name: Its name.
        written: How it stands in the query.
        quote: The quote that it is in: empty, or one of ' " ` and E for a text with backslashes.
    """

    name: str
    written: str
    quote: str = ""


def split(sql: str) -> Iterator[str | Mention]:
    """Yield the text of a query and the variables in it, in order; joined, they are the query again."""
    place = 0
    quote = ""
    while (found := _TOKEN.search(sql, place)) is not None:
        if found.start() > place:
            yield sql[place : found.start()]
        place = found.end()
        name = found["braced"] or found["double"] or found["plain"]
        if name:
            yield Mention(name, found[0])
        elif found["escape"]:
            quote = "E"
            yield found[0]
        elif found["quote"]:
            inside = _CONTENT[quote or found[0]].match(sql, place)
            end = inside.end() if inside is not None else place
            yield found[0]
            yield from _in_quotes(sql[place:end], quote or found[0])
            yield sql[end : end + 1]
            quote, place = "", end + 1
        else:
            yield found[0]
    if place < len(sql):
        yield sql[place:]


def _in_quotes(content: str, quote: str) -> Iterator[str | Mention]:
    place = 0
    for found in _IN_QUOTES.finditer(content):
        yield content[place : found.start()]
        place = found.end()
        name = found["braced"] or found["double"] or found["plain"]
        yield Mention(name, found[0], quote) if name else found[0]
    yield content[place:]


def pasted(sql: str, namespace: Mapping[str, object]) -> str:
    """Return a query with the values of its variables in its text.

    In quotes, what would end the quote is doubled. Outside quotes a value stands as it is; a list stands as
    its values with commas between them, texts in quotes.

    Args:
        sql: The query.
        namespace: The values by name.

    Raises:
        VariableError: A variable does not exist, or its value has no text.
    """
    return "".join(
        piece if isinstance(piece, str) else _text(piece, _value(piece, namespace)) for piece in split(sql)
    )


def bound_sql(sql: str, namespace: Mapping[str, object]) -> BoundSql:
    """Return a query whose variables are bound: their values travel beside the text.

    A list is bound value by value, as `IN ($names)` needs it.

    Args:
        sql: The query.
        namespace: The values by name.

    Raises:
        VariableError: A variable does not exist, is in quotes, or is an empty list.
    """
    parts, names = [""], list[str]()
    values: dict[str, object] = {}
    for piece in split(sql):
        if isinstance(piece, str):
            parts[-1] += piece
            continue
        if piece.quote:
            if piece.name in namespace:
                raise VariableError(
                    f"{piece.written} stands in quotes, where no value can be bound. Write it without the "
                    "quotes around it; if the text is meant, use --raw."
                )
            parts[-1] += piece.written
            continue
        value = _value(piece, namespace)
        is_list = isinstance(value, list | tuple | set | frozenset)
        items = list(value) if is_list else [value]  # type: ignore[call-overload]
        if not items:
            raise VariableError(
                f"{piece.written} is an empty list, and a query cannot compare with no value."
            )
        for number, item in enumerate(items):
            name = f"{piece.name}[{number}]" if is_list else piece.name
            parts[-1] += ", " if number else ""
            values[name] = _plain(item)
            names.append(name)
            parts.append("")
    return BoundSql(tuple(parts), tuple(names), values)


def _value(mention: Mention, namespace: Mapping[str, object]) -> object:
    if mention.name in namespace:
        return namespace[mention.name]
    known = [name for name in namespace if not name.startswith("_")]
    alike = difflib.get_close_matches(mention.name, known, n=1)
    hint = f" Did you mean {alike[0]}?" if alike else ""
    raise VariableError(
        f"The variable {mention.name} does not exist, and the query has {mention.written} in it.{hint} Set "
        "it first, or use --raw to send the query as it is."
    )


def _text(mention: Mention, value: object) -> str:
    value = _plain(value)
    if isinstance(value, list | tuple | set | frozenset) and not mention.quote:
        return ", ".join(_literal(mention, _plain(item)) for item in value)
    if not isinstance(value, _PASTED):
        raise VariableError(
            f"The variable {mention.name} is of type {type(value).__name__}, which has no form in a query. "
            "Use text, a number, a date, or outside quotes a list of these."
        )
    text = str(value)
    if mention.quote == "E":
        return text.replace("\\", "\\\\").replace("'", "''")
    return text.replace(mention.quote, mention.quote * 2) if mention.quote else text


def _literal(mention: Mention, value: object) -> str:
    text = _text(mention, value)
    return text if isinstance(value, numbers.Number) else "'" + text.replace("'", "''") + "'"


def _plain(value: object) -> object:
    """Return numpy's and pandas' numbers and times as Python's own."""
    library = type(value).__module__.partition(".")[0]
    if library == "pandas" and hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    if library == "numpy" and hasattr(value, "item") and not getattr(value, "shape", ()):
        return value.item()
    return value
