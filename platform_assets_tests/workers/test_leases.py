"""Leases on a real Redis: long work stays with its worker; and what the doctor sees of the broker."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from platform_assets.diagnosis import Health
from platform_assets.workers.probes import look_at_broker, look_at_queues
from platform_assets.workers.queues import Broker, BrokerUnavailable
from platform_assets.workers.settings import CelerySettings
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.redis import RedisServer
from platform_assets_tests.integration.installation import ROOT, wait_until

LEASE = 3
PROGRAM = """
import sys, time
from pathlib import Path
from celery import Celery
from platform_assets.workers.executor import options
from platform_assets.workers.lease import renew_leases
from platform_assets.workers.settings import CelerySettings

url, name, renewed = sys.argv[1:]
app = Celery("leases", broker=url, backend=url)
app.conf.update(options(CelerySettings(broker="secret://env/NOT_USED", lease=3)))
if renewed == "renewed":
    renew_leases(app, 3)

@app.task(name="note")
def note(path, until):
    with open(path, "a") as file:
        file.write(f"{name}\\n")
    while not Path(until).exists():
        time.sleep(0.05)

app.worker_main(["worker", "--queues", name.split("-")[0], "--hostname", f"{name}@test", "--concurrency", "1",
                 "--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


@contextlib.contextmanager
def two_workers(folder: Path, server: RedisServer, queue: str, renewed: str) -> Iterator[None]:
    started, logs = [], []
    try:
        for name in (f"{queue}-1", f"{queue}-2"):
            logs.append(folder / f"{name}.log")
            with logs[-1].open("wb") as log:
                command = [sys.executable, "-c", PROGRAM, server.url, name, renewed]
                started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        for log in logs:
            wait_until(lambda log=log: " ready." in log.read_text(), f"{log.stem} is ready")
        yield
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
    with two_workers(tmp_path, redis_server, queue, renewed), Celery(broker=redis_server.url) as app:
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
    assert [one.status for one in findings] == [Health.OK, Health.ERROR, Health.WARNING]
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
