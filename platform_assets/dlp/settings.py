"""Inspection settings: watched places, info types to look for, actions on findings, and recipients."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.document import Document, parse_document
from platform_assets.configuration.mistakes import Mistake, description_of, refusal
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.values import Block, Cron, Integer, Names, Text
from platform_assets.errors import SettingsError

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings

Level = Literal["VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY"]
_LEVELS = "one of VERY_UNLIKELY, UNLIKELY, POSSIBLE, LIKELY, VERY_LIKELY"
_INFO_TYPES = "a list of info types, such as [CREDIT_CARD_NUMBER]"


def _pattern(value: str) -> str:
    if "\b" in value:
        raise ValueError("it has a backspace in it; for the edge of a word, write it as \\\\b")
    # Compile only if there is a pattern: most configurations have none.
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(value, options)
    except re2.error as error:
        raise ValueError(f"RE2 does not take it: {error}") from None
    return value


Pattern = Annotated[Text, AfterValidator(_pattern)]


def _either(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Require either a regex or words: with neither nothing is searched, with both one would be ignored."""
    if "regex" in info.data and (info.data["regex"] is None) == (not value):
        raise ValueError("give either regex or words" + (", not both" if value else ""))
    return value


class CustomInfoTypeSettings(Block):
    """A user-defined info type: a pattern or a list of words."""

    regex: Pattern | None = Field(default=None, description="an RE2 pattern")
    """Finds text that the pattern matches; either this or `words`."""
    words: Annotated[Names, AfterValidator(_either)] = Field(
        default=(), validate_default=True, description="a list of words or phrases"
    )
    """Finds these words; either this or `regex`."""
    likelihood: Level = Field(default="VERY_LIKELY", description=_LEVELS)
    """The likelihood of a finding."""
    sensitivity: Literal["LOW", "MODERATE", "HIGH"] = Field(
        default="MODERATE", description="one of LOW, MODERATE, HIGH"
    )
    """Severity of a finding."""


def _reaches(value: int, info: ValidationInfo) -> int:
    if value == 0 and info.data.get("before") == 0:
        raise ValueError("before is 0 too, so that the word is looked for nowhere")
    return value


class HotwordSettings(Block):
    """A word that changes the likelihood of nearby findings."""

    info_types: Names = Field(description=_INFO_TYPES)
    """The info types whose findings change."""
    regex: Pattern = Field(description="an RE2 pattern of the word")
    """The word to look for."""
    likelihood: Level = Field(default="VERY_LIKELY", description=_LEVELS)
    """The likelihood that findings near the word get."""
    before: Integer = Field(default=50, ge=0, le=1000, description="a number of characters from 0 to 1000")
    """Distance before a finding within which the word counts."""
    after: Annotated[Integer, AfterValidator(_reaches)] = Field(
        default=0,
        validate_default=True,
        ge=0,
        le=1000,
        description="a number of characters from 0 to 1000",
    )
    """Distance after a finding within which the word counts."""


class ExclusionSettings(Block):
    """Values that are not findings: certain words, or whatever a pattern matches in full."""

    info_types: Names = Field(description=_INFO_TYPES)
    """The info types that the exclusion is for."""
    regex: Pattern | None = Field(default=None, description="an RE2 pattern of the whole value")
    """Values to ignore; either this or `words`."""
    words: Annotated[Names, AfterValidator(_either)] = Field(
        default=(), validate_default=True, description="a list of words or phrases"
    )
    """Values to ignore; either this or `regex`."""


def _needed_by_google(value: str | None, info: ValidationInfo) -> str | None:
    if value is None and info.data.get("inspector") == "google":
        raise PydanticKnownError("missing")
    return value


class InspectSettings(Block):
    """The info types to look for in objects and in columns."""

    inspector: Literal["local", "google"] = Field(default="local", description="local or google")
    """The inspector: this machine, or Google's Sensitive Data Protection."""
    project: Annotated[Text | None, AfterValidator(_needed_by_google)] = Field(
        default=None, validate_default=True, description="the Google Cloud project that inspects"
    )
    """Needed by the inspector `google`."""
    location: Text = Field(default="global", description="where Google inspects, such as europe-west2")
    """The region in which Google inspects."""
    credentials: Secret | None = Field(
        default=None, description=f"a reference to a service account's JSON key: {REFERENCES}"
    )
    """The service account; without it, Google's default credentials are used."""
    topic: Text | None = Field(
        default=None, description="a Pub/Sub topic that is told of ended jobs, projects/PROJECT/topics/NAME"
    )
    """The Pub/Sub topic that Google notifies when a job has ended."""
    info_types: Names = Field(default=(), description=f"{_INFO_TYPES}, or an empty one for the default")
    """Info types to look for; the default leaves out URL and DOMAIN_NAME."""
    exclude: Names = Field(default=(), description=_INFO_TYPES)
    """Info types to leave out."""
    min_likelihood: Level = Field(default="POSSIBLE", description=_LEVELS)
    """Findings below this likelihood are dropped."""
    per_info_type: dict[str, Level] = Field(default_factory=dict, description=_LEVELS)
    """The same for single info types. It also adds them to the default info types."""
    dummy_secrets: bool = Field(default=False, description="true or false")
    """Count sequences (`abcdef1234567890`) and UUIDs in a secret's place; only the local inspector has it."""
    custom: dict[str, CustomInfoTypeSettings] = Field(
        default_factory=dict, description="a block of info types by name, each with regex or words"
    )
    hotwords: dict[str, HotwordSettings] = Field(
        default_factory=dict, description="a block of rules by name, each with info_types and regex"
    )
    exclusions: dict[str, ExclusionSettings] = Field(
        default_factory=dict, description="a block of rules by name, each with info_types and words or regex"
    )
    sample_rows: Integer = Field(
        default=200_000, ge=1000, le=2**53, description="a number of rows, 1000 or more"
    )
    """Larger tables are sampled down to this many rows; a column with something severe is read in full."""
    memory_mb: Integer = Field(default=256, ge=32, le=65_536, description="whole megabytes, 32 or more")
    """Megabytes that reading one object may take."""
    cron: Cron = Field(default="30 2 * * *", description='five cron fields, such as "30 2 * * *"')
    """When the columns of changed tables are inspected."""


Action = Literal["allow", "alert", "quarantine", "block", "mask", "redact", "tokenize", "date_shift", "drop"]


_OPTION_OF = {"keep_last": "mask", "replacement": "redact", "prefix": "tokenize", "days": "date_shift"}


def _of_its_action(value: Any, info: ValidationInfo) -> Any:
    action = _OPTION_OF[info.field_name or ""]
    if "action" in info.data and info.data["action"] != action:
        raise ValueError(f"only the action {action} has it, and this one is {info.data['action']}")
    return value


class RuleSettings(Block):
    """The action on findings of some info types in some places."""

    action: Action = Field(
        description="one of allow, alert, quarantine, block, mask, redact, tokenize, date_shift, drop"
    )
    """Action on a finding."""
    info_types: Annotated[Names, Field(min_length=1)] = Field(
        default=("*",), description=f"{_INFO_TYPES} and shell patterns"
    )
    """The info types that the rule is for."""
    min_likelihood: Level = Field(default="POSSIBLE", description=_LEVELS)
    """The rule is for findings of at least this likelihood."""
    places: Annotated[Names, Field(min_length=1)] = Field(
        default=("*",), description='a list of shell patterns, such as ["objects/*", "star/dim_staff.*"]'
    )
    """The objects and columns that the rule is for: `objects/WATCH/KEY` or `TABLE.COLUMN`."""
    keep_last: Annotated[Integer, AfterValidator(_of_its_action)] = Field(
        default=0, ge=0, le=64, description="a number of characters from 0 to 64"
    )
    """With `mask`: the characters at the end that stay readable."""
    replacement: Annotated[Text | None, AfterValidator(_of_its_action)] = Field(
        default=None, description="text that stands in a value's place"
    )
    """With `redact`: the text that replaces a value; by default the info type in brackets."""
    prefix: Annotated[str, AfterValidator(_of_its_action)] = Field(
        default="", max_length=32, description="text of up to 32 characters"
    )
    """With `tokenize`: the start of every token."""
    days: Annotated[Integer, AfterValidator(_of_its_action)] = Field(
        default=30, ge=1, le=3650, description="a number of days from 1 to 3650"
    )
    """With `date_shift`: the largest shift in days."""


PROBLEMS = (
    *("TRUNCATED", "ENCRYPTED", "CORRUPT", "INVALID_ENCODING", "WRONG_SUFFIX", "TOO_LARGE", "TOO_DEEP"),
    *("TOO_MANY_PARTS", "BOMB", "UNSUPPORTED", "SAMPLED", "TOO_MANY_FINDINGS", "TIMEOUT", "UNREACHABLE"),
    "FAILED",
)
"""Kinds of problems that keep something from being inspected."""


def _are_problems(value: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in value:
        if not any(fnmatchcase(problem, pattern) for problem in PROBLEMS):
            raise ValueError(f"{pattern} matches none of {', '.join(PROBLEMS)}")
    return value


class UninspectedRuleSettings(Block):
    """The action on objects that were not inspected, or not completely."""

    action: Literal["allow", "alert", "quarantine", "block"] = Field(
        description="one of allow, alert, quarantine, block"
    )
    """Action on the object."""
    status: Annotated[tuple[Literal["PARTIAL", "UNREADABLE"], ...], Field(min_length=1)] = Field(
        default=("PARTIAL", "UNREADABLE"), description="a list of PARTIAL, UNREADABLE or both"
    )
    """Result of the inspection."""
    problems: Annotated[Names, Field(min_length=1), AfterValidator(_are_problems)] = Field(
        default=("*",), description="a list of kinds of problems, such as [SAMPLED], and shell patterns"
    )
    """Problem that kept the object from being inspected."""
    places: Annotated[Names, Field(min_length=1)] = Field(
        default=("*",), description='a list of shell patterns, such as ["objects/*", "*.png"]'
    )
    """The objects that the rule is for: `objects/WATCH/KEY`."""


def _near(name: str, known: Iterable[str], likeness: float = 0.88) -> str:
    """The info type that a name is nearly, or starts; empty where there is none."""
    longer = [name_ for name_ in sorted(known) if name_.startswith(f"{name.upper()}_")]
    near = longer[:1] or get_close_matches(name.upper(), sorted(known), 1, likeness)
    return near[0] if near else ""


def _perhaps(name: str, known: Iterable[str]) -> str:
    near = _near(name, known, 0.6)
    return f", perhaps {near}" if near else ""


def _names_a_column(value: str) -> str:
    table, _, column = value.rpartition(".")
    if "/" not in table or not column:
        raise ValueError("a column is written as its table's asset key, a dot and its name")
    return value


ColumnName = Annotated[str, AfterValidator(_names_a_column)]


class DlpSettings(Block):
    """The inspection for sensitive data, and the policy."""

    key: Secret | None = Field(
        default=None,
        description=f"a reference to the key of fingerprints and tokens, 16 bytes or more: {REFERENCES}",
    )
    """The key of fingerprints, tokens and date shifts. Without it, a key is made in the state folder;
    several machines need the same key."""
    inspect: InspectSettings = Field(
        default_factory=InspectSettings, description="a block with what is looked for"
    )
    rules: dict[str, RuleSettings] = Field(
        default_factory=dict, description="a block of rules by name, each with an action"
    )
    uninspected: dict[str, UninspectedRuleSettings] = Field(
        default_factory=dict,
        description="a block of rules by name, each with an action, for what was not inspected",
    )
    columns: dict[ColumnName, Annotated[Names, Field(min_length=1)]] = Field(
        default_factory=dict, description=f"a block of columns, each with {_INFO_TYPES}"
    )
    """Info types that columns hold, whether or not anything was found: `"TABLE.COLUMN" = [EMAIL_ADDRESS]`.
    What is made from these columns is treated alike."""
    _file: Path | None = PrivateAttr(default=None)

    def check_names(self, known: Collection[str]) -> None:
        """Check that the info types which are named are there.

        Args:
            known: Info types that the inspector knows; those of one's own are added.

        Raises:
            SettingsError: Some are not, or one of one's own has the name of another.
        """
        inspect = self.inspect
        named: list[tuple[tuple[str, ...], Iterable[str]]] = [
            (("inspect", "info_types"), inspect.info_types),
            (("inspect", "exclude"), inspect.exclude),
            (("inspect", "per_info_type"), inspect.per_info_type),
            *(
                (("inspect", "hotwords", name, "info_types"), hotword.info_types)
                for name, hotword in inspect.hotwords.items()
            ),
            *(
                (("inspect", "exclusions", name, "info_types"), exclusion.info_types)
                for name, exclusion in inspect.exclusions.items()
            ),
            *((("rules", name, "info_types"), rule.info_types) for name, rule in self.rules.items()),
            *((("columns", name), info_types) for name, info_types in self.columns.items()),
        ]
        there = {*known, *inspect.custom}
        mistakes = [
            Mistake(
                ("dlp", *key),
                repr(info_type),
                f"an info type of docs/dlp_detection.md or of dlp.inspect.custom{_perhaps(info_type, there)}",
            )
            for key, info_types in named
            for info_type in info_types
            if not any(fnmatchcase(pattern, info_type) for pattern in there)
            # A rule may name what another inspector finds; what is nearly a name of this one is a slip.
            and (key[0] != "rules" or _near(info_type, there))
        ]
        mistakes += [
            Mistake(
                ("dlp", "inspect", "custom", name),
                "a name that an info type of the platform has",
                "a name of its own",
            )
            for name in inspect.custom
            if name in known
        ]
        if inspect.info_types and not set(inspect.info_types) - set(inspect.exclude):
            found = "all of dlp.inspect.info_types"
            mistakes.append(
                Mistake(("dlp", "inspect", "exclude"), found, "that something is left to look for")
            )
        if mistakes:
            document = self._document()
            raise refusal(description_of(document, mistake) for mistake in mistakes)

    def _document(self) -> Document:
        """The configuration as it is now; empty if it cannot be read any more, or is not from a file."""
        if self._file is None:
            return Document(Path("settings without a file"), {})
        try:
            return parse_document(self._file)
        except SettingsError:
            return Document(self._file, {})

    def written_at(self, rule: str, block: str = "rules") -> str:
        """The place where a rule is written, such as `config/dlp.conf line 12`; empty if unknown."""
        document = self._document()
        if rule not in document.content.get("dlp", {}).get(block, {}):
            return ""
        file, line = document.place(("dlp", block, rule))
        return f"{file.parent.name}/{file.name} line {line}"

    def model_post_init(self, context: Any) -> None:
        """Remember the file that these settings were read from."""
        if context and "file" in context:
            self._file = context["file"]


class InspectionSettings(RoomSettings):
    """The key of the inspection."""

    dlp: DlpSettings = Field(default_factory=DlpSettings, description="a block with key, inspect and rules")

    def unshared(self) -> Iterator[Mistake]:
        """Report a key that each machine would make for itself, so that fingerprints would differ."""
        if self.dlp.key is None:
            yield Mistake(("dlp", "key"), "nothing", f"a key that all machines have: {REFERENCES}")

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that no rule of the policy stands behind one that decides everything."""
        dlp = self.dlp
        lowest = _RANKS.index(dlp.inspect.min_likelihood)
        everything = {
            name
            for name, rule in dlp.rules.items()
            if "*" in rule.info_types and "*" in rule.places and _RANKS.index(rule.min_likelihood) <= lowest
        }
        # A column that a rule changes whatever is in it is changed before any other rule is asked.
        asked_first = {
            name
            for name, rule in dlp.rules.items()
            if "*" in rule.info_types and rule.action not in ("allow", "alert", "quarantine", "block")
        }
        yield from _unreached(("dlp", "rules"), dlp.rules, everything - asked_first, asked_first)
        every_problem = {
            name
            for name, rule in dlp.uninspected.items()
            if "*" in rule.problems and "*" in rule.places and len(set(rule.status)) == 2
        }
        yield from _unreached(("dlp", "uninspected"), dlp.uninspected, every_problem, set())


_RANKS = ("VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY")


def _unreached(
    key: tuple[str, ...], rules: Collection[str], everything: set[str], asked_first: set[str]
) -> Iterator[Mistake]:
    names = list(rules)
    last = next((place for place, name in enumerate(names) if name in everything), len(names))
    for name in names[last + 1 :]:
        if name not in asked_first:
            yield Mistake(
                (*key, name),
                f'a rule behind "{names[last]}", which decides everything',
                "a place before it, as the first rule that matches decides",
            )


SETTINGS = InspectionSettings
