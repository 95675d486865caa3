"""Sail and Spark with the lake in a bucket of a server that checks signatures."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from platform_assets.sample.database import create_sample
from platform_assets.source.connection import Connection
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.integration.installation import BIN, ROOT, Installation


def in_bucket(folder: Path, source: Connection, server: S3Server, engine: str) -> Installation:
    """A platform with its lake in a bucket of its own."""
    bucket = server.create_bucket("lake")
    keys = {name: name.lower() for name in server.storage_options}
    folder.mkdir()
    for name, value in server.storage_options.items():
        (folder / keys[name]).write_text(value)
    options = ", ".join(f'{name} = "secret://file/./{file}"' for name, file in keys.items())
    return Installation.create(
        folder,
        source,
        engine=f"{{ name = {engine} }}",
        lake__ingestion=f'"s3://{bucket}/ingestion"',
        lake__processed=f'"s3://{bucket}/processed"',
        lake__storage_options=f"{{ {options} }}",
        spark__memory_mb="1024",
    )


def run(platform: Installation, command: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "platform-assets"), command],
        check=False,
        cwd=ROOT,
        env={**platform.environment, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.soak
def test_sail_reads_and_writes_the_lake_in_a_bucket_with_the_credentials_of_its_environment(
    new_database: NewDatabase, s3_server: S3Server, tmp_path: Path
) -> None:
    database = new_database()
    create_sample(database.owner, sales=100, seed=8)
    sail = in_bucket(tmp_path / "sail", database.reader, s3_server, "sail")
    plain = in_bucket(tmp_path / "plain", database.reader, s3_server, "duckdb")
    done = run(sail, **s3_server.storage_options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(plain).returncode == 0
    found, expected = sail.warehouse_rows(), plain.warehouse_rows()
    assert {name: [row[:-1] for row in rows] for name, rows in found.items()} == {
        name: [row[:-1] for row in rows] for name, rows in expected.items()
    }
    assert len(found["fact_sales_order"]) == 100


@pytest.mark.soak
def test_sail_without_credentials_is_refused_and_the_run_says_where_it_takes_them_from(
    new_database: NewDatabase, s3_server: S3Server, tmp_path: Path
) -> None:
    database = new_database()
    create_sample(database.owner, sales=10, seed=8)
    sail = in_bucket(tmp_path / "sail", database.reader, s3_server, "sail")
    done = run(sail, **{**s3_server.storage_options, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert done.returncode != 0
    told = " ".join(done.stderr.split())
    assert (
        "403 Forbidden. Sail takes the credentials and the address of a bucket from its environment" in told
    )


@pytest.mark.soak
def test_spark_without_a_connector_for_s3_says_so_in_one_sentence(
    new_database: NewDatabase, s3_server: S3Server, tmp_path: Path
) -> None:
    if shutil.which("java") is None:
        pytest.skip("Spark needs java, which is not on this machine")
    database = new_database()
    create_sample(database.owner, sales=10, seed=8)
    spark = in_bucket(tmp_path / "spark", database.reader, s3_server, "spark")
    for command in ("run", "doctor"):
        done = run(spark, command, **s3_server.storage_options)
        assert done.returncode != 0
        told = " ".join((done.stdout + done.stderr).split())
        assert "it has no connector for S3, which is in no Python package. Set spark.options" in told
        assert "org.apache.hadoop:hadoop-aws:3." in told
        assert "ClassNotFoundException" not in told
