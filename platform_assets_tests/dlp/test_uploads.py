"""What becomes of the objects of a batch, one by one: inspected, told of, moved, failed and tried again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from platform_assets.alert import Alert, Severity
from platform_assets.dlp.findings import FindingsStore
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, InspectResult, Likelihood, Tally
from platform_assets.dlp.model import Status as How
from platform_assets.dlp.policy import Action, Policy, Rule, UninspectedRule
from platform_assets.dlp.uploads import UploadInspector, object_id
from platform_assets.errors import ObjectGone, ObjectsError, ObjectsUnavailable
from platform_assets.feeds.load import ADMITTED
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.objects.bucket import ObjectVersion, Readable
from platform_assets.objects.folder import FolderBucket
from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
from platform_assets.objects.plan import BatchLimits, ObjectStatus
from platform_assets.objects.watch import ListingCursor, RunState, Watch

KEY = b"k" * 32
NOW = dt.datetime(2031, 5, 4, 12, tzinfo=dt.UTC)
ALERT = Policy((Rule("all", Action.ALERT),))


@dataclass(frozen=True)
class Breaking(FolderBucket):
    """A folder some of whose objects cannot be read."""

    broken: tuple[tuple[str, Exception], ...] = ()

    def open(self, found: ObjectVersion) -> AbstractContextManager[Readable]:
        for key, error in self.broken:
            if key == found.key:
                raise error
        return super().open(found)


@dataclass
class Work:
    """An inspector of a folder, and what it told."""

    inspector: UploadInspector
    told: list[Alert]
    folder: Path

    def put(self, name: str, content: str) -> None:
        (self.folder / name).write_text(content)

    def run(self) -> list[str]:
        """One tick and its batches; the objects that were inspected."""
        tick = self.inspector.watch.tick(ListingCursor(), lambda _: RunState.UNKNOWN)
        done = [self.inspector.inspect_batch(request.batch, "run") for request in tick.requests]
        return [one.uri for each in done for one in each.inspections]

    def said(self) -> dict[str, tuple[ObjectStatus, int]]:
        state = self.inspector.watch.log.read()
        entries = state.with_status(*ObjectStatus)
        return {entry.object.key: (entry.status, entry.attempt) for entry in entries}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    folder = tmp_path / "in"
    folder.mkdir()
    log = ObjectLog(LakeTable(str(tmp_path / "log"), LOG_COLUMNS))
    pace = BatchLimits(quiet=dt.timedelta())
    watch = Watch("landing", FolderBucket(folder), log, pace, clock=lambda: NOW + dt.timedelta(days=3650))
    lake = Lake(str(tmp_path / "i"), str(tmp_path / "p"))
    told: list[Alert] = []
    inspector = UploadInspector(
        watch,
        LocalInspector(InspectConfig(), KEY),
        ALERT,
        FindingsStore(lake, SqlEngine(128, 2, tmp_path / "spill")),
        told.extend,
        ("local", "1"),
        KEY,
        run_url=lambda run: f"https://dagster.example.org/runs/{run}",
    )
    return Work(inspector, told, folder)


def with_broken(work: Work, **errors: Exception) -> None:
    bucket = Breaking(work.folder, tuple(errors.items()))
    work.inspector = replace(work.inspector, watch=replace(work.inspector.watch, bucket=bucket))


def test_an_object_that_cannot_be_read_is_tried_again_and_leaves_the_others_alone(work: Work) -> None:
    for name in ("a", "b", "c", "d"):
        work.put(name, "write to somebody@company-three.com")
    with_broken(
        work, a=ObjectsUnavailable("no answer"), b=ObjectsError("no permission"), c=ObjectGone("deleted")
    )
    assert work.run() == [str(work.folder / "d")]
    assert work.said() == {
        "a": (ObjectStatus.FAILED, 1),
        "b": (ObjectStatus.FAILED, 1),
        "c": (ObjectStatus.GONE, 1),
        "d": (ObjectStatus.DONE, 1),
    }
    assert [alert.title for alert in work.told] == ["Sensitive data in an object"]


def test_an_alert_says_how_bad_it_is_and_not_what_was_found(work: Work) -> None:
    work.put("contact.txt", "write to somebody@company-three.com")
    work.run()
    [alert] = work.told
    assert alert.severity is Severity.ERROR
    assert [(one.info_type, one.count) for one in alert.counts] == [("EMAIL_ADDRESS", 1)]
    assert alert.run_url == "https://dagster.example.org/runs/run"
    assert alert.coverage == "35 bytes of text from 35 bytes"
    assert "company-three" not in alert.to_json()
    assert alert.where == f"{work.folder}/contact.txt"


def test_the_same_version_has_the_same_key_of_its_alert_and_another_one_another(work: Work) -> None:
    work.put("contact.txt", "write to somebody@company-three.com")
    work.run()
    work.put("contact.txt", "write to somebody.else@company-three.com")
    work.run()
    first, second = work.told
    assert first.key != second.key


def test_large_objects_are_inspected_where_they_are_if_there_is_somebody_to_do_so(work: Work) -> None:
    asked: list[str] = []
    elsewhere = InspectResult("large", How.INSPECTED, tallies={"IBAN_CODE": Tally(7, Likelihood.LIKELY)})

    def by_job(found: ObjectVersion, read_here: Callable[[], InspectResult]) -> InspectResult:
        asked.append(found.key)
        return elsewhere if found.key == "large" else read_here()

    work.inspector = replace(work.inspector, by_job=by_job)
    work.put("large", "nothing")
    work.put("small", "write to somebody@company-three.com")
    work.run()
    assert sorted(asked) == ["large", "small"]
    assert work.inspector.findings.summary().counts == {"IBAN_CODE": 7, "EMAIL_ADDRESS": 1}


def test_a_quarantine_that_fails_is_tried_again(work: Work, tmp_path: Path) -> None:
    (tmp_path / "held").write_text("a file where a folder should be")
    policy = Policy((Rule("no addresses", Action.QUARANTINE, ("EMAIL_ADDRESS",)),))
    work.inspector = replace(work.inspector, policy=policy, quarantine=str(tmp_path / "held"))
    work.put("a", "write to somebody@company-three.com")
    work.run()
    assert work.said() == {"a": (ObjectStatus.FAILED, 1)}
    assert (work.folder / "a").exists()
    decided = work.inspector.findings.decisions("landing")
    assert [said for (name, _), said in decided.items() if name == object_id(str(work.folder / "a"))] == [
        ("quarantine", False)
    ]


NO_TRAILER = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n"


@pytest.mark.parametrize(
    ("name", "content", "status", "title"),
    [
        ("scan.pdf", NO_TRAILER, How.UNREADABLE, "An object could not be inspected"),
        ("list.json", b'[{"a": "x"}, {"a"', How.PARTIAL, "A part of an object could not be inspected"),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(99), How.UNREADABLE, "An object could not be inspected"),
    ],
)
def test_what_was_not_inspected_is_told_and_gets_into_no_table(
    work: Work, name: str, content: bytes, status: How, title: str
) -> None:
    (work.folder / name).write_bytes(content)
    work.run()
    [alert] = work.told
    assert (alert.title, alert.severity, alert.status) == (title, Severity.WARNING, status.value)
    facts = dict(alert.facts)
    assert (facts["Decision"], bool(facts["Not inspected"])) == ("block", True)
    [(decision, is_clean)] = work.inspector.findings.decisions("landing").values()
    assert (decision, is_clean) == ("block", False)
    assert decision not in ADMITTED


def test_a_name_is_told_without_what_is_sensitive_in_it(work: Work) -> None:
    work.put("customers.csv", "write to somebody@company-three.com")
    work.put("mail to jane.doe@company-three.com now.txt", "write to somebody@company-three.com")
    shown = sorted(work.run())
    assert shown == [f"{work.folder}/customers.csv", f"{work.folder}/mail to … now.txt"]
    assert sorted(alert.where for alert in work.told) == shown
    work.put("orders_20310504.csv", "write to somebody@company-three.com")
    with_broken(work, **{"orders_20310504.csv": ObjectsUnavailable("the store is away")})
    tick = work.inspector.watch.tick(ListingCursor(), lambda _: RunState.UNKNOWN)
    [failed] = work.inspector.inspect_batch(tick.requests[0].batch, "run").failures
    assert failed[0] == f"{work.folder}/orders_20310504.csv"


def test_a_rule_lets_pass_what_was_not_inspected(work: Work) -> None:
    allowed = UninspectedRule("pictures", Action.ALLOW, problems=("UNSUPPORTED",), places=("objects/*.png",))
    work.inspector = replace(work.inspector, policy=Policy(ALERT.rules, (allowed,)))
    (work.folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    work.run()
    assert work.told == []
    assert [one[0] for one in work.inspector.findings.decisions("landing").values()] == ["allow"]


def test_what_was_found_decides_where_it_is_stricter_than_what_was_not_inspected(work: Work) -> None:
    strict = Policy((Rule("mail", Action.QUARANTINE),), (UninspectedRule("any", Action.ALERT),))
    work.inspector = replace(work.inspector, policy=strict)
    work.put("list.json", '[{"a": "somebody@company-three.com"}, {"a"')
    work.run()
    [alert] = work.told
    assert (alert.severity, dict(alert.facts)["Rule"]) == (Severity.CRITICAL, "rule mail")
