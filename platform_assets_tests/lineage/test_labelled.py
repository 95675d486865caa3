"""A labelled business: of every column it is written down whether it can hold what is sensitive above it."""

from __future__ import annotations

import pytest

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ColumnRef, DeclaredTable, LineageQuery
from platform_assets.lineage.classification import classify
from platform_assets.lineage.construction import build_graph
from platform_assets.lineage.graph import Graph
from platform_assets.model.table import Column, Date, Integer, Text

PEOPLE, ORDERS = ("crm", "people"), ("crm", "orders")
SOURCES = {
    PEOPLE: ("id", "mail", "born", "name", "city"),
    ORDERS: ("order_id", "person_id", "note", "paid_on"),
}
GIVEN = [
    Mark(ColumnRef(PEOPLE, "mail"), "EMAIL_ADDRESS", "VERY_LIKELY", Origin.FOUND),
    Mark(ColumnRef(PEOPLE, "born"), "DATE_OF_BIRTH", "LIKELY", Origin.FOUND),
    Mark(ColumnRef(PEOPLE, "name"), "PERSON_NAME", "LIKELY", Origin.DECLARED),
]
MAIL, BORN, NAME = "EMAIL_ADDRESS", "DATE_OF_BIRTH", "PERSON_NAME"
MODELS = {
    "contacts": (
        "SELECT id, lower(trim(mail)) AS mail, born, name || ' from ' || city AS label, city FROM crm.people",
        {"mail": {MAIL}, "born": {BORN}, "label": {NAME}},
    ),
    "ages": (
        "SELECT id, year(born) AS birth_year, extract(decade FROM born) AS decade, "
        "month(born) AS birth_month, date_trunc('year', born) AS around, "
        "strftime(born, '%d.%m.') AS birthday FROM crm.people",
        {"birth_month": {BORN}, "birthday": {BORN}},
    ),
    "numbers": (
        "SELECT city, count(mail) AS with_mail, count(DISTINCT name) AS names, max(name) AS last_name, "
        "min(born) AS oldest, avg(year(born)) AS mean_year, bool_or(mail IS NULL) AS some_without "
        "FROM crm.people GROUP BY city",
        {"last_name": {NAME}, "oldest": {BORN}},
    ),
    "pseudonyms": (
        "SELECT keyed_token(mail) AS person, md5(mail) AS guessable, keyed_token(name) || city AS label, "
        "keyed_token(mail) || '/' || mail AS both FROM crm.people",
        {"guessable": {MAIL}, "both": {MAIL}},
    ),
    "decisions": (
        "SELECT o.order_id, CASE WHEN p.mail LIKE '%@example.org' THEN 'ours' ELSE 'theirs' END AS kind, "
        "row_number() OVER (PARTITION BY p.name ORDER BY p.born) AS place, o.note "
        "FROM crm.orders AS o JOIN crm.people AS p ON p.id = o.person_id WHERE p.mail IS NOT NULL",
        {},
    ),
    "steps": (
        "WITH known AS (SELECT id, mail AS address, count(*) OVER (PARTITION BY mail) AS shared "
        "FROM crm.people), named AS (SELECT k.id, k.address, k.shared, p.name "
        "FROM known AS k JOIN crm.people AS p USING (id)) "
        "SELECT id, shared, coalesce(address, name) AS reach, length(name) AS size FROM named",
        {"reach": {MAIL, NAME}, "size": {NAME}},
    ),
    "together": (
        "SELECT mail AS text, 1 AS source FROM crm.people UNION ALL SELECT note, 2 FROM crm.orders",
        {"text": {MAIL}},
    ),
    "counted_again": (
        "SELECT sum(with_mail) AS total, string_agg(last_name, ', ') AS examples FROM mart.numbers",
        {"examples": {NAME}},
    ),
    "letters": (
        "SELECT c.label AS greeting, c.mail AS recipient, o.paid_on, "
        "(SELECT count(*) FROM mart.pseudonyms) AS people "
        "FROM mart.contacts AS c JOIN crm.orders AS o ON o.person_id = c.id",
        {"greeting": {NAME}, "recipient": {MAIL}},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> Graph:
    """The graph of the labelled business."""
    types = {"id": Integer(), "born": Date(), "paid_on": Date()}
    tables = [
        DeclaredTable(
            asset,
            tuple(Column(name, types.get(name, Text())) for name in names),
            constants=dict.fromkeys(names, "Typed in"),
        )
        for asset, names in SOURCES.items()
    ]
    known = {".".join(asset): asset for asset in SOURCES} | {
        f"mart.{name}": ("mart", name) for name in MODELS
    }
    tables += [
        DeclaredTable(
            ("mart", name),
            query=LineageQuery(
                sql, {text: asset for text, asset in known.items() if text in sql}, is_model=True
            ),
        )
        for name, (sql, _) in MODELS.items()
    ]
    return build_graph(tables, ["keyed_token"])


def test_marks_have_a_precision_and_a_recall_of_one(graph: Graph) -> None:
    expected = {
        (f"mart/{table}.{column}", info_type)
        for table, (_, labels) in MODELS.items()
        for column, info_types in labels.items()
        for info_type in info_types
    }
    marked = {
        (str(mark.column), mark.info_type)
        for mark in classify(graph, GIVEN).marks
        if mark.origin is Origin.DERIVED
    }
    right = len(expected & marked)
    assert (right / len(marked), right / len(expected)) == (1.0, 1.0), (marked - expected, expected - marked)
    # There is enough to be wrong about.
    assert (len(expected), len(list(graph.columns()))) == (16, 47)


@pytest.mark.parametrize("table", MODELS)
def test_every_label_names_a_column(graph: Graph, table: str) -> None:
    names = {column.name for column in graph.tables["mart", table].columns}
    assert MODELS[table][1].keys() <= names
