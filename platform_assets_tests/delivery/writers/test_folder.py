"""Folders: full disks, damaged disks, names that are taken, and two attempts at once."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets.delivery.writers.content import temporary_name
from platform_assets_tests.delivery.writers.places import FolderPlace, Stage, deliver, opened, writer_of
from platform_assets_tests.fixtures.environment import server_environment

WITH_A_LIMIT = """
import resource, sys
from pathlib import Path
from platform_assets.delivery.interfaces import DeliveryError
from platform_assets_tests.delivery.writers.places import Stage, deliver
file = Stage(Path(sys.argv[1]))(bytes(3_000_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    deliver({"address": sys.argv[2]}, file)
except DeliveryError as error:
    print(error.retryable, error)
"""


def test_a_disk_that_is_full_is_tried_again_later(tmp_path: Path, stage: Stage) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here; that takes root")
    try:
        with pytest.raises(DestinationUnavailable, match=r"No space left on device. Free some space"):
            deliver({"address": str(small)}, stage(bytes(3_000_000)))
        assert not (small / "customers.csv").exists()
        deliver({"address": str(small)}, stage(b"a;b\n"))
        assert sorted(path.name for path in small.iterdir()) == [
            "customers.csv",
            "customers.csv.metadata.json",
        ]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_limit_on_the_size_of_files_is_told(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITH_A_LIMIT, str(tmp_path / "staged"), str(tmp_path / "delivered")],
        capture_output=True,
        text=True,
        env=server_environment(),
        check=True,
    )
    assert ended.stdout.startswith("False")
    assert "File too large" in ended.stdout
    assert not (tmp_path / "delivered" / "customers.csv").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_000_000


def test_what_the_disk_has_changed_is_not_delivered(
    folder_place: FolderPlace, stage: Stage, tmp_path: Path
) -> None:
    file = stage(b"a;b\n" * 1_000_000)
    temporary = tmp_path / "delivered" / temporary_name(file)

    def damage(_: int) -> None:
        # In place, as a disk would; the writer's own handle writes behind it.
        with temporary.open("r+b") as target:
            target.write(b"x")

    with (
        pytest.raises(DestinationUnavailable, match="another checksum"),
        opened(folder_place.block()) as transfer,
    ):
        transfer.write(file, damage)
    assert folder_place.names() == set()


def test_a_file_in_place_of_the_folder_is_final(tmp_path: Path, stage: Stage) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DeliveryError, match="A file is where a folder is needed") as error:
        deliver({"address": str(tmp_path / "taken")}, stage(b"a;b\n"))
    assert not error.value.retryable


def test_a_folder_in_place_of_the_file_is_final(
    folder_place: FolderPlace, stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "delivered" / "customers.csv").mkdir(parents=True)
    with pytest.raises(DeliveryError, match="A folder is where the file is needed") as error:
        deliver(folder_place.block(), stage(b"a;b\n"))
    assert not error.value.retryable


def test_a_link_under_the_temporary_name_is_not_followed(
    folder_place: FolderPlace, stage: Stage, tmp_path: Path
) -> None:
    file = stage(b"a;b\n")
    (tmp_path / "victim").write_text("keep me")
    (tmp_path / "delivered").mkdir()
    (tmp_path / "delivered" / temporary_name(file)).symlink_to(tmp_path / "victim")
    with pytest.raises(DeliveryError):
        deliver(folder_place.block(), file)
    assert (tmp_path / "victim").read_text() == "keep me"


def test_two_attempts_at_once_do_not_mix_their_bytes(folder_place: FolderPlace, stage: Stage) -> None:
    file = stage(os.urandom(3_000_000))
    refused: list[DestinationUnavailable] = []

    def meanwhile(_: int) -> None:
        with pytest.raises(DestinationUnavailable, match="Another process is writing") as error:
            deliver(folder_place.block(), file)
        refused.append(error.value)

    with opened(folder_place.block()) as transfer:
        transfer.write(file, meanwhile)
    assert refused
    assert folder_place.read(file.name) == file.path.read_bytes()


def test_the_link_opens_the_file(folder_place: FolderPlace, stage: Stage) -> None:
    import datetime as dt

    file = stage(b"a;b\n", "März & co/customers 1.csv")
    deliver(folder_place.block(), file)
    link = writer_of(folder_place.block()).link(file, dt.timedelta(hours=1))
    assert link is not None
    assert Path(unquote(urlsplit(link).path)).read_bytes() == b"a;b\n"
