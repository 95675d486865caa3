"""Notes about tables: from the file where nothing has changed, and as if there were no file otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform_assets.classification import INFO_TYPE_TAG, Mark, Origin
from platform_assets.column_lineage import ColumnRef
from platform_assets.description import TableNotes
from platform_assets.dlp.settings import RuleSettings
from platform_assets.lineage.assembly import LineageRoom
from platform_assets.lineage.graph import Graph
from platform_assets.lineage.notes import notes_from_json, notes_of, notes_to_json
from platform_assets.lineage.remembered import remember_marks
from platform_assets.lineage.settings import LineageBlock
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings
from platform_assets_tests.fixtures.house import keys_of, with_keys

STAFF = ("warehouse", "dim_staff")
Change = Callable[[Settings], Settings]


@pytest.fixture
def own(shipped: Settings, tmp_path: Path) -> Settings:
    """The shipped configuration with a state folder of its own."""
    (tmp_path / "state").mkdir()
    return with_keys(shipped, state_dir=tmp_path / "state")


def folder_of(settings: Settings) -> Path:
    return settings.platform.state_dir / "lineage"


def all_notes(settings: Settings) -> dict[tuple[str, ...], TableNotes | None]:
    """The notes about all tables, as a new process gets them."""
    room = Rooms(settings).of(LineageRoom)
    return {table.asset: room.notes_on(table.asset) for table in room.declared()}


def derived(settings: Settings, empty: Path) -> dict[tuple[str, ...], TableNotes | None]:
    """The notes without any file but that of the findings."""
    there = with_keys(settings, state_dir=empty)
    remember_marks(folder_of(there), Rooms(settings).of(LineageRoom).remembered_marks())
    return all_notes(there)


def tagged(notes: dict[tuple[str, ...], TableNotes | None], info_type: str) -> set[str]:
    return {
        str(ColumnRef(asset, column))
        for asset, found in notes.items()
        if found is not None
        for column, tags in found.tags.items()
        if info_type in tags[INFO_TYPE_TAG].split(", ")
    }


def test_the_second_process_takes_the_notes_from_the_file(own: Settings) -> None:
    first = all_notes(own)
    assert {"email_address"} <= set(first[STAFF].tags if first[STAFF] else ())
    (folder_of(own) / "graph.json").unlink()
    assert all_notes(own) == first
    assert [file.name for file in folder_of(own).iterdir()] == ["notes.json"]


def _found(settings: Settings) -> Settings:
    column = ColumnRef(("totesys", "design"), "design_name")
    remember_marks(folder_of(settings), [Mark(column, "PERSON_NAME", "LIKELY", Origin.FOUND)])
    return settings


def _declared(settings: Settings) -> Settings:
    columns = {"totesys/design.design_name": ("PERSON_NAME",)}
    return _with_dlp(settings, columns=columns)


def _removed(settings: Settings) -> Settings:
    rule = RuleSettings(action="redact", info_types=("EMAIL_ADDRESS",), places=("warehouse/*",))
    return _with_dlp(settings, rules={"contacts": rule})


def _with_dlp(settings: Settings, **keys: Any) -> Settings:
    return with_keys(settings, dlp=keys_of(settings).dlp.model_copy(update=keys))


def _masking(settings: Settings) -> Settings:
    return _with_lineage(settings, masking=("upper",))


def _elsewhere(settings: Settings) -> Settings:
    return _with_lineage(settings, url="https://lineage.example.org")


def _with_lineage(settings: Settings, **keys: Any) -> Settings:
    block: LineageBlock = keys_of(settings).lineage
    return with_keys(settings, lineage=block.model_copy(update=keys))


@pytest.mark.parametrize("change", [_found, _declared, _removed, _masking, _elsewhere])
def test_whatever_the_notes_are_made_from_changes_them(own: Settings, change: Change, tmp_path: Path) -> None:
    before = all_notes(own)
    changed = change(own)
    assert all_notes(changed) == derived(changed, tmp_path / "empty")
    if change is not _masking:
        assert all_notes(changed) != before


def test_findings_declarations_and_rules_are_seen_at_once(own: Settings) -> None:
    all_notes(own)
    names = "star/dim_design.design_name"
    mail = "warehouse/dim_staff.email_address"
    assert names in tagged(all_notes(_declared(own)), "PERSON_NAME")
    assert names not in tagged(all_notes(own), "PERSON_NAME")
    assert names in tagged(all_notes(_found(own)), "PERSON_NAME")
    assert mail in tagged(all_notes(own), "EMAIL_ADDRESS")
    assert mail not in tagged(all_notes(_removed(own)), "EMAIL_ADDRESS")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"damaged",
        b"\xff\xfe\x00",
        b"{fingerprint}",
        b'{fingerprint}\n[[["star","dim_staff"],{},{"a":[["star"',
        b"{fingerprint}\n[[1,{},{}]]",
        b'{fingerprint}\n[[["star","dim_staff"],{}]]',
        b'{fingerprint}\n[[["star","dim_staff"],{},[]]]',
        b'{fingerprint}\n[[["star","dim_staff"],{"email_address":"EMAIL_ADDRESS"},{}]]',
        b'{fingerprint}\n{"tables":[],"format":1}',
        b"{fingerprint}\nnull",
    ],
)
def test_a_damaged_or_foreign_file_is_written_again(own: Settings, content: bytes) -> None:
    first = all_notes(own)
    file = folder_of(own) / "notes.json"
    whole = file.read_bytes()
    file.write_bytes(content.replace(b"{fingerprint}", whole.partition(b"\n")[0]))
    assert all_notes(own) == first
    assert file.read_bytes() == whole


def test_a_file_that_cannot_be_read_or_written_costs_only_time(own: Settings) -> None:
    first = all_notes(own)
    file = folder_of(own) / "notes.json"
    file.unlink()
    file.mkdir()
    assert all_notes(own) == first


def test_notes_survive_their_json(shipped: Settings) -> None:
    room = Rooms(shipped).of(LineageRoom)
    notes = notes_of(room.graph, room.classify([]).marks)
    assert notes_from_json(notes_to_json(notes)) == notes
    assert all(note.link == "" for note in notes.values())
    assert notes_from_json(notes_to_json(notes_of(Graph([], []), []))) == {}
    odd = {("a", 'b"\n'): dataclasses.replace(notes[STAFF], sources={"ü": [ColumnRef(("x",), "日本")]})}
    assert notes_from_json(notes_to_json(odd)) == odd
