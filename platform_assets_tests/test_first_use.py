"""What somebody meets in the first hour: folders, a second UI, cleaning up too early, paths of no use."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.errors import AlreadyServed, ObjectsError, PathError, path_error
from platform_assets.isolation import reason_of
from platform_assets.objects.assembly import ObjectsRoom
from platform_assets.orchestration import clear_failures
from platform_assets.processes import serving
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings, load_settings
from platform_assets_tests.fixtures.house import instance_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The default settings with all state in a temporary folder."""
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "state"))
    for name in ("DAGSTER_HOME", "LAKE_INGESTION", "LAKE_PROCESSED", "WAREHOUSE_PATH", "UPLOADS_PLACE"):
        monkeypatch.delenv(name, raising=False)
    return load_settings()


def command(*arguments: str) -> Result:
    """Run the command line; an error that is no sentence of the platform's comes out here."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_folder_for_uploads_is_there_before_anything_has_run(settings: Settings, tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    ran = command("prepare", "--env-file", str(env_file))
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")
    assert (settings.platform.state_dir / "uploads").is_dir()
    assert (settings.platform.state_dir / "dagster" / "dagster.yaml").read_bytes() == (
        ROOT / "dagster.yaml"
    ).read_bytes()
    assert f'DAGSTER_HOME="${{DAGSTER_HOME:-{settings.platform.state_dir}/dagster}}"' in env_file.read_text()
    env_file.write_text("MINE=1\n")
    assert command("prepare", "--env-file", str(env_file)).exit_code == 0
    assert env_file.read_text() == "MINE=1\n"


def test_a_file_where_the_folder_for_uploads_is_needed_is_explained(settings: Settings) -> None:
    uploads = settings.platform.state_dir / "uploads"
    uploads.parent.mkdir()
    uploads.write_text("somebody copied a file here")
    room = Rooms(settings).of(ObjectsRoom)
    for attempt in (room.create_folders, lambda: room.watch("uploads")):
        with pytest.raises(ObjectsError) as error:
            attempt()
        assert str(error.value) == (
            f"The folder {uploads}, watches.uploads.place, cannot be made: {uploads} cannot be used: File "
            "exists. A file is where a folder is needed: move the file away, or configure another place."
        )
    ran = command("prepare")
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("where", ["state_dir", "DAGSTER_HOME"])
def test_a_state_folder_that_cannot_be_made_is_a_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("")
    name = "PLATFORM_STATE_DIR" if where == "state_dir" else "DAGSTER_HOME"
    monkeypatch.setenv(name, str(tmp_path / "file" / "state"))
    for arguments in (("status",), ("sample", "start"), ("prepare",), ("ui", "--port", "1")):
        if where == "DAGSTER_HOME" and arguments[0] == "sample":
            continue
        ran = command(*arguments)
        assert ran.exit_code == 1, arguments
        assert "Not a directory" in ran.stderr
        assert str(tmp_path / "file") in ran.stderr


def test_what_the_system_says_of_a_path_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(dg.Failure) as failed, clear_failures():
        (tmp_path / "file").mkdir()
    assert failed.value.description is not None
    assert failed.value.description.startswith(
        f"{tmp_path}/file cannot be used: File exists. A file is where"
    )
    assert not failed.value.allow_retries
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))
    with pytest.raises(dg.RetryRequested) as again, clear_failures():
        raise full
    assert isinstance(again.value.__cause__, dg.Failure)
    told = path_error(PermissionError(errno.EACCES, "Permission denied", str(tmp_path)))
    assert isinstance(told, PathError)
    assert "Grant the account that runs the platform access to it" in str(told)
    assert (
        reason_of(full)
        == f"{tmp_path} cannot be written: No space left on device. Free some space; the next run continues."
    )
    # What is no path's is told as what it is.
    assert path_error(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) is None
    with pytest.raises(dg.Failure, match="ConnectionResetError") as failed, clear_failures():
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def test_an_instance_is_served_by_one_process_and_the_second_is_told_which(tmp_path: Path) -> None:
    with serving(tmp_path, 3000), pytest.raises(AlreadyServed) as refused, serving(tmp_path, 3001):
        pass
    assert f"process {os.getpid()}, on http://127.0.0.1:3000" in str(refused.value)
    assert f"kill {os.getpid()}" in str(refused.value)
    with serving(tmp_path, 3001):
        pass


def test_an_instance_whose_server_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from platform_assets.processes import serving\n"
        "with serving(pathlib.Path(sys.argv[1]), 3000):\n    print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyServed, match=f"process {holder.pid}, on"), serving(tmp_path, 3001):
            pass
        holder.kill()
        holder.wait()
        with serving(tmp_path, 3001):
            pass


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux shows the environment of processes")
def test_a_daemon_that_was_started_otherwise_is_seen_on_its_own_instance_only(tmp_path: Path) -> None:
    daemon = tmp_path / "dagster-daemon"
    daemon.write_text("print('up', flush=True); input()")
    home = tmp_path / "home"
    home.mkdir()
    with subprocess.Popen(
        [sys.executable, str(daemon), "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"DAGSTER_HOME": str(home)},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with (
            pytest.raises(AlreadyServed, match=f"process {process.pid} .*kill {process.pid}"),
            serving(home, 1),
        ):
            pass
        with serving(tmp_path, 1):
            pass
        process.kill()


@pytest.fixture
def ui(settings: Settings, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """The UI as `make ui` starts it, serving; its port and its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "ui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # As a script starts its background jobs: they ignore SIGINT.
            [
                *("sh", "-c", "trap '' INT; exec \"$@\"", "sh"),
                *(sys.executable, "-m", "platform_assets.cli", "ui", "--port", str(port)),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        while process.poll() is None and not _is_up(settings, log):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        assert process.poll() is None, log.read_text()
        yield process, port, log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _is_up(settings: Settings, log: Path) -> bool:
    """Whether the page is served and the daemons have looked once."""
    import time

    time.sleep(0.5)
    if "Serving dagster-webserver" not in log.read_text():
        return False
    with instance_of(settings) as instance:
        return "EVENT_LOG_CONSUMER" in instance.get_daemon_heartbeats()


def test_a_healthy_start_warns_of_nothing_and_keeps_others_away_while_it_runs(
    settings: Settings, ui: tuple[subprocess.Popen[bytes], int, Path]
) -> None:
    process, port, log = ui
    second = command("ui", "--port", "1")
    assert second.exit_code == 1
    assert f"process {process.pid}, on http://127.0.0.1:{port}" in second.stderr
    cleaning = command("check-idle")
    assert cleaning.exit_code == 3
    assert "Nothing was removed" in cleaning.stderr
    process.send_signal(signal.SIGINT)
    process.wait()
    text = log.read_text()
    assert "warn" not in text.lower(), text
    assert command("check-idle").exit_code == 0
