"""The reference of the configuration is the code's own words."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.settings import load_settings, settings_reference

ROOT = Path(__file__).parent.parent


def test_the_page_in_docs_is_what_the_settings_say_now() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == settings_reference(), "run: platform-assets settings-reference > docs/configuration.md"


def test_the_command_prints_the_page() -> None:
    assert CliRunner().invoke(app, ["settings-reference"]).stdout == settings_reference()


def test_every_key_has_a_type_a_value_and_a_meaning() -> None:
    rows = re.findall(r"^\| (`.*) \|$", settings_reference(), flags=re.MULTILINE)
    assert len(rows) > 150
    cells = [re.split(r"(?<!\\) \| ", row) for row in rows]
    assert [row for row in cells if len(row) != 6 or not (row[1] and row[2] and row[4])] == []


@pytest.mark.parametrize(
    "row",
    [
        "| `freshness.within` | number | whole minutes, 1 or more | `30` | Minutes since the newest batch "
        "before the freshness check fails. |  |",
        "| `lake.ingestion` | text | a local path, s3://bucket/prefix or gs://bucket/prefix | required | The "
        "append-only copies of the sources' tables, and the dead letters. | LAKE_INGESTION |",
        "| `feeds.<name>.sheet.name` | text or number | the name of a sheet, or its number from 1 | `1` | "
        "The sheet. |  |",
    ],
)
def test_a_key_is_described_with_its_default_and_variable(row: str) -> None:
    assert row in settings_reference().splitlines()


def test_a_block_of_a_known_kind_refers_to_the_first_of_its_kind() -> None:
    assert "### `warehouses.<name>`\n\nThe same keys as `warehouse`." in settings_reference()


def test_variables_of_the_page_are_those_that_the_file_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "| PLATFORM_STATE_DIR |" in settings_reference()
    monkeypatch.setenv("PLATFORM_STATE_DIR", "/srv/state")
    settings = load_settings(ROOT / "config" / "platform.conf")
    assert settings.platform.state_dir == Path("/srv/state")
