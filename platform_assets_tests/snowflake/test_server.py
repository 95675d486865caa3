"""The local Snowflake server answers the real connector, and keeps databases apart."""

from __future__ import annotations

from platform_assets_tests.fixtures.snowflake import SnowflakeServer


def test_the_server_answers_the_real_connector(
    snowflake_server: SnowflakeServer, snowflake_database: str
) -> None:
    with snowflake_server.connect(snowflake_database, "STAR") as connection:
        cursor = connection.cursor()
        cursor.execute('CREATE TABLE "Mixed" (id NUMBER(38,0), "order" VARCHAR)')
        cursor.execute("INSERT INTO \"Mixed\" VALUES (1, 'a')")
        assert cursor.execute('SELECT id, "order" FROM "Mixed"').fetchall() == [(1, "a")]
        assert cursor.execute("SELECT current_database(), current_schema()").fetchall() == [
            (snowflake_database, "STAR")
        ]


def test_databases_are_kept_apart(snowflake_server: SnowflakeServer) -> None:
    names = [snowflake_server.create_database() for _ in range(2)]
    for count, name in enumerate(names):
        with snowflake_server.connect(name, "STAR") as connection:
            cursor = connection.cursor()
            cursor.execute(f"CREATE TABLE counted AS SELECT {count} AS n")
            assert cursor.execute("SELECT n FROM counted").fetchall() == [(count,)]
