"""The places of the conformance suite, and files to send there."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_assets_tests.delivery.writers.places import FolderPlace, Place, S3Place, Stage
from platform_assets_tests.fixtures.s3 import S3Server

PLACES = ("folder", "s3")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Makes staged files."""
    return Stage(tmp_path / "staged")


@pytest.fixture
def folder_place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "delivered")


@pytest.fixture
def s3_place(s3_server: S3Server, tmp_path: Path) -> S3Place:
    return S3Place(s3_server, tmp_path)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Every place in turn; a place whose server is not installed is skipped with its reason."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found
