"""Fixtures for every folder: the servers are in `fixtures/`, one module each."""

import gc
import logging
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets_tests.fixtures.leftovers import open_session, remove_leftovers
from platform_assets_tests.fixtures.properties import is_thorough, register_profiles

register_profiles()

# Thousands of tests are collected from hundreds of modules, and nothing of it becomes garbage.
gc.disable()

pytest_plugins = [
    "platform_assets_tests.fixtures.postgres",
    "platform_assets_tests.fixtures.s3",
    "platform_assets_tests.fixtures.snowflake",
]


_SESSION = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Clean up after sessions that were killed, and give this one a temporary folder of its own."""
    # Processes of xdist inherit that of the one that started them.
    if not hasattr(config, "workerinput"):
        remove_leftovers([Path(tempfile.gettempdir())])
        config.stash[_SESSION] = open_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder with whatever tests have left in it."""
    # DuckDB's bindings report objects that are not collected when Python ends.
    gc.unfreeze()
    folder = config.stash.get(_SESSION, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_make_parametrize_id(config: object, val: object, argname: str) -> str | None:
    """Names tests after their parameters, but not after bytes, which may be others in every process."""
    return argname if isinstance(val, bytes) else None


LONG = (
    "integration/",
    "lake/test_upkeep",
    "source/test_races",
    "test_first_use",
    "test_rooms",
    "warehouse/test_conformance",
)
"""Where the tests of many seconds are, in this folder."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make soak` runs, and begin with what takes long.

    Examples of hypothesis are left out of the coverage: they add no lines to it, at twice the time. Of
    several processes, the last one to end has only short tests left at the end.
    """
    if not (is_thorough() or config.option.markexpr):
        left_out = {item for item in items if item.get_closest_marker("soak")} | _beyond_the_sample(items)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("no_cover")
    folder = f"{Path(__file__).parent.name}/"
    items.sort(key=lambda item: not item.nodeid.removeprefix(folder).startswith(LONG))


def _beyond_the_sample(items: list[pytest.Item]) -> set[pytest.Item]:
    """The cases of sampled tests that a plain run leaves out: all but each so many-th, by name.

    Tests begin at different cases, so that no warehouse, writer or error is left out of all of them.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled") and not item.get_closest_marker("soak"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = set()
    for test, of_test in cases.items():
        marker = of_test[0].get_closest_marker("sampled")
        assert marker is not None
        every = min(marker.args[0], len(of_test))
        first = zlib.crc32(test.encode()) % every
        ordered = sorted(of_test, key=lambda item: item.nodeid)
        left_out |= {item for number, item in enumerate(ordered) if number % every != first}
    return left_out


def pytest_collection_finish() -> None:
    """Have the garbage collector look at what tests make, and never again at what was imported before."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_json_logs_afterwards() -> Iterator[None]:
    """Take away the JSON handler that a test's configuration gave to this process, for the tests after it."""
    yield
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__name__ != "JsonHandler"]
