"""A tick that breaks off before or after any of its commits leaves a state that the next tick continues."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deltalake
import pytest
from deltalake.table import TableAlterer, TableMerger

from platform_assets.lake.delta import stored_columns
from platform_assets.lake.lake import stream_current
from platform_assets.warehouse.duckdb import _Session
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.properties import is_thorough
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, STAR_TABLE, Platform, Totesys

# Every way that a tick commits to a Delta table, and what comes before DuckDB's only commit.
COMMITS = (
    (deltalake, "write_deltalake"),
    (TableAlterer, "add_columns"),
    (TableAlterer, "set_table_properties"),
    (TableMerger, "execute"),
    (_Session, "record"),
)
TABLES = ("department", "staff", "design", "currency")
STAR = ("dim_staff", "dim_design", "dim_currency")
BESIDES_THE_ROWS = ("_batch", "_seen_at")


Before = tuple[Totesys, Path]


class Break(BaseException):
    """Ends a tick as the end of its process would."""


@contextlib.contextmanager
def broken(number: int, *, after: bool) -> Iterator[list[str]]:
    """Break off before or after the commit of this number, from 1; gives the names of the commits begun."""
    begun: list[str] = []

    def breaking(function: Callable[..., Any]) -> Callable[..., Any]:
        def commit(*arguments: Any, **options: Any) -> Any:
            begun.append(function.__name__)
            is_last = len(begun) == number
            if is_last and not after:
                raise Break
            result = function(*arguments, **options)
            if is_last:
                raise Break
            return result

        return commit

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in COMMITS:
            patch.setattr(owner, name, breaking(getattr(owner, name)))
        yield begun


def tick(platform: Platform) -> None:
    platform.extract(*TABLES)
    platform.build(*STAR)
    platform.load(*STAR)


def held(platform: Platform) -> dict[str, Any]:
    """All that the tables hold now, whatever the number of the batch."""

    def plain(rows: list[dict[str, Any]]) -> list[str]:
        return sorted(
            repr({name: value for name, value in row.items() if name not in BESIDES_THE_ROWS}) for row in rows
        )

    bronze = {}
    for name in TABLES:
        handle = platform.lake.bronze("totesys", SOURCE_TABLE[name]).open()
        assert handle is not None
        further = [
            stored_column for stored_column in stored_columns(handle) if stored_column.name == "season"
        ]
        table = dataclasses.replace(SOURCE_TABLE[name], columns=(*SOURCE_TABLE[name].columns, *further))
        rows = stream_current(platform.lake, platform.engine, "totesys", table).read_all()
        bronze[name] = plain(rows.to_pylist())
    warehouse = {
        name: sorted(
            platform.query(
                f"SELECT {', '.join(column.name for column in STAR_TABLE[name].columns)} FROM star.{name}"
            )
        )
        for name in STAR
    }
    return {
        "bronze": bronze,
        "star": {name: plain(platform.star(name)) for name in STAR},
        "warehouse": warehouse,
        "dead letters": len(
            {
                (row["table"], row["key"], row["reason"])
                for row in platform.dead_letters()
                if row["_batch"] in set(platform.lake.ledger.read().rows["batch"].to_pylist())
            }
        ),
    }


@pytest.fixture(scope="module")
def before(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Before:
    """A lake and a warehouse that followed a source, which has changed since in every way."""
    totesys = Totesys.with_rows(new_module_database())
    folder = tmp_path_factory.mktemp("before")
    tick(Platform.on_disk(totesys, folder))
    totesys.run("ALTER TABLE design ADD COLUMN season text DEFAULT 'winter'")
    totesys.insert("design", 50, season="summer")
    totesys.update("design", 1, design_name="Granite")
    totesys.update("department", 1, department_name="Sales & Marketing")
    totesys.insert("currency", 50, currency_code="CHF")
    totesys.run("ALTER TABLE currency ALTER currency_code TYPE text")
    totesys.insert("currency", 51, currency_code="FRANC")
    return totesys, folder


@pytest.fixture(scope="module")
def unbroken(before: Before, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any]]:
    """The commits of a tick that nothing breaks, and what it leaves."""
    platform = copied(before, tmp_path_factory.mktemp("unbroken"))
    with broken(0, after=False) as begun:
        tick(platform)
    return begun, held(platform)


def copied(before: Before, folder: Path) -> Platform:
    totesys, original = before
    shutil.copytree(original, folder, dirs_exist_ok=True)
    return Platform.on_disk(totesys, folder)


@pytest.mark.thorough
def test_a_tick_that_breaks_off_before_or_after_any_commit_is_finished_by_the_next(
    before: Before, unbroken: tuple[list[str], dict[str, Any]], tmp_path: Path
) -> None:
    commits, wanted = unbroken
    assert set(commits) == {"write_deltalake", "set_table_properties", "execute", "record"}
    assert wanted["dead letters"] == 1
    # At every third commit, before one and after the next; in `make soak` both at each.
    for number in range(1, len(commits) + 1, 1 if is_thorough() else 3):
        for after in (False, True) if is_thorough() else (number % 2 == 0,):
            platform = copied(before, tmp_path / f"{number}-{after}")
            with broken(number, after=after), pytest.raises(Break):
                tick(platform)
            tick(platform)
            assert held(platform) == wanted, (
                f"{'after' if after else 'before'} {commits[number - 1]} {number}"
            )
            tick(platform)
            assert held(platform) == wanted
