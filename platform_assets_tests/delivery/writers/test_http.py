"""HTTP: what requests carry, redirects, waits, and secrets that are never repeated."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets_tests.delivery.writers.places import HttpPlace, Stage, deliver, opened
from platform_assets_tests.fixtures.certificates import new_certificate
from platform_assets_tests.fixtures.http_files import PASSWORD, TOKEN, FileServer, running_file_server


def with_options(place: HttpPlace, **options: Any) -> dict[str, Any]:
    block = place.block()
    block["http"] = {name: one for name, one in {**block["http"], **options}.items() if one is not None}
    return block


def test_checksums_metadata_and_a_key_against_repeats_come_with_the_file(
    http_place: HttpPlace, stage: Stage
) -> None:
    first, second = stage(b"a;b\n", "in/März.csv", title="Kunden März"), stage(b"1", "2.csv")
    deliver(http_place.block(), first, second)
    deliver(with_options(http_place, method="POST"), first)
    (method, path, headers), (_, _, other), (posted, address, repeated) = http_place.server.requests
    assert (method, path, posted, address) == ("PUT", "/to/us/in/März.csv", "POST", "/to/us")
    digest = base64.b64encode(hashlib.sha256(b"a;b\n").digest()).decode()
    assert headers["Content-Digest"] == f"sha-256=:{digest}:"
    assert headers["Content-MD5"] == base64.b64encode(hashlib.md5(b"a;b\n").digest()).decode()
    assert (headers["Content-Length"], headers["Content-Type"]) == ("4", "text/csv")
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''M%C3%A4rz.csv"
    assert "Transfer-Encoding" not in headers
    assert headers["Idempotency-Key"].startswith(first.stamp.uuid)
    assert headers["Idempotency-Key"] == repeated["Idempotency-Key"] != other["Idempotency-Key"]
    assert headers["X-Delivery-Title"].isascii()


def test_a_token_and_further_headers_are_sent(http_place: HttpPlace, stage: Stage, tmp_path: Path) -> None:
    for name, text in (("token", TOKEN), ("key", "an api key")):
        (tmp_path / name).write_text(text)
    block = with_options(
        http_place,
        user=None,
        password=None,
        token=f"secret://file{tmp_path / 'token'}",
        headers={"X-Team": "data", "X-Api-Key": f"secret://file{tmp_path / 'key'}"},
    )
    deliver(block, stage(b"a;b\n"))
    headers = http_place.server.requests[0][2]
    assert (headers["X-Team"], headers["X-Api-Key"]) == ("data", "an api key")


def test_credentials_of_netrc_take_no_ones_place(
    http_place: HttpPlace, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    deliver(http_place.block(), stage(b"a;b\n"))
    assert http_place.read("customers.csv") == b"a;b\n"


@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_what_passes_is_tried_again_after_the_wait_that_the_server_names(
    http_place: HttpPlace, stage: Stage, status: int
) -> None:
    http_place.server.answers = [(status, "please wait", {"Retry-After": "42"})]
    with pytest.raises(DestinationUnavailable, match=f"answered {status}, please wait") as error:
        deliver(http_place.block(), stage(b"a;b\n"))
    assert error.value.wait == 42


def test_a_date_to_wait_for_is_understood(http_place: HttpPlace, stage: Stage) -> None:
    until = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(hours=2), usegmt=True)
    http_place.server.answers = [(503, "", {"Retry-After": until}), (503, "", {"Retry-After": "soon"})]
    with pytest.raises(DestinationUnavailable) as error:
        deliver(http_place.block(), stage(b"a;b\n"))
    assert error.value.wait is not None
    assert 3_000 < error.value.wait <= 7_200
    with pytest.raises(DestinationUnavailable) as error:
        deliver(http_place.block(), stage(b"a;b\n"))
    assert error.value.wait is None


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "granted the right"),
        (404, "Correct the address"),
        (405, "Correct http.method"),
        (413, "larger than the server takes"),
        (422, "Correct the destination's settings"),
        (206, "expected was 200, 201, 202, 204. Correct http.expect"),
    ],
)
def test_what_does_not_pass_is_final_and_says_what_to_do(
    http_place: HttpPlace, stage: Stage, status: int, advice: str
) -> None:
    http_place.server.answers = [(status, "no", {})]
    with pytest.raises(DeliveryError, match=advice) as error:
        deliver(http_place.block(), stage(b"a;b\n"))
    assert not error.value.retryable


def test_a_secret_that_the_server_repeats_is_not_shown(http_place: HttpPlace, stage: Stage) -> None:
    http_place.server.answers = [(400, f"the password {PASSWORD} is too long", {})]
    with pytest.raises(DeliveryError, match=r"the password \*\*\* is too long"):
        deliver(http_place.block(), stage(b"a;b\n"))


def test_redirects_are_followed_only_where_they_are_allowed(http_place: HttpPlace, stage: Stage) -> None:
    moved = {"Location": "/elsewhere/customers.csv"}
    http_place.server.answers = [(307, "", moved), (308, "", moved)]
    with pytest.raises(DeliveryError, match=r"redirects to http://127.0.0.1/elsewhere") as error:
        deliver(http_place.block(), stage(b"a;b\n"))
    assert not error.value.retryable
    seen: list[int] = []
    with opened(with_options(http_place, allow_redirects=True)) as transfer:
        transfer.write(stage(b"a;b\n"), seen.append)
    assert http_place.server.files["/elsewhere/customers.csv"][0] == b"a;b\n"
    assert sum(seen) == 4


def test_a_redirect_that_loses_the_file_is_final(http_place: HttpPlace, stage: Stage) -> None:
    http_place.server.answers = [(302, "", {"Location": "/elsewhere"})]
    with pytest.raises(DeliveryError, match="turns the request into one without a file"):
        deliver(with_options(http_place, allow_redirects=True), stage(b"a;b\n"))


def test_a_circle_of_redirects_is_final(http_place: HttpPlace, stage: Stage) -> None:
    http_place.server.answers = [(307, "", {"Location": "/to/us/customers.csv"})] * 10
    with pytest.raises(DeliveryError, match="again and again"):
        deliver(with_options(http_place, allow_redirects=True), stage(b"a;b\n"))


@pytest.mark.parametrize("follow", [True, False])
def test_a_redirect_to_something_that_is_no_address_is_final(
    http_place: HttpPlace, stage: Stage, follow: bool
) -> None:
    http_place.server.answers = [(307, "", {"Location": "http://[::1"})]
    with pytest.raises(DeliveryError, match="the address that the server redirects to cannot be used"):
        deliver(with_options(http_place, allow_redirects=follow), stage(b"a;b\n"))


def test_credentials_are_not_sent_to_another_server(http_place: HttpPlace, stage: Stage) -> None:
    with running_file_server() as other:
        other.lets_everybody_in = True
        http_place.server.answers = [(307, "", {"Location": f"http://127.0.0.1:{other.port}/taken"})]
        deliver(with_options(http_place, allow_redirects=True), stage(b"a;b\n"))
        assert other.files["/taken"][0] == b"a;b\n"
        assert "Authorization" not in other.requests[0][2]


def test_certificates_are_checked(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    certificate = new_certificate(tmp_path / "own", "HTTP server of the tests")
    stranger, _ = new_certificate(tmp_path / "other", "somebody else")
    (tmp_path / "password").write_text(PASSWORD)
    with running_file_server(certificate) as server:
        options = {"user": "platform", "password": f"secret://file{tmp_path / 'password'}"}
        block = {"address": f"https://127.0.0.1:{server.port}/in"}
        for wrong in ({}, {"ca_file": str(stranger)}):
            with pytest.raises(DeliveryError, match="its certificate does not verify") as error:
                deliver({**block, "http": {**options, **wrong}}, stage(b"a;b\n"))
            assert not error.value.retryable
        assert server.requests == []
        deliver({**block, "http": {**options, "ca_file": str(certificate[0])}}, stage(b"a;b\n"))
        assert server.files["/in/customers.csv"][0] == b"a;b\n"


def test_a_server_that_tells_no_checksums_is_believed(http_place: HttpPlace, stage: Stage) -> None:
    http_place.server.tells_checksums = False
    first, second = (deliver(http_place.block(), stage(b"a;b\n"))[0] for _ in range(2))
    assert (first.verified_by, second.verified_by, second.sent) == ("accepted", "accepted", 4)


def test_a_connection_that_ends_without_an_answer_is_tried_again_later(
    file_server: FileServer, tmp_path: Path, stage: Stage
) -> None:
    place = HttpPlace(file_server, tmp_path)
    with (
        place.cut_after(200) as block,
        pytest.raises(DestinationUnavailable, match=r"closed the connection|reset|Broken pipe") as error,
    ):
        deliver(with_options(place, **block["http"]) | {"address": block["address"]}, stage(b"x" * 100_000))
    assert PASSWORD not in str(error.value)
