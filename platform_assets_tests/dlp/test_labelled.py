"""Labelled sets: their form, and that labels of the generated ones are where the values are."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from benchmarks.dlp_quality import main
from platform_assets_tests.dlp.labelled import Example, Span, generated_sets, read_set


def test_a_set_is_read_with_its_labels_and_the_types_that_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(
        '{"text": "to ann@shop.io", "spans": [{"start": 3, "end": 14, "type": "EMAIL_ADDRESS"}]}\n\n'
        '{"text": "{}", "name": "a.json"}\n{"types": ["PHONE_NUMBER"]}\n',
        encoding="utf-8",
    )
    labels = read_set(path)
    assert labels.examples == [
        Example("to ann@shop.io", (Span(3, 14, "EMAIL_ADDRESS"),)),
        Example("{}", (), "a.json"),
    ]
    assert labels.types == {"EMAIL_ADDRESS", "PHONE_NUMBER"}


@pytest.mark.parametrize("line", ["[1]", "{", '{"text": "a", "spans": [{"start": 0}]}'])
def test_a_line_of_another_form_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"text": "a"}\n' + line, encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: not a labelled text"):
        read_set(path)


def test_labels_of_generated_sets_are_at_their_values() -> None:
    for name, labels in generated_sets(random.Random(3), 8).items():
        assert labels.types, name
        for example in labels.examples:
            for span in example.spans:
                value = example.text[span.start : span.end]
                assert value == value.strip(), example
                assert "<<" not in example.text, example
                if span.type == "EMAIL_ADDRESS":
                    assert value.count("@") == 1, example


def test_it_scores_a_set_and_counts_alarms_of_a_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("# card 4532015112830366\n" * 2, encoding="utf-8")
    (tree / "b.bin").write_bytes(b"\0 card 4532015112830366")
    path = tmp_path / "mine.jsonl"
    lines = [
        {"text": "to ann@shop.io", "spans": [{"start": 3, "end": 14, "type": "EMAIL_ADDRESS"}]},
        {"text": "to nobody", "spans": [{"start": 3, "end": 9, "type": "EMAIL_ADDRESS"}]},
        {"text": "from bob@shop.io"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    result = tmp_path / "result.json"
    options = [
        "--no-generated",
        "--set",
        str(path),
        "--tree",
        str(tree),
        "--show",
        "1",
        "--json",
        str(result),
    ]
    monkeypatch.setattr("sys.argv", ["dlp_quality.py", *options])
    main()
    written = json.loads(result.read_text(encoding="utf-8"))
    (score,) = written["sets"]
    assert (score["labelled"], score["hits"], score["alarms"]) == (2, 1, 1)
    assert (score["recall"], score["precision"]) == (0.5, 0.5)
    (counted,) = written["trees"]
    assert (counted["files"], counted["by_type"]) == (1, {"CREDIT_CARD_NUMBER": 2})
    assert "'4532015112830366'" in capsys.readouterr().out
