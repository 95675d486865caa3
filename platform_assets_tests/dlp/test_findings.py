"""The tables of findings: each inspection recorded once, and what is read back from them."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform_assets.dlp.findings import FindingsStore, InspectedTable, Inspection
from platform_assets.dlp.model import (
    ColumnVerdict,
    Coverage,
    Evidence,
    Finding,
    InfoType,
    InspectResult,
    Likelihood,
    Location,
    Range,
    Status,
    Tally,
)
from platform_assets.dlp.policy import Action, Policy, Rule
from platform_assets.errors import LakeError
from platform_assets.formats.problems import Problem, ProblemKind
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.lake.log import LogVersion
from platform_assets_tests.fixtures.patience import PATIENCE

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
EMAIL, CARD = InfoType("EMAIL_ADDRESS", "2"), InfoType("CREDIT_CARD_NUMBER", "3")


@pytest.fixture
def store(tmp_path: Path) -> FindingsStore:
    lake = Lake(str(tmp_path / "ingestion"), str(tmp_path / "processed"))
    return FindingsStore(lake, SqlEngine(128, 2, tmp_path / "spill"))


def finding(info_type: InfoType = EMAIL, at: int = 3, **place: object) -> Finding:
    location = Location(Range(at, at + 4), Range(at, at + 4), **place)  # type: ignore[arg-type]
    return Finding(info_type, Likelihood.LIKELY, location, (Evidence.SHAPE, Evidence.VALIDATOR), "f" * 32)


def inspection(
    key: str = "a.csv", version: str = "v1", findings: tuple[Finding, ...] = (), **changes: object
) -> Inspection:
    tallies: dict[str, Tally] = {}
    for one in findings:
        tally = Tally(1, one.likelihood)
        name = one.info_type.name
        tallies[name] = tallies[name].plus(tally) if name in tallies else tally
    result = InspectResult(
        key, Status.INSPECTED, findings=findings, tallies=tallies, coverage=Coverage(100, 100, 5, 5, 1, 1)
    )
    made = Inspection(
        "landing", f"s3://b/{key}", f"id of {key}", version, 100, NOON, result, "alert", "default", "local",
        "7", NOON, "run",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_was_recorded_is_read_back_whole(store: FindingsStore) -> None:
    found = (finding(row=4, column="mail", container=("a.zip", "b.csv")), finding(CARD, at=40))
    problem = Problem(ProblemKind.SAMPLED, (), "10 of 20 rows")
    one = inspection(findings=found)
    one = replace(
        one, result=replace(one.result, status=Status.PARTIAL, reason="sampled", problems=(problem,))
    )
    assert store.record([one]) == [one]
    [row] = store.objects.table.scan(store.objects.read().handle).read_all().to_pylist()
    inspection_id = row.pop("inspection_id")
    assert row == {
        "watch": "landing",
        "uri": "s3://b/a.csv",
        "object_id": "id of a.csv",
        "version": "v1",
        "size": 100,
        "modified_at": NOON,
        "status": "PARTIAL",
        "reason": "sampled",
        "problems": '[{"kind": "SAMPLED", "container": [], "message": "10 of 20 rows"}]',
        "bytes_inspected": 100,
        "bytes_total": 100,
        "rows_inspected": 5,
        "rows_total": 5,
        "findings": 2,
        "info_types": '{"CREDIT_CARD_NUMBER": {"count": 1, "highest": "LIKELY"}, '
        '"EMAIL_ADDRESS": {"count": 1, "highest": "LIKELY"}}',
        "likelihood": "LIKELY",
        "decision": "alert",
        "rule": "default",
        "detector": "local",
        "detector_version": "7",
        "inspected_at": NOON,
        "run_id": "run",
    }
    rows = store.findings.table.scan(store.findings.read().handle).read_all().to_pylist()
    assert [row.pop("inspection_id") for row in rows] == [inspection_id] * 2
    assert rows[0] == {
        "uri": "s3://b/a.csv",
        "version": "v1",
        "container": '["a.zip", "b.csv"]',
        "info_type": "EMAIL_ADDRESS",
        "likelihood": "LIKELY",
        "evidence": "shape,validator",
        "row": 4,
        "column": "mail",
        "byte_start": 3,
        "byte_end": 7,
        "codepoint_start": 3,
        "codepoint_end": 7,
        "fingerprint": "f" * 32,
        "detector": "local",
        "detector_version": "2",
        "inspected_at": NOON,
        "run_id": "run",
    }
    assert (rows[1]["info_type"], rows[1]["row"], rows[1]["column"], rows[1]["byte_start"]) == (
        "CREDIT_CARD_NUMBER", None, None, 40,
    )  # fmt: skip


def test_a_version_of_an_object_is_recorded_once_by_each_inspector(store: FindingsStore) -> None:
    one = inspection(findings=(finding(),))
    later = replace(one, inspected_at=NOON + dt.timedelta(hours=1))
    assert store.record([one, later]) == [one]
    assert store.record([later]) == []
    others = [
        inspection(version="v2"),
        inspection(detector="google"),
        inspection(detector_version="8"),
        inspection("b.csv"),
    ]
    assert store.record([later, *others]) == others
    assert store.objects.table.row_count(store.objects.read().handle) == 5
    assert store.count_findings() == 1


def test_findings_of_an_inspection_that_a_crash_left_unfinished_do_not_count(
    store: FindingsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = inspection(findings=(finding(), finding(CARD, at=20)))
    append = LogVersion.append

    def crashing(version: LogVersion, rows: Iterable[Mapping[str, Any]]) -> None:
        if version.log.table.uri.endswith("objects"):
            raise KeyboardInterrupt
        append(version, rows)

    with monkeypatch.context() as patch:
        patch.setattr(LogVersion, "append", crashing)
        with pytest.raises(KeyboardInterrupt):
            store.record([one])
    assert (store.count_findings(), store.count_columns()) == (0, 0)
    assert store.summary().counts == {}
    assert store.record([one]) == [one]
    assert store.count_findings() == 2
    assert len(store.latest_findings(10)) == 2


def test_runs_that_record_at_once_all_get_their_turn_and_none_records_twice(store: FindingsStore) -> None:
    shared = inspection("shared.csv", findings=(finding(),))
    new: list[list[Inspection]] = []
    errors: list[Exception] = []
    start = threading.Barrier(3)

    def record(number: int) -> None:
        start.wait()
        try:
            new.append(store.record([shared, inspection(f"{number}.csv", findings=(finding(),))]))
        except LakeError as error:
            errors.append(error)

    threads = [threading.Thread(target=record, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    assert sum(shared in recorded for recorded in new) == 1
    assert store.objects.table.row_count(store.objects.read().handle) == 4
    assert store.count_findings() == 4


def test_the_summary_counts_each_object_by_its_latest_inspection(store: FindingsStore) -> None:
    hour = dt.timedelta(hours=1)
    old = inspection(findings=(finding(CARD), finding(CARD, at=30)))
    new = inspection(version="v2", findings=(finding(),), inspected_at=NOON + hour)
    other = inspection("b.csv", findings=(finding(), finding(at=50), finding(CARD, at=90)))
    broken = inspection("c.bin")
    broken = replace(broken, result=replace(broken.result, status=Status.UNREADABLE, reason="encrypted"))
    store.record([old, new, other, broken])
    summary = store.summary()
    assert summary.objects == {"INSPECTED": 2, "UNREADABLE": 1}
    assert summary.counts == {"EMAIL_ADDRESS": 3, "CREDIT_CARD_NUMBER": 1}
    assert list(summary.counts) == ["EMAIL_ADDRESS", "CREDIT_CARD_NUMBER"]
    assert summary.highest == {"EMAIL_ADDRESS": Likelihood.LIKELY, "CREDIT_CARD_NUMBER": Likelihood.LIKELY}
    assert [(row["uri"], row["findings"]) for row in summary.worst] == [
        ("s3://b/b.csv", 3),
        ("s3://b/a.csv", 1),
    ]
    assert summary.chart.splitlines()[2:] == [
        f"| EMAIL_ADDRESS | 3 | LIKELY | {'█' * 30} |",
        f"| CREDIT_CARD_NUMBER | 1 | LIKELY | {'█' * 10} |",
    ]


def test_nothing_inspected_is_said_so(store: FindingsStore) -> None:
    summary = store.summary()
    assert (summary.objects, summary.counts, list(summary.worst)) == ({}, {}, [])
    assert summary.chart == "Nothing was found."
    assert (store.count_findings(), store.count_columns()) == (0, 0)
    assert store.sensitive_columns() == []
    assert store.inspected_versions("local", "7") == {}


def test_of_a_tables_columns_the_latest_inspection_counts(store: FindingsStore) -> None:
    mail = ColumnVerdict("mail", EMAIL, Likelihood.VERY_LIKELY, 10, 9)

    def record(version: str, hours: int, *verdicts: ColumnVerdict) -> None:
        table = InspectedTable("lake", "totesys/staff", version, ("id", "mail"), verdicts, 12, 12)
        policy = Policy((Rule("staff e-mail", Action.ALLOW, places=("totesys/staff.mail",)),))
        store.record_columns(
            [table],
            policy,
            detector="local",
            detector_version="7",
            inspected_at=NOON + dt.timedelta(hours=hours),
            run_id="run",
        )

    record("1", 0, mail)
    [row] = store.sensitive_columns()
    assert (row["column"], row["info_type"], row["likelihood"], row["share"], row["distinct_values"]) == (
        "mail", "EMAIL_ADDRESS", "VERY_LIKELY", 0.9, 10,
    )  # fmt: skip
    assert (row["decision"], row["rule"], row["table_version"]) == ("allow", "staff e-mail", "1")
    record("2", 1)
    assert store.sensitive_columns() == []
    assert store.inspected_versions("local", "7") == {("lake", "totesys/staff"): "2"}
    assert store.inspected_versions("local", "8") == {}
