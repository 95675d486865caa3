"""Words for missing values say nothing about a column: the few values that are there are found."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.local.table_scan import say_something
from platform_assets.dlp.model import InspectConfig
from platform_assets.dlp.scan import scan_object

COLUMNS = (
    ("dob", "1968-02-10", "DATE_OF_BIRTH"),
    ("birth_date", "10 February 1968", "DATE_OF_BIRTH"),
    ("password", "hunter22x!", "PASSWORD"),
    ("api_token", "Hj7kQ2mZx9pLw3Rt", "AUTH_TOKEN"),
    ("passport", "C01X00T47", "PASSPORT"),
    ("passport_no", "925665416", "PASSPORT"),
    ("address", "12 Elm Street", "STREET_ADDRESS"),
    ("ethnicity", "African American", "ETHNIC_GROUP"),
    ("customer_name", "Nancy Wood", "PERSON_NAME"),
)
MISSING = ("unknown", "N/A", "-", "none", "not provided", " Unknown ", "k.A.", "inconnu", "(blank)", "???")


@pytest.fixture(scope="module")
def inspector() -> LocalInspector:
    return LocalInspector(InspectConfig(), b"a key that is of these tests only")


@pytest.mark.parametrize(("column", "value", "info_type"), COLUMNS)
def test_a_value_among_words_for_missing_ones_is_found_and_only_it_counts(
    inspector: LocalInspector, column: str, value: str, info_type: str
) -> None:
    values = [*MISSING[:5], value, *MISSING[5:]]
    (verdict,) = inspector.inspect_columns({column: pa.array(values)}).columns
    assert (verdict.info_type.name, verdict.matching) == (info_type, 1)
    text = "\n".join([f"number,{column}", *(f"{number},{one}" for number, one in enumerate(values))])
    data = text.encode()
    result = scan_object(io.BytesIO(data), "table.csv", inspector, size=len(data))
    assert [(one.info_type.name, one.location.row) for one in result.findings] == [(info_type, 5)]


@pytest.mark.parametrize(
    ("info_type", "values"),
    [
        (
            "PERSON_NAME",
            ["nancy", "james", "maria", "peter", "anna", "paul"],
        ),
        ("ETHNIC_GROUP", ["African American", "Pacific Islander", "Native American", "African American"]),
    ],
)
def test_values_that_tell_their_type_alone_are_found_among_words_for_missing_ones(
    inspector: LocalInspector, info_type: str, values: list[str]
) -> None:
    column = [*MISSING[:5], *values, *MISSING[5:]]
    data = "\n".join(["number,x1", *(f"{number},{value}" for number, value in enumerate(column))]).encode()
    result = scan_object(io.BytesIO(data), "table.csv", inspector, size=len(data))
    found = [(finding.info_type.name, finding.location.row) for finding in result.findings]
    assert found == [(info_type, row) for row in range(5, 5 + len(values))]


@pytest.mark.parametrize(("column", "value", "info_type"), COLUMNS)
def test_a_column_of_words_for_missing_values_holds_nothing(
    inspector: LocalInspector, column: str, value: str, info_type: str
) -> None:
    assert inspector.inspect_columns({column: pa.array(MISSING)}).columns == ()


def test_words_that_only_begin_like_one_for_a_missing_value_say_something() -> None:
    values = pa.array(
        ["Unknown", "unknown soldier", "", " - ", "-1", "Nancy", "N/A", "Na Li"], pa.large_string()
    )
    assert say_something(values).tolist() == [False, True, False, False, True, True, False, True]


@pytest.mark.parametrize(
    ("before", "value", "info_type"),
    [
        ("version", "203.113.0.77", "IP_ADDRESS"),
        ("driver version", "203.113.0.77", "IP_ADDRESS"),
        ("broadcast", "203.113.0.77", "IP_ADDRESS"),
        ("upgrade to", "203.113.0.77", "IP_ADDRESS"),
        (">=", "203.113.0.77", "IP_ADDRESS"),
        ("192.168.0.0 - ", "203.113.0.77", "IP_ADDRESS"),
        ("code: ", "4539578763621486", "CREDIT_CARD_NUMBER"),
        ("`", "4539578763621486", "CREDIT_CARD_NUMBER"),
        ("7,", "+44 20 7946 0958", "PHONE_NUMBER"),
        ("EUR ", "+44 20 7946 0958", "PHONE_NUMBER"),
        ("-", "+44 20 7946 0958", "PHONE_NUMBER"),
        ("copyright", "Nancy Wood", "PERSON_NAME"),
        ("happy ", "Nancy Wood", "PERSON_NAME"),
    ],
)
@pytest.mark.parametrize("column", ["value", "seen"])
def test_what_another_row_says_hides_no_value(
    inspector: LocalInspector, column: str, before: str, value: str, info_type: str
) -> None:
    def types(values: list[str]) -> set[str]:
        found = inspector.inspect_columns({column: pa.array(values)})
        return {finding.info_type.name for finding in found.findings}

    other = "nothing"
    assert types([before, value]) == types([other, value])
    assert info_type in types([other, value])
