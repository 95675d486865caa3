"""Makes sensitive values with known truth, and what only looks like them. Nothing here is anybody's.

Check digits are python-stdnum's where it computes them, so that the inspector is not proved by its own code.
"""

from __future__ import annotations

import base64
import json
import random
import re
import re._parser as parser
import string
import uuid
from collections.abc import Callable

from stdnum import luhn, verhoeff
from stdnum.br import cpf
from stdnum.de import idnr
from stdnum.es import nif
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.it import codicefiscale
from stdnum.pl import pesel
from stdnum.us import rtn

Make = Callable[[random.Random], str]

ALPHANUMERIC = string.ascii_letters + string.digits
BASE64 = ALPHANUMERIC + "+/"
HEXADECIMAL = "0123456789abcdef"


def digits(chance: random.Random, count: int, first: str = "123456789") -> str:
    return chance.choice(first) + "".join(chance.choices(string.digits, k=count - 1))


def text(chance: random.Random, count: int, alphabet: str = ALPHANUMERIC) -> str:
    return "".join(chance.choices(alphabet, k=count))


def grouped(number: str, *sizes: int, by: str = " ") -> str:
    groups, start = [], 0
    for size in sizes:
        groups.append(number[start : start + size])
        start += size
    return by.join(groups)


ISSUED = tuple(
    (prefix, int(length))
    for prefix, _, length in (
        entry.partition("/")
        for entry in (
            *("4/16", "4/13", "51/16", "55/16", "2221/16", "2699/16", "34/15", "37/15", "6011/16", "65/16"),
            *("3530/16", "36/14", "62/16", "62/19", "6759/12", "5018/14", "2200/16"),
        )
    )
)
"""Issuers' prefixes of payment cards and the lengths they issue."""


def card(chance: random.Random) -> str:
    prefix, length = chance.choice(ISSUED)
    body = prefix + "".join(chance.choices(string.digits, k=length - len(prefix) - 1))
    number = body + luhn.calc_check_digit(body)
    if length == 16:
        return chance.choice((number, grouped(number, 4, 4, 4, 4), grouped(number, 4, 4, 4, 4, by="-")))
    return number if length != 15 else chance.choice((number, grouped(number, 4, 6, 5)))


def iban(chance: random.Random) -> str:
    country, body = chance.choice(
        (
            ("DE", digits(chance, 18)),
            ("GB", text(chance, 4, string.ascii_uppercase) + digits(chance, 14)),
            ("FR", digits(chance, 10) + text(chance, 11, string.digits + "ABC") + digits(chance, 2)),
            ("NL", text(chance, 4, string.ascii_uppercase) + digits(chance, 10)),
            ("ES", digits(chance, 20)),
        )
    )
    number = int("".join(str(int(letter, 36)) for letter in body + country + "00"))
    whole = f"{country}{98 - number % 97:02d}{body}"
    return chance.choice((whole, " ".join(re.findall(".{1,4}", whole))))


def email(chance: random.Random) -> str:
    local = text(chance, chance.randrange(2, 9), string.ascii_lowercase) + chance.choice(
        ("", ".x", "+news", "99")
    )
    domain = text(chance, 6, string.ascii_lowercase)
    return f"{local}@{domain}.{chance.choice(('com', 'org', 'de', 'co.uk', 'io'))}"


def ip_address(chance: random.Random) -> str:
    if chance.random() < 0.4:
        return (
            ":".join(f"{chance.randrange(1, 65536):x}" for _ in range(8))
            if chance.random() < 0.5
            else (f"2001:db8::{chance.randrange(1, 65536):x}:{chance.randrange(1, 65536):x}")
        )
    return ".".join(str(chance.randrange(1, 255)) for _ in range(4))


def phone(chance: random.Random) -> str:
    subscriber = f"{chance.randrange(200, 999)}", f"{chance.randrange(10_000):04d}"
    area = chance.choice(("212", "415", "312", "617", "206", "305", "713", "202"))
    return chance.choice(
        (
            f"({area}) {subscriber[0]}-{subscriber[1]}",
            f"{area}-{subscriber[0]}-{subscriber[1]}",
            f"+1 {area} {subscriber[0]} {subscriber[1]}",
            f"+44 20 7{digits(chance, 3)} {digits(chance, 4)}",
            f"+49 30 {digits(chance, 7)}",
            f"+33 6 {digits(chance, 2)} {digits(chance, 2)} {digits(chance, 2)} {digits(chance, 2)}",
        )
    )


PHONE_FORMS = (
    *("({a}) {s}-{d4}", "{a}-{s}-{d4}", "+1 {a} {s} {d4}", "({a}){s}-{d4}", "{a}.{s}.{d4}", "1-{a}-{s}-{d4}"),
    *(
        "001-{a}-{s}-{d4}x{d3}",
        "{a}-{s}-{d4} ext. {d3}",
        "({a}){s}-{d4}x{d4}",
        "555-{s}-{d4}",
        "({s}) 1{d2}-{d4}",
    ),
    *(
        "+44 20 7{d3} {d4}",
        "(0161) 496 0{d3}",
        "(0161)4960{d3}",
        "07700 900{d3}",
        "07700900{d3}",
        "020 7946 0{d3}",
    ),
    *("+49 30 {n7}", "030 {n7}", "(030) {n7}", "0171/{n7}", "0171 {n7}", "089{n7}", "+49(0)30 {n7}"),
    *("+33 6 {d2} {d2} {d2} {d2}", "01 {n2} {d2} {d2} {d2}", "01.{n2}.{d2}.{d2}.{d2}", "06{n2}{d2}{d2}{d2}"),
    *(
        "+34 612 {d3} {d3}",
        "612 {n2} {d2} {d2}",
        "+91 98{d3} {d5}",
        "98{d3} {d5}",
        "098{d3}{d5}",
        "+91-98{d3}-{d5}",
    ),
    *(
        "(11) 9{d4}-{d4}",
        "11 3{d3}-{d4}",
        "347 {n7}",
        "02 {n4} {d4}",
        "22 6{d2} {d2} {d2}",
        "08-{n3} {d3} {d2}",
    ),
    *("(02) 9{d3} {d4}", "1300 {n3} {d3}", "010-{n4}-{d4}", "8 (912) {n3}-{d2}-{d2}", "06-30/{n3} {d4}"),
    *("+81 3-{n4}-{d4}", "+86 138 {d4} {d4}", "138{d4}{d4}", "0041 44 {n3} {d2} {d2}", "044 {n3} {d2} {d2}"),
)
"""Ways in which countries write telephone numbers: a for an area code and s for an exchange of the United
States, d and n for so many digits, the first of n not a 0."""


def phone_of_any_country(chance: random.Random) -> str:
    fields = {"a": chance.choice(("212", "415", "312", "617", "206", "305", "713", "202"))}
    fields["s"] = f"{chance.randrange(200, 999)}"
    return re.sub(
        r"\{([asdn])(\d?)\}",
        lambda field: (
            fields.get(field[1])
            or digits(chance, int(field[2]), "0123456789" if field[1] == "d" else "123456789")
        ),
        chance.choice(PHONE_FORMS),
    )


def ssn(chance: random.Random) -> str:
    return f"{chance.randrange(1, 665):03d}-{chance.randrange(1, 99):02d}-{chance.randrange(1, 9999):04d}"


def canada_sin(chance: random.Random) -> str:
    body = digits(chance, 8, "1234567")
    return grouped(body + luhn.calc_check_digit(body), 3, 3, 3)


def routing(chance: random.Random) -> str:
    body = f"{chance.randrange(1, 13):02d}{digits(chance, 6)}"
    return body + rtn.calc_check_digit(body)


def weighted(chance: random.Random, weights: tuple[int, ...], modulus: int) -> str:
    while True:
        number = digits(chance, len(weights))
        if sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True)) % modulus == 0:
            return number


def uk_nhs(chance: random.Random) -> str:
    while True:
        body = digits(chance, 9)
        for check in string.digits:
            if nhs.is_valid(body + check):
                return grouped(body + check, 3, 3, 4)


def uk_nino(chance: random.Random) -> str:
    return f"{chance.choice(('AB', 'CE', 'JK', 'WM', 'SR'))}{digits(chance, 6)}{chance.choice('ABCD')}"


def medicare(chance: random.Random) -> str:
    body = digits(chance, 8, "23456")
    check = (
        sum(int(digit) * weight for digit, weight in zip(body, (1, 3, 7, 9, 1, 3, 7, 9), strict=True)) % 10
    )
    return f"{body[:4]} {body[4:]}{check} {chance.randrange(1, 10)}"


def aadhaar(chance: random.Random) -> str:
    body = digits(chance, 11, "23456789")
    return grouped(body + verhoeff.calc_check_digit(body), 4, 4, 4)


def pan(chance: random.Random) -> str:
    upper = string.ascii_uppercase
    return f"{text(chance, 3, upper)}P{text(chance, 1, upper)}{digits(chance, 4)}{text(chance, 1, upper)}"


def brazil_cpf(chance: random.Random) -> str:
    body = digits(chance, 9)
    whole: str = cpf.format(body + cpf._calc_check_digits(body))
    return whole


def spain_nif(chance: random.Random) -> str:
    body = digits(chance, 8)
    for letter in string.ascii_uppercase:
        if nif.is_valid(body + letter):
            return body + letter
    raise AssertionError("every number has a letter")


def france_nir(chance: random.Random) -> str:
    body = (
        f"{chance.choice('12')}{chance.randrange(100):02d}{chance.randrange(1, 13):02d}"
        f"{chance.randrange(1, 96):02d}"
        f"{chance.randrange(1, 990):03d}{chance.randrange(1, 999):03d}"
    )
    return chance.choice(
        (body + nir.calc_check_digits(body), grouped(body + nir.calc_check_digits(body), 1, 2, 2, 2, 3, 3, 2))
    )


def germany_tax_id(chance: random.Random) -> str:
    while True:
        pool = list("1234567890")
        chance.shuffle(pool)
        pool[chance.randrange(1, 10)] = pool[0]
        body = "".join(pool)
        for check in string.digits:
            if idnr.is_valid(body + check):
                return grouped(body + check, 2, 3, 3, 3)


def italy_fiscal_code(chance: random.Random) -> str:
    upper = "BCDFGLMNPRSTV"
    born = f"{chance.randrange(40, 99)}{chance.choice('ABCDEHLMPRST')}{chance.randrange(1, 29):02d}"
    body = f"{text(chance, 6, upper)}{born}H{chance.randrange(100, 999)}"
    return body + codicefiscale.calc_check_digit(body)


def born(chance: random.Random) -> str:
    """A day of birth as six digits."""
    return f"{chance.randrange(40, 99)}{chance.randrange(1, 13):02d}{chance.randrange(1, 29):02d}"


def poland_pesel(chance: random.Random) -> str:
    body = born(chance) + digits(chance, 4)
    return body + pesel.calc_check_digit(body)


def sweden(chance: random.Random) -> str:
    body = born(chance) + digits(chance, 3)
    return f"{body[:6]}-{body[6:]}{luhn.calc_check_digit(body)}"


def imei(chance: random.Random) -> str:
    body = "35" + digits(chance, 12)
    return body + luhn.calc_check_digit(body)


def vehicle(chance: random.Random) -> str:
    alphabet = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
    values = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", "12345678123457923456789", strict=True))
    while True:
        number = f"1{text(chance, 12, alphabet)}{digits(chance, 4)}"
        total = sum(
            weight * int(values.get(letter, letter))
            for weight, letter in zip(
                (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2), number, strict=True
            )
        )
        return number[:8] + "0123456789X"[total % 11] + number[9:]


def jwt(chance: random.Random) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": digits(chance, 10), "admin": False}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, text(chance, 43)))


def private_key(chance: random.Random) -> str:
    kind = "RSA PRIVATE" + " KEY"
    body = "\n".join(text(chance, 64, BASE64) for _ in range(10))
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"


def password(chance: random.Random) -> str:
    return f"{text(chance, 7)}{chance.choice('!$%*#')}{chance.randrange(10)}{text(chance, 2)}"


def matching(chance: random.Random, pattern: str) -> str:
    """A text that a pattern without look-around matches."""
    return _generated(chance, parser.parse(pattern))


def _generated(chance: random.Random, parsed: object) -> str:
    made = []
    for operation, argument in parsed:  # type: ignore[attr-defined]
        name = str(operation)
        if name == "LITERAL":
            made.append(chr(argument))
        elif name == "IN":
            choices: list[str] = []
            for kind, value in argument:
                if str(kind) == "LITERAL":
                    choices.append(chr(value))
                elif str(kind) == "RANGE":
                    choices.extend(map(chr, range(value[0], value[1] + 1)))
                elif str(kind) == "NEGATE":
                    choices = ["n", "7", "Q", "x"]
                    break
            made.append(chance.choice(choices))
        elif name == "MAX_REPEAT":
            least, most, part = argument
            most = min(least + 4, most if isinstance(most, int) else least + 4)
            made.extend(_generated(chance, part) for _ in range(chance.randint(least, most)))
        elif name == "SUBPATTERN":
            made.append(_generated(chance, argument[3]))
        elif name == "BRANCH":
            made.append(_generated(chance, chance.choice(argument[1])))
        else:
            raise ValueError(f"The generator does not know {name}.")
    return "".join(made)


def timestamp(chance: random.Random) -> str:
    day = f"2024-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}"
    time = f"{chance.randrange(24):02d}:{chance.randrange(60):02d}:{chance.randrange(60):02d}"
    return f"{day}T{time}.{digits(chance, 3)}Z"


HARD_NEGATIVES: dict[str, Make] = {
    "order id": lambda chance: f"order id {digits(chance, chance.choice((8, 9, 10, 12, 16)))}",
    "order code": lambda chance: f"ORD-{digits(chance, 8)}",
    "hash": lambda chance: text(chance, chance.choice((32, 40, 64)), HEXADECIMAL),
    "guid": lambda chance: str(uuid.UUID(int=chance.getrandbits(128))),
    "timestamp": timestamp,
    "epoch": lambda chance: str(chance.randrange(1_500_000_000, 1_800_000_000)),
    "epoch in ms": lambda chance: str(chance.randrange(1_500_000_000_000, 1_800_000_000_000)),
    "version": lambda chance: f"version {'.'.join(str(chance.randrange(30)) for _ in range(4))}",
    "decimal": lambda chance: f"{chance.random():.12f}",
    "price": lambda chance: (
        f"{chance.randrange(1, 999)},{chance.randrange(1_000):03d}.{chance.randrange(100):02d}"
    ),
    "tracking number": lambda chance: f"tracking number {digits(chance, 12)}",
    "phone-like id": lambda chance: f"{digits(chance, 5)}-{digits(chance, 4)}",
    "invoice": lambda chance: f"invoice no. {digits(chance, 4)}-{digits(chance, 6)}",
    "day": lambda chance: chance.choice(
        ("{0:02d}/{1:02d}/{2}", "{0:02d}.{1:02d}.{2}", "{2}{1:02d}{0:02d}")
    ).format(chance.randrange(1, 29), chance.randrange(1, 13), chance.randrange(1950, 2030)),
    "days": lambda chance: f"2024-0{chance.randrange(1, 10)}-1{chance.randrange(10)} 0{chance.randrange(10)}",
    "years": lambda chance: f"{chance.randrange(1900, 1990)}-{chance.randrange(1990, 2030)}",
    "sum": lambda chance: chance.choice(("{:,}.00", "{:,},50", "${:,}", "{:,}")).format(
        chance.randrange(10**6, 10**10)
    ),
    "sum in blanks": lambda chance: f"{chance.randrange(10**6, 10**9):,}".replace(",", " "),
    "sum in dots": lambda chance: f"{chance.randrange(10**6, 10**9):,}".replace(",", ".") + ",50",
    "ISBN": lambda chance: (
        f"978-{chance.randrange(10)}-{digits(chance, 2)}-{digits(chance, 6)}-{chance.randrange(10)}"
    ),
    "ISBN of ten": lambda chance: f"{chance.randrange(10)}-{digits(chance, 3)}-{digits(chance, 5)}-X",
    "part number": lambda chance: chance.choice(
        (
            f"{digits(chance, 3)}-{digits(chance, 5)}",
            f"{digits(chance, 4)}-{digits(chance, 4)}-{digits(chance, 4)}",
            f"{digits(chance, 2)}-{digits(chance, 4)}-{digits(chance, 3)}",
            f"{digits(chance, 5)}/{digits(chance, 4)}",
        )
    ),
    "handset": lambda chance: f"35{digits(chance, 13)}",
    "place": lambda chance: f"{chance.uniform(-90, 90):.6f}, {chance.uniform(-180, 180):.6f}",
    "postal code": lambda chance: f"Boston, MA 0{digits(chance, 4)}-{digits(chance, 4)}",
    "row of numbers": lambda chance: " ".join(digits(chance, 3) for _ in range(chance.randrange(4, 7))),
    "bytes": lambda chance: "c7 45 ec 01 00 00 00 00 " + digits(chance, 2),
    "section": lambda chance: (
        f"section {chance.randrange(1, 9)}.{chance.randrange(99)}.{chance.randrange(9)}.12"
    ),
    "ten digits": lambda chance: digits(chance, 10),
    "padded": lambda chance: f"{chance.randrange(10**8):010d}",
    "key of a row": lambda chance: f"primaryKey={text(chance, 24)}",
    "sentence": lambda chance: "The quick brown fox (12 of 30) jumps over 7 lazy dogs at 10:45 on page 1024.",
}
