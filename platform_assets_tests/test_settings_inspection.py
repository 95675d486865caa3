"""The parts of the configuration that are about uploaded objects, their inspection and the policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from platform_assets.configuration.document import parse_document
from platform_assets.errors import SettingsError
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets_tests.fixtures.house import keys_of

LEAST = """
state_dir = ".platform"
sources.totesys.embedded = true
lake { ingestion = "lake/ingestion", processed = "lake/processed" }
warehouse { duckdb { path = "warehouse.duckdb" } }
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "platform.conf") -> Path:
        file = tmp_path / "config" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return written


def mistakes(file: Path) -> str:
    with pytest.raises(SettingsError) as error:
        load_settings(file)
    return str(error.value)


def test_nothing_needs_to_be_said(write: Write) -> None:
    settings = load_settings(write(LEAST))
    assert keys_of(settings).watches == {}
    assert keys_of(settings).dlp.rules == {}
    assert keys_of(settings).dlp.inspect.inspector == "local"


def test_rules_for_what_was_not_inspected_become_a_policy_that_says_where_they_are_written(
    write: Write,
) -> None:
    from platform_assets.dlp.assembly import InspectionRoom
    from platform_assets.dlp.model import Status
    from platform_assets.formats.problems import ProblemKind

    file = write(
        LEAST
        + """dlp.uninspected {
  "samples will do" { action = alert, status = [PARTIAL], problems = [SAMPLED] }
  "the rest" { action = quarantine, places = ["objects/inbox/*"] }
}"""
    )
    policy = Rooms(load_settings(file)).of(InspectionRoom).policy()
    decisions = [
        policy.decide_uninspected(Status.PARTIAL, [ProblemKind[kind]], place)
        for kind, place in (
            ("SAMPLED", "objects/x/a"), ("ENCRYPTED", "objects/inbox/a"), ("ENCRYPTED", "objects/x/a"),
        )
    ]  # fmt: skip
    assert [decision.word for decision in decisions] == ["alert", "quarantine", "block"]
    assert str(decisions[0].rule) == "config/platform.conf line 7, rule samples will do"


def test_an_action_that_cannot_be_for_what_was_not_inspected_is_a_mistake(write: Write) -> None:
    said = mistakes(write(LEAST + 'dlp.uninspected { "x" { action = mask, status = [INSPECTED] } }'))
    assert "dlp.uninspected.x.action" in said
    assert "allow, alert, quarantine, block" in said
    assert "PARTIAL" in said


def test_a_watch_has_a_place_and_what_goes_with_it(write: Write, tmp_path: Path) -> None:
    settings = load_settings(
        write(
            LEAST
            + """watches {
  inbox { place = "inbox", quarantine = "held" }
  bucket { place = "s3://landing/new/", queue = "https://q.example/1/q", storage_options { AWS_REGION = eu } }
  gcs { place = "gs://landing", subscription = "projects/p/subscriptions/s", attempts = 2 }
}"""
        )
    )
    inbox, bucket, gcs = (keys_of(settings).watches[name] for name in ("inbox", "bucket", "gcs"))
    assert (inbox.place, inbox.quarantine) == (
        str(tmp_path / "config" / "inbox"),
        str(tmp_path / "config" / "held"),
    )
    assert (bucket.place, bucket.storage_options) == ("s3://landing/new", {"AWS_REGION": "eu"})
    assert (gcs.subscription, gcs.attempts) == ("projects/p/subscriptions/s", 2)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("x { }", "watches.x.place: found nothing"),
        ('x { place = "inbox", queue = "https://q" }', "only a place that starts with s3://"),
        ('x { place = "s3://landing", subscription = "s" }', "only a place that starts with gs://"),
        ('x { place = "inbox", quarantine = "inbox/held" }', "name a place outside the watched place"),
        ('x { place = "inbox", quarantine = "s3://held" }', "a place of the same kind"),
        (
            'x { place = "s3://landing", quarantine = "s3://landing/held" }',
            "name a place outside the watched place",
        ),
        (
            'x { place = "s3://landing", storage_options { AWS_SECRET_ACCESS_KEY = "abc123" } }',
            "a literal value (not shown)",
        ),
        ('x { place = "inbox", attempts = 0 }', "a whole number from 1 to 100"),
    ],
)
def test_a_watch_that_cannot_be_is_refused(write: Write, block: str, said: str) -> None:
    text = mistakes(write(LEAST + f"watches {{ {block} }}"))
    assert said in text
    assert "abc123" not in text


def test_a_rule_knows_the_line_that_it_is_written_on_whichever_file_it_is_in(write: Write) -> None:
    write(
        'rules {\n  # first\n  "no cards" {\n    action = block\n    info_types = [CREDIT_CARD_NUMBER]\n  }\n'
        "  rest { action = alert }\n}",
        "dlp.conf",
    )
    settings = load_settings(write(LEAST + 'dlp { include "dlp.conf" }'))
    assert list(keys_of(settings).dlp.rules) == ["no cards", "rest"]
    assert keys_of(settings).dlp.written_at("no cards") == "config/dlp.conf line 3"
    assert keys_of(settings).dlp.written_at("rest") == "config/dlp.conf line 7"
    assert keys_of(settings).dlp.written_at("another") == ""


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("dlp.rules.x { }", "dlp.rules.x.action: found nothing"),
        ("dlp.rules.x { action = burn }", "one of allow, alert, quarantine"),
        ("dlp.rules.x { action = alert, info_types = [] }", "a list of info types"),
        ("dlp.inspect.min_likelihood = SURE", "one of VERY_UNLIKELY"),
        ("dlp.inspect.per_info_type { URL = SURE }", "one of VERY_UNLIKELY"),
        ('dlp.key = "0123456789abcdef"', "a literal value (not shown)"),
        ("dlp.inspekt { }", "perhaps dlp.inspect"),
        ('feeds.x { watch = y, pattern = "*.csv", format = csv }', "the name of a block in watches: none"),
        ('feeds.X-1 { watch = y, pattern = "*.csv", format = csv }', "lower case letters"),
        ('feeds.x { watch = y, pattern = "*.csv", format = xls }', "one of csv, jsonl, json, parquet"),
        (
            'feeds.x { watch = y, pattern = "*", format = csv, columns { a { type = x } } }',
            "integer, decimal",
        ),
        ('watches.X { place = "inbox" }', "lower case letters"),
        ("alerts.channels.x { slack { webhook = hooks } }", "a literal value (not shown)"),
        (
            'alerts.channels.x { slack { webhook = "secret://env/A" }, '
            'sns { topic = "arn:aws:sns:eu-west-2:1:t" } }',
            "this one is slack and sns",
        ),
    ],
)
def test_what_is_wrong_in_the_policy_is_said(write: Write, block: str, said: str) -> None:
    text = mistakes(write(LEAST + block))
    assert said in text
    assert "0123456789abcdef" not in text


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        ('rules {\n  # cards\n  "no cards" {\n action = block }\n}', "no cards", 3),
        ("rules {\n\n  cards {\n  }\n}", "cards", 3),
        ('rules {\n  "a.b*" : {\n  }\n}', "a.b*", 2),
        ("rules.cards = { action = allow }", "cards", 1),
        ('# "cards" { }\nrules { }', "cards", 2),
        ("rules {\n no_cards {}\n cards {}\n}", "cards", 3),
    ],
)
def test_the_line_of_a_block_or_of_the_one_around_it_is_known(
    write: Write, text: str, name: str, line: int
) -> None:
    file = write(text)
    assert parse_document(file).place(("rules", name)) == (file, line)
