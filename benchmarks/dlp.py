"""Times the local inspector side by side with Presidio's pattern recognizers and detect-secrets, in one run;
and then how fast objects of every format are inspected, from the file to the findings.

All inspect the same generated inputs for the same info types, on one thread, with validation on. Presidio's
recognizers are called directly, which is the fastest way to use them: no language model, no engine around
them. A peer that would take hours reads a part of the input; its speed is of that part. The contestants take
turns, so that a machine whose speed drifts treats them alike, and the median of the rounds counts. 1 MB is
1,000,000 bytes of UTF-8; a table's are those of its values.

The objects of all formats hold the same table and are inspected for all info types. Their speed is in bytes
of the object, or of the values where it is compressed to less, and beside it in bytes of the values; the
seconds are of the processor, as no other thread takes part. What reading takes of them is given too, and
first what the inspection of the table in memory takes. Each is inspected in a process of its own, which has
inspected something small before, and whose peak memory is given with all that it has loaded.

Peers that are not installed are left out: `pip install -e .[bench]` brings them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import io
import json
import multiprocessing
import random
import re
import resource
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from html import escape
from pathlib import Path

import pyarrow as pa

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import Found, InspectConfig, Inspector
from platform_assets.dlp.scan import scan_object
from platform_assets_tests.dlp import generated as make
from platform_assets_tests.formats.test_formats import a_parquet, a_workbook, an_avro, an_orc

ROOT = Path(__file__).resolve().parent.parent
SHARED = (
    "CREDIT_CARD_NUMBER",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "PHONE_NUMBER",
    "URL",
    "US_SOCIAL_SECURITY_NUMBER",
    "BITCOIN_ADDRESS",
)
"""Info types that Presidio has pattern recognizers for, in Google's names."""
KEY = b"the key of a benchmark, which keeps nothing"
SEED = 20
LEAST_SPEED = 10.0
"""MB/s that objects of every format are to be inspected with."""

Work = Callable[[], int]
"""What is timed; it says how much it found."""


@dataclass(frozen=True)
class Figure:
    """What one contestant came to.

    Args:
        input: What it read.
        contestant: Its name.
        megabytes: Bytes that it read, in millions.
        seconds: Median of the rounds.
        found: What it found.
    """

    input: str
    contestant: str
    megabytes: float
    seconds: float
    found: int

    @property
    def speed(self) -> float:
        return self.megabytes / self.seconds


@dataclass(frozen=True)
class FormatFigure:
    """What the inspection of an object of one format came to.

    Args:
        format: Its name's suffix.
        file_megabytes: Bytes of the object, in millions.
        megabytes: Bytes of the values in it, in millions.
        seconds: Of the processor; median of the rounds.
        reading_seconds: The same without inspecting what is read.
        peak_megabytes: Peak memory of the process.
        status: Whether it was inspected as a whole.
    """

    format: str
    file_megabytes: float
    megabytes: float
    seconds: float
    reading_seconds: float
    peak_megabytes: float
    status: str

    @property
    def speed(self) -> float:
        return max(self.file_megabytes, self.megabytes) / self.seconds

    @property
    def kept(self) -> bool:
        return self.status == "INSPECTED" and self.speed >= LEAST_SPEED


def main() -> None:
    arguments = _arguments()
    pa.set_cpu_count(1)
    chance = random.Random(SEED)
    table = _table(chance, arguments.rows)
    figures = _beside_peers(chance, table, arguments) if "peers" in arguments.parts else []
    formats = _on_formats(table, arguments) if "formats" in arguments.parts else []
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = [{**asdict(figure), "megabytes_per_second": figure.speed} for figure in (*figures, *formats)]
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _beside_peers(
    chance: random.Random, table: Mapping[str, pa.Array], arguments: argparse.Namespace
) -> list[Figure]:
    text = _text(chance, int(arguments.megabytes * 1e6))
    code = _code(chance, int(arguments.megabytes * 1e5))
    figures = [
        *_on_tables(table, arguments),
        *_on_texts(text, arguments),
        *_on_code(code, arguments),
    ]
    _print(figures)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory of this process: {peak * (1 if sys.platform == 'darwin' else 1024) / 1e6:,.0f} MB")
    return figures


def _on_formats(table: Mapping[str, pa.Array], arguments: argparse.Namespace) -> list[FormatFigure]:
    figures = []
    megabytes = _bytes(table)
    heads = ("file MB", "values", "seconds", "reading", "MB/s", "values/s", "peak MB")
    print(f"\n{'object':12} {' '.join(f'{head:>8}' for head in heads)}  kept")
    seconds = _in_memory(table, arguments.rounds)
    print(f"{'(in memory)':12} {'':8} {megabytes:8.2f} {seconds:8.3f} {'':8} {megabytes / seconds:8.2f}")
    # A process made anew has not the table in its memory.
    spawning = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name, write in _OBJECTS.items():
            if arguments.formats and name not in arguments.formats:
                continue
            path = Path(folder, f"object.{name}")
            path.write_bytes(write(table))
            with spawning.Pool(1) as pool:
                seconds, reading, peak, status = pool.apply(_inspect_file, (str(path), arguments.rounds))
            figure = FormatFigure(name, path.stat().st_size / 1e6, megabytes, seconds, reading, peak, status)
            figures.append(figure)
            verdict = "yes" if figure.kept else "NO" if status == "INSPECTED" else f"NO ({status})"
            sizes = f"{figure.file_megabytes:8.2f} {megabytes:8.2f} {seconds:8.3f} {reading:8.3f}"
            speeds = f"{figure.speed:8.2f} {megabytes / seconds:8.2f}"
            print(f"{name:12} {sizes} {speeds} {peak:8.0f}  {verdict}", flush=True)
            path.unlink()
    print(f"kept: {LEAST_SPEED:g} MB/s or more, and inspected as a whole")
    return figures


def _in_memory(table: Mapping[str, pa.Array], rounds: int) -> float:
    inspector = _warm_inspector()
    seconds = []
    for _ in range(rounds):
        begun = time.process_time()
        inspector.inspect_columns(table)
        seconds.append(time.process_time() - begun)
    return statistics.median(seconds)


def _warm_inspector() -> LocalInspector:
    inspector = LocalInspector(InspectConfig(), KEY)
    inspector.inspect_columns(_table(random.Random(SEED), 2_000))
    inspector.inspect_text(_text(random.Random(SEED), 100_000))
    return inspector


class _Nothing:
    """Inspects nothing, for the time that reading takes."""

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        return Found()

    def inspect_columns(
        self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
    ) -> Found:
        return Found()


def _inspect_file(path: str, rounds: int) -> tuple[float, float, float, str]:
    pa.set_cpu_count(1)
    inspector = _warm_inspector()
    seconds: dict[Inspector, list[float]] = {inspector: [], _Nothing(): []}
    statuses = set()
    for _ in range(rounds):
        for one, taken in seconds.items():
            begun = time.process_time()
            with open(path, "rb") as file:
                result = scan_object(file, path, one, size=Path(path).stat().st_size)
            taken.append(time.process_time() - begun)
            statuses.add(result.status.value)
    whole, reading = map(statistics.median, seconds.values())
    return whole, reading, _peak_megabytes(), "/".join(sorted(statuses)).upper()


def _peak_megabytes() -> float:
    # Linux counts into a process's figure what the one that started it held; this one it does not.
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _rows(table: Mapping[str, pa.Array]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pa.table(dict(table)).to_pylist()
    return rows


def _csv(table: Mapping[str, pa.Array]) -> bytes:
    written = io.StringIO()
    writer = csv.DictWriter(written, list(table))
    writer.writeheader()
    writer.writerows(_rows(table))
    return written.getvalue().encode()


def _text_of(table: Mapping[str, pa.Array]) -> bytes:
    return "\n".join(" ".join(row.values()) for row in _rows(table)).encode()


def _json_lines(table: Mapping[str, pa.Array]) -> bytes:
    return "\n".join(map(json.dumps, _rows(table))).encode()


def _xml(table: Mapping[str, pa.Array]) -> bytes:
    rows = (
        "".join(f"    <{name}>{escape(value)}</{name}>\n" for name, value in row.items())
        for row in _rows(table)
    )
    body = "".join(f"  <row>\n{row}  </row>\n" for row in rows)
    return f'<?xml version="1.0" encoding="utf-8"?>\n<rows>\n{body}</rows>\n'.encode()


def _html(table: Mapping[str, pa.Array]) -> bytes:
    head = "".join(f"<th>{name}</th>" for name in table)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row.values())}</tr>\n" for row in _rows(table)
    )
    return f"<!doctype html>\n<html><body><table>\n<tr>{head}</tr>\n{body}</table></body></html>\n".encode()


def _avro(table: Mapping[str, pa.Array]) -> bytes:
    fields = [{"name": name, "type": "string"} for name in table]
    return an_avro(_rows(table), {"type": "record", "name": "Row", "fields": fields})


def _workbook(table: Mapping[str, pa.Array]) -> bytes:
    return a_workbook([list(table), *([escape(value) for value in row.values()] for row in _rows(table))])


def _mail(table: Mapping[str, pa.Array]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Message-ID"] = "a@example.test", "b@example.test", "<1@x.test>"
    message.set_content("The table is attached.\n")
    message.add_attachment(_csv(table), maintype="text", subtype="csv", filename="table.csv")
    return message.as_bytes()


def _zip(table: Mapping[str, pa.Array]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", _csv(table))
    return written.getvalue()


_OBJECTS: Mapping[str, Callable[[Mapping[str, pa.Array]], bytes]] = {
    "csv": _csv,
    "csv.gz": lambda table: gzip.compress(_csv(table)),
    "zip": _zip,
    "jsonl": _json_lines,
    "json": lambda table: json.dumps(_rows(table)).encode(),
    "xml": _xml,
    "avro": _avro,
    "parquet": lambda table: a_parquet(pa.table(dict(table))),
    "orc": lambda table: an_orc(pa.table(dict(table))),
    "xlsx": _workbook,
    "eml": _mail,
    "html": _html,
    "txt": _text_of,
}
"""How the table is written, by the suffix of the object's name."""


def _on_tables(table: Mapping[str, pa.Array], arguments: argparse.Namespace) -> list[Figure]:
    name = f"table of {arguments.rows:,} rows x {len(table)} columns"
    part = {column: values.slice(0, arguments.peer_rows) for column, values in table.items()}
    sizes = _bytes(table), _bytes(part)
    contestants: dict[str, tuple[float, Work]] = {
        "platform, the same info types": (sizes[0], lambda: _inspect_table(table, SHARED)),
        "platform, all info types": (sizes[0], lambda: _inspect_table(table, ())),
    }
    if _installed("presidio_analyzer"):
        recognizers = _presidio()
        values = [value for column in part.values() for value in column.to_pylist()]
        contestants["presidio-analyzer"] = sizes[1], lambda: sum(recognizers(value) for value in values)
    return _race(name, contestants, arguments.rounds)


def _on_texts(text: bytes, arguments: argparse.Namespace) -> list[Figure]:
    part = text[: int(arguments.peer_megabytes * 1e6)]
    contestants: dict[str, tuple[float, Work]] = {
        "platform, the same info types": (len(text) / 1e6, lambda: _inspect_text(text, SHARED)),
        "platform, all info types": (len(text) / 1e6, lambda: _inspect_text(text, ())),
    }
    if _installed("presidio_analyzer"):
        recognizers = _presidio()
        paragraphs = part.decode().split("\n")
        contestants["presidio-analyzer"] = (
            len(part) / 1e6,
            lambda: sum(recognizers(paragraph) for paragraph in paragraphs),
        )
    return _race("free text", contestants, arguments.rounds)


def _on_code(code: bytes, arguments: argparse.Namespace) -> list[Figure]:
    from platform_assets.dlp.local.detectors.credentials import CREDENTIALS

    names = tuple(detector.name for detector in CREDENTIALS)
    contestants: dict[str, tuple[float, Work]] = {
        "platform, credentials": (len(code) / 1e6, lambda: _inspect_text(code, names))
    }
    if _installed("detect_secrets"):
        part = code[: int(arguments.peer_megabytes * 1e6)]
        contestants["detect-secrets"] = len(part) / 1e6, lambda: _detect_secrets(part.decode().split("\n"))
    return _race("source code and settings", contestants, arguments.rounds)


def _race(name: str, contestants: Mapping[str, tuple[float, Work]], rounds: int) -> list[Figure]:
    seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    found: dict[str, int] = {}
    for _ in range(rounds):
        for contestant, (_, work) in contestants.items():
            begun = time.perf_counter()
            found[contestant] = work()
            seconds[contestant].append(time.perf_counter() - begun)
    return [
        Figure(name, contestant, megabytes, statistics.median(seconds[contestant]), found[contestant])
        for contestant, (megabytes, _) in contestants.items()
    ]


def _inspect_table(table: Mapping[str, pa.Array], names: Sequence[str]) -> int:
    found = LocalInspector(InspectConfig(info_types=tuple(names)), KEY).inspect_columns(table)
    return sum(tally.count for tally in found.tallies.values())


def _inspect_text(text: bytes, names: Sequence[str]) -> int:
    found = LocalInspector(InspectConfig(info_types=tuple(names)), KEY).inspect_text(text)
    return sum(tally.count for tally in found.tallies.values())


def _presidio() -> Callable[[str], int]:
    from presidio_analyzer import predefined_recognizers as known

    recognizers = [
        getattr(known, name)()
        for name in (
            "CreditCardRecognizer",
            "EmailRecognizer",
            "IbanRecognizer",
            "IpRecognizer",
            "PhoneRecognizer",
            "UrlRecognizer",
            "UsSsnRecognizer",
            "CryptoRecognizer",
        )
    ]

    def recognize(text: str) -> int:
        return sum(
            len(recognizer.analyze(text, recognizer.supported_entities, None)) for recognizer in recognizers
        )

    return recognize


def _detect_secrets(lines: Sequence[str]) -> int:
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import default_settings

    with default_settings():
        return sum(1 for line in lines for _ in scan_line(line))


def _installed(package: str) -> bool:
    if importlib.util.find_spec(package) is None:
        print(
            f"{package} is not installed and left out; `pip install -e .[bench]` brings it", file=sys.stderr
        )
        return False
    return True


def _bytes(table: Mapping[str, pa.Array]) -> float:
    return sum(len(value.encode()) for column in table.values() for value in column.to_pylist()) / 1e6


_VOCABULARY = (
    "the of and to in is for on that with as are this be at from or by an have not was it will can more "
    "which customer delivery report between company market through other project service during system "
    "weather between people water music second early morning station window garden history science "
    "however several possible "
)
_WORDS = tuple(_VOCABULARY.split())


def _sentence(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words)).capitalize() + "."


def _table(chance: random.Random, rows: int) -> dict[str, pa.Array]:
    columns: dict[str, Callable[[int], str]] = {
        "customer_id": lambda row: str(100_000 + row),
        "email": lambda row: make.email(chance),
        "phone": lambda row: make.phone(chance),
        "card": lambda row: make.card(chance),
        "ip": lambda row: make.ip_address(chance),
        "created_at": lambda row: make.timestamp(chance),
        "reference": lambda row: make.digits(chance, 12),
        "note": lambda row: _sentence(chance, 6),
    }
    return {name: pa.array([value(row) for row in range(rows)]) for name, value in columns.items()}


def _text(chance: random.Random, size: int) -> bytes:
    """Paragraphs of prose and lines of logs: something sensitive in every other, about every 800 bytes."""
    values = (
        lambda: f"my card number is {make.card(chance)}",
        lambda: f"write to {make.email(chance)}",
        lambda: f"call me at {make.phone(chance)}",
        lambda: f"IBAN {make.iban(chance)}",
        lambda: f"SSN {make.ssn(chance)}",
        lambda: f"from {make.ip_address(chance)}",
    )
    pieces, length = [], 0
    while length < size:
        kind = chance.random()
        if kind < 0.25:
            request = make.HARD_NEGATIVES["guid"](chance)
            piece = f"{make.timestamp(chance)} INFO request {request} took {chance.randrange(900)} ms"
        else:
            piece = " ".join(_sentence(chance, 12) for _ in range(8))
            if kind > 0.5:
                piece += f" Please {chance.choice(values)()}, thank you."
        pieces.append(piece)
        length += len(piece) + 1
    return "\n".join(pieces).encode()


def _code(chance: random.Random, size: int) -> bytes:
    """Lines of settings and programs, one in twenty with a secret."""
    lines = (
        lambda: f"def {chance.choice(_WORDS)}_{chance.choice(_WORDS)}(self, token: str) -> None:",
        lambda: f'    {chance.choice(_WORDS)} = os.environ["{chance.choice(_WORDS).upper()}_PASSWORD"]',
        lambda: f"    return self.{chance.choice(_WORDS)}({chance.randrange(100)})",
        lambda: f'"integrity": "sha512-{make.text(chance, 86, make.BASE64)}==",',
        lambda: f"# {_sentence(chance, 9)}",
    )
    secrets = (
        lambda: f'password = "{make.password(chance)}"',
        lambda: f"API_KEY={make.text(chance, 40)}",
        lambda: f'token: "{make.matching(chance, "ghp_[A-Za-z0-9]{36}")}"',
    )
    written, length = [], 0
    while length < size:
        line = chance.choice(secrets if chance.random() < 0.05 else lines)()
        written.append(line)
        length += len(line) + 1
    return "\n".join(written).encode()


def _print(figures: Sequence[Figure]) -> None:
    first = {}
    print(f"{'input':45} {'contestant':32} {'MB':>8} {'seconds':>9} {'MB/s':>8} {'found':>9} {'times':>7}")
    for figure in figures:
        ours = first.setdefault(figure.input, figure)
        print(
            f"{figure.input:45} {figure.contestant:32} {figure.megabytes:8.2f} {figure.seconds:9.3f} "
            f"{figure.speed:8.2f} {figure.found:9,} {ours.speed / figure.speed:7.1f}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("peers", "formats"),
        default=("peers", "formats"),
        help="what to measure",
    )
    parser.add_argument("--formats", nargs="+", choices=_OBJECTS, help="those to measure (default: all)")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the table (default: %(default)s)")
    parser.add_argument("--megabytes", type=float, default=10.0, help="of free text (default: %(default)s)")
    parser.add_argument("--peer-rows", type=int, default=2_000, help="rows that the peers read")
    parser.add_argument("--peer-megabytes", type=float, default=0.25, help="of text that the peers read")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "dlp.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
