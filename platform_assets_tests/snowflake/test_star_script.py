"""The star schema's script in the documentation is the one that the loader writes."""

from __future__ import annotations

from pathlib import Path

from platform_assets.lake.lake import Lake
from platform_assets.model.table import Time
from platform_assets.model.totesys import star
from platform_assets.parquet.footers import declared_columns
from platform_assets.parquet.schemas import TableColumn
from platform_assets.parquet.tables import ParquetTable, TableFile
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.script import Script, script

PAGE = Path(__file__).parents[2] / "docs" / "snowflake_script.md"
BEGIN, END = "<!-- the script of the star schema -->\n```sql\n", "```\n<!-- the end of the script -->\n"


def star_script() -> Script:
    """The script of the star schema in a lake on S3, a file of 1,000 rows for each table."""
    lake = Lake("s3://example-ingestion", "s3://example-processed")
    tables = []
    for table in star.TABLES:
        stored = lake.star(table)
        columns = tuple(
            TableColumn(column.name, column.type, column.nullable)
            for column in declared_columns(stored.arrow_schema)
        )
        file = TableFile("part-00000.snappy.parquet", 1000, 0)
        tables.append(ParquetTable(table.name, stored.uri, table.name, (file,), columns))
    times = {
        f"{table.name}.{column.name}": "TIME(6)"
        for table in star.TABLES
        for column in table.columns
        if isinstance(column.type, Time)
    }
    return script(
        tables,
        ScriptOptions(
            database="analytics",
            schema="star",
            case="upper",
            storage_integration="lake_reader",
            columns=times,
        ),
    )


def with_script(page: str) -> str:
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{star_script().text}{END}{tail}"


def test_the_script_in_the_documentation_is_the_one_that_is_written() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert page == with_script(page), f"write it anew: python -m {__spec__.name}"


if __name__ == "__main__":
    PAGE.write_text(with_script(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
