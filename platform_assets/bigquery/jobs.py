"""Idempotent load jobs: a repeat with the same job name finds the first job and loads the rows only once.

The caller decides which table and which rows.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from google.cloud import bigquery

    from platform_assets.bigquery.access import BigQueryAccess

_JOB_PREFIX = "platform_assets"
_STAGED_FOR = dt.timedelta(days=1)


def load_once(
    client: bigquery.Client,
    access: BigQueryAccess,
    destination: bigquery.TableReference | str,
    source: Path | Sequence[str],
    config: bigquery.LoadJobConfig,
    job_id: str,
) -> bigquery.LoadJob:
    """Load Parquet into a table with a job of a given name, and wait for it.

    Args:
        client: The client.
        access: Gives the retry policy.
        destination: The table.
        source: A local file, which is uploaded, or URIs on Google Cloud Storage.
        config: The job's configuration.
        job_id: Name of the job; if it exists already, wait for it instead.

    Returns:
        The finished job.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: The job failed or could not be created.
    """
    from google.api_core.exceptions import Conflict

    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                job = client.load_table_from_file(
                    file, destination, size=source.stat().st_size, job_id=job_id, job_config=config
                )
        else:
            job = client.load_table_from_uri(
                list(source), destination, job_id=job_id, job_config=config, retry=access.retry
            )
    except Conflict:
        # The job is from an earlier attempt, or from a request whose response was lost.
        job = cast("bigquery.LoadJob", client.get_job(job_id, retry=access.retry))
    job.result(retry=access.retry)
    return job


def stage(
    client: bigquery.Client,
    access: BigQueryAccess,
    dataset: str,
    name: str,
    schema: Sequence[bigquery.SchemaField],
    source: Path | Sequence[str],
    key: Sequence[str],
) -> bigquery.TableReference:
    """Load Parquet into a staging table that expires after a day; a repeat finds the table.

    Args:
        client: The client.
        access: Gives the labels of jobs.
        dataset: The dataset for staging tables.
        name: A word for the staged rows, part of the table's name.
        schema: Columns of the table; other columns of the files are ignored.
        source: See `load_once`.
        key: Identifies the rows: the same key means the same rows.

    Returns:
        The table.
    """
    from google.api_core.exceptions import GoogleAPICallError, NotFound
    from google.cloud import bigquery

    digest = hashlib.blake2b("\0".join(key).encode(), digest_size=8).hexdigest()
    config = parquet_config(access, "WRITE_EMPTY", schema)
    attempt = 1
    while True:
        reference = bigquery.TableReference.from_string(
            f"{client.project}.{dataset}.staging_{name}_{digest}_{attempt}"
        )
        job_id = f"{_JOB_PREFIX}_{name}_{digest}_{attempt}"
        try:
            earlier = client.get_job(job_id, retry=access.retry)
        except NotFound:
            table = bigquery.Table(reference, schema=schema)
            table.expires = dt.datetime.now(dt.UTC) + _STAGED_FOR
            table.labels = dict(access.labels)
            client.create_table(table, exists_ok=True, retry=access.retry)
            load_once(client, access, reference, source, config, job_id)
            return reference
        try:
            earlier.result(retry=access.retry)
            client.get_table(reference, retry=access.retry)
            return reference
        except GoogleAPICallError:
            # The job failed, or its rows have expired: a job name cannot be used twice.
            attempt += 1


def parquet_config(
    access: BigQueryAccess, write: str, schema: Sequence[bigquery.SchemaField] | None
) -> bigquery.LoadJobConfig:
    """The job configuration for Parquet: lists as arrays, decimals with all digits, names unchanged.

    Args:
        access: Gives the labels of jobs.
        write: `WRITE_APPEND`, `WRITE_TRUNCATE` or `WRITE_EMPTY`.
        schema: Columns to load; other columns of the files are ignored. None means the files' own columns.
    """
    from google.cloud import bigquery

    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=write,
        labels=dict(access.labels),
        decimal_target_types=["NUMERIC", "BIGNUMERIC", "STRING"],
        column_name_character_map="V2",
    )
    lists = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
    lists.enable_list_inference = True
    lists.enum_as_string = True  # else they are bytes
    config.parquet_options = lists
    if schema is not None:
        config.schema = list(schema)
        config.ignore_unknown_values = True
    return config
