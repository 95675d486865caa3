"""A Spark and a Sail for all tests of a session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from platform_assets.spark.session import SailTarget, SparkTarget
from platform_assets_tests.fixtures.patience import PATIENCE

# A short test spends most of its time in the compilers of Java and of Spark.
CHEAP = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@pytest.fixture(scope="session")
def spark_target() -> Iterator[SparkTarget]:
    """Spark in a process of this machine, with two threads."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs java, which is not on this machine")
    target = SparkTarget(lambda: "local[2]", memory_mb=1024, partitions=2, options=lambda: CHEAP)
    with target.working("starting") as session:
        yield target
    process = session.sparkContext._gateway.proc
    session.stop()
    process.stdin.close()
    process.wait(PATIENCE)


@pytest.fixture(scope="session")
def sail_target() -> Iterator[SailTarget]:
    """Sail in this process."""
    target = SailTarget(lambda: "local[2]", partitions=2)
    with target.working("starting") as session:
        yield target
    session.stop()
