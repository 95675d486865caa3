"""Which rule decides, and what of several decisions happens."""

from __future__ import annotations

import pytest

from platform_assets.dlp.model import Likelihood, Status, Tally
from platform_assets.dlp.policy import (
    Action,
    Deidentification,
    Policy,
    Rule,
    UninspectedRule,
    default_rules,
    strictest,
)
from platform_assets.formats.problems import ProblemKind

L = Likelihood
MASK = Deidentification("mask", keep_last=4)
STAFF = Rule(
    "staff", Action.ALLOW, ("EMAIL_ADDRESS", "PERSON_*"), places=("totesys/staff.*", "*/dim_staff.*")
)
CARDS = Rule("cards", Action.QUARANTINE, ("CREDIT_CARD_NUMBER",), L.LIKELY, ("objects/*",))
NO_CARDS = Rule(
    "no cards", Action.BLOCK, ("CREDIT_CARD_NUMBER",), places=("star/*",), source="dlp.conf line 7"
)
PHONES = Rule("phones", Action.DEIDENTIFY, ("PHONE_NUMBER",), places=("star/*",), deidentify=MASK)
REST = Rule("rest", Action.ALERT)
POLICY = Policy((STAFF, CARDS, NO_CARDS, PHONES, REST))


@pytest.mark.parametrize(
    ("info_type", "likelihood", "place", "rule"),
    [
        ("EMAIL_ADDRESS", L.VERY_LIKELY, "totesys/staff.email_address", STAFF),
        ("PERSON_NAME", L.POSSIBLE, "warehouse/dim_staff.first_name", STAFF),
        ("EMAIL_ADDRESS", L.POSSIBLE, "totesys/staff_old.email", REST),
        ("CREDIT_CARD_NUMBER", L.LIKELY, "objects/landing/a/b.csv", CARDS),
        ("CREDIT_CARD_NUMBER", L.POSSIBLE, "objects/landing/a/b.csv", REST),
        ("CREDIT_CARD_NUMBER", L.POSSIBLE, "star/dim_design.design_name", NO_CARDS),
        ("PHONE_NUMBER", L.POSSIBLE, "star/dim_location.phone", PHONES),
        ("PHONE_NUMBER", L.UNLIKELY, "star/dim_location.phone", None),
    ],
)
def test_the_first_rule_that_matches_decides(
    info_type: str, likelihood: Likelihood, place: str, rule: Rule | None
) -> None:
    decision = POLICY.decide(info_type, likelihood, place)
    assert decision.rule == rule
    assert decision.action is (rule.action if rule else Action.ALLOW)
    assert (decision.info_type, decision.likelihood) == (info_type, likelihood)


def test_what_no_rule_matches_is_allowed() -> None:
    decision = Policy((CARDS,)).decide("URL", L.VERY_LIKELY, "objects/landing/a")
    assert (decision.action, decision.rule, decision.word) == (Action.ALLOW, None, "allow")


def test_an_object_meets_the_strictest_of_what_its_findings_call_for() -> None:
    found = {"EMAIL_ADDRESS": Tally(9, L.VERY_LIKELY), "CREDIT_CARD_NUMBER": Tally(1, L.LIKELY)}
    decision = POLICY.decide_object(found, "objects/landing/a.csv")
    assert (decision.rule, decision.info_type, decision.word) == (CARDS, "CREDIT_CARD_NUMBER", "quarantine")
    assert POLICY.decide_object({}, "objects/landing/a.csv").action is Action.ALLOW


def test_of_equally_strict_decisions_the_surest_is_told() -> None:
    decisions = [POLICY.decide(name, likelihood, "objects/x/y") for name, likelihood in
                 (("URL", L.POSSIBLE), ("IBAN_CODE", L.VERY_LIKELY), ("IP_ADDRESS", L.LIKELY))]  # fmt: skip
    assert strictest(decisions).info_type == "IBAN_CODE"


def test_a_column_that_a_rule_names_is_de_identified_whatever_was_found_in_it() -> None:
    named = Rule("names", Action.DEIDENTIFY, places=("star/dim_staff.last_name",), deidentify=MASK)
    policy = Policy((REST, named))
    assert policy.decide_column([], "star/dim_staff.last_name").rule == named
    assert policy.decide_column([("PERSON_NAME", L.LIKELY)], "star/dim_staff.last_name").rule == named
    assert policy.decide_column([], "star/dim_staff.first_name").rule is None


def test_only_what_de_identifies_or_blocks_concerns_the_way_to_a_warehouse() -> None:
    assert POLICY.rules_for_columns() == (CARDS, NO_CARDS, PHONES)


def test_a_rule_says_where_it_is_written() -> None:
    assert str(NO_CARDS) == "dlp.conf line 7, rule no cards"
    assert str(REST) == "rule rest"


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="rule x: how to de-identify"):
        Rule("x", Action.DEIDENTIFY)
    with pytest.raises(ValueError, match="rule x: how to de-identify"):
        Rule("x", Action.ALERT, deidentify=MASK)
    with pytest.raises(ValueError, match="same name"):
        Policy((REST, REST))


def test_without_rules_everything_that_is_not_expected_is_told() -> None:
    policy = Policy(default_rules(("totesys/staff.*",)))
    assert policy.decide("EMAIL_ADDRESS", L.LIKELY, "totesys/staff.email_address").action is Action.ALLOW
    assert policy.decide("CREDIT_CARD_NUMBER", L.LIKELY, "totesys/staff.note").action is Action.ALERT
    assert policy.decide("EMAIL_ADDRESS", L.LIKELY, "objects/landing/a").action is Action.ALERT
    assert [rule.name for rule in default_rules()] == ["anything else"]


UNREAD = Policy(
    uninspected=(
        UninspectedRule("pictures", Action.ALLOW, problems=("UNSUPPORTED",), places=("objects/*.png",)),
        UninspectedRule("samples", Action.ALERT, statuses=("PARTIAL",), problems=("SAMPLED",)),
        UninspectedRule("locked", Action.QUARANTINE, problems=("ENC*",)),
    )
)


@pytest.mark.parametrize(
    ("status", "problems", "place", "action", "rule"),
    [
        (Status.INSPECTED, [], "objects/in/a.csv", Action.ALLOW, None),
        (Status.PARTIAL, ["UNSUPPORTED"], "objects/in/a.png", Action.ALLOW, "pictures"),
        (Status.UNREADABLE, ["UNSUPPORTED"], "objects/in/a.png", Action.ALLOW, "pictures"),
        (Status.PARTIAL, ["UNSUPPORTED"], "objects/in/a.pdf", Action.BLOCK, None),
        (Status.PARTIAL, ["UNSUPPORTED", "TRUNCATED"], "objects/in/a.png", Action.BLOCK, None),
        (Status.PARTIAL, ["SAMPLED"], "objects/in/a.csv", Action.ALERT, "samples"),
        (Status.UNREADABLE, ["SAMPLED"], "objects/in/a.csv", Action.BLOCK, None),
        (Status.PARTIAL, ["SAMPLED", "ENCRYPTED"], "objects/in/a.zip", Action.QUARANTINE, "locked"),
        (Status.UNREADABLE, [], "objects/in/a.csv", Action.BLOCK, None),
    ],
)
def test_what_was_not_inspected_has_rules_of_its_own_and_is_blocked_without(
    status: Status, problems: list[str], place: str, action: Action, rule: str | None
) -> None:
    decision = UNREAD.decide_uninspected(status, [ProblemKind(one) for one in problems], place)
    assert decision.action is action
    assert (decision.rule.name if decision.rule else None) == rule


def test_what_was_not_inspected_cannot_be_changed_on_its_way() -> None:
    with pytest.raises(ValueError, match="cannot be de-identified"):
        UninspectedRule("mask it", Action.DEIDENTIFY)
