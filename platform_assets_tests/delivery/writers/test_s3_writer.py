"""S3: what is set with an object, unfinished uploads, links, and what the server refuses."""

from __future__ import annotations

import datetime as dt
import sys
import time
from dataclasses import replace
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
import requests

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets.delivery.writers import s3
from platform_assets_tests.delivery.writers.places import S3Place, Stage, deliver, opened, writer_of
from platform_assets_tests.fixtures.certificates import new_certificate
from platform_assets_tests.fixtures.http_files import FileServer, running_file_server
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.s3 import S3Server

LARGE = b"0123456789abcdef" * 1_250_000


def with_options(place: S3Place, **options: Any) -> dict[str, Any]:
    block = place.block()
    block["s3"].update(options)
    return block


@pytest.mark.parametrize("content", [b"a;b\n", LARGE], ids=["small", "large"])
def test_class_tags_encryption_and_metadata_are_set_with_the_object(
    s3_place: S3Place, s3_server: S3Server, stage: Stage, content: bytes
) -> None:
    key = "arn:aws:kms:eu-west-2:1:key/k"
    block = with_options(
        s3_place,
        storage_class="STANDARD_IA",
        tags={"for": "the team: data / analytics"},
        encryption="kms",
        kms_key=key,
    )
    file = stage(content, title="Kunden am Morgen: März")
    (receipt,) = deliver(block, file)
    client = s3_server.client()
    where = {"Bucket": s3_place.bucket, "Key": "in/here/customers.csv"}
    head = client.head_object(**where)
    assert (head["StorageClass"], head["ContentType"]) == ("STANDARD_IA", "text/csv")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    assert client.get_object_tagging(**where)["TagSet"] == [
        {"Key": "for", "Value": "the team: data / analytics"}
    ]
    title = str(make_header(decode_header(head["Metadata"]["title"])))
    assert title == "Kunden am Morgen: März"
    assert receipt.verified_by in ("sha256", "md5", "crc32 of parts")


@pytest.mark.parametrize("content", [b"a;b\n", LARGE], ids=["small", "large"])
def test_a_bucket_that_locks_objects_gets_a_version_for_each_delivery(
    s3_place: S3Place, s3_server: S3Server, stage: Stage, content: bytes
) -> None:
    client, bucket = s3_server.client(), f"locked-{len(content)}"
    client.create_bucket(
        Bucket=bucket,
        ObjectLockEnabledForBucket=True,
        CreateBucketConfiguration={"LocationConstraint": "eu-west-2"},
    )
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    block = {**s3_place.block(), "address": f"s3://{bucket}/in", "sidecar": "always"}
    first = stage(content)
    newer = replace(first, stamp=replace(first.stamp, uuid="newer"))
    receipts = [*deliver(block, first), *deliver(block, first), *deliver(block, newer)]
    assert [one.sent for one in receipts] == [first.size, 0, first.size]
    found = client.list_object_versions(Bucket=bucket)["Versions"]
    versions = [one for one in found if one["Key"] == "in/customers.csv"]
    assert [one["IsLatest"] for one in versions] == [True, False]
    assert {one.facts["version"] for one in receipts} == {one["VersionId"] for one in versions}
    for one in versions:
        where = {"Bucket": bucket, "Key": "in/customers.csv", "VersionId": one["VersionId"]}
        assert client.get_object(**where)["Body"].read() == content
        head = client.head_object(**where, ChecksumMode="ENABLED")
        assert head.keys() & {"ChecksumSHA256", "ChecksumCRC32"}


def test_an_abandoned_upload_of_an_older_delivery_is_aborted_and_a_recent_one_of_others_is_not(
    s3_place: S3Place, s3_server: S3Server, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3_server.client()
    begun = client.create_multipart_upload(Bucket=s3_place.bucket, Key="in/here/customers.csv")
    now = dt.datetime.now(dt.UTC)
    later = stage(LARGE)
    later = replace(later, stamp=replace(later.stamp, at=now + dt.timedelta(hours=1)))
    deliver(s3_place.block(), later)
    assert [one["UploadId"] for one in s3_place.uploads()] == [begun["UploadId"]]
    monkeypatch.setattr(s3, "_STALE", dt.timedelta(seconds=-10))
    newer = replace(later, stamp=replace(later.stamp, uuid="newer"))
    deliver(s3_place.block(), newer)
    assert s3_place.uploads() == []


def test_an_upload_of_another_key_with_the_same_beginning_is_left_alone(
    s3_place: S3Place, s3_server: S3Server, stage: Stage
) -> None:
    client = s3_server.client()
    client.create_multipart_upload(Bucket=s3_place.bucket, Key="in/here/customers.csv.gz")
    deliver(s3_place.block(), stage(LARGE))
    assert [one["Key"] for one in s3_place.uploads()] == ["in/here/customers.csv.gz"]


def test_a_final_refusal_leaves_no_unfinished_upload(s3_place: S3Place, stage: Stage) -> None:
    file = stage(LARGE)

    def lose(_: int) -> None:
        file.path.write_bytes(LARGE[: len(LARGE) // 2])

    file.path.write_bytes(LARGE[:-10])
    with pytest.raises(DeliveryError, match="changed"), opened(s3_place.block()) as transfer:
        transfer.write(file, lose)
    assert s3_place.names() == set()


def test_bytes_that_changed_on_the_way_are_refused_by_the_server(s3_place: S3Place, stage: Stage) -> None:
    file = stage(b"a;b\n")
    file.path.write_bytes(b"a;c\n")
    with pytest.raises(DestinationUnavailable, match="BadDigest"):
        deliver(s3_place.block(), file)
    assert s3_place.names() == set()


def test_the_link_gives_the_file_to_whoever_has_it_under_its_name(s3_place: S3Place, stage: Stage) -> None:
    file = stage(b"a;b\n", "2026/Kunden März.csv")
    deliver(s3_place.block(), file)
    link = writer_of(s3_place.block()).link(file, dt.timedelta(hours=72))
    assert link is not None
    assert "X-Amz-Expires=259200" in link
    answer = requests.get(link, timeout=PATIENCE)
    assert answer.content == b"a;b\n"
    assert "filename*=UTF-8''Kunden%20M%C3%A4rz.csv" in answer.headers["Content-Disposition"]


def test_a_link_expires(s3_place: S3Place, stage: Stage) -> None:
    file = stage(b"a;b\n")
    deliver(s3_place.block(), file)
    link = writer_of(s3_place.block()).link(file, dt.timedelta(seconds=1))
    assert link is not None
    time.sleep(2.1)
    assert requests.get(link, timeout=PATIENCE).status_code == 403


def test_a_link_cannot_be_valid_for_more_than_a_week(s3_place: S3Place, stage: Stage) -> None:
    with pytest.raises(DeliveryError, match="at most 7 days"):
        writer_of(s3_place.block()).link(stage(b""), dt.timedelta(days=8))


def test_a_bucket_that_does_not_exist_is_final(s3_place: S3Place, stage: Stage) -> None:
    block = s3_place.block() | {"address": "s3://no-such-bucket-anywhere/in"}
    with pytest.raises(DeliveryError, match=r"NoSuchBucket.*Create the bucket, or correct its name") as error:
        deliver(block, stage(b"a;b\n"))
    assert not error.value.retryable


@pytest.mark.parametrize("content", [b"a;b\n", LARGE], ids=["small", "large"])
def test_slow_down_is_obeyed(
    s3_place: S3Place, file_server: FileServer, stage: Stage, content: bytes
) -> None:
    file_server.lets_everybody_in = True
    said = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    file_server.answers = [(503, said, {"Retry-After": "17"})] * 20
    with pytest.raises(DestinationUnavailable, match="SlowDown") as error:
        deliver(s3_place.at_port(file_server.port), stage(b"a;b\n"))
    assert error.value.wait == 17


def test_the_extra_is_named_where_boto3_is_missing(
    s3_place: S3Place, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(DeliveryError, match=r"pip install 'platform-assets\[aws\]'"):
        deliver(s3_place.block(), stage(b"a;b\n"))


def test_memory_is_bounded_whatever_the_size(stage: Stage) -> None:
    for size in (1 << 30, 100 << 30, 2 << 40):
        upload = s3._Multipart(None, {}, {}, replace(stage(b""), size=size), lambda _: None)
        assert -(-size // upload._part) <= 10_000
        assert upload._part * max(1, min(6, s3._MEMORY // upload._part)) <= max(48 << 20, upload._part)


def test_a_certificate_of_a_stranger_is_final(
    s3_place: S3Place, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    stranger, _ = new_certificate(tmp_path / "other", "somebody else")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(stranger))
    with running_file_server(new_certificate(tmp_path / "own", "S3 server of the tests")) as server:
        block = s3_place.block()
        block["s3"]["storage_options"]["AWS_ENDPOINT_URL"] = f"https://127.0.0.1:{server.port}"
        with pytest.raises(DeliveryError, match="the server cannot be trusted") as error:
            deliver(block, stage(b"a;b\n"))
    assert not error.value.retryable
