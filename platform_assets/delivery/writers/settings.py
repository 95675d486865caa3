"""Settings of a destination: its address, and a block of options for its kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.connections import SmtpSettings
from platform_assets.configuration.secrets import REFERENCES, Secret, base_folder
from platform_assets.configuration.stores import StoreOptions
from platform_assets.configuration.values import Block, Integer, LocalPath, Text
from platform_assets.delivery.writers.address import normalized, parse_address

_PASSWORD = f"a reference to the password: {REFERENCES}"
_CERTIFICATES = "the path of a file with root certificates"
_KINDS = {
    "s3": ("s3",),
    "gcs": ("gs",),
    "ftp": ("ftp", "ftps"),
    "sftp": ("sftp",),
    "http": ("http", "https"),
    "email": ("mailto",),
    "options": ("python",),
}
# From left to right: a text that starts with secret:// is a reference.
TextOrSecret = Annotated[Secret | str, Field(union_mode="left_to_right")]
Option = Annotated[Secret | bool | int | float | str, Field(union_mode="left_to_right")]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_KEY_LINE = re.compile(r"(ssh-|ecdsa-|sk-|rsa-)[\w@.-]+ [A-Za-z0-9+/]+=*( .*)?")
_HEADER = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)
_OWN_HEADERS = frozenset(
    {
        *("authorization", "content-length", "transfer-encoding", "host", "connection"),
        *("content-md5", "content-digest", "repr-digest", "idempotency-key"),
    }
)


def _address(value: object, info: ValidationInfo) -> str:
    return normalized(value, base_folder(info))


def _tags(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 10:
        raise ValueError("S3 takes at most 10 tags")
    for name, text in value.items():
        if len(name) > 128 or len(text) > 256:
            raise ValueError("a tag's name has at most 128 characters, and its value at most 256")
        if not re.fullmatch(r"[\w +=.:/@-]*", name + text):
            raise ValueError("tags have letters, digits, spaces and + - = . _ : / @")
    return value


def _with_kms(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and info.data.get("encryption") not in (None, "kms"):
        raise ValueError("only encryption = kms uses a key")
    return value


class S3Settings(Block):
    """Options of an S3 destination."""

    storage_options: StoreOptions = Field(
        default_factory=dict, description="text, a number, true or false, as lake.storage_options"
    )
    """Options of the client, as in `lake.storage_options`."""
    storage_class: Text | None = Field(
        default=None, description="a storage class, such as STANDARD_IA; by default the bucket's"
    )
    """The storage class of the objects."""
    encryption: Literal["s3", "kms"] | None = Field(
        default=None, description="s3 or kms; by default as the bucket is configured"
    )
    """Encryption at rest: with keys of S3, or with a key of KMS."""
    kms_key: Annotated[Text | None, AfterValidator(_with_kms)] = Field(
        default=None, description="the ARN, id or alias of a KMS key"
    )
    """The key of KMS; by default the account's key for S3."""
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = Field(
        default_factory=dict, description="a block of tags by name"
    )
    """Tags of the objects."""
    acl: Literal["bucket-owner-full-control"] | None = Field(
        default=None, description="bucket-owner-full-control"
    )
    """Gives the owner of a bucket in another account the right to read, if that bucket still uses ACLs."""
    bucket_owner: Text | None = Field(default=None, description="the number of an AWS account, 12 digits")
    """The account that must own the bucket; a bucket of another account is refused."""


class GcsSettings(Block):
    """Options of a destination in Google Cloud Storage."""

    storage_options: StoreOptions = Field(
        default_factory=dict, description="text, a number, true or false, as lake.storage_options"
    )
    """Options of the client, as in `lake.storage_options`."""
    storage_class: Text | None = Field(
        default=None, description="a storage class, such as NEARLINE; by default the bucket's"
    )
    """The storage class of the objects."""
    kms_key: Text | None = Field(
        default=None, description="a key's name, projects/.../locations/.../keyRings/.../cryptoKeys/..."
    )
    """The key of Cloud KMS that encrypts the objects."""


class FtpSettings(Block):
    """Options of an FTP server."""

    password: Secret | None = Field(default=None, description=_PASSWORD)
    """The user's password."""
    security: Literal["tls", "none"] = Field(default="tls", description="tls or none")
    """Encryption of an address that starts with `ftp://`: `tls`, which the server must offer, or `none`."""
    ca_file: LocalPath | None = Field(default=None, description=_CERTIFICATES)
    """The certificates that the server's certificate is checked against."""
    encoding: Literal["utf-8", "latin-1"] = Field(default="utf-8", description="utf-8 or latin-1")
    """The encoding of file names."""


def _host_key(value: str) -> str:
    if not (_FINGERPRINT.fullmatch(value) or _KEY_LINE.fullmatch(value)):
        raise ValueError(
            "a fingerprint starts with SHA256: and has 43 characters, as ssh-keygen -lf shows it; a key line "
            "starts with the kind of key, as ssh-keyscan shows it behind the host's name"
        )
    return value


def _one_of_them(value: object, info: ValidationInfo) -> object:
    """Refuse the second of two keys that exclude each other."""
    other = {"known_hosts": "host_key", "private_key": "key_file"}[info.field_name or ""]
    if value is not None and info.data.get(other) is not None:
        raise ValueError(f"{other} is set too; only one of them can be used")
    if info.field_name == "known_hosts" and value is None and info.data.get(other, "") is None:
        raise ValueError(
            "the server's key must be known: set host_key to the fingerprint that the server's owner gives "
            "you, or known_hosts"
        )
    return value


def _for_a_key(value: Secret | None, info: ValidationInfo) -> Secret | None:
    keys = [info.data.get(name, "") for name in ("key_file", "private_key")]
    if value is not None and keys == [None, None]:
        raise ValueError("it belongs to key_file or private_key, and neither is set")
    return value


def _some_credentials(value: bool, info: ValidationInfo) -> bool:
    given = [info.data.get(name, "") for name in ("password", "key_file", "private_key")]
    if not value and given == [None, None, None]:
        raise ValueError("nothing to sign in with; set password, key_file, private_key or agent")
    return value


class SftpSettings(Block):
    """Options of an SFTP server."""

    host_key: Annotated[Text, AfterValidator(_host_key)] | None = Field(
        default=None, description="the fingerprint of the server's key, SHA256:..., or the key as a line"
    )
    """The server's key; either this or `known_hosts`."""
    known_hosts: Annotated[LocalPath | None, AfterValidator(_one_of_them)] = Field(
        default=None,
        validate_default=True,
        description="the path of a file with the keys of known hosts, where there is no host_key",
    )
    """A file with the server's key, such as `~/.ssh/known_hosts`."""
    password: Secret | None = Field(default=None, description=_PASSWORD)
    """The user's password."""
    key_file: LocalPath | None = Field(default=None, description="the path of a private key")
    """The user's private key."""
    private_key: Annotated[Secret | None, AfterValidator(_one_of_them)] = Field(
        default=None, description=f"a reference to the private key as text: {REFERENCES}"
    )
    """The user's private key as a secret, in place of `key_file`."""
    passphrase: Annotated[Secret | None, AfterValidator(_for_a_key)] = Field(
        default=None, description=f"a reference to the passphrase of the private key: {REFERENCES}"
    )
    """The passphrase of the private key."""
    agent: Annotated[bool, AfterValidator(_some_credentials)] = Field(
        default=False, validate_default=True, description="true or false"
    )
    """True to sign in with the keys of the running SSH agent."""


def _headers(value: dict[str, str | Secret]) -> dict[str, str | Secret]:
    for name, text in value.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} is not a header's name")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"the writer itself sets the header {name}")
        if isinstance(text, str) and re.search(r"[\r\n\x00]", text):
            raise ValueError(f"the header {name} has a line break in it")
    return value


def _one_authentication(value: Secret | None, info: ValidationInfo) -> Secret | None:
    if value is not None and (info.data.get("user") or info.data.get("password") is not None):
        raise ValueError("user and password are set too; a request has one kind of credentials")
    return value


def _of_a_user(value: Secret | None, info: ValidationInfo) -> Secret | None:
    if value is not None and "user" in info.data and not info.data["user"]:
        raise ValueError("a password without user")
    return value


def _statuses(value: tuple[int, ...]) -> tuple[int, ...]:
    if any(not 200 <= status <= 299 for status in value):
        raise ValueError("only codes from 200 to 299 mean that a request has succeeded")
    return value


class HttpSettings(Block):
    """Options of an HTTP server."""

    method: Literal["PUT", "POST"] = Field(default="PUT", description="PUT or POST")
    """`PUT` writes to the address with the file's name behind it, `POST` sends to the address itself."""
    user: Text | None = Field(default=None, description="the name to sign in with")
    """The user, for basic authentication."""
    password: Annotated[Secret | None, AfterValidator(_of_a_user)] = Field(
        default=None, description=_PASSWORD
    )
    """The user's password."""
    token: Annotated[Secret | None, AfterValidator(_one_authentication)] = Field(
        default=None, description=f"a reference to a bearer token: {REFERENCES}"
    )
    """A token, for bearer authentication."""
    headers: Annotated[dict[str, TextOrSecret], AfterValidator(_headers)] = Field(
        default_factory=dict, description="a block of texts, or references to secrets, by the header's name"
    )
    """Further headers."""
    expect: Annotated[tuple[Integer, ...], AfterValidator(_statuses), Field(min_length=1)] = Field(
        default=(200, 201, 202, 204), description="a list of status codes from 200 to 299"
    )
    """The status codes of success."""
    allow_redirects: bool = Field(default=False, description="true or false")
    """True to follow redirects of the server; credentials are sent to the same host only."""
    ca_file: LocalPath | None = Field(default=None, description=_CERTIFICATES)
    """The certificates that the server's certificate is checked against."""


class MailSettings(SmtpSettings):
    """Options of a delivery by e-mail."""

    subject: Text | None = Field(default=None, description="the subject; by default the delivery's title")
    """The subject of the message."""
    text: str | None = Field(default=None, description="the text of the message")
    """The text of the message; by default what the file is."""
    max_mb: Integer = Field(default=20, ge=1, le=150, description="megabytes from 1 to 150")
    """Megabytes that an attached file may have."""


def _of_its_kind(value: object, info: ValidationInfo) -> object:
    """Refuse options for another kind of destination than the address names."""
    address, field = info.data.get("address"), info.field_name or ""
    if address is None:  # set but invalid: already reported
        return value
    given = parse_address(address)
    if value is None:
        if given.scheme in _KINDS[field] and field in ("sftp", "email"):
            raise PydanticKnownError("missing")
        return value
    if given.scheme not in _KINDS[field]:
        own = " or ".join(
            f"{kind}:" if kind in ("mailto", "python") else f"{kind}://" for kind in _KINDS[field]
        )
        raise ValueError(f"only an address that starts with {own} can have it")
    if isinstance(value, HttpSettings) and given.scheme == "http" and given.host not in _LOOPBACK:
        secrets = [value.password, value.token, *value.headers.values()]
        if any(isinstance(secret, Secret) for secret in secrets):
            raise ValueError("http:// would send the credentials unencrypted; use https://")
    if isinstance(value, SftpSettings) and not given.user:
        raise ValueError("the user is missing; write it into the address, sftp://user@host/folder")
    if isinstance(value, FtpSettings) and given.scheme == "ftps" and value.security == "none":
        raise ValueError("ftps:// is always encrypted; security = none is for ftp://")
    if isinstance(value, FtpSettings) and value.password is not None and not given.user:
        raise ValueError("a password without user; write the user into the address, ftp://user@host/folder")
    return value


class DestinationSettings(Block):
    """A destination: the scheme of its address decides how files are written there."""

    stand_ins: ClassVar[Mapping[str, Any]] = {"address": "."}

    address: Annotated[str, BeforeValidator(_address)] = Field(
        description="a local path, or an address that starts with s3://, gs://, ftp://, ftps://, sftp://, "
        "https://, mailto: or python:"
    )
    """The place that files are delivered to."""
    sidecar: Literal["auto", "always", "never"] = Field(
        default="auto", description="one of auto, always, never"
    )
    """Metadata in a file of its own, NAME.metadata.json: `auto` where the destination keeps no metadata."""
    timeout: Integer = Field(default=60, ge=1, le=3600, description="whole seconds from 1 to 3600")
    """Seconds without an answer until a connection is given up."""
    s3: Annotated[S3Settings | None, AfterValidator(_of_its_kind)] = Field(
        default=None, description="a block of options for s3://"
    )
    gcs: Annotated[GcsSettings | None, AfterValidator(_of_its_kind)] = Field(
        default=None, description="a block of options for gs://"
    )
    ftp: Annotated[FtpSettings | None, AfterValidator(_of_its_kind)] = Field(
        default=None, description="a block of options for ftp:// and ftps://"
    )
    sftp: Annotated[SftpSettings | None, AfterValidator(_of_its_kind)] = Field(
        default=None,
        validate_default=True,
        description="a block with host_key or known_hosts, for sftp://",
    )
    http: Annotated[HttpSettings | None, AfterValidator(_of_its_kind)] = Field(
        default=None, description="a block of options for https://"
    )
    email: Annotated[MailSettings | None, AfterValidator(_of_its_kind)] = Field(
        default=None,
        validate_default=True,
        description="a block with sender, and host or spool, for mailto:",
    )
    options: Annotated[dict[str, Option] | None, AfterValidator(_of_its_kind)] = Field(
        default=None, description="a block of arguments for a writer of your own, python:"
    )
    """Arguments of a writer of your own."""
