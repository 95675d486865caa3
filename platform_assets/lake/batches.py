"""Numbers of batches: which of them count, and how many of them are in a range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Batches(Set[int]):
    """An immutable set of batch numbers that can count its members in a range.

    Args:
        numbers: The numbers, in any order.
    """

    def __init__(self, numbers: Iterable[int] | NDArray[np.int64] = ()) -> None:
        given = numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, np.int64)
        self._numbers = np.unique(given)

    def __contains__(self, number: object) -> bool:
        """Return True if the number is in the set."""
        return isinstance(number, int | np.integer) and self.count_between(int(number), int(number)) == 1

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers in order."""
        return iter(self._numbers.tolist())

    def __len__(self) -> int:
        """Return how many numbers there are."""
        return len(self._numbers)

    def with_one(self, number: int) -> Batches:
        """Return a copy that has one more number."""
        return Batches(np.append(self._numbers, np.int64(number)))

    def count_between(self, first: int, last: int) -> int:
        """Return how many numbers there are from `first` to `last`, both included."""
        low, high = np.searchsorted(self._numbers, [first, last + 1])
        return max(int(high - low), 0)
