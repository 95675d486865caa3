"""Planning and applying the steps that stored tables and files need.

Progress is nowhere but in what is stored: each table or file holds its version, which changes when a step is
complete. An upgrade that was killed is therefore continued by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from platform_assets.isolation import is_isolated, reason_of
from platform_assets.stored import FormatProblem, Stored
from platform_assets.upgrades.steps import UpgradeStep


@dataclass(frozen=True)
class Due:
    """A stored table or file with the steps that it needs.

    Attributes:
        stored: The table or file.
        version: Its version.
        steps: The steps, in order.
    """

    stored: Stored
    version: int
    steps: tuple[UpgradeStep, ...]


def due(
    everything: Iterable[Stored | FormatProblem], steps: Sequence[UpgradeStep]
) -> Iterator[Due | FormatProblem]:
    """Yield what has to be migrated, and what cannot be; what is up to date is left out.

    Args:
        everything: As `everything_stored` yields it.
        steps: All steps.
    """
    for stored in everything:
        if isinstance(stored, FormatProblem):
            yield stored
            continue
        try:
            found = _due(stored, steps)
        except BaseException as error:
            if not is_isolated(error):
                raise
            found = FormatProblem(stored.place, reason_of(error))
        if found is not None:
            yield found


def _due(stored: Stored, steps: Sequence[UpgradeStep]) -> Due | FormatProblem | None:
    version = stored.version()
    if version is None:
        return None
    needed = tuple(
        step
        for step in sorted(steps, key=lambda step: step.to)
        if step.format == stored.format.name and version < step.to <= stored.format.version
    )
    reached = needed[-1].to if needed else version
    if reason := stored.format.refusal(reached, stored.place):
        return FormatProblem(stored.place, reason)
    return Due(stored, version, needed) if needed else None


def apply(pending: Due, report: Callable[[str], None]) -> FormatProblem | None:
    """Take the steps of a table or file; return what failed. Steps that succeeded stay.

    Args:
        pending: The table or file, and its steps.
        report: Receives a line for each step.
    """
    for step in pending.steps:
        try:
            step.run(pending.stored.subject)
            pending.stored.stamp(step.to)
        except BaseException as error:
            if not is_isolated(error):
                raise
            reason = f"The step {step.name} failed: {reason_of(error)} Correct that, then upgrade again."
            return FormatProblem(pending.stored.place, reason)
        report(f"{pending.stored.place}: {step.name}, now version {step.to}")
    return None
