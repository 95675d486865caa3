"""Event queues of new objects: S3 to SQS, and GCS to Pub/Sub.

An event is only a hint to look at an object: it may be late, duplicated or lost. The bucket's current content
is authoritative, and a listing finds objects without events.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import unquote_plus

from platform_assets.errors import ObjectsError, ObjectsUnavailable
from platform_assets.isolation import failure_of, reason_of
from platform_assets.objects.s3 import aws_client, explained

_MESSAGES_PER_CALL = 10  # the maximum of one SQS call
_PULL_SECONDS = 5.0
_PULLED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Notice:
    """One message of a queue.

    Attributes:
        receipt: Identifies the message for its acknowledgement.
        keys: The keys of watched objects that it names; empty if it is about something else.
        problem: Why it cannot be read; empty if it can. A listing finds its objects.
    """

    receipt: str
    keys: tuple[str, ...]
    problem: str = ""


class Events(Protocol):
    """A queue of notices; notices that are not acknowledged are delivered again."""

    def receive(self, limit: int) -> Sequence[Notice]:
        """Receive about `limit` notices, possibly slightly more; empty if the queue is empty.

        Raises:
            ObjectsError: The queue cannot be read.
            ObjectsUnavailable: The queue does not answer now.
        """
        ...

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """Acknowledge notices, so that they are not delivered again; raises as `receive` does."""
        ...

    def described(self) -> str:
        """Describe the queue's state in words, without taking a message; raises as `receive` does."""
        ...


@dataclass(frozen=True)
class SqsEvents:
    """An SQS queue that receives a bucket's notifications, directly, through SNS or through EventBridge.

    Args:
        queue_url: The queue's URL.
        bucket: Name of the watched bucket.
        prefix: The watched prefix, without a slash at either end.
        client: A boto3 client of SQS.
        wait: Whole seconds that the first call waits for a message.
    """

    queue_url: str
    bucket: str
    prefix: str
    client: Any = field(repr=False)
    wait: int = 1

    def receive(self, limit: int) -> Sequence[Notice]:
        """See `Events.receive`."""
        notices: dict[str, Notice] = {}
        while len(notices) < limit:
            with explained(f"The queue {self.queue_url} cannot be read"):
                messages = self.client.receive_message(
                    QueueUrl=self.queue_url,
                    MaxNumberOfMessages=_MESSAGES_PER_CALL,
                    WaitTimeSeconds=0 if notices else self.wait,
                ).get("Messages", ())
            if all(message["MessageId"] in notices for message in messages):
                break  # empty, or the first messages again
            for message in messages:
                keys, problem = _read(partial(self._names, message), self.prefix)
                notices[message["MessageId"]] = Notice(message["ReceiptHandle"], keys, problem)
        return list(notices.values())

    def _names(self, message: Mapping[str, Any]) -> Sequence[str]:
        return [name for bucket, name in s3_objects(message["Body"]) if bucket == self.bucket]

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """See `Events.acknowledge`."""
        for start in range(0, len(notices), _MESSAGES_PER_CALL):
            some = notices[start : start + _MESSAGES_PER_CALL]
            entries = [{"Id": str(place), "ReceiptHandle": event.receipt} for place, event in enumerate(some)]
            with explained(f"Messages of the queue {self.queue_url} cannot be deleted"):
                # A message that could not be deleted is delivered again, and its objects are then already
                # settled.
                self.client.delete_message_batch(QueueUrl=self.queue_url, Entries=entries)

    def described(self) -> str:
        """See `Events.described`."""
        name = "ApproximateNumberOfMessages"
        with explained(f"The queue {self.queue_url} cannot be looked at (sqs:GetQueueAttributes)"):
            found = self.client.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=[name])
        return f"{self.queue_url} has about {found['Attributes'][name]} messages"


@dataclass(frozen=True)
class PubSubEvents:
    """A Pub/Sub subscription that receives a bucket's notifications.

    Args:
        subscription: `projects/<project>/subscriptions/<name>`.
        bucket: Name of the watched bucket.
        prefix: The watched prefix, without a slash at either end.
        client: A `google.pubsub_v1` client of subscriptions.
        wait: Seconds that a call waits for a message.
    """

    subscription: str
    bucket: str
    prefix: str
    client: Any = field(repr=False)
    wait: float = _PULL_SECONDS

    def receive(self, limit: int) -> Sequence[Notice]:
        """See `Events.receive`."""
        from google.api_core.exceptions import DeadlineExceeded

        request = {"subscription": self.subscription, "max_messages": min(limit, _PULLED_AT_ONCE)}
        with _pubsub_explained(f"The subscription {self.subscription} cannot be read"):
            try:
                answer = self.client.pull(request=request, timeout=self.wait, retry=None)
            except DeadlineExceeded:
                return []  # the queue is empty
        notices = []
        for received in answer.received_messages:
            keys, problem = _read(partial(self._names, received.message), self.prefix)
            notices.append(Notice(received.ack_id, keys, problem))
        return notices

    def _names(self, message: Any) -> Sequence[str]:
        attributes = message.attributes
        return (
            [attributes["objectId"]]
            if attributes.get("bucketId") == self.bucket and "objectId" in attributes
            else []
        )

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """See `Events.acknowledge`."""
        for start in range(0, len(notices), _PULLED_AT_ONCE):
            receipts = [notice.receipt for notice in notices[start : start + _PULLED_AT_ONCE]]
            with _pubsub_explained(
                f"Messages of the subscription {self.subscription} cannot be acknowledged"
            ):
                self.client.acknowledge(
                    request={"subscription": self.subscription, "ack_ids": receipts}, timeout=30.0
                )

    def described(self) -> str:
        """See `Events.described`."""
        with _pubsub_explained(
            f"The subscription {self.subscription} cannot be looked at (pubsub.subscriptions.get)"
        ):
            found = self.client.get_subscription(request={"subscription": self.subscription}, timeout=30.0)
        return f"{self.subscription} receives {found.topic}"


def s3_objects(body: str) -> Iterator[tuple[str, str]]:
    """The buckets and objects named by a message about S3; empty for other messages.

    Sources: the event message structure of S3 notifications (keys are URL-encoded, spaces as +), SNS's
    envelope around it, and EventBridge's S3 event (keys are not encoded).
    """
    content = _object(body)
    if isinstance(inner := content.get("Message"), str):
        content = _object(inner)
    records = content.get("Records")
    for record in records if isinstance(records, list) else ():
        event = record.get("s3") if isinstance(record, dict) else None
        if (pair := _named(event)) is not None:
            yield pair[0], unquote_plus(pair[1])
    if content.get("source") == "aws.s3" and (pair := _named(content.get("detail"))) is not None:
        yield pair


def sqs_client(options: Mapping[str, str]) -> Any:
    """Create an SQS client from the lake's options; see `aws_client`."""
    return aws_client("sqs", options)


def pubsub_client(options: Mapping[str, str]) -> Any:
    """Create a Pub/Sub subscriber client.

    Args:
        options: `GOOGLE_SERVICE_ACCOUNT` (the path of a key file), `GOOGLE_PUBSUB_EMULATOR` (the `host:port`
            of a server without TLS and authentication).

    Raises:
        ObjectsError: The client is not installed, or there are no credentials.
    """
    try:
        from google.auth.exceptions import DefaultCredentialsError
        from google.pubsub_v1 import SubscriberClient
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        grpc: Any = import_module("grpc")  # no type stubs
    except ImportError:
        raise ObjectsError(
            "Pub/Sub cannot be reached without its client: pip install 'platform-assets[gcp]'."
        ) from None
    given = {name.lower().removeprefix("google_"): value for name, value in options.items()}
    key_file = given.get("service_account") or given.get("service_account_path")
    try:
        if emulator := given.get("pubsub_emulator"):
            transport = SubscriberGrpcTransport(channel=grpc.insecure_channel(emulator))
            return SubscriberClient(transport=transport)
        return SubscriberClient.from_service_account_file(key_file) if key_file else SubscriberClient()
    except (DefaultCredentialsError, OSError, ValueError) as error:
        raise ObjectsError(
            f"Pub/Sub cannot be reached: {error}. Name a key file in GOOGLE_SERVICE_ACCOUNT, or sign in with "
            "Google's tools."
        ) from None


def _keys(names: Sequence[str], prefix: str) -> tuple[str, ...]:
    """The keys of those objects that are below a prefix."""
    start = f"{prefix}/" if prefix else ""
    return tuple(
        name.removeprefix(start)
        for name in names
        if name.startswith(start) and name != start and not name.endswith("/")
    )


def _read(names: Callable[[], Sequence[str]], prefix: str) -> tuple[tuple[str, ...], str]:
    """Parse one message: its keys, or why it cannot be read, so that it is not delivered forever."""
    keys: list[str] = []
    failure = failure_of(lambda: keys.extend(_keys(names(), prefix)))
    if failure is None:
        return tuple(keys), ""
    return (), f"A message of the queue cannot be read: {reason_of(failure, tell_text=False)}"


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _named(event: object) -> tuple[str, str] | None:
    if not isinstance(event, dict):
        return None
    bucket, found = event.get("bucket"), event.get("object")
    name = bucket.get("name") if isinstance(bucket, dict) else None
    key = found.get("key") if isinstance(found, dict) else None
    return (name, key) if isinstance(name, str) and isinstance(key, str) else None


@contextmanager
def _pubsub_explained(attempt: str) -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPICallError, RetryError, ServerError, TooManyRequests
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (ServerError, TooManyRequests, RetryError) as error:
        raise ObjectsUnavailable(f"{attempt}: {_line(error)}. It is tried again.") from None
    except (GoogleAPICallError, GoogleAuthError) as error:
        raise ObjectsError(
            f"{attempt}: {_line(error)}. Check the name and what the credentials may do."
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".: ")
