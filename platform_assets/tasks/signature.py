"""A task's arguments: their types and help, from the signature and the docstring of its `run`."""

from __future__ import annotations

import datetime as dt
import difflib
import enum
import inspect
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from platform_assets.configuration.mistakes import parts_of, shown
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.stores import SECRET_OPTION
from platform_assets.configuration.values import Integer, LocalPath
from platform_assets.tasks.task import NAME, Task, TaskError

_CONTEXT = "context"
DELIVERIES = "deliveries"
"""Key of the validation's context: the names of the deliveries."""
_WORDS: Mapping[object, tuple[str, str]] = {
    str: ("text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "truth values"),
    Path: ("a path", "paths"),
    bytes: ("text", "texts"),
    Decimal: ("a number", "numbers"),
    dt.date: ("a date, such as 2026-01-31", "dates"),
    dt.datetime: ("a date and time, such as 2026-01-31T08:00:00Z", "dates and times"),
    dt.time: ("a time, such as 08:00:00", "times"),
    dt.timedelta: ("seconds, or a duration such as P1DT2H", "durations"),
    list: ("a list", "lists"),
    Secret: (f"a reference to a secret: {REFERENCES}", "references to secrets"),
}


def _no_reference(value: object) -> object:
    if isinstance(value, str) and value.startswith("secret://"):
        raise ValueError("this argument takes no reference to a secret")
    return value


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")
    return value


def _no_number(value: object) -> object:
    is_numeric = isinstance(value, str) and re.fullmatch(r"\s*[-+]?[\d.]+\s*", value)
    if is_numeric or isinstance(value, int | float):
        raise ValueError("a number would count seconds from 1970")
    return value


_STRICT: Mapping[object, Any] = {
    str: Annotated[str, BeforeValidator(_no_reference)],
    bytes: Annotated[bytes, BeforeValidator(_no_reference)],
    Decimal: Annotated[Decimal, BeforeValidator(_no_truth)],
    **{kind: Annotated[kind, BeforeValidator(_no_number)] for kind in (dt.date, dt.datetime, dt.time)},
    int: Integer,
    float: Annotated[float, BeforeValidator(_no_truth)],
    Path: LocalPath,
}
_PLACES = ("Args:", "Arguments:")


@dataclass(frozen=True)
class Parameter:
    """An argument of a task.

    Attributes:
        name: Its name.
        annotation: Its type.
        required: True if it has no default.
        default: Its default.
        help: What it means, from the docstring.
    """

    name: str
    annotation: Any
    required: bool
    default: Any
    help: str

    @property
    def expected(self) -> str:
        """The expected value in the configuration, in words."""
        return words_of(self.annotation)

    @property
    def is_secret(self) -> bool:
        """True if its value must not be shown."""
        return _mentions_secret(self.annotation) or SECRET_OPTION.search(self.name) is not None


@dataclass(frozen=True)
class Wrong:
    """A mistake in a task's arguments.

    Attributes:
        key: The place within the arguments.
        found: The value found.
        expected: What is expected.
    """

    key: tuple[str | int, ...]
    found: str
    expected: str


class Signature:
    """The arguments of a task; nothing is read of its class before it is needed.

    Args:
        task: The task's class.
    """

    def __init__(self, task: type[Task]) -> None:
        self.task = task

    @cached_property
    def summary(self) -> str:
        """The first paragraph of the task's docstring, in one line."""
        return " ".join(self._text.split("\n\n")[0].split())

    @property
    def help(self) -> str:
        """The docstring of the task without the arguments."""
        return _without_arguments(self._text).strip()

    @property
    def _text(self) -> str:
        own = inspect.cleandoc(self.task.__doc__ or "") if self.task.__doc__ else ""
        return own or inspect.cleandoc(getattr(self.task.run, "__doc__", None) or "")

    @cached_property
    def takes_context(self) -> bool:
        """True if `run` has a parameter `context`."""
        return _CONTEXT in inspect.signature(self.task.run).parameters

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The arguments in their order.

        Raises:
            TaskError: The class is no usable task: no `run`, arguments without types, an unusable name.
        """
        name = f"The task {self.task.name or self.task.__name__} of {self.task.__module__}"
        if not NAME.fullmatch(self.task.name):
            raise TaskError(f"{name} cannot be used: its name must be lower-case letters, digits and _.")
        run = getattr(self.task, "run", None)
        if not inspect.isfunction(run):
            raise TaskError(f"{name} cannot be used: it has no method `run`. Add one.")
        try:
            annotations = typing.get_type_hints(run, include_extras=True)
        except (NameError, TypeError, SyntaxError, AttributeError) as error:
            raise TaskError(
                f"{name} cannot be used: the types of `run` cannot be resolved: {error}. Import them where "
                "Python finds them at run time, not under TYPE_CHECKING."
            ) from None
        texts = _argument_texts(inspect.cleandoc(run.__doc__ or "")) or _argument_texts(self._text)
        found = []
        for parameter in list(inspect.signature(run).parameters.values())[1:]:
            if parameter.name == _CONTEXT:
                continue
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise TaskError(f"{name} cannot be used: `run` has {parameter}; give every argument a name.")
            if parameter.name not in annotations:
                raise TaskError(
                    f"{name} cannot be used: the argument {parameter.name} of `run` has no type. Add it."
                )
            required = parameter.default is parameter.empty
            found.append(
                Parameter(
                    parameter.name,
                    annotations[parameter.name],
                    required,
                    None if required else parameter.default,
                    texts.get(parameter.name, ""),
                )
            )
        return tuple(found)

    @cached_property
    def _adapter(self) -> TypeAdapter[dict[str, Any]]:
        members: dict[str, Any] = {
            parameter.name: _strict(parameter.annotation)
            if parameter.required
            else typing_extensions.NotRequired[_strict(parameter.annotation)]
            for parameter in self.parameters
        }
        # A typed dictionary, because a model cannot have fields such as `copy` or `schema`.
        make: Any = typing_extensions.TypedDict
        shape = make(f"{self.task.name}_arguments", members)
        shape.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        try:
            return TypeAdapter(shape)
        except PydanticUserError as error:
            reason = str(error).splitlines()[0]
            raise TaskError(
                f"The task {self.task.name} of {self.task.__module__} cannot be used: {reason}"
            ) from None

    def check(self) -> None:
        """Raise an error if the class is no usable task.

        Raises:
            TaskError: The reason.
        """
        self._adapter  # noqa: B018 - builds the validator

    def validate(
        self, given: Mapping[str, Any], file: Path, deliveries: Collection[str] | None = None
    ) -> tuple[dict[str, Any], list[Wrong]]:
        """Validate arguments.

        Args:
            given: The arguments as configured.
            file: The file that they are from; relative paths start from its folder.
            deliveries: Names of the deliveries; None if they are unknown, and not checked.

        Returns:
            The validated arguments, and all mistakes.

        Raises:
            TaskError: The class is no usable task.
        """
        try:
            context = {"base": file.parent, "file": file, DELIVERIES: deliveries}
            return self._adapter.validate_python(dict(given), context=context), []
        except ValidationError as error:
            wrong: dict[tuple[str | int, ...], Wrong] = {}
            for detail in error.errors(include_url=False):
                one = self._explained(given, detail)
                wrong.setdefault(one.key, one)
            # Each member of a union reports its own mistake: the deepest tells the most.
            keys = list(wrong)
            return {}, [
                mistake
                for key, mistake in wrong.items()
                if not any(len(other) > len(key) and other[: len(key)] == key for other in keys)
            ]

    def _explained(self, given: Mapping[str, Any], detail: Mapping[str, Any]) -> Wrong:
        location = detail["loc"]
        known = {parameter.name: parameter for parameter in self.parameters}
        if detail["type"] == "extra_forbidden" and len(location) == 1:
            return Wrong((location[0],), "an unknown argument", suggestion(str(location[0]), list(known)))
        parameter = known[location[0]]
        if detail["type"] in ("missing", "extra_forbidden") and len(location) > 1:
            inside = _reached(given, location[:-1])
            is_missing = detail["type"] == "missing"
            expected = "a value" if is_missing else "a known one"
            return Wrong((*inside, location[-1]), "nothing" if is_missing else "an unknown key", expected)
        meaning = f" ({parameter.help.rstrip('.')})" if parameter.help else ""
        if detail["type"] == "missing" and len(location) == 1:
            return Wrong((location[0],), "nothing", f"{parameter.expected}{meaning}")
        key = _reached(given, location)
        reason = _reason(detail)
        if parameter.is_secret or any(SECRET_OPTION.search(str(part)) for part in location):
            is_reference = str(detail["input"]).startswith("secret://")
            found = "a reference that cannot be used" if is_reference else "a value (not shown)"
        else:
            found = shown(detail["input"]) if key else "nothing"
        return Wrong(key or (location[0],), found, f"{parameter.expected}{reason or meaning}")


def suggestion(name: str, known: Sequence[str]) -> str:
    """Say what a name may be meant to be: the nearest known one, or all of them."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    if close:
        return f"a known one, perhaps {close[0]}"
    return f"one of {', '.join(known)}" if known else "none"


def words_of(annotation: Any, *, plural: bool = False) -> str:
    """Describe a type in words, such as `a list of paths`."""
    description = _description(annotation)
    if description:
        return description
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return words_of(arguments[0], plural=plural)
    if origin in (Union, types.UnionType):
        return " or ".join(
            words_of(argument, plural=plural) for argument in arguments if argument is not types.NoneType
        )
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (list, tuple, set, frozenset) or _is_sequence(origin):
        inner = next((argument for argument in arguments if argument is not ...), Any)
        return f"{'lists' if plural else 'a list'} of {words_of(inner, plural=True)}"
    if origin is dict or annotation is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        inner = words_of(arguments[1], plural=True) if len(arguments) == 2 else "values"
        return f"{'blocks' if plural else 'a block'} of names and {inner}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return f"one of {', '.join(str(member.value) for member in annotation)}"
    if annotation in (Any, object):
        return "values" if plural else "a value"
    one, several = _WORDS.get(annotation, ("", ""))
    return (several if plural else one) or getattr(annotation, "__name__", str(annotation))


def _is_sequence(origin: object) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


def _description(annotation: Any) -> str:
    """Return the description of a pydantic field in an annotation."""
    if get_origin(annotation) is not Annotated:
        return ""
    return next(
        (
            arg.description
            for arg in get_args(annotation)[1:]
            if isinstance(arg, FieldInfo) and arg.description
        ),
        "",
    )


def _mentions_secret(annotation: Any) -> bool:
    for part in parts_of(annotation):
        if part is Secret or any(_mentions_secret(arg) for arg in get_args(part) if arg is not ...):
            return True
    return False


def _strict(annotation: Any) -> Any:
    """Replace types that would take too much: true is no number, and the text of a reference no text."""
    if annotation in _STRICT:
        return _STRICT[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_strict(arguments[0]), *arguments[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_strict, arguments))]  # noqa: UP007 - built at run time
    if origin in (list, tuple, set, frozenset, dict) or _is_sequence(origin):
        return origin[tuple(argument if argument is ... else _strict(argument) for argument in arguments)]
    return annotation


def _reached(given: Any, location: Sequence[str | int]) -> tuple[str | int, ...]:
    """Return the part of pydantic's location that exists in a value; it names members of unions, too."""
    key: list[str | int] = []
    node = given
    for part in location:
        is_member = isinstance(node, Mapping) and part in node
        members: Any = node
        if is_member or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            node = members[part]
            key.append(part)
    return tuple(key)


def _reason(detail: Mapping[str, Any]) -> str:
    """Return the part of a message that says more than the type, in parentheses."""
    kind = str(detail["type"])
    if kind == "value_error":
        return f" ({detail.get('ctx', {}).get('error')})"
    if kind.startswith(("greater_than", "less_than", "too_", "string_too", "string_pattern")):
        message = str(detail["msg"])
        return f" ({message[0].lower()}{message[1:]})"
    return ""


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield heading and lines of each part of a Google-style docstring; the text itself has no heading."""
    heading, lines = "", list[str]()
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z]\w*:", line):
            yield heading, lines
            heading, lines = line, []
        else:
            lines.append(line)
    yield heading, lines


def _argument_texts(text: str) -> dict[str, str]:
    """Return the description of each argument in a docstring."""
    found: dict[str, str] = {}
    name = ""
    for heading, lines in _sections(text):
        if heading not in _PLACES:
            continue
        for line in lines:
            if start := re.match(r" {2,4}(\w+)(?: \([^)]*\))?: (.*)", line):
                name, found[start[1]] = start[1], start[2].strip()
            elif line.strip() and name:
                found[name] += f" {line.strip()}"
    return found


def _without_arguments(text: str) -> str:
    return "\n".join(
        "\n".join([heading, *lines] if heading else lines)
        for heading, lines in _sections(text)
        if heading not in _PLACES
    )
