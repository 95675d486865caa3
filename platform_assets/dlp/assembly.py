"""The inspection for sensitive data, from the settings."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.alert import RaisesAlerts
from platform_assets.classification import CarriesClassification
from platform_assets.column_lineage import DeclaredTable, DeclaresLineage
from platform_assets.dlp.settings import InspectionSettings
from platform_assets.errors import SettingsError
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import HasLakeTables, HasSourceTables, HasStarTables
from platform_assets.model.star_model import columns_of
from platform_assets.rooms import Assembly
from platform_assets.star.assembly import StarRoom
from platform_assets.warehouse.assembly import WarehouseRoom

if TYPE_CHECKING:
    from platform_assets.alert import Alert
    from platform_assets.classification import Mark
    from platform_assets.column_lineage import ColumnRef
    from platform_assets.dlp.column_parts import LargeTables
    from platform_assets.dlp.columns import ColumnInspector
    from platform_assets.dlp.findings import FindingsStore
    from platform_assets.dlp.google.access import DlpAccess
    from platform_assets.dlp.model import InspectConfig, Inspector, InspectResult
    from platform_assets.dlp.policy import Policy
    from platform_assets.dlp.protect import StarProtection
    from platform_assets.dlp.service import InspectionService, WarehouseTable
    from platform_assets.dlp.uploads import ByJob, UploadInspector
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.interfaces import CurrentTable, KeptTable
    from platform_assets.model.table import Table
    from platform_assets.objects.bucket import ObjectVersion
    from platform_assets.objects.watch import Watch
    from platform_assets.snowflake.setup import MaskedPlace

OBJECT_ASSETS = (("dlp", "objects"), ("dlp", "findings"))
"""Paths of the keys of the assets that are made of uploaded objects."""
_SOME_TEXT = b"""name,email,telephone,note
Mary Example,mary@example.org,+44 20 7946 0123,"card 4111 1111 1111 1111, password = 'correct horse'"
"""
"""Candidates of several kinds, so that what is loaded and compiled for the first of a kind is there."""
_NO_KEY = b"no key" * 4
"""In place of the key, which only fingerprints need, and which not every worker may read."""
_CODE_OF_REMOVAL = ("assembly.py", "marks.py", "model.py", "policy.py")
"""The modules that decide whether the policy removes what a column holds."""


class InspectionRoom(Assembly[InspectionSettings]):
    """The inspection: its configuration, its inspectors and its findings."""

    settings_class = InspectionSettings

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: what is inspected, and the tables of findings."""
        from platform_assets.dlp.tables import declared_columns, declared_objects

        if "objects" in self.rooms:
            yield from declared_objects()
        star = self.rooms.of(StarRoom).model
        inspected: list[tuple[tuple[str, ...], list[str]]] = [
            ((name, table.name), [column.name for column in columns_of(table)])
            for name in ("star", *self.rooms.of(WarehouseRoom).engines)
            for table in star.tables
        ]
        # Tables of other rooms have the columns that they declare.
        known = {path for path, _ in inspected}
        for room in self.rooms.offering(HasLakeTables):
            if isinstance(room, DeclaresLineage):
                paths = {tuple(path) for path in room.lake_paths()} - known
                inspected += [
                    (table.asset, [column.name for column in table.columns])
                    for table in room.declared_tables()
                    if table.asset in paths
                ]
        yield declared_columns(inspected)

    def check_info_types(self) -> None:
        """Check the info types that the configuration names; only the local inspector's are known here.

        Raises:
            SettingsError: Some are not known.
        """
        if self._is_local:
            from platform_assets.dlp.local.detectors import BY_NAME

            self.settings.dlp.check_names(BY_NAME)

    def fingerprint_key(self) -> bytes:
        """Return the key for fingerprints, tokens and references; created in the state folder by default.

        Raises:
            SettingsError: The secret cannot be read, or is too short.
        """
        from platform_assets.dlp.fingerprints import check_key

        if self.settings.dlp.key is not None:
            key = self.settings.dlp.key.resolve().encode()
            check_key(key)
            return key
        file = self.platform.state_dir / "dlp.key"
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

    def inspect_config(self) -> InspectConfig:
        """Return the inspection's configuration: the info types to look for."""
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

        given = self.settings.dlp.inspect
        custom = []
        for name, declared in given.custom.items():
            custom.append(
                CustomInfoType(
                    InfoType(name, sensitivity=Sensitivity[declared.sensitivity]),
                    Regex(declared.regex) if declared.regex is not None else Dictionary(declared.words),
                    Likelihood[declared.likelihood],
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
            min_likelihood_per_info_type={
                name: Likelihood[level] for name, level in given.per_info_type.items()
            },
            custom_info_types=tuple(custom),
            rule_set=tuple(rules),
            dummy_secrets=given.dummy_secrets,
        )

    @cached_property
    def detector(self) -> tuple[str, str]:
        """The inspector's name, and a version that changes when its findings may change."""
        from platform_assets.dlp.local.detectors import BY_NAME

        versions = sorted((name, detector.info_type.version) for name, detector in BY_NAME.items())
        described = repr((self.inspect_config(), versions if self._is_local else ()))
        return self.settings.dlp.inspect.inspector, hashlib.sha256(described.encode()).hexdigest()[:12]

    @property
    def _is_local(self) -> bool:
        return self.settings.dlp.inspect.inspector == "local"

    def warm_up(self) -> None:
        """See `WarmsUp.warm_up`: compile the patterns of the local inspector.

        Raises:
            SettingsError: The configured info types cannot be inspected.
        """
        if self._is_local:
            from platform_assets.dlp.local.inspector import LocalInspector

            LocalInspector(self.inspect_config(), _NO_KEY).inspect_text(_SOME_TEXT)

    @contextlib.contextmanager
    def open_inspector(self) -> Iterator[Inspector]:
        """Open the inspector for the duration of the block.

        Raises:
            SettingsError: The configured info types cannot be inspected, or Google's inspector lacks a
                project.
            DlpError: Google's service cannot be reached.
        """
        config, key = self.inspect_config(), self.fingerprint_key()
        if self._is_local:
            from platform_assets.dlp.local.inspector import LocalInspector

            yield LocalInspector(config, key)
            return
        from platform_assets.dlp.google.inspector import GoogleInspector

        with self._google_access().connect() as session:
            yield GoogleInspector(config, key, session)

    def _google_access(self) -> DlpAccess:
        from platform_assets.dlp.google.access import DlpAccess

        given = self.settings.dlp.inspect
        if given.project is None:
            raise SettingsError("dlp.inspect.project is missing: the Google Cloud project that inspects.")
        credentials = given.credentials.resolve if given.credentials else None
        return DlpAccess(given.project, given.location, credentials)

    @contextlib.contextmanager
    def _open_jobs(self, watch: Watch) -> Iterator[ByJob | None]:
        """Open the inspection of large GCS objects by Google jobs; None for any other watch."""
        if self._is_local or not watch.bucket.uri.startswith("gs://"):
            yield None
            return
        from platform_assets.dlp.google.jobs import GcsObject, GoogleJobs, JobOptions

        with self._google_access().connect() as session:
            options = JobOptions(topic=self.settings.dlp.inspect.topic)
            jobs = GoogleJobs(self.inspect_config(), session, options)

            def by_job(found: ObjectVersion, read_here: Callable[[], InspectResult]) -> InspectResult:
                bucket, _, name = found.uri.removeprefix("gs://").partition("/")
                return jobs.inspect_object(GcsObject(bucket, name, found.version, found.size), read_here)

            yield by_job

    def policy(self) -> Policy:
        """Return the policy that decides what happens to findings.

        Where a rule is written is looked up when its first alert tells it, which parses the configuration.
        """
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
        for name, rule in self.settings.dlp.rules.items():
            action, how = Action.DEIDENTIFY, None
            match rule.action:
                case "allow" | "alert" | "quarantine" | "block":
                    action = Action[rule.action.upper()]
                case _:
                    how = Deidentification(
                        rule.action, rule.keep_last, "*", rule.replacement, rule.prefix, rule.days
                    )
            rules.append(
                Rule(
                    name,
                    action,
                    rule.info_types,
                    Likelihood[rule.min_likelihood],
                    rule.places,
                    how,
                    cache(partial(self.settings.dlp.written_at, name)),
                )
            )
        uninspected = [
            UninspectedRule(
                name,
                Action[rule.action.upper()],
                rule.status,
                rule.problems,
                rule.places,
                cache(partial(self.settings.dlp.written_at, name, "uninspected")),
            )
            for name, rule in self.settings.dlp.uninspected.items()
        ]
        return Policy(tuple(rules) or default_rules(), tuple(uninspected))

    @property
    def findings(self) -> FindingsStore:
        """The store of findings."""
        from platform_assets.dlp.findings import FindingsStore

        lake = self.rooms.of(LakeRoom)
        return FindingsStore(lake.lake, lake.engine)

    def delta_tables(self) -> list[KeptTable]:
        """See `HasDeltaTables.delta_tables`."""
        watches: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {}
        if "objects" in self.rooms:
            from platform_assets.objects.assembly import ObjectsRoom

            watches = {
                name: partial(self._existing, name) for name in self.rooms.of(ObjectsRoom).settings.watches
            }
        return self.findings.kept(watches, self.rooms.of(LakeRoom).retention.findings_days)

    def _existing(self, watch: str) -> Iterator[tuple[str, str]]:
        """Yield the id and version of each object that a watch's bucket has now."""
        from platform_assets.dlp.uploads import object_id
        from platform_assets.lake.log import storable
        from platform_assets.objects.assembly import ObjectsRoom

        for found in self.rooms.of(ObjectsRoom).objects_of(watch):
            yield object_id(found.uri), storable(found.version)

    def protection(self) -> StarProtection:
        """Return the protection that applies the policy to rows on the way to warehouses."""
        from platform_assets.dlp.protect import StarProtection

        return StarProtection(
            self.policy(),
            self.open_column_inspector,
            self.findings,
            self.fingerprint_key,
            self.rooms.of(LakeRoom).engine,
            lambda: self.detector,
            self.rooms.of(StarRoom).model.tables,
            self.known_marks,
        )

    def known_marks(self) -> list[Mark]:
        """Return what columns hold by declaration, and by lineage from what is declared and was found.

        Raises:
            LakeError: The findings cannot be read.
            LineageError: The lineage cannot be derived.
        """
        declared = self.declared_marks()
        known = [*declared, *self.found_marks()]
        carried = [
            mark for room in self.rooms.offering(CarriesClassification) for mark in room.derived_marks(known)
        ]
        return [*declared, *carried]

    def snowflake_masks(self, place: MaskedPlace) -> tuple[Sequence[str], Sequence[str]]:
        """See `MasksInSnowflake.snowflake_masks`.

        Raises:
            LakeError: The findings cannot be read.
            LineageError: The lineage cannot be derived.
        """
        from platform_assets.dlp.snowflake_ddl import Place, apart, statements

        star = self.rooms.of(StarRoom).model.tables
        marks = [*self.found_marks(), *self.known_marks()]
        where = Place(place.schema, place.policies, place.role, place.is_upper)
        return apart(statements(marks, star, self.policy(), where))

    def declared_marks(self) -> list[Mark]:
        """See `KnowsSensitiveColumns.declared_marks`: those of the model and of the configuration."""
        from platform_assets.dlp.marks import configured_marks, marks_of_tables

        tables: dict[tuple[str, ...], Table] = {}
        for sources in self.rooms.offering(HasSourceTables):
            for name, declared in sources.source_tables().items():
                tables |= {(name, table.name): table for table in declared}
        for stars in self.rooms.offering(HasStarTables):
            tables |= {("star", table.name): table for table in stars.star_tables()}
        return [*marks_of_tables(tables), *configured_marks(self.settings.dlp.columns)]

    def found_marks(self) -> list[Mark]:
        """See `KnowsSensitiveColumns.found_marks`."""
        from platform_assets.dlp.marks import found_marks

        return found_marks(self.findings.sensitive_columns())

    def inspected_assets(self) -> frozenset[tuple[str, ...]]:
        """See `KnowsSensitiveColumns.inspected_assets`."""
        detector, version = self.detector
        return frozenset(
            tuple(table.split("/")) for _, table in self.findings.inspected_versions(detector, version)
        )

    def removed_on_the_way(self, column: ColumnRef, info_type: str, likelihood: str) -> bool:
        """See `KnowsSensitiveColumns.removed_on_the_way`."""
        from platform_assets.dlp.marks import is_removed

        if column.asset[0] not in {"delivery", "snowflake", *self.rooms.of(WarehouseRoom).engines}:
            return False
        return is_removed(self._read_policy, column, info_type, likelihood)

    def removal_rules(self) -> str:
        """See `KnowsSensitiveColumns.removal_rules`: the rules, and the code that applies them."""
        code = [Path(__file__).with_name(name).read_text() for name in _CODE_OF_REMOVAL]
        return repr((self.settings.dlp.rules, [*self.rooms.of(WarehouseRoom).engines], code))

    @cached_property
    def _read_policy(self) -> Policy:
        return self.policy()

    @contextlib.contextmanager
    def open_column_inspector(self) -> Iterator[ColumnInspector]:
        """Open the inspector of table columns for the duration of the block."""
        from platform_assets.dlp.columns import ColumnInspector

        with self.open_inspector() as inspector:
            yield ColumnInspector(
                inspector,
                self.rooms.of(LakeRoom).engine,
                self.settings.dlp.inspect.sample_rows,
                self._large_tables(),
            )

    def _large_tables(self) -> LargeTables | None:
        """Return the inspection of large tables by workers; None without them, and for Google."""
        from platform_assets.dlp.column_parts import LargeTables
        from platform_assets.lake.column_values import HasValueWorkers

        found = (room.value_workers() for room in self.rooms.offering(HasValueWorkers))
        workers = next((worker for worker in found if worker is not None), None) if self._is_local else None
        if workers is None:
            return None
        from platform_assets.dlp.local.inspector import LocalInspector

        return LargeTables(workers, partial(LocalInspector, self.inspect_config(), _NO_KEY))

    @contextlib.contextmanager
    def open_upload_inspector(self, name: str) -> Iterator[UploadInspector]:
        """Open the inspector of a watch's objects for the duration of the block.

        Args:
            name: Name of the watch.
        """
        from platform_assets.dlp.uploads import UploadInspector
        from platform_assets.formats.content import Limits
        from platform_assets.objects.assembly import ObjectsRoom

        objects, alerts = self.rooms.of(ObjectsRoom), self._alerts
        watch = objects.watch(name)
        with self.open_inspector() as inspector, self._open_jobs(watch) as by_job:
            yield UploadInspector(
                watch,
                inspector,
                self.policy(),
                self.findings,
                alerts.raise_alerts,
                self.detector,
                self.fingerprint_key(),
                objects.settings.watches[name].quarantine,
                Limits(memory=self.settings.dlp.inspect.memory_mb * 1024 * 1024),
                by_job=by_job,
                run_url=alerts.run_url,
            )

    @property
    def _alerts(self) -> RaisesAlerts:
        return next(self.rooms.offering(RaisesAlerts), _NoAlerts())

    def inspected_tables(self) -> dict[str, LakeTable]:
        """Return the tables of the lake whose columns are inspected, by asset key."""
        return {
            "/".join(path): table
            for room in self.rooms.offering(HasLakeTables)
            for path, table in room.lake_tables().items()
        }

    def service(self) -> InspectionService:
        """Return the inspection's parts for Dagster's steps."""
        from platform_assets.dlp.service import InspectionService, WarehouseTable

        warehouses = self.rooms.of(WarehouseRoom)

        def warehouse_tables(name: str) -> list[WarehouseTable]:
            warehouse, schema = warehouses.warehouse(name), warehouses.star_schema(name)
            return [
                WarehouseTable(
                    f"{name}/{status.table}",
                    f"{status.row_count}:{status.last_batch}",
                    partial(warehouse.read, (schema, status.table)),
                )
                for status in warehouse.status()
            ]

        return InspectionService(
            self.findings,
            self.policy(),
            self.detector,
            self._watch,
            self.open_upload_inspector,
            self.open_column_inspector,
            self.inspected_tables(),
            {name: partial(warehouse_tables, name) for name in warehouses.engines},
            self._alerts.send_due,
        )

    def _watch(self, name: str) -> Watch:
        from platform_assets.objects.assembly import ObjectsRoom

        return self.rooms.of(ObjectsRoom).watch(name)

    def current_paths(self) -> Sequence[tuple[str, ...]]:
        """See `HasCurrentTables.current_paths`."""
        return (*OBJECT_ASSETS, ("dlp", "columns"))

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """See `HasCurrentTables.current_table`."""
        return self.findings.current_table(path[1])

    def upload_assets(self) -> Sequence[tuple[str, ...]]:
        """See `UsesUploads.upload_assets`."""
        return OBJECT_ASSETS


class _NoAlerts:
    """Raises no alerts; used where no room sends them."""

    def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        """See `RaisesAlerts.raise_alerts`."""

    def send_due(self) -> None:
        """See `RaisesAlerts.send_due`."""

    def run_url(self, run_id: str) -> str:
        """See `RaisesAlerts.run_url`."""
        return ""

    def channel_names(self) -> Sequence[str]:
        """See `RaisesAlerts.channel_names`."""
        return ()


ROOM = InspectionRoom
