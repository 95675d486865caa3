"""A process that is killed at any moment leaves no half file under its final name, and no second copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_assets_tests.delivery.killed import CONTENT, MOMENTS, TEMPLATE, killed_at
from platform_assets_tests.delivery.making import Deliveries, Document, contents, folder_block
from platform_assets_tests.delivery.writers.places import FtpPlace
from platform_assets_tests.fixtures.ftp import FtpServer

pytestmark = pytest.mark.sampled(2)


@pytest.mark.parametrize("version", ["1", None], ids=["versioned", "unversioned"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_delivery_is_continued_as_the_same(
    moment: str, version: str | None, tmp_path: Path, plain_ftp_server: FtpServer
) -> None:
    place = FtpPlace(plain_ftp_server, tmp_path, security="none")
    archive = tmp_path / "archive"
    to = {"archive": folder_block(archive), "ftp": place.block()}
    killed_at(moment, tmp_path, to, version)
    deliveries = Deliveries(tmp_path)
    planned = deliveries.rows()[0]
    final = f"{planned.uuid}.csv"
    assert contents(archive).get(final, CONTENT) == CONTENT, "no half file under its final name"
    assert place.read(final) in (None, CONTENT)
    result = deliveries.make(deliveries.order(Document({"big.csv": CONTENT}, version), to, template=TEMPLATE))
    assert result.failures == {}
    assert result.stamp.uuid == planned.uuid
    assert contents(archive) == {final: CONTENT}
    assert place.read(final) == CONTENT
    assert {name for name in place.names() if not name.endswith(".metadata.json")} == {final}
    assert {row.uuid for row in deliveries.rows() if row.status != "skipped"} == {planned.uuid}
    delivered = [row.destination for row in deliveries.rows() if row.status == "delivered" and row.file]
    assert sorted(delivered) == ["archive", "ftp"], "one receipt for each destination"
    assert deliveries.staged() == []


@pytest.mark.parametrize("version", ["1", None], ids=["versioned", "unversioned"])
def test_what_a_run_that_is_killed_after_its_last_receipt_has_left_is_removed_by_the_next(
    version: str | None, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    to = {"archive": folder_block(archive)}
    killed_at("delivered", tmp_path, to, version)
    deliveries = Deliveries(tmp_path)
    assert deliveries.staged() != []
    before = contents(archive)
    result = deliveries.make(deliveries.order(Document({"big.csv": CONTENT}, version), to, template=TEMPLATE))
    assert [one.status for one in result.destinations] == ["unchanged"]
    assert contents(archive) == before
    assert list(before.values()) == [CONTENT]
    assert deliveries.staged() == []
