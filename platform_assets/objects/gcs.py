"""A Google Cloud Storage bucket, or a prefix in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from platform_assets.errors import ObjectGone, ObjectsError, ObjectsUnavailable
from platform_assets.isolation import Isolation
from platform_assets.objects.bucket import (
    ExplainedReader,
    ObjectVersion,
    Readable,
    RemoteBucket,
    raise_if_partly_listed,
)

_TIMEOUT = (5, 60)  # seconds to connect, and to wait for an answer
_FIELDS = "items(name,generation,size,updated,timeCreated),nextPageToken"


@dataclass(frozen=True)
class GcsBucket(RemoteBucket):
    """A bucket of Google Cloud Storage; `client` is a `google.cloud.storage` client."""

    scheme = "gs"

    def objects(self, after: str = "") -> Iterator[ObjectVersion]:
        """See `Bucket.objects`; empty objects named `name/`, which consoles show as folders, are skipped."""
        failing = Isolation("Listing")
        with explained(f"The bucket {self.uri} cannot be listed"):
            for blob in self.client.list_blobs(
                self.name,
                prefix=self.start or None,
                start_offset=self.start + after if after else None,
                page_size=self.page,
                fields=_FIELDS,
                timeout=_TIMEOUT,
            ):
                version: ObjectVersion | None = None
                with failing.guard(str(blob.name)):
                    # The offset is inclusive, but the listing must start after the key.
                    if not blob.name.endswith("/") and blob.name.removeprefix(self.start) > after:
                        version = self._version(blob)
                if version is not None:
                    yield version
        raise_if_partly_listed(self.uri, failing)

    def find(self, key: str) -> ObjectVersion | None:
        """See `Bucket.find`."""
        with explained(f"{self.start}{key} in the bucket {self.name} cannot be accessed"):
            blob = self.client.bucket(self.name).get_blob(self.start + key, timeout=_TIMEOUT)
            return None if blob is None else self._version(blob)

    @contextmanager
    def open(self, found: ObjectVersion) -> Iterator[Readable]:
        """See `Bucket.open`."""
        blob = self.client.bucket(self.name).blob(self.start + found.key, generation=int(found.version))
        explain = partial(explained, f"{found.uri} cannot be read", is_object=True)
        with explain():
            # The client's reader sends no request for an empty object, so a deleted one would go unnoticed.
            if not found.size and not blob.exists(timeout=_TIMEOUT):
                raise ObjectGone(f"{found.uri} cannot be read: it was deleted or overwritten.")
            file = blob.open("rb", timeout=_TIMEOUT)
        with file:
            yield ExplainedReader(cast("Readable", file), explain)

    def _version(self, blob: Any) -> ObjectVersion:
        return ObjectVersion(
            f"gs://{self.name}/{blob.name}",
            blob.name.removeprefix(self.start),
            str(blob.generation),
            int(blob.size or 0),
            blob.updated or blob.time_created,
        )


def gcs_client(options: Mapping[str, str]) -> Any:
    """Create a Google Cloud Storage client.

    Args:
        options: `GOOGLE_SERVICE_ACCOUNT` (the path of a key file), `GOOGLE_BASE_URL` and
            `GOOGLE_SKIP_SIGNATURE` (for a server without authentication); without a key file, the credentials
            come from where Google's own tools look.

    Raises:
        ObjectsError: The client is not installed, or there are no credentials.
    """
    try:
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import storage
    except ImportError:
        raise ObjectsError(
            "Google Cloud Storage cannot be reached without its client: pip install 'platform-assets[gcp]'."
        ) from None
    given = {name.lower().removeprefix("google_"): value for name, value in options.items()}
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
        raise ObjectsError(
            f"Google Cloud Storage cannot be reached: {error}. Name a key file in GOOGLE_SERVICE_ACCOUNT, or "
            "sign in with Google's tools."
        ) from None


@contextmanager
def explained(attempt: str, *, is_object: bool = False) -> Iterator[None]:
    """Translate the errors of Google's client to the platform's errors, with the attempted operation."""
    try:
        yield
    except gcs_errors() as error:
        failure = gcs_failure(error)
        if failure.kind == "gone":
            kind = ObjectGone if is_object else ObjectsError
            raise kind(f"{attempt}: {failure.reason}. It is not there in this version.") from None
        if failure.kind == "temporary":
            raise ObjectsUnavailable(f"{attempt}: {failure.reason}. It is tried again.") from None
        raise ObjectsError(
            f"{attempt}: {failure.reason}. Check the name and what the credentials may do."
        ) from None


@dataclass(frozen=True)
class GcsFailure:
    """An error of Google's client, for every part of the platform that uses it.

    Attributes:
        kind: `gone`: the object is not there in the version asked for; `temporary`: a retry may succeed;
            `untrusted`: the server's certificate does not verify; `refused`: a user has to change something.
        reason: The message, in one line of at most 300 characters, without the requested address.
    """

    kind: Literal["gone", "temporary", "untrusted", "refused"]
    reason: str


def gcs_errors() -> tuple[type[Exception], ...]:
    """Return the classes of the errors of Google's client, and of the network below it."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    return GoogleAPICallError, RetryError, GoogleAuthError, RequestException


def gcs_failure(error: Exception) -> GcsFailure:
    """Classify one of `gcs_errors`."""
    from google.api_core.exceptions import (
        NotFound,
        PreconditionFailed,
        RetryError,
        ServerError,
        TooManyRequests,
    )
    from google.auth.exceptions import TransportError
    from requests.exceptions import RequestException, SSLError

    # The address of a request may hold the id of an upload, which is as good as a password.
    words = (word for word in str(error).split() if "://" not in word and "upload_id" not in word)
    reason = " ".join(words)[:300].rstrip(".: ")
    if isinstance(error, NotFound | PreconditionFailed):
        return GcsFailure("gone", reason)
    if isinstance(error, SSLError):
        is_untrusted = "CERTIFICATE" in str(error).upper()
        return (
            GcsFailure("untrusted", "its certificate does not verify")
            if is_untrusted
            else GcsFailure("temporary", "TLS failed")
        )
    passing = (ServerError, TooManyRequests, RetryError, TransportError, RequestException)
    return GcsFailure("temporary" if isinstance(error, passing) else "refused", reason)
