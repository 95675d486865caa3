"""Spark and Sail as engines of star tables, from the settings."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

from platform_assets.configuration.secrets import Secret
from platform_assets.diagnosis import Probe
from platform_assets.lake.assembly import LakeRoom
from platform_assets.rooms import Assembly
from platform_assets.spark.settings import SparkSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from platform_assets.lake.column_values import ValueWorkers
    from platform_assets.source.first_load import FirstLoader
    from platform_assets.spark.session import SparkTarget
    from platform_assets.star.engine import StarEngine


class SparkRoom(Assembly[SparkSettings]):
    """Spark and Sail."""

    settings_class = SparkSettings

    def star_engines(self) -> Mapping[str, Callable[[], StarEngine]]:
        """See `HasStarEngines.star_engines`."""
        return {name: partial(self._engine, target) for name, target in self._targets.items()}

    def first_loader(self) -> FirstLoader | None:
        """See `HasFirstLoader.first_loader`."""
        target = self._targets.get(self.rooms.of(LakeRoom).settings.engine.name)
        if target is None or not self.settings.spark.first_loads:
            return None
        from platform_assets.spark.first_load import SparkFirstLoader

        return SparkFirstLoader(target())

    def value_workers(self) -> ValueWorkers | None:
        """See `HasValueWorkers.value_workers`."""
        target = self._targets.get(self.rooms.of(LakeRoom).settings.engine.name)
        if target is None:
            return None
        from platform_assets.spark.values import SparkValueWorkers

        return SparkValueWorkers(target(), self.settings.spark.inspect_rows)

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: whether the chosen engine answers, and sees the files of the lake."""
        from platform_assets.spark.probes import look_at_engine

        room = self.rooms.of(LakeRoom)
        name = room.settings.engine.name
        if name in self.star_engines():
            yield Probe("engine", name, partial(look_at_engine, self._targets[name], room.lake), 120)

    @property
    def _targets(self) -> Mapping[str, Callable[[], SparkTarget]]:
        return {"spark": lambda: self._spark, "sail": lambda: self._sail}

    @cached_property
    def _spark(self) -> SparkTarget:
        from platform_assets.spark.session import SparkTarget

        return self._target(SparkTarget)

    @cached_property
    def _sail(self) -> SparkTarget:
        from platform_assets.spark.session import SailTarget

        return self._target(SailTarget)

    def _target(self, kind: type[SparkTarget]) -> SparkTarget:
        given = self.settings.spark

        def address() -> str:
            if given.token is None:
                return given.master
            start = given.master if ";" in given.master else f"{given.master.rstrip('/')}/"
            return f"{start};token={given.token.resolve()}"

        def options() -> dict[str, str]:
            return {
                name: value.resolve() if isinstance(value, Secret) else value
                for name, value in given.options.items()
            }

        return kind(address, given.memory_mb, given.partitions, options, given.s3_scheme)

    def _engine(self, target: Callable[[], SparkTarget]) -> StarEngine:
        from platform_assets.spark.engine import SparkEngine

        room = self.rooms.of(LakeRoom)
        return SparkEngine(target(), room.engine, self.settings.spark.rows_per_range)


ROOM = SparkRoom
