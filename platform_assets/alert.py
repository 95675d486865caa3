"""Alerts, as every room may raise them. They contain no matched values, not even in an object's name.

A message has the object's address with its sensitive parts masked; authorized users can look the object up by
the message's reference.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

_MESSAGE = "Message"
_LETTERS_KEPT = 2
_LONGEST_SUFFIX = 8
_LONGEST_TEXT = 300
_TYPES_NAMED = 30
LIKELIHOODS = ("VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY")
"""The likelihoods of findings, from the least to the greatest."""


class Severity(IntEnum):
    """The severity of an alert."""

    INFO = 10
    WARNING = 20
    ERROR = 30
    CRITICAL = 40


@dataclass(frozen=True, slots=True)
class TypeCount:
    """The count of one info type, with the highest likelihood among its findings.

    Attributes:
        info_type: Its name, such as CREDIT_CARD_NUMBER.
        count: Number of findings.
        likelihood: One of `LIKELIHOODS`.
    """

    info_type: str
    count: int
    likelihood: str


@dataclass(frozen=True)
class Alert:
    """An alert.

    Args:
        key: Identifies the subject; only one alert is sent for each key.
        severity: Its severity.
        title: The event, in a few words.
        at: The time of the event, UTC.
        where: The object or table, masked.
        counts: The findings, by info type.
        status: The result of the inspection, such as INSPECTED or PARTIAL.
        coverage: How much of it was inspected, in words.
        facts: Further names and values to show, in order; the caller ensures that they are not sensitive.
        run_url: The address of the run in Dagster's UI.
        message: The text of a message to the audience of a result, which is sent in place of the details; it
            may have a link that lets anybody in, so that no log gets it.
        channels: Names of the channels that it is sent to; if empty, to those whose lowest severity it has.
    """

    key: str
    severity: Severity
    title: str
    at: dt.datetime
    where: str = ""
    counts: tuple[TypeCount, ...] = ()
    status: str = ""
    coverage: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    run_url: str = ""
    message: str = ""
    channels: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """The start of the key, as a short reference for people."""
        return self.key[:12]

    @property
    def details(self) -> list[tuple[str, str]]:
        """Names and values to show, in order, each in one line."""
        shown = [
            ("Severity", self.severity.name),
            ("Where", self.where),
            ("Status", self.status),
            ("Coverage", self.coverage),
            *self.facts,
            ("At", f"{self.at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"),
            ("Reference", self.reference),
        ]
        return [(plain(name), plain(value)) for name, value in shown if value]

    @property
    def findings(self) -> list[str]:
        """A line for each info type, sorted by likelihood and count; the last line may combine several."""
        ordered = sorted(
            self.counts, key=lambda count: (-_rank(count.likelihood), -count.count, count.info_type)
        )
        lines = [
            f"{plain(type_count.info_type)}: {type_count.count:,}, up to {plain(type_count.likelihood)}"
            for type_count in ordered[:_TYPES_NAMED]
        ]
        left = len(ordered) - len(lines)
        return lines + ([f"and {left} more info types"] if left else [])

    def to_json(self) -> str:
        """JSON, as stored in the outbox: without the channels, as a row is for one channel."""
        # A message is stored as a fact, so that versions without messages can read it.
        facts = [*self.facts, (_MESSAGE, self.message)] if self.message else self.facts
        return json.dumps(
            {
                "key": self.key,
                "severity": int(self.severity),
                "title": self.title,
                "at": self.at.isoformat(),
                "where": self.where,
                "counts": [[count.info_type, count.count, count.likelihood] for count in self.counts],
                "status": self.status,
                "coverage": self.coverage,
                "facts": [list(fact) for fact in facts],
                "run_url": self.run_url,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Alert:
        """Parse the JSON of `to_json`."""
        members = json.loads(text)
        members["severity"] = Severity(members["severity"])
        members["at"] = dt.datetime.fromisoformat(members["at"])
        members["counts"] = tuple(TypeCount(*count) for count in members["counts"])
        facts = [(name, value) for name, value in members["facts"]]
        if facts and facts[-1][0] == _MESSAGE:
            members["message"] = facts.pop()[1]
        members["facts"] = tuple(facts)
        return cls(**members)


@runtime_checkable
class RaisesAlerts(Protocol):
    """A room that sends alerts to people."""

    def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        """Keep alerts until they are sent.

        Raises:
            LakeError: They cannot be stored.
        """
        ...

    def send_due(self) -> object:
        """Send the alerts that are due; a channel that is down only delays its own alerts."""
        ...

    def run_url(self, run_id: str) -> str:
        """Return the address of a run in Dagster's UI; empty if unknown."""
        ...

    def channel_names(self) -> Sequence[str]:
        """Return the names of the channels that an alert can name."""
        ...


@runtime_checkable
class GivesHeartbeat(Protocol):
    """A room that gives a sign of life after each successful run of the main job."""

    def beat(self) -> str:
        """Give it, if one is configured; no failure is raised.

        Returns:
            The reason why it could not be given; empty if it was, or if none is configured.
        """
        ...


def object_alert(
    uri: str,
    version: str,
    counts: Iterable[TypeCount],
    *,
    title: str,
    severity: Severity,
    status: str,
    coverage: str,
    at: dt.datetime,
    run_url: str = "",
    facts: Sequence[tuple[str, str]] = (),
    secret: bytes = b"",
    shown: str | None = None,
) -> Alert:
    """Create the alert about one version of an object; the same version gives the same key.

    Args:
        uri: The address of the object.
        version: Its version: ETag or generation.
        counts: The findings, by info type.
        title: The event, in a few words.
        severity: The severity.
        status: The result of the inspection.
        coverage: How much was inspected, in words.
        at: The time of the event, UTC.
        run_url: The address of the run in Dagster's UI.
        facts: Further names and values to show.
        secret: The key of the platform's fingerprints; it prevents guessing an object's name from a
            reference.
        shown: The address with its findings masked; None if the name was not inspected, then only the first
            letters of each name are shown.
    """
    key = hashlib.blake2b(f"{uri}\0{version}\0{title}".encode(), key=secret[:64], digest_size=16)
    return Alert(
        key.hexdigest(),
        severity,
        title,
        at,
        mask_uri(uri) if shown is None else readable_uri(shown),
        tuple(counts),
        status,
        coverage,
        tuple(facts),
        run_url,
    )


def mask_uri(uri: str) -> str:
    """Mask the names in an address, which may be sensitive.

    Kept are the store, the bucket, the first two letters of each further part, and a name's suffix; digits
    are always masked. User names, and everything after a `?` or `#`, are removed.
    """
    scheme, separator, rest = uri.rpartition("://")
    if separator:
        rest = rest.split("?")[0].split("#")[0]
        bucket, _, path = rest.partition("/")
        masked = [bucket.rpartition("@")[2], *(_masked(part) for part in path.split("/") if part)]
        return plain(f"{scheme}://{'/'.join(masked)}")
    masked = [_masked(part) if part else part for part in rest.split("/")]
    return plain("/".join(masked))


def readable_uri(uri: str) -> str:
    """A readable address without what looks like a secret.

    Removed are numbers of nine or more digits that are not dates, the local part of e-mail addresses, a user
    name before the bucket, and in URIs everything after a `?` or `#`. The inspector masks its findings in
    names itself.
    """
    scheme, separator, rest = uri.rpartition("://")
    if separator:
        rest = rest.split("?")[0].split("#")[0]
        bucket, slash, path = rest.partition("/")
        rest = f"{bucket.rpartition('@')[2]}{slash}{path}"
    rest = re.sub(r"\d(?:[ ._-]{0,2}\d){8,}", lambda run: run[0] if _DATE.fullmatch(run[0]) else "…", rest)
    rest = re.sub(r"[^\s/@]+@", "…@", rest)
    return plain(f"{scheme}{separator}{rest}")


_DATE = re.compile(
    r"(19|20)\d\d[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])"
    r"([-_. ]?([01]\d|2[0-3])[-_.]?[0-5]\d([-_.]?[0-5]\d)?)?",
    re.ASCII,
)


def plain(text: str) -> str:
    """One line of at most 300 characters, without control characters and bidirectional or invisible marks."""
    shown = text
    # Most texts have nothing to look for, and looking at each character takes long.
    if not (text.isascii() and text.isprintable()):
        shown = "".join(
            " " if char.isspace() else char
            for char in text
            if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")
        )
    line = " ".join(shown.split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"


def plain_lines(text: str) -> list[str]:
    """Lines without control characters; a line that is a link may be longer than others."""
    return [line if _LINK.fullmatch(line) else plain(line) for line in text.splitlines()]


_LINK = re.compile(r"https?://[!-~]{1,4000}")


def _masked(part: str) -> str:
    stem, dot, suffix = part.rpartition(".")
    is_suffix = bool(stem) and bool(dot) and 0 < len(suffix) <= _LONGEST_SUFFIX
    if not is_suffix or not (suffix.isascii() and suffix.isalnum() and not suffix.isdecimal()):
        stem, suffix = part, ""
    kept = "".join("*" if char.isdecimal() else char for char in stem[:_LETTERS_KEPT])
    return f"{kept}…" + (f".{suffix}" if suffix else "")


def _rank(likelihood: str) -> int:
    return LIKELIHOODS.index(likelihood) if likelihood in LIKELIHOODS else -1
