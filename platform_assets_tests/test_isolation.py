"""Isolation of things taken one by one: what is recorded, what goes on, and what ends everything."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from platform_assets.alert import Alert
from platform_assets.errors import LakeConflict, PlatformError, SettingsError
from platform_assets.isolation import IsolatedFailure, Isolation, reason_of
from platform_assets_tests.fixtures.poison import ERRORS, OwnError, Speechless, name_of


@pytest.mark.parametrize("error", [*ERRORS, StopIteration("next"), AssertionError()], ids=name_of)
def test_whatever_one_thing_raises_the_others_are_done_and_its_reason_is_told(error: BaseException) -> None:
    loading, done = Isolation("Loading"), []
    for name in ("address", "sales_order", "staff"):
        with loading.guard(name) as guard:
            if name == "sales_order":
                raise error
            done.append(name)
        assert guard.failed == (name == "sales_order")

    assert done == ["address", "staff"]
    assert [failure.name for failure in loading.failures] == ["sales_order"]
    with pytest.raises(
        IsolatedFailure, match=r"^Loading failed for 1; all others succeeded\. sales_order: "
    ) as failure:
        loading.raise_failures()
    message = str(failure.value)
    assert failure.value.__cause__ is error
    assert message.endswith(".")
    assert ".." not in message
    if not isinstance(error, Speechless):
        assert str(error).removesuffix(".") in message
    if not isinstance(error, PlatformError):
        assert type(error).__name__ in message


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(1),
        GeneratorExit(),
        asyncio.CancelledError(),
        DagsterExecutionInterruptedError(),
    ],
    ids=name_of,
)
def test_an_interruption_ends_everything(error: BaseException) -> None:
    loading = Isolation("Loading")
    with pytest.raises(type(error)), loading.guard("address"):
        raise error
    assert loading.failures == []


def test_an_error_that_came_from_an_interruption_is_one() -> None:
    loading = Isolation("Loading")

    def roll_back() -> None:
        try:
            raise DagsterExecutionInterruptedError
        finally:
            raise OSError("the connection is gone")

    with pytest.raises(KeyboardInterrupt), loading.guard("address"):
        roll_back()
    with pytest.raises(KeyboardInterrupt), loading.guard("address"):
        raise ExceptionGroup("several", [ValueError(), _caused_by(KeyboardInterrupt())])
    assert loading.failures == []


def _caused_by(cause: BaseException) -> Exception:
    error = ValueError()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt(), DagsterExecutionInterruptedError("stop")], ids=["ctrl-c", "dagster"]
)
def test_an_interruption_that_a_stream_turns_into_an_ordinary_error_is_still_one(
    interruption: BaseException,
) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [1]})
        raise interruption

    loading = Isolation("Loading")
    rows = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    with pytest.raises(KeyboardInterrupt), loading.guard("address"), duckdb.connect() as connection:
        connection.from_arrow(rows).fetchall()
    assert loading.failures == []


def test_an_interrupted_query_is_an_interruption() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise DagsterExecutionInterruptedError

    loading = Isolation("Loading")
    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        # Of one thread, as DuckDB waits for others of a query that is interrupted until they end.
        with duckdb.connect(config={"threads": 1}) as connection:
            timer.start()
            with (
                pytest.raises((KeyboardInterrupt, DagsterExecutionInterruptedError)),
                loading.guard("address"),
            ):
                # It would take hours.
                connection.execute("SELECT count(*) FROM range(10_000_000_000_000) t(a) WHERE sin(a) > 2")
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert loading.failures == []


def test_a_stream_that_is_closed_before_something_fails_is_no_interruption() -> None:
    def stream() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OwnError("while it was closed")

    loading = Isolation("Loading")
    with loading.guard("address"):
        opened = stream()
        next(opened)
        opened.close()  # type: ignore[attr-defined]
    assert loading.failures[0].reason.endswith("OwnError: while it was closed.")


def test_a_failure_is_retryable_where_one_of_them_is() -> None:
    loading = Isolation("Loading")
    loading.record("address", SettingsError("There is no such table."))
    with pytest.raises(IsolatedFailure) as failure:
        loading.raise_failures()
    assert not failure.value.retryable
    loading.record("staff", LakeConflict("Another was faster"))
    with pytest.raises(IsolatedFailure) as failure:
        loading.raise_failures()
    assert failure.value.retryable
    assert str(failure.value) == (
        "Loading failed for 2; all others succeeded. address: There is no such table. "
        "staff: Another was faster."
    )


def test_nothing_is_raised_where_nothing_failed_and_a_long_list_is_cut() -> None:
    loading = Isolation("Loading")
    loading.raise_failures()
    for number in range(50):
        loading.record(f"table_{number}", PlatformError("It is not there."))
    with pytest.raises(IsolatedFailure, match=r"failed for 50.* table_19: It is not there\. And 30 more\.$"):
        loading.raise_failures()


def test_a_reason_says_where_in_the_platform_it_happened_and_no_text_where_that_may_hold_values() -> None:
    with pytest.raises(ValueError) as failure:
        Alert.from_json("4111 1111 1111 1111")
    told = reason_of(failure.value)
    assert re.fullmatch(
        r"unexpected error json\.decoder\.JSONDecodeError: Extra data: .* \(alert\.py:\d+\)\.", told
    )
    untold = reason_of(failure.value, tell_text=False)
    assert re.fullmatch(r"unexpected error json\.decoder\.JSONDecodeError \(alert\.py:\d+\)\.", untold)


def test_of_a_file_that_cannot_be_read_the_system_s_reason_is_told_and_its_name_is_not() -> None:
    error = PermissionError(13, "Permission denied", "/uploads/Nancy Wood.csv")
    assert reason_of(error, tell_text=False) == "unexpected error PermissionError: Permission denied."
    assert reason_of(PlatformError("It is locked\n by  another.")) == "It is locked by another."


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Invalid Input Error: No magic bytes found at end of file '{}'",
            "it is damaged. Restore it from",
        ),
        (
            "Invalid Input Error: File '{}' too small to be a Parquet file",
            "it is damaged. Restore it from",
        ),
        ('Failed to read file "{}": Snappy decompression failure', "it is damaged. Restore it from"),
        ('IO Error: No files found that match the pattern "{}"', "it does not exist. Restore it from"),
        ('IO Error: Cannot open file "{}": Permission denied', "permission denied. Grant the platform's"),
    ],
)
def test_of_a_damaged_file_of_the_lake_its_name_is_told_and_what_to_do(said: str, reason: str) -> None:
    told = reason_of(duckdb.Error(said.format("/lake/shop/t/part 1.parquet")))
    assert told.startswith(f"The lake's file /lake/shop/t/part 1.parquet cannot be read: {reason}")
    assert "part 1" not in reason_of(duckdb.Error(said.format("/lake/part 1.parquet")), tell_text=False)
    assert reason_of(duckdb.Error("Out of Memory")).startswith("unexpected error")
