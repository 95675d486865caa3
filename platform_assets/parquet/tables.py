"""Group Parquet files into tables, and combine their columns.

A table is one of: a folder with a Delta log; a folder with hive partitions (`year=2024/`) below it; a folder
of parts, files whose names only number them; else every file on its own, named after the file, so that
`a.parquet` and `a.parquet.gzip` are one table. The caller can choose another grouping.
"""

from __future__ import annotations

import collections
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from platform_assets.errors import ParquetError
from platform_assets.isolation import Isolation, is_isolated, reason_of
from platform_assets.parquet.footers import Footer, KnownSchemas, UnreadableFile, read_footer
from platform_assets.parquet.formats import (
    DELTA,
    STREAM,
    DeltaFiles,
    DeltaVersion,
    committed_by_stream,
    format_above,
    formats_below,
    read_delta,
    refusal,
)
from platform_assets.parquet.layouts import (
    HIVE_NULL,
    SNOWFLAKE_NULL,
    Grouping,
    decoded,
    is_counting,
    is_partition,
    kind_of_values,
    partition_of,
    stem_of,
    table_in,
)
from platform_assets.parquet.schemas import Partition, TableColumn, declared, some_names, unified
from platform_assets.parquet.stores import Store, is_data, open_store
from platform_assets.parquet.types import ParquetType

if TYPE_CHECKING:
    import pyarrow as pa

OpenStore = Callable[[str], tuple[Store, str]]
"""Opens the store of a place, and returns it with the path inside the store."""

_OF_KIND = {
    "integer": ParquetType("int", bits=64),
    "date": ParquetType("date"),
    "text": ParquetType("string"),
}
# Local reads are mostly Python work; reads from an object store are mostly waiting.
_THREADS_LOCALLY = 2
_THREADS_REMOTELY = 32
# Footers being read or queued, for each thread.
_READ_AHEAD = 8


@dataclass(frozen=True, slots=True)
class ParquetProblem:
    """A file, folder or table that was skipped.

    Attributes:
        place: The file, folder or table.
        reason: Why, and what to do.
    """

    place: str
    reason: str

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of a table.

    Attributes:
        path: Its path below the table's root, with `/`.
        rows: Number of its rows.
        size: Its size in bytes.
        logged: The partition values, if a Delta log has them.
    """

    path: str
    rows: int
    size: int
    logged: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ParquetTable:
    """Files that form one table.

    Attributes:
        name: The table's name.
        root: The folder that all of its files are below: a local path or a URI.
        below: The root relative to the common parent of all places; empty if it is that parent, None if it is
            above it.
        files: Its files.
        columns: Its columns.
        delta: Its Delta version, if a Delta log lists its files.
        examples: One file for each distinct schema; may be empty if all files have the same.
        schema: All columns of the Delta log, if there is one.
        absent: Names of columns that the Delta log has but no file.
    """

    name: str
    root: str
    below: str | None
    files: tuple[TableFile, ...]
    columns: tuple[TableColumn, ...]
    delta: DeltaVersion | None = None
    examples: tuple[str, ...] = ()
    schema: pa.Schema | None = None
    absent: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows in all files, from their footers."""
        return sum(file.rows for file in self.files)

    @property
    def is_local(self) -> bool:
        """True if the files are on local disk."""
        return "://" not in self.root


@dataclass(frozen=True)
class FoundTables:
    """The tables and problems found.

    Attributes:
        tables: The tables, by name.
        problems: Files and tables that were skipped.
    """

    tables: tuple[ParquetTable, ...]
    problems: tuple[ParquetProblem, ...]


@dataclass
class _Group:
    """Files of one table, before their footers are read."""

    name: str
    root: str
    identity: str = ""
    paths: dict[str, None] = field(default_factory=dict)  # dict as an ordered set
    delta: DeltaFiles | None = None


def read_tables(
    places: Sequence[str],
    *,
    storage_options: Callable[[], Mapping[str, str]] = dict,
    grouping: Grouping = "auto",
    name: str | None = None,
    pattern: str = "*",
    open_place: OpenStore | None = None,
) -> FoundTables:
    """Read the footers of Parquet files and group the files into tables.

    Args:
        places: Files, folders and Delta tables, all local or all in one bucket.
        storage_options: Returns the options of the object store when they are needed, with secrets resolved.
        grouping: `auto`: the rules in the module's docstring; `file`: every file is a table; `folder`: every
            folder is a table.
        name: Load all files into one table with this name.
        pattern: Read only files whose name matches, such as `*.parquet`; files listed in `places` are always
            read.
        open_place: Opens the store of the places; None means opening it with `storage_options`.

    Returns:
        The tables that can be loaded, and the skipped files and tables with reasons.

    Raises:
        ParquetError: A place does not exist or cannot be read, or places are in different stores.
    """
    store, paths = _open_all(places, storage_options, open_place)
    gathering = _Gathering(store, storage_options, grouping, name, pattern)
    for path in paths:
        gathering.add_place(path)
    groups, problems = gathering.groups(), gathering.problems
    if not groups and not problems:
        raise ParquetError(
            f"No data file was found in {', '.join(places)}; names that begin with _ or . are ignored. "
            "Check the path."
        )
    footers = _read_footers(store, groups, problems)
    base = _common_folder(
        [path if store.kind(path) == "folder" else posixpath.dirname(path) for path in paths]
    )
    tables = []
    for group in groups:
        # Release the footers of each finished table to save memory.
        files = {path: footers.pop(path) for path in group.paths if path in footers}
        if not files and (group.paths or group.delta is None):
            continue
        putting = Isolation("Reading")
        with putting.guard(group.name):
            if name is None and grouping != "folder" and group.delta is None:
                _refuse_unlike(store, files)
            tables.append(_table(store, group, files, base))
        problems += [ParquetProblem(failure.name, failure.reason) for failure in putting.failures]
    return FoundTables(
        tuple(sorted(tables, key=lambda table: table.name)),
        tuple(sorted(problems, key=lambda problem: problem.place)),
    )


def _open_all(
    places: Sequence[str], storage_options: Callable[[], Mapping[str, str]], open_place: OpenStore | None
) -> tuple[Store, list[str]]:
    if not places:
        raise ParquetError("No path was given: name a file, a folder or a Delta table.")
    buckets = {"/".join(place.split("/")[:3]) if "://" in place else "" for place in places}
    if len(buckets) > 1:
        raise ParquetError(
            f"{', '.join(places)} are in different stores; a script loads from one store. Read them one by "
            "one."
        )
    if open_place is not None:
        store = open_place(places[0])[0]
    else:
        store = open_store(places[0], storage_options() if "://" in places[0] else {})[0]
    paths = [open_path(store, place) for place in places]
    missing = [place for place, path in zip(places, paths, strict=True) if store.kind(path) == "nothing"]
    if missing:
        raise ParquetError(f"Nothing exists at {', '.join(missing)}. Check the path.")
    return store, list(dict.fromkeys(paths))


def open_path(store: Store, place: str) -> str:
    """The path of a place within its store; `.` and `..` are resolved on local disk."""
    if store.scheme:
        return place.partition("://")[2].rstrip("/")
    return posixpath.normpath(open_store(place, {})[1])


class _Gathering:
    """Files being grouped, one place after another."""

    def __init__(
        self,
        store: Store,
        storage_options: Callable[[], Mapping[str, str]],
        grouping: Grouping,
        name: str | None,
        pattern: str,
    ) -> None:
        self.problems: list[ParquetProblem] = []
        self._store = store
        self._storage_options = storage_options
        self._grouping = grouping
        self._name = name
        self._pattern = pattern
        self._groups: dict[str, _Group] = {}
        self._alone: dict[str, None] = {}
        self._formats: dict[str, str | None] = {}
        self._reported: set[str] = set()

    def groups(self) -> list[_Group]:
        """The groups; every file on its own if the grouping is `file`."""
        for name, file in _names_of_files(list(self._alone)).items():
            self._add(name, posixpath.dirname(file), file, [file])
        self._alone.clear()
        return list(self._groups.values())

    def add_place(self, path: str) -> None:
        """Add the files of a place to the groups."""
        store = self._store
        if store.has_folder(f"{path}/_delta_log"):
            self._add_delta(path)  # other files in its folder are ignored
            return
        if (above := format_above(store, path, self._formats)) is not None:
            self._refuse_inside(path, *above)
            return
        if store.kind(path) == "file":
            self._add_file(path, posixpath.dirname(path))
            return
        listed = store.below(path)
        formats = formats_below(listed)
        committed: dict[str, set[str]] = {}
        for root, kind in sorted(formats.items()):
            if kind == DELTA:
                self._add_delta(root)
            elif kind == STREAM:
                try:
                    committed[root] = committed_by_stream(store, root)
                except ParquetError as error:
                    self.problems.append(ParquetProblem(store.uri(root), str(error)))
                    committed[root] = set()
            else:
                self.problems.append(ParquetProblem(store.uri(root), refusal(kind)))
        logs = tuple(f"{root}/" for root in formats)
        for file in listed:
            name = posixpath.basename(file)
            if not is_data(file, path) or not fnmatch(name, self._pattern):
                continue
            if logs and file.startswith(logs):
                streams = [names for root, names in committed.items() if file.startswith(f"{root}/")]
                if not any(name in names for names in streams):
                    continue
            self._add_file(file, path)

    def _refuse_inside(self, path: str, root: str, kind: str) -> None:
        """Report a place inside a table of a table format, once for each table."""
        if root in self._reported:
            return
        self._reported.add(root)
        table = self._store.uri(root)
        reason = (
            f"it is inside the Delta table {table}, whose log lists the valid files; read {table}."
            if kind == DELTA
            else f"it is inside {table}: {refusal(kind)}"
        )
        self.problems.append(ParquetProblem(self._store.uri(path), reason))

    def _add_file(self, file: str, top: str) -> None:
        folders, partitioned = _folders_of(file, top)
        if self._name is not None:
            self._add(self._name, folders, "", [file])
        elif partitioned:
            # A folder with a name below partitions may be another table: do not mix it with others.
            self._add(posixpath.basename(folders), folders, _identity(posixpath.dirname(file)), [file])
        elif self._grouping == "file":
            self._alone[file] = None
        elif self._grouping == "folder":
            # Every folder is a table; two folders of the same name are two tables.
            self._add(posixpath.basename(folders) or file, folders, folders, [file])
        elif (name := table_in(stem_of(posixpath.basename(file)))) is not None:
            self._add(name, folders, "", [file])
        else:
            named = _named_folder(folders)
            if named:
                self._add(posixpath.basename(named), folders, _identity(named), [file])
            else:
                stem = stem_of(posixpath.basename(file))
                self._add(posixpath.basename(folders) or stem, folders, folders, [file])

    def _add_delta(self, root: str) -> None:
        uri = self._store.uri(root)
        if any(group.root == root and group.delta is not None for group in self._groups.values()):
            return  # both of two given places contain the file
        reading = Isolation("Reading")
        delta: DeltaFiles | None = None
        with reading.guard(uri):
            delta = read_delta(uri, self._storage_options)
        if delta is None:
            self.problems += [ParquetProblem(failure.name, failure.reason) for failure in reading.failures]
            return
        name = self._name or posixpath.basename(root)
        paths = dict.fromkeys(f"{root}/{path}" for path in delta.paths)
        if name in self._groups:
            self._add(name, root, "" if self._name else root, paths)
        else:
            self._groups[name] = _Group(name, root, root, paths, delta)

    def _add(self, name: str, root: str, identity: str, files: Iterable[str]) -> None:
        group = self._groups.setdefault(name, _Group(name, root, identity))
        # A file listed by the user belongs to the table of its name, wherever it is.
        if group.delta is None and (group.identity == identity or "" in (group.identity, identity)):
            group.identity = group.identity or identity
            group.root = _common_folder([group.root, root])
            group.paths |= dict.fromkeys(files)
            return
        known = group.root
        if root == known:
            # Both are below partitions of the same folder.
            root = posixpath.dirname(next(iter(files), root))
            known = posixpath.dirname(next(iter(group.paths), known))
        where = self._store.uri(root)
        if where in self._reported:
            return
        self._reported.add(where)
        kind = "a Delta table" if group.delta is not None else "another table"
        self.problems.append(
            ParquetProblem(
                where,
                f"{kind} with the same name, {name}, is in {self._store.uri(known)}; read them one by one, "
                "with a prefix for one of them, or use --name if they are one table.",
            )
        )


def _folders_of(file: str, top: str) -> tuple[str, bool]:
    """The folder of a table's files, and whether partitions are below it.

    Partitions are searched below the place that was read. Above it, a folder such as `year=2024` counts as a
    partition only if the place itself is a partition, so that `year=2024/exports/orders` is a table of its
    own.
    """
    folder = posixpath.dirname(file)
    parts = folder.split("/")
    first = next(
        (index for index in range(len(top.split("/")), len(parts)) if is_partition(parts[index])), len(parts)
    )
    last = first
    while last and is_partition(parts[last - 1]):
        last -= 1
    return "/".join(parts[:last]), last < len(parts)


def _named_folder(folder: str) -> str:
    """The nearest folder with a descriptive name, not just a number or date; empty if there is none."""
    while folder and is_counting(posixpath.basename(folder)):
        folder = posixpath.dirname(folder)
    return folder.rstrip("/")


def _identity(folder: str) -> str:
    """The key that separates tables of the same name: their folders without counters and partitions."""
    return "/".join(part for part in folder.split("/") if not is_counting(part) and not is_partition(part))


def _names_of_files(files: Sequence[str]) -> dict[str, str]:
    """Unique names for files: the file's own name, plus as many of its folders as needed.

    The suffix is part of the name if two files of a folder differ in nothing else.
    """
    names: dict[str, str] = {}
    alike_in_folder = collections.Counter(map(_without_suffix, files))
    own = {
        file: posixpath.basename(
            file if alike_in_folder[_without_suffix(file)] > 1 else _without_suffix(file)
        )
        for file in files
    }
    todo: dict[str, list[str]] = {}
    for file in files:
        todo.setdefault(own[file], []).append(file)
    level = 1
    while todo:
        again: dict[str, list[str]] = {}
        for name, alike in todo.items():
            if len(alike) == 1 and name not in names:
                names[name] = alike[0]
                continue
            for file in alike:
                parts = file.strip("/").split("/")
                kept = [*parts[-1 - level : -1], own[file]]
                # Paths are unique, whatever the folders are called.
                longer = "_".join(kept) if level < len(parts) else "/".join(parts)
                again.setdefault(longer, []).append(file)
        todo = again
        level += 1
    return names


def _without_suffix(file: str) -> str:
    return posixpath.join(posixpath.dirname(file), stem_of(posixpath.basename(file)))


def _read_footers(
    store: Store, groups: Sequence[_Group], problems: list[ParquetProblem]
) -> dict[str, Footer]:
    """The footers of all files, by path; unreadable files are recorded as problems."""
    schemas = KnownSchemas()

    def read(path: str) -> Footer | ParquetProblem:
        try:
            return read_footer(store, path, schemas)
        except UnreadableFile as error:
            return ParquetProblem(store.uri(path), f"{error}.")
        except BaseException as error:
            # A damaged footer can raise any error in a library; it is the failure of one file.
            if not is_isolated(error):
                raise
            return ParquetProblem(store.uri(path), f"its footer cannot be read: {reason_of(error)}")

    footers: dict[str, Footer] = {}
    threads = _THREADS_REMOTELY if store.scheme else _THREADS_LOCALLY
    with ThreadPoolExecutor(threads) as pool:
        for path, found in _in_order(pool, read, groups, threads * _READ_AHEAD):
            if isinstance(found, ParquetProblem):
                problems.append(found)
            else:
                footers[path] = found
    return footers


def _in_order(
    pool: ThreadPoolExecutor,
    read: Callable[[str], Footer | ParquetProblem],
    groups: Sequence[_Group],
    ahead: int,
) -> Iterator[tuple[str, Footer | ParquetProblem]]:
    """Read files in several threads, in order, with a limited number in flight."""
    waiting: collections.deque[tuple[str, Future[Footer | ParquetProblem]]] = collections.deque()
    for group in groups:
        for path in group.paths:
            waiting.append((path, pool.submit(read, path)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
    for path, future in waiting:
        yield path, future.result()


def _table(store: Store, group: _Group, footers: Mapping[str, Footer], base: str) -> ParquetTable:
    delta = group.delta
    named = {store.uri(path): footer for path, footer in footers.items()}
    relative = {path: path[len(group.root) :].lstrip("/") for path in footers}
    partitions = _partition_columns(list(relative.values()), delta)
    found = unified(named) if delta is None else declared(delta.columns, named)
    in_files = {column.name.casefold() for column in found.columns}
    both = {column.name.casefold() for column in partitions if column.name.casefold() in in_files}
    if both and delta is None:
        _refuse_files_without(both, footers)
    columns = [*found.columns, *(column for column in partitions if column.name.casefold() not in in_files)]
    if delta is not None:
        order = {name: number for number, name in enumerate(delta.schema.names)}
        columns.sort(key=lambda column: order.get(column.name, len(order)))
    example_of = {store.uri(path): below for path, below in relative.items()}
    return ParquetTable(
        name=group.name,
        root=store.uri(group.root),
        below=group.root[len(base) :].strip("/") if f"{group.root}/".startswith(f"{base}/") else None,
        files=tuple(
            TableFile(
                relative[path],
                footer.rows,
                footer.size,
                (delta.paths.get(relative[path]) or None) if delta is not None else None,
            )
            for path, footer in footers.items()
        ),
        columns=tuple(columns),
        delta=delta.version if delta is not None else None,
        examples=tuple(example_of[file] for file in found.examples),
        schema=delta.schema if delta is not None else None,
        absent=tuple(column.name for column in delta.columns if column.name not in found.names)
        if delta is not None
        else (),
    )


def _refuse_files_without(names: Set[str], footers: Mapping[str, Footer]) -> None:
    """Reject partition columns that are also columns of some files: values of the other files would be lost.

    Raises:
        ParquetError: Such a column exists; the message names two of the files.
    """
    has: dict[str, str] = {}
    lacks: dict[str, str] = {}
    last: Footer | None = None
    for path, footer in footers.items():
        if last is not None and footer.columns == last.columns:
            continue
        last = footer
        own = {column.name.casefold() for column in footer.columns}
        for name in names:
            (has if name in own else lacks).setdefault(name, path)
    for name in sorted(has.keys() & lacks.keys()):
        raise ParquetError(
            f"the partition column {name} is also a column of {has[name]}, but only in the folder's name of "
            f"{lacks[name]}. Write both files with the same columns, or load them into two tables."
        )


def _refuse_unlike(store: Store, footers: Mapping[str, Footer]) -> None:
    """Reject tables whose files have different names or folders and hardly a column in common.

    `crm/accounts.parquet` and `bank/accounts.parquet` often share only an id. If a table has gained or lost
    columns, all columns of one file are in the other.

    Raises:
        ParquetError: Such files exist; the message names two of them.
    """
    common = next((footer.columns for footer in footers.values()), None)
    if all(footer.columns == common for footer in footers.values()):
        return  # nearly always
    columns_of: dict[tuple[str, str], tuple[str, set[str]]] = {}
    last: tuple[tuple[str, str], Footer] | None = None
    for path, footer in footers.items():
        folder, name = posixpath.split(path)
        key = (_identity(folder), table_in(stem_of(name)) or "")
        if last is not None and last[0] == key and last[1].columns == footer.columns:
            continue
        last = key, footer
        columns_of.setdefault(key, (path, set()))[1].update(
            column.name.casefold() for column in footer.columns
        )
    if len(columns_of) < 2:
        return
    (first, known), *others = columns_of.values()
    all_known = set(known)
    for path, own in others:
        shared = own & all_known
        if (
            shared
            and own - all_known
            and all_known - own
            and 2 * len(shared) <= min(len(own), len(all_known))
        ):
            raise ParquetError(
                f"{store.uri(first)} and {store.uri(path)} share {some_names(shared)} only "
                f"({some_names(all_known)}; {some_names(own)}), so they are probably different tables. Put "
                "the files of each table into a folder of its own, or use --name if they are one table."
            )
        all_known |= own


def _partition_columns(paths: Sequence[str], delta: DeltaFiles | None) -> list[TableColumn]:
    """The partition columns, from the files' folders or from a Delta log.

    Raises:
        ParquetError: Files are partitioned by different columns, or twice by the same column.
    """
    if delta is not None and not delta.partitions:
        return []
    found: dict[str, Partition] = {}
    values: dict[str, dict[str, str | None]] = {}
    names: list[str] | None = None
    first = ""
    has_nulls = False
    for path in paths:
        folders = path.split("/")[:-1]
        if SNOWFLAKE_NULL in folders:
            has_nulls = True  # NULL for all partition columns
            continue
        parts = [found_in for part in folders if (found_in := partition_of(part))]
        own = [_decoded(key, path) for key, _ in parts]
        if names is None:
            names, first = own, path
            if len(set(own)) < len(own):
                raise ParquetError(
                    f"{path} has two folders for the same partition; write the table with one folder for "
                    "each."
                )
        if own != names:
            raise ParquetError(
                f"{first} is partitioned by {', '.join(names) or 'nothing'}, and {path} by "
                f"{', '.join(own) or 'nothing'}. Load them into two tables."
            )
        for name, (key, written) in zip(own, parts, strict=True):
            found[name] = Partition(key, values.setdefault(name, {}))
            is_null = written in ("", HIVE_NULL)
            values[name][written] = None if is_null else _decoded(written, path)
    if delta is None:
        return [
            TableColumn(
                name,
                _type_of_values(files.values.values()),
                has_nulls or None in files.values.values(),
                files,
            )
            for name, files in found.items()
        ]
    return [
        TableColumn(
            name,
            type_,
            any(path.get(name) is None for path in delta.paths.values()),
            found.get(name) or Partition(name, {}, is_in_paths=not paths),
        )
        for name, type_ in delta.partitions.items()
    ]


def _decoded(written: str, path: str) -> str:
    """Decode a key or value of a path.

    Raises:
        ParquetError: It is not UTF-8.
    """
    if (text := decoded(written)) is None:
        raise ParquetError(
            f"the folder of {path} has {written}, which is not UTF-8 once it is decoded. Rename the folder."
        )
    return text


def _type_of_values(values: Iterable[str | None]) -> ParquetType:
    """The type of a partition's values in paths."""
    return _OF_KIND[kind_of_values(values)]


def _common_folder(folders: Sequence[str]) -> str:
    split = [folder.split("/") for folder in folders]
    common = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common)
