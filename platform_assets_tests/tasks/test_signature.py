"""Arguments: their types and help from the signature of `run`, and mistakes in the user's words."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from platform_assets.configuration.secrets import Secret
from platform_assets.tasks.signature import words_of
from platform_assets.tasks.task import Task, TaskContext, TaskError
from platform_assets_tests.tasks.conftest import signature_of

FILE = Path("/srv/config/tasks/file.conf")


def wrong(run: Any, **given: Any) -> list[tuple[tuple[str | int, ...], str, str]]:
    return [(one.key, one.found, one.expected) for one in signature_of(run).validate(given, FILE)[1]]


def _run(
    self: Task,
    context: TaskContext,
    days: int,
    folder: Path = Path("/x"),
    kind: Literal["a", "b"] = "a",
    words: list[str] | str | None = None,
    copy: bool = False,
) -> None:
    """Do it.

    Args:
        context: The context.
        days: How many days,
            in a second line.
        folder: Where.
    """


def test_arguments_are_validated_and_paths_start_from_the_files_folder() -> None:
    values, mistakes = signature_of(_run).validate(
        {"days": "30", "folder": "sub/x", "kind": "b", "words": ["a"], "copy": True}, FILE
    )
    assert mistakes == []
    assert values == {
        "days": 30, "folder": Path("/srv/config/tasks/sub/x"), "kind": "b", "words": ["a"], "copy": True
    }  # fmt: skip


def test_arguments_that_are_left_out_keep_the_default_of_run() -> None:
    assert signature_of(_run).validate({"days": 1}, FILE) == ({"days": 1}, [])


def test_every_mistake_is_reported_with_its_place() -> None:
    assert wrong(_run, folder=3, kind="c", words=["a", 1], copi=True) == [
        (("days",), "nothing", "a whole number (How many days, in a second line)"),
        (("folder",), "3", "a path (it is not a path)"),
        (("kind",), '"c"', "one of a, b"),
        (("words", 1), "1", "a list of texts or text"),
        (("copi",), "an unknown argument", "a known one, perhaps copy"),
    ]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (Colour, "green", "one of red, blue"),
        (list[Colour], ["green"], "a list of one of red, blue"),
        (dt.date, "x", "a date, such as 2026-01-31"),
        (dt.date | None, 0, "a date, such as 2026-01-31 (a number would count seconds from 1970)"),
        (
            dt.datetime,
            20260131,
            "a date and time, such as 2026-01-31T08:00:00Z (a number would count seconds from 1970)",
        ),
        (
            dt.datetime,
            "20260131",
            "a date and time, such as 2026-01-31T08:00:00Z (a number would count seconds from 1970)",
        ),
        (dt.time, 830, "a time, such as 08:00:00 (a number would count seconds from 1970)"),
        (dt.timedelta, "x", "seconds, or a duration such as P1DT2H"),
        (Decimal, True, "a number (true and false are not numbers)"),
        (bytes, "secret://env/X", "text (this argument takes no reference to a secret)"),
        (list, 3, "a list"),
    ],
)
def test_every_type_is_described_and_takes_nothing_else(type_: Any, value: object, expected: str) -> None:
    def run(self: Task, given: Any) -> None: ...

    run.__annotations__["given"] = type_
    [(_, _, told)] = wrong(run, given=value)
    assert told == expected


@pytest.mark.parametrize(("value", "found"), [(True, "true"), (1.5, "1.5"), ("x", '"x"'), (None, "null")])
def test_what_is_no_whole_number_is_refused(value: object, found: str) -> None:
    assert [one[1] for one in wrong(_run, days=value)] == [found]


def test_limits_say_what_they_are() -> None:
    def run(self: Task, days: Annotated[int, Field(ge=1)]) -> None: ...

    assert wrong(run, days=0) == [
        (("days",), "0", "a whole number (input should be greater than or equal to 1)")
    ]


def test_a_secret_is_a_reference_and_its_value_is_never_repeated() -> None:
    def run(self: Task, token: Secret, headers: dict[str, str | Secret] | None = None) -> None: ...

    values, _ = signature_of(run).validate(
        {"token": "secret://env/TOKEN", "headers": {"A": "secret://env/A", "B": "plain"}}, FILE
    )
    assert values["token"] == Secret("secret://env/TOKEN")
    assert values["headers"] == {"A": Secret("secret://env/A"), "B": "plain"}
    mistakes = wrong(run, token="hunter2-hunter2", headers={"A": ["hunter2-hunter2"]})
    assert len(mistakes) == 2
    assert "hunter2" not in str(mistakes)


def test_a_text_takes_no_reference_which_would_be_used_as_it_is() -> None:
    def run(self: Task, title: str) -> None: ...

    assert wrong(run, title="secret://env/X") == [
        (("title",), '"secret://env/X"', "text (this argument takes no reference to a secret)")
    ]


def test_names_that_pydantic_models_use_themselves_are_arguments_like_others() -> None:
    def run(self: Task, copy: str, schema: int, model_config: bool, json: str = "") -> None: ...

    given = {"copy": "a", "schema": 1, "model_config": False}
    assert signature_of(run).validate(given, FILE) == (given, [])


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda self, days: None, "the argument days of `run` has no type"),
        (lambda self, *days: None, "give every argument a name"),
        (lambda self, **days: None, "give every argument a name"),
        (3, "it has no method `run`"),
    ],
)
def test_a_class_that_is_no_usable_task_says_why(run: Any, reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        signature_of(run).check()


def test_types_that_cannot_be_resolved_are_named() -> None:
    def run(self: Task, days: int) -> None: ...

    run.__annotations__["days"] = "Nowhere"
    with pytest.raises(TaskError, match="'Nowhere' is not defined"):
        signature_of(run).check()


def test_help_comes_from_the_docstring() -> None:
    signature = signature_of(_run, "Do something\nin two lines.\n\nMore about it.")
    assert signature.summary == "Do something in two lines."
    assert signature.help == "Do something\nin two lines.\n\nMore about it."
    assert [one.help for one in signature.parameters[:3]] == [
        "How many days, in a second line.",
        "Where.",
        "",
    ]
    assert signature.takes_context


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str, "text"),
        (list[int], "a list of whole numbers"),
        (tuple[Path, ...], "a list of paths"),
        (dict[str, float], "a block of names and numbers"),
        (str | list[str] | None, "text or a list of texts"),
        (Annotated[str, Field(description="a colour")], "a colour"),
        (Any, "a value"),
    ],
)
def test_types_have_words(annotation: Any, words: str) -> None:
    assert words_of(annotation) == words
