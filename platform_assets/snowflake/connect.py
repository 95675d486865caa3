"""Connections by name from `connections.toml`, the file used by Snowflake's own tools."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from platform_assets.errors import WarehouseError

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection


@contextlib.contextmanager
def connect_by_name(name: str) -> Iterator[SnowflakeConnection]:
    """Open a connection by its name, and close it at the end.

    Raises:
        WarehouseError: The package is missing, the name does not exist, or Snowflake rejects the credentials.
    """
    try:
        import snowflake.connector
        from snowflake.connector.errors import Error
    except ImportError:
        raise WarehouseError(
            "Snowflake cannot be reached without its connector; install the snowflake extra: "
            "pip install 'platform-assets[snowflake]'."
        ) from None
    try:
        connection = snowflake.connector.connect(connection_name=name)
    except Error as error:
        reason = " ".join(str(error.msg or error).split())[:400].rstrip(".")
        raise WarehouseError(
            f"The connection {name} of connections.toml could not be opened: {reason}. "
            f"`snow connection test -c {name}` tries the same."
        ) from error
    with contextlib.closing(connection):
        yield connection
