"""Every function, class, method and private constant of the package has a user in it, or a reason to stay."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "platform_assets"
# Decorators that only wrap a function; any other one hands it to a library, which calls it.
PLAIN_DECORATORS = {
    *("property", "cached_property", "classmethod", "staticmethod", "dataclass", "contextmanager"),
    *("cache", "lru_cache", "abstractmethod", "runtime_checkable", "wraps", "total_ordering"),
}
# Found by their names: by rooms.py, and by Python in a script.
FOUND_BY_NAME = {"build_defs", "main"}
CALLED_BY_LIBRARIES = {
    "__init__.py: __dir__": "Python",
    "__init__.py: __getattr__": "Python",
    "components.py: ComponentScaffolder.scaffold": "Dagster",
    "components.py: PlatformComponent.resolve_from_model": "Dagster",
    "components.py: _EditorSchema.bool_schema": "pydantic",
    "components.py: _EditorSchema.function_before_schema": "pydantic",
    "components.py: _EditorSchema.int_schema": "pydantic",
    **{
        f"dagster_storage.py: {name}": "Dagster"
        for name in (
            *("Instance.config_schema", "Instance.config_defaults", "Storage.from_config_value"),
            *("EventLogStorage.store_event", "EventLogStorage.run_connection", "EventLogStorage.wipe"),
            *(
                "EventLogStorage.delete_events",
                "EventLogStorage._has_asset_key_index_cols_on_connection",
            ),
            *("_Watchdog.dispatch", "Instance"),
        )
    },
    "delivery/writers/ftp.py: _Explicit.ntransfercmd": "ftplib",
    "delivery/writers/ssh_packets.py: _QuickConnection.send_packet": "asyncssh",
    "dlp/settings.py: DlpSettings.model_post_init": "pydantic",
    "feeds/reading.py: _Raw.readinto": "io.BufferedReader",
    "formats/markup.py: _Flow.pi": "lxml",
    "lake/dataset.py: _OpenFile.read_buffer": "pyarrow",
    "lineage/command.py: _ColumnOrCommand.parse_args": "click",
    **{
        f"inventory/stackql.py: _Session.{method}": "pg8000"
        for method in (
            *("handle_COMMAND_COMPLETE", "handle_DATA_ROW", "handle_PARSE_COMPLETE"),
            *("handle_ROW_DESCRIPTION", "send_DESCRIBE_STATEMENT"),
        )
    },
    "notebook/__init__.py: load_ipython_extension": "IPython",
    "notebook/__init__.py: unload_ipython_extension": "IPython",
    "notebook/magics.py: NotebookError._render_traceback_": "IPython",
    "notebook/state.py: PastTables._ipython_key_completions_": "IPython",
    **{
        f"{room}/io_manager.py: {name}IOManager.{method}": "Dagster"
        for room, name in (("lake", "Lake"), ("warehouse", "Warehouse"))
        for method in ("handle_output", "load_input")
    },
    "workers/launcher.py: WorkersRunLauncher": "Dagster",
    "workers/launcher.py: WorkersRunLauncher.check_run_worker_health": "Dagster",
    "workers/lease.py: WorkRequest.terminate": "Celery",
}
REASONS = {
    "sample/embedded.py: EmbeddedPostgres.create_database": "the databases of tests and benchmarks",
    "sample/embedded.py: EmbeddedPostgres.drop_database": "the databases of tests and benchmarks",
}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_FOR_LIBRARIES = "__"


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """Give the functions, classes and methods of a module with their names within it."""
    for node in tree.body:
        if isinstance(node, Definition):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Definition) and not inner.name.startswith(_FOR_LIBRARIES):
                    yield f"{node.name}.{inner.name}", inner


def private_constants(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if (
                isinstance(target, ast.Name)
                and target.id.startswith("_")
                and not target.id.startswith(_FOR_LIBRARIES)
            ):
                yield target.id


def references(tree: ast.AST) -> Counter[str]:
    """Count the names that are read in a piece of code, also as text for getattr; an import is no use."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            found[node.id] += 1
        elif isinstance(node, ast.Attribute):
            found[node.attr] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found[node.value] += 1
    return found


def is_called_by_a_library(node: Definition) -> bool:
    names = [ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]
    return any(name.split(".")[-1] not in PLAIN_DECORATORS for name in names)


def is_found_by_its_module(file: Path, node: Definition) -> bool:
    """Whether a class is a task: those are found by the names of their modules."""
    is_task = isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] == ["Task"]
    return is_task and file.parent.name == "builtin"


# Two tests look at the same package.
@functools.lru_cache(maxsize=1)
def unused(root: Path) -> list[str]:
    """Name what nothing in a package uses, except its own body: `file.py: Class.method`."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(root.rglob("*.py"))}
    used: Counter[str] = Counter()
    for tree in trees.values():
        used += references(tree)
    found = []
    for file, tree in trees.items():
        found += [
            f"{file.relative_to(root).as_posix()}: {name}"
            for name, node in definitions(tree)
            if node.name not in FOUND_BY_NAME
            and not is_called_by_a_library(node)
            and not is_found_by_its_module(file, node)
            and used[node.name] <= references(node)[node.name]
        ]
        constants = (name for name in private_constants(tree) if not used[name])
        found += [f"{file.relative_to(root).as_posix()}: {name}" for name in constants]
    return found


def test_nothing_is_without_a_user() -> None:
    assert set(unused(ROOT)) - REASONS.keys() - CALLED_BY_LIBRARIES.keys() == set()


def test_every_exception_is_needed() -> None:
    assert REASONS.keys() | CALLED_BY_LIBRARIES.keys() <= set(unused(ROOT))


def test_dead_code_is_found_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "first.py").write_text(
        "import typer\napp = typer.Typer()\n"
        "@app.command()\ndef shown(): used(); getattr(Kept(), 'by_text')()\n"
        "def used(): pass\n"
        "def dead(): return dead()\n"
        "_KEPT = 1\n_LEFT = _KEPT\n"
        "class Kept:\n"
        "  def __len__(self): return 0\n"
        "  def _private(self): pass\n"
        "  def by_text(self): pass\n"
        "  @property\n  def dead_property(self): return self.also_used\n"
        "  @property\n  def also_used(self): pass\n"
        "class Dead: pass\n"
    )
    (tmp_path / "second.py").write_text("from room.first import Dead, dead")
    assert unused(tmp_path) == [
        "room/first.py: dead",
        "room/first.py: Kept._private",
        "room/first.py: Kept.dead_property",
        "room/first.py: Dead",
        "room/first.py: _LEFT",
    ]
