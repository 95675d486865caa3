"""Warehouse settings: the engine, the address and the credentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.connections import (
    ServerSettings,
    SnowflakeConnectionSettings,
    SnowflakeStageSettings,
)
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.names import unusable_name
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.values import Block, Integer, LocalPath, Text

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings
    from platform_assets.configuration.document import Document


MAIN_WAREHOUSE = "warehouse"
"""Name of the warehouse that the main job loads."""


class DuckDBSettings(Block):
    """The DuckDB file used as the warehouse."""

    path: LocalPath = Field(description="the path of the warehouse's file")
    """The file."""
    wait: Integer = Field(default=120, ge=0, le=86_400, description="whole seconds, 0 or more")
    """Seconds to wait for another process that holds the file."""


_STAR_SCHEMA = "the name of the schema that holds the star schema"


_PLATFORM_SCHEMA = "the name of the schema that holds the records of loads"


def _other_than_star(value: str, info: ValidationInfo) -> str:
    if value == info.data.get("star_schema"):
        raise ValueError("the star schema is there already")
    return value


class _Schemas(Block):
    """The schemas (BigQuery: datasets) that the platform writes to."""

    star_schema: Text = Field(default="star", description=_STAR_SCHEMA)
    """The schema with the star schema (BigQuery: dataset)."""
    platform_schema: Annotated[Text, AfterValidator(_other_than_star)] = Field(
        default="platform", description=_PLATFORM_SCHEMA
    )
    """The schema with the records of loads (BigQuery: dataset)."""


class PostgresWarehouseSettings(ServerSettings, _Schemas):
    """A PostgreSQL database used as the warehouse, with a role that can write to it."""


class SnowflakeWarehouseSettings(SnowflakeConnectionSettings, _Schemas):
    """A Snowflake database used as the warehouse."""

    stage: SnowflakeStageSettings | None = Field(
        default=None, description="a block with url and storage_integration"
    )


class BigQueryWarehouseSettings(_Schemas):
    """A Google Cloud project whose BigQuery is the warehouse; its datasets are the schemas."""

    project: Text = Field(description="the id of the project")
    """The Google Cloud project."""
    location: Text = Field(description="the datasets' location, such as EU or europe-west2")
    """Location of the datasets."""
    credentials: Secret | None = Field(
        default=None,
        description=f"a reference to a service account's JSON key, or nothing for the default: {REFERENCES}",
    )
    """The service account; without it, Google's default credentials are used."""


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
    """The kind of warehouse; the block of the same name says where it is."""
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


class WarehousesSettings(RoomSettings):
    """The warehouses' keys."""

    warehouse: WarehouseSettings = Field(description="a block with engine, and a block of the engine's name")
    warehouses: dict[str, WarehouseSettings] = Field(
        default_factory=dict, description="a block of further warehouses by name, each as warehouse"
    )

    @property
    def by_name(self) -> dict[str, WarehouseSettings]:
        """All warehouses by name, the main one first."""
        return {MAIN_WAREHOUSE: self.warehouse, **self.warehouses}

    @classmethod
    def prepare(cls, document: Document, content: dict[str, Any]) -> Iterator[Mistake]:
        """Remove the additional warehouses whose name is already taken, and report them."""
        warehouses, sources = content.get("warehouses"), content.get("sources")
        if not isinstance(warehouses, dict):
            return
        taken = sources if isinstance(sources, dict) else {}
        refused = {
            name: reason
            for name in warehouses
            if (reason := "a source has that name" if name in taken else unusable_name(name))
        }
        for name, reason in refused.items():
            expected = f"a unique name of lower case letters, digits and _ ({reason})"
            yield Mistake(("warehouses", name), f"a warehouse called {shown(name)}", expected)
        content["warehouses"] = {
            name: warehouse for name, warehouse in warehouses.items() if name not in refused
        }

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that no two warehouses are one file."""
        taken: dict[object, str] = {}
        for name, warehouse in {"": self.warehouse, **self.warehouses}.items():
            if warehouse.engine != "duckdb" or warehouse.duckdb is None:
                continue
            key = ("warehouses", name, "duckdb", "path") if name else ("warehouse", "duckdb", "path")
            other = taken.setdefault(warehouse.duckdb.path, ".".join(key))
            if other != ".".join(key):
                yield Mistake(
                    key, shown(str(warehouse.duckdb.path)), f"a file of its own: {other} has this one"
                )

    def unshared(self) -> Iterator[Mistake]:
        """Report DuckDB files, which one machine at a time can open."""
        for name, settings in {"": self.warehouse, **self.warehouses}.items():
            if settings.engine == "duckdb":
                key = ("warehouses", name, "engine") if name else ("warehouse", "engine")
                expected = (
                    "postgres, snowflake or bigquery: with machines = many, a DuckDB file cannot be shared"
                )
                yield Mistake(key, "duckdb", expected)


SETTINGS = WarehousesSettings
