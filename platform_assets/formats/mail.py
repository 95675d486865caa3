"""E-mail: headers, bodies of all kinds, and attachments, which are read as files."""

from __future__ import annotations

import email
import email.errors
import email.message
import email.policy
import io
import re
from collections.abc import Iterator

from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import Item, Part, Reading, Stream, TextPiece
from platform_assets.formats.text import Decoder, Encoding, encrypted_text, read_rest_as_text

_FIELD = re.compile(rb"[A-Za-z][A-Za-z0-9-]*: ?[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*")
_TELLING = re.compile(
    rb"^(?:Received|MIME-Version|Message-ID|Return-Path|Delivered-To|X-Mailer|DKIM-Signature|Content-Type)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_ADDRESSED = re.compile(rb"^(?:From|To|Subject|Date)\s*:", re.IGNORECASE | re.MULTILINE)
_ERRORS = (
    AttributeError, email.errors.MessageError, IndexError, KeyError, LookupError, RecursionError, TypeError,
    ValueError, AssertionError,
)  # fmt: skip
_CODINGS = frozenset(
    {"", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "uuencode", "uue", "x-uue"}
)
_MAILBOX = re.compile(rb"\r?\n(?=From [^\r\n]{3,200}\r?\n[A-Za-z-]+: )")


def looks_like_mail(head: bytes) -> bool:
    """Return True if a file starts with a message header, or with a mailbox's line before it."""
    if head.startswith(b"From "):
        head = head.partition(b"\n")[2]
    fields = b"".join(match.group() for match in _leading_fields(head))
    return len(set(_ADDRESSED.findall(fields))) >= 2 and bool(_TELLING.search(fields))


def _leading_fields(head: bytes) -> Iterator[re.Match[bytes]]:
    at = 0
    while match := _FIELD.match(head, at):
        yield match
        at = match.end()


def read_mail(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read a message, or the messages of a mailbox."""
    if not stream.head.startswith(b"From "):
        data = stream.whole(reading.limits.document)
        if data is None:
            yield from _too_large(stream.chunks(), reading)
        else:
            yield from _message(data, reading)
        return
    buffer, number = b"", 0
    for chunk in stream.chunks():
        buffer += chunk
        *messages, buffer = _MAILBOX.split(buffer)
        for message in messages:
            number += 1
            within = reading.within(f"message {number}")
            yield from within.guarded(_message(message.partition(b"\n")[2], within))
        if len(buffer) > reading.limits.document:
            yield from _too_large(_chained(buffer, stream), reading)
            return
    yield from _message(buffer.partition(b"\n")[2], reading.within(f"message {number + 1}"))


def _chained(buffer: bytes, stream: Stream) -> Iterator[bytes]:
    yield buffer
    yield from stream.chunks()


def _too_large(chunks: Iterator[bytes], reading: Reading) -> Iterator[Item]:
    limit = reading.limits.document
    yield reading.problem(
        ProblemKind.TOO_LARGE,
        f"the message is longer than {limit:,} bytes; its undecoded text was read",
    )
    yield from read_rest_as_text(Decoder(Encoding("utf-8")).utf8(chunks), reading)


def _message(data: bytes, reading: Reading) -> Iterator[Item]:
    try:
        message = email.message_from_bytes(data, policy=email.policy.compat32)
        parts = list(message.walk())
    except _ERRORS as error:
        yield reading.problem(
            ProblemKind.CORRUPT,
            f"it cannot be read as a message ({type(error).__name__}); it was read as text",
        )
        yield from read_rest_as_text(Decoder(Encoding("utf-8")).utf8([data]), reading)
        return
    defects = 0
    for number, part in enumerate(parts, 1):
        headers = "\n".join(f"{name}: {_header(value)}" for name, value in part.items())
        if headers:
            yield TextPiece(headers.encode(errors="replace"), (*reading.container, "(header)"))
        if part.is_multipart():
            defects += len(part.defects)
            # Text before the first part and after the last is shown by old mail programs only.
            beside = "\n".join(filter(None, (part.preamble, part.epilogue)))
            if beside.strip():
                yield TextPiece(beside.encode(errors="replace"), (*reading.container, "(between parts)"))
            continue
        coding = str(part.get("Content-Transfer-Encoding", "7bit")).partition(";")[0].strip().lower()
        if coding not in _CODINGS:
            yield reading.problem(ProblemKind.UNSUPPORTED, f"part {number} has an unknown encoding")
        try:
            body = part.get_payload(decode=True)
            name = _name(part, number)
        except _ERRORS:
            defects += 1
            body, name = str(part.get_payload()).encode(errors="replace"), f"part {number}"
        # Some defects are found only while the body is decoded.
        defects += len(part.defects)
        if not isinstance(body, bytes) or not body:
            continue
        is_text = part.get_content_maintype() == "text" and not part.get_filename()
        if is_text and part.get_content_subtype() == "plain":
            yield Part((*reading.container, name))
            yield from encrypted_text(body, reading.within(name))
            yield from read_rest_as_text([_decoded(part, body)], reading.within(name))
        else:
            yield from reading.part(io.BytesIO(_decoded(part, body) if is_text else body), name, len(body))
    if defects:
        yield reading.problem(
            ProblemKind.CORRUPT, f"the message breaks the rules of its format in {defects:,} places"
        )


def _decoded(part: email.message.Message, body: bytes) -> bytes:
    """A text part in UTF-8."""
    try:
        charset = part.get_content_charset("utf-8")
        return body.decode(charset, "replace").encode(errors="replace")
    except (LookupError, ValueError, *_ERRORS):
        return body.decode("latin-1").encode()


def _header(value: object) -> str:
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(str(value))))
    except _ERRORS:
        return str(value)


def _name(part: email.message.Message, number: int) -> str:
    name = part.get_filename()
    return _header(name) if name else f"part {number} ({part.get_content_type()})"
