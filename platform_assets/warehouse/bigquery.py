"""The warehouse in BigQuery: a dataset for the star schema, and a dataset for the platform's own tables.

Load jobs, which are free, stage the new rows; a script of one transaction then writes them. The script is
guarded: it writes nothing if the record of loads has changed since the script was generated, so values
computed in advance are still correct, and a crash leaves no open transaction.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from platform_assets.bigquery.access import OVERTAKEN, BigQueryAccess, LoadOvertaken
from platform_assets.bigquery.jobs import load_once, parquet_config, stage
from platform_assets.bigquery.names import check_dataset, check_table
from platform_assets.bigquery.types import loadable, schema_fields
from platform_assets.errors import QueryTimeout, WarehouseError
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine
from platform_assets.model.dialects import BIGQUERY, DUCKDB
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Column, Table
from platform_assets.model.totesys.star import TABLES
from platform_assets.warehouse.interface import STAR_SCHEMA, BoundSql, Load, TableStatus, bound
from platform_assets.warehouse.loading import (
    Incoming,
    LoadSession,
    Position,
    Target,
    load_star,
    retry_load,
)
from platform_assets.warehouse.sql import (
    StarSql,
    first_missing,
    format_of,
    positions_of,
    recency,
    refuse_schemas_of_the_platform,
    select_relation,
    statuses,
)

if TYPE_CHECKING:
    from google.cloud import bigquery

    from platform_assets.lake.lake import Lake

quote, literal = BIGQUERY.quote, BIGQUERY.literal

_NEEDED_ON_TABLES = ("bigquery.tables.getData", "bigquery.tables.updateData")


@dataclass(frozen=True)
class BigQueryWarehouse:
    """A warehouse in BigQuery.

    Args:
        access: Project and credentials for BigQuery.
        engine: Memory and threads for reading the lake, if BigQuery cannot read it itself.
        star_schema: Dataset of the star tables and their views.
        platform_schema: Dataset of the record of loads and of staging tables.
        wait: Time for which a load is retried after losing to other loads, in seconds.
        tables: The star schema, as the model declares it.
    """

    access: BigQueryAccess
    engine: SqlEngine
    star_schema: str = STAR_SCHEMA
    platform_schema: str = "platform"
    wait: float = 120
    tables: Sequence[Table] = TABLES

    def load(self, lake: Lake, tables: Sequence[Table], again: Collection[str] = ()) -> dict[str, Load]:
        """See `Warehouse.load`."""
        with self._connect() as warehouse:
            return retry_load(
                lambda: load_star(lake, tables, warehouse.target, again),
                lambda: warehouse.positions()[0],
                (LoadOvertaken,),
                self.wait,
            )

    @contextlib.contextmanager
    def query(self, sql: str | BoundSql, *, timeout: float | None = None) -> Iterator[pa.RecordBatchReader]:
        """See `Warehouse.query`. Tables are named by dataset and table, quoted with backticks."""
        from google.api_core.exceptions import NotFound

        with self.access.connect() as client:
            try:
                with self.access.translated("run the query", client):
                    rows = self._stream(client, bound(sql), timeout)
            except WarehouseError as error:
                if not isinstance(error.__cause__, NotFound) or self._has_star_schema(client):
                    raise
                raise WarehouseError(
                    f"The dataset {self.star_schema} of project {client.project} has no star schema yet: run "
                    "totesys_to_warehouse to create it."
                ) from error
            yield rows

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        """See `Warehouse.read`."""
        return self.query(select_relation(BIGQUERY, name, columns))

    def _has_star_schema(self, client: bigquery.Client) -> bool:
        from google.api_core.exceptions import NotFound

        with self.access.translated(f"look for the dataset {self.star_schema}", client):
            try:
                client.get_dataset(f"{client.project}.{self.star_schema}", retry=self.access.retry)
            except NotFound:
                return False
            return True

    def _stream(
        self, client: bigquery.Client, query: BoundSql, timeout: float | None
    ) -> pa.RecordBatchReader:
        import concurrent.futures

        from google.cloud import bigquery

        retry, sql = self.access.retry, query.text(lambda number: f"@value_{number}")
        values = [
            _parameter(f"value_{number}", value) for number, value in enumerate(query.values.values(), 1)
        ]
        planning = bigquery.QueryJobConfig(dry_run=True, query_parameters=values)
        planned = client.query(sql, planning, retry=retry, job_retry=None)
        if planned.statement_type != "SELECT":
            raise WarehouseError(
                f"The query was not run: it is {planned.statement_type}, and only SELECT statements are "
                "allowed here; the warehouse's assets write its tables."
            )
        running = bigquery.QueryJobConfig(query_parameters=values)
        prefix = "platform_assets_query_"
        job = client.query(sql, running, job_id_prefix=prefix, retry=retry, job_retry=None)
        try:
            rows = job.result(page_size=ROWS_PER_BATCH, retry=retry, job_retry=None, timeout=timeout)
        except concurrent.futures.TimeoutError as error:
            job.cancel(retry=retry)
            raise QueryTimeout(timeout or 0) from error
        if not rows.total_rows:
            return rows.to_arrow(create_bqstorage_client=False).to_reader()
        batches = iter(rows.to_arrow_iterable())
        first = next(batches)

        def streamed() -> Iterator[pa.RecordBatch]:
            yield first
            while True:
                with self.access.translated("read the result of the query", client):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

        return pa.RecordBatchReader.from_batches(first.schema, streamed())

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Warehouse.write`. A load job replaces a table atomically."""
        dataset, table = name
        refuse_schemas_of_the_platform(dataset, (self.star_schema, self.platform_schema), "Dataset")
        check_dataset(dataset)
        check_table(table)
        attempt = f"write {dataset}.{table}"
        schema = loadable(rows.schema)
        with (
            self._scratch() as folder,
            self.access.connect() as client,
            self.access.translated(attempt, client),
        ):
            file = folder / "rows.parquet"
            try:
                _write_parquet(file, rows, schema)
            except pa.ArrowInvalid as error:
                raise WarehouseError(
                    f"BigQuery could not {attempt}: a value does not fit its types: {error}. Round times and "
                    "timestamps to microseconds, and decimals to 38 digits on each side of the point."
                ) from error
            except ValueError as error:
                raise WarehouseError(
                    f"BigQuery could not {attempt}: the input stream failed: {error}. The table is "
                    "unchanged; correct the rows and write again."
                ) from error
            self._create_dataset(client, dataset)
            job = load_once(
                client,
                self.access,
                f"{client.project}.{dataset}.{table}",
                file,
                parquet_config(self.access, "WRITE_TRUNCATE", schema_fields(schema)),
                f"platform_assets_write_{uuid.uuid4().hex}",
            )
            return int(job.output_rows or 0)

    def sample(self, tables: Sequence[Table], limit: int) -> dict[str, list[dict[str, Any]]]:
        """See `Warehouse.sample`. For a fact, only the newest partition is read."""
        samples: dict[str, list[dict[str, Any]]] = {table.name: [] for table in tables}
        with self._connect() as warehouse:
            newest = {status.table: status.seen_at for status in warehouse.status()}
            for table in tables:
                seen_at = newest.get(table.name)
                if seen_at is None:
                    continue
                order = ""
                if table.kind == "fact":
                    day = seen_at.astimezone(dt.UTC).strftime("%Y-%m-%d 00:00:00+00")
                    order = (
                        f" WHERE {quote('_seen_at')} >= TIMESTAMP {literal(day)} "
                        f"ORDER BY {quote(table.primary_key[0])} DESC"
                    )
                samples[table.name] = warehouse.rows(
                    f"SELECT * FROM {warehouse.sql.relation(table.name)}{order} LIMIT {limit:d}",
                    "read a sample of the star schema",
                )
        return samples

    def stored_format(self) -> int | None:
        """See `Warehouse.stored_format`."""
        from google.api_core.exceptions import NotFound

        with self._connect() as warehouse:
            try:
                rows = warehouse.rows(warehouse.sql.stored_format(), "read its format version")
            except WarehouseError as error:
                if isinstance(error.__cause__, NotFound):
                    return None
                raise
            return format_of([tuple(row.values()) for row in rows])

    def store_format(self, version: int) -> None:
        """See `Warehouse.store_format`."""
        with self._connect() as warehouse:
            warehouse.run(warehouse.sql.store_format(version), "store its format version")

    def status(self) -> list[TableStatus]:
        """See `Warehouse.status`."""
        with self._connect() as warehouse:
            return warehouse.status()

    def batch_counts(self, table: Table) -> dict[int, int]:
        """See `Warehouse.batch_counts`."""
        with self._connect() as warehouse:
            rows = warehouse.rows(warehouse.sql.batch_counts(table), f"count the rows of {table.name}")
        return {int(row["_batch"]): int(row["row_count"]) for row in rows}

    @contextlib.contextmanager
    def _connect(self) -> Iterator[_Connected]:
        with self.access.connect() as client:
            yield _Connected(self, client)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        self.engine.spill_directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bigquery-", dir=self.engine.spill_directory) as folder:
            yield Path(folder)

    def _create_dataset(self, client: bigquery.Client, name: str) -> None:
        """Create a dataset if it does not exist; an existing dataset stays unchanged.

        Raises:
            WarehouseError: The dataset exists in another location.
        """
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        reference = bigquery.DatasetReference(client.project, name)
        try:
            found = client.get_dataset(reference, retry=self.access.retry)
        except NotFound:
            dataset = bigquery.Dataset(reference)
            dataset.location = self.access.location
            dataset.labels = dict(self.access.labels)
            found = client.create_dataset(dataset, exists_ok=True, retry=self.access.retry)
        if (found.location or "").casefold() != self.access.location.casefold():
            raise WarehouseError(
                f"The warehouse cannot use the dataset {name} of project {client.project}: it is in "
                f"{found.location}, and jobs are run in {self.access.location}. Configure the dataset's "
                "location, or another dataset."
            )


@dataclass(frozen=True)
class _Connected:
    """A warehouse with an open client."""

    warehouse: BigQueryWarehouse
    client: bigquery.Client

    @property
    def access(self) -> BigQueryAccess:
        return self.warehouse.access

    @property
    def target(self) -> Target:
        place = f"{self.client.project}.{self.warehouse.star_schema}"
        return Target(
            name=f"The BigQuery warehouse {place}",
            positions=lambda: self.positions()[0],
            status=self.status,
            session=self._session,
            start_afresh=f"Configure other datasets, or drop {self.warehouse.star_schema} and "
            f"{self.warehouse.platform_schema} to have them loaded again in full.",
            tables=self.warehouse.tables,
        )

    @property
    def sql(self) -> StarSql:
        """The statements that all engines share."""
        own, project = self.warehouse, self.client.project
        return StarSql(BIGQUERY, (project, own.star_schema), (project, own.platform_schema))

    def table(self, name: str) -> Table:
        return next(table for table in self.warehouse.tables if table.name == name)

    def rows(self, sql: str, attempt: str) -> list[dict[str, Any]]:
        """Return a small result as dictionaries."""
        with self.access.translated(attempt, self.client):
            job = self._begin(sql)
            return [dict(row.items()) for row in job.result(retry=self.access.retry, job_retry=None)]

    def row_count(self, table: Table) -> int:
        """Return the number of rows of a star table, from its metadata."""
        with self.access.translated(f"count the rows of {table.name}", self.client):
            found = self.client.get_table(self._reference(table), retry=self.access.retry)
            return int(found.num_rows or 0)

    def run(self, script: Sequence[str], attempt: str) -> None:
        """Run statements as a single job."""
        with self.access.translated(attempt, self.client):
            self._begin(";\n".join(script)).result(retry=self.access.retry, job_retry=None)

    def _begin(self, sql: str) -> bigquery.QueryJob:
        # Requests are retried, jobs are not: the client retries jobs for ten minutes, whatever the setting.
        return self.client.query(
            sql, job_id_prefix="platform_assets_", retry=self.access.retry, job_retry=None
        )

    def positions(self) -> tuple[dict[str, Position], int]:
        """Return each table's load position, and the number of recorded loads."""
        from google.api_core.exceptions import NotFound

        sql = self.sql.positions("COUNT(*) OVER ()")
        try:
            found = [
                tuple(row.values()) for row in self.rows(sql, "read how far the star schema has been loaded")
            ]
        except WarehouseError as error:
            # A missing table means that nothing was loaded, unless the dataset is in another location.
            if isinstance(error.__cause__, NotFound) and not self._is_elsewhere():
                return {}, 0
            raise
        return positions_of(found), found[0][-1] if found else 0

    def _is_elsewhere(self) -> bool:
        """Return whether the platform's dataset is in another location, where jobs do not find it."""
        from google.api_core.exceptions import NotFound

        name = self.warehouse.platform_schema
        with self.access.translated(f"look for the dataset {name}", self.client):
            try:
                found = self.client.get_dataset(f"{self.client.project}.{name}", retry=self.access.retry)
            except NotFound:
                return False
            return (found.location or "").casefold() != self.access.location.casefold()

    def status(self) -> list[TableStatus]:
        positions, _ = self.positions()
        loaded = [table for table in self.warehouse.tables if table.name in positions]
        if not loaded:
            return []
        attempt = "count the star schema's rows"
        try:
            rows = self.rows(self.sql.status(loaded), attempt)
        except WarehouseError as error:
            from google.api_core.exceptions import NotFound

            if not isinstance(error.__cause__, NotFound):
                raise
            # Somebody has dropped some of the tables.
            dataset = f"{self.client.project}.{self.warehouse.star_schema}"
            with self.access.translated("list the tables of the star schema", self.client):
                listed = self.client.list_tables(dataset, retry=self.access.retry)
                existing = {item.table_id for item in listed}
            loaded = [table for table in loaded if table.name in existing]
            rows = self.rows(self.sql.status(loaded), attempt) if loaded else []
        return list(statuses(loaded, positions, (tuple(row.values()) for row in rows)))

    @contextlib.contextmanager
    def _session(self, pending: Sequence[Incoming]) -> Iterator[LoadSession]:
        from google.api_core.exceptions import Conflict

        try:
            self._prepare(pending)
        except WarehouseError as error:
            if not isinstance(error.__cause__, Conflict):
                raise
            raise LoadOvertaken(f"{error} Another load has just created it.") from error
        positions, records = self.positions()
        with self.warehouse._scratch() as folder:
            session = _Session(self, folder, positions)
            try:
                yield session
                if session.statements:
                    self.run(self._guarded(session.statements, records), "load the star schema")
            finally:
                self._clear_away(session)

    def _guarded(self, statements: Sequence[str], records: int) -> list[str]:
        """Wrap statements in a transaction that excludes other loads and checks the record of loads."""
        return [
            "BEGIN TRANSACTION",
            # If two transactions change the same table, BigQuery aborts the second.
            f"UPDATE {self.sql.lock} SET {quote('token')} = {literal(uuid.uuid4().hex)} WHERE TRUE",
            f"SELECT IF((SELECT COUNT(*) FROM {self.sql.loads}) = {records:d}, TRUE, "
            f"ERROR({literal(OVERTAKEN)}))",
            *statements,
            "COMMIT TRANSACTION",
        ]

    def _clear_away(self, session: _Session) -> None:
        """Drop the staging tables; tables that cannot be dropped expire a day later."""
        from google.api_core.exceptions import GoogleAPIError
        from requests import RequestException

        for staged in session.staged.values():
            with contextlib.suppress(GoogleAPIError, RequestException):
                self.client.delete_table(staged, not_found_ok=True, retry=self.access.retry)

    def _prepare(self, pending: Sequence[Incoming]) -> None:
        """Create missing datasets, tables, columns and views, which BigQuery cannot do in a transaction."""
        client, retry = self.client, self.access.retry
        own, stars = self.warehouse.platform_schema, self.warehouse.star_schema
        with self.access.translated("prepare the datasets", client):
            for dataset in (own, stars):
                self.warehouse._create_dataset(client, dataset)
            listed = [
                [table.table_id for table in client.list_tables(f"{client.project}.{dataset}", retry=retry)]
                for dataset in (own, stars)
            ]
            columns = {
                name: {
                    target.name: target.mode != "REQUIRED"
                    for target in client.get_table(f"{client.project}.{stars}.{name}", retry=retry).schema
                }
                for name in listed[1]
                if any(name.startswith(table.name) for table in self.warehouse.tables)
            }
        script = [] if {"loads", "load_lock"} <= set(listed[0]) else self._bookkeeping()
        # A foreign key requires the referenced table.
        for table in sorted(self.warehouse.tables, key=lambda table: table.kind == "fact"):
            script += self._table(table, columns.get(table.name))
            script += self.sql.missing_views(table, columns)
        if script:
            self.run(script, "create the star schema")
        self._verify_permissions(pending)

    def _reference(self, table: Table) -> str:
        return f"{self.client.project}.{self.warehouse.star_schema}.{table.name}"

    def _bookkeeping(self) -> list[str]:
        return [
            self.sql.create_loads(),
            self.sql.first_format(),
            f"CREATE TABLE IF NOT EXISTS {self.sql.lock} AS SELECT {literal('')} AS {quote('token')}",
        ]

    def _table(self, table: Table, existing: Mapping[str, bool] | None) -> list[str]:
        """Return the DDL to create a table or add its missing columns, which are nullable for older rows."""
        relation, columns = self.sql.relation(table.name), columns_of(table)
        if existing is None:
            lines = self.sql.declarations(table)
            keys = ", ".join(quote(name) for name in table.primary_key)
            lines.append(f"PRIMARY KEY ({keys}) NOT ENFORCED")
            lines += [f"{self._foreign_key(*key)}" for key in table.foreign_keys]
            partitioned = ""
            if table.kind == "fact":
                partitioned = (
                    f" PARTITION BY TIMESTAMP_TRUNC({quote('_seen_at')}, MONTH) "
                    f"CLUSTER BY {quote(table.business_key or table.primary_key[0])}"
                )
            return [
                f"CREATE TABLE IF NOT EXISTS {relation} ({', '.join(lines)}){partitioned} "
                f"OPTIONS (description = {literal(table.description)})"
            ]
        missing = [column for column in columns if column.name not in existing]
        added = ", ".join(self.sql.added(table, existing))
        return [
            *([f"ALTER TABLE {relation} {added}"] if added else []),
            *(
                f"ALTER TABLE {relation} ADD {self._foreign_key(column.name, column.references)}"
                for column in missing
                if column.references
            ),
            *(f"ALTER TABLE {relation} {clause}" for clause in self.sql.relaxed(table, existing)),
        ]

    def _foreign_key(self, column: str, parent: str) -> str:
        dimension = self.table(parent)
        key = quote(dimension.primary_key[0])
        return f"FOREIGN KEY ({quote(column)}) REFERENCES {self.sql.relation(parent)} ({key}) NOT ENFORCED"

    def _verify_permissions(self, pending: Sequence[Incoming]) -> None:
        """Reject a load before anything is uploaded if permissions to write it are missing."""
        project, tables = self.client.project, [self._reference(pending[0].table)]
        tables.append(f"{project}.{self.warehouse.platform_schema}.loads")
        with self.access.translated("look up its permissions", self.client):
            for table in tables:
                granted = self.client.test_iam_permissions(
                    _table_reference(table), _NEEDED_ON_TABLES, retry=self.access.retry
                ).get("permissions", [])
                missing = [permission for permission in _NEEDED_ON_TABLES if permission not in granted]
                if missing:
                    dataset = ".".join(table.split(".")[:-1]).replace(".", ":")
                    denial = f"Permission {missing[0]} denied on dataset {dataset}"
                    raise WarehouseError(
                        f"The star schema cannot be loaded into {table}. "
                        f"{self.access.how_to_grant(denial, self.client)}"
                    )


@dataclass
class _Session(LoadSession):
    """Implementation of `LoadSession` that collects the statements for a single script."""

    connected: _Connected
    folder: Path
    started_from: dict[str, Position]
    statements: list[str] = field(default_factory=list)
    staged: dict[str, bigquery.TableReference] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)
    _written: dict[str, int] = field(default_factory=dict)

    def positions(self) -> dict[str, Position]:
        return self.started_from

    def prepare(self, filled: Sequence[Incoming], dropped: Set[str], superseded: Set[str]) -> None:
        """See `LoadSession`. Tables and columns are complete before the transaction."""
        if superseded:
            self.statements.append(self.connected.sql.supersede(superseded))

    def clear(self, table: Table) -> None:
        self.cleared.add(table.name)
        self.statements.append(f"DELETE FROM {self.connected.sql.relation(table.name)} WHERE TRUE")

    def write(self, incoming: Incoming) -> int:
        table = incoming.table
        with self.connected.access.translated(f"stage {table.name}", self.connected.client):
            copied = self._stage(incoming)
        if table.name not in self.staged:
            return 0
        sql, staged = self.connected.sql, self._staged(table)
        self.statements.append(sql.write_staged(incoming, staged))
        if copied is None:
            (found,) = self.connected.rows(
                f"SELECT COUNT(*) AS `found` FROM ({sql.staged(incoming, staged)}) AS `staged`",
                f"count the staged rows of {table.name}",
            )
            copied = int(found["found"])
        self._written[table.name] = copied
        return copied

    def _stage(self, incoming: Incoming) -> int | None:
        """Upload the rows, if any, to BigQuery; return their number, or None if it is unknown."""
        fields = schema_fields(pa.schema([_staged_field(column) for column in incoming.source.columns]))
        copied: int | None = None
        source: Path | list[str]
        if incoming.source.uri.startswith("gs://"):
            source = _objects(incoming)
            if not source:
                return 0
        else:
            source = self.folder / f"{incoming.table.name}.parquet"
            copied = self._copy(incoming, source)
            if copied == 0:
                return 0
        self.staged[incoming.table.name] = stage(
            self.connected.client,
            self.connected.access,
            self.connected.warehouse.platform_schema,
            incoming.table.name,
            fields,
            source,
            [
                incoming.table_id,
                str(incoming.lake_version),
                str(incoming.batches),
                *(f"{column.name} {column.field_type}" for column in fields),
            ],
        )
        return copied

    def _copy(self, incoming: Incoming, file: Path) -> int:
        """Write the rows to load to a Parquet file in bounded memory; for a dimension, the latest per key."""
        is_dimension = incoming.table.kind == "dimension"
        latest = f"QUALIFY {recency(incoming.table, DUCKDB)} = 1" if is_dimension else ""
        return incoming.write_parquet(self.connected.warehouse.engine, file, latest)

    def _staged(self, table: Table) -> str:
        staged = self.staged[table.name]
        return quote(staged.project, staged.dataset_id, staged.table_id)

    def record(self, incoming: Incoming, rows_written: int) -> None:
        self.statements.append(self.connected.sql.record(incoming, rows_written))

    def count(self, table: Table) -> int:
        if table.kind == "dimension" and table.name in self.staged:
            key = quote(table.primary_key[0])
            (found,) = self.connected.rows(
                f"SELECT COUNT(DISTINCT {key}) AS `found` FROM ({self._keys(table)}) AS `all_keys`",
                f"count the rows of {table.name}",
            )
            return int(found["found"])
        # All other counts are known without a query, which takes a second.
        before = 0 if table.name in self.cleared else self.connected.row_count(table)
        return before + self._written.get(table.name, 0)

    def _keys(self, table: Table) -> str:
        """Return the SELECT of the keys that a table will have; replaced keys appear twice."""
        key = quote(table.primary_key[0])
        selects = []
        if table.name not in self.cleared:
            selects.append(f"SELECT {key} FROM {self.connected.sql.relation(table.name)}")
        if table.name in self.staged:
            selects.append(f"SELECT {key} FROM {self._staged(table)}")
        return (
            " UNION ALL ".join(selects)
            or f"SELECT {key} FROM {self.connected.sql.relation(table.name)} WHERE FALSE"
        )

    def missing_parents(self, table: Table, after: int) -> dict[str, list[str]]:
        def parents(name: str) -> tuple[str, str]:
            parent = self.connected.table(name)
            return parent.primary_key[0], f"({self._keys(parent)})"

        query = self.connected.sql.missing_parents(table, self._staged(table), parents, after)
        rows = self.connected.rows(query, f"verify the foreign keys of {table.name}")
        return first_missing([tuple(row.values()) for row in rows])


def _parameter(name: str, value: object) -> bigquery.ScalarQueryParameter:
    """Return a value of a query with its type, which BigQuery does not guess.

    Raises:
        WarehouseError: BigQuery has no type for it.
    """
    from google.cloud import bigquery

    # In this order: bool is an int, and datetime is a date.
    types = (
        (bool, "BOOL"),
        (int, "INT64"),
        (float, "FLOAT64"),
        (Decimal, "BIGNUMERIC"),
        (str, "STRING"),
        (bytes, "BYTES"),
        (dt.datetime, "TIMESTAMP" if getattr(value, "tzinfo", None) else "DATETIME"),
        (dt.date, "DATE"),
        (dt.time, "TIME"),
        (type(None), "STRING"),
    )
    for kind, type_ in types:
        if isinstance(value, kind):
            return bigquery.ScalarQueryParameter(name, type_, cast("Any", value))
    raise WarehouseError(
        f"The query was not run: BigQuery has no type for a value of type {type(value).__name__}. Use "
        "text, a number, a boolean, a date or a time."
    )


def _staged_field(column: Column) -> pa.Field:
    from platform_assets.lake.arrow import arrow_schema

    (one,) = arrow_schema([column])
    return loadable(pa.schema([one])).field(0)


def _objects(incoming: Incoming) -> list[str]:
    """Return the URIs of the lake's files that may hold rows to load, by their statistics."""
    return [f"{incoming.source.uri}/{path}" for path in incoming.files]


def _write_parquet(file: Path, rows: pa.RecordBatchReader, schema: pa.Schema) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in rows:
            columns = [array.cast(target.type) for array, target in zip(batch.columns, schema, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _table_reference(name: str) -> bigquery.TableReference:
    from google.cloud import bigquery

    return bigquery.TableReference.from_string(name)
