"""The copy of a feed's rows that count has these and no others, whatever happened to the feed meanwhile."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from platform_assets.feeds.counting import Change
from platform_assets.feeds.feed import Feed
from platform_assets.feeds.load import Feeds
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model.table import Column, Integer, Text
from platform_assets_tests.feeds.test_feeds import Inbox, make_inbox
from platform_assets_tests.fixtures.s3 import S3Server

APPEND = Feed("stock", "inbox", "*.csv", "csv", (Column("id", Integer(64)), Column("note", Text())))
MERGE = replace(APPEND, mode="merge", key=("id",))


@dataclass
class Copied:
    """A watched folder, and the place of the copies of its feed's rows."""

    inbox: Inbox
    folder: str

    def bring_up(self, feed: Feed, change: Change | None = None) -> DeltaTable:
        copy = self.inbox.feeds.counting(feed).bring_up(self.folder, change or Change())
        handle = copy.open()
        assert handle is not None
        return handle

    def is_equal(self, feed: Feed) -> bool:
        copied = pa.table(self.bring_up(feed).to_pyarrow_table())
        return rows(copied) == rows(self.inbox.feeds.relation(feed).read_all())

    def load(self, feed: Feed, key: str, content: str) -> None:
        self.inbox.put(key, f"id,note\n{content}")
        self.inbox.load(feed, key)


def rows(table: pa.Table) -> list[Any]:
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    return Copied(make_inbox(tmp_path), str(tmp_path / "lake" / "processed" / "copies"))


def test_what_only_came_on_top_is_appended(copied: Copied) -> None:
    for feed in (APPEND, replace(MERGE, name="merged")):
        copied.load(feed, "1.csv", "1,a\n2,b\n")
        assert copied.is_equal(feed)
        first = set(copied.bring_up(feed).file_uris())
        copied.load(feed, "2.csv", "3,c\n")
        assert copied.is_equal(feed)
        assert first < set(copied.bring_up(feed).file_uris())


def test_what_counts_no_longer_is_not_in_its_files(copied: Copied) -> None:
    copied.load(MERGE, "1.csv", "1,a\n2,b\n")
    first = set(copied.bring_up(MERGE).file_uris())
    copied.load(MERGE, "2.csv", "2,other\n")
    assert copied.is_equal(MERGE)
    assert not first & set(copied.bring_up(MERGE).file_uris())
    copied.inbox.withdraw(MERGE, "2.csv")
    assert copied.is_equal(MERGE)
    assert rows(pa.table(copied.bring_up(MERGE).to_pyarrow_table()))[1][:2] == (2, "b")


def test_nothing_is_written_where_nothing_happened(copied: Copied) -> None:
    copied.load(APPEND, "1.csv", "1,a\n")
    version = copied.bring_up(APPEND).version()
    assert copied.bring_up(APPEND).version() == version


def test_an_empty_feed_has_an_empty_copy(copied: Copied) -> None:
    assert copied.bring_up(APPEND).to_pyarrow_table().num_rows == 0
    copied.load(APPEND, "1.csv", "1,a\n")
    assert copied.is_equal(APPEND)


def test_rows_that_count_otherwise_are_another_copy(copied: Copied) -> None:
    copied.load(APPEND, "1.csv", "1,a\n2,b\n1,c\n")
    one = copied.bring_up(APPEND)
    assert copied.is_equal(MERGE)
    assert copied.bring_up(MERGE).table_uri != one.table_uri
    more = replace(APPEND, columns=(*APPEND.columns, Column("more", Text(), nullable=True)))
    assert copied.is_equal(more)
    assert "more" in copied.bring_up(more).schema().to_arrow().names


def upper(given: pa.RecordBatchReader) -> pa.RecordBatchReader:
    batches = (
        batch.set_column(1, "note", pc.utf8_upper(batch["note"]))
        for batch in given
        if isinstance(batch, pa.RecordBatch)
    )
    return pa.RecordBatchReader.from_batches(given.schema, batches)


def test_changed_rows_are_a_copy_of_their_own_and_only_new_ones_are_changed_again(copied: Copied) -> None:
    copied.load(MERGE, "1.csv", "1,a\n2,b\n")
    plain = copied.bring_up(MERGE)
    changed = copied.bring_up(MERGE, Change("0a", upper))
    assert changed.table_uri != plain.table_uri
    copied.load(MERGE, "2.csv", "3,c\n")
    again = copied.bring_up(MERGE, Change("0a", upper))
    assert set(changed.file_uris()) < set(again.file_uris())
    assert sorted(again.to_pyarrow_table()["note"].to_pylist()) == ["A", "B", "C"]


def test_of_two_that_bring_it_up_at_once_one_does(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    copied.load(MERGE, "1.csv", "1,a\n")
    copied.bring_up(MERGE)
    copied.load(MERGE, "2.csv", "2,b\n")
    write: Callable[..., int] = LakeTable.append

    def second(table: LakeTable, *given: Any, **options: Any) -> int:
        monkeypatch.setattr(LakeTable, "append", write)
        copied.bring_up(MERGE)
        return write(table, *given, **options)

    monkeypatch.setattr(LakeTable, "append", second)
    copied.bring_up(MERGE)
    assert copied.is_equal(MERGE)


def test_a_feed_that_was_made_anew_has_another_copy(copied: Copied, tmp_path: Path) -> None:
    copied.load(APPEND, "1.csv", "1,a\n2,b\n")
    assert copied.is_equal(APPEND)
    (copied.inbox.root / "lake" / "ingestion").rename(tmp_path / "gone")
    copied.load(APPEND, "9.csv", "9,z\n8,y\n")
    assert copied.is_equal(APPEND)


def test_a_copy_is_kept_in_a_bucket_as_on_disk(tmp_path: Path, s3_server: S3Server) -> None:
    name = s3_server.create_bucket()
    lake = Lake(f"s3://{name}/ingestion", f"s3://{name}/processed", lambda: s3_server.storage_options)
    inbox = make_inbox(tmp_path)
    feeds = Feeds(lake, SqlEngine(256, 1, tmp_path / "spill"), tmp_path / "scratch")
    copied = Copied(replace(inbox, feeds=feeds), lake.path("processed", "copies"))
    for number, content in enumerate(("1,a\n2,b\n", "3,c\n", "2,other\n")):
        copied.load(MERGE, f"{number}.csv", content)
        assert copied.is_equal(MERGE)
    assert any(key.startswith("processed/copies/") for key in s3_server.keys(name))


@pytest.mark.parametrize("seed", range(3))
def test_after_any_uploads_overwrites_withdrawals_and_crashes_the_copy_is_equal(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    write: Callable[..., int] = LakeTable.append

    def fails(*_: Any, **__: Any) -> int:
        raise ConnectionError("the process is gone")

    for _ in range(12):
        feed = chance.choice([APPEND, MERGE]) if chance.random() < 0.2 else MERGE
        key = f"{chance.randrange(4)}.csv"
        lines = [f"{chance.randrange(12)},{chance.choice('abc')}\n" for _ in range(chance.randrange(1, 4))]
        copied.load(feed, key, "".join(lines))
        if chance.random() < 0.25:
            copied.inbox.withdraw(feed, key)
        if chance.random() < 0.3:
            monkeypatch.setattr(LakeTable, "append", fails)
            with contextlib.suppress(ConnectionError):
                copied.bring_up(feed)
            monkeypatch.setattr(LakeTable, "append", write)
        if chance.random() < 0.7:
            assert copied.is_equal(feed)
    assert copied.is_equal(APPEND)
    assert copied.is_equal(MERGE)
