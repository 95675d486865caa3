"""The engines that the conformance suite runs over, and the mark for what some of them lack."""

from __future__ import annotations

import pytest

from platform_assets_tests.fixtures.bigquery import bigquery_server
from platform_assets_tests.fixtures.warehouse import ENGINES
from platform_assets_tests.warehouse.conformance import EngineUnderTest

__all__ = ["bigquery_server"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*capabilities): skipped for an engine that lacks one of them")


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> EngineUnderTest:
    """Each engine in turn; a test that needs what it lacks is skipped, with the reason."""
    under_test = ENGINES[request.param](request)
    for mark in request.node.iter_markers("needs"):
        for capability in mark.args:
            if capability in under_test.lacks:
                pytest.skip(f"{under_test.name}: {under_test.lacks[capability]}")
    return under_test
