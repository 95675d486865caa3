"""Inventories: looks at the cloud that become assets with their history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.build import build_defs
from platform_assets.errors import SettingsError, StackqlError
from platform_assets.inventory.assembly import InventoryRoom
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import CurrentTable
from platform_assets.orchestration import STOPPED
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings, load_settings
from platform_assets_tests.fixtures.house import instance_of
from platform_assets_tests.fixtures.stackql import TEXT, FakeStackql, Reply, serving_stackql

ROOT = Path(__file__).parents[2]
INSTANCES = "SELECT name, zone, status, cpus, preemptible, price FROM google.compute.instances"


@pytest.fixture
def stackql() -> Iterator[FakeStackql]:
    with serving_stackql() as server:
        yield server


@pytest.fixture
def configured(
    tmp_path: Path, stackql: FakeStackql, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Settings]:
    """Loads the project's configuration with these inventories, and all state in a temporary folder."""
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    def load(queries: str) -> Settings:
        file = tmp_path / "platform.conf"
        file.write_text(
            f'include "{ROOT}/config/platform.conf"\nstackql.port = {stackql.port}\n'
            f'inventory {{ cron = "@hourly", queries {{ {queries} }} }}\n'
        )
        return load_settings(file)

    return load


def room_of(settings: Settings) -> InventoryRoom:
    return Rooms(settings).of(InventoryRoom)


def rows_of(room: InventoryRoom, table: CurrentTable, columns: str = "*") -> list[tuple[Any, ...]]:
    with room.rooms.of(LakeRoom).engine.connect() as connection:
        table.create_view(connection, "looked at")
        return connection.sql(f'SELECT {columns} FROM "looked at"').fetchall()


def test_each_change_between_two_looks_is_kept(
    configured: Callable[[str], Settings], stackql: FakeStackql
) -> None:
    room = room_of(configured(f'instances {{ query = "{INSTANCES}", key = [name] }}'))
    first = room.look("instances")
    assert (first.rows, first.changes) == (3, {"insert": 3})
    same = room.look("instances")
    assert (same.rows, same.changes) == (3, {})
    stackql.cloud.instances[0][2] = "TERMINATED"
    del stackql.cloud.instances[1]
    stackql.cloud.instances.append(["vm-4", "us-east1-b", "RUNNING", "16", "f", "0.76"])
    changed = room.look("instances")
    assert (changed.rows, changed.changes) == (3, {"insert": 1, "update": 1, "delete": 1})
    stackql.cloud.instances.pop()
    room.look("instances")
    current = room.current_table(("inventory", "instances"))
    assert current.columns == ("name", "zone", "status", "cpus", "preemptible", "price")
    assert sorted(rows_of(room, current, "name, status, cpus, preemptible, price, _change")) == [
        ("vm-1", "TERMINATED", 2, True, 0.0475, "update"),
        ("vm-3", "RUNNING", 4, True, None, "insert"),
    ]
    history = room.history("instances").history()
    assert sorted(rows_of(room, history, "name, _change, status")) == [
        ("vm-1", "insert", "RUNNING"),
        ("vm-1", "update", "TERMINATED"),
        ("vm-2", "delete", "TERMINATED"),
        ("vm-2", "insert", "TERMINATED"),
        ("vm-3", "insert", "RUNNING"),
        ("vm-4", "delete", "RUNNING"),
        ("vm-4", "insert", "RUNNING"),
    ]
    [holding] = room.holdings()
    assert (holding.layer, holding.table, holding.rows, holding.batch) == ("inventory", "instances", 2, 3)


def test_an_empty_inventory_has_its_columns(
    configured: Callable[[str], Settings], stackql: FakeStackql
) -> None:
    room = room_of(configured(f'instances {{ query = "{INSTANCES}" }}'))
    stackql.cloud.instances.clear()
    assert room.look("instances").rows == 0
    assert room.current_table(("inventory", "instances")).columns[:2] == ("name", "zone")
    assert rows_of(room, room.current_table(("inventory", "instances"))) == []


def test_columns_may_come_go_and_have_any_name(
    configured: Callable[[str], Settings], stackql: FakeStackql
) -> None:
    room = room_of(configured('odd { query = "SELECT odd", key = [id] }'))
    stackql.cloud.answers["SELECT odd"] = Reply(
        [("id", TEXT), ("a/b~\"c'd", TEXT)], [["1", "x"], ["2", None]]
    )
    room.look("odd")
    stackql.cloud.answers["SELECT odd"] = Reply([("id", TEXT), ("new", TEXT)], [["1", "y"], ["2", None]])
    assert room.look("odd").changes == {"update": 2}
    current = room.current_table(("inventory", "odd"))
    assert sorted(rows_of(room, current, '"id", "new"')) == [("1", "y"), ("2", None)]
    stackql.cloud.answers["SELECT odd"] = Reply([("id", TEXT), ("a/b~\"c'd", TEXT)], [["1", "x"]])
    room.look("odd")
    history = room.history("odd").history()
    values = rows_of(room, history, 'id, "a/b~""c\'d", _change')
    assert sorted(values, key=str)[0] == ("1", "x", "insert")


def test_without_a_key_a_row_is_itself_however_often(
    configured: Callable[[str], Settings], stackql: FakeStackql
) -> None:
    room = room_of(configured('names { query = "SELECT names" }'))
    stackql.cloud.answers["SELECT names"] = Reply([("name", TEXT)], [["a"], ["a"], ["b"]])
    assert room.look("names").changes == {"insert": 3}
    stackql.cloud.answers["SELECT names"] = Reply([("name", TEXT)], [["a"], ["c"]])
    assert room.look("names").changes == {"insert": 1, "delete": 2}


@pytest.mark.parametrize(
    ("key", "reply", "says"),
    [
        ("[name]", Reply([("name", TEXT)], [["a"], ["a"]]), r'two rows with name = "a"\. Add columns to '),
        ("[id]", Reply([("name", TEXT)], [["a"]]), "has no column id, which inventory.queries.x.key names"),
        ("[]", Reply([("a", TEXT), ("a", TEXT)], []), "has the column a twice. Name the columns apart"),
        ("[]", Reply(), "returned no columns: OK"),
        (
            "[]",
            Reply([("a", TEXT)], [], notices=[("http response status code: 403", "denied")]),
            "is incomplete, and was not recorded: http response status code: 403: denied",
        ),
    ],
)
def test_a_look_that_cannot_be_recorded_says_why_and_changes_nothing(
    configured: Callable[[str], Settings], stackql: FakeStackql, key: str, reply: Reply, says: str
) -> None:
    room = room_of(configured(f'x {{ query = "SELECT x", key = {key} }}'))
    stackql.cloud.answers["SELECT x"] = reply
    with pytest.raises(StackqlError, match=says):
        room.look("x")
    with pytest.raises(Exception, match="was not looked at yet"):
        room.current_table(("inventory", "x"))


def test_a_failing_inventory_leaves_the_others_and_its_last_rows(
    configured: Callable[[str], Settings], stackql: FakeStackql
) -> None:
    settings = configured(
        f'instances {{ query = "{INSTANCES}", key = [name] }}, broken {{ query = "SELECT nothing" }}, '
        'slow { query = "SELECT slow", timeout = 1 }'
    )
    stackql.cloud.answers["SELECT nothing"] = Reply([("a", TEXT)], [["1"]])
    stackql.cloud.answers["SELECT slow"] = Reply([("a", TEXT)], [["1"]])
    keys = {name: dg.AssetKey(["inventory", name]) for name in ("instances", "broken", "slow")}
    job = build_defs(settings).resolve_job_def("cloud_inventory")
    with instance_of(settings) as instance:
        assert job.execute_in_process(instance=instance).success
        stackql.cloud.answers["SELECT nothing"] = Reply(error=("XX000", "the provider is gone", ""))
        stackql.cloud.answers["SELECT slow"] = Reply([("a", TEXT)], [["2"]], wait=20)
        stackql.cloud.instances.pop()
        ended = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not ended.success
        told = str(ended.all_events)
        assert "inventory/broken: The StackQL server" in told
        assert "the provider is gone" in told
        events = {name: instance.get_latest_materialization_event(key) for name, key in keys.items()}
        metadata = {
            name: event.asset_materialization.metadata
            for name, event in events.items()
            if event is not None and event.asset_materialization is not None
        }
        assert metadata["instances"]["dagster/row_count"].value == 2
        assert metadata["instances"]["rows deleted"].value == 1
        assert "the provider is gone" in str(metadata["broken"][STOPPED].value)
        assert "took longer than 1 seconds" in str(metadata["slow"][STOPPED].value)
        assert metadata["broken"]["dagster/row_count"].value == 1
    room = room_of(settings)
    assert rows_of(room, room.current_table(("inventory", "broken")), "a") == [("1",)]
    assert ("inventory", "broken") in room.freshness_limits()


def test_there_is_nothing_without_queries(configured: Callable[[str], Settings]) -> None:
    defs = build_defs(configured(""))
    assert not [key for key in defs.resolve_asset_graph().get_all_asset_keys() if key.path[0] == "inventory"]
    assert "cloud_inventory" not in {job.name for job in defs.resolve_all_job_defs()}


def test_upkeep_merges_the_history_and_keeps_its_columns(
    configured: Callable[[str], Settings], stackql: FakeStackql
) -> None:
    settings = configured(f'instances {{ query = "{INSTANCES}", key = [name] }}')
    room = room_of(settings)
    for number in range(20):
        stackql.cloud.instances[0][2] = f"STATE {number}"
        room.look("instances")
    before = sorted(rows_of(room, room.history("instances").history()))
    report = room.rooms.of(LakeRoom).upkeep().run()
    handle = room.history("instances").table.open()
    assert handle is not None
    assert len(handle.file_uris()) < 20, report
    assert sorted(rows_of(room, room.history("instances").history())) == before
    assert room.current_table(("inventory", "instances")).columns[0] == "name"


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        ('x { query = "DELETE FROM google.compute.instances" }', "an inventory only reads"),
        ('Big { query = "SELECT 1" }', "a name of lower case letters"),
        ("x { }", "query"),
        ('x { query = "SELECT 1", keys = [a] }', "keys"),
    ],
)
def test_mistakes_of_an_inventory_are_told(
    configured: Callable[[str], Settings], queries: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        configured(queries)
