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
        ('secret = "3f9a0c7be1d24856"', "AUTH_TOKEN", "3f9a0c7be1d24856"),
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
