"""An alert says what it may say, in a form that survives whatever an object is called."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.alert import (
    Alert,
    Severity,
    TypeCount,
    mask_uri,
    object_alert,
    plain,
    readable_uri,
)
from platform_assets.alerts.email import subject, text
from platform_assets.alerts.notifier import LogNotifier
from platform_assets.alerts.slack import escaped, payload

AT = dt.datetime(2031, 5, 4, 12, 30, tzinfo=dt.UTC)


def alert(uri: str = "s3://uploads/in/accounts.txt", version: str = "v1", **changes: object) -> Alert:
    members = {
        "title": "Sensitive data in an upload",
        "severity": Severity.ERROR,
        "status": "INSPECTED",
        "coverage": "all of it",
        "at": AT,
        "run_url": "https://dagster.example.org/runs/1?a=1&b=<2>",
    }
    counts = (TypeCount("EMAIL_ADDRESS", 1_200, "LIKELY"), TypeCount("CREDIT_CARD_NUMBER", 2, "VERY_LIKELY"))
    return object_alert(uri, version, counts, **(members | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "masked"),
    [
        ("s3://uploads/in/2031/card-4111111111111111.txt", "s3://uploads/in…/**…/ca….txt"),
        ("gs://uploads/4111 1111 1111 1111", "gs://uploads/**…"),
        ("s3://uploads/jane.doe@example.org", "s3://uploads/ja….org"),
        ("s3://user:word@uploads/x.csv?X-Amz-Signature=abc#f", "s3://uploads/x….csv"),
        ("/srv/uploads/jane.4111", "/sr…/up…/ja…"),
        ("s3://uploads", "s3://uploads"),
    ],
)
def test_an_address_is_masked(uri: str, masked: str) -> None:
    assert mask_uri(uri) == masked


@pytest.mark.parametrize(
    ("uri", "readable"),
    [
        ("/tmp/walk/customers.csv", "/tmp/walk/customers.csv"),
        ("s3://uploads/in/2031/orders_20310504.csv", "s3://uploads/in/2031/orders_20310504.csv"),
        ("s3://uploads/export-2031-05-04_12-30-00.json", "s3://uploads/export-2031-05-04_12-30-00.json"),
        ("s3://uploads/in/card-4111111111111111.txt", "s3://uploads/in/card-….txt"),
        ("gs://uploads/4111 1111 1111 1111", "gs://uploads/…"),
        ("s3://uploads/536-22-1234.pdf", "s3://uploads/….pdf"),
        ("s3://uploads/jane.doe@example.org", "s3://uploads/…@example.org"),
        ("s3://user:word@uploads/x.csv?X-Amz-Signature=abc#f", "s3://uploads/x.csv"),
        ("s3://uploads", "s3://uploads"),
    ],
)
def test_an_address_stays_readable_without_what_is_secret_by_its_form(uri: str, readable: str) -> None:
    assert readable_uri(uri) == readable


@given(
    st.from_regex(r"([0-9][ ._-]?){14}[0-9]", fullmatch=True),
    st.sampled_from(["", ".txt", "/x.csv", "@mail.org"]),
)
def test_no_long_number_survives_in_a_readable_address(number: str, after: str) -> None:
    assert not any(
        char.isdecimal() for char in readable_uri(f"s3://uploads/{number}{after}").removeprefix("s3")
    )


@given(st.from_regex(r"[0-9]{13,19}", fullmatch=True), st.sampled_from(["", ".txt", "/x.csv", "@mail.org"]))
def test_no_number_in_a_name_survives_its_mask(number: str, after: str) -> None:
    masked = mask_uri(f"s3://uploads/{number}{after}")
    assert not any(char.isdecimal() for char in masked.removeprefix("s3://"))


def test_the_same_version_has_the_same_key_and_another_has_another() -> None:
    assert alert().key == alert().key
    keys = {alert().key, alert(version="v2").key, alert("s3://uploads/b").key, alert(secret=b"key").key}
    assert len(keys) == 4


def test_an_alert_survives_the_outbox() -> None:
    one = alert(facts=(("Action", "quarantined"),))
    assert Alert.from_json(one.to_json()) == one


def test_a_mail_says_everything_once_and_the_surest_first() -> None:
    said = text(alert())
    assert subject(alert()) == "[ERROR] Sensitive data in an upload in s3://uploads/in…/ac….txt"
    for part in ("Severity:", "INSPECTED", "all of it", "2031-05-04 12:30:00 UTC", alert().key[:12]):
        assert said.count(part) == 1
    assert said.index("CREDIT_CARD_NUMBER: 2, up to VERY_LIKELY") < said.index("EMAIL_ADDRESS: 1,200")
    assert "accounts" not in said


def test_a_log_line_is_one_json_object_at_the_level_of_its_severity(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        LogNotifier().send(alert(title="Two\nlines"))
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    line = json.loads(record.getMessage())
    assert line["where"] == "s3://uploads/in…/ac….txt"
    assert line["findings"] == "CREDIT_CARD_NUMBER: 2, up to VERY_LIKELY; EMAIL_ADDRESS: 1,200, up to LIKELY"
    assert "\n" not in record.getMessage()


def test_nothing_in_a_slack_message_is_markup_that_the_platform_did_not_write() -> None:
    hostile = "<!channel> <https://evil.example|click> & `*_~ @here\n\u202egnp.exe"
    message = payload(
        alert(
            title=hostile,
            status=hostile,
            coverage=hostile,
            facts=((hostile, hostile),),
            run_url="https://x.example/<!channel>|y",
        )
    )
    shown = json.dumps(message, ensure_ascii=False)
    assert re.findall("<[^>]*>", shown) == ["<https://x.example/%3C!channel%3E%7Cy|Open the run>"]
    assert "\u202e" not in shown
    fields = message["blocks"][1]["fields"]
    assert all(field["text"].count("`") == 2 for field in fields)


@given(st.text(alphabet=st.sampled_from("&<>a\U0001f600\n`*"), max_size=400), st.integers(2, 60))
def test_escaped_text_keeps_its_limit_and_cuts_no_entity(content: str, limit: int) -> None:
    shown = escaped(content, limit)
    assert len(shown) <= limit
    assert "&" not in shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert "<" not in shown


@given(
    st.text(max_size=5_000),
    st.lists(st.tuples(st.text(max_size=300), st.text(max_size=3_000)), max_size=30),
    st.integers(0, 400),
)
def test_a_slack_message_keeps_slacks_limits_whatever_is_in_it(
    title: str, facts: list[tuple[str, str]], types: int
) -> None:
    counts = tuple(TypeCount(f"<&INFO_TYPE_{number}>" * 9, 10**9, "LIKELY") for number in range(types))
    one = Alert("k" * 32, Severity.CRITICAL, title, AT, title, counts, title, title, tuple(facts))
    message = payload(one)
    assert len(message["text"]) <= 4_000
    header, *sections = message["blocks"]
    assert 1 <= len(header["text"]["text"]) <= 150
    assert len(sections[0]["fields"]) <= 10
    assert all(len(field["text"]) <= 2_000 for field in sections[0]["fields"])
    assert all(len(section["text"]["text"]) <= 3_000 for section in sections[1:])
    json.dumps(message).encode()


def test_plain_text_is_one_line_without_what_hides_or_turns_it() -> None:
    assert plain("a\r\nb\x1b[31m\u200b\u202ec\ud800 " + "x" * 400) == "a b[31mc " + "x" * 290 + "…"
