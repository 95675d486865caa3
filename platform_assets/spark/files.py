"""Rows that Spark has computed become files of a Delta table, in one commit.

Spark's workers write Parquet files into a scratch folder of the table. They are moved beside the table's
files and committed. Nobody reads them before the commit; after a crash, upkeep removes what is left.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.errors import LakeError
from platform_assets.lake.delta import (
    LakeTable,
    WrittenFile,
    named_file_error,
    reason_in_short,
    table_properties,
)
from platform_assets.lake.upkeep.rewrite import SCRATCH, read_ahead
from platform_assets.lake.upkeep.store import LOG, TableStore

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame

    from platform_assets.spark.session import SparkTarget

_MOVES_AT_ONCE = 8


@dataclass(frozen=True)
class ScratchFiles:
    """Files in a scratch folder of a table.

    Args:
        table: The table.
        store: Its files.
        folder: The scratch folder, as a path from the table's folder.
        files: The files with rows, by paths from the scratch folder.
    """

    table: LakeTable
    store: TableStore
    folder: str
    files: Sequence[WrittenFile]

    @property
    def rows(self) -> int:
        """Number of rows in the files."""
        return sum(json.loads(file.stats)["numRecords"] for file in self.files)

    def placed(self) -> list[WrittenFile]:
        """Move the files beside those of the table, and return them with their new paths."""

        def place(number: int, file: WrittenFile) -> WrittenFile:
            name = f"part-{number:05d}-{uuid.uuid4()}.snappy.parquet"
            self.store.move(f"{self.folder}/{file.path}", name)
            return WrittenFile(name, file.size, file.stats)

        with ThreadPoolExecutor(_MOVES_AT_ONCE) as pool:
            return list(pool.map(place, range(len(self.files)), self.files))

    def fit(self, handle: DeltaTable | None) -> bool:
        """Return whether the files have the columns that the table has: no more, no fewer."""
        names = {field.name for field in handle.schema().fields} if handle is not None else None
        return names is None or names == set(self.table.arrow_schema.names)

    def stream(self) -> pa.RecordBatchReader:
        """Stream the rows of the files."""
        import pyarrow.parquet as pq

        schema = self.table.arrow_schema

        def batches() -> Iterator[pa.RecordBatch]:
            for file in self.files:
                with self.store.files.open_input_file(f"{self.folder}/{file.path}") as opened:
                    for batch in pq.ParquetFile(opened).iter_batches():
                        yield batch.select(schema.names).cast(schema)

        return pa.RecordBatchReader.from_batches(schema, read_ahead(batches()))


@contextmanager
def written(frame: DataFrame, table: LakeTable, target: SparkTarget) -> Iterator[ScratchFiles]:
    """Have the rows of a query written into a scratch folder, which is removed at the end.

    Args:
        frame: The query, with the columns of the table.
        table: The table.
        target: The Spark that computes the query.

    Raises:
        LakeError: The files cannot be read.
    """
    from deltalake import convert_to_deltalake
    from deltalake.exceptions import DeltaError

    if table.is_local:
        Path(table.uri).mkdir(parents=True, exist_ok=True)
    store = TableStore(table)
    folder = f"{SCRATCH}/{uuid.uuid4().hex}"
    try:
        frame.write.mode("error").option("compression", "snappy").parquet(
            target.place(f"{table.uri}/{folder}")
        )
        names = [file.path for file in store.listed(folder) if file.path.endswith(".parquet")]
        if not names:
            yield ScratchFiles(table, store, folder, [])
            return
        try:
            # Delta's own reader of footers gives them the statistics that every other file has.
            convert_to_deltalake(
                f"{table.uri}/{folder}",
                storage_options=table.storage_options(),
                configuration=table_properties(table.arrow_schema),
            )
            with store.files.open_input_file(f"{folder}/{LOG}/{0:020d}.json") as log:
                actions = [json.loads(line) for line in log.read().splitlines()]
        except (DeltaError, OSError) as error:
            raise named_file_error(error) or LakeError(
                f"The files that Spark has written into {table.uri}/{folder} cannot be read: "
                f"{reason_in_short(error)}. See that Spark's workers "
                "write to the place that this machine reads."
            ) from error
        adds = [action["add"] for action in actions if "add" in action]
        files = [WrittenFile(add["path"], add["size"], add["stats"]) for add in adds]
        full = [file for file in files if json.loads(file.stats)["numRecords"]]
        yield ScratchFiles(table, store, folder, full)
    finally:
        store.remove_folder(folder)
