"""XML and HTML, in constant memory: no entity is expanded, nothing is fetched, no whole tree is built."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

# Entities are declared to a handler, and not expanded.
from xml.parsers import expat  # nosec B405

from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import KIB, Item, Reading, Stream, TextPiece
from platform_assets.formats.text import Decoder, Encoding, read_rest_as_text, windows
from platform_assets.formats.trees import Tables

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEEPEST = 200
_SLICE = 64 * KIB
_LONGEST_PATH = 400
_MOST_PATHS = 10_000
_ENDS_LINE = frozenset({"p", "br", "tr", "tab", "h", "row", "line-break", "table-row"})
_PAGE = re.compile(r"(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
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
# Tags that only mean a line end; parsing them would take longer than parsing all the text.
_LINE_TAG = re.compile(rb"</?(?:td|tr|th|li|p|div|br|dd|dt|h[1-6]|tbody|thead|ul|ol|table)>", re.IGNORECASE)
_PLIST_KEY = "/dict/key"
_NAMING = frozenset({"name", "key", "id", "Name", "Key", "property", "variable"})
_RAW = frozenset({"script", "style", "textarea", "title"})
_LAYOUT_ATTRIBUTES = frozenset({"class", "height", "lang", "rel", "style", "width"})


def looks_like_xml(head: str) -> bool:
    """Return True if a text starts like XML."""
    return bool(_XML.match(head))


def looks_like_html(head: str) -> bool:
    """Return True if a text starts like HTML."""
    start = head.lstrip()[:2_000]
    return start.startswith("<") and bool(_HTML.search(start)) and not start.startswith("<?xml")


def starts_as_html(head: str) -> bool:
    """Return whether a text's first element or its declaration is HTML's."""
    return _PAGE.match(head.lstrip()) is not None


def read_xml(
    stream: Stream, reading: Reading, encoding: Encoding, *, as_text: bool = False
) -> Iterator[Item]:
    """Read XML: elements and attributes as columns by path, mixed content as text.

    Args:
        stream: The file.
        reading: The settings of this reading.
        encoding: Its encoding.
        as_text: True to read everything as flowing text: word processors split words over elements.
    """
    stream.read(encoding.mark)
    decoder = Decoder(encoding)
    chunks = _slices(decoder.utf8(stream.chunks()))
    handler = _Words(reading) if as_text else Elements(reading)
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
            "it declares entities, which were not expanded; their texts were inspected",
        )
    yield from decoder.problems(reading)


def _slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    # The elements of a slice are few enough to be released before Python's garbage collector scans all
    # memory.
    for chunk in chunks:
        for start in range(0, len(chunk), _SLICE):
            yield chunk[start : start + _SLICE]


def _given_up(
    handler: Elements | _Words,
    reading: Reading,
    kind: ProblemKind,
    what: str,
    chunk: bytes,
    chunks: Iterator[bytes],
) -> Iterator[Item]:
    handler.end_all()
    yield from handler.take()
    yield reading.problem(kind, f"{what}; the rest was read as text")
    yield from read_rest_as_text(_chained(chunk, chunks), reading)


def _chained(first: bytes, others: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


class Elements:
    """Collects parsed content: a table for each kind of element, with a column for each kind of content."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._block = reading.limits.block
        # Path and number of the innermost open element, and those of the elements around it.
        self._path = ""
        self._number = 0
        self._around: list[tuple[str, int]] = []
        self._is_leaf = False
        self._is_named = False
        # The table and row of the last key of a property list.
        self._key_row: tuple[str, int] | None = None
        self._texts: list[str] = []
        self._text_size = 0
        self._counts: dict[str, int] = {}
        self._known: dict[tuple[str, str], str] = {}
        self._attributes: dict[tuple[str, str], str] = {}
        self._flow: list[str] = []
        self.flow_size = 0
        self.has_entities = False
        self.tables = Tables(reading.container, reading.column_words)
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
        """Return True if an element is open, or none has started."""
        return bool(self._around) or not self._counts

    def end_all(self) -> None:
        """Finish the open elements, as if they ended here."""
        while self._around:
            self._end("")

    def take(self) -> Iterator[Item]:
        """Return everything as columns and text, and start again empty."""
        flow, self._flow, self.flow_size = self._flow, [], 0
        yield from self.tables.take()
        if flow:
            yield from _as_flow("\n".join(flow), self._reading)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if len(self._around) >= _DEEPEST:
            raise RecursionError
        if self._texts:
            self._flush_mixed()
        above = self._path
        path = self._known.get((above, name)) or self._path_of(above, name)
        number = self._counts.get(path, 0)
        if number or len(self._counts) < _MOST_PATHS:
            self._counts[path] = number + 1
        for key, value in attributes.items():
            if value and not (key.startswith("xmlns") and _is_namespace(key, value)):
                column = self._attributes.get((path, key)) or self._attribute_of(path, key)
                self.tables.put(path, column, number, value)
        self._around.append((above, self._number))
        self._path, self._number, self._is_leaf = path, number, True
        # An attribute that names the element's text is kept in one row with it.
        self._is_named = not _NAMING.isdisjoint(attributes)

    def _path_of(self, above: str, name: str) -> str:
        local = name.rpartition(":")[2]
        path = f"{above}/{local}" if above else local
        if len(path) > _LONGEST_PATH:
            path = f"…/{local[-_LONGEST_PATH:]}"
        if len(self._known) < _MOST_PATHS:
            self._known[above, name] = path
        return path

    def _attribute_of(self, path: str, key: str) -> str:
        column = f"{path}/@{key.rpartition(':')[2]}"
        if len(self._attributes) < _MOST_PATHS:
            self._attributes[path, key] = column
        return column

    def _end(self, name: str) -> None:
        path, number = self._path, self._number
        self._path, self._number = self._around.pop()
        if self._texts:
            text = "".join(self._texts).strip()
            self._texts.clear()
            self._text_size = 0
            if text and self._is_leaf:
                if self._is_named:
                    self.tables.put(path, path, number, text)
                elif path.endswith(_PLIST_KEY):
                    self._key_row = path, number
                    self.tables.put(path, path, number, text)
                elif self._key_row is not None and self._key_row[0].startswith(self._path):
                    # The value of a property list follows its key: both are kept in one row.
                    table, row = self._key_row
                    self.tables.put(table, path, row, text)
                    self._key_row = None
                else:
                    self.tables.put(self._path, path, self._number, text)
            elif text:
                self._add_flow(text)
        self._is_leaf = False

    def _characters(self, text: str) -> None:
        if not self._around:
            return
        self._texts.append(text)
        self._text_size += len(text)
        if self._text_size > self._block:
            # A text longer than a block is split between words and returned as flowing text.
            long = "".join(self._texts)
            cut = max(long.rfind(" "), long.rfind("\n")) + 1 or len(long)
            self._is_leaf = False
            self._texts = [long[:cut]]
            self._flush_mixed()
            self._texts.append(long[cut:])
            self._text_size = len(long) - cut

    def _flush_mixed(self) -> None:
        text = "".join(self._texts).strip()
        self._texts.clear()
        self._text_size = 0
        if text:
            self._add_flow(text)

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


def _as_flow(text: str, reading: Reading) -> Iterator[TextPiece]:
    for piece in windows([text.encode(errors="replace")], reading.limits, reading.container):
        yield TextPiece(piece.text, piece.container, None, 0, piece.own)


def _is_namespace(key: str, value: str) -> bool:
    """Return True for namespace declarations: their addresses belong to the format and are not data."""
    return (key == "xmlns" or key.startswith("xmlns:")) and value.startswith(("http://", "https://", "urn:"))


class _Words:
    """Collects the text of a word processor's file as one flow, followed by each attribute value once."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._elements = Elements(reading)
        self._flow: list[str] = []
        self._values: dict[str, None] = {}
        self._values_size = 0
        self._depth = 0
        self._ends_line: dict[str, bool] = {}
        self.parser = self._elements.parser
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._flow.append

    @property
    def tables(self) -> Tables:
        """The content of columns."""
        return self._elements.tables

    @property
    def flow_size(self) -> int:
        """Number of text characters held."""
        return sum(map(len, self._flow)) + self._values_size + self._elements.flow_size

    @property
    def has_entities(self) -> bool:
        """True if entities are declared."""
        return self._elements.has_entities

    @property
    def is_open(self) -> bool:
        """Return True if an element is open, or none has started."""
        return self._depth > 0 or not self._ends_line

    def end_all(self) -> None:
        """Do nothing."""

    def take(self) -> Iterator[Item]:
        """Return everything as columns and text, and start again empty."""
        text = "".join(self._flow)
        self._flow.clear()
        if self._values:
            text = "\n".join([text, *self._values])
            self._values, self._values_size = {}, 0
        if text:
            yield from _as_flow(text, self._reading)
        yield from self._elements.take()

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RecursionError
        if name not in self._ends_line:
            self._ends_line[name] = name.rpartition(":")[2] in _ENDS_LINE
        for key, value in attributes.items():
            if value not in self._values and not (key.startswith("xmlns") and _is_namespace(key, value)):
                self._values[value] = None
                self._values_size += len(value)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._ends_line[name]:
            self._flow.append("\n")


def read_html(stream: Stream, reading: Reading, encoding: Encoding) -> Iterator[Item]:
    """Read HTML as the visible text, with the content of its attributes, scripts and comments."""
    from lxml import etree  # type: ignore[import-untyped]

    stream.read(encoding.mark)
    decoder = Decoder(encoding)
    target = _Flow()

    def texts() -> Iterator[bytes]:
        chunks = (_LINE_TAG.sub(b"\n", chunk) for chunk in decoder.utf8(stream.chunks()))
        parser, fed = _html_parser(target), 0
        for chunk in chunks:
            try:
                if fed < reading.limits.block:
                    parser.feed(chunk)
                else:
                    # The parser keeps all input in memory; so a new parser takes over, between two tags.
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
        yield reading.problem(ProblemKind.CORRUPT, "a part of it is not HTML; the rest was read as text")
    yield from decoder.problems(reading)


def _html_parser(target: _Flow) -> Any:
    from lxml import etree

    return etree.HTMLParser(target=target, encoding="utf-8", no_network=True)


def _close(parser: Any) -> None:
    from lxml import etree

    # A document without any element ends with an error, although its text was returned.
    with contextlib.suppress(etree.LxmlError):
        parser.close()


class _Flow:
    """Target of lxml's parser.

    Attributes:
        raw: The open element whose text is not markup, such as a script; empty if there is none.
        has_failed: True if the parser gave up.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.raw = ""
        self.has_failed = False

    @property
    def raw_tag(self) -> bytes:
        """The tag that opens the raw element again, for the next parser."""
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
        """Return everything as columns and text, and start again empty."""
        text = "".join(self._parts)
        self._parts.clear()
        return text.encode(errors="replace")
