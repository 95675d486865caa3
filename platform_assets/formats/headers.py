"""Header detection: tell a row of column names from a row of data, by comparing it with the rows below.

No single cell decides: real headers contain questions, units, symbols and sentences, and data contains words.
The criteria are how the cells differ from the cells below in kind, form, length and repetition, and whether
they are typical words of column names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from platform_assets.formats.words import SHAPES, word_set, words_of

_NUMBER = re.compile(r"[(+\-]{0,2}\s?[$€£¥]?\s?\d[\d.,'\s]*(?:[eE][+\-]?\d+)?\s?[%$€£¥]?\)?")
_DATE = re.compile(
    r"\d{1,4}[\-/.]\d{1,2}[\-/.]\d{1,4}(?:[T ].*)?|\d{1,2}[ \-]?[A-Za-z]{3,9}[ \-,]*\d{2,4}"
    r"|\d{1,2}:\d{2}(?::\d{2}.*)?"
)
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.\-]{1,11}://\S*", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d{2}")
_RUNS = re.compile(r"(.)\1+")
_WORD = re.compile(r"[^\W\d_]")
_SIMPLE = re.compile(r"[^\W\d][\w ]*")
_NOTHING = word_set("n/a na null none nil - -- . unknown nan undefined \\n ?")
_FLAGS = word_set("true false yes no y n t f on off ja nein oui non si sí")
# Typical words of column names, in addition to those that name an info type.
_OF_COLUMNS = word_set("""
    id ids no nr num number name names title type kind code status state date time day month year amount
    total sum price cost count qty quantity value rate percent share score rank level size weight height
    width length age gender sex country city street zip postcode region phone mobile mail email url link
    address company customer client user account order product item sku category group class tag label
    note notes comment comments description remarks reason source target from to start end created updated
    modified deleted active enabled currency unit units first last middle full given family surname key
    index row column field file path host ip version lang language latitude longitude lat lon lng
    department team role job position salary priority question answer response respondent timestamp
    revenue sales balance nombre apellido fecha correo direccion nom prenom adresse datum ort strasse
    vorname nachname geburtsdatum plz
    """)
_LIKE = 1.5
_UNLIKE = -2.0
_ENOUGH = 4
_LONG = 60
# Number of values to examine for kind and form; repetition is searched in all values.
_LOOKED_AT = 40


def is_header(first: Sequence[str], others: Sequence[Sequence[str]], words: Set[str] = frozenset()) -> bool:
    """Return True if a row names the columns of the rows below it.

    Args:
        first: The row.
        others: Rows below it, a few hundred at most.
        words: Further words that are typical of column names.
    """
    cells = [cell.strip() for cell in first]
    named = [cell for cell in cells if cell]
    if not named or len(named) * 2 < len(cells):
        return False
    kinds = [_kind(cell) for cell in cells]
    texts = [kind for kind in kinds if kind in ("text", "code")]
    if not texts:
        return False
    if not others:
        # Without rows to compare, a single value is enough to make it data.
        return len(texts) == len(named) and not any(re.search(r"\d{5}", cell) for cell in named)
    columns = [
        [value for row in others if len(row) > place and (value := row[place].strip())]
        for place in range(len(cells))
    ]
    judged = [
        _judged(cell, kind, below, words)
        for cell, kind, below in zip(cells, kinds, columns, strict=True)
        if cell and below
    ]
    score = sum(judged)
    # Column names are distinct; values of a row may be equal.
    score -= 0.5 * (len(named) - len(set(named)))
    if score:
        return score > 0
    return all(_SIMPLE.fullmatch(cell) for cell in named)


def _judged(cell: str, kind: str, below: Sequence[str], words: Set[str]) -> float:
    """The score of a cell as evidence for a header; below 0 as evidence against it."""
    if cell.casefold() in _NOTHING:
        return 0.0
    known = 1.0 if kind in ("text", "code") and is_column_name(cell, words) else 0.0
    some = below[:_LOOKED_AT]
    counts: dict[str, int] = {}
    for value in some:
        of = _kind(value)
        counts[of] = counts.get(of, 0) + 1
    usual = max(counts, key=lambda count: counts[count])
    if usual != "text" and counts[usual] * 5 >= 4 * len(some):
        if kind != usual:
            # Digits above codes, or a date above numbers, are weak evidence.
            return known + (_LIKE if kind == "text" or usual != "code" else 0.5)
        if usual == "number" and _YEAR.fullmatch(cell) and not _are_years(below):
            return 0.5
        if usual == "code" and _form(cell) not in set(map(_form, some)):
            return known + _judged_by_form(cell, below)
        return known + _UNLIKE
    if kind not in ("text", "code"):
        return _UNLIKE / 2
    return known + _judged_by_form(cell, below)


def _judged_by_form(cell: str, below: Sequence[str]) -> float:
    """The score of a text above texts: by repetition, length and form."""
    values = {value.casefold() for value in below}
    if cell.casefold() in values:
        return _UNLIKE
    score = 0.0
    if len(below) >= _ENOUGH and len(values) * 2 <= len(below):
        score += 1.0
    lengths = [len(value) for value in below]
    shortest, longest = min(lengths), max(lengths)
    spread = longest - shortest
    if len(cell) > longest + spread + 8 or (len(cell) < shortest - spread and shortest > 4):
        score += 0.5
    some = below[:_LOOKED_AT]
    forms = {_form(value) for value in some}
    if len(some) > 1 and len(forms) * 3 <= len(some) + 2:
        if _form(cell) not in forms:
            score += 1.0
        elif len(forms) == 1 or " " in cell:
            score -= 0.75
    return score


def _kind(cell: str) -> str:
    """The kind of a single cell: a number, a date, an address, a flag, a code of letters and digits, text."""
    if not cell or not _WORD.search(cell):
        if _DATE.fullmatch(cell):
            return "date"
        return "number" if _NUMBER.fullmatch(cell) else "sign"
    if len(cell) > _LONG:
        return "text"
    if _EMAIL.fullmatch(cell):
        return "mail"
    if _ADDRESS.fullmatch(cell):
        return "address"
    if _DATE.fullmatch(cell):
        return "date"
    if cell.casefold() in _FLAGS:
        return "flag"
    if _NUMBER.fullmatch(cell):
        return "number"
    return "code" if any(letter.isdigit() for letter in cell) else "text"


def _are_years(values: Sequence[str]) -> bool:
    return sum(_YEAR.fullmatch(value) is not None for value in values) * 2 > len(values)


def _form(value: str) -> str:
    """The form of a text: each run of digits, capitals or small letters becomes one character."""
    shape = value.encode(errors="replace").translate(SHAPES).decode("latin-1")
    return _RUNS.sub(r"\1", shape)


def is_column_name(text: str, words: Set[str] = frozenset()) -> bool:
    """Return True if half of a text, or some words of a question, are typical words of column names.

    Args:
        text: The text.
        words: Further words that are typical of column names.
    """
    found = words_of(text)
    known = sum(word in _OF_COLUMNS or word in words for word in found)
    return known * 2 >= len(found) > 0 or (known > 0 and "?" in text)
