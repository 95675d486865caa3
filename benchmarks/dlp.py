"""Times the local inspector side by side with Presidio's pattern recognizers and detect-secrets, in one run.

All inspect the same generated inputs for the same info types, on one thread, with validation on. Presidio's
recognizers are called directly, which is the fastest way to use them: no language model, no engine around
them. A peer that would take hours reads a part of the input; its speed is of that part. The contestants take
turns, so that a machine whose speed drifts treats them alike, and the median of the rounds counts. 1 MB is
1,000,000 bytes of UTF-8; a table's are those of its values.

Peers that are not installed are left out: `pip install -e .[bench]` brings them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from platform_assets.dlp.local import LocalInspector
from platform_assets.dlp.model import InspectConfig
from platform_assets_tests.dlp import generated as make

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


def main() -> None:
    arguments = _arguments()
    pa.set_cpu_count(1)
    chance = random.Random(SEED)
    table = _table(chance, arguments.rows)
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
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = [{**asdict(figure), "megabytes_per_second": figure.speed} for figure in figures]
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


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
    from platform_assets.dlp.detectors.credentials import CREDENTIALS

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
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the table (default: %(default)s)")
    parser.add_argument("--megabytes", type=float, default=10.0, help="of free text (default: %(default)s)")
    parser.add_argument("--peer-rows", type=int, default=2_000, help="rows that the peers read")
    parser.add_argument("--peer-megabytes", type=float, default=0.25, help="of text that the peers read")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "dlp.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
