"""Columns with few values are inspected together, with the same result as each by itself."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.dlp.local import inspector as local
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.local.regex import UNANCHORED, text_matcher
from platform_assets.dlp.model import (
    CustomInfoType,
    ExclusionRule,
    Found,
    HotwordRule,
    InfoType,
    InspectConfig,
    Likelihood,
    LikelihoodAdjustment,
    Proximity,
    Regex,
    RuleSet,
    SmallTable,
    Status,
)
from platform_assets.dlp.scan import scan_object
from platform_assets.formats.reading import cells_of_texts
from platform_assets_tests.dlp import generated as make

KEY = b"k" * 32
Rows = Mapping[str, Sequence[str | None]]

NAMES = (
    *(
        "id",
        "name",
        "first_name",
        "email",
        "phone",
        "fax",
        "card",
        "version",
        "ssn",
        "race",
        "dob",
        "address",
    ),
    *("password", "token", "api_key", "value", "key", "parent/@name", "parent/item", "users[].mail", "a.b.c"),
    *("driver", "passwords.admin", "credentials[].name", "credentials[].value", "host", "iban", "born on"),
)
VALUES = (
    *("Anna", "Anna Smith", "John Miller", "Black", "African American", "Native American", "12 Main Street"),
    *("", " ", "true", "1990-04-05", "4111", "x" * 70, "DB_PASSWORD", "Hj7kQ2mZx9", "1.2.3.4", "40.67.88.88"),
    *(
        "9223372036854775807",
        "4.4.0.1",
        "naïve\u00a0text",
        "a\nb",
        "[passwords]",
        "admin = Hj7kQ2mZx9",
        "Zürich",
    ),
    *(
        "\uff0b49 30 \uff11234567",
        "c\u00adard",
        "token:",
        "  - abc",
        "machine x",
        "login",
        "§",
        "\N{GRINNING FACE}",
    ),
)


def any_value(chance: random.Random) -> str | None:
    made = (make.email, make.phone, make.card, make.iban, make.ssn, make.ip_address, make.timestamp)
    return chance.choice((None, *VALUES, *(one(chance) for one in made)))


def any_table(chance: random.Random) -> Rows:
    rows = chance.choice((1, 1, 2, 5, 12, 30))
    kinds = [chance.sample(VALUES, 2), [any_value(chance) for _ in range(20)]]
    return {
        name: [
            chance.choice(kinds[chance.randrange(2)]) if chance.random() < 0.6 else any_value(chance)
            for _ in range(rows)
        ]
        for name in chance.sample(NAMES, chance.randrange(1, 8))
    }


RULES = InspectConfig(
    min_likelihood=Likelihood.UNLIKELY,
    custom_info_types=(
        CustomInfoType(InfoType("TICKET"), Regex(r"[A-Z]{2,4}-?[0-9]{3,}"), Likelihood.POSSIBLE),
    ),
    rule_set=(
        RuleSet(
            ("TICKET", "PHONE_NUMBER"),
            (
                HotwordRule(
                    "mobile|card|name", LikelihoodAdjustment(relative_likelihood=1), Proximity(20, 20)
                ),
                ExclusionRule(hotword_regex="version", proximity=Proximity(30, 0)),
            ),
        ),
    ),
)


def alone(inspector: LocalInspector, table: Rows, monkeypatch: pytest.MonkeyPatch) -> Found:
    """What is found column by column."""
    with monkeypatch.context() as patched:
        patched.setattr(local, "MOST_ROWS_OF_CELLS", -1)
        return inspector.inspect_columns(
            {name: pa.array(of, pa.large_string()) for name, of in table.items()}
        )


def told(found: Found) -> tuple[object, ...]:
    return (
        sorted(found.findings, key=repr),
        dict(found.tallies),
        sorted(found.columns, key=repr),
    )


@pytest.mark.parametrize(
    "config",
    [InspectConfig(), InspectConfig(min_likelihood=Likelihood.VERY_UNLIKELY), RULES],
    ids=["default", "everything", "rules"],
)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_tables_inspected_together_have_the_findings_of_each_by_itself(
    seed: int, config: InspectConfig
) -> None:
    chance = random.Random(seed)
    tables = [any_table(chance) for _ in range(chance.randrange(1, 9))]
    inspector = LocalInspector(config, KEY)
    together = inspector.inspect_tables(
        [
            SmallTable({name: cells_of_texts(of) for name, of in table.items()}, ("part",), lambda row: row)
            for table in tables
        ]
    )
    with pytest.MonkeyPatch.context() as patched:
        for table, found in zip(tables, together, strict=True):
            expected = alone(inspector, table, patched)
            given = [replace(one, location=replace(one.location, container=())) for one in found.findings]
            verdicts = [replace(one, container=()) for one in found.columns]
            assert told(Found(tuple(given), found.tallies, tuple(verdicts))) == told(expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_names_inspected_together_have_the_info_types_of_each_by_itself(seed: int) -> None:
    chance = random.Random(seed)
    texts = [
        " ".join(str(any_value(chance)) for _ in range(chance.randrange(1, 3))).encode()
        for _ in range(chance.randrange(1, 20))
    ]
    texts += [b"", b"555 010 9999", b"card number", b"4111 1111 1111 1111"]
    inspector = LocalInspector(InspectConfig(), KEY)
    expected = [frozenset(inspector.inspect_text(text).tallies) for text in texts]
    assert inspector.inspect_texts(texts) == expected


@pytest.mark.parametrize("rows", [300, 3_000], ids=["few rows", "many rows"])
@pytest.mark.parametrize("wanted", [0, 1, 40, 500])
def test_only_wanted_findings_are_listed_but_all_are_counted(rows: int, wanted: int) -> None:
    chance = random.Random(rows)
    columns = {
        "email": pa.array([make.email(chance) for _ in range(rows)]),
        "second": pa.array([make.email(chance) if row % 3 else None for row in range(rows)]),
        "card": pa.array([make.card(chance) for _ in range(rows)]),
        "note": pa.array([f"paid from {make.ip_address(chance)} with {make.card(chance)}"] * rows),
    }
    inspector = LocalInspector(InspectConfig(), KEY)
    everything = inspector.inspect_columns(columns, 7, ("a.csv",))
    some = inspector.inspect_rows(columns, lambda row: row + 7, ("a.csv",), lambda info_type: wanted)
    left = dict.fromkeys(everything.tallies, wanted)
    expected = []
    for one in everything.findings:
        left[one.info_type.name] -= 1
        if left[one.info_type.name] >= 0:
            expected.append(one)
    assert list(some.findings) == expected
    assert (some.tallies, some.columns) == (everything.tallies, everything.columns)
    assert everything.tallies["EMAIL_ADDRESS"].count >= rows


class Poisoned(LocalInspector):
    """Fails over every set of columns that holds the poison."""

    def inspect_tables(self, tables: Sequence[SmallTable]) -> list[Found]:
        texts = [text for table in tables for cells in table.columns.values() for text in cells.texts]
        if any("poison" in text for text in texts):
            raise IndexError("over this value")
        return super().inspect_tables(tables)

    def inspect_rows(
        self,
        columns: Mapping[str, pa.Array],
        row: Callable[[int], int],
        container: tuple[str, ...],
        wanted: Callable[[str], int],
    ) -> Found:
        if any("poison" in (text or "") for column in columns.values() for text in column.to_pylist()):
            raise IndexError("over this value")
        return super().inspect_rows(columns, row, container, wanted)


def a_document(fields: int, poisoned: int) -> bytes:
    """XML with a kind of element for each field, some of them in a table of their own."""
    of = [
        f'<field{number} at="{number}"><mail>user{number}@company-three.com</mail></field{number}>'
        for number in range(fields)
    ]
    of[poisoned] = (
        f'<field{poisoned} at="1"><mail>poison</mail><other>a@company-three.com</other></field{poisoned}>'
    )
    return f"<document>{''.join(of)}</document>".encode()


@pytest.mark.parametrize("poisoned", [0, 40, 99])
def test_a_field_over_which_the_inspector_fails_loses_no_other_field(poisoned: int) -> None:
    data = a_document(100, poisoned)
    result = scan_object(io.BytesIO(data), "x.xml", Poisoned(InspectConfig(), KEY), size=len(data))
    assert result.status is Status.PARTIAL
    assert result.tallies["EMAIL_ADDRESS"].count == 100
    [problem] = result.problems
    assert f"the column document/field{poisoned}/mail could not be inspected" in problem.message


def test_thousands_of_keys_each_have_their_own_verdict_and_rows_keep_their_numbers() -> None:
    document = {
        f"group{number}": {"mail": f"u{number}@company-three.com", "n": number} for number in range(900)
    }
    data = json.dumps(document).encode()
    result = scan_object(io.BytesIO(data), "x.json", LocalInspector(InspectConfig(), KEY), size=len(data))
    assert result.tallies["EMAIL_ADDRESS"].count == 900
    assert {verdict.column for verdict in result.columns} == {f"group{number}.mail" for number in range(900)}
    lines = "\n".join(json.dumps({"n": n, "mail": f"u{n}@company-three.com"}) for n in range(50)).encode()
    result = scan_object(io.BytesIO(lines), "x.jsonl", LocalInspector(InspectConfig(), KEY), size=len(lines))
    assert sorted(one.location.row or 0 for one in result.findings) == list(range(50))


@given(texts=st.lists(st.text("aAkKsS\u017f\u212a\xe4\xc4\u00df0 .$", max_size=12), max_size=8))
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("pattern", [r"^\s*\pL[\pL.]*\s*$", r"k.?s", r"[0-9].*\pL|\pL.*[0-9]", "\xe4|ss"])
@pytest.mark.parametrize("ignore_case", [False, True])
def test_few_values_match_a_pattern_as_many_do(texts: list[str], pattern: str, ignore_case: bool) -> None:
    expected = pc.match_substring_regex(pa.array(texts, pa.large_string()), pattern, ignore_case=ignore_case)
    match = text_matcher(pattern, ignore_case)
    found = [match(UNANCHORED, text.encode(), 0, len(text.encode()))[0][0] >= 0 for text in texts]
    assert found == expected.to_pylist()
