"""Measures the image: its size by layer, its build cold and warm, and its start to the first served page.

It is built with buildah on a base made here with mmdebstrap, in a storage of its own; without these tools, or
without root, nothing is measured. A cold build downloads and installs every package, on a base that is there.
Warm builds follow at once: with nothing changed, and after a line of the package has changed, in a copy of
the checkout. The start is that of the webserver with the code location, without root, on a read-only root
file system, until its first page is served, and until the code location is loaded.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from platform_assets_tests.fixtures import image as images  # noqa: E402
from platform_assets_tests.fixtures.wire import free_port  # noqa: E402

LIMIT_MB = 300
NAME = "platform_assets:measured"
STARTS = 3
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus
  locationOrLoadError { __typename } } } } }"""


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def ask(port: int, query: str | None = None) -> str:
    """Ask the webserver for its page or by GraphQL; wait until it answers, five minutes at most."""
    address = f"http://127.0.0.1:{port}/{'graphql' if query else ''}"
    body = json.dumps({"query": query}).encode() if query else None
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    until = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return str(response.read().decode())
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def start(container: images.Container, folder: Path) -> tuple[float, float]:
    """Return the seconds from the start to the first page, and to the loaded code location."""
    port = free_port()
    command = [str(port) if word == "3000" else word for word in container.config["Cmd"]]
    state = container.new_state(folder)
    started = time.monotonic()
    with container.running(command, state):
        ask(port)
        served = time.monotonic() - started
        entries: list[dict[str, Any]] = []
        while not entries or any(entry["loadStatus"] == "LOADING" for entry in entries):
            entries = json.loads(ask(port, LOCATIONS))["data"]["workspaceOrError"]["locationEntries"]
        loaded = time.monotonic() - started
        if any(entry["locationOrLoadError"]["__typename"] != "RepositoryLocation" for entry in entries):
            sys.exit(f"The code location was not loaded: {entries}")
    return served, loaded


def main() -> None:
    """Build, measure and print; exit with 1 if the image is too large."""
    if reason := images.why_not():
        print(f"Not measured: {reason}")
        return
    folder = Path(tempfile.mkdtemp(prefix="platform-assets-image-"))
    folder.chmod(0o755)
    copy = folder / "checkout"
    builder = images.Builder(folder, copy)
    try:
        files = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in files.splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        builder.make_base()
        build = ("build", "TAG=measured")
        cold = seconds(lambda: builder.make(*build, options="--no-cache"))
        same = seconds(lambda: builder.make(*build))
        with (copy / "platform_assets" / "cli.py").open("a") as module:
            module.write("\n# a changed line\n")
        changed = seconds(lambda: builder.make(*build))
        print(f"build, cold                      {cold:8.1f} s")
        print(f"build, nothing changed           {same:8.1f} s")
        print(f"build, a line changed            {changed:8.1f} s")
        with builder.container(NAME) as container:
            starts = [start(container, folder / f"state-{number}") for number in range(STARTS)]
        for label, times in zip(
            ("first page", "code location loaded"), zip(*starts, strict=True), strict=True
        ):
            print(f"start to {label:<23} {statistics.median(times):8.1f} s, median of {STARTS}")
        sizes = builder.sizes(NAME)
        for made, size in sizes:
            print(f"{size / 1e6:8.1f} MB  {made.removeprefix('/bin/sh -c ')[:90]}")
        total = sum(size for _, size in sizes) / 1e6
        print(f"{total:8.1f} MB compressed (zstd, level 3); limit {LIMIT_MB} MB")
        if total > LIMIT_MB:
            sys.exit(1)
    finally:
        builder.buildah("rm", "--all")
        builder.buildah("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
