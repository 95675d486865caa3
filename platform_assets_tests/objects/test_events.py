"""Queues tell of new objects; what they tell twice, late, wrongly or never changes nothing of the outcome."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from platform_assets.errors import ObjectsError
from platform_assets.objects.events import (
    PubSubEvents,
    SqsEvents,
    pubsub_client,
    s3_objects,
    sqs_client,
)
from platform_assets.objects.log import ObjectLog
from platform_assets.objects.places import open_bucket
from platform_assets.objects.plan import BatchLimits, Outcome
from platform_assets.objects.watch import ListingCursor, RunState, Tick, Watch
from platform_assets_tests.fixtures.gcs import GcsServer, PubSubServer
from platform_assets_tests.fixtures.queues import Queue, create_queue
from platform_assets_tests.fixtures.s3 import S3Server

RESTING = ListingCursor(rest_until=dt.datetime(2100, 1, 1, tzinfo=dt.UTC))


def s3_record(bucket: str, key: str) -> dict[str, Any]:
    return {"eventSource": "aws:s3", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}


@pytest.fixture
def queue(aws_server: S3Server) -> Queue:
    return create_queue(aws_server, f"uploads-{uuid.uuid4().hex[:12]}", VisibilityTimeout="0")


def sqs(queue: Queue, bucket: str, prefix: str = "") -> SqsEvents:
    return SqsEvents(queue.url, bucket, prefix, sqs_client(queue.server.storage_options), wait=0)


def tick(watch: Watch, cursor: ListingCursor = RESTING) -> Tick:
    return watch.tick(cursor, lambda key: RunState.ACTIVE)


def settle(watch: Watch, done: Tick) -> list[str]:
    keys = []
    for request in done.requests:
        tasks = watch.log.read().planned(request.batch)
        keys += [task.object.key for task in tasks]
        watch.log.settle(request.batch, map(Outcome, keys), watch.policy, dt.datetime.now(dt.UTC))
    return keys


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"Records": [s3_record("b", "a+b/%C3%A9%2B.txt")]}, [("b", "a b/é+.txt")]),
        ({"Records": [s3_record("b", "1"), s3_record("c", "2")]}, [("b", "1"), ("c", "2")]),
        ({"Type": "Notification", "Message": json.dumps({"Records": [s3_record("b", "x")]})}, [("b", "x")]),
        (
            {"source": "aws.s3", "detail": {"bucket": {"name": "b"}, "object": {"key": "a+b %41"}}},
            [("b", "a+b %41")],
        ),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}, []),
        ({"Records": [{"s3": None}, 3, {}]}, []),
        ({"source": "aws.ec2", "detail": {"bucket": {"name": "b"}, "object": {"key": "x"}}}, []),
        ([1], []),
        ("no JSON at all", []),
    ],
)
def test_a_message_names_its_objects_in_each_of_the_forms_that_s3_has(
    message: object, named: list[tuple[str, str]]
) -> None:
    body = message if isinstance(message, str) else json.dumps(message)
    assert list(s3_objects(body)) == named


def test_what_s3_itself_sends_to_a_queue_is_understood(queue: Queue) -> None:
    bucket, client = queue.server.create_bucket(), queue.server.client()
    client.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": queue.arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    client.put_object(Bucket=bucket, Key="in/a b.txt", Body=b"x")
    keys = [key for notice in sqs(queue, bucket, "in").receive(10) for key in notice.keys]
    assert keys == ["a b.txt"]


def test_an_object_that_a_queue_tells_of_is_worked_on_once_without_a_listing(
    queue: Queue, log: ObjectLog
) -> None:
    bucket, client = queue.server.create_bucket(), queue.server.client()
    watched = open_bucket(f"s3://{bucket}/in", queue.server.storage_options)
    watch = Watch("uploads", watched, log, events=sqs(queue, bucket, "in"))
    for name in ("in/a", "in/b", "elsewhere/c"):
        client.put_object(Bucket=bucket, Key=name, Body=b"x")
        queue.send({"Records": [s3_record(bucket, name)]})
    queue.send({"Records": [s3_record(bucket, "in/a")]})
    queue.send({"Records": [s3_record(bucket, "in/deleted")]})
    queue.send({"Records": [s3_record("another-bucket", "in/b")]})
    queue.send("something else")
    done = tick(watch)
    assert (done.listed, done.noticed, done.problem) == (0, 7, "")
    assert settle(watch, done) == ["a", "b"]
    assert queue.receive() == []
    queue.send({"Records": [s3_record(bucket, "in/a")]})
    assert tick(watch).requests == ()
    # What no message told of is found by the listing.
    client.put_object(Bucket=bucket, Key="in/0", Body=b"x")
    assert settle(watch, tick(watch, ListingCursor())) == ["0"]
    assert queue.receive() == []


def test_a_notice_of_an_object_that_is_being_worked_on_comes_again_until_that_has_ended(
    queue: Queue, log: ObjectLog
) -> None:
    bucket, client = queue.server.create_bucket(), queue.server.client()
    watched = open_bucket(f"s3://{bucket}", queue.server.storage_options)
    watch = Watch("uploads", watched, log, events=sqs(queue, bucket))
    client.put_object(Bucket=bucket, Key="a", Body=b"one")
    queue.send({"Records": [s3_record(bucket, "a")]})
    first = tick(watch)
    client.put_object(Bucket=bucket, Key="a", Body=b"two")
    queue.send({"Records": [s3_record(bucket, "a")]})
    assert tick(watch).requests == ()
    assert settle(watch, first) == ["a"]
    assert settle(watch, tick(watch)) == ["a"]
    assert queue.receive() == []


def test_what_there_is_no_room_for_stays_in_the_queue(queue: Queue, log: ObjectLog) -> None:
    bucket, client = queue.server.create_bucket(), queue.server.client()
    watched = open_bucket(f"s3://{bucket}", queue.server.storage_options)
    policy = BatchLimits(objects_per_run=20, bytes_per_run=1, open_runs=2)
    watch = Watch("uploads", watched, log, policy, events=sqs(queue, bucket))
    for key in ("a", "b", "c"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
        queue.send({"Records": [s3_record(bucket, key)]})
    first = tick(watch)
    assert (len(first.requests), first.left) == (2, 1)
    taken = settle(watch, first)
    assert sorted({*taken, *settle(watch, tick(watch))}) == ["a", "b", "c"]


def test_while_a_queue_is_not_there_the_listing_does_not_rest(
    queue: Queue, log: ObjectLog, s3_bucket: str
) -> None:
    events = SqsEvents(f"{queue.url}-no-such", s3_bucket, "", queue.server.client("sqs"))
    watched = open_bucket(f"s3://{s3_bucket}", queue.server.storage_options)
    queue.server.client().put_object(Bucket=s3_bucket, Key="a", Body=b"x")
    done = tick(Watch("uploads", watched, log, events=events))
    assert "no-such cannot be read" in done.problem
    assert len(done.requests) == 1


def test_a_subscription_tells_of_objects_once_they_are_acknowledged_no_more(
    pubsub_server: PubSubServer, gcs_server: GcsServer, gcs_bucket: str, log: ObjectLog
) -> None:
    subscription, publish = pubsub_server.create_subscription()
    events = PubSubEvents(subscription, gcs_bucket, "in", pubsub_client(pubsub_server.options), wait=2)
    watched = open_bucket(f"gs://{gcs_bucket}/in", gcs_server.options)
    watch = Watch("uploads", watched, log, events=events)
    generation = gcs_server.put(gcs_bucket, "in/a b.txt", b"x")
    told = {"eventType": "OBJECT_FINALIZE", "objectGeneration": generation}
    publish(bucketId=gcs_bucket, objectId="in/a b.txt", **told)
    publish(bucketId=gcs_bucket, objectId="elsewhere/x", **told)
    publish(bucketId="another", objectId="in/a b.txt", **told)
    publish(what="else")
    noticed, keys = 0, []
    while noticed < 4:
        done = tick(watch)
        assert done.problem == ""
        noticed += done.noticed
        keys += settle(watch, done)
    assert keys == ["a b.txt"]
    assert tick(watch).noticed == 0


def test_a_subscription_that_is_not_there_is_named(pubsub_server: PubSubServer) -> None:
    client = pubsub_client(pubsub_server.options)
    events = PubSubEvents("projects/platform/subscriptions/none", "b", "", client)
    with pytest.raises(ObjectsError, match="projects/platform/subscriptions/none cannot be read: 404"):
        events.receive(1)


Connect = Callable[[dict[str, str]], Any]


@pytest.mark.parametrize("connect", [pubsub_client])
def test_a_key_file_that_is_not_there_is_named(connect: Connect) -> None:
    with pytest.raises(ObjectsError, match="GOOGLE_SERVICE_ACCOUNT"):
        connect({"GOOGLE_SERVICE_ACCOUNT": "no-such-file.json"})
