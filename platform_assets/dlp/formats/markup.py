"""XML and HTML. No entity is expanded and nothing is fetched; no tree is built, so size does not matter."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

# Entities are declared to a handler, and not expanded.
from xml.parsers import expat  # nosec B405

from platform_assets.dlp.formats.reading import Item, Reading, Stream, TextPiece
from platform_assets.dlp.formats.text import Decoder, Encoding, read_rest_as_text, windows
from platform_assets.dlp.formats.trees import Tables
from platform_assets.dlp.model import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEEPEST = 200
_LONGEST_PATH = 400
_MOST_PATHS = 10_000
_ENDS_LINE = frozenset({"p", "br", "tr", "tab", "h", "row", "line-break", "table-row"})
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body|div|span|table|p|a|script)\b", re.IGNORECASE)
_XML = re.compile(r"\s*<(?:\?xml\b|!--|!DOCTYPE\s+(?!html)|[A-Za-z_][\w.-]*(?::[\w.-]+)?[\s/>])")
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "br", "button", "dd", "div", "dl", "dt", "fieldset"),
        *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol"),
        *("option", "p", "pre", "script", "section", "select", "style", "table", "tbody", "td", "textarea"),
        *("tfoot", "th", "thead", "title", "tr", "ul"),
    }
)
_RAW = frozenset({"script", "style", "textarea", "title"})
_LAYOUT_ATTRIBUTES = frozenset({"class", "height", "lang", "rel", "style", "width"})


def looks_like_xml(head: str) -> bool:
    """Whether a text starts as XML does."""
    return bool(_XML.match(head))


def looks_like_html(head: str) -> bool:
    """Whether a text starts as HTML does."""
    start = head.lstrip()[:2_000]
    return start.startswith("<") and bool(_HTML.search(start)) and not start.startswith("<?xml")


def read_xml(
    stream: Stream, reading: Reading, encoding: Encoding, *, as_text: bool = False
) -> Iterator[Item]:
    """Read XML: what stands in elements and attributes as columns by path, mixed content as text.

    Args:
        stream: The file.
        reading: How it is read.
        encoding: Its encoding.
        as_text: Read all of it as flowing text: a word processor spreads a word over elements.
    """
    stream.read(encoding.mark)
    decoder = Decoder(encoding)
    chunks = decoder.utf8(stream.chunks())
    handler = _Elements(reading, as_text=as_text)
    block = reading.limits.block // 4
    fed = 0
    for chunk in chunks:
        try:
            handler.parser.Parse(chunk, False)
        except expat.ExpatError as error:
            kind, what = ProblemKind.CORRUPT, expat.ErrorString(error.code)
            yield from _given_up(handler, reading, kind, what, chunk, chunks)
            break
        except RecursionError:
            what = f"elements are nested deeper than {_DEEPEST:,}"
            yield from _given_up(handler, reading, ProblemKind.TOO_DEEP, what, chunk, chunks)
            break
        fed += len(chunk)
        if handler.parser.CurrentByteIndex < fed - reading.limits.document:
            what = f"a tag or comment is longer than {reading.limits.document:,} bytes"
            yield from _given_up(handler, reading, ProblemKind.TOO_LARGE, what, chunk, chunks)
            break
        if handler.tables.size + handler.flow_size >= block or handler.tables.is_full:
            yield from handler.take()
    else:
        try:
            handler.parser.Parse(b"", True)
        except expat.ExpatError as error:
            is_cut = fed > 0 and handler.is_open
            what = "the file ends within an element" if is_cut else expat.ErrorString(error.code)
            yield reading.problem(ProblemKind.TRUNCATED if is_cut else ProblemKind.CORRUPT, what)
            handler.end_all()
        yield from handler.take()
    if handler.has_entities:
        yield reading.problem(
            ProblemKind.UNSUPPORTED,
            "it declares entities, which are not expanded; their texts were inspected",
        )
    yield from decoder.problems(reading)


def _given_up(
    handler: _Elements,
    reading: Reading,
    kind: ProblemKind,
    what: str,
    chunk: bytes,
    chunks: Iterator[bytes],
) -> Iterator[Item]:
    handler.end_all()
    yield from handler.take()
    yield reading.problem(kind, f"{what}; what follows was read as text")
    yield from read_rest_as_text(_chained(chunk, chunks), reading)


def _chained(first: bytes, others: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


class _Elements:
    """Gathers what the parser meets: a table for each kind of element, a column for each of what it holds."""

    def __init__(self, reading: Reading, *, as_text: bool) -> None:
        self._reading = reading
        self._as_text = as_text
        self._paths: list[str] = []
        self._rows: list[int] = []
        self._has_children: list[bool] = []
        self._texts: list[list[str]] = []
        self._counts: dict[str, int] = {}
        self._known: dict[tuple[str, str], str] = {}
        self._flow: list[str] = []
        self.flow_size = 0
        self.has_entities = False
        self.tables = Tables(reading.container)
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.CommentHandler = self._aside
        self.parser.ProcessingInstructionHandler = lambda target, data: self._aside(data)
        self.parser.EntityDeclHandler = self._entity
        # A default handler keeps the parser from expanding internal entities.
        self.parser.DefaultHandler = lambda data: None
        self.parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    @property
    def is_open(self) -> bool:
        return bool(self._paths) or not self._counts

    def end_all(self) -> None:
        while self._paths:
            self._end("")

    def take(self) -> Iterator[Item]:
        flow, self._flow, self.flow_size = self._flow, [], 0
        yield from self.tables.take()
        if flow:
            text = ("" if self._as_text else "\n").join(flow).encode(errors="replace")
            for piece in windows([text], self._reading.limits, self._reading.container):
                yield TextPiece(piece.text, piece.container, None, 0, piece.own)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if len(self._paths) >= _DEEPEST:
            raise RecursionError
        above = self._paths[-1] if self._paths else ""
        path = self._known.get((above, name)) or self._path(above, name)
        if self._has_children:
            self._has_children[-1] = True
            self._flush_mixed()
        number = self._counts.get(path, 0)
        if len(self._counts) < _MOST_PATHS or path in self._counts:
            self._counts[path] = number + 1
        for key, value in attributes.items():
            self._leaf(path, f"{path}/@{key.rpartition(':')[2]}", number, value)
        self._paths.append(path)
        self._rows.append(number)
        self._has_children.append(False)
        self._texts.append([])

    def _path(self, above: str, name: str) -> str:
        local = name.rpartition(":")[2]
        path = f"{above}/{local}" if above else local
        if len(path) > _LONGEST_PATH:
            path = f"…/{local[-_LONGEST_PATH:]}"
        if len(self._known) < _MOST_PATHS:
            self._known[above, name] = path
        return path

    def _end(self, name: str) -> None:
        path = self._paths.pop()
        number = self._rows.pop()
        is_leaf = not self._has_children.pop()
        text = "".join(self._texts.pop())
        if self._as_text:
            self._flow.append(text)
            if path.rpartition("/")[2] in _ENDS_LINE:
                self._flow.append("\n")
        elif text.strip():
            if is_leaf:
                table = self._paths[-1] if self._paths else ""
                row = self._rows[-1] if self._rows else number
                self._leaf(table, path, row, text.strip())
            else:
                self._add_flow(text.strip())

    def _leaf(self, table: str, column: str, row: int, text: str) -> None:
        if self._as_text:
            self._add_flow(f" {text} ")
        else:
            self.tables.put(table, column, row, text)

    def _characters(self, text: str) -> None:
        self.flow_size += len(text)
        if self._texts:
            self._texts[-1].append(text)
            if self.flow_size > self._reading.limits.block and not self._as_text:
                # A text longer than a block is given in parts, as flowing text.
                self._has_children[-1] = True
                self._flush_mixed()

    def _flush_mixed(self) -> None:
        text = "".join(self._texts[-1])
        self._texts[-1].clear()
        if self._as_text:
            self._flow.append(text)
        elif text.strip():
            self._add_flow(text.strip())

    def _aside(self, text: str) -> None:
        if text.strip():
            self._add_flow(f"\n{text}\n")

    def _entity(
        self,
        name: str,
        is_parameter_entity: bool,
        value: str | None,
        base: str | None,
        system_id: str | None,
        public_id: str | None,
        notation: str | None,
    ) -> None:
        self.has_entities = True
        self._aside(value or system_id or "")

    def _add_flow(self, text: str) -> None:
        self._flow.append(text)
        self.flow_size += len(text)


def read_html(stream: Stream, reading: Reading, encoding: Encoding) -> Iterator[Item]:
    """Read HTML as the text that is seen, with what its attributes, scripts and comments hold."""
    from lxml import etree  # type: ignore[import-untyped]

    stream.read(encoding.mark)
    decoder = Decoder(encoding)
    target = _Flow()

    def texts() -> Iterator[bytes]:
        chunks = decoder.utf8(stream.chunks())
        parser, fed = _html_parser(target), 0
        for chunk in chunks:
            try:
                if fed < reading.limits.block:
                    parser.feed(chunk)
                else:
                    # The parser keeps all that it was fed; so another one takes over, between two tags.
                    cut = max(chunk.rfind(b"</" if target.raw else b"<"), 0)
                    parser.feed(chunk[:cut])
                    opening = target.raw_tag
                    _close(parser)
                    parser, fed = _html_parser(target), 0
                    parser.feed(opening + chunk[cut:])
            except etree.LxmlError:
                target.has_failed = True
                yield target.take()
                yield chunk
                yield from chunks
                return
            fed += len(chunk)
            yield target.take()
        _close(parser)
        yield target.take()

    for piece in windows(texts(), reading.limits, reading.container):
        yield TextPiece(piece.text, piece.container, None, 0, piece.own)
    if target.has_failed:
        yield reading.problem(ProblemKind.CORRUPT, "it is not HTML all through; the rest was read as text")
    yield from decoder.problems(reading)


def _html_parser(target: _Flow) -> Any:
    from lxml import etree

    return etree.HTMLParser(target=target, encoding="utf-8", no_network=True)


def _close(parser: Any) -> None:
    from lxml import etree

    # A document without a single element ends with an error; its text has been given.
    with contextlib.suppress(etree.LxmlError):
        parser.close()


class _Flow:
    """What lxml's parser calls with what it meets.

    Attributes:
        raw: The element that is open and whose text is no markup, such as a script; empty where none is.
        has_failed: Whether the parser gave up.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.raw = ""
        self.has_failed = False

    @property
    def raw_tag(self) -> bytes:
        """What opens the raw element again, for the next parser."""
        return f"<{self.raw}>".encode() if self.raw else b""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in _RAW:
            self.raw = tag
        if tag in _BLOCKS:
            self._parts.append("\n")
        for name, value in attributes.items():
            if value and name not in _LAYOUT_ATTRIBUTES:
                self._parts.append(f"\n{attributes.get('name') or name}: {value}\n")

    def end(self, tag: str) -> None:
        if tag == self.raw:
            self.raw = ""
        if tag in _BLOCKS:
            self._parts.append("\n")

    def data(self, text: str) -> None:
        self._parts.append(text)

    def comment(self, text: str) -> None:
        self._parts.append(f"\n{text}\n")

    def pi(self, target: str, data: str | None = None) -> None:
        self._parts.append(f"\n{data or ''}\n")

    def close(self) -> None:
        return None

    def take(self) -> bytes:
        text = "".join(self._parts)
        self._parts.clear()
        return text.encode(errors="replace")
