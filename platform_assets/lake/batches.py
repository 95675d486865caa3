"""Numbers of batches: which of them count, and how many of them are in a range."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Set
from functools import cached_property


class Batches(Set[int]):
    """An immutable set of batch numbers that can count its members in a range.

    Args:
        numbers: The numbers, in any order.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._set = frozenset(numbers)

    def __contains__(self, number: object) -> bool:
        """Return True if the number is in the set."""
        return number in self._set

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers in no particular order."""
        return iter(self._set)

    def __len__(self) -> int:
        """Return how many numbers there are."""
        return len(self._set)

    @cached_property
    def _ordered(self) -> list[int]:
        return sorted(self._set)

    def between(self, first: int, last: int) -> list[int]:
        """Return the numbers from `first` to `last`, both included, in order."""
        return self._ordered[bisect_left(self._ordered, first) : bisect_right(self._ordered, last)]

    def count_between(self, first: int, last: int) -> int:
        """Return how many numbers there are from `first` to `last`, both included."""
        return bisect_right(self._ordered, last) - bisect_left(self._ordered, first)
