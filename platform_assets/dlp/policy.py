"""The policy: rules for findings; the first matching rule decides.

A rule applies to info types, from a likelihood on, in places. The place of an object is
`objects/<watch>/<key>`; the place of a column is its table's asset key and its name:
`totesys/staff.email_address`, `warehouse/dim_staff.email_address`, `uploads/<feed>.<column>`. Objects and
columns that were not inspected, or not completely, have rules of their own: because their content is unknown,
they are blocked by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from platform_assets.dlp.model import Likelihood, Status, Tally
from platform_assets.formats.problems import ProblemKind

Transformation = Literal["mask", "redact", "tokenize", "date_shift", "drop"]


class Action(IntEnum):
    """The actions, from the mildest to the strictest; if several apply, the strictest wins."""

    ALLOW = 1
    """Do nothing: the finding is expected here."""
    ALERT = 2
    """Send an alert; everything goes on."""
    DEIDENTIFY = 3
    """Transform the column on its way to a warehouse. For objects, which are not rewritten, send an alert."""
    BLOCK = 4
    """Do not load the table into a warehouse, or the object into a feed."""
    QUARANTINE = 5
    """Move or tag the object. A column cannot be moved, and is blocked."""


@dataclass(frozen=True)
class Deidentification:
    """The transformation of values.

    Args:
        transformation: The kind of transformation.
        keep_last: For `mask`: number of characters to keep at the end.
        character: For `mask`: the replacement of the other characters.
        replacement: For `redact`: the replacement of the value; None means the info type in brackets.
        prefix: For `tokenize`: the prefix of tokens.
        days: For `date_shift`: the most days by which a date is moved, in either direction.
    """

    transformation: Transformation
    keep_last: int = 0
    character: str = "*"
    replacement: str | None = None
    prefix: str = ""
    days: int = 30


@dataclass(frozen=True)
class Rule:
    """One rule of the policy.

    Args:
        name: Its name, unique in the policy.
        action: Its action.
        info_types: Names of info types or shell patterns; `*` for all.
        min_likelihood: The lowest likelihood that it applies to.
        places: Shell patterns of places; `*` also matches `/` and `.`.
        deidentify: The transformation, if the action is `DEIDENTIFY`.
        source: Its location, such as `config/dlp.conf line 12`, or a function that looks it up when needed;
            empty for default rules.
    """

    name: str
    action: Action
    info_types: tuple[str, ...] = ("*",)
    min_likelihood: Likelihood = Likelihood.POSSIBLE
    places: tuple[str, ...] = ("*",)
    deidentify: Deidentification | None = None
    source: str | Callable[[], str] = ""

    def __post_init__(self) -> None:
        if (self.action is Action.DEIDENTIFY) != (self.deidentify is not None):
            raise ValueError(
                f"rule {self.name}: how to de-identify is given for that action, and for no other"
            )

    def __str__(self) -> str:
        """Return the rule's name and where it is written."""
        return _said(self.name, self.source)

    def matches(self, info_type: str, likelihood: Likelihood, place: str) -> bool:
        """Return True if the rule applies to a finding."""
        return (
            likelihood >= self.min_likelihood
            and any(fnmatchcase(info_type, pattern) for pattern in self.info_types)
            and self.concerns(place)
        )

    @property
    def depends_on_content(self) -> bool:
        """Return True if the column's content matters; it does not to a rule that changes any content."""
        return self.action is not Action.DEIDENTIFY or "*" not in self.info_types

    def concerns(self, place: str) -> bool:
        """Return True if the rule applies in a place."""
        return any(fnmatchcase(place, pattern) for pattern in self.places)


@dataclass(frozen=True)
class UninspectedRule:
    """One rule for what was not inspected, or not completely.

    Args:
        name: Its name, unique among these rules.
        action: Its action; not `DEIDENTIFY`.
        statuses: Statuses of the inspection: `PARTIAL`, `UNREADABLE`.
        problems: Kinds of problems that prevented the inspection, or shell patterns; `*` for all.
        places: Shell patterns of places.
        source: As in `Rule`.
    """

    deidentify: ClassVar[Deidentification | None] = None

    name: str
    action: Action
    statuses: tuple[str, ...] = (Status.PARTIAL, Status.UNREADABLE)
    problems: tuple[str, ...] = ("*",)
    places: tuple[str, ...] = ("*",)
    source: str | Callable[[], str] = ""

    def __post_init__(self) -> None:
        if self.action is Action.DEIDENTIFY:
            raise ValueError(f"rule {self.name}: what was not inspected cannot be de-identified")

    def __str__(self) -> str:
        """Return the rule's name and where it is written."""
        return _said(self.name, self.source)

    def matches(self, status: str, problem: str, place: str) -> bool:
        """Return True if the rule applies to a problem."""
        return (
            status in self.statuses
            and any(fnmatchcase(problem, pattern) for pattern in self.problems)
            and any(fnmatchcase(place, pattern) for pattern in self.places)
        )


def _said(name: str, source: str | Callable[[], str]) -> str:
    where = source if isinstance(source, str) else source()
    return f"{where}, rule {name}" if where else f"rule {name}"


@dataclass(frozen=True)
class Decision:
    """The decision about a finding, an object or a column.

    Args:
        action: The action.
        info_type: The info type that caused it; None if no finding caused it.
        likelihood: The likelihood of the finding.
        rule: The rule that decided; None if none matched: findings are then allowed, and what was not
            inspected is blocked.
    """

    action: Action = Action.ALLOW
    info_type: str | None = None
    likelihood: Likelihood | None = None
    rule: Rule | UninspectedRule | None = None

    @property
    def word(self) -> str:
        """The action as written in the configuration and in tables."""
        return self.action.name.lower()


@dataclass(frozen=True)
class Policy:
    """Rules in order.

    Args:
        rules: Rules for findings; a finding without a matching rule is allowed.
        uninspected: Rules for what was not inspected; without a matching rule it is blocked.
    """

    rules: tuple[Rule, ...] = ()
    uninspected: tuple[UninspectedRule, ...] = ()

    def __post_init__(self) -> None:
        for rules in (self.rules, self.uninspected):
            if len({rule.name for rule in rules}) != len(rules):
                raise ValueError("two rules of the policy have the same name")

    def decide(self, info_type: str, likelihood: Likelihood, place: str) -> Decision:
        """Decide about a finding of an info type in a place."""
        for rule in self.rules:
            if rule.matches(info_type, likelihood, place):
                return Decision(rule.action, info_type, likelihood, rule)
        return Decision(info_type=info_type, likelihood=likelihood)

    def decide_object(self, tallies: Mapping[str, Tally], place: str) -> Decision:
        """Decide about an object: the strictest decision about any of its findings.

        Args:
            tallies: Its findings, by info type.
            place: Its place, `objects/<watch>/<key>`.
        """
        return strictest(self.decide(name, tally.highest, place) for name, tally in tallies.items())

    def decide_uninspected(self, status: Status, problems: Iterable[ProblemKind], place: str) -> Decision:
        """Decide about what was not inspected: the strictest decision about any of its problems.

        Args:
            status: The status of the inspection; INSPECTED needs no decision.
            problems: The kinds of problems that prevented the inspection.
            place: Its place.
        """
        if status is Status.INSPECTED:
            return Decision()
        decisions = []
        kinds: set[str] = {*problems} or {"*"}
        for problem in sorted(kinds):
            rule = next((rule_ for rule_ in self.uninspected if rule_.matches(status, problem, place)), None)
            decisions.append(Decision(rule.action if rule else Action.BLOCK, rule=rule))
        return strictest(decisions)

    def decide_column(self, found: Iterable[tuple[str, Likelihood]], place: str) -> Decision:
        """Decide about a column, by the info types that were found in it.

        A de-identifying rule for all info types applies even without findings: a user who names a column
        knows its content.
        """
        for rule in self.rules:
            if rule.action is Action.DEIDENTIFY and "*" in rule.info_types and rule.concerns(place):
                return Decision(rule.action, None, None, rule)
        return strictest(self.decide(name, likelihood, place) for name, likelihood in found)

    def rules_for_columns(self) -> tuple[Rule, ...]:
        """The rules that can block or change what is loaded into a warehouse."""
        return tuple(rule for rule in self.rules if rule.action >= Action.DEIDENTIFY)


def strictest(decisions: Iterable[Decision]) -> Decision:
    """The decision with the strictest action; among equals that of the most likely finding, then by name."""
    return max(
        decisions,
        key=lambda decision: (decision.action, decision.likelihood or 0, decision.info_type or ""),
        default=Decision(),
    )


def default_rules(expected: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules used if the configuration has none: alert on every unexpected finding.

    Args:
        expected: Places where contact data is expected, such as those of Totesys's staff and counterparties.
    """
    contact = ("EMAIL_ADDRESS", "PHONE_NUMBER", "PERSON_NAME", "STREET_ADDRESS", "DOMAIN_NAME", "URL")
    rules = [Rule("anything else", Action.ALERT)]
    if expected:
        rules.insert(0, Rule("expected contact data", Action.ALLOW, contact, places=tuple(expected)))
    return tuple(rules)
