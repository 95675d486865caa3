"""A large table is inspected by workers, with the verdicts of one process."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from platform_assets.dlp.assembly import InspectionRoom
from platform_assets.dlp.column_parts import LargeTables
from platform_assets.dlp.columns import ColumnInspector
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import CustomInfoType, InfoType, InspectConfig, Likelihood, Regex, Sensitivity
from platform_assets.errors import DlpError, LakeError
from platform_assets.lake import column_values
from platform_assets.lake.delta import LakeTable, stored_columns
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.table import Column, Text
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets.spark.session import SparkError, SparkTarget
from platform_assets.spark.values import SparkValueWorkers
from platform_assets_tests.dlp.test_isolation import MAIL, POISON, PoisonedInspector

CONFIGURATION = Path(__file__).parents[2] / "config" / "platform.conf"
KEY = b"k" * 32
ROWS = 6_000
CONFIG = InspectConfig(
    min_likelihood_per_info_type={"PHONE_NUMBER": Likelihood.LIKELY},
    custom_info_types=(
        CustomInfoType(InfoType("HOUSE_NUMBER", sensitivity=Sensitivity.HIGH), Regex("H-[0-9]{5}")),
    ),
)
targets = pytest.mark.parametrize("target", ["sail_target", "spark_target"])
# The same code runs on both, and Spark takes ten times as long.
spark_in_soak = pytest.mark.parametrize(
    "target", ["sail_target", pytest.param("spark_target", marks=pytest.mark.soak)]
)


def card(numbers: random.Random) -> str:
    digits = [4, *(numbers.randrange(10) for _ in range(14))]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return "".join(map(str, [*digits, -sum(doubled) % 10]))


def table_of_everything() -> pa.Table:
    """Every type that the lake has, with sensitive values in texts, numbers and bytes."""
    numbers = random.Random(5)
    mails = [f"member{numbers.randrange(4_000)}@company-one.com" for _ in range(ROWS)]
    start = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    times = [start + dt.timedelta(microseconds=number * 1_000_003) for number in range(ROWS)]
    return pa.table(
        {
            "note": [f"Łódź {n}\nH-{n:05} {mail}" if n % 9 else "" for n, mail in enumerate(mails)],
            "mail": [mail if n % 5 else None for n, mail in enumerate(mails)],
            "card": [card(numbers) for _ in range(ROWS)],
            "card_as_number": [int(card(numbers)) for _ in range(ROWS)],
            # How many are found depends on which values are judged together: on those that are in a sample.
            **{
                f"reference_{place}": [
                    card(numbers) if n % place else f"4{n:015}" for n in range(1, ROWS + 1)
                ]
                for place in (300, 1_499, 1_500, 1_501)
            },
            "host": [
                f"10.{n % 250}.{n // 250}.7" if n % 250 else f"999.{n % 250}.{n // 250}.7"
                for n in range(ROWS)
            ],
            "first name": ["Mary", "Ruth", "Heinz", "Olga", "Per"] * (ROWS // 5),
            "month": [*("May", "April", "August", "June", "July", "March")] * (ROWS // 6),
            "phone": [f"+44 20 7946 {numbers.randrange(10_000):04}" for _ in range(ROWS)],
            "price": [Decimal(n) / 100 for n in range(ROWS)],
            "ratio": [n / 7e9 for n in range(ROWS)],
            "small": pa.array([n / 3 for n in range(ROWS)], pa.float32()),
            "date_of_birth": [dt.date(1950, 1, 1) + dt.timedelta(n) for n in range(ROWS)],
            "at": pa.array(times, pa.timestamp("us", "UTC")),
            "local_time": pa.array([time.replace(tzinfo=None) for time in times], pa.timestamp("us")),
            "flag": [n % 2 == 0 for n in range(ROWS)],
            "attached": [mail.encode() for mail in mails],
            "nothing": pa.array([None] * ROWS, pa.string()),
            "_hash": mails,
        }
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> LakeTable:
    place = LakeTable(str(tmp_path_factory.mktemp("lake") / "large"), ())
    rows = table_of_everything()
    for first in range(0, ROWS, 1_000):
        write_deltalake(place.uri, rows.slice(first, 1_000), mode="append")
    return place


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that each of the larger columns has several."""
    monkeypatch.setattr(column_values, "VALUES_PER_PIECE", 1_500)
    monkeypatch.setattr(column_values, "BYTES_PER_PIECE", 40_000)


@dataclasses.dataclass(frozen=True)
class Watched(SparkValueWorkers):
    """Workers that remember what they were asked for."""

    asked: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    pieces: list[str] = dataclasses.field(default_factory=list)

    def look(self, table, handle, columns, look):  # type: ignore[no-untyped-def]
        self.asked.append(tuple(columns))
        for column, answer in super().look(table, handle, columns, look):
            self.pieces.append(column)
            yield column, answer


def inspector(
    tmp_path: Path, workers: SparkValueWorkers | None = None, config: InspectConfig = CONFIG
) -> ColumnInspector:
    new = partial(LocalInspector, config, KEY)
    large_tables = LargeTables(workers, new) if workers is not None else None
    return ColumnInspector(new(), SqlEngine(256, 2, tmp_path / "spill"), large_tables=large_tables)


@spark_in_soak
@pytest.mark.usefixtures("small_pieces")
def test_workers_judge_the_same_values_together(
    request: pytest.FixtureRequest, large: LakeTable, tmp_path: Path, target: str
) -> None:
    # Without rules and custom info types, a sample of a piece decides about many of its values.
    workers = Watched(request.getfixturevalue(target), least_rows=ROWS)
    alone = inspector(tmp_path, config=InspectConfig()).inspect_lake_table(large, "star/large")
    assert inspector(tmp_path, workers, InspectConfig()).inspect_lake_table(large, "star/large") == alone
    assert workers.pieces.count("reference_300") == 4


@targets
@pytest.mark.usefixtures("small_pieces")
def test_workers_come_to_the_verdicts_of_one_process(
    request: pytest.FixtureRequest, large: LakeTable, tmp_path: Path, target: str
) -> None:
    workers = Watched(request.getfixturevalue(target), least_rows=ROWS)
    alone = inspector(tmp_path).inspect_lake_table(large, "star/large")
    together = inspector(tmp_path, workers).inspect_lake_table(large, "star/large")
    assert together == alone
    assert alone is not None
    assert (alone.version, alone.rows_inspected, alone.rows_total, alone.failures) == ("5", ROWS, ROWS, {})
    found = {(verdict.column, verdict.info_type.name) for verdict in alone.verdicts}
    assert found >= {
        *(("note", "EMAIL_ADDRESS"), ("note", "HOUSE_NUMBER"), ("mail", "EMAIL_ADDRESS")),
        *(("card", "CREDIT_CARD_NUMBER"), ("card_as_number", "CREDIT_CARD_NUMBER")),
        *(("first name", "PERSON_NAME"), ("date_of_birth", "DATE_OF_BIRTH"), ("attached", "EMAIL_ADDRESS")),
    }
    severe = {
        verdict.info_type.name
        for verdict in alone.verdicts
        if verdict.info_type.sensitivity is Sensitivity.HIGH
    }
    assert "HOUSE_NUMBER" in severe
    assert workers.asked == [
        tuple(large_column for large_column in large_columns(large) if large_column not in ("flag", "_hash"))
    ]
    assert workers.pieces.count("note") > 4
    assert workers.pieces.count("month") == 1
    assert "nothing" not in workers.pieces


@targets
def test_a_column_that_a_worker_cannot_inspect_is_told_and_leaves_the_others(
    request: pytest.FixtureRequest, tmp_path: Path, target: str
) -> None:
    place = LakeTable(str(tmp_path / "table"), ())
    write_deltalake(place.uri, pa.table({"note": ["fine", POISON], "mail": [MAIL, "b@company-three.com"]}))
    new = partial(PoisonedInspector, ArithmeticError)
    workers = SparkValueWorkers(request.getfixturevalue(target), least_rows=2)
    engine = SqlEngine(128, 2, tmp_path / "spill")
    alone = ColumnInspector(new(), engine).inspect_lake_table(place, "star/t")
    together = ColumnInspector(new(), engine, large_tables=LargeTables(workers, new)).inspect_lake_table(
        place, "star/t"
    )
    assert together == alone
    assert alone is not None
    assert list(alone.failures) == ["note"]
    assert "ArithmeticError" in alone.failures["note"]
    assert POISON not in alone.failures["note"]
    assert [(verdict.column, verdict.info_type.name) for verdict in alone.verdicts] == [
        ("mail", "EMAIL_ADDRESS")
    ]


def refuse(column: str, values: pa.Array) -> str:
    raise DlpError("the service does not answer")


def stumble(column: str, values: pa.Array) -> str:
    raise ArithmeticError(values[0].as_py())


@spark_in_soak
def test_a_table_that_the_workers_cannot_read_or_judge_fails_and_the_next_one_does_not(
    request: pytest.FixtureRequest, large: LakeTable, tmp_path: Path, target: str
) -> None:
    workers = SparkValueWorkers(request.getfixturevalue(target), least_rows=1)
    handle = large.open()
    assert handle is not None
    declared = LakeTable(large.uri, stored_columns(handle))
    with pytest.raises(SparkError, match=r"at inspecting .* a worker failed: the service does not answer"):
        list(workers.look(declared, handle, ["mail"], refuse))
    with pytest.raises(SparkError, match=r"at inspecting .* a worker failed: ArithmeticError$"):
        list(workers.look(declared, handle, ["mail"], stumble))
    lost = LakeTable(str(tmp_path / "lost"), (Column("mail", Text(), ""),))
    write_deltalake(lost.uri, pa.table({"mail": [MAIL]}))
    [file] = Path(lost.uri).glob("*.parquet")
    file.unlink()
    opened = lost.open()
    assert opened is not None
    with pytest.raises((SparkError, LakeError), match="lost/part-"):
        list(workers.look(lost, opened, ["mail"], refuse))
    assert inspector(tmp_path, workers).inspect_lake_table(large, "star/large") is not None


def test_a_worker_without_the_package_is_told(
    monkeypatch: pytest.MonkeyPatch, large: LakeTable, spark_target: SparkTarget
) -> None:
    # A module that this process has, and its workers have not.
    only_here = ModuleType("platform_of_another_version")
    exec("def look(column, values): return ''", only_here.__dict__)
    monkeypatch.setitem(sys.modules, only_here.__name__, only_here)
    handle = large.open()
    assert handle is not None
    declared = LakeTable(large.uri, stored_columns(handle))
    with pytest.raises(SparkError, match=r"'platform_of_another_version'\. Workers need this package"):
        list(SparkValueWorkers(spark_target, 1).look(declared, handle, ["mail"], only_here.look))


def test_smaller_tables_and_those_of_googles_inspector_are_inspected_by_the_run(
    large: LakeTable, tmp_path: Path
) -> None:
    workers = Watched(SparkTarget(lambda: "local[2]"), least_rows=ROWS + 1)
    seen = inspector(tmp_path, workers).inspect_lake_table(large, "star/large")
    assert seen is not None
    assert (seen.rows_total, workers.asked) == (ROWS, [])


@pytest.mark.parametrize(
    ("engine", "more", "rows"),
    [
        ("duckdb", "", None),
        ("spark", "", 10_000_000),
        ("sail", "spark.inspect_rows = 70000", 70_000),
        ("spark", 'dlp.inspect { inspector = google, project = "p" }', None),
    ],
)
def test_the_engine_in_the_settings_decides_who_inspects_large_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, more: str, rows: int | None
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path))
    file = tmp_path / "platform.conf"
    file.write_text(f'include required(file("{CONFIGURATION}"))\nengine.name = {engine}\n{more}\n')
    room = Rooms(load_settings(file)).of(InspectionRoom)
    found = room._large_tables()
    assert (found.workers.least_rows if found is not None else None) == rows


def large_columns(table: LakeTable) -> list[str]:
    handle = table.open()
    assert handle is not None
    return [field.name for field in handle.schema().fields]
