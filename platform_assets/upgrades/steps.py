"""The steps by which stored tables and files are migrated, in the order of the versions.

A step changes one stored table or file from the version before it to its own. It is run again after a crash:
it must leave the same result, however much of it was done before. The version is stored after it, by the
caller; a step that can store it together with its change does so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class UpgradeStep:
    """A step from one version of a format to the next.

    Args:
        name: Its name in reports.
        format: Name of the format.
        to: The version that it leads to.
        summary: What it does, as a sentence.
        run: Does it, given the `subject` of the stored table or file.
    """

    name: str
    format: str
    to: int
    summary: str
    run: Callable[[Any], None]


STEPS: Sequence[UpgradeStep] = ()
"""All steps. Every format still has its first version, so there are none."""
