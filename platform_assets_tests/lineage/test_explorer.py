"""The explorer in a browser: search, walk, highlighting, keyboard, readability, and that it asks nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_assets.lineage.explorer.page import anchor, explorer_page
from platform_assets_tests.fixtures.browser import Visit, browser, visit
from platform_assets_tests.lineage.graphs import (
    DIM,
    HOSTILE,
    generated_graph,
    small_graph,
    small_marks,
)

pytestmark = pytest.mark.sampled(2)

__all__ = ["browser", "visit"]
ADDRESS = "star/dim_staff.email_address"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small graph."""
    file = tmp_path_factory.mktemp("explorer") / "lineage.html"
    file.write_text(explorer_page(small_graph(), small_marks(), "Made for a test."), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 1,000 tables with 20,000 columns."""
    file = tmp_path_factory.mktemp("explorer") / "large.html"
    file.write_text(explorer_page(generated_graph(), [], "Made for a test."), encoding="utf-8")
    return file


@pytest.fixture
def at(visit: Visit, page_file: Path) -> Iterator[Visit]:
    """The page, which has to end without an error and without a request."""
    visit.page.goto(page_file.as_uri())
    yield visit
    assert visit.errors == []
    assert [url for url in visit.requests if not url.startswith("data:")] == []


def go(visit: Visit, place: str) -> None:
    visit.page.evaluate("(place) => { location.hash = place }", place)
    arrived(visit, place)


def arrived(visit: Visit, place: str) -> None:
    """Wait for the place to be shown, by the title: the page allows no code of others that could wait."""
    from playwright.sync_api import expect

    expect(visit.page).to_have_title(re.compile(f"^{re.escape(place)}"))


def boxes(visit: Visit) -> list[str]:
    return [" ".join(text.split()) for text in visit.page.locator("#boxes button").all_inner_texts()]


def texts(visit: Visit, selector: str) -> list[str]:
    return visit.page.locator(selector).all_inner_texts()


def serious(visit: Visit) -> list[Any]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(visit.page).response["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_the_first_page_lists_the_tables_and_where_sensitive_data_can_be(at: Visit) -> None:
    assert at.page.locator("#overview h2").all_inner_texts() == [
        "Where EMAIL_ADDRESS can be (2)",
        "Where PERSON_NAME can be (1)",
        "totesys (2)",
        "star (2)",
        f"{HOSTILE} (1)",
    ]
    assert "totesys/staff.email_address found" in texts(at, "#overview li")
    assert "star/dim_staff.email_address derived" in texts(at, "#overview li")


def test_a_search_ranks_names_before_places_and_leads_to_the_column(at: Visit) -> None:
    at.page.keyboard.press("/")
    at.page.keyboard.type("team")
    hits = [text.replace("\n", " ") for text in texts(at, "#hits li")]
    assert hits[0] == "totesys/team table, 2 columns"
    assert hits[1] == "team_id totesys/team"
    assert {text.split()[0] for text in hits[1:]} == {"team_id", "team_name"}
    at.page.fill("#query", "dim email")
    assert texts(at, "#hits .name") == ["email_address"]
    at.page.keyboard.press("Enter")
    arrived(at, "star/dim_staff.email_address")
    assert at.page.evaluate("location.hash") == f"#{ADDRESS}"
    assert "1 source, 1 target, sensitive: EMAIL_ADDRESS derived" in at.page.inner_text("#news")


def test_a_search_finds_info_types_and_says_when_nothing_matches(at: Visit) -> None:
    at.page.fill("#query", "person_name")
    assert texts(at, "#hits .name") == ["first_name"]
    at.page.fill("#query", "no such thing")
    assert texts(at, "#hits li") == ["Nothing matches."]
    at.page.keyboard.press("Escape")
    assert not at.page.is_visible("#hits")


def test_a_click_and_the_arrow_keys_walk_up_and_down(at: Visit) -> None:
    go(at, ADDRESS)
    assert boxes(at) == [
        "email_address totesys/staff EMAIL_ADDRESS",
        "email_address star/dim_staff EMAIL_ADDRESS",
        "people star/report",
    ]
    at.page.locator("#boxes button", has_text="star/report").click()
    arrived(at, "star/report.people")
    # The selected box has the focus: left is one step up, Enter goes there.
    at.page.keyboard.press("ArrowLeft")
    at.page.keyboard.press("ArrowLeft")
    assert "totesys/staff.email_address, 2 steps upstream" in str(
        at.page.evaluate("document.activeElement.getAttribute('aria-label')")
    )
    at.page.keyboard.press("Enter")
    arrived(at, "totesys/staff.email_address")
    at.page.keyboard.press("ArrowRight")
    at.page.keyboard.press("Escape")
    assert at.page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    at.page.go_back()
    arrived(at, "star/report.people")


def test_direct_and_indirect_edges_are_told_apart(at: Visit) -> None:
    go(at, ADDRESS)
    assert at.page.locator("#lines .indirect").count() == 0
    at.page.check("#indirect")
    assert sorted(boxes(at))[-3:] == [
        "staff_id totesys/staff",
        "team_id totesys/staff",
        "team_id totesys/team",
    ]
    assert at.page.locator("#lines .indirect").count() == 3
    assert at.page.locator("#lines .direct").count() == 2
    assert "totesys/staff.staff_id indirect: filter proved SQL" in [
        " ".join(text.split()) for text in texts(at, "#facts li")
    ]


def test_masking_and_edges_without_proof_are_marked_in_the_drawing_and_in_words(at: Visit) -> None:
    go(at, "star/report.people")
    assert at.page.locator("#lines text.masked").all_text_contents() == ["m", "m"]
    assert "masks the value" in at.page.inner_text("#facts")
    go(at, "star/dim_staff.full_name")
    assert at.page.locator("#lines text.unproved").all_text_contents() == ["?"]
    assert next(text for text in texts(at, "#facts li") if "not proved" in text).startswith(
        "totesys/staff.last_name"
    )


def test_the_expression_of_each_step_is_highlighted_in_its_sql(at: Visit) -> None:
    go(at, ADDRESS)
    # An emoji before the expression counts as two characters in JavaScript.
    assert texts(at, "#sql-code mark") == ["lower(s.email_address)"]
    at.page.get_by_role(
        "button", name="Show the SQL of star/report.people from star/dim_staff.email_address"
    ).click()
    assert at.page.inner_text("#sql-title") == "SQL of star/report: expression of people"
    assert texts(at, "#sql-code mark") == ["count(email_address)"]
    go(at, "star/dim_staff.full_name")
    assert texts(at, "#sql-code mark") == ["s.first_name || ' ' || s.last_name"]
    go(at, "totesys/staff.first_name")
    assert not at.page.is_visible("#sql")


def test_the_list_says_what_the_drawing_shows(at: Visit) -> None:
    go(at, "star/report.people")
    at.page.click("#as-list")
    assert not at.page.is_visible("#drawing")
    lines = [" ".join(text.split()) for text in texts(at, "#listing li")]
    assert lines[0].startswith(
        "star/dim_staff.email_address EMAIL_ADDRESS direct: aggregation masks the value proved"
    )
    assert lines[1].startswith("totesys/staff.email_address EMAIL_ADDRESS direct: transformation")
    assert "Nothing is downstream." in at.page.inner_text("#listing")
    at.page.locator("#listing a", has_text="totesys/staff.email_address").click()
    arrived(at, "totesys/staff.email_address")
    assert at.page.evaluate("document.activeElement.id") == "facts-title"


def test_a_link_leads_to_a_table_or_a_column_and_says_when_there_is_none(at: Visit, page_file: Path) -> None:
    at.page.goto("about:blank")
    at.page.goto(f"{page_file.as_uri()}#{anchor(DIM)}")
    assert at.page.title().startswith("star/dim_staff - ")
    assert texts(at, "#facts tbody tr td:first-child a") == [
        "staff_id",
        "email_address",
        "full_name",
        "team_name",
    ]
    assert "Owned by team:data-platform" in at.page.inner_text("#facts")
    at.page.evaluate("location.hash = 'star/gone'")
    at.page.wait_for_selector("#overview:not([hidden])")
    assert "There is no column or table star/gone here." in at.page.inner_text("#overview")


def test_names_with_markup_do_no_harm(at: Visit, page_file: Path) -> None:
    at.page.goto("about:blank")
    at.page.goto(f"{page_file.as_uri()}#{anchor(('uploads', HOSTILE), HOSTILE)}")
    assert at.page.title() == f"uploads/{HOSTILE}.{HOSTILE} - column lineage"
    assert at.page.inner_text("#facts-title") == HOSTILE
    assert at.page.inner_text("#sql-code") == f"SELECT '{HOSTILE}'"
    assert at.page.locator("img").count() == 0
    assert page_file.read_text(encoding="utf-8").count("</script>") == 2


def test_what_rows_depend_on_has_a_place_of_its_own(at: Visit) -> None:
    go(at, "totesys/team.team_id")
    at.page.check("#indirect")
    at.page.locator("#boxes button", has_text="all rows").click()
    arrived(at, "star/dim_staff.*")
    assert "decides about all columns" in at.page.inner_text("#facts")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("place", ["", "star/dim_staff", "star/dim_staff.full_name"])
def test_nothing_serious_is_wrong_for_people_with_disabilities(at: Visit, theme: str, place: str) -> None:
    at.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    if place:
        go(at, place)
        at.page.check("#indirect")
    assert serious(at) == []
    at.page.fill("#query", "name")
    assert serious(at) == []
    if place:
        at.page.keyboard.press("Escape")
        at.page.click("#as-list")
        assert serious(at) == []


def test_the_theme_follows_the_system_until_it_is_chosen(at: Visit) -> None:
    def paper() -> str:
        return str(at.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = paper()
    at.page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    at.page.click("#theme")
    assert (at.page.inner_text("#theme"), paper()) == ("Theme: light", light)
    at.page.reload()
    assert (at.page.inner_text("#theme"), paper()) == ("Theme: light", light)
    at.page.click("#theme")
    assert (at.page.inner_text("#theme"), paper()) == ("Theme: dark", dark)


def test_a_printed_page_has_the_drawing_and_the_sql_without_controls(at: Visit) -> None:
    go(at, ADDRESS)
    at.page.emulate_media(media="print")
    assert not at.page.is_visible("#query")
    assert at.page.is_visible("#sql-code")
    assert at.page.locator("#boxes button").count() == 3


def test_of_a_thousand_tables_only_the_neighbourhood_is_drawn(visit: Visit, large_file: Path) -> None:
    visit.page.goto(large_file.as_uri())
    assert "1,000 tables, 20,000 columns" in visit.page.inner_text("#overview")
    visit.page.fill("#query", "layer_5 0500_05")
    assert texts(visit, "#hits .name")[0] == "column_0500_05"
    visit.page.keyboard.press("Enter")
    arrived(visit, "layer_5/table_0500.column_0500_05")
    visit.page.check("#indirect")
    visit.page.select_option("#steps", "99")
    assert 2 < visit.page.locator("#boxes .box").count() <= 120
    assert visit.page.evaluate("document.querySelectorAll('*').length") < 3000
    assert visit.errors == []


def test_a_page_without_tables_says_so(visit: Visit, tmp_path: Path) -> None:
    from platform_assets.lineage.graph import Graph

    (tmp_path / "empty.html").write_text(explorer_page(Graph([], []), [], ""), encoding="utf-8")
    visit.page.goto((tmp_path / "empty.html").as_uri())
    assert "0 tables, 0 columns, 0 edges" in visit.page.inner_text("#overview")
    assert visit.errors == []
