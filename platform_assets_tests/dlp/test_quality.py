"""Recall and precision on data sets made here, with known truth and hard negatives."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig
from platform_assets_tests.dlp import generated as make

# Thousands of values through the same lines, which other tests reach too: tracing them doubles the time.
pytestmark = pytest.mark.no_cover

PLAIN = ("Please look at {} today.", "{}", "value={} ok", '{{"x": "{}"}}')
"""Sentences that say nothing of what the value is."""

TRUTH: dict[str, tuple[make.Make, tuple[str, ...]]] = {
    "CREDIT_CARD_NUMBER": (make.card, (*PLAIN, "my card number is {}", "paid with card {}, thanks")),
    "IBAN_CODE": (make.iban, (*PLAIN, "IBAN: {}")),
    "EMAIL_ADDRESS": (make.email, (*PLAIN, "write to {}.")),
    "IP_ADDRESS": (make.ip_address, (*PLAIN, "login from {}")),
    "US_BANK_ROUTING_MICR": (make.routing, ("routing number {}", "ABA {}")),
    "CANADA_SOCIAL_INSURANCE_NUMBER": (make.canada_sin, (*PLAIN, "my SIN is {}")),
    "AUSTRALIA_TAX_FILE_NUMBER": (
        lambda chance: make.weighted(chance, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11),
        ("TFN {}", "tax file number: {}"),
    ),
    "AUSTRALIA_MEDICARE_NUMBER": (make.medicare, (*PLAIN, "Medicare card {}")),
    "NETHERLANDS_BSN_NUMBER": (
        lambda chance: make.weighted(chance, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11),
        ("BSN {}", "burgerservicenummer: {}"),
    ),
    "UK_NATIONAL_HEALTH_SERVICE_NUMBER": (make.uk_nhs, (*PLAIN, "NHS number {}")),
    "INDIA_AADHAAR_INDIVIDUAL": (make.aadhaar, (*PLAIN, "Aadhaar {}")),
    "BRAZIL_CPF_NUMBER": (make.brazil_cpf, (*PLAIN, "CPF {}")),
    "SPAIN_NIF_NUMBER": (make.spain_nif, (*PLAIN, "DNI {}")),
    "FRANCE_NIR": (make.france_nir, (*PLAIN, "numéro de sécurité sociale {}")),
    "GERMANY_TAXPAYER_IDENTIFICATION_NUMBER": (make.germany_tax_id, (*PLAIN, "Steuer-ID {}")),
    "ITALY_FISCAL_CODE": (make.italy_fiscal_code, (*PLAIN, "codice fiscale {}")),
    "POLAND_PESEL_NUMBER": (make.poland_pesel, ("PESEL {}", "numer PESEL: {}")),
    "SWEDEN_NATIONAL_ID_NUMBER": (make.sweden, (*PLAIN, "personnummer {}")),
    "VEHICLE_IDENTIFICATION_NUMBER": (make.vehicle, (*PLAIN, "VIN {}")),
    "IMEI_HARDWARE_ID": (make.imei, ("IMEI {}", "the handset's imei is {}")),
    "PHONE_NUMBER": (make.phone_of_any_country, (*PLAIN, "call me at {}", "phone {}")),
    "US_SOCIAL_SECURITY_NUMBER": (make.ssn, (*PLAIN, "SSN {}")),
    "UK_NATIONAL_INSURANCE_NUMBER": (make.uk_nino, (*PLAIN, "NI number {}")),
    "INDIA_PAN_INDIVIDUAL": (make.pan, (*PLAIN, "PAN card {}")),
    "JSON_WEB_TOKEN": (make.jwt, PLAIN),
    "ENCRYPTION_KEY": (make.private_key, ("{}",)),
    "PASSWORD": (
        make.password,
        ('password = "{}"', "DB_PASSWORD={}", "my password is {}", '{{"password": "{}"}}'),
    ),
    "AUTH_TOKEN": (
        lambda chance: make.text(chance, 40),
        ('api_key = "{}"', "token: {}", "Authorization: Bearer {}"),
    ),
}
LEAST = {"PHONE_NUMBER": 0.90}
EACH = 240


@pytest.fixture(scope="module")
def inspector() -> LocalInspector:
    return LocalInspector(InspectConfig(), b"a key that is of these tests only")


@pytest.fixture(scope="module")
def false_positives(inspector: LocalInspector) -> Counter[str]:
    """What is found where there is nothing, as often as there are true values of one info type."""
    chance = random.Random(11)
    found: Counter[str] = Counter()
    for name in make.HARD_NEGATIVES:
        for _ in range(max(EACH // len(make.HARD_NEGATIVES), 1)):
            text = f"done: {make.HARD_NEGATIVES[name](chance)} in the batch"
            found.update({finding.info_type.name for finding in inspector.inspect_text(text.encode())})
    return found


@pytest.mark.parametrize("info_type", sorted(TRUTH))
def test_it_finds_what_is_there_and_takes_nothing_else_for_it(
    info_type: str, inspector: LocalInspector, false_positives: Counter[str]
) -> None:
    chance = random.Random(info_type)
    made, sentences = TRUTH[info_type]
    hits, missed = 0, []
    for count in range(EACH):
        text = sentences[count % len(sentences)].format(made(chance))
        if any(finding.info_type.name == info_type for finding in inspector.inspect_text(text.encode())):
            hits += 1
        else:
            missed.append(text)
    least = LEAST.get(info_type, 0.99)
    assert hits / EACH >= least, missed[:5]
    assert hits / (hits + false_positives[info_type]) >= least


COLUMNS: tuple[tuple[str | None, str, make.Make], ...] = (
    ("CREDIT_CARD_NUMBER", "c1", make.card),
    ("CREDIT_CARD_NUMBER", "card_number", make.card),
    ("IBAN_CODE", "account", make.iban),
    ("EMAIL_ADDRESS", "contact", make.email),
    ("IP_ADDRESS", "source", make.ip_address),
    ("PHONE_NUMBER", "telephone", make.phone_of_any_country),
    ("PHONE_NUMBER", "c2", make.phone),
    ("PHONE_NUMBER", "c23", make.phone_of_any_country),
    ("US_SOCIAL_SECURITY_NUMBER", "ssn", lambda chance: make.ssn(chance).replace("-", "")),
    ("US_SOCIAL_SECURITY_NUMBER", "c3", make.ssn),
    ("CANADA_SOCIAL_INSURANCE_NUMBER", "c4", lambda chance: make.canada_sin(chance).replace(" ", "")),
    ("NETHERLANDS_BSN_NUMBER", "c5", lambda chance: make.weighted(chance, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11)),
    ("POLAND_PESEL_NUMBER", "c6", make.poland_pesel),
    ("BRAZIL_CPF_NUMBER", "c7", lambda chance: "".join(filter(str.isdigit, make.brazil_cpf(chance)))),
    ("INDIA_AADHAAR_INDIVIDUAL", "c8", lambda chance: make.aadhaar(chance).replace(" ", "")),
    ("SPAIN_NIF_NUMBER", "c9", make.spain_nif),
    ("UK_NATIONAL_HEALTH_SERVICE_NUMBER", "c10", lambda chance: make.uk_nhs(chance).replace(" ", "")),
    ("US_BANK_ROUTING_MICR", "c11", make.routing),
    (
        "DATE_OF_BIRTH",
        "birth_date",
        lambda chance: f"{chance.randrange(1940, 2005)}-0{chance.randrange(1, 10)}-1{chance.randrange(10)}",
    ),
    (
        "PERSON_NAME",
        "customer_name",
        lambda chance: (
            f"{chance.choice(('Ann', 'Maria', 'Zofia', 'Lars'))} {make.text(chance, 6, 'abcdeirn').title()}"
        ),
    ),
    ("PASSWORD", "password", make.password),
    ("PHONE_NUMBER", "Telefon", lambda chance: make.digits(chance, 10)),
    ("IBAN_CODE", "c17", lambda chance: make.iban(chance).lower()),
    (None, "order_id", lambda chance: make.digits(chance, 9)),
    (None, "part", make.HARD_NEGATIVES["part number"]),
    (None, "day", make.HARD_NEGATIVES["day"]),
    (None, "c18", make.HARD_NEGATIVES["sum"]),
    (None, "c19", make.HARD_NEGATIVES["years"]),
    (None, "c20", make.HARD_NEGATIVES["padded"]),
    (None, "c21", make.HARD_NEGATIVES["place"]),
    (None, "c22", make.HARD_NEGATIVES["row of numbers"]),
    (None, "c12", lambda chance: make.digits(chance, 9)),
    (None, "c13", lambda chance: make.digits(chance, 10)),
    (None, "c14", lambda chance: make.digits(chance, 11)),
    (None, "c15", lambda chance: make.digits(chance, 12)),
    (None, "c16", lambda chance: make.digits(chance, 16)),
    (None, "ACADEMIC_YEAR_CODE", lambda chance: make.digits(chance, 3)),
    (None, "created_at", make.HARD_NEGATIVES["timestamp"]),
    (None, "epoch", make.HARD_NEGATIVES["epoch"]),
    (None, "checksum", make.HARD_NEGATIVES["hash"]),
    (None, "guid", make.HARD_NEGATIVES["guid"]),
    (None, "version", lambda chance: make.HARD_NEGATIVES["version"](chance).removeprefix("version ")),
    (None, "price", make.HARD_NEGATIVES["price"]),
    (
        None,
        "product_name",
        lambda chance: f"{chance.choice(('Red', 'Blue', 'Large'))} {make.text(chance, 5, 'abcdeirn')}",
    ),
    (None, "password_hash", lambda chance: make.text(chance, 64, make.HEXADECIMAL)),
)


@pytest.mark.parametrize("size", [40, 3_000])
def test_columns_reach_an_f1_of_95_percent(size: int, inspector: LocalInspector) -> None:
    chance = random.Random(5)
    right, wrong, missed = 0, [], []
    for info_type, name, made in COLUMNS:
        column = pa.array([made(chance) for _ in range(size)])
        verdicts = {verdict.info_type.name for verdict in inspector.inspect_columns({name: column}).columns}
        wrong.extend((name, verdict) for verdict in verdicts - {info_type})
        if info_type in verdicts:
            right += 1
        elif info_type:
            missed.append((name, info_type))
    assert 2 * right / (2 * right + len(wrong) + len(missed)) >= 0.95, (wrong, missed)
