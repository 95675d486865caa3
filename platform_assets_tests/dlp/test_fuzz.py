"""Whatever bytes come, the inspection ends with a result, and what is broken is not called inspected."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.dlp.model import InspectResult, Status
from platform_assets.dlp.scan import scan_object
from platform_assets.formats.content import ColumnsPiece, Item, Limits, Sampling, TextPiece, read_content
from platform_assets.formats.markup import Elements
from platform_assets.formats.reading import Budget, Reading
from platform_assets.formats.trees import Tables
from platform_assets_tests.dlp.test_scan import NeedleInspector
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.properties import examples
from platform_assets_tests.formats.test_formats import GOOD

LIMITS = Limits(memory=16 << 20, expanded=64 << 20, seconds=PATIENCE)
BINARY = tuple(
    name for name in GOOD if not name.endswith((".txt", ".csv", ".html", ".xml", ".json", ".jsonl"))
)
# A change to these is found by a checksum, or by a frame that does not fit.
CHECKED = tuple(name for name in BINARY if name.endswith((".gz", ".tgz", ".bz2", ".xz")))


def inspect(data: bytes, name: str) -> InspectResult:
    result = scan_object(io.BytesIO(data), name, NeedleInspector(), size=len(data), limits=LIMITS)
    assert (result.status is Status.INSPECTED) == (result.reason == "") == (not result.problems)
    return result


def broken(data: bytes, random_: random.Random) -> bytes:
    """A copy that is cut, has bytes changed, doubled, zeroed or swapped, or other bytes in the middle."""
    damaged = bytearray(data)
    match random_.randrange(6):
        case 0:
            del damaged[random_.randrange(len(damaged)) :]
        case 1:
            for _ in range(random_.randint(1, 20)):
                damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        case 2:
            start = random_.randrange(len(damaged))
            damaged[start : start + random_.randint(1, 200)] = bytes(random_.randint(1, 200))
        case 3:
            start = random_.randrange(len(damaged))
            damaged[start:start] = random_.randbytes(random_.randint(1, 300))
        case 4:
            start = random_.randrange(len(damaged))
            del damaged[start : start + random_.randint(1, 100)]
        case _:
            middle = random_.randrange(len(damaged))
            damaged = damaged[middle:] + damaged[:middle]
    return bytes(damaged)


def corpus() -> Iterator[tuple[str, bytes]]:
    """500 broken files, the same in every run."""
    good = {name: make() for name, make in GOOD.items()}
    names = sorted(good)
    for number in range(500):
        random_ = random.Random(number)
        name = names[number % len(names)]
        yield name, broken(good[name], random_)


@pytest.mark.no_cover
def test_500_broken_files_end_without_a_crash() -> None:
    statuses = [inspect(data, name).status for name, data in corpus()]
    assert len(statuses) == 500
    assert set(statuses) == {Status.INSPECTED, Status.PARTIAL, Status.UNREADABLE}


@pytest.mark.parametrize("name", CHECKED)
def test_a_checked_file_that_is_cut_is_never_called_inspected(name: str) -> None:
    data = GOOD[name]()
    for place in range(12, len(data), max(len(data) // 50, 1)):
        assert inspect(data[:place], name).status is not Status.INSPECTED, place


# A message is text: cut in its attachment, it is a message with a shorter one.
@pytest.mark.parametrize("name", [name for name in BINARY if not name.endswith(".eml")])
def test_a_binary_file_that_is_cut_in_the_middle_is_never_called_inspected(name: str) -> None:
    # What a tar file has after its end is zeros.
    data = GOOD[name]().rstrip(b"\0")
    for share in (0.3, 0.5, 0.7, 0.9):
        assert inspect(data[: int(len(data) * share)], name).status is not Status.INSPECTED, share


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=3_000), name=st.sampled_from([*GOOD, "upload", "x.xls", "x.ods", "x.mbox"]))
def test_any_bytes_end_with_a_result(data: bytes, name: str) -> None:
    inspect(data, name)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=st.sampled_from(
        [
            b"PAR1", b"ORC", b"Obj\x01", b"PK\x03\x04", b"PK\x05\x06", b"%PDF-1.7\n", b"\x1f\x8b\x08",
            b"BZh9", b"\xfd7zXZ\x00", b"\x04\x22\x4d\x18", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            b"\x28\xb5\x2f\xfd",
            b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"<?xml version='1.0'?>", b"<html>", b"[{", b'{"a":',
            b"From: a\nMessage-ID: b\nTo: c\n", b"From a\nFrom: a\nTo: c\nReceived: x\n", b"a,b\n1,2\n",
        ]
    ),
    rest=st.one_of(st.binary(max_size=2_000), st.text(max_size=500).map(lambda text: text.encode())),
)  # fmt: skip
def test_any_bytes_after_a_known_start_end_with_a_result(start: bytes, rest: bytes) -> None:
    inspect(start + rest, "upload")


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(alphabet=",;\t|\"'\r\n ab1é", max_size=400), name=st.sampled_from(["x.csv", "x.tsv", "x"])
)
def test_no_text_gets_lost_in_a_table(text: str, name: str) -> None:
    assert inspect(f"{text}\nneedle-1\n{text}".encode(), name).tallies["NEEDLE"].count >= 1
    assert inspect(f"{text} needle-1 {text}".encode(), name).tallies["NEEDLE"].count >= 1


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=20,
    ),
    as_key=st.booleans(),
)
def test_no_value_gets_lost_in_json(value: object, as_key: bool) -> None:
    document = {"a": [value, {"needle-1 @": value} if as_key else {"b": ["needle-1"]}]}
    for data in (
        json.dumps(document),
        json.dumps(document) + "\n" + json.dumps(value),
        json.dumps([document]),
    ):
        assert inspect(data.encode(), "x.json").tallies["NEEDLE"].count == 1


def cells(items: Iterable[Item]) -> Counter[tuple[str, int, str]]:
    """Every value that an inspector is given in a column, with the column and its row's number."""
    counted: Counter[tuple[str, int, str]] = Counter()
    for item in items:
        if isinstance(item, ColumnsPiece):
            rows = item.rows or range(item.first_row, item.first_row + item.row_count)
            for name, values in item.columns.items():
                assert len(values) == len(rows)
                counted.update(
                    (name, row, value)
                    for row, value in zip(rows, values.to_pylist(), strict=True)
                    if value is not None
                )
    return counted


def lines(items: Iterable[Item]) -> Counter[str]:
    """The lines of what an inspector is given as text."""
    text = b"".join(
        item.text[slice(*item.own)] if item.own else item.text
        for item in items
        if isinstance(item, TextPiece)
    )
    return Counter(line for line in text.decode().split("\n") if line.strip())


def one_by_one(values: Iterable[Any], *, numbers_members: bool = False) -> Counter[tuple[str, int, str]]:
    tables = Tables((), numbers_members=numbers_members)
    for row, value in enumerate(values):
        tables.add(value, row)
    return cells(tables.take())


# Few keys, so that many values are alike; one that is data, and ones that make the same column.
KEYS = st.sampled_from(["a", "b", "c", "a.b", "ann@example.test", "12345", ""])
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=4),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.lists(VALUES, max_size=12), numbers_members=st.booleans())
def test_values_taken_at_once_are_where_they_are_one_by_one(values: list[Any], numbers_members: bool) -> None:
    tables = Tables((), numbers_members=numbers_members)
    assert cells(tables.pieces(values, 0)) == one_by_one(values, numbers_members=numbers_members)


def test_values_with_more_columns_than_are_made_at_once_are_all_there() -> None:
    values = [{f"c{row}_{number}": f"{row}/{number}" for number in range(30)} for row in range(500)]
    assert cells(Tables(()).pieces(values, 0)) == Counter(
        {(key, row, value): 1 for row, members in enumerate(values) for key, value in members.items()}
    )


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=2, max_size=8), data=st.data())
def test_json_lines_and_arrays_give_each_value_in_its_row(values: list[Any], data: st.DataObject) -> None:
    written = [json.dumps(value, allow_nan=False) for value in values]
    expected = one_by_one(json.loads(text, parse_int=str, parse_float=str) for text in written)
    separator = data.draw(st.sampled_from(["\n", "\n\n", " \r\n"]))
    for text in (separator.join(written), f"[{','.join(written)}]"):
        assert cells(read_content(io.BytesIO(text.encode()), "x.jsonl", limits=LIMITS)) == expected
    broken = data.draw(st.integers(1, len(written)))
    written.insert(broken, '{"a": oops')
    found = list(read_content(io.BytesIO("\n".join(written).encode()), "x.jsonl", limits=LIMITS))
    assert cells(found) == expected
    assert lines(found)['{"a": oops'] == 1


AVRO = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "s", "type": "string"},
        {"name": "n", "type": ["null", "long", "double"]},
        {"name": "raw", "type": "bytes"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "more", "type": {"type": "map", "values": "string"}},
    ],
}
RECORDS = st.fixed_dictionaries(
    {
        "s": st.text(max_size=5),
        "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)),
        "raw": st.binary(max_size=4),
        "tags": st.lists(st.text(max_size=3), max_size=3),
        "more": st.dictionaries(KEYS, st.text(max_size=3), max_size=3),
    }
)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=st.lists(RECORDS, min_size=1, max_size=20),
    codec=st.sampled_from(["null", "deflate", "bzip2", "xz"]),
    interval=st.integers(1, 200),
)
def test_records_of_avro_are_in_their_rows_whatever_their_blocks(
    records: list[Mapping[str, Any]], codec: str, interval: int
) -> None:
    file = io.BytesIO()
    fastavro.writer(file, AVRO, records, codec=codec, sync_interval=interval)
    written = list(fastavro.reader(io.BytesIO(file.getvalue())))
    assert cells(read_content(io.BytesIO(file.getvalue()), "x.avro")) == one_by_one(written)


def elements(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Elements of a few kinds, with attributes, and text where members are."""

    def written(name: str, attributes: dict[str, str], members: list[str]) -> str:
        inner = "".join(members)
        head = name + "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
        return f"<{head}>{inner}</{name}>" if inner else f"<{head}/>"

    names = st.sampled_from(["a", "b", "n:c"])
    attributes = st.dictionaries(st.sampled_from(["i", "j"]), st.sampled_from(["", "1", "x y"]), max_size=2)
    between = st.sampled_from([" ", "\n  ", "", ""])
    return st.builds(written, names, attributes, st.lists(st.one_of(children, between), max_size=5))


LEAVES = st.one_of(
    st.sampled_from(["text", " text ", "<![CDATA[<raw>]]>", "<!-- aside -->", "<?go on?>", "&amp;", " "]),
    st.text(alphabet="abé <&\n", max_size=5).map(escape),
)
DOCUMENTS = st.builds(
    lambda members, count: f"<r>{''.join(members) * count}</r>",
    st.lists(
        st.recursive(elements(LEAVES), lambda inner: elements(st.one_of(inner, inner, LEAVES))), max_size=4
    ),
    st.integers(1, 4),
)


def gathered(document: str, size: int) -> list[Item]:
    """What is gathered from a document that comes in chunks of a size."""
    data, limits = document.encode(), Limits(memory=4 << 20)
    reading = Reading(limits, Sampling(), lambda: False, Budget(1 << 30, 9), lambda stream, reading: iter(()))
    handler = Elements(reading)
    for start in range(0, len(data), size):
        handler.parser.Parse(data[start : start + size], False)
    handler.parser.Parse(b"", True)
    handler.end_all()
    return list(handler.take())


def cells_of_tree(document: str) -> Counter[tuple[str, int, str]]:
    """The cells of a document, from its tree: attributes, and texts of elements without child elements."""
    counts: Counter[str] = Counter()
    found: Counter[tuple[str, int, str]] = Counter()

    def visit(element: ElementTree.Element, above: str, row: int) -> None:
        path = f"{above}/{element.tag}" if above else element.tag
        number = counts[path]
        counts[path] += 1
        found.update((f"{path}/@{key}", number, value) for key, value in element.attrib.items() if value)
        if not len(element) and (text := (element.text or "").strip()):
            found[path, row, text] += 1
        for member in element:
            visit(member, path, number)

    # Prefixes of namespaces are no part of a path.
    visit(ElementTree.fromstring(document.replace("n:c", "c")), "", 0)
    return found


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=DOCUMENTS, size=st.integers(1, 60))
def test_every_value_is_in_the_row_of_its_element_however_the_document_is_cut(
    document: str, size: int
) -> None:
    found = gathered(document, size)
    assert cells(found) == cells_of_tree(document)
    assert lines(found) == lines(gathered(document, len(document.encode())))


@pytest.mark.parametrize("place", range(8))
def test_a_long_text_among_elements_leaves_all_others_in_their_rows(place: int) -> None:
    text = "long " * 60_000
    record = "<x i='1'><a>one</a><b><c>two</c><c>three</c></b></x>"
    places = [
        f"<r>{text}</r>", f"<r><x i='2'>{text}</x>",
        f"<r>{record}<x><a>one</a><b><c>{text}</c></b></x>{record}",
        f"<r>{record}<x><a>one</a>{text}<b/></x>", f"<r>{record}<!--{text}-->{record}", f"<!--{text}--><r>",
        f"<r>{record}</r><!--{text}-->", f"<r><s><x><a>1</a><a>2</a></x></s>{text}<s>{record}",
    ]  # fmt: skip
    document = places[place]
    if not document.endswith(("</r>", "-->")) or "</r>" not in document:
        document += f"{record * 3}{'</s>' if place == 7 else ''}</r>"
    for size in (1_000, 40_000):
        found = gathered(document, size)
        assert cells(found) == cells_of_tree(document.replace(text, ""))
        assert Counter("\n".join(lines(found).elements()).split()) == Counter({"long": 60_000})
