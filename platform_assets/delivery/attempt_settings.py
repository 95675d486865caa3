"""Settings of attempts, for all deliveries and for each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from platform_assets.configuration.values import Block, Integer


class AttemptSettings(Block):
    """Attempts at each destination, and at reading the data."""

    number: Integer = Field(default=4, ge=1, le=100, description="a whole number from 1 to 100")
    """The most attempts in one run."""
    first_wait: float = Field(default=2, ge=0, le=3600, description="seconds from 0 to 3600")
    """Seconds before the second attempt; doubled before each further one."""
    longest_wait: float = Field(default=60, ge=0, le=3600, description="seconds from 0 to 3600")
    """The longest wait in seconds, unless a destination asks for a longer one."""
    jitter: float = Field(default=2, ge=0, le=600, description="seconds from 0 to 600")
    """The most seconds that are added to a wait at random, so that runs do not retry at the same moment."""
    deadline_minutes: float = Field(default=60, gt=0, le=10_080, description="minutes up to 10080, a week")
    """Minutes after which a run gives up; the next run continues."""
    retry: Literal["unavailable", "all", "none"] = Field(
        default="unavailable", description="one of unavailable, all, none"
    )
    """The errors after which another attempt is made: `unavailable` for those that may pass by themselves,
    such as a dropped connection and not a wrong password."""
