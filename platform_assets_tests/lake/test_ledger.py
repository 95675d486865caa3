"""What the ledger says of a table is added up from all of its rows, in whatever pieces they come."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.lake.arrow import table_of
from platform_assets.lake.batches import Batches
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.ledger import LEDGER_COLUMNS, Ledger, LedgerEntry, LedgerState
from platform_assets_tests.fixtures.properties import examples

NOON = dt.datetime(2033, 3, 4, 12, 0, 0, 123_456, tzinfo=dt.UTC)
SCHEMA = LakeTable("", LEDGER_COLUMNS).arrow_schema
COUNTS = st.integers(0, 2)
ENTRIES = st.builds(
    LedgerEntry,
    batch=st.integers(1, 9),
    source=st.sampled_from(["a", "b"]),
    table=st.sampled_from(["t", "u", "ü"]),
    inserted=COUNTS,
    updated=COUNTS,
    deleted=COUNTS,
    dead_lettered=COUNTS,
    snapshot=st.just("1:1:"),
    seen_at=st.just(NOON),
    committed_at=st.just(NOON),
)


def state_of(entries: list[LedgerEntry]) -> LedgerState:
    """The state of a ledger whose rows come in pieces of two."""
    rows = table_of([vars(entry) for entry in entries], SCHEMA)
    pieces = [rows.slice(start, 2) for start in range(0, max(len(entries), 1), 2)]
    return LedgerState(LakeTable("", LEDGER_COLUMNS), None, pa.concat_tables(pieces), "")


@settings(max_examples=examples(100))
@given(st.lists(ENTRIES, max_size=12))
def test_totals_and_batches_are_those_of_the_rows(entries: list[LedgerEntry]) -> None:
    state = state_of(entries)
    for pair in [("a", "t"), ("a", "u"), ("b", "ü"), ("c", "t")]:
        own = [entry for entry in entries if (entry.source, entry.table) == pair]
        changed = {one.batch for one in own if one.inserted or one.updated or one.deleted}
        assert set(state.batches_of(*pair)) == changed
        assert state.last_batch_of([pair]) == max(changed, default=0)
        assert state.row_count(*pair) == sum(one.inserted - one.deleted for one in own)
        assert state.dead_letters(*pair) == sum(one.dead_lettered for one in own)


@settings(max_examples=examples(100))
@given(st.sets(st.integers(1, 40)), st.integers(0, 42), st.integers(0, 42))
def test_batches_count_their_members_in_a_range(numbers: set[int], first: int, last: int) -> None:
    batches = Batches(numbers)
    assert (len(batches), list(batches)) == (len(numbers), sorted(numbers))
    assert batches.count_between(first, last) == sum(first <= number <= last for number in numbers)
    assert (first in batches) == (first in numbers)
    assert set(batches.with_one(first)) == numbers | {first}
    assert {first} <= batches.with_one(first)


def test_the_time_of_a_batch_is_that_of_its_snapshot(tmp_path: Path) -> None:
    ledger = Ledger(LakeTable(str(tmp_path / "ledger"), LEDGER_COLUMNS))
    assert ledger.read().seen_at(1) is None
    entry = LedgerEntry(7, "a", "t", 1, 0, 0, 0, "1:1:", NOON, NOON + dt.timedelta(seconds=3))
    ledger.commit(ledger.read(), [entry])
    assert (ledger.read().seen_at(7), ledger.read().seen_at(8)) == (NOON, None)


def test_reading_the_ledger_imports_no_pandas(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from platform_assets.lake.delta import LakeTable\n"
        "from platform_assets.lake.ledger import LEDGER_COLUMNS, Ledger\n"
        f"state = Ledger(LakeTable({str(tmp_path / 'ledger')!r}, LEDGER_COLUMNS)).read()\n"
        "print(state.row_count('a', 't'), list(state.batches_of('a', 't')), state.seen_at(7) is not None)\n"
        "print('pandas' in sys.modules)\n"
    )
    test_the_time_of_a_batch_is_that_of_its_snapshot(tmp_path)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["1 [7] True", "False"]
