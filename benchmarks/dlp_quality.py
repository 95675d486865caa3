"""Measures how well the local inspector detects: recall and precision by info type on labelled sets, and
false alarms per MB on trees of files that hold nothing sensitive.

The project generates five sets: values in sentences beside hard negatives, columns of tables, secrets whose
name and value are in two fields, secrets by their names, and contact data of customers. Other labelled sets
are read from files of JSON lines (`--set`), trees from folders (`--tree`); docs/dlp_quality.md describes the
form of a set and what counts. Everything is read as `platform-assets dlp scan` reads it. 1 MB is 1,000,000
bytes of text, unpacked where the file is compressed.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import Finding, FindingLimits, InspectConfig, Likelihood
from platform_assets.dlp.scan import scan_object
from platform_assets_tests.dlp.labelled import Example, Labels, Span, generated_sets, read_set
from platform_assets_tests.dlp.test_quality import COLUMNS

ROOT = Path(__file__).resolve().parent.parent
KEY = b"the key of a benchmark, which keeps nothing"
MOST_FINDINGS = 100_000
SNIFFED = 8_192
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".xlsx", ".parquet", ".avro", ".orc", ".pdf")
"""Suffixes of files whose bytes are not text, but whose content is read."""


@dataclass(frozen=True)
class Score:
    """How well an info type is found in a set.

    Args:
        set: Name of the set.
        info_type: The info type.
        labelled: How often the set has it.
        hits: How many of these are found.
        alarms: How many findings of it are none of these.
        least: The lowest likelihood that counts.
    """

    set: str
    info_type: str
    labelled: int
    hits: int
    alarms: int
    least: str

    @property
    def recall(self) -> float:
        return self.hits / self.labelled if self.labelled else 1.0

    @property
    def precision(self) -> float:
        return self.hits / (self.hits + self.alarms) if self.hits + self.alarms else 1.0


@dataclass
class Alarms:
    """What is found in a tree that holds nothing sensitive.

    Args:
        tree: Its path.
        files: Files that were read.
        megabytes: Their text, in millions of bytes.
        seconds: What reading and inspecting took.
        by_type: Findings by info type.
        shown: Places of some findings, by info type.
    """

    tree: str
    files: int = 0
    megabytes: float = 0.0
    seconds: float = 0.0
    by_type: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[str]] = field(default_factory=dict)

    @property
    def per_megabyte(self) -> float:
        return self.by_type.total() / self.megabytes if self.megabytes else 0.0


def main() -> None:
    arguments = _arguments()
    pa.set_cpu_count(1)
    least = Likelihood[arguments.least]
    inspector = LocalInspector(InspectConfig(include_quote=True, min_likelihood=least), KEY)
    scores: list[Score] = []
    if not arguments.no_generated:
        for name, examples in generated_sets(random.Random(arguments.seed), arguments.each).items():
            scores.extend(_scored(name, examples, inspector, least))
        scores.extend(_scored_columns(inspector, arguments.each, least, random.Random(arguments.seed)))
    for path in arguments.set:
        scores.extend(_scored(path.stem, read_set(path), inspector, least))
    _print_scores(scores)
    alarmed = LocalInspector(
        InspectConfig(include_quote=True, min_likelihood=Likelihood[arguments.alarm]), KEY
    )
    trees = [_alarms(path, alarmed, arguments) for path in arguments.tree]
    _print_alarms(trees, arguments.alarm)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "sets": [{**asdict(score), "recall": score.recall, "precision": score.precision} for score in scores],
        "trees": [
            {
                "tree": tree.tree,
                "files": tree.files,
                "megabytes": tree.megabytes,
                "by_type": dict(tree.by_type),
                "per_megabyte": tree.per_megabyte,
            }
            for tree in trees
        ],
    }
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _scored(name: str, labels: Labels, inspector: LocalInspector, least: Likelihood) -> list[Score]:
    """Recall and precision of each info type that a set labels."""
    labelled: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    for example in labels.examples:
        findings = [one for one in _findings(example, inspector) if one.info_type.name in labels.types]
        for span in example.spans:
            labelled[span.type] += 1
            hits[span.type] += any(_is_found(example, span, one) for one in findings)
        for one in findings:
            alarms[one.info_type.name] += not any(_is_found(example, span, one) for span in example.spans)
    return [
        Score(name, info_type, labelled[info_type], hits[info_type], alarms[info_type], least.name)
        for info_type in sorted(labels.types)
    ]


def _findings(example: Example, inspector: LocalInspector) -> Sequence[Finding]:
    if not example.name:
        return inspector.inspect_text(example.text.encode()).findings
    file = io.BytesIO(example.text.encode())
    return scan_object(file, example.name, inspector, size=len(file.getvalue())).findings


def _is_found(example: Example, span: Span, finding: Finding) -> bool:
    """Return True if a finding is a labelled value: of its type, and the same characters at least in part."""
    if finding.info_type.name != span.type:
        return False
    if not example.name:
        where = finding.location.codepoint_range
        return where.start < span.end and span.start < where.end
    # Fields of a document are read as columns, whose findings have places within their own values.
    quote, value = finding.quote or "", example.text[span.start : span.end]
    return bool(quote) and (quote in value or value in quote)


def _scored_columns(
    inspector: LocalInspector, each: int, least: Likelihood, chance: random.Random
) -> list[Score]:
    """The verdicts about columns, as one more set."""
    labelled: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    for info_type, name, made in COLUMNS:
        for size in (40, 12 * each):
            column = pa.array([made(chance) for _ in range(size)])
            verdicts = {one.info_type.name for one in inspector.inspect_columns({name: column}).columns}
            if info_type is not None:
                labelled[info_type] += 1
                hits[info_type] += info_type in verdicts
            alarms.update(verdicts - {info_type})
    return [
        Score("columns", one, labelled[one], hits[one], alarms[one], least.name)
        for one in sorted(labelled.keys() | alarms.keys())
    ]


def _alarms(path: Path, inspector: LocalInspector, arguments: argparse.Namespace) -> Alarms:
    alarms = Alarms(str(path))
    limits = FindingLimits(MOST_FINDINGS, MOST_FINDINGS)
    begun = time.perf_counter()
    for number, file in enumerate(_texts(path)):
        if number % arguments.every != arguments.first % arguments.every:
            continue
        with file.open("rb") as opened:
            result = scan_object(
                opened, str(file), inspector, size=file.stat().st_size, finding_limits=limits
            )
        alarms.files += 1
        alarms.megabytes += result.coverage.bytes_inspected / 1e6
        for name, tally in result.tallies.items():
            alarms.by_type[name] += tally.count
        for finding in result.findings:
            shown = alarms.shown.setdefault(finding.info_type.name, [])
            if len(shown) < arguments.show:
                column = f" [{finding.location.column}]" if finding.location.column else ""
                shown.append(f"{finding.likelihood.name} {finding.quote!r}{column} {file}")
    alarms.seconds = time.perf_counter() - begun
    return alarms


def _texts(path: Path) -> Iterator[Path]:
    """Files of a tree whose content is text, without links."""
    files: Iterable[Path] = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.is_symlink() or not file.is_file():
            continue
        if not file.name.lower().endswith(PACKED):
            with file.open("rb") as opened:
                if b"\0" in opened.read(SNIFFED):
                    continue
        yield file


def _print_scores(scores: Sequence[Score]) -> None:
    if not scores:
        return
    print(
        f"{'set':28} {'info type':40} {'labelled':>8} {'hits':>7} {'alarms':>7} {'recall':>7} {'precise':>7}"
    )
    for name in dict.fromkeys(score.set for score in scores):
        of = [score for score in scores if score.set == name]
        total = Score(name, "(all)", *(sum(getattr(one, part) for one in of) for part in _PARTS), of[0].least)
        for one in (*of, total):
            print(
                f"{one.set:28} {one.info_type:40} {one.labelled:8,} {one.hits:7,} {one.alarms:7,} "
                f"{one.recall:7.3f} {one.precision:7.3f}"
            )


_PARTS = ("labelled", "hits", "alarms")


def _print_alarms(trees: Sequence[Alarms], least: str) -> None:
    if not trees:
        return
    print(f"\n{'tree, at ' + least + ' and above':60} {'files':>8} {'MB':>9} {'alarms':>8} {'per MB':>8}")
    for tree in trees:
        print(
            f"{tree.tree[-60:]:60} {tree.files:8,} {tree.megabytes:9.2f} {tree.by_type.total():8,} "
            f"{tree.per_megabyte:8.3f}"
        )
        for name, count in tree.by_type.most_common():
            print(f"    {name:56} {'':8} {'':9} {count:8,} {count / max(tree.megabytes, 1e-9):8.3f}")
            for place in tree.shown.get(name, ()):
                print(f"        {place}")
        print(f"    ({tree.seconds:,.0f} seconds)", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    levels = [likelihood.name for likelihood in Likelihood]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--set", nargs="+", type=Path, default=(), metavar="FILE", help="labelled sets as JSON lines"
    )
    parser.add_argument(
        "--tree", nargs="+", type=Path, default=(), metavar="PATH", help="trees with nothing sensitive"
    )
    parser.add_argument("--no-generated", action="store_true", help="leave the project's own sets out")
    parser.add_argument("--each", type=int, default=240, help="examples of a kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=17, help="of the generated sets (default: %(default)s)")
    parser.add_argument(
        "--least", choices=levels, default="POSSIBLE", help="likelihood of a hit (default: %(default)s)"
    )
    parser.add_argument(
        "--alarm", choices=levels, default="LIKELY", help="likelihood of an alarm (default: %(default)s)"
    )
    parser.add_argument("--every", type=int, default=1, help="read only each n-th file of a tree")
    parser.add_argument(
        "--first", type=int, default=0, help="the first of these, counted from 0, for samples of other files"
    )
    parser.add_argument(
        "--show", type=int, default=0, help="alarms of each info type to print with their values"
    )
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "dlp_quality.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
