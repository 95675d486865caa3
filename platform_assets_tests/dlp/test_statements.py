"""Secrets among the values of SQL statements, by the names of their columns."""

from __future__ import annotations

import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig


@pytest.fixture(scope="module")
def usual() -> LocalInspector:
    return LocalInspector(InspectConfig(include_quote=True), b"a key that is of these tests only")


def found(inspector: LocalInspector, text: str) -> list[str]:
    """The passwords and tokens in a text."""
    names = ("PASSWORD", "AUTH_TOKEN")
    findings = inspector.inspect_text(text.encode()).findings
    return [one.quote or "" for one in findings if one.info_type.name in names]


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("INSERT INTO users (login, password) VALUES ('ann', 'inKq72zz');", ["inKq72zz"]),
        (
            "insert into `u` (a, pw) values\n (1, 'Kq72zzTT'),\n (now(), 'Zq72zz,TT'), (3, 'it''s)9x');",
            ["Kq72zzTT", "Zq72zz,TT", "it''s)9x"],
        ),
        (
            'INSERT INTO "s"."u" ("id", "api_token") VALUES (1, N\'kQ92vvXm47TzLpa0RbYd\')',
            ["kQ92vvXm47TzLpa0RbYd"],
        ),
        ("REPLACE INTO [u] ([id], [smtp_pass]) VALUES (1, 'Kq72zzTT')", ["Kq72zzTT"]),
        (
            "COPY public.users (id, login, api_token) FROM stdin;\n"
            "1\tann\tkQ92vvXm47TzLpa0RbYd\n2\tbob\t\\N\n3\teve\tkQ92vvXm47TzLpa0RbYe\n\\.\n1\tx\tkQ92vvXm47TzLpa0RbYf",
            ["kQ92vvXm47TzLpa0RbYd", "kQ92vvXm47TzLpa0RbYe"],
        ),
    ],
)
def test_values_of_columns_named_after_secrets_are_found(
    text: str, secrets: list[str], usual: LocalInspector
) -> None:
    assert found(usual, text) == secrets


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO users (login, password) VALUES (?, ?);",
        "INSERT INTO users (login, password) VALUES (%s, %s)",
        "INSERT INTO users (login, password) VALUES (:login, :password)",
        "INSERT INTO users (login, password) VALUES ('ann', crypt('', gen_salt('bf')))",
        "INSERT INTO users (login, note) VALUES ('ann', 'inKq72zz')",
        "INSERT INTO users (login, password) VALUES ('inKq72zz', NULL)",
        "INSERT INTO users (login, password) SELECT login, 'x' FROM old",
        "INSERT INTO users (login, password_hash) VALUES "
        "('ann', '$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy')",
        "INSERT INTO users (login, password) VALUES ('ann', 'not closed",
    ],
)
def test_parameters_hashes_and_other_columns_are_no_secrets(text: str, usual: LocalInspector) -> None:
    assert found(usual, text) == []


@pytest.mark.parametrize("run", [" ", "x", "x ", "f(", "'", "''", "\\", "::a ", "\t\n"])
def test_a_long_text_that_is_no_row_is_read_once(run: str, usual: LocalInspector) -> None:
    # A pattern that tries every way to divide it would take hours.
    row = "INSERT INTO users (login, password) VALUES ('ann', "
    assert found(usual, row + run * (20_000 // len(run))) == []
