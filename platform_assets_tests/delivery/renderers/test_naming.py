"""Names of files from a template, the manifest, and what does not fit together in `render`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from platform_assets.delivery.interfaces import DeliveryError, StagedFile
from platform_assets.delivery.renderers.naming import FileNames, manifest, split_name, template_mistake
from platform_assets.delivery.renderers.settings import (
    JsonRenderSettings,
    has_manifest,
    rendering_mistakes,
)
from platform_assets_tests.delivery.renderers.rendering import STAMP, STEPS


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, "sales.csv.gz"),
        ("{name}-{date}{suffix}", "sales-2026-01-31.csv.gz"),
        ("{date:%Y/%m/%d}/{name}.csv.gz", "2026/01/31/sales.csv.gz"),
        ("x_{time}_{part}_{rows}.csv", "x_233005_0002_15.csv"),
        ("x_{part:d}_{rows:06d}.csv", "x_2_000015.csv"),
        ("{uuid}.csv", "3f0c1f7e-6b1e-4c7e-9a0e-0c8a5b1d2e3f.csv"),
        ("{version}.csv", "v1.csv"),
        ("plain {{braces}}.csv", "plain {braces}.csv"),
    ],
)
def test_a_template_gives_the_name(template: str | None, name: str) -> None:
    assert not template_mistake(template or "a")
    assert FileNames(template).name(STAMP, "sales.csv.gz", 2, 15) == name


def test_date_and_time_are_those_of_the_time_zone() -> None:
    names = FileNames("{date:%Y%m%d}-{time}.csv", "Asia/Tokyo")
    assert names.name(STAMP, "x.csv", 1, 1) == "20260201-083005.csv"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{nmae}.csv", "there is no field {nmae}; known are {name}"),
        ("{}.csv", "there is no field {}"),
        ("{date.year}.csv", "there is no field {date.year}"),
        ("{name!r}.csv", "!r cannot be used in {name}"),
        ("{date:%Q}.csv", "%Q in {date:%Q} is not known"),
        ("{date:week}.csv", "is always the same"),
        ("{name:>10}.csv", "{name} takes no format"),
        ("{rows:.2f}.csv", "the format of {rows} is a number of digits"),
        ("{date:{name}}.csv", "the format of {date} has braces"),
        ("{name.csv", "its braces cannot be read"),
        ("../{name}.csv", "it has an empty part, or . or .."),
        ("/{name}.csv", "it has an empty part, or . or .."),
        ("a\\b.csv", "control characters or a backslash"),
        ("x" * 300, "longer than 255 bytes"),
    ],
)
def test_a_mistake_in_a_template_is_told_with_its_reason(template: str, reason: str) -> None:
    assert reason in template_mistake(template)


def test_an_unknown_number_of_rows_cannot_be_in_a_name() -> None:
    with pytest.raises(DeliveryError, match=r"needs the number of rows, and it is not known for a\.pdf"):
        FileNames("{rows}.pdf").name(STAMP, "a.pdf", 1, None)


def test_a_name_from_elsewhere_cannot_lead_out_of_the_destination() -> None:
    with pytest.raises(DeliveryError, match=r"has an empty part, or \. or \.\."):
        FileNames(None).name(STAMP, "../../etc/passwd", 1, None)
    with pytest.raises(DeliveryError, match="control characters"):
        FileNames("{name}.csv").name(STAMP, "a\nb.csv", 1, None)


def test_a_long_version_becomes_short() -> None:
    name = FileNames("{version}.csv").name(replace(STAMP, version="s3://x/" + "y" * 80), "a.csv", 1, 1)
    assert len(name) == 20
    assert FileNames("{version}.csv").name(replace(STAMP, version='"a/b"'), "a.csv", 1, 1) == "a-b.csv"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.csv", ("a", ".csv")),
        ("a.b.csv.gz", ("a.b", ".csv.gz")),
        ("a.csv.gz.pgp", ("a", ".csv.gz.pgp")),
        ("a", ("a", "")),
        (".gz", (".gz", "")),
        ("2026/a.tar.gz", ("2026/a", ".tar.gz")),
    ],
)
def test_a_name_is_split_before_its_suffixes(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_the_manifest_lists_the_files(tmp_path: Path) -> None:
    staged = [
        StagedFile(
            tmp_path / name,
            name,
            3,
            hashlib.sha256(name.encode()).hexdigest(),
            "d41d8",
            rows,
            "text/csv",
            STAMP,
        )
        for name, rows in (("a.csv", 2), ("b.csv", 5))
    ]
    found = json.loads(manifest(staged, STAMP))
    assert (found["delivery"], found["rows"], found["timestamp"]) == (
        "customers",
        7,
        "2026-01-31T23:30:05+00:00",
    )
    assert found["files"][1] == {
        "name": "b.csv",
        "size": 3,
        "sha256": hashlib.sha256(b"b.csv").hexdigest(),
        "md5": "d41d8",
        "rows": 5,
        "content_type": "text/csv",
    }
    unknown = json.loads(manifest([*staged, replace(staged[0], rows=None)], STAMP))
    assert unknown["rows"] is None


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (["cvs"], "there is no step cvs; perhaps csv"),
        (["gzip", "csv"], "csv stands behind gzip: put csv first"),
        (["csv", "parquet"], "parquet stands behind csv: a delivery has one format"),
        (["csv", "gzip", "gzip"], "gzip is in it twice"),
        (["manifest", "csv"], "csv stands behind manifest: put csv first"),
        ([{"csv": {}, "gzip": {}}], "a step is a name, or a block with one key"),
        ([{"csv": {"delimiter": ";;"}}], "it is one character"),
        ([{"csv": {"delimiter": "a"}}], "no letter, digit or line break"),
        ([{"csv": {"delimiter": ";", "quote": ";"}}], "it is the delimiter too"),
        ([{"csv": {"decimal_sign": ","}}], "it is the delimiter too; set another delimiter"),
        ([{"csv": {"encoding": "utf-9"}}], "no such encoding exists"),
        ([{"csv": {"encoding": "zlib"}}], "it is no encoding of text"),
        ([{"csv": {"date_format": "%Q"}}], "%Q is not known"),
        ([{"csv": {"date_format": "yyyy"}}], "it has no % in it"),
        ([{"csv": {"timezone": "Europe/Lindon"}}], "no such time zone exists"),
        ([{"csv": {"header": "maybe"}}], "valid boolean"),
        ([{"parquet": {"split": {"megabytes": 1}}}], "Extra inputs"),
        ([{"gzip": {"level": 10}}], "less than or equal to 9"),
    ],
)
def test_a_mistake_in_render_is_told_with_its_reason(steps: list[Any], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        STEPS.validate_python(steps)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "file", "rows", "several", "reason"),
    [
        ([], None, True, False, "the source gives rows, and render has no format for them; add one of csv"),
        (["gzip"], None, True, False, "the source gives rows, and render has no format for them"),
        (["csv"], None, False, False, "the source gives files, and csv is made of rows"),
        (["csv"], "x.csv.gz", True, False, "the name does not end in .csv, and csv is the last step"),
        (["csv", "gzip"], "x.csv", True, False, "the name does not end in .gz, and gzip is the last step"),
        (["parquet"], "x.csv", True, False, "the name does not end in .parquet"),
        ([], "x.pdf", False, True, "several files may be delivered under one name; put {part} or {name}"),
        ([{"csv": {"split": {"rows": 2}}}], "x.csv", True, False, "several files may be delivered"),
        (["csv"], "{nmae}.csv", True, False, "there is no field {nmae}"),
        (["csv"], "x.txt", True, False, ""),
        (["csv", "gzip", "manifest"], "x.csv.gz", True, False, ""),
        (["csv"], "{name}{suffix}", True, False, ""),
        ([], "x.csv", None, False, ""),
        ([{"csv": {"split": {"rows": 2}}}], "x-{part}.csv", True, False, ""),
        ([], None, False, True, ""),
    ],
)
def test_source_render_and_file_have_to_fit(
    steps: list[Any], file: str | None, rows: bool | None, several: bool, reason: str
) -> None:
    found = list(
        rendering_mistakes(STEPS.validate_python(steps), file, gives_rows=rows, gives_several=several)
    )
    assert len(found) == bool(reason)
    for key, sentence in found:
        assert sentence.startswith(reason)
        assert key == ("render" if reason.startswith("the source") else "file")


def test_all_mistakes_are_told_at_once() -> None:
    found = rendering_mistakes(STEPS.validate_python(["gzip"]), "{x}", gives_rows=True, gives_several=False)
    assert [key for key, _ in found] == ["render", "file"]


def test_a_manifest_is_asked_for_as_a_step() -> None:
    assert has_manifest(STEPS.validate_python(["csv", "manifest"]))
    assert not has_manifest(STEPS.validate_python(["csv"]))


@pytest.mark.parametrize("step", ["json", {"json": {}}, {"json": None}])
def test_a_step_without_options_is_its_name_or_its_empty_block(step: Any) -> None:
    [one] = STEPS.validate_python([step])

    assert (one.name, one.options("json")) == ("json", JsonRenderSettings())
