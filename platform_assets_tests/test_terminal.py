"""Tables of commands: values are shown as they are, whatever they look like."""

from __future__ import annotations

import pytest

from platform_assets import terminal

ODD = ["[/tmp/results]", "[red]", "a :smile: b", "[link=x]y[/link]", "100 %"]


@pytest.mark.parametrize("value", ODD)
def test_a_table_shows_values_as_they_are(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_rows(("name", "value"), [("x", value)])
    assert f"x      {value} \n" in capsys.readouterr().out


@pytest.mark.parametrize("value", ODD)
def test_pairs_are_shown_as_they_are(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_pairs({value: value})
    assert capsys.readouterr().out.rstrip() == f"{value}  {value}"
