"""Settings of destinations: what can be written, and what is told about what cannot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from platform_assets.delivery.interfaces import DeliveryError
from platform_assets.delivery.writers.address import SCHEMES, parse_address
from platform_assets.delivery.writers.build import build_writer
from platform_assets.delivery.writers.settings import DestinationSettings
from platform_assets_tests.delivery.writers.places import Stage, deliver

KEY = {"host_key": "SHA256:" + "a" * 43, "password": "secret://env/SFTP_PASSWORD"}
MAIL = {"sender": "data@example.org", "host": "mail.example.org"}


def settings(base: Path | None = None, **block: Any) -> DestinationSettings:
    return DestinationSettings.model_validate(block, context={"base": base})


def mistakes(**block: Any) -> dict[str, str]:
    """The mistakes of a block, by key."""
    with pytest.raises(ValidationError) as error:
        settings(**block)
    return {
        ".".join(map(str, one["loc"])): str(one.get("ctx", {}).get("error", one["type"]))
        for one in error.value.errors()
    }


@pytest.mark.parametrize(
    ("block", "address"),
    [
        ({"address": "s3://bucket/to/us/"}, "s3://bucket/to/us"),
        ({"address": "gs://bucket"}, "gs://bucket"),
        ({"address": "ftp://partner@ftp.example.org/in"}, "ftp://ftp.example.org/in"),
        ({"address": "ftps://ftp.example.org:9990"}, "ftps://ftp.example.org:9990"),
        ({"address": "ftp://[::1]:2121//data"}, "ftp://[::1]:2121//data"),
        ({"address": "sftp://me@sftp.example.org/~/in", "sftp": KEY}, "sftp://sftp.example.org/~/in"),
        ({"address": "sftp://me@[::1]:2222/in", "sftp": KEY}, "sftp://[::1]:2222/in"),
        ({"address": "https://example.org/upload"}, "https://example.org/upload"),
        (
            {"address": "mailto:a@example.org, b@example.org", "email": MAIL},
            "mailto:a@example.org,b@example.org",
        ),
        ({"address": "/var/delivered"}, "/var/delivered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_scheme_decides_the_writer_and_the_address_of_people_has_no_user(
    block: dict[str, Any], address: str
) -> None:
    assert build_writer(settings(**block)).address == address


def test_relative_folders_start_from_the_configuration_file(tmp_path: Path) -> None:
    assert settings(tmp_path, address="delivered").address == str(tmp_path / "delivered")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://me:secret@host/in", "a password never stands in an address"),
        ("https://me:secret@host/in", "a password never stands in an address"),
        ("https://me@host/in", "a user does not stand in this kind of address"),
        ("s3://me@bucket/in", "a user does not stand in this kind of address"),
        ("https://host/in?token=1", "a destination has no ? or #"),
        ("webdav://host/in", "no writer for this scheme exists"),
        ("sftp:host/in", "two slashes are missing"),
        ("sftp:///in", "the name of the server or bucket is missing"),
        ("sftp://me@host:99999/in", "the port is not a number"),
        ("sftp://me@host/in/../out", "a path has no .. in it"),
        ("ftp://host/a%0d%0aDELE%20b", "it has control characters in it"),
        ("s3://Bucket/in", "a bucket's name has lower case letters"),
        ("s3://bucket/a//b", "a prefix has no empty parts"),
        ("s3://bucket/../b", "a prefix has no empty parts"),
        ("mailto:nobody", "mail addresses, separated by commas"),
        ("mailto:a@example.org,A@example.org", "a recipient is in it twice"),
        ("python:package", "python:package.module:Class"),
        ("", "it is not text"),
        (" in", "it starts or ends with white space"),
        ("C:\\in", "it is a path on Windows"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_mistake_and_never_shown(address: str, reason: str) -> None:
    found = mistakes(address=address)
    assert reason in found["address"]
    assert "secret" not in found["address"].replace("secret reference", "")


@pytest.mark.parametrize(
    ("block", "key", "reason"),
    [
        (
            {"address": "s3://bucket", "sftp": KEY},
            "sftp",
            "only an address that starts with sftp:// can have it",
        ),
        ({"address": "in", "s3": {}}, "s3", "only an address that starts with s3://"),
        ({"address": "sftp://me@h/in", "ftp": {}, "sftp": KEY}, "ftp", "starts with ftp:// or ftps://"),
        ({"address": "s3://bucket", "options": {}}, "options", "starts with python: can have it"),
        ({"address": "sftp://me@h/in"}, "sftp", "missing"),
        ({"address": "sftp://h/in", "sftp": KEY}, "sftp", "the user is missing"),
        (
            {"address": "sftp://me@h/in", "sftp": {"password": KEY["password"]}},
            "sftp.known_hosts",
            "must be known",
        ),
        (
            {"address": "sftp://me@h/in", "sftp": {**KEY, "known_hosts": "x"}},
            "sftp.known_hosts",
            "is set too",
        ),
        ({"address": "sftp://me@h/in", "sftp": {**KEY, "host_key": "mine"}}, "sftp.host_key", "SHA256:"),
        (
            {"address": "sftp://me@h/in", "sftp": {"host_key": KEY["host_key"]}},
            "sftp.agent",
            "nothing to sign in",
        ),
        (
            {"address": "sftp://me@h/in", "sftp": {**KEY, "passphrase": "secret://env/X"}},
            "sftp.passphrase",
            "neither is set",
        ),
        (
            {"address": "sftp://me@h/in", "sftp": {**KEY, "key_file": "k", "private_key": "secret://env/X"}},
            "sftp.private_key",
            "key_file is set too",
        ),
        ({"address": "ftp://h/in", "ftp": {"password": "secret://env/X"}}, "ftp", "a password without user"),
        ({"address": "ftps://h/in", "ftp": {"security": "none"}}, "ftp", "always encrypted"),
        (
            {"address": "ftp://u@h/in", "ftp": {"password": "mellon"}},
            "ftp.password",
            "never the secret itself",
        ),
        (
            {"address": "http://h/in", "http": {"token": "secret://env/X"}},
            "http",
            "would send the credentials unencrypted",
        ),
        (
            {"address": "http://h/in", "http": {"headers": {"X-Key": "secret://env/X"}}},
            "http",
            "would send the credentials unencrypted",
        ),
        (
            {"address": "https://h/in", "http": {"user": "u", "token": "secret://env/X"}},
            "http.token",
            "one kind of credentials",
        ),
        (
            {"address": "https://h/in", "http": {"password": "secret://env/X"}},
            "http.password",
            "without user",
        ),
        (
            {"address": "https://h/in", "http": {"headers": {"Authorization": "x"}}},
            "http.headers",
            "the writer itself sets",
        ),
        (
            {"address": "https://h/in", "http": {"headers": {"A": "b\r\nC: d"}}},
            "http.headers",
            "a line break",
        ),
        ({"address": "https://h/in", "http": {"expect": [404]}}, "http.expect", "from 200 to 299"),
        ({"address": "mailto:a@example.org"}, "email", "missing"),
        ({"address": "mailto:a@example.org", "email": {"sender": "a@b.c"}}, "email.spool", "set host"),
        (
            {"address": "mailto:a@example.org", "email": {**MAIL, "spool": "s"}},
            "email.spool",
            "host is set too",
        ),
        (
            {"address": "s3://bucket", "s3": {"encryption": "s3", "kms_key": "k"}},
            "s3.kms_key",
            "only encryption",
        ),
        (
            {"address": "s3://bucket", "s3": {"tags": {str(n): "x" for n in range(11)}}},
            "s3.tags",
            "at most 10",
        ),
        ({"address": "in", "sidecar": "yes"}, "sidecar", "literal_error"),
        ({"address": "in", "timeout": 0}, "timeout", "greater_than_equal"),
    ],
)
def test_options_that_do_not_go_together_are_a_mistake_at_their_key(
    block: dict[str, Any], key: str, reason: str
) -> None:
    assert reason in mistakes(**block)[key]


def test_every_scheme_has_a_writer() -> None:
    blocks: dict[str, dict[str, Any]] = {
        "sftp": {"address": "sftp://me@host/in", "sftp": KEY},
        "mailto": {"address": "mailto:a@example.org", "email": MAIL},
        "python": {"address": f"python:{__name__}:Discarding", "options": {"reason": "for the test"}},
    }
    for scheme in SCHEMES:
        block = blocks.get(scheme, {"address": f"{scheme}://host"})
        assert build_writer(settings(**block)).address, scheme
        assert parse_address(block["address"]).scheme == scheme


class Discarding:
    """A writer of the user's own."""

    def __init__(self, reason: str) -> None:
        self.address = f"nowhere, {reason}"

    def open(self) -> None: ...

    def link(self, file: object, expires: object) -> None: ...


class Unfinished:
    """A class that is no writer."""


def test_a_writer_of_ones_own_gets_its_options_and_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASON", "nobody asked")
    own = {"address": f"python:{__name__}:Discarding", "options": {"reason": "secret://env/REASON"}}
    assert build_writer(settings(**own)).address == "nowhere, nobody asked"


def test_the_writer_of_the_documentation_works(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "delivery_destinations.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 22
    submit = "def submit(queue, path, copies, title):\n    return f'{queue} {copies} {title}'\n"
    (tmp_path / "acme_printing.py").write_text(submit + code)
    monkeypatch.syspath_prepend(str(tmp_path))
    block = {"address": "python:acme_printing:Printer", "options": {"queue": "warehouse", "copies": 2}}
    (receipt,) = deliver(block, stage(b"label"))
    assert receipt.facts == {"job": "warehouse 2 Customers in the morning"}


@pytest.mark.parametrize(
    ("place", "options", "reason"),
    [
        ("no_such_package.module:Class", {}, "No module named"),
        (f"{__name__}:NoSuchClass", {}, "has no attribute"),
        (f"{__name__}:Discarding", {"wrong": 1}, "unexpected keyword argument"),
        (f"{__name__}:Unfinished", {}, "it has no address and no open and no link"),
    ],
)
def test_a_writer_of_ones_own_that_cannot_be_used_is_named(
    place: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DeliveryError, match=reason):
        build_writer(settings(address=f"python:{place}", options=options))
