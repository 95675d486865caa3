"""Retries after lost races, for as long as other runs make progress.

Two runs may attempt the same commit at the same moment, and one of them loses. A lost race is not a failure:
the loser reads the state again, and either the winner has done the work or the loser does the rest. No fixed
number of retries fits, because it depends on the number of runs. Retries therefore continue for as long as
any run makes progress.
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
    """Limits after which other runs are considered to have stopped.

    Args:
        idle_tries: Number of consecutive lost attempts without progress by other runs in between.
        idle_for: Seconds without progress that must also pass, whatever the number of attempts.
        first_wait: Upper bound of the first wait between two such attempts, in seconds; doubles each time.
        longest_wait: Limit of that bound, in seconds.
        quiet: Time that a winner may take for its next step before its work is taken over, in seconds;
            doubles each time that the takeover was premature.
        longest_quiet: Limit of that time, in seconds.
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
    """Yield once for each attempt worth making; the caller leaves the loop when an attempt succeeds.

    The loop ends when attempts keep failing although no other run makes progress: the failure is then real.
    `progress` and `settled` are not called before the first attempt has failed.

    Args:
        progress: Returns a value that changes with every step of other runs, such as a table's version.
        settled: Returns whether other runs have finished all their work since the last attempt began. If
            given, a lost attempt waits for that as long as other runs make progress, instead of doing the
            same work in parallel.
        patience: Limits of the waits; None for the defaults.
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
    """Make an attempt, and retry it after each lost race; see `attempts`.

    Args:
        attempt: Reads the current state and does the remaining work.
        progress: See `attempts`.
        settled: See `attempts`.
        lost: The errors that may mean a lost race.
        patience: See `attempts`.

    Raises:
        Exception: The last of the errors in `lost`, once no other run makes progress.
    """
    error: Exception = RuntimeError("No attempt was made.")
    for _ in attempts(progress, settled=settled, patience=patience):
        try:
            return attempt()
        except lost as lost_race:
            error = lost_race
    raise error


def _is_settled(progress: Callable[[], object], settled: Callable[[], bool], quiet: float) -> bool:
    """Wait for other runs to finish their work; return False if they make no progress for `quiet` seconds."""
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
