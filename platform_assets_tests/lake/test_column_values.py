"""A column's distinct values come in the same pieces, whether they are cut in memory or in DuckDB."""

from __future__ import annotations

import duckdb
import pytest

from platform_assets.lake import column_values

TEXTS = "SELECT CASE WHEN n % 10 = 0 THEN '' WHEN n % 11 <> 0 THEN 'ä' || (n % 4000) || '€' END AS text"


def cut(connection: duckdb.DuckDBPyConnection, source: str) -> list[list[str]]:
    return [piece.to_pylist() for piece in column_values.pieces(connection, source, "text")]


@pytest.mark.parametrize("bits", [32, 6], ids=["few share a place", "many share a place"])
@pytest.mark.parametrize("limit", ["VALUES_PER_PIECE", "BYTES_PER_PIECE"])
def test_values_that_fit_in_memory_are_cut_as_those_that_do_not(
    monkeypatch: pytest.MonkeyPatch, bits: int, limit: str
) -> None:
    monkeypatch.setattr(column_values, "PLACE_BITS", bits)
    monkeypatch.setattr(column_values, limit, 700)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE given AS {TEXTS} FROM range(9000) AS r (n)")
        held = cut(connection, "given")
        monkeypatch.setattr(column_values, "_BYTES_HELD", 0)
        assert cut(connection, "given") == held
        distinct = connection.sql("SELECT DISTINCT text FROM given WHERE text <> ''").fetchall()
    assert len(held) > 3
    assert sorted(value for piece in held for value in piece) == sorted(value for (value,) in distinct)


@pytest.mark.parametrize("held", [0, 64_000_000])
def test_a_column_without_values_has_no_pieces(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(column_values, "_BYTES_HELD", held)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE given AS SELECT NULL::VARCHAR AS text FROM range(3)")
        assert cut(connection, "given") == []
        connection.execute("CREATE OR REPLACE TABLE given AS SELECT '' AS text")
        assert cut(connection, "given") == []
        connection.execute("CREATE OR REPLACE TABLE given AS SELECT 'one' AS text FROM range(3)")
        assert cut(connection, "given") == [["one"]]
