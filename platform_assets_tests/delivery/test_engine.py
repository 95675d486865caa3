"""The engine: once per version, each destination alone, and a receipt of every attempt."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from platform_assets.delivery import engine
from platform_assets.delivery.engine import Order, Watcher
from platform_assets.delivery.interfaces import (
    Bytes,
    DeliveryError,
    DestinationUnavailable,
    Rows,
)
from platform_assets.delivery.receipts import DeliveryBusy, ReceiptRow, claim_end
from platform_assets.delivery.sources.files import FileSource
from platform_assets.errors import PathError
from platform_assets_tests.delivery.making import QUICK, Deliveries, Document, contents, folder_block
from platform_assets_tests.delivery.writers.places import FtpPlace, SftpPlace
from platform_assets_tests.fixtures.ftp import FtpServer
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.poison import UNEXPECTED, name_of, poison_call, told
from platform_assets_tests.fixtures.ssh import SshServer

CONTENT = b"id,name\n1,Ann\n"


@pytest.fixture
def deliveries(tmp_path: Path) -> Deliveries:
    return Deliveries(tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def test_a_delivery_arrives_with_its_metadata_and_a_receipt_of_every_step(
    deliveries: Deliveries, archive: Path
) -> None:
    order = deliveries.order(Document(), {"archive": folder_block(archive)})
    result = deliveries.make(order)
    assert contents(archive) == {"customers.csv": CONTENT}
    metadata = json.loads((archive / "customers.csv.metadata.json").read_text())
    assert (metadata["uuid"], metadata["title"]) == (result.stamp.uuid, "Customers in the morning")
    assert [(row.destination, row.status) for row in deliveries.rows()] == [
        ("", "planned"),
        ("", "started"),
        ("archive", "started"),
        ("archive", "delivered"),
        ("", "delivered"),
    ]
    [receipt] = [row for row in deliveries.rows() if row.file]
    assert (receipt.file, receipt.size, receipt.sent, receipt.rows) == ("customers.csv", 14, 14, 1)
    assert (receipt.version, receipt.files, receipt.attempt) == ("1", 1, 1)
    assert receipt.address == str(archive / "customers.csv")
    assert deliveries.staged() == []


def test_without_a_change_nothing_is_sent_again_unless_it_is_forced(
    deliveries: Deliveries, archive: Path
) -> None:
    source = Document()
    order = deliveries.order(source, {"archive": folder_block(archive)}, template="{uuid}.csv")
    first = deliveries.make(order)
    again = deliveries.make(order)
    assert [one.status for one in again.destinations] == ["unchanged"]
    assert again.stamp == first.stamp
    assert (source.opened, len(contents(archive))) == (1, 1)
    assert deliveries.rows()[-1].status == "skipped"
    assert deliveries.make(order, force=True).destinations[0].status == "delivered"
    source.version_ = "2"
    assert deliveries.make(order).destinations[0].status == "delivered"
    source.version_ = "1"
    assert deliveries.make(order).destinations[0].status == "delivered", "an old version is news again"
    assert len(contents(archive)) == 4


def test_another_definition_of_the_same_data_is_sent(deliveries: Deliveries, archive: Path) -> None:
    source, to = Document(), {"archive": folder_block(archive)}
    deliveries.make(deliveries.order(source, to))
    assert deliveries.make(deliveries.order(source, to, definition="e")).destinations[0].status == "delivered"


def test_a_new_destination_gets_the_current_version_and_the_others_nothing(
    deliveries: Deliveries, archive: Path, tmp_path: Path
) -> None:
    source = Document()
    first = deliveries.make(deliveries.order(source, {"archive": folder_block(archive)}))
    both = {"archive": folder_block(archive), "new": folder_block(tmp_path / "new")}
    second = deliveries.make(deliveries.order(source, both))
    assert [one.status for one in second.destinations] == ["unchanged", "delivered"]
    assert second.stamp == first.stamp


def test_a_destination_that_fails_fails_alone_and_is_caught_up_alone(
    deliveries: Deliveries, archive: Path, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    wrong = deliveries.order(
        Document(),
        {"archive": folder_block(archive), "ftp": place.signed_in_wrongly()},
        template="{uuid}.csv",
    )
    result = deliveries.make(wrong)
    assert [one.status for one in result.destinations] == ["delivered", "failed"]
    assert list(result.failures) == ["ftp"]
    assert deliveries.told("ftp") == [("started", 1), ("failed", 1)], "a wrong password is tried once"
    assert deliveries.staged() != [], "the files wait for the destination"
    before = contents(archive)
    right = deliveries.order(
        Document(), {"archive": folder_block(archive), "ftp": place.block()}, template="{uuid}.csv"
    )
    again = deliveries.make(right)
    assert [one.status for one in again.destinations] == ["unchanged", "delivered"]
    assert again.stamp.uuid == result.stamp.uuid
    assert contents(archive) == before
    assert place.read(f"{result.stamp.uuid}.csv") == CONTENT
    assert deliveries.told("archive") == [("started", 1), ("delivered", 1)]
    assert deliveries.staged() == []


def test_a_newer_version_replaces_the_one_that_a_destination_did_not_get(
    deliveries: Deliveries, archive: Path, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    source = Document()
    deliveries.make(deliveries.order(source, {"ftp": place.signed_in_wrongly()}))
    source.version_, source.content = "2", {"customers.csv": b"newer"}
    deliveries.make(deliveries.order(source, {"ftp": place.block()}))
    assert place.read("customers.csv") == b"newer"
    assert deliveries.staged() == []


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_connection_that_breaks_is_resumed_by_the_next_attempt(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path, share: float
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    content = os.urandom(1_000_000)
    plain_ftp_server.cut_after = int(len(content) * share)

    def mend(name: str) -> None:
        plain_ftp_server.cut_after = None

    order = deliveries.order(Document({"big.bin": content}), {"ftp": place.block()})
    order = dataclasses.replace(order, policy=dataclasses.replace(QUICK, first_wait=0.2, longest_wait=0.2))
    watched: list[str] = []

    def report(line: str) -> None:
        watched.append(line)
        if "failed and is made again" in line:
            mend(line)

    from platform_assets.delivery.engine import Watcher

    result = deliveries.engine.deliver(order, Watcher(report))
    assert result.failures == {}
    assert place.read("big.bin") == content
    failed, delivered = [row for row in deliveries.rows() if row.destination and row.status != "started"]
    assert (failed.status, failed.attempt, delivered.status, delivered.attempt) == (
        "failed",
        1,
        "delivered",
        2,
    )
    assert "127.0.0.1" in failed.reason
    assert delivered.size == len(content)
    assert any("attempt 1 failed" in line for line in watched)


def test_a_server_that_always_breaks_off_fails_after_the_last_attempt(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    plain_ftp_server.cut_after = 10
    order = deliveries.order(Document({"big.bin": os.urandom(100_000)}), {"ftp": place.block()})
    assert list(deliveries.make(order).failures) == ["ftp"]
    assert deliveries.told("ftp")[1:] == [("failed", 1), ("failed", 2), ("failed", 3)]
    assert place.read("big.bin") is None


def test_a_full_disk_of_the_destination_is_a_failure_with_its_reason(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    plain_ftp_server.full_after = 100
    order = deliveries.order(Document({"big.bin": os.urandom(100_000)}), {"ftp": place.block()})
    assert list(deliveries.make(order).failures) == ["ftp"]
    assert place.read("big.bin") is None
    assert deliveries.rows()[-1].status == "failed"
    assert deliveries.rows()[-1].reason.startswith("ftp: ")


def test_a_changed_host_key_is_refused_at_the_first_attempt(
    deliveries: Deliveries, ssh_server: SshServer, tmp_path: Path
) -> None:
    place = SftpPlace(ssh_server, tmp_path)
    block = place.block()
    block["sftp"]["host_key"] = f"SHA256:{'A' * 43}"
    result = deliveries.make(deliveries.order(Document(), {"sftp": block}))
    assert list(result.failures) == ["sftp"]
    assert "key" in result.failures["sftp"]
    assert deliveries.told("sftp") == [("started", 1), ("failed", 1)]
    assert place.read("customers.csv") is None


def test_a_slow_server_is_given_up_at_the_deadline(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    plain_ftp_server.silent_after = 1_000
    order = deliveries.order(
        Document({"big.bin": os.urandom(10_000_000)}), {"ftp": {**place.block(), "timeout": 1}}
    )
    order = dataclasses.replace(
        order, policy=dataclasses.replace(QUICK, attempts=100, first_wait=0.5, longest_wait=0.5, deadline=2)
    )
    result = deliveries.make(order)
    assert list(result.failures) == ["ftp"]
    attempts = [number for status, number in deliveries.told("ftp") if status == "failed"]
    assert 1 <= len(attempts) < 100
    assert place.read("big.bin") is None


def test_of_two_runs_at_the_same_moment_one_sends_and_the_other_says_so(
    deliveries: Deliveries, archive: Path, tmp_path: Path
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        reading.set()
        assert go_on.wait(PATIENCE)

    source = Document(before=hold)
    order = deliveries.order(source, {"archive": folder_block(archive)}, template="{uuid}.csv")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(deliveries.make, order)
        assert reading.wait(PATIENCE)
        # As from another process: with a log of its own.
        with pytest.raises(DeliveryBusy, match="is being delivered by another run"):
            Deliveries(tmp_path).make(order)
        go_on.set()
        assert first.result().failures == {}
    assert len(contents(archive)) == 1


def _claimed(deliveries: Deliveries, by: str, until: dt.datetime) -> None:
    now = dt.datetime.now(dt.UTC)
    row = ReceiptRow(
        "customers",
        "planned",
        version="1",
        definition="d",
        uuid="u",
        planned_at=now,
        claimed_until=until,
        claimed_by=by,
    )
    deliveries.receipts.append([row])


def test_a_claim_of_another_machine_holds_until_it_ends(deliveries: Deliveries, archive: Path) -> None:
    order = deliveries.order(Document(), {"archive": folder_block(archive)})
    now = dt.datetime.now(dt.UTC)
    _claimed(deliveries, "other-machine:1:1:aaaa", claim_end(now))
    with pytest.raises(DeliveryBusy, match="other-machine"):
        deliveries.make(order)
    _claimed(deliveries, "other-machine:1:1:aaaa", now)
    assert deliveries.make(order).stamp.uuid == "u", "the interrupted delivery is continued"


def test_the_version_of_data_that_only_reading_tells_is_a_checksum_of_it(
    deliveries: Deliveries, archive: Path
) -> None:
    source = Document(version_=None)
    order = deliveries.order(source, {"archive": folder_block(archive)}, template="{uuid}.csv")
    first = deliveries.make(order)
    assert first.stamp.version.startswith("sha256:")
    assert first.files[0].stamp == first.stamp
    assert deliveries.make(order).destinations[0].status == "unchanged"
    source.content = {"customers.csv": b"other"}
    assert deliveries.make(order).destinations[0].status == "delivered"
    assert len(contents(archive)) == 2
    assert deliveries.staged() == []


def test_files_that_may_be_missing_are_nothing_to_deliver_until_there_are_some(
    deliveries: Deliveries, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()

    def order(*, may_be_empty: bool) -> Order:
        return deliveries.order(
            FileSource(f"{tmp_path}/in/*.csv", may_be_empty), {"archive": folder_block(archive)}
        )

    empty = order(may_be_empty=True)
    assert deliveries.make(empty, dry_run=True).destinations[0].status == "unchanged"
    assert deliveries.rows() == []
    for reason in (
        "the source has no file, and may be empty",
        *["every destination has this version already"] * 2,
    ):
        result = deliveries.make(empty)
        assert (result.files, [one.status for one in result.destinations]) == ((), ["unchanged"])
        assert (deliveries.rows()[-1].status, deliveries.rows()[-1].reason) == ("skipped", reason)
    assert deliveries.staged() == []
    with pytest.raises(DeliveryError, match="No file matches"):
        deliveries.make(order(may_be_empty=False))
    (tmp_path / "in" / "a.csv").write_bytes(CONTENT)
    assert deliveries.make(empty).destinations[0].status == "delivered"
    assert contents(archive) == {"a.csv": CONTENT}


def test_unread_data_that_a_destination_lacks_is_sent_there_alone(
    deliveries: Deliveries, archive: Path, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    source = Document(version_=None)
    to = {"archive": folder_block(archive), "ftp": place.signed_in_wrongly()}
    first = deliveries.make(deliveries.order(source, to, template="{uuid}.csv"))
    again = deliveries.make(deliveries.order(source, {**to, "ftp": place.block()}, template="{uuid}.csv"))
    assert [one.status for one in again.destinations] == ["unchanged", "delivered"]
    assert (again.stamp, list(contents(archive))) == (first.stamp, [f"{first.stamp.uuid}.csv"])
    done = deliveries.make(deliveries.order(source, {**to, "ftp": place.block()}, template="{uuid}.csv"))
    assert [one.status for one in done.destinations] == ["unchanged", "unchanged"]


def test_a_dry_run_renders_and_neither_sends_nor_records(deliveries: Deliveries, archive: Path) -> None:
    result = deliveries.make(deliveries.order(Document(), {"archive": folder_block(archive)}), dry_run=True)
    assert [one.status for one in result.destinations] == ["planned"]
    assert result.files[0].size == len(CONTENT)
    assert (archive.exists(), deliveries.rows(), deliveries.staged()) == (False, [], [])


def test_data_that_cannot_be_read_is_recorded_and_the_next_run_delivers_it(
    deliveries: Deliveries, archive: Path
) -> None:
    def fail(name: str) -> None:
        raise DestinationUnavailable("The database does not answer.")

    source = Document(before=fail)
    order = deliveries.order(source, {"archive": folder_block(archive)})
    with pytest.raises(DestinationUnavailable):
        deliveries.make(order)
    assert source.opened == QUICK.attempts
    assert [(row.status, row.reason) for row in deliveries.rows()] == [
        ("planned", ""),
        ("failed", "The database does not answer."),
    ]
    assert deliveries.staged() == []
    source.before = lambda name: None
    assert deliveries.make(order).failures == {}
    assert deliveries.rows()[0].uuid == deliveries.rows()[-1].uuid


def test_an_error_that_nobody_foresaw_is_recorded_without_its_text(
    deliveries: Deliveries, archive: Path
) -> None:
    def fail(name: str) -> None:
        raise KeyError("4111 1111 1111 1111")

    with pytest.raises(KeyError):
        deliveries.make(deliveries.order(Document(before=fail), {"archive": folder_block(archive)}))
    assert "4111" not in str(deliveries.rows())
    assert "KeyError" in deliveries.rows()[-1].reason


@pytest.mark.parametrize("error", UNEXPECTED, ids=name_of)
def test_an_error_before_the_first_attempt_fails_one_destination_and_the_others_get_the_files(
    deliveries: Deliveries,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    new = tmp_path / "new"
    order = deliveries.order(Document(), {"archive": folder_block(archive), "new": folder_block(new)})
    with monkeypatch.context() as patch:
        poison_call(
            patch, engine._Sending, "__init__", lambda _, run, claimed, name, *__: name == "new", error
        )
        result = deliveries.make(order)
    assert [one.status for one in result.destinations] == ["delivered", "failed"]
    assert told(error) in result.failures["new"]
    assert deliveries.told("new")[-1][0] == "failed"
    assert deliveries.make(order).failures == {}
    assert len(contents(new)) == len(contents(archive)) == 1


def test_a_watcher_that_fails_does_the_delivery_no_harm(deliveries: Deliveries, archive: Path) -> None:
    calls = []

    def fail(*arguments: object) -> None:
        calls.append(arguments)
        raise BrokenPipeError("The terminal was closed.")

    order = deliveries.order(Document(), {"archive": folder_block(archive)})
    result = deliveries.engine.deliver(order, Watcher(fail, fail))
    assert calls
    assert [one.status for one in result.destinations] == ["delivered"]
    assert deliveries.told("archive") == [("started", 1), ("delivered", 1)]


def test_a_claim_is_renewed_again_after_an_error_that_nobody_foresaw(
    deliveries: Deliveries, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_RENEWED_EVERY", 0.01)
    append, tries, renewed = deliveries.receipts.append, [], threading.Event()

    def appended(rows: list[ReceiptRow]) -> None:
        if rows[0].status != "planned" or reading.is_set() is False:
            return append(rows)
        tries.append(rows)
        if len(tries) == 1:
            raise KeyError("unforeseen")
        renewed.set()
        return append(rows)

    reading = threading.Event()

    def wait(name: str) -> None:
        reading.set()
        assert renewed.wait(PATIENCE)

    monkeypatch.setattr(deliveries.receipts, "append", appended)
    order = deliveries.order(Document(before=wait), {"archive": folder_block(archive)})
    assert deliveries.make(order).failures == {}
    assert len(tries) >= 2


def test_held_back_data_is_not_even_read(deliveries: Deliveries, archive: Path) -> None:
    source = Document()
    with pytest.raises(DeliveryError, match="is held back: the check not_null failed"):
        deliveries.make(
            deliveries.order(source, {"archive": folder_block(archive)}),
            held_back="the check not_null failed",
        )
    assert source.opened == 0
    assert deliveries.rows()[-1].status == "failed"


def test_several_files_that_would_get_one_name_are_refused(deliveries: Deliveries, archive: Path) -> None:
    source = Document({"a.csv": b"a", "b.csv": b"b"})
    with pytest.raises(DeliveryError, match=r"Two files of the delivery would be named all\.csv"):
        deliveries.make(deliveries.order(source, {"archive": folder_block(archive)}, template="all.csv"))
    result = deliveries.make(
        deliveries.order(source, {"archive": folder_block(archive)}, template="{number}-{0}")
    )
    assert contents(archive) == {"1-a.csv": b"a", "2-b.csv": b"b"}
    assert [row.files for row in deliveries.rows() if row.file] == [2, 2]
    assert len(result.destinations[0].receipts) == 2


def test_files_that_a_destination_has_are_not_sent_to_it_again(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    order = deliveries.order(
        Document({"a.bin": b"a" * 1_000, "b.bin": os.urandom(500_000)}), {"ftp": place.block()}
    )
    plain_ftp_server.cut_after = 100_000
    assert list(deliveries.make(order).failures) == ["ftp"]
    plain_ftp_server.cut_after = None
    assert deliveries.make(order).failures == {}
    assert [row.file for row in deliveries.rows() if row.status == "delivered" and row.file] == [
        "a.bin",
        "b.bin",
    ]


@dataclasses.dataclass
class OneFile:
    """A file on disk, delivered as it is."""

    path: Path

    def version(self) -> str:
        return str(self.path.stat().st_mtime_ns)

    @contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        yield iter([Bytes(self.path.name, iter(()), path=self.path)])


def test_a_file_on_disk_is_not_copied(deliveries: Deliveries, archive: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(CONTENT)
    result = deliveries.make(deliveries.order(OneFile(file), {"archive": folder_block(archive)}))
    assert contents(archive) == {"report.pdf": CONTENT}
    assert result.files[0].path == file
    assert file.read_bytes() == CONTENT


def test_a_file_that_changes_while_it_is_sent_is_not_delivered_half(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(b"old" * 100_000)
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    order = deliveries.order(OneFile(file), {"ftp": place.block()})

    from platform_assets.delivery.engine import Watcher

    def progress(destination: str, sent: int, total: int) -> None:
        if file.read_bytes()[:3] == b"old":
            file.write_bytes(b"new" * 100_000)

    result = deliveries.engine.deliver(order, Watcher(progress=progress))
    assert list(result.failures) == ["ftp"]
    assert "changed while it was sent" in result.failures["ftp"]
    assert deliveries.make(order).failures == {}
    assert place.read("report.pdf") == b"new" * 100_000


@pytest.mark.parametrize("is_old", [True, False])
def test_bytes_of_the_same_size_and_time_of_modification_that_change_while_they_are_sent_are_noticed(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path, is_old: bool
) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(b"old" * 100_000)
    if is_old:
        os.utime(file, ns=(10**18, 10**18))
        time.sleep(0.1)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    order = deliveries.order(OneFile(file), {"ftp": place.block()})

    def progress(destination: str, sent: int, total: int) -> None:
        if file.read_bytes()[:3] == b"old":
            with file.open("r+b") as opened:
                opened.write(b"new" * 100_000)
            os.utime(file, ns=times)

    result = deliveries.engine.deliver(order, Watcher(progress=progress))
    assert "changed while it was sent" in result.failures["ftp"]


def test_a_file_whose_times_change_and_whose_bytes_do_not_is_delivered(
    deliveries: Deliveries, plain_ftp_server: FtpServer, tmp_path: Path
) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(CONTENT)
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    order = deliveries.order(OneFile(file), {"ftp": place.block()})
    touched = deliveries.engine.deliver(order, Watcher(progress=lambda *_: os.utime(file, (1, 1))))
    assert touched.failures == {}
    assert place.read("report.pdf") == CONTENT


def test_an_interruption_stops_the_run_and_the_next_one_continues_it(
    deliveries: Deliveries, archive: Path
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    source = Document(before=interrupt)
    order = deliveries.order(source, {"archive": folder_block(archive)}, template="{uuid}.csv")
    with pytest.raises(KeyboardInterrupt):
        deliveries.make(order)
    source.before = lambda name: None
    result = deliveries.make(order)
    assert list(contents(archive)) == [f"{result.stamp.uuid}.csv"]
    assert {row.uuid for row in deliveries.rows()} == {result.stamp.uuid}


def test_more_than_the_disk_may_hold_is_refused(deliveries: Deliveries, archive: Path) -> None:
    source = Document({"big.bin": b"x" * 10_000_001})
    with pytest.raises(DeliveryError, match="take more than 9 MB on local disk"):
        deliveries.make(deliveries.order(source, {"archive": folder_block(archive)}))
    assert deliveries.staged() == []


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can grow beyond a megabyte, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_takes_no_more_fails_the_delivery_and_the_next_run_makes_it(
    deliveries: Deliveries, archive: Path
) -> None:
    source = Document({"big.bin": os.urandom(1_500_000)})
    order = deliveries.order(source, {"archive": folder_block(archive)})
    with pytest.raises(PathError, match="staging"):
        deliveries.make(order)
    assert (deliveries.staged(), contents(archive)) == ([], {})
    assert deliveries.rows()[-1].status == "failed"
    assert "File too large" in deliveries.rows()[-1].reason
    source.content = {"big.bin": b"small"}
    assert deliveries.make(order).failures == {}
    assert contents(archive) == {"big.bin": b"small"}
