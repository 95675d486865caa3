"""Finding tasks: built in, in folders, in packages; what is broken only disables itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from platform_assets.tasks.registry import TaskRegistry

TASK = """
from platform_assets.tasks.task import Task

class {name}(Task):
    '''{name} is a task.'''

    def run(self, text: str = "x") -> None:
        pass
"""


def test_every_builtin_task_is_usable_documented_and_says_how_running_it_again_is_safe() -> None:
    registry = TaskRegistry()
    assert set(registry.names()) >= {
        *("archive", "copy", "delete_older_than", "dlp_scan", "http_request", "notify", "python_function"),
        *("shell_script", "sql", "unarchive", "wait_for_object"),
    }
    for name in registry.names():
        known = registry.find(name)
        assert known is not None
        assert known.name == name
        assert "Idempotent: " in known.signature.help, name
        assert [one.name for one in known.signature.parameters if not one.help] == [], name
    assert registry.broken == []


def test_a_module_in_a_folder_is_all_it_takes(tmp_path: Path) -> None:
    (tmp_path / "greetings.py").write_text(TASK.format(name="SayHello"))
    known = TaskRegistry([tmp_path]).find("say_hello")
    assert known is not None
    assert known.origin == str(tmp_path / "greetings.py")
    assert known.signature.summary == "SayHello is a task."


def test_modules_of_a_folder_import_each_other_and_imported_tasks_count_once(tmp_path: Path) -> None:
    (tmp_path / "_base.py").write_text("GREETING = 'hi'")
    (tmp_path / "first.py").write_text(TASK.format(name="First"))
    (tmp_path / "second.py").write_text(
        "from ._base import GREETING\nfrom .first import First\n" + TASK.format(name="Second")
    )
    registry = TaskRegistry([tmp_path])
    assert {"first", "second"} <= set(registry.names())
    assert registry.broken == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("def broken(:", "invalid syntax"),
        ("raise SystemExit(3)", "it ends the program when it is imported (exit code 3)"),
        ("1 / 0", "division by zero"),
        (
            "from platform_assets.tasks.task import Task\nclass Odd(Task):\n  def run(self, x): ...",
            "the argument x of `run` has no type",
        ),
        (
            "from platform_assets.tasks.task import Task\nclass Copy(Task):\n  def run(self): ...",
            "the name copy is taken by a task of platform_assets",
        ),
    ],
)
def test_a_broken_module_only_disables_its_own_tasks(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    (tmp_path / "good.py").write_text(TASK.format(name="Good"))
    registry = TaskRegistry([tmp_path])
    assert registry.find("good") is not None
    assert registry.find("copy") is not None
    assert [one.origin for one in registry.broken] == [str(tmp_path / "broken.py")]
    assert reason in registry.broken[0].reason


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    registry = TaskRegistry([tmp_path / "missing"])
    assert "copy" in registry.names()
    assert "is no folder" in registry.broken[0].reason


def test_a_built_in_task_is_found_without_importing_the_users_modules(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit(3)")
    registry = TaskRegistry([tmp_path])
    assert registry.find("copy") is not None
    assert not registry.is_searched


def _install(folder: Path, points: str) -> None:
    info = folder / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[platform_assets.tasks]\n{points}\n")


def test_packages_bring_tasks_by_entry_points_and_a_broken_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_tasks.py").write_text(TASK.format(name="Ship") + TASK.format(name="Pack"))
    (tmp_path / "acme_single.py").write_text(TASK.format(name="Alone"))
    _install(
        tmp_path,
        "all = acme_tasks\none = acme_single:Alone\nbad = acme_missing\nodd = acme_tasks:__name__",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = TaskRegistry()
    assert {"ship", "pack", "alone"} <= set(registry.names())
    assert {one.origin: "acme_missing" in one.reason for one in registry.broken} == {
        "the entry point bad of acme": True,
        "the entry point odd of acme": False,
    }
    for name in ("acme_tasks", "acme_single"):
        sys.modules.pop(name)


def test_a_task_that_cannot_be_used_says_why_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from platform_assets.tasks.task import Task\n"
        "class Odd(Task):\n  name = 'Not A Name'\n  def run(self): ..."
    )
    registry = TaskRegistry([tmp_path])
    assert registry.find("Not A Name") is None
    assert "must be lower-case letters" in registry.broken[0].reason


def test_names_come_from_classes() -> None:
    from platform_assets.tasks.task import Task

    class HTTPCheckTask(Task): ...

    class Named(Task):
        name = "other"

    assert (HTTPCheckTask.name, Named.name) == ("http_check", "other")
