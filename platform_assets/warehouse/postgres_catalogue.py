"""Tables, views and privileges in a PostgreSQL warehouse's catalogue, and the GRANTs that a role lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platform_assets.errors import WarehouseError
from platform_assets.model.dialects import literal, quote
from platform_assets.model.star_model import columns_of
from platform_assets.warehouse.postgres_session import warehouse_name
from platform_assets.warehouse.sql import VIEWS

if TYPE_CHECKING:
    from platform_assets.model.table import Table
    from platform_assets.warehouse.postgres_session import PostgresSession

LOADS = "loads"
"""Name of the record of loads."""

_RIGHTS = ("SELECT", "INSERT", "UPDATE")


@dataclass(frozen=True)
class ExistingRelation:
    """An existing table or view, as the catalogue describes it.

    Args:
        is_table: Whether the relation accepts rows.
        owner: The role that owns the relation.
        is_owned: Whether the session's role has the owner's rights.
        is_superusers: Whether the owner is a superuser, whose rights should not be granted.
        may: Whether the role may SELECT, INSERT and UPDATE.
        columns: Type of each column, in order.
        mandatory: The columns that are NOT NULL.
        primary_key: Name of the primary key's constraint; empty without a primary key.
        foreign_keys: Name of each foreign key's constraint by its column.
    """

    is_table: bool
    owner: str
    is_owned: bool
    is_superusers: bool
    may: Mapping[str, bool]
    primary_key: str
    foreign_keys: Mapping[str, str]
    columns: dict[str, str] = field(default_factory=dict)
    mandatory: set[str] = field(default_factory=set)

    def has_to_be_altered(self, table: Table) -> bool:
        """Return whether a load alters this star table: its columns or keys differ from the model's."""
        names = {column.name for column in columns_of(table)}
        return bool(
            names - set(self.columns)
            or self.mandatory - names
            or not self.primary_key
            or {column for column, _ in table.foreign_keys} - set(self.foreign_keys)
        )


@dataclass(frozen=True)
class ExistingSchema:
    """A schema and its relations.

    Args:
        name: Name of the schema.
        exists: Whether the schema exists.
        may: Whether the role has USAGE and CREATE on it.
        relations: Tables and views in it, by name.
    """

    name: str
    exists: bool
    may: Mapping[str, bool]
    relations: Mapping[str, ExistingRelation]

    @property
    def columns(self) -> dict[str, dict[str, str]]:
        """The columns of each relation with their types."""
        return {name: relation.columns for name, relation in self.relations.items()}


def read_schema(session: PostgresSession, schema: str) -> ExistingSchema:
    """Read a schema from pg_catalog, which unlike information_schema also shows unreadable relations."""
    named = literal(schema)
    found = session.rows(
        "SELECT has_schema_privilege(oid, 'USAGE') AS usage, has_schema_privilege(oid, 'CREATE') "
        f"AS creation FROM pg_catalog.pg_namespace WHERE nspname = {named}"
    )
    if not found:
        return ExistingSchema(schema, False, {"USAGE": True, "CREATE": True}, {})
    rights = [f"has_table_privilege(c.oid, '{right}') AS {right.lower()}_" for right in _RIGHTS]
    columns = session.rows(
        "SELECT c.relname::text AS relation, c.relkind::text AS kind, "
        "pg_get_userbyid(c.relowner)::text AS owner, pg_has_role(c.relowner, 'USAGE') AS is_owned, "
        "EXISTS (SELECT FROM pg_catalog.pg_roles AS o WHERE o.oid = c.relowner AND o.rolsuper) "
        "AS is_supers, "
        f"{', '.join(rights)}, a.attname::text AS name, a.attnotnull AS is_mandatory, "
        "format_type(a.atttypid, a.atttypmod) AS type FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
        f"AND NOT a.attisdropped WHERE n.nspname = {named} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
        "ORDER BY c.relname, a.attnum"
    )
    keys = session.rows(
        "SELECT c.relname::text AS relation, k.conname::text AS name, k.contype::text AS kind, "
        "a.attname::text AS column FROM pg_catalog.pg_constraint AS k "
        "JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.conkey[1] "
        f"WHERE n.nspname = {named} AND k.contype IN ('p', 'f')"
    )
    primary = {key["relation"]: key["name"] for key in keys if key["kind"] == "p"}
    foreign: dict[str, dict[str, str]] = {}
    for key in keys:
        if key["kind"] == "f":
            foreign.setdefault(key["relation"], {})[key["column"]] = key["name"]
    relations: dict[str, ExistingRelation] = {}
    for row in columns:
        name = row["relation"]
        relation = relations.setdefault(
            name,
            ExistingRelation(
                row["kind"] in ("r", "p"),
                row["owner"],
                row["is_owned"],
                row["is_supers"],
                {right: row[f"{right.lower()}_"] for right in _RIGHTS},
                primary.get(name, ""),
                foreign.get(name, {}),
            ),
        )
        if row["name"] is not None:
            relation.columns[row["name"]] = row["type"]
            if row["is_mandatory"]:
                relation.mandatory.add(row["name"])
    may = {"USAGE": found[0]["usage"], "CREATE": found[0]["creation"]}
    return ExistingSchema(schema, True, may, relations)


class Grants:
    """The GRANTs that the session's role lacks for an operation, collected before it writes anything."""

    def __init__(self, session: PostgresSession, attempt: str) -> None:
        self._session = session
        self._attempt = attempt
        self._role = quote(session.connection.user)
        self._missing: list[str] = []

    def need(self, held: Mapping[str, bool], on: str, *needed: str) -> None:
        """Note the needed privileges on an object that are not held; `on` is its kind and name as SQL."""
        if lacking := [right for right in needed if not held[right]]:
            self._missing.append(f"GRANT {', '.join(lacking)} ON {on} TO {self._role};")

    def need_on_database(self, *needed: str) -> None:
        """Note the needed privileges on the database that are not held: CREATE, TEMPORARY."""
        held = (f"has_database_privilege(current_database(), '{right}') AS \"{right}\"" for right in needed)
        [row] = self._session.rows(f"SELECT current_database()::text AS database, {', '.join(held)}")
        self.need(row, f"DATABASE {quote(row['database'])}", *needed)

    def need_on_schema(self, schema: ExistingSchema, *, create: bool) -> None:
        """Note that the schema is used, and that something is created in it."""
        self.need(
            schema.may, f"SCHEMA {quote(schema.name)}", *(("USAGE", "CREATE") if create else ("USAGE",))
        )

    def need_ownership(self, relation: ExistingRelation, schema: str, name: str) -> None:
        """Note that a relation is altered or dropped; a superuser's relation changes its owner instead."""
        if relation.is_superusers and not relation.is_owned:
            self._missing.append(f"ALTER TABLE {quote(schema, name)} OWNER TO {self._role};")
        elif not relation.is_owned:
            self._missing.append(f"GRANT {quote(relation.owner)} TO {self._role};")

    def refuse(self) -> None:
        """Reject the operation if a GRANT is missing.

        Raises:
            WarehouseError: A GRANT is missing; the message has all of them.
        """
        if self._missing:
            connection = self._session.connection
            raise WarehouseError(
                f"{warehouse_name(connection)} does not allow {connection.user} to {self._attempt}; nothing "
                "was changed. Ask an administrator of the database to run: "
                f"{' '.join(dict.fromkeys(self._missing))}"
            )

    @property
    def is_complete(self) -> bool:
        """True if no GRANT is missing."""
        return not self._missing


def refuse_load(
    session: PostgresSession,
    attempt: str,
    records: ExistingSchema,
    found: ExistingSchema,
    tables: Sequence[Table],
) -> None:
    """Reject a load into these schemas before anything is written, if the role lacks privileges.

    Raises:
        WarehouseError: A GRANT is missing; the message has all of them.
    """
    grants = Grants(session, attempt)
    grants.need_on_database(*(() if records.exists and found.exists else ("CREATE",)), "TEMPORARY")
    names = {table.name: _names(table) for table in tables}
    if records.exists:
        grants.need_on_schema(records, create=LOADS not in records.relations)
    if found.exists:
        grants.need_on_schema(
            found, create=any(name not in found.relations for some in names.values() for name in some)
        )
    for schema, name, needed in (
        (records, LOADS, ("SELECT", "INSERT")),
        *((found, table.name, _RIGHTS) for table in tables),
    ):
        if relation := schema.relations.get(name):
            grants.need(relation.may, f"TABLE {quote(schema.name, name)}", *needed)
    for table in tables:
        present = found.relations.get(table.name)
        if present is not None and present.has_to_be_altered(table):
            for name in names[table.name]:
                if relation := found.relations.get(name):
                    grants.need_ownership(relation, found.name, name)
    grants.refuse()


def refuse_write(session: PostgresSession, attempt: str, found: ExistingSchema, table: str) -> None:
    """Reject writing a user's table before anything is written, if the role lacks privileges.

    Raises:
        WarehouseError: A GRANT is missing; the message has all of them.
    """
    grants = Grants(session, attempt)
    if found.exists:
        grants.need_on_schema(found, create=True)
        if relation := found.relations.get(table):
            grants.need_on_database("TEMPORARY")
            grants.need_ownership(relation, found.name, table)
    else:
        grants.need_on_database("CREATE")
    grants.refuse()


def _names(table: Table) -> tuple[str, ...]:
    """Return the names of a star table and its views."""
    return (table.name, *(f"{table.name}_{suffix}" for suffix in VIEWS if table.kind == "fact"))
