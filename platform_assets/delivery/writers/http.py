"""An HTTP server that takes files by PUT or POST."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

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
    ascii_text,
    blocks,
    changed,
    safe_name,
    sidecar,
)

if TYPE_CHECKING:
    import requests

_BLOCK = 256 * 1024
_MOST_REDIRECTS = 5
_LONGEST_REASON = 200
_LONGEST_WAIT = 86_400.0
_LATER = {408, 425, 429}
_UNCHANGED_METHOD = {307, 308}
_ADVICE = {
    401: "Correct the credentials.",
    403: "Correct the credentials, or have them granted the right to write there.",
    404: "Correct the address.",
    405: "Correct http.method, or the address.",
    411: "The server or a proxy in between does not understand the request; ask its owner.",
    413: "The file is larger than the server takes: deliver smaller files, or have its limit raised.",
    415: "The server does not take this kind of file.",
    507: "The server has no space left for the user: have space freed there.",
}


@dataclass(frozen=True)
class HttpWriter:
    """Sends files to one address.

    Args:
        url: The address. `PUT` puts the file's name behind it, `POST` sends to the address itself.
        method: `PUT` or `POST`.
        user: User name for basic authentication.
        password: A reference to the user's password.
        token: A reference to a token for bearer authentication.
        headers: Further headers.
        expect: The status codes of success.
        allow_redirects: True to follow redirects that keep the method.
        ca_file: Certificates to trust in place of the system's.
        has_sidecar: True to send metadata as a file of its own also.
        timeout: Seconds without an answer until a request is given up.
    """

    url: str
    method: str = "PUT"
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    expect: tuple[int, ...] = (200, 201, 202, 204)
    allow_redirects: bool = False
    ca_file: Path | None = None
    has_sidecar: bool = False
    timeout: float = 60

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        return self.url

    @contextmanager
    def open(self) -> Iterator[HttpTransfer]:
        """See `Writer.open`; the server is first connected to by a request."""
        import requests

        secrets = (self.password, self.token, *self.headers.values())
        hidden = {secret: secret.resolve() for secret in secrets if isinstance(secret, Secret)}
        given = {
            name: hidden[value] if isinstance(value, Secret) else value
            for name, value in self.headers.items()
        }
        if self.token is not None:
            given["Authorization"] = f"Bearer {hidden[self.token]}"
        elif self.user is not None:
            password = hidden[self.password] if self.password is not None else ""
            both = base64.b64encode(f"{self.user}:{password}".encode()).decode()
            given["Authorization"] = f"Basic {both}"
        if self.ca_file is not None and not self.ca_file.is_file():
            raise DeliveryError(
                f"The root certificates in {self.ca_file} cannot be read. Correct http.ca_file."
            )
        with requests.Session() as session:
            # Without it, credentials of ~/.netrc would take the place of those that are configured.
            session.auth = _as_it_is
            yield HttpTransfer(self, session, given, frozenset(hidden.values()))

    def link(self, file: StagedFile, expires: dt.timedelta) -> None:
        """Return None: nothing is known about how the server gives files out."""


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class HttpTransfer:
    """Sends files over one session.

    Args:
        writer: The destination.
        session: The session.
        headers: Further headers, with the credentials.
        secrets: Texts that no message may contain.
    """

    def __init__(
        self,
        writer: HttpWriter,
        session: requests.Session,
        headers: Mapping[str, str],
        secrets: frozenset[str],
    ) -> None:
        self._writer = writer
        self._session = session
        self._headers = headers
        self._secrets = secrets
        self._limits: dict[str, Any] = {
            "timeout": (writer.timeout, writer.timeout),
            "allow_redirects": False,
            # With every request: for a session it would give way to a variable of the environment.
            "verify": str(writer.ca_file) if writer.ca_file is not None else True,
        }

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`.

        A server that answers HEAD with the file's checksum is asked before and after; the others are believed
        by their status code.
        """
        name = safe_name(file)
        is_put = self._writer.method == "PUT"
        url = f"{self._writer.url.rstrip('/')}/{quote(name)}" if is_put else self._writer.url
        address = f"{self._writer.url.rstrip('/')}/{name}" if is_put else self._writer.url
        attempt = f"{name} was not sent to {self._writer.url}"
        if is_put and (verified_by := self._proof(url, file)):
            progress(file.size)
            return Receipt(address, file.size, verified_by, 0)
        answer = self._send(attempt, url, file, self._about(file), progress)
        facts = {"status": str(answer.status_code)}
        if answer.headers.get("ETag"):
            facts["etag"] = answer.headers["ETag"].strip('"')
        if self._writer.has_sidecar:
            self._send_sidecar(attempt, url, file)
        verified_by = _checksum(answer.headers, file) or (self._proof(url, file) if is_put else "")
        return Receipt(address, file.size, verified_by or "accepted", file.size, facts)

    def _about(self, file: StagedFile) -> dict[str, str]:
        """The headers of a file: its type, its checksums, its metadata."""
        digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        mark = hashlib.sha256(file.name.encode()).hexdigest()[:12]
        name = quote(file.name.rpartition("/")[2])
        return {
            "Content-Type": file.content_type,
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            # RFC 9530; and its predecessor, which more servers know.
            "Content-Digest": f"sha-256=:{digest}:",
            "Content-MD5": base64.b64encode(bytes.fromhex(file.md5)).decode(),
            # The same in every attempt, and another one for every file of a delivery.
            "Idempotency-Key": f"{file.stamp.uuid}-{mark}",
            **{f"X-Delivery-{key.title()}": ascii_text(value) for key, value in file.metadata.items()},
        }

    def _send(
        self, attempt: str, url: str, file: StagedFile, about: dict[str, str], progress: Progress
    ) -> requests.Response:
        own = urlsplit(url)
        headers = {**about, **self._headers}
        for _ in range(_MOST_REDIRECTS + 1):
            sent = 0

            def count(size: int) -> None:
                nonlocal sent
                sent += size
                progress(size)

            body = _Body(file, count) if file.size else b""
            with self._explained(attempt):
                answer = self._session.request(
                    self._writer.method,
                    url,
                    data=body,
                    headers=headers,
                    **self._limits,
                )
            if not 300 <= answer.status_code <= 399:
                self._check(attempt, answer)
                if sent != file.size:
                    # Some servers answer before they have read everything.
                    progress(file.size - sent)
                return answer
            progress(-sent)
            url = self._redirected(attempt, url, answer)
            other = urlsplit(url)
            if (other.scheme, other.netloc) != (own.scheme, own.netloc):
                headers = dict(about)
        raise DeliveryError(f"{attempt}: the server redirects again and again. Correct the address.")

    def _redirected(self, attempt: str, url: str, answer: requests.Response) -> str:
        target = urljoin(url, answer.headers.get("Location", ""))
        place = urlsplit(target)
        shown = f"{place.scheme}://{place.hostname}{place.path}"
        if not self._writer.allow_redirects:
            raise DeliveryError(
                f"{attempt}: the server redirects to {shown} ({answer.status_code}). Correct the address, or "
                "set http.allow_redirects if that server is to get the file."
            )
        if answer.status_code not in _UNCHANGED_METHOD:
            raise DeliveryError(
                f"{attempt}: the server redirects to {shown} by {answer.status_code}, which turns the "
                "request into one without a file. Correct the address."
            )
        is_downgrade = url.startswith("https://") and place.scheme != "https"
        if is_downgrade or place.scheme not in ("http", "https"):
            raise DeliveryError(
                f"{attempt}: the server redirects to {shown}, which is not encrypted. Correct the address."
            )
        return target

    def _send_sidecar(self, attempt: str, url: str, file: StagedFile) -> None:
        content = sidecar(file)
        about = self._about(replace(file, name=file.name + SIDECAR, content_type="application/json"))
        about["Content-Digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        about["Content-MD5"] = base64.b64encode(md5).decode()
        with self._explained(attempt):
            answer = self._session.request(
                self._writer.method,
                url + SIDECAR if self._writer.method == "PUT" else url,
                data=content,
                headers={**about, **self._headers},
                **self._limits,
            )
        self._check(attempt, answer)

    def _proof(self, url: str, file: StagedFile) -> str:
        """Ask for the checksum of what is there; empty if the server does not tell, or has another file."""
        import requests

        try:
            answer = self._session.head(
                url,
                headers=dict(self._headers),
                **self._limits,
            )
        except requests.RequestException:
            return ""  # many servers do not answer HEAD; what is wrong shows when the file is sent
        is_ours = answer.headers.get("X-Delivery-Uuid", file.stamp.uuid) == file.stamp.uuid
        return _checksum(answer.headers, file) if answer.status_code == 200 and is_ours else ""

    def _check(self, attempt: str, answer: requests.Response) -> None:
        code = answer.status_code
        if code in self._writer.expect:
            return
        text = self._plain(answer)
        reason = f"the server answered {code}{f', {text}' if text else ''}"
        if code in _LATER or code >= 500:
            advice = _ADVICE.get(code, "The next attempt sends it again.")
            raise DestinationUnavailable(f"{attempt}: {reason}. {advice}", _wait(answer.headers))
        if 200 <= code <= 299:
            expected = ", ".join(map(str, self._writer.expect))
            raise DeliveryError(f"{attempt}: {reason}, and expected was {expected}. Correct http.expect.")
        advice = _ADVICE.get(code, "Correct the destination's settings.")
        raise DeliveryError(f"{attempt}: {reason}. {advice}")

    def _plain(self, answer: requests.Response) -> str:
        """The beginning of the server's explanation, without secrets that it repeats."""
        if not answer.headers.get("Content-Type", "").startswith(("text/plain", "application/")):
            return answer.reason or ""
        text = "".join(char if char.isprintable() else " " for char in answer.text[:2_000])
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:_LONGEST_REASON].rstrip(".") or answer.reason or ""

    @contextmanager
    def _explained(self, attempt: str) -> Iterator[None]:
        import requests

        try:
            yield
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE" in str(error).upper() or "hostname" in str(error):
                raise DeliveryError(
                    f"{attempt}: the server cannot be trusted, because its certificate does not verify. "
                    "Correct the host name, or name the file with the server's root certificate in "
                    "http.ca_file."
                ) from None
            raise DestinationUnavailable(f"{attempt}: TLS failed. The next attempt sends it again.") from None
        except requests.exceptions.Timeout:
            raise DestinationUnavailable(
                f"{attempt}: no answer in time. The next attempt sends it again."
            ) from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader) as error:
            raise DeliveryError(
                f"{attempt}: {type(error).__name__}. Correct the address or the headers."
            ) from None
        except requests.RequestException as error:
            # Not the exception's text: it has the whole request in it.
            reason = _innermost(error)
            raise DestinationUnavailable(f"{attempt}: {reason}. The next attempt sends it again.") from None
        except ValueError:
            # The library looks at a redirect's address also where redirects are not followed.
            raise DeliveryError(
                f"{attempt}: the address, a header, or the address that the server redirects to cannot be "
                "used. Correct the address or the headers."
            ) from None


class _Body:
    """The content of a file, with a length, so that it is sent as it is read.

    Args:
        file: The file.
        progress: Takes the number of further bytes.
    """

    def __init__(self, file: StagedFile, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress

    def __len__(self) -> int:
        return self._file.size

    def __iter__(self) -> Iterator[bytes]:
        with self._file.path.open("rb") as source:
            if source.seek(0, 2) != self._file.size:
                raise changed(self._file)
            source.seek(0)
            yield from blocks(source, self._progress, _BLOCK)


def _checksum(headers: Mapping[str, str], file: StagedFile) -> str:
    """Compare the checksums that a server names; return the kind that is the same."""
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    for name in ("Repr-Digest", "Content-Digest"):
        if f"sha-256=:{digest}:" in headers.get(name, ""):
            return "sha256"
    if headers.get("Content-MD5", "") == base64.b64encode(bytes.fromhex(file.md5)).decode():
        return "md5"
    return "md5" if headers.get("ETag", "").strip('"').lower() == file.md5 else ""


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: a number, or a date (RFC 9110, 10.2.3)."""
    given = headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdecimal():
        return min(float(given), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=dt.UTC)
    return min(max(0.0, (until - dt.datetime.now(dt.UTC)).total_seconds()), _LONGEST_WAIT)


def _innermost(error: BaseException) -> str:
    """Name the innermost reason of an error, such as `Connection refused`."""
    reason: Any = error
    seen = 0
    while seen < 10 and (inner := reason.__cause__ or reason.__context__) is not None:
        reason, seen = inner, seen + 1
    if isinstance(reason, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    text = getattr(reason, "strerror", None) or type(reason).__name__
    return str(text).rstrip(".")
