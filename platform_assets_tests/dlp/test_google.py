"""The Google inspector, with Google's own client, against a service on loopback that keeps its limits."""

import io
import json
import logging
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.dlp.fingerprints import fingerprint
from platform_assets.dlp.google.access import DlpAccess, DlpSession, DlpUnavailable
from platform_assets.dlp.google.inspector import GoogleInspector
from platform_assets.dlp.google.jobs import CONTENT_UP_TO, GcsObject, GoogleJobs, JobOptions
from platform_assets.dlp.google.messages import likelihood_of, to_google
from platform_assets.dlp.model import (
    CustomInfoType,
    Dictionary,
    Evidence,
    ExclusionRule,
    FindingLimits,
    Found,
    HotwordRule,
    InfoType,
    InspectConfig,
    Inspector,
    InspectResult,
    Likelihood,
    LikelihoodAdjustment,
    MatchingType,
    Proximity,
    Range,
    Regex,
    RuleSet,
    Sensitivity,
    Status,
    Tally,
)
from platform_assets.errors import DlpError, SettingsError
from platform_assets.formats.problems import ProblemKind
from platform_assets_tests.fixtures.dlp_google import (
    LARGEST_REQUEST,
    DlpLocation,
    Failure,
    detectors,
    dlp_location,
    dlp_server,
    dlp_session,
)
from platform_assets_tests.fixtures.properties import examples

__all__ = ["dlp_location", "dlp_server", "dlp_session"]

EMAIL = InspectConfig(info_types=("EMAIL_ADDRESS",))
NO_LIMITS = FindingLimits(10_000_000, 10_000_000)
KEY = random.Random(1).randbytes(32)


def inspector(session: DlpSession, config: InspectConfig = EMAIL, **options: Any) -> GoogleInspector:
    return GoogleInspector(config, KEY, session, **options)


def places(found: Found) -> list[tuple[str, int, int]]:
    return [(one.info_type.name, one.location.byte_range.start, one.location.byte_range.end) for one in found]


# Access


def test_nothing_of_googles_is_imported_before_it_is_used() -> None:
    program = (
        "import sys\n"
        "from platform_assets.dlp.google import access, inspector, jobs, messages\n"
        "access.DlpAccess()\n"
        "print([name for name in sys.modules if name.startswith(('google.', 'grpc', 'proto'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_credentials_that_are_no_key_are_refused_without_being_repeated() -> None:
    secret = "".join(random.choices("abcdefgh", k=24))
    for text in (secret, json.dumps({"private_key": secret}), json.dumps([secret])):
        access = DlpAccess(project="billed", credentials=lambda text=text: text)
        with (
            pytest.raises(DlpError, match="not the JSON of a service account's key") as caught,
            access.connect(),
        ):
            pass
        assert secret not in str(caught.value)
        assert secret not in repr(access)


def test_a_key_that_is_one_names_the_project(tmp_path: Any) -> None:
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import serialization as form

    made = rsa.generate_private_key(65537, 2048)
    pem = made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    key = {
        "type": "service_account",
        "project_id": "of-the-key",
        "private_key": pem,
        "client_email": "scan@of-the-key.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    with DlpAccess(location="eu", credentials=lambda: json.dumps(key)).connect() as session:
        assert session.parent == "projects/of-the-key/locations/eu"


def test_missing_default_credentials_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(DlpError, match="gcloud auth application-default login"), DlpAccess().connect():
        pass


def test_a_session_needs_a_project(dlp_location: DlpLocation) -> None:
    with pytest.raises(DlpError, match="Name the project"), dlp_location.access(project=None).connect():
        pass


# Texts


def test_a_text_gives_findings_with_places_in_bytes_and_code_points(dlp_session: DlpSession) -> None:
    inspect: Inspector = inspector(dlp_session)
    text = "Grüße, 日本 🙂: anna.maier@example.org und 🙂 bo@example.com"
    found = inspect.inspect_text(text.encode(), ("letters.zip", "one.txt"))
    first, second = found
    assert first.info_type == InfoType("EMAIL_ADDRESS", "google", Sensitivity.MODERATE)
    assert first.likelihood is Likelihood.LIKELY
    assert first.evidence == ()
    for finding, value in ((first, "anna.maier@example.org"), (second, "bo@example.com")):
        start = text.index(value)
        place = finding.location
        assert place.codepoint_range == Range(start, start + len(value))
        start = text.encode().index(value.encode())
        assert place.byte_range == Range(start, start + len(value))
        assert place.container == ("letters.zip", "one.txt")
        assert finding.fingerprint == fingerprint(KEY, "EMAIL_ADDRESS", value.encode())
    assert found.tallies == {"EMAIL_ADDRESS": Tally(2, Likelihood.LIKELY)}


def test_google_is_never_asked_for_a_quote_and_one_is_given_where_wanted(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    text = b"write to bo@example.com"
    plain = inspector(dlp_session).inspect_text(text)
    [quoted] = inspector(dlp_session, replace(EMAIL, include_quote=True)).inspect_text(text)
    assert quoted.quote == "bo@example.com"
    assert [finding.quote for finding in plain] == [None]
    assert "bo@example.com" not in repr(plain) + repr(quoted)
    assert [one.inspect_config.include_quote for one in dlp_location.asked("InspectContent")] == [
        False,
        False,
    ]


def test_no_value_is_logged_at_whatever_level(
    dlp_session: DlpSession, dlp_location: DlpLocation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "google")
    secret = f"user{random.randrange(10**12)}@example.com"
    dlp_location.fail("InspectContent", Failure("UNAVAILABLE", "come back later"))
    assert len(inspector(dlp_session).inspect_text(secret.encode())) == 1
    assert len(inspector(dlp_session).inspect_columns({"contact": pa.array([secret])})) == 1
    logged = [json.dumps(vars(record), default=str) for record in caplog.records]
    assert logged
    assert not [line for line in logged if secret in line]


def test_what_is_no_utf8_moves_no_place(dlp_session: DlpSession) -> None:
    text = b"\xff\xfe\x80 caf\xe9 bo@example.com \xc3"
    [finding] = inspector(dlp_session).inspect_text(text)
    start = text.index(b"bo@")
    assert finding.location.byte_range == Range(start, start + 14)
    assert finding.location.codepoint_range == Range(start, start + 14)


@pytest.mark.parametrize("text", [b"", b" \n\t "])
def test_a_text_with_nothing_in_it_is_not_sent(
    text: bytes, dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    assert inspector(dlp_session).inspect_text(text) == Found()
    assert dlp_location.requests == []


def long_text(size: int, seed: int) -> bytes:
    """Words of several bytes a letter with addresses in between, without a line's end."""
    random_ = random.Random(seed)
    words: list[str] = []
    length = 0
    while length < size:
        word = "".join(random_.choices("abcäöü日本語🙂", k=random_.randint(1, 12)))
        if random_.random() < 0.02:
            word = f"user{random_.randrange(10**9)}@example.com"
        words.append(word)
        length += len(word.encode()) + 1
    return " ".join(words).encode()


def test_a_text_beyond_the_limit_is_sent_in_pieces_and_nothing_is_lost_or_found_twice(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    text = long_text(1_700_000, seed=5)
    config = replace(EMAIL, limits=NO_LIMITS)
    found = inspector(dlp_session, config).inspect_text(text)
    expected = [
        (name, start, end) for name, _, start, end, _ in detectors(to_google(config, config.info_types))(text)
    ]
    assert len(expected) > 2_000
    assert places(found) == expected
    decoded = text.decode()
    for finding in found.findings[:: len(found) // 20]:
        place = finding.location
        value = decoded[place.codepoint_range.start : place.codepoint_range.end].encode()
        assert value == text[place.byte_range.start : place.byte_range.end]
    sent = dlp_location.asked("InspectContent")
    assert 4 <= len(sent) <= 6
    assert all(type(one).pb(one).ByteSize() <= LARGEST_REQUEST for one in sent)


def test_a_hotword_in_the_piece_before_still_counts(dlp_session: DlpSession) -> None:
    hotword = HotwordRule("private", LikelihoodAdjustment(relative_likelihood=1), Proximity(50, 0))
    config = replace(EMAIL, rule_set=(RuleSet(("EMAIL_ADDRESS",), (hotword,)),))
    inspect = inspector(dlp_session, config)
    # The address starts where the second piece does.
    room = inspect._text_room
    text = b"x" * (room - 9) + b" private bo@example.com " + b"y" * room
    [finding] = inspect.inspect_text(text)
    assert finding.location.byte_range.start == room
    assert finding.likelihood is Likelihood.VERY_LIKELY


def test_more_findings_than_google_gives_at_once_are_asked_for_in_smaller_pieces(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    text = b" ".join(
        b"10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255) for number in range(9_000)
    )
    config = InspectConfig(info_types=("IP_ADDRESS",), limits=FindingLimits(50, 20))
    found = inspector(dlp_session, config).inspect_text(text)
    assert found.tallies == {"IP_ADDRESS": Tally(9_000, Likelihood.LIKELY)}
    assert len(found) == 20
    assert places(found)[0] == ("IP_ADDRESS", 0, 8)
    assert len(dlp_location.asked("InspectContent")) > 3


def test_the_limits_give_the_first_findings_of_each_info_type_and_count_all(dlp_session: DlpSession) -> None:
    text = b"a@example.com b@example.com c@example.com 10.0.0.1 10.0.0.2"
    config = InspectConfig(info_types=("EMAIL_ADDRESS", "IP_ADDRESS"), limits=FindingLimits(3, 2))
    found = inspector(dlp_session, config).inspect_text(text)
    assert [one.info_type.name for one in found] == ["EMAIL_ADDRESS", "EMAIL_ADDRESS", "IP_ADDRESS"]
    assert {name: tally.count for name, tally in found.tallies.items()} == {
        "EMAIL_ADDRESS": 3,
        "IP_ADDRESS": 2,
    }


# Tables


def test_a_table_gives_findings_by_row_and_column_and_each_value_is_sent_once(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    table = {
        "number": pa.array([1, 2, 3, 4]),
        "contact": pa.array(["bo@example.com", None, "çö: c@example.com", "bo@example.com"]),
        "note": pa.array(["", "none", "", "none"]).dictionary_encode(),
    }
    found = inspector(dlp_session).inspect_columns(table, first_row=100, container=("book.xlsx", "Sheet"))
    seen = [(one.location.row, one.location.column, one.location.byte_range) for one in found]
    assert seen == [
        (100, "contact", Range(0, 14)),
        (102, "contact", Range(6, 19)),
        (103, "contact", Range(0, 14)),
    ]
    assert found.findings[1].location.codepoint_range == Range(4, 17)
    assert found.findings[1].fingerprint == fingerprint(KEY, "EMAIL_ADDRESS", b"c@example.com")
    assert found.findings[0].fingerprint == found.findings[2].fingerprint
    assert {one.location.container for one in found} == {("book.xlsx", "Sheet")}
    assert found.tallies == {"EMAIL_ADDRESS": Tally(3, Likelihood.LIKELY)}
    [verdict] = found.columns
    assert (verdict.column, verdict.info_type.name, verdict.distinct, verdict.matching) == (
        "contact",
        "EMAIL_ADDRESS",
        2,
        2,
    )
    [request] = dlp_location.asked("InspectContent")
    sent = Counter(value.string_value for row in request.item.table.rows for value in row.values)
    assert sent["bo@example.com"] == sent["none"] == 1


def test_a_verdict_says_of_how_many_values_a_column_is_what_it_is(dlp_session: DlpSession) -> None:
    rule = HotwordRule("vip", LikelihoodAdjustment(fixed_likelihood=Likelihood.VERY_LIKELY))
    config = replace(EMAIL, rule_set=(RuleSet(("EMAIL_ADDRESS",), (rule,)),))
    table = {
        "few": pa.array(["vip bo@example.com", "one", "two"]),
        "most": pa.array(["vip bo@example.com", "a@example.com", "b@example.com"]),
        "none": pa.array(["one", "two", "three"]),
    }
    few, most = inspector(dlp_session, config).inspect_columns(table).columns
    assert (few.column, few.likelihood, few.matching, few.distinct) == ("few", Likelihood.LIKELY, 1, 3)
    assert (most.column, most.likelihood, most.share) == ("most", Likelihood.LIKELY, 1.0)


def test_both_inspectors_give_a_value_the_same_fingerprint_and_the_same_sensitivity(
    dlp_session: DlpSession,
) -> None:
    pytest.importorskip("re2")
    from platform_assets.dlp.local.inspector import LocalInspector

    number = " ".join(["4000", "1234", "5678", "901"])
    number += next(digit for digit in "0123456789" if _luhn(number + digit))
    text = f"card number {number}, mail bo@example.com".encode()
    config = InspectConfig(info_types=("CREDIT_CARD_NUMBER", "EMAIL_ADDRESS"))
    here, there = (
        LocalInspector(config, KEY).inspect_text(text),
        inspector(dlp_session, config).inspect_text(text),
    )
    assert places(here) == places(there)
    assert [one.fingerprint for one in here] == [one.fingerprint for one in there]
    assert [one.info_type.sensitivity for one in here] == [one.info_type.sensitivity for one in there]


def _luhn(number: str) -> bool:
    digits = [int(one) for one in number if one.isdigit()][::-1]
    return (sum(digits[::2]) + sum(sum(divmod(2 * one, 10)) for one in digits[1::2])) % 10 == 0


def test_a_columns_name_is_a_hotword_for_its_values(dlp_session: DlpSession) -> None:
    rule = HotwordRule(
        "(?i)card", LikelihoodAdjustment(fixed_likelihood=Likelihood.VERY_LIKELY), Proximity(0, 0)
    )
    config = InspectConfig(
        info_types=("CREDIT_CARD_NUMBER",), rule_set=(RuleSet(("CREDIT_CARD_NUMBER",), (rule,)),)
    )
    digits = " ".join(["4000", "1234", "5678", "9010"])
    found = inspector(dlp_session, config).inspect_columns(
        {"CARD_NO": pa.array([digits]), "x": pa.array([digits])}
    )
    assert [one.likelihood for one in found] == [Likelihood.VERY_LIKELY, Likelihood.LIKELY]
    assert found.findings[0].info_type.sensitivity is Sensitivity.HIGH


@pytest.mark.parametrize("columns", [3, 40])
def test_a_table_beyond_the_limit_of_values_is_sent_in_pieces(
    columns: int, dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    rows = 120_000 // columns
    table = {
        f"column {number}": pa.array([f"u{number}x{row}" for row in range(rows)]) for number in range(columns)
    }
    planted = {("column 1", 0), ("column 2", rows // 2), ("column 0", rows - 1)}
    for name, row in planted:
        values = table[name].to_pylist()
        values[row] = "bo@example.com"
        table[name] = pa.array(values)
    found = inspector(dlp_session).inspect_columns(table)
    assert {(one.location.column, one.location.row) for one in found} == planted
    sent = dlp_location.asked("InspectContent")
    assert 3 <= len(sent) <= 5
    cells = sum(len(row.values) for one in sent for row in one.item.table.rows)
    assert cells == rows * columns


def test_columns_of_very_different_numbers_of_values_go_into_few_requests(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    rows = 30_000
    table: dict[str, Any] = {"id": pa.array(range(rows))}
    table |= {f"few {number}": pa.array([row % number for row in range(rows)]) for number in range(2, 30)}
    table["contact"] = pa.array([f"u{row % 7}@example.com" for row in range(rows)])
    found = inspector(dlp_session).inspect_columns(table)
    assert found.tallies == {"EMAIL_ADDRESS": Tally(rows, Likelihood.LIKELY)}
    assert len(found) == FindingLimits().max_findings_per_info_type
    assert [one.location.row for one in found] == list(range(len(found)))
    assert len(dlp_location.asked("InspectContent")) == 3


def test_a_value_larger_than_a_request_is_inspected_as_a_text(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    large = "x" * 700_000 + " bo@example.com " + "y" * 100_000
    table = {"small": pa.array(["a@example.com", "none"]), "large": pa.array(["none", large])}
    found = inspector(dlp_session).inspect_columns(table)
    assert [(one.location.row, one.location.column, one.location.byte_range.start) for one in found] == [
        (0, "small", 0),
        (1, "large", 700_001),
    ]
    sent = dlp_location.asked("InspectContent")
    assert all(type(one).pb(one).ByteSize() <= LARGEST_REQUEST for one in sent)


def test_more_findings_in_a_table_than_google_gives_at_once_are_asked_for_in_smaller_pieces(
    dlp_session: DlpSession,
) -> None:
    column = pa.array([f"u{number}@example.com" for number in range(7_000)])
    found = inspector(dlp_session).inspect_columns({"contact": column})
    assert found.tallies == {"EMAIL_ADDRESS": Tally(7_000, Likelihood.LIKELY)}


def test_columns_without_a_name_are_told_apart(dlp_session: DlpSession) -> None:
    value = pa.array(["bo@example.com"])
    found = inspector(dlp_session).inspect_columns({"": value, " ": value, "unnamed_": value, "x": value})
    assert [one.location.column for one in found] == ["", " ", "unnamed_", "x"]


def test_a_value_with_more_findings_than_google_gives_at_once_is_inspected_as_a_text(
    dlp_session: DlpSession,
) -> None:
    value = " ".join(f"10.0.{number >> 8}.{number & 255}" for number in range(4_000))
    found = inspector(dlp_session, InspectConfig(info_types=("IP_ADDRESS",))).inspect_columns(
        {"hosts": pa.array(["none", value])}
    )
    assert found.tallies == {"IP_ADDRESS": Tally(4_000, Likelihood.LIKELY)}
    assert {(one.location.row, one.location.column) for one in found} == {(1, "hosts")}


def test_binary_chunked_and_empty_columns_are_inspected_too(dlp_session: DlpSession) -> None:
    table = {
        "binary": pa.array([b"\xff bo@example.com", None]),
        "chunked": pa.chunked_array([["a@example.com"], ["none"]]),
        "nulls": pa.nulls(2),
    }
    found = inspector(dlp_session).inspect_columns(table)
    assert [(one.location.column, one.location.byte_range) for one in found] == [
        ("binary", Range(2, 16)),
        ("chunked", Range(0, 13)),
    ]
    assert inspector(dlp_session).inspect_columns({}) == Found()
    assert inspector(dlp_session).inspect_columns({"none": pa.array([], pa.string())}) == Found()


# Configuration


def test_custom_info_types_and_rules_do_at_google_what_they_say(dlp_session: DlpSession) -> None:
    config = InspectConfig(
        info_types=("EMAIL_ADDRESS",),
        min_likelihood=Likelihood.UNLIKELY,
        min_likelihood_per_info_type={"BADGE": Likelihood.LIKELY},
        custom_info_types=(
            CustomInfoType(
                InfoType("BADGE", "7", Sensitivity.LOW),
                Regex(r"badge (B-\d+)", (1,)),
                Likelihood.POSSIBLE,
                (HotwordRule("staff", LikelihoodAdjustment(relative_likelihood=1), Proximity(20, 0)),),
            ),
            CustomInfoType(InfoType("PROJECT"), Dictionary(("Blue Whale", "Orca"))),
        ),
        rule_set=(
            RuleSet(
                ("EMAIL_ADDRESS",), (ExclusionRule(MatchingType.FULL_MATCH, regex=Regex("no-reply@.*")),)
            ),
            RuleSet(("PROJECT",), (ExclusionRule(dictionary=Dictionary(("orca",))),)),
        ),
    )
    text = b"staff badge B-17, visitor     with     badge B-18; no-reply@example.com; Orca, blue whale"
    found = inspector(dlp_session, config).inspect_text(text)
    assert [(one.info_type, text[slice(*_range(one))], one.evidence) for one in found] == [
        (InfoType("BADGE", "7", Sensitivity.LOW), b"B-17", (Evidence.CUSTOM,)),
        (InfoType("PROJECT"), b"blue whale", (Evidence.DICTIONARY,)),
    ]


def _range(finding: Any) -> tuple[int, int]:
    return finding.location.byte_range.start, finding.location.byte_range.end


NAMES = ("EMAIL_ADDRESS", "IBAN_CODE", "PERSON_NAME", "URL")
names = st.sampled_from(NAMES)
likelihoods = st.sampled_from(Likelihood)
windows = st.builds(Proximity, st.integers(0, 500), st.integers(0, 500))
regexes = st.builds(Regex, st.text("ab[]\\d", min_size=1), st.lists(st.integers(0, 9), max_size=3).map(tuple))
dictionaries = st.builds(Dictionary, st.lists(st.text("xyz", min_size=2), min_size=1, max_size=3).map(tuple))
adjustments = st.builds(LikelihoodAdjustment, likelihoods) | st.builds(
    lambda steps: LikelihoodAdjustment(relative_likelihood=steps), st.integers(-4, 4)
)
hotwords = st.builds(HotwordRule, st.text("ab", min_size=1), adjustments, windows)
matching = st.sampled_from(MatchingType)
exclusions = (
    st.builds(lambda how, one: ExclusionRule(how, dictionary=one), matching, dictionaries)
    | st.builds(lambda how, one: ExclusionRule(how, regex=one), matching, regexes)
    | st.builds(
        lambda how, one: ExclusionRule(how, exclude_info_types=tuple(one)),
        matching,
        st.lists(names, min_size=1),
    )
    | st.builds(
        lambda how, one, near: ExclusionRule(how, hotword_regex=one, proximity=near),
        matching,
        st.text("ab", min_size=1),
        windows,
    )
)
rule_sets = st.builds(
    RuleSet,
    st.lists(names, min_size=1, max_size=3).map(tuple),
    st.lists(hotwords | exclusions, max_size=2).map(tuple),
)
customs = st.builds(
    CustomInfoType,
    st.builds(InfoType, names, st.just("1"), st.sampled_from(Sensitivity)),
    regexes | dictionaries,
    likelihoods,
    st.lists(hotwords, max_size=2).map(tuple),
)
configs = st.builds(
    InspectConfig,
    info_types=st.permutations(NAMES).map(tuple),
    min_likelihood=likelihoods,
    min_likelihood_per_info_type=st.dictionaries(names, likelihoods, max_size=3),
    limits=st.builds(FindingLimits, st.integers(1, 10**6), st.integers(1, 10**6)),
    custom_info_types=st.lists(customs, max_size=3).map(tuple),
    rule_set=st.lists(rule_sets, max_size=3).map(tuple),
)


def told(message: Any) -> InspectConfig:
    """The configuration that a message to Google tells of."""
    limits = message.limits
    return InspectConfig(
        info_types=tuple(one.name for one in message.info_types),
        min_likelihood=likelihood_of(message.min_likelihood),
        min_likelihood_per_info_type={
            one.info_type.name: likelihood_of(one.min_likelihood)
            for one in message.min_likelihood_per_info_type
        },
        limits=FindingLimits(limits.max_findings_per_item, limits.max_findings_per_info_type[0].max_findings),
        include_quote=message.include_quote,
        custom_info_types=tuple(
            CustomInfoType(
                InfoType(one.info_type.name, "1", Sensitivity(int(one.sensitivity_score.score))),
                told_pattern(one),
                likelihood_of(one.likelihood),
                tuple(told_hotword(rule.hotword_rule) for rule in one.detection_rules),
            )
            for one in message.custom_info_types
        ),
        rule_set=tuple(
            RuleSet(tuple(name.name for name in one.info_types), tuple(map(told_rule, one.rules)))
            for one in message.rule_set
        ),
    )


def told_pattern(message: Any) -> Regex | Dictionary:
    if "regex" in message:
        return Regex(message.regex.pattern, tuple(message.regex.group_indexes))
    return Dictionary(tuple(message.dictionary.word_list.words))


def told_proximity(message: Any) -> Proximity:
    return Proximity(message.window_before, message.window_after)


def told_hotword(message: Any) -> HotwordRule:
    adjustment = message.likelihood_adjustment
    return HotwordRule(
        message.hotword_regex.pattern,
        LikelihoodAdjustment(fixed_likelihood=likelihood_of(adjustment.fixed_likelihood))
        if "fixed_likelihood" in adjustment
        else LikelihoodAdjustment(relative_likelihood=adjustment.relative_likelihood),
        told_proximity(message.proximity),
    )


def told_rule(message: Any) -> HotwordRule | ExclusionRule:
    if "hotword_rule" in message:
        return told_hotword(message.hotword_rule)
    rule = message.exclusion_rule
    matching_type = MatchingType[rule.matching_type.name.removeprefix("MATCHING_TYPE_")]
    if "exclude_info_types" in rule:
        names = tuple(one.name for one in rule.exclude_info_types.info_types)
        return ExclusionRule(matching_type, exclude_info_types=names)
    if "exclude_by_hotword" in rule:
        excluded = rule.exclude_by_hotword
        near = told_proximity(excluded.proximity)
        return ExclusionRule(matching_type, hotword_regex=excluded.hotword_regex.pattern, proximity=near)
    pattern = told_pattern(rule)
    if isinstance(pattern, Regex):
        return ExclusionRule(matching_type, regex=pattern)
    return ExclusionRule(matching_type, dictionary=pattern)


@given(configs)
@settings(max_examples=examples(40), deadline=None)
def test_google_is_told_all_of_a_configuration(config: InspectConfig) -> None:
    pytest.importorskip("google.cloud.dlp_v2")
    assert told(to_google(config, config.info_types, has_limits=True)) == config


def test_a_configuration_beyond_googles_limits_is_refused_with_all_that_is(dlp_session: DlpSession) -> None:
    far = HotwordRule("x", LikelihoodAdjustment(relative_likelihood=1), Proximity(900, 200))
    config = replace(
        EMAIL,
        custom_info_types=(
            CustomInfoType(InfoType("SHORT"), Dictionary(("a-",))),
            CustomInfoType(InfoType("GROUPS"), Regex("x", (1, 2, 3, 4))),
        ),
        rule_set=(RuleSet(("EMAIL_ADDRESS",), (far,) * 11),),
    )
    with pytest.raises(DlpError) as caught:
        inspector(dlp_session, config).inspect_text(b"text")
    for part in (
        "SHORT needs words",
        "GROUPS has 4 groups",
        "set 1 has 11 rules",
        "more than 1000 characters",
    ):
        assert part in str(caught.value)


def test_a_configuration_that_leaves_no_room_for_text_is_refused(dlp_session: DlpSession) -> None:
    words = tuple(f"word number {number}" for number in range(25_000))
    config = replace(EMAIL, custom_info_types=(CustomInfoType(InfoType("WORDS"), Dictionary(words)),))
    with pytest.raises(DlpError, match="Shorten its lists of words"):
        inspector(dlp_session, config).inspect_text(b"text")


def test_info_types_that_google_has_not_are_named_before_any_text_is_sent(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    config = InspectConfig(info_types=("EMAIL_ADDRESS", "TULIP_BULB", "ACORN"))
    with pytest.raises(DlpError, match=r": ACORN, TULIP_BULB\."):
        inspector(dlp_session, config).inspect_text(b"text")
    assert dlp_location.asked("InspectContent") == []


def test_without_names_the_platforms_own_default_is_looked_for_as_far_as_google_has_it(
    dlp_session: DlpSession,
) -> None:
    names = dlp_session.looked_for(InspectConfig(exclude_info_types=("PERSON_NAME",)))
    assert set(names) == {"CREDIT_CARD_NUMBER", "EMAIL_ADDRESS", "IP_ADDRESS"}


def test_an_inspection_for_nothing_is_refused(dlp_session: DlpSession) -> None:
    config = replace(EMAIL, exclude_info_types=("EMAIL_ADDRESS",))
    with pytest.raises(DlpError, match="nothing to look for"):
        inspector(dlp_session, config).inspect_text(b"text")


def test_thresholds_and_rules_for_what_is_not_looked_for_are_not_sent(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    rule = ExclusionRule(regex=Regex("no-reply@.*"))
    config = InspectConfig(
        min_likelihood_per_info_type={"SLACK_TOKEN": Likelihood.LIKELY},
        rule_set=(RuleSet(("SLACK_TOKEN", "EMAIL_ADDRESS"), (rule,)), RuleSet(("SLACK_TOKEN",), (rule,))),
    )
    assert len(inspector(dlp_session, config).inspect_text(b"no-reply@example.com bo@example.com")) == 1
    [request] = dlp_location.asked("InspectContent")
    sent = request.inspect_config
    assert not sent.min_likelihood_per_info_type
    assert [[one.name for one in rules.info_types] for rules in sent.rule_set] == [["EMAIL_ADDRESS"]]


def test_a_key_that_could_be_guessed_is_refused(dlp_session: DlpSession) -> None:
    with pytest.raises(SettingsError, match="has 15 bytes; give at least 16"):
        GoogleInspector(EMAIL, KEY[:15], dlp_session)
    assert str(KEY) not in repr(inspector(dlp_session))


def test_excluded_info_types_are_left_out_of_rules_and_customs_too(dlp_session: DlpSession) -> None:
    config = InspectConfig(
        info_types=("EMAIL_ADDRESS", "IP_ADDRESS"),
        min_likelihood_per_info_type={"IP_ADDRESS": Likelihood.LIKELY},
        exclude_info_types=("IP_ADDRESS", "WORD"),
        custom_info_types=(CustomInfoType(InfoType("WORD"), Dictionary(("whale",))),),
        rule_set=(RuleSet(("IP_ADDRESS",), (ExclusionRule(regex=Regex("10.*")),)),),
    )
    found = inspector(dlp_session, config).inspect_text(b"whale 10.0.0.1 bo@example.com")
    assert list(found.tallies) == ["EMAIL_ADDRESS"]


# Errors


def test_what_passes_is_asked_again(dlp_session: DlpSession, dlp_location: DlpLocation) -> None:
    codes = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED")
    dlp_location.fail("InspectContent", *(Failure(code, "come back later") for code in codes))
    assert len(inspector(dlp_session).inspect_text(b"bo@example.com")) == 1
    assert len(dlp_location.asked("InspectContent")) == 6


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("RESOURCE_EXHAUSTED", "quota is used up"),
        ("UNAVAILABLE", "network"),
        ("DEADLINE_EXCEEDED", "network"),
    ],
)
def test_what_does_not_pass_in_time_can_be_tried_again_later(
    code: str, hint: str, dlp_location: DlpLocation
) -> None:
    dlp_location.fail("InspectContent", *[Failure(code, "come back later")] * 500)
    access = dlp_location.access(retry_for=0.2)
    with access.connect() as session, pytest.raises(DlpUnavailable, match=hint) as caught:
        inspector(session).inspect_text(b"bo@example.com")
    assert caught.value.retryable
    assert "within 0.2 s: come back later" in str(caught.value)
    assert "bo@example.com" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            Failure(
                "INVALID_ARGUMENT",
                "Request is invalid",
                fields=(("inspect_config.rule_set[0]", "unknown info type"),),
            ),
            r"invalid\. It names inspect_config\.rule_set\[0\]: unknown info type\. Correct",
        ),
        (Failure("INVALID_ARGUMENT", "Bad pattern"), r"Bad pattern\. Correct the named fields"),
        (Failure("PERMISSION_DENIED", "dlp.content.inspect is missing"), "--role=roles/dlp.user"),
        (
            Failure("PERMISSION_DENIED", "API disabled", reason="SERVICE_DISABLED"),
            "gcloud services enable dlp.googleapis.com --project=billed",
        ),
        (Failure("UNAUTHENTICATED", "who are you"), "check the key"),
        (Failure("NOT_FOUND", "no such project"), "Check the project billed"),
        (Failure("FAILED_PRECONDITION", "enable billing"), "Meet this condition"),
        (Failure("UNIMPLEMENTED", "not here"), "not here"),
    ],
)
def test_what_does_not_pass_says_what_to_do_and_is_not_asked_again(
    failure: Failure, said: str, dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    dlp_location.fail("InspectContent", failure)
    with pytest.raises(DlpError, match=said):
        inspector(dlp_session).inspect_text(b"bo@example.com")
    assert len(dlp_location.asked("InspectContent")) == 1


def test_one_refused_piece_of_many_fails_the_whole(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    dlp_location.fail("InspectContent", None, Failure("PERMISSION_DENIED", "taken away"))
    with pytest.raises(DlpError, match="taken away"):
        inspector(dlp_session).inspect_text(long_text(1_500_000, seed=1))


def test_a_service_that_is_not_there_is_told(dlp_location: DlpLocation) -> None:
    access = dlp_location.access(endpoint="http://127.0.0.1:9", retry_for=0.3)
    with access.connect() as session, pytest.raises(DlpUnavailable, match="list its info types within"):
        inspector(session).inspect_text(b"bo@example.com")


# Jobs


def gcs(name: str = "uploads/large.csv", generation: str = "1", size: int | None = None) -> GcsObject:
    return GcsObject("bucket", name, generation, size)


@pytest.fixture
def waits() -> list[float]:
    """The waits between two looks at a job."""
    return []


@pytest.fixture
def jobs(dlp_session: DlpSession, waits: list[float]) -> Callable[..., GoogleJobs]:
    def make(config: InspectConfig = EMAIL, **options: Any) -> GoogleJobs:
        return GoogleJobs(config, dlp_session, **({"sleep": waits.append} | options))

    return make


def test_a_job_counts_what_is_in_an_object_and_tells_a_topic(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    content = b"bo@example.com, a@example.com"
    dlp_location.objects = {gcs().uri: content, "gs://bucket/uploads/large.csv2": b"x@example.com"}
    topic = "projects/billed/topics/inspected"
    config = replace(EMAIL, min_likelihood_per_info_type={"EMAIL_ADDRESS": Likelihood.LIKELY})
    result = jobs(config, options=JobOptions(topic=topic)).inspect([gcs()])
    assert result.name == "gs://bucket/uploads/large.csv"
    assert (result.status, result.reason, result.problems) == (Status.INSPECTED, "", ())
    assert result.tallies == {"EMAIL_ADDRESS": Tally(2, Likelihood.LIKELY)}
    assert result.findings == ()
    assert (result.coverage.bytes_inspected, result.coverage.parts_inspected) == (len(content), 1)
    [name] = dlp_location.jobs
    assert dlp_location.published == [(topic, name)]
    assert jobs().result(name) == result
    [request] = dlp_location.asked("CreateDlpJob")
    assert not request.inspect_job.inspect_config.include_quote
    assert not request.inspect_job.inspect_config.limits.max_findings_per_item
    assert re.fullmatch(r"[a-zA-Z\d\-_]{1,100}", request.job_id)


def test_a_job_is_looked_at_less_and_less_often_until_it_is_done(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation, waits: list[float]
) -> None:
    dlp_location.objects = {gcs().uri: b"nothing in here"}
    dlp_location.states = ("PENDING", "PENDING", "RUNNING", "RUNNING", "RUNNING", "ACTIVE", "DONE")
    result = jobs(first_wait=2, longest_wait=6).inspect([gcs()])
    assert (result.status, result.tallies) == (Status.INSPECTED, {})
    assert waits == [2, 3, 4.5, 6, 6, 6]


def test_several_objects_are_named_exactly_whatever_is_in_their_names(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    names = ["a.csv", "b (1)+[x]{2}^$|.csv", "ö/日本?.txt", "star*", "slash/", r"back\slash"]
    objects = [gcs(name) for name in names]
    dlp_location.objects = {one.uri: b"bo@example.com" for one in objects}
    dlp_location.objects |= {
        f"gs://bucket/{name}": b"x@example.com" for name in ("aXcsv", "starry", "slash/b")
    }
    result = jobs().inspect(objects)
    assert result.tallies == {"EMAIL_ADDRESS": Tally(6, Likelihood.POSSIBLE)}
    assert (result.name, result.coverage.parts_inspected) == ("gs://bucket (6 objects)", 6)
    for one in objects:
        single = jobs().inspect([one])
        assert (single.name, single.tallies) == (one.uri, {"EMAIL_ADDRESS": Tally(1, Likelihood.POSSIBLE)})


@pytest.mark.parametrize(("state", "word"), [("FAILED", "failed"), ("CANCELED", "was cancelled")])
def test_a_job_that_did_not_end_well_is_never_taken_for_clean(
    state: str, word: str, jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com"}
    dlp_location.states = ("RUNNING", state)
    dlp_location.job_errors = ("The bucket cannot be read.\nDetails",)
    result = jobs().inspect([gcs()])
    assert result.status is (Status.UNREADABLE if state == "FAILED" else Status.PARTIAL)
    assert word in result.reason
    assert [one.kind for one in result.problems] == [ProblemKind.UNREACHABLE] * 2
    assert result.problems[1].message.endswith("reports: The bucket cannot be read.")
    assert result.coverage.parts_inspected == 0


def test_a_job_that_is_done_with_errors_is_partial(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com"}
    dlp_location.job_errors = ("One file is broken",)
    result = jobs().inspect([gcs()])
    assert (result.status, result.tallies["EMAIL_ADDRESS"].count) == (Status.PARTIAL, 1)


def test_an_object_that_is_gone_is_unreadable_and_an_empty_one_needs_no_job(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    result = jobs().inspect([gcs(size=10)])
    assert result.status is Status.UNREADABLE
    assert "the object does not exist" in result.reason
    made = len(dlp_location.jobs)
    assert jobs().inspect([gcs(size=0)]).status is Status.INSPECTED
    assert len(dlp_location.jobs) == made


def test_the_same_version_and_configuration_is_one_job_however_often_it_is_asked_for(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com"}
    assert jobs().inspect([gcs()]) == jobs().inspect([gcs()])
    assert len(dlp_location.jobs) == 1
    assert len(dlp_location.asked("CreateDlpJob")) == 2
    jobs().start([gcs(generation="2")])
    jobs(replace(EMAIL, min_likelihood=Likelihood.LIKELY)).start([gcs()])
    jobs(options=JobOptions(topic="projects/billed/topics/other")).start([gcs()])
    assert len(dlp_location.jobs) == 4


@pytest.mark.parametrize("prefix", ["i-", ""])
def test_a_job_is_found_again_however_google_makes_its_name(
    prefix: str, jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.prefix = prefix
    assert jobs().start([gcs()]) == jobs().start([gcs()])


def test_a_lost_answer_makes_no_second_job(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com"}
    first = jobs().start([gcs()])
    dlp_location.fail("CreateDlpJob", Failure("UNAVAILABLE", "connection reset"))
    assert jobs().start([gcs()]) == first
    assert len(dlp_location.jobs) == 1


def test_a_job_that_takes_too_long_goes_on_and_the_next_attempt_waits_for_it(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com"}
    dlp_location.states = ("RUNNING",)
    with pytest.raises(DlpUnavailable, match=r"is still RUNNING after 0 s\. It continues") as caught:
        jobs(wait_for=0).inspect([gcs()])
    assert caught.value.retryable
    [name] = dlp_location.jobs
    assert jobs().result(name) is None
    dlp_location.jobs[name][1].append("DONE")
    assert jobs(wait_for=0).inspect([gcs()]).status is Status.INSPECTED
    assert list(dlp_location.jobs) == [name]


def test_a_job_that_failed_before_is_done_again_up_to_ten_times(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com"}
    dlp_location.states = ("FAILED",)
    for _ in range(10):
        assert jobs().inspect([gcs()]).status is Status.UNREADABLE
    assert len(dlp_location.jobs) == 10
    with pytest.raises(DlpError, match="10 jobs for it failed or were cancelled"):
        jobs().inspect([gcs()])
    dlp_location.states = ("DONE",)
    assert jobs().inspect([gcs(generation="2")]).status is Status.INSPECTED


def test_a_sampled_or_limited_job_is_partial_and_says_so(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com " * 10}
    options = JobOptions(bytes_per_object=45)
    cut = jobs(options=options).inspect([gcs(size=150)])
    assert (cut.status, cut.tallies["EMAIL_ADDRESS"].count) == (Status.PARTIAL, 3)
    assert [one.kind for one in cut.problems] == [ProblemKind.SAMPLED]
    assert jobs(options=options).inspect([gcs(generation="2", size=45)]).status is Status.INSPECTED
    limited = jobs(replace(EMAIL, limits=FindingLimits(5, 5)), options=JobOptions(is_limited=True))
    assert [one.kind for one in limited.inspect([gcs()]).problems] == [ProblemKind.TOO_MANY_FINDINGS]


def test_findings_go_to_a_table_where_one_is_named(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.objects = {gcs().uri: b"bo@example.com"}
    jobs(options=JobOptions(findings_table="billed.dlp.found")).start([gcs()])
    [request] = dlp_location.asked("CreateDlpJob")
    table = request.inspect_job.actions[0].save_findings.output_config.table
    assert (table.project_id, table.dataset_id, table.table_id) == ("billed", "dlp", "found")
    with pytest.raises(DlpError, match=r"PROJECT\.DATASET\.TABLE"):
        jobs(options=JobOptions(findings_table="found")).start([gcs()])


def test_objects_that_do_not_fit_into_one_job_are_refused(jobs: Callable[..., GoogleJobs]) -> None:
    with pytest.raises(DlpError, match="these are in 2 buckets"):
        jobs().start([gcs(), GcsObject("other", "x.csv", "1")])
    with pytest.raises(DlpError, match="Start jobs with fewer objects"):
        jobs().start([gcs(f"{number:0>100}.csv") for number in range(6_000)])


def test_a_refused_job_says_for_which_object(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    dlp_location.fail("CreateDlpJob", Failure("PERMISSION_DENIED", "dlp.jobs.create is missing"))
    with pytest.raises(DlpError, match=r"inspects gs://bucket/uploads/large\.csv: dlp\.jobs\.create"):
        jobs().start([gcs()])
    with pytest.raises(DlpError, match="look at the job"):
        jobs().result(f"projects/billed/locations/{dlp_location.name}/dlpJobs/i-none")


def test_unfinished_jobs_are_listed_page_by_page_without_those_that_ended(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation, dlp_session: DlpSession
) -> None:
    dlp_location.states = ("RUNNING",)
    names = {jobs().start([gcs(f"{number}.csv")]) for number in range(5)}
    dlp_session.client.create_dlp_job(
        request={"parent": dlp_session.parent, "inspect_job": {}, "job_id": "somebody-elses"}
    )
    assert set(jobs().unfinished()) == names
    assert len(dlp_location.asked("ListDlpJobs")) == 3
    gone = min(names)
    dlp_session.client.cancel_dlp_job(request={"name": gone})
    assert set(jobs().unfinished()) == names - {gone}
    result = jobs().result(gone)
    assert result is not None
    assert result.status is not Status.INSPECTED


def test_small_and_compressed_objects_are_inspected_by_content_and_large_ones_by_a_job(
    jobs: Callable[..., GoogleJobs], dlp_location: DlpLocation
) -> None:
    by_content = InspectResult("by content", Status.INSPECTED)
    for one, is_content in (
        (gcs("a.csv", size=CONTENT_UP_TO), True),
        (gcs("a.csv", size=CONTENT_UP_TO + 1), False),
        (gcs("a.csv", size=None), False),
        (gcs("A.PARQUET", size=10**9), True),
        (gcs("a.csv.gz", size=10**9), True),
    ):
        dlp_location.objects[one.uri] = b"bo@example.com"
        assert (jobs().inspect_object(one, lambda: by_content) is by_content) is is_content, one


def test_a_whole_object_is_scanned_with_it_as_with_the_local_one(
    dlp_session: DlpSession, dlp_location: DlpLocation
) -> None:
    from platform_assets.dlp.scan import scan_object

    table = "id,mail\n" + "".join(f"{number},u{number}@example.com\n" for number in range(2_500))
    result = scan_object(io.BytesIO(table.encode()), "gs://bucket/people.csv", inspector(dlp_session))
    assert (result.status, result.tallies) == (
        Status.INSPECTED,
        {"EMAIL_ADDRESS": Tally(2_500, Likelihood.LIKELY)},
    )
    assert [(one.column, one.share) for one in result.columns] == [("mail", 1.0)]
    assert len(dlp_location.asked("InspectContent")) < 10

    dlp_location.fail("InspectContent", Failure("PERMISSION_DENIED", "taken away"))
    with pytest.raises(DlpError, match="taken away"):
        scan_object(io.BytesIO(table.encode()), "gs://bucket/people.csv", inspector(dlp_session))
