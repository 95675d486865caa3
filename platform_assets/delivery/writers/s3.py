"""An S3 bucket, or a prefix in it."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from platform_assets.configuration.secrets import Secret
from platform_assets.configuration.stores import resolve_options
from platform_assets.delivery.interfaces import (
    DeliveryError,
    DestinationUnavailable,
    Progress,
    Receipt,
    StagedFile,
)
from platform_assets.delivery.writers.content import SIDECAR, ascii_text, changed, safe_name, sidecar

_MIB = 1 << 20
_SINGLE = 16 * _MIB
"""Files up to this size are sent with one request."""
_PART = 8 * _MIB
_MOST_PARTS = 10_000
_WORKERS = 6
_MEMORY = 48 * _MIB
"""Bytes that the parts being sent may take together."""
_SKEW = dt.timedelta(minutes=5)
_STALE = dt.timedelta(hours=1)
"""An unfinished upload of ours without a new part for so long is abandoned."""
_LONGEST_LINK = dt.timedelta(days=7)
_LATER = {
    *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "OperationAborted", "Busy"),
    *("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody"),
    *("NoSuchUpload", "RequestLimitExceeded", "429", "500", "502", "503", "504"),
}
_CREDENTIALS = {
    *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403"),
    *("AllAccessDisabled", "AccountProblem", "InvalidClientTokenId", "AuthorizationHeaderMalformed", "401"),
}


@dataclass(frozen=True)
class S3Options:
    """Options of the objects that are written.

    Attributes:
        storage_class: Their storage class; the bucket's default where None.
        encryption: `s3` or `kms`; the bucket's default where None.
        kms_key: The key of KMS; the account's default where None.
        tags: Their tags.
        acl: A canned ACL; none where None.
        bucket_owner: The account that must own the bucket; any where None.
    """

    storage_class: str | None = None
    encryption: str | None = None
    kms_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    acl: str | None = None
    bucket_owner: str | None = None

    def arguments(self) -> dict[str, str]:
        """Return the arguments of a request that creates an object."""
        encryption = {"s3": "AES256", "kms": "aws:kms", None: "aws:kms" if self.kms_key else None}
        given = {
            "StorageClass": self.storage_class,
            "ServerSideEncryption": encryption[self.encryption],
            "SSEKMSKeyId": self.kms_key,
            "Tagging": urlencode(self.tags),
            "ACL": self.acl,
        }
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class S3Writer:
    """Writes objects below one prefix of a bucket.

    Args:
        bucket: The bucket's name.
        prefix: The prefix, without a slash at either end; empty for the whole bucket.
        storage_options: Options of the client, as in `lake.storage_options`.
        options: What objects are written with.
        has_sidecar: True to write metadata beside every object also.
        timeout: Seconds without an answer until a request is given up.
    """

    bucket: str
    prefix: str
    storage_options: Mapping[str, str | Secret] = field(default_factory=dict)
    options: S3Options = field(default_factory=S3Options)
    has_sidecar: bool = False
    timeout: float = 60

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @contextmanager
    def open(self) -> Iterator[S3Transfer]:
        """See `Writer.open`."""
        client = self._client()
        with contextlib.closing(client):
            yield S3Transfer(client, self.bucket, self.prefix, self.options, self.has_sidecar)

    def try_out(self) -> str:
        """See `CanBeTried.try_out`: begin an upload in parts, and abort it, of which nothing is left."""
        client = self._client()
        key = f"{self.prefix}/platform-assets-doctor" if self.prefix else "platform-assets-doctor"
        at = {"Bucket": self.bucket, "Key": key}
        with contextlib.closing(client), _explained(f"{self.address} cannot be written to (s3:PutObject)"):
            upload = client.create_multipart_upload(**at)
            client.abort_multipart_upload(**at, UploadId=upload["UploadId"])
        return "objects may be written"

    def link(self, file: StagedFile, expires: dt.timedelta) -> str:
        """Return a presigned link.

        Raises:
            DeliveryError: S3 has no links that are valid for so long.
        """
        if expires > _LONGEST_LINK:
            raise DeliveryError(
                "A link to an object in S3 expires after at most 7 days. Choose a shorter time."
            )
        key = _key(self.prefix, file)
        name = quote(file.name.rpartition("/")[2])
        client = self._client()
        with contextlib.closing(client), _explained(f"No link to s3://{self.bucket}/{key} was made"):
            link: str = client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.bucket,
                    "Key": key,
                    "ResponseContentDisposition": f"attachment; filename*=UTF-8''{name}",
                },
                ExpiresIn=int(expires.total_seconds()),
            )
        return link

    def _client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise DeliveryError(
                f"{self.address} cannot be written to without boto3: pip install 'platform-assets[aws]'."
            ) from None
        given = {
            name.lower().removeprefix("aws_"): value
            for name, value in resolve_options(self.storage_options).items()
        }
        endpoint = given.get("endpoint_url") or given.get("endpoint")
        config = Config(
            connect_timeout=min(self.timeout, 20),
            read_timeout=self.timeout,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=_WORKERS + 2,
            signature_version="s3v4",
            # Every request with content gets its checksum here.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # The signature covers the checksum; with TLS nothing is gained by another hash of the content.
            s3={"payload_signing_enabled": (endpoint or "").startswith("http://")},
        )
        try:
            # A session of its own: boto3's default session cannot be used by several threads at once.
            return boto3.session.Session().client(
                "s3",
                region_name=given.get("region") or given.get("default_region"),
                endpoint_url=endpoint,
                aws_access_key_id=given.get("access_key_id"),
                aws_secret_access_key=given.get("secret_access_key"),
                aws_session_token=given.get("session_token"),
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise DeliveryError(
                f"{self.address} cannot be reached: {error}. Set the region and the credentials."
            ) from None


class S3Transfer:
    """Writes objects through one client.

    Args:
        client: A boto3 client of S3.
        bucket: The bucket's name.
        prefix: The prefix, without a slash at either end.
        options: What objects are written with.
        has_sidecar: True to write metadata beside every object also.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, options: S3Options, has_sidecar: bool) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._options = options
        self._has_sidecar = has_sidecar

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`."""
        key = _key(self._prefix, file)
        address = f"s3://{self._bucket}/{key}"
        with _explained(f"{address} was not written"):
            head = self._head(key)
            if head is not None and self._is_same(head, file):
                progress(file.size)
                receipt = self._receipt(address, file, head, "sha256", 0)
            elif file.size <= _SINGLE:
                receipt = self._put(address, key, file, progress)
            else:
                receipt = _Multipart(self._client, self._where(key), self._object(file), file, progress).send(
                    address
                )
            if self._has_sidecar:
                self._put_sidecar(key, file)
            return receipt

    def _put(self, address: str, key: str, file: StagedFile, progress: Progress) -> Receipt:
        content = file.path.read_bytes()
        if len(content) != file.size:
            raise changed(file)
        checksum = _base64(bytes.fromhex(file.sha256))
        answer = self._client.put_object(
            **self._where(key),
            **self._object(file),
            Body=content,
            # Buckets that lock objects demand the algorithm's name beside the checksum.
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=checksum,
        )
        progress(file.size)
        if answer.get("ChecksumSHA256") == checksum:
            verified_by = "sha256"
        elif answer.get("ETag", "").strip('"') == file.md5:
            verified_by = "md5"
        else:
            verified_by = self._verified_by_size(address, key, file)
        return self._receipt(address, file, answer, verified_by, file.size)

    def _verified_by_size(self, address: str, key: str, file: StagedFile) -> str:
        head = self._head(key)
        if head is None:
            return "accepted"
        if head["ContentLength"] != file.size:
            raise DestinationUnavailable(
                f"{address} was not written as sent: it has {head['ContentLength']} bytes, and {file.size} "
                "were sent. The next attempt writes it again."
            )
        return "size"

    def _head(self, key: str) -> dict[str, Any] | None:
        """Describe an object; None if there is none, or if the credentials may only write."""
        from botocore.exceptions import ClientError

        try:
            found: dict[str, Any] = self._client.head_object(**self._where(key), ChecksumMode="ENABLED")
        except ClientError as error:
            # The answer to HEAD has no body, so that a wrong key and a missing right look the same; what is
            # wrong with the credentials shows when the object is written.
            if str(error.response.get("Error", {}).get("Code")) in ("404", "NoSuchKey", "NotFound", "403"):
                return None
            raise
        return found

    @staticmethod
    def _is_same(head: dict[str, Any], file: StagedFile) -> bool:
        # S3 sets metadata and content in one step, and has verified the content.
        metadata = head.get("Metadata", {})
        return bool(
            head["ContentLength"] == file.size
            and metadata.get("sha256") == file.sha256
            and metadata.get("uuid") == file.stamp.uuid
        )

    @staticmethod
    def _receipt(
        address: str, file: StagedFile, answer: dict[str, Any], verified_by: str, sent: int
    ) -> Receipt:
        return Receipt(address, file.size, verified_by, sent, _facts(answer))

    def _put_sidecar(self, key: str, file: StagedFile) -> None:
        content = sidecar(file)
        arguments = self._options.arguments() | {"ContentType": "application/json"}
        self._client.put_object(
            **self._where(key + SIDECAR),
            **arguments,
            Body=content,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=_base64(hashlib.sha256(content).digest()),
        )

    def _where(self, key: str) -> dict[str, str]:
        owner = self._options.bucket_owner
        return {"Bucket": self._bucket, "Key": key} | ({"ExpectedBucketOwner": owner} if owner else {})

    def _object(self, file: StagedFile) -> dict[str, Any]:
        return {
            "ContentType": file.content_type,
            "Metadata": {name: ascii_text(value) for name, value in file.metadata.items()},
            **self._options.arguments(),
        }


@dataclass(frozen=True)
class _Part:
    """A part that S3 has; `is_new` if it was sent now."""

    number: int
    size: int
    etag: str
    crc32: bytes
    has_checksum: bool
    is_new: bool


class _Multipart:
    """Sends one object in parts, and continues an unfinished upload of the same file.

    Args:
        client: A boto3 client of S3.
        where: Bucket and key, as arguments.
        description: What the object is written with, as arguments.
        file: The file.
        progress: Takes the number of further bytes.
    """

    def __init__(
        self,
        client: Any,
        where: dict[str, str],
        description: dict[str, Any],
        file: StagedFile,
        progress: Progress,
    ) -> None:
        self._client = client
        self._where = where
        self._description = description
        self._file = file
        self._progress = progress
        least = -(-file.size // _MOST_PARTS)
        self._part = max(_PART, -(-least // _MIB) * _MIB)

    def send(self, address: str) -> Receipt:
        """Send what S3 does not have yet, complete the upload, and verify the object."""
        upload, there = self._unfinished()
        if upload is None:
            created = self._client.create_multipart_upload(
                **self._where, **self._description, ChecksumAlgorithm="CRC32"
            )
            upload = str(created["UploadId"])
        try:
            parts = self._send_parts(upload, there)
            answer = self._client.complete_multipart_upload(
                **self._where,
                UploadId=upload,
                MultipartUpload={"Parts": [_completed(part) for part in parts]},
            )
        except Exception as error:
            if not _is_resumable(error):
                self._abort(upload)
            raise
        verified_by = self._verified_by(address, answer, parts)
        sent = sum(part.size for part in parts if part.is_new)
        return Receipt(address, self._file.size, verified_by, sent, _facts(answer))

    def _send_parts(self, upload: str, there: Mapping[int, Mapping[str, Any]]) -> list[_Part]:
        count = -(-self._file.size // self._part)
        workers = max(1, min(_WORKERS, _MEMORY // self._part))
        parts: list[_Part] = []
        with ThreadPoolExecutor(workers, thread_name_prefix="s3-upload") as pool:
            waiting: list[Future[_Part]] = [
                pool.submit(self._send_part, upload, number, there.get(number))
                for number in range(1, count + 1)
            ]
            try:
                for done in as_completed(waiting):
                    parts.append(done.result())
                    self._progress(parts[-1].size)
            finally:
                for waiting_part in waiting:
                    waiting_part.cancel()
        return sorted(parts, key=lambda part: part.number)

    def _send_part(self, upload: str, number: int, there: Mapping[str, Any] | None) -> _Part:
        with self._file.path.open("rb") as source:
            source.seek((number - 1) * self._part)
            content = source.read(self._part)
        if len(content) != min(self._part, self._file.size - (number - 1) * self._part):
            raise changed(self._file)
        # Not SHA-256: the file's own is known, those of parts would take as long as the sending.
        digest = zlib.crc32(content).to_bytes(4, "big")
        checksum = _base64(digest)
        if there is not None and _has(there, content, checksum):
            etag, has_checksum = str(there["ETag"]), bool(there.get("ChecksumCRC32"))
            return _Part(number, len(content), etag, digest, has_checksum, is_new=False)
        answer = self._client.upload_part(
            **self._where,
            UploadId=upload,
            PartNumber=number,
            Body=content,
            ChecksumAlgorithm="CRC32",
            ChecksumCRC32=checksum,
        )
        has_checksum = answer.get("ChecksumCRC32") == checksum
        return _Part(number, len(content), str(answer["ETag"]), digest, has_checksum, is_new=True)

    def _unfinished(self) -> tuple[str | None, dict[int, Mapping[str, Any]]]:
        """Find the upload to continue and its parts, and abort what other attempts of ours have left."""
        from botocore.exceptions import ClientError

        key = self._where["Key"]
        others = {name: value for name, value in self._where.items() if name != "Key"}
        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(**others, Prefix=key)
            found = [upload for page in pages for upload in page.get("Uploads", ()) if upload["Key"] == key]
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code")) in ("AccessDenied", "403", "NotImplemented"):
                return None, {}  # credentials that may only write: the upload starts from the beginning
            raise
        chosen: str | None = None
        parts: dict[int, Mapping[str, Any]] = {}
        for begun in sorted(found, key=lambda upload: upload["Initiated"], reverse=True):
            # What began after this delivery was stamped was begun by one of its attempts: its metadata fit.
            is_ours = begun["Initiated"] >= self._file.stamp.at - _SKEW
            listed = self._parts(begun["UploadId"])
            if is_ours and chosen is None and self._fits(listed):
                chosen, parts = begun["UploadId"], listed
            elif is_ours or self._is_abandoned(begun, listed):
                self._abort(begun["UploadId"])
        return chosen, parts

    def _parts(self, upload: str) -> dict[int, Mapping[str, Any]]:
        from botocore.exceptions import ClientError

        try:
            pages = self._client.get_paginator("list_parts").paginate(**self._where, UploadId=upload)
            return {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code")) in ("AccessDenied", "403", "NoSuchUpload"):
                return {}
            raise

    def _fits(self, parts: Mapping[int, Mapping[str, Any]]) -> bool:
        """Return whether an upload's parts were cut as they are now; an empty upload is not worth keeping."""
        count = -(-self._file.size // self._part)
        last = self._file.size - (count - 1) * self._part
        return bool(parts) and all(
            number <= count and part["Size"] == (last if number == count else self._part)
            for number, part in parts.items()
        )

    @staticmethod
    def _is_abandoned(upload: Mapping[str, Any], parts: Mapping[int, Mapping[str, Any]]) -> bool:
        latest = max([upload["Initiated"], *(part["LastModified"] for part in parts.values())])
        return bool(dt.datetime.now(dt.UTC) - latest > _STALE)

    def _abort(self, upload: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        # Credentials that may only write cannot abort; a lifecycle rule of the bucket then removes the parts.
        with contextlib.suppress(ClientError, BotoCoreError):
            self._client.abort_multipart_upload(**self._where, UploadId=upload)

    def _verified_by(self, address: str, answer: Mapping[str, Any], parts: list[_Part]) -> str:
        from botocore.exceptions import ClientError

        expected = _base64(zlib.crc32(b"".join(part.crc32 for part in parts)).to_bytes(4, "big"))
        if str(answer.get("ChecksumCRC32", "")).partition("-")[0] == expected:
            return "crc32 of parts"
        try:
            head = self._client.head_object(**self._where, ChecksumMode="ENABLED")
        except ClientError:
            return "accepted"
        if str(head.get("ChecksumCRC32", "")).partition("-")[0] == expected:
            return "crc32 of parts"
        if head["ContentLength"] != self._file.size:
            raise DestinationUnavailable(
                f"{address} was not written as sent: it has {head['ContentLength']} bytes, and "
                f"{self._file.size} were sent. The next attempt writes it again."
            )
        return "crc32 of parts" if all(part.has_checksum for part in parts) else "size"


def _key(prefix: str, file: StagedFile) -> str:
    name = safe_name(file)
    return f"{prefix}/{name}" if prefix else name


def _facts(answer: Mapping[str, Any]) -> dict[str, str]:
    version = str(answer.get("VersionId") or "")
    etag = str(answer.get("ETag") or "").strip('"')
    return {name: value for name, value in {"version": version, "etag": etag}.items() if value}


def _completed(part: _Part) -> dict[str, Any]:
    checksum = {"ChecksumCRC32": _base64(part.crc32)} if part.has_checksum else {}
    return {"PartNumber": part.number, "ETag": part.etag, **checksum}


def _has(there: Mapping[str, Any], content: bytes, checksum: str) -> bool:
    given = there.get("ChecksumCRC32")
    return given == checksum if given else _is_md5(str(there.get("ETag", "")), content)


def _is_md5(etag: str, content: bytes) -> bool:
    return etag.strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest()


def _is_resumable(error: Exception) -> bool:
    """Return whether the next attempt may continue an upload after an error."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return _is_later(*_code(error))
    return isinstance(error, BotoCoreError)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _code(error: Any) -> tuple[str, int]:
    answer = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(answer.get("Code", "")), int(status)


def _is_later(code: str, status: int) -> bool:
    return code in _LATER or code.startswith("Throttl") or status >= 500


@contextmanager
def _explained(attempt: str) -> Iterator[None]:
    """Translate boto3's errors, with what was attempted."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,  # noqa: A004 - botocore's own
        HTTPClientError,
        NoCredentialsError,
        SSLError,
    )
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code, status = _code(error)
        reason = f"{code}: {error.response.get('Error', {}).get('Message', '')}".strip(": .")
        if _is_later(code, status):
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            after = str(headers.get("retry-after", ""))
            wait = float(after) if after.isascii() and after.isdecimal() else None
            raise DestinationUnavailable(f"{attempt}: {reason}. The next attempt continues.", wait) from None
        if code == "NoSuchBucket":
            advice = "Create the bucket, or correct its name."
        elif code in _CREDENTIALS or status in (401, 403):
            advice = "Correct the credentials, or grant them the right to write there."
        elif code == "RequestTimeTooSkewed":
            advice = "Set this machine's clock."
        else:
            advice = "Correct the destination's settings."
        raise DeliveryError(f"{attempt}: S3 refused it, {reason}. {advice}") from None
    except NoCredentialsError:
        raise DeliveryError(
            f"{attempt}: no credentials were found. Set them in storage_options, or provide them in a place "
            "that boto3 reads."
        ) from None
    except (BotoCoreError, HTTPError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        if isinstance(error, SSLError) and "CERTIFICATE" in str(error).upper():
            raise DeliveryError(
                f"{attempt}: the server cannot be trusted, {reason}. Name the file with its root certificate "
                "in AWS_CA_BUNDLE, or correct the endpoint."
            ) from None
        if isinstance(error, HTTPError | ConnectionError | HTTPClientError):
            raise DestinationUnavailable(f"{attempt}: {reason}. The next attempt continues.") from None
        raise DeliveryError(f"{attempt}: {reason}. Correct the destination's settings.") from None
