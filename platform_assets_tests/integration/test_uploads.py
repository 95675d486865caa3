"""Objects land in a folder, are inspected, told about and moved, by the jobs and sensors of the platform."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.alerts.defs import ALERTS_JOB
from platform_assets.alerts.outbox import RetryPolicy
from platform_assets.build import build_defs
from platform_assets.cli import app
from platform_assets.dlp.defs import COLUMNS_JOB
from platform_assets.objects.assembly import ObjectsRoom
from platform_assets.objects.bucket import ObjectVersion
from platform_assets.objects.defs import INSPECT_JOB
from platform_assets.objects.folder import FolderBucket
from platform_assets.objects.log import Known
from platform_assets.objects.plan import BatchLimits, ObjectStatus, Outcome
from platform_assets.rooms import Rooms
from platform_assets.runs import open_instance
from platform_assets.source.connection import Connection
from platform_assets_tests.fixtures.house import warehouse_of
from platform_assets_tests.fixtures.http import HttpServer
from platform_assets_tests.fixtures.logs import json_logs, objects
from platform_assets_tests.fixtures.totesys import failed_checks, failures
from platform_assets_tests.integration.installation import Installation

NOBODY = Connection("127.0.0.1", 1, "nothing", "nobody", "no password")


def card(seed: int = 7) -> str:
    """A number that a card could have; made here, as nothing of the kind may lie in a repository."""
    numbers = random.Random(seed)
    digits = [4, *(numbers.randrange(10) for _ in range(14))]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return "".join(map(str, [*digits, -sum(doubled) % 10]))


@dataclass
class Landing:
    """A platform with a watched folder."""

    platform: Installation
    folder: Path
    instance: dg.DagsterInstance

    def put(self, name: str, content: str | bytes) -> None:
        """Put a file there as a whole, written to some time ago."""
        new = self.folder.parent / "new"
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        past = time.time() - 60
        os.utime(new, (past, past))
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        new.rename(target)

    def run(self, job: str = INSPECT_JOB, **options: Any) -> dg.ExecuteInProcessResult:
        """Run a job in this process."""
        definition = build_defs(self.platform.settings).resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, raise_on_error=False, **options)

    def table(self, *path: str) -> list[dict[str, Any]]:
        """Rows of a table of the lake, read past the platform's code."""
        place = self.platform.processed.joinpath(*path)
        rows: list[dict[str, Any]] = DeltaTable(str(place)).to_pyarrow_table().to_pylist()
        return rows

    def decisions(self) -> dict[str, tuple[str, str]]:
        """Status and decision of each object, by its name."""
        return {
            os.path.relpath(row["uri"], self.folder): (row["status"], row["decision"])
            for row in self.table("dlp", "objects")
        }


def landing(tmp_path: Path, instance: dg.DagsterInstance, rules: str = "", **more: str) -> Landing:
    folder = tmp_path / "uploads"
    folder.mkdir()
    given = {"watches__uploads__place": json.dumps(str(folder)), **more}
    if rules:
        given["dlp__rules"] = "null\ndlp.rules {\n" + rules + "\n}"
    return Landing(Installation.create(tmp_path / "platform", NOBODY, **given), folder, instance)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    folder = tmp_path / "instance"
    folder.mkdir()
    with open_instance(folder) as opened:
        yield opened


def text_of(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> str:
    return json.dumps([entry.to_json() for entry in instance.all_logs(result.run_id)])


def bytes_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for file in folder.rglob("*"):
        if file.is_file():
            yield file, file.read_bytes()


def test_everything_that_is_due_is_inspected_once(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    place = landing(tmp_path, instance)
    place.put("a/cards.txt", f"My credit card number is {card()}\n")
    place.put("mail.csv", "name,email\nann,ann.example@company-one.com\nbob,bob@company-two.org\n")
    place.put("harmless.txt", "Nothing to see here.\n")
    result = place.run()
    assert failures(result) == []
    assert place.decisions() == {
        "a/cards.txt": ("INSPECTED", "alert"),
        "mail.csv": ("INSPECTED", "alert"),
        "harmless.txt": ("INSPECTED", "allow"),
    }
    found = {(row["info_type"], row["row"], row["column"]) for row in place.table("dlp", "findings")}
    assert ("CREDIT_CARD_NUMBER", None, None) in found
    assert {("EMAIL_ADDRESS", 0, "email"), ("EMAIL_ADDRESS", 1, "email")} <= found
    again = place.run()
    assert failures(again) == []
    assert len(place.table("dlp", "objects")) == 3
    place.put("harmless.txt", "Now write to somebody@company-three.com, please.\n")
    place.run()
    assert len(place.table("dlp", "objects")) == 4


def test_the_sensor_plans_a_run_whose_success_alone_closes_the_batch(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    place = landing(tmp_path, instance)
    place.put("one.txt", "write to somebody@company-three.com\n")
    definitions = build_defs(place.platform.settings)
    sensor = definitions.resolve_sensor_def("uploads_objects")
    cursor: str | None = None

    def tick() -> Sequence[dg.RunRequest]:
        nonlocal cursor
        room = Rooms(place.platform.settings).of(ObjectsRoom)
        with dg.build_sensor_context(instance, cursor=cursor, resources={"objects": room}) as context:
            evaluated = sensor(context)
        assert isinstance(evaluated, dg.SensorResult)
        cursor = evaluated.cursor
        return list(evaluated.run_requests or ())

    [request] = tick()
    assert request.run_key == "uploads/1"
    # It never came to be: it is asked for again under the same key, and under no other.
    assert [one.run_key for one in tick()] == ["uploads/1"]
    tags = {"dagster/run_key": "uploads/1", "dagster/sensor_name": "uploads_objects"}
    result = place.run(run_config=request.run_config, tags=tags)
    assert failures(result) == []
    assert place.decisions() == {"one.txt": ("INSPECTED", "alert")}
    [worst] = [
        event.materialization.metadata["worst objects"].value.splitlines()
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["dlp", "objects"])
    ]
    assert worst[0] == "| object | uri | info types | highest | findings | status | decision |"
    assert worst[2].endswith("| EMAIL_ADDRESS 1 | LIKELY | 1 | INSPECTED | alert |")
    assert tick() == []
    assert tick() == []
    place.put("two.txt", "nothing\n")
    assert [one.run_key for one in tick()] == ["uploads/2"]


@pytest.mark.parametrize("logs", [nullcontext, json_logs], ids=["text", "json"])
def test_nothing_that_was_found_is_written_anywhere(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
    http_server: HttpServer,
    logs: Callable[[], AbstractContextManager[None]],
) -> None:
    (tmp_path / "webhook").write_text(http_server.url + "/hook")
    place = landing(
        tmp_path, instance, alerts__channels='{ team { slack { webhook = "secret://file/../webhook" } } }'
    )
    number = card(11)
    mail = f"planted.{random.Random(3).randrange(10**9)}@company-one.com"
    key = "AKIA" + "".join(random.Random(5).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=16))
    planted = [number, mail, key, number[:4] + " " + number[4:8] + " " + number[8:12] + " " + number[12:]]
    place.put("report.txt", f"card: {planted[3]}, {mail}\naws_access_key_id = {key}\n")
    place.put(f"{mail}.csv", f"card number,owner\n{number},ann\n")
    place.put("nested.json", json.dumps({"user": {"email": mail, mail: number}}))
    with logs():
        result = place.run()
    assert failures(result) == []
    assert failed_checks(result) == {}
    assert sum(row["findings"] for row in place.table("dlp", "objects")) >= 6
    assert http_server.posted
    written = {
        "events": text_of(result, instance),
        "output": "".join(capfd.readouterr()),
        "alerts": json.dumps(http_server.posted),
        **{
            str(file): content.decode(errors="replace")
            for file, content in bytes_below(tmp_path)
            if not file.is_relative_to(place.folder)
        },
    }
    # The log of objects and what is done with them knows names as they are; nobody is sent it.
    known = {name for name in written if "/processed/objects/" in name}
    if logs is json_logs:
        events = [object_["event"] for object_ in objects(written["output"]) if object_["event"] != "line"]
        assert events.count("object_inspected") == 3
    for secret in planted:
        holders = [name for name, text in written.items() if secret in text and name not in known]
        assert holders == [], secret


def test_what_cannot_be_read_is_not_clean(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    place = landing(tmp_path, instance)
    place.put("broken.parquet", b"PAR1" + b"\0" * 40 + b"PAR1")
    place.put("empty.csv", b"")
    assert failures(place.run()) == []
    assert place.decisions()["broken.parquet"] == ("UNREADABLE", "block")
    told = [json.loads(row["alert"])["title"] for row in place.table("alerts", "outbox")]
    assert "An object could not be inspected" in told


def test_what_a_rule_quarantines_is_moved_and_nothing_else(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    place = landing(
        tmp_path,
        instance,
        '"no cards" {\n action = quarantine, info_types = [CREDIT_CARD_NUMBER], places = ["objects/*"]\n }',
        watches__uploads__quarantine=json.dumps(str(tmp_path / "held")),
    )
    place.put("in/cards.txt", f"card number: {card()}\n")
    place.put("in/mail.txt", "somebody@company-three.com\n")
    assert failures(place.run()) == []
    assert place.decisions() == {
        "in/cards.txt": ("INSPECTED", "quarantine"),
        "in/mail.txt": ("INSPECTED", "allow"),
    }
    assert [file.name for file in (place.folder / "in").iterdir()] == ["mail.txt"]
    [held] = (tmp_path / "held" / "in").iterdir()
    assert held.name.startswith("cards.txt.")
    [rule] = {row["rule"] for row in place.table("dlp", "objects") if row["decision"] == "quarantine"}
    assert rule.endswith("rule no cards")
    assert "line" in rule


def test_a_channel_that_is_down_delays_its_alerts_and_fails_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, http_server: HttpServer
) -> None:
    (tmp_path / "webhook").write_text("http://127.0.0.1:1/hook")
    place = landing(
        tmp_path, instance, alerts__channels='{ team { slack { webhook = "secret://file/../webhook" } } }'
    )
    place.put("one.txt", "somebody@company-three.com\n")
    assert failures(place.run()) == []

    def of_team() -> dict[str, Any]:
        rows = [row for row in place.table("alerts", "outbox") if row["channel"] == "team"]
        return max(rows, key=lambda row: int(row["commit"]))

    assert (of_team()["status"], of_team()["attempt"]) == ("queued", 1)
    (tmp_path / "webhook").write_text(http_server.url + "/hook")
    outbox = Rooms(place.platform.settings).of(AlertsRoom).outbox
    later = outbox.deliver(Rooms(place.platform.settings).of(AlertsRoom).channels, of_team()["due_at"])
    assert (later.sent, later.delayed) == (1, 0)
    assert failures(place.run(ALERTS_JOB)) == []
    assert len(http_server.posted) == 1


def test_an_object_that_waits_for_too_long_fails_the_check(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    place = landing(tmp_path, instance, watches__uploads__uninspected_after="1")
    place.put("one.txt", "nothing\n")
    os.utime(place.folder / "one.txt", (time.time() - 600,) * 2)
    room = Rooms(place.platform.settings).of(ObjectsRoom)
    with dg.build_sensor_context(instance, resources={"objects": room}) as context:
        build_defs(place.platform.settings).resolve_sensor_def("uploads_objects")(context)
    check = dg.AssetCheckKey(dg.AssetKey(["dlp", "objects"]), "no_uninspected_object")
    checking = build_defs(place.platform.settings).resolve_implicit_global_asset_job_def()
    result = checking.get_subset(asset_selection=set(), asset_check_selection={check}).execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert failed_checks(result) == {"dlp/objects:no_uninspected_object": "1 of uploads"}


def test_columns_are_inspected_when_their_table_has_changed(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    place = landing(tmp_path, instance)
    result = place.run(COLUMNS_JOB)
    assert failures(result) == []
    [seen] = [
        event.materialization.metadata["tables inspected"].value
        for event in result.get_asset_materialization_events()
    ]
    assert seen == 0
    staff = place.platform.processed / "star" / "dim_staff"
    mails = [f"member{number}@company-one.com" for number in range(40)]
    names = ["first_name", "last_name", "department_name", "location", "_change"]
    rows = {name: ["x"] * 40 for name in names}
    write_deltalake(
        str(staff),
        pa.table({"staff_id": list(range(40)), "email_address": mails, **rows}),
    )
    assert failures(place.run(COLUMNS_JOB)) == []
    verdicts = {row["column"]: row["info_type"] for row in place.table("dlp", "columns")}
    assert verdicts["email_address"] == "EMAIL_ADDRESS"
    assert verdicts["department_name"] is None
    before = len(place.table("dlp", "columns"))
    again = place.run(COLUMNS_JOB)
    assert failures(again) == []
    assert len(place.table("dlp", "columns")) == before
    [counted] = [
        event.materialization.metadata["dagster/row_count"].value
        for event in again.get_asset_materialization_events()
    ]
    assert counted == before


PRICES = """{
  prices {
    watch = uploads, pattern = "prices/*.csv", format = csv, mode = merge, key = [label]
    columns { label { type = text }, price { type = "decimal(8,2)" } }
  }
}"""
RULES = """
"no cards" {
  action = block, info_types = [CREDIT_CARD_NUMBER], places = ["objects/uploads/prices/*"]
}
"addresses" { action = redact, info_types = [EMAIL_ADDRESS], places = ["uploads/prices.*"] }
"""


def prices(place: Landing) -> list[tuple[Any, ...]]:
    """The table in the warehouse."""
    with warehouse_of(place.platform.settings).query(
        "SELECT label, CAST(price AS VARCHAR) FROM uploads.prices ORDER BY price"
    ) as rows:
        return [tuple(row.values()) for row in rows.read_all().to_pylist()]


def test_what_its_inspection_allows_becomes_rows_of_a_feeds_table_and_of_the_warehouse(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    place = landing(tmp_path, instance, RULES, feeds=PRICES)
    place.put("prices/monday.csv", "label,price\npen,1.50\nink,4.00\npad,cheap\n")
    place.put("prices/stolen.csv", f"label,price\n{card()},9.99\n")
    place.put("other.csv", "label,price\ngum,0.10\n")
    result = place.run()
    assert failures(result) == []
    assert place.decisions()["prices/stolen.csv"] == ("INSPECTED", "block")
    assert prices(place) == [("pen", "1.50"), ("ink", "4.00")]
    [fed] = [
        {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["uploads", "prices"])
    ]
    assert fed == {"objects loaded": 1, "rows loaded": 2, "rows set apart": 1}
    place.put("prices/tuesday.csv", "label,price\npen,1.75\nsomebody@company-three.com,2.00\n")
    assert failures(place.run()) == []
    # A column in which there are addresses arrives changed, whole: nobody knows what else is in it.
    changed = [("[EMAIL_ADDRESS]", price) for price in ("1.75", "2.00", "4.00")]
    assert prices(place) == changed
    assert failures(place.run()) == []
    assert prices(place) == changed
    assert failures(place.run(COLUMNS_JOB)) == []
    verdicts = {
        row["column"]: row["info_type"]
        for row in place.table("dlp", "columns")
        if (row["place"], row["table"]) == ("lake", "uploads/prices")
    }
    assert verdicts == {"label": "EMAIL_ADDRESS", "price": None}


def test_another_layout_stops_its_feed_alone_and_says_what_changed(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    place = landing(tmp_path, instance, feeds=PRICES)
    place.put("prices/monday.csv", "label,price\npen,1.50\n")
    assert failures(place.run()) == []
    place.put("prices/tuesday.csv", "label,cost\npen,1.75\n")
    place.put("note.txt", "nothing\n")
    result = place.run()
    [sentence] = failures(result)
    assert "The feed prices did not load prices/tuesday.csv" in sentence
    assert "cost" in sentence
    assert place.decisions()["note.txt"] == ("INSPECTED", "allow")
    assert prices(place) == [("pen", "1.50")]


def test_a_feed_whose_columns_nobody_declared_waits_for_its_first_upload(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    place = landing(
        tmp_path, instance, feeds='{ loose { watch = uploads, pattern = "loose/*.csv", format = csv } }'
    )
    place.put("other.csv", "label\npen\n")
    result = place.run()
    assert failures(result) == []
    written = dg.AssetKey(["warehouse", "uploads", "loose"])
    assert written not in {event.asset_key for event in result.get_asset_materialization_events()}
    place.put("loose/first.csv", "label\npen\n")
    result = place.run()
    assert failures(result) == []
    assert written in {event.asset_key for event in result.get_asset_materialization_events()}


def test_an_address_in_the_last_of_many_rows_changes_its_column_too(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    place = landing(tmp_path, instance, RULES, feeds=PRICES)
    lines = [f"label {number},1.00" for number in range(60_000)]
    place.put("prices/many.csv", "\n".join(["label,price", *lines, "somebody@company-three.com,2.00", ""]))
    assert failures(place.run()) == []
    assert {label for label, _ in prices(place)} == {"[EMAIL_ADDRESS]"}


def test_an_object_a_watch_and_a_channel_that_fail_leave_all_else_alone_and_fail_the_run(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("where a folder should be")
    place = landing(
        tmp_path,
        instance,
        feeds=PRICES,
        watches__elsewhere__place=json.dumps(str(tmp_path / "a file")),
        alerts__channels='{ team { slack { webhook = "secret://env/NOBODY_SET_THIS" } } }',
    )
    place.put("prices/monday.csv", "label,price\npen,1.50\n")
    place.put("prices/tuesday.csv", "label,price\nink,4.00\n")
    place.put("mail.txt", "somebody@company-three.com\n")
    usual = FolderBucket.open
    at_once = dt.timedelta()
    monkeypatch.setattr("platform_assets.objects.plan.wait", lambda *_: at_once)
    monkeypatch.setattr(RetryPolicy, "__init__", partialmethod(RetryPolicy.__init__, first_wait=at_once))

    def broken(bucket: FolderBucket, found: ObjectVersion) -> Any:
        if found.key == "prices/tuesday.csv":
            raise OverflowError("date value out of range")
        return usual(bucket, found)

    monkeypatch.setattr(FolderBucket, "open", broken)
    result = place.run()
    [sentence] = failures(result)
    assert "watch elsewhere: " in sentence
    assert "unexpected error OverflowError (" in sentence
    assert {"prices/monday.csv", "mail.txt"} == set(place.decisions())
    # What landed is in the warehouse all the same.
    assert prices(place) == [("pen", "1.50")]
    [told] = failures(place.run(ALERTS_JOB))
    # The alert about the object, and those about the runs that failed.
    assert re.match(r"Alerts delayed: [1-9]\d*, undeliverable: 0\. team: ", told)
    assert "NOBODY_SET_THIS" in told

    monkeypatch.setattr(FolderBucket, "open", usual)
    [sentence] = failures(place.run())
    assert "OverflowError" not in sentence
    assert prices(place) == [("pen", "1.50"), ("ink", "4.00")]


def test_the_commands_withdraw_a_file_resume_a_feed_and_retry_a_parked_object(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = landing(tmp_path, instance, feeds=PRICES)
    monkeypatch.setenv("PLATFORM_CONFIG", str(place.platform.folder / "platform.conf"))

    def command(*arguments: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, arguments, catch_exceptions=False)
        return ended.exit_code, ended.output

    place.put("prices/1.csv", "label,price\npen,1.50\n")
    place.put("prices/2.csv", "label,price\nink,2.50\npad,3.50\n")
    place.put("prices/3.csv", "label,cost\ngum,4.50\n")
    place.run()
    code, listed = command("feeds", "list")
    assert (code, "stopped by prices/3.csv" in listed) == (0, True), listed
    assert "Its next load tries prices/3.csv again" in command("feeds", "resume", "prices")[1]
    assert "is not stopped" in command("feeds", "resume", "prices")[1]
    code, said = command("feeds", "withdraw", "prices", "prices/2.csv", "--reason", "wrong month")
    assert (code, said.startswith("2 rows no longer count")) == (0, True), said
    assert command("feeds", "withdraw", "prices", "prices/9.csv")[0] == 1
    assert command("feeds", "withdraw", "nothing", "prices/1.csv")[0] == 1
    (place.folder / "prices/3.csv").unlink()
    place.run()
    assert prices(place) == [("pen", "1.50")]

    log = Rooms(place.platform.settings).of(ObjectsRoom).watch("uploads").log
    now = dt.datetime.now(dt.UTC)
    found = ObjectVersion(str(place.folder / "bad.zip"), "bad.zip", "1", 3, now)
    [batch] = log.plan(Known(log.read(), {}), [found], BatchLimits(), now).batches
    log.settle(batch, [Outcome("bad.zip", ObjectStatus.FAILED, "encrypted", False)], BatchLimits(), now)
    assert "encrypted" in command("objects", "parked")[1]
    code, said = command("objects", "retry", "uploads", "god.zip")
    assert (code, "god.zip is not parked" in said) == (1, True)
    assert "1 object will be tried again" in command("objects", "retry", "uploads", "bad.zip")[1]
    assert "No object is parked" in command("objects", "parked", "uploads")[1]
    assert log.read().of(["bad.zip"])["bad.zip"].status is ObjectStatus.RELEASED
