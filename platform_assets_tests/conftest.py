"""Fixtures for every folder: the servers are in `fixtures/`, one module each."""

import pytest

from platform_assets_tests.fixtures.properties import register_profiles

register_profiles()

pytest_plugins = [
    "platform_assets_tests.fixtures.postgres",
    "platform_assets_tests.fixtures.s3",
    "platform_assets_tests.fixtures.snowflake",
]


def pytest_make_parametrize_id(config: object, val: object, argname: str) -> str | None:
    """Names tests after their parameters, but not after bytes, which may be others in every process."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what hypothesis makes out of the coverage: it adds examples and no lines, at twice the time."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("no_cover")
