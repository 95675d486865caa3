"""Settings of Spark: where it runs, and how much of that it may use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.secrets import REFERENCES, Secret, to_secret
from platform_assets.configuration.stores import SECRET_OPTION
from platform_assets.configuration.values import Block, Integer, Text

if TYPE_CHECKING:
    from pydantic_core.core_schema import ValidationInfo

    from platform_assets.configuration.blocks import Settings

_MASTER = re.compile(r"local(\[([1-9]\d*|\*)\])?|spark://[^\s/]+(,[^\s/]+)*|sc://[^\s;]+(;\S*)?")
_TOKEN = re.compile(r";\s*token=", re.IGNORECASE)
_OPTION = re.compile(r"spark\.[A-Za-z0-9_.-]+")
_OWN_KEYS = {
    "spark.master": "spark.master",
    "spark.driver.memory": "spark.memory_mb",
    "spark.sql.shuffle.partitions": "spark.partitions",
}
"""Properties of Spark that have keys of their own."""


def _master(value: object) -> str:
    if not isinstance(value, str) or not _MASTER.fullmatch(value):
        raise ValueError("it is none of these")
    return value


def _options(value: object, info: ValidationInfo) -> dict[str, str | Secret]:
    if not isinstance(value, Mapping):
        raise ValueError("it is not a block")
    options: dict[str, str | Secret] = {}

    def add(name: str, given: object) -> None:
        if isinstance(given, Mapping):
            for key, inner in given.items():
                add(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(given, Secret) or str(given).startswith("secret://"):
            options[name] = to_secret(given, info)
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

    master: Annotated[str, BeforeValidator(_master)] = Field(
        default="local[2]", description="local[N], spark://host:port or sc://host:port"
    )
    """The address: `local[2]` is a process of this machine with two threads; `spark://host:7077` a
    standalone cluster; `sc://host:15002` a server of Spark Connect, such as a managed Spark or a Sail
    server. With `engine = sail`, `local[N]` is a Sail server inside this process."""
    token: Secret | None = Field(default=None, description="a reference to a secret")
    """Token of a managed Spark, sent to `sc://` addresses."""
    memory_mb: Integer = Field(default=2048, ge=512, le=1_048_576, description="whole megabytes, 512 or more")
    """Megabytes of the driver's heap. In `local[N]` the driver does all the work."""
    partitions: Integer = Field(default=8, ge=1, le=100_000, description="a whole number, 1 or more")
    """Pieces that a large table is computed in: two to four for each core of the cluster."""
    rows_per_range: Integer = Field(
        default=1_000_000, ge=1, le=2_000_000_000, description="a whole number, 1 or more"
    )
    """Rows from which on the numbering of a fact's new rows is split into ranges for several workers."""
    inspect_rows: Integer = Field(default=10_000_000, ge=1, le=2**53, description="a whole number, 1 or more")
    """Rows from which on the workers inspect all values of a table of the lake for sensitive data; they need
    this package. The run inspects smaller tables, sampled as `dlp.inspect.sample_rows` says."""
    s3_scheme: Text = Field(default="s3a", description="s3a, s3 or s3n", pattern="^s3[an]?$")
    """The scheme of the bucket addresses that this Spark takes: `s3a` for Hadoop's connector, `s3` on EMR."""
    first_loads: bool = Field(default=False, description="true or false")
    """Have Spark's workers read large source tables that the lake does not have yet. They need this package,
    and a way to the source, whose password they get."""
    options: Annotated[dict[str, str | Secret], BeforeValidator(_options)] = Field(
        default_factory=dict, description="a block with Spark's own properties"
    )
    """Properties of Spark, such as `spark.executor.memory = 4g`, by their own names."""


class SparkSettings(RoomSettings):
    """Spark's keys."""

    spark: SparkBlock = Field(default_factory=SparkBlock, description="a block with master and memory_mb")

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that secrets are references, and that options are Spark's and repeat no key."""
        given = self.spark
        if _TOKEN.search(given.master):
            expected = "an address without a token: put a reference to it into spark.token"
            yield Mistake(("spark", "master"), "an address with a token (not shown)", expected)
        if given.token is not None and not given.master.startswith("sc://"):
            yield Mistake(("spark", "token"), "a token", "none: only addresses with sc:// take one")
        for name, value in given.options.items():
            key = ("spark", "options", name)
            if not _OPTION.fullmatch(name):
                yield Mistake(key, shown(name), "a property of Spark, such as spark.executor.memory")
            elif name in _OWN_KEYS:
                yield Mistake(key, "a value", f"nothing: it has a key of its own, {_OWN_KEYS[name]}")
            elif SECRET_OPTION.search(name) and not isinstance(value, Secret):
                yield Mistake(key, "a literal value (not shown)", REFERENCES)


SETTINGS = SparkSettings
