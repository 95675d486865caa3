"""Addresses of networks name no machine and are possible; addresses of machines beside them are likely."""

from __future__ import annotations

import io
import json

import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, Likelihood
from platform_assets.dlp.scan import scan_object

LIKELY, POSSIBLE = Likelihood.LIKELY, Likelihood.POSSIBLE


@pytest.fixture(scope="module")
def usual() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def likelihoods(inspector: LocalInspector, text: str) -> dict[str, Likelihood]:
    """The network addresses in a text, with their likelihoods."""
    return {
        one.quote or "": one.likelihood
        for one in inspector.inspect_text(text.encode()).findings
        if one.info_type.name == "IP_ADDRESS"
    }


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ('{"Cidr": "52.216.0.0/15", "Description": ""}', "52.216.0.0"),
        ("allow from 13.124.199.0/24", "13.124.199.0"),
        ("allow server 54.239.208.128/25", "54.239.208.128"),
        ("ip route 52.95.16.0 255.255.240.0 52.95.1.7", "52.95.16.0"),
        ("53.64.64.0      0.0.0.0      255.255.192.0   U     0 0 eth0", "53.64.64.0"),
        ("network 52.95.16.0 netmask 255.255.255.0", "52.95.16.0"),
        ("inetnum: 53.94.0.0 - 53.94.255.255", "53.94.255.255"),
        ("inet 53.94.8.9/24 brd 53.94.8.255 scope global", "53.94.8.255"),
        ("visitors from 54.12.7.0 (anonymised)", "54.12.7.0"),
        ("subnet 2600:1f14:8ab::/48", "2600:1f14:8ab::"),
        ("peer 2600:1f14:8ab:1200::/56", "2600:1f14:8ab:1200::"),
    ],
)
def test_the_address_of_a_network_is_possible(text: str, network: str, usual: LocalInspector) -> None:
    assert likelihoods(usual, text)[network] is POSSIBLE


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("allow server 52.216.3.4/15", "52.216.3.4"),
        ("peer 13.124.199.7/32", "13.124.199.7"),
        ("peer 13.124.199.64/25", "13.124.199.64"),
        ("ip route 52.95.16.0 255.255.240.0 52.95.1.7", "52.95.1.7"),
        ("address 52.95.16.77 netmask 255.255.255.0", "52.95.16.77"),
        ("inet 53.94.8.9/24 brd 53.94.8.255 scope global", "53.94.8.9"),
        ("login from 54.12.7.255", "54.12.7.255"),
        ("peer 2600:1f14:8ab::5/48", "2600:1f14:8ab::5"),
    ],
)
def test_the_address_of_a_machine_in_a_network_is_likely(
    text: str, machine: str, usual: LocalInspector
) -> None:
    assert likelihoods(usual, text)[machine] >= LIKELY


@pytest.mark.parametrize(
    "text",
    [
        "merge 1.73.2.34 -> 1.73.2.35",
        "re-inject the changes from 4.71.12.1 into the host",
        "from version 3.14.5.9 in January and 3.26.33 in May to 3.31.74.1 in July",
        "dig example.org: 93.184.216.34",
        "e.g.\n<code>['74.125.79.104', '74.125.79.105']</code>",
        "For example,\n`'74.125.127.100'` or `'2001:4860:a005::68'`",
        "blocked('222.111.111.222')",
        "nameserver 223.5.5.5",
        "".join(f"- {verb} the parser\n" for verb in ("fix", "add", "remove", "update") * 2)
        + "server 53.8.7.91",
    ],
)
def test_releases_examples_and_open_resolvers_are_at_most_possible(text: str, usual: LocalInspector) -> None:
    assert all(likelihood <= POSSIBLE for likelihood in likelihoods(usual, text).values())


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("dig shop-example.org: 93.184.216.77", "93.184.216.77"),
        ("user=ann@example.org from 93.184.216.77", "93.184.216.77"),
        ("changed at 3.31.74.1 by the host", "3.31.74.1"),
        ("blocked('221.110.111.222')", "221.110.111.222"),
        ("some servers:\n<code>['74.125.79.104']</code>", "74.125.79.104"),
    ],
)
def test_the_nearest_addresses_of_machines_are_likely(text: str, machine: str, usual: LocalInspector) -> None:
    assert likelihoods(usual, text)[machine] >= LIKELY


def in_document(inspector: LocalInspector, document: object) -> dict[str, Likelihood]:
    """The info types in a JSON document, with their highest likelihoods."""
    data = json.dumps(document).encode()
    tallies = scan_object(io.BytesIO(data), "a.json", inspector, size=len(data)).tallies
    return {name: tally.highest for name, tally in tallies.items()}


def test_values_below_a_key_for_examples_are_those_of_a_document(usual: LocalInspector) -> None:
    person = {"ip": "52.94.3.17", "phone": "415-555-2671", "email": "ann@stone-house.net"}
    assert set(in_document(usual, {"examples": [{"out": person}]}).values()) == {POSSIBLE}
    found = in_document(usual, {"samplers": [{"out": person}]})
    assert found.keys() == {"IP_ADDRESS", "PHONE_NUMBER", "EMAIL_ADDRESS"}
    assert min(found.values()) >= LIKELY


def test_values_in_the_descriptions_of_a_schema_are_examples(usual: LocalInspector) -> None:
    said = "Call (415) 555-2671 or the server at 52.94.3.17, or e-mail ann@stone-house.net."
    schema = {"properties": {"user": {"type": "string", "description": said}}}
    assert set(in_document(usual, schema).values()) == {POSSIBLE}
    ticket = {"tickets": [{"user": {"id": 7, "description": said}}]}
    assert in_document(usual, ticket).keys() == {"PHONE_NUMBER", "IP_ADDRESS", "EMAIL_ADDRESS"}
    assert min(in_document(usual, ticket).values()) >= LIKELY


def test_people_below_a_key_for_authors_are_published(usual: LocalInspector) -> None:
    people = [{"name": "Ann Stone", "email": "ann@stone-house.net"}]
    assert set(in_document(usual, {"metadata": {"authors": people}}).values()) == {POSSIBLE}
    found = in_document(usual, {"metadata": {"patients": people}})
    assert found.keys() == {"PERSON_NAME", "EMAIL_ADDRESS"}
    assert min(found.values()) >= LIKELY


def test_keywords_and_hosts_below_a_name_for_people_or_addresses_are_none_likely(
    usual: LocalInspector,
) -> None:
    described = {"methods": {"patient": {"name": "query", "order": "path"}}}
    assert all(likelihood < LIKELY for likelihood in in_document(usual, described).values())
    endpoint = {"nodes": [{"endpoint": {"address": "my-cluster.abc.0001.use1.cache.shop-cloud.com"}}]}
    assert "STREET_ADDRESS" not in in_document(usual, endpoint)
    assert in_document(usual, {"people": [{"address": "Hauptstr.5"}]})["STREET_ADDRESS"] >= LIKELY
    assert in_document(usual, {"patients": [{"patient_name": "Query, Ann"}]})["PERSON_NAME"] >= LIKELY
