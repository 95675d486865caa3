"""Secrets: values by their names, tokens by their structure. Keys of services are found in `services`."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from platform_assets.dlp.local import checks
from platform_assets.dlp.local.detectors import credentials as _credentials
from platform_assets.dlp.local.regex import compiled
from platform_assets.dlp.local.scanners.harmless import (
    is_harmless,
    is_name_in_code,
    is_slug,
    without_caseless_scripts,
)
from platform_assets.dlp.local.scanners.text import (
    ENTROPY,
    HOTWORD,
    LIKELY,
    POSSIBLE,
    PREFIX,
    SHAPE,
    UNLIKELY,
    VALIDATOR,
    VERY_LIKELY,
    WORD_BYTES,
    InfoTypeScanner,
    Match,
    ScannedText,
    spans,
)
from platform_assets.formats.words import word_set, words_of

_PLACEHOLDER = compiled(f"(?i){_credentials.PLACEHOLDER}")
_CODE = compiled(f"(?i){_credentials.CODE}")
_NO_KEY = compiled(_credentials.NO_KEY)
_DIGEST_NAMES = frozenset(_credentials.DIGEST_NAMES.split(", "))
_FILLERS = ("EXAMPLE", "xxxx", "XXXX", "placeholder", "your_", "YOUR_", "....", "****")
_SEQUENCES = (
    "0000000000",
    "1234567890123",
    "123456789abcdef",
    "a1b2c3d4e5f6",
    "A1B2C3D4E5F6",
    "abcdefgh",
    "ABCDEFGH",
    "aaaaaaa",
    "AAAAAAAA",
)


def is_filler(value: str, dummies: bool, own: str = "") -> bool:
    """Return True for a value with the words of examples, or with a sequence that nobody's key has.

    Args:
        value: The value.
        dummies: True if sequences count as secrets.
        own: The pattern of the value, whose literals are no fillers.
    """
    return any(filler in value and filler not in own for filler in _FILLERS) or (
        not dummies and any(sequence in value and sequence not in own for sequence in _SEQUENCES)
    )


_UUID = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LEAST_DUMMY, _LEAST_RUN = 8, 3


def is_dummy(value: str) -> bool:
    """Return True for a UUID, and for ascending characters, such as `abcdef1234567890` or `a1b2c3d4`.

    Somebody's tokens may be UUIDs, and a test's are sequences; neither can be told from what is no secret.
    """
    if len(value) < _LEAST_DUMMY or len(set(value)) <= _LEAST_RUN:
        return False
    if _UUID.fullmatch(value) is not None:
        return True
    lower = value.lower()
    for stride in (1, 2):
        covered = run = 0
        for before, after in zip(lower, lower[stride:], strict=False):
            follows = ord(after) - ord(before) == 1 or (before, after) == ("9", "0")
            run = run + 1 if follows else 0
            covered += _LEAST_RUN if run == _LEAST_RUN else run > _LEAST_RUN
        if 2 * covered >= len(value):
            return True
    return False


def is_placeholder(value: str) -> bool:
    """Return True for a value that stands for a secret, or that has hardly any different characters."""
    return _PLACEHOLDER.search(value.encode()) is not None or len(set(value)) < 3


_LOCATION = re.compile(
    r"(?:~|\.{1,2})?(?:/[\w.\-]{1,24}){2,}/?|[\w\-]{1,24}(?:/[\w.\-]{1,24})*/[\w\-]{1,24}\.[a-z0-9]{1,5}|[A-Za-z]:\\.*"
)
_ADDRESS = re.compile(r"[a-z][a-z+]{1,10}://[^\s@]*|[\w.\-]+@[\w.\-]+\.[a-z]{2,}")


def _is_place(value: str) -> bool:
    """Return True for paths and addresses, which tell where a secret is."""
    return _LOCATION.fullmatch(value) is not None or _ADDRESS.fullmatch(value) is not None


NAMES = f"(?:{_credentials.NAMES_OF_PASSWORDS}|{_credentials.NAMES_OF_SECRETS})"
"""The names of passwords and other secrets, as an RE2 group."""
_TYPE = (
    r":[ ]?[a-z_][a-z0-9_.]{0,30}(?:\[[a-z0-9_. |]{0,30}\])?\??"
    r"(?:[ ]?\|[ ]?[a-z_][a-z0-9_.\[\]]{0,20}){0,3}[ ]?=[ ]?[brfu]?[\"'`]"
    r"|:[ ]?&'static str[ ]?=[ ]?\""
    r"|[ ]{1,4}(?:n?varchar2?|n?char|n?text|sysname)[ ]?(?:\([a-z0-9 ]{1,10}\))?[ ]{0,4}(?::?=|default)"
)
# What a literal is wrapped in: constructors and functions that return the same text.
_WRAPPED = (
    r"(?:(?:new[ ])?(?:secret_?(?:str|string|bytes)?|sensitive|pydantic\.secretstr|string::from|some|"
    r"\[\]byte|str|bytes|to_bytes|buffer\.from|pulumi\.secret|(?:std::)?w?string|qstring(?:literal)?|_t|text|field|"
    r"(?:[a-z0-9]{1,10}\.)?(?:url_?safe_?)?b64_?decode)\([ ]?(?:default[ ]?=[ ]?)?|<<)[brfu@]?"
)
# A literal of several lines, or a value on the next line, which is indented.
_NEXT_LINE = (
    r"(?:<<[<~\-]?[\"']?[a-z_]{2,20}[\"']?|@[\"']|\"{3}\\?|'{3}\\?|\\)\r?\n[ \t]{0,40}"
    r"|\([ \t]{0,4}\r?\n[ \t]{1,40}"
)
ASSIGNED = (
    rf"(?i){NAMES}[a-z0-9_\-.]{{0,30}}(?:\\?[\"'\]]|\*|\[[a-z0-9_\"'$*@]{{0,24}}\]){{0,3}}[ \t]{{0,24}}"
    rf"(?:(?:{_TYPE})|[:=][ ]?[\"']?\$\{{\{{[^}}\n\"']{{1,80}}\|\|[ ]?'|"
    r"(?::[ ]?(?:str|string|optional\[str\]|&str|char ?\*)[ ]?|string[ ])?"
    r"(?:=>|={1,3}|:{1,3}=|!={1,2}|\?=|\|\|=|//=|::[ ]|:(?:[ ]{1,4}[&!][a-z0-9_!./\-]{0,40}[ ]){0,2})|"
    r"\)[ ]?(?:or|\|\||\?\?)[ ]?[\"']|[ ](?:or|\|\||\?\?|\?:)[ ][\"']|"
    rf"[ ](?:{_credentials.IS})[ :]|>|,[ ]?(?:<<)?[\"']|[ ]as[ ]string[ ]?=|"
    r",[ ]?(?:[a-z]{2,10}[ ]?=[ ]?[a-z0-9_.]{1,30},[ ]?){0,3}(?:default|fallback|value)[ ]?=[ ]?[\"']|"
    r"(?:->|<-)[ ]?[\"']|\}[ \t]{0,4}(?://|\|\||\?)?={1,2}|\}(?:[ ]{4}|\t)|\)[ ]?\{[ ]?[\"']|%3d|"
    r"[ ]-value[ ][\"']|[ ]/t[ ]reg_(?:expand_)?sz[ ]/d[ ]|"
    r"\|[ ]?default\([ ]?[\"']|"
    r"\{[ ]?[\"']|\{[ ]?get;[^}\n]{0,24}\}[ ]?=|[ ]?(?:：|是|为|は|—|–))[ \t]{0,24}"  # noqa: RUF001
    rf"(?:(?:{_WRAPPED})[\"'`]|{_NEXT_LINE}[\"']?|\r?\n[ \t]{{1,40}}|r#{{1,3}}\"|%?q{{1,2}}[{{(]|"
    r"[brfunel@$]{0,2}\\?(?:\"{3}|'{3}|[\"'`])|&quot;|\*{1,2}[ \t]{1,2}[`]?)?"
    rf"|(?i)--[a-z\-]{{0,20}}{NAMES}[ =][\"']?|(?i)[ \t]-{NAMES}[ ][\"']"
)
"""The pattern of an assignment to a name of a secret, up to its value."""
_PASSWORD_NAME = compiled(f"(?i)(?:{_credentials.NAMES_OF_PASSWORDS})")
_NAME_PART = compiled(f"(?i)(?:{NAMES})")
_VALUE = re.compile(rb"[^\s\"'`;,<>()\[\]{}\\]+")
_SHORTEST_SECRET = 4
_IDENTIFIER_BYTES = WORD_BYTES | frozenset(b"-.")
# The last word of a name that holds something about a secret, not the secret itself.
ABOUT = word_set("""
    hash hashed hasher url uri urls path file files filename type types name names id ids length len
    size expiry expires expiration ttl count field fields label hint policy reset endpoint prefix header
    headers regex pattern version status format method required enabled min max limit strength confirm
    confirmation error errors message msg index row column provider store manager class func function
    handler callback validator valid invalid test tests page form input box placeholder title
    description link date time at on age encoder encoding encoded cache rotation arn ref reference
    location dir directory algorithm alg mode issuer audience scope scopes usage used remaining total
    budget window per parser stream list set map dict kind map mapping
    """)


_CONNECTION_KEYS = (
    rb"(?:server|data source|host(?:name)?|user[ _]?id|uid|user(?:name)?|database|initial catalog|dbname|"
    rb"accountendpoint|addr(?:ess)?|endpoint|driver|provider|port|dsn|integrated security|"
    rb"trustservercertificate|"
    rb"sslmode|encrypt|multipleactiveresultsets|persist security info|connection timeout|pooling)"
)
_CONNECTED = re.compile(
    rb"(?i)(?:\b" + _CONNECTION_KEYS + rb"[ ]?=[^;\n&\"']{1,120}|jdbc:[a-z0-9:]+//[^\s\"']{1,160})[;?& ]"
)
_CONNECTED_AFTER = re.compile(rb"(?i)[;& ][ ]?" + _CONNECTION_KEYS + rb"[ ]?=")


def _is_in_connection_string(data: bytes, start: int, end: int, sign: str) -> bool:
    """Return True if an assignment is a part of a connection string; its password may have letters only."""
    if "=" not in sign or (start and data[start - 1] not in b";?& \n\"'="):
        return False
    line = data.rfind(b"\n", max(start - 240, 0), start) + 1
    before = data[max(line, start - 240) : start]
    after = data[end : end + 80].partition(b"\n")[0]
    if b";" not in before + after[:1] and b"jdbc:" not in before and b"dbname" not in before + after:
        return False
    return _CONNECTED.search(before) is not None or _CONNECTED_AFTER.match(after) is not None


def look_at_assignment(text: ScannedText, found: list[Match], first: int, start: int) -> None:
    """Judge an assignment to a name of a secret: its name starts at `first`, its value at `start`."""
    data = text.data
    names = text.names
    quote = data[start - 1 : start]
    quoted = quote in (b'"', b"'", b"`")
    if quoted:
        end = data.find(quote, start, start + 512)
        if end < 0 or b"\n" in data[start:end]:
            return
        if data[end + 1 : end + 2] == b":" and b"==" not in data[first:start]:
            return  # a key of a dictionary, not what a condition compares with
        if data[end - 1 : end] == b"\\":
            end -= 1
    else:
        match = _VALUE.match(data, start, min(start + 512, len(data)))
        if match is None:
            return
        end = match.end()
        if data[start - 3 : start].lower() == b"%3d":
            end = start + len(data[start:end].partition(b"%")[0])
        end -= len(data[start:end]) - len(data[start:end].rstrip(b".!?:*"))
    if not _SHORTEST_SECRET <= end - start <= 500:
        return
    if b"\n" in data[first:start] and (
        text.lines or (not quoted and _NO_VALUE_OF_NEXT_LINE.match(data, start, end + 80) is not None)
    ):
        return
    if (
        not quoted
        and data[end : end + 1] in (b"(", b"[")
        and is_name_in_code(data[start:end].decode("latin-1"))
    ):
        return  # a call
    # Extend to the whole name.
    begin = first
    while begin > 0 and first - begin < 40 and data[begin - 1] in _IDENTIFIER_BYTES:
        begin -= 1
    named = _NAME_PART.search(data, first)
    name = data[begin : named.end() if named else start].decode("latin-1")
    if data[begin - 1 : begin] in (b":", b";") and _RESOURCE.search(data, max(begin - 120, 0), begin):
        return  # the address of a secret: arn:aws:secretsmanager:...:secret:name
    rest = data[named.end() if named else start : start].decode("utf-8", "replace")
    suffix = re.match(r"[A-Za-z0-9_\-.]*", rest)
    if _is_no_password(data[max(begin - 16, 0) : begin], name, rest, quoted):
        return
    if name.lower() == "token" and _GOING_ON.search(data, max(begin - 16, 0), begin):
        return
    judged = _secret(
        name,
        suffix.group() if suffix else "",
        data[start:end].decode("utf-8", "replace"),
        quoted,
        rest,
        text.dummies,
    )
    if judged is None:
        return
    kind, likelihood = judged
    if kind == "PASSWORD" and likelihood < LIKELY and _is_in_connection_string(data, begin, end, rest):
        likelihood = LIKELY
    if (
        kind == "AUTH_TOKEN"
        and re.search(r"(?i)aws|secret_?access", name)
        and re.fullmatch(rb"[A-Za-z0-9+/]{40}", data[start:end])
    ):
        kind, likelihood = "AWS_CREDENTIALS", VERY_LIKELY
    if kind in names and likelihood >= text.floor:
        found.append(Match(start, end, kind, likelihood, ENTROPY | HOTWORD, 0))


# Another assignment, or a sentence.
_NO_VALUE_OF_NEXT_LINE = re.compile(rb"[\w.\-]{1,60}[ \t]*[=:](?![=\s]*\Z)|[^\r\n]*?\S[ \t]+[^\s\"');,#]")
_RESOURCE = re.compile(rb"\b(?:arn|urn|crn|ocid1?|pkcs11):[^\s\"'<>]*\Z")
_GOING_ON = re.compile(rb"(?i)\b(?:page|next|continuation|pagination|resume|sync|delta) \Z")


_SAID = re.compile(f"(?i)(?:(?:{_credentials.IS}):?|[是为は])?")


class _Value(NamedTuple):
    """A value of a name that indicates a secret.

    Args:
        text: The value.
        name: The name, without its suffix.
        words: The words of the name.
        is_quoted: True if the value is in quotes.
        is_prose: True if a sentence says it, as in "the password is ...".
        has_digit: True if it has a digit.
        has_letter: True if it has a letter.
        symbols: Number of characters that are neither.
    """

    text: str
    name: str
    words: tuple[str, ...]
    is_quoted: bool
    is_prose: bool
    has_digit: bool
    has_letter: bool
    symbols: int


_SALTED_HASH = re.compile(r"\$?(?:2[aby]|argon2\w*|pbkdf2\w*|scrypt|[156])\$|\{[A-Z0-9]+\}")
_HYPHENATED = re.compile(r"[a-z]+[-'][a-z]+")
_WORDS_IN_LOWER_CASE = re.compile(r"[a-z]{2,}(?:[_\-.:][a-z]{2,})+")
_WORDS_IN_CAPITALS = re.compile(r"[A-Z]{2,}(?:_[A-Z]{2,})+")
_LIKE_A_NAME = re.compile(r"[A-Za-z_][A-Za-z_.]*")
_ALL_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")


def _is_likely_spoken(value: _Value) -> bool:
    return value.has_digit and value.has_letter and len(value.text) >= 6


def _is_possibly_spoken(value: _Value) -> bool:
    return (
        bool(value.has_digit or value.symbols)
        and len(value.text) >= 5
        and _HYPHENATED.fullmatch(value.text) is None
    )


_PASSWORDS: tuple[tuple[Callable[[_Value], object], int | None], ...] = (
    # The current directory of a shell.
    (lambda value: value.text[:1] == "/" and value.words[-1] in ("pwd", "oldpwd"), None),
    (lambda value: _SALTED_HASH.match(value.text), UNLIKELY),
    (lambda value: value.is_quoted and value.text.count(" ") > 2 and not value.has_digit, None),
    (lambda value: value.is_quoted and " " in value.text and not value.has_digit, UNLIKELY),
    (lambda value: value.is_quoted and " " in value.text, POSSIBLE),
    (lambda value: value.is_quoted and _WORDS_IN_LOWER_CASE.fullmatch(value.text), POSSIBLE),
    # Constants of an enumeration.
    (lambda value: _WORDS_IN_CAPITALS.fullmatch(value.text), POSSIBLE),
    (lambda value: value.is_quoted and (value.has_digit or value.symbols), LIKELY),
    (lambda value: value.is_quoted, POSSIBLE),
    (lambda value: value.is_prose and _is_likely_spoken(value), LIKELY),
    (lambda value: value.is_prose and _is_possibly_spoken(value), POSSIBLE),
    (lambda value: value.is_prose, UNLIKELY),
    (lambda value: value.has_digit and (value.has_letter or value.symbols), LIKELY),
    # A constant's name may stand for its value.
    (lambda value: value.text.isalpha() and value.name.isupper(), POSSIBLE),
    (lambda value: _LIKE_A_NAME.fullmatch(value.text), UNLIKELY),
    (lambda value: True, POSSIBLE),
)
"""Conditions on passwords: the first one that holds gives the likelihood; None for no password."""


@dataclass(frozen=True)
class _RandomValue:
    """Values that are random enough for a token.

    Args:
        likelihood: Their likelihood.
        length: The shortest, in characters.
        entropy: The least entropy, in bits per character.
        fits: Returns True for further conditions that hold.
    """

    likelihood: int
    length: int
    entropy: float
    fits: Callable[[_Value], bool]


def _is_mixed(value: _Value) -> bool:
    return value.has_digit and value.has_letter


_TOKENS = (
    _RandomValue(VERY_LIKELY, 32, 4.2, _is_mixed),
    _RandomValue(LIKELY, 16, 3.3, _is_mixed),
    _RandomValue(
        LIKELY, 16, 3.0, lambda value: _is_mixed(value) and _ALL_HEXADECIMAL.fullmatch(value.text) is not None
    ),
    _RandomValue(
        LIKELY,
        20,
        4.0,
        lambda value: value.has_letter and value.symbols <= len(value.text) // 4 and not value.text.islower(),
    ),
    _RandomValue(POSSIBLE, 10, 3.0, lambda value: _is_mixed(value) and not value.is_prose),
)
"""Tokens, the most likely first."""
_SHORTEST_TOKEN, _SHORTEST_SALT = 10, 16


_NOT_BEFORE_PASS = frozenset(_credentials.WORDS_BEFORE_PASSES.split(", "))


def _is_no_password(before: bytes, name: str, sign: str, quoted: bool) -> bool:
    """Return True for the word "pass" that means no password: in sentences and in reports of tests."""
    if name[-4:].lower() != "pass":
        return False
    words = words_of(name)
    if words[-1] != "pass":
        return False
    if len(words) == 1:
        bare = sign.strip(" \t")
        if (
            "=" not in bare
            and not (quoted and bare[:1] in (":", '"', "'"))
            and (bare != ":" or name.isupper())
        ):
            return True
        words = words_of(before.decode("latin-1") + name)
    return len(words) > 1 and words[-2] in _NOT_BEFORE_PASS


# Tokens of lists that go on, which open nothing.
_NOT_BEFORE_TOKEN = word_set("page next continuation pagination resume starting sync delta cursor")


def _names_a_secret(name: str, suffix: str, words: Sequence[str]) -> bool:
    """Return True if a name is a secret's own: not of its length, not a digest, not `tokenizer`."""
    if not words or words[-1] in ABOUT or _DIGEST_NAMES & set(words[-2:]):
        return False
    if words[-1] == "token" and words[-2:-1] and words[-2] in _NOT_BEFORE_TOKEN:
        return False
    is_one_word = suffix[:1].isalpha() and suffix[:1].islower() and name[-1].islower()
    return not (is_one_word and words[-1] != "s" and len(suffix) > 1)


def _secret(
    name: str, suffix: str, value: str, quoted: bool, sign: str, dummies: bool = False
) -> tuple[str, int] | None:
    """Classify the value of a name that indicates a secret: its info type and likelihood, or None."""
    words = words_of(name + suffix)
    if not _names_a_secret(name, suffix, words):
        return None
    if dummies and is_dummy(value):
        is_password = _PASSWORD_NAME.search(name.encode("latin-1")) is not None
        return "PASSWORD" if is_password else "AUTH_TOKEN", LIKELY
    value = without_caseless_scripts(value)
    if _UUID.fullmatch(value.partition(":")[2]) is not None:
        return None  # of a user before it, as in --creds
    if len(value) < _SHORTEST_SECRET or is_placeholder(value) or is_harmless(value, quoted):
        return None
    if not quoted and _CODE.search(value.encode()) is not None:
        return None
    if _is_place(value):
        return None
    one = _Value(
        value,
        name,
        words,
        quoted,
        not quoted and _SAID.fullmatch(sign.strip(" \"'")) is not None,
        any(letter.isdigit() for letter in value),
        any(letter.isalpha() for letter in value),
        sum(not letter.isalnum() for letter in value),
    )
    said = sign[len(suffix) :].strip(" \"'")
    if suffix[:1] in ("_", "-") and said and not quoted and _SAID.fullmatch(said) is not None:
        return None  # a function in a sentence: "parse_password_control to the library"
    if _PASSWORD_NAME.search(name.encode("latin-1")) is not None:
        likelihood = next(likelihood for holds, likelihood in _PASSWORDS if holds(one))
        return None if likelihood is None else ("PASSWORD", likelihood)
    likelihood = _token(one)
    return None if likelihood is None else ("AUTH_TOKEN", likelihood)


def _token(value: _Value) -> int | None:
    """The likelihood of a token, or None."""
    size = len(value.text)
    if size < (_SHORTEST_SALT if "salt" in value.words else _SHORTEST_TOKEN) or " " in value.text:
        return None
    if _NO_KEY.search(value.text.encode()) is not None:
        return None
    is_snake_case = "_" in value.text and value.text.islower()
    if (is_snake_case or not (value.is_quoted or value.is_prose)) and is_name_in_code(value.text):
        return None
    if is_slug(value.text):
        return None
    bits = checks.entropy(value.text)
    random = (kind for kind in _TOKENS if bits >= kind.entropy and size >= kind.length and kind.fits(value))
    return next((kind.likelihood for kind in random), None)


def named_secret(name: str, value: str, dummies: bool = False) -> tuple[str, int] | None:
    """Classify a value by a name that is not in the same place: its info type and likelihood, or None.

    Args:
        name: The name.
        value: The value.
        dummies: True if sequences and UUIDs count as secrets.
    """
    match = _NAME_PART.search(name.encode())
    if match is None:
        return None
    named = name.encode()
    return _secret(
        named[: match.end()].decode("latin-1"),
        named[match.end() :].decode("latin-1"),
        value,
        True,
        "",
        dummies,
    )


def secret_value(name: str, value: str) -> bool:
    """Return True if a value of a column whose name indicates secrets is a secret."""
    judged = _secret(name, "", value, True, "")
    return judged is not None and judged[1] >= POSSIBLE


_KEYED = (
    rb"(?i)key[s0-9]?(?:\\?[\"'\]]){0,3}[ \t]{0,4}(?:=>|:{0,3}=|\?=|:)[ \t]{0,4}(?:[brfu@$]?\\?[\"'`])?"
    rb"[A-Za-z0-9+/_\-.=]{20,}"
)
_KEY_VALUE = re.compile(rb"[A-Za-z0-9+/_\-.=]{20,}$")
_KEY_NAME = re.compile(rb"[A-Za-z0-9_\-.]{0,40}$")
_HARMLESS_KEYS = frozenset(_credentials.HARMLESS_KEYS.split(", "))
_SSH_PUBLIC = ("AAAAB3", "AAAAC3", "AAAAE2")


def _look_at_keys(text: ScannedText, found: list[Match]) -> None:
    """Find random values of names that end in "key" and do not say what the key is for."""
    data = text.data
    for start, end in spans(_KEYED, data):
        before = _KEY_NAME.search(data, max(start - 40, 0), start)
        value = _KEY_VALUE.search(data, start, end)
        if before is None or value is None or (end < len(data) and data[end] in WORD_BYTES):
            continue
        words = words_of((before[0] + data[start : start + 3]).decode("latin-1"))
        written = value[0].decode("ascii")
        if (
            words[-1] != "key"
            or _HARMLESS_KEYS & set(words[-3:])
            or _DIGEST_NAMES & set(words)
            or written.startswith(_SSH_PUBLIC)
            or len(written) > 200
            or written.count("/") > 2
            or _PATH_LIKE.search(written)
            or (not text.dummies and _HEXADECIMAL.fullmatch(written))
            or (_NO_KEY.search(value[0]) is not None and not (text.dummies and is_dummy(written)))
            or is_placeholder(written)
            or is_filler(written, text.dummies)
        ):
            continue
        if (
            sum(letter.isdigit() for letter in written) >= 3
            and any(letter.isalpha() for letter in written)
            and checks.entropy(written) >= (3.0 if text.dummies else 3.7)
            and text.floor <= POSSIBLE
        ):
            found.append(Match(*value.span(), "AUTH_TOKEN", POSSIBLE, ENTROPY | HOTWORD, 0))


_PATH_LIKE = re.compile(r"\.[A-Za-z]{2,}|[A-Za-z]{4,}[/_\-][A-Za-z]{4,}")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F\-]+")

_SPOKEN = (
    rb"(?i)\b(?:password|passphrase|passcode|passwort|contrase\xc3\xb1a|mot de passe"
    rb"|identified (?:with [a-z0-9_]{1,40} )?by"
    rb"|password for [^\s=]{1,60}[ ]?(?:=|to))[ \t]{1,3}"
    rb"(?:'[^'\s]{4,64}'|\"[^\"\s]{4,64}\"|[^\s'\"`<>(){}\[\]]{6,64})"
)


def _look_at_spoken_passwords(text: ScannedText, found: list[Match]) -> None:
    """Find passwords right after the word, as in sentences and in SQL."""
    data = text.data
    for start, end in spans(_SPOKEN, data):
        first = max(data.rfind(blank, start, end) for blank in (b" ", b"\t")) + 1
        quoted = data[first] in b"'\""
        value = data[first + 1 : end - 1] if quoted else data[first:end].rstrip(b".,;:!?*")
        written = value.decode("utf-8", "replace")
        judged = _secret("password", "", written, True, "")
        if judged is None or judged[1] < POSSIBLE:
            continue
        # Unquoted values count only if they are not a word, name, path or number.
        code = _CODE.search(value.lstrip(b"!")) is not None
        if _kinds(written) < (2 if quoted else 3) or (not quoted and code):
            continue
        begin = first + 1 if quoted else first
        # Letters alone may be any name: "the record identified by 'nameID'".
        likelihood = POSSIBLE if written.isalpha() else LIKELY
        if text.floor <= likelihood:
            found.append(Match(begin, begin + len(value), "PASSWORD", likelihood, SHAPE | HOTWORD, 0))


def _kinds(value: str) -> int:
    """The number of kinds of characters in a value: digits, capitals, small letters, and symbols."""
    return (
        any(letter.isdigit() for letter in value)
        + any(letter.isupper() for letter in value)
        + any(letter.islower() for letter in value)
        + any(not letter.isalnum() and letter not in "-_./:" for letter in value)
    )


# Both are named before both are given: user/password: ann / ...
_BOTH = (
    rb"(?i)\b(?:user(?:name)?|login|id|account)[ ]?/[ ]?(?:password|passwd|pass|pw|pwd)[ ]?[:=][ ]{0,4}"
    rb"[^\s/]{1,64}[ ]?/[ ]?[^\s/]{4,64}"
    rb"|\b(?:credentials|creds|zugangsdaten|identifiants|credenciales)"
    rb"(?:[ ](?:are|is|sind|sont|son)|:)[ ]{1,3}[\w.@\-]{2,64}[ ]?[:/][ ]?[^\s:/]{4,64}"
)


_NEEDS_OF_BOTH = b"/pass", b"redentials"


def _look_at_both(text: ScannedText, found: list[Match]) -> None:
    """Find passwords after a user, where a label names both."""
    for start, end in spans(_BOTH, text.data):
        first = max(text.data.rfind(b"/", start, end), text.data.rfind(b":", start, end)) + 1
        first += len(text.data[first:end]) - len(text.data[first:end].lstrip())
        value = text.data[first:end].rstrip(b".,;)")
        judged = _secret("password", "", value.decode("utf-8", "replace"), False, ":", text.dummies)
        if judged is not None and judged[1] >= max(text.floor, POSSIBLE):
            found.append(Match(first, first + len(value), *judged, SHAPE | HOTWORD, 0))


_PAIRED = rb"@[A-Za-z0-9][A-Za-z0-9.\-]*\.[A-Za-z]{2,24}(?:[ ]/[ ]|:)[^\s'\"`<>(){}\[\],;/:@]{6,64}"


def _look_at_pairs(text: ScannedText, found: list[Match]) -> None:
    """Find passwords that follow an e-mail address, as in leaked lists."""
    data = text.data
    for start, last in spans(_PAIRED, data):
        first = max(data.rfind(b" ", start, last), data.rfind(b":", start, last)) + 1
        value = data[first:last].rstrip(b".!?")
        written = value.decode("utf-8", "replace")
        if (
            data[last : last + 1] not in (b"/", b":", b"@")
            and _kinds(written) >= 3
            and text.floor <= POSSIBLE
        ):
            found.append(Match(first, first + len(value), "PASSWORD", POSSIBLE, SHAPE | HOTWORD, 0))


_SIGNED_IN_BY_CURL = (
    rb"[ \t](?:-[a-zA-Z#]{0,8}u[ =]{0,3}|--(?:user|proxy-user)[ =]{1,3})[\"']?"
    rb"[^\s:\"'$<]{1,64}:[^\s\"'$<][^\s\"']{2,100}"
)


def _look_at_curl(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_SIGNED_IN_BY_CURL, data):
        line = data.rfind(b"\n", max(start - 500, 0), start) + 1
        first = data.index(b":", start, end) + 1
        if b"curl" in data[max(line, start - 500) : start] and not is_placeholder(
            data[first:end].decode("utf-8", "replace")
        ):
            found.append(Match(first, end, "PASSWORD", LIKELY, SHAPE, 0))


_REGISTRY_AUTH = rb"\"auth\\?\"[ ]{0,3}:[ ]{0,3}\\?\"[A-Za-z0-9+/]{8,}={0,2}"


def _look_at_registry_auths(text: ScannedText, found: list[Match]) -> None:
    """Find docker's registry credentials: user and password in Base64."""
    data = text.data
    for start, end in spans(_REGISTRY_AUTH, data):
        first = data.rfind(b'"', start, end) + 1
        try:
            user, _, secret = base64.b64decode(data[first:end], validate=True).decode("ascii").partition(":")
        except (binascii.Error, ValueError):
            continue
        if user.isprintable() and secret.isprintable() and len(secret) > 2:
            found.append(Match(first, end, "AUTH_TOKEN", VERY_LIKELY, SHAPE | HOTWORD, 0))


_BEARER = (
    rb"(?i)(?:\b(?:bearer|basic|token|digest|apikey)[ :]{1,2}[\"']?[A-Za-z0-9\-._~+/]{16,}={0,2}|"
    rb"(?:secret|token|(?:api|access|auth|private)[ _\-]?key)[ ]{1,2}[\"']?[A-Za-z0-9\-._~+/]{16,}={0,2})"
)
_SCHEMES = frozenset((b"bearer", b"basic", b"token", b"digest", b"apikey"))


def _look_at_headers(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_BEARER, data):
        scheme, _, value = data[start:end].replace(b":", b" ").rpartition(b" ")
        scheme, value = scheme.strip().lower(), value.strip(b"\"'")
        is_header = scheme in _SCHEMES and not (start and data[start - 1] in WORD_BYTES)
        first = end - len(value)
        written = value.decode("ascii")
        if is_placeholder(written) or is_filler(written, text.dummies) or is_harmless(written, True):
            continue
        if scheme == b"token" and _GOING_ON.search(data, max(start - 16, 0), start):
            continue
        if scheme == b"basic":
            try:
                _, colon, secret = base64.b64decode(value, validate=True).partition(b":")
            except (binascii.Error, ValueError):
                continue
            # The example of RFC 7617; without a password, the user is the key of a service.
            example = secret == b"open sesame" or (
                secret and is_placeholder(secret.decode("utf-8", "replace"))
            )
            likelihood = VERY_LIKELY if colon and not example else 0
        else:
            random = any(letter.isdigit() for letter in written) and checks.entropy(written) >= 3.3
            random = random and _NO_KEY.search(value) is None and not is_slug(written)
            likely = LIKELY if is_header else POSSIBLE
            likelihood = likely if random or (text.dummies and is_dummy(written)) else 0
        if likelihood >= max(text.floor, 1):
            found.append(Match(first, end, "AUTH_TOKEN", likelihood, ENTROPY | HOTWORD, 0))


_JWT = rb"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{4,}\.[A-Za-z0-9_\-]*"


def _look_at_jwts(text: ScannedText, found: list[Match]) -> None:
    for start, end in spans(_JWT, text.data):
        head = text.data[start:end].partition(b".")[0]
        try:
            header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
        except (binascii.Error, ValueError):
            header = None
        valid = isinstance(header, dict) and "alg" in header
        likelihood = VERY_LIKELY if valid else POSSIBLE
        if likelihood >= text.floor:
            found.append(
                Match(start, end, "JSON_WEB_TOKEN", likelihood, PREFIX | (VALIDATOR if valid else SHAPE))
            )


_PEM = (
    rb"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rb"|PuTTY-User-Key-File-[23]: [a-z0-9\-]{3,40}"
)
_LONGEST_PEM = 32_768


def _look_at_private_keys(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, head in spans(_PEM, data):
        stop = data.find(b"-----END", head, head + _LONGEST_PEM)
        body = data[head : stop if stop > 0 else head + 2_000]
        end = min(stop + 8 + len(data[start:head]) - 10, len(data)) if stop > 0 else head
        material = sum(len(run) for run in re.findall(rb"[A-Za-z0-9+/=]{16,}", body))
        likelihood = VERY_LIKELY if material >= 40 else UNLIKELY
        if likelihood >= text.floor:
            found.append(
                Match(
                    start, end, "ENCRYPTION_KEY", likelihood, PREFIX | (ENTROPY if material >= 40 else SHAPE)
                )
            )


_COOKIE = (
    rb"(?i)\b(?:set-)?cookie[\"']?[ ]{0,2}[:=][ ]{0,2}[\"']?[A-Za-z0-9_.\-]{1,60}=[^\s;,\"'=]{6,}[^\r\n\"']*"
)


def _look_at_cookies(text: ScannedText, found: list[Match]) -> None:
    for start, end in spans(_COOKIE, text.data):
        value = text.data[start:end]
        mark = re.search(rb"[:=] ?[\"']? ?", value)
        first = start + (mark.end() if mark else 0)
        content = text.data[first:end].partition(b"=")[2].partition(b";")[0].decode("latin-1")
        if text.floor <= LIKELY and not (
            is_placeholder(content)
            or is_filler(content, text.dummies)
            or (is_dummy(content) and not text.dummies)
            or is_harmless(content, True)
        ):
            found.append(Match(first, end, "HTTP_COOKIE", LIKELY, SHAPE | HOTWORD, 0))


_SERVICE_ACCOUNT = rb"\"type\"[ ]{0,4}:[ ]{0,4}\"(?:service_account|authorized_user|external_account)\""


def _look_at_service_accounts(text: ScannedText, found: list[Match]) -> None:
    for start, end in spans(_SERVICE_ACCOUNT, text.data):
        near = text.data[max(start - 4_096, 0) : end + 4_096]
        likelihood = VERY_LIKELY if b"PRIVATE KEY" in near or b"refresh_token" in near else UNLIKELY
        if likelihood >= text.floor:
            found.append(Match(start, end, "GCP_CREDENTIALS", likelihood, PREFIX | SHAPE))


_SIGNED_IN = rb"://[^\s/:@\"'<>]*:[^\s/@\"'<>]{2,}@"
# RFC 2606, and words that stand for a host.
_EXAMPLE_HOST = re.compile(
    rb"(?i)(?:[a-z0-9\-]+\.)*example\.(?:com|org|net)\b"
    rb"|(?:my|your|some|the)?[_\-]?(?:host|hostname|server|domain|address|proxy[_\-]?host)(?![a-z0-9.\-])"
)
# Data sources of drivers that are no URLs: of Go for MySQL, and of Oracle.
_SOURCE = (
    rb"\b[\w.\-]{1,40}:[^\s:@/\"'`<>]{4,64}@tcp\("
    rb"|\bjdbc:oracle:[a-z]{2,6}:[\w$]{1,40}/[^\s@/\"'<>]{4,64}@"
)
_OWN_HOST = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?![a-z0-9.\-])")
_WITH_PASSWORD = re.compile(rb"://([^\s/:@\"']*):([^\s/@\"']{2,})@")


def _look_at_url_passwords(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, _ in spans(_SIGNED_IN, data):
        match = _WITH_PASSWORD.match(data, start)
        if (
            match is not None
            and start
            and data[start - 1] in WORD_BYTES
            and not is_placeholder(match[2].decode("latin-1"))
            and not _EXAMPLE_HOST.match(data, match.end())
            and not is_harmless(match[2].decode("latin-1"), True)
            and not match[2].startswith(b"pserver:")  # a protocol of CVS
            and not data[max(start - 6, 0) : start].endswith((b"github", b"gitlab"))  # user:repository@branch
            and (match[1], match[2]) != (b"scott", b"tiger")  # everybody's example of a database
        ):
            # Everybody has the databases of a tutorial on their own machine.
            local = _OWN_HOST.match(data, match.end()) is not None and match[2].islower()
            likelihood = POSSIBLE if local and match[2].isalpha() else LIKELY
            if likelihood >= text.floor:
                found.append(Match(*match.span(2), "PASSWORD", likelihood, SHAPE, 0))


def _look_at_sources(text: ScannedText, found: list[Match]) -> None:
    """Find the passwords in data sources: `user:...@tcp(host)`, `jdbc:oracle:thin:user/...@host`."""
    data = text.data
    for start, end in spans(_SOURCE, data):
        last = data.rindex(b"@", start, end)
        first = data.rindex(b"/" if data.startswith(b"jdbc", start) else b":", start, last) + 1
        written = data[first:last].decode("utf-8", "replace")
        if not is_placeholder(written) and not is_harmless(written, True) and text.floor <= LIKELY:
            found.append(Match(first, last, "PASSWORD", LIKELY, SHAPE, 0))


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    yield InfoTypeScanner(frozenset({"AUTH_TOKEN"}), (), _look_at_keys)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (), _look_at_spoken_passwords)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (b"@",), _look_at_pairs)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), _NEEDS_OF_BOTH, _look_at_both)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (b"curl",), _look_at_curl)
    yield InfoTypeScanner(frozenset({"AUTH_TOKEN"}), (b'"auth',), _look_at_registry_auths)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (b"://",), _look_at_url_passwords)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (b"@tcp(", b"jdbc:oracle"), _look_at_sources)
    yield InfoTypeScanner(frozenset({"AUTH_TOKEN"}), (), _look_at_headers)
    yield InfoTypeScanner(frozenset({"JSON_WEB_TOKEN"}), (b"eyJ",), _look_at_jwts)
    yield InfoTypeScanner(
        frozenset({"ENCRYPTION_KEY"}), (b"-----BEGIN", b"PuTTY-User"), _look_at_private_keys
    )
    yield InfoTypeScanner(frozenset({"HTTP_COOKIE"}), (b"ookie", b"OOKIE"), _look_at_cookies)
    yield InfoTypeScanner(frozenset({"GCP_CREDENTIALS"}), (b'"type"',), _look_at_service_accounts)
