"""Settings of Spark: where it runs, and how much of that it may use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.secrets import Secret, to_secret
from platform_assets.configuration.values import Block, Integer, Text

if TYPE_CHECKING:
    from pydantic_core.core_schema import ValidationInfo

    from platform_assets.configuration.blocks import Settings

_MASTER = re.compile(r"local(\[([1-9]\d*|\*)\])?|spark://[^\s/]+(,[^\s/]+)*|sc://\S+")
_SECRET_IN_ADDRESS = re.compile(r";\s*token=", re.IGNORECASE)
_OPTION = re.compile(r"spark\.[A-Za-z0-9_.-]+")


def _master(value: object, info: ValidationInfo) -> str | Secret:
    if isinstance(value, Secret) or (isinstance(value, str) and value.startswith("secret://")):
        return to_secret(value, info)
    if not isinstance(value, str) or not _MASTER.fullmatch(value):
        raise ValueError("local[2], spark://host:7077 or sc://host:15002")
    if _SECRET_IN_ADDRESS.search(value):
        raise ValueError("an address with a token is a secret; write a reference such as secret://env/NAME")
    return value


def _options(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("it is not a block")
    options: dict[str, str] = {}

    def add(name: str, given: object) -> None:
        if isinstance(given, Mapping):
            for key, inner in given.items():
                add(f"{name}.{key}" if name else str(key), inner)
        elif not _OPTION.fullmatch(name):
            raise ValueError(f"{name} is not a Spark property, such as spark.executor.memory")
        elif isinstance(given, bool):
            options[name] = str(given).lower()
        elif isinstance(given, str | int | float):
            options[name] = str(given)
        else:
            raise ValueError(f"{name} is a list or null")

    add("", value)
    return options


class SparkBlock(Block):
    """The Spark that `engine = spark` and `engine = sail` use."""

    master: Annotated[str | Secret, BeforeValidator(_master)] = Field(
        default="local[2]", description="local[N], spark://host:port or sc://host:port, or a secret"
    )
    """Where it runs: `local[2]` in a process of this machine with two threads; `spark://host:7077` on a
    standalone cluster; `sc://host:15002` on what speaks Spark Connect, such as a managed Spark or a Sail
    server. With `engine = sail`, `local[N]` is a Sail server inside this process."""
    memory_mb: Integer = Field(default=2048, ge=512, le=1_048_576, description="whole megabytes, 512 or more")
    """Megabytes of the driver's heap. In `local[N]` the driver does all the work."""
    partitions: Integer = Field(default=8, ge=1, le=100_000, description="a whole number, 1 or more")
    """Pieces that a large table is computed in: two to four for each core of the cluster."""
    rows_per_range: Integer = Field(
        default=1_000_000, ge=1, le=2_000_000_000, description="a whole number, 1 or more"
    )
    """Rows from which on the numbering of a fact's new rows is split into ranges for several workers."""
    s3_scheme: Text = Field(default="s3a", description="s3a, s3 or s3n", pattern="^s3[an]?$")
    """How this Spark writes the address of a bucket: `s3a` for Hadoop's connector, `s3` on EMR."""
    options: Annotated[dict[str, str], BeforeValidator(_options)] = Field(
        default_factory=dict, description="a block with Spark's own properties"
    )
    """Properties of Spark, such as `spark.executor.memory = 4g`, by their own names."""


class SparkSettings(RoomSettings):
    """Spark's keys."""

    spark: SparkBlock = Field(default_factory=SparkBlock, description="a block with master and memory_mb")

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that no option repeats a key of its own."""
        owned = {
            "spark.master": "spark.master",
            "spark.driver.memory": "spark.memory_mb",
            "spark.sql.shuffle.partitions": "spark.partitions",
        }
        for name, key in owned.items():
            if name in self.spark.options:
                given = shown(self.spark.options[name])
                yield Mistake(("spark", "options", name), given, f"nothing: it has a key of its own, {key}")


SETTINGS = SparkSettings
