"""Settings that used to pass in silence: includes of nothing, places that are no paths, unused blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_assets.dlp.assembly import InspectionRoom
from platform_assets.dlp.settings import PROBLEMS
from platform_assets.errors import SettingsError
from platform_assets.formats.problems import ProblemKind
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets_tests.fixtures.house import keys_of

ROOT = Path(__file__).parent.parent
DEFAULT = ROOT / "config" / "platform.conf"
LEAST = """
state_dir = state
sources.totesys.embedded = true
lake { ingestion = in, processed = out }
warehouse.duckdb.path = w.duckdb
"""


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        *("PLATFORM_CONFIG", "PLATFORM_STATE_DIR", "WAREHOUSE_PATH", "LAKE_INGESTION", "LAKE_PROCESSED"),
        *("AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ALLOW_HTTP", "UPLOADS_PLACE", "DAGSTER_URL"),
        *(f"TOTESYS_{n}" for n in ("EMBEDDED", "HOST", "PORT", "DATABASE", "USER", "PASSWORD", "SCHEMA")),
        *("TOTESYS_SSLMODE", "TOTESYS_SSLROOTCERT", "TOTESYS_STRATEGY", "TOTESYS_CONNECTIONS"),
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, **files: str) -> Path:
    """Write files by name, `parts__x` for parts/x.conf; give the first."""
    paths = [folder / (name.replace("__", "/") + ".conf") for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return paths[0]


def mistakes(file: Path) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load_settings(file)
    return [
        line.strip() for line in str(error.value).splitlines() if not line.startswith("The configuration")
    ]


@pytest.mark.parametrize(
    "include", ['include "dpl.conf"', 'include file("dpl.conf")', 'include required("dpl.conf")']
)
def test_an_include_of_a_file_that_is_not_there_is_a_mistake(tmp_path: Path, include: str) -> None:
    (found,) = mistakes(written(tmp_path, platform=f"{LEAST} dlp {{ {include} }}"))
    assert str(tmp_path / "dpl.conf") in found
    assert "No such file or directory" in found


def test_it_is_one_at_every_depth_and_beside_all_other_mistakes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = written(
        tmp_path,
        platform=f'{LEAST} engine.threads = 0\n include "parts/a.conf"',
        parts__a='dlp { include "b.conf" }',
        parts__b='inspect { include "c.conf" }',
    )
    assert sorted(mistakes(file), key=lambda line: "include" in line) == [
        f"{file}:6: engine.threads: found 0; expected a whole number, 1 or more.",
        f"{tmp_path}/parts/b.conf:1: dlp.inspect: found an include of {tmp_path}/parts/c.conf "
        "(No such file or directory); expected the name of a file that can be read.",
    ]
    assert capfd.readouterr() == ("", "")


def test_it_is_one_in_the_file_of_a_source(tmp_path: Path) -> None:
    source = 'shop { connection { host = h, database = d, user = u, password = "secret://env/P" }\n'
    file = written(tmp_path, platform=LEAST, sources__shop=source + 'include "ovrrides.conf" }')
    (found,) = mistakes(file)
    assert found.startswith(
        f"{tmp_path}/sources/shop.conf:2: shop: found an include of {tmp_path}/sources/ovr"
    )


def test_a_folder_a_pattern_and_an_address_that_give_nothing_are_mistakes(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (found,) = mistakes(written(tmp_path, platform=LEAST + 'include "parts"'))
    assert "Is a directory" in found
    (found,) = mistakes(written(tmp_path, platform=LEAST + 'dlp { include "parts/*.conf" }'))
    assert "dlp: found an include of" in found
    assert "no file matches" in found
    (found,) = mistakes(written(tmp_path, platform=LEAST + 'include url("http://127.0.0.1:1/x.conf")'))
    assert "http://127.0.0.1:1/x.conf (only files can be included)" in found
    (found,) = mistakes(written(tmp_path, platform=LEAST + 'include url("nowhere:x")'))
    assert "nowhere" in found


def test_includes_that_are_there_are_no_mistakes(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        platform=LEAST + 'engine { include "parts/*.conf" }',
        parts__a="threads = 3",
        parts__b='include "../more.conf"',
        more="memory_limit_mb = 100",
    )
    settings = load_settings(file)
    assert (keys_of(settings).engine.threads, keys_of(settings).engine.memory_limit_mb) == (3, 100)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("s3:/bucket/x", "a bucket is written s3://bucket/prefix"),
        ("s3:bucket/x", "a bucket is written s3://bucket/prefix"),
        ("S3://bucket/x", "a bucket is written s3://bucket/prefix"),
        ("s3a://bucket/x", "a bucket is written s3://bucket/prefix"),
        ("s3//bucket/x", "a bucket is written s3://bucket/prefix"),
        ("gs:/bucket/x", "a bucket is written gs://bucket/prefix"),
        ("gcs://bucket/x", "a bucket is written gs://bucket/prefix"),
        ("s3://Bucket/x", "only s3:// and gs:// with a bucket name in lower case are known"),
        ("https://bucket.s3.example.com/x", "only s3:// and gs:// with a bucket name"),
        ("file:///data/x", "only s3:// and gs:// with a bucket name"),
        ("file:/data/x", "it looks like a URI"),
        ("hdfs:/data", "it looks like a URI"),
        ("C:\\\\data", "it is a path on Windows"),
        ("D:/data", "it is a path on Windows"),
        ("\\\\\\\\server\\\\share", "it is a path on Windows"),
        (" data", "it starts or ends with white space"),
        ("a\\nb", "it has control characters in it"),
        ("~nobody-of-this-name/x", "no home folder is known for ~nobody-of-this-name"),
        ("", "it is not text"),
    ],
)
def test_a_place_that_is_no_bucket_and_no_path_is_no_local_folder(
    tmp_path: Path, place: str, reason: str
) -> None:
    lines = f'{LEAST} lake.ingestion = "{place}"\n watches.w.place = "{place}"'
    watch, zone = sorted(mistakes(written(tmp_path, platform=lines)), key=lambda line: "lake.in" in line)
    assert "lake.ingestion: found" in zone
    assert reason in zone
    assert "watches.w.place: found" in watch
    assert reason in watch


@pytest.mark.parametrize("key", ["state_dir", "warehouse.duckdb.path"])
@pytest.mark.parametrize(
    "path", ["s3:/bucket/x", "file:/data", "C:/data", "~nobody-of-this-name", "x ", "a\\nb"]
)
def test_a_local_path_is_one(tmp_path: Path, key: str, path: str) -> None:
    found = mistakes(written(tmp_path, platform=f'{LEAST} {key} = "{path}"'))
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == [key]


def test_a_colon_in_a_path_can_be_written(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, platform=LEAST + 'lake.ingestion = "./a:b"'))
    assert keys_of(settings).lake.ingestion == str(tmp_path / "a:b")


def test_a_connection_that_the_embedded_sample_leaves_unused_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOTESYS_PORT", "abc")
    monkeypatch.setenv("TOTESYS_SSLMODE", "verify_full")
    port, sslmode = mistakes(DEFAULT)
    assert (
        'connection.port: found "abc" (from the environment variable TOTESYS_PORT); expected a port' in port
    )
    assert 'connection.sslmode: found "verify_full"' in sslmode
    lines = LEAST + "sources.totesys.connection { password = hunter2, conect_timeout = 3 }"
    password, typo = sorted(mistakes(written(tmp_path, platform=lines)), key=lambda line: "unknown" in line)
    assert "connection.password: found a literal value (not shown)" in password
    assert "hunter2" not in password
    assert "an unknown key; expected a known one, perhaps sources.totesys.connection.connect_timeout" in typo


def test_one_setting_moves_all_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def places() -> list[str]:
        settings = load_settings(DEFAULT)
        assert keys_of(settings).warehouse.duckdb is not None
        return [
            keys_of(settings).lake.ingestion,
            keys_of(settings).lake.processed,
            str(keys_of(settings).warehouse.duckdb.path),
            keys_of(settings).watches["uploads"].place,
        ]

    def in_folder(folder: Path) -> list[str]:
        names = ("lake/ingestion", "lake/processed", "warehouse.duckdb", "uploads")
        return [str(folder / name) for name in names]

    assert places() == in_folder(ROOT / ".platform")
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path))
    assert places() == in_folder(tmp_path)
    monkeypatch.setenv("LAKE_PROCESSED", "s3://bucket/lake")
    monkeypatch.setenv("WAREHOUSE_PATH", "/data/w.duckdb")
    assert places() == [
        str(tmp_path / "lake/ingestion"),
        "s3://bucket/lake",
        "/data/w.duckdb",
        str(tmp_path / "uploads"),
    ]


def test_a_file_that_includes_the_default_one_moves_all_state_too(tmp_path: Path) -> None:
    (tmp_path / "platform.conf").write_text(DEFAULT.read_text())
    (tmp_path / "dlp.conf").write_text((ROOT / "config" / "dlp.conf").read_text())
    settings = load_settings(written(tmp_path, mine='include "platform.conf"\nstate_dir = "/srv/state"'))
    assert keys_of(settings).lake.ingestion == "/srv/state/lake/ingestion"
    assert keys_of(settings).watches["uploads"].place == "/srv/state/uploads"


def test_an_endpoint_over_http_needs_no_second_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def resolved(options: str) -> dict[str, str]:
        file = written(tmp_path, platform=f"{LEAST} lake.storage_options {{ {options} }}")
        return keys_of(load_settings(file)).lake.resolve_storage_options()

    plain = 'AWS_ENDPOINT_URL = "http://127.0.0.1:9000"'
    assert resolved(plain)["AWS_ALLOW_HTTP"] == "true"
    assert resolved('aws_endpoint = "http://minio:9000"')["AWS_ALLOW_HTTP"] == "true"
    assert "AWS_ALLOW_HTTP" not in resolved('AWS_ENDPOINT_URL = "https://s3.example.com"')
    assert resolved(f"{plain}, AWS_ALLOW_HTTP = false")["AWS_ALLOW_HTTP"] == "false"
    assert resolved("AWS_REGION = eu-west-2") == {"AWS_REGION": "eu-west-2"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert resolved("AWS_REGION = eu-west-2")["AWS_ALLOW_HTTP"] == "true"


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ('AWS_REGION = ""', "it is empty"),
        ("AWS_REGOIN = eu-west-2", "perhaps AWS_REGION"),
        ('AWS_ENDPOINT_ULR = "http://x"', "perhaps AWS_ENDPOINT_URL"),
        ('AWS_ENDPOINT_URL = "localhost:9000"', "an endpoint is an address that starts with http"),
        ("AWS_S3_ALLOW_UNSAFE_RENAMES = true", "perhaps AWS_S3_ALLOW_UNSAFE_RENAME"),
    ],
)
def test_options_that_the_object_store_would_ignore_are_mistakes(
    tmp_path: Path, option: str, reason: str
) -> None:
    (found,) = mistakes(written(tmp_path, platform=f"{LEAST} lake.storage_options {{ {option} }}"))
    assert reason in found


def test_options_that_nobody_here_knows_pass(tmp_path: Path) -> None:
    options = "SOMETHING_NEW = 1, AWS_S3_ALLOW_UNSAFE_RENAME = true, region = eu-west-2"
    settings = load_settings(written(tmp_path, platform=f"{LEAST} lake.storage_options {{ {options} }}"))
    assert keys_of(settings).lake.storage_options["SOMETHING_NEW"] == "1"


@pytest.mark.parametrize(
    ("lines", "key", "reason"),
    [
        ('alerts.dagster_url = "localhost:3000"', "alerts.dagster_url", "an address starts with http://"),
        (
            'alerts.channels.a.email { host = "smtp://h", sender = "a@b", recipients = ["c@d"] }',
            "alerts.channels.a.email.host",
            "only the host's name",
        ),
        ('stackql.host = "db:5432"', "stackql.host", "only the host's name"),
        ('stackql.host = "[::1]:5432"', "stackql.host", "only the host's name"),
        (
            'alerts.channels.a.email { host = h, sender = "a@b", recipients = ["c@d", nobody] }',
            "alerts.channels.a.email.recipients[1]",
            "a mail address has one @",
        ),
        ("alerts.channels.a.sns.topic = audit", "alerts.channels.a.sns.topic", "it is no ARN of a topic"),
        (
            'watches.a { place = "s3://bucket/x", queue = my-queue }',
            "watches.a.queue",
            "its form is different",
        ),
        ("dlp.inspect.inspector = google", "dlp.inspect.project", "the Google Cloud project"),
        ('dlp.inspect.custom.A.regex = "(?=x)"', "dlp.inspect.custom.A.regex", "RE2 does not take it"),
        (r'dlp.inspect.custom.A.regex = "\bx"', "dlp.inspect.custom.A.regex", r"write it as \\b"),
        ("dlp.inspect.custom.A {}", "dlp.inspect.custom.A.words", "give either regex or words"),
        (
            "dlp.inspect.exclusions.A { info_types = [URL], regex = x, words = [y] }",
            "dlp.inspect.exclusions.A.words",
            "give either regex or words, not both",
        ),
        (
            "watches.a.place = x, feeds.f { watch = a, pattern = x, format = csv, encoding = utf9 }",
            "feeds.f.encoding",
            "no such encoding exists",
        ),
        (
            "watches.a.place = x, feeds.f { watch = a, pattern = x, format = csv, mode = merge }",
            "feeds.f.mode",
            "merge needs a key",
        ),
        (
            "watches.a.place = x, feeds.f { watch = a, pattern = x, format = csv, columns.id.type = text, "
            "key = [ID] }",
            "feeds.f.key",
            "ID is not among the columns id",
        ),
    ],
)
def test_what_would_fail_when_it_is_used_fails_when_the_platform_starts(
    tmp_path: Path, lines: str, key: str, reason: str
) -> None:
    (found,) = mistakes(written(tmp_path, platform=f"{LEAST} {lines}"))
    assert found.startswith(f"{tmp_path}/platform.conf:6: {key}: found ")
    assert reason in found


def test_a_mail_address_may_have_a_name(tmp_path: Path) -> None:
    lines = 'alerts.channels.a.email { host = h, sender = "Data <data@b.org>", recipients = ["c@d.org"] }'
    settings = load_settings(written(tmp_path, platform=f"{LEAST} {lines}"))
    assert keys_of(settings).alerts.channels["a"].email is not None
    assert keys_of(settings).alerts.channels["a"].email.sender == "Data <data@b.org>"


@pytest.mark.parametrize(
    ("lines", "key", "reason"),
    [
        (
            "dlp.rules { all { action = alert }, mine { action = block, info_types = [URL] } }",
            "dlp.rules.mine",
            'a rule behind "all", which decides everything',
        ),
        (
            "dlp.uninspected { all { action = block }, mine { action = allow, problems = [SAMPLED] } }",
            "dlp.uninspected.mine",
            'a rule behind "all", which decides everything',
        ),
        (
            "dlp.uninspected.mine { action = allow, problems = [UNSUPORTED] }",
            "dlp.uninspected.mine.problems",
            "UNSUPORTED matches none of TRUNCATED",
        ),
        (
            "dlp.rules.mine { action = block, keep_last = 4 }",
            "dlp.rules.mine.keep_last",
            "only the action mask",
        ),
        ("dlp.rules.mine { action = mask, days = 4 }", "dlp.rules.mine.days", "only the action date_shift"),
        (
            "dlp.inspect.hotwords.a { info_types = [URL], regex = x, before = 0 }",
            "dlp.inspect.hotwords.a.after",
            "looked for nowhere",
        ),
        (
            "warehouses.finance { engine = duckdb, duckdb.path = w.duckdb }",
            "warehouses.finance.duckdb.path",
            "a file of its own: warehouse.duckdb.path has this one",
        ),
    ],
)
def test_what_would_never_be_used_is_a_mistake(tmp_path: Path, lines: str, key: str, reason: str) -> None:
    (found,) = mistakes(written(tmp_path, platform=f"{LEAST} {lines}"))
    assert found.startswith(f"{tmp_path}/platform.conf:6: {key}: found ")
    assert reason in found


def test_a_column_may_be_changed_by_a_rule_behind_all_others(tmp_path: Path) -> None:
    lines = 'dlp.rules { all { action = alert }, born { action = drop, places = ["star/dim_staff.*"] } }'
    assert list(keys_of(load_settings(written(tmp_path, platform=f"{LEAST} {lines}"))).dlp.rules) == [
        "all",
        "born",
    ]


def test_all_info_types_that_are_not_there_are_told_when_the_platform_starts(tmp_path: Path) -> None:
    lines = """
    dlp.inspect { info_types = [EMAIL, STAFF], exclude = [URLS] }
    dlp.inspect.custom { STAFF.words = [a], URL.words = [b] }
    dlp.inspect.hotwords.h { info_types = [PHONE], regex = x }
    dlp.rules { a { action = alert, info_types = [PERSON_NAMES, EMAIL, LOCATION, "*_NUMBER"] } }
    """
    file = written(tmp_path, platform=f"{LEAST} {lines}")
    with pytest.raises(SettingsError) as error:
        Rooms(load_settings(file)).of(InspectionRoom).check_info_types()
    first, *told = str(error.value).splitlines()
    assert first == "The configuration has 6 mistakes; nothing was started."
    assert told[1] == (
        f"  {file}:7: dlp.inspect.info_types: found 'EMAIL'; expected an info type of docs/dlp_detection.md "
        "or of dlp.inspect.custom, perhaps EMAIL_ADDRESS."
    )
    keys = [line.removeprefix(f"  {file}").split(": ")[:2] for line in told]
    assert keys == [
        [":7", "dlp.inspect.exclude"],
        [":7", "dlp.inspect.info_types"],
        [":8", "dlp.inspect.custom.URL"],
        [":9", "dlp.inspect.hotwords.h.info_types"],
        [":10", "dlp.rules.a.info_types"],
        [":10", "dlp.rules.a.info_types"],
    ]


def test_an_inspection_that_leaves_nothing_to_look_for_is_a_mistake(tmp_path: Path) -> None:
    lines = "dlp.inspect { info_types = [URL], exclude = [URL] }"
    room = Rooms(load_settings(written(tmp_path, platform=f"{LEAST} {lines}"))).of(InspectionRoom)
    with pytest.raises(SettingsError, match="something is left to look for"):
        room.check_info_types()


def test_the_problems_that_rules_may_name_are_those_that_there_are() -> None:
    assert {*PROBLEMS} == {*ProblemKind}
