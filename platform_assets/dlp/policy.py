"""What is to happen with what was found: rules, of which the first that matches decides.

A rule holds for info types, from a likelihood on, in places. The place of an object is
`objects/<watch>/<key>`, that of a column its table's asset key and its name: `totesys/staff.email_address`,
`warehouse/dim_staff.email_address`, `uploads/<feed>.<column>`. What was not inspected, or not as a whole, has
rules of its own: nothing is known of it, so it is blocked where nobody decided otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from platform_assets.dlp.model import Likelihood, ProblemKind, Status, Tally

Transformation = Literal["mask", "redact", "tokenize", "date_shift", "drop"]


class Action(IntEnum):
    """What happens, from the mildest to the strictest: of several, the strictest does."""

    ALLOW = 1
    """Nothing: it is expected here."""
    ALERT = 2
    """Those who are to know are told; everything goes on."""
    DEIDENTIFY = 3
    """The column is transformed on its way to a warehouse. Of objects, which are not rewritten, it alerts."""
    BLOCK = 4
    """The table is not loaded into a warehouse, nor the object into a feed."""
    QUARANTINE = 5
    """The object is moved away, or tagged. A column, which cannot be moved, is blocked."""


@dataclass(frozen=True)
class Deidentification:
    """How values are changed.

    Args:
        transformation: What is done with them.
        keep_last: For `mask`: how many characters at the end stay.
        character: For `mask`: what stands in the others' place.
        replacement: For `redact`: what stands in the value's place; the info type in brackets where None.
        prefix: For `tokenize`: what tokens start with.
        days: For `date_shift`: by how many days a date is moved at the most, either way.
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
        action: What happens.
        info_types: Names of info types or shell patterns; `*` for all.
        min_likelihood: The least likelihood that it holds for.
        places: Shell patterns of places; `*` also matches `/` and `.`.
        deidentify: How, where the action is `DEIDENTIFY`.
        source: Where it is written, such as `config/dlp.conf line 12`, or what looks that up when it is told;
            empty where it is the default's.
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
        """Give the rule's name and where it is written."""
        return _said(self.name, self.source)

    def matches(self, info_type: str, likelihood: Likelihood, place: str) -> bool:
        """Whether the rule holds for a finding."""
        return (
            likelihood >= self.min_likelihood
            and any(fnmatchcase(info_type, pattern) for pattern in self.info_types)
            and self.concerns(place)
        )

    @property
    def asks_what_is_held(self) -> bool:
        """Whether it matters what a column holds; not to a rule that changes it whatever is in it."""
        return self.action is not Action.DEIDENTIFY or "*" not in self.info_types

    def concerns(self, place: str) -> bool:
        """Whether the rule holds in a place."""
        return any(fnmatchcase(place, pattern) for pattern in self.places)


@dataclass(frozen=True)
class UninspectedRule:
    """One rule for what was not inspected, or not as a whole.

    Args:
        name: Its name, unique among these rules.
        action: What happens; not `DEIDENTIFY`.
        statuses: How the inspection ended: `PARTIAL`, `UNREADABLE`.
        problems: Kinds of problems that kept something from being inspected, or shell patterns; `*` for all.
        places: Shell patterns of places.
        source: As of a rule for findings.
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
        """Give the rule's name and where it is written."""
        return _said(self.name, self.source)

    def matches(self, status: str, problem: str, place: str) -> bool:
        """Whether the rule holds for a problem."""
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
    """What happens with a finding, an object or a column.

    Args:
        action: What happens.
        info_type: The info type that it happens for; None where it does not happen for a finding.
        likelihood: How sure that is.
        rule: The rule that decided; None where none matched: what was found is allowed then, and what was not
            inspected is blocked.
    """

    action: Action = Action.ALLOW
    info_type: str | None = None
    likelihood: Likelihood | None = None
    rule: Rule | UninspectedRule | None = None

    @property
    def word(self) -> str:
        """The action as it is written in configuration and tables."""
        return self.action.name.lower()


@dataclass(frozen=True)
class Policy:
    """Rules in their order.

    Args:
        rules: Rules for what was found; what none of them matches is allowed.
        uninspected: Rules for what was not inspected; what none of them matches is blocked.
    """

    rules: tuple[Rule, ...] = ()
    uninspected: tuple[UninspectedRule, ...] = ()

    def __post_init__(self) -> None:
        for rules in (self.rules, self.uninspected):
            if len({rule.name for rule in rules}) != len(rules):
                raise ValueError("two rules of the policy have the same name")

    def decide(self, info_type: str, likelihood: Likelihood, place: str) -> Decision:
        """What happens with a finding of an info type in a place."""
        for rule in self.rules:
            if rule.matches(info_type, likelihood, place):
                return Decision(rule.action, info_type, likelihood, rule)
        return Decision(info_type=info_type, likelihood=likelihood)

    def decide_object(self, tallies: Mapping[str, Tally], place: str) -> Decision:
        """What happens with an object: the strictest of what its findings call for.

        Args:
            tallies: What was found in it, by info type.
            place: Its place, `objects/<watch>/<key>`.
        """
        return strictest(self.decide(name, tally.highest, place) for name, tally in tallies.items())

    def decide_uninspected(self, status: Status, problems: Iterable[ProblemKind], place: str) -> Decision:
        """What happens with what was not inspected: the strictest of what its problems call for.

        Args:
            status: How the inspection ended; one that is INSPECTED calls for nothing.
            problems: The kinds of what kept it from being inspected.
            place: Its place.
        """
        if status is Status.INSPECTED:
            return Decision()
        decisions = []
        kinds: set[str] = {*problems} or {"*"}
        for problem in sorted(kinds):
            rule = next((one for one in self.uninspected if one.matches(status, problem, place)), None)
            decisions.append(Decision(rule.action if rule else Action.BLOCK, rule=rule))
        return strictest(decisions)

    def decide_column(self, found: Iterable[tuple[str, Likelihood]], place: str) -> Decision:
        """What happens with a column, by the info types that were found in it.

        A rule for all info types that de-identifies holds whether anything was found in the column or not:
        whoever names a column knows what is in it.
        """
        for rule in self.rules:
            if rule.action is Action.DEIDENTIFY and "*" in rule.info_types and rule.concerns(place):
                return Decision(rule.action, None, None, rule)
        return strictest(self.decide(name, likelihood, place) for name, likelihood in found)

    def rules_for_columns(self) -> tuple[Rule, ...]:
        """The rules that can block or change what is loaded into a warehouse."""
        return tuple(rule for rule in self.rules if rule.action >= Action.DEIDENTIFY)


def strictest(decisions: Iterable[Decision]) -> Decision:
    """The decision with the strictest action; of several, that of the surest finding, then by name."""
    return max(
        decisions,
        key=lambda one: (one.action, one.likelihood or 0, one.info_type or ""),
        default=Decision(),
    )


def default_rules(expected: Sequence[str] = ()) -> tuple[Rule, ...]:
    """What happens where the configuration has no rules: everything that is not expected is alerted.

    Args:
        expected: Places in which contact data is expected, as those of Totesys's staff and counterparties.
    """
    contact = ("EMAIL_ADDRESS", "PHONE_NUMBER", "PERSON_NAME", "STREET_ADDRESS", "DOMAIN_NAME", "URL")
    rules = [Rule("anything else", Action.ALERT)]
    if expected:
        rules.insert(0, Rule("expected contact data", Action.ALLOW, contact, places=tuple(expected)))
    return tuple(rules)
