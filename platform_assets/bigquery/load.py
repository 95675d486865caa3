"""Load Parquet files into BigQuery: a table for each file or folder, all or nothing."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from platform_assets.bigquery.files import (
    find_tables,
    may_need_writing,
    partition_options,
    partitions_of,
    readable_schema,
)
from platform_assets.bigquery.jobs import load_once, parquet_config
from platform_assets.bigquery.names import check_dataset, check_table, table_name
from platform_assets.bigquery.types import loadable, schema_fields
from platform_assets.errors import ParquetError, WarehouseError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.parquet.layouts import Grouping
from platform_assets.parquet.tables import ParquetProblem, ParquetTable, TableFile

if TYPE_CHECKING:
    from google.cloud import bigquery

    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.bigquery.files import OpenBucket

Write = Literal["append", "truncate", "empty"]
Report = Callable[[str, int, int], None]

_DISPOSITIONS = {"append": "WRITE_APPEND", "truncate": "WRITE_TRUNCATE", "empty": "WRITE_EMPTY"}
_STAGED_FOR = dt.timedelta(days=1)
_URIS_PER_JOB = 10_000
_ROWS_PER_BATCH = 65_536


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Table names, and what to do with existing rows.

    Attributes:
        dataset: The dataset; created if it does not exist.
        prefix: Put before each table's name, such as `dim_`.
        name: All files are one table, of this name; otherwise tables are named after files and folders.
        write: `append` to existing rows, `truncate` the table first, or load into `empty` tables only.
        grouping: The grouping rule: `auto`, every `file`, or every `folder`.
        pattern: Read only files in folders whose name matches, such as `*.parquet`.
    """

    dataset: str
    prefix: str = ""
    name: str | None = None
    write: Write = "append"
    grouping: Grouping = "auto"
    pattern: str = "*"


@dataclass(frozen=True, slots=True)
class TableLoad:
    """The result of loading one table.

    Attributes:
        name: Its name in BigQuery.
        files: Number of files loaded.
        rows: Number of rows loaded.
        seconds: Duration in seconds.
    """

    name: str
    files: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of a load.

    Attributes:
        tables: The tables that were loaded.
        problems: Files and tables that were skipped, with reasons.
    """

    tables: tuple[TableLoad, ...]
    problems: tuple[ParquetProblem, ...]


def load_parquet(
    access: BigQueryAccess,
    places: Sequence[str],
    options: LoadOptions,
    *,
    open_bucket: OpenBucket | None = None,
    report: Report = lambda _table, _done, _total: None,
) -> LoadResult:
    """Load Parquet files into tables of a dataset.

    Each table is written by one job, so that readers see all of its files or none. If there are several local
    files, they are first combined in a staging table. A bad file does not stop the others.

    Args:
        access: The connection settings.
        places: Files, folders and Delta tables: local paths or `gs://bucket/name`.
        options: Table names, and what to do with existing rows.
        open_bucket: Returns the file system of the buckets; None means the credentials of `access`.
        report: Called with the table, the number of its files done, and the number of its files.

    Returns:
        The loaded tables, and the skipped files and tables.

    Raises:
        ParquetError: A place is empty or does not exist.
        WarehouseError: BigQuery cannot be reached, or rejects the dataset.
    """
    check_dataset(options.dataset)
    tables, problems = find_tables(
        places,
        open_bucket or (lambda: _open_buckets(access)),
        name=options.name,
        grouping=options.grouping,
        pattern=options.pattern,
    )
    targets: dict[str, ParquetTable] = {}
    for table in tables:
        target = table_name(options.prefix + table.name)
        check_table(target)
        if target.casefold() in {target.casefold() for target in targets}:
            problems.append(
                ParquetProblem(table.root, f"another table is called {target} too; load the two apart")
            )
            continue
        targets[target] = table
    if not targets:
        return LoadResult((), tuple(problems))
    results = []
    with access.connect() as client:
        with access.translated(f"make the dataset {options.dataset}", client):
            _create_dataset(client, access, options.dataset)
        for target, table in targets.items():
            load = _TableLoad(client, access, options, target, table, problems, report)
            try:
                results.append(load.run())
            except WarehouseError as error:
                if error.retryable and not results:
                    raise
                problems.append(ParquetProblem(f"{options.dataset}.{target}", str(error)))
            except BaseException as error:
                # Any error is the failure of one table.
                if not is_isolated(error):
                    raise
                problems.append(ParquetProblem(f"{options.dataset}.{target}", reason_of(error)))
    return LoadResult(tuple(results), tuple(problems))


@dataclass(frozen=True)
class _TableLoad:
    """The load of one table."""

    client: bigquery.Client
    access: BigQueryAccess
    options: LoadOptions
    target: str
    table: ParquetTable
    problems: list[ParquetProblem]
    report: Report

    @property
    def destination(self) -> str:
        return f"{self.client.project}.{self.options.dataset}.{self.target}"

    def run(self) -> TableLoad:
        """Load the table.

        Raises:
            WarehouseError: BigQuery rejects the table, or every one of its files.
        """
        started = time.monotonic()
        attempt = f"load {self.options.dataset}.{self.target}"
        files = self.table.files
        with self.access.translated(attempt, self.client):
            if not files and self.table.schema is not None:
                loaded, rows = 0, self._load_no_rows(self.table.schema)
            elif not self.table.is_local:
                loaded, rows = len(files), self._load_objects()
                self._compare(rows, files)
            elif len(files) == 1:
                loaded, rows = 1, self._load_file(files[0], self.destination, self.options.write)
                self.report(self.target, 1, 1)
                self._compare(rows, files)
            else:
                loaded, rows = self._load_files()
        return TableLoad(self.target, loaded, rows, time.monotonic() - started)

    def _compare(self, rows: int, files: Sequence[TableFile]) -> None:
        """Compare BigQuery's row count with that of the files.

        Raises:
            WarehouseError: The counts differ.
        """
        expected = sum(file.rows for file in files)
        if rows != expected:
            raise WarehouseError(
                f"BigQuery loaded {rows:,} rows into {self.options.dataset}.{self.target} of files with "
                f"{expected:,}. See the job in BigQuery's job history before you load them again."
            )

    def _load_no_rows(self, schema: pa.Schema) -> int:
        """Create or empty the table of a Delta table without files, with the columns of its log."""
        with tempfile.TemporaryDirectory(prefix="platform-assets-bigquery-") as folder:
            file = Path(folder) / "none.parquet"
            pq.write_table(loadable(schema).empty_table(), file)
            config = self._config(self.options.write)
            load_once(self.client, self.access, self.destination, file, config, _job_id())
        self.report(self.target, 1, 1)
        return 0

    def _load_objects(self) -> int:
        """Load files on Google Cloud Storage in one job."""
        files = self.table.files
        if len(files) > _URIS_PER_JOB:
            raise WarehouseError(
                f"{self.options.dataset}.{self.target} was not loaded, as {self.table.root} has "
                f"{len(files):,} files and one job loads {_URIS_PER_JOB:,}. Load parts of it one by one."
            )
        partitioning = partition_options(self.table)
        partitions = {column.name for column in self.table.columns if column.partition is not None}
        config = self._config(self.options.write, partitions)
        if partitioning is not None:
            config.hive_partitioning = partitioning
        if wild := next((file.path for file in files if "*" in file.path), None):
            raise WarehouseError(
                f"{self.options.dataset}.{self.target} was not loaded, as BigQuery takes the * in {wild} for "
                "a wildcard. Rename the file."
            )
        self.report(self.target, 0, len(files))
        uris = [f"{self.table.root}/{file.path}" for file in files]
        job = load_once(self.client, self.access, self.destination, uris, config, _job_id())
        self.report(self.target, len(files), len(files))
        return int(job.output_rows or 0)

    def _load_files(self) -> tuple[int, int]:
        """Upload local files into a staging table, then copy it into the target table in one step."""
        from google.cloud import bigquery

        rows = 0
        loaded: list[TableFile] = []
        staging = f"{self.destination}_loading_{uuid.uuid4().hex[:12]}"
        files = self.table.files
        try:
            for number, file in enumerate(files, 1):
                try:
                    with self.access.translated(f"load {self._path(file)}", self.client):
                        rows += self._load_file(file, staging, "append")
                except WarehouseError as error:
                    if error.retryable:
                        raise
                    self.problems.append(ParquetProblem(self._path(file), str(error)))
                else:
                    loaded.append(file)
                    if len(loaded) == 1:
                        self._expire(staging)
                self.report(self.target, number, len(files))
            if not loaded:
                raise WarehouseError(
                    f"{self.options.dataset}.{self.target} was not loaded: BigQuery accepted none of its "
                    "files."
                )
            self._compare(rows, loaded)
            config = bigquery.CopyJobConfig(
                write_disposition=_DISPOSITIONS[self.options.write], labels=dict(self.access.labels)
            )
            self.client.copy_table(
                staging, self.destination, job_id=_job_id(), job_config=config, retry=self.access.retry
            ).result(retry=self.access.retry)
        finally:
            self._drop(staging)
        return len(loaded), rows

    def _path(self, file: TableFile) -> str:
        return f"{self.table.root}/{file.path}"

    def _load_file(self, file: TableFile, destination: str, write: Write) -> int:
        partitions = partitions_of(self.table, file)
        with _as_readable(Path(self._path(file)), partitions, self.table) as path:
            job = load_once(self.client, self.access, destination, path, self._config(write), _job_id())
            return int(job.output_rows or 0)

    def _config(self, write: Write, left_out: Set[str] = frozenset()) -> bigquery.LoadJobConfig:
        schema = None
        if self.table.schema is not None and (
            self.table.absent or (not self.table.is_local and len(self.table.examples) > 1)
        ):
            # No file has these columns; only the log lists them.
            wanted = pa.schema([field for field in self.table.schema if field.name not in left_out])
            schema = schema_fields(loadable(wanted))
        config = parquet_config(self.access, _DISPOSITIONS[write], schema)
        if write == "append":
            config.schema_update_options = ["ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"]
        return config

    def _expire(self, staging: str) -> None:
        """Make the table expire after a day, even if this process ends early."""
        table = self.client.get_table(staging, retry=self.access.retry)
        table.expires = dt.datetime.now(dt.UTC) + _STAGED_FOR
        self.client.update_table(table, ["expires"], retry=self.access.retry)

    def _drop(self, staging: str) -> None:
        from google.api_core.exceptions import GoogleAPIError
        from requests import RequestException

        with contextlib.suppress(GoogleAPIError, RequestException):
            self.client.delete_table(staging, not_found_ok=True, retry=self.access.retry)


@contextlib.contextmanager
def _as_readable(file: Path, partitions: Mapping[str, pa.Scalar], table: ParquetTable) -> Iterator[Path]:
    """The file, or a copy with the partition values as columns and with types that BigQuery reads.

    Raises:
        WarehouseError: The file's rows cannot be read, or BigQuery cannot store a value.
    """
    if not partitions and not may_need_writing(table):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="platform-assets-bigquery-") as folder:
        copy = Path(folder) / "rows.parquet"
        yield copy if _write_readable(file, partitions, table, copy) else file


def _write_readable(file: Path, partitions: Mapping[str, pa.Scalar], table: ParquetTable, copy: Path) -> bool:
    """Write such a copy, and return True, unless the file is right as it is."""
    column = ""
    try:
        with pq.ParquetFile(file) as source:
            added = {
                name: value for name, value in partitions.items() if name not in source.schema_arrow.names
            }
            schema = source.schema_arrow
            if may_need_writing(table):
                schema = readable_schema(table, schema)
            if not added and schema.equals(source.schema_arrow):
                return False
            own = [*schema]
            for name, value in added.items():
                schema = schema.append(pa.field(name, value.type))
            with pq.ParquetWriter(copy, schema, compression="zstd") as writer:
                for batch in source.iter_batches(_ROWS_PER_BATCH):
                    columns = []
                    for field, values in zip(own, batch.columns, strict=True):
                        column = field.name
                        columns.append(values if values.type == field.type else values.cast(field.type))
                    column = ""
                    constants = [pa.repeat(value, batch.num_rows) for value in added.values()]
                    writer.write_batch(pa.RecordBatch.from_arrays([*columns, *constants], schema=schema))
            return True
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        if column:
            raise WarehouseError(
                f"{file} was not loaded, as column {column} has a value that BigQuery cannot store: "
                f"{reason}. Write the column in microseconds, or as text."
            ) from error
        raise WarehouseError(f"{file} was not loaded: its rows cannot be read: {reason}.") from error


def _create_dataset(client: bigquery.Client, access: BigQueryAccess, name: str) -> None:
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery

    reference = bigquery.DatasetReference(client.project, name)
    try:
        client.get_dataset(reference, retry=access.retry)
    except NotFound:
        dataset = bigquery.Dataset(reference)
        dataset.location = access.location
        dataset.labels = dict(access.labels)
        client.create_dataset(dataset, exists_ok=True, retry=access.retry)


def _open_buckets(access: BigQueryAccess) -> pyarrow.fs.FileSystem:
    """Open the buckets with the credentials used for BigQuery."""
    if access.credentials is None:
        return pyarrow.fs.GcsFileSystem()
    import google.auth.transport.requests
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import service_account

    try:
        credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            json.loads(access.credentials()),
            scopes=["https://www.googleapis.com/auth/devstorage.read_only"],
        )
        credentials.refresh(google.auth.transport.requests.Request())
    except (ValueError, GoogleAuthError):
        # Do not repeat the value that was found: it may be a key.
        raise ParquetError(
            "The buckets cannot be read: the secret is not the JSON of a service account's key, or the "
            "account was deleted. Create a key with `gcloud iam service-accounts keys create`."
        ) from None
    return pyarrow.fs.GcsFileSystem(
        access_token=credentials.token, credential_token_expiration=credentials.expiry
    )


def _job_id() -> str:
    return f"platform_assets_load_{uuid.uuid4().hex}"
