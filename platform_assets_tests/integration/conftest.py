"""The servers that the tests of this folder speak to, beside those of the root."""

from platform_assets_tests.fixtures.http import http_server

__all__ = ["http_server"]
