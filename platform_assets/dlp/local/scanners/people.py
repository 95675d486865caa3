"""Personal data recognised by hotwords or dictionaries: births, passports, names, streets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from platform_assets.dlp.local import checks
from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.local.detectors import people as _people
from platform_assets.dlp.local.scanners.published import (
    is_in_notice,
    is_made_up_street,
    is_of_author,
    is_street_of_organisation,
)
from platform_assets.dlp.local.scanners.text import (
    DICTIONARY,
    HOTWORD,
    LIKELY,
    POSSIBLE,
    SHAPE,
    UNLIKELY,
    VERY_LIKELY,
    InfoTypeScanner,
    Match,
    ScannedText,
    spans,
)
from platform_assets.formats.words import word_set

_MONTHS = (
    r"(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|m(?:ä|ae)rz|apr(?:il)?|may|mai|june?|juni|july?|"
    r"juli|aug(?:ust)?|sept?(?:ember)?|"
    r"o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)"
)
_ZONE = r"(?:\s*(?:z|[+\-]\d{1,2}(?::?\d{2}(?::?\d{2})?)?|[a-z]{2,5}|[a-z]+/[a-z_/]+|\[[^\]]*\]))"
# A time of day with its zone, as programs and databases write it after a date, or between day and year.
_CLOCK = re.compile(
    r"(?i)(?:(?<=\d)t|(?<=\d):|,?\s+(?:at\s+)?|^)(?:"
    r"\d{1,2}:\d{2}(?::\d{2}(?:[.,:]\d{1,9})?)?(?:\s*[ap]\.?\s?m\b\.?)?"
    r"|\d{1,2}\.\d{2}\.\d{2}(?:\.\d{1,9})?(?:\s*[ap]\.?m\b\.?)?"
    r"|\d{1,2}\s*[ap]\.?m\b\.?|\d{1,2}h\d{2}|(?<=t)\d{2}(?:\d{2}(?:\d{2}(?:[.,]\d{1,9})?)?)?"
    rf"|\d{{2}}(?=z?$)){_ZONE}{{0,3}}(?=\s|$)"
)
_WEEKDAY = re.compile(
    r"(?i)^(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?|(?:so|mo|di|mi|do|fr|sa)|"
    r"(?:sonn|mon|diens|donners|frei|sams)tag|mittwoch|sonnabend|"
    r"lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|"
    r"lunes|martes|mi[eé]rcoles|jueves|viernes|s[aá]bado|domingo)\.?,?\s+"
)
_MONTHS_ABROAD = (
    r"(?:janvier|janv|f[eé]vrier|f[eé]vr|mars|avril|avr|juin|juillet|juil|ao[uû]t|septembre|octobre|d[eé]cembre|"
    r"d[eé]c|enero|ene|febrero|marzo|abril|abr|mayo|junio|julio|agosto|ago|septiembre|setiembre|octubre|noviembre|"
    r"diciembre|dic|gennaio|gen|febbraio|aprile|maggio|mag|giugno|giu|luglio|lug|settembre|set|ottobre|ott|"
    r"dicembre|janeiro|fevereiro|fev|mar[cç]o|maio|junho|julho|setembro|outubro|out|dezembro|dez|januari|februari|"
    r"maart|mrt|mei|augustus|j[aä]nner)"
)
_ANY_MONTH = rf"(?:{_MONTHS}|{_MONTHS_ABROAD})"


def _date(months: str) -> str:
    """The pattern of a date within a text, given that of the names of months."""
    return (
        r"(?i)(?<![0-9])(?:(?P<y>(?:18|19|20)[0-9]{2})[\-/. ](?P<m>[0-9]{1,2})[\-/. ](?P<d>[0-9]{1,2})"
        r"|(?P<a>[0-9]{1,2})(?:\. |[\-/. ])(?P<b>[0-9]{1,2})(?:\. |[\-/. ])"
        r"(?P<c>(?:18|19|20)[0-9]{2}|[0-9]{2})"
        rf"|[0-9]{{1,2}}(?:st|nd|rd|th|er|\.)?[ \-](?:of |de )?{months}\.?(?: de)?[ ,\-]{{1,2}}"
        rf"(?P<e>(?:18|19|20)[0-9]{{2}}|[0-9]{{2}})"
        rf"|{months}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? (?P<f>(?:18|19|20)[0-9]{{2}})"
        rf"|{months}/[0-9]{{2}}"
        r"|(?P<g>(?:19|20)[0-9]{2})(?P<h>[01][0-9])(?P<i>[0-3][0-9]))(?![0-9])"
    )


_DATE = re.compile(_date(_MONTHS))
# For texts whose bytes are read as Latin-1, so that places in them are those of bytes.
_DATE_IN_BYTES = re.compile(_date(re.sub(r"\[(.)(.)\]", r"(?:\1|\2)", _ANY_MONTH).encode().decode("latin-1")))
_COUNTED = re.compile(r"-?[0-9]{5,19}")
_YEAR = r"(?:18|19|20)[0-9]{2}"
# Separators between the parts of a date outside of texts; `_DATE` has those within texts.
_DATE_ALONE = re.compile(
    rf"(?i)[0-9]{{1,2}}(?:st|nd|rd|th|er|º|\.)?[ \-/.,]*(?:of |de )?{_ANY_MONTH}"
    rf"\.?[ \-/.,]*(?:de )?(?:{_YEAR}|[0-9]{{2}})"
    rf"|{_ANY_MONTH}\.?[ \-/]+[0-9]{{1,2}}(?:st|nd|rd|th)?,?[ \-/]+(?:{_YEAR}|[0-9]{{2}})"
    rf"|{_YEAR}[ \-/.,]*{_ANY_MONTH}\.?[ \-/.,]*[0-9]{{1,2}}"
    rf"|{_YEAR}[\-/.](?:0[1-9]|1[0-2])|(?:0[1-9]|1[0-2])[\-/.]{_YEAR}|{_ANY_MONTH}\.?[ \-/,]+{_YEAR}"
    rf"|{_YEAR}-?W(?:0[1-9]|[1-4][0-9]|5[0-3])-?[1-7]|{_YEAR}-(?:[0-2][0-9]{{2}}|3[0-6][0-9])"
)
_COMPACT = re.compile(rf"({_YEAR}[01][0-9][0-3][0-9])(?:[0-2][0-9][0-5][0-9](?:[0-5][0-9](?:[0-9]{{3}})?)?)?")

_DAY_FIRST = re.compile(r"[0-3][0-9][0-3][0-9](?:19|20)[0-9]{2}")
_DAY_IN_SECONDS = 86_400


def is_day_since_1970(text: str) -> bool:
    """Return whether a number is the start of a day, counted since 1970 in seconds or parts of seconds."""
    if not _COUNTED.fullmatch(text) or not text.strip("-0"):
        return False
    number = int(text)
    for parts in (1, 10**3, 10**6, 10**9):
        days, rest = divmod(number, _DAY_IN_SECONDS * parts)
        if rest == 0 and -36_525 < days < 36_525:
            return True
    return False


def is_date(text: str) -> bool:
    """Return True if a text is a date of the last 130 years, as written by people, databases or programs.

    A time of day with its zone may follow it, and a day of the week may precede it.
    """
    written = text.strip()
    if _DAY_FIRST.fullmatch(written):
        written = f"{written[:2]}-{written[2:4]}-{written[4:]}"
    if match := _COMPACT.fullmatch(written):
        written = match[1]
    elif not (_DATE.fullmatch(written) or _DATE_ALONE.fullmatch(written)):
        for sign, instead in (("年", "-"), ("月", "-"), ("日", "")):
            written = written.replace(sign, instead)
        written = _CLOCK.sub(" ", _WEEKDAY.sub("", written))
        written = re.sub(r"(?<=[\-/.])\s+(?=\d)", "", " ".join(written.split())).rstrip(".,")
    found = _DATE.fullmatch(written)
    return _plausible(found) if found else _DATE_ALONE.fullmatch(written) is not None


def _plausible(match: re.Match[str]) -> bool:
    """Return True if the date exists, with the day or the month first."""
    if match["y"]:
        return checks.calendar_day(int(match["y"]), int(match["m"]), int(match["d"]))
    if match["a"]:
        year = int(match["c"]) + (1900 if len(match["c"]) == 2 else 0)
        first, second = int(match["a"]), int(match["b"])
        return checks.calendar_day(year, first, second) or checks.calendar_day(year, second, first)
    if match["g"]:
        return checks.calendar_day(int(match["g"]), int(match["h"]), int(match["i"]))
    return True


_PASSPORT_NUMBER = re.compile(
    r"(?<![A-Za-z0-9\-])(?=(?:[A-Z]*[0-9]){4})[A-Z]{0,3}[0-9][0-9A-Z]{5,8}(?![A-Za-z0-9])"
)
_ETHNIC_TERM = re.compile(
    r"(?i)\b(?:" + "|".join(sorted(map(re.escape, _people.ETHNIC_GROUPS), key=len, reverse=True)) + r")\b"
)


_NAME_IN_BRACKETS = re.compile(r" [A-Z][a-z]+[\])]")


def _is_no_surname(term: re.Match[str]) -> bool:
    """Return True for a term right after its hotword that no given name precedes, as in Brian White."""
    before = term.string[: term.start()].split()
    return (
        term.start() <= 12
        and not (before and folded(before[-1]) in _people.GIVEN_NAMES)
        and not _NAME_IN_BRACKETS.match(term.string, term.end())
    )


_BETWEEN_LEADS = r"[ _\-.()/']{0,2}"
_AFTER_LEAD = 48
# The next sentence may refer back: "my date of birth. It's ...".
_SENTENCE_END = re.compile(rb"(?i)\n|(?<![0-9])\. (?!it(?:'s| is| was) )")
# The dot of an abbreviation: "D.O.B. 04/05/1987", "Passport No. ...".
_ABBREVIATED = re.compile(rb"(?i)(?:\(s\)|s)?\.(?=[ \t]*[:#]|[ \t]+[a-z]{0,3}[0-9])")
_ANOTHER = re.compile(r"[ ]?(?:[,;/&]|and|or|und|et|y)[ ]?")
_DIGIT = re.compile("[0-9]")


@dataclass(frozen=True)
class _Led:
    """Values that follow one of an info type's hotwords on the same line.

    Args:
        value: Their pattern.
        accept: Returns True for a value.
        likelihood: Their likelihood.
        numeric: True if they have digits.
    """

    value: re.Pattern[str]
    accept: Callable[[re.Match[str]], bool]
    likelihood: int
    numeric: bool = True


_LED = {
    "DATE_OF_BIRTH": _Led(_DATE_IN_BYTES, _plausible, VERY_LIKELY),
    "PASSPORT": _Led(_PASSPORT_NUMBER, lambda number: True, LIKELY),
    "ETHNIC_GROUP": _Led(_ETHNIC_TERM, _is_no_surname, LIKELY, numeric=False),
}
_LEADS = {"".join(phrase.split()): name for name in _LED for phrase in BY_NAME[name].phrases}
_LED_BY = (
    "(?i)(?:"
    + "|".join(
        phrase.replace(" ", _BETWEEN_LEADS)
        for phrase in sorted(
            # RE2 ignores the case of ASCII letters only, in a pattern over bytes.
            {
                written
                for name in _LED
                for phrase in BY_NAME[name].phrases
                for written in (
                    (phrase,)
                    if phrase.isascii()
                    else (phrase, phrase[0].upper() + phrase[1:], phrase.upper())
                )
            },
            key=lambda phrase: (-len(phrase), phrase),
        )
    )
    + ")s?"
)
_BETWEEN_LEADS_BYTES = b" _-.()/'"
_GREETING = re.compile(rb"(?i)\bhappy[ \t]{1,2}\Z")


def _look_at_led(text: ScannedText, found: list[Match]) -> None:
    """Find births, passports and ethnic groups right after a word that names them."""
    data = text.data
    seen = -1
    for start, end in spans(_LED_BY, data):
        # Camel case and underscores join words: birthDate, patient_dob.
        if not text.stands_alone(start, end, _LETTER_BYTES) and not _is_part(data, start, end):
            continue
        lead = data[start:end].translate(None, _BETWEEN_LEADS_BYTES).decode("utf-8", "replace").lower()
        name = _LEADS.get(lead) or _LEADS.get(lead.removesuffix("s"))
        if name is None or name not in text.names or _GREETING.search(data, max(start - 7, 0), start):
            continue
        led = _LED[name]
        dot = _ABBREVIATED.match(data, end)
        first = dot.end() if dot else end
        after = _SENTENCE_END.split(data[first : first + _AFTER_LEAD], maxsplit=1)[0].decode("latin-1")
        if led.numeric and not _DIGIT.search(after):
            continue
        match = led.value.search(after)
        while match is not None and led.accept(match) and first + match.start() > seen:
            seen = first + match.start()
            place = first + match.end()
            found.append(Match(seen, place, name, led.likelihood, SHAPE | HOTWORD, 0))
            another = _ANOTHER.match(after, match.end())
            match = led.value.match(after, another.end()) if another else None


_LETTER_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def _is_part(data: bytes, start: int, end: int) -> bool:
    """Return True if a hotword is a whole part of an identifier in camel case."""
    # A part begins with a capital after a small letter: `birthDate`, but not "data URLs" or TRACE.
    before = start == 0 or data[start - 1] not in _LETTER_BYTES or _is_new_part(data, start)
    return before and (end >= len(data) or data[end] not in _LETTER_BYTES or _is_new_part(data, end))


def _is_new_part(data: bytes, at: int) -> bool:
    return data[at - 1 : at].islower() and data[at : at + 1].isupper()


_NAME_WORD = rb"[A-Z\xc3][a-z\x80-\xff]{1,20}(?:[\-'][A-Z][a-z\x80-\xff]{1,20})?"
_TITLES = (
    rb"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Herr|Frau|Monsieur|Madame|Mme|"
    rb"Se\xc3\xb1ora|Se\xc3\xb1or|Sr|Sra|Signora|Signor)\.?"
)
_PERSON = (
    rb"\b" + _TITLES + rb" (?:[A-Z]\. ?)?" + _NAME_WORD + rb"(?: (?:[A-Z]\.|" + _NAME_WORD + rb")){0,3}"
    rb"|\b"
    + _NAME_WORD
    + rb" (?:[A-Z]\.? |"
    + _NAME_WORD
    + rb" )?(?:van |von |de |di |da |del |O')?(?:Mc|Mac)?"
    + _NAME_WORD
)
_TITLE = re.compile(_TITLES + rb" ")
_ACADEMIC = re.compile(rb"(?:Dr|Prof)\b")
_NAMED = re.compile(
    rb"(?i)(?:\bname(?:d| is|:)?|\bi'?m|\bi am|\bcalled|\bdear|\bhi|\bhello|regards,?|sincerely,?|signed|"
    rb"patient|employee|customer|contact|attn:?)[ :\t]{1,3}$"
)


_AFTER_NUMBER = re.compile(rb"[0-9][a-z]? \Z")
_COMPANY_WORDS = word_set("""
    inc ltd llc plc corp corporation company co group gmbh ag sa bank university college school hospital
    airport institute foundation church museum hotel park river county city island international airlines
    partners associates holdings systems technologies solutions services industries sons times post tribune
""")
_NO_SURNAMES = (frozenset(_people.STREET_WORDS.split("|")) - _people.SURNAMES) | _COMPANY_WORDS


# Words of people that begin with a capital as names do, at the start of a sentence: "Dear Ann Smith".
_CALLS = word_set("dear hi hello hey patient employee customer contact regards sincerely signed name")


def _look_at_names(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for first, end in spans(_PERSON, data):
        title = _TITLE.match(data, first, end)
        start = title.end() if title else first
        words = [folded(word) for word in data[start:end].decode("utf-8", "replace").split()]
        if words[-1] in _NO_SURNAMES or _AFTER_NUMBER.search(data, max(first - 3, 0), first):
            continue  # a company, or the name of a street
        if " ".join(words[:2]) in _people.PLACES:
            continue
        given = words[0] in _people.GIVEN_NAMES or (len(words) > 2 and words[1] in _people.GIVEN_NAMES)
        family = words[-1] in _people.SURNAMES
        named = _NAMED.search(data, max(first - 16, 0), first) is not None
        if len(words) > 2 and words[0] in _CALLS and words[1] in _people.GIVEN_NAMES:
            named, start = True, data.index(b" ", start) + 1
        if title and (_ACADEMIC.match(title[0]) or (title[0][:2] == b"Sr" and not given and not family)):
            likelihood, evidence = POSSIBLE, HOTWORD  # authors have such titles too, and jobs are senior
        elif title:
            likelihood, evidence = (LIKELY if len(words) > 1 or given or family else POSSIBLE), HOTWORD
        elif given or (family and named):
            likelihood, evidence = (POSSIBLE if given else UNLIKELY), DICTIONARY
        else:
            continue
        if named and likelihood < VERY_LIKELY:
            likelihood, evidence = likelihood + 1, evidence | HOTWORD
        if likelihood >= LIKELY and (
            is_in_notice(text) or text.is_example(first) or is_of_author(text, start, end, alone=text.lines)
        ):
            likelihood = POSSIBLE
        if likelihood >= text.floor:
            found.append(Match(start, end, "PERSON_NAME", likelihood, evidence))


@lru_cache(maxsize=16_384)
def folded(word: str) -> str:
    """A word in lower case, without accents, punctuation and apostrophes."""
    if not word.isascii():
        import unicodedata

        word = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    return "".join(letter for letter in word.lower() if letter.isalpha())


_STREET = (
    rb"\b[0-9]{1,6}[A-Za-z]?(?:-[0-9]{1,4})?,? (?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.? )?"
    rb"(?:(?:[A-Z][A-Za-z'\x80-\xff\-]{0,24}|[0-9]{1,3}(?:st|nd|rd|th))\.? ){1,4}(?i:"
    + _people.STREET_WORDS.encode()
    + rb")s?\b\.?"
    rb"(?:,? (?i:apt|apartment|suite|ste|unit|floor|fl|room|#)\.? ?[0-9A-Za-z\-]{1,6}\b)?"
    rb"|\b[A-Z\xc3][a-z\x80-\xff\-]{1,30}(?:stra(?:\xc3\x9f|ss)e|str\.|weg|platz|allee|gasse|ufer|damm|"
    rb"ring|straat|laan|gatan|v\xc3\xa4gen) [0-9]{1,4} ?[a-z]?\b"
    rb"|\b[0-9]{1,4}(?: ?bis| ?ter)?,? (?i:rue|avenue|boulevard|place|chemin|all\xc3\xa9e|impasse|quai|"
    rb"cours|route) (?:(?:de|du|des|la|le|les|d'|l')[ ']?){0,2}[A-Z][A-Za-z\x80-\xff'\-]{2,30}(?: "
    rb"[A-Z][A-Za-z\x80-\xff'\-]{2,30}){0,2}"
    rb"|\b(?:Calle|Avenida|Avda\.?|Plaza|Paseo|Carrera|Rua|Travessa|Via|Viale|Piazza|Corso|ulica|ul\.) "
    rb"(?:(?:de|del|la|los|las|da|do|dei|della) ){0,2}[A-Z\xc3][A-Za-z\x80-\xff'\-]{2,30}(?: "
    rb"[A-Za-z\x80-\xff'\-]{2,30}){0,3},? (?:n\xc2\xba ?)?[0-9]{1,5}[A-Za-z]?\b"
    rb"|\b(?i:p\.? ?o\.? box) [0-9]{1,7}\b"
    rb"|\b[0-9]{1,6}[a-z]? (?:(?:n|s|e|w|ne|nw|se|sw|north|south|east|west)\.? )?"
    rb"(?:(?:[a-z][a-z'\-]+|[0-9]{1,3}(?:st|nd|rd|th))\.? ){1,2}"
    rb"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|terrace|crescent|parkway|"
    rb"highway)\b"
    rb"|\b[a-z\-]+(?:stra(?:\xc3\x9f|ss)e) [0-9]{1,4}\b"
    # In small letters, as they are typed in forms and searches.
    rb"|\b[a-z\x80-\xff\-]+(?:str\.|weg|platz|allee|gasse|damm|straat|laan|gracht|gatan|v\xc3\xa4gen|vej) "
    rb"[0-9]{1,4} ?[a-z]?\b"
    rb"|\b[0-9]{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|chemin|all\xc3\xa9e|impasse|quai) "
    rb"(?:(?:de|du|des|la|le|les|d'|l')[ ']?){0,2}[a-z\x80-\xff'\-]{3,30}(?: [a-z\x80-\xff'\-]{3,30})?\b"
    rb"|\b(?:calle|c/|avenida|avda\.?|paseo|plaza|carrera|rua|travessa|via|viale|piazza|corso|ulica|ul\.) "
    rb"(?:(?:de|del|la|los|las|da|do|dei|della) ){0,2}[a-z\x80-\xff'\-]{3,30}"
    rb"(?: [a-z\x80-\xff'\-]{2,30}){0,2},? (?:n\xc2\xba ?)?[0-9]{1,5}[a-z]?\b"
)
# Small letters that English sentences have too: "via port 8080", "5 avenue traffic".
_DOUBTFUL_SMALL = re.compile(
    rb"via |[0-9]+,? (?:avenue|boulevard|quai|chemin) (?!(?:de|du|des|la|le|les)\b)[a-z]+$"
)
_OF_SMALL_LETTERS = re.compile(
    rb"[a-z\x80-\xff/]+\.? ?[^0-9]* ?[0-9]+[a-z]?$|[0-9]+(?: ?bis| ?ter)?,? "
    rb"(?:rue|avenue|boulevard|chemin|all\xc3\xa9e|impasse|quai) [^A-Z]*$"
)
# Words between a number and "street", "drive" and the like that are not the name of a street.
_NO_STREET_NAME = word_set("""
    minute minutes min hour hours day days week weeks month months year years mile miles km kilometer
    meters meter metre metres feet foot yard yards gear
    percent times people cars lane lanes way ways of the on in per by a an and or to for from down off at
    is are with into new more other side busy major single different usb hard flash disk
    tape floppy tb gb mb inch
    """)
_SURE_STREET = re.compile(rb"(?i)[ ](?:" + _people.SURE_STREET_WORDS.encode() + rb")\b")


# Endings of German streets that English words and abbreviations have too: "Monitoring 24", "Constr. 5".
_DOUBTFUL_STREET = re.compile(
    rb"(?i)(?:[aeiouyr]|\b[a-z\-]*sp|"
    rb"\b[bpw]|\b(?:sub|semi)|\b[a-z\-]*(?<!\bo)(?<!\bwe)(?<!do)(?<!dwe)st)ring "
    rb"|(?:con|in|ob|de|regi|mini|illu|demon|indu|ab|re|che|seme|magi)str\. "
    # Ways and places that are no streets: detours, jobs, seats, storage.
    rb"|\b(?:um|r\xc3\xbcck|hin|aus|ab|irr|heim|flucht|arbeits|l\xc3\xb6sungs|dienst|vertriebs|transport|rechts|"
    rb"rad|knie)weg |\b(?:arbeits|park|speicher|sitz|steh|stell|studien|ausbildungs|lager|lade|liege|spiel|"
    rb"sport|flug|start|tabellen)platz "
)
_POSTAL_CODE_AFTER = re.compile(rb"(?:,|\r?\n| -)? {0,2}(?:[A-Z]{1,2}-)?[0-9]{4,5} [A-Z\xc3]")
# A year of a copyright is before its owner, or after.
_COPYRIGHT_BEFORE = re.compile(rb"(?i)(?:copyright|\(c\)|\xc2\xa9)[^\n]{0,40}\Z")
_OWNER_AFTER = re.compile(rb" {0,2}<")
_RECENT_YEAR = re.compile(rb"(?:19[7-9]|20[0-3])[0-9],? |.*, (?:19[7-9]|20[0-3])[0-9]$")
_YEARS = re.compile(rb"(?:19|20)[0-9]{2}(?P<range>-(?:19|20)?[0-9]{2})?,? (?P<word>[A-Za-z\x80-\xff]+)")


def _look_at_streets(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, last in spans(_STREET, data):
        if last < len(data) and data[last] >= 0x80 and data[last - 1 : last].isalpha():
            continue  # a part of a word
        street = data[start:last].rstrip()
        end = start + len(street)
        if street.islower() and _NO_STREET_NAME.intersection(street.decode("utf-8", "replace").split()[1:-1]):
            continue  # a distance or a number of things
        line = data[data.rfind(b"\n", max(start - 80, 0), start) + 1 : start]
        years = _YEARS.match(street)
        if years is not None and years["range"]:
            continue  # years of a copyright, and its owner
        if _RECENT_YEAR.match(street) and (
            _COPYRIGHT_BEFORE.search(data, max(start - 64, 0), start) or _OWNER_AFTER.match(data, end)
        ):
            continue
        if not street[:1].isdigit():
            sure = not _DOUBTFUL_STREET.search(street) or _POSTAL_CODE_AFTER.match(data, end) is not None
            alone = LIKELY if sure else UNLIKELY
        elif not _SURE_STREET.search(street) or (
            years is not None and folded(years["word"].decode("utf-8", "replace")) in _people.GIVEN_NAMES
        ):
            alone = POSSIBLE
        elif _RECENT_YEAR.match(street) and not text.lines and not line.strip(b" \t*#-/"):
            alone = POSSIBLE  # a year and a name in a list of owners
        else:
            alone = LIKELY
        if street.islower() and _OF_SMALL_LETTERS.match(street):
            alone = UNLIKELY if _DOUBTFUL_SMALL.match(street) else min(alone, POSSIBLE)
        if text.is_example(start) or (not text.lines and is_street_of_organisation(data, start)):
            text.add(found, (start, end), "STREET_ADDRESS", min(alone, POSSIBLE), SHAPE, hot=POSSIBLE)
            continue
        if not text.lines and is_made_up_street(data, start, end):
            alone = min(alone, POSSIBLE)
        text.add(found, (start, end), "STREET_ADDRESS", alone, SHAPE)


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    yield InfoTypeScanner(frozenset(_LED), (), _look_at_led)
    yield InfoTypeScanner(frozenset({"PERSON_NAME"}), (), _look_at_names, form="runs")
    yield InfoTypeScanner(frozenset({"STREET_ADDRESS"}), (), _look_at_streets, form="runs")
