"""Every writer keeps the promises of `Writer` and `Transfer`: the same tests over all places."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets_tests.delivery.writers.killed import killed_at
from platform_assets_tests.delivery.writers.places import WRONG, Place, Stage, deliver, opened, writer_of

pytestmark = pytest.mark.sampled(2)

LARGE = random.Random(1).randbytes(20_000_000)
OLDER = random.Random(2).randbytes(20_000_000)


class Interrupted(Exception):
    """The end of an attempt in the middle."""


@pytest.mark.parametrize("content", [b"a;b\n1;2\n", b"", LARGE], ids=["small", "empty", "large"])
def test_a_file_arrives_with_all_its_bytes(place: Place, stage: Stage, content: bytes) -> None:
    file = stage(content)
    seen: list[int] = []
    with opened(place.block()) as transfer:
        receipt = transfer.write(file, seen.append)
    assert place.read(file.name) == content
    assert (receipt.size, receipt.sent, sum(seen)) == (len(content),) * 3
    assert receipt.address.endswith(file.name)


@pytest.mark.parametrize(
    "name",
    ["Kunden & Käufe, März.csv", 'a\'b "c" #1?.csv', "2026/März/01/customers (1).csv", "n" * 200 + ".csv"],
    ids=["letters", "signs", "folders", "long"],
)
def test_names_arrive_as_they_are(place: Place, stage: Stage, name: str) -> None:
    file = stage(b"a;b\n", name)
    deliver(place.block(), file)
    assert place.read(name) == b"a;b\n"
    assert {one.removesuffix(".metadata.json") for one in place.names()} == {name}


@pytest.mark.parametrize("name", ["../out.csv", "/etc/out.csv", "a/../../out.csv", "a//b.csv", "", "a\n.csv"])
def test_a_name_that_leads_out_of_the_destination_is_refused(place: Place, stage: Stage, name: str) -> None:
    with pytest.raises(DeliveryError, match="cannot be used") as error:
        deliver(place.block(), stage(b"a;b\n", name))
    assert not error.value.retryable
    assert place.names() == set()


def test_metadata_come_with_the_file(place: Place, stage: Stage) -> None:
    file = stage(b"a;b\n")
    deliver(place.block(), file)
    assert file.metadata.items() <= place.metadata(file.name).items()


def test_a_sidecar_comes_with_the_file_where_it_is_asked_for(place: Place, stage: Stage) -> None:
    file = stage(b"a;b\n", "in/customers.csv")
    deliver(place.block(), file, sidecar="always")
    assert place.names() == {"in/customers.csv", "in/customers.csv.metadata.json"}


def test_no_sidecar_comes_where_it_is_not_wanted(place: Place, stage: Stage) -> None:
    deliver(place.block(), stage(b"a;b\n"), sidecar="never")
    assert place.names() == {"customers.csv"}


@pytest.mark.parametrize("content", [b"a;b\n1;2\n", LARGE], ids=["small", "large"])
def test_the_same_file_twice_sends_nothing_the_second_time(
    place: Place, stage: Stage, content: bytes
) -> None:
    file = stage(content)
    (first,) = deliver(place.block(), file)
    before = place.names()
    (second,) = deliver(place.block(), file)
    assert (first.sent, second.sent) == (len(content), 0)
    assert (second.address, second.size) == (first.address, first.size)
    assert place.names() == before


@pytest.mark.parametrize("content", [b"1", LARGE], ids=["small", "large"])
def test_a_newer_file_replaces_the_older_one_of_its_name(place: Place, stage: Stage, content: bytes) -> None:
    deliver(place.block(), stage(OLDER, uuid="older"))
    newer = stage(content, uuid="newer")
    (receipt,) = deliver(place.block(), newer)
    assert receipt.sent == len(content)
    assert place.read(newer.name) == content
    assert place.metadata(newer.name)["uuid"] == "newer"


def test_other_bytes_of_the_same_size_are_sent(place: Place, stage: Stage) -> None:
    deliver(place.block(), stage(b"older", uuid="older"))
    deliver(place.block(), stage(b"newer", uuid="newer"))
    assert place.read("customers.csv") == b"newer"


def test_several_files_share_a_connection(place: Place, stage: Stage) -> None:
    files = [stage(str(number).encode(), f"part-{number}.csv") for number in range(5)]
    deliver(place.block(), *files)
    assert [place.read(file.name) for file in files] == [b"0", b"1", b"2", b"3", b"4"]


def test_nobody_sees_half_a_file_under_its_name(place: Place, stage: Stage) -> None:
    deliver(place.block(), stage(OLDER, uuid="older"))
    seen = set()
    calls = itertools.count()
    with opened(place.block()) as transfer:

        def look(sent: int) -> None:
            if next(calls) % 8 == 0:
                seen.add(place.read("customers.csv") in (OLDER, LARGE))

        transfer.write(stage(LARGE, uuid="newer"), look)
    assert seen == {True}


def test_an_attempt_that_ends_in_the_middle_leaves_nothing_that_the_next_one_does_not_clear(
    place: Place, stage: Stage
) -> None:
    file = stage(LARGE)
    clean = _names_after_an_undisturbed_delivery(place, stage)

    def stop(_: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted), opened(place.block()) as transfer:
        transfer.write(file, stop)
    assert place.read(file.name) is None
    deliver(place.block(), file)
    assert place.read(file.name) == LARGE
    assert place.names() - clean == {name.replace("other", "customers") for name in clean}


def test_a_process_that_is_killed_in_the_middle_leaves_no_half_file_and_the_next_attempt_no_second_copy(
    place: Place, stage: Stage
) -> None:
    file = stage(LARGE)
    clean = _names_after_an_undisturbed_delivery(place, stage)
    killed_at(place.block(), file, 9_000_000)
    assert place.read(file.name) is None
    (receipt,) = deliver(place.block(), file)
    assert place.read(file.name) == LARGE
    assert (receipt.sent < len(LARGE)) == place.resumes
    assert place.names() - clean == {name.replace("other", "customers") for name in clean}


@pytest.mark.sampled(3)
def test_other_bytes_after_a_killed_process_are_not_mixed_with_the_first(place: Place, stage: Stage) -> None:
    killed_at(place.block(), stage(OLDER), 9_000_000)
    deliver(place.block(), stage(LARGE))
    assert place.read("customers.csv") == LARGE
    assert {name.removesuffix(".metadata.json") for name in place.names()} == {"customers.csv"}


def test_a_connection_that_breaks_at_90_percent_is_continued_or_replaced(place: Place, stage: Stage) -> None:
    if not place.has_network:
        pytest.skip("no network is in between")
    file = stage(LARGE)
    with (
        place.cut_after(18_000_000) as block,
        pytest.raises(DestinationUnavailable) as error,
        opened(block) as transfer,
    ):
        transfer.write(file, place.progress)
    assert error.value.retryable
    assert place.read(file.name) is None
    (receipt,) = deliver(place.block(), file)
    assert place.read(file.name) == LARGE
    assert (receipt.sent < len(LARGE)) == place.resumes
    assert {name.removesuffix(".metadata.json") for name in place.names()} == {"customers.csv"}


def test_a_server_that_falls_silent_is_given_up(place: Place, stage: Stage) -> None:
    if not place.has_network:
        pytest.skip("no network is in between")
    with (
        place.silent_after(1_000_000) as block,
        pytest.raises(DestinationUnavailable),
        opened(block, timeout=1) as transfer,
    ):
        transfer.write(stage(LARGE), place.progress)
    assert place.read("customers.csv") is None


def test_a_server_that_does_not_listen_is_tried_again_later(place: Place, stage: Stage) -> None:
    if not place.has_network:
        pytest.skip("no network is in between")
    with pytest.raises(DestinationUnavailable) as error:
        deliver(place.unreachable(), stage(b"a;b\n"))
    assert error.value.retryable


def test_wrong_credentials_are_final_and_never_shown(place: Place, stage: Stage) -> None:
    if not place.has_credentials:
        pytest.skip("nobody signs in there")
    with pytest.raises(DeliveryError) as error:
        deliver(place.signed_in_wrongly(), stage(b"a;b\n"))
    assert not error.value.retryable
    assert WRONG not in str(error.value)
    assert place.names() == set()


def test_a_staged_file_that_lost_bytes_is_not_delivered(place: Place, stage: Stage) -> None:
    file = stage(LARGE)
    file.path.write_bytes(LARGE[:-1])
    with pytest.raises(DeliveryError, match="changed"):
        deliver(place.block(), file)
    assert place.read(file.name) is None


def test_the_address_shows_no_credentials(place: Place) -> None:
    writer = writer_of(place.block())
    assert "secret" not in writer.address
    assert "@" not in writer.address or writer.address.startswith("mailto:")


def _names_after_an_undisturbed_delivery(place: Place, stage: Stage) -> set[str]:
    other = stage(LARGE)
    deliver(place.block(), replace(other, name="other.csv"))
    return place.names()
