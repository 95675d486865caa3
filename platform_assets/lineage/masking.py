"""Rules for what an expression hides of its arguments: OpenLineage's `masking`, and what ends a trail."""

from __future__ import annotations

from enum import IntEnum

from sqlglot import exp

_COUNTS = (exp.Count, exp.CountIf, exp.ApproxDistinct)
_HASHES = (
    *(exp.MD5, exp.MD5Digest, exp.SHA, exp.SHA2),
    *(exp.SHA1Digest, exp.SHA2Digest, exp.FarmFingerprint),
)
_NAMES = frozenset({"HASH", "SHA1", "SHA256", "SHA512", "MD5", "MD5_NUMBER", "CRC32", "XXHASH64", "MASK"})
"""Functions that sqlglot does not know by a class of their own."""
_LONG_UNITS = frozenset({"YEAR", "ISOYEAR", "DECADE", "CENTURY", "MILLENNIUM", "ERA"})
_YEAR_FORMATS = frozenset({"%Y", "%y", "%G", "yyyy", "YYYY"})


class Hiding(IntEnum):
    """The effect of an expression on the information in its arguments."""

    NOTHING = 0
    VALUE = 1
    """The value cannot be read. It can be guessed: a hash without a key is equal for equal values."""
    ALL = 2
    """Nothing about a single value is left: a count, the year of a date, a function that is declared so."""


def hiding_of(node: exp.Expr, declared: frozenset[str]) -> Hiding:
    """Return what an expression hides of its arguments.

    Args:
        node: The expression.
        declared: Names of functions that are declared to hide all, in upper case.
    """
    if isinstance(node, _COUNTS) or _is_null_test(node) or _is_year(node):
        return Hiding.ALL
    if isinstance(node, _HASHES):
        return Hiding.VALUE
    if not isinstance(node, exp.Func):
        return Hiding.NOTHING
    name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).upper()
    if name in declared:
        return Hiding.ALL
    return Hiding.VALUE if name in _NAMES else Hiding.NOTHING


def _is_null_test(node: exp.Expr) -> bool:
    return isinstance(node, exp.Is) and isinstance(node.expression, exp.Null)


def _is_year(node: exp.Expr) -> bool:
    """Return True if nothing shorter than a year is left of a date."""
    match node:
        case exp.Year() | exp.YearOfWeekIso():
            return True
        case exp.Extract():
            return node.name.upper() in _LONG_UNITS
        case exp.DateTrunc() | exp.TimestampTrunc():
            unit = node.args.get("unit")
            return unit is not None and unit.name.upper() in _LONG_UNITS
        case exp.TimeToStr():
            return node.text("format") in _YEAR_FORMATS
        case exp.Anonymous() if node.name.upper() == "DATE_PART":
            return bool(node.expressions) and node.expressions[0].name.upper() in _LONG_UNITS
        case exp.Anonymous():
            return node.name.upper() in _LONG_UNITS
    return False
