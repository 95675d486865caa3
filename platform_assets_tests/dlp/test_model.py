"""What an inspection is asked, and what it answers."""

from __future__ import annotations

import pytest

from platform_assets.dlp.model import (
    ColumnVerdict,
    Coverage,
    ExclusionRule,
    Finding,
    Found,
    HotwordRule,
    InfoType,
    InspectConfig,
    InspectResult,
    Likelihood,
    LikelihoodAdjustment,
    Location,
    Range,
    Status,
    Tally,
    merged_tallies,
)


def test_a_likelihood_moves_within_its_scale() -> None:
    assert Likelihood.POSSIBLE.moved(1) is Likelihood.LIKELY
    assert Likelihood.LIKELY.moved(7) is Likelihood.VERY_LIKELY
    assert Likelihood.UNLIKELY.moved(-7) is Likelihood.VERY_UNLIKELY


def test_an_adjustment_is_either_fixed_or_relative() -> None:
    assert (
        LikelihoodAdjustment(fixed_likelihood=Likelihood.LIKELY).of(Likelihood.UNLIKELY) is Likelihood.LIKELY
    )
    assert LikelihoodAdjustment(relative_likelihood=-1).of(Likelihood.LIKELY) is Likelihood.POSSIBLE
    with pytest.raises(ValueError, match="exactly one"):
        LikelihoodAdjustment()
    with pytest.raises(ValueError, match="exactly one"):
        LikelihoodAdjustment(Likelihood.LIKELY, 1)


def test_an_exclusion_excludes_in_exactly_one_way() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        ExclusionRule()
    with pytest.raises(ValueError, match="exactly one"):
        ExclusionRule(exclude_info_types=("URL",), hotword_regex="x")


def test_the_threshold_of_an_info_type_comes_before_the_general_one() -> None:
    config = InspectConfig(min_likelihood_per_info_type={"URL": Likelihood.VERY_LIKELY})
    assert config.threshold("URL") is Likelihood.VERY_LIKELY
    assert config.threshold("EMAIL_ADDRESS") is Likelihood.POSSIBLE


def test_tallies_of_pieces_add_up() -> None:
    one = {"URL": Tally(2, Likelihood.POSSIBLE)}
    other = {"URL": Tally(3, Likelihood.LIKELY), "PASSWORD": Tally(1, Likelihood.UNLIKELY)}
    assert merged_tallies([one, other]) == {
        "URL": Tally(5, Likelihood.LIKELY),
        "PASSWORD": Tally(1, Likelihood.UNLIKELY),
    }


def test_the_highest_likelihood_is_of_all_there_is_and_not_only_of_the_findings_given() -> None:
    tallies = {"URL": Tally(9, Likelihood.POSSIBLE), "PASSWORD": Tally(1, Likelihood.LIKELY)}
    assert InspectResult("x", Status.INSPECTED, tallies=tallies).highest is Likelihood.LIKELY
    assert InspectResult("x", Status.UNREADABLE, "encrypted").highest is None


def test_the_share_of_a_column_without_values_is_nothing() -> None:
    assert ColumnVerdict("c", InfoType("URL"), Likelihood.LIKELY, 0, 0).share == 0.0
    assert ColumnVerdict("c", InfoType("URL"), Likelihood.LIKELY, 8, 2).share == 0.25


def test_a_finding_shows_its_quote_to_nobody_who_prints_it() -> None:
    location = Location(Range(0, 1), Range(0, 1))
    finding = Finding(InfoType("URL"), Likelihood.LIKELY, location, (), "00", quote="what was found")
    assert "what was found" not in repr(finding)
    assert "what was found" not in repr(Found((finding,)))


def test_nothing_is_assumed_of_how_much_there_was() -> None:
    assert Coverage().bytes_total is None
    assert HotwordRule("x", LikelihoodAdjustment(relative_likelihood=1)).proximity.window_before == 50
