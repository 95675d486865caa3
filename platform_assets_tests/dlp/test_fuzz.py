"""Whatever bytes come, the inspection ends with a result, and what is broken is not called inspected."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.dlp.content import Limits
from platform_assets.dlp.model import InspectResult, Status
from platform_assets.dlp.scan import scan_object
from platform_assets_tests.dlp.test_formats import GOOD
from platform_assets_tests.dlp.test_scan import NeedleInspector

LIMITS = Limits(memory=16 << 20, expanded=64 << 20, seconds=20)
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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=3_000), name=st.sampled_from([*GOOD, "upload", "x.xls", "x.ods", "x.mbox"]))
def test_any_bytes_end_with_a_result(data: bytes, name: str) -> None:
    inspect(data, name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(alphabet=",;\t|\"'\r\n ab1é", max_size=400), name=st.sampled_from(["x.csv", "x.tsv", "x"])
)
def test_no_text_gets_lost_in_a_table(text: str, name: str) -> None:
    assert inspect(f"{text}\nneedle-1\n{text}".encode(), name).tallies["NEEDLE"].count >= 1
    assert inspect(f"{text} needle-1 {text}".encode(), name).tallies["NEEDLE"].count >= 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
