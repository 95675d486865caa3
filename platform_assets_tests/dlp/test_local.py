"""The local inspector: what it finds, how sure it is, and what it keeps to itself."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import io
import random
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.dlp.local.checks import bitcoin, ethereum
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.local.phones import is_international, is_national
from platform_assets.dlp.local.scanners.people import is_date
from platform_assets.dlp.model import (
    CustomInfoType,
    Dictionary,
    Evidence,
    ExclusionRule,
    Finding,
    FindingLimits,
    HotwordRule,
    InfoType,
    InspectConfig,
    Likelihood,
    LikelihoodAdjustment,
    MatchingType,
    Proximity,
    Regex,
    RuleSet,
    Sensitivity,
)
from platform_assets.dlp.scan import scan_object
from platform_assets.errors import SettingsError
from platform_assets_tests.dlp import generated as make
from platform_assets_tests.fixtures.properties import examples
from platform_assets_tests.formats.test_formats import a_parquet, an_orc

KEY = b"a key that is of these tests only"
CHANCE = random.Random(7)


def inspector(**config: object) -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True, **config), KEY)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def usual() -> LocalInspector:
    return inspector()


def found(inspector: LocalInspector, text: str) -> dict[str, Likelihood]:
    return {finding.info_type.name: finding.likelihood for finding in inspector.inspect_text(text.encode())}


def only(inspector: LocalInspector, text: str) -> Finding:
    (finding,) = inspector.inspect_text(text.encode())
    return finding


def valid_card() -> str:
    while True:
        number = make.card(CHANCE)
        if len(number) == 16:
            return number


def test_a_card_number_with_a_wrong_check_digit_beside_its_name_is_possible(usual: LocalInspector) -> None:
    finding = only(usual, "My credit card number is 1234 5678 9012 3456, and my CVV is 789.")
    assert finding.info_type.name == "CREDIT_CARD_NUMBER"
    assert finding.likelihood is Likelihood.POSSIBLE
    assert finding.evidence == (Evidence.SHAPE, Evidence.HOTWORD)
    assert finding.location.byte_range.start == 25
    assert found(usual, "The number is 1234 5678 9012 3456.") == {}


def test_a_phone_number_and_an_email_address_named_in_a_sentence_are_very_likely(
    usual: LocalInspector,
) -> None:
    text = "My phone number is (223) 456-7890 and my email address is gary@somedomain.com."
    assert found(usual, text) == {
        "PHONE_NUMBER": Likelihood.VERY_LIKELY,
        "EMAIL_ADDRESS": Likelihood.VERY_LIKELY,
    }


def test_a_harmless_text_holds_nothing(usual: LocalInspector) -> None:
    result = usual.inspect_text(b"This file is mostly harmless.")
    assert (len(result), result.tallies, result.columns) == (0, {}, ())


def test_cards_of_a_column_are_judged_by_their_check_digits_and_its_name(usual: LocalInspector) -> None:
    right = valid_card()
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    result = usual.inspect_columns({"credit_card": pa.array([right, wrong, None, right])})
    assert [(finding.location.row, finding.likelihood.name) for finding in result] == [
        (0, "VERY_LIKELY"),
        (1, "POSSIBLE"),
        (3, "VERY_LIKELY"),
    ]
    assert result.tallies["CREDIT_CARD_NUMBER"].count == 3
    assert [(verdict.column, verdict.distinct, verdict.matching) for verdict in result.columns] == [
        ("credit_card", 2, 2)
    ]


def test_check_digits_alone_are_likely_and_a_name_beside_makes_them_very_likely(
    usual: LocalInspector,
) -> None:
    number = make.brazil_cpf(CHANCE)
    assert found(usual, f"look at {number}")["BRAZIL_CPF_NUMBER"] is Likelihood.LIKELY
    assert found(usual, f"CPF {number}")["BRAZIL_CPF_NUMBER"] is Likelihood.VERY_LIKELY


def test_bare_digits_that_one_in_eleven_numbers_passes_as_need_a_name(usual: LocalInspector) -> None:
    number = make.weighted(CHANCE, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11)
    assert "NETHERLANDS_BSN_NUMBER" not in found(usual, f"look at {number}")
    assert found(usual, f"het BSN is {number}")["NETHERLANDS_BSN_NUMBER"] is Likelihood.VERY_LIKELY


def test_hotwords_are_whole_words_and_parts_of_identifiers(usual: LocalInspector) -> None:
    number = make.weighted(CHANCE, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11)
    for name in ("customerBsn", "customer_bsn", "CUSTOMER-BSN", "bsn"):
        assert "NETHERLANDS_BSN_NUMBER" in found(usual, f"{name}={number}"), name
    assert "NETHERLANDS_BSN_NUMBER" not in found(usual, f"absnt={number}")
    years = pa.array(["201", "202", "203"])
    assert usual.inspect_columns({"ACADEMIC_YEAR_CODE": years}).columns == ()


def test_the_nearer_word_names_the_number(usual: LocalInspector) -> None:
    number = make.canada_sin(CHANCE).replace(" ", "")
    assert "CANADA_SOCIAL_INSURANCE_NUMBER" in found(usual, f'{{"order_id": 7, "sin": {number}}}')
    assert "CANADA_SOCIAL_INSURANCE_NUMBER" not in found(usual, f'{{"sin": null, "order_id": {number}}}')


def test_a_number_between_commas_stands_alone(usual: LocalInspector) -> None:
    number = valid_card()
    assert found(usual, f"Ann,01/01/1970,07/21/1996,{number}") == {"CREDIT_CARD_NUMBER": Likelihood.LIKELY}
    assert found(usual, f"0.{number} and 1,234,567,890.12 and x{number} and {number}x") == {}


def test_the_line_above_names_a_value_that_stands_alone_on_its_line(usual: LocalInspector) -> None:
    number = make.weighted(CHANCE, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11)
    assert "NETHERLANDS_BSN_NUMBER" in found(usual, f"BSN:\n  {number}\n")


def test_a_column_of_random_digits_holds_no_cards_although_some_pass_the_check() -> None:
    column = pa.array([make.digits(CHANCE, 16) for _ in range(2_000)])
    assert inspector().inspect_columns({"reference": column}).columns == ()


@pytest.mark.parametrize("size", [30, 5_000])
def test_a_column_in_which_all_digits_pass_a_check_is_likely_without_a_name(size: int) -> None:
    column = pa.array([make.canada_sin(CHANCE).replace(" ", "") for _ in range(size)])
    (verdict,) = inspector().inspect_columns({"x": column}).columns
    assert (verdict.info_type.name, verdict.likelihood) == (
        "CANADA_SOCIAL_INSURANCE_NUMBER",
        Likelihood.LIKELY,
    )
    assert verdict.share == 1.0


def test_a_large_column_is_counted_whole_and_its_findings_are_limited() -> None:
    rows = 6_000
    column = pa.array([f"user{count}@example.org" if count % 3 else None for count in range(rows)])
    result = inspector(limits=FindingLimits(max_findings_per_info_type=50)).inspect_columns(
        {"x": column}, 100
    )
    assert result.tallies["EMAIL_ADDRESS"].count == 4_000
    assert len(result) == 50
    assert [finding.location.row for finding in result][:3] == [101, 102, 104]
    assert result.findings[0].quote == "user1@example.org"


def test_a_secret_among_many_ordinary_values_is_found_wherever_it_is() -> None:
    values = [f"note {count} of the day" for count in range(9_000)]
    values[7_777] = f"use {make.matching(CHANCE, 'ghp_[A-Za-z0-9]{36}')} for now"
    (finding,) = inspector().inspect_columns({"note": pa.array(values)})
    assert (finding.info_type.name, finding.location.row) == ("GITHUB_TOKEN", 7_777)


def test_columns_of_other_types_are_inspected_as_their_texts() -> None:
    cards = [int(valid_card()) for _ in range(3)]
    table = {
        "card": pa.array(cards, pa.int64()),
        "choice": pa.array(["jane@example.org", "jane@example.org", "x"]).dictionary_encode(),
        "raw": pa.array([b"joe@example.org", None, b"\xff"]),
        "nothing": pa.nulls(3),
        "flag": pa.array([True, False, None]),
        "chunked": pa.chunked_array([["ann@example.org"], ["b", "c"]]),
    }
    result = inspector().inspect_columns(table)
    assert {verdict.column for verdict in result.columns} == {"card", "choice", "raw", "chunked"}
    assert result.tallies["EMAIL_ADDRESS"].count == 4


def test_what_only_a_column_tells_names_people_streets_births_and_passwords() -> None:
    table = {
        "first_name": pa.array(["Ann", "José", "Maria", "Li"]),
        "ethnicity": pa.array(["White", "Asian", "Black or African American", "Other"]),
        "address_line_1": pa.array(
            ["179 Alexie Cliffs", "0579 Durgan Common", "644 Edward Garden", "12 Elm St"]
        ),
        "dob": pa.array(["1970-01-01", "1988-03-06", "1945-08-14", "1992-11-03"]),
        "passport_no": pa.array(["C01X00T47", "123456789", "AB1234567", "L8989012C"]),
        "password": pa.array([make.password(CHANCE) for _ in range(4)]),
        "product_name": pa.array(["Ann", "José", "Maria", "Li"]),
        "last_updated": pa.array(["1970-01-01", "1988-03-06", "1945-08-14", "1992-11-03"]),
    }
    verdicts = {
        verdict.column: verdict.info_type.name for verdict in inspector().inspect_columns(table).columns
    }
    assert verdicts == {
        "first_name": "PERSON_NAME",
        "ethnicity": "ETHNIC_GROUP",
        "address_line_1": "STREET_ADDRESS",
        "dob": "DATE_OF_BIRTH",
        "passport_no": "PASSPORT",
        "password": "PASSWORD",
    }


@pytest.mark.parametrize(
    "text",
    [
        'password = os.environ["DB_PASSWORD"]',
        "password=${DB_PASSWORD}",
        "password: ********",
        'api_key = "YOUR_API_KEY"',
        "def set_password(self, password: str) -> None:",
        "max_tokens = 4096",
        "token: ${{ secrets.DEPLOY }}",
        "apiKey: process.env.API_KEY",
        "client_secret = secret://env/CLIENT",
        '"integrity": "sha512-{hash}"',
        "commit {hash}",
        'password_hash = "{hash}"',
        "api_key: 550e8400-e29b-41d4-a716-446655440000",
        "The token is expired. The password is required for login.",
    ],
)
def test_placeholders_code_and_digests_are_no_secrets(text: str, usual: LocalInspector) -> None:
    assert found(usual, text.replace("{hash}", make.text(CHANCE, 64, make.HEXADECIMAL))) == {}


@pytest.mark.parametrize(
    "text",
    [
        "Signed in as operator with password {secret}, as before.",
        "ALTER USER app IDENTIFIED BY '{secret}';",
        "CREATE ROLE app WITH LOGIN PASSWORD '{secret}' CREATEDB",
        'Connect-Service -Password "{secret}" -Force',
        'PASSWORD = os.environ.get("PASSWORD") or "{secret}"',
        "curl -s -u operator:{secret} https://internal.company-one.com/health",
        'if (db_password !== "{secret}") {',
        "ann@company-one.com:{secret}",
        "What leaked: ann@company-one.com / {secret} and others",
    ],
)
def test_passwords_are_found_in_sentences_and_languages(text: str, usual: LocalInspector) -> None:
    secret = f"Tr{make.text(CHANCE, 5)}!7k"
    result = usual.inspect_text(text.replace("{secret}", secret).encode())
    assert [finding.quote for finding in result if finding.info_type.name == "PASSWORD"] == [secret]


@pytest.mark.parametrize(
    "text",
    [
        "Enter your password below and confirm.",
        "The password reset-form is at /account/password or behind password settings.",
        "PWD=/srv/app/project",
        "https://user:pass1234@example.com/",
        "curl -u $USER:$PASSWORD https://internal.company-one.com/",
        "-u 1000:1000 --rm",
        "git@code.company-one.com:Team7/Repository",
        "ann@company-one.com: 25Jan2024",
    ],
)
def test_what_only_speaks_of_passwords_is_none(text: str, usual: LocalInspector) -> None:
    assert "PASSWORD" not in found(usual, text)


def test_a_random_value_of_a_name_that_ends_in_key_is_possible_unless_the_key_is_of_a_row(
    usual: LocalInspector,
) -> None:
    value = "fR7" + make.text(CHANCE, 26) + "x2Q9"
    assert found(usual, f'acmeKey = "{value}"') == {"AUTH_TOKEN": Likelihood.POSSIBLE}
    assert found(usual, f"primaryKey={value}") == {}
    assert found(usual, f'public_key: "{value}"') == {}


def test_the_signing_in_to_a_registry_is_decoded(usual: LocalInspector) -> None:
    signed = base64.b64encode(f"operator:{make.text(CHANCE, 12)}".encode()).decode()
    text = f'{{"auths": {{"registry.company-one.com": {{"auth": "{signed}"}}}}}}'
    assert found(usual, text)["AUTH_TOKEN"] is Likelihood.VERY_LIKELY
    assert "AUTH_TOKEN" not in found(usual, '{"auth": "c2ltcGxlLXRleHQ="}')


def test_a_password_in_a_connection_string_is_found_without_the_rest(usual: LocalInspector) -> None:
    secret = make.text(CHANCE, 12)
    result = usual.inspect_text(f"postgres://app:{secret}@db.internal:5432/shop".encode())
    assert [finding.quote for finding in result if finding.info_type.name == "PASSWORD"] == [secret]


def test_addresses_of_coins_carry_their_checksums() -> None:
    # From the documents that define them: BIP 173, EIP-55, and the genesis block.
    assert bitcoin("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    assert not bitcoin("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5")
    assert bitcoin("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa")
    assert not bitcoin("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb")
    assert ethereum("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    assert not ethereum("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")


def test_numbering_plans_give_the_verdict_of_phonenumbers() -> None:
    import phonenumbers

    chance = random.Random(3)
    agreed = 0
    for _ in range(3_000):
        code = chance.choice(("1", "44", "49", "33", "39", "91", "55", "61", "48", "972", "358", "800"))
        digits = code + make.digits(chance, chance.randrange(6, 12))
        agreed += is_international(digits) == phonenumbers.is_valid_number(phonenumbers.parse("+" + digits))
    # phonenumbers also forgives a national prefix behind the country code, in more countries than this does.
    assert agreed / 3_000 > 0.99
    assert is_national("2234567890", "US")
    assert not is_national("1234567890", "US")


@pytest.mark.parametrize(
    "number",
    [
        *("(212)555-0143", "212.555.0143", "1-212-555-0143", "001-212-555-0143x512", "555-867-5309"),
        *("(0161) 496 0143", "07700 900143", "07700900143", "030 1234567", "0171/1234567", "06-30/123 4567"),
        *(
            "01 42 68 53 00",
            "01.42.68.53.00",
            "612 34 56 78",
            "98765 43210",
            "(11) 91234-5678",
            "347 1234567",
        ),
        *("22 622 33 44", "08-123 456 78", "(02) 9876 5432", "1300 654 321", "010-2345-6789", "13901234568"),
        *("8 (912) 345-67-89", "0041 44 668 18 00", "+49 (0)30 1234567", "(351) 912 345 678"),
    ],
)
def test_a_telephone_number_is_known_by_the_way_its_country_writes_it(
    number: str, usual: LocalInspector
) -> None:
    for text in ("Please look at {} today.", '{{"x": "{}"}}', "Anna | {} | Berlin"):
        result = usual.inspect_text(text.format(number).encode())
        assert [finding.quote for finding in result if finding.info_type.name == "PHONE_NUMBER"] == [number]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2024-03-07 08:15",
            "07.03.2024 - 09.03.2024",
            "early 2002 - 2007",
            "build 20240307",
            "1,234,567,890.00",
        ),
        *("EUR 1.234.567,89", "$ 212 555 0143", "Boston, MA 02110-1301", "0306406152", "0209.0020.0002.0020"),
        *("345 212 555 0143 78", "4155550143", "740.368.405.1434", "01 00 00 00 00", "order id 0171 1234567"),
        *(
            "id: 0171234567",
            "SSN 219 09 9998",
            "12.3456789",
            "60000-64999",
            "+000000120",
            "IBAN 0171 1234567",
            "978-3-16-148410-0",
        ),
    ],
)
def test_dates_sums_codes_and_rows_of_numbers_are_no_telephone_numbers(
    text: str, usual: LocalInspector
) -> None:
    assert "PHONE_NUMBER" not in found(usual, text)


def test_groups_of_digits_in_a_row_of_hexadecimal_ones_are_no_card(usual: LocalInspector) -> None:
    number = make.grouped(valid_card().translate(str.maketrans("", "", " -")), 4, 4, 4, 4)
    assert found(usual, f"it is {number} and") == {"CREDIT_CARD_NUMBER": Likelihood.LIKELY}
    assert found(usual, f"751C 606C {number} 8FE2 773A") == {}


def test_a_label_behind_a_number_names_it_as_one_before_does(usual: LocalInspector) -> None:
    assert found(usual, "61 518 2043 (fax)") == {"PHONE_NUMBER": Likelihood.VERY_LIKELY}
    assert found(usual, "61 518 2043 (dozen)") == {}
    assert found(usual, "212-555-0143-Fax") == {"PHONE_NUMBER": Likelihood.VERY_LIKELY}
    assert found(usual, "4155550143 ext 9") == {"PHONE_NUMBER": Likelihood.POSSIBLE}


def test_codes_in_small_letters_are_proved_by_their_check_digits(usual: LocalInspector) -> None:
    number = make.iban(CHANCE).lower()
    assert found(usual, f"send it to {number}") == {"IBAN_CODE": Likelihood.LIKELY}
    code = make.italy_fiscal_code(CHANCE).lower()
    assert found(usual, f"it is {code}") == {"ITALY_FISCAL_CODE": Likelihood.LIKELY}
    wrong = number[:-1] + ("1" if number[-1] != "1" else "2")
    assert found(usual, f"send it to {wrong}") == {}


def test_short_addresses_need_a_name_or_a_prefix_and_sections_are_none(usual: LocalInspector) -> None:
    assert found(usual, "source ip ::1") == {"IP_ADDRESS": Likelihood.POSSIBLE}
    assert found(usual, "allow ::/0") == {"IP_ADDRESS": Likelihood.POSSIBLE}
    assert found(usual, "std::map<int> a; x[::1]") == {}
    assert found(usual, "as the spec 5.2.3.11 says") == {}
    assert found(usual, "::ffff:192.168.1") == {}


def test_a_birth_is_told_in_the_next_sentence_too(usual: LocalInspector) -> None:
    assert "DATE_OF_BIRTH" in found(usual, "You ask for my date of birth. It's 10/3/1953.")
    assert "DATE_OF_BIRTH" not in found(usual, "You ask for my date of birth. The form is of 10/3/1953.")


def test_places_are_counted_in_bytes_and_in_code_points(usual: LocalInspector) -> None:
    text = "Żółć 🎉 é: jane@example.org und später joe@example.org"
    first, second = usual.inspect_text(text.encode(), ("a.zip", "b.txt"))
    for finding in (first, second):
        points, places = finding.location.codepoint_range, finding.location.byte_range
        assert text[points.start : points.end] == finding.quote
        assert text.encode()[places.start : places.end].decode() == finding.quote
        assert finding.location.container == ("a.zip", "b.txt")


def test_places_in_a_column_are_those_within_the_value(usual: LocalInspector) -> None:
    (finding,) = usual.inspect_columns({"c": pa.array(["x", "żółć: jane@example.org!"])})
    assert (finding.location.codepoint_range.start, finding.location.byte_range.start) == (6, 10)


def test_a_fingerprint_is_the_same_for_the_same_value_under_one_key_alone() -> None:
    number = valid_card()
    spaced = " ".join((number[:4], number[4:8], number[8:12], number[12:]))
    one, other = (only(inspector(), f"card {written}").fingerprint for written in (number, spaced))
    assert one == other
    elsewhere = LocalInspector(InspectConfig(), b"another key, of other tests")
    assert only(elsewhere, f"card {number}").fingerprint != one
    assert number not in one
    for key in (KEY, KEY * 4):
        value = f"CREDIT_CARD_NUMBER\0{number}".encode()
        expected = hmac.new(key, value, hashlib.sha256).hexdigest()[:32]
        assert only(LocalInspector(InspectConfig(), key), f"card {number}").fingerprint == expected


def test_a_finding_carries_no_quote_unless_it_is_asked_for() -> None:
    assert only(LocalInspector(InspectConfig(), KEY), "jane@example.org").quote is None


def test_findings_are_limited_and_counted_all_the_same() -> None:
    text = "\n".join(f"user{count}@example.org" for count in range(40)).encode()
    limits = FindingLimits(max_findings_per_item=7, max_findings_per_info_type=100)
    result = inspector(limits=limits).inspect_text(text)
    assert (len(result), result.tallies["EMAIL_ADDRESS"].count) == (7, 40)


def test_only_what_is_asked_for_is_reported_but_all_is_known() -> None:
    number = make.canada_sin(CHANCE).replace(" ", "")
    asked = inspector(info_types=("NETHERLANDS_BSN_NUMBER", "EMAIL_ADDRESS"))
    assert found(asked, f"SIN {number} mail jane@shop.org") == {"EMAIL_ADDRESS": Likelihood.VERY_LIKELY}
    less = inspector(exclude_info_types=("EMAIL_ADDRESS",))
    assert "EMAIL_ADDRESS" not in found(less, "mail jane@shop.org")


def test_a_threshold_of_its_own_holds_for_an_info_type() -> None:
    strict = inspector(min_likelihood_per_info_type={"EMAIL_ADDRESS": Likelihood.VERY_LIKELY})
    assert found(strict, "jane@shop.org") == {}
    assert "EMAIL_ADDRESS" in found(strict, "e-mail: jane@shop.org")


EMPLOYEE = CustomInfoType(
    InfoType("EMPLOYEE_NUMBER", "3", Sensitivity.HIGH),
    Regex(r"\bE(\d{5})\b", (1,)),
    Likelihood.POSSIBLE,
    (HotwordRule("staff", LikelihoodAdjustment(relative_likelihood=2), Proximity(20, 0)),),
)


def test_a_custom_pattern_gives_the_group_it_names_and_obeys_its_hotwords() -> None:
    custom = inspector(custom_info_types=(EMPLOYEE,))
    finding = only(custom, "see E12345")
    assert (finding.quote, finding.likelihood, finding.info_type.version) == (
        "12345",
        Likelihood.POSSIBLE,
        "3",
    )
    assert only(custom, "staff: E12345").likelihood is Likelihood.VERY_LIKELY
    assert only(custom, "staffing: E12345").likelihood is Likelihood.POSSIBLE
    (in_column,) = custom.inspect_columns({"STAFF_ID": pa.array(["E12345"])})
    assert (in_column.likelihood, in_column.evidence) == (
        Likelihood.VERY_LIKELY,
        (Evidence.HEADER, Evidence.CUSTOM),
    )


def test_a_dictionary_matches_whole_words_whatever_stands_between_them() -> None:
    words = CustomInfoType(InfoType("PROJECT"), Dictionary(("blue falcon", "Ødegård")))
    custom = inspector(custom_info_types=(words,))
    for text in ("the Blue-Falcon plan", "BLUE  FALCON", "for Ødegård."):
        assert only(custom, text).info_type.name == "PROJECT", text
    assert found(custom, "blue falcons") == {}


def test_exclusions_take_findings_away() -> None:
    def left(rule: ExclusionRule, text: str) -> set[str | None]:
        config = inspector(rule_set=(RuleSet(("EMAIL_ADDRESS",), (rule,)),))
        return {finding.quote for finding in config.inspect_text(text.encode())}

    text = "jane@example.org and joe@example.net"
    assert left(ExclusionRule(regex=Regex(r".+@example\.org")), text) == {"joe@example.net"}
    partial = ExclusionRule(MatchingType.PARTIAL_MATCH, dictionary=Dictionary(("joe",)))
    assert left(partial, text) == {"jane@example.org"}
    inverse = ExclusionRule(MatchingType.INVERSE_MATCH, regex=Regex(r"@example\.org$"))
    assert left(inverse, text) == {"jane@example.org"}
    beside = ExclusionRule(hotword_regex="sample", proximity=Proximity(12, 0))
    assert left(beside, "sample: jane@example.org, but also joe@example.net") == {"joe@example.net"}


def test_an_info_type_excludes_another_where_they_overlap() -> None:
    words = CustomInfoType(InfoType("OURS"), Regex(r"[a-z]+@example\.org"))
    rule = RuleSet(("EMAIL_ADDRESS",), (ExclusionRule(exclude_info_types=("OURS",)),))
    config = inspector(custom_info_types=(words,), rule_set=(rule,))
    assert set(found(config, "jane@example.org joe@example.net")) == {"OURS", "EMAIL_ADDRESS"}
    assert set(found(config, "jane@example.org")) == {"OURS"}


def growth(inspector: LocalInspector, unit: bytes) -> float:
    """How many times the processor time of a text a text takes that is eight times as long."""

    def seconds(size: int) -> float:
        begun = time.process_time()
        inspector.inspect_text(unit * (size // len(unit)))
        return time.process_time() - begun

    return seconds(1_600_000) / min(seconds(200_000) for _ in range(2))


def test_a_custom_pattern_of_exponential_kind_takes_linear_time() -> None:
    custom = CustomInfoType(InfoType("EVIL"), Regex(r"(?:a+)+$"))
    # In quadratic time it would be 64.
    assert growth(inspector(custom_info_types=(custom,)), b"a" * 50_000 + b"!") < 32


def test_a_wrong_configuration_says_what_is_wrong() -> None:
    with pytest.raises(SettingsError, match="CREDIT_CARD_NUMER"):
        inspector(info_types=("CREDIT_CARD_NUMER",))
    with pytest.raises(SettingsError, match="16"):
        LocalInspector(InspectConfig(), b"short")
    with pytest.raises(SettingsError, match="look-around"):
        inspector(custom_info_types=(CustomInfoType(InfoType("X"), Regex(r"(?<=a)b")),))
    with pytest.raises(SettingsError, match="group 2"):
        inspector(custom_info_types=(CustomInfoType(InfoType("X"), Regex(r"(a)b", (2,))),))
    with pytest.raises(SettingsError, match="no words"):
        inspector(custom_info_types=(CustomInfoType(InfoType("X"), Dictionary(())),))


def test_an_explanation_says_why_and_repeats_no_value(usual: LocalInspector) -> None:
    right = valid_card()
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    (first, *_) = usual.explain(wrong, "credit_card")
    assert (first.info_type, first.likelihood, first.valid) == (
        "CREDIT_CARD_NUMBER",
        Likelihood.POSSIBLE,
        False,
    )
    assert "check digits" in first.reason
    unnamed = {one.info_type: one for one in usual.explain(wrong)}["CREDIT_CARD_NUMBER"]
    assert not unnamed.reported
    assert "below" in unnamed.reason
    assert wrong not in repr(usual.explain(wrong, "credit_card"))
    assert usual.explain("hello") == []


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_inspected(data: bytes) -> None:
    for finding in _FUZZED.inspect_text(data):
        assert 0 <= finding.location.byte_range.start < finding.location.byte_range.end <= len(data)


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(st.none() | st.text(max_size=60), min_size=1, max_size=30),
    st.text(max_size=30),
)
def test_any_column_is_inspected(values: list[str | None], name: str) -> None:
    clean = [None if value is None else value.encode("utf-8", "replace").decode() for value in values]
    for finding in _FUZZED.inspect_columns({name: pa.array(clean, pa.string())}):
        assert clean[finding.location.row or 0] is not None


@settings(max_examples=examples(300), deadline=None)
@given(st.text("0123456789 -./()+,:@=\"'AB\nabx_", max_size=200))
def test_any_mixture_of_digits_and_separators_is_inspected(text: str) -> None:
    _FUZZED.inspect_text(text.encode())


_FUZZED = LocalInspector(InspectConfig(min_likelihood=Likelihood.VERY_UNLIKELY), KEY)


def test_a_long_line_of_look_alikes_takes_linear_time(usual: LocalInspector) -> None:
    for unit in (b"7", b"a", b"1234 ", b"a.b@", b"key=", b"::", b"Abc ", b"\xff", b"password: "):
        assert growth(usual, unit) < 32, unit


TEST_CARDS = (
    "4111 1111 1111 1111", "4111111111111111", "4111-1111-1111-1111", "4222222222222", "4242 4242 4242 4242",
    "4012 8888 8888 1881", "4000 0000 0000 0002", "5555 5555 5555 4444", "5105 1051 0510 5100",
    "2223 0031 2200 3222", "3782 822463 10005", "3714 496353 98431", "6011 1111 1111 1117",
    "6011 0009 9013 9424", "3056 930902 5904", "3530 1113 3330 0000", "6200 0000 0000 0005",
)  # fmt: skip


@pytest.mark.parametrize("number", TEST_CARDS)
def test_test_card_numbers_are_cards_as_any_others(number: str) -> None:
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    alone, named = (
        inspector.inspect_text(text.encode()).tallies["CREDIT_CARD_NUMBER"].highest
        for text in (f"paid with {number}", f"card number: {number}")
    )
    assert (alone, named) == (Likelihood.LIKELY, Likelihood.VERY_LIKELY)
    found = inspector.inspect_columns({"card_number": pa.array([number])})
    assert found.tallies["CREDIT_CARD_NUMBER"].highest is Likelihood.VERY_LIKELY
    first = inspector.explain(number)[0]
    assert (first.info_type, first.valid, first.reported) == ("CREDIT_CARD_NUMBER", True, True)
    assert "wrong" not in first.reason


@pytest.mark.parametrize("digit", range(10))
def test_digits_that_are_all_alike_fill_a_gap_also_beside_a_word(digit: int) -> None:
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    number = " ".join([f"{digit}" * 4] * 4)
    social = f"{digit}" * 3 + "-" + f"{digit}" * 2 + "-" + f"{digit}" * 4
    assert "CREDIT_CARD_NUMBER" not in inspector.inspect_text(f"card number: {number}".encode()).tallies
    assert "US_SOCIAL_SECURITY_NUMBER" not in inspector.inspect_text(f"ssn: {social}".encode()).tallies
    (card,) = (one for one in inspector.explain(number) if one.info_type == "CREDIT_CARD_NUMBER")
    assert "its digits are all the same" in card.reason


def test_a_well_known_filler_is_none_only_where_it_says_so() -> None:
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    number = "1234 5678 9012 3456"
    meant = inspector.inspect_text(f"My card number is {number}".encode()).tallies
    assert meant["CREDIT_CARD_NUMBER"].highest is Likelihood.POSSIBLE
    for text in (f'<input name="card" placeholder="{number}">', f"card number, e.g. {number}"):
        assert "CREDIT_CARD_NUMBER" not in inspector.inspect_text(text.encode()).tallies


@pytest.mark.parametrize(
    ("value", "name", "said"),
    [
        ("4111 1111 1111 1112", "CREDIT_CARD_NUMBER", "its check digits are wrong"),
        ("1234 5678 9012 3456", "CREDIT_CARD_NUMBER", "no issuer has its first digits"),
        ("4111 1111 1111 11", "CREDIT_CARD_NUMBER", "no card of its issuer has 14 digits"),
        ("078-05-1120", "US_SOCIAL_SECURITY_NUMBER", "it is the number of an advertisement"),
        ("666-45-6789", "US_SOCIAL_SECURITY_NUMBER", "its area, group or serial is never issued"),
    ],
)
def test_explain_says_what_is_wrong_with_a_number(value: str, name: str, said: str) -> None:
    reasons = {
        one.info_type: one.reason
        for one in LocalInspector(InspectConfig(), b"k" * 32).explain(value, "card ssn")
    }
    assert said in reasons[name]


def test_the_first_number_that_everybody_tries_is_found() -> None:
    found = LocalInspector(InspectConfig(), b"k" * 32).inspect_text(b"her ssn is 123-45-6789")
    assert found.tallies["US_SOCIAL_SECURITY_NUMBER"].highest is Likelihood.VERY_LIKELY


BORN = dt.datetime(1948, 12, 8, 6, 30, tzinfo=dt.UTC)
WRITINGS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y. %m. %d.", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y",
    "%m-%d-%Y", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d%b%Y", "%d %B %Y", "%B %d, %Y",
    "%b %d, %Y", "%b %d %Y", "%Y-%b-%d", "%Y %B %d", "%A, %B %d, %Y", "%a, %d %b %Y", "%Y-%j", "%G-W%V-%u",
    "%Y-%m", "%B %Y", "%Y年%m月%d日", "%d. %B %Y", "%dth of %B, %Y",
)  # fmt: skip
TIMES = (
    "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H:%M:%S.000", " %H:%M:%S,000", "T%H:%M:%S", "T%H:%M:%SZ",
    "T%H:%M:%S.%f+00:00", " %H:%M:%S+00", " %H:%M:%S +0000 UTC", " %H:%M:%S-05:00", " %I:%M %p",
    " %I:%M:%S %p", " %H:%M:%S.%fZ", " %H:%M:%S.000000000", " %H:%M:%S Europe/London", ", %I:%M %p",
    " at %H:%M",
)  # fmt: skip


@pytest.mark.parametrize("time", TIMES)
def test_a_birth_date_may_be_written_in_any_way_and_with_any_time(time: str) -> None:
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    for writing in WRITINGS:
        if writing.endswith(".") and time.startswith("T"):
            continue
        values = [(BORN + dt.timedelta(days=days * 37)).strftime(writing + time) for days in range(30)]
        found = inspector.inspect_columns({"birth_date": pa.array(values)})
        said = [(one.info_type.name, one.likelihood) for one in found.columns]
        assert ("DATE_OF_BIRTH", Likelihood.VERY_LIKELY) in said, writing + time


@pytest.mark.parametrize(
    "value",
    [
        "Wed Dec  8 06:30:00 1948", "Wed, 08 Dec 1948 06:30:00 GMT", "08DEC1948:06:30:00",
        "08-DEC-48 06.30.00.000000 AM", "19481208T063000Z", "19481208063000", "19481208063000123",
        "194812080630", "1948-12-08T06", "1948-12-08 06", "8 décembre 1948", "8 de diciembre de 1948",
        "8. Dezember 1948", "8 dicembre 1948", "mercredi 8 décembre 1948", "12/1948", "12/1948 06:30:00",
        "1948-12-08T06:30:00+01:00[Europe/Paris]", "Dec 8, 1948 6:30:00 AM", "8/12/1948 6:30",
        "1948-12-08 06:30:00 a.m.",
    ],
)  # fmt: skip
def test_a_date_of_another_program_or_language_is_one(value: str) -> None:
    assert is_date(value)


@pytest.mark.parametrize(
    "value",
    [
        "", "12", "1948", "12:30", "06:30:00", "3.14", "10.12.13.14", "1.2.3", "2026-13-45",
        "1948-12-08-17", "order 1948-12", "v1.2.2019-rc", "12-34-56-78", "555-0143", "1948-12-08 and more",
        "May", "T12", "00:00:00 1948", "41111111111111111",
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(value: str) -> None:
    assert not is_date(value)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "+02:00", "America/New_York"])
def test_birth_dates_in_columns_of_time_stamps_are_found_whatever_unit_and_zone(
    unit: str, zone: str | None
) -> None:
    days = [BORN + dt.timedelta(days=n * 31) for n in range(40)]
    table = pa.table({"birth_date": pa.array(days, pa.timestamp(unit, zone)), "seen_at": pa.array(days)})
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    for name, data in (("a.parquet", a_parquet(table)), ("a.orc", an_orc(table))):
        result = scan_object(io.BytesIO(data), name, inspector, size=len(data))
        said = [(one.column, one.info_type.name, one.likelihood) for one in result.columns]
        assert said == [("birth_date", "DATE_OF_BIRTH", Likelihood.VERY_LIKELY)]


def test_births_in_dates_of_every_kind_are_found_in_columns_in_memory() -> None:
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    days = [BORN + dt.timedelta(days=n * 31) for n in range(40)]
    for type_ in (pa.date32(), pa.date64(), pa.timestamp("ns", "UTC"), pa.timestamp("s")):
        found = inspector.inspect_columns({"dob": pa.array(days, pa.timestamp("us")).cast(type_, safe=False)})
        assert [one.info_type.name for one in found.columns] == ["DATE_OF_BIRTH"], type_
