"""What looks like sensitive data and is not, beside what looks alike and is."""

# ruff: noqa: RUF001 - sentences of several scripts
from __future__ import annotations

import pyarrow as pa
import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import ExclusionRule, InspectConfig, Likelihood, MatchingType, RuleSet

KEY = b"a key that is of these tests only"


@pytest.fixture(scope="module")
def usual() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), KEY)


def found(inspector: LocalInspector, text: str, least: Likelihood = Likelihood.POSSIBLE) -> dict[str, str]:
    """The info types in a text with what was found."""
    return {
        one.info_type.name: one.quote or ""
        for one in inspector.inspect_text(text.encode())
        if one.likelihood >= least
    }


def verdicts(inspector: LocalInspector, name: str, values: list[str]) -> set[str]:
    """The info types of a column."""
    return {one.info_type.name for one in inspector.inspect_columns({name: pa.array(values)}).columns}


SITES = "See https://docs.example-shop.com/guide?page=2, www.example-shop.org and api.example-shop.com."


def test_addresses_of_pages_and_hosts_are_reported_only_by_name(usual: LocalInspector) -> None:
    assert found(usual, SITES) == {}
    assert verdicts(usual, "website", ["https://a.example-shop.com/", "www.b-shop.org"]) == set()
    named = LocalInspector(InspectConfig(info_types=("URL", "DOMAIN_NAME")), KEY)
    assert found(named, SITES).keys() == {"URL", "DOMAIN_NAME"}
    threshold = {"URL": Likelihood.POSSIBLE}
    beside = LocalInspector(InspectConfig(min_likelihood_per_info_type=threshold), KEY)
    assert found(beside, SITES + " Write to ann@example-shop.com").keys() == {"URL", "EMAIL_ADDRESS"}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("postgresql://app:Hj7kQ2mZx9@db.internal:5432/x", "PASSWORD", "Hj7kQ2mZx9"),
        ("https://app:Hj7kQ2mZx9@git.internal/x.git", "PASSWORD", "Hj7kQ2mZx9"),
        (
            "https://api.shop.io/v1?access_token=q8Zr3LkV0pWn5TxYb7Gd2",
            "AUTH_TOKEN",
            "q8Zr3LkV0pWn5TxYb7Gd2",
        ),
        ("https://api.shop.io/v1?api_key=q8Zr3LkV0pWn5TxYb7Gd2&x=1", "AUTH_TOKEN", None),
        ("https://shop.io/reset?email=ann.smith@shop.io", "EMAIL_ADDRESS", "ann.smith@shop.io"),
        ("http://10.20.30.41:8080/admin", "IP_ADDRESS", "10.20.30.41"),
    ],
)
def test_what_hides_in_an_address_is_found_although_the_address_is_not(
    text: str, name: str, value: str | None, usual: LocalInspector
) -> None:
    assert found(usual, text).get(name) == (value or found(usual, text)[name])
    assert "URL" not in found(usual, text)


def test_digits_in_addresses_remain_digits_of_addresses(usual: LocalInspector) -> None:
    assert found(usual, "https://tickets.shop.io/t/212-555-0143") == {}
    assert found(usual, "Call 212-555-0143").keys() == {"PHONE_NUMBER"}
    links = [f"https://tickets.shop.io/{'ab' * (n % 5)}/t/212-555-{n:04d}" for n in range(1500)]
    assert verdicts(usual, "link", links) == set()


def test_an_address_excludes_what_is_in_it_although_it_is_not_reported() -> None:
    rule = ExclusionRule(matching_type=MatchingType.PARTIAL_MATCH, exclude_info_types=("URL",))
    config = InspectConfig(rule_set=(RuleSet(("EMAIL_ADDRESS",), (rule,)),))
    assert found(LocalInspector(config, KEY), "https://shop.io/?to=ann@shop.io") == {}


@pytest.mark.parametrize(
    "text",
    [
        'password: "パスワードを入力してください。"',
        'password: "パスワードは8文字以上で入力してください。"',
        'access_token: "アクセストークンを入力してください。設定画面で作成できます。"',
        'password: "请输入您的密码以继续。"',
        'secret: "请输入您的密钥，然后单击“保存”按钮以继续。"',
        'password: "กรุณาใส่รหัสผ่านของคุณ"',
        'password: "비밀번호를입력하세요."',
        'password: "أدخل-كلمة-المرور."',
        'token: "कृपया_अपना_टोकन_दर्ज_करें_और_जारी_रखें।"',
        'password: "הזן-סיסמה!"',
        "password: パスワード（確認）",
    ],
)
def test_sentences_of_scripts_without_case_are_no_secrets(text: str, usual: LocalInspector) -> None:
    assert found(usual, text) == {}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("密码: Hj7kQ2mZx9", "PASSWORD", "Hj7kQ2mZx9"),
        ('パスワード: "Hj7k!Q2mZx9"', "PASSWORD", "Hj7k!Q2mZx9"),
        ('password: "密码Hj7k!Q2mZx9"', "PASSWORD", "密码Hj7k!Q2mZx9"),
        ('token: "令牌q8Zr3LkV0pWn5TxYb7Gd2"', "AUTH_TOKEN", "令牌q8Zr3LkV0pWn5TxYb7Gd2"),
        ('password: "Grüße2024!"', "PASSWORD", "Grüße2024!"),
        ('password: "Пароль7Кот!"', "PASSWORD", "Пароль7Кот!"),
    ],
)
def test_secrets_beside_words_of_any_script_are_found(
    text: str, name: str, value: str, usual: LocalInspector
) -> None:
    assert found(usual, text)[name] == value


@pytest.mark.parametrize(
    "text",
    [
        'password: "$(DB_PASSWORD)"',
        "DB_PASSWORD=$(cat /run/secrets/db)",
        'password: "@@DB_PASSWORD@@"',
        "password = @@DB_PASSWORD@@",
        'password = "%%DB_PASSWORD%%"',
        "token: __API_TOKEN__",
        'password: "<%= ENV["DB_PASS"] %>"',
        "password: '{{ vault_db_password }}'",
        'token = "${{ secrets.DEPLOY_TOKEN }}"',
        'password = "#{config[:password]}1"',
        'password = "prefix_{}".format(x)',
        'password = "user{0}pass!"',
        "password = 'pass_%s' % n",
        'password = "%(password)s!"',
        'secret = f"{prefix}-secret-9"',
        "password = SecureRandom.urlsafe_base64(16)",
        "token = SecureRandom.urlsafe_base64(16)",
        "secret: crypto.randomBytes(32).toString('hex'),",
        "private_key = Ed25519PrivateKey.from_private_bytes(d)",
        "private_key: Ed25519PrivateKey | Ed448PrivateKey",
        "credentials = flow.step2_exchange(code, http=http)",
        "RSAPrivateKey = rfc3447.RSAPrivateKey",
        "token = Base64::encode64(x)",
        "api_key = settings2.external.api_key_v2",
        "password = $user->password1",
        '"privateKeyData": "([a-z0-9/+=\\\\n]{10,})"',
        r'password: "^(?=.*\d)[A-Za-z\d]{8,}$"',
        'password: "input[type=text]"',
        '"new-password","current-password","organization-title"',
        '"passwd", "kadmin/server"',
        "password = utf8_to_utf16_dup(v);",
        "CREDENTIALS = 'google_oauth2_credentials'",
        "Authorization: AWS4-HMAC-SHA256 Signed",
        "postgresql://postgres:postgres@localhost:5432/x",
        '"license_key": "gpl-2.0-plus-geoserver"',
        '"spdx_license_key": "BSD-2-Clause-FreeBSD"',
        '"license_key": "google-maps-tos-2018-02-07"',
        'token: "release-candidate-2024-rc1"',
        'password: "Password:"',
        'password: "Password*"',
        'password: "Passwort?"',
        'password: "Choose a password (8 characters or more)"',
        'password: "Passwort (mind. 8 Zeichen)"',
        'password: "/users/password/edit"',
        'reset_password: "/reset-password/:token"',
        'password: "account/password"',
        'changePassword: "#/settings/password"',
        "postgresql://scott:tiger@host/test",
        "mssql+pyodbc://scott:tiger@mssql2017:1433/test",
        "postgresql://app:Hj7kQ2@hostname/test",
        "mysql://app:${DB_PASSWORD}@db.internal/x",
        ":cvs://:pserver:anoncvs@sources:/cvs/src",
    ],
)
def test_templates_code_labels_and_routes_are_no_likely_secrets(text: str, usual: LocalInspector) -> None:
    assert found(usual, text, Likelihood.LIKELY) == {}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('password: "$Hj7k(Q2mZx9)"', "PASSWORD", "$Hj7k(Q2mZx9)"),
        ('password: "a@@7k@Q2m"', "PASSWORD", "a@@7k@Q2m"),
        ("DB_PASSWORD=Hj7k%Q2mZx9", "PASSWORD", "Hj7k%Q2mZx9"),
        ("password: Sommer2024", "PASSWORD", "Sommer2024"),
        ("password: Hj7.kQ2m.Zx9", "PASSWORD", "Hj7.kQ2m.Zx9"),
        ('password: "aB3/kQ9/zT1"', "PASSWORD", "aB3/kQ9/zT1"),
        ("token = q8Zr3LkV0pWn5TxYb7Gd2", "AUTH_TOKEN", "q8Zr3LkV0pWn5TxYb7Gd2"),
        ("token: q8Zr3LkV0p.Wn5TxYb7Gd2", "AUTH_TOKEN", "q8Zr3LkV0p.Wn5TxYb7Gd2"),
        ('token = "q8Zr-3LkV-0pWn-5TxYb7Gd2"', "AUTH_TOKEN", "q8Zr-3LkV-0pWn-5TxYb7Gd2"),
        ('secret = "3f9a0c7be1d24856"', "AUTH_TOKEN", "3f9a0c7be1d24856"),
        ("postgresql://app:Hj7kQ2mZx9@localhost/test", "PASSWORD", "Hj7kQ2mZx9"),
        ("postgresql://scott:tiger7@db.internal/test", "PASSWORD", "tiger7"),
    ],
)
def test_secrets_with_the_signs_of_templates_and_code_are_found(
    text: str, name: str, value: str, usual: LocalInspector
) -> None:
    assert found(usual, text, Likelihood.LIKELY)[name] == value


def test_service_keys_made_of_words_or_of_one_character_are_placeholders(usual: LocalInspector) -> None:
    for text in (
        "SLACK=xoxb-my-bot-token",
        '"xoxp-your-token-here"',
        "xoxb-not-a-real-token",
        "https://hooks.slack.com/services/TXXXXXXXX/BXXXXXXXX/" + "X" * 24,
        "https://hooks.slack.com/services/T00000000/B00000000/" + "X" * 24,
        "https://discord.com/api/webhooks/123456789012345678/" + "x" * 68,
    ):
        assert found(usual, text) == {}, text
    for text, name in (
        ("xoxb-2948103847-q8Zr3LkV0pWn5TxYb7Gd2", "SLACK_TOKEN"),
        ("https://hooks.slack.com/services/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", "SLACK_WEBHOOK"),
    ):
        assert found(usual, text).keys() == {name}


@pytest.mark.parametrize(
    "text",
    ["Spring 2024", "Monitoring 24 hosts", "String 5", "Rendering 100 frames", "Scoring 3 points", "Bring 2",
     "Substring 12", "Referring 1 patient", "During 2019 we", "Engineering 101", "Constr. 12", "Docstring 7",
     "2007-2020 Sebastian Dröge", "Copyright 2003, North Carolina State Highway Patrol",
     "  2016 Iain Lane <iain@shop",
     "Copyright Calle Rosenquist, 2016-2018", "2001-2003 Adam Lane", "12 Drähte"],
)  # fmt: skip
def test_words_that_end_as_streets_do_are_no_streets(text: str, usual: LocalInspector) -> None:
    assert found(usual, text) == {}


@pytest.mark.parametrize(
    "text",
    ["Nordring 24", "Ostring 5", "Südwestring 7a", "Stadtring 12", "Gartenweg 3", "Hauptstraße 12b",
     "Hauptstr. 7",
     "Lindenallee 40", "Kerkstraat 5", "Kaiserring 8, 68161 Mannheim", "1905 Main Street", "51 Franklin St",
     "Address: Kaiserring 8"],
)  # fmt: skip
def test_streets_are_found_beside_such_words(text: str, usual: LocalInspector) -> None:
    assert found(usual, text, Likelihood.LIKELY).keys() == {"STREET_ADDRESS"}


def test_the_year_of_a_copyright_is_no_house_number(usual: LocalInspector) -> None:
    assert found(usual, "2021 Adam Lane", Likelihood.LIKELY) == {}
    assert found(usual, "221 Adam Lane", Likelihood.LIKELY).keys() == {"STREET_ADDRESS"}


@pytest.mark.parametrize(
    "name", ["phone", "fax", "Telefon", "mobile_number", "birth_date", "version", "iban"]
)
def test_a_column_of_other_numbers_holds_no_network_addresses(name: str, usual: LocalInspector) -> None:
    values = ["40.67.88.88", "42.33.22.11", "45.12.90.77"] * 2
    assert "IP_ADDRESS" not in verdicts(usual, name, values)


@pytest.mark.parametrize("name", ["c1", "ip", "client", "source", "host_address", "phone_ip"])
def test_a_column_of_network_addresses_holds_them(name: str, usual: LocalInspector) -> None:
    assert verdicts(usual, name, ["40.67.88.88", "142.33.22.11", "45.12.90.77"]) == {"IP_ADDRESS"}


@pytest.mark.parametrize(
    "text",
    ["version 1.22.33.44", "ProductVersion: 10.20.30.40", "<fileVersion>10.20.30.40</fileVersion>",
     "foo >= 10.20.30.40", 'foo = "~> 10.20.30.40"', "foo==10.20.30.40", "foo ^10.20.30.40",
     "Upgraded to 14.6.85.25 from 14.5.103.35", "bump libfoo from 10.20.30.40 to 10.20.30.41",
     "ObjectIdentifier('1.3.132.1')", "oid 1.3.6.1", "Chrome/99.0.48.44", "libfoo-10.20.30.40.tar.gz",
     "c0 1.52-.87 2.83-2.12 3.51.98.32 2.03.5 3.11", "Fax: 40.67.88.88",
     "-.67.75-.27.34-.27.76 0 1.1.64.79 1.39 1.5 2.16", "1.2.72 1.94.92.74.2 1.53.3 2.37.3.73 0 1.44-.08 2.1",
     "Foo 11.7.12.2 Release Notes", "<h4>10.3.20.1. Structure</h4>", "10.3.20.1. Structure"],
)  # fmt: skip
def test_four_numbers_of_releases_identifiers_and_drawings_are_no_addresses(
    text: str, usual: LocalInspector
) -> None:
    assert "IP_ADDRESS" not in found(usual, text)


@pytest.mark.parametrize(
    "text",
    ["login from 41.207.3.9", "host = 41.207.3.9", 'bind("41.207.3.9")', "updated dns to 41.207.3.9",
     "call http://41.207.3.9/x", "fax server 40.67.88.88", "0.5,41.207.3.9,7",
     "41.207.3.9 82.14.3.77 142.33.22.11", "41.207.3.9 GET /x",
     "from 41.207.3.9. Then", "41.207.3.9 - - [12/May]"],
)  # fmt: skip
def test_addresses_of_machines_are_found_beside_them(text: str, usual: LocalInspector) -> None:
    assert "IP_ADDRESS" in found(usual, text, Likelihood.LIKELY)


def test_addresses_that_nobody_has_are_at_most_possible(usual: LocalInspector) -> None:
    for address in ("127.0.0.1", "0.0.0.0", "255.255.255.0", "192.0.2.1", "224.0.0.114", "2001:db8::1"):
        assert found(usual, f"listens at {address}") == {"IP_ADDRESS": address}
        assert found(usual, f"host = {address}", Likelihood.LIKELY) == {}


def test_versions_and_packages_are_no_domains() -> None:
    named = LocalInspector(InspectConfig(info_types=("DOMAIN_NAME",), include_quote=True), KEY)
    for text in ("3.4.0.dev", "1.0.dev", "org.apache.commons.io", "com.example.app", "java.util.zip",
                 "io.netty.handler.dev", "androidx.core.app", "de.shop.core.app"):  # fmt: skip
        assert found(named, f"uses {text} here") == {}, text
    for text in ("shop.dev", "3com.com", "docs.apache.org", "io.adafruit.com", "de.wikipedia.org"):
        assert found(named, f"uses {text} here") == {"DOMAIN_NAME": text}


def test_integers_of_64_bits_in_a_row_are_no_cards(usual: LocalInspector) -> None:
    for text in ("[4532015112830366123, 6011000990139424000, 4111111111111111110]",
                 "[-4111111111111111110,\n 8211111111111111110]",
                 "7123456789012345678 4111111111111111110 912345678901234567",
                 "4111111111111111110\n1234567890123456789\n"):  # fmt: skip
        assert "CREDIT_CARD_NUMBER" not in found(usual, text), text
    for text in ("paid with 4111111111111111110", "[4111111111111111, 5500005555555559]",
                 "4111111111111111110, 7",
                 "card 4111111111111111110, 1234567890123456789"):  # fmt: skip
        assert "CREDIT_CARD_NUMBER" in found(usual, text), text


@pytest.mark.parametrize(
    "text",
    ["USD 415.555.0143", "212.555.0143 EUR", "415-555-0143 zł", "212-555-0143 + 212-555-0144",
     "7 + 212-555-0143",
     "212-555-0143@sms.shop.io", "212-555-0143.smith@shop", "phone: 212-555-0143_a@shop.io",
     "mail ann@212-555-0143.shop.io", "₹ 415.555.0143", 'call("X", 2147483647)', "phone 2222222222",
     "cell: #80808059", "reach `199.36.153.4/30`", "in 3.9.10/3.10.2 for call_x"],
)  # fmt: skip
def test_sums_and_parts_of_mail_addresses_are_no_telephone_numbers(text: str, usual: LocalInspector) -> None:
    assert "PHONE_NUMBER" not in found(usual, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Ann (+49 30 12345678, Berlin)", "+49 30 12345678"),
        ("Ann (+49 30 12345678", "+49 30 12345678"),
        ("(call 212-555-0143)", "212-555-0143"),
        ("(see 0171 2345678)", "0171 2345678"),
        ("phone (0171 2345678", "0171 2345678"),
        ("phone (212) 555-0143)", "(212) 555-0143"),
        ("tel (+1) (212) 555-0143", "(+1) (212) 555-0143"),
        ("212-555-0143 +44 20 7946 0958", "212-555-0143"),
        ("ann@shop.io 212-555-0143", "212-555-0143"),
        ("212-555-0143 @ 5 pm", "212-555-0143"),
        ("phone=212-555-0143", "212-555-0143"),
    ],
)
def test_a_telephone_number_has_only_its_own_parentheses(
    text: str, value: str, usual: LocalInspector
) -> None:
    quotes = [one.quote for one in usual.inspect_text(text.encode()) if one.info_type.name == "PHONE_NUMBER"]
    assert quotes[:1] == [value]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("name", ["FIRST WARD", "SECOND WARD", "THIRD WARD", "FOURTH WARD", "FIFTH WARD"]),
        ("c1", ["NORTH PARK", "SOUTH PARK", "EAST PARK", "WEST PARK", "OLD PARK"]),
        ("name", ["Paris", "London", "Austin", "Jackson", "Dallas", "Charlotte"]),
        ("c1", ["Austin", "Madison", "Lincoln", "Jackson", "Houston", "Florence"]),
        ("name", ["Virginia", "Georgia", "Maine", "Carolina", "Montana"]),
        ("@name", ["Mark", "Grant", "Chase", "Max", "Will"]),
        ("field@name", ["drew", "bill", "mark", "dean", "page"]),
    ],
)
def test_wards_cities_and_attributes_of_xml_are_no_people(
    name: str, values: list[str], usual: LocalInspector
) -> None:
    assert verdicts(usual, name, values) == set()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("name", ["Ann Ward", "Maria Park", "Zofia Nowak", "Lars Berg", "John Hill"]),
        ("name", ["Alice", "Maria", "John", "Peter", "Austin"]),
        ("c1", ["Ann Ward", "Maria Park", "Peter Smith", "Lars Berg", "John Hill"]),
        ("@name", ["Ann Ward", "Maria Park", "Peter Smith", "John Hill"]),
        ("first_name", ["Austin", "Madison", "Charlotte", "Jackson"]),
        ("last_name", ["Ward", "Ward", "Ward", "Ward"]),
        ("customer_name", ["Ann Ward", "Tom Ward", "Eve Ward"]),
    ],
)
def test_people_are_found_beside_them(name: str, values: list[str], usual: LocalInspector) -> None:
    assert verdicts(usual, name, values) == {"PERSON_NAME"}


def test_a_surname_is_no_ethnic_group_and_decimals_are_no_cards(usual: LocalInspector) -> None:
    assert "ETHNIC_GROUP" not in found(usual, "fix the race (Brian White)")
    assert "ETHNIC_GROUP" in found(usual, "Race: White")
    assert "CREDIT_CARD_NUMBER" not in found(usual, "[2.04,-.5650069742788596,.4111111111111111]")
    assert "CREDIT_CARD_NUMBER" in found(usual, "[-4111111111111111,4111111111111111]")


def test_network_cards_of_nobody_are_not_reported(usual: LocalInspector) -> None:
    assert found(usual, "mac: 00:00:00:00:00:00, mac: ff:ff:ff:ff:ff:ff, mac 00:00:00:FF:FF:FF") == {}
    assert found(usual, "mac: 00:1a:2b:3c:4d:5e").keys() == {"MAC_ADDRESS"}


@pytest.mark.parametrize("piece", ["a", "A", "aA", "a-", "/a", "a.", "ab_", "[a", "{", "a-1."])
def test_long_values_in_a_secrets_place_take_linear_time(piece: str, usual: LocalInspector) -> None:
    usual.inspect_text(f'token: "{(piece * 500)[:498]}!"'.encode())


@pytest.mark.parametrize(
    "name",
    ["shapes.CreateUser.members.Password.shape", "schemas.User.properties.password.type",
     "a.AuthToken.pattern", "definitions.passwords.items.enum[]", "Contact.members.DisplayName.documentation",
     "x.address.properties.zip.format", "$defs.Address.$ref", "form/passwordField/@type",
     "properties.birthDate.description", "waiters.PasswordDataAvailable.acceptors[].state",
     "PasswordData.request.params[].target", "schemas.UserPassword.id",
     "schemas.AddressType.enumDescriptions[]", "addressGroups.methods.list.flatPath"],
)  # fmt: skip
def test_what_describes_sensitive_data_is_none(name: str, usual: LocalInspector) -> None:
    for values in (
        ["SensitiveString"],
        ["DisplayName", "POSTGRES_SCRAM_SHA_256"],
        ["int32"],
        ["First line of address 1. Max length 64 bytes."],
        ["#/$defs/io.k8s.api.core.v1.NodeAddress"],
        ["12/2024"],
        ["v1/projects/{projectsId}/locations/{locationsId}/addressGroups 2"],
    ):
        assert verdicts(usual, name, values) == set(), values


def test_what_lies_below_a_name_is_found_although_it_is_described_too(usual: LocalInspector) -> None:
    assert verdicts(usual, "db.password.value", ["Hj7kQ2mZx9"]) == {"PASSWORD"}
    assert verdicts(usual, "user.password", ["Hj7kQ2mZx9"]) == {"PASSWORD"}
    assert verdicts(usual, "address.line1", ["12 Elm Row", "7 Oak Way"]) == {"STREET_ADDRESS"}
    assert verdicts(usual, "contact.description", ["call +49 30 12345678"]) == {"PHONE_NUMBER"}
    assert verdicts(usual, "customers.address.street", ["Elm Row 12", "Oak Way 7"]) == {"STREET_ADDRESS"}
    assert verdicts(usual, "address.lines[].text", ["Elm Row 12", "Oak Way 7"]) == {"STREET_ADDRESS"}
    assert verdicts(usual, "login.secrets.password.current", ["Hj7kQ2mZx9"]) == {"PASSWORD"}
    assert verdicts(usual, "password_type", ["Hj7kQ2mZx9"]) == {"PASSWORD"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("metadata.serviceFullName", ["AWS Glue"]),
        ("serviceFullName", ["Amazon CloudFront", "AWS CodeBuild"]),
        ("ownerName", ["Google"]),
        ("params[].name", ["Key"]),
        ("request.params[].name", ["BucketName"]),
        ("displayName", ["snow-device-management"]),
        ("operations.DeleteContact.name", ["DeleteContact"]),
        ("name", ["Thigpen", "Livingston Municipal", "Perry-Warsaw"]),
        ("csa_name", ["Raleigh-Durham-Cary, NC"]),
        ("neighborhood", ["Marcy Holmes", "Anthony West"]),
    ],
)
def test_services_variables_and_places_are_no_likely_people(
    name: str, values: list[str], usual: LocalInspector
) -> None:
    found = usual.inspect_columns({name: pa.array(values)}).tallies
    assert all(tally.highest < Likelihood.LIKELY for tally in found.values()), found


def test_values_of_a_list_do_not_name_the_next_one(usual: LocalInspector) -> None:
    choices = ["USER_PASSWORD", "ADMIN_NO_SRP_AUTH", "DB_PASSWORD", "POSTGRES_SCRAM_SHA_256"]
    assert verdicts(usual, "AuthFlow.enum[]", choices) == set()
    assert verdicts(usual, "c1", ["DB_PASSWORD=Hj7kQ2mZx9", "x"]) == {"PASSWORD"}


@pytest.mark.parametrize(
    "text",
    ["'secret': 'V1SecretVolumeSource',", '"password": "SensitiveString"', '"token": "GetTokenResponse"',
     "spwd: 3.0-3.12", "pwd: 3.0-", "github://org:repo@sha/precip/catalog.yml",
     ";;   dbname= host= port= user= password= auth_user="],
)  # fmt: skip
def test_classes_releases_and_repositories_are_no_secrets(text: str, usual: LocalInspector) -> None:
    assert found(usual, text, Likelihood.LIKELY) == {}


def test_decimals_and_single_numbers_among_many_are_no_identifiers(usual: LocalInspector) -> None:
    assert "CREDIT_CARD_NUMBER" not in found(usual, "4446.001353765128")
    volumes = [str(1_234_567 + 7_919 * n) for n in range(200)]
    assert verdicts(usual, "Volume", [*volumes, "11456230000"]) == set()
    assert verdicts(usual, "cpf", [*volumes, "11456230000"]) == {"BRAZIL_CPF_NUMBER"}
    notes = [f"note {n} is fine" for n in range(200)]
    assert verdicts(usual, "c1", [*notes, "my card 4532015112830366"]) == {"CREDIT_CARD_NUMBER"}


def test_a_name_in_brackets_is_no_ethnic_group(usual: LocalInspector) -> None:
    assert "ETHNIC_GROUP" not in found(usual, "fix block device open race  [Sami Kerola]")
    assert "ETHNIC_GROUP" in found(usual, "race: White (self-reported)")


@pytest.mark.parametrize(
    "text",
    [
        "secret: 'V1SecretProjection', token: 'V1ServiceAccountTokenProjection'",
        "token: list[StorageV1TokenRequest]",
        '"pattern": "secret:[a-zA-Z0-9/_+=.@!-]+"',
        "#password_encryption = scram-sha-256",
        "psk.c:275:21: warning: use of a value",
        "createHmac(password, 'utf8')",
        "encrypt tmpl.xml deskey.bin > encrypt1-res.xml",
        "Next page token: eav1OzQB0OM8rLdGXOEsyQWSG",
        "next_page_token = 'eav1OzQB0OM8rLdGXOEsyQWSG'",
        "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "sqlite+pysqlcipher://:passphrase@/foo.db",
        "Set-Cookie: cs-trivf=$Cookie{'cs-trivf'}; path=/",
        "Cookie: _xsrf=0123456789abcdef0123456789abcdef",
        '{"password": "Passwort", "hint": "Wachtwoord"}',
        "arn:aws:secretsmanager:us-west-2:123456789012:secret:TestDatabaseSecret-a1b2c3",
        "_SECRET_NAMESPACE = 'oauth2client:secrets#ns'",
        "the record identified by 'nameID', 'platformID'",
        '["PASSWORD", "WEB_AUTHN"]',
        "pkcs11:token=Root%20CA%20Certificates;serial=1%3AROOTS%3ADEFAULT",
        "man/{readpassphrase.3 => readpassphrase.3bsd}",
        "push --creds=ipbabble:5bbb9990-6eeb-4234-af1a-aaa80066887c image",
        "Add parse_password_expiring_control to libldap-2.4-2.symbols.",
    ],
)
def test_types_patterns_algorithms_and_examples_are_no_secrets(text: str, usual: LocalInspector) -> None:
    assert found(usual, text, Likelihood.LIKELY) == {}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("secret: 'V1SecretPr0jection9Kq2'", "AUTH_TOKEN", "V1SecretPr0jection9Kq2"),
        ("password = sha-Kq256x", "PASSWORD", "sha-Kq256x"),
        ("psk: 275-Kq:21", "PASSWORD", "275-Kq:21"),
        ("deploy token: eav1OzQB0OM8rLdGXOEsyQWSG", "AUTH_TOKEN", "eav1OzQB0OM8rLdGXOEsyQWSG"),
        ("Authorization: Basic YW5uOkg3a1EybVp4OXE=", "AUTH_TOKEN", "YW5uOkg3a1EybVp4OXE="),
        ("Set-Cookie: sid=Hj7kQ2mZx9dd; path=/", "HTTP_COOKIE", "sid=Hj7kQ2mZx9dd; path=/"),
        ("Passwort: SwKq72zz", "PASSWORD", "SwKq72zz"),
        ("aws:secretsmanager secret: kQ92vvXm47TzLpa0RbYd", "AUTH_TOKEN", "kQ92vvXm47TzLpa0RbYd"),
        ("user app identified by 'name9ID'", "PASSWORD", "name9ID"),
        ("push --creds=ipbabble:Kq9Zx7Lm2Tv8Pw3R image", "AUTH_TOKEN", "ipbabble:Kq9Zx7Lm2Tv8Pw3R"),
        ("the db_password is Kq9Zx7Lm", "PASSWORD", "Kq9Zx7Lm"),
        ("passwrd: SwKq72zz", "PASSWORD", "SwKq72zz"),
    ],
)
def test_secrets_beside_them_are_found(text: str, name: str, value: str, usual: LocalInspector) -> None:
    assert found(usual, text, Likelihood.LIKELY)[name] == value


def test_equal_digits_behind_a_country_are_a_placeholder(usual: LocalInspector) -> None:
    assert found(usual, "VAT number: SK9999999999") == {}
    assert found(usual, "VAT number: SK2022749619") == {"VAT_NUMBER": "SK2022749619"}


def test_places_in_drawings_and_parts_in_compounds_are_no_numbers_of_people(usual: LocalInspector) -> None:
    assert found(usual, "(Extension Decompressor)231.62 218.6 R 349.38 223.1") == {}
    assert found(usual, "an MC146818A-compatible clock") == {}
    assert found(usual, "NI number MC146818A, compatible").keys() == {"UK_NATIONAL_INSURANCE_NUMBER"}
    assert found(usual, "extension 231.622.2186").keys() == {"PHONE_NUMBER"}


def test_one_valid_number_among_thousands_of_amounts_is_chance(usual: LocalInspector) -> None:
    amounts = [str(7 * number**2 + 13) for number in range(100, 2_500)]
    amounts.insert(1, "11456230000")  # a place that the sample leaves out
    assert verdicts(usual, "volume", amounts) == set()
    assert verdicts(usual, "cpf", amounts) == {"BRAZIL_CPF_NUMBER"}
    notes = [f"note {number}" for number in range(1_400)]
    assert verdicts(usual, "remark", [*notes, "114.562.300-00"]) == {"BRAZIL_CPF_NUMBER"}


def test_greetings_and_capitals_are_no_words_for_births_or_groups(usual: LocalInspector) -> None:
    for text in (
        '"Happy Birthday Sophie" (2012-11-06)',
        "data URLs (fsspec>=2023.12.2)",
        "TRACE: mixed results",
    ):
        assert found(usual, text, Likelihood.LIKELY) == {}
    assert found(usual, "Birthday: 2012-11-06") == {"DATE_OF_BIRTH": "2012-11-06"}
    assert found(usual, "patientRace: mixed") == {"ETHNIC_GROUP": "mixed"}


def test_the_second_number_of_a_list_is_a_telephone_number_and_a_power_of_two_is_none(
    usual: LocalInspector,
) -> None:
    text = "phone: 415-555-2671, 415-555-2672"
    assert [one.quote for one in usual.inspect_text(text.encode())] == ["415-555-2671", "415-555-2672"]
    assert found(usual, "phone max: 268435455") == {}
    assert found(usual, "phone: 268435459", Likelihood.POSSIBLE).keys() <= {"PHONE_NUMBER"}
