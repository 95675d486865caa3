"""A bucket of Google Cloud Storage, or a prefix in it."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from platform_assets.configuration.secrets import Secret
from platform_assets.configuration.stores import resolve_options
from platform_assets.delivery.interfaces import (
    DeliveryError,
    DestinationUnavailable,
    Progress,
    Receipt,
    StagedFile,
)
from platform_assets.delivery.writers.content import SIDECAR, changed, safe_name, sidecar
from platform_assets.objects.gcs import gcs_errors, gcs_failure

_CHUNK = 16 << 20
"""Bytes of one request; a multiple of 256 KiB, as the protocol demands."""
_BLOCK = 256 * 1024
_LONGEST_LINK = dt.timedelta(days=7)
_LATER = {408, 429}


@dataclass(frozen=True)
class GcsWriter:
    """Writes objects below one prefix of a bucket.

    Args:
        bucket: The bucket's name.
        prefix: The prefix, without a slash at either end; empty for the whole bucket.
        storage_options: Options of the client, as in `lake.storage_options`.
        storage_class: The objects' storage class; the bucket's default where None.
        kms_key: The key of Cloud KMS that encrypts the objects; the bucket's default where None.
        has_sidecar: True to write metadata beside every object also.
        timeout: Seconds without an answer until a request is given up.
        sessions: Unfinished uploads by object and checksum, which a later attempt in this process continues.
    """

    bucket: str
    prefix: str
    storage_options: Mapping[str, str | Secret] = field(default_factory=dict)
    storage_class: str | None = None
    kms_key: str | None = None
    has_sidecar: bool = False
    timeout: float = 60
    sessions: dict[tuple[str, str, str], str] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")

    @contextmanager
    def open(self) -> Iterator[GcsTransfer]:
        """See `Writer.open`."""
        import requests

        client = self._client()
        with contextlib.closing(client), requests.Session() as session:
            yield GcsTransfer(self, client, session)

    def try_out(self) -> str:
        """See `CanBeTried.try_out`: ask for the permissions."""
        needed = ["storage.objects.create", "storage.objects.get", "storage.objects.delete"]
        client = self._client()
        with contextlib.closing(client), _explained(f"{self.address} cannot be written to"):
            granted = client.bucket(self.bucket).test_iam_permissions(needed)
        if missing := sorted(set(needed) - set(granted)):
            raise DeliveryError(
                f"{self.address}: grant {', '.join(missing)} on the bucket to this account, as the role "
                "roles/storage.objectUser has them."
            )
        return "objects may be written"

    def link(self, file: StagedFile, expires: dt.timedelta) -> str | None:
        """Return a signed link; None if the credentials have no key to sign with.

        Raises:
            DeliveryError: Google has no links that are valid for so long.
        """
        if expires > _LONGEST_LINK:
            raise DeliveryError(
                "A link to an object in Google Cloud Storage expires after at most 7 days. Choose a "
                "shorter time."
            )
        client = self._client()
        name = quote(file.name.rpartition("/")[2])
        with contextlib.closing(client):
            blob = client.bucket(self.bucket).blob(self.key(file))
            try:
                link: str = blob.generate_signed_url(
                    expiration=expires,
                    version="v4",
                    response_disposition=f"attachment; filename*=UTF-8''{name}",
                )
            except AttributeError:
                # The client's way to say that the credentials, such as a machine's own, have no private key.
                return None
        return link

    def key(self, file: StagedFile) -> str:
        """Return the name of a file's object."""
        name = safe_name(file)
        return f"{self.prefix}/{name}" if self.prefix else name

    def _client(self) -> Any:
        try:
            from google.auth.credentials import AnonymousCredentials
            from google.auth.exceptions import DefaultCredentialsError
            from google.cloud import storage
        except ImportError:
            raise DeliveryError(
                f"{self.address} cannot be written to without Google's client: pip install "
                "'platform-assets[gcp]'."
            ) from None
        given = {
            name.lower().removeprefix("google_"): value
            for name, value in resolve_options(self.storage_options).items()
        }
        address = {"api_endpoint": given["base_url"]} if given.get("base_url") else None
        key_file = given.get("service_account") or given.get("service_account_path")
        anonymous: Any = AnonymousCredentials
        try:
            if given.get("skip_signature", "").lower() == "true":
                return storage.Client("platform", credentials=anonymous(), client_options=address)
            if key_file:
                return storage.Client.from_service_account_json(key_file, client_options=address)
            return storage.Client(client_options=address)
        except (DefaultCredentialsError, OSError, ValueError) as error:
            raise DeliveryError(
                f"{self.address} cannot be reached: {error}. Name a key file in GOOGLE_SERVICE_ACCOUNT, or "
                "sign in with Google's tools."
            ) from None


class GcsTransfer:
    """Writes objects through one client.

    Args:
        writer: The destination.
        client: A `google.cloud.storage` client.
        session: What sends content: the address of an upload needs no credentials.
    """

    def __init__(self, writer: GcsWriter, client: Any, session: Any) -> None:
        self._writer = writer
        self._client = client
        self._session = session

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`."""
        key = self._writer.key(file)
        address = f"gs://{self._writer.bucket}/{key}"
        with _explained(f"{address} was not written"):
            blob = self._client.bucket(self._writer.bucket).get_blob(
                key, timeout=self._writer.timeout, retry=None
            )
            if blob is not None and _is_same(blob, file):
                progress(file.size)
                receipt = Receipt(address, file.size, "md5", 0, {"generation": str(blob.generation)})
            else:
                receipt = self._send(address, key, file, progress)
            if self._writer.has_sidecar:
                beside = self._blob(key + SIDECAR)
                beside.upload_from_string(
                    sidecar(file),
                    "application/json",
                    timeout=self._writer.timeout,
                    checksum="md5",
                    retry=None,
                )
        return receipt

    def _send(self, address: str, key: str, file: StagedFile, progress: Progress) -> Receipt:
        identity = (key, file.stamp.uuid, file.sha256)
        upload, there = self._unfinished(identity, file)
        if upload is None:
            blob = self._blob(key)
            blob.metadata = file.metadata
            # Google refuses the object if what arrives has another checksum.
            blob.md5_hash = base64.b64encode(bytes.fromhex(file.md5)).decode()
            upload = str(
                blob.create_resumable_upload_session(
                    file.content_type, file.size, timeout=self._writer.timeout, checksum=None, retry=None
                )
            )
            self._writer.sessions[identity] = upload
        progress(there)
        sent = file.size - there
        while True:
            end = min(there + _CHUNK, file.size)
            answer = self._request(upload, _Chunk(file, there, end, progress), _range(there, end, file.size))
            if answer.status_code in (400, 416):
                # Bytes of a broken request may have been written after the upload was asked for its size.
                now = self._request(upload, b"", f"bytes */{file.size}")
                if now.status_code == 308 and there < _arrived(now) < file.size:
                    answer = now
            if answer.status_code == 308:
                arrived = _arrived(answer)
                if arrived <= there:
                    raise DestinationUnavailable(
                        f"{address} was not written: Google keeps nothing of what is sent. The next attempt "
                        "continues."
                    )
                progress(arrived - end)
                sent += end - arrived
                there = arrived
                continue
            self._writer.sessions.pop(identity, None)
            return self._verified(address, answer, file, sent)

    def _unfinished(self, identity: tuple[str, str, str], file: StagedFile) -> tuple[str | None, int]:
        upload = self._writer.sessions.get(identity)
        if upload is None:
            return None, 0
        answer = self._request(upload, b"", f"bytes */{file.size}")
        if answer.status_code == 308 and (there := _arrived(answer)) < file.size:
            return upload, there
        self._writer.sessions.pop(identity, None)
        return None, 0

    def _request(self, upload: str, body: Any, content_range: str) -> Any:
        return self._session.put(
            upload,
            data=body or b"",
            headers={"Content-Range": content_range},
            timeout=(self._writer.timeout, self._writer.timeout),
            allow_redirects=False,
        )

    def _verified(self, address: str, answer: Any, file: StagedFile, sent: int) -> Receipt:
        if answer.status_code not in (200, 201):
            raise _refused(f"{address} was not written", answer)
        about = answer.json()
        md5 = base64.b64encode(bytes.fromhex(file.md5)).decode()
        if int(about.get("size", -1)) != file.size or about.get("md5Hash", md5) != md5:
            raise DestinationUnavailable(
                f"{address} was not written as sent: Google has another size or checksum. The next attempt "
                "writes it again."
            )
        verified_by = "md5" if "md5Hash" in about else "size"
        return Receipt(address, file.size, verified_by, sent, {"generation": str(about.get("generation"))})

    def _blob(self, key: str) -> Any:
        blob = self._client.bucket(self._writer.bucket).blob(key, kms_key_name=self._writer.kms_key)
        if self._writer.storage_class is not None:
            blob.storage_class = self._writer.storage_class
        return blob


class _Chunk:
    """A part of a file, with a length, so that it is sent as it is read."""

    def __init__(self, file: StagedFile, start: int, end: int, progress: Callable[[int], None]) -> None:
        self._file = file
        self._start = start
        self._end = end
        self._progress = progress

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        with self._file.path.open("rb") as source:
            if source.seek(0, 2) != self._file.size:
                raise changed(self._file)
            source.seek(self._start)
            left = len(self)
            while left and (block := source.read(min(_BLOCK, left))):
                yield block
                left -= len(block)
                self._progress(len(block))


def _range(start: int, end: int, size: int) -> str:
    return f"bytes {start}-{end - 1}/{size}" if size else "bytes */0"


def _arrived(answer: Any) -> int:
    """The number of bytes that an unfinished upload has: `Range: bytes=0-LAST`, no header for none."""
    last = answer.headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() else 0


def _is_same(blob: Any, file: StagedFile) -> bool:
    metadata = blob.metadata or {}
    return bool(
        blob.size == file.size
        and blob.md5_hash in (None, base64.b64encode(bytes.fromhex(file.md5)).decode())
        and metadata.get("sha256") == file.sha256
        and metadata.get("uuid") == file.stamp.uuid
    )


def _refused(attempt: str, answer: Any) -> DeliveryError:
    text = " ".join(answer.text.split())[:200].rstrip(".")
    reason = f"Google answered {answer.status_code}, {text}"
    if answer.status_code in _LATER or answer.status_code >= 500:
        after = answer.headers.get("Retry-After", "")
        wait = float(after) if after.isascii() and after.isdecimal() else None
        return DestinationUnavailable(f"{attempt}: {reason}. The next attempt continues.", wait)
    return DeliveryError(f"{attempt}: {reason}. Check the name and what the credentials may do.")


@contextmanager
def _explained(attempt: str) -> Iterator[None]:
    """Translate the errors of Google's client and of the network, with what was attempted."""
    try:
        yield
    except gcs_errors() as error:
        failure = gcs_failure(error)
        if failure.kind == "untrusted":
            raise DeliveryError(
                f"{attempt}: the server cannot be trusted, because {failure.reason}. Correct the endpoint."
            ) from None
        if failure.kind == "temporary":
            raise DestinationUnavailable(
                f"{attempt}: {failure.reason}. The next attempt continues."
            ) from None
        raise DeliveryError(
            f"{attempt}: {failure.reason}. Check the name and what the credentials may do."
        ) from None
