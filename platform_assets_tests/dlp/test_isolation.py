"""Whatever happens inside an inspection, each object and each column has a result, and the others go on."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from platform_assets.dlp.columns import ColumnInspector
from platform_assets.dlp.findings import FindingsStore
from platform_assets.dlp.local import table_scan
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.local.table_scan import SAMPLE
from platform_assets.dlp.model import Found, InspectConfig, InspectResult, Likelihood, Status
from platform_assets.dlp.policy import Action, Policy, Rule
from platform_assets.dlp.protect import StarProtection
from platform_assets.dlp.scan import scan_object
from platform_assets.dlp.service import InspectionService
from platform_assets.errors import DlpError
from platform_assets.formats import delimited, json_values, mail
from platform_assets.formats.content import ColumnsPiece, Problem, read_content
from platform_assets.formats.problems import ProblemKind
from platform_assets.isolation import IsolatedFailure
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets_tests.dlp.test_columns import card
from platform_assets_tests.formats.test_formats import a_parquet, a_tar, a_zip

pytestmark = pytest.mark.sampled(2)

KEY = b"k" * 32
MAIL = "somebody@company-three.com"
POISON = "poison"


class OwnError(Exception):
    """A class that nobody but this module knows."""


class PanicException(BaseException):
    """What a library that is written in Rust raises where it panics."""

    __module__ = "pyo3_runtime"


ERRORS = [
    IndexError, OverflowError, MemoryError, RecursionError, duckdb.Error, pa.ArrowInvalid, OwnError,
    PanicException,
]  # fmt: skip
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)


class PoisonedInspector(LocalInspector):
    """Fails over every text and every column that holds the poison."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__(InspectConfig(), KEY)
        self._error = error

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        if POISON.encode() in data:
            raise self._error("over this value")
        return super().inspect_text(data, container)

    def inspect_rows(
        self,
        columns: Mapping[str, pa.Array],
        row: Callable[[int], int],
        container: tuple[str, ...],
        wanted: Callable[[str], int],
    ) -> Found:
        if any(POISON in (value or "") for column in columns.values() for value in column.to_pylist()):
            raise self._error("over this value")
        return super().inspect_rows(columns, row, container, wanted)


def scan(data: bytes, name: str, inspector: LocalInspector | None = None) -> InspectResult:
    return scan_object(
        io.BytesIO(data), name, inspector or LocalInspector(InspectConfig(), KEY), size=len(data)
    )


def failing(error: type[BaseException]) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> Any:
        raise error("in here")

    return fail


@each_error
def test_a_column_over_which_the_inspector_fails_is_named_and_the_others_are_inspected(
    error: type[BaseException],
) -> None:
    data = f"id,note,mail\n1,{POISON},{MAIL}\n2,fine,other@company-three.com\n".encode()
    result = scan(data, "people.csv", PoisonedInspector(error))
    assert result.status is Status.PARTIAL
    assert result.tallies["EMAIL_ADDRESS"].count == 2
    [problem] = result.problems
    assert problem.kind is ProblemKind.FAILED
    assert "the column note could not be inspected" in problem.message
    assert error.__name__ in problem.message
    assert "over this value" not in problem.message
    assert result.coverage.bytes_inspected == len("12" + MAIL + "other@company-three.com" + "id,note,mail\n")


@each_error
def test_an_object_of_which_nothing_can_be_inspected_is_unreadable_and_its_neighbours_are_not(
    error: type[BaseException],
) -> None:
    inspector = PoisonedInspector(error)
    alone = scan(f"some {POISON} text".encode(), "a.txt", inspector)
    assert (alone.status, alone.problems[0].kind) == (Status.UNREADABLE, ProblemKind.FAILED)
    packed = a_zip({"a.txt": f"some {POISON} text".encode(), "b.txt": f"mail {MAIL}".encode()})
    result = scan(packed, "a.zip", inspector)
    assert (result.status, result.tallies["EMAIL_ADDRESS"].count) == (Status.PARTIAL, 1)
    assert [one.container for one in result.problems] == [("a.txt",)]


@each_error
@pytest.mark.parametrize("pack", [a_zip, a_tar])
def test_a_reader_that_fails_over_a_part_leaves_the_other_parts_and_gives_the_strings_of_this_one(
    error: type[BaseException], pack: Callable[[dict[str, bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "read_delimited", failing(error))
    table = f"id,mail\n1,{MAIL}\n2,other@company-three.com\n".encode()
    result = scan(pack({"a.csv": table, "b.txt": b"write to third@company-three.com"}), "a.arc")
    assert result.status is Status.PARTIAL
    assert result.tallies["EMAIL_ADDRESS"].count == 3
    [problem] = result.problems
    assert (problem.kind, problem.container) == (ProblemKind.FAILED, ("a.csv",))


@each_error
def test_a_reader_that_fails_half_way_keeps_what_came_before(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(*args: object) -> Iterator[ColumnsPiece]:
        yield ColumnsPiece({"mail": pa.array([MAIL], pa.large_string())})
        raise error("in here")

    monkeypatch.setattr(json_values, "read_json", half)
    result = scan(b'{"a": 1}', "a.json")
    assert (result.status, result.tallies["EMAIL_ADDRESS"].count) == (Status.PARTIAL, 1)


@each_error
def test_one_message_of_a_mailbox_that_cannot_be_read_leaves_the_others(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = mail._name

    def poisoned(part: Any, number: int) -> str:
        if POISON in str(part.get_payload()):
            raise error("in here")
        return read(part, number)

    monkeypatch.setattr(mail, "_name", poisoned)
    message = "From a@b Thu Jan  1 00:00:00 2031\nFrom: a <a@company-three.com>\nTo: b\nMessage-ID: <1@x>\n\n"
    box = f"{message}{POISON}\n{message}write to {MAIL}\n{message}the last\n".encode()
    result = scan(box, "all.mbox")
    assert result.status is Status.PARTIAL
    assert ("message 2", "part 1 (text/plain)") in {one.location.container for one in result.findings}


@each_error
def test_a_table_that_does_not_fit_into_memory_leaves_the_other_parts(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    from platform_assets.dlp import scan as scanning

    monkeypatch.setattr(scanning._Gathered, "columns", failing(error))
    result = scan(a_zip({"a.csv": b"id,x\n1,2\n3,4\n", "b.txt": f"mail {MAIL}".encode()}), "a.zip")
    assert (result.status, result.tallies["EMAIL_ADDRESS"].count) == (Status.PARTIAL, 1)
    assert result.problems[0].container == ("a.csv",)


def test_an_inspector_that_fails_over_everything_still_has_a_result() -> None:
    class Broken(LocalInspector):
        inspect_text = failing(OwnError)
        inspect_columns = inspect_rows = failing(OwnError)

    result = scan(b"id,x\n1,2\n", "a.csv", Broken(InspectConfig(), KEY))
    assert (result.status, result.coverage.bytes_inspected) == (Status.UNREADABLE, 0)
    assert "withheld" in repr(result.problems)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_no_result(error: type[BaseException]) -> None:
    with pytest.raises(error):
        scan(f"some {POISON}".encode(), "a.txt", PoisonedInspector(error))


def test_what_the_place_or_the_service_says_is_not_taken_for_a_fault_of_the_object() -> None:
    class Unavailable(DlpError):
        retryable = True

    with pytest.raises(Unavailable):
        scan(f"some {POISON}".encode(), "a.txt", PoisonedInspector(Unavailable))


# --- columns of tables


def columns_of(inspector: LocalInspector, tmp_path: Path) -> ColumnInspector:
    return ColumnInspector(inspector, SqlEngine(128, 2, tmp_path / "spill"))


@each_error
def test_a_column_of_a_table_that_cannot_be_inspected_leaves_the_others(
    error: type[BaseException], tmp_path: Path
) -> None:
    rows = pa.table({"note": ["fine", POISON], "mail": [MAIL, "other@company-three.com"]})
    seen = columns_of(PoisonedInspector(error), tmp_path).inspect_rows(rows.to_reader(), "w", "w/t", "1")
    assert list(seen.failures) == ["note"]
    assert error.__name__ in seen.failures["note"]
    assert [(one.column, one.info_type.name) for one in seen.verdicts] == [("mail", "EMAIL_ADDRESS")]
    assert (seen.version, seen.recorded_version) == ("1", "")


def a_room(tmp_path: Path, inspector: LocalInspector, tables: Mapping[str, LakeTable]) -> InspectionService:
    from contextlib import nullcontext

    store = FindingsStore(Lake(str(tmp_path / "i"), str(tmp_path / "p")), SqlEngine(128, 2, tmp_path / "s"))
    return InspectionService(
        store,
        Policy((Rule("all", Action.ALERT),)),
        ("local", "1"),
        watch=failing(OwnError),
        uploads=failing(OwnError),
        columns=lambda: nullcontext(columns_of(inspector, tmp_path)),
        lake_tables=tables,
        warehouse_tables={"elsewhere": failing(OwnError)},
        send_alerts=failing(OwnError),
    )


@each_error
def test_a_table_that_fails_is_told_and_tried_again_and_the_others_are_recorded(
    error: type[BaseException], tmp_path: Path
) -> None:
    tables = {}
    for name, note in (("a", "fine"), ("b", POISON), ("c", "fine")):
        table = tables[f"totesys/{name}"] = LakeTable(str(tmp_path / name), ())
        write_deltalake(table.uri, pa.table({"note": [note], "mail": [MAIL]}))
    tables["totesys/broken"] = LakeTable(str(tmp_path / "broken"), ())
    write_deltalake(tables["totesys/broken"].uri, pa.table({"note": ["x"]}))
    for file in (tmp_path / "broken").glob("*.parquet"):
        file.write_bytes(b"no Parquet")
    room = a_room(tmp_path, PoisonedInspector(error), tables)
    with pytest.raises(IsolatedFailure) as told:
        room.inspect_columns("run", lambda *said: None).failing.raise_failures()
    for name in ("totesys/b.note", "totesys/broken", "elsewhere"):
        assert name in str(told.value)
    assert "totesys/a" not in str(told.value)
    assert {(row["table"], row["column"]) for row in room.findings.sensitive_columns()} == {
        ("totesys/a", "mail"), ("totesys/b", "mail"), ("totesys/c", "mail"),
    }  # fmt: skip
    [uninspected] = room.uninspected_columns()
    assert (uninspected["table"], uninspected["column"]) == ("totesys/b", "note")
    assert (uninspected["decision"], error.__name__ in uninspected["problem"]) == ("block", True)
    known = room.findings.inspected_versions("local", "1")
    assert known == {("lake", "totesys/a"): "0", ("lake", "totesys/b"): "", ("lake", "totesys/c"): "0"}
    # What was mended is inspected by the next run, and nothing else is.
    again = a_room(tmp_path, LocalInspector(InspectConfig(), KEY), {"totesys/b": tables["totesys/b"]})
    with pytest.raises(IsolatedFailure, match="elsewhere"):
        again.inspect_columns("run", lambda *said: None).failing.raise_failures()
    assert again.uninspected_columns() == []


def protection(tmp_path: Path, inspector: LocalInspector, policy: Policy) -> StarProtection:
    from contextlib import nullcontext

    engine = SqlEngine(128, 2, tmp_path / "s")
    store = FindingsStore(Lake(str(tmp_path / "i"), str(tmp_path / "p")), engine)
    columns = columns_of(inspector, tmp_path)
    return StarProtection(
        policy, lambda: nullcontext(columns), store, lambda: KEY, engine, lambda: ("local", "1"), ()
    )


@each_error
def test_a_column_that_could_not_be_inspected_gets_into_no_table_where_a_rule_asks_what_it_holds(
    error: type[BaseException], tmp_path: Path
) -> None:
    rows = pa.table({"note": [POISON], "mail": [MAIL]})
    inspector = PoisonedInspector(error)
    blocks = Policy((Rule("cards", Action.BLOCK, ("CREDIT_CARD_NUMBER",), places=("marts/*",)),))
    with pytest.raises(DlpError, match=r"marts/t\.note is blocked by the default"):
        protection(tmp_path, inspector, blocks).applied(rows.to_reader(), "marts/t")
    elsewhere = Policy((Rule("cards", Action.BLOCK, ("CREDIT_CARD_NUMBER",), places=("marts/*.mail",)),))
    passed = protection(tmp_path, inspector, elsewhere).applied(rows.to_reader(), "marts/t")
    assert passed.read_all().num_rows == 1


# --- values at the bounds of what is judged by a sample


@pytest.mark.parametrize("size", [SAMPLE - 1, SAMPLE, SAMPLE + 1, 3 * SAMPLE])
@pytest.mark.parametrize("place", ["first", "middle", "last", "nowhere"])
@pytest.mark.parametrize("kind", ["cards", "numbers", "words", "lengths"])
def test_an_empty_value_may_stand_anywhere_in_a_column(size: int, place: str, kind: str) -> None:
    import random

    numbers = random.Random(7)
    values: list[str | None] = [
        {"cards": card, "numbers": lambda n: str(n.random()), "words": lambda n: f"w{n.random()}x",
         "lengths": lambda n: "é\n" * n.randrange(9) + str(n.random())}[kind](numbers)
        for _ in range(size)
    ]  # fmt: skip
    at = {"first": 0, "middle": size // 2, "last": size, "nowhere": None}[place]
    if at is not None:
        values.insert(at, "")
    found = LocalInspector(InspectConfig(), KEY).inspect_columns({"c": pa.array([*values, None, values[0]])})
    expected = {"CREDIT_CARD_NUMBER": size + 1 + (at == 0 and -1)} if kind == "cards" else {}
    assert {name: tally.count for name, tally in found.tallies.items()} == expected


@pytest.mark.parametrize("size", [0, 1, SAMPLE - 1, SAMPLE, SAMPLE + 1])
@pytest.mark.parametrize("value", [None, "", " ", "\n"])
def test_a_column_of_nothing_has_nothing_in_it(size: int, value: str | None) -> None:
    found = LocalInspector(InspectConfig(), KEY).inspect_columns({"c": pa.array([value] * size, pa.string())})
    assert not found.tallies


def test_forms_are_those_of_each_value_wherever_it_stands() -> None:
    values = pa.array(["12-a", "", "34-bcd", "é5", "", "12-a", "99-x", ""], pa.large_string())
    forms = table_scan._forms(*table_scan.joined_lines(values))
    digits, runs = forms["digits"], forms["runs"]
    assert digits[0] == digits[2] == digits[5] == digits[6] != digits[1]
    assert digits[1] == digits[4] == digits[7]
    assert len(np.unique(runs)) == 3


def test_a_large_source_file_is_inspected_without_a_fault() -> None:
    lines = [f'  table[{n}] = call("{n:x}", {n}, {n * 7919 % 9973}),' for n in range(60_000)]
    data = ("static int table[] = {\n" + "\n".join(lines) + "\n};\n").encode()
    assert len(data) > 2_000_000
    assert scan(data, "table.c").status is Status.INSPECTED
    assert scan(data, "table.csv").problems == ()


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_the_table_of_the_report_that_ended_a_scan_is_inspected(name: str) -> None:
    table = pa.table({"id": [f"{n}" for n in range(1_500)], "v": [f"value {n}" for n in range(1_499)] + [""]})
    if name.endswith("parquet"):
        data = a_parquet(table)
    else:
        data = ("id,v\n" + "\n".join(f'{one["id"]},"{one["v"]}"' for one in table.to_pylist())).encode()
    assert scan(data, name).status is Status.INSPECTED


def test_the_verdict_is_the_same_wherever_the_empty_value_stands() -> None:
    import random

    numbers = random.Random(3)
    cards = [card(numbers) for _ in range(2_000)]
    for place in (0, 1_000, 2_000):
        values = [*cards[:place], "", *cards[place:]]
        found = LocalInspector(InspectConfig(), KEY).inspect_columns({"number": pa.array(values)})
        [verdict] = found.columns
        assert (verdict.matching, verdict.distinct, verdict.likelihood) == (2_000, 2_000, Likelihood.LIKELY)


def test_a_member_that_cannot_even_be_opened_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = zipfile.ZipFile.open

    def poisoned(self: zipfile.ZipFile, name: Any, *args: Any, **options: Any) -> Any:
        if getattr(name, "filename", name) == "a.txt":
            raise OwnError("in here")
        return opened(self, name, *args, **options)

    packed = a_zip({"a.txt": b"x", "b.txt": MAIL.encode()})
    monkeypatch.setattr(zipfile.ZipFile, "open", poisoned)
    found = list(read_content(io.BytesIO(packed), "a.zip"))
    assert [one.container for one in found if isinstance(one, Problem)] == [("a.txt",)]
    assert any(MAIL.encode() in getattr(item, "text", b"") for item in found)
