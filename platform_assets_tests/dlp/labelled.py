"""Labelled texts, read from a file or generated: a text, and which of its characters are what.

`benchmarks/dlp_quality.py` measures on them; docs/dlp_quality.md describes the form of the file.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from platform_assets_tests.dlp import generated as make
from platform_assets_tests.dlp.test_quality import TRUTH


@dataclass(frozen=True)
class Span:
    """Characters of a text, from `start` up to `end`, and their info type."""

    start: int
    end: int
    type: str


@dataclass(frozen=True)
class Example:
    """A text with its labels.

    Args:
        text: The text.
        spans: What is sensitive in it.
        name: Name of the file that the text is, which says how it is read; empty for plain text.
    """

    text: str
    spans: tuple[Span, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Labels:
    """A labelled set.

    Args:
        examples: Its texts.
        types: The info types that it labels; others that are found in it say nothing.
    """

    examples: Sequence[Example]
    types: frozenset[str]


def read_set(path: Path) -> Labels:
    """Read a set from JSON lines.

    A line is `{"text": ..., "spans": [{"start": 0, "end": 4, "type": "URL"}], "name": "a.json"}`, or
    `{"types": [...]}` with all info types that the set labels; without it, they are those of its spans.

    Raises:
        ValueError: A line is not of this form.
    """
    examples: list[Example] = []
    types: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                types.update(entry.get("types", ()))
                if "text" not in entry:
                    continue
                spans = tuple(Span(one["start"], one["end"], one["type"]) for one in entry.get("spans", ()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: not a labelled text ({error!r})") from error
            examples.append(Example(entry["text"], spans, entry.get("name", "")))
            types.update(span.type for span in spans)
    return Labels(examples, frozenset(types))


def generated_sets(chance: random.Random, each: int) -> Mapping[str, Labels]:
    """The sets that the project generates, by name; each has so many examples of every kind."""
    return {
        "sentences": _labels(_sentences(chance, each)),
        "pairs": _labels(_pairs(chance, each)),
        "names of secrets": _labels(_named(chance, each)),
        "customers": _labels(_customers(chance, each)),
    }


def _labels(examples: Iterator[Example]) -> Labels:
    listed = list(examples)
    return Labels(listed, frozenset(span.type for example in listed for span in example.spans))


_FIELD = re.compile(r"<<(\w+)>>")


def _marked(template: str, values: Mapping[str, str], types: Mapping[str, str], name: str = "") -> Example:
    """A text of a template whose `<<field>>` are filled in, with the places of those that have a type."""
    text, spans, place = "", [], 0
    for field in _FIELD.finditer(template):
        text += template[place : field.start()]
        value, place = values[field[1]], field.end()
        if field[1] in types:
            spans.append(Span(len(text), len(text) + len(value), types[field[1]]))
        text += value
    return Example(text + template[place:], tuple(spans), name)


def _sentences(chance: random.Random, each: int) -> Iterator[Example]:
    """Values of every info type in sentences, and hard negatives in others."""
    for info_type, (made, sentences) in TRUTH.items():
        for number in range(each):
            template = sentences[number % len(sentences)].replace("{}", "<<value>>")
            template = template.replace("{{", "{").replace("}}", "}")
            yield _marked(template, {"value": made(chance)}, {"value": info_type})
    for made in make.HARD_NEGATIVES.values():
        for _ in range(max(each // len(make.HARD_NEGATIVES), 1)):
            yield Example(f"done: {made(chance)} in the batch")


PAIR_FORMS = (
    ("a.json", '[{"name": "<<name>>", "value": "<<value>>"}]'),
    ("a.json", '{"env": [{"name": "PORT", "value": "8080"}, {"name": "<<name>>", "value": "<<value>>"}]}'),
    ("a.json", '{"Parameters": [{"ParameterKey": "<<name>>", "ParameterValue": "<<value>>"}]}'),
    ("a.json", '{"settings": {"<<name>>": {"value": "<<value>>", "type": "string"}}}'),
    ("a.yaml", 'env:\n  - name: PORT\n    value: "8080"\n  - name: <<name>>\n    value: <<value>>\n'),
    ("a.yaml", "variables:\n- key: <<name>>\n  value: '<<value>>'\n  masked: false\n"),
    ("a.xml", '<configuration><add key="<<name>>" value="<<value>>"/></configuration>'),
    (
        "a.xml",
        '<properties>\n<property name="<<name>>">\n<value><<value>></value>\n</property>\n</properties>',
    ),
    ("a.xml", "<entries><entry><key><<name>></key><value><<value>></value></entry></entries>"),
    ("a.tf", 'variable "<<name>>" {\n  type    = string\n  default = "<<value>>"\n}\n'),
    ("a.tf", 'environment {\n  name  = "<<name>>"\n  value = "<<value>>"\n}\n'),
    ("a.toml", '[[env]]\nname = "<<name>>"\nvalue = "<<value>>"\n'),
    ("a.conf", 'parameters { <<name>> { value = "<<value>>" } }\n'),
    ("a.csv", "key,value\nhost,db1\n<<name>>,<<value>>\nport,5432\n"),
    ("a.plist", "<plist><dict><key><<name>></key><string><<value>></string></dict></plist>"),
)
"""Ways of formats to have a name in one field and its value in another."""

PAIR_NAMES = (
    "DB_PASSWORD",
    "SmtpPassword",
    "db.password",
    "ADMIN_PASS",
    "rootPassword",
    "ftp_passwd",
    "user-password",
    "LDAP_BIND_PASSWORD",
)


def _pairs(chance: random.Random, each: int) -> Iterator[Example]:
    for name, form in PAIR_FORMS:
        for _ in range(max(each // 4, 1)):
            values = {"name": chance.choice(PAIR_NAMES), "value": _plain_password(chance)}
            yield _marked(form, values, {"value": "PASSWORD"}, name)
        for label in ("description", "password_policy", "region", "display_name"):
            yield _marked(form, {"name": label, "value": "eu-central-1"}, {}, name)


def _plain_password(chance: random.Random) -> str:
    """A password that any format holds without quoting."""
    return make.text(chance, 4) + make.text(chance, 6, make.ALPHANUMERIC + "_-") + str(chance.randrange(10))


NAMED_FORMS = (
    "DB_PASS=<<value>>",
    "PASS = '<<value>>'",
    "MYSQL_PWD=<<value>>",
    "PGPASSWORD=<<value>> psql -h db1",
    "spring.datasource.password=<<value>>",
    "ENV DB_PASSWORD <<value>>",
    "mysql --user=app --password=<<value>> shop",
    "Server=db1;Database=shop;User Id=app;Password=<<value>>;",
    "smtp_pass: <<value>>",
    "ansible_become_pass: <<value>>",
    "sshpass -p '<<value>>' ssh app@db1",
    "requirepass <<value>>",
    'REDIS_PASSWORD: "<<value>>"',
    "<password><<value>></password>",
    "userPassword: <<value>>",
    "keystore.pass=<<value>>",
)

NAMED_TOKENS = (
    "secretkey=<<value>>",
    "ENV DEPLOY_TOKEN <<value>>",
    "SECRET_KEY_BASE=<<value>>",
    "client_secret: <<value>>",
    "x-api-key: <<value>>",
    "_authToken=<<value>>",
    "apikey: '<<value>>'",
    'ACCESS_TOKEN = "<<value>>"',
)


def _named(chance: random.Random, each: int) -> Iterator[Example]:
    for forms, info_type, made in (
        (NAMED_FORMS, "PASSWORD", _plain_password),
        (NAMED_TOKENS, "AUTH_TOKEN", lambda chance: make.text(chance, 32)),
    ):
        for form in forms:
            for _ in range(max(each // 8, 1)):
                yield _marked(form, {"value": made(chance)}, {"value": info_type})


def _customers(chance: random.Random, each: int) -> Iterator[Example]:
    """Mails, notes, logs and exports with the contact data of customers."""
    types = {
        "mail": "EMAIL_ADDRESS",
        "other": "EMAIL_ADDRESS",
        "phone": "PHONE_NUMBER",
        "card": "CREDIT_CARD_NUMBER",
    }
    forms: tuple[tuple[str, str], ...] = (
        ("", "From: Ann Smith <<<mail>>>\nSubject: My order\n\nPlease call me at <<phone>>.\n"),
        ("", "Customer <<mail>> asked for a refund to card <<card>>."),
        ("", "2024-03-01 10:12:13 INFO login user=<<mail>> ok"),
        ("", "Ann Smith <<<mail>>>, <<phone>>"),
        ("", "INSERT INTO customer VALUES (12, 'Ann', '<<mail>>', '<<phone>>');"),
        ("a.csv", "id,name,mail\n1,Ann Smith,<<mail>>\n2,Bob Jones,<<other>>\n"),
        ("a.json", '{"customer": {"contact": "<<mail>>", "phone": "<<phone>>"}}'),
        ("a.xml", "<customers><customer><mail><<mail>></mail></customer></customers>"),
    )
    made: Mapping[str, Callable[[random.Random], str]] = {
        "mail": make.email,
        "other": make.email,
        "phone": make.phone,
        "card": make.card,
    }
    for name, form in forms:
        for _ in range(max(each // 2, 1)):
            yield _marked(form, {key: make_one(chance) for key, make_one in made.items()}, types, name)
