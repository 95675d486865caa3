"""A star table that fails, at any step and with any error, keeps no other table from being built."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from platform_assets.lake.delta import LakeTable
from platform_assets.lake.lake import BronzeReader
from platform_assets.model.star_model import StarModel
from platform_assets.star.engine import EmbeddedEngine
from platform_assets.star.transform import StarBuilder
from platform_assets_tests.fixtures.poison import ERRORS, OwnError, PanicException, name_of, poison_call, told
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Platform, Totesys

POISONED = "dim_design"
OTHERS = ("dim_currency", "dim_location")
TABLES = (OTHERS[0], POISONED, OTHERS[1])
SOURCE_TABLES = ("currency", "design", "address")

STEPS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "opening": (LakeTable, "open", lambda table: table.uri.endswith(f"star/{POISONED}")),
    "reading bronze": (
        BronzeReader,
        "create_latest_view",
        lambda _, __, ___, table, **____: table.name == "design",
    ),
    "running its SQL": (StarModel, "select_of", lambda _, table: table.name == POISONED),
    "looking for its rows": (
        EmbeddedEngine,
        "_has_any",
        lambda _, task, *__: task.table.name == POISONED,
    ),
    "writing": (LakeTable, "append", lambda table, *_, **__: table.uri.endswith(f"star/{POISONED}")),
}
OWN = OwnError("what nobody expected")
CASES = [
    *(("running its SQL", error) for error in ERRORS),
    *(
        (step, error)
        for step in STEPS
        if step != "running its SQL"
        for error in (OWN, PanicException("called `Option::unwrap()` on a `None` value"))
    ),
]


def name_of_case(value: object) -> str:
    return name_of(value) if isinstance(value, BaseException) else str(value)


keys = itertools.count(100)


@pytest.fixture(scope="module")
def totesys(new_module_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_module_database())


@pytest.fixture(scope="module")
def platform(totesys: Totesys, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    made = Platform.on_disk(totesys, tmp_path_factory.mktemp("poisoned"))
    made.extract(*SOURCE_TABLES)
    made.build(*TABLES)
    return made


def has(platform: Platform, table: str, key: int) -> bool:
    return key in {next(iter(row.values())) for row in platform.star(table)}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("step", "error"), CASES, ids=name_of_case)
def test_a_poisoned_table_is_stopped_alone_and_catches_up(
    totesys: Totesys,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
) -> None:
    key = next(keys)
    totesys.run(*(totesys.insert_sql(table, key) for table in SOURCE_TABLES))
    platform.extract(*SOURCE_TABLES)
    with monkeypatch.context() as patch:
        poison_call(patch, *STEPS[step], error)
        found = platform.build(*TABLES)
    assert told(error) in found[POISONED].stopped
    assert [(found[table].rows_written, found[table].stopped) for table in OTHERS] == [(1, ""), (1, "")]
    assert [has(platform, table, key) for table in TABLES] == [True, False, True]
    again = platform.build(*TABLES)
    assert [(again[table].rows_written, again[table].stopped) for table in TABLES] == [
        (0, ""),
        (1, ""),
        (0, ""),
    ]
    assert has(platform, POISONED, key)


def test_a_lake_in_which_no_star_table_can_be_built_fails_with_the_error_itself(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison_call(patch, StarBuilder, "_build", lambda *_: True, OWN)
        with pytest.raises(OwnError):
            platform.build(*TABLES)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_goes_on(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    with monkeypatch.context() as patch:
        poison_call(patch, StarBuilder, "_build", lambda _, table, __: table.name == POISONED, interruption())
        with pytest.raises(interruption):
            platform.build(*TABLES)
