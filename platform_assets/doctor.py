"""The doctor's own probes: settings, secrets, packages, disk, Dagster's storage, daemon and schedules."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from platform_assets.diagnosis import HasProbes, Health, Observation, Probe, diagnose, error, ok, warning
from platform_assets.errors import SettingsError
from platform_assets.isolation import is_isolated
from platform_assets.lake.interfaces import HasSourceTables
from platform_assets.rooms import Rooms
from platform_assets.status import HasFreshnessLimits, HasProblems
from platform_assets.stored import StoresFormats, everything_stored, format_problems
from platform_assets.terminal import age_text

if TYPE_CHECKING:
    from platform_assets.configuration.secrets import Secret
    from platform_assets.runs import InstanceState

_LOCK = Path(__file__).parent.parent / "requirements.lock"
_LOCKED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*([^\\]+))?")
_LITTLE_SPACE, _TOO_LITTLE_SPACE = 5 * 1024**3, 512 * 1024**2
_FEW_INODES, _TOO_FEW_INODES = 100_000, 5_000
_DEAD_AFTER = dt.timedelta(minutes=5)
_VERIFIED_WITHIN = dt.timedelta(days=8)
_UPKEEP_WITHIN = dt.timedelta(hours=24)
_MOST_NAMED = 8
_UPKEEP = "lake_upkeep"
_NEEDED = {
    "totesys_to_warehouse_schedule": "nothing is read by itself",
    f"{_UPKEEP}_schedule": "the lake grows for ever",
}


def examine(*, as_json: bool) -> bool:
    """Print what all probes find.

    Args:
        as_json: True to print one JSON array of objects with area, subject, status, sentence and advice, in
            place of a line for each finding as soon as it is known.

    Returns:
        True if a finding is an error.
    """
    found, all_probes = [], _all_probes()
    width = max(len(probe.area) for probe in all_probes)
    for probe, findings in diagnose(all_probes):
        found.append((probe, findings))
        if not as_json:
            _print_findings(f"{probe.area:<{width}}", findings)
    typer.echo(json.dumps(_objects(found), indent=2, ensure_ascii=False) if as_json else _summary(found))
    return _count(found, Health.ERROR) > 0


def _all_probes() -> list[Probe]:
    """Return all probes; if the configuration cannot be loaded, one that says so."""
    from platform_assets.settings import dagster_home, load_settings

    try:
        settings = load_settings()
    except SettingsError as failure:
        return [Probe("settings", "configuration", partial(_broken_settings, failure))]
    return [*probes(Rooms(settings), settings.file, dagster_home(settings))]


def _broken_settings(failure: SettingsError) -> Iterator[Observation]:
    yield error("configuration", str(failure), "Correct it; docs/configuration.md describes every key.")


_COLORS = {
    Health.OK: typer.colors.GREEN,
    Health.WARNING: typer.colors.YELLOW,
    Health.ERROR: typer.colors.RED,
}


def _print_findings(area: str, findings: Sequence[Observation]) -> None:
    for finding in findings:
        mark = typer.style(f"{finding.status.value:<8}", fg=_COLORS[finding.status])
        typer.echo(f"{mark}{area}  {finding.subject}: {finding.sentence}")
        if finding.advice:
            typer.echo(f"{'':8}{'':{len(area)}}  {finding.advice}")


def probes(rooms: Rooms, file: Path, home: Path) -> Iterator[Probe]:
    """Yield the probes of the platform and of all rooms.

    Args:
        rooms: The rooms.
        file: The configuration file.
        home: Dagster's folder.
    """
    yield Probe("settings", "configuration", partial(_settings, rooms, file))
    for secret in sorted(set(rooms.secrets()), key=str):
        yield Probe("secrets", str(secret), partial(_secret, secret))
    yield Probe("packages", "versions", partial(_packages, _LOCK))
    folders = {rooms.platform.state_dir: "the state folder", home: "Dagster's folder"}
    folders.setdefault(Path(tempfile.gettempdir()), "the folder for temporary files")
    for folder, name in folders.items():
        yield Probe("disk", name, partial(disk, folder, name))
    yield Probe("dagster", "instance", partial(_instance, rooms, home), 60.0)
    yield Probe("formats", "formats", partial(_formats, rooms), 90.0)
    for room in rooms.offering(HasProbes):
        try:
            yield from room.probes()
        except BaseException as failure:
            if not is_isolated(failure):
                raise
            yield Probe(type(room).__name__, "settings", partial(_raise, failure))


def _raise(failure: BaseException) -> Iterable[Observation]:
    raise failure


def _settings(rooms: Rooms, file: Path) -> Iterator[Observation]:
    yield ok("configuration", f"{file} is valid")
    for room in rooms.offering(HasProblems):
        for line in room.problems():
            yield error("configuration", line, "The rest works without it.")


def _formats(rooms: Rooms) -> Iterator[Observation]:
    """Look whether this version can use all that is stored."""
    everything = everything_stored(rooms.platform.state_dir, rooms.offering(StoresFormats))
    problems = format_problems(everything)
    for problem in problems:
        yield error(problem.place, problem.reason)
    if not problems:
        yield ok("formats", "this version can use all that is stored")


def _secret(secret: Secret) -> Iterator[Observation]:
    secret.resolve()
    yield ok(str(secret), "can be fetched")


def _packages(lock: Path) -> Iterator[Observation]:
    """Compare the installed packages with the lock file, where the project is at hand."""
    if not lock.is_file():
        yield ok(
            "versions", "the package is installed without its project, so there is no lock to compare with"
        )
        return
    from packaging.markers import Marker

    differing, count = [], 0
    for line in lock.read_text().splitlines():
        found = _LOCKED.match(line)
        if found is None or (found[3] and not Marker(found[3].strip()).evaluate()):
            continue
        count += 1
        try:
            installed = importlib.metadata.version(found[1])
        except importlib.metadata.PackageNotFoundError:
            differing.append(f"{found[1]} is missing")
            continue
        if installed != found[2]:
            differing.append(f"{found[1]} is {installed}, locked is {found[2]}")
    if differing:
        more = f", and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
        yield warning(
            "versions",
            f"{len(differing)} of {count} packages differ from {lock.name}: "
            f"{'; '.join(differing[:_MOST_NAMED])}{more}",
            "Install what was tested: make run, or pip install --no-deps -r requirements.lock.",
        )
    else:
        yield ok("versions", f"all {count} packages are those of {lock.name}")


def disk(folder: Path, name: str) -> Iterator[Observation]:
    """Yield the free space of a folder's disk, and whether files can be made in it.

    Args:
        folder: The folder; it need not exist yet.
        name: What it is, for the finding.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    shown = f"{free / 1024**3:,.1f} GiB free on the disk of {folder}"
    more = (
        "Free some space, or move the folder to a larger disk. platform-assets lake upkeep --apply removes "
        "what nothing needs."
    )
    if not os.access(there, os.W_OK):
        yield error(
            name, f"{there} cannot be written to", f"Give this user write access: chown or chmod {there}."
        )
    elif free < _TOO_LITTLE_SPACE:
        yield error(name, shown, more)
    elif free < _LITTLE_SPACE:
        yield warning(name, shown, more)
    elif found.f_files and found.f_favail < _FEW_INODES:
        tell = error if found.f_favail < _TOO_FEW_INODES else warning
        advice = "Remove many small files, or use a file system with more inodes."
        yield tell(name, f"only {found.f_favail:,} more files can be made on the disk of {folder}", advice)
    else:
        yield ok(name, shown)


def _instance(rooms: Rooms, home: Path) -> Iterator[Observation]:
    """Look at Dagster: its storage, its daemon, the schedules, and how old the last runs are."""
    from platform_assets.runs import instance_state, last_runs, open_instance

    if not home.is_dir():
        yield ok("instance", f"{home} does not exist yet; the first run creates it")
        return
    sources = {
        name: [table.name for table in tables]
        for room in rooms.offering(HasSourceTables)
        for name, tables in room.source_tables().items()
    }
    now = dt.datetime.now(dt.UTC)
    with open_instance(home) as instance:
        state = instance_state(instance, [_UPKEEP, *map(_verification, sources)])
        reads = last_runs(instance, sources)
    if state.needs_migration:
        advice = "Stop the UI and all runs, and migrate it: dagster instance migrate."
        yield error("storage", "Dagster's storage was made by an older version of Dagster", advice)
    else:
        yield ok("storage", f"{home} has the format of the installed Dagster")
    if state.is_local and rooms.platform.machines == "many":
        advice = "Name a PostgreSQL in dagster.yaml; deploy/dagster.yaml is an example."
        yield error("storage", "with machines = many, no other machine can use Dagster's storage", advice)
    yield from _automation(state, now)
    limits: dict[tuple[str, ...], dt.timedelta] = {}
    for room in rooms.offering(HasFreshnessLimits):
        limits |= room.freshness_limits()
    for last in reads:
        within = min(limits.get((last.source, table), dt.timedelta.max) for table in sources[last.source])
        yield _aged(f"last read of {last.source}", last.at, now, within, f"platform-assets run {last.source}")
        for table, reason in last.stopped.items():
            yield error(f"{last.source}/{table}", f"is skipped and keeps its last loaded data: {reason}")
        how = f"platform-assets source verify {last.source}, or switch its schedule on"
        verified = state.ended[_verification(last.source)]
        yield _aged(f"last verification of {last.source}", verified, now, _VERIFIED_WITHIN, how)
    yield _aged(
        "last upkeep", state.ended[_UPKEEP], now, _UPKEEP_WITHIN, "platform-assets lake upkeep --apply"
    )


def _verification(source: str) -> str:
    return f"{source}_verification"


def _automation(state: InstanceState, now: dt.datetime) -> Iterator[Observation]:
    start = "Start it: make ui, or dagster-daemon run; and let the system restart it when it ends."
    if state.heartbeat is None:
        yield warning("daemon", "it has never run, so no schedule or sensor works", start)
    elif now - state.heartbeat > _DEAD_AFTER:
        tell = error if state.switched_on else warning
        age = age_text(now - state.heartbeat)
        yield tell("daemon", f"its last sign of life was {age} ago; no schedule or sensor works", start)
    else:
        yield ok("daemon", f"its last sign of life was {age_text(now - state.heartbeat)} ago")
    for name, consequence in _NEEDED.items():
        if name in state.switched_on:
            yield ok(name, "is switched on")
        else:
            advice = "Switch it on in the UI, under Automation."
            yield warning(name, f"is switched off: {consequence}", advice)
    for name, (at, reason) in state.failed_ticks.items():
        sentence = f"its last tick, at {at:%Y-%m-%d %H:%M} UTC, failed with {reason or 'an error'}"
        yield error(name, sentence, "Look at the tick in the UI, under Automation.")


def _aged(
    subject: str, at: dt.datetime | None, now: dt.datetime, within: dt.timedelta, how: str
) -> Observation:
    advice = f"Do it now: {how}."
    if at is None:
        return warning(subject, "never by a run of Dagster", advice)
    sentence = f"{age_text(now - at)} ago"
    return ok(subject, sentence) if now - at <= within else warning(subject, sentence, advice)


def _summary(found: Sequence[tuple[Probe, Sequence[Observation]]]) -> str:
    """Return the number of findings of each status, as a sentence."""
    errors, warnings = _count(found, Health.ERROR), _count(found, Health.WARNING)
    total = sum(len(findings) for _, findings in found)
    if not errors and not warnings:
        return f"All {total} findings are ok."
    return f"{total} findings: {errors} errors, {warnings} warnings."


def _count(found: Sequence[tuple[Probe, Sequence[Observation]]], status: Health) -> int:
    return sum(finding.status is status for _, findings in found for finding in findings)


def _objects(found: Sequence[tuple[Probe, Sequence[Observation]]]) -> list[dict[str, str]]:
    """Return the findings as objects with area, subject, status, sentence and advice."""
    return [
        {
            "area": probe.area,
            "subject": finding.subject,
            "status": finding.status.value,
            "sentence": finding.sentence,
            "advice": finding.advice,
        }
        for probe, findings in found
        for finding in findings
    ]
