"""Findings that somebody has accepted: a baseline of fingerprints, comments in lines, and patterns of files.

Found values are in none of them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from platform_assets.configuration.globs import glob_regex
from platform_assets.dlp.model import Finding, InspectResult, Tally
from platform_assets.errors import SettingsError, path_error

IGNORE_FILE = ".dlpignore"
_VERSION = 1
_KEY_BYTES = 16
_ALLOW = re.compile(rb"\bdlp:\s?allow\b(?:\[([A-Za-z0-9_,\s]*)\])?")
# Bytes of a line around a finding in which a comment is looked for; a minified file is one line.
_LINE = 4_096


@dataclass(frozen=True)
class Baseline:
    """Accepted findings, by file and by fingerprint.

    A fingerprint is that of an info type and a value under the file's own key. Whoever has the file can thus
    test guesses at a short value; it is as confidential as the files that it is about.

    Args:
        file: The baseline's file; names of other files start from its folder.
        key: The key of the fingerprints.
        accepted: The info type of each accepted value, by the name of its file and by its fingerprint.
    """

    file: Path
    key: bytes = field(repr=False)
    accepted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def new(cls, file: Path) -> Baseline:
        """Return an empty baseline with a key of its own; nothing is written."""
        return cls(file, secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def read(cls, file: Path) -> Baseline:
        """Read a baseline.

        Raises:
            SettingsError: The file is missing, or is no baseline.
        """
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version, key = content["version"], bytes.fromhex(content["key"])
            accepted = {name: dict(found) for name, found in content["accepted"].items()}
        except FileNotFoundError:
            raise SettingsError(
                f"The baseline {file} does not exist. Write it with --accept, which accepts what is found."
            ) from None
        except OSError as error:
            raise SettingsError(
                f"The baseline {file} cannot be read: {path_error(error) or error}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SettingsError(
                f"The file {file} is no baseline of dlp scan. Name another file, or remove it and write it "
                "with --accept."
            ) from None
        if version != _VERSION or len(key) < _KEY_BYTES:
            raise SettingsError(
                f"The baseline {file} has the format {version}; this version of the platform reads "
                f"{_VERSION}. Upgrade the platform, or write the baseline again."
            )
        return cls(file, key, accepted)

    def name_of(self, name: str) -> str:
        """Return an object's name as the baseline has it: a path from the baseline's folder, or a URI."""
        if "://" in name:
            return name
        return Path(os.path.relpath(name, self.file.resolve().parent)).as_posix()

    def accepts(self, name: str, finding: Finding) -> bool:
        """Return True if a finding in an object is accepted."""
        return finding.fingerprint in self.accepted.get(self.name_of(name), {})

    def with_results(self, results: Sequence[InspectResult]) -> Baseline:
        """Return a baseline that accepts exactly what was found in these objects; others keep their entries.

        Raises:
            SettingsError: An object has more findings than are reported one by one.
        """
        accepted = {**self.accepted}
        for result in results:
            name = self.name_of(result.name)
            if sum(tally.count for tally in result.tallies.values()) > len(result.findings):
                raise SettingsError(
                    f"{result.name} has too many findings for a baseline. Name it in {IGNORE_FILE}, or look "
                    "for fewer info types."
                )
            found = {finding.fingerprint: finding.info_type.name for finding in result.findings}
            accepted[name] = found
            if not found:
                del accepted[name]
        return replace(self, accepted=accepted)

    def write(self) -> None:
        """Write the file, whole or not at all, in an order that compares well.

        Raises:
            SettingsError: The file cannot be written.
        """
        content = {"version": _VERSION, "key": self.key.hex(), "accepted": self.accepted}
        part = self.file.with_name(f".{self.file.name}.part")
        try:
            part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            os.replace(part, self.file)
        except OSError as error:
            raise SettingsError(
                f"The baseline {self.file} cannot be written: {path_error(error) or error}"
            ) from error


def without(result: InspectResult, is_accepted: Callable[[Finding], bool]) -> InspectResult:
    """Return a result without the findings that are accepted; it still says how much was inspected."""
    kept = tuple(finding for finding in result.findings if not is_accepted(finding))
    if len(kept) == len(result.findings):
        return result
    removed: dict[str, int] = {}
    for finding in result.findings:
        removed[finding.info_type.name] = removed.get(finding.info_type.name, 0) + 1
    highest: dict[str, Tally] = {}
    for finding in kept:
        name = finding.info_type.name
        removed[name] -= 1
        tally = Tally(1, finding.likelihood)
        highest[name] = highest[name].plus(tally) if name in highest else tally
    tallies = {}
    for name, tally in result.tallies.items():
        count = tally.count - removed.get(name, 0)
        if count:
            # What is not reported one by one may be as likely as the likeliest.
            is_whole = name in highest and highest[name].count == count
            tallies[name] = Tally(count, highest[name].highest if is_whole else tally.highest)
    columns = tuple(column for column in result.columns if column.info_type.name in tallies)
    return replace(result, findings=kept, tallies=tallies, columns=columns)


def allowed_by_comment(file: BinaryIO, findings: Sequence[Finding]) -> frozenset[Finding]:
    """Return the findings whose line has a comment `dlp:allow`, or `dlp:allow[INFO_TYPE, ...]`.

    Args:
        file: A text file in UTF-8.
        findings: Findings by their place in it.
    """
    allowed = set()
    for finding in findings:
        line = _line_at(file, finding.location.byte_range.start)
        for found in _ALLOW.finditer(line):
            named = found[1]
            if named is None or finding.info_type.name in re.split(r"[\s,]+", named.decode().upper()):
                allowed.add(finding)
    return frozenset(allowed)


def _line_at(file: BinaryIO, start: int) -> bytes:
    first = max(0, start - _LINE)
    file.seek(first)
    before, after = file.read(start - first), file.read(_LINE)
    return before.rpartition(b"\n")[2] + after.partition(b"\n")[0]


@dataclass(frozen=True)
class _Pattern:
    matches: re.Pattern[str]
    is_negated: bool
    is_folder: bool

    @classmethod
    def parse(cls, line: str) -> _Pattern | None:
        """Read a line as gitignore has it; None for a comment and an empty line."""
        text = line.rstrip()
        if not text or text.startswith("#"):
            return None
        is_negated = text.startswith("!")
        text = text.removeprefix("!").removeprefix("\\")
        is_folder, text = text.endswith("/"), text.rstrip("/")
        # A pattern with a slash before its end starts at the folder of its file.
        anywhere = "" if "/" in text else "(?:.*/)?"
        return cls(
            re.compile(anywhere + glob_regex(text.removeprefix("/")), re.DOTALL), is_negated, is_folder
        )


class IgnoreFiles:
    """The `.dlpignore` files of a working directory, or of a folder elsewhere, with the form of `.gitignore`.

    Args:
        root: The topmost folder whose file counts.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._patterns: dict[Path, tuple[_Pattern, ...]] = {}
        self._decided: dict[Path, bool] = {}

    @cached_property
    def _absolute(self) -> Path:
        return Path(os.path.abspath(self._root))

    def ignores(self, path: Path, *, is_folder: bool) -> bool:
        """Return True if a file or folder is ignored, by itself or with a folder above it.

        Raises:
            SettingsError: A `.dlpignore` cannot be read.
        """
        absolute = Path(os.path.abspath(path))
        if absolute == self._absolute or not absolute.is_relative_to(self._absolute):
            return False
        above = absolute.parent
        if above not in self._decided:
            self._decided[above] = self.ignores(above, is_folder=True)
        return self._decided[above] or self._is_named(absolute, is_folder)

    def _is_named(self, path: Path, is_folder: bool) -> bool:
        is_ignored = False
        folders = [
            folder for folder in (path.parent, *path.parent.parents) if folder.is_relative_to(self._absolute)
        ]
        for folder in reversed(folders):
            name = path.relative_to(folder).as_posix()
            for pattern in self._of(folder):
                if (is_folder or not pattern.is_folder) and pattern.matches.fullmatch(name):
                    is_ignored = not pattern.is_negated
        return is_ignored

    def _of(self, folder: Path) -> tuple[_Pattern, ...]:
        if folder not in self._patterns:
            file = folder / IGNORE_FILE
            try:
                lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise SettingsError(f"The file {file} cannot be read: {reason}.") from error
            self._patterns[folder] = tuple(
                pattern for line in lines if (pattern := _Pattern.parse(line)) is not None
            )
        return self._patterns[folder]
