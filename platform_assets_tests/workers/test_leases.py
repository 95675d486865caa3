"""Leases on a real Redis: long work stays with its worker; and what the doctor sees of the broker."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from typer.testing import CliRunner

from platform_assets.diagnosis import Health
from platform_assets.workers.command import app as command
from platform_assets.workers.probes import look_at_broker, look_at_queues
from platform_assets.workers.queues import Broker, BrokerUnavailable
from platform_assets.workers.settings import CelerySettings
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.redis import RedisServer
from platform_assets_tests.integration.installation import ROOT, wait_until

LEASE = 3
PROGRAM = """
import signal, sys, time
from pathlib import Path
from celery import Celery
from platform_assets.workers.lease import Work, renew_leases
from platform_assets.workers.messages import options
from platform_assets.workers.settings import CelerySettings

url, name, renewed = sys.argv[1:]
app = Celery("leases", broker=url, backend=url)
app.conf.update(options(CelerySettings(broker="secret://env/NOT_USED", lease=3)))
if renewed == "renewed":
    renew_leases(app, 3)

@app.task(name="note", base=Work)
def note(path, until, is_deaf=False):
    if is_deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(path, "a") as file:
        file.write(f"{name}\\n")
    while not Path(until).exists():
        time.sleep(0.05)

app.worker_main(["worker", "--queues", name.split("-")[0], "--hostname", f"{name}@test", "--concurrency", "1",
                 "--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


@contextlib.contextmanager
def some_workers(
    folder: Path, server: RedisServer, queue: str, renewed: str = "renewed", count: int = 2
) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    logs: list[Path] = []
    try:
        for name in (f"{queue}-{number}" for number in range(1, count + 1)):
            logs.append(folder / f"{name}.log")
            with logs[-1].open("wb") as log:
                command = [sys.executable, "-c", PROGRAM, server.url, name, renewed]
                started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        for log in logs:
            wait_until(lambda log=log: " ready." in log.read_text(), f"{log.stem} is ready")
        yield started
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait(PATIENCE)


def settings_of(folder: Path, url: str) -> CelerySettings:
    (folder / "broker").write_text(url)
    return CelerySettings(broker=f"secret://file{folder / 'broker'}", lease=LEASE)


@pytest.mark.parametrize("renewed", ["renewed", pytest.param("left alone", marks=pytest.mark.soak)])
def test_work_that_takes_longer_than_its_lease_goes_to_another_worker_only_if_nobody_renews_it(
    redis_server: RedisServer, tmp_path: Path, renewed: str
) -> None:
    queue = "renewed" if renewed == "renewed" else "alone"
    noted, end, later = (tmp_path / name for name in ("noted", "end", "later"))
    with some_workers(tmp_path, redis_server, queue, renewed), Celery(broker=redis_server.url) as app:
        app.send_task("note", [str(noted), str(end)], queue=queue)
        wait_until(lambda: noted.exists() and noted.read_text() != "", "a worker has the work")
        if renewed == "renewed":
            found = list(look_at_queues(settings_of(tmp_path, redis_server.url), [queue, "nobodys"]))
            assert [(one.subject, one.status) for one in found] == [
                (f"queue {queue}", Health.OK),
                ("queue nobodys", Health.ERROR),
            ]
            with redis_server.client() as client:
                [(message, first)] = client.zrange("unacked_index", 0, -1, withscores=True)
                # The lease began more than three leases ago, and the message is where it was.
                wait_until(
                    lambda: client.zscore("unacked_index", message) > first + 3 * LEASE, "three leases go by"
                )
            assert len(noted.read_text().split()) == 1
        else:
            wait_until(lambda: len(noted.read_text().split()) == 2, "the other worker gets the work too")
        end.touch()
        # Both workers take work again.
        app.send_task("note", [str(later), str(end)], queue=queue)
        wait_until(later.exists, "a worker is free again")
    assert len(set(noted.read_text().split())) == (1 if renewed == "renewed" else 2)


def test_sigterm_lets_a_worker_end_its_work_and_leaves_what_waits_to_others(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    noted, end, later = (tmp_path / name for name in ("noted", "end", "later"))
    with (
        some_workers(tmp_path, redis_server, "drained", count=1) as (worker,),
        redis_server.client() as client,
        Celery(broker=redis_server.url) as app,
    ):
        app.send_task("note", [str(noted), str(end)], queue="drained")
        wait_until(noted.exists, "the worker has the work")
        app.send_task("note", [str(later), str(end)], queue="drained")
        worker.terminate()
        wait_until(lambda: "Warm shutdown" in (tmp_path / "drained-1.log").read_text(), "it drains")
        end.touch()
        assert worker.wait(PATIENCE) == 0
        assert not later.exists()
        assert (client.llen("drained"), client.zcard("unacked_index")) == (1, 0)
        client.delete("drained")


@pytest.mark.soak
def test_cancelled_work_that_is_deaf_to_sigterm_is_killed_after_a_lease_and_the_worker_goes_on(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    noted, never, later, end = (tmp_path / name for name in ("noted", "never", "later", "end"))
    with (
        some_workers(tmp_path, redis_server, "deaf", count=1),
        redis_server.client() as client,
        Celery(broker=redis_server.url, backend=redis_server.url) as app,
    ):
        sent = app.send_task("note", [str(noted), str(never), True], queue="deaf")
        wait_until(noted.exists, "the worker has the work")
        sent.revoke(terminate=True)
        end.touch()
        app.send_task("note", [str(later), str(end)], queue="deaf")
        wait_until(later.exists, "the worker is free again")
        wait_until(lambda: client.zcard("unacked_index") == 0, "no message is held")
    assert noted.read_text().split() == ["deaf-1"]


def test_the_command_shows_how_much_waits_in_each_queue_and_who_takes_from_it(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broker").write_text(redis_server.url)
    (tmp_path / "dagster").mkdir()
    config = tmp_path / "platform.conf"
    config.write_text(
        f'include file("{ROOT / "config" / "platform.conf"}")\n'
        'workers { celery { broker = "secret://file/./broker" }, jobs { '
        "totesys_to_warehouse { steps = celery }, inspect_uploads { queue = waiting } } }\n"
    )
    monkeypatch.setenv("PLATFORM_CONFIG", str(config))
    with (
        redis_server.client() as client,
        some_workers(tmp_path, redis_server, "loads", count=1),
        Celery(broker=redis_server.url) as app,
    ):
        for _ in range(3):
            app.send_task("note", ["", ""], queue="waiting")
        shown = CliRunner().invoke(command, ["queues"])
        client.delete("waiting")
    assert shown.exit_code == 0, shown.output
    rows = [line.split() for line in shown.output.splitlines()]
    assert ["queue", "waiting", "workers"] in rows
    assert {row[0]: row[1:] for row in rows if len(row) == 3 and row[0] != "queue"} == {
        "extraction": ["0", "0"],
        "inspection": ["0", "0"],
        "loads": ["0", "1"],
        "runs": ["0", "0"],
        "transformation": ["0", "0"],
        "waiting": ["3", "0"],
    }


def test_the_doctor_tells_a_broker_that_works_from_one_that_does_not(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    [found] = look_at_broker(settings_of(tmp_path, redis_server.url))
    assert (found.subject, found.status) == ("broker", Health.OK)
    port = redis_server.url.rpartition(":")[2]
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
        try:
            findings = list(look_at_broker(settings_of(tmp_path, redis_server.url)))
        finally:
            client.config_set("appendonly", "yes")
            client.config_set("maxmemory-policy", "noeviction")
    assert [finding.status for finding in findings] == [Health.OK, Health.ERROR, Health.WARNING]
    [refused] = look_at_broker(settings_of(tmp_path, f"redis://:wr@ng0nes@127.0.0.1:{port}"))
    assert refused.status == Health.ERROR
    assert "ng0nes" not in refused.sentence


def test_a_broker_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "redis://:p@ss@127.0.0.1:9/0")
    with (
        pytest.raises(
            BrokerUnavailable, match=r"Redis at redis://127\.0\.0\.1:9/0 cannot be used"
        ) as refused,
        Broker.open(settings.broker.resolve()) as broker,
    ):
        broker.facts()
    assert "ss@" not in str(refused.value)
