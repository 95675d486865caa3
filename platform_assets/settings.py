"""The platform's settings: typed, read from HOCON and the environment, checked whole before anything starts.

This is the only module that reads the environment. It connects to nothing: a `Secret` is a reference until
somebody resolves it. Durations are whole numbers whose unit the field's description gives.
"""

from __future__ import annotations

import fnmatch
import keyword
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError, core_schema
from pydantic_core.core_schema import ValidationInfo

from platform_assets.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

SOURCE_NAMES = ("totesys",)
"""The sources whose tables `platform_assets.model` declares."""

_SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# A source's name is a group, a resource and the stem of its jobs and steps: what else has such a name, and
# what Dagster and Python keep to themselves, cannot be one.
_RESERVED_NAMES = frozenset(
    {
        *("alerts", "dashboard", "default", "delivery", "dlp", "engine", "freshness", "io_manager", "lake"),
        *("lake_io_manager", "lake_upkeep", "lineage", "notebook", "objects", "snowflake", "star", "tasks"),
        *("warehouse", "warehouse_io_manager", "arg_dict", "bool", "conf", "config", "context", "dict"),
        *("float", "input", "input_arg_dict", "int", "meta", "output", "output_arg_dict", "str", "type"),
        *(word.lower() for word in keyword.kwlist),
    }
)
_RESERVED_ENDINGS = ("_checks", "_job", "_schedule", "_to_lake", "_to_warehouse")

_TYPES = "integer, decimal(P,S), double, text, binary, boolean, date, time, timestamp or timestamptz"
_TYPE = re.compile(r"integer|double|text|binary|boolean|date|time|timestamp|timestamptz")
_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")
_REFERENCES = "secret://env/NAME, secret://file/PATH or secret://aws/SECRET-ID#KEY"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_OPTION = re.compile(r"secret|password|token|private|account_key$|credential", re.IGNORECASE)
_BUCKET_URI = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\s@?#]+)*")
_CRON_NICKNAMES = frozenset({"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret, safe to print; `resolve` fetches the value every time and keeps it nowhere.

    Attributes:
        reference: `secret://env/NAME` (environment variable), `secret://file/PATH[#KEY]` (a file's content
            without surrounding white space, or one member of the JSON object in it), or
            `secret://aws/SECRET-ID[#KEY]` (AWS Secrets Manager). A file's PATH is absolute; `./` and `../`
            start a path relative to the config file, `~/` one in the home folder.
    """

    reference: str

    def __str__(self) -> str:
        """Give the reference."""
        return self.reference

    @classmethod
    def parse(cls, text: str, base: Path | None = None) -> Secret:
        """Read a reference.

        Args:
            text: The reference.
            base: The folder that relative file paths start from; the working directory where None.

        Raises:
            ValueError: if it is not a reference, in words that do not repeat it: it may be the secret itself.
        """
        if not text.startswith("secret://"):
            raise ValueError(f"write a reference, never the secret itself: {_REFERENCES}")
        scheme, _, rest = text.removeprefix("secret://").partition("/")
        name, _, key = rest.partition("#")
        if scheme == "gcp":
            raise ValueError(f"secret://gcp is not supported yet; use {_REFERENCES}")
        if scheme not in ("env", "file", "aws"):
            raise ValueError(f"there is no such kind of reference; use {_REFERENCES}")
        if not name or (rest.endswith("#") and not key):
            raise ValueError(f"the reference is not complete; use {_REFERENCES}")
        if scheme == "env" and not _ENV_NAME.fullmatch(rest):
            raise ValueError("secret://env/ is followed by the name of one environment variable")
        if scheme == "file":
            absolute = name if name.startswith(("./", "../", "~/")) else "/" + name.lstrip("/")
            text = f"secret://file{_absolute(absolute, base)}" + (f"#{key}" if key else "")
        return cls(text)

    def resolve(self) -> str:
        """Fetch the secret.

        Raises:
            SettingsError: if it cannot be had; the message names the reference, never the value.
        """
        scheme, _, rest = self.reference.removeprefix("secret://").partition("/")
        name, _, key = rest.partition("#")
        if scheme == "env":
            value = os.environ.get(name)
            if not value:
                raise SettingsError(f"{self.reference}: the environment variable {name} is not set or empty.")
            return value
        text = self._read_file(Path("/" + name)) if scheme == "file" else self._read_aws(name)
        return self._member(text, key) if key else text

    def _read_file(self, path: Path) -> str:
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(f"{self.reference}: the file {path} cannot be read: {reason}.") from None
        if not text:
            raise SettingsError(f"{self.reference}: the file {path} is empty.")
        return text

    def _read_aws(self, secret_id: str) -> str:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise SettingsError(
                f"{self.reference}: this needs the aws extra: pip install 'platform-assets[aws]'."
            ) from None
        # boto3 knows only AWS_DEFAULT_REGION; everything else that speaks to AWS here also knows AWS_REGION.
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if secret_id.startswith("arn:"):
            region = secret_id.split(":")[3]
        limits = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
        try:
            client = boto3.client("secretsmanager", region_name=region, config=limits)
            answer = client.get_secret_value(SecretId=secret_id)
        except ClientError as error:
            answer = error.response.get("Error", {})
            reason = f"{answer.get('Code')}: {answer.get('Message')}"
            raise SettingsError(f"{self.reference}: AWS Secrets Manager refused: {reason}") from None
        except BotoCoreError as error:
            raise SettingsError(f"{self.reference}: AWS Secrets Manager cannot be asked: {error}") from None
        if "SecretString" not in answer:
            raise SettingsError(f"{self.reference}: the secret is binary; only text secrets can be used.")
        return cast("str", answer["SecretString"])

    def _member(self, text: str, key: str) -> str:
        import json

        try:
            members = json.loads(text)
        except ValueError:
            members = None
        if not isinstance(members, dict):
            raise SettingsError(
                f"{self.reference}: it asks for {key!r} of a JSON object; the secret is not one."
            )
        value = members.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            found = "no such member" if key not in members else "an empty or structured value"
            raise SettingsError(f"{self.reference}: the JSON object holds {found} for {key!r}.")
        return str(value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate from a reference or a Secret; serialize as the reference."""
        return core_schema.with_info_plain_validator_function(
            _to_secret, serialization=core_schema.to_string_ser_schema()
        )


def _to_secret(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError(f"write a reference, never the secret itself: {_REFERENCES}")
    return Secret.parse(value, _base(info))


def _base(info: ValidationInfo) -> Path | None:
    return cast("Path | None", (info.context or {}).get("base"))


def _absolute(text: str, base: Path | None) -> Path:
    # normpath, not resolve: a symbolic link stays what the user wrote.
    return Path(os.path.normpath((base or Path.cwd()) / Path(text).expanduser()))


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("put text that looks like something else into quotes")
    if value != value.strip() or not value:
        raise ValueError("it is empty, or starts or ends with white space")
    return value


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("it is not a path")
    if "://" in str(value):
        raise ValueError("it must be a local path, not a URI")
    return _absolute(str(value), _base(info))


def _zone(value: object, info: ValidationInfo) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it is not text")
    if "://" not in value:
        return str(_absolute(value, _base(info)))
    uri = value.rstrip("/")
    if not _BUCKET_URI.fullmatch(uri):
        raise ValueError("only s3:// and gs:// with a bucket name in lower case are known")
    return uri


def _host(value: str) -> str:
    if re.search(r"[\s/@?]", value):
        raise ValueError("only the host's name or address; port, user and database have keys of their own")
    return value


def _timezone(value: str) -> str:
    if value == "UTC":
        return value
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(value).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("there is no such time zone") from None


def _cron(value: str) -> str:
    """Accept what Dagster's scheduler accepts and people can read: five fields, or a nickname like @daily."""
    if value in _CRON_NICKNAMES:
        return value
    fields = value.split()
    if len(fields) != 5:
        raise ValueError(
            f"it has {len(fields)} fields; minute, hour, day of month, month, day of week make five"
        )
    limits = (
        ("minute", 0, 59, ()),
        ("hour", 0, 23, ()),
        ("day of month", 1, 31, ()),
        ("month", 1, 12, _MONTHS),
        ("day of week", 0, 7, _WEEKDAYS),
    )
    for text, (name, low, high, names) in zip(fields, limits, strict=True):
        for part in text.split(","):
            if not _cron_part(part, low, high, names):
                raise ValueError(f"its field for the {name} cannot be {text!r}")
    return value


def _cron_part(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and 1 <= int(step) <= high):
        return False
    if span == "*":
        return True
    bounds = span.split("-")
    if not all(b.lower() in names or (b.isdecimal() and low <= int(b) <= high) for b in bounds):
        return False
    # fri-mon is a range too; 5/10 is not one that everybody reads alike.
    return len(bounds) == 2 or (len(bounds) == 1 and not slash)


# A field's description doubles as the "expected" half of a mistake's message, and is written to follow it.
Integer = Annotated[int, BeforeValidator(_no_bool)]
Text = Annotated[str, BeforeValidator(_text)]
LocalPath = Annotated[Path, BeforeValidator(_path)]
Zone = Annotated[str, BeforeValidator(_zone)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class SampleSettings(_Frozen):
    """How large the embedded sample database is made when it is created."""

    sales: Integer = Field(
        default=13_000, ge=1, le=50_000_000, description="a number of orders from 1 to 50000000"
    )
    seed: Integer = Field(default=2022, ge=0, le=2**63 - 1, description="a whole number, 0 or more")


class ConnectionSettings(_Frozen):
    """Where a PostgreSQL source is and how to sign in; timeouts in seconds."""

    host: Annotated[Text, AfterValidator(_host)] = Field(description="a host name or address")
    port: Integer = Field(default=5432, ge=1, le=65535, description="a port from 1 to 65535")
    database: Text = Field(description="the name of the database")
    user: Text = Field(description="the name of the role that reads")
    password: Secret = Field(description=f"a reference to the password: {_REFERENCES}")
    db_schema: Text = Field(default="public", alias="schema", description="the schema that holds the tables")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="one of disable, allow, prefer, require, verify-ca, verify-full"
    )
    sslrootcert: LocalPath | None = Field(
        default=None, description="the path of a file with root certificates"
    )
    connect_timeout: Integer = Field(default=2, ge=1, le=300, description="whole seconds from 1 to 300")
    statement_timeout: Integer = Field(default=3600, ge=1, le=604_800, description="whole seconds, 1 or more")
    lock_timeout: Integer = Field(default=10, ge=1, le=86_400, description="whole seconds, 1 or more")


class ScheduleSettings(_Frozen):
    """When the main job runs."""

    cron: Annotated[Text, AfterValidator(_cron)] = Field(
        default="*/5 * * * *", description='five cron fields, such as "*/5 * * * *"'
    )
    timezone: Annotated[Text, AfterValidator(_timezone)] = Field(
        default="UTC", description="a time zone's name, such as UTC or Europe/London"
    )


class FreshnessSettings(_Frozen):
    """How old the newest batch may be before a check says so."""

    within: Integer = Field(default=30, ge=1, le=525_600, description="whole minutes, 1 or more")


def _needed_unless_embedded(
    connection: ConnectionSettings | None, info: ValidationInfo
) -> ConnectionSettings | None:
    if connection is None and info.data.get("embedded") is False:
        raise PydanticKnownError("missing")
    return connection


def _no_repetition(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("something is in it twice")
    return values


def _type_word(value: str) -> str:
    """Accept the word for a column's type in the lake; decimals come back in one spelling."""
    if _TYPE.fullmatch(value):
        return value
    digits = _DECIMAL.fullmatch(value)
    if digits is None:
        raise ValueError("there is no such type")
    precision, scale = int(digits[1]), int(digits[2])
    if not 1 <= precision <= 38 or scale > precision:
        raise ValueError("a decimal has 1 to 38 digits, of which the scale says how many follow the point")
    return f"decimal({precision},{scale})"


Names = Annotated[tuple[Text, ...], AfterValidator(_no_repetition)]
Strategy = Literal["auto", "xmin", "last_updated", "diff"]

_STRATEGY = "one of auto, xmin, last_updated, diff"
_COLUMN = "the name of the column that last_updated goes by"
_LAG = "whole seconds, 0 or more"
_SMALL = "a number of rows, 0 or more"
_EVERY = "whole minutes, 0 or more"
_Lag = Annotated[Integer, Field(ge=0, le=31_536_000)]
_Rows = Annotated[Integer, Field(ge=0, le=2**63 - 1)]
_Minutes = Annotated[Integer, Field(ge=0, le=525_600)]


class CaptureOverrides(_Frozen):
    """How changes are found in one table, where that is not as in the source's other tables."""

    strategy: Strategy | None = Field(default=None, description=_STRATEGY)
    column: Text | None = Field(default=None, description=_COLUMN)
    lag: _Lag | None = Field(default=None, description=_LAG)
    small_table_rows: _Rows | None = Field(default=None, description=_SMALL)
    deletions_every: _Minutes | None = Field(default=None, description=_EVERY)


class TableOverrides(CaptureOverrides):
    """What is particular to one table of a source that is described by its catalogue."""

    key: Annotated[Names, Field(min_length=1)] | None = Field(
        default=None, description="a list of the columns that identify a row"
    )
    types: dict[str, Annotated[Text, AfterValidator(_type_word)]] = Field(
        default_factory=dict, description=f"a block of columns, each with {_TYPES}"
    )


class CaptureSettings(_Frozen):
    """How changes are found in a source's tables; `lag` in seconds, `deletions_every` in minutes."""

    strategy: Strategy = Field(default="auto", description=_STRATEGY)
    column: Text = Field(default="last_updated", description=_COLUMN)
    lag: _Lag = Field(default=900, description=_LAG)
    small_table_rows: _Rows = Field(default=200_000, description=_SMALL)
    deletions_every: _Minutes = Field(default=60, description=_EVERY)
    connections: Integer = Field(default=2, ge=1, le=16, description="a whole number from 1 to 16")


class DeclaredSourceSettings(CaptureSettings):
    """The source that the model declares: the embedded sample, or a PostgreSQL of one's own."""

    embedded: bool = Field(
        default=True, description="true (the sample) or false (the database under connection)"
    )
    sample: SampleSettings = Field(default_factory=SampleSettings, description="a block with sales and seed")
    connection: Annotated[ConnectionSettings | None, AfterValidator(_needed_unless_embedded)] = Field(
        default=None,
        validate_default=True,
        description="a block with host, database, user and password, as embedded is false",
    )
    overrides: dict[str, CaptureOverrides] = Field(
        default_factory=dict, description="a block of tables, each with a block of what differs"
    )


class SourceSettings(CaptureSettings):
    """A PostgreSQL database whose tables are those that it has, as its catalogue file lists them."""

    connection: ConnectionSettings = Field(description="a block with host, database, user and password")
    tables: Annotated[Names, Field(min_length=1)] = Field(
        default=("*",), description="a list of tables' names and shell patterns"
    )
    exclude: Names = Field(default=(), description="a list of tables' names and shell patterns")
    overrides: dict[str, TableOverrides] = Field(
        default_factory=dict, description="a block of tables, each with a block of what differs"
    )
    schedule: ScheduleSettings | None = Field(default=None, description="a block with cron and timezone")
    freshness: FreshnessSettings | None = Field(default=None, description="a block with within")


class SourcesSettings(BaseModel):
    """The sources by name: the one that the model declares, and any others."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, SourceSettings] = Field(init=False)

    totesys: DeclaredSourceSettings = Field(description="a block: it is the source that the model declares")

    @property
    def discovered(self) -> Mapping[str, SourceSettings]:
        """The sources that the model does not declare, in order of their names."""
        return dict(sorted((self.__pydantic_extra__ or {}).items()))

    def __getitem__(self, name: str) -> DeclaredSourceSettings | SourceSettings:
        """A source.

        Raises:
            KeyError: There is none of this name.
        """
        return self.totesys if name == "totesys" else self.discovered[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, that of the declared source first."""
        return ("totesys", *self.discovered)

    def __contains__(self, name: object) -> bool:
        """Whether there is a source of this name."""
        return name == "totesys" or name in self.discovered


def _storage_options(value: object, info: ValidationInfo) -> dict[str, str | Secret]:
    """Turn what HOCON gives into text and secrets, and report every mistake of the block at its own key."""
    if not isinstance(value, Mapping):
        raise ValueError("it is not a block")
    options: dict[str, str | Secret] = {}
    mistakes: list[InitErrorDetails] = []
    for name, given in value.items():
        try:
            if not _ENV_NAME.fullmatch(name):
                raise ValueError("an option's name is made of letters, digits and underscores")
            if isinstance(given, Secret) or _SECRET_OPTION.search(name) or str(given).startswith("secret://"):
                options[name] = _to_secret(given, info)
            elif isinstance(given, bool):
                options[name] = str(given).lower()
            elif isinstance(given, str | int | float):
                options[name] = str(given)
            else:
                raise ValueError("it is a block, a list or null")
        except ValueError as error:
            problem = PydanticCustomError("storage_option", "{reason}", {"reason": str(error)})
            mistakes.append(InitErrorDetails(type=problem, loc=(name,), input=given))
    if mistakes:
        raise ValidationError.from_exception_data("storage_options", mistakes)
    return options


class LakeSettings(_Frozen):
    """The lake's two zones: absolute local paths, or `s3://` and `gs://` URIs without a trailing slash."""

    ingestion: Zone = Field(description="a local path, s3://bucket/prefix or gs://bucket/prefix")
    processed: Zone = Field(description="a local path, s3://bucket/prefix or gs://bucket/prefix")
    storage_options: Annotated[dict[str, str | Secret], BeforeValidator(_storage_options)] = Field(
        default_factory=dict,
        description="text, a number, true or false, as deltalake takes it",
    )

    def resolve_storage_options(self) -> dict[str, str]:
        """Give the options as `deltalake` takes them, secrets fetched; never log or keep the result.

        Raises:
            SettingsError: if a secret cannot be had.
        """
        return {
            name: option.resolve() if isinstance(option, Secret) else option
            for name, option in self.storage_options.items()
        }


class DuckDBSettings(_Frozen):
    """The DuckDB file that is the warehouse."""

    path: LocalPath = Field(description="the path of the warehouse's file")
    wait: Integer = Field(default=120, ge=0, le=86_400, description="whole seconds, 0 or more")


class WarehouseSettings(_Frozen):
    """Which warehouse is loaded, and where it is."""

    engine: Literal["duckdb"] = Field(default="duckdb", description="duckdb")
    duckdb: DuckDBSettings = Field(description="a block with path")


class EngineSettings(_Frozen):
    """What the engine that runs the star schema's SQL may use of this machine."""

    memory_limit_mb: Integer = Field(
        default=112, ge=64, le=1_048_576, description="whole megabytes, 64 or more"
    )
    threads: Integer = Field(default=2, ge=1, le=1024, description="a whole number, 1 or more")


class Settings(_Frozen):
    """Everything that can be configured; all paths are absolute."""

    state_dir: LocalPath = Field(description="the path of the folder for local state")
    sources: SourcesSettings = Field(description="a block with totesys")
    lake: LakeSettings = Field(description="a block with ingestion and processed")
    warehouse: WarehouseSettings = Field(description="a block with duckdb")
    engine: EngineSettings = Field(
        default_factory=EngineSettings, description="a block with memory_limit_mb and threads"
    )
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="a block with cron and timezone"
    )
    freshness: FreshnessSettings = Field(default_factory=FreshnessSettings, description="a block with within")
    _config_dir: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Keep where the configuration is."""
        if context and "base" in context:
            self._config_dir = context["base"]

    @property
    def config_dir(self) -> Path:
        """The folder of the configuration file: `sources/` and `catalogue/` are in it."""
        return self._config_dir

    def catalogue_file(self, source: str) -> Path:
        """Where the catalogue of a source is that the model does not declare; it may not be there yet."""
        return self._config_dir / "catalogue" / f"{source}.json"

    def source_file(self, source: str) -> Path:
        """Where a source has a configuration file of its own, if it has one."""
        return self._config_dir / "sources" / f"{source}.conf"


def dagster_home(settings: Settings) -> Path:
    """Where Dagster keeps runs and events: DAGSTER_HOME, else `dagster/` in the state folder."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).expanduser() if named else settings.state_dir / "dagster"


@dataclass(frozen=True, slots=True)
class _Mistake:
    key: tuple[str, ...]
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class _Document:
    """A parsed configuration: its resolved content, and which key asks which environment variables.

    `sources` has the files of the sources that have one of their own.
    """

    file: Path
    content: dict[str, Any]
    variables: Mapping[tuple[str, ...], tuple[str, ...]]
    sources: Mapping[str, Path] = field(default_factory=dict)


def load_settings(path: Path | None = None, *, given: Mapping[str, Any] | None = None) -> Settings:
    """Read and check the configuration: one file, and the sources that `sources/*.conf` beside it add.

    Args:
        path: The HOCON file. Where None: the environment variable PLATFORM_CONFIG, else
            `config/platform.conf` of the project that holds this package, else of the working directory.
        given: Further sources by name, each a block as its file would have it; they replace the sources of
            the same name that have files of their own.

    Raises:
        SettingsError: if there is no such file, it is not HOCON, or anything in it is wrong: all mistakes at
            once, each with file, key path, found and expected; a secret's value is never repeated.
    """
    document, mistakes = _with_sources(_parse(_locate(path)), given or {})
    content = {**document.content}
    mistakes += [*_take_out_ignored_connections(document, content), *_check_source_names(content)]
    try:
        settings = Settings.model_validate(content, context={"base": document.file.parent})
    except ValidationError as error:
        mistakes += [_explain(document, detail) for detail in error.errors(include_url=False)]
    else:
        mistakes += [*_check_zones(settings), *_check_sources(settings)]
        if not mistakes:
            return settings
    lines = sorted({_describe(document, mistake) for mistake in mistakes})
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    raise SettingsError("\n  ".join([f"The configuration has {count}; nothing was started.", *lines]))


def _describe(document: _Document, mistake: _Mistake) -> str:
    own = (
        document.sources.get(mistake.key[1]) if mistake.key[:1] == ("sources",) and mistake.key[1:] else None
    )
    file = own or document.file
    if file.is_file():
        file = _find_definition(file, mistake.key[1:] if own else mistake.key) or file
    return f"{file}: {'.'.join(mistake.key)}: found {mistake.found}; expected {mistake.expected}."


def _locate(path: Path | None) -> Path:
    named = path if path is not None else os.environ.get("PLATFORM_CONFIG")
    if named:
        file = _absolute(str(named), None)
        if file.is_file():
            return file
        origin = "" if path is not None else " (from the environment variable PLATFORM_CONFIG)"
        raise SettingsError(f"There is no configuration file {file}{origin}; name one that exists.")
    roots = (Path(__file__).parent.parent, Path.cwd())
    candidates = [root / "config" / "platform.conf" for root in roots]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    tried = " nor ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise SettingsError(f"There is neither {tried}; set PLATFORM_CONFIG to the path of a configuration file.")


def _with_sources(document: _Document, given: Mapping[str, Any]) -> tuple[_Document, list[_Mistake]]:
    """Put what the files in `sources/` have, and what is given, under the document's `sources`."""
    folder = document.file.parent / "sources"
    found = document.content.get("sources")
    if not isinstance(found, dict):
        return document, []
    sources, variables = {**found}, {**document.variables}
    files: dict[str, Path] = {}
    mistakes = []
    for file in sorted(folder.glob("*.conf")):
        part = _parse(file)
        for name, block in part.content.items():
            if name in given:
                continue
            if name in sources:
                first = files.get(name, document.file)
                mistakes.append(
                    _Mistake(("sources", name), "it once more", f"it in one file; {first} has it too")
                )
            sources[name], files[name] = block, file
        variables |= {("sources", *key): names for key, names in part.variables.items()}
    for name, block in given.items():
        if name in sources:
            expected = f"a name of its own; {document.file} has a source of this name"
            mistakes.append(_Mistake(("sources", name), "it once more", expected))
        sources[name], files[name] = block, folder / f"{name}.conf"
    content = {**document.content, "sources": sources}
    return _Document(document.file, content, variables, files), mistakes


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"The configuration file {file} cannot be read: {reason}.") from None


def _parse(file: Path) -> _Document:
    # pyhocon and pyparsing take 70 ms to import, which those who build Settings by hand need not pay.
    from pyhocon import ConfigFactory, ConfigParser, ConfigTree
    from pyhocon.exceptions import ConfigException
    from pyparsing import ParseBaseException

    text = _read(file)
    try:
        tree = ConfigFactory.parse_string(text, basedir=str(file.parent), resolve=False)
        if not isinstance(tree, ConfigTree):
            raise SettingsError(f"{file}: found a list at the top level; expected keys with values.")
        variables = dict(_find_variables(tree))
        if _INCLUDE.search(text):
            _mend_includes(tree, file)
        ConfigParser.resolve_substitutions(tree)
        return _Document(file, _plain(tree), variables)
    except ParseBaseException as error:
        unclear = SettingsError(f"{file}: line {error.lineno}: this is not HOCON.")
        raise _syntax_error(file) or unclear from None
    except OSError as error:
        reason = f"the included file {error.filename} cannot be read: {error.strerror}"
        raise SettingsError(f"{file}: {reason}.") from None
    except RecursionError:
        raise SettingsError(f"{file}: it includes itself, directly or through another file.") from None
    except ConfigException as error:
        raise SettingsError(f"{file}: {error}.") from None


def _mend_includes(tree: Any, file: Path) -> None:
    """Put right what pyhocon forgets about `port = 5432, port = ${?PORT}` in an included file.

    It drops the default of keys at the file's top, and, as it copies trees to merge them, it leaves values
    deeper down pointing to the original tree, where it then puts what they resolve to: the key would become
    null.
    """
    from pyhocon.config_tree import ConfigTree, ConfigValues

    own_trees = list(_own_trees(file))

    def default(key: tuple[str, ...]) -> Any:
        for prefix, own in own_trees:
            found = _member(own, key[len(prefix) :]) if key[: len(prefix)] == prefix else None
            if found is not None:
                return found.overridden_value if isinstance(found, ConfigValues) else None
        return None

    def mend(node: Any, path: tuple[str, ...]) -> None:
        for name, value in node.items():
            key = (*path, name.strip('"'))
            if isinstance(value, ConfigTree):
                mend(value, key)
            elif isinstance(value, ConfigValues) and value.overridden_value is None:
                value.overridden_value = default(key)
            version = value
            while isinstance(version, ConfigValues):
                version.parent, version.key = node, name
                version = version.overridden_value

    mend(tree, ())


def _syntax_error(file: Path) -> SettingsError | None:
    """Say where a file, or one that it includes, stops being HOCON.

    Each is parsed by itself, as an error inside an include surfaces at the wrong place of the outer file.
    """
    from pyparsing import ParseBaseException

    try:
        _, includes = _own_keys(file)
    except ParseBaseException as error:
        # Neither the line nor what was found in it is repeated: either may be part of a secret.
        hint = f" ({error.msg})" if len(error.msg) < 40 else ""
        return SettingsError(
            f"{file}: line {error.lineno}, column {error.column}: this is not HOCON{hint}; look there and on "
            "the line before for an open quote or bracket, a missing = or a value that needs quotes."
        )
    errors = (_syntax_error(target) for _, target in includes if target.is_file())
    return next((error for error in errors if error is not None), None)


def _find_variables(
    tree: Any, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Walk an unresolved tree; give, for each key with substitutions, the names that it asks for."""
    from pyhocon.config_tree import ConfigTree, ConfigValues

    for name, value in tree.items():
        key = (*prefix, name.strip('"'))
        if isinstance(value, ConfigTree):
            yield from _find_variables(value, key)
        elif isinstance(value, ConfigValues):
            names = (part.variable for part in value.get_substitutions())
            yield key, tuple(name for name in names if _ENV_NAME.fullmatch(name))


def _plain(value: Any) -> Any:
    """Turn pyhocon's types into plain ones; periods stay what they are, to be refused by name."""
    from pyhocon.config_tree import ConfigTree, NoneValue

    if isinstance(value, ConfigTree):
        return {name.strip('"'): _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return None if isinstance(value, NoneValue) else value


def _take_out_ignored_connections(document: _Document, content: dict[str, Any]) -> Iterator[_Mistake]:
    """Drop the connection of an embedded source where it says nothing; explain one that nobody would read.

    The default file always has a connection block, filled from the environment. Somebody who sets
    TOTESYS_HOST wants that database read: to go on with the sample would be a surprise.
    """
    sources = content.get("sources")
    if not isinstance(sources, dict):
        return
    content["sources"] = {**sources}
    for name, source in sources.items():
        connection = source.get("connection") if name in SOURCE_NAMES and isinstance(source, dict) else None
        if not isinstance(connection, dict) or not _is_true(source.get("embedded", True)):
            continue
        key = ("sources", name, "connection")
        places = ("host", "database", "user")
        from_environment = [
            variable
            for place in places
            if place in connection
            for variable in document.variables.get((*key, place), ())
            if variable in os.environ
        ]
        if from_environment or not any(place in connection for place in places):
            content["sources"][name] = {k: v for k, v in source.items() if k != "connection"}
        if from_environment:
            switch = document.variables.get(("sources", name, "embedded"), ())
            how = f"set {switch[0]}=false" if switch else f"set sources.{name}.embedded to false"
            verb = "is" if len(from_environment) == 1 else "are"
            missing = [
                (document.variables.get((*key, place)) or (place,))[-1]
                for place in places
                if place not in connection
            ]
            rest = f" and give {', '.join(missing)}" if missing else ""
            names = ", ".join(from_environment)
            yield _Mistake(
                key,
                f"that {names} {verb} set in the environment while sources.{name}.embedded is true",
                f"either the embedded sample (unset {names}) or that database ({how}{rest})",
            )


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "yes", "on", "y", "t", "1")


def _check_source_names(content: dict[str, Any]) -> Iterator[_Mistake]:
    sources = content.get("sources")
    if not isinstance(sources, dict):
        return
    for name in SOURCE_NAMES:
        if name not in sources:
            yield _Mistake(("sources", name), "nothing", "a block: it is the source that the model declares")
    refused = {name: reason for name in sources if (reason := _unusable_name(name))}
    for name, reason in refused.items():
        expected = f"a name of lower case letters, digits and _ that nothing else has ({reason})"
        yield _Mistake(("sources", name), f"a source called {_show(name)}", expected)
    content["sources"] = {name: source for name, source in sources.items() if name not in refused}


def _unusable_name(name: str) -> str:
    """Why a source cannot have a name; empty where it can."""
    if not _SOURCE_NAME.fullmatch(name):
        return "it starts with a letter and has up to 40 characters"
    if name in _RESERVED_NAMES:
        return "the platform, Dagster or Python have that one"
    ending = next((ending for ending in _RESERVED_ENDINGS if name.endswith(ending)), "")
    return f"names of jobs and steps end in {ending}" if ending else ""


def _check_sources(settings: Settings) -> Iterator[_Mistake]:
    for name, source in settings.sources.discovered.items():
        key = ("sources", name)
        if source.schedule is not None and source.freshness is None:
            expected = f"{_field((*key, 'freshness'))[1]}, as the source has a schedule of its own"
            yield _Mistake((*key, "freshness"), "nothing", expected)
        for table in source.overrides:
            if not matches(table, source.tables) or matches(table, source.exclude):
                yield _Mistake(
                    (*key, "overrides", table),
                    "a block",
                    f"one of a table that sources.{name}.tables selects",
                )


def is_pattern(name: str) -> bool:
    """Whether one of a source's `tables` is a shell pattern and not a table's name."""
    return bool(re.search(r"[*?[]", name))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a table's name is one of these names, or matches one of these shell patterns."""
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _check_zones(settings: Settings) -> Iterator[_Mistake]:
    ingestion, processed = settings.lake.ingestion, settings.lake.processed
    if f"{ingestion}/".startswith(f"{processed}/") or f"{processed}/".startswith(f"{ingestion}/"):
        expected = f"a place apart from lake.ingestion, which is {_show(ingestion)}"
        yield _Mistake(("lake", "processed"), _show(processed), expected)


def _explain(document: _Document, detail: Mapping[str, Any]) -> _Mistake:
    """Turn one of pydantic's errors into a mistake in the user's words."""
    key = tuple(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return _Mistake(key, "an unknown key", _suggest(key))
    annotation, expected = _field(key)
    if detail["type"] == "missing":
        return _Mistake(key, f"nothing{_variable_hint(document, key)}", expected)
    given = detail["input"]
    in_options = key[:2] == ("lake", "storage_options")
    if annotation is Secret or (in_options and _SECRET_OPTION.search(key[-1])):
        is_reference = str(given).startswith("secret://")
        found = "a reference that cannot be used" if is_reference else "a literal value (not shown)"
    else:
        found = _show(given)
    variables = [name for name in document.variables.get(key, ()) if name in os.environ]
    if variables:
        found += f" (from the environment variable {variables[-1]})"
    if detail["type"] in ("value_error", "storage_option"):
        context = detail.get("ctx", {})
        reason = str(context.get("error") or context.get("reason"))
        # What refuses a secret already says what to write.
        expected = reason if _REFERENCES in reason else f"{expected} ({reason})"
    return _Mistake(key, found, expected)


def _field(key: tuple[str, ...]) -> tuple[object, str]:
    """Look up a key path's declared type and description; a list's member has those of the list."""
    annotation: object = Settings
    expected = "something else"
    for part in key:
        annotation, description = _member_type(annotation, part)
        expected = description or expected
    return annotation, expected


def _member_type(annotation: object, part: str) -> tuple[object, str]:
    """What type a type's member has, and its description where it has one of its own."""
    model = _model(annotation)
    if model is not None:
        found = {one.alias or name: one for name, one in model.model_fields.items()}.get(part)
        if found is not None:
            return found.annotation, found.description or ""
        return (SourceSettings if model is SourcesSettings else None), ""
    for block in _parts(annotation):
        if get_origin(block) in (dict, tuple):
            return get_args(block)[1 if get_origin(block) is dict else 0], ""
    return None, ""


def _parts(annotation: object) -> Iterator[object]:
    """A type without what annotates it: the members of a union, else itself."""
    if get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _parts(member)
    else:
        yield annotation


def _model(annotation: object) -> type[BaseModel] | None:
    """The model that a type is, or may be."""
    parts = _parts(annotation)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _known_keys(model: type[BaseModel] = Settings, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that can be set; the names of sources and tables that users choose are <name> and <table>."""
    for name, declared in model.model_fields.items():
        key = (*prefix, declared.alias or name)
        yield key
        inner = _model(declared.annotation)
        if inner is not None:
            yield from _known_keys(inner, key)
        elif declared.annotation is not None and "overrides" in key:
            value = _model(_member_type(declared.annotation, "<table>")[0])
            yield from _known_keys(value, (*key, "<table>")) if value else ()
    if model is SourcesSettings:
        yield from _known_keys(SourceSettings, (*prefix, "<name>"))


def _suggest(key: tuple[str, ...]) -> str:
    """Say what an unknown key may have meant: a neighbour with a similar name, or the same name elsewhere."""
    import difflib

    model = _model(_field(key[:-1])[0]) if len(key) > 1 else Settings
    names = [one.alias or name for name, one in model.model_fields.items()] if model else []
    close = difflib.get_close_matches(key[-1].lower().replace("-", "_"), names, n=1)
    elsewhere = [known for known in _known_keys() if known[-1] == key[-1]]
    if close:
        return f"a known one, perhaps {'.'.join((*key[:-1], close[0]))}"
    if elsewhere:
        return f"a known one, perhaps {'.'.join(elsewhere[0])}"
    return f"one of {', '.join(sorted(names))}"


def _variable_hint(document: _Document, key: tuple[str, ...]) -> str:
    unset = [name for name in document.variables.get(key, ()) if name not in os.environ]
    return f" (the environment variable {unset[-1]} is not set either)" if unset else ""


def _show(value: object) -> str:
    """Render what was found, without the password of a URL."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, str):
        shown = re.sub(r"//[^/\s]*@", "//***@", value)
        return '"' + (shown if len(shown) <= 80 else shown[:77] + "...") + '"'
    if isinstance(value, dict):
        return "a block"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int | float):
        return str(value)
    return "a period with a unit"


_INCLUDE = re.compile(r'\binclude[ \t]+(?:required\([ \t]*)?(?:file\([ \t]*)?"([^"\n]+)"[ \t)]*')


def _find_definition(file: Path, key: tuple[str, ...]) -> Path | None:
    """Find which of a file and those that it includes sets a key; the outermost where several do."""
    tree, includes = _own_keys(file)
    if _member(tree, key) is not None:
        return file
    for prefix, target in includes:
        if prefix == key[: len(prefix)] and len(key) > len(prefix) and target.is_file():
            found = _find_definition(target, key[len(prefix) :])
            if found is not None:
                return found
    return None


def _member(node: Any, key: tuple[str, ...]) -> Any:
    """What a tree holds at a key path, None where there is nothing."""
    for part in key:
        members = node.items() if isinstance(node, Mapping) else ()
        node = next((value for name, value in members if name.strip('"') == part), None)
    return node


def _own_trees(file: Path, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The unresolved trees of a file and of those that it includes, each by itself, with their key paths."""
    tree, includes = _own_keys(file)
    yield prefix, tree
    for path, target in includes:
        if target.is_file():
            yield from _own_trees(target, (*prefix, *path))


def _own_keys(file: Path) -> tuple[Any, list[tuple[tuple[str, ...], Path]]]:
    """Parse one file alone: its unresolved tree, and the files that it includes with the key paths there."""
    from pyhocon import ConfigFactory
    from pyhocon.config_tree import ConfigTree

    targets: list[str] = []

    def mark(match: re.Match[str]) -> str:
        targets.append(match[1])
        return f"__include_{len(targets) - 1} = 1"

    def walk(tree: Any, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Path]]:
        for name, value in tree.items():
            if name.startswith("__include_"):
                yield prefix, _absolute(targets[int(name.removeprefix("__include_"))], file.parent)
            elif isinstance(value, ConfigTree):
                yield from walk(value, (*prefix, name.strip('"')))

    tree = ConfigFactory.parse_string(_INCLUDE.sub(mark, _read(file)), resolve=False)
    return tree, list(walk(tree, ()))
