"""Validators of identifiers: check digits, issuers' ranges, dates within a number.

Every function takes a text without separators, letters in upper case, and returns True or False. They are
written here because python-stdnum took 2 to 40 times as long when both were measured, and each candidate in a
scan is validated; the tests compare the two.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

# The value of a digit in ASCII, and the sum of the digits of twice that value.
_VALUES = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
# Issuer identification numbers (ISO/IEC 7812), as the networks publish them: the first and last prefix of a
# range, and the lengths issued in it.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),  # Mastercard, 2-series
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset({14, 16, 17, 18, 19})),  # Diners Club
    ("3095", "3095", frozenset({14, 16, 17, 18, 19})),
    ("36", "36", frozenset({14, 16, 17, 18, 19})),
    ("38", "39", frozenset({14, 16, 17, 18, 19})),
    ("6011", "6011", frozenset({16, 17, 18, 19})),  # Discover
    ("644", "649", frozenset({16, 17, 18, 19})),
    ("65", "65", frozenset({16, 17, 18, 19})),
    ("3528", "3589", frozenset({16, 17, 18, 19})),  # JCB
    ("2131", "2131", frozenset({15})),  # JCB, older
    ("1800", "1800", frozenset({15})),
    ("62", "62", frozenset({16, 17, 18, 19})),  # UnionPay
    ("81", "81", frozenset({16})),  # UnionPay and RuPay
    ("2200", "2204", frozenset({16, 17, 18, 19})),  # Mir
    ("60", "60", frozenset({16})),  # RuPay
    ("82", "82", frozenset({16})),
    ("508", "508", frozenset({16})),
    ("35", "35", frozenset({16})),  # RuPay's 353 and 356; otherwise JCB's 3528 to 3589, and much test data
    ("5018", "5018", frozenset(range(12, 20))),  # Maestro
    ("5020", "5020", frozenset(range(12, 20))),
    ("5038", "5038", frozenset(range(12, 20))),
    ("5612", "5612", frozenset(range(12, 20))),
    ("5893", "5893", frozenset(range(12, 20))),
    ("6304", "6304", frozenset(range(12, 20))),
    ("6390", "6390", frozenset(range(12, 20))),
    ("6759", "6759", frozenset(range(12, 20))),
    ("676", "676", frozenset(range(12, 20))),
    ("0604", "0604", frozenset(range(12, 20))),
    ("50", "50", frozenset({16, 18, 19})),
    ("56", "58", frozenset(range(12, 20))),
    ("67", "67", frozenset({16, 18, 19})),
    ("9792", "9792", frozenset({16})),  # Troy
    ("5019", "5019", frozenset({16})),  # Dankort
    ("4571", "4571", frozenset({16})),
)


def _lengths_by_start() -> dict[str, frozenset[int]]:
    """Lengths by the first four digits, so that a card number needs only one look-up."""
    lengths_by_start: dict[str, frozenset[int]] = {}
    for first, last, lengths in _ISSUERS:
        for start in range(int(first.ljust(4, "0")), int(last.ljust(4, "9")) + 1):
            lengths_by_start[f"{start:04d}"] = lengths_by_start.get(f"{start:04d}", frozenset()) | lengths
    return lengths_by_start


_LENGTHS = _lengths_by_start()


def luhn(number: str) -> bool:
    """Return True if the last digit is correct by the Luhn formula (ISO/IEC 7812-1, annex B)."""
    digits = number.encode()
    return (sum(digits[-1::-2].translate(_VALUES)) + sum(digits[-2::-2].translate(_DOUBLED))) % 10 == 0


def payment_card(number: str) -> bool:
    """A payment card's primary account number: an issuer's range and length, and the Luhn check digit."""
    lengths = _LENGTHS.get(number[:4])
    return lengths is not None and len(number) in lengths and luhn(number) and len(set(number)) > 1


def why_no_payment_card(number: str) -> str:
    """Explain why a number is not a payment card number, in a sentence without its digits.

    Args:
        number: Its digits.
    """
    if len(set(number)) == 1:
        return "its digits are all the same, as in a placeholder"
    lengths = _LENGTHS.get(number[:4])
    if lengths is None:
        return "no issuer has its first digits"
    if len(number) not in lengths:
        return f"no card of its issuer has {len(number)} digits"
    return "its check digits are wrong"


def why_no_us_ssn(number: str) -> str:
    """Explain why a number is not a Social Security number, in a sentence without its digits.

    Args:
        number: Its digits.
    """
    if len(set(number)) == 1:
        return "its digits are all the same, as in a placeholder"
    if number in _SSN_OF_ADVERTISEMENTS:
        return "it is the number of an advertisement and was withdrawn"
    return "its area, group or serial is never issued"


def imei(number: str) -> bool:
    """An IMEI: reporting body that allocates type approval codes (GSMA TS.06), and the Luhn check digit."""
    return number[:2] in _REPORTING_BODIES and luhn(number) and len(set(number)) > 3


_REPORTING_BODIES = frozenset(
    (
        "01", "10", "30", "33", "35", "44", "45", "49", "50", "51", "52", "53", "54", "86", "91", "98", "99",
    )
)  # fmt: skip


def weighted(number: str, weights: tuple[int, ...], modulus: int) -> bool:
    """Return True if the weighted sum of the digits is a multiple of the modulus."""
    return sum(weight * int(digit) for weight, digit in zip(weights, number, strict=False)) % modulus == 0


# https://www.ssa.gov/history/ssn/misused.html
_SSN_OF_ADVERTISEMENTS = frozenset({"078051120", "219099999"})


def us_ssn(number: str) -> bool:
    """A Social Security number: area, group and serial that the SSA issues; it has no check digit."""
    return (
        number[:3] not in ("000", "666")
        and number[0] != "9"
        and number[3:5] != "00"
        and number[5:] != "0000"
        and number not in _SSN_OF_ADVERTISEMENTS
        and len(set(number)) > 1
    )


def us_ein(number: str) -> bool:
    """An employer identification number: a prefix of an IRS campus (python-stdnum's list)."""
    return _stdnum("us.ein")(number)


def us_routing(number: str) -> bool:
    """An ABA routing number: a Federal Reserve prefix, and the check digit."""
    prefix = int(number[:2])
    return (
        (1 <= prefix <= 12 or 21 <= prefix <= 32 or 61 <= prefix <= 72 or prefix == 80)
        and weighted(number, (3, 7, 1) * 3, 10)
        and len(set(number)) > 2
    )


def uk_nhs(number: str) -> bool:
    """An NHS number: check digit modulo 11."""
    return weighted(number, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11) and number[0] != "0" and len(set(number)) > 1


_NINO = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z][0-9]{6}[A-D]?")


def uk_nino(number: str) -> bool:
    """A National Insurance number: letters that HMRC allots (NIM39110); it has no check digit."""
    return _NINO.fullmatch(number) is not None


def au_tfn(number: str) -> bool:
    """An Australian tax file number: weighted sum modulo 11; nine digits, older ones eight."""
    if len(number) == 9:
        return weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11) and len(set(number)) > 2
    return weighted(number, (10, 7, 8, 4, 6, 3, 5, 1), 11) and len(set(number)) > 2


def au_medicare(number: str) -> bool:
    """An Australian Medicare number: first digit 2 to 6, check digit in the ninth place, then the issue."""
    return (
        number[0] in "23456"
        and sum(
            weight * int(digit) for weight, digit in zip((1, 3, 7, 9, 1, 3, 7, 9), number[:8], strict=True)
        )
        % 10
        == int(number[8])
        and number[9] != "0"
    )


_D5 = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)


def _verhoeff_rows() -> tuple[tuple[int, ...], ...]:
    row: tuple[int, ...] = tuple(range(10))
    step = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    rows = []
    for _ in range(8):
        rows.append(row)
        row = tuple(row[place] for place in step)
    return tuple(rows)


_PERMUTED = _verhoeff_rows()


def in_aadhaar(number: str) -> bool:
    """An Aadhaar: does not start with 0 or 1, is no palindrome, Verhoeff check digit."""
    if number[0] in "01" or number == number[::-1]:
        return False
    state = 0
    for place, digit in enumerate(reversed(number)):
        state = _D5[state][_PERMUTED[place % 8][int(digit)]]
    return state == 0


_PAN = re.compile(r"[A-Z]{3}[ABCFGHJLPT][A-Z](?!0000)[0-9]{4}[A-Z]")


def in_pan(number: str) -> bool:
    """An Indian PAN: kind of holder in the fourth place; its check letter's rule is not published."""
    return _PAN.fullmatch(number) is not None


def br_cpf(number: str) -> bool:
    """A Brazilian CPF: two check digits modulo 11."""
    if len(set(number)) == 1:
        return False
    digits = list(map(int, number))
    for length in (9, 10):
        rest = sum((length + 1 - place) * digits[place] for place in range(length)) * 10 % 11 % 10
        if rest != digits[length]:
            return False
    return True


_NIF_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def es_nif(number: str) -> bool:
    """A Spanish NIF of a person (DNI or NIE): check letter modulo 23."""
    first = {"X": "0", "Y": "1", "Z": "2"}.get(number[0], number[0])
    if first in "KLM":
        first = "0"
    body = first + number[1:-1]
    return body.isdigit() and _NIF_LETTERS[int(body) % 23] == number[-1]


def fr_nir(number: str) -> bool:
    """A French NIR: sex, month and department of birth, and a key modulo 97 where it has one."""
    month = int(number[3:5])
    if not (1 <= month <= 12 or 20 <= month <= 42 or 50 <= month <= 99):
        return False
    if number[0] not in "1278" or number[5:7] == "00":
        return False
    body = number[:13].replace("2A", "19").replace("2B", "18")
    if not body.isdigit():
        return False
    return len(number) == 13 or 97 - int(body) % 97 == int(number[13:])


def de_tax_id(number: str) -> bool:
    """A German tax identification number: one digit two or three times, check digit ISO 7064 mod 11, 10."""
    if number[0] == "0":
        return False
    repeated = [count for count in Counter(number[:10]).values() if count > 1]
    if len(repeated) != 1 or repeated[0] not in (2, 3):
        return False
    state = 10
    for digit in number[:10]:
        state = ((int(digit) + state) % 10 or 10) * 2 % 11
    return (11 - state) % 10 == int(number[10])


_CODICE = re.compile(r"[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]")
_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_LETTERS = (*_ODD_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*_ODD_DIGITS, *_ODD_LETTERS), strict=True))


def it_codice_fiscale(number: str) -> bool:
    """An Italian fiscal code of a person: its structure and the check letter (D.M. 23 December 1976)."""
    if _CODICE.fullmatch(number) is None:
        return False
    total = sum(_ODD[letter] for letter in number[0:15:2])
    total += sum(int(letter) if letter.isdigit() else ord(letter) - 65 for letter in number[1:15:2])
    return chr(65 + total % 26) == number[15]


def pl_pesel(number: str) -> bool:
    """A Polish PESEL: date of birth with its century in the month, check digit modulo 10."""
    month, day = int(number[2:4]), int(number[4:6])
    return (
        1 <= month % 20 <= 12 and 1 <= day <= 31 and weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10)
    )


def pl_identity_card(number: str) -> bool:
    """A Polish identity card: three letters, check digit in the fourth place, weights 7, 3, 1."""
    values = [int(letter) if letter.isdigit() else ord(letter) - 55 for letter in number]
    return (
        sum(weight * value for weight, value in zip((7, 3, 1, 9, 7, 3, 1, 7, 3), values, strict=True)) % 10
        == 0
    )


def nl_bsn(number: str) -> bool:
    """A Dutch BSN: the eleven test."""
    return weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11) and len(set(number)) > 2


def se_personal_number(number: str) -> bool:
    """A Swedish personal or coordination number: a date (day + 60 for the latter), Luhn over the last ten."""
    month, day = int(number[-8:-6]), int(number[-6:-4])
    if len(number) == 12 and number[:2] not in ("18", "19", "20"):
        return False
    return 1 <= month <= 12 and (1 <= day <= 31 or 61 <= day <= 91) and luhn(number[-10:])


def ca_sin(number: str) -> bool:
    """A Canadian SIN: Luhn, and no province for a first 0 or 8."""
    return number[0] not in "08" and luhn(number) and len(set(number)) > 2


_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", "12345678123457923456789", strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def vehicle(number: str) -> bool:
    """A vehicle identification number with the check digit of 49 CFR 565 in the ninth place."""
    total = 0
    for weight, letter in zip(_VIN_WEIGHTS, number, strict=True):
        value = _VIN_VALUES.get(letter, letter)
        if not value.isdigit():
            return False
        total += weight * int(value)
    return "0123456789X"[total % 11] == number[8] and number[-4:].isdigit()


_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTHS = {
    country: length for length, countries in _IBAN_COUNTRIES.items() for country in countries.split()
}
_TO_DIGITS = {ord(letter): str(place) for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 10)}


def iban(number: str) -> bool:
    """An IBAN: a country of SWIFT's registry, its length, and the check digits modulo 97 (ISO 13616)."""
    return (
        _IBAN_LENGTHS.get(number[:2]) == len(number)
        and int((number[4:] + number[:4]).translate(_TO_DIGITS)) % 97 == 1
    )


def swift(code: str) -> bool:
    """A SWIFT code (BIC): a country in places five and six."""
    return _stdnum("bic")(code)


def vat(number: str) -> bool:
    """A VAT number with its country in front: the country's own check digits."""
    if number.startswith("CHE"):
        return _stdnum("ch.vat")(number)
    if number.startswith("GB"):
        return _stdnum("gb.vat")(number)
    if number.startswith("NO"):
        return _stdnum("no.mva")(number)
    return _stdnum("eu.vat")(number)


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def bitcoin(address: str) -> bool:
    """A Bitcoin address: Base58Check, or Bech32 and Bech32m (BIP 173 and 350)."""
    if address[:3].lower() == "bc1":
        return (address.islower() or address.isupper()) and _bech32(address.lower())
    number = 0
    for letter in address:
        place = _BASE58.find(letter)
        if place < 0:
            return False
        number = number * 58 + place
    if number >= 1 << 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:] and raw[0] in (0, 5)


_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _bech32(address: str) -> bool:
    state = 1
    values = [3, 3, 0, 2, 3]  # "bc" expanded: the high bits, a zero, the low bits
    for letter in address[3:]:
        place = _BECH32.find(letter)
        if place < 0:
            return False
        values.append(place)
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                state ^= generator
    return state in (1, 0x2BC830A3)


_ROUNDS = (
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000,
    0x000000000000808B, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008A, 0x0000000000000088, 0x0000000080008009, 0x000000008000000A,
    0x000000008000808B, 0x800000000000008B, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
)  # fmt: skip
_WORD = 2**64 - 1


def _keccak_256(data: bytes) -> bytes:
    """Keccak-256 of at most 135 bytes, as Ethereum uses it: SHA-3 before NIST changed its padding."""
    block = bytearray(data.ljust(136, b"\0"))
    block[len(data)] ^= 0x01
    block[135] ^= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for place in range(17):
        lanes[place % 5][place // 5] = int.from_bytes(block[8 * place : 8 * place + 8], "little")
    for constant in _ROUNDS:
        parity = [a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] for a in lanes]
        for x in range(5):
            change = parity[x - 1] ^ _rotated(parity[(x + 1) % 5], 1)
            lanes[x] = [lane ^ change for lane in lanes[x]]
        x, y, current = 1, 0, lanes[1][0]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x][y] = lanes[x][y], _rotated(current, (step + 1) * (step + 2) // 2 % 64)
        for y in range(5):
            row = [lanes[x][y] for x in range(5)]
            for x in range(5):
                lanes[x][y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5] & _WORD)
        lanes[0][0] ^= constant
    return b"".join(lanes[place][0].to_bytes(8, "little") for place in range(4))


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) & _WORD


def ethereum(address: str) -> bool:
    """An Ethereum address: where its letters are of both cases, they carry the checksum of EIP-55."""
    body = address[2:]
    if body.lower() == body or body.upper() == body:
        return len(set(body.lower())) > 6
    digest = _keccak_256(body.lower().encode()).hex()
    return all(
        letter.isdigit() or letter.isupper() == (int(nibble, 16) >= 8)
        for letter, nibble in zip(body, digest, strict=False)
    )


def entropy(text: str) -> float:
    """Shannon entropy of the characters of a text, in bits per character."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


def calendar_day(year: int, month: int, day: int) -> bool:
    """Return True if the date exists."""
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)
def _stdnum(module: str) -> Callable[[str], bool]:
    """A validator of python-stdnum, imported at first use."""
    import importlib

    validator: Callable[[str], bool] = importlib.import_module(f"stdnum.{module}").is_valid
    return validator
