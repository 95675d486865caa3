"""The command `dlp`: inspect files, folders and buckets, and explain why a value is or is not found.

Found values are never printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from platform_assets.dlp.accepted import IGNORE_FILE, Baseline, IgnoreFiles, allowed_by_comment, without
from platform_assets.dlp.model import FindingLimits, InspectConfig, InspectResult, Likelihood, Status
from platform_assets.terminal import plain_errors, print_table

if TYPE_CHECKING:
    from platform_assets.dlp.local.inspector import LocalInspector
    from platform_assets.dlp.model import Location
    from platform_assets.objects.bucket import Bucket, ObjectVersion

app = typer.Typer(help="Inspection for sensitive data.", no_args_is_help=True, pretty_exceptions_enable=False)

_STDIN = "-"
_NOT_LOOKED_INTO = frozenset({".git", ".hg", ".svn"})
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_FOUND, _NOT_READ = 1, 2
_MIB = 1 << 20
# Findings of one object that a baseline can accept.
_MOST_ACCEPTED = 100_000
_VENDORS = {"aws_": "s3", "google_": "gs", "azure_": "az"}


class Format(StrEnum):
    """The output formats."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"


class Level(StrEnum):
    """The likelihoods, as typed on the command line."""

    VERY_UNLIKELY = "VERY_UNLIKELY"
    UNLIKELY = "UNLIKELY"
    POSSIBLE = "POSSIBLE"
    LIKELY = "LIKELY"
    VERY_LIKELY = "VERY_LIKELY"


@dataclass(frozen=True)
class _Target:
    """An object to inspect.

    Args:
        name: Its name in the results.
        key: The part of the name that is inspected too.
        size: Its size in bytes, if known.
        open: Opens it.
    """

    name: str
    key: str
    size: int | None
    open: Callable[[], contextlib.AbstractContextManager[BinaryIO]]


@app.command()
def scan(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|URI...",
            help="Files, folders, s3://bucket/prefix, gs://bucket/prefix, or - for standard input.",
        ),
    ],
    min_likelihood: Annotated[
        Level, typer.Option(help="The least likelihood that counts as found.", case_sensitive=False)
    ] = Level.POSSIBLE,
    info_types: Annotated[
        list[str] | None,
        typer.Option(
            "--info-types", help="Info types to look for, separated by commas; else the usual ones."
        ),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print what was found.")] = Format.TABLE,
    sample_above: Annotated[
        int | None,
        typer.Option(help="Inspect a sample of objects larger than this many MiB, all of them else.", min=1),
    ] = None,
    memory: Annotated[int, typer.Option(help="MiB that reading an object may take.", min=4)] = 256,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 2 where something could not be inspected in full.")
    ] = False,
    baseline: Annotated[
        Path | None, typer.Option(help="File with accepted findings; they count as not found.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Write what is found to the baseline, and exit with 0.")
    ] = False,
    no_exceptions: Annotated[
        bool, typer.Option("--no-exceptions", help="Heed no .dlpignore file and no comment dlp:allow.")
    ] = False,
    dummy_secrets: Annotated[
        bool, typer.Option("--dummy-secrets", help="Count sequences and UUIDs in a secret's place too.")
    ] = False,
) -> None:
    """Inspect files, folders and buckets. Exits with 1 if something was found, 2 if something was not read.

    An object counts as not read if it does not exist or none of it could be inspected. In folders, the files
    of version control itself (.git, .hg, .svn) are skipped. Buckets are accessed with lake.storage_options of
    the configuration; missing options come from where the vendors' own tools look.

    What the files .dlpignore of the working directory name is skipped, and a finding does not count if its
    line has a comment dlp:allow, or if the baseline has its fingerprint.
    """
    from platform_assets.errors import PlatformError

    try:
        if accept and baseline is None:
            raise typer.BadParameter("it needs --baseline FILE", param_hint="--accept")
        known = _baseline(baseline, accept)
        key = known.key if known is not None else None
        inspector = _inspector(min_likelihood, info_types, key, dummy_secrets)
        walk = _Walk(heeds_ignore_files=not no_exceptions, skipped=baseline)
        # Only findings that are reported one by one can be accepted.
        limits = FindingLimits() if baseline is None else FindingLimits(_MOST_ACCEPTED, _MOST_ACCEPTED)
        inspected = _inspected(places, inspector, walk, limits, sample_above, memory)
        results = inspected if no_exceptions else [_without_allowed(result) for result in inspected]
        if known is not None and accept:
            known.with_results(results).write()
            known = _baseline(baseline, False)
        if known is not None:
            results = [without(result, partial(known.accepts, result.name)) for result in results]
    except PlatformError as error:
        typer.secho(f"{error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(_NOT_READ) from None
    match format_:
        case Format.TABLE:
            _print_table(results)
        case Format.JSON:
            typer.echo(json.dumps({"results": [_as_json(result) for result in results]}, indent=2))
        case Format.SARIF:
            typer.echo(json.dumps(_as_sarif(results), indent=2))
    _tell_exceptions(inspected, results, walk)
    if any(result.tallies for result in results):
        raise typer.Exit(_FOUND)
    unread = [
        result
        for result in results
        if any(problem.kind in ("UNREACHABLE", "FAILED") for problem in result.problems)
        or result.status is Status.UNREADABLE
    ]
    if unread or (strict and any(result.status is not Status.INSPECTED for result in results)):
        raise typer.Exit(_NOT_READ)


@app.command()
def explain(
    value: Annotated[
        str | None,
        typer.Argument(help="The value; asked for, or read from standard input, where it is not given."),
    ] = None,
    near: Annotated[
        str, typer.Option("--near", "--column", help="Words before the value, or its column's name.")
    ] = "",
    min_likelihood: Annotated[
        Level, typer.Option(help="The least likelihood that counts as found.", case_sensitive=False)
    ] = Level.POSSIBLE,
    info_types: Annotated[
        list[str] | None, typer.Option("--info-types", help="Info types that are looked for.")
    ] = None,
) -> None:
    """Explain why a value is or is not found. Values from standard input stay out of the shell's history."""
    from platform_assets.errors import PlatformError

    if value is None:
        value = (
            typer.prompt("Value", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().strip("\r\n")
        )
    try:
        explanations = _inspector(min_likelihood, info_types).explain(value, near)
    except PlatformError as error:
        typer.secho(f"{error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(_NOT_READ) from None
    if not explanations:
        typer.echo("The value has the form of no info type.")
        return
    for explanation in explanations:
        verdict = "found" if explanation.reported else "not found"
        typer.echo(
            f"{explanation.info_type}: {verdict}, {explanation.likelihood.name}: {explanation.reason}."
        )


def _inspector(
    min_likelihood: Level,
    info_types: Sequence[str] | None,
    key: bytes | None = None,
    dummy_secrets: bool = False,
) -> LocalInspector:
    from platform_assets.dlp.local.inspector import LocalInspector

    names = tuple(
        name.strip().upper() for given in info_types or () for name in given.split(",") if name.strip()
    )
    least = Likelihood[min_likelihood.value]
    config = InspectConfig(info_types=names, min_likelihood=least, dummy_secrets=dummy_secrets)
    # Without a baseline nothing is stored, so fingerprints need to be comparable within this run only.
    return LocalInspector(config, key or secrets.token_bytes(32))


def _baseline(file: Path | None, may_be_new: bool) -> Baseline | None:
    if file is None:
        return None
    return Baseline.new(file) if may_be_new and not file.exists() else Baseline.read(file)


def _without_allowed(result: InspectResult) -> InspectResult:
    """Return a result without findings that a comment in their line allows."""
    findings = [finding for finding in result.findings if _has_line(finding.location)]
    path = Path(result.name)
    if not findings or "://" in result.name or not path.is_file():
        return result
    with contextlib.suppress(OSError), path.open("rb") as file:
        # If the file no longer exists, nothing in it is allowed.
        if _is_plain_text(file, path.name):
            allowed = allowed_by_comment(file, findings)
            return without(result, allowed.__contains__)
    return result


def _tell_exceptions(
    inspected: Sequence[InspectResult], results: Sequence[InspectResult], walk: _Walk
) -> None:
    """Say how many findings and files do not count, so that nobody takes them for inspected or clean."""
    before, after = (
        sum(tally.count for result in some for tally in result.tallies.values())
        for some in (inspected, results)
    )
    if before > after:
        typer.echo(f"{before - after:,} finding{'' if before - after == 1 else 's'} accepted.", err=True)
    if walk.ignored:
        typer.echo(f"{walk.ignored:,} files and folders skipped, as {IGNORE_FILE} says.", err=True)


def _inspected(
    places: Sequence[str],
    inspector: LocalInspector,
    walk: _Walk,
    finding_limits: FindingLimits,
    sample_above: int | None,
    memory: int,
) -> list[InspectResult]:
    from platform_assets.dlp.scan import scan_object, unreachable
    from platform_assets.errors import PlatformError
    from platform_assets.formats.content import Limits, Sampling
    from platform_assets.isolation import is_isolated, reason_of

    limits = Limits(memory=memory * _MIB)
    sampling = Sampling(None if sample_above is None else sample_above * _MIB)
    results = []
    with _progress_bar() as bar:
        for target in _targets(places, walk):
            if isinstance(target, InspectResult):
                results.append(target)
                continue
            report = bar(target.name, target.size)
            try:
                with target.open() as file:
                    results.append(
                        scan_object(
                            file,
                            target.name,
                            inspector,
                            key=target.key,
                            size=target.size,
                            limits=limits,
                            sampling=sampling,
                            finding_limits=finding_limits,
                            progress=report,
                        )
                    )
            except PlatformError as error:
                results.append(unreachable(target.name, str(error)))
            except OSError as error:
                results.append(unreachable(target.name, error.strerror or type(error).__name__))
            except Exception as error:
                if not is_isolated(error):
                    raise
                results.append(unreachable(target.name, reason_of(error, tell_text=False)))
    return results


def _targets(places: Sequence[str], walk: _Walk) -> Iterator[_Target | InspectResult]:
    from platform_assets.dlp.scan import unreachable
    from platform_assets.errors import PlatformError

    schemes = {place.partition("://")[0] for place in places if "://" in place}
    # Before the inspection: a mistake in the configuration is not a result.
    options = {scheme: _bucket_options(scheme) for scheme in sorted(schemes)}
    for place in places:
        if place == _STDIN:
            yield _Target("(standard input)", "", None, lambda: contextlib.nullcontext(sys.stdin.buffer))
        elif "://" in place:
            try:
                yield from _objects(place, options[place.partition("://")[0]])
            except PlatformError as error:
                yield unreachable(place, str(error))
        else:
            yield from walk.files(place)


class _Walk:
    """The files of local places, without those that are ignored.

    Args:
        heeds_ignore_files: True if `.dlpignore` files count.
        skipped: A file that is never inspected: the baseline, which looks like secrets.
    """

    def __init__(self, *, heeds_ignore_files: bool, skipped: Path | None) -> None:
        self._heeds_ignore_files = heeds_ignore_files
        self._skipped = skipped.resolve() if skipped is not None else None
        self._here = IgnoreFiles(Path.cwd())
        self.ignored = 0

    def files(self, place: str) -> Iterator[_Target | InspectResult]:
        """Yield what is to be inspected of a place."""
        path = Path(place)
        is_here = Path(os.path.abspath(path)).is_relative_to(Path.cwd())
        yield from self._files(path, self._here if is_here else IgnoreFiles(path))

    def _files(self, path: Path, ignore: IgnoreFiles) -> Iterator[_Target | InspectResult]:
        from platform_assets.dlp.scan import unreachable

        name = str(path)
        try:
            is_folder = path.is_dir()
            if self._heeds_ignore_files and ignore.ignores(path, is_folder=is_folder):
                self.ignored += 1
            elif is_folder:
                for inner in sorted(path.iterdir()):
                    if inner.name not in _NOT_LOOKED_INTO and not inner.is_symlink():
                        yield from self._files(inner, ignore)
            elif path.is_file():
                if self._skipped is None or path.resolve() != self._skipped:
                    yield _Target(name, path.name, path.stat().st_size, lambda: path.open("rb"))
            elif not path.exists():
                yield unreachable(name, "there is no such file or folder")
        except OSError as error:
            yield unreachable(name, error.strerror or type(error).__name__)
        # Skip other entries of a folder (pipes, sockets, devices): reading them could block forever.


def _bucket_options(scheme: str) -> dict[str, str]:
    """The options for accessing buckets of a kind, from `lake.storage_options`, with secrets resolved.

    Empty without a configuration, for example in a pre-commit check of another project.

    Raises:
        SettingsError: The configuration has mistakes, or a required secret cannot be fetched.
    """
    from platform_assets.configuration.stores import resolve_options
    from platform_assets.errors import NoConfiguration
    from platform_assets.lake.settings import LakeSettings
    from platform_assets.settings import load_settings

    try:
        lake = load_settings().of(LakeSettings).lake
    except NoConfiguration:
        return {}
    # Options without a vendor's name apply to the store of the lake.
    is_lakes = lake.processed.startswith(f"{scheme}://")
    return resolve_options(
        {
            name: storage_option
            for name, storage_option in lake.storage_options.items()
            if _vendor(name) == scheme or (_vendor(name) is None and is_lakes)
        }
    )


def _vendor(option: str) -> str | None:
    """The address scheme that an option is for, or None if its name does not say."""
    return next((scheme for start, scheme in _VENDORS.items() if option.lower().startswith(start)), None)


def _objects(place: str, options: Mapping[str, str]) -> Iterator[_Target | InspectResult]:
    from platform_assets.dlp.scan import unreachable
    from platform_assets.objects.places import open_bucket

    scheme, _, rest = place.partition("://")
    name, _, key = rest.partition("/")
    whole = open_bucket(f"{scheme}://{name}", options)
    found = whole.find(key) if key and not key.endswith("/") else None
    if found is not None:
        yield _of_bucket(whole, found)
        return
    bucket = open_bucket(place, options)
    is_empty = True
    for object_ in bucket.objects():
        is_empty = False
        yield _of_bucket(bucket, object_)
    if is_empty and key:
        yield unreachable(place, "there is no object of this name, nor any below it")


def _of_bucket(bucket: Bucket, found: ObjectVersion) -> _Target:
    @contextlib.contextmanager
    def opened() -> Iterator[BinaryIO]:
        with bucket.open(found) as source:
            yield cast("BinaryIO", source)

    return _Target(found.uri, found.key, found.size, opened)


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    """A progress bar for the current object, on stderr, only if it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bars:
        task = bars.add_task("", total=None)

        def start(name: str, size: int | None) -> Callable[[int], None]:
            bars.reset(task, description=_shortened(name), total=size)

            def report(done: int) -> None:
                # A compressed object expands to more bytes than its size.
                bars.update(task, completed=done if size is None else min(done, size))

            return report

        yield start


def _shortened(name: str) -> str:
    from rich.markup import escape

    return escape(name if len(name) <= 40 else f"…{name[-39:]}")


def _print_table(results: Sequence[InspectResult]) -> None:
    from rich import box
    from rich.table import Table

    found = [result for result in results if result.tallies]
    if found:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("object", "info type", "likelihood", "findings", "first at"):
            table.add_column(title, no_wrap=True, justify="right" if title == "findings" else "left")
        for result in found:
            lines = _LineNumbers(result)
            name = result.name
            for info_type, tally in sorted(
                result.tallies.items(), key=lambda item: (-item[1].highest, item[0])
            ):
                first = next(
                    (finding for finding in result.findings if finding.info_type.name == info_type), None
                )
                place = "" if first is None else _place(first, lines)
                table.add_row(name, info_type, tally.highest.name, f"{tally.count:,}", place)
                name = ""
        print_table(table)
    for result in results:
        if result.status is not Status.INSPECTED:
            color = typer.colors.YELLOW if result.status is Status.PARTIAL else typer.colors.RED
            typer.secho(f"{result.name}: {result.status.lower()}: {result.reason}", fg=color, err=True)
    count = len(results)
    objects = f"{count:,} object{'' if count == 1 else 's'}"
    typer.echo(f"{objects} inspected; {len(found):,} with findings.", err=True)


def _place(finding: Any, lines: _LineNumbers) -> str:
    location = finding.location
    parts = [" > ".join(location.container)] if location.container else []
    if location.row is not None:
        parts.append(f"row {location.row + 1:,}")
    if location.column is not None:
        parts.append(f"column {location.column}")
    if location.row is None and location.column is None:
        line = lines.of(finding)
        parts.append(f"byte {location.byte_range.start:,}" if line is None else f"line {line:,}")
    return ", ".join(parts)


class _LineNumbers:
    """Line numbers in a local text file, by the byte where a finding starts; None for other objects."""

    def __init__(self, result: InspectResult) -> None:
        self._lines: dict[int, int] = {}
        starts = sorted(
            {finding.location.byte_range.start for finding in result.findings if _has_line(finding.location)}
        )
        path = Path(result.name)
        if not starts or "://" in result.name or not path.is_file():
            return
        with contextlib.suppress(OSError), path.open("rb") as file:
            # If the file no longer exists, its findings have no line numbers.
            if not _is_plain_text(file, path.name):
                return
            file.seek(0)
            at, line = 0, 1
            for start in starts:
                while at < start and (chunk := file.read(min(start - at, _MIB))):
                    at += len(chunk)
                    line += chunk.count(b"\n")
                self._lines[start] = line

    def of(self, finding: Any) -> int | None:
        """The line where a finding starts, counted from 1."""
        if not _has_line(finding.location):
            return None
        return self._lines.get(finding.location.byte_range.start)


def _has_line(location: Location) -> bool:
    return not location.container and location.row is None and location.column is None


def _is_plain_text(file: BinaryIO, name: str) -> bool:
    """Return True if positions in the file's text equal positions in its bytes."""
    from platform_assets.formats.content import kind_of
    from platform_assets.formats.reading import HEAD
    from platform_assets.formats.text import detect_encoding

    head = file.read(HEAD)
    is_whole = len(head) < HEAD
    encoding = detect_encoding(head, is_whole=is_whole)
    if encoding is None or encoding.name != "utf-8":
        return False
    return kind_of(head, name, is_whole=is_whole) == "text"


def _as_json(result: InspectResult) -> dict[str, Any]:
    lines = _LineNumbers(result)
    coverage = result.coverage
    return {
        "name": result.name,
        "status": result.status.value,
        "reason": result.reason,
        "coverage": {
            "bytes_inspected": coverage.bytes_inspected,
            "bytes_total": coverage.bytes_total,
            "rows_inspected": coverage.rows_inspected,
            "rows_total": coverage.rows_total,
            "parts_inspected": coverage.parts_inspected,
            "parts_total": coverage.parts_total,
        },
        "problems": [
            {"kind": problem.kind.value, "container": list(problem.container), "message": problem.message}
            for problem in result.problems
        ],
        "counts": {
            name: {"count": tally.count, "highest_likelihood": tally.highest.name}
            for name, tally in sorted(result.tallies.items())
        },
        "columns": [
            {
                "column": column.column,
                "container": list(column.container),
                "info_type": column.info_type.name,
                "likelihood": column.likelihood.name,
                "share": round(column.share, 4),
            }
            for column in result.columns
        ],
        "findings": [
            {
                "info_type": finding.info_type.name,
                "likelihood": finding.likelihood.name,
                "evidence": [kind.value for kind in finding.evidence],
                "fingerprint": finding.fingerprint,
                "container": list(finding.location.container),
                "row": finding.location.row,
                "column": finding.location.column,
                "line": lines.of(finding),
                "byte_range": [finding.location.byte_range.start, finding.location.byte_range.end],
                "codepoint_range": [
                    finding.location.codepoint_range.start,
                    finding.location.codepoint_range.end,
                ],
            }
            for finding in result.findings
        ],
    }


_LEVELS = {
    Likelihood.VERY_UNLIKELY: "note",
    Likelihood.UNLIKELY: "note",
    Likelihood.POSSIBLE: "note",
    Likelihood.LIKELY: "warning",
    Likelihood.VERY_LIKELY: "error",
}


def _as_sarif(results: Sequence[InspectResult]) -> dict[str, Any]:
    """The results as SARIF 2.1.0 (OASIS), which code hosting services show beside the code."""
    names = sorted({finding.info_type.name for result in results for finding in result.findings})
    found = []
    for result in results:
        lines = _LineNumbers(result)
        for finding in result.findings:
            line = lines.of(finding)
            location: dict[str, Any] = {"artifactLocation": {"uri": _sarif_uri(result.name)}}
            if line is not None:
                start, end = finding.location.codepoint_range.start, finding.location.codepoint_range.end
                location["region"] = {"startLine": line, "charOffset": start, "charLength": end - start}
            found.append(
                {
                    "ruleId": finding.info_type.name,
                    "ruleIndex": names.index(finding.info_type.name),
                    "level": _LEVELS[finding.likelihood],
                    "message": {
                        "text": f"{finding.info_type.name}, {finding.likelihood.name}, at "
                        f"{_place(finding, lines)}"
                    },
                    "locations": [{"physicalLocation": location}],
                }
            )
    notes = [
        {
            "level": "warning" if result.status is Status.PARTIAL else "error",
            "message": {"text": f"{result.name}: {result.status.lower()}: {result.reason}"},
        }
        for result in results
        if result.status is not Status.INSPECTED
    ]
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "platform-assets dlp", "rules": [{"id": name} for name in names]}
                },
                "columnKind": "unicodeCodePoints",
                "results": found,
                "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
            }
        ],
    }


def _sarif_uri(name: str) -> str:
    from urllib.parse import quote

    return name if "://" in name else quote(Path(name).as_posix())


@app.command(name="snowflake-ddl")
def snowflake_ddl(
    role: Annotated[str, typer.Option(help="The role that sees values as they are.")],
    schema: Annotated[str, typer.Option(help="Schema of the star tables in Snowflake.")] = "star",
    policies: Annotated[str, typer.Option(help="Schema of the tags and masking policies.")] = "policies",
    upper: Annotated[
        bool, typer.Option("--upper", help="Names are in upper case, as the assets snowflake/* have them.")
    ] = False,
) -> None:
    """Print the Snowflake tags and masking policies that match what columns hold and the policy.

    Columns hold what was found in them, what is declared, and what lineage derives from such columns.
    """
    with plain_errors():
        from platform_assets.dlp.assembly import InspectionRoom
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        rooms = Rooms(load_settings())
        rooms.require("snowflake", "This command")
        from platform_assets.dlp.snowflake_ddl import Place, statements
        from platform_assets.star.assembly import StarRoom

        room = rooms.of(InspectionRoom)
        marks = [*room.found_marks(), *room.known_marks()]
        star, place = rooms.of(StarRoom).model.tables, Place(schema, policies, role, upper)
        for statement in statements(marks, star, room.policy(), place):
            typer.echo(f"{statement};")
