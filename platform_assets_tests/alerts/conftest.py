"""The servers that the tests of this folder speak to, and a platform with alerts."""

from platform_assets_tests.alerts.house import new_house
from platform_assets_tests.fixtures.http import http_server
from platform_assets_tests.fixtures.queues import aws_server
from platform_assets_tests.fixtures.smtp import new_smtp_server, smtp_certificate

__all__ = ["aws_server", "http_server", "new_house", "new_smtp_server", "smtp_certificate"]
