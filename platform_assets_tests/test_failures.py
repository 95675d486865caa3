"""What a failed step says: why, in one sentence; and what is tried again: only what may pass."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator

import dagster as dg
import pytest

from platform_assets.build import MAIN_JOB
from platform_assets.configuration.secrets import Secret
from platform_assets.errors import SourceError, SourceUnavailable
from platform_assets.orchestration import clear_failures
from platform_assets.runs import _sentence
from platform_assets.settings import Settings, load_settings
from platform_assets.source.settings import ConnectionSettings
from platform_assets_tests.fixtures.house import instance_of, keys_of, run_of, with_keys


class Strange(Exception):
    """An error that nobody knows."""


def failed(
    error: BaseException, policy: dg.RetryPolicy | None = None, *, bare: bool = False
) -> tuple[int, str]:
    """How often a step was tried that raises an error, and what the run says of it."""
    tries = []

    @dg.op(retry_policy=policy)
    def step() -> None:
        tries.append(1)
        if bare:
            raise error
        with clear_failures():
            raise error

    @dg.job
    def only() -> None:
        step()

    result = only.execute_in_process(raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    return len(tries), _sentence(failure)


@pytest.mark.parametrize(
    ("error", "tries", "sentence"),
    [
        (SourceUnavailable("The source is away."), 2, "The source is away."),
        (SourceError("The table is missing."), 1, "The table is missing."),
        (Strange("odd"), 1, "unexpected error platform_assets_tests.test_failures.Strange: odd"),
        (
            OverflowError("date out of range"),
            1,
            "unexpected error OverflowError: date out of range",
        ),
        (MemoryError(), 1, "unexpected error MemoryError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_what_may_pass_is_tried_again_and_the_reason_is_said(
    error: Exception, tries: int, sentence: str
) -> None:
    tried, said = failed(error)
    assert tried == tries
    # Of an unexpected error it is said as well where it was.
    assert re.fullmatch(rf"{re.escape(sentence)}( \(.*\)\.)?", said)


def test_the_reason_of_a_step_of_somebody_elses_is_not_how_often_it_was_tried() -> None:
    policy = dg.RetryPolicy(max_retries=1)
    tries, sentence = failed(Strange("odd"), policy, bare=True)
    assert (tries, sentence) == (2, "platform_assets_tests.test_failures.Strange: odd")


@pytest.fixture
def silent_port() -> Iterator[tuple[int, threading.Event]]:
    """A server that takes connections and never answers, and says when one came."""
    came, taken = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            while True:
                try:
                    taken.append(listening.accept()[0])
                except OSError:
                    return
                came.set()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield listening.getsockname()[1], came
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    for one in taken:
        one.close()


def settings_for(port: int) -> Settings:
    settings = load_settings()
    connection = ConnectionSettings(
        host="127.0.0.1", port=port, database="d", user="u", password=Secret("secret://env/HOME")
    )
    sources = keys_of(settings).sources
    totesys = sources.totesys.model_copy(update={"embedded": False, "connection": connection})
    return with_keys(settings, sources=sources.model_copy(update={"totesys": totesys}))


@pytest.fixture(autouse=True)
def state(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def test_a_failed_run_says_one_sentence_and_nothing_of_the_steps_that_did_not_run(
    silent_port: tuple[int, threading.Event],
) -> None:
    lines: list[str] = []
    done = run_of(settings_for(silent_port[0]), MAIN_JOB, lines.append)
    assert lines == []
    assert done.failures == (
        f"PostgreSQL at 127.0.0.1:{silent_port[0]} cannot be reached, or the connection was lost (timed "
        "out). Check host and port under sources in the configuration, that the server runs, and that it "
        "accepts connections from this machine.",
    )


def test_an_interruption_ends_a_run_at_once_and_is_said_plainly(
    silent_port: tuple[int, threading.Event],
) -> None:
    port, came = silent_port

    def interrupt() -> None:
        came.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    settings = settings_for(port)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        done = run_of(settings, MAIN_JOB)
    finally:
        signal.signal(signal.SIGTERM, before)
        came.set()
        interrupting.join()
    assert done.failures == (
        "The run was interrupted. Nothing of what it had begun counts; run it again to go on.",
    )
    with instance_of(settings) as instance:
        run = instance.get_run_by_id(done.run_id)
        events = instance.all_logs(done.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert not [
        entry
        for entry in events
        if entry.dagster_event and entry.dagster_event.event_type_value == "STEP_UP_FOR_RETRY"
    ]
