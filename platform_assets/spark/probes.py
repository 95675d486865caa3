"""Probe of Spark: it answers, converts as the platform needs it, and reads the lake's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from platform_assets.diagnosis import Observation, error, ok

if TYPE_CHECKING:
    from platform_assets.lake.lake import Lake
    from platform_assets.spark.session import SparkTarget


def look_at_engine(target_of: Callable[[], SparkTarget], lake: Lake) -> Iterator[Observation]:
    """Yield what is found of the engine; it is started for it.

    Args:
        target_of: Returns the Spark.
        lake: The lake, whose ledger is read as a test.
    """
    from platform_assets.spark.session import SparkError
    from platform_assets.spark.tables import Views

    target = target_of()
    try:
        with target.working("answering the doctor") as session, Views.open(session, target) as views:
            version = session.version
            ledger = lake.ledger.table
            handle = ledger.open()
            name, _ = views.add_table(ledger, handle)
            rows = session.sql(f"SELECT count(*) AS n FROM {name}").toArrow().to_pylist()[0]["n"]
    except SparkError as failed:
        yield error(target.name, str(failed), "See docs/spark.md.")
        return
    if rows != ledger.row_count(handle):
        yield error(
            target.name,
            f"It reads {rows:,} rows of the ledger, which has {ledger.row_count(handle):,}.",
            "See that Spark's workers and this machine read the same files.",
        )
        return
    yield ok(target.name, f"Spark {version} answers and reads the lake's files.")
