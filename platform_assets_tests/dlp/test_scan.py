"""An object's inspection says what was found, where, how much was looked at, and what could not be."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from platform_assets.dlp.model import (
    ColumnVerdict,
    Evidence,
    Finding,
    FindingLimits,
    Found,
    InfoType,
    InspectResult,
    Likelihood,
    Location,
    Range,
    Sensitivity,
    Status,
    Tally,
)
from platform_assets.dlp.scan import scan_object
from platform_assets.formats.content import Limits, Sampling
from platform_assets.formats.problems import ProblemKind
from platform_assets_tests.formats.test_formats import a_parquet, a_zip, an_avro

NEEDLE = InfoType("NEEDLE", sensitivity=Sensitivity.HIGH)
_PATTERN = re.compile(rb"needle-\d+")
CUT = gzip.compress(b"needle-1\n" + os.urandom(9_000))[:-100]


class NeedleInspector:
    """Finds `needle-` and a number: an inspector as simple as can be."""

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        findings = []
        for match in _PATTERN.finditer(data):
            before = len(data[: match.start()].decode())
            places = Range(*match.span()), Range(before, before + len(match.group()))
            findings.append(_finding(match.group(), Location(*places, container=container)))
        return _found(findings)

    def inspect_columns(
        self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
    ) -> Found:
        findings, verdicts = [], []
        for name, values in columns.items():
            own = []
            for row, value in enumerate(values.to_pylist()):
                for match in _PATTERN.finditer((value or "").encode()):
                    place = Range(*match.span())
                    own.append(
                        _finding(match.group(), Location(place, place, first_row + row, name, container))
                    )
            if own:
                verdicts.append(
                    ColumnVerdict(name, NEEDLE, Likelihood.LIKELY, len(values), len(own), container)
                )
            findings += own
        return _found(findings, tuple(verdicts))


def _finding(value: bytes, location: Location) -> Finding:
    digest = hashlib.blake2b(value, digest_size=16).hexdigest()
    return Finding(NEEDLE, Likelihood.LIKELY, location, (Evidence.SHAPE,), digest)


def _found(findings: list[Finding], columns: tuple[ColumnVerdict, ...] = ()) -> Found:
    tallies = {"NEEDLE": Tally(len(findings), Likelihood.LIKELY)} if findings else {}
    return Found(tuple(findings), tallies, columns)


def scan(data: bytes, name: str, **options: Any) -> InspectResult:
    return scan_object(io.BytesIO(data), name, NeedleInspector(), size=len(data), **options)


def test_a_text_gives_findings_with_their_places_and_is_inspected() -> None:
    data = "é needle-12\nneedle-3".encode()
    result = scan(data, "dir/a.txt")
    assert (result.name, result.status, result.reason) == ("dir/a.txt", Status.INSPECTED, "")
    assert [(one.location.byte_range, one.location.codepoint_range) for one in result.findings] == [
        (Range(3, 12), Range(2, 11)),
        (Range(13, 21), Range(12, 20)),
    ]
    assert result.tallies == {"NEEDLE": Tally(2, Likelihood.LIKELY)}
    assert (result.coverage.bytes_inspected, result.coverage.bytes_total) == (len(data), len(data))


def test_places_hold_across_windows_and_nothing_is_found_twice() -> None:
    text = "".join(f"línea {number} needle-{number}\n" for number in range(20_000))
    data = text.encode()
    limits = Limits(memory=4 << 20)
    everything = FindingLimits(200_000, 200_000)
    result = scan(data, "a.txt", limits=limits, finding_limits=everything)
    assert result.tallies["NEEDLE"].count == len(result.findings) == 20_000
    for one in result.findings[::997]:
        place, points = one.location.byte_range, one.location.codepoint_range
        assert data[place.start : place.end].startswith(b"needle-")
        assert text[points.start : points.end] == data[place.start : place.end].decode()


def test_places_count_from_the_file_s_own_start_where_it_has_a_byte_order_mark() -> None:
    data = "x needle-1".encode("utf-8-sig")
    (one,) = scan(data, "a.txt").findings
    assert data[one.location.byte_range.start : one.location.byte_range.end] == b"needle-1"


def test_rows_and_columns_of_a_table_are_told_in_all_its_blocks() -> None:
    rows = (
        "".join(f'{number},"text, {number}"\n' for number in range(50_000))
        + "50000,needle-7\n50001,x,needle-8\n"
    )
    result = scan(f"id,note\n{rows}".encode(), "a.csv", limits=Limits(memory=4 << 20))
    assert [(one.location.row, one.location.column) for one in result.findings] == [
        (50_000, "note"),
        (50_001, "column_3"),
    ]
    assert (result.coverage.rows_inspected, result.coverage.rows_total) == (50_002, 50_002)
    assert {(one.column, one.matching) for one in result.columns} == {("note", 1), ("column_3", 1)}


def test_findings_in_files_within_files_name_their_way() -> None:
    data = a_zip({"inner/list.csv.gz": gzip.compress(b"id,v\n1,needle-1\n2,x\n3,y\n")})
    (one,) = scan(data, "a.zip").findings
    assert one.location.container == ("inner/list.csv.gz", "list.csv")
    assert (one.location.row, one.location.column) == (0, "v")


def test_names_with_findings_in_them_are_found_and_not_repeated() -> None:
    data = a_zip({"needle-5.csv": b"id,needle-6 col\n1,needle-7\n2,x\n3,y\n"})
    result = scan(data, "a.zip")
    assert result.tallies["NEEDLE"].count == 3
    shown = repr(result)
    for secret in ("needle-5", "needle-6", "needle-7"):
        assert secret not in shown
    assert "withheld" in shown
    assert scan(b"plain", "dir/needle-9.txt").findings[0].location.container == ("(name)",)


def test_metadata_of_an_object_is_inspected() -> None:
    result = scan_object(io.BytesIO(b"x"), "a.txt", NeedleInspector(), metadata={"owner": "needle-4"})
    assert result.findings[0].location.container == ("(metadata)",)


@pytest.mark.parametrize(
    ("name", "data", "status", "kind"),
    [
        (
            "a.gz",
            CUT,
            Status.PARTIAL,
            ProblemKind.TRUNCATED,
        ),
        ("a.parquet", b"needle-1 is no Parquet", Status.PARTIAL, ProblemKind.WRONG_SUFFIX),
        ("a.txt", b"\xc3\xa9\xc3\xa9 needle-1 \xff", Status.PARTIAL, ProblemKind.INVALID_ENCODING),
        ("a.parquet", b"PARE" + bytes(50) + b"PARE", Status.UNREADABLE, ProblemKind.ENCRYPTED),
        ("a.bin", bytes(range(256)) * 9 + b"needle-1", Status.PARTIAL, ProblemKind.UNSUPPORTED),
        ("a.bin", bytes(500), Status.UNREADABLE, ProblemKind.UNSUPPORTED),
    ],
)
def test_bad_input_is_never_reported_as_clean(
    name: str, data: bytes, status: Status, kind: ProblemKind
) -> None:
    result = scan(data, name)
    assert result.status is status
    assert kind in {problem.kind for problem in result.problems}
    assert result.reason
    assert ("NEEDLE" in result.tallies) == (b"needle" in data or status is Status.PARTIAL)


def test_an_empty_object_is_inspected() -> None:
    result = scan(b"", "a.txt")
    assert (result.status, result.coverage.bytes_inspected) == (Status.INSPECTED, 0)


def test_findings_are_limited_and_counted_all_the_same() -> None:
    data = b"needle-1\n" * 5_000
    result = scan(data, "a.txt", finding_limits=FindingLimits(100, 40))
    assert (len(result.findings), result.tallies["NEEDLE"].count) == (40, 5_000)


def test_a_large_table_is_sampled_until_something_severe_is_found() -> None:
    clean = pa.table({"v": [f"value {number}" for number in range(20_000)]})
    data = a_parquet(clean, row_group_size=200, compression="none")
    sampling = Sampling(above=len(data) // 20)
    result = scan(data, "a.parquet", sampling=sampling)
    assert result.status is Status.PARTIAL
    assert [problem.kind for problem in result.problems] == [ProblemKind.SAMPLED]
    assert result.coverage.rows_total == 20_000
    assert 800 <= result.coverage.rows_inspected <= 2_000
    dirty = pa.table({"v": [f"needle-{number}" for number in range(20_000)]})
    full = scan(a_parquet(dirty, row_group_size=200, compression="none"), "a.parquet", sampling=sampling)
    assert (full.status, full.tallies["NEEDLE"].count) == (Status.INSPECTED, 20_000)
    assert full.coverage.rows_inspected == 20_000


def test_the_collector_rests_while_a_piece_is_inspected_and_works_between_pieces() -> None:
    resting, between = [], []

    class Watching(NeedleInspector):
        def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
            resting.append(not gc.isenabled())
            return super().inspect_text(data, container)

    data = b"needle-1\n" * 500_000
    scan_object(
        io.BytesIO(data),
        "a.txt",
        Watching(),
        limits=Limits(memory=4 << 20),
        progress=lambda read: between.append(gc.isenabled()),
    )
    assert len(resting) > 2
    assert all(resting)
    assert len(between) > 2
    assert all(between)


def test_a_failing_inspector_leaves_the_collector_switched_on() -> None:
    class Failing(NeedleInspector):
        def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_object(io.BytesIO(b"a text"), "a.txt", Failing())
    assert gc.isenabled()


def test_time_is_limited() -> None:
    result = scan(b"x\n" * 2_000_000, "a.txt", limits=Limits(memory=4 << 20, seconds=0))
    assert ProblemKind.TIMEOUT in {problem.kind for problem in result.problems}
    assert result.status is Status.UNREADABLE


def test_rows_of_avro_and_json_lines_have_their_numbers() -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "v", "type": "string"}]}
    records = [{"v": "needle-1" if number == 4_321 else "x"} for number in range(5_000)]
    for data, name in (
        (an_avro(records, schema), "a.avro"),
        (b"".join(json.dumps(one).encode() + b"\n" for one in records), "a.jsonl"),
    ):
        result = scan(data, name)
        assert [(one.location.row, one.location.column) for one in result.findings] == [(4_321, "v")]
        assert result.coverage.rows_inspected == 5_000


_MEASURE = """
import resource, sys
from platform_assets.formats.content import Limits
from platform_assets.dlp.scan import scan_object
from platform_assets_tests.dlp.test_scan import NeedleInspector

class Line:
    left = int(sys.argv[2])
    def seekable(self): return False
    def read(self, size=-1):
        size = min(size, self.left, 1 << 20)
        self.left -= size
        return b"x" * size

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
class Nothing(NeedleInspector):
    def inspect_text(self, data, container=()):
        from platform_assets.dlp.model import Found
        return Found()
Line.left, kept = 2_000_000, Line.left
scan_object(Line(), sys.argv[1], Nothing(), limits=Limits(memory=64 << 20))
before, Line.left = peak(), kept
result = scan_object(Line(), sys.argv[1], Nothing(), limits=Limits(memory=64 << 20))
print(peak() - before, result.coverage.bytes_inspected)
"""


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.xml"])
def test_memory_does_not_grow_with_a_line_longer_than_it(name: str) -> None:
    size = 300_000_000
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, name, str(size)], capture_output=True, text=True, check=True
    )
    grown, inspected = map(int, done.stdout.split())
    assert inspected == size
    assert grown < 64 << 20


def test_small_pieces_of_one_table_are_inspected_together_and_keep_their_rows() -> None:
    class Counting(NeedleInspector):
        tables: ClassVar[list[int]] = []

        def inspect_columns(
            self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
        ) -> Found:
            self.tables.append(max(map(len, columns.values())))
            return super().inspect_columns(columns, first_row, container)

    lines = [
        {"a": f"needle-{row}"} if row % 3 else {"a": "x", "b": [f"needle-{row}"], "c": f"{row}"}
        for row in range(9_000)
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    result = scan_object(
        io.BytesIO(data),
        "a.jsonl",
        Counting(),
        limits=Limits(memory=16 << 20),
        finding_limits=FindingLimits(20_000, 20_000),
    )
    assert sum(Counting.tables) == 12_000
    assert len(Counting.tables) < 6
    assert result.coverage.rows_inspected == 9_000
    by_column = {
        column: sorted(one.location.row or 0 for one in result.findings if one.location.column == column)
        for column in ("a", "b[]")
    }
    assert by_column["a"] == [row for row in range(9_000) if row % 3]
    assert by_column["b[]"] == [row for row in range(9_000) if row % 3 == 0]
    assert result.tallies["NEEDLE"].count == 9_000
