"""The rules of the house, read from the source itself; each rule is also shown something that breaks it."""

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.rooms import ROOMS

ROOT = Path(__file__).parent.parent
PACKAGE = "platform_assets"

# From the ground up: modules below the rooms, the rooms, and modules above them.
BELOW = (
    "errors",
    "processes",
    "isolation",
    "stored",
    "logs",
    "alert",
    "status",
    "diagnosis",
    "model",
    "column_lineage",
    "classification",
    "description",
    "own_assets",
    "configuration",
    "networks",
    "smtp",
    "rooms",
    "settings",
    "warming",
)
DAGSTER = ("dagster_storage", "dagster_internals", "orchestration", "runs", "components")
ORDER = (
    *BELOW,
    *DAGSTER,
    "terminal",
    *(room.name for room in ROOMS),
    "build",
    "doctor",
    "summary",
    "preparation",
    "definitions",
    "cli",
)
MAY_IMPORT_DAGSTER = {
    *("defs.py", "io_manager.py", "resources.py", "build.py", "runs.py", "orchestration.py"),
    *("dagster_internals.py", "dagster_storage.py", "definitions.py", "cron.py", "dagster_facts.py"),
    *("component.py", "components.py", "executor.py", "launcher.py"),
}
# Where the whole environment is handed on to a child process; nothing is looked up in it.
HAND_ON_THE_ENVIRONMENT = {f"{PACKAGE}/sample/embedded.py", f"{PACKAGE}/tasks/builtin/shell_script.py"}
# The sample's designs lie in folders that its generator makes up.
MADE_UP_PLACES = {f"{PACKAGE}/sample/names.py"}
UNTOLD_NAMES = {"utils", "util", "helpers", "common", "core", "misc"}


# Reading the whole package takes seconds. Rules that are tried on other folders take its place again.
@functools.lru_cache(maxsize=1)
def modules(root: Path) -> tuple[tuple[str, ast.Module], ...]:
    """Return every module of the package with its path from the root."""
    return tuple(
        (file.relative_to(root).as_posix(), ast.parse(file.read_text(encoding="utf-8")))
        for file in sorted((root / PACKAGE).rglob("*.py"))
    )


def imported(tree: ast.Module) -> Iterator[str]:
    """Give the dotted names that a module imports anywhere, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from platform_assets import lake` names the room in the second half.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: str) -> str:
    return Path(path).parts[1].removesuffix(".py")


def dagster_outside_its_modules(root: Path) -> list[str]:
    return [
        path
        for path, tree in modules(root)
        if Path(path).name not in MAY_IMPORT_DAGSTER
        and any(name.split(".")[0].startswith("dagster") for name in imported(tree))
    ]


def imports_that_do_not_go_down(root: Path) -> list[str]:
    level = {name: height for height, name in enumerate(ORDER)}
    found = []
    for path, tree in modules(root):
        own = room(path)
        if own == "__init__":
            continue
        for name in imported(tree):
            parts = name.split(".")
            if parts[0] != PACKAGE or len(parts) < 2 or parts[1] == own:
                continue
            if own not in level or level[parts[1]] >= level[own]:
                found.append(f"{path} imports {PACKAGE}.{parts[1]}")
    return sorted(set(found))


def circles(root: Path) -> list[str]:
    """Modules that import each other, directly or through others, anywhere in their code."""
    known = {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): tree
        for path, tree in modules(root)
    }

    def module_of(name: str) -> str:
        return name if name in known or not name else module_of(name.rpartition(".")[0])

    graph = {
        own: {module_of(name) for name in imported(tree)} - {"", own, PACKAGE} for own, tree in known.items()
    }
    # What can be removed one by one, because it imports nothing that is left, is in no circle.
    while ready := {own for own, names in graph.items() if not names & graph.keys()}:
        graph = {own: names for own, names in graph.items() if own not in ready}
    while ready := {own for own in graph if not any(own in names for names in graph.values())}:
        graph = {own: names for own, names in graph.items() if own not in ready}
    return sorted(graph)


def other_rooms_settings(root: Path) -> list[str]:
    """Assemblies that take the whole configuration, or the settings of another room."""
    found = []
    for path, tree in modules(root):
        if Path(path).name != "assembly.py":
            continue
        for name in imported(tree):
            parts = name.split(".")
            if parts[:2] == [PACKAGE, "settings"] or (parts[2:3] == ["settings"] and parts[1] != room(path)):
                found.append(f"{path} imports {name}")
            if name == f"{PACKAGE}.configuration.blocks.Settings":
                found.append(f"{path} imports {name}")
    return found


PRIVATE = {
    "dagster": {f"{PACKAGE}/dagster_internals.py", f"{PACKAGE}/dagster_storage.py"},
    "dagster_shared": {f"{PACKAGE}/dagster_internals.py"},
    "adbc_driver_manager": {f"{PACKAGE}/lake/adbc.py"},
    "re2": {f"{PACKAGE}/dlp/local/regex.py"},
}
"""The modules that may use what is not public in a library; each says why."""


def private_parts(root: Path) -> list[str]:
    """Uses of names with a leading underscore of those libraries, outside the modules that may."""
    found = []
    for path, tree in modules(root):
        names = list(imported(tree))
        names += [
            f"{node.value.id}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        ]
        for used in names:
            library = used.split(".")[0]
            is_private = "._" in used or library == "dagster_shared"
            if library in PRIVATE and is_private and path not in PRIVATE[library]:
                found.append(f"{path} uses {used}")
    return sorted(set(found))


def rooms_without_a_layer(root: Path) -> list[str]:
    known = {*ORDER, "__init__"}
    return sorted({room(path) for path, _ in modules(root)} - known)


def postponed_annotations_beside_dagster(root: Path) -> list[str]:
    return [
        path
        for path, tree in modules(root)
        if any(name.split(".")[0] == "dagster" for name in imported(tree))
        and "__future__.annotations" in set(imported(tree))
    ]


def folders_whose_name_tells_nothing(root: Path) -> list[str]:
    return [
        path.relative_to(root).as_posix()
        for path in sorted((root / PACKAGE).rglob("*"))
        if path.name.removesuffix(".py") in UNTOLD_NAMES
    ]


def class_names_used_twice(root: Path) -> list[str]:
    """Public classes of one name in two modules; a reader cannot know which of them is meant."""
    places: dict[str, list[str]] = {}
    for path, tree in modules(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path)
    return [f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1]


def environment_reads(root: Path) -> list[str]:
    found = []
    for path, tree in modules(root):
        if room(path) in ("settings", "configuration"):
            continue
        # `process.environ()` of psutil is the environment of another process.
        others = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and not node.args}
        for node in ast.walk(tree):
            named = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
            named = named and not (node.attr == "environ" and node in others)
            taken = isinstance(node, ast.ImportFrom) and node.module == "os" and any(
                alias.name in ("environ", "environb", "getenv") for alias in node.names
            )  # fmt: skip
            if (named or taken) and not (path in HAND_ON_THE_ENVIRONMENT and _is_handed_on(tree, node)):
                found.append(f"{path}:{node.lineno}")
    return found


def _is_handed_on(tree: ast.Module, node: ast.AST) -> bool:
    """Whether `os.environ` is read as a whole, as in `os.environ.items()` and `dict(os.environ)`."""
    for parent in ast.walk(tree):
        if isinstance(parent, ast.Attribute) and parent.value is node:
            return parent.attr in ("items", "copy")
        if isinstance(parent, ast.Call) and node in parent.args:
            return isinstance(parent.func, ast.Name) and parent.func.id == "dict"
        if isinstance(parent, ast.Dict) and node in parent.values:
            return True
    return False


def machine_paths(text: str, checkout: Path) -> list[str]:
    """Find paths that exist on somebody's machine only: homes, and where this checkout is."""
    found = re.findall(r"(?<![\w.$})-])/(?:home|Users|root|work|mnt|private/var)/[\w.-]+", text)
    return found + ([str(checkout)] if len(checkout.parts) > 2 and str(checkout) in text else [])


def addresses(lock: str) -> list[str]:
    return re.findall(r"^.*(?:://|--index-url|--find-links|\bfile:| @ ).*$", lock, flags=re.MULTILINE)


def tracked_files() -> list[Path]:
    """The files of the checkout as git knows them; where there is no git, those that make has not made."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        made = (".venv", ".platform", ".git", "_cache", "__pycache__", ".coverage", ".env")
        files = [f for f in ROOT.rglob("*") if not any(m in f.relative_to(ROOT).as_posix() for m in made)]
    return [file for file in files if file.is_file()]


def test_only_thin_modules_import_dagster() -> None:
    assert dagster_outside_its_modules(ROOT) == []


def test_rooms_import_downwards_only() -> None:
    assert imports_that_do_not_go_down(ROOT) == []


def test_no_modules_import_each_other() -> None:
    assert circles(ROOT) == []


def test_an_assembly_takes_its_own_settings_only() -> None:
    assert other_rooms_settings(ROOT) == []


def test_what_is_private_in_a_library_is_used_in_one_module() -> None:
    assert private_parts(ROOT) == []


def test_every_room_has_its_layer() -> None:
    assert rooms_without_a_layer(ROOT) == []


def test_annotations_are_not_postponed_where_dagster_reads_them() -> None:
    assert postponed_annotations_beside_dagster(ROOT) == []


def test_every_folder_says_what_it_holds() -> None:
    assert folders_whose_name_tells_nothing(ROOT) == []


def test_one_class_name_is_one_thing() -> None:
    assert class_names_used_twice(ROOT) == []


def test_a_class_name_that_is_used_twice_is_found(tmp_path: Path) -> None:
    folder = tmp_path / PACKAGE / "star"
    folder.mkdir(parents=True)
    (folder / "first.py").write_text("class Change: ...\nclass Own: ...\nclass _Part: ...")
    (folder / "second.py").write_text("class Change: ...\nclass _Part: ...")
    assert class_names_used_twice(tmp_path) == [f"Change: {PACKAGE}/star/first.py, {PACKAGE}/star/second.py"]


def test_only_settings_reads_the_environment() -> None:
    assert environment_reads(ROOT) == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_no_addresses(lock: str) -> None:
    assert addresses((ROOT / lock).read_text()) == []


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    found = {}
    for file in tracked_files():
        if file == Path(__file__) or file.relative_to(ROOT).as_posix() in MADE_UP_PLACES:
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if paths := machine_paths(text, ROOT):
            found[file.relative_to(ROOT).as_posix()] = sorted(set(paths))
    assert found == {}


@pytest.mark.parametrize(
    ("file", "text", "rule"),
    [
        ("star/transform.py", "import dagster as dg", dagster_outside_its_modules),
        (
            "star/transform.py",
            "def f():\n    from dagster_aws.s3 import S3Resource",
            dagster_outside_its_modules,
        ),
        ("lake/delta.py", "from platform_assets.star import transform", imports_that_do_not_go_down),
        ("lake/delta.py", "from platform_assets import star", imports_that_do_not_go_down),
        ("star/defs.py", "import platform_assets.warehouse.duckdb", imports_that_do_not_go_down),
        (
            "model/table.py",
            "def f():\n    import platform_assets.lake",
            imports_that_do_not_go_down,
        ),
        ("cellar/wine.py", "", rooms_without_a_layer),
        ("star/assembly.py", "from platform_assets.settings import load_settings", other_rooms_settings),
        ("star/assembly.py", "from platform_assets.lake.settings import LakeSettings", other_rooms_settings),
        (
            "star/assembly.py",
            "from platform_assets.configuration.blocks import Settings",
            other_rooms_settings,
        ),
        ("star/defs.py", "from dagster._core import errors", private_parts),
        ("lake/delta.py", "import re2\nx = re2._Regexp", private_parts),
        (
            "star/defs.py",
            "from __future__ import annotations\nimport dagster as dg",
            postponed_annotations_beside_dagster,
        ),
        ("utils/text.py", "", folders_whose_name_tells_nothing),
        ("star/helpers.py", "", folders_whose_name_tells_nothing),
        ("lake/delta.py", "import os\nx = os.environ['HOME']", environment_reads),
        ("lake/delta.py", "import os\nx = os.getenv('HOME')", environment_reads),
        ("lake/delta.py", "from os import environ", environment_reads),
        ("lake/delta.py", "import os\nx = dict(os.environ)", environment_reads),
        ("sample/embedded.py", "import os\nx = os.environ.get('HOME')", environment_reads),
    ],
)
def test_what_breaks_a_rule_is_found(tmp_path: Path, file: str, text: str, rule: object) -> None:
    assert callable(rule)
    target = tmp_path / PACKAGE / file
    target.parent.mkdir(parents=True)
    target.write_text(text)
    assert len(rule(tmp_path)) == 1


def test_modules_that_import_each_other_are_found(tmp_path: Path) -> None:
    folder = tmp_path / PACKAGE / "star"
    folder.mkdir(parents=True)
    (folder / "first.py").write_text(f"from {PACKAGE}.star import second")
    (folder / "second.py").write_text(f"def f():\n    from {PACKAGE}.star.third import x")
    (folder / "third.py").write_text(f"import {PACKAGE}.star.first")
    (folder / "fourth.py").write_text(f"import {PACKAGE}.star.first")
    assert circles(tmp_path) == [f"{PACKAGE}.star.{name}" for name in ("first", "second", "third")]


@pytest.mark.parametrize(
    ("file", "text", "rule"),
    [
        ("star/defs.py", "import dagster as dg", dagster_outside_its_modules),
        ("star/defs.py", "from platform_assets.lake import delta", imports_that_do_not_go_down),
        ("star/defs.py", "from platform_assets.star.transform import x", imports_that_do_not_go_down),
        ("sample/embedded.py", "import os\nx = dict(os.environ)", environment_reads),
        ("sample/embedded.py", "import os\nx = {**os.environ, 'A': 'b'}", environment_reads),
        ("configuration/secrets.py", "import os\nx = os.environ['HOME']", environment_reads),
        ("processes.py", "import psutil\nx = psutil.Process(1).environ()", environment_reads),
    ],
)
def test_what_keeps_a_rule_is_left_alone(tmp_path: Path, file: str, text: str, rule: object) -> None:
    assert callable(rule)
    target = tmp_path / PACKAGE / file
    target.parent.mkdir(parents=True)
    target.write_text(text)
    assert rule(tmp_path) == []


def test_addresses_and_places_are_recognized() -> None:
    text = "--index-url x\na==1 \\\n    --hash=sha256:00\nb @ file:c\n--find-links d\nhttps://e\n"
    assert addresses(text) == [
        "--index-url x", "b @ file:c", "--find-links d", "https://e"
    ]  # fmt: skip
    assert machine_paths("open('/home/ann/x'), /Users/bob, ${X}/home/y, a/home/z", Path("/")) == [
        "/home/ann", "/Users/bob"
    ]  # fmt: skip
    assert machine_paths("x = '/srv/checkouts/here/y'", Path("/srv/checkouts/here")) == [
        "/srv/checkouts/here"
    ]
