"""Values in a secret's place that are not secrets: templates, program code, labels, routes, and sentences.

Lists of placeholders are in `detectors.credentials`; here are the forms that a list cannot give.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from platform_assets.dlp.local.detectors.credentials import NAMES_OF_PASSWORDS, NAMES_OF_SECRETS
from platform_assets.dlp.local.regex import compiled

# Holes of shells, build tools, templates and formatted strings.
_TEMPLATE = re.compile(
    r"\$\([A-Za-z_]|\$\{|#\{|\{\{|\}\}|<%|%>|@@[A-Za-z_.\-]+@@|%%[A-Za-z_.\-]+%%|__[A-Z][A-Z0-9_]*__"
    r"|\{\}|\{[0-9]\}|\{![rsa]\}|%\([A-Za-z_]+\)[sdr]|(?:^|[^A-Za-z0-9%])%[sdrq](?![A-Za-z0-9])"
    r"|(?<=[A-Za-z])[_\-]%[sdrq]$|^%[0-9]\$[sd]$|^\$[A-Za-z_]\w*$|^\$[A-Za-z_]{2,}(?:[\[{]|->)|^@[A-Za-z_]\w*/\w+$"
)
# Parts of regular expressions, and selectors of CSS.
_PATTERN = re.compile(
    r"a-zA-Z|A-Za-z|a-z0-9|A-Z0-9|0-9a-z|0-9A-Z|0-9a-f|0-9A-F|\[\^?[^\]]*(?:a-z|A-Z|0-9)[^\]]*\]|\(\?[:=!<P]|\\[dwsS][+*{]|\.[*+]\??\)|\]\{[0-9]|^[a-z]*\[[a-z\-]+[~|^$*]?="
)
_ROUTE = re.compile(
    r"(?:#?/|\.{1,2}/)?:?[a-z]+(?:[_\-.][a-z]+)*(?:/:?[a-z]+(?:[_\-.][a-z]+)*)*/?[*?]?", re.IGNORECASE
)
_PATH_OF_NAMES = re.compile(r"[$@]?[A-Za-z_][\w$]*(?:(?:\.|::|->|\?\.)[A-Za-z_]\w*)*")
_SNAKE_CASE = re.compile(r"_?[a-z]{2,12}[0-9]{0,2}(?:_[a-z]{2,12}[0-9]{0,2}){2,}")
_SLUG_WORD = re.compile(
    r"(?:[A-Z]+|[A-Z]{0,2}(?:[A-Z][a-z]+|[a-z]{2,}){1,3}[A-Z]{0,4}|[a-z])[0-9]{0,2}"
    r"|[0-9]{1,4}(?:\.[0-9]{1,3})*"
)
_RELEASES = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}-(?:[0-9]{1,2}\.[0-9]{1,2})?")
# Classes of programs and their interfaces: SensitiveString, V1SecretVolumeSource.
_TYPES = (
    "Source Request Response Result Input Output Type Ref Reference Config Spec Provider Factory Attachment "
    "Attachments Credential Credentials Verification String List Map Exception Error Handler Service"
)
_ENDS_OF_TYPES = tuple(_TYPES.split())
_LONGEST_TYPE = 120
_EMPTY = re.compile(r"[a-z_]+=")  # the next of several assignments without values
_LEAST_SLUG_WORDS, _LONGEST_SLUG_WORD = 3, 24  # longer words take the pattern too many tries
_NAME_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_NAME = compiled(f"(?i)(?:{NAMES_OF_PASSWORDS}|{NAMES_OF_SECRETS})")
_WHOLE_NAME = compiled(
    f"(?i)[^a-z0-9\\x80-\\xff]*(?:{NAMES_OF_PASSWORDS}|{NAMES_OF_SECRETS})[^a-z0-9\\x80-\\xff]*"
)


def is_harmless(value: str, quoted: bool) -> bool:
    """Return True for a value that is no secret by its form.

    Args:
        value: The value.
        quoted: True if it is in quotes; a name without quotes is a variable.
    """
    return (
        _TEMPLATE.search(value) is not None
        or _PATTERN.search(value) is not None
        or ("/" in value and _ROUTE.fullmatch(value) is not None and not _is_mixed_up(value))
        or _is_label(value)
        or _RELEASES.fullmatch(value) is not None
        or _is_type(value)
        or _FILE.fullmatch(value) is not None
        or _ALGORITHM.fullmatch(value) is not None
        or _PLACE_IN_SOURCE.fullmatch(value) is not None
        or (not quoted and _EMPTY.fullmatch(value) is not None)
        or (not quoted and any(sign in value for sign in (".", "::", "->")) and is_name_in_code(value))
    )


# The name of a file, of a way to hash or to write, and a line and column of a file.
_FILE = re.compile(
    r"(?:[\w\-]{1,60}\.){1,3}(?:xml|json|ya?ml|toml|ini|conf|cfg|cnf|txt|md|rst|html?|csv|pem|crt|cer|der|key|pub|p12|pfx"
    r"|jks|keystore|truststore|asc|gpg|kdbx|env|properties|plist|py|js|ts|rb|go|java|sh|php|log|bin|dat|sql|tfvars|enc)"
    r"|[a-z_]{6,40}\.[1-9](?:bsd|ssl|pm|posix|perl|x|p)?"  # a page of the manual
)
_ALGORITHM = re.compile(
    r"(?i)(?:scram-|hmac-?|pbkdf2[_\-]?)?(?:sha|md)-?[0-9](?:[\-/]?[0-9]{2,3}){0,2}(?:-plus)?|(?:bcrypt|scrypt|argon2)(?:id?|d)?"
    r"|aes-?[0-9]{3}(?:-(?:cbc|gcm|ctr|ecb|cfb))?|(?:[hre]s|ps)[0-9]{3}|utf-?(?:8|16|32)(?:le|be)?|iso-?8859-[0-9]{1,2}"
    r"|latin-?1|us-ascii|base-?(?:16|32|58|64)(?:url)?|ucs-?2|ed25519|rsa-?[0-9]{4}|x509|oauth-?2?|pkcs-?[0-9]{1,2}"
)
_PLACE_IN_SOURCE = re.compile(r"[0-9]{1,6}(?::[0-9]{1,6})+")
_GENERIC = re.compile(
    r"(?:list|dict|set|tuple|map|array|optional|union|seq|vec|option|promise|future)[\[<(].*", re.IGNORECASE
)
_VERSIONED_TYPE = re.compile(r"V[0-9](?:(?:alpha|beta)[0-9])?(?:[A-Z][A-Za-z]+){2,}")


def _is_type(value: str) -> bool:
    """Return True for the name of a class of a program or an interface, made of words."""
    if _GENERIC.fullmatch(value) is not None or _VERSIONED_TYPE.fullmatch(value) is not None:
        return True
    return (
        value.endswith(_ENDS_OF_TYPES)
        and value[0].isupper()
        and value.isalnum()
        and len(value) <= _LONGEST_TYPE
        and not _is_mixed_up(value)
    )


def is_name_in_code(value: str) -> bool:
    """Return True for the name of a variable, attribute or function that is made of words."""
    if _SNAKE_CASE.fullmatch(value) is not None:
        return True
    return _PATH_OF_NAMES.fullmatch(value) is not None and not _is_mixed_up(value)


def is_slug(value: str) -> bool:
    """Return True for words and numbers between hyphens, such as the name of a license or a release."""
    if not value[:1].isascii() or not value[:1].isalpha():
        return False
    words = value.replace("_", "-").split("-")
    return len(words) >= _LEAST_SLUG_WORDS and all(
        len(word) <= _LONGEST_SLUG_WORD and _SLUG_WORD.fullmatch(word) is not None for word in words
    )


def _is_mixed_up(value: str) -> bool:
    """Return True if letters and digits do not form words, as in random values."""
    parts = _NAME_PARTS.findall(value)
    words = [part for part in parts if not part.isdigit()]
    numbers = len(parts) - len(words)
    return not words or sum(map(len, words)) < 3 * len(words) or numbers > len(words)


def _is_label(value: str) -> bool:
    """Return True for a text of a user interface: the name itself, or a sentence that has the name."""
    words = value.split()
    if len(words) < 3:
        return not any(map(str.isdigit, value)) and _WHOLE_NAME.fullmatch(value.encode()) is not None
    return _NAME.search(value.encode()) is not None and sum(
        word.strip(".,:;!?()*'\"").isalpha() for word in words
    ) >= 0.7 * len(words)


@lru_cache(maxsize=4_096)
def without_caseless_scripts(value: str) -> str:
    """The longest part of a value without letters of scripts that have no case, such as Japanese or Thai.

    A sentence of these scripts has no blanks and many letters, so that it looks random. A value without
    such letters is returned as it is.
    """
    if value.isascii() or not any(map(_is_caseless, value)):
        return value
    parts = "".join(
        "\0" if _is_caseless(letter) or (not letter.isascii() and not letter.isalnum()) else letter
        for letter in value
    ).split("\0")
    return max((part.strip() for part in parts), key=len)


def _is_caseless(letter: str) -> bool:
    return letter > "\x7f" and unicodedata.category(letter) in ("Lo", "Lm", "Mn", "Mc")
