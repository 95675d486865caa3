"""The script that prepares a Snowflake account for a configuration. Nothing is executed here.

It creates what an administrator has to: the warehouse, the database, the schemas, the roles, the users, the
storage integration, the network policy, tags and masking policies. The tables are the loads' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from platform_assets.errors import SettingsError
from platform_assets.snowflake.identifiers import identifier, literal
from platform_assets.snowflake.options import snowflake_url

LAKE_STAGE = "PLATFORM_LAKE"
"""Name of the stage by which an administrator verifies that Snowflake reads the lake."""
POLICY_SCHEMA = ("USAGE", "CREATE TAG", "CREATE MASKING POLICY")


@dataclass(frozen=True)
class SchemaUse:
    """A schema that loads write to.

    Args:
        name: Its name, with the case that it has in Snowflake.
        privileges: The privileges on the schema that loads need, beside USAGE.
        is_read: True if people read its tables.
    """

    name: str
    privileges: tuple[str, ...]
    is_read: bool = True


@dataclass(frozen=True)
class SnowflakeUse:
    """Objects of a Snowflake account that a part of the configuration uses.

    Args:
        purpose: The part, for the comments of the script.
        account: The account.
        user: The user, as SQL; so are role, warehouse and database.
        role: The role; None means the user's default role.
        warehouse: The virtual warehouse.
        database: The database.
        schemas: The schemas.
        star_schema: Name of the schema with the star tables.
        is_upper: True if names of tables and columns are in upper case.
        stage_url: Snowflake's URL of the lake's files, if it reads them itself.
        storage_integration: The integration for it, as SQL.
        public_key: Returns the user's public key as `RSA_PUBLIC_KEY` takes it; None if it has a password.
    """

    purpose: str
    account: str
    user: str
    role: str | None
    warehouse: str
    database: str
    schemas: tuple[SchemaUse, ...]
    star_schema: str
    is_upper: bool
    stage_url: str | None
    storage_integration: str | None
    public_key: Callable[[], str] | None = field(repr=False, default=None)


@runtime_checkable
class UsesSnowflake(Protocol):
    """A room that loads tables into Snowflake."""

    def snowflake_uses(self) -> Iterator[SnowflakeUse]:
        """Yield the accounts that are configured with what is used there; no secret is fetched."""
        ...


@runtime_checkable
class WritesToWarehouses(Protocol):
    """A room that writes tables of its own into each warehouse."""

    def warehouse_schemas(self) -> Sequence[str]:
        """Return the names of the schemas."""
        ...


@dataclass(frozen=True)
class MaskedPlace:
    """The place of star tables whose columns are to be tagged and masked.

    Args:
        schema: Schema of the star tables.
        policies: Schema of the tags and masking policies.
        role: The role that sees values as they are.
        is_upper: True if names of tables and columns are in upper case.
    """

    schema: str
    policies: str
    role: str
    is_upper: bool


@runtime_checkable
class MasksInSnowflake(Protocol):
    """A room that knows which columns are sensitive, and what the policy says of them."""

    def snowflake_masks(self, place: MaskedPlace) -> tuple[Sequence[str], Sequence[str]]:
        """Return the statements that create tags and policies, and those that set them on columns."""
        ...


@dataclass(frozen=True)
class SetupOptions:
    """Choices that no configuration has.

    Args:
        role: Role of loads where the configuration names none, as SQL; so are the other roles.
        reader: Role for people who read the tables.
        unmasked: Role that sees masked values as they are.
        governance: Role that sets tags and masking policies.
        policies: Name of the schema of tags and masking policies.
        warehouse_size: Size of a virtual warehouse that does not exist yet.
        allowed: IPv4 addresses or ranges from which loads sign in; empty for no network policy.
        storage_role: ARN of the AWS role by which Snowflake reads a bucket on S3.
        columns: True to set tags and masking policies on columns, whose tables must exist.
    """

    role: str = "PLATFORM_LOADER"
    reader: str = "PLATFORM_READER"
    unmasked: str = "PII_READER"
    governance: str = "PLATFORM_GOVERNANCE"
    policies: str = "policies"
    warehouse_size: str = "XSMALL"
    allowed: tuple[str, ...] = ()
    storage_role: str | None = None
    columns: bool = False


Masks = Callable[[MaskedPlace], tuple[Sequence[str], Sequence[str]]]


class _Script:
    """Statements by section; a statement that several uses need is written once."""

    def __init__(self) -> None:
        self._sections: dict[tuple[str, str], dict[str, None]] = {}
        self._notes: dict[tuple[str, str], dict[str, None]] = {}

    def section(self, title: str, role: str) -> Callable[[str], None]:
        """Open a section, whose statements a role runs; return what adds a statement."""
        statements = self._sections.setdefault((title, role), {})
        return lambda sql: statements.setdefault(sql, None)

    def note(self, title: str, role: str, text: str) -> None:
        """Write a comment at the start of a section."""
        self._sections.setdefault((title, role), {})
        self._notes.setdefault((title, role), {}).setdefault(text, None)

    def lines(self) -> Iterator[str]:
        for (title, role), statements in self._sections.items():
            yield ""
            yield f"-- {title}"
            for note in self._notes.get((title, role), ()):
                yield f"-- {note}"
            if statements:
                yield f"USE ROLE {role};"
            for sql in statements:
                yield f"{sql};"


def setup_script(uses: Sequence[SnowflakeUse], options: SetupOptions, masks: Masks) -> str:
    """Build the script for one account, with comments. Each statement may be run again.

    Args:
        uses: What the configuration uses in the account.
        options: Choices that no configuration has.
        masks: Returns tags and masking policies for the columns of a place.

    Raises:
        SettingsError: Snowflake is to read a bucket on S3, and no AWS role is named.
        ParquetError: A name is not valid in Snowflake.
    """
    script = _Script()
    for use in uses:
        _objects(script, use, options)
    for use in uses:
        _roles(script, use, options)
    for use in uses:
        _grants(script, use, options)
    for use in uses:
        _storage(script, use, options)
    for use in uses:
        _network(script, use, options)
    for use in uses:
        _policies(script, use, options, masks)
    purposes = ", ".join(dict.fromkeys(use.purpose for use in uses))
    head = [
        f"-- Snowflake account {uses[0].account}: what platform_assets needs for {_one_line(purposes)}",
        "-- Run it as ACCOUNTADMIN, in a worksheet or with the Snowflake CLI. It can be run again.",
    ]
    return "\n".join([*head, *script.lines()]) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _objects(script: _Script, use: SnowflakeUse, options: SetupOptions) -> None:
    add = script.section("Warehouse, database and schemas", "SYSADMIN")
    add(
        f"CREATE WAREHOUSE IF NOT EXISTS {use.warehouse} WAREHOUSE_SIZE = {options.warehouse_size} "
        "AUTO_SUSPEND = 60 AUTO_RESUME = TRUE INITIALLY_SUSPENDED = TRUE"
    )
    add(f"CREATE DATABASE IF NOT EXISTS {use.database}")
    # In a schema with managed access, a role that owns a table cannot grant it to others.
    for schema in (*(schema.name for schema in use.schemas), options.policies):
        add(f"CREATE SCHEMA IF NOT EXISTS {use.database}.{identifier(schema)} WITH MANAGED ACCESS")


def _roles(script: _Script, use: SnowflakeUse, options: SetupOptions) -> None:
    title, by = "Roles and users", "USERADMIN"
    add = script.section(title, by)
    loader = use.role or options.role
    for role in (loader, options.reader, options.unmasked, options.governance):
        add(f"CREATE ROLE IF NOT EXISTS {role}")
    # A service signs in with a key only; LEGACY_SERVICE is the type that may have a password.
    kind = "SERVICE" if use.public_key is not None else "LEGACY_SERVICE"
    add(
        f"CREATE USER IF NOT EXISTS {use.user} TYPE = {kind} DEFAULT_ROLE = {loader} "
        f"DEFAULT_WAREHOUSE = {use.warehouse} COMMENT = 'Loads of platform_assets'"
    )
    if use.public_key is not None:
        add(f"ALTER USER {use.user} SET RSA_PUBLIC_KEY = {literal(use.public_key())}")
    else:
        script.note(title, by, f"Set the password of {use.user} yourself; a key pair would be safer.")


def _grants(script: _Script, use: SnowflakeUse, options: SetupOptions) -> None:
    add = script.section("Grants", "SECURITYADMIN")
    loader = use.role or options.role
    add(f"GRANT ROLE {loader} TO USER {use.user}")
    # Not the role that sees masked values: administrators need not see them.
    for role in (loader, options.reader, options.governance):
        add(f"GRANT ROLE {role} TO ROLE SYSADMIN")
    add(f"GRANT USAGE ON WAREHOUSE {use.warehouse} TO ROLE {loader}")
    for role in (loader, options.reader, options.governance):
        add(f"GRANT USAGE ON DATABASE {use.database} TO ROLE {role}")
    for schema in use.schemas:
        name = f"{use.database}.{identifier(schema.name)}"
        add(f"GRANT {', '.join(('USAGE', *schema.privileges))} ON SCHEMA {name} TO ROLE {loader}")
        if schema.is_read:
            add(f"GRANT USAGE ON SCHEMA {name} TO ROLE {options.reader}")
            for kind in ("TABLES", "VIEWS"):
                for which in ("ALL", "FUTURE"):
                    add(f"GRANT SELECT ON {which} {kind} IN SCHEMA {name} TO ROLE {options.reader}")
    star = f"{use.database}.{identifier(use.star_schema)}"
    add(f"GRANT USAGE ON SCHEMA {star} TO ROLE {options.governance}")
    policies = f"{use.database}.{identifier(options.policies)}"
    add(f"GRANT {', '.join(POLICY_SCHEMA)} ON SCHEMA {policies} TO ROLE {options.governance}")
    add(f"GRANT APPLY TAG ON ACCOUNT TO ROLE {options.governance}")
    add(f"GRANT APPLY MASKING POLICY ON ACCOUNT TO ROLE {options.governance}")


def _storage(script: _Script, use: SnowflakeUse, options: SetupOptions) -> None:
    if use.stage_url is None or use.storage_integration is None:
        return
    title, by = "Storage integration, with which Snowflake reads the lake's files", "ACCOUNTADMIN"
    add = script.section(title, by)
    url = f"{snowflake_url(use.stage_url).rstrip('/')}/"
    provider = "GCS"
    if url.startswith("s3"):
        if options.storage_role is None:
            raise SettingsError(
                f"The storage integration for {url} needs the AWS role by which Snowflake reads the bucket. "
                "Name its ARN with --storage-role; deploy/terraform creates such a role."
            )
        provider = "S3"
    elif url.startswith("azure"):
        raise SettingsError(
            f"The storage integration for {url} cannot be written: only s3:// and gcs:// are supported. "
            "Create it by hand, and leave stage out of the configuration while you print the script."
        )
    role = (
        f" STORAGE_AWS_ROLE_ARN = {literal(options.storage_role)}"
        if provider == "S3" and options.storage_role is not None
        else ""
    )
    name, loader = use.storage_integration, use.role or options.role
    add(
        f"CREATE STORAGE INTEGRATION IF NOT EXISTS {name} TYPE = EXTERNAL_STAGE "
        f"STORAGE_PROVIDER = '{provider}' ENABLED = TRUE{role} STORAGE_ALLOWED_LOCATIONS = ({literal(url)})"
    )
    add(f"GRANT USAGE ON INTEGRATION {name} TO ROLE {loader}")
    # Loads create a temporary stage each. This one is for people, and belongs to the administrator.
    stage = f"{use.database}.{identifier(options.policies)}.{LAKE_STAGE}"
    add(f"CREATE STAGE IF NOT EXISTS {stage} URL = {literal(url)} STORAGE_INTEGRATION = {name}")
    add(f"DESCRIBE INTEGRATION {name}")
    script.note(
        title,
        by,
        "DESCRIBE shows the identity that Snowflake uses: let it read the bucket, and no more.",
    )
    script.note(title, by, f"Afterwards, LIST @{stage} shows the lake's files.")


def _network(script: _Script, use: SnowflakeUse, options: SetupOptions) -> None:
    title, by = "Network policy: from where loads sign in", "SECURITYADMIN"
    if not options.allowed:
        script.note(title, by, "None: name the addresses with --allow, as in --allow 203.0.113.7/32.")
        return
    add = script.section(title, by)
    name = identifier(f"{unquoted(use.user)}_NETWORK")
    addresses = ", ".join(literal(address) for address in options.allowed)
    add(f"CREATE NETWORK POLICY IF NOT EXISTS {name} ALLOWED_IP_LIST = ({addresses})")
    add(f"ALTER NETWORK POLICY {name} SET ALLOWED_IP_LIST = ({addresses})")
    add(f"ALTER USER {use.user} SET NETWORK_POLICY = {name}")


def _policies(script: _Script, use: SnowflakeUse, options: SetupOptions, masks: Masks) -> None:
    title, by = f"Tags and masking policies in {use.database}", options.governance
    place = MaskedPlace(use.star_schema, options.policies, unquoted(options.unmasked), use.is_upper)
    created, on_columns = masks(place)
    if not created:
        script.note(title, by, "None: no column is known to hold anything sensitive yet.")
        return
    add = script.section(title, by)
    add(f"USE DATABASE {use.database}")
    for sql in created:
        add(sql)
    if options.columns:
        for sql in on_columns:
            add(sql)
    else:
        script.note(
            title,
            by,
            "After the first load, the script of --columns sets them on the tables' columns.",
        )


def unquoted(name: str) -> str:
    """The name that an identifier, as SQL, stands for."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
