"""A folder, an S3 bucket and a GCS bucket behave alike: one body of tests, run over each."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest

from platform_assets.errors import ObjectGone, ObjectsError, ObjectsUnavailable
from platform_assets.objects.bucket import Bucket, ObjectVersion
from platform_assets.objects.gcs import GcsBucket
from platform_assets.objects.places import open_bucket
from platform_assets.objects.quarantine import quarantine
from platform_assets.objects.s3 import S3Bucket
from platform_assets_tests.fixtures.gcs import GcsServer
from platform_assets_tests.fixtures.s3 import S3Server

KEYS = [
    "a b+c.txt",
    "a%20b.txt",
    "a-1",
    "a.txt",
    "a/inner/one",
    "a/two",
    "a0",
    "quote's & <more>?x=1#y",
    "é.txt",
    "漢字/ファイル",
    "\U0001f600",
]


@dataclass(frozen=True)
class Place:
    """A bucket, and what writes to it behind the platform's back."""

    bucket: Bucket
    put: Callable[[str, bytes], object]
    delete: Callable[[str], object]
    missing: Bucket


def _folder(request: pytest.FixtureRequest) -> Place:
    folder: Path = request.getfixturevalue("tmp_path") / "uploads"
    folder.mkdir()

    def put(key: str, content: bytes) -> None:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        new = folder.parent / "new"
        new.write_bytes(content)
        new.rename(folder / key)

    return Place(
        open_bucket(str(folder)),
        put,
        lambda key: (folder / key).unlink(),
        open_bucket(str(folder / "nowhere")),
    )


def _s3(request: pytest.FixtureRequest) -> Place:
    server: S3Server = request.getfixturevalue("s3_server")
    name, client = server.create_bucket(), server.client()
    client.put_object(Bucket=name, Key="elsewhere/x", Body=b"not watched")
    client.put_object(Bucket=name, Key="in/uploads2/x", Body=b"not watched")
    return Place(
        open_bucket(f"s3://{name}/in/uploads/", server.storage_options),
        lambda key, content: client.put_object(Bucket=name, Key=f"in/uploads/{key}", Body=content),
        lambda key: client.delete_object(Bucket=name, Key=f"in/uploads/{key}"),
        open_bucket("s3://no-such-bucket-anywhere", server.storage_options),
    )


def _gcs(request: pytest.FixtureRequest) -> Place:
    server: GcsServer = request.getfixturevalue("gcs_server")
    name = server.create_bucket()
    server.put(name, "elsewhere/x", b"not watched")
    server.put(name, "in/uploads2/x", b"not watched")
    return Place(
        open_bucket(f"gs://{name}/in/uploads", server.options),
        lambda key, content: server.put(name, f"in/uploads/{key}", content),
        lambda key: server.delete(name, f"in/uploads/{key}"),
        open_bucket("gs://no-such-bucket-anywhere", server.options),
    )


@pytest.fixture(params=[_folder, _s3, _gcs], ids=["folder", "s3", "gcs"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.param(request)
    return made


def keys(bucket: Bucket, after: str = "") -> list[str]:
    return [found.key for found in bucket.objects(after)]


def test_objects_come_in_the_order_of_their_keys_whatever_is_in_them(place: Place) -> None:
    for key in reversed(KEYS):
        place.put(key, key.encode())
    assert keys(place.bucket) == sorted(KEYS)
    for found in place.bucket.objects():
        assert found.size == len(found.key.encode())
        with place.bucket.open(found) as stream:
            assert stream.read() == found.key.encode()
        assert place.bucket.find(found.key) == replace(found, modified=place.bucket.find(found.key).modified)


@pytest.mark.parametrize("after", ["", "a", "a-1", "a/inner", "a/inner/one", "a/zzz", "a/", "zz", "漢字"])
def test_a_listing_that_starts_after_a_key_has_every_key_that_sorts_after_it(
    place: Place, after: str
) -> None:
    for key in KEYS:
        place.put(key, b"x")
    assert keys(place.bucket, after) == [key for key in sorted(KEYS) if key > after]


def test_an_object_that_is_overwritten_has_another_version(place: Place) -> None:
    place.put("a", b"one")
    [before] = place.bucket.objects()
    place.put("a", b"two")
    [after] = place.bucket.objects()
    assert before.version != after.version
    assert (before.key, before.uri) == (after.key, after.uri)
    found = place.bucket.find("a")
    assert found is not None
    assert found.version == after.version


def read_whole(bucket: Bucket, found: ObjectVersion) -> bytes:
    """Read a version in pieces, as a copy does."""
    content = io.BytesIO()
    with bucket.open(found) as source:
        shutil.copyfileobj(source, content)
    return content.getvalue()


def test_a_version_that_was_overwritten_or_deleted_cannot_be_read_as_what_took_its_place(
    place: Place,
) -> None:
    place.put("a", b"one")
    place.put("b", b"one")
    old, deleted = place.bucket.objects()
    place.put("a", b"two, much longer")
    place.delete("b")
    for gone in (old, deleted):
        with pytest.raises(ObjectGone, match=gone.uri):
            read_whole(place.bucket, gone)
    assert place.bucket.find("b") is None
    assert place.bucket.find("never/was") is None


def test_an_empty_object_is_read_as_empty_and_told_when_gone(place: Place) -> None:
    place.put("empty", b"")
    [found] = place.bucket.objects()
    assert read_whole(place.bucket, found) == b""
    place.delete("empty")
    with pytest.raises(ObjectGone):
        read_whole(place.bucket, found)


def test_a_large_object_is_read_whole(place: Place) -> None:
    content = bytes(range(256)) * 4096 * 12
    place.put("large", content)
    [found] = place.bucket.objects()
    assert read_whole(place.bucket, found) == content


def test_a_place_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(ObjectsError, match=r"cannot be (watched|listed)") as error:
        keys(place.missing)
    assert place.missing.uri in str(error.value)
    assert not error.value.retryable


def test_a_listing_of_s3_goes_on_from_page_to_page(s3_server: S3Server, s3_bucket: str) -> None:
    client = s3_server.client()
    wanted = [f"{number:03}" for number in range(25)]
    for key in wanted:
        client.put_object(Bucket=s3_bucket, Key=key, Body=b"")
    bucket = S3Bucket(s3_bucket, "", client, page=4)
    assert keys(bucket) == wanted
    assert keys(bucket, "011") == wanted[12:]


def test_a_listing_of_gcs_goes_on_from_page_to_page(gcs_server: GcsServer, gcs_bucket: str) -> None:
    wanted = [f"{number:03}" for number in range(25)]
    for key in wanted:
        gcs_server.put(gcs_bucket, key, b"")
    bucket = GcsBucket(gcs_bucket, "", gcs_server.client(), page=4)
    assert keys(bucket) == wanted
    assert keys(bucket, "011") == wanted[12:]


def test_what_consoles_call_a_folder_is_no_object(s3_server: S3Server, s3_bucket: str) -> None:
    s3_server.client().put_object(Bucket=s3_bucket, Key="folder/", Body=b"")
    assert keys(open_bucket(f"s3://{s3_bucket}", s3_server.storage_options)) == []


def test_a_wrong_secret_is_a_clear_error_without_the_secret(s3_server: S3Server, s3_bucket: str) -> None:
    wrong = s3_server.storage_options | {"AWS_SECRET_ACCESS_KEY": "not-the-secret-that-opens"}
    bucket = open_bucket(f"s3://{s3_bucket}", wrong)
    with pytest.raises(
        ObjectsError, match=f"s3://{s3_bucket} cannot be listed: SignatureDoesNotMatch"
    ) as error:
        keys(bucket)
    assert not error.value.retryable
    assert "not-the-secret" not in str(error.value) + repr(bucket)


def test_a_server_that_does_not_answer_is_unavailable_and_not_empty() -> None:
    options = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-west-2"}
    options |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.raises(ObjectsUnavailable) as error:
        keys(open_bucket("s3://bucket", options))
    assert error.value.retryable


@pytest.mark.parametrize("address", ["ftp://host/x", "s3://", "gs:///x"])
def test_an_address_that_is_no_bucket_is_refused(address: str) -> None:
    with pytest.raises(ObjectsError, match="a local folder, s3://bucket/prefix or gs://bucket/prefix"):
        open_bucket(address)


def test_a_file_whose_name_is_not_utf8_is_found_and_read(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_bytes(b"latin")
    bucket = open_bucket(str(tmp_path))
    [found] = bucket.objects()
    assert found.key.encode().decode() == found.key
    assert bucket.find(found.key) == found
    with bucket.open(found) as stream:
        assert stream.read() == b"latin"


def test_links_and_pipes_in_a_folder_are_left_out(tmp_path: Path) -> None:
    outside, watched = tmp_path / "outside", tmp_path / "watched"
    outside.mkdir()
    watched.mkdir()
    (outside / "secret").write_text("x")
    (watched / "file").symlink_to(outside / "secret")
    (watched / "folder").symlink_to(outside)
    os.mkfifo(watched / "pipe")
    bucket = open_bucket(str(watched))
    assert keys(bucket) == []
    assert bucket.find("file") is None
    assert bucket.find("../outside/secret") is None


def test_a_file_that_is_written_to_while_it_is_read_is_told_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    bucket = open_bucket(str(tmp_path))
    [found] = bucket.objects()

    def read_beside_a_writer() -> None:
        with bucket.open(found) as stream, (tmp_path / "a").open("ab") as file:
            stream.read(1)
            file.write(b"more")
            file.flush()

    with pytest.raises(ObjectGone):
        read_beside_a_writer()


def test_a_folder_of_many_files_is_listed_in_slices(tmp_path: Path) -> None:
    for number in range(3_000):
        (tmp_path / f"{number:05}").touch()
    bucket = open_bucket(str(tmp_path))
    seen: list[str] = []
    while page := [found.key for found in islice(bucket.objects(seen[-1] if seen else ""), 700)]:
        seen += page
    assert seen == [f"{number:05}" for number in range(3_000)]


def _held(place: Place) -> tuple[str, Bucket]:
    """A place beside what is watched, in the same store."""
    uri = place.bucket.uri
    scheme, separator, rest = uri.partition("://")
    held = f"{scheme}://{rest.partition('/')[0]}/held" if separator else str(Path(uri).parent / "held")
    if isinstance(place.bucket, S3Bucket | GcsBucket):
        return held, replace(place.bucket, prefix="held")
    Path(held).mkdir(exist_ok=True)
    return held, open_bucket(held)


def content_of(bucket: Bucket, key: str) -> bytes:
    found = bucket.find(key)
    assert found is not None
    with bucket.open(found) as source:
        return source.read()


def test_what_is_quarantined_is_gone_from_where_it_was_and_whole_where_it_is(place: Place) -> None:
    place.put("a/secret é.txt", b"values")
    found = place.bucket.find("a/secret é.txt")
    assert found is not None
    target, held = _held(place)
    moved = quarantine(place.bucket, found, target)
    assert place.bucket.find("a/secret é.txt") is None
    [there] = held.objects()
    assert there.uri == moved
    assert there.key.startswith("a/secret é.txt.")
    assert content_of(held, there.key) == b"values"


def test_a_repeat_after_a_crash_finds_it_where_it_is(place: Place) -> None:
    place.put("one", b"values")
    found = place.bucket.find("one")
    assert found is not None
    target, held = _held(place)
    moved = quarantine(place.bucket, found, target)
    assert quarantine(place.bucket, found, target) == moved
    assert len(list(held.objects())) == 1


def test_versions_of_one_object_lie_side_by_side(place: Place) -> None:
    target, held = _held(place)
    for content in (b"first", b"second, longer"):
        place.put("one", content)
        found = place.bucket.find("one")
        assert found is not None
        quarantine(place.bucket, found, target)
    assert sorted(content_of(held, object_.key) for object_ in held.objects()) == [
        b"first",
        b"second, longer",
    ]


def test_a_newer_version_is_not_moved_in_an_older_ones_name(place: Place) -> None:
    place.put("one", b"first")
    found = place.bucket.find("one")
    assert found is not None
    place.put("one", b"second, longer")
    target, held = _held(place)
    with pytest.raises(ObjectGone):
        quarantine(place.bucket, found, target)
    assert content_of(place.bucket, "one") == b"second, longer"
    assert list(held.objects()) == []
