"""A folder of an FTP server, with explicit or implicit TLS, or without."""

from __future__ import annotations

import contextlib
import datetime as dt
import ftplib  # nosec B402
import io
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

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
    blocks,
    changed,
    is_sidecar_of,
    safe_name,
    sidecar,
    temporary_name,
)
from platform_assets.delivery.writers.trust import tls_context, untrusted

Security = Literal["explicit", "implicit", "none"]

_BLOCK = 256 * 1024
_WORTH_RESUMING = 1 << 20
"""Files of this size or more are continued after an interruption; the others are sent again."""
_LONGEST_SIDECAR = 1 << 20
_HASHING = 600.0
"""Seconds that a server may take to compute a checksum."""
_TEMPORARY = ("421", "425", "426", "450", "451", "452")
_PORTS = {"explicit": 21, "implicit": 990, "none": 21}


class _Explicit(ftplib.FTP_TLS):
    """FTP whose data connections continue the TLS session of the control connection.

    vsftpd demands that by default, because it proves that both connections are from the same client.
    """

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Open a data connection."""
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321  # nosec B321
        control = self.sock
        if not isinstance(control, ssl.SSLSocket):
            return connection, size
        try:
            wrapped = self.context.wrap_socket(connection, server_hostname=self.host, session=control.session)
        except BaseException:
            connection.close()
            raise
        return wrapped, size


class _Implicit(_Explicit):
    """FTP that begins with TLS."""

    def connect(
        self,
        host: str = "",
        port: int = 0,
        timeout: float | None = -999,
        source_address: tuple[str, int] | None = None,
    ) -> str:
        """Connect; the parameters are those of ftplib."""
        self.host = host
        plain = socket.create_connection((host, port), self.timeout)
        try:
            self.sock = self.context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self.af = plain.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome


@dataclass(frozen=True)
class FtpWriter:
    """Writes into one folder of an FTP server, which is created if it is missing.

    Args:
        host: The server.
        folder: The folder as the address has it: relative to where the user arrives, absolute after `//`.
        security: `explicit` TLS by AUTH TLS, `implicit` TLS from the start, or `none`.
        port: Its port; the protocol's default where None.
        user: User name; empty for an anonymous user.
        password: A reference to the password.
        ca_file: Certificates to trust in place of the system's.
        encoding: Encoding of file names.
        has_sidecar: True to write metadata beside every file.
        timeout: Seconds without an answer until the connection is given up.
    """

    host: str
    folder: str
    security: Security = "explicit"
    port: int | None = None
    user: str = ""
    password: Secret | None = None
    ca_file: Path | None = None
    encoding: str = "utf-8"
    has_sidecar: bool = True
    timeout: float = 60

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        scheme = "ftps" if self.security == "implicit" else "ftp"
        return f"{scheme}://{host}{port}/{self.folder.removeprefix('/')}".rstrip("/")

    @contextmanager
    def open(self) -> Iterator[FtpTransfer]:
        """See `Writer.open`."""
        password = self.password.resolve() if self.password is not None else ""
        server = self._server()
        try:
            with _explained(f"{self.address} cannot be reached"):
                server.connect(self.host, self.port or _PORTS[self.security], self.timeout)
                control: Any = server.sock
                control.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                self._sign_in(server, password)
                features = _features(server)
                if "UTF8" in features and self.encoding == "utf-8":
                    with contextlib.suppress(ftplib.Error):
                        server.sendcmd("OPTS UTF8 ON")
                server.voidcmd("TYPE I")
            yield FtpTransfer(server, self.address, self._start(), features, self.has_sidecar)
            with contextlib.suppress(ftplib.Error, OSError, EOFError):
                server.quit()
        finally:
            server.close()

    def link(self, file: StagedFile, expires: dt.timedelta) -> None:
        """Return None: FTP has no links that expire."""

    def _server(self) -> ftplib.FTP:
        if self.security == "none":
            # As configured, for servers that know nothing else.
            return ftplib.FTP(timeout=self.timeout, encoding=self.encoding)  # noqa: S321  # nosec B321
        kind = _Explicit if self.security == "explicit" else _Implicit
        return kind(context=tls_context(self.ca_file), timeout=self.timeout, encoding=self.encoding)

    def _sign_in(self, server: ftplib.FTP, password: str) -> None:
        if isinstance(server, _Explicit) and self.security == "explicit":
            try:
                server.auth()
            except ftplib.error_perm as error:
                raise DeliveryError(
                    f"{self.address} offers no TLS: {_line(error)}. Have it switched on there; if the "
                    "network in between is trusted, set ftp.security = none."
                ) from None
        try:
            # ftplib encrypts a control connection that is not encrypted yet before it sends the password.
            server.login(self.user or "anonymous", password or "anonymous@")
        except ftplib.error_perm as error:
            raise DeliveryError(
                f"{self.address} does not let {self.user or 'anonymous'} in: {_line(error)}. Correct the "
                "user or the password."
            ) from None
        if isinstance(server, _Explicit):
            server.prot_p()

    def _start(self) -> str:
        folder = self.folder.removeprefix("/").rstrip("/")
        return f"{folder}/" if folder else "/" if self.folder.startswith("//") else ""


class FtpTransfer:
    """Writes files over one connection.

    Args:
        server: The connection, signed in.
        address: The destination's address for people.
        start: What stands before the files' names; ends with a slash unless it is empty.
        features: What the server offers, by the names of FEAT.
        has_sidecar: True to write metadata beside every file.
    """

    def __init__(
        self, server: ftplib.FTP, address: str, start: str, features: dict[str, str], has_sidecar: bool
    ) -> None:
        self._server = server
        self._address = address
        self._start = start
        self._features = features
        self._has_sidecar = has_sidecar

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`."""
        name = safe_name(file)
        address = f"{self._address}/{name}"
        final, temporary = self._start + name, self._start + temporary_name(file)
        with _explained(f"{address} was not written"):
            self._check_encoding(final, address)
            about = temporary.removesuffix(".part") + SIDECAR
            before = self._size(final)
            if before == file.size and self._is_same(final, file):
                progress(file.size)
                return Receipt(address, file.size, self._verified_by(final, file) or "size", 0)
            sent = self._send(file, temporary, about, progress)
            verified_by = self._verified(address, temporary, file)
            self._rename(temporary, final, is_there=before is not None)
            if self._has_sidecar:
                had_one = before is not None and self._size(final + SIDECAR) is not None
                self._rename(about, final + SIDECAR, is_there=had_one)
            elif file.size >= _WORTH_RESUMING:
                self._delete(about)
            return Receipt(address, file.size, verified_by, sent)

    def _check_encoding(self, path: str, address: str) -> None:
        try:
            path.encode(self._server.encoding)
        except UnicodeEncodeError as error:
            raise DeliveryError(
                f"{address} was not written: {error.encoding} has no {path[error.start]!r}. Set "
                "ftp.encoding = utf-8 if the server knows it, or correct the file name."
            ) from None

    def _is_same(self, final: str, file: StagedFile) -> bool:
        """Return whether a file of the right size under the final name is the same file."""
        if self._has_sidecar:
            return is_sidecar_of(self._read(final + SIDECAR), file) and self._verified_by(final, file) != ""
        return bool(self._verified_by(final, file))

    def _send(self, file: StagedFile, temporary: str, about: str, progress: Progress) -> int:
        """Send a file, or what is missing of it, under its temporary name, with its sidecar before it."""
        there = 0
        if file.size >= _WORTH_RESUMING and (size := self._size(temporary)) is not None:
            if size <= file.size and is_sidecar_of(self._read(about), file):
                there = size
            else:
                # Before the sidecar is replaced: the next attempt must not take other bytes for a part.
                self._delete(temporary)
        if there == 0 and (self._has_sidecar or file.size >= _WORTH_RESUMING):
            # The sidecar tells the next attempt which file the unfinished one is a part of.
            self._store(about, io.BytesIO(sidecar(file)), 0, lambda _: None)
        with file.path.open("rb") as source:
            if source.seek(0, io.SEEK_END) != file.size:
                raise changed(file)
            progress(there)
            if there < file.size or file.size == 0:
                source.seek(there)
                try:
                    self._store(temporary, source, there, progress)
                except ftplib.error_perm:
                    if there == 0:
                        raise
                    progress(-source.tell())
                    there = 0
                    source.seek(0)
                    self._store(temporary, source, 0, progress)
        return file.size - there

    def _store(self, path: str, source: BinaryIO, start: int, progress: Progress) -> None:
        try:
            connection = self._data(path, start)
        except ftplib.error_perm:
            if start or not self._made_folders(path):
                raise
            connection = self._data(path, start)
        try:
            for block in blocks(source, progress, _BLOCK):
                connection.sendall(block)
            if isinstance(connection, ssl.SSLSocket):
                connection.unwrap()
        except OSError as error:
            # The server's last words say more than a broken pipe: a full disk, an exceeded quota.
            raise self._reason(error) from None
        finally:
            connection.close()
        self._server.voidresp()

    def _data(self, path: str, start: int) -> socket.socket:
        if not start:
            return self._server.transfercmd(f"STOR {path}")
        if "REST" in self._features:
            return self._server.transfercmd(f"STOR {path}", start)
        return self._server.transfercmd(f"APPE {path}")

    def _reason(self, error: OSError) -> Exception:
        control: Any = self._server.sock
        control.settimeout(min(5.0, control.gettimeout() or 5.0))
        try:
            self._server.voidresp()
        except ftplib.Error as reply:
            return reply
        except (OSError, EOFError):
            return error
        return error

    def _made_folders(self, path: str) -> bool:
        """Make the folders of a path; return False if it has none."""
        parts = path.split("/")[:-1]
        paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for folder in filter(None, paths):
            # It may exist already, or be one that only others may make; storing the file tells.
            with contextlib.suppress(ftplib.error_perm):
                self._server.mkd(folder)
        return any(paths)

    def _verified(self, address: str, temporary: str, file: StagedFile) -> str:
        size = self._size(temporary)
        verified_by = "" if size not in (None, file.size) else self._verified_by(temporary, file)
        if verified_by == "":
            self._delete(temporary)
            found = "another checksum" if size == file.size else f"{size} bytes in place of {file.size}"
            raise DestinationUnavailable(
                f"{address} was not written as sent: what arrived has {found}. The next attempt sends it "
                "again."
            )
        return verified_by or ("size" if size is not None else "accepted")

    def _verified_by(self, path: str, file: StagedFile) -> str | None:
        """Compare a checksum; None if the server computes none, and empty if it is another."""
        control: Any = self._server.sock
        timeout = control.gettimeout()
        control.settimeout(max(timeout or 0, _HASHING))
        try:
            for name, command, expected in self._checksums(file):
                with contextlib.suppress(ftplib.error_perm):
                    if name == "HASH":
                        self._server.sendcmd("OPTS HASH SHA-256")
                    reply = self._server.sendcmd(f"{command} {path}")
                    digits = re.search(rf"(?i)\b[0-9a-f]{{{len(expected)}}}\b", reply)
                    if digits is not None:
                        is_same = digits[0].lower() == expected
                        return ("md5" if name == "XMD5" else "sha256") if is_same else ""
        finally:
            control.settimeout(timeout)
        return None

    def _checksums(self, file: StagedFile) -> Iterator[tuple[str, str, str]]:
        if "SHA-256" in self._features.get("HASH", "").upper():
            yield "HASH", "HASH", file.sha256
        if "XSHA256" in self._features:
            yield "XSHA256", "XSHA256", file.sha256
        if "XMD5" in self._features:
            yield "XMD5", "XMD5", file.md5

    def _rename(self, source: str, target: str, *, is_there: bool) -> None:
        try:
            self._server.rename(source, target)
        except ftplib.error_perm:
            if not is_there:
                raise
            # Some servers do not rename over a file. The new one is whole and verified.
            self._server.delete(target)
            self._server.rename(source, target)

    def _size(self, path: str) -> int | None:
        try:
            return self._server.size(path)
        except ValueError:
            return None  # an answer without a number
        except ftplib.Error as error:
            if not _is_missing(error):
                raise
            return None

    def _read(self, path: str) -> bytes:
        """Read a small file; empty if there is none, or if the user may not read."""
        content = bytearray()

        def take(block: bytes) -> None:
            if len(content) <= _LONGEST_SIDECAR:
                content.extend(block)

        try:
            self._server.retrbinary(f"RETR {path}", take)
        except ftplib.Error as error:
            if not _is_missing(error):
                raise
            return b""
        return bytes(content)

    def _delete(self, path: str) -> None:
        with contextlib.suppress(ftplib.error_perm):
            self._server.delete(path)


def _features(server: ftplib.FTP) -> dict[str, str]:
    """Ask what the server offers: the rest of each line of FEAT, by its first word."""
    try:
        lines = server.sendcmd("FEAT").splitlines()[1:-1]
    except ftplib.error_perm:
        return {}
    words = (line.strip().partition(" ") for line in lines)
    return {name.upper(): rest for name, _, rest in words}


def _is_missing(error: ftplib.Error) -> bool:
    """Return whether a server says that it has no such file, or cannot tell; some say so for now (450)."""
    return isinstance(error, ftplib.error_perm) or str(error).startswith("450")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


@contextmanager
def _explained(attempt: str) -> Iterator[None]:
    """Translate the errors of FTP and of the network, with what was attempted."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise untrusted(attempt.partition(" ")[0], error) from None
    except ftplib.error_perm as error:
        code = str(error)[:3]
        if code == "552":
            advice = "The quota of the user is used up: have files removed, or the quota raised."
        elif code == "530":
            advice = "Correct the user or the password."
        else:
            advice = "Correct the folder or the file name, or have the user granted the right to write there."
        raise DeliveryError(f"{attempt}: the server refused it, {_line(error)}. {advice}") from None
    except ftplib.Error as error:
        reply = _line(error) if str(error)[:3] in _TEMPORARY else f"unexpected answer, {_line(error)}"
        raise DestinationUnavailable(f"{attempt}: {reply}. The next attempt continues.") from None
    except (EOFError, ssl.SSLEOFError):
        raise DestinationUnavailable(
            f"{attempt}: the server closed the connection. The next attempt continues."
        ) from None
    except OSError as error:
        if error.filename is not None:  # the staged file
            raise
        reason = "no answer in time" if isinstance(error, TimeoutError) else _line(error)
        raise DestinationUnavailable(f"{attempt}: {reason}. The next attempt continues.") from None
