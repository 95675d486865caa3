"""A folder of an SFTP server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from platform_assets.configuration.secrets import Secret
from platform_assets.delivery.interfaces import (
    DeliveryError,
    DestinationUnavailable,
    Progress,
    Receipt,
    StagedFile,
)
from platform_assets.delivery.writers.content import (
    SIDECAR,
    changed,
    is_sidecar_of,
    safe_name,
    sidecar,
    temporary_name,
)

if TYPE_CHECKING:
    import asyncssh

Result = TypeVar("Result")

_BLOCK = 128 * 1024
_SMALL_BLOCK = 32 * 1024
"""Bytes of one request that every server takes, by the draft of SFTP."""
_WINDOW = 4 << 20
"""Bytes that are sent before the oldest of them is confirmed."""
_WORTH_RESUMING = _WINDOW + (1 << 20)
"""Files of this size or more are continued after an interruption; the others are sent again."""
_LONGEST_SIDECAR = 1 << 20
_HASHING = 600.0
"""Seconds that a server may take to compute a checksum."""
_LONGEST_ENTRY = 20.0
# GCM is the quickest where it is in hardware. Nothing with CBC, SHA-1 or arcfour.
_CIPHERS = (
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"),
    "chacha20-poly1305@openssh.com",
)
_FAMILIES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""Kinds of host keys. A server has one of each, and the pinned key may be any of them."""


@dataclass(frozen=True)
class SftpWriter:
    """Writes into one folder of an SFTP server, which is created if it is missing.

    Args:
        host: The server.
        folder: The folder as the address has it: absolute, or from the user's home after `/~/`.
        user: User name.
        port: Its port.
        host_key: The server's key: a fingerprint, `SHA256:...`, or a line with the key.
        known_hosts: A file with the server's key, where `host_key` is None.
        password: A reference to the password.
        key_file: The user's private key.
        private_key: A reference to the private key as text.
        passphrase: A reference to the private key's passphrase.
        agent: True to sign in with the keys of the SSH agent.
        has_sidecar: True to write metadata beside every file.
        timeout: Seconds without an answer until the connection is given up.
    """

    host: str
    folder: str
    user: str
    port: int = 22
    host_key: str | None = None
    known_hosts: Path | None = None
    password: Secret | None = None
    key_file: Path | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    agent: bool = False
    has_sidecar: bool = True
    timeout: float = 60

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        port = f":{self.port}" if self.port != 22 else ""
        return f"sftp://{self._server}{port}/{self.folder.removeprefix('/')}".rstrip("/")

    @property
    def _server(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @contextmanager
    def open(self) -> Iterator[SftpTransfer]:
        """See `Writer.open`."""
        try:
            import asyncssh  # noqa: F401 - whether it is installed
        except ImportError:
            raise DeliveryError(
                f"{self.address} cannot be written to without asyncssh: pip install "
                "'platform-assets[delivery]'."
            ) from None
        explaining = partial(_explained, f"{self.address} cannot be reached")
        with _Loop() as loop:
            with explaining():
                connection = loop.run(self._connected())
            try:
                with explaining():
                    client = loop.run(_sftp(connection, self.timeout))
                yield SftpTransfer(loop, client, self.address, self._start(), self.has_sidecar, self.timeout)
            finally:
                loop.run(_closed(connection))

    def link(self, file: StagedFile, expires: dt.timedelta) -> None:
        """Return None: SFTP has no links that expire."""

    async def _connected(self) -> asyncssh.SSHClientConnection:
        """Connect, if the server has the pinned key among its keys."""
        import asyncssh

        from platform_assets.delivery.writers.ssh_packets import quicken

        keys = self._keys()
        password = self.password.resolve() if self.password is not None else None
        known: Any = ([], [], [])
        tries: list[Any] = [()]
        pinned = ""
        if self.host_key is not None:
            pinned, tries = _pinned(self.host_key)
        else:
            known = self._known_hosts()
        shown: list[str] = []
        is_refused = False
        settled: Any = None

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
                nonlocal is_refused
                shown.append(key.get_fingerprint())
                is_refused = not pinned or shown[-1] != pinned
                return not is_refused

        lost: asyncssh.Error | None = None
        # A server without keys of a kind may hang up before it says so, which looks like a lost connection; a
        # connection that is lost twice for one kind only is taken for that.
        for algorithms in (kind for kind in tries for _ in range(2)):
            if algorithms == settled:
                continue
            is_refused = False
            try:
                connection = await asyncssh.connect(
                    self.host,
                    self.port,
                    username=self.user,
                    password=password,
                    client_keys=keys,
                    **({} if self.agent else {"agent_path": None}),
                    known_hosts=known,
                    client_factory=Client,
                    server_host_key_algs=algorithms,
                    encryption_algs=_CIPHERS,
                    compression_algs=["none"],
                    config=None,
                    connect_timeout=min(self.timeout, _LONGEST_ENTRY),
                    login_timeout=self.timeout,
                )
            except asyncssh.KeyExchangeFailed as error:
                settled, lost = algorithms, error
                continue
            except asyncssh.DisconnectError as error:
                if is_refused:
                    settled = algorithms
                elif isinstance(error, asyncssh.ConnectionLost):
                    lost = error
                else:
                    raise
                continue
            quicken(connection)
            return connection
        if lost is not None and not shown:
            raise lost
        raise self._unknown_key(shown)

    def _known_hosts(self) -> asyncssh.SSHKnownHosts:
        import asyncssh

        try:
            return asyncssh.read_known_hosts(str(self.known_hosts))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
            raise DeliveryError(
                f"{self.known_hosts} cannot be used: {reason}. Correct sftp.known_hosts."
            ) from None

    def _keys(self) -> list[Any] | None:
        """Read the private key; None for no key of ours."""
        import asyncssh

        passphrase = self.passphrase.resolve() if self.passphrase is not None else None
        name = str(self.key_file or self.private_key)
        try:
            if self.key_file is not None:
                return [asyncssh.read_private_key(str(self.key_file), passphrase)]
            if self.private_key is not None:
                return [asyncssh.import_private_key(self.private_key.resolve(), passphrase)]
        except asyncssh.KeyEncryptionError as error:
            if "bcrypt" in str(error):
                raise DeliveryError(
                    f"The private key {name} cannot be decrypted, because its format needs a library: pip "
                    "install bcrypt. Or change the format: ssh-keygen -p -m PKCS8 -f KEY."
                ) from None
            raise DeliveryError(
                f"The private key {name} cannot be decrypted. Correct sftp.passphrase."
            ) from None
        except asyncssh.KeyImportError as error:
            reason = str(error)
            advice = "Correct sftp.passphrase." if "decrypt" in reason else "Correct it."
            if "assphrase" in reason:
                advice = "Set sftp.passphrase."
            raise DeliveryError(
                f"The private key {name} cannot be used: {str(error).rstrip('.')}. {advice}"
            ) from None
        except OSError as error:
            raise DeliveryError(
                f"The private key {name} cannot be read: {error.strerror}. Correct sftp.key_file."
            ) from None
        return [] if self.agent else None

    def _unknown_key(self, shown: list[str]) -> DeliveryError:
        keys = " and ".join(dict.fromkeys(shown)) or "no key that was expected"
        place = "sftp.host_key has" if self.host_key is not None else f"{self.known_hosts} has for it"
        return DeliveryError(
            f"{self.address} is not the server that was expected: it shows the key {keys}, which is not what "
            f"{place}. Nothing was sent. Ask the server's owner, on another way than this connection, "
            "whether the key was changed; if it was, put the new key there. If not, somebody may be between."
        )

    def _start(self) -> str:
        folder = self.folder.rstrip("/")
        if folder == "/~":
            return ""
        if folder.startswith("/~/"):
            return f"{folder[3:]}/"
        return f"{folder}/"


class _Loop:
    """An event loop in a thread of its own: the caller's thread may have a running loop already."""

    def __enter__(self) -> _Loop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sftp", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._cancelled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _cancelled() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for a coroutine; an interruption of the caller ends it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class SftpTransfer:
    """Writes files over one connection.

    Args:
        loop: The connection's event loop.
        client: The SFTP client.
        address: The destination's address for people.
        start: What stands before the files' names; ends with a slash unless it is empty.
        has_sidecar: True to write metadata beside every file.
        timeout: Seconds without an answer until the transfer is given up.
    """

    def __init__(
        self,
        loop: _Loop,
        client: asyncssh.SFTPClient,
        address: str,
        start: str,
        has_sidecar: bool,
        timeout: float,
    ) -> None:
        self._loop = loop
        self._client = client
        self._address = address
        self._start = start
        self._has_sidecar = has_sidecar
        self._timeout = timeout
        self._block = min(_BLOCK, client.limits.max_write_len or _SMALL_BLOCK)
        self._has_checksums = True

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`."""
        name = safe_name(file)
        address = f"{self._address}/{name}"
        with _explained(f"{address} was not written"):
            return self._loop.run(self._write(file, name, address, progress))

    async def _write(self, file: StagedFile, name: str, address: str, progress: Progress) -> Receipt:
        final, temporary = self._start + name, self._start + temporary_name(file)
        about = temporary.removesuffix(".part") + SIDECAR
        before = await self._size(final)
        if before == file.size and (verified_by := await self._is_same(final, file)):
            progress(file.size)
            return Receipt(address, file.size, verified_by, 0)
        sent = await self._send(file, temporary, about, progress)
        verified_by = await self._verified(address, temporary, file)
        await self._rename(temporary, final, is_there=before is not None)
        if self._has_sidecar:
            await self._rename(about, final + SIDECAR, is_there=before is not None)
        elif file.size >= _WORTH_RESUMING:
            await self._remove(about)
        return Receipt(address, file.size, verified_by, sent)

    async def _is_same(self, final: str, file: StagedFile) -> str:
        """Compare a file of the right size; return how it was found to be the same, empty if it is not."""
        if self._has_sidecar and not is_sidecar_of(await self._read(final + SIDECAR), file):
            return ""
        checksum = await self._checksum(final, file)
        if checksum is None:
            return "size" if self._has_sidecar else ""
        return "sha256" if checksum else ""

    async def _send(self, file: StagedFile, temporary: str, about: str, progress: Progress) -> int:
        """Send a file, or what is missing of it, under its temporary name, with its sidecar before it."""
        there = 0
        if file.size >= _WORTH_RESUMING and (size := await self._size(temporary)) is not None:
            if size <= file.size and is_sidecar_of(await self._read(about), file):
                # Of the last blocks some may be missing, because a server may write them in any order.
                there = max(0, size - _WINDOW)
            else:
                # Before the sidecar is replaced: the next attempt must not take other bytes for a part.
                await self._remove(temporary)
        if there == 0 and (self._has_sidecar or file.size >= _WORTH_RESUMING):
            # The sidecar tells the next attempt which file the unfinished one is a part of.
            await self._store(about, io.BytesIO(sidecar(file)), 0, len(sidecar(file)), lambda _: None)
        with file.path.open("rb") as source:
            if source.seek(0, io.SEEK_END) != file.size:
                raise changed(file)
            progress(there)
            try:
                await self._store(temporary, source, there, file.size, progress)
            except EOFError:
                raise changed(file) from None
        return file.size - there

    async def _store(self, path: str, source: BinaryIO, start: int, end: int, progress: Progress) -> None:
        """Write a file from a place on, with many requests under way."""
        import asyncssh

        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | (0 if start else asyncssh.FXF_TRUNC)
        try:
            target = await self._soon(self._client.open(path, flags, encoding=None, block_size=0))
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            folder = path.rpartition("/")[0]
            if not folder:
                raise
            await self._soon(self._client.makedirs(folder, exist_ok=True))
            target = await self._soon(self._client.open(path, flags, encoding=None, block_size=0))
        waiting: deque[tuple[int, asyncio.Task[int]]] = deque()
        try:
            source.seek(start)
            sent = done = start
            while done < end:
                while sent < end and sent - done < _WINDOW and (block := source.read(self._block)):
                    waiting.append((len(block), asyncio.create_task(target.write(block, sent))))
                    sent += len(block)
                if not waiting:
                    raise EOFError
                size, oldest = waiting.popleft()
                await self._soon(oldest)
                done += size
                progress(size)
        except BaseException:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
            raise
        await self._soon(target.close())

    async def _verified(self, address: str, temporary: str, file: StagedFile) -> str:
        size = await self._size(temporary)
        if size == file.size:
            checksum = await self._checksum(temporary, file)
            if checksum is not False:
                return "size" if checksum is None else "sha256"
        await self._remove(temporary)
        found = "another checksum" if size == file.size else f"{size} bytes in place of {file.size}"
        raise DestinationUnavailable(
            f"{address} was not written as sent: what arrived has {found}. The next attempt sends it again."
        )

    async def _checksum(self, path: str, file: StagedFile) -> bool | None:
        """Compare the checksum; None if the server computes none."""
        from platform_assets.delivery.writers.ssh_packets import remote_checksum

        if not self._has_checksums:
            return None
        async with asyncio.timeout(max(self._timeout, _HASHING)):
            answer = await remote_checksum(self._client, path)
        if answer is None:
            self._has_checksums = False
            return None
        return answer.endswith(bytes.fromhex(file.sha256))

    async def _rename(self, source: str, target: str, *, is_there: bool) -> None:
        import asyncssh

        try:
            await self._soon(self._client.posix_rename(source, target))
        except asyncssh.SFTPOpUnsupported:
            try:
                await self._soon(self._client.rename(source, target))
            except asyncssh.SFTPError:
                if not is_there:
                    raise
                # Some servers do not rename over a file. The new one is whole and verified.
                await self._remove(target)
                await self._soon(self._client.rename(source, target))

    async def _size(self, path: str) -> int | None:
        import asyncssh

        try:
            found: asyncssh.SFTPAttrs = await self._soon(self._client.stat(path))
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return None
        return found.size

    async def _read(self, path: str) -> bytes:
        """Read a small file; empty if there is none, or if the user may not read."""
        import asyncssh

        try:
            source = await self._soon(self._client.open(path, asyncssh.FXF_READ, encoding=None))
            try:
                content: bytes = await self._soon(source.read(_LONGEST_SIDECAR, 0))
            finally:
                await self._soon(source.close())
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPPermissionDenied):
            return b""
        return content

    async def _remove(self, path: str) -> None:
        import asyncssh

        with contextlib.suppress(asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            await self._soon(self._client.remove(path))

    async def _soon(self, work: Any) -> Any:
        """Wait for an answer, not longer than the limit."""
        async with asyncio.timeout(self._timeout):
            return await work


def _pinned(host_key: str) -> tuple[str, list[Any]]:
    """Return the fingerprint of a pinned key, and the kinds of keys to ask the server for, one by one."""
    import asyncssh

    if host_key.startswith("SHA256:"):
        return host_key.rstrip("="), [list(family) for family in _FAMILIES]
    try:
        key = asyncssh.import_public_key(host_key)
    except asyncssh.KeyImportError as error:
        raise DeliveryError(
            f"sftp.host_key cannot be used: {str(error).rstrip('.')}. Copy the whole line again."
        ) from None
    kind = key.get_algorithm()
    return key.get_fingerprint(), [["rsa-sha2-512", "rsa-sha2-256"] if kind == "ssh-rsa" else [kind]]


async def _sftp(connection: asyncssh.SSHClientConnection, timeout: float) -> asyncssh.SFTPClient:
    async with asyncio.timeout(timeout):
        return await connection.start_sftp_client()


async def _closed(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection; one that does not answer is given up."""
    connection.close()
    try:
        async with asyncio.timeout(2):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()


@contextmanager
def _explained(attempt: str) -> Iterator[None]:
    """Translate asyncssh's errors, with what was attempted."""
    import asyncssh

    try:
        yield
    except asyncssh.PermissionDenied:
        raise DeliveryError(
            f"{attempt}: the server does not let the user in. Correct the user, the key or the password."
        ) from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise DeliveryError(
            f"{attempt}: the server's key is not known, {error.reason}. Ask the server's owner for its key."
        ) from None
    except (asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported) as error:
        raise DeliveryError(
            f"{attempt}: the server knows none of the ciphers and keys that are used here, "
            f"{error.reason.rstrip('.')}. Have the server updated."
        ) from None
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.SFTPFailure) as error:
        raise DestinationUnavailable(
            f"{attempt}: {_reason(error)}; its disk may be full. The next attempt continues."
            if isinstance(error, asyncssh.SFTPFailure)
            else f"{attempt}: {_reason(error)}. The next attempt continues."
        ) from None
    except asyncssh.SFTPNoSpaceOnFilesystem:
        raise DestinationUnavailable(
            f"{attempt}: the server's disk is full. Have space freed there; the next attempt continues."
        ) from None
    except asyncssh.SFTPError as error:
        if isinstance(error, asyncssh.SFTPQuotaExceeded):
            advice = "The quota of the user is used up: have files removed, or the quota raised."
        else:
            advice = "Correct the folder or the file name, or have the user granted the right to write there."
        raise DeliveryError(f"{attempt}: the server refused it, {_reason(error)}. {advice}") from None
    except asyncssh.Error as error:
        raise DestinationUnavailable(f"{attempt}: {_reason(error)}. The next attempt continues.") from None
    except TimeoutError:
        raise DestinationUnavailable(f"{attempt}: no answer in time. The next attempt continues.") from None
    except OSError as error:
        if error.filename is not None:  # the staged file
            raise
        raise DestinationUnavailable(f"{attempt}: {_reason(error)}. The next attempt continues.") from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:300].rstrip(".")
    return text or type(error).__name__
