"""Plans: task files whose tasks, arguments, order and assets were checked, and the mistakes of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform_assets.configuration.folder import ConfigFile
from platform_assets.configuration.hocon import LARGEST_FILE, is_special
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.isolation import ended, result_or_reason
from platform_assets.tasks.files import ID, TaskEntry, TaskFile, TaskSchedule
from platform_assets.tasks.names import RESERVED, RESERVED_IDS, TASKS, schedule_name
from platform_assets.tasks.registry import KnownTask, TaskRegistry
from platform_assets.tasks.signature import suggestion

_MOST_NAMED = 5


@dataclass(frozen=True)
class Elsewhere:
    """Names that the rest of the platform defines.

    Attributes:
        assets: The assets by key, with `/`, each with the keys that it depends on.
        jobs: Names of jobs.
        ticks: Names of schedules and sensors.
        deliveries: Names of the deliveries that can be made.
    """

    assets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    jobs: frozenset[str] = frozenset()
    ticks: frozenset[str] = frozenset()
    deliveries: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PlannedTask:
    """A task with its validated arguments and its place in the order.

    Attributes:
        id: Its id in the file.
        known: The task.
        arguments: The arguments that are given, validated.
        needs: Ids of the tasks that run before it.
        retries: Further attempts after a failure.
        retry_delay: Seconds before the first of them; doubled before each further one.
        timeout: Seconds that an attempt may take; None without a limit.
        when: False to leave it out, `success`, `failure` or `always`: how what it needs must have ended.
        reads: Asset keys that it reads, made outside of the file.
        produces: Asset keys that it makes.
    """

    id: str
    known: KnownTask
    arguments: Mapping[str, Any]
    needs: tuple[str, ...]
    retries: int
    retry_delay: int
    timeout: int | None
    when: bool | str
    reads: tuple[str, ...]
    produces: tuple[str, ...]


@dataclass(frozen=True)
class TaskPlan:
    """A task file: one job, or the reasons why there is none.

    Attributes:
        name: Name of the job.
        file: The file.
        description: A sentence about it.
        schedule: When it runs; None without a schedule.
        tasks: Its tasks, in an order in which each can run; empty if there are mistakes.
        whole: Keys of assets that stand for the file as a whole: they are made when all tasks have succeeded.
        mistakes: One line for each mistake.
    """

    name: str
    file: Path
    description: str = ""
    schedule: TaskSchedule | None = None
    tasks: tuple[PlannedTask, ...] = ()
    whole: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()

    @property
    def reads(self) -> list[str]:
        """The asset keys that it reads, made outside of the file."""
        return list(dict.fromkeys(key for task in self.tasks for key in task.reads))

    @property
    def produces(self) -> list[str]:
        """The asset keys that it makes."""
        return [*(key for task in self.tasks for key in task.produces), *self.whole]

    @property
    def tolerates_failures(self) -> bool:
        """True if a task runs although another one has failed."""
        return _tolerates_failures(self.tasks)


def _tolerates_failures(tasks: Sequence[PlannedTask | TaskEntry]) -> bool:
    return any(task.when in ("failure", "always") for task in tasks)


def build_plans(
    files: Sequence[ConfigFile[TaskFile]],
    registry: TaskRegistry,
    elsewhere: Elsewhere | None,
    external: Sequence[str] = (),
) -> list[TaskPlan]:
    """Check task files together; each that has mistakes leaves the others as they are.

    Args:
        files: The loaded files.
        registry: The known tasks.
        elsewhere: What the rest of the platform defines; None if that is unknown, and not checked.
        external: Keys of assets outside of the platform that may be read.
    """
    claims = _Claims(files, elsewhere, external)
    plans = []
    for file in files:
        if file.repaired is None:
            plans.append(_broken(file))
            continue
        made = result_or_reason(lambda given: _plan(given, registry, claims), file, tell_text=False)
        if isinstance(made, str):
            made = TaskPlan(file.name, file.file, mistakes=(f"{file.file}: {ended(made)}",))
        plans.append(made)
    return _without_circles(plans, {file.name: file for file in files}, elsewhere)


def _broken(given: ConfigFile[TaskFile], schedule: TaskSchedule | None = None) -> TaskPlan:
    return TaskPlan(given.name, given.file, schedule=schedule, mistakes=given.mistakes)


class _Claims:
    """Asset keys: those that can be read, and which file produces which."""

    def __init__(
        self, files: Sequence[ConfigFile[TaskFile]], elsewhere: Elsewhere | None, external: Sequence[str]
    ) -> None:
        self.elsewhere = elsewhere
        self.external = frozenset(external)
        self.producer: dict[str, Path] = {}
        self._unread: list[str] = []
        for file in files:
            for key in _claimed(file):
                self.producer.setdefault(key, file.file)
            if file.block is None and not file.content:
                # Another file that reads an asset of this one must not break with it.
                self._unread.append(result_or_reason(_text, file.file))

    def is_known(self, key: str) -> bool:
        """Return True if an asset can be read; always if the rest of the platform is unknown."""
        if self.elsewhere is None or key in self.elsewhere.assets:
            return True
        if key in self.external or key in self.producer:
            return True
        return any(key in text for text in self._unread)

    def suggestion(self, key: str) -> str:
        """Say which key may be meant."""
        known = [*(self.elsewhere.assets if self.elsewhere else ()), *self.external, *self.producer]
        where = "an asset outside of the platform is listed in tasks.external_assets"
        text = suggestion(key, known)
        return f"{text}; {where}" if text.startswith("a known") else f"the key of an asset; {where}"


def _text(file: Path) -> str:
    """Return the text of a file that is no valid HOCON; empty if it is no file."""
    if is_special(file):
        return ""
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(LARGEST_FILE)


def _claimed(given: ConfigFile[TaskFile]) -> Iterator[str]:
    """Yield the keys that a file produces, also if it has mistakes."""
    if given.block is not None:
        for entry in given.block.tasks:
            yield from entry.produces
        yield from _whole(given.name, given.block)
        return
    yield f"{TASKS}/{given.name}"
    blocks = [given.content, *_listed(given.content.get("tasks"))]
    for block in blocks:
        if isinstance(block, dict):
            yield from (key for key in _listed(block.get("produces")) if isinstance(key, str))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(name: str, block: TaskFile) -> tuple[str, ...]:
    """Return the keys of the assets that stand for a file as a whole.

    Those that the file names; else one of the file's name, if the file is in the lineage graph and not all of
    its tasks lead to an asset: Dagster takes no step into an asset job that leads to none.
    """
    if block.produces:
        return block.produces
    entries = block.tasks
    if not (block.reads or any(entry.reads or entry.produces for entry in entries)):
        return ()
    needs = _needs(block, _ids(entries))
    needed = {id_ for of in needs.values() for id_ in of}
    is_covered = all(
        entry.produces or id_ in needed for id_, entry in zip(_ids(entries), entries, strict=True)
    )
    return () if is_covered and not _tolerates_failures(entries) else (f"{TASKS}/{name}",)


def _plan(given: ConfigFile[TaskFile], registry: TaskRegistry, claims: _Claims) -> TaskPlan:
    if given.repaired is None:
        return _broken(given)
    block = given.repaired.block
    lost = {str(key[-1]) if isinstance(key[-1], str) else "name" for key in given.repaired.lost}
    mistakes: list[Mistake] = list(_name_mistakes(given, block, claims.elsewhere))
    ids = _ids(block.tasks)
    if lost.isdisjoint(("id", "name", "tasks")):
        # Ids that could not be read may be the ones that other tasks name.
        mistakes += _id_mistakes(block.tasks, ids)
        mistakes += _need_mistakes(block, ids)
    if "produces" not in lost:
        mistakes += _asset_mistakes(given, block, claims)
    tasks = []
    needs = _needs(block, ids)
    deliveries = claims.elsewhere.deliveries if claims.elsewhere is not None else None
    for number, entry in enumerate(block.tasks):
        found, wrong = _task(number, entry, ids, needs, given, block, registry, deliveries)
        mistakes += wrong
        if found is not None:
            tasks.append(found)
    if mistakes or given.block is None:
        # Numbers of tasks in the order of the file, names in their own.
        mistakes.sort(key=lambda mistake: [(isinstance(part, str), part) for part in mistake.key])
        return _broken(given.with_mistakes(mistakes), block.schedule)
    return TaskPlan(
        given.name,
        given.file,
        block.description or "",
        block.schedule,
        tuple(_ordered(tasks)),
        _whole(given.name, block),
    )


def _name_mistakes(
    given: ConfigFile[TaskFile], block: TaskFile, elsewhere: Elsewhere | None
) -> Iterator[Mistake]:
    if not ID.fullmatch(given.name) or given.name.startswith("_"):
        yield Mistake(
            ("tasks",),
            f"the file name {shown(given.name)}",
            "a name of letters, digits and _ that starts with a letter or digit: the job's name",
        )
    elif given.name in RESERVED:
        expected = "another file name; the file's name is the job's, and this one has a meaning in Dagster"
        yield Mistake(("tasks",), f"the file name {shown(given.name)}", expected)
    if elsewhere is not None:
        if given.name in elsewhere.jobs:
            expected = f"another file name; the platform has a job {given.name}"
            yield Mistake(("tasks",), f"the file name {shown(given.name)}", expected)
        elif block.schedule is not None and schedule_name(given.name) in elsewhere.ticks:
            expected = f"another file name; the platform has a schedule {schedule_name(given.name)}"
            yield Mistake(("schedule",), f"the file name {shown(given.name)}", expected)


def _ids(entries: Sequence[TaskEntry]) -> list[str]:
    """Return the ids of tasks: as given, else the task's name, numbered where a name comes again."""
    taken = {entry.id for entry in entries if entry.id is not None}
    ids = []
    for entry in entries:
        one = entry.id
        if one is None:
            is_usable = ID.fullmatch(entry.name) and entry.name not in RESERVED_IDS
            base = entry.name if is_usable else "task"
            names = (base, *(f"{base}_{number}" for number in range(2, len(entries) + 2)))
            one = next(name for name in names if name not in taken)
            taken.add(one)
        ids.append(one)
    return ids


def _id_mistakes(entries: Sequence[TaskEntry], ids: Sequence[str]) -> Iterator[Mistake]:
    counts = Counter(ids)
    seen: set[str] = set()
    for number, id_ in enumerate(ids):
        if counts[id_] > 1 and id_ in seen:
            key = ("tasks", number, "id" if entries[number].id is not None else "name")
            yield Mistake(key, f"the id {shown(id_)} a second time", "an id of its own for each task")
        seen.add(id_)


def _needs(block: TaskFile, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return what each task needs: the given ids or the task before it, and the makers of what it reads."""
    makers = {key: ids[number] for number, entry in enumerate(block.tasks) for key in entry.produces}
    found = {}
    for number, entry in enumerate(block.tasks):
        given = entry.needs if entry.needs is not None else ids[max(number - 1, 0) : number]
        made = (makers[key] for key in entry.reads if key in makers)
        found[ids[number]] = tuple(dict.fromkeys((*given, *made)))
    return found


def _need_mistakes(block: TaskFile, ids: Sequence[str]) -> Iterator[Mistake]:
    has_unknown = False
    for number, entry in enumerate(block.tasks):
        for place, needed in enumerate(entry.needs or ()):
            if needed not in ids:
                has_unknown = True
                expected = suggestion(needed, [id_ for id_ in ids if id_ != ids[number]])
                yield Mistake(
                    ("tasks", number, "needs", place), shown(needed), f"{expected}, a task of this file"
                )
    if has_unknown or len(set(ids)) < len(ids):
        return
    left = _needs(block, ids)
    while ready := [id_ for id_, of in left.items() if not any(name in left for name in of)]:
        for id_ in ready:
            del left[id_]
    if left:
        circle = _circle(left)
        number = ids.index(circle[0])
        text = ", ".join(
            f"{id_} needs {other}" for id_, other in zip(circle, [*circle[1:], circle[0]], strict=True)
        )
        yield Mistake(("tasks", number, "needs"), f"a cycle: {text}", "an order in which each task can run")


def _circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a cycle of a graph in which every node needs another one of the graph."""
    path = [next(iter(needs))]
    while True:
        following = next(id_ for id_ in needs[path[-1]] if id_ in needs)
        if following in path:
            return path[path.index(following) :]
        path.append(following)


def _asset_mistakes(given: ConfigFile[TaskFile], block: TaskFile, claims: _Claims) -> Iterator[Mistake]:
    places: list[tuple[tuple[str | int, ...], TaskFile | TaskEntry]] = [((), block)]
    places += [(("tasks", number), entry) for number, entry in enumerate(block.tasks)]
    own: set[str] = set()
    for prefix, item in places:
        for number, key in enumerate(item.produces):
            where = (*prefix, "produces", number)
            if key in own:
                yield Mistake(where, f"{shown(key)} a second time", "an asset key once")
            own.add(key)
            if claims.elsewhere is not None and key in claims.elsewhere.assets:
                yield Mistake(where, shown(key), "a key of its own; the platform has an asset of this key")
            elif claims.producer.get(key, given.file) != given.file:
                yield Mistake(where, shown(key), f"a key of its own; {claims.producer[key]} produces it")
    for prefix, item in places:
        for number, key in enumerate(item.reads):
            if key in block.produces:
                expected = "an asset that is made before this task; this one is made by the whole file"
                yield Mistake((*prefix, "reads", number), shown(key), expected)
            elif key not in own and not claims.is_known(key):
                yield Mistake((*prefix, "reads", number), shown(key), claims.suggestion(key))
    for key in _whole(given.name, block):
        if key not in block.produces and claims.elsewhere is not None and key in claims.elsewhere.assets:
            expected = "another file name; the platform has this asset"
            yield Mistake(("tasks",), f"the asset key {shown(key)}", expected)


def _task(
    number: int,
    entry: TaskEntry,
    ids: Sequence[str],
    needs: Mapping[str, tuple[str, ...]],
    given: ConfigFile[TaskFile],
    block: TaskFile,
    registry: TaskRegistry,
    deliveries: frozenset[str] | None,
) -> tuple[PlannedTask | None, list[Mistake]]:
    place: tuple[str | int, ...] = ("tasks", number)
    known = result_or_reason(registry.find, entry.name)
    if known is None:
        return None, [Mistake((*place, "name"), shown(entry.name), _nearest_task(entry.name, registry))]
    if isinstance(known, str):
        return None, [
            Mistake((*place, "name"), shown(entry.name), f"a task that can be used. {known.rstrip('.')}")
        ]
    arguments, wrong = known.signature.validate(entry.args, given.file, deliveries)
    if wrong:
        return None, [
            Mistake((*place, "args", *mistake.key), mistake.found, mistake.expected) for mistake in wrong
        ]
    own = {key for task in block.tasks for key in task.produces}
    reads = [*(() if number else block.reads), *entry.reads]
    whole = _whole(given.name, block)
    return PlannedTask(
        ids[number],
        known,
        arguments,
        needs[ids[number]],
        entry.retries,
        entry.retry_delay,
        entry.timeout,
        "success" if entry.when is True else entry.when,
        tuple(dict.fromkeys(key for key in reads if key not in own)),
        tuple(key for key in entry.produces if key not in whole),
    ), []


def _nearest_task(name: str, registry: TaskRegistry) -> str:
    """Say which task may be meant, and which modules may have defined it."""
    expected = suggestion(name, registry.names())
    named = [problem for problem in registry.broken if problem.name == name]
    broken = named or [problem for problem in registry.broken if not problem.name]
    reasons = "; ".join(
        f"{problem.origin} cannot be used: {problem.reason.rstrip('.')}" for problem in broken[:_MOST_NAMED]
    )
    return f"{expected}. {reasons}" if reasons else expected


def _ordered(tasks: Sequence[PlannedTask]) -> Iterator[PlannedTask]:
    """Yield tasks after what they need, otherwise in the order of the file."""
    done: set[str] = set()
    left = list(tasks)
    while left:
        ready = next(item for item in left if done.issuperset(item.needs))
        left.remove(ready)
        done.add(ready.id)
        yield ready


def _without_circles(
    plans: Sequence[TaskPlan], files: Mapping[str, ConfigFile[TaskFile]], elsewhere: Elsewhere | None
) -> list[TaskPlan]:
    """Replace plans that depend on what they produce themselves: Dagster would load nothing."""
    producer = {key: plan for plan in plans for key in plan.produces}
    if not any(plan.reads and plan.produces for plan in plans):
        return list(plans)
    assets = elsewhere.assets if elsewhere is not None else {}

    def before(key: str) -> Sequence[str]:
        return producer[key].reads if key in producer else assets.get(key, ())

    checked = []
    for plan in plans:
        seen: dict[str, str] = {}
        left = [(key, key) for key in plan.reads] if plan.produces else []
        own = set(plan.produces)
        found = None
        while left and found is None:
            key, start = left.pop()
            if key in seen:
                continue
            seen[key] = start
            if key in own:
                found = (key, start)
            left += [(key_before, start) for key_before in before(key)]
        if found is None:
            checked.append(plan)
            continue
        given = files[plan.name]
        entries = given.block.tasks if given.block is not None else ()
        number = next((n for n, entry in enumerate(entries) if found[1] in entry.reads), None)
        mistake = Mistake(
            ("reads",) if number is None else ("tasks", number, "reads"),
            f"a cycle: {shown(found[1])} is made from {shown(found[0])}, which this file produces",
            "assets that do not depend on what the file produces",
        )
        checked.append(_broken(given.with_mistakes([mistake]), plan.schedule))
    return checked
