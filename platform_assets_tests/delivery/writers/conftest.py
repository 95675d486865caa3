"""The places of the conformance suite, and files to send there."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_assets_tests.delivery.writers.places import (
    FolderPlace,
    FtpPlace,
    GcsPlace,
    HttpPlace,
    Place,
    S3Place,
    SftpPlace,
    Stage,
    VsftpdPlace,
)
from platform_assets_tests.fixtures.ftp import (
    FtpServer,
    explicit_ftp_server,
    ftp_certificate,
    implicit_ftp_server,
    plain_ftp_server,
    vsftpd,
)
from platform_assets_tests.fixtures.gcs import GcsServer, gcs_server
from platform_assets_tests.fixtures.http_files import FileServer, file_server
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.smtp import new_smtp_server, smtp_certificate
from platform_assets_tests.fixtures.ssh import SshServer, session_ssh_server, ssh_server, sshd

__all__ = [
    "explicit_ftp_server",
    "file_server",
    "ftp_certificate",
    "gcs_server",
    "implicit_ftp_server",
    "new_smtp_server",
    "plain_ftp_server",
    "session_ssh_server",
    "smtp_certificate",
    "ssh_server",
    "sshd",
    "vsftpd",
]

PLACES = ("folder", "s3", "ftp", "explicit", "implicit", "vsftpd", "asyncssh", "openssh", "http", "gcs")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Makes staged files."""
    return Stage(tmp_path / "staged")


@pytest.fixture
def folder_place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "delivered")


@pytest.fixture
def s3_place(s3_server: S3Server, tmp_path: Path) -> S3Place:
    return S3Place(s3_server, tmp_path)


@pytest.fixture
def ftp_place(plain_ftp_server: FtpServer, tmp_path: Path) -> FtpPlace:
    return FtpPlace(plain_ftp_server, tmp_path, security="none")


@pytest.fixture
def explicit_place(explicit_ftp_server: FtpServer, tmp_path: Path) -> FtpPlace:
    return FtpPlace(explicit_ftp_server, tmp_path)


@pytest.fixture
def implicit_place(implicit_ftp_server: FtpServer, tmp_path: Path) -> FtpPlace:
    return FtpPlace(implicit_ftp_server, tmp_path, "ftps")


@pytest.fixture
def vsftpd_place(vsftpd: FtpServer, tmp_path: Path) -> VsftpdPlace:
    return VsftpdPlace(vsftpd, tmp_path)


@pytest.fixture
def asyncssh_place(ssh_server: SshServer, tmp_path: Path) -> SftpPlace:
    return SftpPlace(ssh_server, tmp_path)


@pytest.fixture
def openssh_place(sshd: SshServer, tmp_path: Path) -> SftpPlace:
    return SftpPlace(sshd, tmp_path)


@pytest.fixture
def http_place(file_server: FileServer, tmp_path: Path) -> HttpPlace:
    return HttpPlace(file_server, tmp_path)


@pytest.fixture
def gcs_place(gcs_server: GcsServer) -> GcsPlace:
    return GcsPlace(gcs_server)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Every place in turn; a place whose server is not installed is skipped with its reason."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found
