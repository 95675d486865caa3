"""Settings of the StackQL server, and of the inventories that are read through it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.names import NAME
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.values import Block, Cron, HostName, Integer, LocalPath, Names, Text

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings


class StackqlSettings(Block):
    """The StackQL server that notebooks and inventories ask; timeouts in seconds."""

    host: HostName = Field(default="127.0.0.1", description="a host name or address")
    """The server."""
    port: Integer = Field(default=5466, ge=1, le=65535, description="a port from 1 to 65535")
    """The server's port: `stackql srv --pgsrv.port=5466`."""
    database: Text = Field(default="stackql", description="the name of the database")
    """The database. StackQL takes any name."""
    user: Text = Field(default="stackql", description="the name of the user")
    """The user. StackQL takes any name."""
    password: Secret | None = Field(
        default=None, description=f"a reference to the password, or nothing: {REFERENCES}"
    )
    """The user's password, if the server asks for one."""
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="one of disable, prefer, require, verify-ca, verify-full"
    )
    """Encryption of the connection and verification of the server, as in libpq."""
    sslrootcert: LocalPath | None = Field(
        default=None, description="the path of a file with root certificates"
    )
    """The certificates that the server's certificate is checked against."""
    sslcert: LocalPath | None = Field(default=None, description="the path of the client's certificate")
    """The certificate that the client shows: StackQL's TLS asks for one."""
    sslkey: LocalPath | None = Field(default=None, description="the path of the client's private key")
    """The key of the client's certificate."""
    connect_timeout: Integer = Field(default=5, ge=1, le=300, description="whole seconds from 1 to 300")
    """Seconds that opening a connection may take."""
    statement_timeout: Integer = Field(default=600, ge=1, le=604_800, description="whole seconds, 1 or more")
    """Seconds that a statement may take."""
    protocol: Literal["simple", "extended", "auto"] = Field(
        default="simple", description="one of simple, extended, auto"
    )
    """The form in which statements are sent. Every server knows the simple one; `auto` tries the extended one
    first."""


def _statement(value: str) -> str:
    if not re.match(r"(select|with|show|describe|list)\b", value.lstrip(), re.IGNORECASE):
        raise ValueError("an inventory only reads: start with SELECT, WITH, SHOW or DESCRIBE")
    return value


class InventoryQuerySettings(Block):
    """A StackQL query whose result is kept with its history."""

    query: Annotated[Text, AfterValidator(_statement)] = Field(
        description="a StackQL query, such as SELECT name, status FROM google.compute.instances WHERE ..."
    )
    """The query."""
    key: Names = Field(default=(), description="the columns that identify a row")
    """Columns that identify a row between two looks. Without them, a changed row counts as one that went and
    one that came."""
    description: Text | None = Field(default=None, description="a sentence")
    """A sentence about its rows."""
    timeout: Integer | None = Field(default=None, ge=1, le=604_800, description="whole seconds, 1 or more")
    """Seconds that the query may take, if not `stackql.statement_timeout`."""


class InventorySettings(Block):
    """Inventories of what runs in the cloud: none, unless queries are named."""

    cron: Cron = Field(default="0 * * * *", description='five cron fields, such as "0 * * * *"')
    """When the job `cloud_inventory` looks, in the time zone of `schedule`."""
    within: Integer = Field(default=180, ge=1, le=525_600, description="whole minutes, 1 or more")
    """Minutes since the last successful look before the freshness check of an inventory fails."""
    queries: dict[str, InventoryQuerySettings] = Field(
        default_factory=dict, description="a block of queries by name, each with query and key"
    )
    """The inventories by name; each is the asset `inventory/<name>`."""


class InventoriesSettings(RoomSettings):
    """The keys of the StackQL server and of the inventories."""

    stackql: StackqlSettings = Field(
        default_factory=StackqlSettings, description="a block with host and port"
    )
    inventory: InventorySettings = Field(
        default_factory=InventorySettings, description="a block with cron and queries"
    )

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check the names of the inventories, and that a key of a certificate has one."""
        for name in self.inventory.queries:
            if not NAME.fullmatch(name):
                expected = "a name of lower case letters, digits and _ that starts with a letter, up to 40"
                yield Mistake(("inventory", "queries", name), f"an inventory called {shown(name)}", expected)
        if self.stackql.sslkey is not None and self.stackql.sslcert is None:
            expected = "sslcert too, the certificate that the key belongs to"
            yield Mistake(("stackql", "sslkey"), shown(str(self.stackql.sslkey)), expected)


SETTINGS = InventoriesSettings
