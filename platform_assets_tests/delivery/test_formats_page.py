"""Every example on the page about data and formats is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from platform_assets.configuration.document import parse_document
from platform_assets.delivery.renderers.naming import FIELDS, template_mistake
from platform_assets.delivery.renderers.settings import ORDER, RenderSettings
from platform_assets.delivery.sources.settings import DataSourceSettings

PAGE = (Path(__file__).parents[2] / "docs" / "delivery_formats.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```hocon\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(example: str, tmp_path: Path) -> None:
    file = tmp_path / "example.conf"
    file.write_text(example)
    [(key, value)] = parse_document(file).content.items()
    match key:
        case "source":
            DataSourceSettings.model_validate(value, context={"base": tmp_path})
        case "render":
            TypeAdapter(RenderSettings).validate_python(value, context={"base": tmp_path})
        case _:
            assert (key, template_mistake(value)) == ("file", "")


def test_the_page_names_every_kind_of_source_every_step_and_every_field() -> None:
    assert len(EXAMPLES) > 8
    named = set(re.findall(r"`([^`\n]+)`", PAGE))
    assert set(DataSourceSettings.model_fields) <= named
    assert set(ORDER) <= named
    assert {f"{{{field}}}" for field in FIELDS} <= named
