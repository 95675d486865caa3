"""Options of a load script and their validation. This module imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from platform_assets.errors import ParquetError
from platform_assets.snowflake.identifiers import typed_identifier, typed_name
from platform_assets.snowflake.types import checked_kind, checked_type

Mode = Literal["projection", "match-by-name", "infer-schema"]
Create = Literal["or-replace", "if-not-exists"]
Case = Literal["keep", "upper"]
Encryption = Literal["none", "sse-s3", "sse-kms"]

_ON_ERROR = re.compile(r"ABORT_STATEMENT|CONTINUE|SKIP_FILE(_\d{1,9}|_(100|\d{1,2})%)?")
_STAGE_URL = re.compile(r"(s3|s3gov|s3china|gcs|azure)://[^\s'\"]+")


@dataclass(frozen=True)
class ScriptOptions:
    """Options for creating and loading tables. Names of Snowflake objects are typed as in SQL.

    Attributes:
        database: Database of the tables; None means the session's.
        schema: Schema of the tables; None means the session's.
        prefix: Put before each table's name, such as `dim_`.
        case: `keep` names tables and columns as the files do, quoted if needed; `upper` uses upper case, so
            that the names can be written in any case.
        stage_url: The URL at which Snowflake finds the common parent of all paths, `s3://bucket/prefix`; None
            means the address from which the files were read, or an upload for local files.
        storage_integration: The storage integration with access to it.
        encryption: The encryption of the stage's files: none, sse-s3, sse-kms; None omits the option.
        kms_key: The key for sse-kms.
        file_format: Name of the file format to use, created if it does not exist; None writes the format into
            COPY.
        create: `or-replace` or `if-not-exists`.
        on_error: COPY's ON_ERROR.
        purge: COPY removes loaded files from the stage.
        force: COPY loads files again that it has loaded before.
        transient: Create the tables without Fail-safe.
        cluster_by: Columns to cluster by, for each table by its name in the files; `*` for every table that
            has them all.
        mode: `projection` reads each column by its path; `match-by-name` lets COPY match names;
            `infer-schema` lets Snowflake find the columns.
        types: Snowflake types for Parquet types, by full name or kind: `{"uint64": "NUMBER(38,0)"}`.
        columns: Snowflake types for columns, by `column` or `table.column`.
    """

    database: str | None = None
    schema: str | None = None
    prefix: str = ""
    case: Case = "keep"
    stage_url: str | None = None
    storage_integration: str | None = None
    encryption: Encryption | None = None
    kms_key: str | None = None
    file_format: str | None = None
    create: Create = "or-replace"
    on_error: str = "ABORT_STATEMENT"
    purge: bool = False
    force: bool = False
    transient: bool = False
    cluster_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mode: Mode = "projection"
    types: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked without files.

        Raises:
            ParquetError: There are mistakes; the message lists them all.
        """
        mistakes = list(_mistakes(self))
        if mistakes:
            raise ParquetError("The options cannot be used: " + "; ".join(mistakes))
        object.__setattr__(self, "types", {checked_kind(k): checked_type(v) for k, v in self.types.items()})
        object.__setattr__(self, "columns", {k: checked_type(v) for k, v in self.columns.items()})

    def qualified(self, name: str) -> str:
        """Qualify a name, which is SQL already, with the database and schema of the options."""
        parts = [typed_identifier(part) for part in (self.database, self.schema) if part]
        return ".".join((*parts, name))

    def cased(self, name: str) -> str:
        """A name of the files in the case that is used in Snowflake."""
        return name.upper() if self.case == "upper" else name


def snowflake_url(url: str) -> str:
    """A URI as Snowflake writes it: `gcs` instead of `gs`."""
    return f"gcs://{url.removeprefix('gs://')}" if url.startswith("gs://") else url


def _mistakes(options: ScriptOptions) -> Iterator[str]:
    for name, kind in (("mode", Mode), ("create", Create), ("case", Case), ("encryption", Encryption)):
        given = getattr(options, name)
        if given is not None and given not in get_args(kind):
            yield f"{name} is {given!r}, but must be one of {', '.join(get_args(kind))}"
    if options.database and not options.schema:
        yield "a database requires a schema"
    checks: list[tuple[Callable[[str], str], Iterable[str | None]]] = [
        (typed_identifier, (options.database, options.schema, options.storage_integration)),
        (typed_name, (options.file_format,)),
        (checked_type, (*options.types.values(), *options.columns.values())),
        (checked_kind, options.types),
    ]
    for check, values in checks:
        for value in values:
            try:
                if value is not None:
                    check(value)
            except ParquetError as error:
                yield str(error).rstrip(".")
    if not _ON_ERROR.fullmatch(options.on_error):
        yield (
            f"on_error is {options.on_error!r}, but must be ABORT_STATEMENT, CONTINUE, SKIP_FILE, "
            "SKIP_FILE_10 or SKIP_FILE_10%"
        )
    if options.stage_url and not _STAGE_URL.fullmatch(snowflake_url(options.stage_url)):
        yield f"stage_url is {options.stage_url!r}, but must be s3://, gs:// or azure:// with a bucket"
    if (options.kms_key is not None) != (options.encryption == "sse-kms"):
        yield "kms_key and the encryption sse-kms need each other"
    if options.mode == "infer-schema" and (options.types or options.columns):
        yield "infer-schema uses the types that Snowflake finds; to set types, use mode projection"
