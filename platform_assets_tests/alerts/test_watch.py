"""Failures become incidents: told once, told again while they last, and told when they are over."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg
import pytest

from platform_assets.alert import Alert, Severity
from platform_assets.alerts.facts import Cursor, Fact, Kind, Observed
from platform_assets.alerts.incidents import INCIDENT_COLUMNS, IncidentPolicy, Incidents, IncidentStatus
from platform_assets.alerts.watch import IncidentWatch
from platform_assets.errors import PlatformError
from platform_assets.lake.delta import LakeTable
from platform_assets.orchestration import TELLS_ITS_OWN_FAILURES
from platform_assets_tests.alerts.house import OWNER, NewHouse
from platform_assets_tests.fixtures.http import HttpServer
from platform_assets_tests.fixtures.queues import create_queue
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.smtp import PASSWORD, USER, NewSmtpServer, SmtpServer

AT = dt.datetime(2031, 5, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def minutes(number: float) -> dt.datetime:
    return AT + dt.timedelta(minutes=number)


def fact(minute: float, *, failing: bool = True, subject: str = "nightly", **more: Any) -> Fact:
    given: dict[str, Any] = {"kind": Kind.JOB, "sentence": "The source is down."} | more
    return Fact(subject=subject, at=minutes(minute), failing=failing, **given)


class Posted:
    """A watch whose outbox is a list with one alert for each key."""

    def __init__(self, folder: Any, **policy: Any) -> None:
        self.alerts: dict[str, Alert] = {}
        self.is_down = False
        given: dict[str, Any] = {
            "after_failures": 1,
            "remind_every": 24 * HOUR,
            "channels": lambda assets, severity: ("log", "mail"),
        }
        self.incidents = Incidents(LakeTable(str(folder / "incidents"), INCIDENT_COLUMNS))
        self.watch = IncidentWatch(
            self.incidents, IncidentPolicy(**(given | policy)), self._post, lambda run: f"url/{run}"
        )

    def _post(self, alerts: Any) -> None:
        if self.is_down:
            raise KeyboardInterrupt
        self.alerts |= {alert.key: alert for alert in alerts}

    def look(self, minute: float, *facts: Fact) -> list[str]:
        before = set(self.alerts)
        self.watch.apply(Observed(facts, Cursor(AT, minutes(minute))), minutes(minute))
        return [alert.title for key, alert in self.alerts.items() if key not in before]


def test_an_incident_is_told_once_and_then_told_to_be_over(tmp_path: Any) -> None:
    posted = Posted(tmp_path)
    assert posted.look(1, fact(1)) == ["The job nightly fails"]
    assert posted.look(2, fact(1)) == []
    assert posted.look(7, fact(6)) == []
    assert posted.look(12, fact(11, failing=False)) == ["Recovered: The job nightly fails"]
    assert posted.look(13, fact(6), fact(11, failing=False)) == []
    opened, recovered = posted.alerts.values()
    assert (opened.severity, recovered.severity) == (Severity.ERROR, Severity.INFO)
    assert opened.channels == recovered.channels == ("log", "mail")
    assert dict(recovered.facts)["Since"] == "2031-05-01 12:01:00 UTC"
    assert dict(recovered.facts)["Until"] == "2031-05-01 12:11:00 UTC, 10 min later"
    [incident], _ = posted.incidents.read()
    assert (incident.status, incident.failures) == (IncidentStatus.CLOSED, 2)


def test_what_fails_again_is_a_new_incident(tmp_path: Any) -> None:
    posted = Posted(tmp_path)
    posted.look(1, fact(1))
    posted.look(2, fact(2, failing=False))
    assert posted.look(3, fact(3)) == ["The job nightly fails"]
    assert len(posted.alerts) == 3


def test_people_are_told_after_as_many_failures_in_a_row_as_are_asked_for(tmp_path: Any) -> None:
    posted = Posted(tmp_path, after_failures=3, after_failures_of={"hourly": 1})
    assert posted.look(1, fact(1)) == []
    assert posted.look(2, fact(2)) == []
    assert posted.look(3, fact(3, failing=False)) == []
    assert posted.look(4, fact(4), fact(4, subject="hourly")) == ["The job hourly fails"]
    assert posted.look(6, fact(5), fact(6)) == ["The job nightly fails"]
    [told] = [alert for alert in posted.alerts.values() if "nightly" in alert.title]
    assert dict(told.facts)["Failures in a row"] == "3"
    assert dict(told.facts)["Since"] == "2031-05-01 12:04:00 UTC"


def test_a_reminder_comes_while_an_incident_lasts(tmp_path: Any) -> None:
    posted = Posted(tmp_path, remind_every=HOUR)
    posted.look(0, fact(0))
    assert posted.look(59) == []
    assert posted.look(60) == ["Still: The job nightly fails"]
    assert posted.look(61) == []
    assert posted.look(121) == ["Still: The job nightly fails"]
    posted.look(122, fact(122, failing=False))
    assert posted.look(500) == []


def test_one_cause_for_many_tables_is_one_message_and_each_is_over_by_itself(tmp_path: Any) -> None:
    posted = Posted(tmp_path)
    stopped = [
        fact(1, kind=Kind.TABLE, subject=f"totesys/{name}", assets=(f"totesys/{name}",))
        for name in ("sales_order", "staff", "address")
    ]
    assert posted.look(1, *stopped) == ["3 tables are skipped"]
    [told] = posted.alerts.values()
    assert told.where == "totesys/address, totesys/sales_order, totesys/staff"
    assert dict(told.facts)["What happened"] == "The source is down."
    works = fact(2, failing=False, kind=Kind.TABLE, subject="totesys/staff")
    assert posted.look(2, works) == ["Recovered: The table totesys/staff is skipped"]


def test_two_watches_at_once_tell_once(tmp_path: Any) -> None:
    posted = Posted(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: posted.look(1, fact(1)), range(4)))
    assert len(posted.alerts) == 1
    [incident], _ = posted.incidents.read()
    assert (incident.failures, incident.telling) == (1, "")


def test_a_watch_that_dies_before_it_tells_is_followed_by_one_that_tells(tmp_path: Any) -> None:
    posted = Posted(tmp_path)
    posted.is_down = True
    with pytest.raises(KeyboardInterrupt):
        posted.look(1, fact(1))
    posted.is_down = False
    assert posted.look(2) == ["The job nightly fails"]
    assert posted.look(3) == []


def test_what_was_over_before_anybody_was_told_is_no_news(tmp_path: Any) -> None:
    posted = Posted(tmp_path)
    assert posted.look(9, fact(1), fact(2, failing=False)) == []
    assert posted.look(10, fact(1), fact(2, failing=False)) == []


def test_an_incident_that_grows_worse_is_told_again(tmp_path: Any) -> None:
    posted = Posted(tmp_path)
    posted.look(1, fact(1, severity=Severity.WARNING))
    assert posted.look(2, fact(2, severity=Severity.ERROR)) == ["The job nightly fails"]
    assert posted.look(3, fact(3, severity=Severity.WARNING)) == []


# With Dagster, a mail server and Slack


@pytest.fixture
def mail(new_smtp_server: NewSmtpServer, monkeypatch: pytest.MonkeyPatch) -> SmtpServer:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    return new_smtp_server()


def channel(server: SmtpServer, recipient: str = "on-call@example.org", more: str = "") -> str:
    return f"""{{ {more}
      email {{
        host = "127.0.0.1", port = {server.port}, ca_file = "{server.ca_file}", user = "{USER}"
        sender = "platform@example.org", recipients = ["{recipient}"], password = "secret://env/SMTP_PASSWORD"
      }} }}"""


def test_a_run_that_fails_is_an_email_and_so_is_the_next_one_that_succeeds(
    new_house: NewHouse, mail: SmtpServer
) -> None:
    house = new_house(f'dagster_url = "https://dagster.example.org", channels.on-call {channel(mail)}')
    house.error = PlatformError("The source does not answer. Start it.")
    run = house.run()
    assert [one.key for one in house.look()] == ["job:nightly"]
    assert house.look() == []
    house.run()
    assert house.look() == []
    house.error = None
    house.run()
    assert [one.status for one in house.look()] == ["closed"]
    failed, recovered = mail.messages
    assert failed["To"] == "on-call@example.org"
    assert "The job nightly fails" in failed["Subject"]
    body = failed.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "The source does not answer. Start it." in body
    assert f"https://dagster.example.org/runs/{run}" in body
    assert "What to do" in body
    assert "Recovered: The job nightly fails" in recovered["Subject"]


@pytest.mark.parametrize("ending", ["", ".fifo"])
def test_a_topic_gets_an_incident_its_reminder_and_its_end(
    new_house: NewHouse, aws_server: S3Server, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    name = f"incidents-{uuid.uuid4().hex[:8]}{ending}"
    queue = create_queue(aws_server, name, **({"FifoQueue": "true"} if ending else {}))
    sns = aws_server.client("sns")
    topic = sns.create_topic(Name=name, Attributes={"FifoTopic": "true"} if ending else {})["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn)
    given = dict(aws_server.storage_options)
    monkeypatch.setenv("TOPIC_SECRET", given["AWS_SECRET_ACCESS_KEY"])
    given["AWS_SECRET_ACCESS_KEY"] = "secret://env/TOPIC_SECRET"
    options = ", ".join(f'{name} = "{value}"' for name, value in given.items())
    channel = f'channels.pager {{ sns {{ topic = "{topic}", options {{ {options} }} }} }}'
    house = new_house(f"incidents.remind_hours = 1\n{channel}")
    now = dt.datetime.now(dt.UTC)
    house.error = PlatformError("The source does not answer. Start it.")
    house.run()
    house.look()
    house.look(now + dt.timedelta(hours=2))
    house.error = None
    house.run()
    house.look(now + dt.timedelta(hours=2, minutes=5))
    told = [json.loads(message["Body"]) for message in queue.receive()]
    assert [one["Subject"] for one in told] == [
        "[ERROR] The job nightly fails",
        "[ERROR] Still: The job nightly fails",
        "[INFO] Recovered: The job nightly fails",
    ]
    assert "The source does not answer. Start it." in told[0]["Message"]
    assert [one["MessageAttributes"]["severity"]["Value"] for one in told] == ["ERROR", "ERROR", "INFO"]


def test_an_instance_without_failures_tells_nothing(new_house: NewHouse) -> None:
    house = new_house("")
    house.run()
    house.run("sales")
    assert house.look() == []
    assert house.look() == []
    house.error = PlatformError("It told its owners itself.")
    house.run(**{TELLS_ITS_OWN_FAILURES: "true"})
    # Dagster itself tags a failed run that it is going to retry.
    house.instance.add_run_tags(house.run(), {"dagster/will_retry": "true"})
    assert house.look() == []
    assert house.room.incidents.read()[0] == []


def test_checks_tell_errors_and_warnings_apart_and_never_the_rows(
    new_house: NewHouse, mail: SmtpServer
) -> None:
    house = new_house(f"channels.on-call {channel(mail)}")
    house.check = (False, dg.AssetCheckSeverity.WARN, "3 broken, such as (Ann Smith, 42)")
    house.metadata = {"broken": 3}
    house.run("sales")
    [incident] = house.look()
    assert (incident.key, incident.fact.severity.name) == ("check:shop/sales: no_gaps", "WARNING")
    house.check = (False, dg.AssetCheckSeverity.ERROR, "4 broken, such as (Ann Smith, 43)")
    house.run("sales")
    [incident] = house.look()
    assert incident.fact.severity is Severity.ERROR
    house.check = (True, dg.AssetCheckSeverity.ERROR, "")
    house.run("sales")
    house.look()
    subjects = [message["Subject"] for message in mail.messages]
    assert [subject.split(" ")[0] for subject in subjects] == ["[WARNING]", "[ERROR]", "[INFO]"]
    text = "".join(message.as_string() for message in mail.messages)
    assert "3 rows break it." in text
    assert "Ann" not in text


def test_owners_are_told_of_their_assets_and_others_are_not(new_house: NewHouse, mail: SmtpServer) -> None:
    more = "named_only = true, min_severity = ERROR"
    house = new_house(
        f'owners {{ "{OWNER}" = [sales] }}\n'
        f"channels {{ on-call {channel(mail)}\n sales {channel(mail, OWNER, more)} }}"
    )
    house.stopped = "The column price is gone. Declare it anew."
    house.run("sales")
    house.error = PlatformError("It is broken.")
    house.run()
    assert {one.key for one in house.look()} == {"table:shop/sales", "job:nightly"}
    told = {message["To"]: str(message["Subject"]) for message in mail.messages}
    assert len(mail.messages) == 2
    assert "The table shop/sales is skipped" in told[OWNER]
    assert "The job nightly fails" in told["on-call@example.org"]
    # Below the channel's own severity, nobody but the log is told.
    house.error, house.stopped = None, ""
    house.check = (False, dg.AssetCheckSeverity.WARN, "")
    house.run("sales")
    house.look()
    assert [message["To"] for message in mail.messages[2:]] == [OWNER]
    assert "Recovered" in mail.messages[2]["Subject"]


def test_quiet_hours_hold_messages_back_but_critical_ones(new_house: NewHouse, mail: SmtpServer) -> None:
    quiet = 'quiet { start = "22:00", end = "07:00", timezone = "Europe/London" }'
    house = new_house(f"channels.on-call {channel(mail, more=quiet)}")
    room = house.room
    night = dt.datetime(2031, 7, 1, 21, 30, tzinfo=dt.UTC)  # 22:30 in London
    room.outbox.post([Alert("a", Severity.ERROR, "An error", night)], room.channels, night)
    room.outbox.post([Alert("b", Severity.CRITICAL, "A fire", night)], room.channels, night)
    room.outbox.deliver(room.channels, night)
    assert [message["Subject"].split("] ")[1] for message in mail.messages] == ["A fire"]
    room.outbox.deliver(room.channels, dt.datetime(2031, 7, 2, 5, 59, tzinfo=dt.UTC))
    assert len(mail.messages) == 1
    room.outbox.deliver(room.channels, dt.datetime(2031, 7, 2, 6, tzinfo=dt.UTC))
    assert [message["Subject"].split("] ")[1] for message in mail.messages] == ["A fire", "An error"]


def test_a_planted_secret_is_in_no_message_and_in_no_table(
    new_house: NewHouse, mail: SmtpServer, http_server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK", f"{http_server.url}/services/the-hidden-part")
    house = new_house(
        f"channels {{ on-call {channel(mail)}\n"
        'chat { slack { webhook = "secret://env/SLACK_WEBHOOK" } } }'
    )
    texts = [
        f"The server refused the password {PASSWORD}.",
        f"No answer from {http_server.url}/services/the-hidden-part today.",
        "Connecting to postgresql://ann:wonderland@db.example.org/x failed.",
        "Refused: password=wonderland, token: wonderland",
        'duplicate key: Key (name)=(wonderland) already exists in "sales".',
    ]
    house.error = PlatformError(" ".join(texts))
    house.run()
    house.error = ValueError(f"wonderland {texts[0]}")
    house.run("sales")
    house.look()
    house.error = None
    house.run()
    house.look()
    sent = "".join(message.as_string() for message in mail.messages) + str(http_server.posted)
    found, _ = house.room.incidents.read()
    stored = "".join(map(str, found)) + "".join(
        message.alert.to_json() for message in house.room.outbox.messages()
    )
    assert len(mail.messages) == 3
    assert "The server refused the password [hidden]. No answer from" in stored
    for secret in (PASSWORD, "the-hidden-part", "wonderland"):
        assert secret not in sent
        assert secret not in stored
