"""SFTP: host keys, ways to sign in, servers that can do less than others, and quick packets."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.connection import SSHClientConnection

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets.delivery.writers import ssh_packets
from platform_assets_tests.delivery.writers.places import SftpPlace, Stage, deliver, opened
from platform_assets_tests.fixtures.ssh import new_key

LARGE = random.Random(4).randbytes(12_000_000)


def with_options(place: SftpPlace, **options: Any) -> dict[str, Any]:
    """The place's block with other options; None removes one."""
    block = place.block()
    block["sftp"] = {name: one for name, one in {**block["sftp"], **options}.items() if one is not None}
    return block


def secret(folder: Path, text: str) -> str:
    (folder / "a_secret").write_text(text)
    return f"secret://file{folder / 'a_secret'}"


@pytest.mark.parametrize("name", ["asyncssh_place", "openssh_place"])
def test_the_server_is_known_by_fingerprint_by_line_and_by_file(
    name: str, stage: Stage, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place: SftpPlace = request.getfixturevalue(name)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{place.port} {place.server.host_key}\n")
    for number, options in enumerate(
        (
            {"host_key": place.server.fingerprint},
            {"host_key": place.server.host_key},
            {"host_key": f"{place.server.host_key} the owner's comment"},
            {"host_key": None, "known_hosts": str(known)},
        )
    ):
        deliver(with_options(place, **options), stage(b"a;b\n", f"{number}.csv"))
        assert place.read(f"{number}.csv") == b"a;b\n"


@pytest.mark.parametrize("way", ["fingerprint", "line", "file", "empty file"])
def test_a_changed_host_key_is_final_and_says_what_to_do(
    asyncssh_place: SftpPlace, stage: Stage, tmp_path: Path, way: str
) -> None:
    _, line, fingerprint = new_key(tmp_path, "another_host_key")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{asyncssh_place.port} {line}\n" if way == "file" else "")
    options = {
        "fingerprint": {"host_key": fingerprint},
        "line": {"host_key": line},
        "file": {"host_key": None, "known_hosts": str(known)},
        "empty file": {"host_key": None, "known_hosts": str(known)},
    }
    with pytest.raises(DeliveryError, match="is not the server that was expected") as error:
        deliver(with_options(asyncssh_place, **options[way]), stage(b"a;b\n"))
    assert not error.value.retryable
    assert asyncssh_place.server.fingerprint in str(error.value)
    assert "Ask the server's owner" in str(error.value)
    assert asyncssh_place.names() == set()


def test_a_file_of_known_hosts_that_is_not_there_is_final(asyncssh_place: SftpPlace, stage: Stage) -> None:
    with pytest.raises(DeliveryError, match=r"/no/such/file cannot be used: No such file or directory"):
        deliver(with_options(asyncssh_place, host_key=None, known_hosts="/no/such/file"), stage(b"a;b\n"))


def test_a_password_signs_in(asyncssh_place: SftpPlace, stage: Stage, tmp_path: Path) -> None:
    password = secret(tmp_path, asyncssh_place.server.password)
    deliver(with_options(asyncssh_place, key_file=None, password=password), stage(b"a;b\n"))
    assert asyncssh_place.read("customers.csv") == b"a;b\n"


def test_a_key_as_a_secret_signs_in(asyncssh_place: SftpPlace, stage: Stage) -> None:
    key = f"secret://file{asyncssh_place.server.key_file}"
    deliver(with_options(asyncssh_place, key_file=None, private_key=key), stage(b"a;b\n"))
    assert asyncssh_place.read("customers.csv") == b"a;b\n"


def test_a_key_with_a_passphrase_signs_in_and_a_wrong_passphrase_is_final(
    openssh_place: SftpPlace, stage: Stage, tmp_path: Path
) -> None:
    key = asyncssh.read_private_key(str(openssh_place.server.key_file))
    key.write_private_key(str(tmp_path / "locked"), "pkcs8-pem", passphrase="a long walk")
    (tmp_path / "locked").chmod(0o600)
    locked = {"key_file": str(tmp_path / "locked")}
    deliver(
        with_options(openssh_place, **locked, passphrase=secret(tmp_path, "a long walk")), stage(b"a;b\n")
    )
    assert openssh_place.read("customers.csv") == b"a;b\n"
    with pytest.raises(DeliveryError, match=r"decrypt.*\. Correct sftp.passphrase"):
        deliver(with_options(openssh_place, **locked, passphrase=secret(tmp_path, "no")), stage(b"1"))
    with pytest.raises(DeliveryError, match=r"Set sftp.passphrase"):
        deliver(with_options(openssh_place, **locked), stage(b"1"))
    with pytest.raises(DeliveryError, match=r"cannot be read: No such file or directory"):
        deliver(with_options(openssh_place, key_file="/no/such/key"), stage(b"1"))


def test_a_locked_key_in_the_format_of_openssh_names_the_library_that_it_needs(
    asyncssh_place: SftpPlace, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed; apt-get install openssh-client")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a long walk", "-f", str(tmp_path / "locked")]
    subprocess.run(command, check=True)
    monkeypatch.setattr(asyncssh.public_key, "_bcrypt_available", False)
    block = with_options(
        asyncssh_place, key_file=str(tmp_path / "locked"), passphrase=secret(tmp_path, "a long walk")
    )
    with pytest.raises(DeliveryError, match=r"pip install bcrypt. Or .*: ssh-keygen -p -m PKCS8"):
        deliver(block, stage(b"1"))


def test_the_agent_signs_in(
    openssh_place: SftpPlace, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed; apt-get install openssh-client")
    # The name of a socket has at most 107 characters.
    place = Path(os.environ.get("TMPDIR", "/tmp")) / f"agent-{os.getpid()}"
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as agent:
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
            added = 1
            while added:  # until it listens
                assert agent.poll() is None
                command = ["ssh-add", "-q", str(openssh_place.server.key_file)]
                added = subprocess.run(command, capture_output=True, check=False).returncode
            deliver(with_options(openssh_place, key_file=None, agent=True), stage(b"a;b\n"))
            assert openssh_place.read("customers.csv") == b"a;b\n"
        finally:
            agent.terminate()
            agent.wait()
            place.unlink(missing_ok=True)


def test_a_server_that_cannot_rename_over_a_file_gets_the_old_one_removed(
    asyncssh_place: SftpPlace, stage: Stage
) -> None:
    deliver(asyncssh_place.block(), stage(b"older", uuid="older"))
    asyncssh_place.server.has_posix_rename = False
    deliver(asyncssh_place.block(), stage(b"newer", uuid="newer"))
    assert asyncssh_place.read("customers.csv") == b"newer"
    assert asyncssh_place.metadata("customers.csv")["uuid"] == "newer"
    assert asyncssh_place.names() == {"customers.csv", "customers.csv.metadata.json"}


def test_a_full_disk_is_tried_again_later(asyncssh_place: SftpPlace, stage: Stage) -> None:
    asyncssh_place.server.full_after = 5_000_000
    with pytest.raises(DestinationUnavailable, match="disk"):
        deliver(asyncssh_place.block(), stage(LARGE))
    assert asyncssh_place.read("customers.csv") is None
    asyncssh_place.server.full_after = None
    deliver(asyncssh_place.block(), stage(LARGE))
    assert asyncssh_place.read("customers.csv") == LARGE


def test_the_checksum_of_the_server_verifies_the_file(asyncssh_place: SftpPlace, stage: Stage) -> None:
    asyncssh_place.server.has_checksums = True
    (receipt,) = deliver(asyncssh_place.block(), stage(LARGE), sidecar="never")
    assert receipt.verified_by == "sha256"
    (again,) = deliver(asyncssh_place.block(), stage(LARGE), sidecar="never")
    assert (again.sent, again.verified_by) == (0, "sha256")


def test_other_bytes_than_were_sent_are_found_and_removed(asyncssh_place: SftpPlace, stage: Stage) -> None:
    asyncssh_place.server.has_checksums = asyncssh_place.server.damage = True
    with pytest.raises(DestinationUnavailable, match="another checksum"):
        deliver(asyncssh_place.block(), stage(LARGE))
    assert asyncssh_place.read("customers.csv") is None
    asyncssh_place.server.damage = False
    deliver(asyncssh_place.block(), stage(LARGE))
    assert asyncssh_place.read("customers.csv") == LARGE


def test_a_user_who_may_not_write_there_is_final(asyncssh_place: SftpPlace, stage: Stage) -> None:
    block = asyncssh_place.block()
    block["address"] = f"sftp://partner@127.0.0.1:{asyncssh_place.port}/proc/nowhere"
    with pytest.raises(DeliveryError, match="have the user granted the right") as error:
        deliver(block, stage(b"a;b\n"))
    assert not error.value.retryable


@pytest.mark.parametrize("name", ["asyncssh_place", "openssh_place"])
def test_packets_are_quick(
    name: str, stage: Stage, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A library that changes what is used of it shows here; the writer itself goes on without it."""
    place: SftpPlace = request.getfixturevalue(name)
    slow = slow_packets(monkeypatch)
    deliver(place.block(), stage(LARGE))
    assert place.read("customers.csv") == LARGE
    assert slow.count(94) < 10  # SSH_MSG_CHANNEL_DATA


@pytest.mark.parametrize("name", ["asyncssh_place", "openssh_place"])
def test_quick_packets_stay_right_when_keys_are_exchanged_again(
    name: str, stage: Stage, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    place: SftpPlace = request.getfixturevalue(name)
    connect, slow = asyncssh.connect, slow_packets(monkeypatch)

    async def often(*args: Any, **kwargs: Any) -> Any:
        return await connect(*args, **kwargs, rekey_bytes=1_000_000)

    monkeypatch.setattr(asyncssh, "connect", often)
    deliver(place.block(), stage(LARGE))
    assert place.read("customers.csv") == LARGE
    assert slow.count(20) >= 3  # SSH_MSG_KEXINIT


def slow_packets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the kinds of the packets that the library itself sends."""
    send, slow = SSHClientConnection.send_packet, []

    def noted(self: Any, pkttype: int, *args: bytes, **kwargs: Any) -> None:
        slow.append(pkttype)
        send(self, pkttype, *args, **kwargs)

    monkeypatch.setattr(SSHClientConnection, "send_packet", noted)
    return slow


def test_a_library_with_other_parts_works_with_its_own_packets(
    openssh_place: SftpPlace, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_packets, "_PARTS", ("no_such_part",))
    deliver(openssh_place.block(), stage(LARGE))
    assert openssh_place.read("customers.csv") == LARGE


def test_a_notebook_with_a_running_loop_can_deliver(asyncssh_place: SftpPlace, stage: Stage) -> None:
    import asyncio

    async def cell() -> None:
        with opened(asyncssh_place.block()) as transfer:
            transfer.write(stage(b"a;b\n"), lambda _: None)

    asyncio.run(cell())
    assert asyncssh_place.read("customers.csv") == b"a;b\n"


def test_the_extra_is_named_where_asyncssh_is_missing(
    asyncssh_place: SftpPlace, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(DeliveryError, match=r"pip install 'platform-assets\[delivery\]'"):
        deliver(asyncssh_place.block(), stage(b"a;b\n"))
