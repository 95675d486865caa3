"""Times the local inspector on objects whose shape is unfavourable: many small columns, many keys, many
tags, texts with a finding in every line, and tables in the formats that cost most to read.

`dlp.py` times ordinary tables and texts. Here every round inspects new data of the same shape, as a scan
does, so that nothing is remembered from the round before but what any data has in common. The seconds are of
the processor, as no other thread takes part; the median of the rounds counts. 1 MB is 1,000,000 bytes of the
object, or of the text in it that was inspected, whichever is more.

    python -m benchmarks.dlp_shapes --cases xml html --rounds 5
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import Found, InspectConfig, Inspector
from platform_assets.dlp.scan import scan_object
from platform_assets_tests.dlp import generated as make
from platform_assets_tests.formats.test_formats import a_parquet, an_avro

ROOT = Path(__file__).resolve().parent.parent
KEY = b"the key of a benchmark, which keeps nothing"

Case = Callable[[random.Random, int], bytes]
"""Writes an object of about a number of bytes."""

_VOCABULARY = (
    "account address amount batch branch broker budget cache carrier channel charge client cluster code "
    "comment company contact contract country county credit currency customer date delivery depot device "
    "discount district document driver email engine entry event factory feature field filter fleet folder "
    "format gateway group handler header host index input invoice item job journal label layer ledger level "
    "limit link location locale manager market measure member message method metric model module month name "
    "network node note number object offer office option order owner package parameter parcel parent party "
    "payment period person phone place plan point policy port price priority process product profile project "
    "property provider quantity queue range rate reason record reference region remark report request result "
    "role room route rule schedule schema section segment sender serial server service session setting share "
    "shift shop signal site size source stage status step stock store street summary supplier switch system "
    "table target task tax team template tenant term title token total track transfer trigger type unit user "
    "value vendor version view volume warehouse weight window worker zone"
)
_WORDS = tuple(_VOCABULARY.split())


def _sentence(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words)).capitalize() + "."


def _value(chance: random.Random) -> str:
    """A value as documents have them; one in twenty is sensitive."""
    kind = chance.random()
    if kind < 0.05:
        return chance.choice(_SENSITIVE)(chance)
    if kind < 0.3:
        return str(chance.randrange(10_000))
    if kind < 0.4:
        return make.timestamp(chance)
    if kind < 0.5:
        return chance.choice(("true", "false"))
    return _sentence(chance, chance.randrange(1, 9)) if kind < 0.8 else chance.choice(_WORDS)


_SENSITIVE: tuple[Callable[[random.Random], str], ...] = (
    make.email,
    make.phone,
    make.card,
    make.iban,
    make.ip_address,
    make.ssn,
)


def _names(chance: random.Random, count: int, glue: str = "_") -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        names[glue.join(chance.choices(_WORDS, k=chance.randrange(1, 4)))] = None
    return list(names)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _joined(parts: Iterator[str], size: int) -> str:
    written, length = [], 0
    for part in parts:
        written.append(part)
        length += len(part)
        if length >= size:
            break
    return "".join(written)


def _xml_kinds(chance: random.Random, size: int) -> bytes:
    """A document of 1,350 kinds of elements, each a few times."""
    kinds = [_camel(name) for name in _names(chance, 1_350)]

    def elements() -> Iterator[str]:
        while True:
            kind = chance.choice(kinds)
            yield f"  <{kind}>{escape(_value(chance))}</{kind}>\n"

    return f'<?xml version="1.0"?>\n<document>\n{_joined(elements(), size)}</document>\n'.encode()


def _xml_tree(chance: random.Random, size: int) -> bytes:
    """Nested elements of 1,350 kinds with attributes and namespaces, so that nearly every path is another."""
    kinds = [_camel(name) for name in _names(chance, 1_350)]
    keys = [_camel(name) for name in _names(chance, 60)]

    def element(depth: int) -> str:
        kind = chance.choice(("a:", "b:", "")) + chance.choice(kinds)
        told = "".join(
            f' {chance.choice(("", "a:"))}{key}="{escape(_value(chance))}"'
            for key in chance.sample(keys, chance.randrange(4))
        )
        if depth == 0 or chance.random() < 0.3:
            return f"<{kind}{told}>{escape(_value(chance))}</{kind}>\n"
        return f"<{kind}{told}>\n{''.join(element(depth - 1) for _ in range(4))}</{kind}>\n"

    body = _joined(iter(lambda: element(4), ""), size)
    return (
        '<?xml version="1.0"?>\n<root xmlns="http://example.test/main" xmlns:a="http://example.test/a" '
        f'xmlns:b="urn:b">\n{body}</root>\n'
    ).encode()


def _xml_prose(chance: random.Random, size: int) -> bytes:
    """A document as people write them: sections, paragraphs with words marked within them."""
    marks = ("emphasis", "literal", "link", "code", "term")

    def sections() -> Iterator[str]:
        while True:
            name = "-".join(chance.choices(_WORDS, k=3))
            yield f'<section id="{name}">\n<title>{_sentence(chance, 4)}</title>\n'
            for _ in range(4):
                mark = chance.choice(marks)
                yield (
                    f"<para>{_sentence(chance, 20)} <{mark}>{_value(chance)}</{mark}> {_sentence(chance, 20)}"
                    "</para>\n"
                )
            yield "</section>\n"

    return f"<book>\n{_joined(sections(), size)}</section></book>\n".encode()


def _tree(chance: random.Random, keys: list[str], depth: int) -> Any:
    if depth == 0 or chance.random() < 0.1:
        return _value(chance)
    if chance.random() < 0.2:
        return [_tree(chance, keys, depth - 1) for _ in range(3)]
    return {key: _tree(chance, keys, depth - 1) for key in chance.sample(keys, 4)}


def _json_deep(chance: random.Random, size: int) -> bytes:
    """Deeply nested JSON, where nearly every path is another."""
    keys = [_camel(name) for name in _names(chance, 400)]
    document: dict[str, Any] = {}
    written = 0
    while written < size:
        tree = _tree(chance, keys, 6)
        document[f"{chance.choice(keys)}{len(document)}"] = tree
        written += len(json.dumps(tree))
    return json.dumps(document, indent=2).encode()


def _json_keys(chance: random.Random, size: int) -> bytes:
    """One JSON object with thousands of keys, as in translations."""
    keys = _names(chance, size // 60, ".")
    return json.dumps({key: _value(chance) for key in keys}, indent=1).encode()


def _json_by_id(chance: random.Random, size: int) -> bytes:
    """JSON with a key for each thing, as in lists of packages: a few fields below thousands of names."""
    names = _names(chance, size // 200, "-")
    return json.dumps(
        {
            "packages": {
                name: {
                    "version": f"{chance.randrange(9)}.{chance.randrange(30)}.{chance.randrange(9)}",
                    "resolved": f"https://example.test/{name}/-/{name}.tgz",
                    "integrity": f"sha512-{make.text(chance, 86, make.BASE64)}==",
                    "requires": dict.fromkeys(chance.sample(names, 2), "^1.2.0"),
                }
                for name in names
            }
        },
        indent=2,
    ).encode()


def _ndjson(chance: random.Random, size: int) -> bytes:
    """JSON lines with other keys in every line."""
    keys = _names(chance, 2_000)

    def lines() -> Iterator[str]:
        while True:
            yield json.dumps({key: _value(chance) for key in chance.sample(keys, 12)}) + "\n"

    return _joined(lines(), size).encode()


def _html(chance: random.Random, size: int) -> bytes:
    """Pages with many tags and attributes."""
    tags = ("div", "span", "a", "p", "li", "em", "button", "section", "label", "svg", "path", "input")

    def elements() -> Iterator[str]:
        while True:
            tag = chance.choice(tags)
            classes = " ".join(chance.choices(_WORDS, k=2))
            told = f' class="{classes}" id="{chance.choice(_WORDS)}-{chance.randrange(999)}"'
            told += f' data-{chance.choice(_WORDS)}="{escape(_value(chance))}"'
            if tag == "a":
                told += (
                    f' href="/{chance.choice(_WORDS)}/{chance.choice(_WORDS)}.html#{chance.choice(_WORDS)}"'
                )
            yield f"<{tag}{told}>{escape(_value(chance))}</{tag}>\n"

    return f"<!doctype html>\n<html><body>\n{_joined(elements(), size)}</body></html>\n".encode()


def _html_reference(chance: random.Random, size: int) -> bytes:
    """A page of a reference: code in spans, links, and little else."""

    def lines() -> Iterator[str]:
        while True:
            name = ".".join(chance.choices(_WORDS, k=3))
            one, two = chance.choices(_WORDS, k=2)
            yield (
                f'<dt id="{name}"><code class="sig"><span class="pre">{name}</span><span class="o">(</span>'
                f"<em>{one}</em>, <em>{two}={chance.randrange(99)}</em>)</code>"
                f'<a class="headerlink" href="#{name}" title="Link">¶</a></dt>\n'
                f"<dd><p>{_sentence(chance, 9)} "
                f'<a href="../{name}.html">{name}</a></p></dd>\n'
            )

    return f"<!doctype html>\n<html><body><dl>\n{_joined(lines(), size)}</dl></body></html>\n".encode()


def _yaml(chance: random.Random, size: int) -> bytes:
    keys = [_camel(name) for name in _names(chance, 3_000)]

    def lines() -> Iterator[str]:
        depth = 0
        while True:
            key = chance.choice(keys)
            if chance.random() < 0.2 and depth < 6:
                yield f"{'  ' * depth}{key}:\n"
                depth += 1
            else:
                yield f"{'  ' * depth}{key}: {_value(chance)}\n"
                depth = max(depth - (chance.random() < 0.25), 0)

    return _joined(lines(), size).encode()


def _toml(chance: random.Random, size: int) -> bytes:
    keys = _names(chance, 3_000)

    def lines() -> Iterator[str]:
        while True:
            yield f"\n[{'.'.join(chance.choices(_WORDS, k=3))}]\n"
            for _ in range(8):
                yield f"{chance.choice(keys)} = {json.dumps(_value(chance))}\n"

    return _joined(lines(), size).encode()


def _properties(chance: random.Random, size: int) -> bytes:
    keys = _names(chance, 3_000, ".")
    return _joined(iter(lambda: f"{chance.choice(keys)}={_value(chance)}\n", ""), size).encode()


def _csv_wide(chance: random.Random, size: int) -> bytes:
    rows = _rows(chance, size)
    lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    return "\n".join(lines).encode()


def _rows(chance: random.Random, size: int) -> list[dict[str, str]]:
    names = _names(chance, 2_000)
    return [{name: _value(chance) for name in names} for _ in range(max(size // 40_000, 2))]


def _parquet_wide(chance: random.Random, size: int) -> bytes:
    return a_parquet(pa.Table.from_pylist(_rows(chance, size)), compression="none")


def _dense(kinds: tuple[Callable[[random.Random], str], ...]) -> Case:
    """A text with a finding every 35 bytes or so."""

    def write(chance: random.Random, size: int) -> bytes:
        def values() -> Iterator[str]:
            while True:
                value = chance.choice(kinds)(chance)
                words = " ".join(chance.choices(_WORDS, k=max((33 - len(value)) // 7, 1)))
                yield f"{words} {value}{chance.choice((' ', ' ', ', ', chr(10)))}"

        return _joined(values(), size).encode()

    return write


def _records(chance: random.Random, size: int) -> list[dict[str, Any]]:
    return [
        {
            "customer_id": 100_000 + row,
            "email": make.email(chance),
            "phone": make.phone(chance),
            "card": make.card(chance),
            "ip": make.ip_address(chance),
            "created_at": make.timestamp(chance),
            "amount": round(chance.random() * 1_000, 2),
            "note": _sentence(chance, 6),
        }
        for row in range(size // 130)
    ]


_KINDS = {int: "long", str: "string", float: "double"}


def _schema(record: Mapping[str, Any], name: str = "Row") -> dict[str, Any]:
    fields: list[dict[str, Any]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            fields.append({"name": key, "type": _schema(value, f"{name}_{key}")})
        elif isinstance(value, list):
            fields.append(
                {"name": key, "type": {"type": "array", "items": _schema(value[0], f"{name}_{key}")}}
            )
        else:
            fields.append({"name": key, "type": _KINDS[type(value)]})
    return {"type": "record", "name": name, "fields": fields}


def _avro(chance: random.Random, size: int) -> bytes:
    records = _records(chance, size)
    return an_avro(records, _schema(records[0]), "null")


def _avro_nested(chance: random.Random, size: int) -> bytes:
    records = [
        {
            "id": record["customer_id"],
            "customer": {"email": record["email"], "contact": {"phone": record["phone"], "ip": record["ip"]}},
            "payments": [{"card": record["card"], "amount": record["amount"]}] * chance.randrange(1, 3),
            "note": record["note"],
        }
        for record in _records(chance, size)
    ]
    return an_avro(records, _schema(records[0]), "null")


def _avro_wide(chance: random.Random, size: int) -> bytes:
    names = _names(chance, 400)
    rows = [{name: _value(chance) for name in names} for _ in range(max(size // 8_000, 2))]
    return an_avro(rows, _schema(rows[0]), "null")


def _workbook(sheets: Mapping[str, list[list[Any]]]) -> bytes:
    import xlsxwriter

    written = io.BytesIO()
    with xlsxwriter.Workbook(written, {"in_memory": True, "strings_to_urls": False}) as workbook:
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return written.getvalue()


def _xlsx(chance: random.Random, size: int) -> bytes:
    records = _records(chance, size)
    return _workbook({"Rows": [list(records[0]), *(list(record.values()) for record in records)]})


def _xlsx_numbers(chance: random.Random, size: int) -> bytes:
    names = _names(chance, 20)
    rows = [[round(chance.random() * 10_000, 2) for _ in names] for _ in range(size // 140)]
    return _workbook({"Numbers": [names, *rows]})


def _xlsx_sheets(chance: random.Random, size: int) -> bytes:
    records = _records(chance, size)
    at_once = max(len(records) // 40, 1)
    return _workbook(
        {
            f"Sheet {start}": [
                list(records[0]),
                *(list(record.values()) for record in records[start : start + at_once]),
            ]
            for start in range(0, len(records), at_once)
        }
    )


@dataclass(frozen=True)
class _Shape:
    """A case.

    Args:
        write: Writes an object.
        suffix: Of the object's name.
        least: MB/s that it is to be inspected with.
        megabytes: Its size.
    """

    write: Case
    suffix: str
    least: float = 5.0
    megabytes: float = 0.4


_SHAPES = {
    "xml-kinds": _Shape(_xml_kinds, "xml"),
    "xml-tree": _Shape(_xml_tree, "xml"),
    "xml-prose": _Shape(_xml_prose, "xml"),
    "json-deep": _Shape(_json_deep, "json"),
    "json-keys": _Shape(_json_keys, "json"),
    "json-by-id": _Shape(_json_by_id, "json"),
    "ndjson-keys": _Shape(_ndjson, "jsonl"),
    "html-tags": _Shape(_html, "html"),
    "html-reference": _Shape(_html_reference, "html"),
    "yaml": _Shape(_yaml, "yaml"),
    "toml": _Shape(_toml, "toml"),
    "properties": _Shape(_properties, "properties"),
    "csv-wide": _Shape(_csv_wide, "csv"),
    "parquet-wide": _Shape(_parquet_wide, "parquet"),
    "dense-email": _Shape(_dense((make.email,)), "txt", 4.0, 1.0),
    "dense-phone": _Shape(_dense((make.phone,)), "txt", 4.0, 1.0),
    "dense-card": _Shape(_dense((make.card,)), "txt", 4.0, 1.0),
    "dense-mixed": _Shape(_dense(_SENSITIVE), "txt", 4.0, 1.0),
    "avro": _Shape(_avro, "avro", 10.0, 3.0),
    "avro-nested": _Shape(_avro_nested, "avro", 10.0, 3.0),
    "avro-wide": _Shape(_avro_wide, "avro", 10.0, 3.0),
    "xlsx": _Shape(_xlsx, "xlsx", 10.0, 3.0),
    "xlsx-numbers": _Shape(_xlsx_numbers, "xlsx", 10.0, 3.0),
    "xlsx-sheets": _Shape(_xlsx_sheets, "xlsx", 10.0, 3.0),
}


@dataclass(frozen=True)
class Figure:
    """What the inspection of objects of one shape came to.

    Args:
        shape: Its name.
        file_megabytes: Bytes of the object, in millions; median of the rounds.
        megabytes: Bytes of the text in it that were inspected, in millions.
        seconds: Of the processor.
        reading_seconds: The same without inspecting what is read.
        found: Number of findings in the last round.
        least: MB/s that are asked for.
    """

    shape: str
    file_megabytes: float
    megabytes: float
    seconds: float
    reading_seconds: float
    found: int
    least: float

    @property
    def speed(self) -> float:
        return max(self.file_megabytes, self.megabytes) / self.seconds


class _Nothing:
    """Inspects nothing, for the time that reading takes."""

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        return Found()

    def inspect_columns(
        self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
    ) -> Found:
        return Found()


def _measured(name: str, shape: _Shape, inspector: LocalInspector, rounds: int) -> Figure:
    taken: list[tuple[float, float, float, float]] = []
    found = 0
    for number in range(rounds):
        data = shape.write(random.Random(f"{name} {number}"), int(shape.megabytes * 1e6))
        seconds = []
        inspected = 0.0
        for one in (inspector, _Nothing()):
            gc.collect()
            seconds.append(_seconds(data, f"object.{shape.suffix}", one))
            if isinstance(one, LocalInspector):
                result = seconds[0][1]
                inspected = result.coverage.bytes_inspected / 1e6
                found = sum(tally.count for tally in result.tallies.values())
        taken.append((len(data) / 1e6, inspected, seconds[0][0], seconds[1][0]))
    return Figure(name, *map(statistics.median, zip(*taken, strict=True)), found, shape.least)


def _seconds(data: bytes, name: str, inspector: Inspector) -> tuple[float, Any]:
    begun = time.process_time()
    result = scan_object(io.BytesIO(data), name, inspector, size=len(data))
    return time.process_time() - begun, result


def main() -> None:
    arguments = _arguments()
    pa.set_cpu_count(1)
    inspector = LocalInspector(InspectConfig(), KEY)
    for case in ("dense-mixed", "xml-kinds", "csv-wide", "html-tags"):
        small = _SHAPES[case]
        _seconds(small.write(random.Random("small"), 50_000), f"object.{small.suffix}", inspector)
    figures = []
    heads = ("file MB", "text MB", "seconds", "reading", "found", "MB/s", "least")
    print(f"{'shape':16} {' '.join(f'{head:>8}' for head in heads)}  kept")
    for name, shape in _SHAPES.items():
        if arguments.cases and not any(name.startswith(case) for case in arguments.cases):
            continue
        figure = _measured(name, shape, inspector, arguments.rounds)
        figures.append(figure)
        sizes = f"{figure.file_megabytes:8.2f} {figure.megabytes:8.2f}"
        costs = f"{figure.seconds:8.3f} {figure.reading_seconds:8.3f} {figure.found:8,}"
        speeds = f"{figure.speed:8.2f} {figure.least:8.1f}"
        print(
            f"{name:16} {sizes} {costs} {speeds}  {'yes' if figure.speed >= figure.least else 'NO'}",
            flush=True,
        )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = [{**asdict(figure), "megabytes_per_second": figure.speed} for figure in figures]
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", help="beginnings of the cases' names (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="objects of each shape (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "dlp_shapes.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
