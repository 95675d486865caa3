"""Rules for `masking`: functions whose result no longer shows their argument, as OpenLineage means it."""

from __future__ import annotations

from sqlglot import exp

_CLASSES = (
    *(exp.Count, exp.CountIf, exp.ApproxDistinct, exp.MD5, exp.MD5Digest, exp.SHA, exp.SHA2),
    *(exp.SHA1Digest, exp.SHA2Digest, exp.FarmFingerprint),
)
_NAMES = frozenset({"HASH", "SHA1", "SHA256", "SHA512", "MD5", "MD5_NUMBER", "CRC32", "XXHASH64", "MASK"})
"""Functions that sqlglot does not know by a class of their own."""


def is_masking(node: exp.Expr, further: frozenset[str]) -> bool:
    """Return whether an expression hides its arguments.

    Args:
        node: The expression.
        further: Names of further functions that do, in upper case.
    """
    if isinstance(node, _CLASSES):
        return True
    if not isinstance(node, exp.Func):
        return False
    name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
    return name.upper() in _NAMES or name.upper() in further
