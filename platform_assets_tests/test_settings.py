"""Settings: what the default file says, what every mistake is told, and that no secret is ever repeated."""

import datetime as dt
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from dagster._utils.schedules import is_valid_cron_string
from pydantic import ValidationError

from platform_assets.configuration.blocks import PlatformSettings
from platform_assets.configuration.cron import USUAL
from platform_assets.configuration.secrets import Secret
from platform_assets.errors import SettingsError
from platform_assets.lake.settings import ZonesSettings
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings, settings_classes
from platform_assets.source.assembly import SourceRoom
from platform_assets.source.settings import ConnectionSettings, SourceSettings, TableOverrides
from platform_assets_tests.fixtures.house import keys_of, source_of
from platform_assets_tests.fixtures.s3 import S3Server

ROOT = Path(__file__).parent.parent
DEFAULT = ROOT / "config" / "platform.conf"
LEAST = """
state_dir = state
sources.totesys.embedded = true
lake { ingestion = in, processed = out }
warehouse.duckdb.path = w.duckdb
"""
CONNECTION = """
sources.totesys {
  embedded = false
  connection { host = db, database = totesys, user = reader, password = "secret://env/PW" }
}
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shield the tests from whatever the person who runs them has set."""
    for name in (
        *("PLATFORM_CONFIG", "PLATFORM_STATE_DIR", "WAREHOUSE_PATH", "LAKE_INGESTION", "LAKE_PROCESSED"),
        *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"),
        *("ENGINE_MEMORY_LIMIT_MB", "ENGINE_THREADS"),
        *(f"TOTESYS_{n}" for n in ("EMBEDDED", "HOST", "PORT", "DATABASE", "USER", "PASSWORD", "SCHEMA")),
        *("TOTESYS_STRATEGY", "TOTESYS_CONNECTIONS"),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "platform.conf") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A Secrets Manager that checks signatures, found through the environment as in production."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    monkeypatch.setenv("AWS_REGION", s3_server.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    return s3_server


def mistakes(file: Path) -> list[str]:
    """Load a file that is expected to be wrong; give the mistakes without the file's name and the line."""
    with pytest.raises(SettingsError) as error:
        load_settings(file)
    place = re.compile(rf"{re.escape(str(file))}(:\d+)?: ")
    return [place.sub("", line.strip(), count=1) for line in str(error.value).splitlines()[1:]]


def with_line(line: str) -> str:
    return f"{LEAST}\n{line}\n"


def test_the_default_configuration_embeds_everything_under_the_project() -> None:
    settings = load_settings(DEFAULT)
    assert keys_of(settings).sources["totesys"].embedded
    assert keys_of(settings).sources["totesys"].connection is None
    assert keys_of(settings).sources["totesys"].sample.sales == 13_000
    assert keys_of(settings).state_dir == ROOT / ".platform"
    assert keys_of(settings).lake.ingestion == str(ROOT / ".platform" / "lake" / "ingestion")
    assert keys_of(settings).lake.storage_options == {}
    assert keys_of(settings).warehouse.duckdb.path == ROOT / ".platform" / "warehouse.duckdb"
    assert keys_of(settings).freshness.within == 30


def test_the_default_file_says_what_the_defaults_are(write: Write) -> None:
    written, least = load_settings(DEFAULT), load_settings(write(LEAST))
    for section in ("engine", "schedule", "freshness"):
        assert getattr(keys_of(written), section) == getattr(keys_of(least), section)
    assert keys_of(written).warehouse.duckdb.wait == keys_of(least).warehouse.duckdb.wait
    assert keys_of(written).sources == keys_of(least).sources


def test_the_environment_alone_points_the_default_file_at_a_database_and_a_bucket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "TOTESYS_EMBEDDED": "false",
        "TOTESYS_HOST": "db.example",
        "TOTESYS_PORT": "6432",
        "TOTESYS_DATABASE": "totesys",
        "TOTESYS_USER": "reader",
        "TOTESYS_PASSWORD": "pw",
        "TOTESYS_SCHEMA": "sales",
        "LAKE_INGESTION": "s3://ingestion/zone/",
        "LAKE_PROCESSED": "s3://processed",
        "AWS_REGION": "eu-west-2",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(DEFAULT)
    connection = keys_of(settings).sources["totesys"].connection
    assert connection is not None
    assert (connection.host, connection.port, connection.db_schema) == ("db.example", 6432, "sales")
    assert connection.password.resolve() == "pw"
    assert keys_of(settings).lake.ingestion == "s3://ingestion/zone"
    assert keys_of(settings).lake.storage_options == {"AWS_REGION": "eu-west-2"}


def test_relative_paths_start_from_the_folder_of_the_file(write: Write, tmp_path: Path) -> None:
    settings = load_settings(write(LEAST.replace("= in,", "= ../in,"), "deep/platform.conf"))
    assert keys_of(settings).state_dir == tmp_path / "deep" / "state"
    assert keys_of(settings).lake.ingestion == str(tmp_path / "in")


def test_platform_config_names_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_CONFIG", str(write(with_line("freshness.within = 7"))))
    assert keys_of(load_settings()).freshness.within == 7


def test_without_a_name_the_projects_own_file_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert keys_of(load_settings()) == keys_of(load_settings(DEFAULT))


def test_an_include_is_read_and_overridden(write: Write) -> None:
    write(with_line("engine { threads = 3, memory_limit_mb = 100 }"), "base.conf")
    settings = load_settings(write('include "base.conf"\nengine.threads = 5'))
    assert (keys_of(settings).engine.threads, keys_of(settings).engine.memory_limit_mb) == (5, 100)


def test_a_file_that_adds_to_the_default_file_keeps_its_other_defaults_and_variables(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTESYS_PORT", "6543")
    own = """
    sources.totesys.embedded = false
    sources.totesys.connection.host = db
    sources.totesys.connection { database = totesys, user = reader }
    """
    connection = (
        keys_of(load_settings(write(f'include file("{DEFAULT}")\n{own}'))).sources["totesys"].connection
    )
    assert connection is not None
    assert (connection.host, connection.port, connection.db_schema, connection.sslmode) == (
        *("db", 6543, "public", "prefer"),
    )


SHOP = """
connection { host = db, database = shop, user = reader, password = "secret://env/PW" }
"""


def with_shop(lines: str = "", name: str = "shop") -> str:
    return with_line(f"sources.{name} {{ {SHOP}\n{lines} }}")


def test_any_other_database_is_a_block_of_its_own(write: Write) -> None:
    sources = keys_of(
        load_settings(
            write(
                with_shop(
                    """
                tables = [orders, "inv_*", "Order Lines"], exclude = ["inv_tmp*"]
                strategy = diff, lag = 60, small_table_rows = 5, deletions_every = 10, connections = 4
                overrides {
                  "Order Lines" { strategy = last_updated, column = changed, lag = 5, key = [order, line] }
                  orders { types { amount = "decimal(12,3)", "a.b" = text } }
                }
                schedule.cron = "0 * * * *", freshness.within = 90
                """
                )
            )
        )
    ).sources
    assert list(sources.discovered) == ["shop"]
    assert "shop" in sources
    assert "crm" not in sources
    shop = sources.discovered["shop"]
    assert sources["shop"] is shop
    assert (shop.tables, shop.exclude) == (("orders", "inv_*", "Order Lines"), ("inv_tmp*",))
    assert (shop.strategy, shop.lag, shop.small_table_rows) == ("diff", 60, 5)
    assert (shop.deletions_every, shop.connections) == (10, 4)
    lines = shop.overrides["Order Lines"]
    assert (lines.strategy, lines.column, lines.lag) == ("last_updated", "changed", 5)
    assert (lines.key, lines.small_table_rows) == (("order", "line"), None)
    assert shop.overrides["orders"].types == {"amount": "decimal(12,3)", "a.b": "text"}
    assert shop.schedule is not None
    assert shop.schedule.cron == "0 * * * *"


def test_a_source_needs_no_more_than_its_connection(write: Write) -> None:
    shop = keys_of(load_settings(write(with_shop()))).sources.discovered["shop"]
    assert (shop.tables, shop.exclude, shop.overrides, shop.schedule) == (("*",), (), {}, None)
    assert (shop.strategy, shop.column, shop.lag, shop.connections) == ("auto", "last_updated", 900, 2)
    assert (shop.small_table_rows, shop.deletions_every) == (200_000, None)


@pytest.mark.parametrize(
    ("lines", "minutes"),
    [
        ("", 15),
        ("freshness.within = 90", 45),
        ("freshness.within = 1", 0.5),
        ("freshness.within = 90, deletions_every = 45", 45),
        ("deletions_every = 0", 0),
    ],
)
def test_rows_that_are_gone_are_looked_for_at_the_latest_after_half_of_freshness(
    write: Write, lines: str, minutes: float
) -> None:
    source = source_of(load_settings(write(with_shop(lines))), "shop", ())
    assert source.policy.deletions_every == dt.timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("lines", "key", "says"),
    [
        (
            "deletions_every = 16",
            "deletions_every",
            "found 16; expected whole minutes, up to 15: half of freshn",
        ),
        (
            "deletions_every = 46, freshness.within = 90",
            "deletions_every",
            "up to 45: half of sources.shop.freshness.within, which is 90",
        ),
        (
            "overrides { orders { deletions_every = 1440 } }",
            "overrides.orders.deletions_every",
            "found 1440; expected whole minutes, up to 15",
        ),
        ("freshness.within = 1, deletions_every = 1", "deletions_every", "up to 0"),
    ],
)
def test_deletions_that_are_looked_for_more_rarely_than_tables_may_be_stale_are_a_mistake(
    write: Write, lines: str, key: str, says: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(write(with_shop(lines)))
    assert f"sources.shop.{key}: " in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("tables = orders", 'tables: found "orders"; expected a list of tables\' names and shell patterns.'),
        ("tables = []", "tables: found an empty list; expected a list of tables' names and shell patterns."),
        ("tables = [a, b, a]", "tables: found a list; expected a list of tables' names and shell patterns ("),
        ("tables = [1]", "tables[0]: found 1; expected a list of tables' names and shell patterns (put text"),
        ("embedded = true", "embedded: found an unknown key; expected a known one, perhaps sources.totesys."),
        ("table = x", "table: found an unknown key; expected a known one, perhaps sources.shop.tables."),
        ("connection.port = 0", "connection.port: found 0; expected a port from 1 to 65535."),
        ("strategy = wal", 'strategy: found "wal"; expected one of auto, xmin, last_updated, diff.'),
        ("overrides.a.stratgy = diff", "overrides.a.stratgy: found an unknown key; expected a known one, pe"),
        ("overrides.a.strategy = 1", "overrides.a.strategy: found 1; expected one of auto, xmin, last_updat"),
        ("overrides.a.key = id", 'overrides.a.key: found "id"; expected a list of the columns that identify'),
        ("overrides.a.key = []", "overrides.a.key: found an empty list; expected a list of the columns that"),
        ("overrides.a.types.x = uuid", 'overrides.a.types.x: found "uuid"; expected a block of columns, eac'),
        ('overrides.a.types.x = "decimal(39,2)"', 'overrides.a.types.x: found "decimal(39,2)"; expected a b'),
        ('overrides.a.types.x = "decimal(2,3)"', 'overrides.a.types.x: found "decimal(2,3)"; expected a blo'),
        ("exclude = [a], overrides.a.lag = 1", "overrides.a: found a block; expected one of a table that so"),
        ("tables = [b], overrides.a.lag = 1", "overrides.a: found a block; expected one of a table that sou"),
        ("schedule.cron = no, freshness.within = 1", 'schedule.cron: found "no"; expected five cron fields,'),
        ('schedule.cron = "@daily"', "freshness: found nothing; expected a block with within, as the source"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_source_names_its_key(write: Write, lines: str, expected: str) -> None:
    found = mistakes(write(with_shop(lines)))
    assert len(found) == 1
    assert found[0].startswith(f"sources.shop.{expected}")


@pytest.mark.parametrize("name", ["Shop", "1shop", "a-b", "star", "warehouse", "lake", "int", "shop_checks"])
def test_a_source_cannot_be_called_what_something_else_is_called(write: Write, name: str) -> None:
    (found,) = mistakes(write(with_shop(name=name)))
    bare = name.strip('"')
    assert found.startswith(
        f'sources.{bare}: found a source called "{bare}"; expected a unique name of lower case'
    )


def test_the_example_of_a_source_can_be_used_as_it_is(write: Write) -> None:
    example = (ROOT / "config" / "sources" / "shop.conf.example").read_text(encoding="utf-8")
    write(example, "sources/shop.conf")
    shop = keys_of(load_settings(write(LEAST))).sources.discovered["shop"]
    assert set(shop.model_fields_set) == set(SourceSettings.model_fields)
    assert set(shop.overrides["order_lines"].model_fields_set) == set(TableOverrides.model_fields)


def test_a_file_in_sources_adds_what_is_in_it(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PORT", "6543")
    write("shop { " + SHOP + "connection.port = 5432\nconnection.port = ${?SHOP_PORT} }", "sources/shop.conf")
    write("crm { " + SHOP + " }", "sources/0.conf")
    write("not a configuration", "sources/notes.txt")
    sources = keys_of(load_settings(write(with_shop(name="web")))).sources
    assert list(sources.discovered) == ["crm", "shop", "web"]
    assert sources.discovered["shop"].connection.port == 6543


def test_a_mistake_in_a_file_in_sources_names_that_file_and_its_variables(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PORT", "many")
    shop = write("shop { " + SHOP + "connection.port = ${?SHOP_PORT}, tables = 5 }", "sources/shop.conf")
    file = write(with_line("engine.threads = 0"))
    assert mistakes(file) == [
        "engine.threads: found 0; expected a whole number, 1 or more.",
        f'{shop}:3: sources.shop.connection.port: found "many" (from the environment variable SHOP_PORT); '
        "expected a port from 1 to 65535.",
        f"{shop}:3: sources.shop.tables: found 5; expected a list of tables' names and shell patterns.",
    ]


def test_a_source_that_two_files_have_is_a_mistake(write: Write) -> None:
    first = write("shop { " + SHOP + " }", "sources/a.conf")
    second = write("shop { " + SHOP + " }", "sources/b.conf")
    file = write(LEAST)
    expected = (
        f"{second}:1: sources.shop: found a second definition; expected it in one file only; {first} "
        "also has it."
    )
    assert mistakes(file) == [expected]
    second.unlink()
    file = write(with_shop())
    expected = f"found a second definition; expected it in one file only; {file} also has it."
    assert mistakes(file) == [f"{first}:1: sources.shop: {expected}"]


def test_a_file_in_sources_that_is_not_hocon_is_named(write: Write) -> None:
    shop = write("shop {", "sources/shop.conf")
    with pytest.raises(SettingsError, match="this is not HOCON") as error:
        load_settings(write(LEAST))
    assert str(error.value).startswith(f"{shop}:1:7: ")


def test_a_source_can_be_given_before_it_has_a_file(write: Write) -> None:
    block = {"connection": {"host": "db", "database": "shop", "user": "u", "password": "secret://env/PW"}}
    file = write(LEAST)
    settings = load_settings(file, given={"shop": block})
    assert keys_of(settings).sources.discovered["shop"].connection.host == "db"
    assert Rooms(settings).of(SourceRoom).source_file("shop") == file.parent / "sources" / "shop.conf"
    assert Rooms(settings).of(SourceRoom).catalogue_file("shop") == file.parent / "catalogue" / "shop.json"
    block["connection"]["password"] = "hunter2"
    with pytest.raises(SettingsError, match="a literal value") as error:
        load_settings(file, given={"shop": block})
    assert "hunter2" not in str(error.value)
    with pytest.raises(SettingsError, match="a second definition; expected a name of its own"):
        load_settings(write(with_shop()), given={"shop": {}})


WAREHOUSE = """
warehouse {
  engine = postgres
  postgres { host = db, database = dwh, user = loader, password = "secret://env/PW", star_schema = sales }
}
warehouses {
  finance {
    engine = snowflake
    snowflake { account = A-B, user = U, private_key = "secret://env/KEY", warehouse = W, database = D }
  }
  archive { engine = bigquery, bigquery { project = p, location = EU, credentials = "secret://file/k.json" } }
}
"""


def test_a_warehouse_is_an_engine_and_a_block_of_its_name(write: Write) -> None:
    settings = load_settings(write(LEAST + WAREHOUSE))
    assert keys_of(settings).warehouse.star_schema == "sales"
    assert keys_of(settings).warehouse.postgres is not None
    assert keys_of(settings).warehouse.postgres.platform_schema == "platform"
    assert keys_of(settings).warehouse.duckdb is not None, "the blocks of other engines are read and not used"
    assert {name: warehouse.star_schema for name, warehouse in keys_of(settings).warehouses.items()} == {
        "finance": "star",
        "archive": "star",
    }
    assert keys_of(settings).snowflake is None


POSTGRES = 'host = db, database = dwh, user = loader, password = "secret://env/PW"'
SNOWFLAKE = "account = A, user = U, warehouse = W, database = D"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "warehouse.engine = snowflake",
            "warehouse.snowflake: found nothing; expected a block with account, ",
        ),
        (
            "warehouses.more.engine = duckdb",
            "warehouses.more.duckdb: found nothing; expected a block with path",
        ),
        ("warehouses.star.duckdb.path = x", "warehouses.star: found a warehouse called "),
        ("warehouses.totesys.duckdb.path = x", "warehouses.totesys: found a warehouse called "),
        ("warehouses.a_load.duckdb.path = x", "warehouses.a_load: found a warehouse called "),
        (
            f"warehouse.postgres {{ {POSTGRES}, platform_schema = star }}",
            'warehouse.postgres.platform_schema: found "star"; expected the name of the schema that',
        ),
        (
            f"warehouse.snowflake {{ {SNOWFLAKE} }}",
            "warehouse.snowflake.password: found nothing; expected a refer",
        ),
        (
            f'snowflake {{ {SNOWFLAKE}, password = "secret://env/A", private_key = "secret://env/B" }}',
            "snowflake.password: found ",
        ),
        (f"snowflake {{ {SNOWFLAKE}, private_key = open }}", "snowflake.private_key: found "),
    ],
)
def test_a_mistake_in_a_warehouse_names_its_key(write: Write, lines: str, expected: str) -> None:
    found = mistakes(write(LEAST + lines))
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_settings_cannot_be_changed(write: Write) -> None:
    settings = load_settings(write(LEAST))
    with pytest.raises(ValidationError):
        keys_of(settings).engine.threads = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("engine.threads = 0", "engine.threads: found 0; expected a whole number, 1 or more."),
        ("engine.threads = 1.5", "engine.threads: found 1.5; expected a whole number, 1 or more."),
        ("engine.threads = many", 'engine.threads: found "many"; expected a whole number, 1 or more.'),
        ("engine.memory_limit_mb = 63", "engine.memory_limit_mb: found 63; expected whole megabytes, 64 or"),
        ("engine.thread = 2", "engine.thread: found an unknown key; expected a known one, perhaps engine."),
        ("threads = 2", "threads: found an unknown key; expected a known one, perhaps engine.threads."),
        ("zzz = 2", "zzz: found an unknown key; expected one of alerts, delivery, dlp, engine, feeds,"),
        ("engine = 3", "engine: found 3; expected a block with memory_limit_mb and threads."),
        ("freshness.within = 30 minutes", "freshness.within: found a period with a unit; expected whole min"),
        ("freshness.within = true", "freshness.within: found true; expected whole minutes, 1 or more"),
        ("state_dir = 5", "state_dir: found 5; expected the path of the folder for local state"),
        ("state_dir = null", "state_dir: found null; expected the path of the folder for local state"),
        ('state_dir = "s3://bucket/x"', 'state_dir: found "s3://bucket/x"; expected the path of the folder'),
        ("sources.totesys.sample.sales = 0", "sources.totesys.sample.sales: found 0; expected a number of o"),
        ("sources.totesys.sample.sales = 50000001", "sources.totesys.sample.sales: found 50000001; expected"),
        ("sources.totesys.embedded = perhaps", 'sources.totesys.embedded: found "perhaps"; expected true ('),
        ("sources.totesys.table = x", "sources.totesys.table: found an unknown key; expected one of column,"),
        ("sources.totesys.key = x", "sources.totesys.key: found an unknown key; expected a known one, perha"),
        ("sources.totesys.strategy = wal", 'sources.totesys.strategy: found "wal"; expected one of auto, xm'),
        ("sources.totesys.connections = 17", "sources.totesys.connections: found 17; expected a whole numbe"),
        ("sources.totesys.overrides.staff.lag = -1", "sources.totesys.overrides.staff.lag: found -1; expect"),
        ("warehouse.engine = oracle", 'warehouse.engine: found "oracle"; expected one of duckdb, postg'),
        ("lake.ingestion = s3a://bucket/x", 'lake.ingestion: found "s3a://bucket/x"; expected a local path,'),
        ("lake.ingestion = [1]", "lake.ingestion: found a list; expected a local path,"),
        ("lake.processed = in", "lake.processed: found "),
        ('schedule.cron = "* * *"', 'schedule.cron: found "* * *"; expected five cron fields, such as "*/5 '),
        ('schedule.cron = "61 * * * *"', 'schedule.cron: found "61 * * * *"; expected five cron fields,'),
        ("schedule.timezone = Mars", 'schedule.timezone: found "Mars"; expected a time zone'),
        ("lake.storage_options.AWS_REGION = [1]", "lake.storage_options.AWS_REGION: found a list; expected "),
        ('lake.storage_options { "a b" = 1 }', "lake.storage_options.a b: found 1; expected text, a number,"),
    ],
)  # fmt: skip
def test_a_mistake_names_key_found_and_expected(write: Write, line: str, expected: str) -> None:
    found = mistakes(write(with_line(line)))
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_all_mistakes_come_in_one_message(write: Write) -> None:
    file = write("engine { threads = 0, memory_limit_mb = 1 }\nstate = x\nlake.ingestion = in")
    assert [line.split(":")[0] for line in mistakes(file)] == [
        "sources", "state_dir", "warehouse", "engine.memory_limit_mb", "engine.threads", "state",
        "lake.processed",
    ]  # fmt: skip


def test_a_missing_key_says_which_environment_variable_would_give_it(write: Write) -> None:
    lines = "sources.totesys { embedded = false, connection { host = ${?UNSET_NAME}\ndatabase = d, user = u"
    found = mistakes(write(with_line(lines + ', password = "secret://env/P" } }')))
    expected = "a host name or address"
    hint = "(the environment variable UNSET_NAME is not set either)"
    assert found == [f"sources.totesys.connection.host: found nothing {hint}; expected {expected}."]


def test_a_mistake_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_THREADS", "two")
    assert mistakes(DEFAULT) == [
        'engine.threads: found "two" (from the environment variable ENGINE_THREADS); expected a whole '
        "number, 1 or more."
    ]


def test_a_mistake_in_an_included_file_names_that_file(write: Write) -> None:
    base = write("threads = 0", "parts/base.conf")
    file = write(with_line('engine { include "parts/base.conf" }'))
    assert mistakes(file) == [f"{base}:1: engine.threads: found 0; expected a whole number, 1 or more."]


def test_a_source_that_is_not_embedded_needs_a_connection(write: Write) -> None:
    found = mistakes(write(with_line("sources.totesys.embedded = false")))
    assert found == [
        "sources.totesys.connection: found nothing; expected a block with host, database, user and password, "
        "as embedded is false."
    ]


def test_a_host_in_the_environment_while_the_sample_is_on_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOTESYS_HOST", "db.example")
    (found,) = mistakes(DEFAULT)
    assert "TOTESYS_HOST is set in the environment while sources.totesys.embedded is true" in found
    assert "set TOTESYS_EMBEDDED=false and give TOTESYS_DATABASE, TOTESYS_USER" in found


def test_a_whole_connection_in_the_file_may_stay_while_the_sample_is_on(write: Write) -> None:
    settings = load_settings(write(LEAST + CONNECTION + "sources.totesys.embedded = true"))
    assert keys_of(settings).sources["totesys"].connection is not None
    found = mistakes(write(LEAST + CONNECTION + "sources.totesys { embedded = true, connection.port = 0 }"))
    assert found == ["sources.totesys.connection.port: found 0; expected a port from 1 to 65535."]


@pytest.mark.parametrize(
    "line",
    [
        "sources.totesys.connection.password = hunter2",
        "sources.totesys.connection.password = 4711",
        'sources.totesys.connection.password = "secret://hunter2"',
        'sources.totesys.connection.password = "secret://env/hunter2 4711"',
        "sources.totesys.connection.passwort = hunter2",
        "sources.totesys.connection.host = \"postgresql://reader:hunter2@db/totesys\"",
        "lake.storage_options.AWS_SECRET_ACCESS_KEY = hunter2",
        "lake.storage_options.aws_session_token = 4711",
        'lake.ingestion = "s3://key:hunter2@bucket/x"',
        'sources.totesys.connection.password = "hunter2',
        "sources.totesys.connection.password = hunter2}",
    ],
)  # fmt: skip
def test_no_message_repeats_a_secret(write: Write, line: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(write(LEAST + CONNECTION + line))
    assert "hunter2" not in str(error.value)
    assert "4711" not in str(error.value)


def test_secrets_from_the_environment_are_not_shown_by_the_settings(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    monkeypatch.setenv("PW", "hunter2")
    settings = load_settings(write(LEAST + CONNECTION))
    assert "hunter2" not in f"{settings!r} {settings} {keys_of(settings)!r}"
    sources = json.loads(keys_of(settings).sources.model_dump_json())
    assert sources["totesys"]["connection"]["password"] == "secret://env/PW"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {\n b = 1\n", ":3:1: .* starts in line 1"),
        ('a = 1\nb = "open\n', ":2:5: "),
        ("a = 1\nb = ]\n", ":2:5: "),
        ("a = 1\nb\n", ":2:2: "),
        ("a = ${nobody_sets_this}\n", ":1:5: "),
        ("a = ${b}\nb = ${a}\n", ":1:5: "),
        ("[1, 2]", "expected keys"),
        (f'{LEAST}include required(file("absent.conf"))\n', "absent.conf"),
        ('include "platform.conf"\n', "includes itself"),
    ],
)
def test_what_is_not_hocon_is_told_with_its_place(write: Write, text: str, expected: str) -> None:
    file = write(text)
    with pytest.raises(SettingsError, match=expected) as error:
        load_settings(file)
    assert str(file) in str(error.value)
    assert len(str(error.value)) < 500


def test_a_syntax_error_in_an_included_file_names_that_file(write: Write) -> None:
    base = write("a = 1\nb = [1, 2\n", "base.conf")
    with pytest.raises(SettingsError) as error:
        load_settings(write('x = 1\ninclude "base.conf"\n'))
    assert str(error.value).startswith(f"{base}:3:1: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"configuration file .*absent\.conf"):
        load_settings(tmp_path / "absent.conf")
    monkeypatch.setenv("PLATFORM_CONFIG", str(tmp_path))
    with pytest.raises(SettingsError, match=r"environment variable PLATFORM_CONFIG\) is a folder"):
        load_settings()


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "platform.conf"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(file)


@pytest.mark.parametrize(
    "cron",
    [
        "*/5 * * * *", "0 7 * * 1-5", "0,30 8-18/2 1 jan,JUL sun", "5 4 * * 7", "@daily", "0 0 31 12 *",
        "5-1 * * * *",
        "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "a * * * *",
        "* * * * * *",
        "", "@reboot", "*/5", "1,,2 * * * *", "1- * * * *", "-1 * * * *", "1.5 * * * *",
        "0 0 30 2 *", "0 0 l * *", "0 0 * * 5#2", "5/10 * * * *", *sorted(USUAL),
    ],
)  # fmt: skip
def test_a_schedule_is_accepted_exactly_when_dagster_accepts_it(write: Write, cron: str) -> None:
    file = write(with_line(f'schedule.cron = "{cron}"'))
    if is_valid_cron_string(cron):
        assert keys_of(load_settings(file)).schedule.cron == cron
    else:
        assert len(mistakes(file)) == 1


def test_a_schedule_that_dagster_refuses_is_a_mistake_with_its_file_and_key(write: Write) -> None:
    file = write(with_line('schedule.cron = "61 * * * *"'))
    [mistake] = mistakes(file)
    assert mistake.startswith(
        'schedule.cron: found "61 * * * *"; expected five cron fields, such as "*/5 * * * *"'
    )
    assert "Dagster does not accept" in mistake


def test_the_shipped_configuration_is_read_without_dagster() -> None:
    file = str(ROOT / "config/platform.conf")
    code = (
        "import sys, pathlib; from platform_assets.settings import load_settings\n"
        f"load_settings(pathlib.Path({file!r})); print('dagster' in sys.modules)"
    )
    assert run_python(code) == "False"


def test_options_for_the_object_store_become_text_and_secrets(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "abc")
    options = 'AWS_ALLOW_HTTP = true, timeout = 30, AWS_SECRET_ACCESS_KEY = "secret://env/KEY"'
    lake = keys_of(load_settings(write(with_line(f"lake.storage_options {{ {options} }}")))).lake
    assert lake.storage_options == {
        "AWS_ALLOW_HTTP": "true", "timeout": "30", "AWS_SECRET_ACCESS_KEY": Secret("secret://env/KEY")
    }  # fmt: skip
    assert lake.resolve_storage_options()["AWS_SECRET_ACCESS_KEY"] == "abc"


def test_settings_can_be_built_without_a_file(tmp_path: Path) -> None:
    lake = ZonesSettings(ingestion=str(tmp_path / "in"), processed="s3://bucket/out")
    assert lake.processed == "s3://bucket/out"
    connection = ConnectionSettings(
        host="h", database="d", user="u", password=Secret("secret://env/P"), schema="s"
    )
    assert connection.db_schema == "s"


def test_a_secret_is_fetched_when_used_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret.parse("secret://env/LATER")
    with pytest.raises(SettingsError, match=r"secret://env/LATER: the environment variable LATER is not set"):
        secret.resolve()
    monkeypatch.setenv("LATER", "hunter2")
    assert secret.resolve() == "hunter2"
    assert repr(secret) == "Secret(reference='secret://env/LATER')"


def test_a_secret_in_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hunter2\n")
    (tmp_path / "pw.json").write_text('{"password": "hunter3", "nothing": ""}')
    assert Secret.parse(f"secret://file{tmp_path}/pw").resolve() == "hunter2"
    assert Secret.parse("secret://file/./pw", tmp_path).resolve() == "hunter2"
    assert Secret.parse("secret://file/./pw.json#password", tmp_path).resolve() == "hunter3"
    for reference in ("./absent", "./pw#password", "./pw.json#absent", "./pw.json#nothing"):
        with pytest.raises(SettingsError, match=r"secret://file/") as error:
            Secret.parse(f"secret://file/{reference}", tmp_path).resolve()
        assert "hunter" not in str(error.value)


@pytest.mark.parametrize(
    "reference",
    [
        "hunter2",
        "secret://",
        "secret://env/",
        "secret://env/A B",
        "secret://vault/x",
        "secret://file/x#",
        "secret://gcp/x",
    ],
)
def test_what_is_not_a_reference_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match="secret://env"):
        Secret.parse(reference)


def test_google_secrets_are_said_to_be_unsupported() -> None:
    with pytest.raises(ValueError, match="secret://gcp is not supported yet"):
        Secret.parse("secret://gcp/projects/p/secrets/s")


def test_a_secret_is_read_from_aws_secrets_manager(aws: S3Server) -> None:
    manager = aws.client("secretsmanager")
    arn = manager.create_secret(Name="totesys/source", SecretString='{"password": "hunter2", "port": 5432}')[
        "ARN"
    ]
    manager.create_secret(Name="plain", SecretString="hunter3")
    assert Secret.parse("secret://aws/totesys/source#password").resolve() == "hunter2"
    assert Secret.parse("secret://aws/totesys/source#port").resolve() == "5432"
    assert Secret.parse(f"secret://aws/{arn}#password").resolve() == "hunter2"
    assert Secret.parse("secret://aws/plain").resolve() == "hunter3"
    with pytest.raises(SettingsError, match="'passwd'") as error:
        Secret.parse("secret://aws/totesys/source#passwd").resolve()
    assert "hunter2" not in str(error.value)
    with pytest.raises(SettingsError, match=r"secret://aws/absent: .*ResourceNotFoundException"):
        Secret.parse("secret://aws/absent").resolve()


def test_a_secret_is_read_from_aws_parameter_store(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = aws.limited("ssm:PutParameter").client("ssm")
    for name, value in {"/totesys/source": '{"password": "hunter2"}', "flat": "hunter3"}.items():
        writer.put_parameter(Name=name, Value=value, Type="SecureString")
    reader = aws.limited("ssm:GetParameter")

    def sign_in(key: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", reader.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the keys that it has found first

    sign_in(reader.secret_access_key)
    assert Secret.parse("secret://ssm/totesys/source#password").resolve() == "hunter2"
    assert Secret.parse("secret://ssm//totesys/source#password").resolve() == "hunter2"
    arn = f"arn:aws:ssm:{aws.region}:123456789012:parameter/totesys/source"
    assert Secret.parse(f"secret://ssm/{arn}#password").resolve() == "hunter2"
    assert Secret.parse("secret://ssm/flat").resolve() == "hunter3"
    with pytest.raises(SettingsError, match="secret://ssm/absent: AWS Systems Manager refused: Parameter"):
        Secret.parse("secret://ssm/absent").resolve()
    sign_in("wrong")
    with pytest.raises(SettingsError, match="secret://ssm/flat: AWS Systems Manager refused") as error:
        Secret.parse("secret://ssm/flat").resolve()
    assert "hunter3" not in str(error.value)


def test_aws_refusing_the_key_is_said_plainly(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SettingsError, match="secret://aws/plain2: AWS Secrets Manager refused"):
        Secret.parse("secret://aws/plain2").resolve()


def test_aws_out_of_reach_is_said_within_ten_seconds(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="secret://aws/plain3: AWS Secrets Manager cannot be reached"):
        Secret.parse("secret://aws/plain3").resolve()


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_reading_aws_without_the_extra_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from platform_assets.configuration.secrets import Secret\n"
        "try: Secret.parse('secret://aws/x').resolve()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    output = run_python(code)
    assert output.startswith("SettingsError secret://aws/x")
    assert "pip install 'platform-assets[aws]'" in output


def test_importing_settings_imports_neither_dagster_nor_boto3() -> None:
    code = "import sys, platform_assets.settings; print({'dagster', 'boto3'} & set(sys.modules))"
    assert run_python(code) == "set()"


def test_every_key_of_the_default_file_is_declared_and_described() -> None:
    blocks = (PlatformSettings, *settings_classes())
    for model in (*blocks, *(field.annotation for block in blocks for field in block.model_fields.values())):
        for name, declared in getattr(model, "model_fields", {}).items():
            assert declared.description, f"{model}.{name} has no description"
