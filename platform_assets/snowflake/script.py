"""SQL statements that create a Snowflake table and load Parquet files into it. Nothing is executed here."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from platform_assets.errors import ParquetError
from platform_assets.parquet.schemas import TableColumn
from platform_assets.parquet.tables import ParquetProblem, ParquetTable, TableFile
from platform_assets.snowflake.identifiers import (
    identifier,
    literal,
    path,
    plain_name,
    typed_identifier,
    typed_name,
)
from platform_assets.snowflake.options import ScriptOptions, snowflake_url
from platform_assets.snowflake.types import (
    expression,
    override_for,
    snowflake_type,
)

Purpose = Literal["session", "table", "file format", "stage", "upload", "begin", "load", "commit", "clean-up"]

# https://docs.snowflake.com/en/sql-reference/sql/copy-into-table: the maximum length of FILES.
_FILES_PER_COPY = 1000
# The values of ON_ERROR that the vectorized scanner supports.
_VECTORIZED = ("ABORT_STATEMENT", "SKIP_FILE")
# Types that exist only in the file's metadata, so that Snowflake reads another type.
_UNTOLD = ("duration", "period", "variant")
_PUT_WILDCARDS = re.compile(r"[*?\[\]]")
_TITLES: dict[Purpose, str] = {
    "session": "Session: instants are written as UTC whatever the account's time zone",
    "table": "Table",
    "file format": "File format",
    "stage": "Stage",
    "upload": "Upload: PUT runs in SnowSQL, the Snowflake CLI and the drivers, not in a worksheet",
    "begin": "All or nothing: stop at the first error, and the transaction is rolled back",
    "load": "Load",
    "commit": "All is loaded",
    "clean-up": "Clean up",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, without the semicolon.

    Attributes:
        purpose: The purpose, for the comment in the script.
        sql: The statement.
    """

    purpose: Purpose
    sql: str


@dataclass(frozen=True)
class TableScript:
    """The statements for one table, in the order they run.

    Attributes:
        name: The table's name as in the files.
        target: Its name in Snowflake, qualified, as SQL.
        statements: The statements.
        source: The place of its files.
        files: Its files.
    """

    name: str
    target: str
    statements: tuple[Statement, ...]
    source: str
    files: tuple[TableFile, ...]

    @property
    def rows(self) -> int:
        """Number of the files' rows."""
        return sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Script:
    """Statements for many tables.

    Attributes:
        before: Statements to run first.
        tables: The scripts of the tables.
        after: Statements to run at the end.
        problems: Tables that cannot be loaded as asked, with reasons.
    """

    before: tuple[Statement, ...]
    tables: tuple[TableScript, ...]
    after: tuple[Statement, ...]
    problems: tuple[ParquetProblem, ...] = ()

    @property
    def statements(self) -> tuple[Statement, ...]:
        """All statements, in order."""
        return (
            *self.before,
            *(statement for table in self.tables for statement in table.statements),
            *self.after,
        )

    @property
    def text(self) -> str:
        """The script as a file: a comment before each section, a semicolon after each statement."""
        rows = sum(table.rows for table in self.tables)
        lines = [f"-- {_counted(len(self.tables), 'table')} with {_counted(rows, 'row')} of Parquet files"]
        lines += _sections(self.before)
        for number, table in enumerate(self.tables, start=1):
            lines += [
                "",
                _comment(f"{number} of {len(self.tables)}: {table.name}"),
                _comment(
                    f"{_counted(len(table.files), 'file')}, {_counted(table.rows, 'row')} in {table.source}"
                ),
                *_sections(table.statements),
            ]
        lines += _sections(self.after)
        return "\n".join(lines) + "\n"


def script(tables: Sequence[ParquetTable], options: ScriptOptions) -> Script:
    """Build the script for several tables; a table that cannot be loaded is recorded as a problem."""
    made: dict[str, TableScript] = {}
    loaded: set[str] = set()
    problems = []
    for table in tables:
        try:
            one = table_script(table, options)
            if one.target in made:
                raise ParquetError(
                    f"{made[one.target].name} is also {one.target} in Snowflake; rename one of them, or keep "
                    "the case."
                )
        except ParquetError as error:
            problems.append(ParquetProblem(table.name, str(error)))
            continue
        made[one.target] = one
        loaded.add(table.name)
    has_instants = any(_has_instants(table, options) for table in tables if table.name in loaded)
    before = [Statement("session", "ALTER SESSION SET TIMEZONE = 'UTC'")] if has_instants else []
    after = [Statement("session", "ALTER SESSION UNSET TIMEZONE")] if has_instants else []
    if made and _format_name(options) is not None:
        before += _format_statements(options)
        if options.file_format is None:
            after.insert(0, Statement("clean-up", f"DROP FILE FORMAT {_format_name(options)}"))
    return Script(tuple(before), tuple(made.values()), tuple(after), tuple(problems))


def table_script(table: ParquetTable, options: ScriptOptions) -> TableScript:
    """Build the statements that create and load one table.

    `script` sets the session's time zone to UTC if needed, and creates a missing file format.

    Raises:
        ParquetError: The table cannot be loaded as asked; the message says what to do.
    """
    target = options.qualified(identifier(options.cased(options.prefix + table.name)))
    # Unquoted, because not every client accepts quotes in @stage/path.
    stage = options.qualified(plain_name(f"{options.prefix}{table.name}_LOAD"))
    url = _stage_url(table, options)
    if options.purge and url and table.delta is not None:
        raise ParquetError(
            "PURGE would remove files that the Delta log still lists; load the table without PURGE."
        )
    if options.purge and url and len(table.files) > _FILES_PER_COPY:
        raise ParquetError(
            f"PURGE would remove files before all {len(table.files):,} are loaded: one COPY loads at most "
            f"{_FILES_PER_COPY:,}. Load them without PURGE, and remove them afterwards."
        )
    _refuse_what_is_not_read_right(table, options)
    types = {} if options.mode == "infer-schema" else column_types(table, options)
    names = _column_names(table, options)
    if options.mode != "projection":
        _refuse_what_needs_projection(table, types)
    create = _create_stage(stage, url, options)
    uploads = [] if url else _uploads(table, stage)
    # Our own stage contains only files uploaded for this table.
    chunks = [
        tuple(table.files[start : start + _FILES_PER_COPY]) if url else ()
        for start in range(0, len(table.files) if url else 1, _FILES_PER_COPY)
    ]
    staging = [Statement("stage", create), *(Statement("upload", sql) for sql in uploads)]
    if options.mode == "infer-schema":
        making = [*staging, Statement("table", _infer_table(table, target, stage, url, options))]
    else:
        making = [Statement("table", _create_table(table, target, types, names, options)), *staging]
    loads = [Statement("load", _copy(table, target, stage, chunk, types, names, options)) for chunk in chunks]
    if len(loads) > 1:
        loads = [Statement("begin", "BEGIN"), *loads, Statement("commit", "COMMIT")]
    drop = Statement("clean-up", f"DROP STAGE {stage}")
    return TableScript(table.name, target, (*making, *loads, drop), table.root, table.files)


def column_types(table: ParquetTable, options: ScriptOptions) -> dict[str, str]:
    """The Snowflake type of each column, by its name in the files.

    Raises:
        ParquetError: Some columns have no Snowflake type; the message lists them all.
    """
    types: dict[str, str] = {}
    mistakes = []
    for column in table.columns:
        chosen = None
        if options.columns:
            chosen = options.columns.get(f"{table.name}.{column.name}") or options.columns.get(column.name)
        if options.types and chosen is None:
            chosen = override_for(column.type, options.types)
        try:
            types[column.name] = chosen or snowflake_type(column.type)
        except ParquetError as error:
            mistakes.append(f"column {column.name}: {error}")
    if mistakes:
        raise ParquetError(" ".join(mistakes))
    return types


def _has_instants(table: ParquetTable, options: ScriptOptions) -> bool:
    """Return True if the result depends on the session's time zone.

    It does if a file has instants, whatever their target type: the scanner returns them in that zone,
    including int96. It also does if a time without zone becomes an instant.
    """
    kinds = {("timestamp", True), ("int96", False), ("list", True), ("map", True), ("struct", True)}
    if any((column.type.kind, column.type.utc) in kinds for column in table.columns):
        return True
    if options.mode == "infer-schema":
        return False
    # The meaning of TIMESTAMP alone is an account setting.
    return any(re.match(r"TIMESTAMP(?!_NTZ)", type_) for type_ in column_types(table, options).values())


def _refuse_what_is_not_read_right(table: ParquetTable, options: ScriptOptions) -> None:
    """Reject columns whose values Snowflake would silently change.

    Raises:
        ParquetError: Such columns exist; the message names them.
    """
    nested = [column.name for column in table.columns if column.type.is_nested]
    if nested and options.on_error not in _VECTORIZED:
        raise ParquetError(
            f"the vectorized scanner does not support ON_ERROR = {options.on_error}, and the other scanner "
            f"drops nulls in lists and objects, and turns maps into lists ({', '.join(nested)}). Use "
            "ABORT_STATEMENT or SKIP_FILE."
        )
    if options.mode == "infer-schema" and table.absent:
        raise ParquetError(
            f"the columns {', '.join(table.absent)} are in the Delta log but in no file, so INFER_SCHEMA "
            "cannot find them. Use mode projection."
        )
    if options.mode == "infer-schema":
        for column in table.columns:
            if column.type.kind in _UNTOLD:
                raise ParquetError(
                    f"column {column.name} is {column.type.name}, for which INFER_SCHEMA finds another type. "
                    "Use mode projection: its message names the remedy."
                )
    lost = [
        column.name
        for column in table.columns
        if column.partition is not None and not column.partition.is_in_paths
    ]
    if lost:
        raise ParquetError(
            f"the partition columns {', '.join(lost)} are in the Delta log but not in the files' paths, so "
            "COPY cannot read them. Rewrite the table with paths such as year=2024/."
        )


def _stage_url(table: ParquetTable, options: ScriptOptions) -> str | None:
    """The URL of the table's files for Snowflake, ending in `/`, or None if the files are uploaded."""
    external = (options.storage_integration, options.encryption)
    if options.stage_url:
        if table.below is None:
            raise ParquetError(
                "it was read from the folder of one partition, but stage_url is that of the whole table. "
                f"Read {table.root}, and set stage_url to Snowflake's URL of it."
            )
        below = f"{table.below}/" if table.below else ""
        url = f"{snowflake_url(options.stage_url).rstrip('/')}/{below}"
    elif not table.is_local:
        url = f"{snowflake_url(table.root)}/"
    elif any(external):
        raise ParquetError(
            "its files are local and are uploaded, which uses no storage integration and no encryption. "
            "Leave these options out, or set stage_url to Snowflake's URL of the files."
        )
    else:
        return None
    if options.encryption == "sse-s3" and not url.startswith("s3"):
        raise ParquetError(f"{url} is not on S3; the encryption can be sse-kms or none.")
    return url


def _create_stage(stage: str, url: str | None, options: ScriptOptions) -> str:
    # A temporary stage is dropped with its session, including the uploaded files.
    parts = [f"CREATE OR REPLACE TEMPORARY STAGE {stage}"]
    if url:
        parts.append(f"URL = {literal(url)}")
        if options.storage_integration:
            parts.append(f"STORAGE_INTEGRATION = {typed_identifier(options.storage_integration)}")
        if options.encryption:
            parts.append(f"ENCRYPTION = ({_encryption(options, url)})")
    return "\n  ".join(parts)


def _encryption(options: ScriptOptions, url: str) -> str:
    if options.encryption == "sse-kms" and options.kms_key is not None:
        kind = "GCS_SSE_KMS" if url.startswith("gcs") else "AWS_SSE_KMS"
        return f"TYPE = '{kind}' KMS_KEY_ID = {literal(options.kms_key)}"
    return "TYPE = 'AWS_SSE_S3'" if options.encryption == "sse-s3" else "TYPE = 'NONE'"


def _uploads(table: ParquetTable, stage: str) -> list[str]:
    """The PUT statements for a table's files: as few patterns per folder as match exactly these files."""
    folders: dict[str, list[str]] = {}
    for file in table.files:
        folder, _, name = file.path.rpartition("/")
        if _PUT_WILDCARDS.search(file.path) or _PUT_WILDCARDS.search(table.root):
            raise ParquetError(
                f"PUT takes *, ?, [ and ] in {table.root}/{file.path} as a pattern. Rename the file, or "
                "set stage_url to where Snowflake finds it."
            )
        folders.setdefault(folder, []).append(name)
    return [
        _put(f"{table.root}/{folder}/{pattern}" if folder else f"{table.root}/{pattern}", stage, folder)
        for folder, names in folders.items()
        for pattern in _patterns_of(names, f"{table.root}/{folder}")
    ]


def _put(local: str, stage: str, folder: str) -> str:
    # A suffix such as .gzip is about page compression; the file as a whole is not compressed.
    return (
        f"PUT {literal(f'file://{local}')} {_location(stage, folder)} "
        "AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = NONE OVERWRITE = TRUE"
    )


def _patterns_of(names: Sequence[str], folder: str) -> list[str]:
    if len(names) == 1:
        return list(names)
    try:
        others = set(os.listdir(folder)).difference(names)
    except OSError:
        return list(names)  # the folder's other files are unknown
    return _patterns(names, sorted(others))


def _patterns(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """As few patterns with one `*` each as match all of some names and none of others."""
    if len(names) == 1:
        return list(names)
    prefix = posixpath.commonprefix(names)
    rest = [name[len(prefix) :] for name in names]
    suffix = posixpath.commonprefix([name[::-1] for name in rest])[::-1]
    shortest = len(prefix) + len(suffix)
    alike = [other for other in others if other.startswith(prefix)]
    if not any(name.endswith(suffix) and len(name) >= shortest for name in alike):
        return [f"{prefix}*{suffix}"]
    # A group's suffix may be shorter than this one's, so that its pattern may match any that begins alike.
    names_by_next, others_by_next = (_by_character(some, len(prefix)) for some in (names, alike))
    return [
        pattern
        for character, group in names_by_next.items()
        for pattern in _patterns(group, others_by_next.get(character, ()))
    ]


def _by_character(names: Sequence[str], position: int) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name[position : position + 1], []).append(name)
    return groups


def _location(stage: str, folder: str = "") -> str:
    location = f"@{stage}/{folder}/" if folder else f"@{stage}"
    return location if re.fullmatch(r'[\w@./$="-]+', location) else literal(location)


def _create_table(
    table: ParquetTable,
    target: str,
    types: Mapping[str, str],
    names: Mapping[str, str],
    options: ScriptOptions,
) -> str:
    columns = [
        f"  {names[column.name]} {types[column.name]}{'' if column.nullable else ' NOT NULL'}"
        for column in table.columns
    ]
    listed = ",\n".join(columns)
    return f"{_create(target, options)} (\n{listed}\n){_cluster_by(table, options)}"


def _create(target: str, options: ScriptOptions) -> str:
    transient = "TRANSIENT " if options.transient else ""
    if options.create == "or-replace":
        return f"CREATE OR REPLACE {transient}TABLE {target}"
    return f"CREATE {transient}TABLE IF NOT EXISTS {target}"


def _cluster_by(table: ParquetTable, options: ScriptOptions) -> str:
    names = {column.name for column in table.columns}
    wanted = options.cluster_by.get(table.name)
    if wanted is None:
        wanted = options.cluster_by.get("*", ())
        wanted = wanted if names.issuperset(wanted) else ()
    if missing := [name for name in wanted if name not in names]:
        raise ParquetError(f"it has no column {', '.join(missing)} to cluster by; it has {', '.join(names)}.")
    listed = ", ".join(identifier(options.cased(name)) for name in wanted)
    return f"\nCLUSTER BY ({listed})" if wanted else ""


def _column_names(table: ParquetTable, options: ScriptOptions) -> dict[str, str]:
    """The columns' names in Snowflake, as SQL, by their names in the files."""
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for column in table.columns:
        name = options.cased(column.name)
        if (other := taken.setdefault(name, column.name)) != column.name:
            raise ParquetError(
                f"columns {other} and {column.name} are both {name} in upper case; keep the case of the "
                "files."
            )
        names[column.name] = identifier(name)
    return names


def _infer_table(
    table: ParquetTable, target: str, stage: str, url: str | None, options: ScriptOptions
) -> str:
    arguments = [
        f"LOCATION => {literal('@' + stage)}",
        f"FILE_FORMAT => {literal(_format_name(options) or '')}",
        f"IGNORE_CASE => {'TRUE' if options.case == 'upper' else 'FALSE'}",
    ]
    if url:
        paths = [file.path for file in table.files]
        if len(paths) > _FILES_PER_COPY:
            paths = list(table.examples)  # one for each distinct schema in the footers
        if len(paths) > _FILES_PER_COPY:
            raise ParquetError(
                f"its files have {len(paths):,} schemas, but INFER_SCHEMA reads at most {_FILES_PER_COPY:,} "
                "files; use mode projection."
            )
        arguments.append(f"FILES => ({', '.join(literal(path) for path in paths)})")
    return (
        f"{_create(target, options)} USING TEMPLATE (\n"
        "  SELECT ARRAY_AGG(OBJECT_CONSTRUCT(*)) WITHIN GROUP (ORDER BY ORDER_ID)\n"
        f"  FROM TABLE(INFER_SCHEMA({', '.join(arguments)}))\n)"
    )


def _copy(
    table: ParquetTable,
    target: str,
    stage: str,
    files: Sequence[TableFile],
    types: Mapping[str, str],
    names: Mapping[str, str],
    options: ScriptOptions,
) -> str:
    if options.mode == "projection":
        listed = ",\n".join(f"  {names[column.name]}" for column in table.columns)
        selected = ",\n".join(f"    {_projected(column, types[column.name])}" for column in table.columns)
        head = (
            f"COPY INTO {target} (\n{listed}\n)\nFROM (\n  SELECT\n{selected}\n  FROM {_location(stage)}\n)"
        )
    else:
        head = f"COPY INTO {target}\nFROM {_location(stage)}"
    parts = [head]
    if files:
        paths = ",\n".join(f"  {literal(file.path)}" for file in files)
        parts.append(f"FILES = (\n{paths}\n)")
    name = _format_name(options)
    parts.append(f"FILE_FORMAT = ({_format(options) if name is None else f'FORMAT_NAME = {literal(name)}'})")
    if options.mode != "projection":
        sensitive = "CASE_INSENSITIVE" if options.case == "upper" else "CASE_SENSITIVE"
        parts.append(f"MATCH_BY_COLUMN_NAME = {sensitive}")
    on_error = literal(options.on_error) if "%" in options.on_error else options.on_error
    parts.append(f"ON_ERROR = {on_error}")
    parts += [
        f"{name} = TRUE" for name, given in (("PURGE", options.purge), ("FORCE", options.force)) if given
    ]
    return "\n".join(parts)


def _projected(column: TableColumn, type_: str) -> str:
    if column.partition is None:
        return expression(column.name, column.type, type_)
    # The last folder of that name: a parent of the table's folder may have the same name.
    written = (
        "REGEXP_SUBSTR(METADATA$FILENAME, "
        f"{literal(f'^(.*/)?{_pattern(column.partition.key)}=([^/]*)/')}, 1, 1, 'e', 2)"
    )
    # Paths cannot contain every character; replaced characters are restored value by value.
    encoded = {raw: value for raw, value in column.partition.values.items() if raw != value}
    if encoded:
        cases = " ".join(
            f"WHEN {literal(raw)} THEN {'NULL' if value is None else literal(value)}"
            for raw, value in encoded.items()
        )
        written = f"CASE {written} {cases} ELSE {written} END"
    return f"{written}::{type_}"


def _pattern(text: str) -> str:
    """A regular expression that matches exactly this text, in the syntax that Snowflake and others share."""
    return re.sub(
        r"[^\w]", lambda found: f"[{found[0]}]" if found[0] not in "^]\\[" else f"\\{found[0]}", text
    )


def _refuse_what_needs_projection(table: ParquetTable, types: Mapping[str, str]) -> None:
    if partitions := [column.name for column in table.columns if column.partition is not None]:
        raise ParquetError(
            f"the columns {', '.join(partitions)} are only in the files' paths; use mode projection, which "
            "reads them."
        )
    for column in table.columns:
        type_ = types.get(column.name)
        # A NULL needs no conversion.
        if (
            type_
            and column.type.kind != "null"
            and expression(column.name, column.type, type_) != f"{path(column.name)}::{type_}"
        ):
            raise ParquetError(
                f"column {column.name} is {column.type.name} and needs an expression to become {type_}: use "
                "mode projection, or choose another type (VARCHAR for json, BINARY for bytes)."
            )


def _format_name(options: ScriptOptions) -> str | None:
    """The name of the file format, if one is used; INFER_SCHEMA accepts only a named format."""
    if options.file_format is not None:
        return typed_name(options.file_format)
    return options.qualified("PLATFORM_PARQUET_LOAD") if options.mode == "infer-schema" else None


def _format_statements(options: ScriptOptions) -> list[Statement]:
    create = "CREATE OR REPLACE TEMPORARY FILE FORMAT"
    if options.file_format is not None:
        create = "CREATE FILE FORMAT IF NOT EXISTS"
    return [Statement("file format", f"{create} {_format_name(options)} {_format(options)}")]


def _format(options: ScriptOptions) -> str:
    """The file format options: bytes stay bytes, dates and decimals stay exact, no text becomes NULL."""
    scanner = "TRUE" if options.on_error in _VECTORIZED else "FALSE"
    return (
        "TYPE = PARQUET BINARY_AS_TEXT = FALSE USE_LOGICAL_TYPE = TRUE "
        f"USE_VECTORIZED_SCANNER = {scanner} NULL_IF = ()"
    )


def _sections(statements: Sequence[Statement]) -> list[str]:
    lines = []
    purpose = None
    for statement in statements:
        if statement.purpose != purpose:
            lines += ["", _comment(_TITLES[statement.purpose])]
            purpose = statement.purpose
        lines.append(f"{statement.sql};")
    return lines


def _comment(text: str) -> str:
    """One line of comment; a line break in a name must not end the comment."""
    return "-- " + " ".join(text.split())


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
