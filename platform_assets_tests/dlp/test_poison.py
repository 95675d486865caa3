"""One object or table goes wrong in any way, at any step: the others are done, and it is later, once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.alert import Alert
from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Channel, Outbox
from platform_assets.dlp import uploads
from platform_assets.dlp.columns import ColumnInspector
from platform_assets.dlp.findings import FindingsStore, InspectedTable, Inspection
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, InspectResult
from platform_assets.dlp.policy import Action, Policy, Rule
from platform_assets.dlp.service import InspectionService, WarehouseTable
from platform_assets.dlp.uploads import Done, UploadInspector
from platform_assets.errors import PlatformError
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model.table import Column, Text
from platform_assets.objects.bucket import Bucket, ObjectVersion, Readable
from platform_assets.objects.folder import FolderBucket
from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
from platform_assets.objects.plan import BatchLimits, ObjectStatus, Outcome
from platform_assets.objects.watch import Watch
from platform_assets_tests.fixtures.poison import ERRORS, OwnError, name_of, told

pytestmark = pytest.mark.sampled(2)

KEY = b"k" * 32
NOW = dt.datetime(2031, 5, 4, 12, tzinfo=dt.UTC)
NAMES = ("a", "b", "c", "d")
POISON = "b"
SOME = [
    one for one in ERRORS if type(one).__name__ in ("LakeError", "LakeConflict", "OSError", "MemoryError")
]
SOME.append(OwnError("what nobody expected"))


@dataclass
class Stream:
    source: Readable
    error: BaseException

    def read(self, size: int = -1, /) -> bytes:
        if not (read := self.source.read(8)):
            raise self.error
        return read


@dataclass(frozen=True)
class Breaking(FolderBucket):
    """A folder one of whose objects cannot be opened, or breaks off."""

    error: BaseException = field(default_factory=Exception)
    breaks_off: bool = False

    @contextmanager
    def open(self, found: ObjectVersion) -> Iterator[Readable]:
        if found.key == POISON and not self.breaks_off:
            raise self.error
        with super().open(found) as source:
            yield Stream(source, self.error) if found.key == POISON else source


class Channels:
    """A channel that keeps what it is sent."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def send(self, alert: Alert) -> None:
        self.taken.append(alert.key)


@dataclass
class Work:
    """An inspector of a folder with four objects, all of which are to be moved away."""

    inspector: UploadInspector
    folder: Path
    held: Path
    outbox: Outbox
    channel: Channels
    now: dt.datetime = NOW + dt.timedelta(days=3650)

    def run(self, bucket: Bucket | None = None) -> Done:
        watch = replace(self.inspector.watch, clock=lambda: self.now)
        if bucket is not None:
            watch = replace(watch, bucket=bucket)
        done = replace(self.inspector, watch=watch, clock=lambda: self.now).inspect_all("run")
        self.now += dt.timedelta(minutes=2)
        return done

    def sent(self) -> list[str]:
        self.outbox.deliver([Channel("team", self.channel)], self.now, 100)
        return self.channel.taken

    def statuses(self) -> dict[str, str]:
        state = self.inspector.watch.log.read()
        return {one.object.key: str(one.status) for one in state.with_status(*ObjectStatus)}

    def moved(self) -> list[str]:
        return sorted(file.name[0] for file in self.held.iterdir()) if self.held.is_dir() else []

    def check(self, done: Done, error: BaseException, *, recorded: int = 3) -> None:
        """Three objects are done, and one has failed; the next run does that one, and nothing twice."""
        assert self.statuses() == {name: "failed" if name == POISON else "done" for name in NAMES}
        [(where, reason)] = done.failures
        assert where.endswith("/b")
        assert told(error) in reason
        assert str(self.folder) not in reason
        assert self.moved() == ["a", "c", "d"]
        assert self.inspector.findings.summary().objects == {"INSPECTED": recorded}

    def check_again(self) -> None:
        assert self.run().failures == ()
        assert self.run().failures == ()
        assert self.statuses() == dict.fromkeys(NAMES, "done")
        assert self.moved() == list(NAMES)
        assert self.inspector.findings.summary().counts == {"EMAIL_ADDRESS": 4}
        assert len(self.sent()) == len(set(self.sent())) == 4


@pytest.fixture
def work(tmp_path: Path) -> Work:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(f"write to somebody.{name}@company-three.com")
    watch = Watch(
        "landing",
        FolderBucket(folder),
        ObjectLog(LakeTable(str(tmp_path / "log"), LOG_COLUMNS)),
        BatchLimits(quiet=dt.timedelta()),
    )
    outbox = Outbox(LakeTable(str(tmp_path / "outbox"), OUTBOX_COLUMNS))
    channel = Channels()
    return Work(
        UploadInspector(
            watch,
            LocalInspector(InspectConfig(info_types=("EMAIL_ADDRESS",)), KEY),
            Policy((Rule("no addresses", Action.QUARANTINE, ("EMAIL_ADDRESS",)),)),
            FindingsStore(
                Lake(str(tmp_path / "i"), str(tmp_path / "p")), SqlEngine(128, 1, tmp_path / "spill")
            ),
            lambda alerts: outbox.post(alerts, [Channel("team", channel)], NOW),
            ("local", "1"),
            KEY,
            str(tmp_path / "held"),
        ),
        folder,
        tmp_path / "held",
        outbox,
        channel,
    )


@pytest.mark.sampled(4)
@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_an_object_that_cannot_be_opened_leaves_the_others_alone(work: Work, error: BaseException) -> None:
    work.check(work.run(Breaking(work.folder, error)), error)
    work.check_again()


@pytest.mark.parametrize("error", SOME, ids=name_of)
def test_an_object_whose_result_cannot_be_made_leaves_the_others_alone(
    work: Work, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = uploads.scan_object

    def broken(source: Readable, uri: str, *args: object, **options: object) -> InspectResult:
        if options["key"] == POISON:
            raise error
        return usual(source, uri, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(uploads, "scan_object", broken)
    work.check(work.run(), error)
    monkeypatch.undo()
    work.check_again()


@pytest.mark.parametrize("error", SOME, ids=name_of)
def test_an_inspection_that_cannot_be_recorded_leaves_the_others_alone(
    work: Work, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = FindingsStore.record

    def broken(store: FindingsStore, inspections: Sequence[Inspection]) -> list[Inspection]:
        if any(one.uri.endswith("/b") for one in inspections):
            raise error
        return usual(store, inspections)

    monkeypatch.setattr(FindingsStore, "record", broken)
    work.check(work.run(), error)
    assert len(work.sent()) == 3
    monkeypatch.undo()
    work.check_again()


@pytest.mark.parametrize("error", SOME, ids=name_of)
def test_an_alert_that_cannot_be_kept_leaves_the_others_alone_and_its_object_where_it_is(
    work: Work, error: BaseException
) -> None:
    well = work.inspector

    def broken(alerts: Sequence[Alert]) -> object:
        if any(alert.where.endswith("/b") for alert in alerts):
            raise error
        return well.tell(alerts)

    work.inspector = replace(well, tell=broken)
    done = work.run()
    work.check(done, error, recorded=4)
    assert (work.folder / POISON).exists()
    assert len(work.sent()) == 3
    work.inspector = well
    work.check_again()


@pytest.mark.parametrize("error", SOME, ids=name_of)
def test_an_object_that_cannot_be_moved_leaves_the_others_alone(
    work: Work, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = uploads.quarantine

    def broken(bucket: Bucket, found: ObjectVersion, place: str) -> str:
        if found.key == POISON:
            raise error
        return usual(bucket, found, place)

    monkeypatch.setattr(uploads, "quarantine", broken)
    work.check(work.run(), error, recorded=4)
    monkeypatch.undo()
    work.check_again()


@pytest.mark.parametrize("error", SOME, ids=name_of)
def test_an_object_whose_outcome_cannot_be_written_leaves_the_others_alone(
    work: Work, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ObjectLog.settle

    def broken(log: ObjectLog, batch: int, outcomes: Sequence[Outcome], *rest: object) -> object:
        if any(one.key == POISON for one in outcomes):
            raise error
        return usual(log, batch, outcomes, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectLog, "settle", broken)
    [(_, reason)] = work.run().failures
    assert told(error) in reason
    assert work.statuses() == {name: "planned" if name == POISON else "done" for name in NAMES}
    assert work.moved() == list(NAMES)
    monkeypatch.undo()
    # It was moved, and everything said of it but that: nothing of it is done twice.
    assert work.run().failures == ()
    assert work.statuses()[POISON] == "gone"
    assert work.inspector.findings.summary().counts == {"EMAIL_ADDRESS": 4}
    assert len(work.sent()) == len(set(work.sent())) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=name_of)
def test_an_interruption_ends_the_run_and_the_next_one_does_everything_once(
    work: Work, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        work.run(Breaking(work.folder, error))
    work.check_again()


def test_an_object_that_is_replaced_while_it_is_read_is_inspected_in_its_new_version(work: Work) -> None:
    @dataclass(frozen=True)
    class Replaced(FolderBucket):
        @contextmanager
        def open(self, found: ObjectVersion) -> Iterator[Readable]:
            with super().open(found) as source:
                if found.key == POISON:
                    (self.folder / "b").write_text("now write to somebody.else@company-three.com")
                yield source

    assert work.run(Replaced(work.folder)).failures == ()
    assert work.statuses()[POISON] == "gone"
    work.check_again()


# Tables and columns.


@dataclass
class Tables:
    """Three tables of the lake and a warehouse with three tables."""

    room: InspectionService
    lines: list[str] = field(default_factory=list)

    def run(self, room: InspectionService | None = None) -> tuple[int, list[str]]:
        done = (room or self.room).inspect_columns("run", lambda text, *args: self.lines.append(text % args))
        return done.tables, [one.name for one in done.failing.failures]

    def found(self) -> set[str]:
        return {row["table"] for row in self.room.findings.sensitive_columns()}


MAILS = pa.table({"mail": [f"somebody.{n}@company-three.com" for n in range(5)]})


def warehouse_table(name: str, error: BaseException | None = None) -> WarehouseTable:
    def read() -> AbstractContextManager[pa.RecordBatchReader]:
        if error is not None:
            raise error
        return nullcontext(MAILS.to_reader())

    return WarehouseTable(f"warehouse/{name}", "1", read)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    lake = Lake(str(tmp_path / "i"), str(tmp_path / "p"))
    engine = SqlEngine(128, 1, tmp_path / "spill")
    lake_tables = {}
    for name in ("x", "y", "z"):
        table = LakeTable(str(tmp_path / "p" / name), (Column("mail", Text(), ""),))
        table.append(None, MAILS.cast(table.arrow_schema), stream="test", version=1)
        lake_tables[f"star/{name}"] = table

    @contextmanager
    def columns() -> Iterator[ColumnInspector]:
        yield ColumnInspector(LocalInspector(InspectConfig(info_types=("EMAIL_ADDRESS",)), KEY), engine)

    def never(_: str) -> AbstractContextManager[UploadInspector]:
        raise AssertionError

    def no_watch(_: str) -> Watch:
        raise AssertionError

    def never_sent() -> None:
        raise AssertionError

    room = InspectionService(
        FindingsStore(lake, engine),
        Policy(),
        ("local", "1"),
        no_watch,
        never,
        columns,
        lake_tables,
        {"warehouse": lambda: [warehouse_table(name) for name in NAMES]},
        never_sent,
    )
    return Tables(room)


ALL = {"star/x", "star/y", "star/z", *(f"warehouse/{name}" for name in NAMES)}


def check_again(tables: Tables, left: int) -> None:
    assert tables.run() == (left, [])
    assert tables.found() == ALL
    assert tables.run() == (0, [])


@pytest.mark.sampled(4)
@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_a_table_of_a_warehouse_that_cannot_be_read_leaves_the_others_alone(
    tables: Tables, error: BaseException
) -> None:
    broken = [warehouse_table(name, error if name == POISON else None) for name in NAMES]
    room = replace(tables.room, warehouse_tables={"warehouse": lambda: broken})
    assert tables.run(room) == (6, ["warehouse/b"])
    assert told(error) in next(line for line in tables.lines if "could not be inspected" in line)
    assert tables.found() == ALL - {"warehouse/b"}
    check_again(tables, 1)


@pytest.mark.parametrize("error", SOME, ids=name_of)
def test_a_warehouse_that_cannot_be_listed_leaves_the_others_alone(
    tables: Tables, error: BaseException
) -> None:
    def broken() -> Sequence[WarehouseTable]:
        raise error

    room = replace(
        tables.room, warehouse_tables={"far": broken, "warehouse": tables.room.warehouse_tables["warehouse"]}
    )
    assert tables.run(room) == (7, ["far"])
    assert tables.found() == ALL


@pytest.mark.parametrize("step", ["open", "inspect_lake_table", "record_columns"])
@pytest.mark.parametrize("error", SOME, ids=name_of)
def test_a_table_of_the_lake_leaves_the_others_alone_at_each_step(
    tables: Tables, error: BaseException, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: type = {"open": LakeTable, "inspect_lake_table": ColumnInspector}.get(step, FindingsStore)
    usual: Callable[..., object] = getattr(owner, step)

    def broken(self: object, *args: object, **options: object) -> object:
        is_it = {
            "open": lambda: isinstance(self, LakeTable) and self.uri.endswith("/y"),
            "inspect_lake_table": lambda: args[1] == "star/y",
            "record_columns": lambda: any(
                isinstance(one, InspectedTable) and one.table == "star/y"
                for one in args[0]  # type: ignore[attr-defined]
            ),
        }[step]
        if is_it():
            raise error
        return usual(self, *args, **options)

    monkeypatch.setattr(owner, step, broken)
    assert tables.run() == (6, ["star/y"])
    assert tables.found() == ALL - {"star/y"}
    monkeypatch.undo()
    check_again(tables, 1)


def test_the_run_says_which_tables_failed_and_why(tables: Tables) -> None:
    broken = [warehouse_table(name, OwnError("odd") if name == POISON else None) for name in NAMES]
    done = replace(tables.room, warehouse_tables={"warehouse": lambda: broken}).inspect_columns(
        "run", lambda *_: None
    )
    with pytest.raises(
        PlatformError,
        match=r"^Inspecting columns failed for 1; all others succeeded\. "
        r"warehouse/b: unexpected error .*OwnError: odd",
    ):
        done.failing.raise_failures()
