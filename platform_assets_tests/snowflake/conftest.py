"""The local Snowflake server for the tests of this folder."""

from platform_assets_tests.fixtures.snowflake import snowflake_database, snowflake_server

__all__ = ["snowflake_database", "snowflake_server"]
