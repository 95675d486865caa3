"""Options of magics: they stand before the query, which is taken as it is, quotes and dashes included."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from platform_assets.errors import PlatformError

_OPTION = re.compile(r"\s*(--[A-Za-z][\w-]*)(=?)")
_WORD = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|(\S+))""")


class OptionError(PlatformError):
    """An option of a magic does not exist, or its value cannot be used."""


@dataclass(frozen=True)
class Option:
    """An option of a magic.

    Args:
        name: Its name, with the two dashes.
        help: What it does, for `--help`.
        value: Name of its value, for `--help`; empty if it takes none.
        read: Converts the value; a ValueError says what is expected.
        choices: The values that an optional value may have; with choices, the value may be left out.
    """

    name: str
    help: str
    value: str = ""
    read: Callable[[str], Any] = str
    choices: Sequence[str] = ()


HELP = Option("--help", "show this")


def parse(line: str, options: Sequence[Option]) -> tuple[Mapping[str, Any], str]:
    """Read the options at the start of a line.

    Args:
        line: The line after the magic's name.
        options: The options that exist.

    Returns:
        The values by the options' names without dashes; and what follows the options.

    Raises:
        OptionError: An option does not exist, lacks its value or has a wrong one.
    """
    by_name = {option.name: option for option in (*options, HELP)}
    values: dict[str, Any] = {}
    place = 0
    while (found := _OPTION.match(line, place)) is not None:
        option = by_name.get(found[1])
        if option is None:
            raise _unknown(found[1], by_name)
        place = found.end()
        name = option.name.removeprefix("--")
        if not option.value:
            if found[2]:
                raise OptionError(f"The option {option.name} takes no value.")
            values[name] = True
            continue
        word = _WORD.match(line, place)
        text = next((group for group in word.groups() if group is not None), "") if word is not None else None
        if option.choices and not found[2] and text not in option.choices:
            values[name] = ""
            continue
        if word is None or text is None:
            raise OptionError(f"The option {option.name} needs a value: {option.name} {option.value}.")
        try:
            values[name] = option.read(text)
        except ValueError as error:
            raise OptionError(f"The option {option.name} has the value {text}: {error}.") from None
        place = word.end()
    return values, line[place:].strip()


def _unknown(written: str, known: Mapping[str, Option]) -> OptionError:
    alike = difflib.get_close_matches(written, known, n=1)
    hint = f" Did you mean {alike[0]}?" if alike else ""
    return OptionError(f"There is no option {written}.{hint} The options are {', '.join(known)}.")


def describe(usage: str, options: Sequence[Option]) -> str:
    """Return the text of `--help`."""
    rows = [(f"{option.name} {option.value}".strip(), option.help) for option in (*options, HELP)]
    width = max(len(left) for left, _ in rows)
    return "\n".join([usage, "", *(f"  {left:<{width}}  {right}" for left, right in rows)])


def whole_number(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("expected a whole number, 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError("expected a number of seconds, more than 0")
    return value


def variable_name(text: str) -> str:
    """Read the name of a variable."""
    import keyword

    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError("expected the name of a variable")
    return text


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """Return a reader that accepts some words only."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text

    return read
