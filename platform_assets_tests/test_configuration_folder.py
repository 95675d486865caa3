"""A folder of configuration files: each is read on its own, and tells all of its mistakes with their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator

from platform_assets.configuration.folder import ConfigFile, load_files
from platform_assets.configuration.mistakes import Mistake
from platform_assets.configuration.secrets import Secret
from platform_assets.configuration.values import Block, Integer, Text


class Step(Block):
    name: Text = Field(description="the name of a step")
    seconds: Integer = Field(default=60, ge=1, description="whole seconds, 1 or more")


class Plan(Block):
    title: Text = Field(description="a title")
    steps: tuple[Step, ...] = Field(default=(), description="a list of steps")

    @field_validator("title")
    @classmethod
    def _no_bomb(cls, value: str) -> str:
        if value == "bomb":
            raise LookupError("hunter2")
        return value


class Mail(Block):
    kind: Literal["mail"]
    address: Text = Field(description="an address")


class Folder(Block):
    kind: Literal["folder"]
    path: Text = Field(description="a path")


class Letter(Block):
    to: tuple[Annotated[Mail | Folder, Field(discriminator="kind")], ...] = Field(
        description="places, each with a kind"
    )
    other: Mail | Folder = Field(description="a place")
    key: Text | tuple[Text, ...] = Field(description="a text or several")
    password: Secret | Folder = Field(description="a reference")


def plans(folder: Path, **texts: str) -> dict[str, ConfigFile[Plan]]:
    for name, text in texts.items():
        (folder / f"{name}.conf").write_text(text)
    return {load_file.name: load_file for load_file in load_files(folder, Plan)}


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert load_files(tmp_path / "absent", Plan) == []


def test_files_come_in_the_order_of_their_names_and_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("{{{")
    (tmp_path / ".#a.conf").symlink_to("nobody@host")
    found = plans(
        tmp_path, b="title = B", a="title = A, steps = [ { name = one }, { name = two, seconds = 5 } ]"
    )
    assert list(found) == ["a", "b"]
    assert found["a"].file == tmp_path / "a.conf"
    assert found["a"].block == Plan(title="A", steps=(Step(name="one"), Step(name="two", seconds=5)))
    assert found["a"].mistakes == ()


def test_a_broken_file_tells_its_reason_and_the_others_load(tmp_path: Path) -> None:
    (tmp_path / "folder.conf").mkdir()
    (tmp_path / "gone.conf").symlink_to(tmp_path / "nothing")
    (tmp_path / "latin.conf").write_bytes(b"title = \xe9")
    found = plans(
        tmp_path,
        bomb="title = bomb",
        good="title = Good",
        lacks='title = A, include "absent.conf"',
        open="title = [",
        wrong="titel = A, steps = [ { name = one }, { name = two, seconds = 0 }, { seconds = 2 } ]",
    )
    assert {name for name, one in found.items() if one.block is not None} == {"good"}
    assert {name for name, one in found.items() if not one.mistakes} == {"good"}
    assert all(line.startswith(str(one.file)) for one in found.values() for line in one.mistakes)
    assert all("\n" not in line for one in found.values() for line in one.mistakes)
    for name, reason in {
        "bomb": "unexpected error LookupError",
        "folder": "Is a directory",
        "gone": "No such file",
        "lacks": "absent.conf (No such file or directory)",
        "latin": "not UTF-8",
        "open": "this is not HOCON",
    }.items():
        assert any(reason in line for line in found[name].mistakes), name
    assert "hunter2" not in str(found["bomb"].mistakes)


def test_all_mistakes_of_a_file_come_at_once_with_their_keys(tmp_path: Path) -> None:
    text = "titel = A\nsteps = [\n  { name = one }\n  { name = two, seconds = 0 }\n  { seconds = 2 }\n]\n"
    file = tmp_path / "a.conf"
    assert plans(tmp_path, a=text)["a"].mistakes == (
        f"{file}: title: found nothing; expected a title.",
        f"{file}:1: titel: found an unknown key; expected a known one, perhaps title.",
        f"{file}:4: steps[1].seconds: found 0; expected whole seconds, 1 or more.",
        f"{file}:5: steps[2].name: found nothing; expected the name of a step.",
    )


def test_a_value_of_several_types_is_told_by_its_key_alone(tmp_path: Path) -> None:
    text = """
    to = [
      { kind = mail, address = 5 }
      { kind = folder, path = here, addres = x }
      { kind = pigeon }
    ]
    other { address = 5 }
    key { text = 5 }
    password = hunter2
    """
    (tmp_path / "a.conf").write_text(text)
    (found,) = load_files(tmp_path, Letter)
    told = [line.removeprefix(f"{found.file}:") for line in found.mistakes]
    assert "hunter2" not in str(told)
    wrong_text = "found 5; expected an address (put text that looks like something else into quotes)."
    assert told[:3] == [
        f"3: to[0].address: {wrong_text}",
        "4: to[1].addres: found an unknown key; expected one of kind, path.",
        "5: to[2]: found a block; expected places, each with a kind.",
    ]
    assert f"7: other.address: {wrong_text}" in told
    assert {line.split(": ")[1] for line in told[3:]} == {
        *("other.kind", "other.path", "other.address", "key", "password")
    }


def test_mistakes_that_are_found_later_take_the_block_away(tmp_path: Path) -> None:
    good = plans(tmp_path, a="title = A\nsteps = [\n  { name = one }\n]\n")["a"]
    assert good.with_mistakes([]) is good
    bad = good.with_mistakes([Mistake(("steps", 0, "name"), '"one"', "a name that is known")])
    assert bad.block is None
    assert good.block is not None
    expected = f'{bad.file}:3: steps[0].name: found "one"; expected a name that is known.'
    assert bad.mistakes == (expected,)
    assert len(bad.with_mistakes([Mistake(("title",), '"A"', "another")]).mistakes) == 2


def test_a_name_means_the_files_own_key_then_what_is_given_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("title", "GIVEN", "ENVIRONMENT"):
        monkeypatch.setenv(name, "from the environment")
    names = "steps = [ { name = ${title} }, { name = ${GIVEN} }, { name = ${ENVIRONMENT} } ], title = own"
    (tmp_path / "a.conf").write_text(names)
    (found,) = load_files(tmp_path, Plan, variables={"title": "given", "GIVEN": "given"})
    assert found.block is not None
    assert [step.name for step in found.block.steps] == ["own", "given", "from the environment"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("")
    (found,) = load_files(tmp_path / "plans", Plan)
    assert found.block is None
    assert found.mistakes == (f"{tmp_path / 'plans'}: the folder cannot be read: Not a directory.",)
