"""A text with many findings is searched once for what stands around them, and gives the same findings."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.local.scanners import text
from platform_assets.dlp.model import FindingLimits, Found, InspectConfig, Likelihood
from platform_assets_tests.dlp import generated as make

KEY = b"a key that is of these tests only"
_VALUES = (
    make.email,
    make.phone,
    make.card,
    make.iban,
    make.ip_address,
    make.ssn,
    lambda chance: "user@domain.com",
    lambda chance: "info@project.org",
    lambda chance: "project@project.org",
    lambda chance: f"1.{chance.randrange(9)}.3.{chance.randrange(99)}",
    lambda chance: "Jane Smith",
)
# What stands around a value and changes its likelihood, and what only looks so.
_BEFORE = (
    *("Copyright 2020 Jane Doe <", "author: ", "Written by\nJane <", "patch from ", "signed-off-by: Jane <"),
    *("# by Jane Doe <", "/* by ", "  * ", "2024-01-02 Jane Doe <", "Mon Jan 01 Jane (", "From: Jane <"),
    *("mailto:", "Message-ID: <", "cid:", "e.g. ", "for example,\n", "such as ", "placeholder=", ">>> f('"),
    *("upgraded to ", "version ", "fileversion: ", "firmware v", "changes from ", ">= ", "^", "->", "ip: "),
    *(
        "phone: ",
        "I.P. ",
        "S.S.N.: ",
        "card no. ",
        "Tel: ",
        "e-mail ",
        "account number ",
        "order id ",
        "rev ",
    ),
    *("www.example.com ", "a.root-servers.net ", "license ", "maintained, ", "by ", "standby ", "CN=x, e="),
    *("rev ", "subject ", "the table of ", "\n", "\n\n", "a; ", "-- ", "notes, ", "100% of ", "* ", "Dear "),
)
_AFTER = (
    *(
        ">",
        "\n",
        " ",
        ", ",
        ". ",
        "; ",
        "\t",
        ">  Mon, 3 ",
        " (12):\n",
        " (home)",
        " version",
        "> copyright\n",
    ),
    *(
        "> copyright\n",
        "/resource ",
        " ext 12\n",
        " license ",
        " is my phone\n",
        ") ",
        "'\n",
        ".\n",
        " example ",
        "\r\n",
    ),
)


def _dense(chance: random.Random, size: int) -> bytes:
    parts: list[str] = []
    while sum(map(len, parts)) < size:
        words = "".join(chance.choices(("stage ", "a note ", "invoice ", "contact ", "shop\n"), k=2))
        parts += [chance.choice(_BEFORE), chance.choice(_VALUES)(chance), chance.choice(_AFTER)]
        parts += [words] if chance.random() < 0.3 else []
    return "".join(parts).encode()


def _inspected(data: bytes, *, least: Likelihood) -> Found:
    config = InspectConfig(
        info_types=tuple(BY_NAME), min_likelihood=least, limits=FindingLimits(100_000, 100_000)
    )
    return LocalInspector(config, KEY).inspect_text(data)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_around_a_value_counts_the_same_however_it_is_looked_for(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _dense(random.Random(seed), 20_000)
    for least in (Likelihood.VERY_UNLIKELY, Likelihood.POSSIBLE):
        with monkeypatch.context() as patched:
            patched.setattr(text._Sightings, "may_be", lambda *_: True)  # nothing is ruled out by a search
            singly = _inspected(data, least=least)
        monkeypatch.setattr(text, "_WORTH", 1)  # only what is around each value is searched
        parts = _inspected(data, least=least)
        monkeypatch.setattr(text, "_WORTH", 10**9)  # all of the text is searched for the first question
        at_once = _inspected(data, least=least)
        assert at_once == parts == singly
        assert len(singly) > 300
        assert len({one.likelihood for one in singly}) > 2


@pytest.mark.parametrize(
    "beside", ["for example,", "such as", ">>> f('", "ip address:", "phone:", "www.example.com"]
)
@pytest.mark.parametrize(
    "value", ["jane.roe@web.de", "91.198.174.192", "+44 20 7946 0958", "4012888888881881"]
)
def test_a_value_of_a_column_does_not_depend_on_the_values_beside_it(beside: str, value: str) -> None:
    inspector = LocalInspector(InspectConfig(min_likelihood=Likelihood.UNLIKELY), KEY)
    alone, among = (
        inspector.inspect_columns({"note": pa.array([other, value, other])}).findings
        for other in ("shop", beside)
    )
    assert [one for one in among if one.location.row == 1] == list(alone) != []


def test_places_that_are_too_many_are_not_remembered() -> None:
    data = b"by " * 10_000 + b"the end"
    found = text._Sightings(rb"by", data)
    found._left = 0
    assert found.may_be(len(data) - 4, len(data))
    assert (found._starts, found._ends) == ([0], [len(data)])
    few = text._Sightings(rb"end", data)
    few._left = 0
    assert not few.may_be(0, len(data) - 3)
    assert few.may_be(0, len(data) - 2)
    assert few.may_be(len(data) - 1, len(data) + 24)
