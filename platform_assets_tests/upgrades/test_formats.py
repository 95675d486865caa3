"""What is stored in the format of a newer version is refused, alone, before anything is written."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from deltalake import DeltaTable

from platform_assets import stored
from platform_assets.errors import LakeConflict, LakeError, StoredFileError, WarehouseError
from platform_assets.lake.delta import LakeTable
from platform_assets.model.table import Column, Integer
from platform_assets.settings import load_settings
from platform_assets.stored import (
    BRONZE,
    FORMATS,
    LEDGER,
    STAR,
    STATE,
    FormatProblem,
    Stored,
    StoredFormat,
    format_problems,
    json_file,
    refuse_state,
    stamp_new_state,
    state_folder,
)
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import CONFIGURATION, STAR_TABLE, Platform, Totesys
from platform_assets_tests.fixtures.upkeep import opened

pytestmark = pytest.mark.sampled(2)

ROOT = Path(stored.__file__).parents[1]
NUMBER = (Column("number", Integer(64), ""),)
WRITES = {"write_text", "write_bytes", "write_whole", "write_deltalake"}
WRITERS = {
    "dlp/accepted.py": "a baseline, which the user keeps beside what was scanned",
    # Formats of `FORMATS`.
    "lake/delta.py": "Delta tables",
    "lake/upkeep/rewrite.py": "Delta tables",
    "stored.py": "the version in JSON files",
    "source/declaration.py": "catalogues, and the configuration of a source",
    "delivery/staging.py": "lists of staged files, and staged files",
    "tasks/execution.py": "records of what tasks made",
    # Files of others, in formats of others.
    "preparation.py": "an .env that make writes anew",
    "runs.py": "a copy of dagster.yaml",
    "lake/probes.py": "a table and a file that the doctor removes again",
    "sample/embedded.py": "files of PostgreSQL",
    "dlp/assembly.py": "a random key",
    "alerts/email.py": "messages, as .eml",
    "alerts/heartbeat.py": "the time of the last heartbeat, for monitors",
    "snowflake/command.py": "a script for the user",
    "lineage/cache.py": "a graph and notes that are derived again where their files cannot be read",
    "lineage/remembered.py": "marks that the next inspection finds again",
    "lineage/assembly.py": "a page for the user",
    "delivery/writers/folder.py": "delivered files",
    # Files that go with the run that made them.
    "delivery/reading.py": "data on its way",
    "delivery/renderers/workshop.py": "data on its way",
    "delivery/renderers/excel.py": "data on its way",
    "delivery/renderers/zip_files.py": "data on its way",
    "feeds/reading.py": "data on its way",
    "feeds/staging.py": "data on its way",
    "tasks/archives.py": "what a task makes for the user",
    "tasks/builtin/download.py": "what a task makes for the user",
    "tasks/http.py": "what a task makes for the user",
    "processes.py": "the function by which whole files are written",
}


def newer(table: LakeTable) -> None:
    """Let a table have been written by the next version."""
    assert table.format is not None
    opened(table).alter.set_table_name(table.format.table_name_of(table.format.version + 1))


@pytest.fixture(scope="module")
def totesys(new_module_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_module_database())


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    made = Platform.on_disk(totesys, tmp_path)
    made.tick()
    return made


def test_new_tables_carry_their_format_and_version(platform: Platform) -> None:
    found = {
        f"{zone}/{path}": DeltaTable(table.uri).metadata().name
        for zone, path, table in platform.lake.found_tables()
    }
    assert found["ingestion/_ledger"] == "platform_assets.ledger/1"
    assert found["ingestion/totesys/staff"] == "platform_assets.bronze/1"
    assert found["processed/star/dim_date"] == "platform_assets.star/1"
    assert {str(name).split("/")[0] for name in found.values()} <= {
        f"platform_assets.{name}" for name in FORMATS
    }
    assert platform.warehouse.stored_format() == 1


def test_the_name_outlives_appends_added_columns_and_a_checkpoint(tmp_path: Path) -> None:
    import pyarrow as pa

    table = LakeTable(str(tmp_path / "table"), NUMBER, format=LEDGER)
    table.append(None, pa.table({"number": [1]}), stream="s", version=1)
    wider = LakeTable(table.uri, (*NUMBER, Column("more", Integer(64), "", nullable=True)), format=LEDGER)
    wider.append(wider.open(), pa.table({"number": [2], "more": [2]}), stream="s", version=2)
    opened(wider).create_checkpoint()
    wider.overwrite(wider.open(), pa.table({"number": [3], "more": [3]}), stream="s", version=3)
    assert opened(wider).metadata().name == "platform_assets.ledger/1"


def test_a_table_without_a_version_has_version_1(tmp_path: Path) -> None:
    import pyarrow as pa

    table = LakeTable(str(tmp_path / "table"), NUMBER, format=LEDGER)
    LakeTable(table.uri, NUMBER).append(None, pa.table({"number": [1]}), stream="s", version=1)
    assert DeltaTable(table.uri).metadata().name is None
    assert table.open() is not None
    described = table.stored()
    assert described is not None
    assert (described.format, described.version()) == (LEDGER, 1)


def test_a_newer_source_table_is_stopped_alone_and_nothing_is_written_to_it(
    totesys: Totesys, platform: Platform
) -> None:
    design = platform.lake.bronze("totesys", next(t for t in platform.source.tables if t.name == "design"))
    newer(design)
    before = {name: text for name, text in platform.files().items() if "/totesys/design/" in name}
    totesys.update("staff", 1, first_name="Ada")
    totesys.update("design", 1, design_name="Bronze")
    extraction = platform.extract()
    reason = extraction.tables["design"].stopped
    assert reason is not None
    assert "format version 2" in reason
    assert "knows versions up to 1" in reason
    assert "Install that version" in reason
    assert extraction.tables["staff"].updated == 1
    after = {name: text for name, text in platform.files().items() if "/totesys/design/" in name}
    assert after == before


def test_a_newer_star_table_is_stopped_alone(totesys: Totesys, platform: Platform) -> None:
    newer(platform.lake.star(STAR_TABLE["dim_design"]))
    totesys.update("staff", 2, first_name="Grace")
    platform.extract()
    changes = platform.build()
    assert "format version 2" in (changes["dim_design"].stopped or "")
    assert changes["dim_staff"].rows_written == 1
    loads = platform.load()
    assert "format version 2" in (loads["dim_design"].stopped or "")
    assert loads["dim_staff"].rows_written == 1


def test_a_newer_ledger_stops_the_lake_before_anything_is_written(platform: Platform) -> None:
    newer(platform.lake.ledger.table)
    before = platform.files()
    with pytest.raises(LakeError, match=r"The ledger .* has format version 2"):
        platform.tick()
    assert platform.files() == before


def test_a_newer_warehouse_is_refused_before_anything_is_written(
    totesys: Totesys, platform: Platform
) -> None:
    platform.warehouse.store_format(2)
    rows = platform.query("FROM platform.loads ORDER BY ALL")
    totesys.update("staff", 1, first_name="Edsger")
    platform.extract()
    platform.build()
    for use in (platform.load, platform.warehouse.status):
        with pytest.raises(WarehouseError, match=r"record of loads .* format version 2.* up to 1"):
            use()
    assert platform.query("FROM platform.loads ORDER BY ALL") == rows
    platform.warehouse.store_format(1)
    assert platform.load()["dim_staff"].rows_written == 1


def test_a_warehouse_of_version_0_1_0_keeps_its_record_of_loads_as_it_is(
    totesys: Totesys, platform: Platform
) -> None:
    import duckdb

    with duckdb.connect(str(platform.warehouse.path)) as connection:
        connection.execute("DELETE FROM platform.loads WHERE table_name = 'platform_assets/format'")
    totesys.update("staff", 1, first_name="Barbara")
    platform.tick()
    assert platform.query("FROM platform.loads WHERE table_name LIKE 'platform_assets/%'") == []
    assert platform.warehouse.stored_format() == 1


def test_a_writer_that_opened_a_table_before_its_upgrade_writes_nothing(tmp_path: Path) -> None:
    import pyarrow as pa

    table = LakeTable(str(tmp_path / "table"), NUMBER, format=LEDGER)
    table.append(None, pa.table({"number": [1]}), stream="s", version=1)
    handle = table.open()
    newer(table)
    with pytest.raises(LakeConflict):
        table.append(handle, pa.table({"number": [2]}), stream="s", version=2)
    assert DeltaTable(table.uri).to_pyarrow_table()["number"].to_pylist() == [1]


def test_a_table_of_unknown_origin_is_refused_by_the_format_that_it_names(tmp_path: Path) -> None:
    import pyarrow as pa

    table = LakeTable(str(tmp_path / "table"), NUMBER, format=BRONZE)
    table.append(None, pa.table({"number": [1]}), stream="s", version=1)
    found = LakeTable(table.uri, ())
    assert found.open() is not None
    newer(table)
    with pytest.raises(LakeError, match=r"The source table .* format version 2"):
        found.open()
    opened_by_delta = DeltaTable(table.uri)
    opened_by_delta.alter.set_table_name("platform_assets.invention/1")
    with pytest.raises(LakeError, match=r"knows versions up to 0"):
        found.open()
    opened_by_delta.alter.set_table_name("somebody's own name")
    assert found.open() is not None


def test_what_is_too_old_to_be_read_is_refused_with_the_command_that_migrates_it() -> None:
    third = StoredFormat("ledger", "The ledger", "", version=3, oldest=2)
    assert third.refusal(3, "x") == third.refusal(2, "x") == ""
    assert "platform-assets upgrade" in third.refusal(1, "x")
    assert "platform-assets upgrade" in third.refusal(None, "x")
    assert "is not a version" in third.refusal("two", "x")
    assert "is not a version" in third.refusal(True, "x")


def test_a_newer_state_folder_is_refused_when_the_configuration_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(state))
    load_settings(CONFIGURATION)
    assert not state.exists()
    stamp_new_state(state)
    assert json.loads((state / "format.json").read_text())["format"] == 1
    load_settings(CONFIGURATION)
    (state / "format.json").write_text('{"format": 2, "written_by": "0.9.0"}')
    with pytest.raises(StoredFileError, match=r"The state folder .* has format version 2"):
        load_settings(CONFIGURATION)
    assert load_settings(CONFIGURATION, check_state=False).platform.state_dir == state


@pytest.mark.parametrize("content", ["", "[1]", '{"format": "new"}'])
def test_a_damaged_format_file_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "format.json").write_text(content)
    with pytest.raises(StoredFileError, match=r"is not"):
        refuse_state(tmp_path)


def test_a_state_folder_that_was_used_before_gets_the_first_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, unused = tmp_path / "used", tmp_path / "unused"
    for folder in (used, unused):
        (folder / "dagster").mkdir(parents=True)
        (folder / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}")
    (used / "warehouse.duckdb").write_bytes(b"")
    monkeypatch.setattr(stored, "STATE", StoredFormat("state", "The state folder", "", version=2))
    for folder in (used, unused):
        stamp_new_state(folder)
    assert state_folder(used).version() == 1
    assert state_folder(unused).version() == 2


def test_a_json_file_keeps_its_content_when_it_gets_a_version(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"files": ["a"]}')
    described = json_file(STATE, file)
    assert described.version() == 1
    described.stamp(2)
    assert described.version() == 2
    assert json.loads(file.read_text())["files"] == ["a"]


def test_problems_are_listed_one_by_one_and_no_problem_hides_another() -> None:
    def broken() -> int:
        raise LakeError("It cannot be read.")

    def described(version: object) -> Stored:
        return Stored(STAR, f"star/{version}", lambda: version, lambda _: None)  # type: ignore[arg-type,return-value]

    found = format_problems(
        [
            described(1),
            Stored(STAR, "star/broken", broken, lambda _: None),
            FormatProblem("ARoom", "It cannot list its tables."),
            described(7),
            described(None),
        ]
    )
    assert [one.place for one in found] == ["star/broken", "ARoom", "star/7"]
    assert "format version 7" in found[2].reason


def test_every_module_that_writes_files_is_known_and_so_is_what_it_writes() -> None:
    found = set()
    for file in sorted((ROOT / "platform_assets").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _writes(node):
                found.add(file.relative_to(ROOT / "platform_assets").as_posix())
    assert found - WRITERS.keys() == set(), "Add its format to stored.FORMATS, or say here why it needs none"
    assert WRITERS.keys() - found <= {"processes.py"}


def test_every_module_that_creates_tables_in_databases_is_known() -> None:
    found = {
        file.relative_to(ROOT / "platform_assets").as_posix()
        for file in (ROOT / "platform_assets").rglob("*.py")
        if re.search(r"CREATE (OR REPLACE )?(TABLE|SEQUENCE)", file.read_text(encoding="utf-8"))
    }
    assert found == {
        # The record of loads, the lock of loads, the record of copies; tables of the star.
        *(f"warehouse/{name}.py" for name in ("sql", "duckdb", "postgres", "snowflake", "bigquery")),
        "snowflake/refresh.py",
        # A description, the sample's own business, and tables in memory.
        *("snowflake/defs.py", "sample/ddl.py", "lineage/proof.py"),
        # Rights that are named.
        *("snowflake/assembly.py", "warehouse/assembly.py"),
    }


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    is_open = name in ("open", "fdopen") and any(re.fullmatch(r"[wax]b?\+?", mode) for mode in modes)
    return name in WRITES or is_open


def test_every_delta_table_of_the_package_names_its_format() -> None:
    """A table of unknown origin is given no format: those that upkeep finds, and views of tables."""
    without = {}
    for file in sorted((ROOT / "platform_assets").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "LakeTable"
                and len(node.args) < 4
            ):
                without.setdefault(file.relative_to(ROOT / "platform_assets").as_posix(), []).append(1)
    assert {name: len(calls) for name, calls in without.items()} == {
        "dlp/columns.py": 1,  # a view of a table that is open already
        "lake/lake.py": 1,  # the root of a zone
        "lake/probes.py": 1,  # a table that the doctor writes and removes
        "parquet/formats.py": 1,  # Delta tables of anybody
    }


def test_the_page_about_upgrades_lists_every_format() -> None:
    page = (ROOT / "docs" / "upgrades.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (.+) \|$", page, flags=re.MULTILINE)
    assert listed == [(one.name, str(one.version), str(one.oldest), one.where) for one in FORMATS.values()]
