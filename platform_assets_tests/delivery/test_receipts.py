"""The log of receipts: every row stays, however many deliveries there are and whoever records them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from platform_assets.delivery import receipts as module
from platform_assets.delivery.receipts import DELIVERED, STARTED, ReceiptRow, Receipts
from platform_assets.delivery.tables import RECEIPT_COLUMNS
from platform_assets.lake.delta import LOG_FOLDER, LakeTable


def opened(folder: Path) -> Receipts:
    return Receipts(LakeTable(str(folder), RECEIPT_COLUMNS))


def started(name: str) -> ReceiptRow:
    return ReceiptRow(name, STARTED, uuid=name)


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMMITS_BETWEEN_CHECKPOINTS", 5)
    monkeypatch.setattr(module, "_VERSIONS_KEPT", 10)


@pytest.mark.usefixtures("short_log")
def test_the_log_keeps_the_newest_versions_alone_and_every_row(tmp_path: Path) -> None:
    receipts = opened(tmp_path)
    for number in range(40):
        receipts.append([started(f"d{number}"), ReceiptRow(f"d{number}", DELIVERED, "archive")])
    numbers = [int(name[:20]) for name in os.listdir(tmp_path / LOG_FOLDER) if name[:20].isdecimal()]
    assert min(numbers) >= 40 - 10 - 2 * 5
    again = opened(tmp_path)
    assert again.count() == 80
    assert again.last("d0").started == receipts.last("d0").started is not None


@pytest.mark.usefixtures("short_log")
def test_a_process_that_slept_while_the_log_went_on_reads_it_again(tmp_path: Path) -> None:
    working, asleep, reader = (opened(tmp_path) for _ in range(3))
    working.append([started("first")])
    asleep.append([started("second")])
    assert reader.last("second").started is not None
    for number in range(40):
        working.append([started(f"d{number}")])
    asleep.append([started("third")])
    assert reader.last("third").started is not None
    assert opened(tmp_path).count() == 43
    working.append([started("fourth")])
    assert working.count() == 44
