"""The tasks that use deliveries: their destinations, their data sources, and deliveries themselves."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from platform_assets.runs import open_instance
from platform_assets.settings import dagster_home
from platform_assets.tasks.plan import Elsewhere
from platform_assets.tasks.task import TaskError
from platform_assets_tests.tasks.conftest import Bench, TaskHouse, tree


@pytest.fixture
def connected(bench: Bench, house: TaskHouse) -> Bench:
    """A bench whose tasks use the platform's deliveries."""
    bench.services["deliveries"] = house.room.runner.services.deliveries
    return bench


def test_files_are_uploaded_once_and_left_alone_after_that(connected: Bench, tmp_path: Path) -> None:
    (tmp_path / "files" / "sub").mkdir(parents=True)
    (tmp_path / "files" / "a.csv").write_text("a")
    (tmp_path / "files" / "sub" / "b.csv").write_text("bb")
    (tmp_path / "files" / "c.txt").write_text("c")
    arguments = {"source": "files", "pattern": "**/*.csv", "destination": {"address": "there"}}
    made = connected.run("upload", **arguments)
    assert (made.facts, made.changed) == ({"files": 2, "bytes": 3}, True)
    there = tree(tmp_path / "there")
    assert {name: content for name, content, _ in there if name.endswith(".csv")} == {
        "a.csv": b"a", "sub/b.csv": b"bb"
    }  # fmt: skip
    assert not connected.run("upload", **arguments).changed
    assert tree(tmp_path / "there") == there


def test_one_file_can_have_another_name(connected: Bench, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    connected.run("upload", source="a.csv", name="x/b.csv", destination={"address": "there"})
    assert (tmp_path / "there" / "x" / "b.csv").read_text() == "a"
    with pytest.raises(TaskError, match="does not exist"):
        connected.run("upload", source="missing", destination={"address": "there"})


def test_files_of_a_source_are_downloaded_and_stay_if_they_are_the_same(
    connected: Bench, tmp_path: Path
) -> None:
    (tmp_path / "from" / "sub").mkdir(parents=True)
    (tmp_path / "from" / "a.csv").write_text("a")
    (tmp_path / "from" / "sub" / "b.csv").write_text("b")
    arguments = {"source": {"files": "from/**/*.csv"}, "target": "to"}
    made = connected.run("download", **arguments)
    assert (made.facts, made.changed) == ({"files": 2, "written": 2}, True)
    there = tree(tmp_path / "to")
    assert [(name, content) for name, content, _ in there] == [("a.csv", b"a"), ("sub/b.csv", b"b")]
    assert not connected.run("download", **arguments).changed
    assert tree(tmp_path / "to") == there


def test_a_download_ends_at_its_limit_and_rows_are_no_files(connected: Bench, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(3_000_000))
    with pytest.raises(TaskError, match="more than max_mb"):
        connected.run("download", source={"files": "a.bin"}, target="to", max_mb=1)
    assert list((tmp_path / "to").iterdir()) == []


def test_blocks_are_validated_with_the_file(house: TaskHouse) -> None:
    house.write(
        "tasks/x.conf",
        """
        tasks = [
          { name = upload, args { source = a, destination { adress = "s3://b/c" } } }
          { name = upload
            args { source = a, destination { address = "ftp://u@h/p", ftp { password = hunter2hunter2 } } } }
          { name = download, args { target = b, source { file = x } } }
        ]
        """,
    )
    text = "\n".join(house.mistakes("x"))
    assert "tasks[0].args.destination.adress: found an unknown key" in text
    assert "tasks[0].args.destination.address: found nothing" in text
    assert "tasks[1].args.destination.ftp.password: found a value (not shown)" in text
    assert "tasks[2].args.source" in text
    assert "hunter2" not in text


def test_an_unknown_delivery_is_found_at_start_up(house: TaskHouse) -> None:
    house.write("tasks/x.conf", "tasks = [{ name = deliver, args { delivery = greting } }]")
    known = Elsewhere(deliveries=frozenset({"greeting", "other"}))
    [mistake] = house.mistakes("x", known)
    assert 'tasks[0].args.delivery: found "greting"; expected text' in mistake
    assert "perhaps greeting" in mistake
    assert house.mistakes("x", None) == []


def test_a_delivery_is_made_and_not_sent_again(connected: Bench, house: TaskHouse, tmp_path: Path) -> None:
    house.write(
        "deliveries/greeting.conf",
        f"""
        title = "A greeting"
        source {{ text = "hello" }}
        to {{ folder {{ address = "{tmp_path}/there" }} }}
        """,
    )
    connected.services["deliveries"] = house.room.runner.services.deliveries
    made = connected.run("deliver", delivery="greeting")
    assert (made.facts, made.changed) == ({"delivered": 1}, True)
    assert made.assets == {"delivery/greeting": {"folder": "delivered"}}
    again = connected.run("deliver", delivery="greeting")
    assert (again.facts, again.changed, again.assets) == ({"unchanged": 1}, False, {})


def test_a_delivery_that_a_task_made_is_on_its_assets_page(house: TaskHouse, tmp_path: Path) -> None:
    house.write(
        "deliveries/greeting.conf",
        f"""
        title = "A greeting"
        source {{ text = "hello" }}
        to {{ folder {{ address = "{tmp_path}/there" }} }}
        """,
    )
    house.write("tasks/greet.conf", "tasks = [{ name = deliver, args { delivery = greeting } }]")
    done, _ = house.run("greet")
    assert done.succeeded
    with open_instance(dagster_home(house.settings)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["delivery", "greeting"]))
    assert event is not None
    assert event.run_id == done.run_id
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["folder"].value == "delivered"
