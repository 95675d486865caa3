"""Builders of the rooms' objects from the settings, for Dagster's resources and for the command line.

Imports are inside the functions, so that the code location and each command import only what they use.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.errors import ObjectsError, SettingsError, path_error
from platform_assets.settings import (
    BigQueryWarehouseSettings,
    CaptureOverrides,
    CaptureSettings,
    ChannelSettings,
    DeclaredSourceSettings,
    DuckDBSettings,
    FeedColumnSettings,
    PostgresWarehouseSettings,
    Secret,
    ServerSettings,
    SnowflakeConnectionSettings,
    SnowflakeWarehouseSettings,
    SourceSettings,
    WarehouseSettings,
    WatchSettings,
    is_pattern,
    matches,
)

if TYPE_CHECKING:
    from platform_assets.alerts.notifier import Notifier
    from platform_assets.alerts.outbox import Channel, Outbox
    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.dlp.columns import ColumnInspector
    from platform_assets.dlp.feeding import Feeding
    from platform_assets.dlp.findings import FindingsStore
    from platform_assets.dlp.google.access import DlpAccess
    from platform_assets.dlp.model import InspectConfig, Inspector, InspectResult
    from platform_assets.dlp.policy import Policy
    from platform_assets.dlp.protect import Protection
    from platform_assets.dlp.room import InspectionRoom
    from platform_assets.dlp.uploads import ByJob, UploadInspector
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table
    from platform_assets.objects.bucket import ObjectVersion
    from platform_assets.objects.events import Events
    from platform_assets.objects.feeds.feed import Feed
    from platform_assets.objects.watch import Watch
    from platform_assets.settings import Settings
    from platform_assets.snowflake.access import SnowflakeAccess
    from platform_assets.snowflake.copies import LakeCopies
    from platform_assets.source.connection import Connection
    from platform_assets.source.embedded import EmbeddedPostgres
    from platform_assets.source.snapshot import SourceDatabase
    from platform_assets.warehouse.interface import Warehouse


def build_engine(settings: Settings) -> SqlEngine:
    """Build the embedded SQL engine."""
    from platform_assets.lake.duck import SqlEngine

    return SqlEngine(settings.engine.memory_limit_mb, settings.engine.threads, settings.state_dir / "tmp")


def build_lake(settings: Settings) -> Lake:
    """Build the lake; its secrets are resolved when a table is opened."""
    from platform_assets.lake.lake import Lake

    return Lake(settings.lake.ingestion, settings.lake.processed, settings.lake.resolve_storage_options)


def build_embedded_postgres(settings: Settings) -> EmbeddedPostgres:
    """Build the embedded PostgreSQL server without starting it."""
    from platform_assets.source.embedded import EmbeddedPostgres

    return EmbeddedPostgres(settings.state_dir / "source")


def source_tables(settings: Settings, name: str) -> tuple[Table, ...]:
    """Return the tables of a source from the model or from its catalogue file.

    No server is queried. A table that is configured by name but not in a catalogue has no columns.

    Raises:
        SettingsError: The source is configured by patterns and has no catalogue, its catalogue cannot be
            used, or the configuration has options for a table that the source does not have.
    """
    source = settings.sources[name]
    if isinstance(source, DeclaredSourceSettings):
        from platform_assets.model import totesys

        _refuse_unknown_tables(name, source.overrides, totesys.TABLES, "the model declares")
        return totesys.TABLES
    from platform_assets.source.declaration import Catalogue, discover_command, undiscovered

    file = settings.catalogue_file(name)
    catalogue = Catalogue.read(file, name)
    patterns = [
        one for one in source.tables if is_pattern(one) and not (catalogue and one in catalogue.tables)
    ]
    if catalogue is None and patterns:
        raise SettingsError(
            f"Source {name} is to read the tables that match {', '.join(patterns)}, and there is no "
            f"{file} that says which these are. Look at the database once, and keep what is written with the "
            f"configuration: {discover_command(name)}."
        )
    known = catalogue.tables if catalogue else {}
    tables = {
        table: known[table].declaration
        for table in known
        if matches(table, source.tables) and not matches(table, source.exclude)
    }
    named = [one for one in source.tables if one not in patterns and not matches(one, source.exclude)]
    tables |= {table: undiscovered(table) for table in named if table not in tables}
    found = tuple(tables[table] for table in sorted(tables))
    _refuse_unknown_tables(name, source.overrides, found, "its catalogue has", discover_command(name))
    return found


def _refuse_unknown_tables(
    source: str, overrides: Mapping[str, object], tables: Sequence[Table], whose: str, command: str = ""
) -> None:
    names = [table.name for table in tables]
    unknown = [name for name in overrides if name not in names]
    if unknown:
        again = f", or look at the database again: {command}" if command else ""
        raise SettingsError(
            f"sources.{source}.overrides configures {', '.join(unknown)}, and {whose} "
            f"{', '.join(names) or 'nothing'}. Correct the name{again}."
        )


def build_source(settings: Settings, name: str, tables: Sequence[Table] | None = None) -> SourceDatabase:
    """Build a source; an embedded source is started, and its sample created, at the first connection.

    Args:
        settings: The configuration.
        name: Name of the source.
        tables: Tables of the source; None for those of `source_tables`.

    Raises:
        SettingsError: As `source_tables`.
    """
    from platform_assets.source.declaration import parse_type
    from platform_assets.source.policy import CapturePolicy
    from platform_assets.source.snapshot import SourceDatabase

    configured = settings.sources[name]
    given = configured.connection

    def connect() -> Connection:
        if isinstance(configured, DeclaredSourceSettings) and (configured.embedded or given is None):
            from platform_assets.source.sample import ensure_sample

            return ensure_sample(
                build_embedded_postgres(settings), configured.sample.sales, configured.sample.seed
            )
        if given is None:
            raise SettingsError(f"sources.{name} has no connection.")
        return _connection(given, given.db_schema)

    def policy(*options: CaptureSettings | CaptureOverrides) -> CapturePolicy:
        """Merge capture options; the last (innermost) setting wins."""
        said = {
            key: value
            for one in options
            for key in CaptureOverrides.model_fields
            if (value := getattr(one, key)) is not None
        }
        rhythm = said.get("deletions_every", settings.fresh_within(name) / 2)
        return CapturePolicy(
            said["strategy"],
            said["column"],
            dt.timedelta(seconds=said["lag"]),
            said["small_table_rows"],
            dt.timedelta(minutes=rhythm),
        )

    limits = (given.statement_timeout, given.lock_timeout) if given else (3600, 10)
    discovered = configured.overrides if isinstance(configured, SourceSettings) else {}
    return SourceDatabase(
        name,
        tuple(source_tables(settings, name) if tables is None else tables),
        connect,
        *limits,
        connections=configured.connections,
        policy=policy(configured),
        policies={table: policy(configured, override) for table, override in configured.overrides.items()},
        declared=isinstance(configured, DeclaredSourceSettings),
        keys={table: override.key for table, override in discovered.items() if override.key},
        types={
            table: {column: parse_type(word) for column, word in override.types.items()}
            for table, override in discovered.items()
            if override.types
        },
        encoding=configured.encoding or "",
        encodings={
            table: override.encoding
            for table, override in configured.overrides.items()
            if override.encoding is not None
        },
    )


def build_warehouse(settings: Settings, name: str = "warehouse") -> Warehouse:
    """Build the main warehouse, or an additional one by name, without connecting to it.

    Raises:
        SettingsError: The warehouse does not exist, or its engine has no configuration block.
    """
    if name != "warehouse" and name not in settings.warehouses:
        known = ", ".join(("warehouse", *settings.warehouses))
        raise SettingsError(f"There is no warehouse {name} in the configuration; it has {known}.")
    configured = settings.warehouse if name == "warehouse" else settings.warehouses[name]
    match configured:
        case WarehouseSettings(engine="duckdb", duckdb=DuckDBSettings() as file):
            from platform_assets.warehouse.duckdb import DuckDBWarehouse

            return DuckDBWarehouse(file.path, build_engine(settings), file.wait)
        case WarehouseSettings(engine="postgres", postgres=PostgresWarehouseSettings() as server):
            from platform_assets.warehouse.postgres import PostgresWarehouse

            return PostgresWarehouse(
                lambda: _connection(server, server.star_schema),
                build_engine(settings),
                star_schema=server.star_schema,
                platform_schema=server.platform_schema,
                statement_timeout=server.statement_timeout,
                lock_timeout=server.lock_timeout,
            )
        case WarehouseSettings(engine="snowflake", snowflake=SnowflakeWarehouseSettings() as given):
            from platform_assets.warehouse.snowflake import SnowflakeStage, SnowflakeWarehouse

            return SnowflakeWarehouse(
                _snowflake_access(given),
                build_engine(settings),
                star_schema=given.star_schema,
                platform_schema=given.platform_schema,
                stage=SnowflakeStage(given.stage.url, given.stage.storage_integration)
                if given.stage
                else None,
            )
        case WarehouseSettings(engine="bigquery", bigquery=BigQueryWarehouseSettings() as given):
            from platform_assets.warehouse.bigquery import BigQueryWarehouse

            return BigQueryWarehouse(
                _bigquery_access(given),
                build_engine(settings),
                star_schema=given.star_schema,
                platform_schema=given.platform_schema,
            )
        case _:
            raise SettingsError(f"The engine of {name}, {configured.engine}, has no block of its name.")


def build_bigquery_access(settings: Settings) -> BigQueryAccess | None:
    """Build the access to BigQuery from the first BigQuery warehouse; None without such a warehouse."""
    for one in (settings.warehouse, *settings.warehouses.values()):
        if one.bigquery is not None:
            return _bigquery_access(one.bigquery)
    return None


def _bigquery_access(given: BigQueryWarehouseSettings) -> BigQueryAccess:
    """Build the access to a Google Cloud project; the secret is fetched when a client is created."""
    from platform_assets.bigquery.access import BigQueryAccess

    return BigQueryAccess(
        project=given.project,
        location=given.location,
        credentials=given.credentials.resolve if given.credentials else None,
    )


def build_snowflake_copies(settings: Settings) -> LakeCopies:
    """Build the Snowflake copies of the lake's star and feed tables, without connecting.

    Raises:
        SettingsError: The configuration has no block for Snowflake.
    """
    given = settings.snowflake
    if given is None:
        raise SettingsError(
            "No Snowflake account is configured for these tables. Add a block snowflake with account, "
            "user, private_key, warehouse, database and schema to config/platform.conf."
        )
    from platform_assets.snowflake.copies import LakeCopies
    from platform_assets.snowflake.options import ScriptOptions

    options = ScriptOptions(
        stage_url=given.stage.url if given.stage else None,
        storage_integration=given.stage.storage_integration if given.stage else None,
        case="upper",
    )
    return LakeCopies(build_lake(settings), _snowflake_access(given, given.db_schema).connect, options)


def _snowflake_access(given: SnowflakeConnectionSettings, schema: str | None = None) -> SnowflakeAccess:
    """Build the access to a Snowflake account; secrets are fetched when a session is opened."""
    from platform_assets.snowflake.access import SnowflakeAccess

    return SnowflakeAccess(
        account=given.account,
        user=given.user,
        database=given.database,
        warehouse=given.warehouse,
        role=given.role,
        schema=schema,
        private_key=given.private_key.resolve if given.private_key else None,
        private_key_passphrase=given.private_key_passphrase.resolve if given.private_key_passphrase else None,
        password=given.password.resolve if given.password else None,
        query_tag=given.query_tag,
        login_timeout=given.login_timeout,
    )


def _connection(given: ServerSettings, schema: str) -> Connection:
    """Build the connection to a PostgreSQL server, with its secret fetched."""
    from platform_assets.source.connection import Connection

    return Connection(
        host=given.host,
        port=given.port,
        database=given.database,
        user=given.user,
        password=given.password.resolve(),
        schema=schema,
        sslmode=given.sslmode,
        sslrootcert=str(given.sslrootcert) if given.sslrootcert else None,
        connect_timeout=given.connect_timeout,
    )


def fingerprint_key(settings: Settings) -> bytes:
    """Return the key for fingerprints, tokens and references; created in the state folder by default.

    Raises:
        SettingsError: The secret cannot be read, or is too short.
    """
    from platform_assets.dlp.fingerprints import check_key

    if settings.dlp.key is not None:
        key = settings.dlp.key.resolve().encode()
        check_key(key)
        return key
    file = settings.state_dir / "dlp.key"
    with contextlib.suppress(FileExistsError):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Written to a temporary file and linked, so that nobody reads a partial key.
        part = file.with_name(f".dlp.key.{secrets.token_hex(4)}")
        part.touch(mode=0o600)
        part.write_text(secrets.token_hex(32))
        try:
            os.link(part, file)
        finally:
            part.unlink()
    return file.read_text().encode()


def build_inspect_config(settings: Settings) -> InspectConfig:
    """Build the inspection's configuration: the info types to look for."""
    from platform_assets.dlp.model import (
        CustomInfoType,
        Dictionary,
        ExclusionRule,
        HotwordRule,
        InfoType,
        InspectConfig,
        Likelihood,
        LikelihoodAdjustment,
        Proximity,
        Regex,
        RuleSet,
        Sensitivity,
    )

    given = settings.dlp.inspect
    custom = []
    for name, one in given.custom.items():
        custom.append(
            CustomInfoType(
                InfoType(name, sensitivity=Sensitivity[one.sensitivity]),
                Regex(one.regex) if one.regex is not None else Dictionary(one.words),
                Likelihood[one.likelihood],
            )
        )
    rules = [
        RuleSet(
            hotword.info_types,
            (
                HotwordRule(
                    hotword.regex,
                    LikelihoodAdjustment(fixed_likelihood=Likelihood[hotword.likelihood]),
                    Proximity(hotword.before, hotword.after),
                ),
            ),
        )
        for hotword in given.hotwords.values()
    ]
    for exclusion in given.exclusions.values():
        rules.append(
            RuleSet(
                exclusion.info_types,
                (
                    ExclusionRule(regex=Regex(exclusion.regex))
                    if exclusion.regex is not None
                    else ExclusionRule(dictionary=Dictionary(exclusion.words)),
                ),
            )
        )
    return InspectConfig(
        info_types=given.info_types,
        exclude_info_types=given.exclude,
        min_likelihood=Likelihood[given.min_likelihood],
        min_likelihood_per_info_type={name: Likelihood[level] for name, level in given.per_info_type.items()},
        custom_info_types=tuple(custom),
        rule_set=tuple(rules),
    )


def check_info_types(settings: Settings) -> None:
    """Check the info types that the configuration names; Google knows more than those that are known here.

    Raises:
        SettingsError: Some are not known.
    """
    if _is_local(settings):
        from platform_assets.dlp.detectors import BY_NAME

        settings.dlp.check_names(BY_NAME)


def detector_version(settings: Settings) -> tuple[str, str]:
    """Return the inspector's name, and a version that changes when its findings may change."""
    from platform_assets.dlp.detectors import BY_NAME

    versions = sorted((name, one.info_type.version) for name, one in BY_NAME.items())
    told = repr((build_inspect_config(settings), versions if _is_local(settings) else ()))
    return settings.dlp.inspect.inspector, hashlib.sha256(told.encode()).hexdigest()[:12]


def _is_local(settings: Settings) -> bool:
    return settings.dlp.inspect.inspector == "local"


@contextlib.contextmanager
def open_inspector(settings: Settings) -> Iterator[Inspector]:
    """Open the inspector for the duration of the block.

    Raises:
        SettingsError: The configured info types cannot be inspected, or Google's inspector lacks a project.
        DlpError: Google's service cannot be reached.
    """
    config, key = build_inspect_config(settings), fingerprint_key(settings)
    if _is_local(settings):
        from platform_assets.dlp.local import LocalInspector

        yield LocalInspector(config, key)
        return
    from platform_assets.dlp.google.inspector import GoogleInspector

    with _dlp_access(settings).connect() as session:
        yield GoogleInspector(config, key, session)


def _dlp_access(settings: Settings) -> DlpAccess:
    from platform_assets.dlp.google.access import DlpAccess

    given = settings.dlp.inspect
    if given.project is None:
        raise SettingsError("dlp.inspect.project is missing: the Google Cloud project that inspects.")
    return DlpAccess(given.project, given.location, given.credentials.resolve if given.credentials else None)


@contextlib.contextmanager
def _open_jobs(settings: Settings, watch: str) -> Iterator[ByJob | None]:
    """Open the inspection of large GCS objects by Google jobs; None for any other watch."""
    place = settings.watches[watch].place
    if _is_local(settings) or not place.startswith("gs://"):
        yield None
        return
    from platform_assets.dlp.google.jobs import GcsObject, GoogleJobs, JobOptions

    with _dlp_access(settings).connect() as session:
        options = JobOptions(topic=settings.dlp.inspect.topic)
        jobs = GoogleJobs(build_inspect_config(settings), session, options)

        def by_job(found: ObjectVersion, read_here: Callable[[], InspectResult]) -> InspectResult:
            bucket, _, name = found.uri.removeprefix("gs://").partition("/")
            return jobs.inspect_object(GcsObject(bucket, name, found.version, found.size), read_here)

        yield by_job


def build_policy(settings: Settings) -> Policy:
    """Build the policy that decides what happens to findings."""
    from platform_assets.dlp.model import Likelihood
    from platform_assets.dlp.policy import (
        Action,
        Deidentification,
        Policy,
        Rule,
        UninspectedRule,
        default_rules,
    )

    rules = []
    for name, one in settings.dlp.rules.items():
        action, how = Action.DEIDENTIFY, None
        match one.action:
            case "allow" | "alert" | "quarantine" | "block":
                action = Action[one.action.upper()]
            case _:
                how = Deidentification(one.action, one.keep_last, "*", one.replacement, one.prefix, one.days)
        rules.append(
            Rule(
                name,
                action,
                one.info_types,
                Likelihood[one.min_likelihood],
                one.places,
                how,
                partial(settings.dlp.written_at, name),
            )
        )
    uninspected = [
        UninspectedRule(
            name,
            Action[one.action.upper()],
            one.status,
            one.problems,
            one.places,
            partial(settings.dlp.written_at, name, "uninspected"),
        )
        for name, one in settings.dlp.uninspected.items()
    ]
    return Policy(tuple(rules) or default_rules(), tuple(uninspected))


def build_findings(settings: Settings) -> FindingsStore:
    """Build the store of findings."""
    from platform_assets.dlp.findings import FindingsStore

    return FindingsStore(build_lake(settings), build_engine(settings))


def build_protection(settings: Settings) -> Protection:
    """Build the protection that applies the policy to rows on the way to warehouses."""
    from platform_assets.dlp.protect import Protection

    return Protection(
        build_policy(settings),
        lambda: open_column_inspector(settings),
        build_findings(settings),
        lambda: fingerprint_key(settings),
        build_engine(settings),
        lambda: detector_version(settings),
    )


@contextlib.contextmanager
def open_column_inspector(settings: Settings) -> Iterator[ColumnInspector]:
    """Open the inspector of table columns for the duration of the block."""
    from platform_assets.dlp.columns import ColumnInspector

    with open_inspector(settings) as inspector:
        yield ColumnInspector(inspector, build_engine(settings), settings.dlp.inspect.sample_rows)


def make_folder(settings: Settings, watch: str) -> None:
    """Create the watched folder if it is on this machine.

    Raises:
        ObjectsError: The folder cannot be created: the path is in use, or permission is missing.
    """
    place = settings.watches[watch].place
    if "://" in place:
        return
    try:
        Path(place).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ObjectsError(
            f"The folder {place}, watches.{watch}.place, cannot be made: {path_error(error) or error}"
        ) from error


def build_watch(settings: Settings, name: str) -> Watch:
    """Build the watch of a folder or bucket, without looking for objects yet.

    Raises:
        ObjectsError: The store's client cannot be created.
        SettingsError: The watch does not exist, or a secret cannot be read.
    """
    if name not in settings.watches:
        known = ", ".join(settings.watches) or "none"
        raise SettingsError(f"There is no watch {name} in the configuration; it has {known}.")
    from platform_assets.lake.delta import LakeTable
    from platform_assets.objects.bucket import open_bucket
    from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
    from platform_assets.objects.plan import Policy as Pace
    from platform_assets.objects.watch import Watch

    given = settings.watches[name]
    make_folder(settings, name)
    lake = build_lake(settings)
    return Watch(
        name,
        open_bucket(given.place, _resolved(given.storage_options)),
        ObjectLog(LakeTable(lake.path("processed", "objects", name), LOG_COLUMNS, lake.storage_options)),
        Pace(
            objects_per_run=given.objects_per_run,
            attempts=given.attempts,
            sweep_every=dt.timedelta(minutes=given.sweep_every),
        ),
        _events(given),
    )


def _events(given: WatchSettings) -> Events | None:
    bucket, _, prefix = given.place.partition("://")[2].partition("/")
    options = _resolved(given.storage_options)
    if given.queue is not None:
        from platform_assets.objects.events import SqsEvents, sqs_client

        return SqsEvents(given.queue, bucket, prefix, sqs_client(options))
    if given.subscription is not None:
        from platform_assets.objects.events import PubSubEvents, pubsub_client

        return PubSubEvents(given.subscription, bucket, prefix, pubsub_client(options))
    return None


def _resolved(options: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: one.resolve() if isinstance(one, Secret) else one for name, one in options.items()}


def build_outbox(settings: Settings) -> Outbox:
    """Build the outbox of raised alerts and their delivery status."""
    from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Outbox
    from platform_assets.lake.delta import LakeTable

    lake = build_lake(settings)
    return Outbox(LakeTable(lake.path("processed", "alerts", "outbox"), OUTBOX_COLUMNS, lake.storage_options))


def build_channels(settings: Settings) -> list[Channel]:
    """Build the alert channels: the log and the configured channels, each created at its first use."""
    from platform_assets.alerts.alert import Severity
    from platform_assets.alerts.notifier import DeferredNotifier, LogNotifier
    from platform_assets.alerts.outbox import Channel

    return [
        Channel("log", LogNotifier()),
        *(
            Channel(name, DeferredNotifier(cache(partial(_notifier, given))), Severity[given.min_severity])
            for name, given in settings.alerts.channels.items()
        ),
    ]


def _notifier(given: ChannelSettings) -> Notifier:
    """Build a channel as configured; the log by default."""
    if given.slack is not None:
        from platform_assets.alerts.slack import SlackNotifier

        return SlackNotifier(given.slack.webhook)
    if given.email is not None:
        from platform_assets.alerts.email import EmailNotifier

        mail = given.email
        return EmailNotifier(
            mail.host,
            mail.port,
            mail.sender,
            mail.recipients,
            mail.user,
            mail.password,
            mail.security,
            mail.ca_file,
        )
    if given.sns is not None:
        from platform_assets.alerts.sns import SnsNotifier, sns_client

        return SnsNotifier(given.sns.topic, sns_client(_resolved(given.sns.options)))
    from platform_assets.alerts.notifier import LogNotifier

    return LogNotifier()


@contextlib.contextmanager
def open_upload_inspector(settings: Settings, watch: str) -> Iterator[UploadInspector]:
    """Open the inspector of a watch's objects for the duration of the block."""
    from platform_assets.dlp.content import Limits
    from platform_assets.dlp.uploads import UploadInspector

    outbox, channels = build_outbox(settings), build_channels(settings)
    url = (settings.alerts.dagster_url or "").rstrip("/")
    with open_inspector(settings) as inspector, _open_jobs(settings, watch) as by_job:
        yield UploadInspector(
            build_watch(settings, watch),
            inspector,
            build_policy(settings),
            build_findings(settings),
            lambda alerts: outbox.post(alerts, channels, dt.datetime.now(dt.UTC)),
            detector_version(settings),
            fingerprint_key(settings),
            settings.watches[watch].quarantine,
            Limits(memory=settings.dlp.inspect.memory_mb * 1024 * 1024),
            by_job=by_job,
            run_url=lambda run_id: f"{url}/runs/{run_id}" if url and run_id else "",
        )


def inspected_tables(settings: Settings) -> dict[str, LakeTable]:
    """Return the tables of the lake whose columns are inspected, by asset key."""
    from platform_assets.lake.delta import LakeTable
    from platform_assets.model import star
    from platform_assets.objects.feeds.load import UPLOADS

    lake = build_lake(settings)
    sources = {
        f"{name}/{table.name}": lake.bronze(name, table)
        for name in settings.sources.names
        for table in source_tables(settings, name)
    }
    # Declared without columns: the columns of a feed may only be known from its first object.
    feeds = {
        f"{UPLOADS}/{name}": LakeTable(lake.path("ingestion", UPLOADS, name), (), lake.storage_options)
        for name in settings.feeds
    }
    return sources | feeds | {f"star/{table.name}": lake.star(table) for table in star.TABLES}


def build_inspection_room(settings: Settings) -> InspectionRoom:
    """Build the inspection's parts for Dagster's steps and sensors."""
    from platform_assets.dlp.room import InspectionRoom, WarehouseTable

    def warehouse_tables(name: str) -> list[WarehouseTable]:
        warehouse = build_warehouse(settings, name)
        schema = (settings.warehouse if name == "warehouse" else settings.warehouses[name]).star_schema
        return [
            WarehouseTable(
                f"{name}/{status.table}",
                f"{status.row_count}:{status.last_batch}",
                partial(warehouse.read, (schema, status.table)),
            )
            for status in warehouse.status()
        ]

    return InspectionRoom(
        build_findings(settings),
        build_policy(settings),
        detector_version(settings),
        partial(build_watch, settings),
        partial(open_upload_inspector, settings),
        partial(open_column_inspector, settings),
        inspected_tables(settings),
        {name: partial(warehouse_tables, name) for name in ("warehouse", *settings.warehouses)},
        build_outbox(settings),
        partial(build_channels, settings),
    )


def build_feed(settings: Settings, name: str) -> Feed:
    """Build a feed as configured.

    Raises:
        FeedError: The feed's parts are inconsistent.
    """
    from platform_assets.model.table import Column, Text
    from platform_assets.objects.feeds.feed import Dialect, Feed, Sheet
    from platform_assets.source.declaration import parse_type

    def column(key: str, one: FeedColumnSettings) -> Column:
        type_ = parse_type(one.type)
        if one.max_length is not None and isinstance(type_, Text):
            type_ = replace(type_, max_length=one.max_length)
        return Column(key, type_, nullable=one.nullable, accepted=one.accepted)

    given = settings.feeds[name]
    return Feed(
        name,
        given.watch,
        given.pattern,
        given.format,
        tuple(column(key, one) for key, one in given.columns.items()),
        {key: one.format for key, one in given.columns.items() if one.format},
        given.key,
        given.mode,
        given.new_columns,
        Dialect(**given.dialect.model_dump()),
        given.encoding,
        Sheet(**given.sheet.model_dump()),
    )


def build_feeding(settings: Settings, name: str) -> Feeding:
    """Build the load of uploaded files into the table of a feed.

    Raises:
        FeedError: The feed's parts are inconsistent.
    """
    from platform_assets.dlp.feeding import Feeding
    from platform_assets.objects.feeds.load import Feeds

    engine = build_engine(settings)
    feeds = Feeds(build_lake(settings), engine, settings.state_dir / "tmp")
    watch = partial(build_watch, settings)
    return Feeding(feeds, build_findings(settings), watch, build_feed(settings, name))
