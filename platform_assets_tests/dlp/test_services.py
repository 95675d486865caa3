"""Keys of services: each has a true example, which is generated here, and near misses that are none."""

from __future__ import annotations

import random
import re._parser as parser
from pathlib import Path

import pytest

from platform_assets.dlp.local.detectors.declaration import Key, NamedKey
from platform_assets.dlp.local.detectors.service_keys import SERVICE_KEYS
from platform_assets.dlp.local.detectors.service_names import NAMED_KEYS
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.local.scanners.services import beginning
from platform_assets.dlp.model import InspectConfig, Likelihood
from platform_assets_tests.dlp import generated as make

# Thousands of values through the same lines, which other tests reach too: tracing them doubles the time.
pytestmark = pytest.mark.no_cover

EACH = 8
SERVICES = sorted({key.service.partition(",")[0] for key in (*SERVICE_KEYS, *NAMED_KEYS)}, key=str.casefold)


@pytest.fixture(scope="module")
def inspector() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def found(inspector: LocalInspector, text: str, name: str) -> list[tuple[str | None, Likelihood]]:
    """The findings of one info type."""
    return [
        (one.quote, one.likelihood)
        for one in inspector.inspect_text(text.encode())
        if one.info_type.name == name
    ]


@pytest.mark.parametrize("key", SERVICE_KEYS, ids=lambda key: f"{key.service}: {key.pattern[:12]}")
def test_a_key_is_known_by_its_form_and_not_if_it_is_too_short_or_part_of_a_word(
    key: Key, inspector: LocalInspector
) -> None:
    chance = random.Random(key.pattern)
    shortest = parser.parse(key.pattern).getwidth()[0]
    hits = 0
    for _ in range(EACH):
        value = make.matching(chance, key.pattern)
        hits += bool(found(inspector, f'setting = "{value}"  # rotate', key.name))
        assert not found(inspector, f'setting = "{value[: shortest - 1]}"  # rotate', key.name), value
        if not value.startswith("https://"):
            embedded = [quote for quote, _ in found(inspector, f'setting = "q7{value}"', key.name)]
            assert value not in embedded or key.sign, value
    assert hits >= EACH - 1


def a_value(chance: random.Random, key: NamedKey) -> str:
    """A key of a service; letters alone, which are rare, would be a word."""
    while True:
        value = make.matching(chance, key.shape)
        if "0-9" not in key.shape or any(map(str.isdigit, value)):
            return value


NAMED = (
    "{upper}_API_KEY={value}",
    'const {lower}Token = "{value}";',
    '{{"{lower}": {{"user": "me", "api_key": "{value}"}}}}',
    '{{"name": "{upper}_SECRET", "value": "{value}"}}',
    "{lower}:\n  region: eu\n  token: {value}\n",
    "curl https://api.{lower}.com/v1/things?limit=3&api_key={value}",
    "{lower} access token: {value}",
    "- name: {upper}_KEY\n  value: {value}\n",
)
NOT_NAMED = (
    "commit = '{value}'",
    "{upper}_API_KEY={short}",
    "{upper}_COMMIT_SHA={value}",
    "{upper}_KEY_ID={value}",
    "{lower} said {value}",
)


@pytest.mark.parametrize("key", NAMED_KEYS, ids=lambda key: key.service)
def test_a_key_without_a_form_is_known_by_the_name_of_its_service_and_no_other(
    key: NamedKey, inspector: LocalInspector
) -> None:
    chance = random.Random(key.service)
    shortest = parser.parse(key.shape).getwidth()[0]
    missed = []
    for count in range(EACH):
        value = a_value(chance, key)
        name = make.matching(chance, key.written)
        lower, upper = name.lower(), name.upper()
        template = NAMED[count % len(NAMED)]
        text = template.format(lower=lower, upper=upper, value=value)
        if (value, Likelihood.VERY_LIKELY) not in found(inspector, text, key.name):
            missed.append(text)
        template = NOT_NAMED[count % len(NOT_NAMED)]
        text = template.format(lower=lower, upper=upper, value=value, short=value[: shortest - 1])
        assert not found(inspector, text, key.name), text
    assert len(missed) <= 1, missed


@pytest.mark.parametrize(
    "text",
    [
        "ALGOLIA_API_KEY=$ALGOLIA_API_KEY",
        "heroku_api_key: 00000000-0000-0000-0000-000000000000",
        'datadog_api_key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"',
        "DEEPGRAM_KEY=<your deepgram key of 40 digits>",
        "STRAVA_SECRET=" + "0123456789" * 4,
        "newrelic.com/docs/apis/rest-api-v2/get-started/introduction-new-relic-rest-api-v2",
        "travis-ci.org/somebody/some-project-with-name",
    ],
)
def test_names_of_services_before_placeholders_and_paths_name_no_key(
    text: str, inspector: LocalInspector
) -> None:
    assert [one.info_type.name for one in inspector.inspect_text(text.encode())] == []


def test_a_services_key_is_a_token_where_only_tokens_are_asked_for() -> None:
    asked = LocalInspector(InspectConfig(info_types=("AUTH_TOKEN",)), b"a key that is of these tests only")
    value = make.matching(random.Random(1), "[a-f0-9]{32}")
    text = f"ALGOLIA_API_KEY={value}\n".encode()
    assert [one.info_type.name for one in asked.inspect_text(text)] == ["AUTH_TOKEN"]


def test_every_key_begins_or_is_signed_with_something_literal() -> None:
    for key in SERVICE_KEYS:
        assert len(beginning(key.sign or key.pattern)) >= 2, key


def test_more_than_four_hundred_services_are_known_by_name_and_documented() -> None:
    assert len(SERVICES) >= 400
    page = (Path(__file__).parents[2] / "docs" / "dlp_detection.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("<!-- services -->\n")
    listed, _, _ = rest.partition("\n<!-- end of services -->")
    assert " ".join(listed.split()) == ", ".join(SERVICES) + "."
