"""Rows as an HTML report."""

from __future__ import annotations

from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.delivery.interfaces import DeliveryError
from platform_assets_tests.delivery.renderers.rendering import Kitchen

SALES = pa.table(
    {
        "region": ["North", "<script>alert(1)</script>", None],
        "amount": pa.array([Decimal("0.10"), Decimal("0.20"), None], pa.decimal128(20, 2)),
        "pieces": [1, 2, 3],
    }
)
MISSING = "\u2013"


class Cells(HTMLParser):
    """The texts of a page's cells, row by row, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("td", "th", "span"):
            self.rows[-1][-1] += data.strip()


def test_totals_have_all_digits_and_no_exponent(kitchen: Kitchen) -> None:
    large = pa.array([Decimal("1234567890123456789012345678.1"), Decimal("0.1")], pa.decimal128(38, 10))
    table = pa.table({"large": large, "none": pa.array([Decimal(0)] * 2, pa.decimal128(38, 10))})
    page = Cells(kitchen.one([{"html": {"totals": ["large", "none"]}}], table).text)
    assert page.rows[-1] == ["1234567890123456789012345678.2000000000", "0.0000000000"]


def test_the_report_has_title_time_table_and_totals(kitchen: Kitchen) -> None:
    found = kitchen.one([{"html": {"totals": ["amount", "pieces"], "timezone": "Europe/Berlin"}}], SALES)
    assert (found.name, found.rows, found.content_type) == ("customers.html", 3, "text/html; charset=utf-8")
    assert "<title>Customers in the morning</title>" in found.text
    assert "2026-02-01 00:30 Europe/Berlin" in found.text
    assert "3 rows." in found.text
    page = Cells(found.text)
    assert page.rows == [
        ["region", "amount", "pieces"],
        ["North", "0.10", "1"],
        ["<script>alert(1)</script>", "0.20", "2"],
        [MISSING, MISSING, "3"],
        ["", "0.30", "6"],
    ]


def test_values_and_names_are_escaped(kitchen: Kitchen) -> None:
    table = pa.table({"<b>&": ['"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"]})
    found = kitchen.one(["html"], table)
    assert set(Cells(found.text).tags).isdisjoint({"b", "img", "script"})
    assert "{{ 7 * 7 }}" in found.text


def test_a_template_of_ones_own_is_used(kitchen: Kitchen, tmp_path: Path) -> None:
    template = tmp_path / "own.html"
    (tmp_path / "part.html").write_text("<p>{{ title }}</p>")
    template.write_text(
        "{% include 'part.html' %}{% for row in rows %}[{{ row[0] }}]{% endfor %}{{ rows.count }} "
        "{{ version }}"
    )
    found = kitchen.one([{"html": {"template": str(template)}}], SALES)
    assert found.text == (
        "<p>Customers in the morning</p>[North][&lt;script&gt;alert(1)&lt;/script&gt;][None]3 v1"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% for %}", r"own\.html, line 1 cannot be used"),
        ("a\n{{ titel }}", "failed: UndefinedError: 'titel' is undefined"),
        ("{{ ''.__class__.__mro__ }}", "failed: SecurityError"),
        ("{{ rows.batches.gi_frame.f_globals }}", "failed: SecurityError"),
        ("{% include '../secret.html' %}", "failed: TemplateNotFound"),
        ("{{ 1 / 0 }}", "failed: ZeroDivisionError"),
    ],
)
def test_a_template_that_cannot_be_used_is_told_with_its_reason(
    kitchen: Kitchen, tmp_path: Path, text: str, reason: str
) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (tmp_path / "secret.html").write_text("secret")
    (folder / "own.html").write_text(text)
    with pytest.raises(DeliveryError, match=reason):
        kitchen.render([{"html": {"template": str(folder / "own.html")}}], SALES)


def test_a_missing_template_a_total_of_no_number_and_too_many_rows_are_refused(
    kitchen: Kitchen, tmp_path: Path
) -> None:
    with pytest.raises(DeliveryError, match="it is not there"):
        kitchen.render([{"html": {"template": str(tmp_path / "none.html")}}], SALES)
    with pytest.raises(
        DeliveryError, match="no column of numbers region, which totals names; it has amount, pie"
    ):
        kitchen.render([{"html": {"totals": ["region"]}}], SALES)
    with pytest.raises(DeliveryError, match="customers has more than 2 rows, the most of this report"):
        kitchen.render([{"html": {"rows": 2}}], SALES)


def test_an_empty_table_is_a_page_with_a_header(kitchen: Kitchen) -> None:
    found = kitchen.one([{"html": {"totals": ["pieces"]}}], SALES.slice(0, 0))
    assert Cells(found.text).rows == [["region", "amount", "pieces"], ["", "", "0"]]
    assert "0 rows." in found.text
