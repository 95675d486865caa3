"""Connection parameters of a PostgreSQL database, as a value; other modules open the connection."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Connection:
    """Parameters to connect to one database as one role.

    Args:
        host: Host name or IP address.
        port: TCP port.
        database: Database name.
        user: Role to log in as.
        password: The role's password; never part of the repr.
        schema: Schema that holds the tables.
        sslmode: libpq's `sslmode`.
        sslrootcert: Path to the certificate authority's file, for `verify-ca` and `verify-full`.
        connect_timeout: Longest wait for the server to answer, in seconds.
        application_name: Name shown in the server's activity view.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    schema: str = "public"
    sslmode: str = "prefer"
    sslrootcert: str | None = None
    connect_timeout: float = 2.0
    application_name: str = "platform_assets"
