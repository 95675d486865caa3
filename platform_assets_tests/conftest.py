"""Fixtures for every folder: the servers are in `fixtures/`, one module each."""

pytest_plugins = [
    "platform_assets_tests.fixtures.postgres",
    "platform_assets_tests.fixtures.s3",
    "platform_assets_tests.fixtures.snowflake",
]
