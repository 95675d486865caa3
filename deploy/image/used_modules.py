"""List the files of the modules that the platform's processes import, one a line.

The root file system of the image is read-only, so Python cannot keep what it compiles; the image brings it
along. All modules would be 170 MB. These are what the package imports, anywhere in it, what Dagster's
commands import, and what all of those import in turn. A module that is missing here, such as that of an
extra, is left out.
"""

import ast
import contextlib
import importlib
import io
import pkgutil
import sys
from pathlib import Path

import platform_assets

COMMANDS = (
    *("dagster._cli", "dagster._daemon.cli", "dagster._grpc.server", "dagster._cli.api", "dagster.version"),
    *("dagster_webserver.cli", "dagster_webserver.webserver", "dagster_graphql.schema"),
    *("dagster_aws.s3", "dagster_aws.ecs", "dagster_celery", "dagster_k8s", "dagster_postgres"),
)


def imported_by(source: str) -> set[str]:
    """Return the names of modules that a module imports, also within its functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{one.name}" for one in node.names)
    return names


def main() -> None:
    """Import everything, and print the files."""
    own = [one.name for one in pkgutil.walk_packages(platform_assets.__path__, "platform_assets.")]
    sources = [file.read_text() for file in sorted(Path(platform_assets.__path__[0]).rglob("*.py"))]
    wanted = sorted({*own, *COMMANDS, *(name for source in sources for name in imported_by(source))})
    with contextlib.redirect_stdout(io.StringIO()):
        for name in wanted:
            with contextlib.suppress(ImportError, AttributeError):
                importlib.import_module(name)
    files = {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    sys.stdout.write("".join(f"{file}\n" for file in sorted(files) if file.endswith(".py")))


if __name__ == "__main__":
    main()
