"""Logs as version 0.1 stored them are read and continued: the same columns, numbers and commit metadata."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from platform_assets.alert import Alert, Severity
from platform_assets.alerts.notifier import LogNotifier
from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Channel, Outbox
from platform_assets.errors import LakeConflict
from platform_assets.feeds.ledger import LEDGER_COLUMNS, FeedLedger, FeedStatus, LatestStatus, LedgerRow, Stop
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.objects.bucket import ObjectVersion
from platform_assets.objects.log import LOG_COLUMNS, ObjectLog, Progress
from platform_assets.objects.plan import BatchLimits, Entry, ObjectStatus, Outcome

NOON = dt.datetime(2036, 7, 8, 12, 0, 0, 123_456, tzinfo=dt.UTC)
MICROS = (NOON - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
TIME = pa.timestamp("us", tz="UTC")
INTEGERS = {"size", "batch", "commit", "rows", "dead_letters"}


def store(
    uri: Path, stream: str, number: int, rows: list[dict[str, Any]], metadata: dict[str, str] | None = None
) -> None:
    """Store rows as the first version did."""
    types = {
        name: TIME
        if isinstance(value, dt.datetime)
        else pa.int64()
        if name in INTEGERS
        else pa.int32()
        if name == "attempt"
        else pa.string()
        for name, value in {**rows[0], **({"retry_at": NOON} if "retry_at" in rows[0] else {})}.items()
    }
    write_deltalake(
        str(uri),
        pa.Table.from_pylist(rows, schema=pa.schema(list(types.items()))),
        mode="append",
        commit_properties=CommitProperties(
            custom_metadata=metadata, app_transactions=[Transaction(stream, number)]
        ),
    )


def stored(uri: Path, commit: int) -> list[dict[str, Any]]:
    rows = DeltaTable(str(uri)).to_pyarrow_table().to_pylist()
    return sorted((row for row in rows if row["commit"] == commit), key=str)


def schema(uri: Path) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in pa.schema(DeltaTable(str(uri)).schema().to_arrow())]


def object_row(key: str, status: str, commit: int, **values: Any) -> dict[str, Any]:
    return {
        "key": key,
        "uri": f"s3://bucket/{key}",
        "version": "v1",
        "size": 7,
        "modified": NOON,
        "status": status,
        "attempt": 1,
        "batch": 1,
        "retry_at": None,
        "error": "",
        "at": NOON,
        "commit": commit,
        **values,
    }


def test_an_object_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    uri = tmp_path / "log"
    planned = [object_row(key, "planned", 1) for key in ("a", "b", "c")]
    store(uri, "objects", 1, planned, {"platform_assets.objects": f'[1,{{"1":{MICROS}}},{{}}]'})
    failed = object_row("b", "failed", 2, retry_at=NOON + dt.timedelta(minutes=1), error="not yet")
    progress = f'[1,{{"1":{MICROS}}},{{"1":{MICROS + 60_000_000}}}]'
    store(uri, "objects", 2, [failed], {"platform_assets.objects": progress})
    before = schema(uri)

    log = ObjectLog(LakeTable(str(uri), LOG_COLUMNS))
    state = log.read()
    assert state.progress == Progress(1, {1: NOON}, {1: NOON + dt.timedelta(minutes=1)})
    version = ObjectVersion("s3://bucket/b", "b", "v1", 7, NOON)
    again = NOON + dt.timedelta(minutes=1)
    assert state.of(["b"]) == {"b": Entry(version, ObjectStatus.FAILED, 1, 1, NOON, again, "not yet")}
    assert [one.object.key for one in state.planned(1)] == ["a", "c"]

    log.settle(1, [Outcome("a"), Outcome("c")], BatchLimits(), NOON)
    assert schema(uri) == before
    assert stored(uri, 3) == [object_row("a", "done", 3), object_row("c", "done", 3)]
    table = DeltaTable(str(uri))
    assert table.transaction_version("objects") == 3
    closed = f'[1,{{}},{{"1":{MICROS + 60_000_000}}}]'
    assert table.history(1)[0]["platform_assets.objects"] == closed


def message_row(alert: Alert, status: str, commit: int, **values: Any) -> dict[str, Any]:
    return {
        "key": alert.key,
        "channel": "team",
        "status": status,
        "attempt": 0,
        "due_at": NOON,
        "queued_at": NOON,
        "alert": alert.to_json(),
        "error": "",
        "commit": commit,
        **values,
    }


def test_an_outbox_sends_what_was_queued_and_nothing_that_was_sent(tmp_path: Path) -> None:
    uri = tmp_path / "outbox"
    first, second, third = (Alert(f"key {name}", Severity.ERROR, name, NOON) for name in ("1", "2", "3"))
    store(uri, "outbox", 1, [message_row(one, "queued", 1) for one in (first, second)])
    store(uri, "outbox", 2, [message_row(first, "sent", 2, attempt=1)])
    before = schema(uri)

    outbox = Outbox(LakeTable(str(uri), OUTBOX_COLUMNS))
    channels = [Channel("team", LogNotifier())]
    assert [(message.alert, message.status, message.attempt) for message in outbox.messages()] == [
        (first, "sent", 1),
        (second, "queued", 0),
    ]
    assert outbox.post([first, second, third], channels, NOON) == 1
    assert stored(uri, 3) == [message_row(third, "queued", 3)]
    assert outbox.deliver(channels, NOON).sent == 2
    assert schema(uri) == before
    assert stored(uri, 5) == [message_row(one, "sent", 5, attempt=1) for one in (second, third)]
    assert DeltaTable(str(uri)).transaction_version("outbox") == 5


def ledger_row(object_id: str, status: str, commit: int, batch: int = 0, **values: Any) -> dict[str, Any]:
    return {
        "commit": commit,
        "batch": batch,
        "object_id": object_id,
        "object": f"{object_id}.csv",
        "version": "v1",
        "modified": NOON,
        "status": status,
        "rows": 0,
        "dead_letters": 0,
        "reason": "",
        "definition": "d",
        "layout": "",
        "at": NOON,
        **values,
    }


def test_a_feeds_ledger_keeps_its_columns_its_stop_and_its_objects(tmp_path: Path) -> None:
    uri = tmp_path / "ledger"
    store(uri, "feed", 1, [ledger_row("a", "loaded", 1, 1, rows=3, layout="[]")])
    store(uri, "feed", 2, [ledger_row("b", "stopped", 2, reason="a new column")])
    before = schema(uri)

    ledger = FeedLedger(LakeTable(str(uri), LEDGER_COLUMNS), SqlEngine(128, 1, tmp_path / "spill"))
    state, other = ledger.read(), ledger.read()
    assert (state.layout, state.stop) == ("[]", Stop("b", "b.csv", "v1", "a new column", "d"))
    assert ledger.latest_statuses(state, ["a", "x"]) == {"a": [LatestStatus("v1", "loaded", "d")]}
    row = LedgerRow(2, "b", "b.csv", "v1", NOON, FeedStatus.LOADED, 5, 1, "", "d", "[]", NOON)
    ledger.commit(state, [row])
    with pytest.raises(LakeConflict):
        ledger.commit(other, [row])
    assert schema(uri) == before
    assert stored(uri, 3) == [ledger_row("b", "loaded", 3, 2, rows=5, dead_letters=1, layout="[]")]
    assert DeltaTable(str(uri)).transaction_version("feed") == 3
    assert ledger.read().stop is None
