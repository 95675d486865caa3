"""The local BigQuery for the tests of this folder."""

from __future__ import annotations

import pytest

from platform_assets_tests.fixtures.bigquery import FakeBigQuery, FakeProject, bigquery_server

__all__ = ["bigquery_server"]


@pytest.fixture
def project(bigquery_server: FakeBigQuery) -> str:
    """The id of an empty project."""
    return bigquery_server.create_project()


@pytest.fixture
def asked(bigquery_server: FakeBigQuery, project: str) -> FakeProject:
    """What there is in the project, and what was asked of it."""
    return bigquery_server.projects[project]
