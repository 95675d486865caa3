"""All engines build the same star schema, tick by tick: DuckDB, Spark and Sail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from platform_assets.lake.lake import Lake
from platform_assets.model.dialects import quote
from platform_assets.model.star_model import STREAM, columns_of
from platform_assets.model.totesys import star
from platform_assets.spark.engine import SparkEngine
from platform_assets.spark.session import SailTarget, SparkTarget
from platform_assets.star.transform import StarBuilder, StarChange
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Platform, Totesys
from platform_assets_tests.star.test_transform import fourth_tick, second_tick, third_tick

ENGINES = ("duckdb", "spark", "sail")


def content(lake: Lake, engine: Any) -> dict[str, dict[str, Any]]:
    """The rows, types, cursor and a sum of hashes of each column, each tied to its row, of every star table."""
    found = {}
    for table in star.TABLES:
        target = lake.star(table)
        handle = target.open()
        with engine.connect() as connection:
            target.create_view(connection, ["t"], handle)
            key = ", ".join(quote(one) for one in table.primary_key)
            sums = ", ".join(
                f"sum(hash({key}, {quote(one.name)})::HUGEINT)" for one in columns_of(table)
            )
            [row] = connection.sql(f"SELECT count(*), {sums} FROM t").fetchall()
            types = connection.sql("FROM t").types
        found[table.name] = {
            "rows": row[0],
            "columns": dict(zip(table.column_names + ("_change", "_batch", "_seen_at"), row[1:], strict=True)),
            "types": [str(one) for one in types],
            "stored": {one.name: str(one.type) for one in handle.schema().fields},
            "cursor": target.cursor(handle, STREAM),
        }
    return found


def test_x(new_module_database, tmp_path):
    totesys = Totesys.with_rows(new_module_database())
    base = Platform.on_disk(totesys, tmp_path)
    import time
    targets = {"spark": SparkTarget(lambda: "local[2]", 1024, 2), "sail": SailTarget(lambda: "local[2]", partitions=2)}
    for change in (None, second_tick, third_tick, fourth_tick):
        if change: change(totesys)
        base.extract()
        results = {}
        for name in ENGINES:
            lake = replace(base.lake, processed=str(tmp_path / name))
            engine = SparkEngine(targets[name], base.engine, 3) if name != "duckdb" else None
            t=time.time(); c=time.process_time()
            changes = StarBuilder(lake, star.STAR, base.engine, print, engine).build(star.TABLES)
            print(name, time.time()-t, time.process_time()-c, [x.stopped for x in changes.values() if x.stopped])
            results[name] = {n: (c.after, c.batch, c.rows_written, c.row_count, c.stopped) for n, c in changes.items()}, content(lake, base.engine)
        assert results["spark"] == results["duckdb"]
        assert results["sail"] == results["duckdb"]
