"""Probes of a warehouse: access, privileges, and what is loaded."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.diagnosis import Observation, error, ok, warning
from platform_assets.errors import WarehouseBusy
from platform_assets.model.dialects import quote
from platform_assets.terminal import age_text

if TYPE_CHECKING:
    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.snowflake.access import SnowflakeAccess
    from platform_assets.source.connection import Connection
    from platform_assets.warehouse.interface import TableStatus

_POSTGRES = """
SELECT current_setting('server_version'), current_user::text, pg_is_in_recovery(),
       has_database_privilege(current_database(), 'CREATE'), current_database()::text
"""
_SCHEMA = """
SELECT has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
FROM pg_catalog.pg_namespace WHERE nspname = :schema
"""


def look_at_content(status: Callable[[], Sequence[TableStatus]]) -> Iterator[Observation]:
    """Yield a finding about what is loaded.

    Args:
        status: Returns the state of the star tables.
    """
    try:
        tables = status()
    except WarehouseBusy as busy:
        yield warning("content", str(busy), "Try again when the load has ended.")
        return
    if not tables:
        yield ok("content", "nothing was loaded yet; the first run does it")
        return
    loaded = max((table.loaded_at for table in tables if table.loaded_at is not None), default=None)
    age = f", last loaded {age_text(dt.datetime.now(dt.UTC) - loaded)} ago" if loaded is not None else ""
    yield ok("content", f"{len(tables)} tables up to batch {max(table.last_batch for table in tables)}{age}")


def look_at_duckdb(file: Path) -> Iterator[Observation]:
    """Yield a finding about a DuckDB file.

    Args:
        file: The file; it need not exist yet.
    """
    import duckdb

    there = file.parent
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.R_OK | os.W_OK)):
        yield error("file", f"{file} cannot be written", f"Give this user write access to it and to {there}.")
    else:
        size = f"{file.stat().st_size / 1024**2:,.1f} MiB" if file.exists() else "not made yet"
        yield ok("file", f"{file} ({size}), DuckDB {duckdb.__version__}")


def look_at_postgres(connect: Callable[[], Connection], schemas: Sequence[str]) -> Iterator[Observation]:
    """Yield the findings about a PostgreSQL warehouse: its server and the privileges of the role.

    Args:
        connect: Returns the connection.
        schemas: Schemas that the platform writes to.

    Raises:
        SourceUnavailable: The server does not answer.
        SourceError: The server refuses the login or a statement.
    """
    from platform_assets.source.session import open_control, translated

    connection = connect()
    control = open_control(connection)
    try:
        with translated(connection):
            [(version, user, is_standby, may_create, database)] = control.run(_POSTGRES)
            place = f"{connection.host}:{connection.port}/{database}"
            if is_standby:
                yield error(
                    "server", f"{place} is a standby, which takes no writes", "Name the primary server."
                )
                return
            yield ok("server", f"{place} is PostgreSQL {version}")
            role = quote(user)
            for schema in schemas:
                found = control.run(_SCHEMA, schema=schema)
                if found and all(found[0]):
                    yield ok(schema, f"{user} may create tables in it")
                elif found:
                    grant = f"GRANT USAGE, CREATE ON SCHEMA {quote(schema)} TO {role};"
                    yield error(schema, f"{user} may not create tables in it", grant)
                elif may_create:
                    yield ok(schema, "does not exist yet; the first load creates it")
                else:
                    grant = f"GRANT CREATE ON DATABASE {quote(database)} TO {role};"
                    yield error(schema, f"does not exist, and {user} may not create it", grant)
    finally:
        control.close()


def look_at_snowflake(access: SnowflakeAccess, schemas: Sequence[str]) -> Iterator[Observation]:
    """Yield the findings about a Snowflake database: sign-in, role, virtual warehouse, schemas.

    Args:
        access: The account.
        schemas: Schemas that the platform writes to.

    Raises:
        WarehouseBusy: Snowflake does not answer.
        WarehouseError: Snowflake refuses the user or a statement; the message names the missing grant.
    """
    from platform_assets.snowflake.access import Grant
    from platform_assets.snowflake.identifiers import quoted

    database = Grant("USAGE", f"DATABASE {access.database}")
    compute = [Grant("USAGE", f"WAREHOUSE {access.warehouse}")] if access.warehouse else []
    with access.connect() as connection, connection.cursor() as cursor:
        with access.translated("run a query", connection, [database, *compute]):
            cursor.execute("SELECT CURRENT_VERSION(), CURRENT_ROLE(), CURRENT_WAREHOUSE()")
            row = cursor.fetchone()
        version, role, warehouse = row if isinstance(row, tuple) else (None, None, None)
        yield ok("account", f"{access.account}: Snowflake {version}, role {role}, warehouse {warehouse}")
        for schema in schemas:
            with access.translated(f"list the schema {schema}", connection, [database]):
                cursor.execute(
                    "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (schema.upper(),)
                )
                exists = cursor.fetchone() is not None
            if exists:
                yield ok(schema, "exists, and the role may use it")
            else:
                grant = Grant("CREATE SCHEMA", f"DATABASE {quoted(access.database)}").to(role)
                yield warning(
                    schema, "does not exist yet; the first load creates it", f"The role needs: {grant}"
                )


def look_at_bigquery(access: BigQueryAccess, datasets: Sequence[str]) -> Iterator[Observation]:
    """Yield the findings about a Google Cloud project: whether it runs queries, and its datasets.

    Args:
        access: The project.
        datasets: Datasets that the platform writes to.

    Raises:
        WarehouseBusy: BigQuery does not answer.
        WarehouseError: BigQuery refuses the credentials or a request; the message names the missing role.
    """
    from google.api_core.exceptions import NotFound

    with access.connect() as client:
        with access.translated("run a query", client):
            client.query("SELECT 1").result(retry=access.retry)
        yield ok("project", f"{client.project} runs queries in {access.location}")
        for dataset in datasets:
            with access.translated(f"look at the dataset {dataset}", client):
                try:
                    location = client.get_dataset(dataset, retry=access.retry).location
                except NotFound:
                    advice = "The account needs the role roles/bigquery.user on the project to create it."
                    yield warning(dataset, "does not exist yet; the first load creates it", advice)
                    continue
            if location and location.lower() != access.location.lower():
                advice = f"Set location = {location} in the configuration."
                yield error(
                    dataset, f"is in {location}, and the configuration says {access.location}", advice
                )
            else:
                yield ok(dataset, f"exists, in {location}")
