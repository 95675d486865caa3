"""Numbers with a right and with a wrong ending: python-stdnum says which is which."""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
import stdnum.au.tfn
import stdnum.br.cpf
import stdnum.ca.sin
import stdnum.de.idnr
import stdnum.es.nif
import stdnum.fr.nir
import stdnum.gb.nhs
import stdnum.iban
import stdnum.imei
import stdnum.in_.aadhaar
import stdnum.it.codicefiscale
import stdnum.luhn
import stdnum.nl.bsn
import stdnum.pl.pesel
import stdnum.se.personnummer
import stdnum.us.rtn

from platform_assets.dlp.local import checks

BODIES = 40
"""Numbers of each kind that are tried with all of their endings."""


def digits(count: int) -> Callable[[random.Random], str]:
    return lambda chance: "".join(chance.choices(string.digits, k=count))


def shape(*parts: Sequence[str] | int) -> Callable[[random.Random], str]:
    """Numbers put together from choices and from counts of digits."""
    return lambda chance: "".join(
        digits(part)(chance) if isinstance(part, int) else chance.choice(part) for part in parts
    )


def of_a_taxpayer(chance: random.Random) -> str:
    """One digit of the ten is there twice, and so another is not at all."""
    body = chance.sample(string.digits, 9)
    body.insert(chance.randrange(1, 10), chance.choice(body))
    return "".join(body) if body[0] != "0" else of_a_taxpayer(chance)


MONTHS = tuple(f"{month:02d}" for month in range(1, 13))
DAYS = tuple(f"{day:02d}" for day in range(1, 29))
LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class Kind:
    """A kind of number with check digits.

    Args:
        check: The platform's check.
        oracle: The one of python-stdnum.
        body: Makes a number that lacks only its check digits.
        ending: The characters that they may be, one string for each.
        place: Where they are; None for the end.
    """

    check: Callable[[str], bool]
    oracle: Callable[[str], bool]
    body: Callable[[random.Random], str]
    ending: tuple[str, ...] = (string.digits,)
    place: int | None = None

    def numbers(self, body: str) -> Iterator[str]:
        at = len(body) if self.place is None else self.place
        for ending in itertools.product(*self.ending):
            yield body[:at] + "".join(ending) + body[at:]


TWO = (string.digits, string.digits)
KINDS = {
    "luhn": Kind(checks.luhn, stdnum.luhn.is_valid, digits(15)),
    "payment card": Kind(
        checks.payment_card, stdnum.luhn.is_valid, shape(("4539", "5105", "5555", "6011"), 11)
    ),
    "imei": Kind(checks.imei, stdnum.imei.is_valid, shape(("35", "01", "86"), 12)),
    "us_routing": Kind(checks.us_routing, stdnum.us.rtn.is_valid, shape(("01", "12", "21", "61", "72"), 6)),
    "uk_nhs": Kind(checks.uk_nhs, stdnum.gb.nhs.is_valid, shape("123456789", 8)),
    # Numbers of eight digits have weights of their own, which python-stdnum does not know.
    "au_tfn": Kind(checks.au_tfn, stdnum.au.tfn.is_valid, digits(8)),
    "in_aadhaar": Kind(checks.in_aadhaar, stdnum.in_.aadhaar.is_valid, shape("23456789", 10)),
    "br_cpf": Kind(checks.br_cpf, stdnum.br.cpf.is_valid, digits(9), TWO),
    "es_nif": Kind(checks.es_nif, stdnum.es.nif.is_valid, shape("0123456789XYZKLM", 7), (LETTERS,)),
    "fr_nir": Kind(
        checks.fr_nir,
        stdnum.fr.nir.is_valid,
        shape("12", 2, MONTHS, ("2A", "2B", "01", "75", "95"), ("001", "113", "455"), ("001", "020")),
        TWO,
    ),
    "de_tax_id": Kind(checks.de_tax_id, stdnum.de.idnr.is_valid, of_a_taxpayer),
    "it_codice_fiscale": Kind(
        checks.it_codice_fiscale,
        stdnum.it.codicefiscale.is_valid,
        shape(("RSSMRA", "BNCLRA", "VRDGPP"), 2, "ABCDEHLMPRST", DAYS, "AFHL", 3),
        (LETTERS,),
    ),
    "pl_pesel": Kind(checks.pl_pesel, stdnum.pl.pesel.is_valid, shape(2, MONTHS, DAYS, 4)),
    "nl_bsn": Kind(checks.nl_bsn, stdnum.nl.bsn.is_valid, shape("123456789", 7)),
    "se_personal_number": Kind(
        checks.se_personal_number, stdnum.se.personnummer.is_valid, shape(2, MONTHS, DAYS, 3)
    ),
    "se_personal_number with its century": Kind(
        checks.se_personal_number,
        stdnum.se.personnummer.is_valid,
        shape(("19",), 2, MONTHS, DAYS, 3),
    ),
    "ca_sin": Kind(checks.ca_sin, stdnum.ca.sin.is_valid, shape("12345679", 7)),
    "iban": Kind(
        checks.iban,
        lambda number: stdnum.iban.is_valid(number, check_country=False),
        shape(("DE",), 18),
        TWO,
        place=2,
    ),
    "iban with letters": Kind(
        checks.iban,
        lambda number: stdnum.iban.is_valid(number, check_country=False),
        shape(("GB",), LETTERS, LETTERS, LETTERS, LETTERS, 14),
        TWO,
        place=2,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_of_all_endings_the_same_are_right_as_for_python_stdnum(name: str) -> None:
    kind, chance = KINDS[name], random.Random(name)
    right = 0
    for _ in range(BODIES):
        numbers = list(kind.numbers(kind.body(chance)))
        found = [number for number in numbers if kind.check(number)]
        assert found == [number for number in numbers if kind.oracle(number)]
        assert len(found) < len(numbers)
        right += len(found)
    # Some bodies have no right ending, such as those whose remainder would take two digits.
    assert right > BODIES / 2
