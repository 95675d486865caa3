"""The tasks that move files: what appears is whole, what is the same stays, and nothing leaves its folder."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.isolation import IsolatedFailure
from platform_assets.tasks.plan import Elsewhere
from platform_assets.tasks.publishing import temporary_path, whole_file
from platform_assets.tasks.task import TaskError
from platform_assets_tests.tasks.conftest import Bench, TaskHouse, tree

SUFFIXES = (".tar.gz", ".tgz", ".tar.zst", ".zip")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with files, one of them executable."""
    folder = tmp_path / "files"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a" * 10_000)
    (folder / "sub" / "ä ö.json").write_text("{}")
    (folder / "sub" / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "deep" / "run.sh").chmod(0o755)
    (folder / "empty").touch()
    return folder


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_holds_the_files_and_has_the_same_bytes_for_the_same_files(
    bench: Bench, files: Path, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / "out" / f"x{suffix}"
    made = bench.run("archive", source="files", target=f"out/x{suffix}")
    assert (made.facts["files"], made.changed) == (4, True)
    first = tree(tmp_path / "out")
    for file in files.rglob("*"):
        os.utime(file, (1, 1))
    assert not bench.run("archive", source="files", target=f"out/x{suffix}").changed
    assert tree(tmp_path / "out") == first
    unpacked = bench.run("unarchive", source=f"out/x{suffix}", target="back")
    assert (unpacked.facts, unpacked.changed) == ({"files": 4, "written": 4}, True)
    assert [one[:2] for one in tree(tmp_path / "back")] == [one[:2] for one in tree(files)]
    assert os.access(tmp_path / "back" / "sub" / "deep" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "back" / "a.txt", os.X_OK)
    before = tree(tmp_path / "back")
    assert not bench.run("unarchive", source=f"out/x{suffix}", target="back").changed
    assert tree(tmp_path / "back") == before
    assert target.exists()


def test_an_archive_takes_a_pattern_a_prefix_or_one_file(bench: Bench, files: Path, tmp_path: Path) -> None:
    bench.run("archive", source="files", target="x.zip", pattern="**/*.json", prefix="in/side")
    assert zipfile.ZipFile(tmp_path / "x.zip").namelist() == ["in/side/sub/ä ö.json"]
    bench.run("archive", source="files/a.txt", target="y.zip")
    assert zipfile.ZipFile(tmp_path / "y.zip").namelist() == ["a.txt"]


def test_links_are_never_packed_or_copied_silently(bench: Bench, files: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (files / "link").symlink_to(tmp_path / "secret")
    (files / "folder").symlink_to(tmp_path)
    for name in ("archive", "copy"):
        with pytest.raises(TaskError, match="has 2 links or special files, such as folder, link"):
            bench.run(name, source="files", target="x.zip" if name == "archive" else "copy")
    made = bench.run("archive", source="files", target="x.zip", skip_links=True)
    assert made.facts["files"] == 4


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with tarfile.open(file, "w:gz") as packed:
            for member, content in members:
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))

    return write


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


GOOD = (_member("good.txt"), b"good")


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ((_member("../evil"), b"x"), "outside of the target"),
        ((_member("a/../../evil"), b"x"), "outside of the target"),
        ((_member("/etc/evil"), b"x"), "outside of the target"),
        ((_member("link", tarfile.SYMTYPE, "/etc/passwd"), b""), "a link or a special file"),
        ((_member("hard", tarfile.LNKTYPE, "good.txt"), b""), "a link or a special file"),
        ((_member("pipe", tarfile.FIFOTYPE), b""), "a link or a special file"),
        ((_member("device", tarfile.CHRTYPE), b""), "a link or a special file"),
        ((_member("good.txt"), b"again"), "there twice"),
    ],
)
def test_an_archive_with_something_dangerous_is_refused_as_a_whole(
    bench: Bench, tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], reason: str
) -> None:
    _tar(GOOD, member)(tmp_path / "x.tar.gz")
    with pytest.raises(TaskError, match=reason):
        bench.run("unarchive", source="x.tar.gz", target="out/deep")
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == ["x.tar.gz"]


def test_a_zip_with_a_link_or_a_path_outside_is_refused(bench: Bench, tmp_path: Path) -> None:
    for name, mode in (("../evil", 0o100644), ("/evil", 0o100644), ("link", 0o120777)):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
            entry = zipfile.ZipInfo("good.txt")
            packed.writestr(entry, "good")
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            packed.writestr(entry, "/etc/passwd")
        with pytest.raises(TaskError, match="is refused"):
            bench.run("unarchive", source="x.zip", target="out")
    assert not (tmp_path / "out" / "good.txt").exists()


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip", ".tar.zst"])
def test_a_bomb_is_stopped_at_the_limit(bench: Bench, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "zeros").write_bytes(bytes(8 << 20))
    bench.run("archive", source="zeros", target=f"x{suffix}")
    assert (tmp_path / f"x{suffix}").stat().st_size < 100_000
    with pytest.raises(TaskError, match="unpacks to more than 100,000 files or 4 MB"):
        bench.run("unarchive", source=f"x{suffix}", target="out", max_mb=4)
    (tmp_path / "many").mkdir()
    for number in range(3):
        (tmp_path / "many" / str(number)).touch()
    bench.run("archive", source="many", target=f"y{suffix}")
    with pytest.raises(TaskError, match="more than 1 files"):
        bench.run("unarchive", source=f"y{suffix}", target="out", max_files=1)
    assert not (tmp_path / "out").exists()


def test_a_header_that_grows_without_end_is_stopped(bench: Bench, tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.pax_headers = {"comment": "c" * (64 << 20)}
    with (
        gzip.open(tmp_path / "x.tar.gz", "wb") as raw,
        tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as packed,
    ):
        packed.addfile(member)
    with pytest.raises(TaskError, match="unpacks to more than"):
        bench.run("unarchive", source="x.tar.gz", target="out", max_files=10, max_mb=1)


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip", ".tar.zst"])
def test_a_damaged_archive_is_told_and_leaves_nothing(
    bench: Bench, files: Path, tmp_path: Path, suffix: str
) -> None:
    bench.run("archive", source="files", target=f"x{suffix}")
    whole = (tmp_path / f"x{suffix}").read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive", b""):
        (tmp_path / f"x{suffix}").write_bytes(content)
        with pytest.raises(TaskError, match="damaged or no such archive"):
            bench.run("unarchive", source=f"x{suffix}", target="out")
        assert not (tmp_path / "out").exists()


def test_nothing_is_written_through_a_link_in_the_target(bench: Bench, files: Path, tmp_path: Path) -> None:
    bench.run("archive", source="files", target="x.zip")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    for name, source in (("unarchive", "x.zip"), ("copy", "files")):
        with pytest.raises(TaskError, match="is a link, which is not followed"):
            bench.run(name, source=source, target="out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_that_is_a_link_is_replaced_and_not_written_through(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    (tmp_path / "target").symlink_to(tmp_path / "old")
    bench.run("copy", source="new", target="target")
    assert (tmp_path / "old").read_text() == "old"
    assert not (tmp_path / "target").is_symlink()


def test_copy_leaves_alone_what_is_the_same(bench: Bench, files: Path, tmp_path: Path) -> None:
    assert bench.run("copy", source="files", target="copy").facts == {"files": 4, "written": 4, "removed": 0}
    before = tree(tmp_path / "copy")
    again = bench.run("copy", source="files", target="copy")
    assert (again.facts["written"], again.changed) == (0, False)
    assert tree(tmp_path / "copy") == before
    (files / "a.txt").write_text("new")
    (tmp_path / "copy" / "other.txt").write_text("other")
    (tmp_path / "copy" / "other.md").write_text("other")
    made = bench.run("copy", source="files", target="copy", pattern="*.txt", remove_others=True)
    assert made.facts == {"files": 1, "written": 1, "removed": 1}
    assert sorted(one.name for one in (tmp_path / "copy").iterdir()) == ["a.txt", "empty", "other.md", "sub"]


def test_copy_of_one_file_takes_a_name_or_a_folder(bench: Bench, files: Path, tmp_path: Path) -> None:
    bench.run("copy", source="files/a.txt", target="new/b.txt")
    bench.run("copy", source="files/a.txt", target="new")
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == ["a.txt", "b.txt"]
    with pytest.raises(TaskError, match="does not exist"):
        bench.run("copy", source="missing", target="x")
    with pytest.raises(TaskError, match="contain each other"):
        bench.run("copy", source="files", target="files/sub")


def test_a_file_that_cannot_be_deleted_keeps_no_other_one(
    bench: Bench, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def refused(name: str, *, dir_fd: int | None = None) -> None:
        if name == "a.txt":
            raise PermissionError(1, "Operation not permitted", name)
        unlink(name, dir_fd=dir_fd)

    total = len(tree(files))
    monkeypatch.setattr(os, "unlink", refused)
    os.utime(files / "a.txt", (time.time() - 60, time.time() - 60))
    for _ in range(2):
        with pytest.raises(IsolatedFailure, match=r"failed for 1; all others succeeded\. a\.txt: "):
            bench.run("delete_older_than", folder="files", days=0)
        assert [name for name, _, _ in tree(files)] == ["a.txt"]
    assert total > 1


def test_old_files_are_deleted_and_links_are_never_followed(
    bench: Bench, files: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    (files / "link").symlink_to(outside)
    (files / "sub" / "file-link.txt").symlink_to(outside / "kept.txt")
    old = time.time() - 10 * 86_400
    for file in (files / "a.txt", files / "sub" / "deep" / "run.sh", outside / "kept.txt"):
        os.utime(file, (old, old))
    bench.dry_run = True
    assert bench.run("delete_older_than", folder="files", days=5).facts["deleted"] == 2
    assert (files / "a.txt").exists()
    bench.dry_run = False
    made = bench.run("delete_older_than", folder="files", days=5)
    assert (made.facts["deleted"], made.changed) == (2, True)
    assert not (files / "sub" / "deep").exists()
    assert sorted(one.name for one in files.rglob("*")) == [
        "empty",
        "file-link.txt",
        "link",
        "sub",
        "ä ö.json",
    ]
    assert (outside / "kept.txt").read_text() == "kept"
    assert not bench.run("delete_older_than", folder="files", days=5).changed


def test_the_newest_files_are_kept_and_a_pattern_chooses(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(6):
        file = folder / f"{number}.log"
        file.touch()
        os.utime(file, (number * 86_400, number * 86_400))
    (folder / "0.txt").touch()
    os.utime(folder / "0.txt", (0, 0))
    bench.run("delete_older_than", folder="files", days=1, pattern="*.log", keep=2)
    assert sorted(one.name for one in folder.iterdir()) == ["0.txt", "4.log", "5.log"]


@pytest.mark.parametrize("place", ["/", "/usr", "/home", "~", ".", "..", "state", "../{name}/files/../.."])
def test_folders_that_hold_too_much_are_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match="holds too much"):
        bench.run("delete_older_than", folder=place.format(name=tmp_path.name), days=0)


@pytest.mark.parametrize("place", ["state/lake", "state/lake/processed/star", "state/dagster/x"])
def test_the_platforms_own_data_is_refused(bench: Bench, tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "kept").touch()
    with pytest.raises(TaskError, match="belongs to the platform itself"):
        bench.run("delete_older_than", folder=place, days=0)
    assert (tmp_path / place / "kept").exists()


def test_a_link_to_a_folder_is_refused_and_a_missing_folder_is_nothing_to_do(
    bench: Bench, files: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(files)
    with pytest.raises(TaskError, match="is a link"):
        bench.run("delete_older_than", folder="link", days=0)
    assert not bench.run("delete_older_than", folder="missing", days=0).changed
    assert len(tree(files)) == 4


def test_kill_9_in_the_middle_leaves_no_half_file_and_the_next_run_removes_what_is_left(
    tmp_path: Path,
) -> None:
    program = (
        "import os, signal\nfrom pathlib import Path\n"
        "from platform_assets.tasks.publishing import whole_file\n"
        "with whole_file(Path('target.csv')) as part:\n"
        "    part.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "target.csv").exists()
    assert len(list(tmp_path.iterdir())) == 1
    with whole_file(tmp_path / "target.csv") as part:
        part.write_text("whole")
    assert [one.name for one in tmp_path.iterdir()] == ["target.csv"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "target.csv").write_text("old")

    def write() -> None:
        with whole_file(tmp_path / "target.csv") as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("target.csv", "old")]


def test_the_temporary_file_of_a_living_process_stays(tmp_path: Path) -> None:
    with temporary_path(tmp_path / "x") as mine, temporary_path(tmp_path / "x") as other:
        mine.touch()
        with temporary_path(tmp_path / "x"):
            assert mine.exists()
        assert mine != other


def test_zstd_archives_are_what_other_programs_read(bench: Bench, files: Path, tmp_path: Path) -> None:
    bench.run("archive", source="files", target="x.tar.zst")
    with pa.CompressedInputStream(pa.OSFile(str(tmp_path / "x.tar.zst")), "zstd") as stream:
        content = io.BytesIO(stream.read())
    with tarfile.open(fileobj=content) as packed:
        names = packed.getnames()
    assert names == ["a.txt", "empty", "sub/deep/run.sh", "sub/ä ö.json"]
    assert (tmp_path / "x.tar.zst").read_bytes()[:4] == b"\x28\xb5\x2f\xfd"


def test_mistakes_of_a_file_and_of_its_tasks_are_told_at_once(house: TaskHouse) -> None:
    house.write(
        "tasks/x.conf",
        """
        schedule { cron = "0 6 * *" }
        reads = [star/dim_stuff]
        tasks = [
          { nmae = copy, args { source = a, target = b } }
          { name = cpoy, retries = 500 }
          { name = deliver, args { delivery = greting }, timeuot = 5 }
          { name = copy, args { source = a, tagret = b }, needs = [5] }
          7
        ]
        """,
    )
    known = Elsewhere(assets={"star/dim_staff": ()}, deliveries=frozenset({"greeting"}))
    found = house.mistakes("x", known)
    expected = (
        'schedule.cron: found "0 6 * *"',
        'reads[0]: found "star/dim_stuff"; expected a known one, perhaps star/dim_staff',
        "tasks[0].name: found nothing",
        "tasks[0].nmae: found an unknown key",
        'tasks[1].name: found "cpoy"; expected a known one, perhaps copy',
        "tasks[1].retries: found 500",
        'tasks[2].args.delivery: found "greting"',
        "tasks[2].timeuot: found an unknown key",
        "tasks[3].args.tagret: found an unknown",
        "tasks[3].args.target: found nothing",
        "tasks[3].needs[0]: found 5",
        "tasks[4]: found 7",
    )
    for part in expected:
        assert any(part in line for line in found), (part, found)
    assert len(found) == len(expected), found


def test_a_list_is_not_too_short_because_its_tasks_are_wrong(house: TaskHouse) -> None:
    house.write("tasks/wrong.conf", "tasks = [{ nmae = copy }, 3]")
    house.write("tasks/empty.conf", "tasks = []")
    assert not any(" tasks: found" in line for line in house.mistakes("wrong"))
    assert [line.partition(" ")[2] for line in house.mistakes("empty")] == [
        "tasks: found an empty list; expected a list of tasks, each with name and args."
    ]


@pytest.mark.parametrize("pattern", ["**/*", "*.none"])
def test_a_folder_without_files_replaces_nothing_unless_it_may_be_empty(
    bench: Bench, files: Path, tmp_path: Path, pattern: str
) -> None:
    bench.run("archive", source="files", target="a.zip")
    bench.run("copy", source="files", target="copies")
    before = tree(tmp_path)
    if pattern == "**/*":
        files = tmp_path / "empty"
        files.mkdir()
    given = {"source": files.name, "pattern": pattern}
    for name, more in (
        ("archive", {**given, "target": "a.zip"}),
        ("copy", {**given, "target": "copies", "remove_others": True}),
        ("upload", {**given, "destination": {"address": str(tmp_path / "uploaded")}}),
        ("dlp_scan", {"paths": [files.name], "pattern": pattern}),
    ):
        with pytest.raises(TaskError, match=rf"{files.name} has no file that matches .*may_be_empty"):
            bench.run(name, **more)
    assert tree(tmp_path) == before
    made = bench.run("archive", **given, target="a.zip", may_be_empty=True)
    assert made.facts["files"] == 0
    copied = bench.run("copy", **given, target="none", may_be_empty=True)
    assert copied.facts == {"files": 0, "written": 0, "removed": 0}
