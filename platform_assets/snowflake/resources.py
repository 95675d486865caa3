"""The Snowflake account as the resource of dagster-snowflake, for assets of one's own.

Nothing of Dagster's is imported before the resource is made: importing dagster_snowflake takes seconds.
"""

from typing import TYPE_CHECKING

from platform_assets.errors import WarehouseError
from platform_assets.snowflake.access import SnowflakeAccess

if TYPE_CHECKING:
    from dagster_snowflake import SnowflakeResource


def snowflake_resource(access: SnowflakeAccess) -> "SnowflakeResource":
    """A resource whose connections are those of the access, with the same key, role and query tag.

    Args:
        access: The account, and how to sign in; its secrets are resolved here, so make it when it is used.

    Raises:
        WarehouseError: The package is missing, or the private key cannot be used.
    """
    try:
        from dagster_snowflake import SnowflakeResource
    except ImportError:
        raise WarehouseError(
            "The Snowflake resource cannot be made without dagster-snowflake; install the snowflake extra: "
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
    given.pop("application")  # the resource names itself to Snowflake
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
