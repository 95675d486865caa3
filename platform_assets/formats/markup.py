"""XML and HTML, in constant memory: no entity is expanded, nothing is fetched, no whole tree is built."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any

# Elements are only built here, by the parser below.
from xml.etree.ElementTree import Element, TreeBuilder  # nosec B405

# Entities are declared to a handler, and not expanded.
from xml.parsers import expat  # nosec B405

from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import KIB, Item, Reading, Stream, TextPiece
from platform_assets.formats.text import Decoder, Encoding, read_rest_as_text, windows
from platform_assets.formats.trees import Cells, Tables

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
    handler: Trees | _Words = _Words(reading) if as_text else Trees(reading)
    block = reading.limits.block // 4
    fed = 0
    for chunk in chunks:
        try:
            handler.parser.Parse(chunk, False)
            handler.gather(len(chunk))
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
            is_cut = fed > 0 and handler.is_open()
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


def _slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    # The elements of a slice are few enough to be released before Python's garbage collector scans all
    # memory.
    for chunk in chunks:
        for start in range(0, len(chunk), _SLICE):
            yield chunk[start : start + _SLICE]


def _given_up(
    handler: Trees | _Words,
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


class Elements:
    """Collects parsed content: a table for each kind of element, with a column for each kind of content."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._paths: list[str] = []
        self._rows: list[int] = []
        self._has_children: list[bool] = []
        self._texts: list[list[str]] = []
        self._counts: dict[str, int] = {}
        self._known: dict[tuple[str, str], str] = {}
        self._flow: list[str] = []
        self._text_size = 0
        self.flow_size = 0
        self.has_entities = False
        self.tables = Tables(reading.container, reading.column_words)
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.CommentHandler = self._aside
        self.parser.ProcessingInstructionHandler = lambda target, data: self._aside(data)
        self.parser.EntityDeclHandler = self._entity
        # A default handler keeps the parser from expanding internal entities.
        self.parser.DefaultHandler = lambda data: None
        self.parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    @property
    def is_open(self) -> bool:
        """Return True if an element is open, or none has started."""
        return bool(self._paths) or not self._counts

    def hear(self) -> None:
        """Register this collector's handlers with a parser."""
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def end_all(self) -> None:
        """Finish the open elements, as if they ended here."""
        while self._paths:
            self._end("")

    def take(self) -> Iterator[Item]:
        """Return everything as columns and text, and start again empty."""
        flow, self._flow, self.flow_size = self._flow, [], 0
        yield from self.tables.take()
        if flow:
            yield from _as_flow("\n".join(flow), self._reading)

    def resume(self, above: Iterable[_Open], text: str = "", *, is_leaf: bool = False) -> None:
        """Continue within these elements; the innermost has this text, which was not taken yet.

        Args:
            above: The elements, from the outermost on.
            text: The text.
            is_leaf: True if the innermost element has no other content so far.
        """
        for one in above:
            self._paths.append(one.path)
            self._rows.append(one.number)
            self._has_children.append(True)
            self._texts.append([])
        if self._paths:
            self._has_children[-1] = not is_leaf
            self._texts[-1].append(text)
            self._text_size = len(text)

    def leave(self) -> None:
        """Forget the open elements."""
        for stack in (self._paths, self._rows, self._has_children, self._texts):
            stack.clear()

    def replay(self, element: Element) -> None:
        """Process an element as if the parser had found it."""
        self._start(element.tag, element.attrib)
        if element.text:
            self._characters(element.text)
        for member in element:
            self.replay(member)
            if member.tail:
                self._characters(member.tail)
        self._end(element.tag)

    def open(self, above: str, name: str, attributes: Mapping[str, str]) -> tuple[str, int]:
        """Count an element and take its attributes; return its path and number."""
        path = self.path(above, name)
        number = self.count(path, 1)
        for key, value in attributes.items():
            if value and not (key.startswith("xmlns") and _is_namespace(key, value)):
                self.tables.put(path, f"{path}/@{key.rpartition(':')[2]}", number, value)
        return path, number

    def path(self, above: str, name: str) -> str:
        """The path of an element, from the path of its parent."""
        return self._known.get((above, name)) or self._path(above, name)

    def count(self, path: str, elements: int) -> int:
        """Count elements of a path; return the number of the first."""
        number = self._counts.get(path, 0)
        if len(self._counts) < _MOST_PATHS or path in self._counts:
            self._counts[path] = number + elements
        return number

    def numbers(self, path: str, elements: int, counts: dict[str, int]) -> list[int]:
        """Numbers for further elements, following those that are already counted."""
        before = counts.get(path, 0)
        counts[path] = before + elements
        number = self._counts.get(path)
        if number is None and len(self._counts) + len(counts) > _MOST_PATHS:
            return [0] * elements
        start = (number or 0) + before
        return list(range(start, start + elements))

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if len(self._paths) >= _DEEPEST:
            raise RecursionError
        if self._has_children:
            self._has_children[-1] = True
            self._flush_mixed()
        path, number = self.open(self._paths[-1] if self._paths else "", name, attributes)
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
        text = "".join(self._texts.pop()).strip()
        self._text_size = 0
        if text and is_leaf:
            table = self._paths[-1] if self._paths else ""
            row = self._rows[-1] if self._rows else number
            self.tables.put(table, path, row, text)
        elif text:
            self.add_flow(text)

    def _characters(self, text: str) -> None:
        if not self._texts:
            return
        self._texts[-1].append(text)
        self.flow_size += len(text)
        self._text_size += len(text)
        if self._text_size > self._reading.limits.block:
            # A text longer than a block is split between words and returned as flowing text.
            long = "".join(self._texts[-1])
            cut = max(long.rfind(" "), long.rfind("\n")) + 1 or len(long)
            self._has_children[-1] = True
            self._texts[-1][:] = [long[:cut]]
            self._flush_mixed()
            self._texts[-1].append(long[cut:])
            self._text_size = len(long) - cut

    def _flush_mixed(self) -> None:
        text = "".join(self._texts[-1]).strip()
        self._texts[-1].clear()
        self._text_size = 0
        if text:
            self.add_flow(text)

    def _aside(self, text: str) -> None:
        if text.strip():
            self.add_flow(f"\n{text}\n")

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

    def add_flow(self, text: str) -> None:
        """Add text that belongs to no column."""
        self._flow.append(text)
        self.flow_size += len(text)


def _as_flow(text: str, reading: Reading) -> Iterator[TextPiece]:
    for piece in windows([text.encode(errors="replace")], reading.limits, reading.container):
        yield TextPiece(piece.text, piece.container, None, 0, piece.own)


@dataclass
class _Open:
    """An element that has children and may get more.

    Args:
        element: The remaining element.
        path: Its path.
        number: Its number among the elements of its path.
        has_given_text: True if the text before its first child has been taken.
    """

    element: Element
    path: str
    number: int
    has_given_text: bool = False


class _Mixed(Exception):
    """Elements have text between child elements."""


class Trees:
    """Collects elements in batches, as trees built by the parser's native code.

    If elements have text between child elements, or a text is too long for a tree, `Elements` processes them
    one by one; both give the same result.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._elements = Elements(reading)
        self._builder: Any = TreeBuilder()
        self._opened: list[_Open] = []
        self._held = 0
        self._is_exact = False
        self.parser = self._elements.parser
        self.parser.StartElementHandler = self._root
        self.parser.EndElementHandler = self._builder.end
        self.parser.CharacterDataHandler = self._builder.data

    @property
    def tables(self) -> Tables:
        """The content of columns."""
        return self._elements.tables

    @property
    def flow_size(self) -> int:
        """Number of text characters held."""
        return self._elements.flow_size

    @property
    def has_entities(self) -> bool:
        """True if entities are declared."""
        return self._elements.has_entities

    def is_open(self) -> bool:
        """Return True if an element is open, or none has started."""
        if self._is_exact:
            return self._elements.is_open
        return not self._opened or self._close_innermost()

    def take(self) -> Iterator[Item]:
        """Return everything as columns and text, and start again empty."""
        return self._elements.take()

    def gather(self, fed: int) -> None:
        """Take complete elements, after a number of bytes.

        Raises:
            RecursionError: Elements are nested too deep.
        """
        if self._is_exact:
            return
        self._held += fed
        if self._opened:
            self._gather(0, closed=False)
        if self._held > self._reading.limits.block:
            self._be_exact()

    def end_all(self) -> None:
        """Take the rest, as if every element ended here."""
        if self._is_exact:
            self._elements.end_all()
            return
        while self._close_innermost():
            pass
        if not self._opened:
            return
        root = self._opened[0]
        try:
            if not root.has_given_text and not len(root.element) and (root.element.text or "").strip():
                self.tables.put("", root.path, root.number, (root.element.text or "").strip())
            self._gather(0, closed=True)
        except RecursionError:
            # Then as text: nothing of the rest has been counted yet.
            for element in root.element.iter():
                for text in (*element.attrib.values(), element.text, element.tail):
                    if text and text.strip():
                        self._elements.add_flow(text.strip())
        self._opened = []

    def _root(self, name: str, attributes: dict[str, str]) -> None:
        element = self._builder.start(name, attributes)
        self._opened.append(_Open(element, *self._elements.open("", name, attributes)))
        self.parser.StartElementHandler = self._builder.start

    def _close_innermost(self) -> bool:
        try:
            self._builder.end("")
        except IndexError:
            return False
        return True

    def _gather(self, level: int, *, closed: bool) -> None:
        """Take the complete children of an open element: all if it is closed, otherwise all but the last."""
        above = self._opened[level]
        element = above.element
        if level + 1 < len(self._opened):
            is_complete = closed or len(element) > 1
            self._gather(level + 1, closed=is_complete)
            if not is_complete:
                return
            self._flow(element[0].tail)
            del element[0]
        if len(element) and not above.has_given_text:
            self._flow(element.text)
            above.has_given_text = True
        complete = len(element) if closed else len(element) - 1
        if complete > 0:
            self._take_all(element[:complete], level)
            del element[:complete]
            self._held = 0
        if closed:
            del self._opened[level:]
        elif len(element) and len(element[0]):
            if level + 1 >= _DEEPEST:
                raise RecursionError
            member = element[0]
            path, number = self._elements.open(above.path, member.tag, member.attrib)
            member.attrib.clear()
            self._opened.append(_Open(member, path, number))
            self._gather(level + 1, closed=False)

    def _flow(self, text: str | None) -> None:
        if text and (text := text.strip()):
            self._elements.add_flow(text)

    def _take_all(self, children: Sequence[Element], level: int) -> None:
        above = self._opened[level]
        counts: dict[str, int] = {}
        try:
            batch = self._spread(children, above, level, counts)
        except _Mixed:
            self._elements.resume(self._opened[: level + 1])
            for child in children:
                self._elements.replay(child)
                self._flow(child.tail)
            self._elements.leave()
            return
        for path, count in counts.items():
            self._elements.count(path, count)
        self.tables.put_rows(batch)

    def _spread(
        self, children: Sequence[Element], above: _Open, level: int, counts: dict[str, int]
    ) -> list[Cells]:
        """The content of elements, by path; the number of elements of each path is added to the counts.

        Raises:
            _Mixed: There is text between elements.
            RecursionError: They are nested too deep.
        """
        batch: list[Cells] = []
        # Each group: child elements of one path, the numbers of their parents, the number of children per
        # parent, path and depth.
        groups = [(children, [above.number] * len(children), 0, above.path, level + 1)]
        while groups:
            elements, rows, width, table, depth = groups.pop()
            if depth >= _DEEPEST:
                raise RecursionError
            for tag, members, own in _by_tag(elements, rows, width):
                if any(tail and not tail.isspace() for tail in {member.tail for member in members}):
                    raise _Mixed
                path = self._elements.path(table, tag)
                numbers = self._elements.numbers(path, len(members), counts)
                batch += _attributes(path, members, numbers)
                lengths = list(map(len, members))
                if not any(lengths):
                    batch.append((table, path, own, _stripped(members)))
                    continue
                if not all(lengths):
                    leaves = [not length for length in lengths]
                    texts = _stripped(compress(members, leaves))
                    batch.append((table, path, list(compress(own, leaves)), texts))
                if any(_stripped(compress(members, lengths))):
                    raise _Mixed
                inner = list(chain.from_iterable(members))
                of = list(chain.from_iterable(map(repeat, numbers, lengths)))
                common = lengths[0] if len(set(lengths)) == 1 else 0
                groups.append((inner, of, common, path, depth + 1))
        return batch

    def _be_exact(self) -> None:
        """Process further elements one by one."""
        still_open = 0
        while self._close_innermost():
            still_open += 1
        text: str | None = ""
        is_leaf = False
        if still_open < len(self._opened):
            self._gather(still_open, closed=True)
            if still_open:
                text = self._opened[-1].element[0].tail
        elif self._opened:
            innermost = self._opened[-1]
            if not len(innermost.element):
                text, is_leaf = innermost.element.text, True
            elif still_open > len(self._opened):
                (child,) = innermost.element
                opened = self._elements.open(innermost.path, child.tag, child.attrib)
                self._opened.append(_Open(child, *opened))
                text, is_leaf = child.text, True
            else:
                (child,) = innermost.element
                text, child.tail = child.tail, None
                self._take_all([child], len(self._opened) - 1)
        self._elements.resume(self._opened, text or "", is_leaf=is_leaf)
        self._elements.hear()
        self._opened = []
        self._is_exact = True


def _by_tag(
    elements: Sequence[Element], rows: Sequence[int], width: int
) -> Iterator[tuple[str, Sequence[Element], Sequence[int]]]:
    """Elements by tag, with their rows; `width` is the number of elements after which tags repeat, or 0."""
    tags = [element.tag for element in elements]
    first = tags[: width or 1]
    if len(set(first)) == len(first) and tags == first * (len(tags) // len(first)):
        for place, tag in enumerate(first):
            yield tag, elements[place :: len(first)], rows[place :: len(first)]
        return
    groups: dict[str, tuple[list[Element], list[int]]] = {}
    for tag, element, row in zip(tags, elements, rows, strict=True):
        group = groups.get(tag)
        if group is None:
            group = groups[tag] = ([], [])
        group[0].append(element)
        group[1].append(row)
    for tag, (members, own) in groups.items():
        yield tag, members, own


def _is_namespace(key: str, value: str) -> bool:
    """Return True for namespace declarations: their addresses belong to the format and are not data."""
    return (key == "xmlns" or key.startswith("xmlns:")) and value.startswith(("http://", "https://", "urn:"))


def _attributes(path: str, members: Sequence[Element], numbers: Sequence[int]) -> Iterator[Cells]:
    if not any(map(Element.keys, members)):
        return
    shapes = {tuple(member.keys()) for member in members}
    if len(shapes) == 1:
        for key in shapes.pop():
            texts = [member.get(key) or "" for member in members]
            if key.startswith("xmlns"):
                texts = ["" if _is_namespace(key, text) else text for text in texts]
            yield path, f"{path}/@{key.rpartition(':')[2]}", numbers, texts
        return
    columns: dict[str, tuple[list[int], list[str]]] = {}
    for member, number in zip(members, numbers, strict=True):
        for key, value in member.items():
            if key.startswith("xmlns") and _is_namespace(key, value):
                continue
            column = columns.get(key)
            if column is None:
                column = columns[key] = ([], [])
            column[0].append(number)
            column[1].append(value)
    for key, (rows, texts) in columns.items():
        yield path, f"{path}/@{key.rpartition(':')[2]}", rows, texts


def _stripped(elements: Iterable[Element]) -> list[str]:
    """The texts before the elements' first children."""
    return [text.strip() if (text := element.text) else "" for element in elements]


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

    def is_open(self) -> bool:
        """Return True if an element is open, or none has started."""
        return self._depth > 0 or not self._ends_line

    def gather(self, fed: int) -> None:
        """Do nothing."""

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
        yield reading.problem(ProblemKind.CORRUPT, "it is not HTML all through; the rest was read as text")
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
