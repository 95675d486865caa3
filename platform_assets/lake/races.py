"""Lost races: trying again for as long as somebody else makes progress.

Two runs may reach the same commit at the same moment, and one of them loses. That is no failure: the loser
looks again, and finds that the other has done the work, or does what is left. No number of tries is right for
that, as it depends on how many runs there are: what counts is whether anybody makes progress.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from platform_assets.errors import LakeConflict

Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long it takes until nobody is believed to be at work any more.

    Args:
        idle_tries: Tries in a row that are lost although nobody has got on since the try before.
        idle_for: Longest time without progress, in seconds, whatever the number of tries.
        first_wait: Longest wait between two such tries, in seconds; it doubles with each.
        longest_wait: Longest of these waits, in seconds.
        quiet: How long a winner may take for its next step before its work is taken over, in seconds; it
            doubles with each time that this was premature.
        longest_quiet: Longest of these times, in seconds.
    """

    idle_tries: int = 8
    idle_for: float = 0
    first_wait: float = 0.05
    longest_wait: float = 3.2
    quiet: float = 2
    longest_quiet: float = 60


def attempts(
    progress: Callable[[], object],
    *,
    settled: Callable[[], bool] | None = None,
    patience: Patience | None = None,
) -> Iterator[None]:
    """Yield once for each attempt that is worth making; the caller leaves the loop when one succeeds.

    The loop ends when attempts keep failing although nobody else makes progress: the failure is a real one.
    Nothing is asked before a first attempt has failed.

    Args:
        progress: What changes with everything that others do, such as the version of a table.
        settled: Whether others are done with the whole of their work, since the last attempt began. Given, an
            attempt that lost waits for that as long as there is progress, instead of doing the same work
            beside them.
        patience: How long to wait, where that is not as usual.
    """
    limits = patience or Patience()
    seen: object = None
    idle, quiet, moved_at = 0, limits.quiet, None
    while True:
        yield
        now = progress()
        if moved_at is None or now != seen:
            idle, moved_at = 0, time.monotonic()
        else:
            idle += 1
        if idle > limits.idle_tries and time.monotonic() - moved_at >= limits.idle_for:
            return
        seen = now
        time.sleep(_jitter(min(limits.first_wait * 2 ** min(idle, 20), limits.longest_wait)))
        if settled is not None and not _is_settled(progress, settled, quiet):
            quiet = min(quiet * 2, limits.longest_quiet)


def retry_while_others_progress(
    attempt: Callable[[], Result],
    progress: Callable[[], object],
    *,
    settled: Callable[[], bool] | None = None,
    lost: tuple[type[Exception], ...] = (LakeConflict,),
    patience: Patience | None = None,
) -> Result:
    """Make an attempt, and make it again after each lost race; see `attempts`.

    Args:
        attempt: Looks at how things are now, and does what is left.
        progress: See `attempts`.
        settled: See `attempts`.
        lost: The errors that may mean a lost race.
        patience: See `attempts`.

    Raises:
        Exception: The last of these errors, when nobody else makes progress.
    """
    error: Exception | None = None
    for _ in attempts(progress, settled=settled, patience=patience):
        try:
            return attempt()
        except lost as lost_race:
            error = lost_race
    assert error is not None  # noqa: S101 - the loop makes one attempt at least
    raise error


def _is_settled(progress: Callable[[], object], settled: Callable[[], bool], quiet: float) -> bool:
    """Wait for others to end their work; False where nothing was seen of them for a while."""
    if settled():
        return True
    seen, since = progress(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(_jitter(min(quiet / 8, 1)))
        if settled():
            return True
        now = progress()
        if now != seen:
            seen, since = now, time.monotonic()
    return False


def _jitter(longest: float) -> float:
    return random.uniform(longest / 4, longest)  # noqa: S311 - spreads retries, keeps no secret
