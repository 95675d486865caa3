"""The deliveries that ship run on embedded defaults, without an account."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.delivery.engine import Watcher
from platform_assets.rooms import Rooms
from platform_assets.sample.database import create_sample
from platform_assets.settings import load_settings
from platform_assets_tests.delivery.house import mails, room_of
from platform_assets_tests.delivery.making import contents
from platform_assets_tests.fixtures.house import run_of
from platform_assets_tests.fixtures.postgres import NewDatabase

ADDRESSES = ("RANDOM_DATA_ADDRESS", "MIDNIGHT_ADDRESS", "DAILY_SALES_ADDRESS")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, and no address of somebody's."""
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path))
    for name in ("PLATFORM_CONFIG", "DAGSTER_HOME", *ADDRESSES):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_examples_are_valid_and_off() -> None:
    settings = load_settings()
    room = room_of(settings)
    assert room.problems() == []
    assert list(room.deliveries) == ["daily_sales", "midnight", "random_data"]
    assert "results" in Rooms(settings).of(AlertsRoom).channel_names()


@pytest.mark.parametrize("address", ["s3://bucket/prefix", "ftp://user@127.0.0.1/folder"])
def test_an_environment_variable_names_the_real_place(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ADDRESSES:
        monkeypatch.setenv(name, address)
    room = room_of(load_settings())
    assert room.problems() == []
    for name in room.deliveries:
        assert [one.address for one in room.settings_of(name).to.values()] == [address]


def test_the_examples_run_after_the_main_job(
    new_database: NewDatabase, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = new_database()
    create_sample(database.owner, sales=20, seed=5)
    reader = database.reader
    for name, value in {
        "EMBEDDED": "false",
        "HOST": reader.host,
        "PORT": str(reader.port),
        "DATABASE": reader.database,
        "USER": reader.user,
        "PASSWORD": reader.password,
        "SSLMODE": "disable",
    }.items():
        monkeypatch.setenv(f"TOTESYS_{name}", value)
    settings = load_settings()
    assert run_of(settings, "totesys_to_warehouse").succeeded
    room = room_of(settings)
    for name in room.deliveries:
        assert room.deliver(name, Watcher()).failures == {}
        again = room.deliver(name, Watcher())
        assert (name, {one.status for one in again.destinations}) == (
            name,
            {"delivered" if name == "random_data" else "unchanged"},
        )
    delivered = contents(place / "delivered")
    assert sorted(name.partition("/")[0] for name in delivered)[:2] == ["daily_sales", "midnight"]
    [report] = [text for name, text in delivered.items() if name.startswith("daily_sales/")]
    assert b"<title>Sales of the last 30 days</title>" in report
    [currencies] = [text for name, text in delivered.items() if name.startswith("midnight/")]
    assert currencies.startswith(b"currency_id;currency_code;currency_name")
    measured = [text for name, text in delivered.items() if name.startswith("random_data/")]
    assert gzip.decompress(measured[0]).count(b"\n") == 1_001
    [message] = mails(settings, "mail")
    assert message["Subject"] == "Sales of the last 30 days"
