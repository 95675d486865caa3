"""The Snowflake account and the copies of the lake in it, from the settings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from platform_assets.column_lineage import DeclaredTable
from platform_assets.diagnosis import Probe, ok
from platform_assets.errors import SettingsError
from platform_assets.lake.assembly import LakeRoom
from platform_assets.model.star_model import columns_of
from platform_assets.rooms import Assembly
from platform_assets.snowflake.settings import SnowflakeRoomSettings
from platform_assets.star.assembly import StarRoom

if TYPE_CHECKING:
    from platform_assets.configuration.connections import SnowflakeConnectionSettings, SnowflakeStageSettings
    from platform_assets.diagnosis import Observation
    from platform_assets.lake.interfaces import VersionInUse
    from platform_assets.own_assets import AssetResources
    from platform_assets.snowflake.access import SnowflakeAccess
    from platform_assets.snowflake.copies import LakeCopies
    from platform_assets.snowflake.setup import SchemaUse, SnowflakeUse
    from platform_assets.stored import Stored


@runtime_checkable
class HasSnowflakeAccess(Protocol):
    """A room whose settings name a Snowflake account."""

    def snowflake_access(self) -> SnowflakeAccess | None:
        """Return the access to the first account that is configured; None without one."""
        ...


class SnowflakeRoom(Assembly[SnowflakeRoomSettings]):
    """The configured Snowflake account."""

    settings_class = SnowflakeRoomSettings

    @property
    def has_account(self) -> bool:
        """True if an account is configured."""
        return self.settings.snowflake is not None

    def copies(self) -> LakeCopies:
        """Return the Snowflake copies of the lake's star and feed tables, without connecting.

        Raises:
            SettingsError: The configuration has no block for Snowflake.
        """
        given = self.settings.snowflake
        if given is None:
            raise SettingsError(
                "No Snowflake account is configured for these tables. Add a block snowflake with account, "
                "user, private_key, warehouse, database and schema to config/platform.conf."
            )
        from platform_assets.snowflake.copies import LakeCopies
        from platform_assets.snowflake.options import ScriptOptions

        options = ScriptOptions(
            stage_url=given.stage.url if given.stage else None,
            storage_integration=given.stage.storage_integration if given.stage else None,
            case="upper",
        )
        return LakeCopies(self.rooms.of(LakeRoom).lake, build_access(given, given.db_schema).connect, options)

    def snowflake_access(self) -> SnowflakeAccess | None:
        """See `HasSnowflakeAccess.snowflake_access`: the account of the block `snowflake`."""
        given = self.settings.snowflake
        return build_access(given, given.db_schema) if given is not None else None

    def snowflake_uses(self) -> Iterator[SnowflakeUse]:
        """See `UsesSnowflake.snowflake_uses`: the copies of the lake's tables."""
        from platform_assets.snowflake.identifiers import typed_identifier
        from platform_assets.snowflake.setup import SchemaUse, unquoted

        if (given := self.settings.snowflake) is not None:
            schema = unquoted(typed_identifier(given.db_schema))
            yield describe_use(
                given,
                "the assets snowflake/*",
                (SchemaUse(schema, ("CREATE TABLE", "CREATE STAGE")),),
                given.stage,
                star_schema=schema,
                is_upper=True,
            )

    def asset_resources(self) -> AssetResources:
        """See `HasAssetResources.asset_resources`: `snowflake`, with the account that is configured."""
        return {
            "snowflake": (
                "Snowflake, as dagster-snowflake's SnowflakeResource, with the account of the block "
                "snowflake, or else of the first Snowflake warehouse",
                self._resource,
            )
        }

    def _resource(self) -> object:
        from platform_assets.snowflake.resources import snowflake_resource

        accesses = (room.snowflake_access() for room in self.rooms.offering(HasSnowflakeAccess))
        configured = next((access for access in accesses if access is not None), None)
        if configured is None:
            raise SettingsError(
                "The resource snowflake has no account: the configuration has neither a block snowflake nor "
                "a warehouse with the engine snowflake. Add one of them, see docs/warehouse_snowflake.md."
            )
        return snowflake_resource(configured)

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: the copies of the star tables."""
        for table in self.rooms.of(StarRoom).model.tables:
            yield DeclaredTable(
                ("snowflake", table.name),
                columns_of(table),
                copy_of=("star", table.name),
                group="snowflake",
                description=table.description,
            )

    def versions_in_use(self) -> list[VersionInUse]:
        """See `RefersToVersions.versions_in_use`.

        Raises:
            WarehouseError: Snowflake cannot be reached.
        """
        return self.copies().versions_in_use() if self.has_account else []

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: signing in to the account, if one is configured."""
        given = self.settings.snowflake
        if given is not None:
            yield Probe("snowflake", "account", partial(_look_at, given), 90.0)

    def stored(self) -> list[Stored]:
        """See `StoresFormats.stored`: the record of the copies in Snowflake."""
        return [self.copies().stored()] if self.has_account else []


ROOM = SnowflakeRoom


def _look_at(given: SnowflakeConnectionSettings) -> Iterator[Observation]:
    access = build_access(given)
    with access.connect() as connection:
        yield ok("account", f"{access.account}: {access.user} can sign in, with the role {connection.role}")


def build_access(given: SnowflakeConnectionSettings, schema: str | None = None) -> SnowflakeAccess:
    """Build the access to a Snowflake account; secrets are fetched when a session is opened."""
    from platform_assets.snowflake.access import SnowflakeAccess

    return SnowflakeAccess(
        account=given.account,
        user=given.user,
        database=given.database,
        warehouse=given.warehouse,
        role=given.role,
        schema=schema,
        private_key=given.private_key.resolve if given.private_key else None,
        private_key_passphrase=given.private_key_passphrase.resolve if given.private_key_passphrase else None,
        password=given.password.resolve if given.password else None,
        query_tag=given.query_tag,
        login_timeout=given.login_timeout,
    )


def describe_use(
    given: SnowflakeConnectionSettings,
    purpose: str,
    schemas: tuple[SchemaUse, ...],
    stage: SnowflakeStageSettings | None,
    *,
    star_schema: str,
    is_upper: bool,
) -> SnowflakeUse:
    """Describe the objects of an account that loads use; see `SnowflakeUse`.

    Raises:
        ParquetError: A name of the configuration is not an identifier.
    """
    from platform_assets.snowflake.identifiers import typed_identifier
    from platform_assets.snowflake.setup import SnowflakeUse

    return SnowflakeUse(
        purpose=purpose,
        account=given.account,
        user=typed_identifier(given.user),
        role=typed_identifier(given.role) if given.role is not None else None,
        warehouse=typed_identifier(given.warehouse),
        database=typed_identifier(given.database),
        schemas=schemas,
        star_schema=star_schema,
        is_upper=is_upper,
        stage_url=stage.url if stage is not None else None,
        storage_integration=typed_identifier(stage.storage_integration) if stage is not None else None,
        public_key=build_access(given).public_key if given.private_key is not None else None,
    )
