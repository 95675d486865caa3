"""FTP: encryption, checksums, what servers refuse, and servers that can do less than others."""

from __future__ import annotations

import ftplib
import io
import random
import ssl
from pathlib import Path
from typing import Any

import pytest

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets.delivery.writers import ftp
from platform_assets.delivery.writers.trust import tls_context
from platform_assets_tests.delivery.writers.places import FtpPlace, Stage, VsftpdPlace, deliver, opened
from platform_assets_tests.fixtures.certificates import new_certificate
from platform_assets_tests.fixtures.ftp import PASSWORD, FtpServer, running_ftp_server
from platform_assets_tests.fixtures.patience import PATIENCE

LARGE = random.Random(3).randbytes(8_000_000)
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@pytest.mark.parametrize("version", VERSIONS)
def test_vsftpd_demands_that_the_session_is_continued_and_it_is(
    vsftpd_place: VsftpdPlace, stage: Stage, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = vsftpd_place.server
    context = tls_context(server.ca_file)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    with ftplib.FTP_TLS(context=context, timeout=PATIENCE) as plain:
        plain.connect("127.0.0.1", server.port)
        plain.login("anonymous", PASSWORD)
        plain.prot_p()
        with pytest.raises((ftplib.Error, OSError, EOFError)):
            plain.storbinary("STOR in/refused.csv", io.BytesIO(b"a;b\n"))
    monkeypatch.setattr(ftp, "tls_context", lambda ca_file: context)
    deliver(vsftpd_place.block(), stage(LARGE))
    assert vsftpd_place.read("customers.csv") == LARGE


def test_a_server_without_tls_gets_nothing_unless_the_settings_say_so(
    ftp_place: FtpPlace, stage: Stage
) -> None:
    block = ftp_place.block()
    block["ftp"]["security"] = "tls"
    with pytest.raises(DeliveryError, match="offers no TLS") as error:
        deliver(block, stage(b"a;b\n"))
    assert not error.value.retryable
    assert not any(command.startswith("STOR") for command in ftp_place.server.commands)


@pytest.mark.parametrize("name", ["explicit_place", "implicit_place"])
def test_a_certificate_of_a_stranger_is_final(
    name: str, stage: Stage, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place: FtpPlace = request.getfixturevalue(name)
    (tmp_path / "other").mkdir()
    block = place.block()
    block["ftp"]["ca_file"] = str(new_certificate(tmp_path / "other", "somebody else")[0])
    with pytest.raises(DeliveryError, match="cannot be trusted") as error:
        deliver(block, stage(b"a;b\n"))
    assert not error.value.retryable
    assert place.server.commands in ([], ["AUTH TLS"])


def test_a_file_of_certificates_that_is_not_there_is_final(explicit_place: FtpPlace, stage: Stage) -> None:
    block = explicit_place.block()
    block["ftp"]["ca_file"] = "/no/such/file.pem"
    with pytest.raises(DeliveryError, match=r"cannot be used: No such file or directory. Correct ca_file"):
        deliver(block, stage(b"a;b\n"))


@pytest.mark.parametrize(
    ("lacking", "verified_by"),
    [
        ((), "sha256"),
        (("HASH",), "sha256"),
        (("HASH", "XSHA256"), "md5"),
        (("HASH", "XSHA256", "XMD5"), "size"),
    ],
    ids=["HASH", "XSHA256", "XMD5", "SIZE"],
)
def test_the_best_checksum_of_the_server_verifies_the_file(
    explicit_place: FtpPlace, stage: Stage, lacking: tuple[str, ...], verified_by: str
) -> None:
    explicit_place.server.refuse = [(name, "502 Not here.") for name in lacking]
    (receipt,) = deliver(explicit_place.block(), stage(LARGE))
    assert receipt.verified_by == verified_by


def test_other_bytes_than_were_sent_are_found_and_removed(explicit_place: FtpPlace, stage: Stage) -> None:
    explicit_place.server.damage = True
    with pytest.raises(DestinationUnavailable, match="another checksum"):
        deliver(explicit_place.block(), stage(LARGE), sidecar="never")
    assert explicit_place.read("customers.csv") is None
    explicit_place.server.damage = False
    deliver(explicit_place.block(), stage(LARGE), sidecar="never")
    assert explicit_place.read("customers.csv") == LARGE
    assert explicit_place.names() == {"customers.csv"}


def test_without_a_sidecar_a_checksum_tells_that_the_file_is_there(
    explicit_place: FtpPlace, stage: Stage
) -> None:
    deliver(explicit_place.block(), stage(LARGE), sidecar="never")
    (receipt,) = deliver(explicit_place.block(), stage(LARGE), sidecar="never")
    assert (receipt.sent, receipt.verified_by) == (0, "sha256")


def test_a_server_that_tells_no_sizes_is_believed(ftp_place: FtpPlace, stage: Stage) -> None:
    ftp_place.server.refuse = [("SIZE", "550 Not here.")] * 20
    (receipt,) = deliver(ftp_place.block(), stage(LARGE))
    assert receipt.verified_by == "accepted"
    assert ftp_place.read("customers.csv") == LARGE


@pytest.mark.parametrize("answer", ["450 Not now.", "213 unknown"])
def test_an_odd_answer_about_a_size_is_none(ftp_place: FtpPlace, stage: Stage, answer: str) -> None:
    ftp_place.server.refuse = [("SIZE", answer)] * 20 + [("RETR", "450 Not now.")]
    (receipt,) = deliver(ftp_place.block(), stage(LARGE))
    assert receipt.verified_by == "accepted"
    assert ftp_place.read("customers.csv") == LARGE


def test_a_name_that_the_encoding_of_the_server_lacks_is_final(ftp_place: FtpPlace, stage: Stage) -> None:
    block = ftp_place.block()
    block["ftp"] = {**block["ftp"], "encoding": "latin-1"}
    deliver(block, stage(b"1", "März.csv"))
    with pytest.raises(DeliveryError, match=r"日本\.csv was not written: latin-1 has no '日'"):
        deliver(block, stage(b"1", "日本.csv"))


def test_a_server_that_does_not_rename_over_a_file_gets_the_old_one_deleted_after_the_new_one_is_whole(
    ftp_place: FtpPlace, stage: Stage
) -> None:
    deliver(ftp_place.block(), stage(b"older", uuid="older"))
    ftp_place.server.refuse = [("RNTO", "553 It exists.")]
    ftp_place.server.commands.clear()
    deliver(ftp_place.block(), stage(LARGE, uuid="newer"))
    assert ftp_place.read("customers.csv") == LARGE
    commands = [command.split(" ")[0] for command in ftp_place.server.commands]
    assert commands.index("STOR") < commands.index("RNTO") < commands.index("DELE")
    assert ftp_place.names() == {"customers.csv", "customers.csv.metadata.json"}


@pytest.mark.parametrize("lacks", ["", "REST"])
def test_an_interrupted_file_is_continued_where_it_broke(
    ftp_certificate: tuple[Path, Path], stage: Stage, tmp_path: Path, lacks: str
) -> None:
    with running_ftp_server(*ftp_certificate, tmp_path / "root", lacks=lacks) as server:
        place = FtpPlace(server, tmp_path)
        with place.cut_after(5_000_000) as block, pytest.raises(DestinationUnavailable):
            deliver(block, stage(LARGE))
        server.commands.clear()
        seen: list[int] = []
        with opened(place.block()) as transfer:
            receipt = transfer.write(stage(LARGE), seen.append)
        assert place.read("customers.csv") == LARGE
        assert receipt.sent < 4_000_000
        assert sum(seen) == len(LARGE)
        continued = [one.split(" ")[0] for one in server.commands if one.startswith(("REST", "APPE"))]
        assert continued == (["APPE"] if lacks else ["REST"])


def test_a_server_that_refuses_to_continue_gets_the_file_from_the_beginning(
    ftp_place: FtpPlace, stage: Stage
) -> None:
    with ftp_place.cut_after(5_000_000) as block, pytest.raises(DestinationUnavailable):
        deliver(block, stage(LARGE))
    ftp_place.server.refuse = [("REST", "501 Not today.")]
    seen: list[int] = []
    with opened(ftp_place.block()) as transfer:
        receipt = transfer.write(stage(LARGE), seen.append)
    assert (receipt.sent, sum(seen)) == (len(LARGE), len(LARGE))
    assert ftp_place.read("customers.csv") == LARGE


def test_a_full_disk_is_tried_again_later(explicit_place: FtpPlace, stage: Stage) -> None:
    explicit_place.server.full_after = 1_000_000
    with pytest.raises(DestinationUnavailable) as error:
        deliver(explicit_place.block(), stage(LARGE))
    assert error.value.retryable
    assert explicit_place.read("customers.csv") is None
    explicit_place.server.full_after = None
    deliver(explicit_place.block(), stage(LARGE))
    assert explicit_place.read("customers.csv") == LARGE


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        (("STOR", "552 Exceeded storage allocation."), DeliveryError, "The quota of the user is used up"),
        (("STOR", "553 That name is not allowed."), DeliveryError, "have the user granted the right"),
        (
            ("STOR", "452 No space left."),
            DestinationUnavailable,
            "452 No space left. The next attempt continues",
        ),
        (("PASV", "421 Going down."), DestinationUnavailable, "421 Going down"),
        (("EPSV", "425 Cannot open a data connection."), DestinationUnavailable, "425"),
    ],
    ids=["quota", "name", "space", "shutdown", "data"],
)
def test_refusals_are_final_or_tried_again_as_the_server_means_them(
    ftp_place: FtpPlace, stage: Stage, refusal: tuple[str, str], kind: type[DeliveryError], words: str
) -> None:
    answers = [refusal, *([("PASV", refusal[1])] if refusal[0] == "EPSV" else [])]
    ftp_place.server.refuse = answers * 10
    with pytest.raises(DeliveryError, match=words) as error:
        deliver(ftp_place.block(), stage(b"a;b\n"))
    assert type(error.value) is kind
    assert ftp_place.read("customers.csv") is None


def test_a_server_with_too_many_users_is_tried_again_later(
    ftp_place: FtpPlace, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ftp_place.server.refuse = [("USER", "421 Too many users.")]
    with pytest.raises(DestinationUnavailable, match="421 Too many users"):
        deliver(ftp_place.block(), stage(b"a;b\n"))


def test_nobody_signs_in_without_encryption(explicit_ftp_server: FtpServer, tmp_path: Path) -> None:
    plain: Any = ftplib.FTP(timeout=PATIENCE)
    plain.connect("127.0.0.1", explicit_ftp_server.port)
    with pytest.raises(ftplib.error_perm, match="550"):
        plain.login("partner", PASSWORD)
    plain.close()


def test_a_sidecar_that_was_not_renamed_any_more_is_made_good_by_the_next_attempt(
    ftp_place: FtpPlace, stage: Stage
) -> None:
    deliver(ftp_place.block(), stage(b"older", uuid="older"))
    ftp_place.server.refuse = [("RNTO *.metadata.json", "450 Busy.")]
    with pytest.raises(DestinationUnavailable):
        deliver(ftp_place.block(), stage(b"newer", uuid="newer"))
    deliver(ftp_place.block(), stage(b"newer", uuid="newer"))
    assert ftp_place.read("customers.csv") == b"newer"
    assert ftp_place.metadata("customers.csv")["uuid"] == "newer"
    assert ftp_place.names() == {"customers.csv", "customers.csv.metadata.json"}
