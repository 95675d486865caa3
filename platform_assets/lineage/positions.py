"""Places of expressions in SQL text, in characters, found by the tokens around what sqlglot locates."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlglot.tokenizer_core import Token

Span = tuple[int, int]

_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})
_BEFORE = frozenset({TokenType.COMMA, TokenType.SELECT, TokenType.DISTINCT, TokenType.ALL})
_AFTER = frozenset(
    {
        *(TokenType.COMMA, TokenType.FROM, TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING),
        *(TokenType.QUALIFY, TokenType.ORDER_BY, TokenType.LIMIT, TokenType.UNION, TokenType.EXCEPT),
        *(TokenType.INTERSECT, TokenType.SEMICOLON, TokenType.INTO, TokenType.WINDOW),
    }
)


class SqlPositions:
    """The places of expressions in one text.

    Args:
        tokens: The tokens of the text.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._starts = [token.start for token in tokens]

    def projection(self, node: exp.Expr) -> Span | None:
        """Return the span of an item of a select list, with its alias."""
        found = self._located(node)
        if found is None:
            return None
        first, last, selects = found
        depth = 0
        while first > 0:
            kind = self._tokens[first - 1].token_type
            if depth == 0 and kind in _BEFORE:
                if kind is not TokenType.SELECT or selects == 0:
                    break
                selects -= 1
            # A bracket that nothing here closes belongs to the item: it is behind its SELECT.
            depth = max(depth + (kind in _CLOSING) - (kind in _OPENING), 0)
            first -= 1
        depth = sum(
            (token.token_type in _OPENING) - (token.token_type in _CLOSING)
            for token in self._tokens[first : last + 1]
        )
        while last + 1 < len(self._tokens):
            kind = self._tokens[last + 1].token_type
            if depth <= 0 and (kind in _AFTER or kind in _CLOSING):
                break
            depth += (kind in _OPENING) - (kind in _CLOSING)
            last += 1
        return self._tokens[first].start, self._tokens[last].end + 1

    def expression(self, node: exp.Expr) -> Span | None:
        """Return the span of an expression: from its first to its last name, with their brackets."""
        found = self._located(node)
        if found is None:
            return None
        first, last, _ = found
        depth = lowest = 0
        for token in self._tokens[first : last + 1]:
            depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
            lowest = min(lowest, depth)
        while lowest < 0 and first > 0:
            first -= 1
            kind = self._tokens[first].token_type
            change = (kind in _OPENING) - (kind in _CLOSING)
            lowest, depth = lowest + change, depth + change
        while depth > 0 and last + 1 < len(self._tokens):
            last += 1
            kind = self._tokens[last].token_type
            depth += (kind in _OPENING) - (kind in _CLOSING)
        return self._tokens[first].start, self._tokens[last].end + 1

    def _located(self, node: exp.Expr) -> tuple[int, int, int] | None:
        """Return an expression's first and last token that sqlglot has located.

        Returns:
            The tokens' places, and the number of SELECTs of the expression that are left of the first.
        """
        leftmost: exp.Expr | None = None
        start = end = -1
        for part in node.walk():
            place = part.meta.get("start")
            if place is None:
                continue
            if leftmost is None or place < start:
                leftmost, start = part, place
            end = max(end, part.meta["end"])
        if leftmost is None:
            return None
        selects, around = 0, leftmost
        while around is not node and around.parent is not None:
            around = around.parent
            selects += isinstance(around, exp.Select)
        return self._at(start), self._at(end), selects

    def _at(self, place: int) -> int:
        return max(bisect_right(self._starts, place) - 1, 0)
