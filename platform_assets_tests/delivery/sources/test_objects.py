"""Objects in S3 and Google Cloud Storage as a delivery reads them: the versions that were found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from platform_assets.delivery.interfaces import DataSource, DeliveryError, DestinationUnavailable
from platform_assets.errors import ObjectsError
from platform_assets.rooms import Rooms
from platform_assets_tests.delivery.sources.house import files_of, source_of
from platform_assets_tests.fixtures.gcs import GcsServer
from platform_assets_tests.fixtures.s3 import S3Server


@dataclass(frozen=True)
class Store:
    """A bucket of one of the stores."""

    uri: str
    options: dict[str, str]
    put: Callable[[str, bytes], object]
    delete: Callable[[str], object]

    def source(self, rooms: Rooms, pattern: str, **options: Any) -> DataSource:
        block = {"address": f"{self.uri}/{pattern}", "storage_options": self.options, **options}
        return source_of(rooms, objects=block)


@pytest.fixture(params=["s3", "gcs"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        bucket = request.getfixturevalue("s3_bucket")
        client = server.client()
        # A configuration holds references, never the secret itself.
        monkeypatch.setenv("TEST_SECRET_KEY", server.secret_access_key)
        options = {**server.storage_options, "AWS_SECRET_ACCESS_KEY": "secret://env/TEST_SECRET_KEY"}
        return Store(
            f"s3://{bucket}",
            options,
            lambda key, data: client.put_object(Bucket=bucket, Key=key, Body=data),
            lambda key: client.delete_object(Bucket=bucket, Key=key),
        )
    gcs: GcsServer = request.getfixturevalue("gcs_server")
    bucket = request.getfixturevalue("gcs_bucket")
    options = {"GOOGLE_BASE_URL": gcs.endpoint_url, "GOOGLE_SKIP_SIGNATURE": "true"}
    return Store(
        f"gs://{bucket}",
        options,
        lambda key, data: gcs.put(bucket, key, data),
        lambda key: gcs.delete(bucket, key),
    )


def test_an_object_is_delivered_under_its_name(store: Store, rooms: Rooms) -> None:
    data = bytes(range(256)) * 20_000
    store.put("reports/2026/a.bin", data)
    assert files_of(store.source(rooms, "reports/2026/a.bin")) == {"a.bin": data}


def test_a_pattern_gives_objects_in_the_order_of_their_keys(store: Store, rooms: Rooms) -> None:
    for key in ("r/b.csv", "r/a.csv", "r/2026/c.csv", "r/d.txt", "other.csv"):
        store.put(key, key.encode())
    assert list(files_of(store.source(rooms, "r/*.csv"))) == ["a.csv", "b.csv"]
    assert list(files_of(store.source(rooms, "r/**/*.csv"))) == ["2026/c.csv", "a.csv", "b.csv"]
    assert list(files_of(store.source(rooms, "*.csv"))) == ["other.csv"]


def test_what_matches_nothing_is_an_error_unless_allowed(store: Store, rooms: Rooms) -> None:
    with pytest.raises(DeliveryError, match=r"There is no object .*none\.csv"):
        store.source(rooms, "none.csv").version()
    with pytest.raises(DeliveryError, match="No object matches"):
        files_of(store.source(rooms, "none/*.csv"))
    assert files_of(store.source(rooms, "none/*.csv", may_be_empty=True)) == {}


def test_the_version_changes_with_the_objects(store: Store, rooms: Rooms) -> None:
    store.put("r/a.csv", b"one")
    source = store.source(rooms, "r/*")
    before = source.version()
    assert source.version() == before
    store.put("r/a.csv", b"two")
    changed = source.version()
    store.put("r/b.csv", b"")
    assert len({before, changed, source.version()}) == 3


def test_an_object_that_was_overwritten_since_fails_for_now(store: Store, rooms: Rooms) -> None:
    store.put("a.csv", b"one")
    source = store.source(rooms, "a.csv")
    source.version()
    store.put("a.csv", b"two")
    with pytest.raises(DestinationUnavailable, match="The next attempt delivers what is there then"):
        files_of(source)
    assert files_of(source) == {"a.csv": b"two"}


def test_an_object_that_is_gone_fails_for_now(store: Store, rooms: Rooms) -> None:
    store.put("a.csv", b"one")
    source = store.source(rooms, "a.*")
    source.version()
    store.delete("a.csv")
    with pytest.raises(DestinationUnavailable):
        files_of(source)


def test_refused_credentials_are_told(
    s3_server: S3Server, s3_bucket: str, rooms: Rooms, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TEST_SECRET_KEY", "not-the-right-key")
    options = {**s3_server.storage_options, "AWS_SECRET_ACCESS_KEY": "secret://env/TEST_SECRET_KEY"}
    source = source_of(rooms, objects={"address": f"s3://{s3_bucket}/*", "storage_options": options})
    with pytest.raises(ObjectsError, match="cannot be listed"):
        source.version()
