"""What looks like sensitive data and is not, beside what looks alike and is."""

from __future__ import annotations

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import ExclusionRule, InspectConfig, Likelihood, MatchingType, RuleSet

KEY = b"a key that is of these tests only"


@pytest.fixture(scope="module")
def usual() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), KEY)


def found(inspector: LocalInspector, text: str, least: Likelihood = Likelihood.POSSIBLE) -> dict[str, str]:
    """The info types in a text with what was found."""
    return {
        one.info_type.name: one.quote or ""
        for one in inspector.inspect_text(text.encode())
        if one.likelihood >= least
    }


def verdicts(inspector: LocalInspector, name: str, values: list[str]) -> set[str]:
    """The info types of a column."""
    return {one.info_type.name for one in inspector.inspect_columns({name: pa.array(values)}).columns}


SITES = "See https://docs.example-shop.com/guide?page=2, www.example-shop.org and api.example-shop.com."


def test_addresses_of_pages_and_hosts_are_reported_only_by_name(usual: LocalInspector) -> None:
    assert found(usual, SITES) == {}
    assert verdicts(usual, "website", ["https://a.example-shop.com/", "www.b-shop.org"]) == set()
    named = LocalInspector(InspectConfig(info_types=("URL", "DOMAIN_NAME")), KEY)
    assert found(named, SITES).keys() == {"URL", "DOMAIN_NAME"}
    threshold = {"URL": Likelihood.POSSIBLE}
    beside = LocalInspector(InspectConfig(min_likelihood_per_info_type=threshold), KEY)
    assert found(beside, SITES + " Write to ann@example-shop.com").keys() == {"URL", "EMAIL_ADDRESS"}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("postgresql://app:Hj7kQ2mZx9@db.internal:5432/x", "PASSWORD", "Hj7kQ2mZx9"),
        ("https://app:Hj7kQ2mZx9@git.internal/x.git", "PASSWORD", "Hj7kQ2mZx9"),
        (
            "https://api.shop.io/v1?access_token=q8Zr3LkV0pWn5TxYb7Gd2",
            "AUTH_TOKEN",
            "q8Zr3LkV0pWn5TxYb7Gd2",
        ),
        ("https://api.shop.io/v1?api_key=q8Zr3LkV0pWn5TxYb7Gd2&x=1", "AUTH_TOKEN", None),
        ("https://shop.io/reset?email=ann.smith@shop.io", "EMAIL_ADDRESS", "ann.smith@shop.io"),
        ("http://10.20.30.41:8080/admin", "IP_ADDRESS", "10.20.30.41"),
    ],
)
def test_what_hides_in_an_address_is_found_although_the_address_is_not(
    text: str, name: str, value: str | None, usual: LocalInspector
) -> None:
    assert found(usual, text).get(name) == (value or found(usual, text)[name])
    assert "URL" not in found(usual, text)


def test_digits_in_addresses_remain_digits_of_addresses(usual: LocalInspector) -> None:
    assert found(usual, "https://tickets.shop.io/t/212-555-0143") == {}
    assert found(usual, "Call 212-555-0143").keys() == {"PHONE_NUMBER"}
    links = [f"https://tickets.shop.io/{'ab' * (n % 5)}/t/212-555-{n:04d}" for n in range(1500)]
    assert verdicts(usual, "link", links) == set()


def test_an_address_excludes_what_is_in_it_although_it_is_not_reported() -> None:
    rule = ExclusionRule(matching_type=MatchingType.PARTIAL_MATCH, exclude_info_types=("URL",))
    config = InspectConfig(rule_set=(RuleSet(("EMAIL_ADDRESS",), (rule,)),))
    assert found(LocalInspector(config, KEY), "https://shop.io/?to=ann@shop.io") == {}
