"""Contact data that is public on purpose, or nobody's: authors of programs and documents, roles, examples.

Such data is what it looks like, but no leak: it is at most POSSIBLE.
"""

from __future__ import annotations

import itertools
import re

from platform_assets.dlp.local.regex import AT_START, UNANCHORED, matcher
from platform_assets.dlp.local.scanners.text import ScannedText

# Reserved for documents and tests (RFC 2606, 6761), and names within private networks.
_EXAMPLE_HOST = (
    rb"(?i)(?:.*\.)?(?:example[0-9]?(?:\.[a-z]{2,5}){1,2}"
    rb"|(?:(?:my|your|the)?[_\-]?dom(?:ain)?|foo|bar|baz|qux|foobar)\.(?:com|org|net)"
    rb"|[a-z0-9\-]+\.(?:example|test|invalid|localhost|localdomain|local|internal|lan|intranet|tld))"
)
# Names that documents use for any domain, and for any person.
_ANY_HOST = (
    rb"(?i)(?:.*\.)?(?:foo|bar|baz|qux|foobar|(?:my)?dom|acme|contoso|fabrikam|hooli|initech|(?:my|your|some|any|the|other)?"
    rb"[_\-]?(?:domain|company|corp|organi[sz]ation|org|host|hostname|server|site|website|provider|school)"
    rb"|here|there|somewhere|nowhere|wherever|test|testing|samples?|dummy|fake|placeholder|whatever|xyz|[a-df-wyz])"
    rb"\.(?:com|org|net|edu|io|co|dev|tld|local|internal|gov)"
)
_ANYBODY = (
    rb"(?i)(?:foo|bar|baz|test|abc|user|username|user[._\-]?name|login|your|name|"
    rb"first(?:[._\-]?name)?[._\-]?last(?:[._\-]?name)?|(?:your|my|the|some)[._\-][a-z._\-]{2,20}"
    rb"|your[a-z]{2,20}|testuser|test[._\-]?user|example|sample|dummy|"
    rb"anonymous|x{2,}|email|e-?mail|mail|address|recipient|sender|some[._\-]?user)[0-9]{0,3}"
)
_ROLE = (
    rb"(?i)(?:info|support|admin|administrator|webmaster|postmaster|hostmaster|security|contact|sales|help|"
    rb"hello|press|abuse|root|bugs?|bug-?reports?|team|maintainers?|packages?|developers?|devs?|opensource|"
    rb"open-source|legal|licensing|licen[cs]e|copyright|feedback|privacy|conduct|coc|ops|noc|"
    rb"no-?reply|do-?not-?reply|mailer-daemon|daemon|nobody|service|services|office|mail|enquiries|inquiries|"
    rb"editors?|authors?|committers?|cert-?authority|ca|pki|registry|dev|list|lists|announce|majordomo|submit|"
    rb"translations?|i18n|l10n|docs?|documentation|patches|"
    rb"[a-z0-9._\-]*[._\-](?:dev|devel|developers?|users?|bugs?|list|lists|announce|commits?|packages|security|"
    rb"maint|maintainers?|team|request|requests|discuss|general|feedback|support|info|help|patches|core|users-list|"
    rb"authors|hackers|ml|reports?|exports?|imports?|registry|server|robot|bot))(?:[+._\-][a-z0-9+._\-]*)?"
)
_ROLE_HOST = (
    rb"(?i)(?:lists?|groups|mailman|listserv|bugs|noreply|tracker|[a-z0-9\-]*lists|alioth-lists)\..*"
    rb"|googlegroups\.com|.*\.(?:gserviceaccount\.com|noreply\.github\.com)|groups\.io|packages\.[a-z0-9.\-]+|openssh\.com|libssh\.org"
)
_NOBODYS = (
    rb"(?:" + _ROLE + rb")@.*$|[^@]*@(?:(?:" + _EXAMPLE_HOST + rb")|(?:" + _ROLE_HOST + rb"))$"
    rb"|(?:" + _ANYBODY + rb")@(?:" + _ANY_HOST + rb")$"
)
_MADE_UP = rb"(?:" + _ANYBODY + rb")@.*$|[^@]*@(?:" + _ANY_HOST + rb")$"
# Words of the people who make programs; business has things created, sent and requested by people too.
_AUTHORED = (
    rb"(?i)copyright|\(c\)|\xc2\xa9|&copy;|\bauthors?\b|author[_\-]|_author|\bmaintain(?:er|ed)|"
    rb"\bcontribut(?:or|ed)|\btranslat(?:or|ed)|\buploaders?\b|\bpackage[rd]|\bcommitter|"
    rb"\b(?:written|authored|modified|implemented|pointed out|spotted|patch(?:e[ds])?|fix|ported|debugged|"
    rb"diagnosed|rewritten|"
    rb"diagnosed|adapted|original(?:ly)?|designed|code|idea|version)[ \-]+(?:by|from)\b|"
    rb"\b(?:signed-off|acked|reviewed|tested|reported|suggested|co-authored|co-developed)-(?:and-[a-z\-]+-)?by\b|"
    rb"\bthanks to\b|\bcourtesy of\b|\bupstream\b|\bbug[ \-]?reports?\b|\breport(?:ing)? bugs\b|"
    rb"\bin case of (?:bugs|problems)|"
    rb"(?:^|\n)[ \t]*(?:#+|//+|;+|%+|--|REM|dnl)[ \t]+[^\n=:\"'/]{0,50}$|"
    rb"\bsend bugs\b|__e?mail__|changelog|\blicen[cs]e|\bcloses?: ?#|\bmailing list|\bsubscribe"
)
# Every reason to think so has one of these around it, but for signs right before the name or address.
_MAY_PUBLISH = (
    rb"(?i)copyright|\(c\)|\xc2\xa9|&copy;|author|maintain(?:er|ed)|contribut(?:or|ed)|translat(?:or|ed)|uploader|"
    rb"package[rd]|committer|thanks to|courtesy of|upstream|bug[ \-]?report|report(?:ing)? bugs|"
    rb"in case of (?:bugs|problems)|send bugs|__e?mail__|changelog|licen[cs]e|closes?: ?#|mailing list|"
    rb"subscribe|(?:written|modified|implemented|pointed out|spotted|patch(?:e[ds])?|fix|ported|debugged|"
    rb"diagnosed|adapted|original(?:ly)?|designed|code|idea|version)[ \-]+(?:by|from)|-by|by[ \t:(<]|"
    rb"(?:#|//|;|%|--|rem|dnl)[ \t]|\*|(?:19|20)[0-9]{2}[\-/., ]|"
    rb"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},? |\([0-9]{1,4}\):"
)
_SIGNS_BEFORE = frozenset((b"<", b"="))
_NAMED_ADDRESS = rb"[\w.()\"'*\x80-\xff\]][ \t]{0,40}(?:\r?\n[ \t]{1,40})?<$|(?:^|\n)[ \t]{0,40}<$"
# A comment in code that says by whom, and the name in a certificate.
_SIGNED = re.compile(
    rb"(?i)(?:^|\n)[ \t]*(?:/?\*+|#+|//+|;+|%+|--|REM|dnl)[^\n]*\bby(?:[ \t][\w.'\-\x80-\xff]{1,24}){0,4}"
    rb"[ \t]*[:(<]?[ \t]*$"
)
_CONTACT_OF_AUTHOR = re.compile(rb"(?i)[ \t#*%;/]{0,8}(?:contact|e-?mail|mail)[ \t]*:[ \t]*[<(]?")
_CERTIFIED = re.compile(rb"(?i)\b(?:CN|OU?|DC) ?= ?[^\n]{1,140}[/,] ?e(?:mailAddress)? ?= ?$")
_OF_A_MESSAGE = (
    rb"(?i)(?:^|\n)[> \t]{0,8}(?:from|to|cc|bcc|reply-to|sender|resent-[a-z]+|delivered-to|return-path|"
    rb"x-[a-z\-]+|envelope-[a-z]+)[ \t]*:[^\n]*$"
)
# Heads of entries in changes' logs: a day before the name, or after the address.
_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},?"
_ENTRY_BEFORE = (
    rb"(?i)(?:^|\n)[ \t*\-#]{0,6}(?:(?:19|20)[0-9]{2}(?:[\-/.][0-9]{1,2}){2}|"
    + _DAY
    + rb" [a-z0-9: ,+]{6,40}|(?:(?:19|20)[0-9]{2}(?:[,\- ]+|$)){1,8})[^\n0-9=:;|{}]{1,60}[(<]?$"
)
# Before a day, or a number of changes.
_ENTRY_AFTER = rb"(?i)>?[ \t]{1,3}" + _DAY + rb" [0-9]{1,2} |>? \([0-9]{1,4}\):(?:\s|$)"
_BEFORE, _AFTER = 160, 48
_ORGANISATION = re.compile(
    rb"(?i)\b(?:inc|foundation|corp|corporation|company|llc|ltd|limited|gmbh|university|institute|initiatives?|"
    rb"laborator(?:y|ies)|bsd|microsystems|systems|software|technologies|licen[cs]e|copyright|commons|association|"
    rb"department|society|press|publishers?|wiskunde)\b"
    rb"[^\n]{0,60}(?:\n[^\n]{0,30})?$"
)
# Everybody's examples, and the Free Software Foundation in copies of its licenses.
_MADE_UP_STREET = re.compile(
    rb"(?i)(?:51\W{1,2}franklin|59\W{1,2}temple)\b[^\n]{0,30}\n?[^\n]{0,24}\bboston|"
    rb"(?:1|10|100|1000|123|1234|12345|12|42|999|555|111|221b) (?:[nsew]\.? )?"
    rb"(?:main|any|fake|some|example|sample|test|foo|street|oak|elm|my|your|first|1st)\b"
)
_LINES_OF_A_LIST = 4
"""Number of addresses of a text from which on they are judged together."""


_OF_NO_PERSON = _NOBODYS + rb"|" + _MADE_UP


def may_be_of_nobody(data: bytes, start: int, end: int) -> bool:
    """Return False only if neither `is_of_nobody` nor `is_made_up` is True for an e-mail address."""
    if _is_found(_OF_NO_PERSON, AT_START, data, start, end):
        return True
    return _is_named_after_itself(data, start, end)


def is_of_nobody(data: bytes, start: int, end: int) -> bool:
    """Return True for an e-mail address of a role or a mailing list, or of a domain reserved for documents.

    Args:
        data: The text.
        start: Start of the address.
        end: The byte after it.
    """
    return _is_found(_NOBODYS, AT_START, data, start, end) or _is_named_after_itself(data, start, end)


def _is_named_after_itself(data: bytes, start: int, end: int) -> bool:
    """Return True for the address of a project or firm: project@project.org."""
    local, _, host = data[start:end].lower().partition(b"@")
    return local in host and host.split(b".")[-2:-1] == [local]


# The authors below the title of a document: in the middle of lines at its beginning, below their names.
_TITLE_PAGE = re.compile(rb"\n[ \t]*(?:\t|   )[ \t]*[A-Z][^\n@]{2,40}\n[ \t]*(?:\t|   )[ \t]*[<(]?$")
_LONGEST_TITLE_PAGE = 1_500


def is_on_title_page(data: bytes, start: int, end: int) -> bool:
    """Return True for an address on a line of its own below a name, in the middle of a title page."""
    return (
        start < _LONGEST_TITLE_PAGE
        and not data[end : end + 40].split(b"\n", 1)[0].strip(b" \t>)\r")
        and _TITLE_PAGE.search(data, max(start - 120, 0), start) is not None
    )


def is_made_up(data: bytes, start: int, end: int) -> bool:
    """Return True for an e-mail address that documents use for anybody's, such as user@domain.com."""
    return _is_found(_MADE_UP, AT_START, data, start, end)


def _is_found(pattern: bytes, anchor: object, data: bytes, start: int, end: int) -> bool:
    # RE2's anchors are those of the whole text, whatever the span.
    part = data[start:end]
    return matcher(pattern)(anchor, part, 0, len(part))[0][0] >= 0


def is_of_author(text: ScannedText, start: int, end: int, alone: bool = False) -> bool:
    """Return True for a name or an e-mail address that its text publishes as that of an author.

    These are lines with a word for it (copyright, author, patch by), heads of entries in a log of changes,
    and addresses in angle brackets after a name, except in the head of a message.

    Args:
        data: The text.
        text: The text.
        start: Start of the name or address.
        end: The byte after it.
        alone: True if the line is a value of its own, in which a name before an address says nothing.
    """
    data, first = text.data, max(start - _BEFORE, 0)
    if data[start - 1 : start] not in _SIGNS_BEFORE and not text.may_have(_MAY_PUBLISH, first, end + _AFTER):
        return False
    line = own = data.rfind(b"\n", first, start) + 1
    if line and not alone and not data[line:start].strip(b" \t<(*,-0123456789"):
        line = data.rfind(b"\n", first, line - 1) + 1  # the name is on the line above
    elif line and not alone and _CONTACT_OF_AUTHOR.fullmatch(data, line, start):
        line = data.rfind(b"\n", first, line - 1) + 1
    if line and not alone and data[line : line + 1].islower():
        line = data.rfind(b"\n", first, line - 1) + 1  # a sentence that began on the line above
    place = max(line, first)
    if _is_found(_OF_A_MESSAGE, UNANCHORED, data, place, start):
        return False
    stop = data.find(b"\n", end, end + _AFTER)
    stop = min(end + _AFTER, len(data)) if stop < 0 else stop
    bracketed = data[start - 1 : start] == b"<" and data[end : end + 1] == b">"
    return (
        (bracketed and not alone and _is_found(_NAMED_ADDRESS, UNANCHORED, data, place, start))
        or _is_found(_AUTHORED, UNANCHORED, data, place, start)
        or (
            not alone
            and not data[end:stop].strip()
            and data[own:start].strip() == b"*"
            and data.rfind(b"/*", max(start - _HEAD, 0), start) >= 0  # on a line of its own in a comment of C
        )
        or (b"by" in data[place:start] and _SIGNED.search(data, place, start) is not None)
        or (data[start - 1 : start] == b"=" and _CERTIFIED.search(data, place, start) is not None)
        or (not alone and _is_found(_ENTRY_BEFORE, UNANCHORED, data, place, start))
        or _is_found(_ENTRY_AFTER, AT_START, data, end, stop)
        or _is_found(_AUTHORED, UNANCHORED, data, end, stop)
    )


# Sentences of licenses, which name their authors.
_LICENSE = (
    rb"(?i)permission (?:is hereby granted|to use, copy)|general public licen|implied warrant|"
    rb"without any warrant|this notice may not be removed|"
    rb"redistribution and use|licensed under the|public domain|this file is distributed"
)


_GRATITUDE = (
    rb"(?i)/copyright-format/|thanks? (?:to|go|are)\b|\bcontribut(?:ors?|ed|ions?)\b|bug reports|"
    rb"\bmaintainers?\b"
)
# Entries of a log of changes or of a release's notes: what was done to a program.
_CHANGE = re.compile(
    rb"(?im)^[ \t]{0,12}(?:[*+\-]|\xe2\x80\xa2)[ \t]{1,4}(?:[\w./\-]{1,40}(?:[ ,(][^:\n]{0,60})?: )?"
    rb"(?:fix|add|remov|updat|improv|chang|allow|avoid|refactor|support|implement|bump|upgrad|renam|document|"
    rb"replac|handl|correct|revert|drop|deprecat|clarif|prevent|don't|do not|make|use|new)[a-z]{0,6}\b"
)
_ENTRY_SIGNS = b"- ", b"* ", b"+ ", b"\xe2\x80\xa2 "
_CHANGES_OF_A_LOG, _HEAD_OF_A_LOG = 8, 8_192
_HEAD, _LONGEST_LICENSE = 2_000, 65_536


def is_notice(data: bytes) -> bool:
    """Return True for a text about a program: its license, thanks to its contributors, or its changes."""
    size = len(data)
    return (
        _is_found(_GRATITUDE, UNANCHORED, data, 0, min(_HEAD, size))
        or _is_found(_LICENSE, UNANCHORED, data, 0, min(_LONGEST_LICENSE, size))
        or _is_log_of_changes(data[:_HEAD_OF_A_LOG])
    )


def is_in_notice(text: ScannedText) -> bool:
    """Return True for a text about a program, looked at once; not for the values of a column."""
    if text.lines:
        return False
    known = text.remembered.get("notice")
    if known is None:
        known = text.remembered["notice"] = is_notice(text.data)
    return known


def _is_log_of_changes(head: bytes) -> bool:
    if sum(map(head.count, _ENTRY_SIGNS)) < _CHANGES_OF_A_LOG:
        return False
    return len(list(itertools.islice(_CHANGE.finditer(head), _CHANGES_OF_A_LOG))) == _CHANGES_OF_A_LOG


def are_of_authors(published: int, addresses: int) -> bool:
    """Return True if so many of a text's addresses are published that the others are too, as in THANKS."""
    return addresses >= _LINES_OF_A_LIST and 2 * published >= addresses


def is_street_of_organisation(data: bytes, start: int) -> bool:
    """Return True for the address of an organisation that is named before it."""
    return _ORGANISATION.search(data[max(start - 120, 0) : start]) is not None


def is_made_up_street(data: bytes, start: int, end: int) -> bool:
    """Return True for an address that documents use for anybody's, such as 123 Main St."""
    return _MADE_UP_STREET.match(data, start, end + 64) is not None
