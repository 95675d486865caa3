"""An S3 bucket, or a prefix in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from platform_assets.errors import ObjectGone, ObjectsError, ObjectsUnavailable
from platform_assets.isolation import Isolation
from platform_assets.objects.bucket import (
    ExplainedReader,
    ObjectVersion,
    Readable,
    RemoteBucket,
    raise_if_partly_listed,
)

_GONE = {"404", "NoSuchKey", "412", "PreconditionFailed"}
# Error codes of S3 and SQS that mean: try again later.
_LATER = {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "503", "500"}


@dataclass(frozen=True)
class S3Bucket(RemoteBucket):
    """A bucket of S3; `client` is a boto3 S3 client."""

    scheme = "s3"

    def objects(self, after: str = "") -> Iterator[ObjectVersion]:
        """See `Bucket.objects`; empty objects named `name/`, which consoles show as folders, are skipped."""
        # StartAfter, because a continuation token would not be valid in the next tick.
        arguments = {"Bucket": self.name, "Prefix": self.start, "MaxKeys": self.page}
        if after:
            arguments["StartAfter"] = self.start + after
        failing = Isolation("Listing")
        while True:
            with explained(f"The bucket {self.uri} cannot be listed"):
                page = self.client.list_objects_v2(**arguments)
            for item in page.get("Contents", ()):
                version: ObjectVersion | None = None
                with failing.guard(str(item.get("Key"))):
                    name = item["Key"]
                    if not name.endswith("/"):
                        version = self._version(name, item["ETag"], item["Size"], item["LastModified"])
                if version is not None:
                    yield version
            if not page.get("IsTruncated"):
                raise_if_partly_listed(self.uri, failing)
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def find(self, key: str) -> ObjectVersion | None:
        """See `Bucket.find`."""
        try:
            with explained(f"{self.start}{key} in the bucket {self.name} cannot be accessed"):
                head = self.client.head_object(Bucket=self.name, Key=self.start + key)
        except ObjectGone:
            return None
        return self._version(self.start + key, head["ETag"], head["ContentLength"], head["LastModified"])

    @contextmanager
    def open(self, found: ObjectVersion) -> Iterator[Readable]:
        """See `Bucket.open`."""
        explain = partial(explained, f"{found.uri} cannot be read")
        with explain():
            answer = self.client.get_object(
                Bucket=self.name, Key=self.start + found.key, IfMatch=f'"{found.version}"'
            )
        with closing(answer["Body"]) as body:
            yield ExplainedReader(body, explain)

    def _version(self, name: str, etag: str, size: int, modified: Any) -> ObjectVersion:
        key = name.removeprefix(self.start)
        return ObjectVersion(f"s3://{self.name}/{name}", key, etag.strip('"'), size, modified)


def s3_client(options: Mapping[str, str]) -> Any:
    """Create an S3 client from the lake's options; see `aws_client`."""
    return aws_client("s3", options)


def aws_client(service: str, options: Mapping[str, str]) -> Any:
    """Create a boto3 client.

    Args:
        service: Its name at AWS: `s3`, `sqs`.
        options: `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
            `AWS_ENDPOINT_URL`; missing options come from where boto3 looks.

    Raises:
        ObjectsError: boto3 is not installed, or finds no region.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ObjectsError(
            "S3 and SQS cannot be reached without boto3: pip install 'platform-assets[aws]'."
        ) from None
    limits = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 4})
    try:
        return boto3.client(
            service,
            **client_arguments(options),
            config=limits,
        )
    except (BotoCoreError, ValueError) as error:
        raise ObjectsError(
            f"{service} cannot be reached: {error}. Set AWS_REGION and the credentials."
        ) from None


def client_arguments(options: Mapping[str, str]) -> dict[str, str | None]:
    """The region, endpoint and credentials of a boto3 client, from the options that `aws_client` takes."""
    given = {name.lower().removeprefix("aws_"): value for name, value in options.items()}
    return {
        "region_name": given.get("region") or given.get("default_region"),
        "endpoint_url": given.get("endpoint_url") or given.get("endpoint"),
        "aws_access_key_id": given.get("access_key_id"),
        "aws_secret_access_key": given.get("secret_access_key"),
        "aws_session_token": given.get("session_token"),
    }


@contextmanager
def explained(attempt: str) -> Iterator[None]:
    """Translate boto3's errors to the platform's errors, with the attempted operation."""
    from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError, NoCredentialsError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = str(answer.get("Code", ""))
        reason = f"{code}: {answer.get('Message', '')}".strip(": .")
        if code in _GONE:
            raise ObjectGone(f"{attempt}: {reason}. It was deleted or overwritten.") from None
        if code in _LATER or code.startswith("Throttl"):
            raise ObjectsUnavailable(f"{attempt}: {reason}. It is tried again.") from None
        raise ObjectsError(
            f"{attempt}: {reason}. Check the name, the region and what the credentials may do."
        ) from None
    except NoCredentialsError:
        raise ObjectsError(
            f"{attempt}: no credentials were found. Provide them in a place that boto3 reads."
        ) from None
    except (BotoCoreError, IncompleteReadError, HTTPError) as error:
        raise ObjectsUnavailable(f"{attempt}: {error}. It is tried again.") from None
