"""First loads of large source tables on Spark's workers, each with a connection of its own to the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.spark.files import written
from platform_assets.spark.tables import ddl

if TYPE_CHECKING:
    from platform_assets.source.first_load import FirstLoad, LoadTarget
    from platform_assets.spark.session import SparkTarget


@dataclass(frozen=True)
class SparkFirstLoader:
    """First loads on Spark or Sail.

    Args:
        target: The Spark. Its workers have this package, and reach the source.
    """

    target: SparkTarget

    @property
    def parts(self) -> int:
        """See `FirstLoader.parts`."""
        return self.target.partitions

    def load(self, load: FirstLoad, target: LoadTarget) -> int:
        """See `FirstLoader.load`."""
        count = len(load.scan.queries)
        with self.target.working(f"reading {load.scan.table} in parts") as session:
            parts = session.range(0, count, 1, min(load.connections, count))
            frame = parts.mapInArrow(partial(_read, load), ddl(target.table.columns))
            with written(frame, target.table, self.target) as files:
                if not files.files:
                    return 0
                target.table.append_files(
                    target.handle,
                    files.placed(),
                    stream=target.stream,
                    version=target.version,
                    metadata=target.metadata,
                )
                return files.rows


# A function of this module travels by its name; one inside a method would travel with all that it refers to.
def _read(load: FirstLoad, numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in numbers:
        for part in batch.column(0).to_pylist():
            yield from load.rows(part)
