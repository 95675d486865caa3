"""Files and texts as a delivery reads them, and what is wrong with a source in the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets.delivery.sources.settings import (
    DataSourceSettings,
    asset_keys,
    gives_rows,
    gives_several,
    unknown_assets,
)
from platform_assets.rooms import Rooms
from platform_assets_tests.delivery.sources.house import files_of, source_of


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    for name, text in (
        ("b.csv", "b"),
        ("a.csv", "a"),
        ("2026/01/c.csv", "c"),
        ("2026/d.txt", "d"),
        (".h.csv", "h"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_file_is_delivered_under_its_name(reports: Path, rooms: Rooms) -> None:
    assert files_of(source_of(rooms, files=str(reports / "a.csv"))) == {"a.csv": b"a"}


def test_a_relative_path_starts_at_the_configuration(reports: Path, rooms: Rooms) -> None:
    assert files_of(source_of(rooms, reports, files="b.csv")) == {"b.csv": b"b"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["2026/01/c.csv", "a.csv", "b.csv"]),
        ("2026/*", ["d.txt"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("2026/**", ["01/c.csv", "d.txt"]),
    ],
)
def test_a_pattern_gives_files_in_the_order_of_their_paths(
    reports: Path, rooms: Rooms, pattern: str, names: list[str]
) -> None:
    assert list(files_of(source_of(rooms, files=f"{reports}/{pattern}"))) == names


def test_a_pattern_that_matches_nothing_is_an_error_unless_allowed(reports: Path, rooms: Rooms) -> None:
    pattern = f"{reports}/*.parquet"
    for source in (source_of(rooms, files=pattern), source_of(rooms, files=f"{reports}/none/*")):
        with pytest.raises(DeliveryError, match="No file matches"):
            source.version()
        with pytest.raises(DeliveryError, match="No file matches"):
            files_of(source)
    assert files_of(source_of(rooms, files={"path": pattern, "may_be_empty": True})) == {}


def test_a_missing_file_and_a_folder_are_refused(reports: Path, rooms: Rooms) -> None:
    with pytest.raises(DeliveryError, match=r"z\.csv cannot be used: No such file"):
        source_of(rooms, files=str(reports / "z.csv")).version()
    with pytest.raises(DeliveryError, match="it is not a file"):
        files_of(source_of(rooms, files=str(reports / "2026")))


def test_a_link_out_of_the_folder_is_refused_unless_allowed(
    reports: Path, rooms: Rooms, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    (reports / "inner.csv").symlink_to(reports / "a.csv")
    pattern = f"{reports}/*.csv"
    assert files_of(source_of(rooms, files=pattern))["inner.csv"] == b"a"
    (reports / "link.csv").symlink_to(outside)
    with pytest.raises(DeliveryError, match=r"link\.csv is a link that leads out of"):
        files_of(source_of(rooms, files=pattern))
    allowed = source_of(rooms, files={"path": pattern, "links_out": True})
    assert files_of(allowed)["link.csv"] == b"secret"


def test_the_version_changes_with_the_files_and_without_reading_them(reports: Path, rooms: Rooms) -> None:
    source = source_of(rooms, files=f"{reports}/*.csv")
    before = source.version()
    assert source.version() == before
    os.utime(reports / "a.csv", (1, 1))
    touched = source.version()
    (reports / "c.csv").write_text("")
    assert len({before, touched, source.version()}) == 3


def test_bytes_that_change_under_the_same_size_and_time_of_modification_are_another_version(
    reports: Path, rooms: Rooms
) -> None:
    file = reports / "a.csv"
    os.utime(file, ns=(10**18, 10**18))
    source = source_of(rooms, files=str(file))
    before = source.version()
    assert source.version() == before
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(10**18, 10**18))
    assert source.version() != before


def test_a_file_that_is_written_while_it_is_read_fails_for_now(reports: Path, rooms: Rooms) -> None:
    source = source_of(rooms, files=str(reports / "a.csv"))
    with source.open() as content:
        [one] = content
        (reports / "a.csv").write_text("longer")
        with pytest.raises(DestinationUnavailable, match="was written while it was read"):
            list(one.chunks)  # type: ignore[union-attr]


def test_files_that_change_after_their_version_was_asked_fail_for_now(reports: Path, rooms: Rooms) -> None:
    source = source_of(rooms, files=f"{reports}/*.csv")
    source.version()
    (reports / "c.csv").write_text("c")
    with pytest.raises(DestinationUnavailable, match="changed in between"):
        files_of(source)
    assert list(files_of(source)) == ["a.csv", "b.csv", "c.csv"]


def test_a_text_is_a_file(rooms: Rooms) -> None:
    source = source_of(rooms, text={"content": "Good mörning\n", "name": "hello.txt"})
    assert files_of(source) == {"hello.txt": "Good mörning\n".encode()}
    assert source.version() != source_of(rooms, text="Good morning").version()
    with source.open() as content:
        assert next(content).content_type == "text/plain; charset=utf-8"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ({}, "it has none of them; a source is one of asset, assets"),
        ({"asset": "star/a", "files": "x"}, "it has asset and files; a source is one of"),
        ({"files": "x", "query": "SELECT 1"}, "query belongs to asset or assets"),
        ({"assets": ["star/a"]}, "several assets are delivered through a query"),
        ({"asset": "/star/a"}, "a key has parts separated by /"),
        ({"asset": "star/a", "query": " ; "}, "it is empty"),
        ({"files": "s3://bucket/x"}, "it must be a local path, not a URI"),
        ({"tetx": "x"}, "Extra inputs"),
        ({"objects": "s3://bucket"}, "with a bucket and a key"),
        ({"objects": "s3://bucket/folder/"}, "with a bucket and a key"),
        ({"objects": "ftp://host/x"}, "it is s3:// or gs://"),
        ({"url": "http://example.org/x"}, "url is plain HTTP; use https://, or set allow_http = true"),
        ({"url": "https://me:word@example.org/x"}, "contains no user"),
        ({"url": "https://example.org:99999/x"}, "it cannot be read: Port out of range"),
        ({"url": "https://[::1/x"}, "it cannot be read: Invalid IPv6 URL"),
        ({"url": {"address": "https://e.org", "headers": {"A B": "x"}}}, "it is no name of a header"),
        ({"url": {"address": "https://e.org", "headers": {"A": "x\r\nB: y"}}}, "a header has no line breaks"),
        (
            {"url": {"address": "https://e.org", "headers": {"A": "secret://nope"}}},
            "the reference cannot be used",
        ),
        ({"function": "reports.monthly"}, "a function is written package.module:function"),
        ({"task": "upload"}, "a task is written file/task"),
    ],
)
def test_a_mistake_in_a_source_is_told_with_its_reason(block: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataSourceSettings.model_validate(block)
    assert reason in str(caught.value)


def test_what_a_source_reads_is_known_without_reading_it() -> None:
    one = DataSourceSettings.model_validate({"assets": ["star/dim_staff", "totesys/x"], "query": "SELECT 1"})
    assert asset_keys(one) == (("star", "dim_staff"), ("totesys", "x"))
    assert (gives_rows(one), gives_several(one)) == (True, False)
    other = DataSourceSettings.model_validate({"warehouse": {"query": "SELECT 1", "reads": ["dim_staff"]}})
    assert asset_keys(other) == (("warehouse", "dim_staff"),)
    files = DataSourceSettings.model_validate({"files": "/data/*.csv"})
    assert (asset_keys(files), gives_rows(files), gives_several(files)) == ((), False, True)


def test_an_unknown_asset_is_reported_with_the_nearest_name() -> None:
    one = DataSourceSettings.model_validate(
        {"assets": ["star/dim_stfaf", "star/dim_date"], "query": "SELECT 1"}
    )
    known = [("star", "dim_staff"), ("star", "dim_date"), ("totesys", "staff")]
    assert list(unknown_assets(one, known)) == ["there is no asset star/dim_stfaf; perhaps star/dim_staff"]
