"""Declaration of a source that is not in the model: its catalogue file and its configuration.

The catalogue file lists the tables and columns that a database had at the last discovery. It works like a
lock file: `platform-assets source discover` writes it; it is kept with the configuration and reviewed like
code. The code location is built from it without any server. The columns to read, however, are decided from
the server's own catalogue at each tick.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.errors import SettingsError, SourceError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.model.table import (
    Binary,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Table,
    Text,
    Time,
    Timestamp,
)
from platform_assets.stored import CATALOGUE

if TYPE_CHECKING:
    from platform_assets.source.catalogue import Relation
    from platform_assets.source.snapshot import SourceDatabase

_TYPES: Mapping[str, LogicalType] = {
    "integer": Integer(64),
    "real": Float(32),
    "double": Float(64),
    "text": Text(),
    "binary": Binary(),
    "boolean": Boolean(),
    "date": Date(infinite=True),
    "time": Time(),
    "timestamp": Timestamp(infinite=True),
    "timestamptz": Timestamp(utc=True, infinite=True),
}
_WORDS = {type_: word for word, type_ in _TYPES.items()}
_DECIMAL = re.compile(r"decimal\((\d{1,2}),(\d{1,2})\)")


def parse_type(word: str) -> LogicalType:
    """Parse the name of a logical type from a catalogue file or the configuration.

    Raises:
        ValueError: The word names no logical type.
    """
    if digits := _DECIMAL.fullmatch(word):
        return Decimal(int(digits[1]), int(digits[2]))
    if word not in _TYPES:
        raise ValueError(f"there is no type {word!r}")
    return _TYPES[word]


def type_word(type_: LogicalType) -> str:
    """Return the name of a logical type of a discovered column; the reverse of `parse_type`."""
    if isinstance(type_, Decimal):
        return f"decimal({type_.precision},{type_.scale})"
    return _WORDS[type_]


@dataclass(frozen=True)
class CataloguedColumn:
    """A column of a catalogue file.

    Args:
        name: Column name.
        type: Name of the type in the lake, see `parse_type`.
        source_type: Type as PostgreSQL writes it.
        nullable: Whether the column can be NULL.
        comment: The owner's comment; empty without one.
    """

    name: str
    type: str
    source_type: str
    nullable: bool = True
    comment: str = ""


@dataclass(frozen=True)
class CataloguedTable:
    """A table of a catalogue file.

    Args:
        name: Table name.
        kind: `table`, `partitioned`, `view`, `materialized view` or `foreign table`.
        key: The columns that identify a row.
        columns: The columns that the role may read, in the source's order.
        comment: The owner's comment; empty without one.
    """

    name: str
    kind: str
    key: tuple[str, ...]
    columns: tuple[CataloguedColumn, ...]
    comment: str = ""

    @classmethod
    def of(cls, relation: Relation, table: Table) -> CataloguedTable:
        """Create the catalogue file's entry for a relation that is read as `table`."""
        columns = []
        for column in table.columns:
            found = relation.column(column.name)
            source_type = found.type.text if found is not None else ""
            word = type_word(column.type)
            columns.append(
                CataloguedColumn(column.name, word, source_type, column.nullable, column.description)
            )
        return cls(table.name, relation.kind, table.primary_key, tuple(columns), relation.comment)

    @property
    def declaration(self) -> Table:
        """The table's declaration for the rest of the platform."""
        columns = tuple(
            Column(column.name, parse_type(column.type), column.comment, nullable=column.nullable)
            for column in self.columns
        )
        kind = "partitioned table" if self.kind == "partitioned" else self.kind
        return Table(self.name, _sentence(self.comment) or f"The {kind} {self.name}.", columns, self.key)


@dataclass(frozen=True)
class Catalogue:
    """The tables of a source by name, sorted by name."""

    tables: Mapping[str, CataloguedTable] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: Iterable[CataloguedTable]) -> Catalogue:
        """Create a catalogue of these tables."""
        return cls({table.name: table for table in sorted(tables, key=lambda table: table.name)})

    @classmethod
    def read(cls, file: Path, source: str) -> Catalogue | None:
        """Read a catalogue file; return None if the file does not exist.

        Raises:
            SettingsError: The file cannot be read, or is not a catalogue.
        """
        try:
            content = json.loads(file.read_bytes())
            if reason := CATALOGUE.refusal(content["format"], str(file)):
                raise SettingsError(reason)
            return cls.of(_table(name, table) for name, table in content["tables"].items())
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = error.strerror or str(error)
        except (KeyError, TypeError, AttributeError) as error:
            reason = f"its structure is not valid ({type(error).__name__}: {error})"
        except ValueError as error:
            reason = str(error)
        raise SettingsError(
            f"The catalogue {file} of source {source} cannot be used: {reason.rstrip('.')}. Restore it, or "
            f"create it again: {discover_command(source)}."
        ) from None

    def to_bytes(self) -> bytes:
        """Return the file's content: one line per column, so that a diff shows the changes."""
        return ("\n".join(self._lines()) + "\n").encode()

    def _lines(self) -> Iterator[str]:
        yield "{"
        yield f'  "format": {CATALOGUE.version},'
        yield '  "tables": {' + ("" if self.tables else "}")
        for number, table in enumerate(self.tables.values(), 1):
            yield f"    {_json(table.name)}: {{"
            yield f'      "kind": {_json(table.kind)},'
            yield f'      "comment": {_json(table.comment)},'
            yield f'      "key": {_json(table.key)},'
            yield '      "columns": ['
            for position, column in enumerate(table.columns, 1):
                yield f"        {_json(vars(column))}{',' if position < len(table.columns) else ''}"
            yield "      ]"
            yield "    }" + ("," if number < len(self.tables) else "")
        if self.tables:
            yield "  }"
        yield "}"

    def write(self, file: Path) -> bool:
        """Write the catalogue file if its content differs; return whether it was written.

        Raises:
            SettingsError: The file cannot be written.
        """
        content = self.to_bytes()
        try:
            if file.is_file() and file.read_bytes() == content:
                return False
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f"{file.name}.new")
            unfinished.write_bytes(content)
            unfinished.replace(file)
        except OSError as error:
            raise SettingsError(
                f"The catalogue {file} cannot be written: {error.strerror or error}. "
                "Let this user write there."
            ) from error
        return True


def _json(value: object) -> str:
    # Keep letters of all languages, but escape characters that an editor may treat as a line end.
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _table(name: str, content: Mapping[str, Any]) -> CataloguedTable:
    columns = tuple(CataloguedColumn(**column) for column in content["columns"])
    table = CataloguedTable(name, content["kind"], tuple(content["key"]), columns, content["comment"])
    _ = table.declaration  # Reports wrong types and keys here instead of at the first use.
    return table


def _sentence(comment: str) -> str:
    comment = comment.strip()
    return comment if not comment or comment.endswith((".", "!", "?")) else f"{comment}."


def discover_command(source: str) -> str:
    """Return the command that writes a source's catalogue file."""
    return f"platform-assets source discover {source}"


def undiscovered(name: str) -> Table:
    """Create a table that is configured by name but not in a catalogue; its columns are unknown."""
    return Table(name, f"The source's {name}; its columns are not in a catalogue yet.", (), ())


@dataclass(frozen=True)
class Discovery:
    """Result of discovering the tables of a source in its database.

    Args:
        catalogue: The tables that can be read.
        rows: The server's estimate of each table's row count; 0 for tables without storage, None for tables
            that were never analysed.
        strategies: Strategy for finding changes in each table: `xmin`, `last_updated` or `diff`.
        refused: For each table that cannot be read, the reason and the remedy.
        unseen: Those of them that could not be inspected, for example because another session has locked the
            table.
        kinds: Kind of each table that cannot be read.
        unmatched: Names and patterns of the configuration that match nothing.
    """

    catalogue: Catalogue
    rows: Mapping[str, int | None]
    strategies: Mapping[str, str]
    refused: Mapping[str, str]
    unseen: frozenset[str]
    kinds: Mapping[str, str]
    unmatched: tuple[str, ...]

    def keeping(self, before: Catalogue | None) -> Catalogue:
        """Return the catalogue to write: with the earlier entries of the tables that are unseen."""
        earlier = before.tables if before is not None else {}
        kept = (table for name, table in earlier.items() if name in self.unseen)
        return Catalogue.of([*self.catalogue.tables.values(), *kept])


def discover(
    source: SourceDatabase,
    patterns: Sequence[str],
    exclude: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Discovery:
    """Inspect a database and decide for each table, by the rules of extraction, whether it can be read.

    Args:
        source: The database, with its configured policies, keys and types.
        patterns: Names and shell patterns of the tables to read.
        exclude: Names and shell patterns of the tables to leave out.
        progress: Called with the step's name, the amount done and the total.

    Raises:
        SourceUnavailable: The server does not answer.
        SourceError: The server refuses, or none of the tables to read exists.
    """
    from platform_assets.source.capture import plan
    from platform_assets.source.catalogue import select_relations
    from platform_assets.source.drift import compare

    progress("connecting", 0, 1)
    with source.snapshot() as snapshot:
        progress("connecting", 1, 1)
        where = snapshot.connection
        kinds = snapshot.kinds()
        selection = select_relations(kinds, patterns, exclude)
        if not selection.names:
            raise SourceError(
                f"Schema {where.schema} of {where.database} on {where.host}:{where.port} has no table that "
                f"matches {', '.join(patterns)}"
                + (f" and not {', '.join(exclude)}" if exclude else "")
                + f"; {where.user} can see {len(kinds)} tables"
                + (f": {', '.join(list(kinds)[:20])}" if kinds else "")
                + ". Correct schema, tables and exclude of the source, or grant the missing privileges."
            )
        relations, unseen = snapshot.relations_or_reasons(selection.names)
        tables, strategies = [], {}
        refused = {name: reason_of(error) for name, error in unseen.items()}
        for number, (name, relation) in enumerate(relations.items(), 1):
            try:
                drift = compare(
                    (), relation, name=name, key=source.keys.get(name), types=source.types.get(name)
                )
                if drift.table is None:
                    raise SourceError(" ".join(drift.incompatible))
                reading = plan(drift.table, drift, relation, source.policy_of(name), None, snapshot, 0)
                found = CataloguedTable.of(relation, drift.table)
            except BaseException as error:
                if not is_isolated(error) or (isinstance(error, SourceError) and not snapshot.is_open()):
                    raise
                refused[name] = reason_of(error)
                if not isinstance(error, SourceError):
                    unseen[name] = error
            else:
                strategies[name] = reading.strategy
                tables.append(found)
            progress("tables", number, len(relations))
    return Discovery(
        Catalogue.of(tables),
        {name: relation.estimated_rows for name, relation in relations.items()},
        strategies,
        refused,
        frozenset(unseen),
        {name: kinds[name] for name in refused},
        selection.unmatched,
    )


def differences(before: CataloguedTable, now: CataloguedTable) -> tuple[str, ...]:
    """Describe a table's changes between two catalogues in words; empty without changes."""
    was, is_ = ({column.name: column for column in table.columns} for table in (before, now))
    return (
        *([f"was a {before.kind} and is a {now.kind}"] if before.kind != now.kind else ()),
        *([f"key was ({_list(before.key)}) and is ({_list(now.key)})"] if before.key != now.key else ()),
        *(f"column {name} is new" for name in is_ if name not in was),
        *(f"column {name} was dropped" for name in was if name not in is_),
        *(
            f"column {name} {change}"
            for name in is_
            if name in was
            for change in _changes(was[name], is_[name])
        ),
        *(["comment"] if before.comment != now.comment else ()),
        *(["order of columns"] if set(was) == set(is_) and list(was) != list(is_) else ()),
    )


def _changes(was: CataloguedColumn, now: CataloguedColumn) -> Iterator[str]:
    if (was.type, was.source_type) != (now.type, now.source_type):
        lake = f" ({was.type} and {now.type} in the lake)" if was.type != now.type else ""
        yield f"was {was.source_type} and is {now.source_type}{lake}"
    if was.nullable != now.nullable:
        yield "can be NULL now" if now.nullable else "cannot be NULL any more"
    if was.comment != now.comment:
        yield "has another comment"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


_WITHOUT_XMIN = ("view", "foreign table")
_HEAD = """\
# The source NAME, written by `COMMAND`. Edit it as you need.
# Relative paths start at the folder of platform.conf. catalogue/NAME.json lists the tables: run the command
# again after a change here or in the database.
"""
_CONNECTION_COMMENTS = {
    "user": "needs to read only: CONNECT, USAGE on the schema, SELECT on its tables",
    "password": "a reference: secret://env/NAME, secret://file/PATH[#key], secret://aws/SECRET-ID[#key], "
    "secret://ssm/NAME[#key]",
    "sslmode": "as in libpq; verify-full with sslrootcert checks the server",
}
_CAPTURE = """
  tables = ["*"]  # names and shell patterns: *, ?, [abc]
  exclude = []

  # How changes are found. auto means
  # - xmin for tables and materialized views (WITH_XMIN here): reads the rows written since the last batch;
  # - diff for views and foreign tables (WITHOUT_XMIN here): compares all rows. If a column records the time
  #   of a row's last change, last_updated reads less, but misses changes that do not update that column.
  strategy = auto
  connections = 2            # concurrent connections, 1 to 16
  small_table_rows = 200000  # tables of up to this size are searched for deletions at every tick
  # deletions_every = 10     # minutes between slow searches of larger tables; at most half of
  #                            freshness.within, which is the default
  overrides {
    # TABLE { strategy = last_updated, column = changed, lag = 900, key = [id], types { amount = text } }
"""
_TAIL = """\
  }

  # The source's own schedule, instead of the main job's; and the minutes after which its tables are stale:
  # schedule { cron = "0 * * * *", timezone = UTC }
  # freshness.within = 90
}
"""


def configuration(name: str, connection: Mapping[str, object], found: Discovery) -> str:
    """Generate the initial HOCON configuration of a source, with comments on the decisions left open.

    Args:
        name: Name of the source.
        connection: Members of the connection block, the password as a reference; None members are left out.
        found: Result of discovering its database.
    """
    lines = []
    for key, value in connection.items():
        if value is not None:
            comment = f"  # {_CONNECTION_COMMENTS[key]}" if key in _CONNECTION_COMMENTS else ""
            lines.append(f"    {key} = {_json(value)}{comment}\n")
        if key != "password":
            lines.append(f"    {key} = ${{?{name.upper()}_{key.upper()}}}\n")
    from platform_assets.source.catalogue import KEY_IS_MISSING

    kinds = [table.kind for table in found.catalogue.tables.values()] + list(found.kinds.values())
    without_xmin = sum(kind in _WITHOUT_XMIN for kind in kinds)
    refused = []
    for table, reason in found.refused.items():
        strategy = ", strategy = diff" if found.kinds[table] in _WITHOUT_XMIN else ""
        # A configured key does not help a table that is refused for another reason.
        key = f"    # {_json(table)} {{ key = [...]{strategy} }}\n" if KEY_IS_MISSING in reason else ""
        refused.append(f"    # {' '.join(reason.split())}\n{key}")
    counts = {"WITHOUT_XMIN": without_xmin, "WITH_XMIN": len(kinds) - without_xmin}
    capture = re.sub("|".join(counts), lambda found: str(counts[found[0]]), _CAPTURE)
    return (
        _HEAD.replace("NAME", name).replace("COMMAND", discover_command(name))
        + f"{name} {{\n  connection {{\n{''.join(lines)}  }}"
        + capture
        + "".join(refused)
        + _TAIL
    )


def write_configuration(file: Path, text: str) -> None:
    """Write a source's configuration file.

    Raises:
        SettingsError: The file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    except OSError as error:
        raise SettingsError(
            f"The configuration {file} cannot be written: {error.strerror or error}. Let this user write it."
        ) from error
