"""Contact data that is public on purpose or nobody's is at most POSSIBLE; that of customers is LIKELY."""

from __future__ import annotations

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, Likelihood

LIKELY, POSSIBLE = Likelihood.LIKELY, Likelihood.POSSIBLE


@pytest.fixture(scope="module")
def usual() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def highest(inspector: LocalInspector, text: str, info_type: str) -> Likelihood | None:
    """The highest likelihood of an info type in a text."""
    tally = inspector.inspect_text(text.encode()).tallies.get(info_type)
    return tally.highest if tally else None


@pytest.mark.parametrize(
    "text",
    [
        "# Copyright (C) 2007 Barry Pederson <bp@barryp.org>",
        " * based on the program, by Daniel.Stone@stone-house.net",
        "ann@stone-house.net (4):\n      Documentation: unify options",
        "Subject: C=US, O=Stone, CN=Ann Stone/emailAddress=ann@stone-house.net",
        "I'd be happy to hear from you at\n<ann@stone-house.net>.",
        "First authored by Jay Stone (jay@stone-house.net)\nand later modified by Tom (tom@stone-house.net)",
        "see https://archive.stone-house.net/git/20160419091055.GF2345@stone-house.net/",
        '<a href="mailto:ann@stone-house.net">ann@stone-house.net</a>',
        "the e-mail address of the user: user@domain.tld",
        "send an e-mail: friend@mydomain.com",
        "#  Author  :  Ann Stone\n#  Email   :  ann@stone-house.net",
        "This notice may not be removed.\n\n  Ann Stone    ann@stone-house.net\n",
        '.filter(a1.email_address == "ed@foo.com")',
        "/* the header\n *\n * ann@stone-house.net\n */",
        "Copyright:\n 2014 ann@stone-house.net\nLicense: BSL",
        "ask stone@packages.stone-house.net",
        "an e-mail: foo@bar.com",
        "".join(f"- {verb} the parser\n" for verb in ("fix", "add", "remove", "update") * 2)
        + "- sanity check, thanks [ann@stone-house.net]\n",
        "   2014 Michael Adam <obnox@samba.org>",
        "Copyright Christian Klein (chrikle@berlios.de)",
        "Author-email: Paul Moore <p.f.moore@gmail.com>",
        "Maintainer: Ann Stone <ann@stone-house.net>",
        '__email__ = "joe@bitworking.org"',
        'authors = [{name = "Ann", email = "ann@stone-house.net"}]',
        " -- Aron Xu <aron@debian.org>  Mon, 25 Aug 2025 19:30:10 +0800",
        "2019-01-15  Daniel Le  <greenrecyclebin@gmail.com>",
        "Fri Oct  4 12:22:58 1996  Angela Marie Thomas (angela@cygnus.com)",
        "* Wed Jan 03 2024 Ann Stone <ann@stone-house.net> - 1.2-3",
        "    Signed-off-by: Petr Novak <petr@true.cz>",
        "Co-authored-by: Ann Stone <ann@stone-house.net>",
        "  - Applied dtd2pm.pl patches from <peterm@zeta.org.au>.",
        "\t  - fix spotted by\n\t  <rsk@gsp.org>).",
        "Federico Mena     <quartic@gtk.org>",
        "%% Written by ann@stone-house.net",
        '<p>Logo by <a href="mailto:liyanage@access.ch">Marc</a>.</p>',
        "Report bugs to <bug-grep@gnu.org>.",
        "write to support@stone-house.net",
        "write to postgresql-hackers@lists.stone-house.net",
        "Contact noreply@stone-house.net",
        "my-app@appspot.gserviceaccount.com",
        "12+ann@users.noreply.github.com",
        "mail alice@example.com",
        "email: bob@shop.example, eve@mail.example.org and joe@x.test",
        "run as user@host.com or foo@bar.com",
        "your.name@gmail.com",
        "CloudOwner@gve.local",
        "Replace the email. For example cloudysky@gmail.com becomes XXXXX@gmail.com",
        "# bio.pl mikem@open.com.au",
        "// Ann Stone (ann@stone-house.net)",
        "E-mail: info@stone-house.net",
        "Message-ID: <545627C2.3050608@recorder.com>",
    ],
)
def test_addresses_of_authors_roles_and_examples_are_possible(text: str, usual: LocalInspector) -> None:
    assert highest(usual, text, "EMAIL_ADDRESS") == POSSIBLE


@pytest.mark.parametrize(
    "text",
    [
        "Please write to ann.smith@gmail.com about the order.",
        "From: Ann Smith <ann.smith@gmail.com>\nTo: bob@stone-house.net\n\nHello",
        "Refund requested by ann.smith@gmail.com on Monday",
        "order created by ann.smith@gmail.com",
        "2024-03-01 10:12:13 INFO login user=ann.smith@gmail.com ok",
        "INSERT INTO customer VALUES (12, 'ann.smith@gmail.com');",
        "ann.smith@gmail.com",
        "Thanks, Ann (ann.smith@gmail.com)",
        "my email address is gary@somedomain.com",
        "customer: ann.smith@gmail.com / bob@stone-house.net",
    ],
)
def test_addresses_of_customers_are_likely(text: str, usual: LocalInspector) -> None:
    found = highest(usual, text, "EMAIL_ADDRESS")
    assert found is not None
    assert found >= LIKELY


@pytest.mark.parametrize(
    "text",
    ["po/en@shaw.po", "getty@tty1.service", "import x@google.golang.org/genproto/type/q;q", "logo@2x.webp"],
)
def test_files_units_and_packages_are_no_addresses(text: str, usual: LocalInspector) -> None:
    assert highest(usual, text, "EMAIL_ADDRESS") is None


def test_addresses_of_a_list_of_authors_are_judged_together(usual: LocalInspector) -> None:
    people = "".join(f"Ann Stone{n} <ann{n}@stone{n}-house.net>\n" for n in range(9))
    assert highest(usual, people + "zoe@stone-house.net", "EMAIL_ADDRESS") == POSSIBLE
    thanks = "Thanks go to these people, who contributed.\n"
    two = "Zoe Moe                zoe@stone-house.net\n"
    assert highest(usual, thanks + two, "EMAIL_ADDRESS") == POSSIBLE
    assert highest(usual, two, "EMAIL_ADDRESS") == LIKELY
    licensed = "Redistribution and use in source and binary forms are permitted.\nzoe@stone-house.net\n"
    assert highest(usual, licensed, "EMAIL_ADDRESS") == POSSIBLE


def test_a_column_of_addresses_is_likely_whoever_has_them(usual: LocalInspector) -> None:
    values = ["ann@example.com", "info@stone-house.net", "bob@foo.com"]
    (verdict,) = usual.inspect_columns({"email": pa.array(values)}).columns
    assert (verdict.info_type.name, verdict.likelihood) == ("EMAIL_ADDRESS", Likelihood.VERY_LIKELY)
    authors = ["Ann Stone <ann@stone-house.net>", "Bob Moe <bob@stone-house.net>"]
    tallies = usual.inspect_columns({"components[].author": pa.array(authors)}).tallies
    assert tallies["EMAIL_ADDRESS"].highest == POSSIBLE
    contacts = [f"Ann Stone <ann{n}@stone-house.net>" for n in range(4)]
    (verdict,) = usual.inspect_columns({"c1": pa.array(contacts)}).columns[:1]
    assert (verdict.info_type.name, verdict.likelihood) == ("EMAIL_ADDRESS", LIKELY)


def test_names_need_a_word_or_a_title_to_be_likely_and_authors_are_not(usual: LocalInspector) -> None:
    for text in (
        "patch from Ann Smith to fix it",
        "fix strictEqual (Maria Garcia) [#23508]",
        "Upstream-Contact: Ann Smith",
        "I'm In Love",
        "hired as Sr. Project Manager",
        "Contributions from: Dr. Ann Smith, Prof. Bob Moe",
        "2022-03-05  Dr. Werner Fink  <werner@suse.de>",
        '"name": "John Smith",',
    ):
        assert highest(usual, text, "PERSON_NAME") == POSSIBLE, text
    for text in (
        "Patient: Ann Smith",
        "Dear Ann Smith,",
        "Mrs. Smith called",
        "Patient: Dr. Ann Smith",
        "Customer name: John Smith",
    ):
        found = highest(usual, text, "PERSON_NAME")
        assert found is not None
        assert found >= LIKELY, text


@pytest.mark.parametrize(
    "text",
    [
        "Free Software Foundation, Inc., 59 Temple Place, Suite 330",
        "Free Software Foundation, Inc.,\n * 51 Franklin Street, Fifth Floor, Boston, MA 02110",
        "51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA",
        "Sun Microsystems, Inc.\n  2550 Garcia Avenue",
        "see 123 Main St in the example",
        "such as 123 Any Street",
    ],
)
def test_addresses_of_organisations_and_examples_are_possible(text: str, usual: LocalInspector) -> None:
    assert highest(usual, text, "STREET_ADDRESS") in (None, POSSIBLE)


@pytest.mark.parametrize(
    "text",
    ["login from 10.20.30.40", "host = 192.168.1.5", "peer 172.16.4.9", "nat 100.64.3.7",
     "host fe80::2618:1234:1", "server 1.2.3.4", "server 8.8.8.8", "server 1.2.3.0",
     "dpkg (1.14.16.4) unstable; urgency=low",
     "2013-04-12 (3.7.16.2)", "since libxcb 1.1.90.1", "libX11 1.4.99.1", "sqlplus 12.2.0.1",
     "serial c7:26:0d:ac:98:16:56:a0", "Example of IPv4: 168.192.5.6", "Major changes in 3.31.0.1",
     "join ff0e:0:0:0:0:0:0:a", "dns 2001:4860:4860::8888", "at 0:0:0:0:0:0:0:1", "169.254.0.0/16",
     "3.43.5.1 Why does the test complain"],
)  # fmt: skip
def test_private_made_up_and_released_numbers_are_possible_addresses(
    text: str, usual: LocalInspector
) -> None:
    assert highest(usual, text, "IP_ADDRESS") in (None, POSSIBLE)


def test_a_column_of_addresses_is_as_likely_as_its_network_is_public(usual: LocalInspector) -> None:
    for values, likelihood in (
        (["10.0.0.7", "10.20.30.40"], POSSIBLE),
        (["41.207.3.9", "1.2.3.4"], Likelihood.VERY_LIKELY),
    ):
        (verdict,) = usual.inspect_columns({"client_ip": pa.array(values)}).columns
        assert (verdict.info_type.name, verdict.likelihood) == ("IP_ADDRESS", likelihood)


def test_counted_and_spelled_network_cards_are_possible(usual: LocalInspector) -> None:
    for address in (
        "aa:bb:cc:dd:ff:ee",
        "01:02:03:0a:0b:0c",
        "13:10:de:ad:be:ef",
        "12:34:56:78:9a:bc",
        "02:1a:80:41:52:9c",
    ):
        assert highest(usual, f"mac {address}", "MAC_ADDRESS") == POSSIBLE, address
    assert highest(usual, "mac 00:1a:2b:3c:4d:5e", "MAC_ADDRESS") == Likelihood.VERY_LIKELY


@pytest.mark.parametrize(
    "text",
    ["'37123402':{'en': 'Tele2 Mobile'},", "24284459 replace unneeded calls to copy",
     "[Bug 3027438]: Tk calls it", "PushMethodCallFrame: [Bug 3001438]: Make",
     "insert ( 3084 1255 0 'list an extension''s update paths' )",
     "N Aring ; B -28 0 663 872 ;",
     "N Aring ; B 15 0 651 979 ;", "'37066864':{'en': 'Tele 2'},\n '37066865':{'en': 'Tele 2'},",
     "see call\n 18102  9.0.0618  calling function for reduce() has too much overhead"],
)  # fmt: skip
def test_digits_before_a_sentence_about_calls_are_no_telephone_numbers(
    text: str, usual: LocalInspector
) -> None:
    assert highest(usual, text, "PHONE_NUMBER") is None


@pytest.mark.parametrize(
    "text",
    ["phone 4155550143", "Phone:\n4155550143", "4155550143 (mobile)", "Telefon\n  0171 2345678 (Büro)"],
)
def test_digits_beside_a_word_for_telephones_are(text: str, usual: LocalInspector) -> None:
    assert highest(usual, text, "PHONE_NUMBER") is not None


@pytest.mark.parametrize(
    ("text", "info_type"),
    [
        ("write to somebody@company-three.com", "EMAIL_ADDRESS"),
        ("the order of john.doe@harbour-mail.net was sent", "EMAIL_ADDRESS"),
        ("Please contact ann@example.com or call +44 20 7183 8750.", "PHONE_NUMBER"),
        ("My address is 123 Main St, Springfield", "STREET_ADDRESS"),
    ],
)
def test_a_name_that_many_use_or_an_example_beside_it_makes_nobody_s_data_of_it(
    text: str, info_type: str, usual: LocalInspector
) -> None:
    found = highest(usual, text, info_type)
    assert found is not None
    assert found >= LIKELY


def test_addresses_of_roles_and_reserved_domains_in_a_column_are_those_of_its_rows(
    usual: LocalInspector,
) -> None:
    addresses = ["ann.lee@example.com", "support@harbour-mail.net", "bob.ray@example.org"]
    found = usual.inspect_columns({"contact": pa.array(addresses), "n": pa.array([1, 2, 3])})
    assert [one.likelihood for one in found.findings if one.info_type.name == "EMAIL_ADDRESS"] == [LIKELY] * 3


def test_an_example_in_a_description_of_a_column_is_nobody_s(usual: LocalInspector) -> None:
    described = ["Calls the member, such as user:mike@example.com here", "A group: admins@example.com"]
    found = usual.inspect_columns({"description": pa.array(described), "n": pa.array([1, 2])})
    assert {one.likelihood for one in found.findings if one.info_type.name == "EMAIL_ADDRESS"} == {POSSIBLE}


def test_what_a_session_with_an_interpreter_shows_is_an_example(usual: LocalInspector) -> None:
    session = ">>> iban('DE29100500001061045672')\nTrue\n>>> mail('ann@stone-house.net')\n"
    session += ">>> call('415-555-2671')\n"
    tallies = usual.inspect_text(session.encode()).tallies
    assert tallies.keys() == {"IBAN_CODE", "EMAIL_ADDRESS", "PHONE_NUMBER"}
    assert {one.highest for one in tallies.values()} == {POSSIBLE}
    pasted = "iban('DE29100500001061045672')\nTrue\nmail('ann@stone-house.net')\ncall('415-555-2671')\n"
    assert min(one.highest for one in usual.inspect_text(pasted.encode()).tallies.values()) >= LIKELY


def test_contact_data_in_titles_licenses_and_links_is_published(usual: LocalInspector) -> None:
    title = (
        "\n\t\t\tThe Protocol\n\n\t\t\t  2010-11-15\n\t\t\tAnn Stone\n\t\t   ann@stone-house.net\n\n1. Text"
    )
    assert highest(usual, title, "EMAIL_ADDRESS") is POSSIBLE
    assert highest(usual, "call\nAnn Stone\nann@stone-house.net\n", "EMAIL_ADDRESS") >= LIKELY
    terms = "Redistribution and use are permitted.\nContact Stone Inc., phone: (718) 575-1816.\n"
    assert highest(usual, terms, "PHONE_NUMBER") is POSSIBLE
    assert highest(usual, "Contact Stone Inc., phone: (718) 575-1816.\n", "PHONE_NUMBER") >= LIKELY
    archive = "https://lore.stone-house.net/git/7vbptlsuyv.fsf@gitster.stone-house.net/"
    assert highest(usual, archive, "EMAIL_ADDRESS") is POSSIBLE
    assert highest(usual, "https://crm.stone-house.net/users/ann@smith-house.net", "EMAIL_ADDRESS") >= LIKELY
    assert highest(usual, "write to stone-house@stone-house.net", "EMAIL_ADDRESS") is POSSIBLE
    assert highest(usual, "write to stone@stone-house.net", "EMAIL_ADDRESS") >= LIKELY
