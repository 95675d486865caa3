"""E-mail addresses, URLs, domains, network addresses, bank codes and cryptocurrency addresses."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator

from platform_assets.dlp.local import checks
from platform_assets.dlp.local.context import FAR, NOTHING
from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.local.detectors import contacts as _contacts
from platform_assets.dlp.local.scanners.published import (
    are_of_authors,
    is_in_notice,
    is_made_up,
    is_notice,
    is_of_author,
    is_of_nobody,
    is_on_title_page,
    may_be_of_nobody,
)
from platform_assets.dlp.local.scanners.text import (
    LIKELY,
    OF_EXAMPLES,
    POSSIBLE,
    SHAPE,
    UNLIKELY,
    VALIDATOR,
    VERY_LIKELY,
    VERY_UNLIKELY,
    WORD_BYTES,
    InfoTypeScanner,
    Match,
    ScannedText,
    found_in,
    spans,
)
from platform_assets.formats.words import word_set

# From the @ on; the part before it is read backwards.
_AT_DOMAIN = rb"@(?:[A-Za-z0-9\x80-\xff][A-Za-z0-9\x80-\xff\-]*\.)+[A-Za-z\x80-\xff]{2,24}"
_LOCAL_REVERSED = re.compile(rb"[A-Za-z0-9\x80-\xff._%+'\-]{1,64}")
_NOT_MAIL = frozenset(
    b"png jpg jpeg gif svg webp css js ts py json html yml yaml toml cfg txt log tgz gz xz whl java jar "
    # Catalogues of translations, and units of systemd: en@shaw.po, getty@tty1.service.
    b"po gmo qm service timer socket mount target slice scope".split()
)


# A package, module or host with a path, not the end of a list of addresses: user@host/resource.
_PATH_AFTER_MAIL = re.compile(rb"/[A-Za-z0-9_~\-][^\s@]{0,200}(?:\s|$|[\"'`<>)])")
_OF_PROGRAMS = frozenset((b"git", b"hg", b"svn", b"cvs", b"anoncvs", b"anonymous", b"pserver"))
_ID_OF_MESSAGE = rb"(?i)(?:message-id|in-reply-to|references|content-id|cid)\b[^\n@]{0,80}\n?\z"
_MAY_BE_ID = rb"(?i)message-id|in-reply-to|references|content-id|cid"
# An id that a program made from the time, in the address of an archive: .../20240131120501.GA1234@host.
_ID_IN_ADDRESS = re.compile(
    rb"(?i)/[0-9]{8,14}\.[A-Za-z0-9.]{2,40}$"
    rb"|://(?:lore|lists?|marc|mail-?archives?|public-inbox)\.[^\s\"'<>]{1,100}/[^\s/\"'<>]{1,64}$"
)


OF_AUTHORS = "author"
"""A hotword of columns called after authors: a name before an address shows that it is published."""
OF_PUBLISHED = "published"
"""A hotword of fields below a key for authors, as descriptions of packages have them: `authors[].email`."""


def _look_at_emails(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    # Published addresses, and others, by the part of the text that they are in.
    of_parts: dict[tuple[int, int], tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}
    for at, end in spans(_AT_DOMAIN, data):
        before = _LOCAL_REVERSED.match(data[max(at - 64, 0) : at][::-1])
        if before is None:
            continue
        local = before[0][::-1].lstrip(b".'-+%")
        if (
            not local
            or local[-1] in b".'"
            or b".." in local
            or local in _OF_PROGRAMS
            or data[at + 1 : end].rpartition(b".")[2].lower() in _NOT_MAIL
            or (end < len(data) and data[end] in WORD_BYTES)
        ):
            continue
        span = (at - len(local), end)
        if len(local) == 1 and data[span[0] - 1 : span[0]] == b"-":
            continue  # an option of a command: lsof -i@host
        named = text.header_at(at).hot
        if data[end : end + 1] == b"/" and _PATH_AFTER_MAIL.match(data, end):
            text.add(found, span, "EMAIL_ADDRESS", UNLIKELY, SHAPE, hot=UNLIKELY)
            continue
        if OF_EXAMPLES in named or OF_PUBLISHED in named:
            text.add(found, span, "EMAIL_ADDRESS", POSSIBLE, SHAPE | VALIDATOR, hot=POSSIBLE)
            continue
        if "EMAIL_ADDRESS" in named:
            text.add(found, span, "EMAIL_ADDRESS", LIKELY, SHAPE | VALIDATOR)
            continue
        odd = may_be_of_nobody(data, *span)
        if (
            (odd and not text.is_value(*span) and is_of_nobody(data, *span))
            or text.is_example(span[0])
            or (
                text.may_have(_MAY_BE_ID, span[0] - 120, span[0])
                and found_in(_ID_OF_MESSAGE, data[max(span[0] - 120, 0) : span[0]])
            )
            or (
                data[span[0] - 1 : span[0]] == b"/" and _ID_IN_ADDRESS.search(data, max(span[0] - 120, 0), at)
            )
        ):
            text.add(found, span, "EMAIL_ADDRESS", POSSIBLE, SHAPE | VALIDATOR, hot=POSSIBLE)
        elif (
            data[max(span[0] - 7, 0) : span[0]].lower() == b"mailto:"
            or is_of_author(text, *span, alone=text.lines and OF_AUTHORS not in named)
            or (not text.lines and is_on_title_page(data, *span))
        ):
            of_parts.setdefault(text.part_of(at), ([], []))[0].append(span)
        elif odd and is_made_up(data, *span):
            text.add(found, span, "EMAIL_ADDRESS", POSSIBLE, SHAPE | VALIDATOR)
        else:
            of_parts.setdefault(text.part_of(at), ([], []))[1].append(span)
    for (begin, end), (published, others) in of_parts.items():
        alike = are_of_authors(len(published), len(published) + len(others)) or (
            bool(others) and not text.lines and is_notice(data[begin:end])
        )
        # An address that is published once is published wherever its text has it.
        known = {data[slice(*span)] for span in published} if not text.lines else set()
        for spans_, likely in ((published, False), (others, not alike)):
            for span in spans_:
                if likely and data[slice(*span)] not in known:
                    text.add(found, span, "EMAIL_ADDRESS", LIKELY, SHAPE | VALIDATOR)
                else:
                    text.add(found, span, "EMAIL_ADDRESS", POSSIBLE, SHAPE | VALIDATOR, hot=POSSIBLE)


_URL = (
    rb"(?i)\b(?:https?|ftps?|sftp|wss?|ssh|ldaps?|jdbc:[a-z]+|s3|gs|postgres(?:ql)?|mysql|"
    rb"mongodb(?:\+srv)?|amqps?|rediss?|smtps?|imaps?|file)://[^\s<>\"'`\\{}|^]{3,}"
)
_WWW = rb"(?i)\bwww\.[a-z0-9\-]{1,63}(?:\.[a-z0-9\-]{1,63}){1,6}(?:/[^\s<>\"'`\\{}|^]*)?"


def _look_at_urls(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for pattern in (_URL, _WWW):
        for start, last in spans(pattern, data):
            address = data[start:last]
            stripped = address.rstrip(b".,;:!?*_~]")
            if stripped.endswith(b")") and stripped.count(b"(") < stripped.count(b")"):
                stripped = stripped[:-1].rstrip(b".,;:!?")
            end = start + len(stripped)
            if "URL" in text.names and stripped[-3:] != b"://":
                text.add(found, (start, end), "URL", LIKELY, SHAPE, surroundings=NOTHING)


_DOMAIN_END = (
    r"\.(?i:" + "|".join(sorted(_contacts.TOP_LEVEL_DOMAINS, key=lambda name: (-len(name), name))) + r")\b"
)
_LABELS_REVERSED = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9\-.]{0,250}[A-Za-z0-9])?")
_HAS_LETTER = re.compile(rb"[A-Za-z]")
# Packages are named after domains, from the end.
_PACKAGE = re.compile(
    rb"(?:com|org|net|edu|gov|mil|java|javax|jakarta|kotlin|scala|androidx?)\.[A-Za-z0-9\-]+\.[A-Za-z0-9.\-]+$"
    rb"|(?:io|dev|app|me|co|ai|de|fr|uk|eu|ch|nl|it|es|pl|ru|jp|cn|br|in)\.[A-Za-z0-9\-]+\.[A-Za-z0-9.\-]*\b"
    rb"(?:io|app|dev|name|info|id|is|to|py|rs|sh|do|bat|zip|date|download|page|run|works)$"
)
_COMMON = word_set("com org net edu gov io co uk de fr eu ai app dev info biz")


_PATH = re.compile(rb"/[A-Za-z0-9~_%][A-Za-z0-9~_%/.?=&#+\-]*[A-Za-z0-9/=]|/[A-Za-z0-9]")


def _look_at_domains(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    seen = 0
    with_domains = "DOMAIN_NAME" in text.names
    for dot, end in spans(_DOMAIN_END, data):
        if not with_domains and end < len(data) and data[end] not in b"/-.":
            continue  # neither an address with a path, nor a part of one
        before = _LABELS_REVERSED.match(data[max(dot - 252, seen) : dot][::-1])
        after = data[end : end + 2]
        if before is None or (after[:1] in (b".", b"-") and after[1:].isalnum()):
            continue
        start = dot - before.end()
        domain = data[start:end]
        ending = data[dot + 1 : end].decode("latin-1").lower()
        if b".." in domain or (start and data[start - 1] in b"@/._-\\"):
            continue
        if after[:1] in (b"(", b"@", b"_", b"="):
            continue
        if not _HAS_LETTER.search(data, start, dot) or _PACKAGE.match(data, start, end):
            continue  # a version such as 3.4.0.dev, or a package of Java
        if domain != domain.lower() and domain != domain.upper() and ending not in _COMMON:
            continue
        seen = end
        if ending in _contacts.FILE_SUFFIXES:
            alone = UNLIKELY
        elif ending in _COMMON:
            alone = LIKELY
        else:
            alone = POSSIBLE if domain.count(b".") > 1 else UNLIKELY
        if "DOMAIN_NAME" in text.names and (
            alone >= text.floor or "DOMAIN_NAME" in text.header_at(start).hot
        ):
            text.add(found, (start, end), "DOMAIN_NAME", alone, SHAPE | VALIDATOR)
        if "URL" in text.names and after[:1] == b"/" and ending not in _contacts.FILE_SUFFIXES:
            path = _PATH.match(data, end)
            if path is not None:
                text.add(found, (start, path.end()), "URL", POSSIBLE, SHAPE, surroundings=NOTHING)


_IP_4 = rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_IP_6 = (
    rb"[0-9A-Fa-f:]{0,40}::[0-9A-Fa-f:]{0,40}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?"
    rb"|(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4}(?:\.[0-9]{1,3}){0,3}"
)
_DECIMAL_BEFORE = re.compile(rb"(?:^|[^0-9.])[0-9]{0,6}\.[0-9]{1,6} \Z")
# The next number of a drawing may follow without a blank: 2.03.5.
_DECIMAL_AFTER = re.compile(rb" -?[0-9]*\.[0-9]+(?:\.[0-9]+)?(?![0-9.])")
_PREFIX_LENGTH = re.compile(rb"/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])(?![0-9A-Za-z.])")
_VERSION_BEFORE = re.compile(
    rb"(?i)(?:(?<![a-z])[a-z]{0,16}version|(?<![a-z])(?:"
    + _contacts.VERSION_NAMES.replace(", ", "|").encode()
    + rb"))(?![A-Za-z])[^A-Za-z\n]{0,4}(?:[A-Za-z]{2,12}[^A-Za-z\n]{1,3})?\Z"
)
_MAY_BE_VERSION = rb"(?i)(?:" + _contacts.VERSION_NAMES.replace(", ", "|").encode() + rb")[^a-z]"
_VERSION_WINDOW = 24
# Words and signs before the number of a release that is upgraded to, or required.
_RELEASE_BEFORE = re.compile(
    rb"(?i)(?:(?:upgrad|updat|bump|downgrad)[a-z]{0,4}\b[^\n]{0,40}\b(?:to|from)|"
    rb"\bversions?\b[^\n]{0,90}(?:,|\b(?:to|from|and|or|through|than))|"
    rb"\b(?:changes?|fix(?:es)?|patch(?:es)?|branch|revisions?|merged?) (?:from|in|since|of|for|to)|"
    rb">=|<=|~=|~>|->|\^)[ \"']{0,2}\Z"
)
_MAY_BE_RELEASE = (
    rb"(?i)upgrad|updat|bump|downgrad|version|(?:changes?|fix(?:es)?|patch(?:es)?|branch|revisions?|merged?) "
    rb"(?:from|in|since|of|for|to)|>=|<=|~=|~>|->|\^"
)
_RELEASE_WINDOW = 112
_RELEASE_AFTER = re.compile(rb"(?i)[ \-_]?(?:releases?|version|build|beta|alpha)\b")
_HEADING_BEFORE = re.compile(rb"(?:^|[\n>])[ \t]{0,8}$")
_HEADING_AFTER = re.compile(rb"\.[ \t]{1,4}[A-Z\xc3]|[ \t]{1,8}[A-Z][a-z]+[ ,][a-z\"'A-Z]")
# Numbers that begin with a dot, or with a minus right after another: only drawings have them.
_DRAWN = re.compile(rb"[A-Za-z, \-]\.[0-9]|[0-9]-[0-9]{0,3}\.[0-9]{1,4}(?![0-9.])")
_ONLY_DRAWN = re.compile(rb"[0-9A-Za-z., \-]*")
_DRAWN_AROUND = 32
# Arcs of standards' bodies.
_OBJECT_IDENTIFIER = re.compile(rb"1\.3\.(?:6|12|14|36|101|132)\.|2\.5\.(?:4|8|29)\.|2\.16\.")
# Addresses of nobody: loopback, all, masks, documentation (RFC 5737), multicast, the metadata of clouds.
_NOBODYS = re.compile(
    rb"127\.|0\.0\.0\.0$|255\.|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|2(?:2[4-9]|3[0-9])\.|169\.254\.|"
    rb"1\.(?:1\.1\.[123]|0\.0\.[123])$|8\.8\.[48]\.[48]$|9\.9\.9\.(?:9|1[0-2])$|208\.67\.22[02]\.22[0-3]$"
    # More resolvers that are open to everybody.
    rb"|4\.2\.2\.[1-6]$|64\.6\.6[45]\.6$|149\.112\.112\.1[0-2]{1,2}$|223\.[56]\.[56]\.[56]$|114\.114\.11[45]\.11[0-9]$"
    rb"|119\.(?:29\.29\.29|28\.28\.28)$|180\.(?:76\.76\.76|184\.223\.60)$|77\.88\.8\.(?:[1-8]|88)$|94\.140\.1[45]\.1[45]$"
    rb"|76\.76\.(?:2|10|19|21)\.[0-9]{1,2}$|185\.228\.16[89]\.(?:9|10|168)$|84\.200\.(?:69\.80|70\.40)$"
)
# Addresses of private networks, which identify a machine only within its own network (RFC 1918, 6598).
_PRIVATE = re.compile(
    rb"10\.|192\.168\.|172\.(?:1[6-9]|2[0-9]|3[01])\.|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\."
)
_OCTETS = re.compile(rb"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")
_BITS_AFTER_6 = re.compile(rb" ?/ ?(?P<bits>[0-9]{1,3})(?![0-9.])")
_RESOLVERS_6 = b"2001:4860:4860:", b"2606:4700:4700:", b"2620:fe:"
_BESIDE = 2
"""Number of words up to which a hotword is beside an address."""
_PAIRS_OF_DIGITS = re.compile(rb"[0-9]{2}(?:\.[0-9]{2}){3}")


def _is_drawn(data: bytes, start: int, end: int) -> bool:
    """Return True if four numbers are decimals of a drawing's path, where blanks may be left out."""
    if data[start - 1 : start] != b" " and data[end : end + 1] != b" ":
        return False
    before = data[max(start - _DRAWN_AROUND, 0) : start]
    after = data[end : end + _DRAWN_AROUND]
    return (
        (_DRAWN.search(before) is not None or _DRAWN.search(after) is not None)
        and _ONLY_DRAWN.fullmatch(before[-8:]) is not None
        and _ONLY_DRAWN.fullmatch(after[:8]) is not None
    )


def _is_made_up(octets: list[bytes]) -> bool:
    """Return True for addresses of examples: equal steps from number to number, as in 1.2.3.4 and 8.8.8.8.

    So are numbers of equal digits, as in 222.111.111.222.
    """
    numbers = [int(octet) for octet in octets]
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    return (
        len(steps) == 1
        or (numbers[3] == 0 and len(steps - {-numbers[2]}) == 1)
        or all(len(set(octet)) == 1 or octet == b"123" for octet in octets)
    )


_HIGHEST_RELEASE = 30
_BRANCHES = (b"2", b"4", b"6", b"8")


def _may_be_a_release(octets: list[bytes]) -> bool:
    """Return True for four numbers that are as small as those of releases are, or a branch's in CVS."""
    return int(octets[0]) < _HIGHEST_RELEASE and (
        int(octets[1]) < _HIGHEST_RELEASE
        or sum(len(octet) == 1 for octet in octets[1:]) > 1
        or (octets[0] == b"1" and octets[2] in _BRANCHES)
    )


# What follows the address of a network: the number of its bits, or a mask on the same line.
_BITS_AFTER = re.compile(rb" ?/ ?(?P<bits>[0-9]{1,2})(?![0-9.])")
_MASK_AFTER = re.compile(rb"[^\n]{1,48}?(?<![0-9.])(?P<mask>255(?:\.[0-9]{1,3}){3})(?![0-9.])")
_RANGE_BEFORE = re.compile(rb"\.0 ?(?:-|to|\.\.) ?\Z")
_BROADCAST_BEFORE = re.compile(rb"(?i)(?:broadcast|bcast|brd)[^\n0-9]{0,12}\Z")
_ALL_BITS = 0xFFFFFFFF


def _is_network(data: bytes, octets: list[bytes], start: int, end: int) -> bool:
    """Return True for the address of a network, which is no machine's.

    Its host bits are zero, by the number of bits or the mask that follows; or all set, as the last of a range
    or the broadcast address.
    """
    number = int.from_bytes(bytes(map(int, octets)), "big")
    if (after := _BITS_AFTER.match(data, end)) is not None:
        bits = int(after["bits"])
        return bits < 32 and not number & (_ALL_BITS >> bits)
    if octets[3] == b"255":
        return (
            _RANGE_BEFORE.search(data, max(start - 6, 0), start) is not None
            or _BROADCAST_BEFORE.search(data, max(start - 24, 0), start) is not None
        )
    if octets[3] in (b"0", b"128", b"192", b"224", b"240") and (after := _MASK_AFTER.match(data, end)):
        parts = [int(part) for part in after["mask"].split(b".")]
        hosts = _ALL_BITS ^ int.from_bytes(bytes(parts), "big") if max(parts) < 256 else 0
        return hosts > 0 and not hosts & (hosts + 1) and not number & hosts
    return False


# Hosts of examples, and those that every resolver knows: the addresses beside them are published.
_PUBLISHED_NEAR = re.compile(
    rb"(?i)(?<![a-z0-9@.\-])(?:www\.)?example\.(?:com|org|net)\b|\broot-servers?\b|\b[a-m]-root\b"
)
_MAY_BE_PUBLISHED = rb"(?i)example\.(?:com|org|net)|root-server|[a-m]-root"
_NEAR_BEFORE, _NEAR_AFTER = 240, 80


def _is_published(text: ScannedText, start: int, end: int) -> bool:
    """Return True for a network address in the example of a document about a reserved domain."""
    data = text.data
    first, last = max(start - _NEAR_BEFORE, 0), end + _NEAR_AFTER
    if not text.may_have(_MAY_BE_PUBLISHED, first, last):
        return False
    if text.lines:
        first = max(data.rfind(b"\n", first, start) + 1, first)
        stop = data.find(b"\n", end, last)
        last = stop if stop >= 0 else last
    return _PUBLISHED_NEAR.search(data, first, last) is not None


def _look_at_ip_4(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_IP_4, data):
        octets = data[start:end].split(b".")
        if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == 48) for octet in octets):
            continue
        before, after = data[max(start - 2, 0) : start], data[end : end + 2]
        if (before[-1:] and before[-1] in WORD_BYTES and before[-1:] not in b"_") or before[-1:] in (
            b".",
            b"-",
            b"+",
        ):
            continue
        if after[:1] and (
            after[0] in WORD_BYTES or (after[:1] in (b".", b"-", b"+") and after[1:2].isalnum())
        ):
            continue
        surroundings = text.around_for(start, end, "IP_ADDRESS", "PHONE_NUMBER")
        distance = surroundings.hot.get("IP_ADDRESS", FAR)
        alone, hot = LIKELY, VERY_LIKELY
        if (
            _NOBODYS.match(data, start, end)
            or _PRIVATE.match(data, start, end)
            or _is_network(data, octets, start, end)
            or OF_EXAMPLES in (named := text.header_at(start).hot)
            or (
                "IP_ADDRESS" not in named
                and (
                    octets[3] == b"0"  # a network's, or one whose last part was removed to hide a machine
                    or _is_made_up(octets)
                    or text.is_example(start)
                    or _is_published(text, start, end)
                    or is_in_notice(text)
                )
            )
            or (distance > _BESIDE and not text.lines and all(len(octet) == 1 for octet in octets))
        ):
            alone = hot = POSSIBLE
        if octets[0] == b"0" and octets != [b"0"] * 4:
            alone = UNLIKELY
        if (
            (
                text.may_have(_MAY_BE_VERSION, start - _VERSION_WINDOW, start)
                and _VERSION_BEFORE.search(data, max(start - _VERSION_WINDOW, 0), start)
            )
            or before in (b"==", b"~=", b">=", b"<=")
            or (before[1:] == b"/" and before[:1].isalnum())
        ):
            alone = VERY_UNLIKELY if distance > 1 else POSSIBLE
            surroundings = NOTHING
        elif (
            distance > 1
            and (
                _OBJECT_IDENTIFIER.match(data, start, end)
                or (
                    text.may_have(_MAY_BE_RELEASE, start - _RELEASE_WINDOW, start)
                    and _RELEASE_BEFORE.search(data, max(start - _RELEASE_WINDOW, 0), start)
                )
                or _RELEASE_AFTER.match(data, end)
                or (
                    _HEADING_AFTER.match(data, end) and _HEADING_BEFORE.search(data, max(start - 9, 0), start)
                )
                or _is_drawn(data, start, end)
                # French numbers of eight digits.
                or (
                    before[-1:] != b"/"
                    and surroundings.hot.get("PHONE_NUMBER", FAR) < 2
                    and _PAIRS_OF_DIGITS.fullmatch(data, start, end)
                )
            )
        ):
            alone, surroundings = UNLIKELY, NOTHING
        elif all(len(octet) == 1 for octet in octets) or (not text.lines and _may_be_a_release(octets)):
            alone = min(alone, POSSIBLE)
        elif _DECIMAL_BEFORE.search(data, max(start - 12, 0), start) and _DECIMAL_AFTER.match(data, end):
            alone = UNLIKELY  # numbers in a drawing, where spaces may be left out
        text.add(
            found, (start, end), "IP_ADDRESS", alone, SHAPE | VALIDATOR, hot=hot, surroundings=surroundings
        )


def _look_at_ip_6(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, last in spans(_IP_6, data):
        address = data[start:last]
        if not address.endswith(b"::"):
            address = address.rstrip(b":")
        end = start + len(address)
        if not text.stands_alone(start, end, WORD_BYTES | frozenset(b":")):
            continue
        if data[end : end + 1] == b"." and data[end + 1 : end + 2].isdigit():
            continue  # four numbers that are not octets
        if (
            _OCTETS.fullmatch(address)
            and text.around_for(start, end, "IP_ADDRESS").hot.get("IP_ADDRESS", FAR) > 1
        ):
            continue  # a serial number or a fingerprint
        short = len(address) < 6
        if (
            short
            and not _PREFIX_LENGTH.match(data, end)
            and (
                address != b"::1" or text.around_for(start, end, "IP_ADDRESS").hot.get("IP_ADDRESS", FAR) > 1
            )
        ):
            continue  # common in program code
        try:
            parsed = ipaddress.IPv6Address(address.decode("ascii"))
        except ValueError:
            continue
        if not short and not any(48 <= byte <= 57 for byte in address):
            continue
        named = text.header_at(start).hot
        after = _BITS_AFTER_6.match(data, end)
        nobodys = (
            not parsed.is_global
            or parsed.is_multicast
            or parsed.is_reserved
            or address.lower().startswith(_RESOLVERS_6)
            or OF_EXAMPLES in named
            # A network, whose host bits are zero.
            or (after is not None and not int(parsed) & ((1 << 128) - 1 >> min(int(after["bits"]), 127)))
            or (
                "IP_ADDRESS" not in named
                and (
                    address.endswith(b"::")
                    or text.is_example(start)
                    or _is_published(text, start, end)
                    or is_in_notice(text)
                )
            )
        )
        text.add(
            found,
            (start, end),
            "IP_ADDRESS",
            POSSIBLE if nobodys else LIKELY,
            SHAPE | VALIDATOR,
            hot=POSSIBLE if nobodys else VERY_LIKELY,
        )


_MAC = (
    rb"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|"
    rb"(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"
)


# Equal or counted octets, and words of hexadecimal digits.
_MADE_UP_MAC = re.compile(
    rb"(?i)(?:([0-9a-f])\1[:\-.]?){6}|(?:00[:\-])?0?1[:\-]0?2[:\-]0?3[:\-]|12[:\-]34[:\-]56|"
    rb".*(?:de[:\-]ad[:\-]be[:\-]ef|ca[:\-]fe|ba[:\-]be|c0[:\-]ff[:\-]ee|fe[:\-]ed|x)"
)


def _look_at_macs(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_MAC, data):
        if not text.stands_alone(start, end, WORD_BYTES | frozenset(b":-")):
            continue
        dotted = b"." in data[start:end]
        plain = data[start:end].translate(None, b"-.:").isdigit()
        nobody = not data[start:end].translate(None, b"-.:0fF")
        # An address that its machine gave itself changes, and is no hardware's.
        made_up = data[start + 1] in b"26AEae" or _MADE_UP_MAC.match(data, start, end) is not None
        alone = UNLIKELY if dotted or nobody or (plain and b"-" in data[start:end]) else LIKELY
        hot = UNLIKELY if nobody else POSSIBLE if made_up else VERY_LIKELY
        text.add(found, (start, end), "MAC_ADDRESS", min(alone, hot), SHAPE, hot=hot)


_COIN = rb"\b[13][1-9A-HJ-NP-Za-km-z]{25,34}\b|\b(?:bc1[02-9ac-hj-np-z]{11,71}|BC1[02-9AC-HJ-NP-Z]{11,71})\b"
_ETHER = rb"\b0x[0-9a-fA-F]{40}\b"


def _look_at_coins(text: ScannedText, found: list[Match]) -> None:
    for pattern, name in ((_COIN, "BITCOIN_ADDRESS"), (_ETHER, "ETHEREUM_ADDRESS")):
        valid = BY_NAME[name].valid
        for span in spans(pattern, text.data):
            value = text.data[slice(*span)].decode("latin-1")
            if valid is not None and valid(value):
                text.add(found, span, name, LIKELY, SHAPE | VALIDATOR)
            elif not value.isdigit() and any(letter.isdigit() for letter in value):
                text.add(found, span, name, VERY_UNLIKELY, SHAPE, hot=POSSIBLE, valid=False)


_SWIFT = rb"\b[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b"


def _look_at_swift(text: ScannedText, found: list[Match]) -> None:
    for start, end in spans(_SWIFT, text.data):
        code = text.data[start:end].decode("ascii")
        if not checks.swift(code):
            continue
        likely_written = any(letter.isdigit() for letter in code) or code.endswith("XXX")
        text.add(
            found,
            (start, end),
            "SWIFT_CODE",
            POSSIBLE if likely_written and len(code) == 11 else UNLIKELY,
            SHAPE | VALIDATOR,
        )


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    yield InfoTypeScanner(frozenset({"EMAIL_ADDRESS"}), (b"@",), _look_at_emails, form="runs")
    yield InfoTypeScanner(frozenset({"URL"}), (b"://", b"www.", b"WWW."), _look_at_urls, form="runs")
    yield InfoTypeScanner(frozenset({"DOMAIN_NAME", "URL"}), (b".",), _look_at_domains, form="runs")
    yield InfoTypeScanner(frozenset({"IP_ADDRESS"}), (b".",), _look_at_ip_4, form="runs")
    yield InfoTypeScanner(frozenset({"IP_ADDRESS"}), (b":",), _look_at_ip_6, form="runs")
    yield InfoTypeScanner(frozenset({"MAC_ADDRESS"}), (b":", b"-", b"."), _look_at_macs, form="runs")
    yield InfoTypeScanner(frozenset({"BITCOIN_ADDRESS", "ETHEREUM_ADDRESS"}), (), _look_at_coins, form="runs")
    yield InfoTypeScanner(frozenset({"SWIFT_CODE"}), (), _look_at_swift, form="runs")
