"""Connections that several rooms share: a PostgreSQL server, a mail server, a Snowflake account."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.values import Block, HostName, Integer, LocalPath, Mailbox, Text


class ServerSettings(Block):
    """Address and credentials of a PostgreSQL server; timeouts in seconds."""

    host: HostName = Field(description="a host name or address")
    """The server."""
    port: Integer = Field(default=5432, ge=1, le=65535, description="a port from 1 to 65535")
    """The server's port."""
    database: Text = Field(description="the name of the database")
    """The database."""
    user: Text = Field(description="the name of the role to sign in as")
    """The role."""
    password: Secret = Field(description=f"a reference to the password: {REFERENCES}")
    """The role's password."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="one of disable, allow, prefer, require, verify-ca, verify-full"
    )
    """Encryption of the connection and verification of the server, as in libpq."""
    sslrootcert: LocalPath | None = Field(
        default=None, description="the path of a file with root certificates"
    )
    """The certificates that the server's certificate is checked against."""
    connect_timeout: Integer = Field(default=2, ge=1, le=300, description="whole seconds from 1 to 300")
    """Seconds that opening a connection may take."""
    statement_timeout: Integer = Field(default=3600, ge=1, le=604_800, description="whole seconds, 1 or more")
    """Seconds that one statement may take."""
    lock_timeout: Integer = Field(default=10, ge=1, le=86_400, description="whole seconds, 1 or more")
    """Seconds to wait for another session's lock."""


def _a_way_out(value: Path | None, info: ValidationInfo) -> Path | None:
    if "host" not in info.data:  # set but invalid: already reported
        return value
    if value is None and info.data["host"] is None:
        raise ValueError("set host to the mail server's name, or spool to a folder for the messages")
    if value is not None and info.data["host"] is not None:
        raise ValueError("host is set too; only one of them can be used")
    return value


class SmtpSettings(Block):
    """A mail server, or a folder in its place."""

    host: HostName | None = Field(default=None, description="the name or address of the SMTP server")
    """The SMTP server; either this or `spool`."""
    spool: Annotated[LocalPath | None, AfterValidator(_a_way_out)] = Field(
        default=None,
        validate_default=True,
        description="the path of a folder for messages, where there is no host",
    )
    """A folder in which messages are kept as .eml files in place of being sent."""
    port: Integer = Field(default=587, ge=1, le=65535, description="a port from 1 to 65535")
    """The server's port."""
    sender: Mailbox = Field(description="the address that messages are from")
    """The sender."""
    user: str = Field(default="", description="the name to sign in with")
    """The user of the SMTP server; empty to send without signing in."""
    password: Secret | None = Field(default=None, description=f"a reference to the password: {REFERENCES}")
    """The user's password."""
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="one of starttls, tls, none"
    )
    """Encryption of the connection."""
    ca_file: LocalPath | None = Field(default=None, description="the path of a file with root certificates")
    """The certificates that the server's certificate is checked against."""


def _one_way_in(value: Secret | None, info: ValidationInfo) -> Secret | None:
    if "private_key" not in info.data:  # set but invalid: already reported
        return value
    if value is None and info.data["private_key"] is None:
        raise PydanticKnownError("missing")
    if value is not None and info.data["private_key"] is not None:
        raise ValueError("private_key is set too; only one of them can be used")
    return value


def _account(value: str) -> str:
    if re.search(r"[\s/:@]|\.snowflakecomputing\.", value):
        raise ValueError("write only the identifier, without the address")
    return value


class SnowflakeConnectionSettings(Block):
    """A Snowflake account and its credentials: a key pair, or a password where Snowflake still allows it."""

    account: Annotated[Text, AfterValidator(_account)] = Field(
        description="the account's identifier, ORGANISATION-ACCOUNT"
    )
    """The account."""
    user: Text = Field(description="the name of the user to sign in as")
    """The user."""
    private_key: Secret | None = Field(
        default=None, description=f"a reference to the private key as PEM text: {REFERENCES}"
    )
    """The user's private key; either this or `password`."""
    private_key_passphrase: Secret | None = Field(
        default=None, description=f"a reference to the key's passphrase: {REFERENCES}"
    )
    """Needed if the private key is encrypted."""
    password: Annotated[Secret | None, AfterValidator(_one_way_in)] = Field(
        default=None,
        validate_default=True,
        description=f"a reference to the password, where there is no private_key: {REFERENCES}",
    )
    """The user's password; either this or `private_key`."""
    role: Text | None = Field(
        default=None, description="the name of a role; by default the user's default role"
    )
    """The role to use."""
    warehouse: Text = Field(description="the name of the virtual warehouse that computes")
    """The virtual warehouse that runs the statements."""
    database: Text = Field(description="the name of the database")
    """The database."""
    query_tag: Text = Field(default="platform_assets", description="what Snowflake's history shows")
    """Marks the platform's statements in the query history."""
    login_timeout: Integer = Field(default=30, ge=1, le=600, description="whole seconds from 1 to 600")
    """Seconds that signing in may take."""


class SnowflakeStageSettings(Block):
    """The external stage through which Snowflake reads the lake's files; the default is an internal stage."""

    url: Text = Field(description="the lake's processed zone as Snowflake sees it: s3://... or gcs://...")
    """Address of the lake's processed zone, as Snowflake reads it."""
    storage_integration: Text = Field(description="the name of the storage integration for it")
    """The integration that lets Snowflake read that place."""
