"""Times rendering of rows to CSV, JSON lines, gzip, Parquet and Excel beside DuckDB's COPY and xlsxwriter.

All read the same Parquet file with the same memory and threads. The platform reads it as a delivery reads an
asset: one DuckDB streams rows, and the renderers make files of them. `copy of a stream` is DuckDB's COPY of
the same stream of rows; `copy` is its COPY from the file in one statement, without a stream in between. For
workbooks, `xlsxwriter` writes the same cells from Python values with `write_row` in constant memory, to as
many sheets; that takes so long that workbooks get fewer rows.

The contestants take turns, each in a process of its own, and the median of the rounds counts. Peak memory is
that of the process; so are the processor's seconds, which say more than the clock's on a busy machine.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from platform_assets.delivery.interfaces import Query, Rows, Stamp
from platform_assets.delivery.renderers.settings import RenderSettings, build_renderers
from platform_assets.delivery.renderers.workshop import Workshop
from platform_assets.delivery.sources.assets import ROWS_PER_BATCH
from platform_assets.lake.duck import SqlEngine

ROWS = """
SELECT i AS sales_record_id, i // 3 AS sales_order_id, DATE '2022-11-03' + (i % 900)::INTEGER AS created_date,
  TIMESTAMPTZ '2022-11-03 14:20:52.186+00' + INTERVAL (i) SECOND AS last_updated,
  (i * 7) % 20 AS sales_staff_id,
  'Counterparty ' || i % 500 || CASE WHEN i % 50 = 0 THEN ', "Sons" & Co' ELSE ' Ltd' END AS counterparty,
  ((i * 131) % 100000)::INTEGER AS units_sold, ((i % 397) * 1.01 + 2)::DECIMAL(10, 2) AS unit_price,
  (i % 1000) / 7.0 AS share, i % 3 = 0 AS is_paid
FROM range({rows}) AS t(i)
"""
ROWS_PER_SHEET = 1_048_576
"""Rows of a sheet, its header included."""
LEAST = 0.8
"""Share of the other's speed that is wanted."""

STAMP = Stamp("bench", "A benchmark", "platform-assets", "0", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "1")


def engine(folder: Path) -> SqlEngine:
    return SqlEngine(1024, 2, folder / "spill")


def rendered(steps: list[Any], *, use_query: bool = True) -> Callable[[Path, Path], int]:
    """Render as a delivery does; without the query, as one whose rows are changed or come from a query."""

    def work(source: Path, folder: Path) -> int:
        with engine(folder).connect() as connection:
            sql = f"FROM '{source}'"
            relation = connection.sql(sql)
            schema = relation.limit(0).to_arrow_table().schema
            batches = (batch for one in [relation] for batch in one.to_arrow_reader(ROWS_PER_BATCH))
            stream = pa.RecordBatchReader.from_batches(schema, batches)
            query = Query(connection, sql, tuple(map(str, relation.types))) if use_query else None
            content: Iterator[object] = iter([Rows("rows", stream, query)])
            validated = TypeAdapter(RenderSettings).validate_python(steps)
            for renderer in build_renderers(validated, Workshop(engine(folder), folder)):
                content = renderer.render(content, STAMP)  # type: ignore[arg-type]
            size = 0
            for one in content:
                with (folder / "out").open("wb") as out:
                    for chunk in one.chunks:  # type: ignore[attr-defined]
                        size += out.write(chunk)
        return size

    return work


def copied(options: str, *, stream: bool) -> Callable[[Path, Path], int]:
    """Have DuckDB write the file."""

    def work(source: Path, folder: Path) -> int:
        target = folder / "out"
        with engine(folder).connect() as reading, engine(folder).connect() as connection:
            what = f"FROM '{source}'"
            if stream:
                connection.register("rows", reading.sql(what).to_arrow_reader(ROWS_PER_BATCH))
                what = "FROM rows"
            connection.execute(f"COPY ({what}) TO '{target}' ({options})")
        return target.stat().st_size

    return work


def written(source: Path, folder: Path) -> int:
    """Have xlsxwriter write a workbook from Python values."""
    import xlsxwriter

    target = folder / "out.xlsx"
    book = xlsxwriter.Workbook(target, {"constant_memory": True, "default_date_format": "yyyy-mm-dd"})
    number = ROWS_PER_SHEET
    with engine(folder).connect() as connection:
        reader = connection.sql(
            f"SELECT * REPLACE (last_updated::TIMESTAMP AS last_updated, unit_price::DOUBLE AS unit_price) "
            f"FROM '{source}'"
        ).to_arrow_reader(ROWS_PER_BATCH)
        for batch in reader:
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if number == ROWS_PER_SHEET:
                    sheet = book.add_worksheet()
                    sheet.write_row(0, 0, reader.schema.names)
                    number = 1
                sheet.write_row(number, 0, row)
                number += 1
    book.close()
    return target.stat().st_size


CSV, JSONL, PARQUET = "FORMAT csv, HEADER", "FORMAT json", "FORMAT parquet, COMPRESSION zstd"
FORMATS: dict[str, dict[str, Callable[[Path, Path], int]]] = {
    "csv": {
        "platform": rendered(["csv"]),
        "copy of a stream": copied(CSV, stream=True),
        "copy": copied(CSV, stream=False),
    },
    "jsonl": {
        "platform": rendered(["jsonl"]),
        "copy of a stream": copied(JSONL, stream=True),
        "copy": copied(JSONL, stream=False),
    },
    "parquet": {
        "platform": rendered(["parquet"]),
        "platform, changed rows": rendered(["parquet"], use_query=False),
        "copy of a stream": copied(PARQUET, stream=True),
        "copy": copied(PARQUET, stream=False),
    },
    "gzip": {"platform": rendered(["csv", "gzip"]), "copy": copied(f"{CSV}, COMPRESSION gzip", stream=False)},
    "excel": {
        "platform": rendered([{"excel": {"too_many_rows": "sheets"}}]),
        "xlsxwriter": written,
    },
}


@dataclass(frozen=True)
class Timing:
    """What one run took."""

    seconds: float
    processor_seconds: float
    megabytes: float
    peak_memory_mb: float


def timed(work: Callable[[Path, Path], int], source: Path) -> Timing:
    """Run in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            start, used = time.perf_counter(), time.process_time()
            size = work(source, Path(folder))
            seconds, used = time.perf_counter() - start, time.process_time() - used
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        sender.send(Timing(seconds, used, size / 1e6, memory))

    process = context.Process(target=run)
    process.start()
    found: Timing = receiver.recv()
    process.join()
    return found


def figure(name: str, rows: int, contestant: str, found: dict[str, list[Timing]]) -> dict[str, Any]:
    """Return the figures of a contestant, with its seconds divided by those of the platform."""

    def median(one: str, of: str) -> float:
        return statistics.median(getattr(timing, of) for timing in found[one])

    return {
        "format": name,
        "contestant": contestant,
        "rows": rows,
        "seconds": round(median(contestant, "seconds"), 2),
        "processor": round(median(contestant, "processor_seconds"), 2),
        "mb": round(median(contestant, "megabytes"), 1),
        "memory_mb": round(max(one.peak_memory_mb for one in found[contestant])),
        "ratio": round(median(contestant, "seconds") / median("platform", "seconds"), 2),
        "processor_ratio": round(
            median(contestant, "processor_seconds") / median("platform", "processor_seconds"), 2
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("formats", nargs="*", default=list(FORMATS), help=", ".join(FORMATS))
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--excel-rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.formats:
            rows = options.excel_rows if name == "excel" else options.rows
            source = Path(folder) / f"{rows}.parquet"
            if not source.exists():
                with engine(Path(folder)).connect() as connection:
                    connection.execute(f"COPY ({ROWS.format(rows=rows)}) TO '{source}' (FORMAT parquet)")
            found: dict[str, list[Timing]] = {one: [] for one in FORMATS[name]}
            for _ in range(options.rounds):
                for contestant, work in FORMATS[name].items():
                    found[contestant].append(timed(work, source))
            figures += [figure(name, rows, contestant, found) for contestant in found]
            for one in figures[-len(found) :]:
                print("  ".join(f"{key} {value}" for key, value in one.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    slow = [one for one in figures if one["ratio"] < LEAST]
    print(*(f"below {LEAST}: {one['format']} beside {one['contestant']}" for one in slow), sep="\n")
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    pa.set_cpu_count(2)
    main()
