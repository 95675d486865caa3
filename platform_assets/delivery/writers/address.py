"""Addresses of destinations: the scheme decides the writer."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from platform_assets.configuration.secrets import absolute_path

SCHEMES = ("s3", "gs", "ftp", "ftps", "sftp", "http", "https", "mailto", "python")
FOLDER = "folder"
"""The kind of destination whose address is a local path."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MAILBOX = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Address:
    """A destination's address in its parts.

    Attributes:
        scheme: One of `SCHEMES`, or `FOLDER`.
        host: The server's name, or the bucket's; empty if there is none.
        port: The port, if the address names one.
        user: The user, if the address names one; never a password.
        path: Folder, prefix, path, or what follows the scheme.
    """

    scheme: str
    host: str
    port: int | None
    user: str
    path: str


@functools.lru_cache(maxsize=256)
def parse_address(text: str) -> Address:
    """Split an address.

    Raises:
        ValueError: The text is not an address; the message gives the reason, and never repeats the text, in
            which a password may be.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in SCHEMES:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
            raise ValueError(f"no writer for this scheme exists; the schemes are {', '.join(SCHEMES)}")
        return Address(FOLDER, "", None, "", text)
    scheme = scheme.lower()
    if scheme == "mailto":
        return Address(scheme, "", None, "", _recipients(rest))
    if scheme == "python":
        if not _MODULE.fullmatch(rest):
            raise ValueError("a writer of your own is written python:package.module:Class")
        return Address(scheme, "", None, "", rest)
    if not rest.startswith("//"):
        raise ValueError(f"after {scheme}: two slashes are missing")
    return _url(scheme, text)


def _url(scheme: str, text: str) -> Address:
    parts = urlsplit(text)
    if parts.password is not None:
        raise ValueError(
            "a password never stands in an address; write it as a secret reference in the options"
        )
    if parts.username and scheme not in ("ftp", "ftps", "sftp"):
        raise ValueError("a user does not stand in this kind of address; the options have a key for it")
    if parts.query or parts.fragment:
        raise ValueError("a destination has no ? or # in its address; write %3F and %23 if a folder has")
    if not parts.hostname:
        raise ValueError("the name of the server or bucket is missing")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is not a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("the port is not a number from 1 to 65535")
    if scheme in ("s3", "gs"):
        return _bucket(scheme, text)
    path = parts.path if scheme in ("http", "https") else unquote(parts.path)
    if re.search(r"[\x00-\x1f\x7f]", path + unquote(parts.username or "")):
        raise ValueError("it has control characters in it")
    if ".." in path.split("/"):
        raise ValueError("a path has no .. in it")
    return Address(scheme, parts.hostname, port, unquote(parts.username or ""), path)


def _bucket(scheme: str, text: str) -> Address:
    name, _, prefix = text.partition("://")[2].partition("/")
    if not _BUCKET.fullmatch(name):
        raise ValueError("a bucket's name has lower case letters, digits, dots and hyphens")
    prefix = prefix.rstrip("/")
    if re.search(r"[\x00-\x1f\x7f]", prefix) or any(
        part in ("", ".", "..") for part in prefix.split("/") if prefix
    ):
        raise ValueError("a prefix has no empty parts, no .. and no control characters")
    return Address(scheme, name, None, "", prefix)


def _recipients(text: str) -> str:
    recipients = [recipient.strip() for recipient in text.removeprefix("//").split(",")]
    if not all(_MAILBOX.fullmatch(recipient) for recipient in recipients):
        raise ValueError("mailto: is followed by mail addresses, separated by commas")
    if len({recipient.lower() for recipient in recipients}) < len(recipients):
        raise ValueError("a recipient is in it twice")
    return ",".join(recipients)


def normalized(value: object, base: Path | None) -> str:
    """Validate an address as it stands in a configuration; relative folders start from `base`.

    Raises:
        ValueError: The value is not an address.
    """
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("it is not text")
    text = str(value)
    if text != text.strip():
        raise ValueError("it starts or ends with white space")
    address = parse_address(text)
    if address.scheme == FOLDER:
        return str(absolute_path(text, base))
    if address.scheme == "mailto":
        return f"mailto:{address.path}"
    return text.rstrip("/") if address.scheme in ("s3", "gs") else text
