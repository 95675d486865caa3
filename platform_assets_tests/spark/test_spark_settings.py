"""Choosing the engine, and what is said when it is not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark.errors import PySparkRuntimeError

from platform_assets.diagnosis import Health
from platform_assets.errors import SettingsError
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.lake import Lake
from platform_assets.model.totesys import star
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets.spark.assembly import SparkRoom
from platform_assets.spark.engine import SparkEngine
from platform_assets.spark.probes import look_at_engine
from platform_assets.spark.session import SailTarget, SparkError, SparkTarget, SparkUnavailable
from platform_assets.star.assembly import StarRoom
from platform_assets.star.engine import EmbeddedEngine
from platform_assets.star.transform import StarBuilder
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Platform, Totesys

CONFIGURATION = Path(__file__).parents[2] / "config" / "platform.conf"


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Rooms]:
    def configure(keys: str) -> Rooms:
        file = tmp_path / "own.conf"
        file.write_text(f'include required(file("{CONFIGURATION}"))\n{keys}\n')
        return Rooms(load_settings(file))

    return configure


@pytest.mark.parametrize("name", ["spark", "sail"])
@pytest.mark.parametrize("how", ["engine = {}", "engine.name = {}", 'engine {{ name = "{}" }}'])
def test_the_engine_is_chosen_by_its_name(configured: Callable[[str], Rooms], how: str, name: str) -> None:
    rooms = configured(how.format(name))
    engine = rooms.of(StarRoom).star_engine(rooms.of(LakeRoom).engine)
    assert isinstance(engine, SparkEngine)
    assert engine.name == name
    assert [(probe.area, probe.subject) for probe in rooms.of(SparkRoom).probes()] == [("engine", name)]
    assets = rooms.definitions()["star"].assets
    kinds = {kind for asset in assets for spec in asset.specs for kind in spec.kinds}
    assert kinds == {"deltalake", "sql", name}


def test_duckdb_is_the_engine_unless_another_is_chosen(configured: Callable[[str], Rooms]) -> None:
    rooms = configured("")
    assert isinstance(rooms.of(StarRoom).star_engine(rooms.of(LakeRoom).engine), EmbeddedEngine)
    assert list(rooms.of(SparkRoom).probes()) == []


def test_properties_of_spark_may_be_written_with_dots_or_as_blocks(
    configured: Callable[[str], Rooms],
) -> None:
    rooms = configured(
        'spark { options { spark.executor.memory = 4g, "spark.a-b.c" = true, spark.cores.max = 8 } }'
    )
    assert rooms.of(SparkRoom).settings.spark.options == {
        "spark.executor.memory": "4g",
        "spark.a-b.c": "true",
        "spark.cores.max": "8",
    }


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("engine = presto", "duckdb, spark or sail"),
        ('spark.master = "yarn"', "local[N], spark://host:port or sc://host:port"),
        ('spark.master = "sc://host:443/;token=abcd"', "put a reference to it into spark.token"),
        ('spark.token = "secret://env/TOKEN"', "only addresses with sc:// take one"),
        ("spark.options { spark.hadoop.fs.s3a.secret.key = abcd }", "secret://env/NAME"),
        ("spark.memory_mb = 5", "512 or more"),
        ('spark.options { "executor.memory" = 4g }', "a property of Spark, such as spark.executor.memory"),
        ('spark.options { "spark.driver.memory" = 4g }', "spark.memory_mb"),
        ('spark.s3_scheme = "gs"', "s3a, s3 or s3n"),
    ],
)
def test_a_mistake_is_told_with_what_is_expected(
    configured: Callable[[str], Rooms], keys: str, problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        configured(keys)
    assert problem in str(caught.value)
    assert "abcd" not in str(caught.value)


def test_a_token_is_a_secret_and_shown_to_nobody(
    configured: Callable[[str], Rooms], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_TOKEN", "hidden")
    rooms = configured(
        'engine = spark\nspark { master = "sc://127.0.0.1:1", token = "secret://env/SPARK_TOKEN" }'
    )
    engine = rooms.of(StarRoom).star_engine(rooms.of(LakeRoom).engine)
    assert isinstance(engine, SparkEngine)
    with pytest.raises(SparkError, match=r"Spark Connect at 127\.0\.0\.1:1 does not answer") as caught:
        engine.fetch("SELECT 1", {})
    assert "hidden" not in str(caught.value)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("target", "module", "sentence"),
    [
        (
            SparkTarget,
            "pyspark.sql",
            r"engine spark needs pyspark, .* pip install 'platform_assets\[spark\]'",
        ),
        (SailTarget, "pysail.spark", r"engine sail needs pysail, .* pip install 'platform_assets\[sail\]'"),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, target: type[SparkTarget], module: str, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(SparkError, match=sentence),
        target(lambda: "local[1]").working("a test"),
    ):
        pass


def test_missing_java_is_named(tmp_path: Path) -> None:
    program = (
        "from platform_assets.spark.session import SparkError, SparkTarget\n"
        "try:\n"
        "    with SparkTarget(lambda: 'local[1]').working('a test'): pass\n"
        "except SparkError as error: print(error)\n"
    )
    bash = tmp_path / "bash"
    for name in ("bash", "dirname", "env"):
        found = next(Path(place) / name for place in ("/bin", "/usr/bin") if (Path(place) / name).exists())
        (tmp_path / name).symlink_to(found)
    environment = {**os.environ, "PATH": str(bash.parent)}
    environment.pop("JAVA_HOME", None)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Spark needs Java 17 or later, and this machine has no java. Install it" in ended.stdout, (
        ended.stderr
    )


@pytest.mark.parametrize("ends", [1, 2])
def test_java_that_ends_at_its_start_is_started_once_more(monkeypatch: pytest.MonkeyPatch, ends: int) -> None:
    starts = []
    session = SimpleNamespace(sparkContext=SimpleNamespace())

    def create(_: object) -> object:
        starts.append(1)
        if len(starts) <= ends:
            raise PySparkRuntimeError(errorClass="JAVA_GATEWAY_EXITED", messageParameters={})
        return session

    monkeypatch.setattr("pyspark.sql.SparkSession.Builder.getOrCreate", create)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    target = SparkTarget(lambda: "local[1]")
    if ends == 1:
        with target.working("starting") as working:
            assert working is session
    else:
        with pytest.raises(SparkUnavailable, match="Java gateway process exited"), target.working("starting"):
            pass
    assert len(starts) == 2


def test_the_doctor_sees_that_the_engine_answers_and_reads_the_lake(
    new_module_database: NewDatabase, sail_target: SailTarget, tmp_path: Path
) -> None:
    platform = Platform.on_disk(Totesys.with_rows(new_module_database()), tmp_path)
    platform.extract()
    [found] = look_at_engine(lambda: sail_target, platform.lake)
    assert found.status == Health.OK
    assert re.fullmatch(r"Spark [\d.]+ answers and reads the lake's files\.", found.sentence)
    [empty] = look_at_engine(lambda: sail_target, Lake(str(tmp_path / "a"), str(tmp_path / "b")))
    assert empty.status == Health.OK
    [absent] = look_at_engine(lambda: SparkTarget(lambda: "sc://127.0.0.1:1"), platform.lake)
    assert absent.status == Health.ERROR
    assert "Spark Connect at 127.0.0.1:1 does not answer" in absent.sentence


def test_a_table_that_fails_on_the_engine_keeps_no_other_from_being_built(
    new_module_database: NewDatabase, sail_target: SailTarget, tmp_path: Path
) -> None:

    totesys = Totesys.with_rows(new_module_database())
    platform = Platform.on_disk(totesys, tmp_path)
    platform.extract()
    [file] = (tmp_path / "ingestion" / "totesys" / "design").glob("*.parquet")
    kept = file.read_bytes()
    file.write_bytes(b"PAR1 no more")
    engine = SparkEngine(sail_target, platform.engine)
    builder = StarBuilder(platform.lake, star.STAR, platform.engine, star_engine=engine)
    changes = builder.build(star.TABLES)
    assert [name for name, change in changes.items() if change.stopped] == ["dim_design"]
    assert "Spark failed at building star/dim_design" in changes["dim_design"].stopped
    assert changes["fact_sales_order"].rows_written == 2
    file.write_bytes(kept)
    again = builder.build(star.TABLES)
    assert {name: change.rows_written for name, change in again.items() if change.rows_written} == {
        "dim_design": 2
    }
