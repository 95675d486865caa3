"""Fetch what the project needs as wheels, each at the version and with a hash that the lock holds.

One lock holds the packages of all extras, so an image needs a part of it: what pyproject.toml declares for
the chosen extras, and what those packages require in turn. The parts are found round by round from the
metadata of the wheels themselves. pip never resolves anything: it gets lines of the lock, with `--no-deps`
and `--require-hashes`. A package that is required and not in the lock is an error.

Called with the Python of an environment that has pip: `python locked.py --lock FILE --wheels FOLDER [--extras
a,b] [--group build | --package NAME] [--without x,y]`; `--package` fetches that one alone. Prints
`name==version` of each package, for `pip install --no-index`.
"""

import argparse
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename


class NotLocked(Exception):
    """The lock or pyproject.toml lacks what was asked for."""


def entries(lock: str) -> dict[str, list[tuple[Requirement, str]]]:
    """Return the lock's entries by package: the requirement, and its lines with all hashes."""
    found: dict[str, list[tuple[Requirement, str]]] = {}
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        requirement = Requirement(entry.splitlines()[0].removesuffix("\\"))
        found.setdefault(canonicalize_name(requirement.name), []).append((requirement, entry))
    return found


def declared(pyproject: dict, extras: Iterable[str], group: str | None) -> list[Requirement]:
    """Return what pyproject.toml declares for a group, or for the project with these extras."""
    if group is not None:
        return [Requirement(text) for text in pyproject["dependency-groups"][group]]
    project = pyproject["project"]
    optional = project["optional-dependencies"]
    for extra in extras:
        if extra not in optional:
            raise NotLocked(f"There is no extra {extra}; the extras are {', '.join(sorted(optional))}.")
    return [
        Requirement(text) for text in (*project["dependencies"], *(t for e in extras for t in optional[e]))
    ]


def required_by(wheel: Path, extras: set[str]) -> list[Requirement]:
    """Return what a wheel requires on this machine, with these of its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    requirements = map(Requirement, metadata.get_all("Requires-Dist", []))
    return [one for one in requirements if applies(one, extras)]


def applies(requirement: Requirement, extras: set[str]) -> bool:
    """Return True if a requirement's marker holds here with any of the extras, or without one."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})


def fetch(lines: Iterable[str], folder: Path) -> None:
    """Download these lines of the lock as wheels; the few without a wheel are built with locked tools."""
    listed = folder / "round.txt"
    listed.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), "--requirement", str(listed)]
    subprocess.run(command, check=True)
    listed.unlink()


def fetch_all(
    wanted: list[Requirement], lock: dict[str, list[tuple[Requirement, str]]], folder: Path, without: set[str]
) -> dict[str, str]:
    """Fetch what is wanted and all that it requires; return the version of each package.

    Raises:
        NotLocked: Something is required that the lock does not hold for this machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    extras: dict[str, set[str]] = {}
    known: dict[str, Path] = {}
    todo = [(one, "pyproject.toml") for one in wanted if applies(one, set())]
    while todo:
        changed = {}
        for requirement, _ in todo:
            name = canonicalize_name(requirement.name)
            if name not in without and not (name in extras and requirement.extras <= extras[name]):
                extras[name] = extras.get(name, set()) | requirement.extras
                changed[name] = requirement
        missing = [name for name in changed if name not in known]
        for name in missing:
            if not any(applies(one, set()) for one, _ in lock.get(name, ())):
                by = next(by for one, by in todo if one is changed[name])
                raise NotLocked(
                    f"{changed[name]} is required by {by}, and the lock does not hold it. Run make lock."
                )
        if missing:
            fetch([text for name in sorted(missing) for _, text in lock[name]], folder)
            known = {parse_wheel_filename(file.name)[0]: file for file in sorted(folder.glob("*.whl"))}
        todo = [(one, name) for name in sorted(changed) for one in required_by(known[name], extras[name])]
    return {name: str(parse_wheel_filename(known[name].name)[1]) for name in sorted(extras)}


def main() -> None:
    """Fetch, and print what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--extras", default="")
    parser.add_argument("--group")
    parser.add_argument("--package")
    parser.add_argument("--without", default="")
    arguments = parser.parse_args()
    pyproject = tomllib.loads(arguments.lock.with_name("pyproject.toml").read_text())
    extras, without = (
        list(filter(None, re.split(r"[,\s]+", text))) for text in (arguments.extras, arguments.without)
    )
    try:
        lock = entries(arguments.lock.read_text())
        if arguments.package:
            wanted, only = [Requirement(arguments.package)], {canonicalize_name(arguments.package)}
            without = [name for name in lock if name not in only]
        else:
            wanted = declared(pyproject, extras, arguments.group)
        fetched = fetch_all(wanted, lock, arguments.wheels, set(without))
    except NotLocked as error:
        sys.exit(str(error))
    sys.stdout.write("".join(f"{name}=={version}\n" for name, version in fetched.items()))


if __name__ == "__main__":
    main()
