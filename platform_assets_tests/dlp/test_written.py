"""What people write by hand is found, in every notation of `written`, and what only looks like it is not."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterable

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import Finding, InspectConfig, Likelihood
from platform_assets.dlp.scan import scan_object
from platform_assets_tests.dlp import written

LABEL = re.compile(r"<<([A-Z])\|(.*?)>>(?!>)")
GIVEN = (
    "Anna",
    "Peter",
    "Maria",
    "James",
    "Sofia",
    "Lukas",
    "Emma",
    "Carlos",
    "Julia",
    "Thomas",
    "Laura",
    "David",
)
FAMILY = (
    "Keller",
    "Novak",
    "Rossi",
    "Murphy",
    "Garcia",
    "Weber",
    "Dubois",
    "Jansen",
    "Silva",
    "Brown",
    "Fischer",
)


@pytest.fixture(scope="module")
def usual() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def findings(inspector: LocalInspector, name: str, text: str) -> Iterable[Finding]:
    """The findings in a text, or in a file of a name."""
    data = text.encode()
    if not name:
        return inspector.inspect_text(data).findings
    return scan_object(io.BytesIO(data), name, inspector, size=len(data)).findings


def missed(inspector: LocalInspector, texts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The labelled values that are not found, with their texts."""
    misses = []
    for name, text in texts:
        got = [
            (one.info_type.name, one.quote or "") for one in findings(inspector, name, LABEL.sub(r"\2", text))
        ]
        for label in LABEL.finditer(text):
            kind, value = written.TYPES[label[1]], label[2]
            if not any(name == kind and (quote in value or value in quote) for name, quote in got):
                misses.append((text, value))
    return misses


def test_names_and_values_in_fields_of_every_format_are_pairs(usual: LocalInspector) -> None:
    assert missed(usual, written.PAIRS) == []


def test_secrets_in_commands_statements_settings_and_sentences_are_found(usual: LocalInspector) -> None:
    assert missed(usual, (("", text) for text in written.COMMANDS)) == []


def test_words_beside_count_dotted_abbreviated_in_plural_and_in_other_languages(
    usual: LocalInspector,
) -> None:
    assert missed(usual, (("", text) for text in written.BESIDE)) == []


def test_columns_of_names_are_found_under_any_heading_for_people(usual: LocalInspector) -> None:
    chance = random.Random(5)
    misses = []
    for name in written.COLUMNS_OF_NAMES:
        families = any(word in name.lower() for word in ("last", "surname", "lname", "nach", "achter"))
        alone = FAMILY if families or name in ("apellido", "cognome", "nazwisko") else GIVEN
        for values in (
            [chance.choice(alone) for _ in range(20)],
            [f"{chance.choice(GIVEN)} {chance.choice(FAMILY)}" for _ in range(20)],
        ):
            verdicts = usual.inspect_columns({name: pa.array(values)}).columns
            if "PERSON_NAME" not in {one.info_type.name for one in verdicts}:
                misses.append((name, values[0]))
    assert misses == []


def test_placeholders_code_templates_translations_and_documents_hold_nothing_likely(
    usual: LocalInspector,
) -> None:
    alarms = [
        (text, one.info_type.name, one.quote)
        for name, text in written.NOTHING
        for one in findings(usual, name, text)
        if one.likelihood >= Likelihood.LIKELY
    ]
    assert alarms == []
