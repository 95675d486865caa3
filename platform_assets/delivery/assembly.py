"""The deliveries, from their files."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.alert import RaisesAlerts
from platform_assets.column_lineage import DeclaredTable, LineageQuery
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.delivery.attempt_settings import AttemptSettings
from platform_assets.delivery.settings import DeliveryRoomSettings
from platform_assets.diagnosis import Probe
from platform_assets.errors import SettingsError
from platform_assets.isolation import is_isolated, reason_of, result_or_reason
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import HasLakeTables
from platform_assets.lake.protection import HasProtection, NoProtection
from platform_assets.rooms import Assembly
from platform_assets.stored import RECEIPTS, STAGED, Stored, json_file

if TYPE_CHECKING:
    from platform_assets.alert import Alert
    from platform_assets.configuration.folder import ConfigFile
    from platform_assets.delivery.attempts import AttemptPolicy
    from platform_assets.delivery.engine import Engine, Order, Watcher
    from platform_assets.delivery.file import DeliverySettings
    from platform_assets.delivery.interfaces import DeliveryResult, Receipt, StagedFile
    from platform_assets.delivery.receipts import Receipts
    from platform_assets.delivery.sources.settings import DataSourceSettings
    from platform_assets.delivery.staging import Staging
    from platform_assets.lake.interfaces import KeptTable
    from platform_assets.lake.protection import Protection

FOLDER = "deliveries"
"""The folder of the deliveries' files, beside the configuration."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TOLD_AGAIN_WITHIN = dt.timedelta(days=1)

_WITH_COLUMNS = ("asset", "assets", "warehouse")
"""Kinds of sources whose columns are known without reading them."""


class DeliveryRoom(Assembly[DeliveryRoomSettings]):
    """The deliveries, each a file; a file with mistakes disables its own delivery."""

    settings_class = DeliveryRoomSettings

    @cached_property
    def files(self) -> list[ConfigFile[DeliverySettings]]:
        """The files of the deliveries, valid or not, in the order of their names."""
        folder, given = self.rooms.config_dir / FOLDER, self.rooms.given.get(FOLDER, {})
        if not given and not any(folder.glob("*.conf")):
            return []
        from platform_assets.configuration.folder import checked, load_files
        from platform_assets.delivery.file import DeliverySettings

        variables = {"state_dir": str(self.platform.state_dir)}
        files = load_files(folder, DeliverySettings, variables=variables)
        files += [checked(name, document, DeliverySettings) for name, document in given.items()]
        return [self._checked(file) for file in files]

    def _checked(self, file: ConfigFile[DeliverySettings]) -> ConfigFile[DeliverySettings]:
        """Add the mistakes of a file that are not within it."""
        from platform_assets.delivery.file import own_mistakes

        if not _NAME.fullmatch(file.name) or file.name == "receipts":
            line = (
                f"{file.file}: found the name {shown(file.file.name)}; expected letters, digits and _: the "
                "file's name is the delivery's name. The name receipts is taken."
            )
            return dataclasses.replace(file, block=None, mistakes=(*file.mistakes, line))
        if file.repaired is None:
            return file
        return file.with_mistakes([*own_mistakes(file.repaired), *self._mistakes(file.repaired.block)])

    def _mistakes(self, settings: DeliverySettings) -> Iterator[Mistake]:
        """Yield what does not fit together with the rest of the configuration."""
        from platform_assets.delivery.sources.settings import asset_keys, unknown_assets

        known = self._channels
        for key, block in (("on_success", settings.on_success), ("on_failure", settings.on_failure)):
            for place, name in enumerate(block.channels if block is not None and known is not None else ()):
                if known is not None and name not in known:
                    expected = f"a channel of alerts.channels: {', '.join(known)}"
                    yield Mistake((key, "channels", place), shown(name), expected)
        for path in asset_keys(settings.source):
            if path[0] == "delivery" and path != ("delivery", "receipts"):
                key = "assets" if settings.source.assets is not None else "asset"
                expected = (
                    "the key of a table (a delivery is none: read the asset that it reads, or its files)"
                )
                yield Mistake(("source", key), shown("/".join(path)), expected)
        paths = self._asset_paths
        # Assets of users' own code are not known here; those of the platform's groups are.
        if all(path[0] in self._asset_groups for path in asset_keys(settings.source)):
            for sentence in unknown_assets(settings.source, paths):
                key = "assets" if settings.source.assets is not None else "asset"
                found = "/".join(asset_keys(settings.source)[0])
                yield Mistake(("source", key), shown(found), f"the key of an asset ({sentence})")

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: what deliveries deliver, and their receipts."""
        from platform_assets.delivery.tables import RECEIPT_COLUMNS

        yield DeclaredTable(
            ("delivery", "receipts"),
            RECEIPT_COLUMNS,
            constants={column.name: "Recorded by the delivery" for column in RECEIPT_COLUMNS},
            group="delivery",
            description="What became of every delivery at every destination.",
        )
        for name, given in self.deliveries.items():
            source = given.source
            asset = tuple((source.asset or "").split("/")) if source.query is None and source.asset else None
            yield DeclaredTable(
                ("delivery", name),
                copy_of=asset,
                is_plain=True,
                query=self._query(source) if asset is None else None,
                group="delivery",
                owners=given.owners,
                description=given.title,
                kind="delivery",
                unknown="" if source.kind in _WITH_COLUMNS else f"it delivers {source.kind}, not rows",
            )

    def _query(self, source: DataSourceSettings) -> LineageQuery | None:
        """Return the query of a delivery, with the names under which it reads tables."""
        from platform_assets.delivery.sources.settings import asset_keys
        from platform_assets.warehouse.assembly import WarehouseRoom

        if (given := source.warehouse) is not None:
            room = self.rooms.of(WarehouseRoom)
            engine = room.engines.get(given.name, "duckdb")
            tables = room.query_tables(given.name) if given.name in room.engines else {}
            return LineageQuery(given.query, tables, engine)
        if source.query is None:
            return None
        paths = asset_keys(source)
        names = {**{".".join(path): path for path in paths}, **{path[-1]: path for path in paths}}
        whole = {"/".join(path): path for path in paths if len(path) > 1}
        return LineageQuery(source.query, {**whole, **names}, plain=tuple(names))

    @cached_property
    def _asset_paths(self) -> frozenset[tuple[str, ...]]:
        """The paths of the keys of all tables of the platform."""
        from platform_assets.warehouse.assembly import WarehouseRoom

        in_lake = {tuple(path) for room in self.rooms.offering(HasLakeTables) for path in room.lake_paths()}
        return frozenset(in_lake | self.rooms.of(WarehouseRoom).freshness_limits().keys())

    @cached_property
    def _asset_groups(self) -> frozenset[str]:
        return frozenset(path[0] for path in self._asset_paths)

    @cached_property
    def _channels(self) -> Sequence[str] | None:
        """The names of the channels for alerts; None where nothing raises alerts."""
        alerts = next(self.rooms.offering(RaisesAlerts), None)
        return alerts.channel_names() if alerts is not None else None

    @cached_property
    def deliveries(self) -> dict[str, DeliverySettings]:
        """The valid deliveries by name."""
        return {file.name: file.block for file in self.files if file.block is not None}

    def delivery_names(self) -> Sequence[str]:
        """See `MakesDeliveries.delivery_names`."""
        return list(self.deliveries)

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: each destination of each delivery."""
        from platform_assets.delivery.probes import look_at_destination
        from platform_assets.delivery.writers.build import build_writer

        for name, settings in self.deliveries.items():
            for key, destination in settings.to.items():
                look = partial(look_at_destination, key, partial(build_writer, destination))
                yield Probe(f"delivery {name}", key, look)

    def problems(self) -> Sequence[str]:
        """See `HasProblems.problems`."""
        return [line for file in self.files for line in file.mistakes]

    @cached_property
    def receipts(self) -> Receipts:
        """The log of receipts."""
        from platform_assets.delivery.receipts import Receipts
        from platform_assets.delivery.tables import RECEIPT_COLUMNS

        return Receipts(
            self.rooms.of(LakeRoom).processed_table(RECEIPT_COLUMNS, RECEIPTS, "delivery", "receipts")
        )

    def delta_tables(self) -> list[KeptTable]:
        """See `HasDeltaTables.delta_tables`."""
        return [self.receipts.kept()]

    def settings_of(self, name: str) -> DeliverySettings:
        """Return a delivery by its name.

        Raises:
            SettingsError: There is none, or its file has mistakes.
        """
        if name in self.deliveries:
            return self.deliveries[name]
        broken = next((file for file in self.files if file.name == name), None)
        if broken is not None:
            raise SettingsError("\n  ".join([f"The delivery {name} is disabled.", *broken.mistakes]))
        known = (
            ", ".join(file.name for file in self.files) or "none; write one into config/deliveries/NAME.conf"
        )
        raise SettingsError(f"There is no delivery {name}. The deliveries are: {known}.")

    def order(self, name: str) -> Order:
        """Return a delivery as the engine makes it; nothing is opened.

        Raises:
            SettingsError: There is none of this name, or its file has mistakes.
        """
        from platform_assets.delivery.engine import Order
        from platform_assets.delivery.renderers.naming import FileNames, manifest, manifest_name
        from platform_assets.delivery.renderers.settings import build_renderers, has_manifest
        from platform_assets.delivery.renderers.workshop import Workshop
        from platform_assets.delivery.sources.settings import build_source
        from platform_assets.delivery.staging import Naming
        from platform_assets.delivery.writers.build import build_writer

        given = self.settings_of(name)
        names = FileNames(given.file, given.schedule.timezone if given.schedule else "UTC")
        lake = self.rooms.of(LakeRoom)
        return Order(
            name,
            given.title,
            _generator(),
            given.definition,
            partial(build_source, given.source, name, self.rooms),
            lambda folder: build_renderers(given.render, Workshop(lake.engine, folder)),
            Naming(
                names.name,
                (lambda files, stamp: (manifest_name(stamp), manifest(files, stamp)))
                if has_manifest(given.render)
                else None,
            ),
            {key: partial(build_writer, destination) for key, destination in given.to.items()},
            self._policy(given.attempts),
            self.settings.delivery.parallel,
        )

    def _policy(self, own: AttemptSettings | None = None) -> AttemptPolicy:
        """The attempts: those of all deliveries, with what a delivery says itself."""
        from platform_assets.delivery.attempts import AttemptPolicy

        shared = self.settings.delivery.attempts
        keys = {name: getattr(own, name) for name in own.model_fields_set} if own is not None else {}
        one = shared.model_copy(update=keys)
        return AttemptPolicy(
            one.number, one.first_wait, one.longest_wait, one.jitter, one.deadline_minutes * 60, one.retry
        )

    def _staging(self, name: str) -> Staging:
        from platform_assets.delivery.staging import Staging

        return Staging(self._staged / name, self.settings.delivery.staging_limit_mb * 1024 * 1024)

    @property
    def _staged(self) -> Path:
        return self.settings.delivery.staging or self.platform.state_dir / "deliveries"

    def stored(self) -> Iterator[Stored]:
        """See `StoresFormats.stored`: the lists of staged files."""
        from platform_assets.delivery.staging import staged_lists

        for file in staged_lists(self._staged):
            yield json_file(STAGED, file)

    def _protection(self) -> Protection:
        room = next(self.rooms.offering(HasProtection), None)
        return room.protection() if room is not None else NoProtection()

    def _engine(self, run: str = "") -> Engine:
        from platform_assets.delivery.engine import Engine

        return Engine(self.receipts, self._staging, self._protection, run)

    def deliver(
        self,
        name: str,
        watcher: Watcher,
        *,
        force: bool = False,
        dry_run: bool = False,
        run: str = "",
        held_back: str = "",
    ) -> DeliveryResult:
        """Make a delivery, and tell its audience or its owners.

        Args:
            name: Its name.
            watcher: Follows it.
            force: Send the current version again, even where it is.
            dry_run: Render the files, and neither send nor record anything.
            run: Id of the run in Dagster.
            held_back: Why the data must not be delivered, such as a failed check; empty if it may.

        Raises:
            DeliveryBusy: Another run is making the same delivery.
            PlatformError: The data cannot be read, rendered or delivered as the policy demands.
        """
        from platform_assets.delivery.engine import failure_reason
        from platform_assets.delivery.handlers import failure_alerts
        from platform_assets.delivery.receipts import DeliveryBusy

        settings, engine = self.settings_of(name), self._engine(run)
        if dry_run:
            return engine.deliver(self.order(name), watcher, dry_run=True)
        now = dt.datetime.now(dt.UTC)
        try:
            result = engine.deliver(self.order(name), watcher, force=force, held_back=held_back)
        except DeliveryBusy:
            raise
        except BaseException as error:
            if is_isolated(error):
                planned = result_or_reason(self.receipts.last, name)
                state = None if isinstance(planned, str) else planned.planned
                uuid = state.uuid if state is not None and state.is_failed else ""
                failures = [("", failure_reason(error))]
                self._tell(watcher, failure_alerts(name, settings, failures, uuid, now, self._run_url(run)))
            raise
        alerts = failure_alerts(
            name, settings, list(result.failures.items()), result.stamp.uuid, now, self._run_url(run)
        )
        self._tell(watcher, [*alerts, *self._success(name, settings, result, run)])
        return result

    def _success(
        self, name: str, settings: DeliverySettings, result: DeliveryResult, run: str
    ) -> Iterator[Alert]:
        """Yield the message to the audience, also when an earlier run was ended before it could be told."""
        if settings.on_success is None:
            return
        from platform_assets.delivery.handlers import success_alert

        now = dt.datetime.now(dt.UTC)
        if not result.files:
            state = self.receipts.last(name).planned
            if state is None or now - state.delivered_at > _TOLD_AGAIN_WITHIN:
                return
            if state.is_empty:
                return
            result = dataclasses.replace(result, files=state.files(result.stamp))
        writer = None
        if settings.on_success.link is not None:
            writer = self.order(name).destinations[settings.on_success.link.to]()

        def link(file: StagedFile, expires: dt.timedelta) -> str | None:
            return writer.link(file, expires) if writer is not None else None

        alert = success_alert(settings, result, link, now, self._run_url(run))
        if alert is not None:
            yield alert

    def _tell(self, watcher: Watcher, alerts: Sequence[Alert]) -> None:
        """Raise alerts; the outcome of the delivery does not depend on them."""
        room = next(self.rooms.offering(RaisesAlerts), None)
        if room is None or not alerts:
            return
        try:
            room.raise_alerts(alerts)
            room.send_due()
        except BaseException as error:
            if not is_isolated(error):
                raise
            watcher.report(
                f"Nobody could be told; the next run tells them: {reason_of(error, tell_text=False)}"
            )

    def _run_url(self, run: str) -> str:
        room = next(self.rooms.offering(RaisesAlerts), None)
        return room.run_url(run) if room is not None else ""

    def make_delivery(
        self, name: str, *, force: bool = False, report: Callable[[str], None] = print
    ) -> DeliveryResult:
        """See `MakesDeliveries.make_delivery`."""
        from platform_assets.delivery.engine import Watcher

        return self.deliver(name, Watcher(report), force=force)

    def upload(self, files: Mapping[str, Path], destination: Mapping[str, object]) -> Sequence[Receipt]:
        """See `MakesDeliveries.upload`."""
        from pydantic import ValidationError

        from platform_assets.delivery.attempts import with_attempts
        from platform_assets.delivery.recipients import Recipients
        from platform_assets.delivery.staging import Staging, local_files
        from platform_assets.delivery.writers.build import build_writer
        from platform_assets.delivery.writers.settings import DestinationSettings

        try:
            context = {"base": self.rooms.config_dir}
            settings = DestinationSettings.model_validate(destination, context=context)
        except ValidationError as error:
            # Only place and message: the input may be a secret.
            lines = [
                f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
                for detail in error.errors(include_url=False, include_input=False)
            ]
            raise SettingsError(f"The destination has mistakes: {'; '.join(lines)}.") from None
        policy = self._policy()
        receipts: list[Receipt] = []
        recipients = Recipients()
        with tempfile.TemporaryDirectory() as folder:
            staged = local_files(Staging(Path(folder), 0), files, _generator())
            left = list(staged.files)

            def attempt(number: int) -> None:
                with build_writer(settings).open() as transfer:
                    while left:
                        receipts.append(recipients.write(transfer, left[0], lambda sent: None))
                        staged.check_unchanged(left.pop(0))

            until = time.monotonic() + policy.deadline
            with_attempts(policy, attempt, lambda number, error, again: None, until=until)
        return receipts

    # What schedules and sensors ask

    def is_due(self, name: str) -> tuple[bool, str]:
        """Tell if the data of a delivery has changed since every destination got it.

        Returns:
            Whether it has, and the version of the data.

        Raises:
            PlatformError: The version cannot be told.
        """
        order = self.order(name)
        found = order.source().version()
        if found is None:
            raise SettingsError(
                f"{name} is made when its data has changed, and only reading all of it could tell. Give it a "
                "schedule in place of when = changed."
            )
        state = self.receipts.last(name).planned
        from platform_assets.delivery.engine import short_version

        known = short_version(found)
        has_all = (
            state is not None
            and (state.version, state.definition) == (known, order.definition)
            and all(state.has_all(destination) for destination in order.destinations)
        )
        return not has_all, f"{known} {order.definition}"

    def failing(self) -> dict[str, str]:
        """Return the destinations whose latest attempt failed, and why; only of what is still declared."""
        failed = {}
        for row in self.receipts.latest():
            settings = self.deliveries.get(row.delivery)
            if row.status != "failed" or settings is None:
                continue
            if row.destination in settings.to:
                failed[f"{row.delivery}/{row.destination}"] = row.reason
            elif not row.destination:
                # Its destinations, if any was tried, come behind it and say the same.
                failed[row.delivery] = row.reason
        return {
            name: reason
            for name, reason in failed.items()
            if not any(other.startswith(f"{name}/") for other in failed)
        }

    def missed(self, due: Mapping[str, dt.datetime], now: dt.datetime) -> dict[str, dt.datetime]:
        """Return the deliveries that did not happen by their deadlines, and alert their owners once.

        Args:
            due: When each delivery was last due with its deadline over, UTC.
            now: The time, UTC.
        """
        from platform_assets.delivery.engine import Watcher
        from platform_assets.delivery.handlers import missed_alert

        done = self.receipts.latest("destination = '' AND status IN ('delivered', 'skipped')")
        last = {row.delivery: row.at for row in done}
        never = dt.datetime.fromtimestamp(0, dt.UTC)
        late = {name: at for name, at in due.items() if last.get(name, never) < at}
        self._tell(
            Watcher(), [missed_alert(name, self.deliveries[name], at, now) for name, at in late.items()]
        )
        return late


def _generator() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return f"platform_assets {version('platform_assets')}"
    return "platform_assets"


ROOM = DeliveryRoom
