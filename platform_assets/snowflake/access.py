"""Access to Snowflake: sessions, and translation of its errors, with the grants that are missing.

Snowflake's packages are imported only when a session is opened. This module knows nothing about what is
loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.snowflake.identifiers import quoted

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.errors import Error

NO_SUCH_OBJECT = frozenset({2003, 2043})
"""Error codes for an object that does not exist or that the role may not see; Snowflake does not say which.
"""

# Objects, and columns. All DDL of the platform is conditional: another session created it in between, which
# Snowflake does not forgive even with IF NOT EXISTS.
_ALREADY_EXISTS = frozenset({2002, 1430})
# The second code is for a table that exists and that the role may not see.
_NO_PRIVILEGE = frozenset({3001, 3041})
_NO_ACTIVE_WAREHOUSE = frozenset({606, 607})
_NO_CURRENT_DATABASE = frozenset({90105, 90106})
# Too many statements already wait for a lock. Waiting too long ends a statement with the code of a
# cancellation by an administrator.
_HELD = 625
_CANCELLED = "57014"
_SESSION_IS_OVER = frozenset({390111, 390112, 390114})
_NETWORK_TIMEOUT = 300


class WarehouseHeld(WarehouseBusy):
    """Another session has locked the table to change, or created the same object; nothing was written."""


def has_lost_race(error: Error) -> bool:
    """Return whether another session has just created what a conditional statement was to create."""
    return error.errno in _ALREADY_EXISTS


def is_held(error: Error) -> bool:
    """Return whether another session has locked what a statement was to change."""
    return error.errno == _HELD or (error.sqlstate == _CANCELLED and " lock" in str(error.raw_msg).lower())


@dataclass(frozen=True)
class Grant:
    """A privilege that a statement needs.

    Args:
        privileges: As in GRANT, such as `CREATE SCHEMA`.
        on: The object to grant them on, as SQL, such as `DATABASE "SALES"`.
    """

    privileges: str
    on: str

    def to(self, role: str | None) -> str:
        """The statement that grants it to a role."""
        return f"GRANT {self.privileges} ON {self.on} TO ROLE {quoted(role or 'YOUR_ROLE')};"


def encoded_public_key(key: Any) -> str:
    """A key of the cryptography package as Snowflake's `RSA_PUBLIC_KEY` takes it: base64 of its DER."""
    import base64

    from cryptography.hazmat.primitives import serialization

    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(encoded).decode()


@dataclass(frozen=True)
class SnowflakeAccess:
    """A Snowflake account and its credentials. Secrets are fetched when a session is opened.

    Args:
        account: The account identifier, `ORGANISATION-ACCOUNT`.
        user: The user name.
        database: The database to use.
        warehouse: The virtual warehouse that runs the statements.
        role: The role to use; None means the user's default.
        schema: The schema of unqualified names; None means the user's default.
        private_key: Returns the private key as PEM text, for key-pair authentication.
        private_key_passphrase: Returns its passphrase, if it has one.
        password: Returns the password, if there is no private key.
        query_tag: The query tag of every statement in Snowflake's history.
        login_timeout: The longest time to try to sign in, in seconds.
        session_parameters: Further parameters of the session.
        connection_options: Further options of the connector, such as a Private Link host or a proxy.
    """

    account: str
    user: str
    database: str
    warehouse: str | None = None
    role: str | None = None
    schema: str | None = None
    private_key: Callable[[], str] | None = field(repr=False, default=None)
    private_key_passphrase: Callable[[], str] | None = field(repr=False, default=None)
    password: Callable[[], str] | None = field(repr=False, default=None)
    query_tag: str = "platform_assets"
    login_timeout: int = 30
    session_parameters: Mapping[str, Any] = field(default_factory=dict)
    connection_options: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @contextlib.contextmanager
    def connect(self, **session_parameters: Any) -> Iterator[SnowflakeConnection]:
        """Open a session and close it at the end; uncommitted changes are rolled back.

        Args:
            session_parameters: Parameters of this session, in addition to those of the access.

        Raises:
            WarehouseBusy: Snowflake does not answer.
            WarehouseError: The connector is missing, or Snowflake rejects the user, the key or the names.
        """
        try:
            import snowflake.connector
        except ImportError:
            raise WarehouseError(
                "Snowflake cannot be reached without its connector; install the snowflake extra: "
                "pip install 'platform-assets[snowflake]'."
            ) from None
        arguments = self.arguments(session_parameters)
        with self.translated(f"sign {self.user} in to the account {self.account}"):
            # Values of a query are bound by the server; by default the connector pastes them into the text.
            connection = snowflake.connector.connect(**{"paramstyle": "qmark", **arguments})
        try:
            self._verify_database(connection)
            yield connection
        finally:
            connection.close()

    def arguments(self, session_parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The arguments of `snowflake.connector.connect`, with secrets resolved.

        Args:
            session_parameters: Parameters of the session, in addition to those of the access.

        Raises:
            WarehouseError: The private key is not valid.
        """
        named = {
            "account": self.account,
            "user": self.user,
            "database": self.database,
            "warehouse": self.warehouse,
            "role": self.role,
            "schema": self.schema,
        }
        arguments: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        if self.private_key is not None:
            arguments["private_key"] = self._private_key(self.private_key)
        elif self.password is not None:
            arguments["password"] = self.password()
        options = dict(self.connection_options)
        parameters = {
            "QUERY_TAG": self.query_tag,
            # Return instants in UTC, whatever the account's time zone is.
            "TIMEZONE": "UTC",
            "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
            **self.session_parameters,
            **options.pop("session_parameters", {}),
            **(session_parameters or {}),
        }
        return {
            **arguments,
            "application": "platform_assets",
            "login_timeout": self.login_timeout,
            # Without a limit the connector retries network errors forever.
            "network_timeout": _NETWORK_TIMEOUT,
            "arrow_number_to_decimal": True,
            "session_parameters": parameters,
            **options,
        }

    def _private_key(self, secret: Callable[[], str]) -> bytes:
        """The key in the connector's format, PKCS#8 in DER."""
        from cryptography.hazmat.primitives import serialization

        encoded: bytes = self._loaded_key(secret).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return encoded

    def public_key(self) -> str:
        """The public half of the private key, as Snowflake's `RSA_PUBLIC_KEY` takes it.

        Raises:
            SettingsError: The secret cannot be fetched.
            WarehouseError: There is no private key, or it is not valid.
        """
        if self.private_key is None:
            raise WarehouseError(
                f"The Snowflake user {self.user} has a password and no private key, and thus no public key. "
                "Configure private_key."
            )
        return encoded_public_key(self._loaded_key(self.private_key).public_key())

    def _loaded_key(self, secret: Callable[[], str]) -> Any:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization

        passphrase = self.private_key_passphrase() if self.private_key_passphrase is not None else None
        try:
            return serialization.load_pem_private_key(
                secret().encode(), password=passphrase.encode() if passphrase else None
            )
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # Do not repeat the value that was found or the library's message: either may contain the key.
            problem = "it is not PEM text, or the passphrase does not open it"
            if isinstance(error, TypeError):
                problem = "it has no passphrase, but a passphrase is configured"
                if passphrase is None:
                    problem = "it has a passphrase, but no passphrase is configured"
            raise WarehouseError(
                f"The private key of the Snowflake user {self.user} cannot be read: {problem}. Store the "
                "whole PEM file as the secret; `openssl genrsa 2048 | openssl pkcs8 -topk8 -inform PEM "
                "-nocrypt` creates such a key."
            ) from None

    def _verify_database(self, connection: SnowflakeConnection) -> None:
        """Reject a session whose database does not exist; Snowflake opens it without an error."""
        if connection.database is None:
            grant = Grant("USAGE", f"DATABASE {self.database}").to(connection.role or self.role)
            raise WarehouseError(
                f"The Snowflake database {self.database} cannot be used: the account {self.account} has no "
                f"database of this name, or the role may not see it. If it exists, grant it: {grant}"
            )

    @contextlib.contextmanager
    def translated(
        self, attempt: str, connection: SnowflakeConnection | None = None, grants: Sequence[Grant] = ()
    ) -> Iterator[None]:
        """Translate Snowflake's errors to the platform's errors.

        Args:
            attempt: The operation, worded to follow "Snowflake could not".
            connection: The session of the operation.
            grants: The privileges it needs, to report them if they are missing.

        Raises:
            WarehouseHeld: Another session has locked the table to change, or created the same object.
            WarehouseBusy: A retry may succeed.
            WarehouseError: A user has to change something.
        """
        from snowflake.connector import errors

        try:
            yield
        except errors.Error as error:
            raise self._explained(error, attempt, connection, grants) from error

    def _explained(
        self, error: Error, attempt: str, connection: SnowflakeConnection | None, grants: Sequence[Grant]
    ) -> WarehouseError:
        from snowflake.connector import errors

        number = error.errno or 0
        reason = " ".join(str(error.raw_msg or error).split())[:600].rstrip(". ")
        start = f"Snowflake could not {attempt}: {reason}."
        role = (connection.role if connection is not None else None) or self.role
        given = " ".join(grant.to(role) for grant in grants)
        is_cancelled = error.sqlstate == _CANCELLED
        if has_lost_race(error):
            return WarehouseHeld(f"{start} Another session has just created it; the next attempt uses it.")
        if is_held(error):
            return WarehouseHeld(
                f"{start} Another session is writing to the same tables; nothing was written, and the next "
                "attempt does the work again."
            )
        if number in _NO_ACTIVE_WAREHOUSE:
            name = self.warehouse or "YOUR_WAREHOUSE"
            grant = Grant("USAGE", f"WAREHOUSE {name}").to(role)
            return WarehouseError(
                f"{start} The virtual warehouse {name} does not exist, or the role may not use it. "
                f"Configure an existing one; if it exists, grant it: {grant}"
            )
        if number in _NO_CURRENT_DATABASE:
            grant = Grant("USAGE", f"DATABASE {self.database}").to(role)
            return WarehouseError(f"{start} If the database exists, grant it: {grant}")
        if number in _NO_PRIVILEGE:
            return WarehouseError(
                f"{start} {f'Grant the missing privileges: {given}' if given else ''}".strip()
            )
        if number in NO_SUCH_OBJECT:
            return WarehouseError(f"{start} {f'If it exists, grant it: {given}' if given else ''}".strip())
        if isinstance(error, errors.ForbiddenError):
            return WarehouseError(
                f"{start} Check the account's identifier, {self.account}: it is ORGANISATION-ACCOUNT, as in "
                "the address that you sign in at, without .snowflakecomputing.com."
            )
        passes = is_cancelled or number in _SESSION_IS_OVER
        if passes or not isinstance(error, errors.DatabaseError):
            return WarehouseBusy(f"{start} This is temporary; the next attempt does the work again.")
        if isinstance(error, errors.OperationalError | errors.InternalError):
            return WarehouseBusy(
                f"{start} Check the network, and https://status.snowflake.com; the next attempt does the "
                "work again."
            )
        if connection is None:
            return WarehouseError(
                f"{start} Check the user, its key or password, and that a network policy allows the "
                f"connection; DESCRIBE USER {self.user} shows the key's fingerprint."
            )
        return WarehouseError(start)
