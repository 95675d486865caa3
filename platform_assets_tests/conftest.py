"""Fixtures for every folder: the servers are in `fixtures/`, one module each."""

pytest_plugins = [
    "platform_assets_tests.fixtures.postgres",
    "platform_assets_tests.fixtures.s3",
    "platform_assets_tests.fixtures.snowflake",
]


def pytest_make_parametrize_id(config: object, val: object, argname: str) -> str | None:
    """Names tests after their parameters, but not after bytes, which may be others in every process."""
    return argname if isinstance(val, bytes) else None
