"""The concurrency test for as long as it takes: `make soak` names this file, a plain run leaves it out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets_tests.fixtures.capture import running_server
from platform_assets_tests.source.test_capture_concurrency import POLICIES, SETTINGS, Load, follow

LAYOUTS = ("plain", "partitioned")
LOAD = Load(seconds=75, ticks=20, changes=1_000, lateness=30, between=0.5)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that takes prepared transactions."""
    with running_server(**SETTINGS) as started:
        yield started


@pytest.mark.parametrize("seed", range(101, 121))
def test_writers_that_commit_up_to_30_seconds_late_lose_no_version(
    server: EmbeddedPostgres, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, policy = LAYOUTS[seed % 2], list(POLICIES)[seed // 2 % 2]
    counted = follow(server, tmp_path, LOAD, layout, policy, seed)
    with capsys.disabled():
        sys.stdout.write(f"\nseed {seed}, {layout}, {policy}: {dict(sorted(counted.items()))}\n")
    assert counted["ticks"] >= 20
    assert counted["late"] >= 20
