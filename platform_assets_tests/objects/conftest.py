"""The servers that the tests of this folder speak to, and a log for a watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_assets.lake.delta import LakeTable
from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
from platform_assets_tests.fixtures.gcs import gcs_bucket, gcs_server, pubsub_server
from platform_assets_tests.fixtures.queues import aws_server

__all__ = ["aws_server", "gcs_bucket", "gcs_server", "pubsub_server"]


@pytest.fixture
def log(tmp_path: Path) -> ObjectLog:
    """An object log that nothing was said in yet."""
    return ObjectLog(LakeTable(str(tmp_path / "log"), LOG_COLUMNS))
