"""What functions return and tasks made, as a delivery reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from platform_assets.delivery.interfaces import DeliveryError, Rows, TaskOutput
from platform_assets.delivery.sources.task_output import TaskSource
from platform_assets.errors import SourceUnavailable
from platform_assets.rooms import Rooms
from platform_assets_tests.delivery.sources.house import files_of, rows_of, source_of

MODULE = "platform_assets_tests.delivery.sources.reports"


def function(rooms: Rooms, name: str, file: str | None = None, /, **arguments: Any) -> Any:
    return source_of(rooms, function={"path": f"{MODULE}:{name}", "arguments": arguments, "name": file})


def test_text_and_bytes_are_a_file(rooms: Rooms) -> None:
    assert files_of(function(rooms, "text")) == {"customers.txt": b"Hello, world"}
    assert files_of(function(rooms, "text", "a.html", name="you")) == {"a.html": b"Hello, you"}
    assert files_of(function(rooms, "data")) == {"customers.bin": b"\x00\x01"}


def test_paths_are_files_in_their_order(rooms: Rooms, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    assert files_of(function(rooms, "path", folder=str(tmp_path))) == {"a.txt": b"a.txt"}
    assert list(files_of(function(rooms, "paths", folder=str(tmp_path)))) == ["b.txt", "a.txt"]
    with pytest.raises(DeliveryError, match="No such file"):
        files_of(function(rooms, "path", folder=str(tmp_path / "none")))


@pytest.mark.parametrize("name", ["frame", "table", "batch", "reader"])
def test_tables_of_every_kind_are_rows(rooms: Rooms, name: str) -> None:
    assert rows_of(function(rooms, name)) == [{"n": 1}, {"n": 2}]


def test_dictionaries_are_rows(rooms: Rooms) -> None:
    assert rows_of(function(rooms, "rows")) == [{"n": 1, "t": None}, {"n": 2, "t": "x"}]
    assert [row["n"] for row in rows_of(function(rooms, "many"))] == list(range(25_000))


def test_rows_that_do_not_fit_are_told(rooms: Rooms) -> None:
    with pytest.raises(DeliveryError, match="other columns later: 'new' is not in the first 10,000"):
        rows_of(function(rooms, "later"))
    with pytest.raises(DeliveryError, match="values that do not fit into one column"):
        rows_of(function(rooms, "mixed"))
    with pytest.raises(DeliveryError, match=r"returned a int\. It may return text"):
        rows_of(function(rooms, "number"))
    with pytest.raises(DeliveryError, match="returned rows that are int"):
        rows_of(function(rooms, "numbers"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("late_name", "other columns later: '' is not in the first 10,000"),
        ("no_row", "returned rows that are NoneType"),
        ("numbered", "returned rows with a key that is int, not text"),
        ("half_a_character", r"a text that UTF-8 cannot hold: half of a character, U\+D800"),
        ("half_a_character_in_a_row", "do not fit into one column: column t "),
        ("names_and_numbers", "do not fit into one column: column who "),
        ("ending", r"ended the program \(exit code 3\) instead of returning"),
        ("ending_late", r"ended the program \(exit code 0\) instead of returning"),
    ],
)
def test_what_a_function_may_not_return_is_told_without_values(rooms: Rooms, name: str, message: str) -> None:
    def read() -> None:
        with function(rooms, name).open() as content:
            for item in content:
                if isinstance(item, Rows):
                    item.batches.read_all()

    with pytest.raises(DeliveryError, match=message) as told:
        read()
    assert "Nancy" not in str(told.value)


def test_a_function_that_fails_is_told_with_its_error(rooms: Rooms) -> None:
    with pytest.raises(DeliveryError, match="reports:failing failed: ValueError: no data today"):
        files_of(function(rooms, "failing"))
    with pytest.raises(DeliveryError, match="reports:failing_late failed: ValueError: no more data"):
        rows_of(function(rooms, "failing_late"))
    with pytest.raises(SourceUnavailable, match="does not answer"):
        files_of(function(rooms, "unavailable"))
    with pytest.raises(DeliveryError, match="missing 1 required positional argument"):
        files_of(function(rooms, "path"))


def test_a_function_that_is_not_there_is_told(rooms: Rooms) -> None:
    with pytest.raises(DeliveryError, match="cannot be imported: ModuleNotFoundError"):
        source_of(rooms, function="no_such_package.reports:monthly").version()
    with pytest.raises(DeliveryError, match="has no function monthly"):
        function(rooms, "monthly").version()


def test_the_version_is_what_the_function_declares(rooms: Rooms) -> None:
    assert function(rooms, "text").version() == "7"
    assert function(rooms, "data").version() == "8"
    assert function(rooms, "rows").version() is None


@dataclass
class Tasks:
    """A room with tasks."""

    outputs: dict[str, TaskOutput | None] = field(default_factory=dict)

    def task_names(self) -> Sequence[str]:
        return list(self.outputs)

    def task_output(self, name: str) -> TaskOutput | None:
        return self.outputs[name]


def test_a_tasks_latest_files_are_delivered(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    tasks = Tasks(
        {"scanner/upload": TaskOutput("3", [tmp_path / "b.txt", tmp_path / "a.txt"]), "scanner/new": None}
    )
    source = TaskSource("scanner/upload", [tasks])
    assert source.version() == "3"
    assert list(files_of(source).items()) == [("b.txt", b"b"), ("a.txt", b"a")]
    with pytest.raises(DeliveryError, match="scanner/new has not made anything yet"):
        TaskSource("scanner/new", [tasks]).version()
    with pytest.raises(DeliveryError, match="There is no task scanner/uplaod; perhaps scanner/upload"):
        TaskSource("scanner/uplaod", [tasks]).version()


def test_a_task_is_looked_for_in_the_rooms(rooms: Rooms) -> None:
    with pytest.raises(DeliveryError, match="There is no task scanner/upload"):
        source_of(rooms, task="scanner/upload").version()


def test_rows_can_be_streamed_without_reading_all(rooms: Rooms) -> None:
    with function(rooms, "failing_late").open() as content:
        rows = next(content)
        assert isinstance(rows, Rows)
        assert rows.batches.read_next_batch().num_rows == 10_000
