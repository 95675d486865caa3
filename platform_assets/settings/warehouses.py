"""Warehouse settings: the engine, the address and the credentials."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.settings.secrets import REFERENCES, Secret
from platform_assets.settings.values import Block, Integer, LocalPath, ServerSettings, Text


class DuckDBSettings(Block):
    """The DuckDB file used as the warehouse."""

    path: LocalPath = Field(description="the path of the warehouse's file")
    wait: Integer = Field(default=120, ge=0, le=86_400, description="whole seconds, 0 or more")


_STAR_SCHEMA = "the name of the schema that holds the star schema"


_PLATFORM_SCHEMA = "the name of the schema that holds the records of loads"


def _other_than_star(value: str, info: ValidationInfo) -> str:
    if value == info.data.get("star_schema"):
        raise ValueError("the star schema is there already")
    return value


class _Schemas(Block):
    """The schemas (BigQuery: datasets) that the platform writes to."""

    star_schema: Text = Field(default="star", description=_STAR_SCHEMA)
    platform_schema: Annotated[Text, AfterValidator(_other_than_star)] = Field(
        default="platform", description=_PLATFORM_SCHEMA
    )


class PostgresWarehouseSettings(ServerSettings, _Schemas):
    """A PostgreSQL database used as the warehouse, with a role that can write to it."""


def _one_way_in(value: Secret | None, info: ValidationInfo) -> Secret | None:
    if "private_key" not in info.data:  # set but invalid: already reported
        return value
    if value is None and info.data["private_key"] is None:
        raise PydanticKnownError("missing")
    if value is not None and info.data["private_key"] is not None:
        raise ValueError("private_key is there too, and one of the two is used")
    return value


def _account(value: str) -> str:
    if re.search(r"[\s/:@]|\.snowflakecomputing\.", value):
        raise ValueError("only the identifier, not the address")
    return value


class SnowflakeConnectionSettings(Block):
    """A Snowflake account and its credentials: a key pair, or a password where Snowflake still allows it."""

    account: Annotated[Text, AfterValidator(_account)] = Field(
        description="the account's identifier, ORGANISATION-ACCOUNT"
    )
    user: Text = Field(description="the name of the user to sign in as")
    private_key: Secret | None = Field(
        default=None, description=f"a reference to the private key as PEM text: {REFERENCES}"
    )
    private_key_passphrase: Secret | None = Field(
        default=None, description=f"a reference to the key's passphrase: {REFERENCES}"
    )
    password: Annotated[Secret | None, AfterValidator(_one_way_in)] = Field(
        default=None,
        validate_default=True,
        description=f"a reference to the password, where there is no private_key: {REFERENCES}",
    )
    role: Text | None = Field(default=None, description="the name of a role; the user's default where absent")
    warehouse: Text = Field(description="the name of the virtual warehouse that computes")
    database: Text = Field(description="the name of the database")
    query_tag: Text = Field(default="platform_assets", description="what Snowflake's history shows")
    login_timeout: Integer = Field(default=30, ge=1, le=600, description="whole seconds from 1 to 600")


class SnowflakeStageSettings(Block):
    """The external stage through which Snowflake reads the lake's files; the default is an internal stage."""

    url: Text = Field(description="the lake's processed zone as Snowflake sees it: s3://... or gcs://...")
    storage_integration: Text = Field(description="the name of the storage integration for it")


class SnowflakeWarehouseSettings(SnowflakeConnectionSettings, _Schemas):
    """A Snowflake database used as the warehouse."""

    stage: SnowflakeStageSettings | None = Field(
        default=None, description="a block with url and storage_integration"
    )


class BigQueryWarehouseSettings(_Schemas):
    """A Google Cloud project whose BigQuery is the warehouse; its datasets are the schemas."""

    project: Text = Field(description="the id of the project")
    location: Text = Field(description="the datasets' location, such as EU or europe-west2")
    credentials: Secret | None = Field(
        default=None,
        description=f"a reference to a service account's JSON key, or nothing for the default: {REFERENCES}",
    )


def _needed_for(engine: str) -> AfterValidator:
    def check(block: object, info: ValidationInfo) -> object:
        if block is None and info.data.get("engine") == engine:
            raise PydanticKnownError("missing")
        return block

    return AfterValidator(check)


def _block(keys: str, engine: str) -> Any:
    return Field(
        default=None, validate_default=True, description=f"a block with {keys}, as the engine is {engine}"
    )


class WarehouseSettings(Block):
    """The engine and the address of a warehouse; the blocks of other engines are validated but not used."""

    engine: Literal["duckdb", "postgres", "snowflake", "bigquery"] = Field(
        default="duckdb", description="one of duckdb, postgres, snowflake, bigquery"
    )
    duckdb: Annotated[DuckDBSettings | None, _needed_for("duckdb")] = _block("path", "duckdb")
    postgres: Annotated[PostgresWarehouseSettings | None, _needed_for("postgres")] = _block(
        "host, database, user and password", "postgres"
    )
    snowflake: Annotated[SnowflakeWarehouseSettings | None, _needed_for("snowflake")] = _block(
        "account, user, private_key, warehouse and database", "snowflake"
    )
    bigquery: Annotated[BigQueryWarehouseSettings | None, _needed_for("bigquery")] = _block(
        "project and location", "bigquery"
    )

    @property
    def star_schema(self) -> str:
        """Name of the schema, or dataset, that holds the star tables."""
        configured = getattr(self, self.engine)
        return configured.star_schema if isinstance(configured, _Schemas) else "star"


class SnowflakeTablesSettings(SnowflakeConnectionSettings):
    """The schema in which the assets `snowflake/<table>` are created from the lake's star schema."""

    db_schema: Text = Field(default="PUBLIC", alias="schema", description="the name of the schema")
    stage: SnowflakeStageSettings | None = Field(
        default=None, description="a block with url and storage_integration"
    )
