"""Load jobs that a repeat finds again: the same name, the same rows, once.

Which table and which rows is the caller's business.
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
    """Load Parquet into a table in a job of a given name, and wait for it.

    Args:
        client: The client.
        access: How requests are repeated.
        destination: The table.
        source: A local file, which is uploaded, or URIs on Google Cloud Storage.
        config: How to write.
        job_id: Name of the job; where there is one already, it is waited for instead.

    Returns:
        The job, done.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: The job failed, or could not be made.
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
        # An earlier attempt, or a request whose answer was lost.
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
    """Load Parquet into a table of its own, which is gone a day later; a repeat finds it there.

    Args:
        client: The client.
        access: How jobs are labelled.
        dataset: The dataset that holds staging tables.
        name: What the staged rows are, for the table's name.
        schema: Columns of the table; what the files have beyond them is left out.
        source: See `load_once`.
        key: What identifies the rows: the same key has the same rows.

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
            # It failed, or its rows have been cleared away: the name of a job cannot be used again.
            attempt += 1


def parquet_config(
    access: BigQueryAccess, write: str, schema: Sequence[bigquery.SchemaField] | None
) -> bigquery.LoadJobConfig:
    """How Parquet is loaded: lists as arrays, decimals to the last digit, names as they are.

    Args:
        access: How jobs are labelled.
        write: `WRITE_APPEND`, `WRITE_TRUNCATE` or `WRITE_EMPTY`.
        schema: Columns to load, whatever else there is in the files; those of the files where None.
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
    config.parquet_options = lists
    if schema is not None:
        config.schema = list(schema)
        config.ignore_unknown_values = True
    return config
