"""The servers that deliveries of this folder go to."""

from platform_assets_tests.fixtures.ftp import ftp_certificate, plain_ftp_server
from platform_assets_tests.fixtures.smtp import new_smtp_server, smtp_certificate
from platform_assets_tests.fixtures.ssh import session_ssh_server, ssh_server

__all__ = [
    "ftp_certificate",
    "new_smtp_server",
    "plain_ftp_server",
    "session_ssh_server",
    "smtp_certificate",
    "ssh_server",
]
