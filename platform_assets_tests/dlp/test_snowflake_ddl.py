"""The DDL of tags and masking policies: what is in it, and that a Snowflake parser takes it."""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ColumnRef
from platform_assets.dlp.policy import Action, Deidentification, Policy, Rule
from platform_assets.dlp.snowflake_ddl import Place, statements
from platform_assets.model.totesys.star import TABLES

MASKED = Rule(
    "staff addresses", Action.DEIDENTIFY, ("EMAIL_ADDRESS",), places=("star/dim_staff.*",),
    deidentify=Deidentification("mask"),
)  # fmt: skip
VERDICTS = [
    Mark(ColumnRef(tuple(table.split("/")), column), info_type, likelihood, Origin.FOUND)
    for table, column, info_type, likelihood in (
        ("star/dim_staff", "email_address", "EMAIL_ADDRESS", "LIKELY"),
        ("star/dim_staff", "first_name", "PERSON_NAME", "POSSIBLE"),
        ("totesys/staff", "email_address", "EMAIL_ADDRESS", "LIKELY"),
        ("star/dim_staff", "gone", "URL", "LIKELY"),
    )
]
PLACE = Place("star", "policies", "PII_READER")


def test_every_sensitive_column_is_tagged_and_masked_where_a_rule_de_identifies() -> None:
    tag, mask = '"policies"."PLATFORM_INFO_TYPE"', '"policies"."PLATFORM_MASK_VARCHAR"'
    column = 'ALTER TABLE "star"."dim_staff" MODIFY COLUMN'
    assert list(statements(VERDICTS, TABLES, Policy((MASKED,)), PLACE)) == [
        'CREATE SCHEMA IF NOT EXISTS "policies"',
        f"CREATE TAG IF NOT EXISTS {tag} COMMENT = 'What the column holds'",
        f"{column} \"email_address\" SET TAG {tag} = 'EMAIL_ADDRESS'",
        f"CREATE MASKING POLICY IF NOT EXISTS {mask} AS (VAL VARCHAR) RETURNS VARCHAR -> "
        "CASE WHEN IS_ROLE_IN_SESSION('PII_READER') THEN VAL ELSE '********' END",
        f'{column} "email_address" SET MASKING POLICY {mask}',
        f"{column} \"first_name\" SET TAG {tag} = 'PERSON_NAME'",
    ]


def test_names_are_in_upper_case_where_the_tables_are() -> None:
    place = Place("STAR", "POLICIES", "R", is_upper=True)
    text = "\n".join(statements(VERDICTS, TABLES, Policy(()), place))
    assert 'ALTER TABLE "STAR"."DIM_STAFF" MODIFY COLUMN "EMAIL_ADDRESS" SET TAG' in text
    assert "MASKING" not in text


def test_where_nothing_was_found_there_is_nothing_to_say() -> None:
    assert list(statements([], TABLES, Policy((MASKED,)), PLACE)) == []


def test_a_parser_of_snowflakes_dialect_takes_what_it_knows_of_it() -> None:
    # Of tags and policies it passes most through; what a mask computes, it knows.
    [made] = [
        one for one in statements(VERDICTS, TABLES, Policy((MASKED,)), PLACE) if "MASKING POLICY IF" in one
    ]
    assert isinstance(sqlglot.parse_one(made.partition("-> ")[2], dialect="snowflake"), exp.Case)
