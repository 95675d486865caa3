"""Google Cloud Storage: continued uploads, checksums, links."""

from __future__ import annotations

import datetime as dt
import json
import random
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable, StagedFile, Writer
from platform_assets.delivery.writers import gcs
from platform_assets_tests.delivery.writers.places import GcsPlace, Stage, deliver, writer_of
from platform_assets_tests.fixtures.gcs import GcsServer
from platform_assets_tests.fixtures.wire import wired

LARGE = random.Random(5).randbytes(40_000_000)


def broken_off(gcs_place: GcsPlace, stage: Stage) -> tuple[StagedFile, Writer]:
    """Break off the upload of a large file; return the file, and a writer that knows the upload."""
    with wired(gcs_place.port, cut_after=36_000_000) as wire:
        writer = writer_of(gcs_place.at_port(wire.port))
        file = stage(LARGE)
        with pytest.raises(DestinationUnavailable), writer.open() as transfer:
            transfer.write(file, lambda _: None)
        (upload,) = writer.sessions.values()  # type: ignore[attr-defined]
    # The address of the upload is the server's own, and names the port of the wire.
    writer = writer_of(gcs_place.block())
    identity = ("in/here/customers.csv", file.stamp.uuid, file.sha256)
    writer.sessions[identity] = upload.replace(f":{wire.port}/", f":{gcs_place.port}/")  # type: ignore[attr-defined]
    return file, writer


def test_an_upload_is_continued_by_the_next_attempt_of_the_process(gcs_place: GcsPlace, stage: Stage) -> None:
    file, writer = broken_off(gcs_place, stage)
    seen: list[int] = []
    with writer.open() as transfer:
        receipt = transfer.write(file, seen.append)
    assert gcs_place.read("customers.csv") == LARGE
    assert 0 < receipt.sent < len(LARGE) // 2
    assert (sum(seen), receipt.verified_by) == (len(LARGE), "md5")


def test_an_upload_goes_on_where_it_is_if_a_broken_request_was_written_late(
    gcs_place: GcsPlace, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, writer = broken_off(gcs_place, stage)
    arrived, answers = gcs._arrived, []

    def late(answer: object) -> int:
        answers.append(arrived(answer))
        return answers[-1] - (1 << 20 if len(answers) == 1 else 0)

    monkeypatch.setattr(gcs, "_arrived", late)
    seen: list[int] = []
    with writer.open() as transfer:
        receipt = transfer.write(file, seen.append)
    assert len(answers) > 1
    assert gcs_place.read("customers.csv") == LARGE
    assert (sum(seen), receipt.verified_by) == (len(LARGE), "md5")


def test_other_bytes_than_were_staged_are_refused_by_the_server(gcs_place: GcsPlace, stage: Stage) -> None:
    file = stage(b"a;b\n")
    file.path.write_bytes(b"a;c\n")
    with pytest.raises(DeliveryError):
        deliver(gcs_place.block(), file)
    assert gcs_place.names() == set()


def test_class_and_type_are_set_with_the_object(
    gcs_place: GcsPlace, gcs_server: GcsServer, stage: Stage
) -> None:
    block = gcs_place.block()
    block["gcs"]["storage_class"] = "NEARLINE"
    deliver(block, stage(b"a;b\n", title="Kunden März"))
    blob = gcs_server.client().bucket(gcs_place.bucket).get_blob("in/here/customers.csv")
    assert (blob.storage_class, blob.content_type) == ("NEARLINE", "text/csv")
    assert blob.metadata["title"] == "Kunden März"


def test_a_bucket_that_does_not_exist_is_final(gcs_place: GcsPlace, stage: Stage) -> None:
    block = gcs_place.block() | {"address": "gs://no-such-bucket-anywhere/in"}
    with pytest.raises(DeliveryError) as error:
        deliver(block, stage(b"a;b\n"))
    assert not error.value.retryable


def test_the_link_is_signed_where_the_credentials_have_a_key(
    gcs_place: GcsPlace, stage: Stage, tmp_path: Path
) -> None:
    file = stage(b"a;b\n", "2026/Kunden März.csv")
    assert writer_of(gcs_place.block()).link(file, dt.timedelta(hours=1)) is None
    block = gcs_place.block()
    block["gcs"]["storage_options"] = {"GOOGLE_SERVICE_ACCOUNT": str(service_account(tmp_path))}
    link = writer_of(block).link(file, dt.timedelta(hours=72))
    assert link is not None
    signed = parse_qs(urlsplit(link).query)
    assert signed["X-Goog-Expires"] == ["259200"]
    assert len(signed["X-Goog-Signature"][0]) == 512
    assert signed["response-content-disposition"] == ["attachment; filename*=UTF-8''Kunden%20M%C3%A4rz.csv"]
    with pytest.raises(DeliveryError, match="at most 7 days"):
        writer_of(block).link(file, dt.timedelta(days=8))


def test_the_extra_is_named_where_googles_client_is_missing(
    gcs_place: GcsPlace, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.delattr("google.cloud.storage", raising=False)
    with pytest.raises(DeliveryError, match=r"pip install 'platform-assets\[gcp\]'"):
        deliver(gcs_place.block(), stage(b"a;b\n"))


def service_account(folder: Path) -> Path:
    """A file as Google gives it, with a key that nobody else has."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    about = {
        "type": "service_account",
        "project_id": "platform",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "deliveries@platform.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    (folder / "account.json").write_text(json.dumps(about))
    return folder / "account.json"
