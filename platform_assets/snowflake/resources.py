"""The Snowflake account as a dagster-snowflake resource for the user's assets; the type of the copies.

Dagster's package is imported only when the resource is created, because importing dagster_snowflake takes
seconds.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from platform_assets.errors import WarehouseError
from platform_assets.snowflake.access import SnowflakeAccess

if TYPE_CHECKING:
    from dagster_snowflake import SnowflakeResource

    from platform_assets.snowflake.copies import LakeCopies

    CopiesResource: TypeAlias = dg.ResourceParam[Callable[[], LakeCopies]]
else:
    # Loading the code location does not need this class and the libraries that it imports.
    CopiesResource = dg.ResourceParam[object]


def snowflake_resource(access: SnowflakeAccess) -> "SnowflakeResource":
    """Create a resource that connects with the key, role and query tag of the access.

    Args:
        access: The account and its credentials. Secrets are resolved here, so call this only when the
            resource is used.

    Raises:
        WarehouseError: The package is missing, or the private key is not valid.
    """
    try:
        from dagster_snowflake import SnowflakeResource
    except ImportError:
        raise WarehouseError(
            "The Snowflake resource cannot be created without dagster-snowflake; install the snowflake "
            "extra: "
            "pip install 'platform-assets[snowflake]'."
        ) from None
    given = access.arguments()
    secrets = {
        "private_key": access.private_key() if access.private_key is not None else None,
        "private_key_password": (
            access.private_key_passphrase() if access.private_key_passphrase is not None else None
        ),
        "password": given.pop("password", None),
    }
    given.pop("private_key", None)
    given.pop("application")  # the resource sets its own application name
    fields = (
        "account",
        "user",
        "database",
        "schema",
        "role",
        "warehouse",
        "login_timeout",
        "network_timeout",
    )
    named = {name: given.pop(name) for name in fields if name in given}
    return SnowflakeResource(
        **named,
        **{name: value for name, value in secrets.items() if value is not None},
        additional_snowflake_connection_args=given,
    )
