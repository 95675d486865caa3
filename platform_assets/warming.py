"""Preparation of a process whose forked children execute steps, and share its modules and compiled patterns.

Nothing that is prepared here may start a thread that does work, connect with anything or read data: a forked
child has none of its parent's threads, and would share its connections.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from platform_assets.isolation import Isolation
from platform_assets.rooms import Rooms, has_door, present

_LOG = logging.getLogger(__name__)
_LIBRARIES = (
    "boto3",
    "deltalake",
    "duckdb",
    "pandas",
    "pyarrow.pandas_compat",
    "upath.implementations.local",
)
"""Libraries that the platform or its libraries import when they first use them. Those of Google Cloud are not
here, because gRPC does not support forking, nor Snowflake's, because few steps use it and it is large.
"""
_WITHOUT_STEPS = ("command", "component")


@runtime_checkable
class WarmsUp(Protocol):
    """A room that has more to prepare for its steps than its modules."""

    def warm_up(self) -> None:
        """Prepare what is the same in every process; needs no secret.

        Raises:
            PlatformError: The configuration cannot be used.
        """
        ...


def warm_up(rooms: Rooms) -> None:
    """Import what steps need, and let each room prepare the rest.

    What fails is left to the step that needs it, which says why.

    Args:
        rooms: The rooms.
    """
    warming = Isolation("Preparing for steps")
    for name in (*_LIBRARIES, *_modules()):
        with warming.guard(name):
            importlib.import_module(name)
    for room in rooms.offering(WarmsUp):
        with warming.guard(type(room).__name__):
            room.warm_up()
    for failed in warming.failures:
        _LOG.debug("%s is not prepared: %s", failed.name, failed.reason)


def _modules() -> Iterator[str]:
    """Yield the names of the modules of all rooms that define steps."""
    for room in present():
        if has_door(room, "defs"):
            package = importlib.import_module(f"{__package__}.{room.name}")
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if module.name.rpartition(".")[2] not in _WITHOUT_STEPS:
                    yield module.name
