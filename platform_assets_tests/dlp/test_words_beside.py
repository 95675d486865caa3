"""Words beside values: abbreviated, dotted, in plural; small letters; columns named after people."""

from __future__ import annotations

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig


@pytest.fixture(scope="module")
def inspector() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def found(inspector: LocalInspector, text: str) -> set[tuple[str, str | None]]:
    return {(one.info_type.name, one.quote) for one in inspector.inspect_text(text.encode())}


@pytest.mark.parametrize(
    ("text", "info_type", "value"),
    [
        *(
            (f"{word} 04/05/1987", "DATE_OF_BIRTH", "04/05/1987")
            for word in ("D.O.B:", "D.O.B.", "DOBs:", "Geb.:")
        ),
        *(
            (f"{word} 04/05/1987", "DATE_OF_BIRTH", "04/05/1987")
            for word in ("Geb.-Dat.:", "Data ur.:", "Fec. Nac.:")
        ),
        *(
            (f"{word} 04/05/1987", "DATE_OF_BIRTH", "04/05/1987")
            for word in ("né le", "nata il", "birth dates:")
        ),
        *(
            (f"{word} 523456789", "US_SOCIAL_SECURITY_NUMBER", "523456789")
            for word in ("S.S.N.:", "S.S.N", "SSNs:")
        ),
        *(
            (f"{word} 123 456 782", "AUSTRALIA_TAX_FILE_NUMBER", "123 456 782")
            for word in ("T.F.N:", "TFNs:")
        ),
        *(
            (f"{word} C01X00T47", "PASSPORT", "C01X00T47")
            for word in ("Pass-Nr.:", "Reisepass-Nr.:", "Passport No.")
        ),
    ],
)
def test_dotted_abbreviated_and_plural_words_name_a_value(
    text: str, info_type: str, value: str, inspector: LocalInspector
) -> None:
    assert (info_type, value) in found(inspector, f"{text}\n")


def test_words_in_plural_name_several_values(inspector: LocalInspector) -> None:
    assert found(inspector, "dates of birth: 04/05/1987, 06/07/1990 and 08/09/1991") == {
        ("DATE_OF_BIRTH", day) for day in ("04/05/1987", "06/07/1990", "08/09/1991")
    }


@pytest.mark.parametrize(
    "text", ["Due: 04/05/1987", "D.O.A: 04/05/1987", "Dobson 04/05/1987", "P.S. 523456789", "Pass-Nr.: none"]
)
def test_other_words_and_abbreviations_name_nothing(text: str, inspector: LocalInspector) -> None:
    assert not {name for name, _ in found(inspector, text)} & {
        "DATE_OF_BIRTH",
        "US_SOCIAL_SECURITY_NUMBER",
        "PASSPORT",
        "PASSWORD",
    }


@pytest.mark.parametrize(
    "address",
    ["500 elm street", "12 north oak avenue", "7 st. james court", "1 old mill rd", "hauptstraße 5"],
)
def test_addresses_in_small_letters(address: str, inspector: LocalInspector) -> None:
    text = f"she lives at {address}, springfield"
    assert "STREET_ADDRESS" in {name for name, _ in found(inspector, text)}


@pytest.mark.parametrize(
    "text",
    ["a 10 minute drive", "a 2 way street", "the 4 lane road", "24 hours on the road", "a 500 gb hard drive"],
)
def test_distances_and_drives_are_no_addresses(text: str, inspector: LocalInspector) -> None:
    assert "STREET_ADDRESS" not in {name for name, _ in found(inspector, text)}


NAMES = pa.array(["Anna", "Maria", "Daniel", "Laura", "Peter", "Sofia", "Thomas", "Julia"])


@pytest.mark.parametrize(
    "column", ["host_name", "driver", "tenant", "customer", "contact", "author", "ownerName"]
)
def test_columns_of_given_names_are_known_by_the_role_of_people(
    column: str, inspector: LocalInspector
) -> None:
    verdicts = inspector.inspect_columns({column: NAMES}).columns
    assert [verdict.info_type.name for verdict in verdicts] == ["PERSON_NAME"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("host_name", ["web", "db", "cache", "anna", "mail", "proxy"]),
        ("driver", ["postgresql", "mysql", "sqlite", "oracle", "odbc"]),
        ("customer", ["Acme", "Globex", "Initech", "Umbrella", "Hooli"]),
        ("tenant", ["default", "staging", "production", "sandbox"]),
    ],
)
def test_columns_of_roles_that_hold_machines_and_companies(
    column: str, values: list[str], inspector: LocalInspector
) -> None:
    assert inspector.inspect_columns({column: pa.array(values)}).columns == ()
