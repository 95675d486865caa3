"""Opens connections to Snowflake: by a block of the configuration, or by a name in the vendor's own file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.errors import WarehouseError

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection


@dataclass(frozen=True)
class SnowflakeAccount:
    """An account, and how to sign in: by key pair, or by password where there is no key.

    Attributes:
        account: The account's identifier.
        user: The user.
        warehouse: The virtual warehouse that computes.
        database: The session's database.
        schema: The session's schema.
        role: The role; the user's default where None.
        private_key: The private key as PEM text.
        private_key_passphrase: The key's passphrase.
        password: The password.
        query_tag: What Snowflake's query history shows beside each statement.
        login_timeout: How long signing in may take, in seconds.
    """

    account: str
    user: str
    warehouse: str
    database: str
    schema: str
    role: str | None = None
    private_key: str | None = field(repr=False, default=None)
    private_key_passphrase: str | None = field(repr=False, default=None)
    password: str | None = field(repr=False, default=None)
    query_tag: str = "platform_assets"
    login_timeout: int = 30

    def connect(self, **overrides: Any) -> SnowflakeConnection:
        """Open a connection; whoever calls closes it.

        Args:
            overrides: Further arguments of the connector.

        Raises:
            WarehouseError: The package is missing, the key cannot be read, or Snowflake lets nobody in.
        """
        arguments: dict[str, Any] = {
            "account": self.account,
            "user": self.user,
            "warehouse": self.warehouse,
            "database": self.database,
            "schema": self.schema,
            "role": self.role,
            "login_timeout": self.login_timeout,
            "session_parameters": {"QUERY_TAG": self.query_tag},
        }
        if self.private_key is not None:
            arguments["private_key"] = _key(self.private_key, self.private_key_passphrase)
        elif self.password is not None:
            arguments["password"] = self.password
        given = {name: value for name, value in arguments.items() if value is not None}
        return _open(f"the account {self.account} as {self.user}", given | overrides)


def connect_by_name(name: str) -> SnowflakeConnection:
    """Open a connection that `connections.toml` of Snowflake's own tools names; whoever calls closes it.

    Raises:
        WarehouseError: As `SnowflakeAccount.connect`, or there is none of this name.
    """
    return _open(f"the connection {name} of connections.toml", {"connection_name": name})


def _open(what: str, arguments: dict[str, Any]) -> SnowflakeConnection:
    try:
        import snowflake.connector
        from snowflake.connector.errors import Error
    except ImportError:
        raise WarehouseError(
            "Snowflake cannot be reached without its package; install the snowflake extra: "
            "pip install 'platform-assets[snowflake]'."
        ) from None
    try:
        return snowflake.connector.connect(**arguments)
    except Error as error:
        said = " ".join(str(error.msg or error).split())[:400].rstrip(".")
        raise WarehouseError(
            f"Connecting to {what} failed: {said}. Check the account's identifier, the user and its key, and "
            "that a network policy lets this address in."
        ) from error


def _key(pem: str, passphrase: str | None) -> bytes:
    """A private key as the connector takes it: PKCS #8 in DER, not encrypted."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(pem.encode(), passphrase.encode() if passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Neither what was found nor what the library says of it is repeated: it may be the key.
        raise WarehouseError(
            "The private key for Snowflake cannot be read. It is PEM text, the whole file, and "
            "private_key_passphrase goes with a key that is encrypted, and only with such a key."
        ) from None
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
