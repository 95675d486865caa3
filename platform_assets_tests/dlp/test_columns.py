"""Tables are inspected by column and distinct value: sampled where large, in full where it is severe."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from platform_assets.dlp.columns import ColumnInspector
from platform_assets.dlp.findings import InspectedTable
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, Likelihood
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine

KEY = b"k" * 32


def inspector(tmp_path: Path, **options: int) -> ColumnInspector:
    return ColumnInspector(
        LocalInspector(InspectConfig(), KEY), SqlEngine(128, 2, tmp_path / "spill"), **options
    )


def held(table: InspectedTable) -> dict[str, dict[str, tuple[int, int]]]:
    """Matching and distinct values by column and info type."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for one in table.verdicts:
        found.setdefault(one.column, {})[one.info_type.name] = (one.matching, one.distinct)
    return found


def card(numbers: random.Random) -> str:
    digits = [4, *(numbers.randrange(10) for _ in range(14))]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return "".join(map(str, [*digits, -sum(doubled) % 10]))


def test_each_distinct_value_counts_once_and_the_platforms_own_columns_are_left_out(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "mail": [f"member{number % 8}@company-one.com" for number in range(40)],
            "note": [None, ""] * 20,
            "amount": list(range(40)),
            "_hash": list(range(40)),
        }
    )
    seen = inspector(tmp_path).inspect_rows(rows.to_reader(7), "warehouse", "warehouse/t", "1")
    assert seen.columns == ("mail", "note", "amount")
    assert held(seen) == {"mail": {"EMAIL_ADDRESS": (8, 8)}}
    [verdict] = seen.verdicts
    assert verdict.likelihood is Likelihood.VERY_LIKELY
    assert (seen.rows_inspected, seen.rows_total) == (40, 40)


def test_the_values_of_a_column_are_judged_together_however_they_arrive(tmp_path: Path) -> None:
    # Three of twelve are given names too: too few of all, and enough of four.
    months = [
        *("May", "April", "August", "January", "June", "July", "February", "March"),
        *("September", "October", "November", "December"),
    ]
    for order in range(4):
        random.Random(order).shuffle(months)
        rows = pa.table({"month_name": months * 3_000})
        seen = inspector(tmp_path).inspect_rows(rows.to_reader(100), "warehouse", "w/t", "1")
        assert held(seen) == {}


def test_a_table_of_the_lake_is_inspected_at_its_version_and_one_that_is_not_there_is_not(
    tmp_path: Path,
) -> None:
    place = LakeTable(str(tmp_path / "table"), ())
    assert inspector(tmp_path).inspect_lake_table(place, "uploads/t") is None
    write_deltalake(place.uri, pa.table({"mail": ["a@company-one.com", "b@company-one.com"]}))
    write_deltalake(place.uri, pa.table({"mail": ["c@company-one.com"]}), mode="append")
    seen = inspector(tmp_path).inspect_lake_table(place, "uploads/t")
    assert seen is not None
    assert (seen.version, held(seen)) == ("1", {"mail": {"EMAIL_ADDRESS": (3, 3)}})


def test_a_large_table_is_sampled_and_a_column_with_something_severe_read_in_full(tmp_path: Path) -> None:
    numbers = random.Random(1)
    cards = [card(numbers) for _ in range(4_000)]
    mails = [f"member{number}@company-one.com" for number in range(4_000)]
    rows = pa.table({"card_number": cards, "mail": mails})
    seen = inspector(tmp_path, sample_rows=1_000).inspect_rows(rows.to_reader(), "warehouse", "w/t", "1")
    assert (seen.rows_inspected, seen.rows_total) == (1_000, 4_000)
    found = held(seen)
    assert found["mail"]["EMAIL_ADDRESS"] == (1_000, 1_000)
    assert found["card_number"]["CREDIT_CARD_NUMBER"][1] == len({*cards})


@pytest.mark.parametrize("length", [10, 200_000])
def test_long_values_are_inspected_in_bounded_pieces(tmp_path: Path, length: int) -> None:
    text = "x " * length + "write to somebody@company-three.com"
    rows = pa.table({"note": [f"{number} {text}" for number in range(30)]})
    seen = inspector(tmp_path).inspect_rows(rows.to_reader(), "warehouse", "w/t", "1")
    assert held(seen)["note"]["EMAIL_ADDRESS"] == (30, 30)
