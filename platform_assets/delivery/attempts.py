"""Attempts: how often something is tried, how long to wait in between, and when to stop."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from platform_assets.isolation import is_isolated, is_retryable

Result = TypeVar("Result")
Failing = Callable[[int, BaseException, bool], None]
"""Takes the number of a failed attempt, its error, and whether another attempt follows."""


@dataclass(frozen=True)
class AttemptPolicy:
    """The attempts at one destination.

    Args:
        attempts: The most attempts.
        first_wait: Seconds before the second attempt; doubled before each further one.
        longest_wait: The longest wait, in seconds, unless the destination asks for a longer one.
        jitter: The most seconds that are added to a wait at random.
        deadline: Seconds after which no attempt is begun or continued.
        retry: The errors after which another attempt is made: those that may pass, all, or none.
    """

    attempts: int = 4
    first_wait: float = 2.0
    longest_wait: float = 60.0
    jitter: float = 2.0
    deadline: float = 3600.0
    retry: Literal["unavailable", "all", "none"] = "unavailable"

    def is_worth_retrying(self, error: BaseException) -> bool:
        """Return True if another attempt is made after an error."""
        return self.retry == "all" or (self.retry == "unavailable" and is_retryable(error))


def with_attempts(
    policy: AttemptPolicy,
    attempt: Callable[[int], Result],
    failing: Failing,
    *,
    until: float,
    stopped: threading.Event | None = None,
) -> Result:
    """Make attempts until one succeeds.

    Args:
        policy: The attempts.
        attempt: Takes the number of the attempt, from 1.
        failing: Learns of each failed attempt.
        until: When to stop, by the monotonic clock.
        stopped: Ends a wait, and with it the attempts.

    Raises:
        BaseException: The error of the last attempt.
    """
    import tenacity

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "wait", None)
        grown = min(policy.first_wait * 2 ** (state.attempt_number - 1), policy.longest_wait)
        spread = random.uniform(0, policy.jitter)  # noqa: S311 - spreads attempts, guards nothing
        least = float(asked) if isinstance(asked, int | float) else 0.0
        return float(max(grown + spread, least))

    def stop(state: tenacity.RetryCallState) -> bool:
        is_late = time.monotonic() + state.upcoming_sleep >= until
        is_last = state.attempt_number >= policy.attempts or is_late or stop_now.is_set()
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            failing(state.attempt_number, error, not is_last)
        return is_last

    def is_worth_it(error: BaseException) -> bool:
        if is_isolated(error) and policy.is_worth_retrying(error):
            return True
        failing(number, error, False)
        return False

    stop_now = stopped or threading.Event()
    retrying = tenacity.Retrying(
        stop=stop,
        wait=wait,
        retry=tenacity.retry_if_exception(is_worth_it),
        sleep=tenacity.sleep_using_event(stop_now),
        reraise=True,
    )
    number = 0
    for number, of_attempt in enumerate(retrying, 1):
        with of_attempt:
            return attempt(number)
    raise AssertionError("The last attempt raises its error.")
