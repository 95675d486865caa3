"""Execution of a script in Snowflake, statement by statement, with a result for each table."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.errors import WarehouseError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.snowflake.script import Script, Statement, TableScript

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

Progress = Callable[[str, int, int], None]
"""Called with a table's name, the number of its statements that have run, and the number of its statements.
"""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rows of a file that COPY rejected.

    Attributes:
        file: The file, as COPY names it.
        rows: Number of rows.
        reason: The first error in the file.
    """

    file: str
    rows: int
    reason: str


@dataclass(frozen=True)
class TableResult:
    """The result of one table.

    Attributes:
        name: The table's name as in the files.
        target: Its name in Snowflake, as SQL.
        rows_loaded: Number of rows added.
        rejections: Rejected rows, if ON_ERROR allows other rows to be loaded.
        seconds: Duration in seconds.
        statements: The statements that ran, in order.
        error: The reason why the table is not loaded; None if it is.
    """

    name: str
    target: str
    rows_loaded: int
    rejections: tuple[Rejection, ...]
    seconds: float
    statements: tuple[str, ...]
    error: str | None

    @property
    def rows_rejected(self) -> int:
        """Number of rejected rows."""
        return sum(rejection.rows for rejection in self.rejections)


def execute(
    script: Script, connection: SnowflakeConnection, on_progress: Progress = lambda *_: None
) -> tuple[TableResult, ...]:
    """Run a script. A table that fails is reported and its stage is dropped; the others are still loaded.

    Args:
        script: The script.
        connection: An open connection with a current warehouse, and a current database and schema unless the
            script names them.
        on_progress: Called after every statement.

    Returns:
        One result for each table, in the script's order.

    Raises:
        WarehouseError: A statement before those of the tables failed.
    """
    from snowflake.connector.errors import Error

    with connection.cursor() as cursor:
        for statement in script.before:
            try:
                cursor.execute(statement.sql)
            except Error as error:
                raise WarehouseError(failure_of(statement, error)) from error
        try:
            return tuple(_execute_table(table, cursor, on_progress) for table in script.tables)
        finally:
            for statement in script.after:
                # The tables are done; this only tidies up a session that is about to end.
                with contextlib.suppress(Error):
                    cursor.execute(statement.sql)


@dataclass(frozen=True, slots=True)
class _Report:
    """COPY's report on one file."""

    file: str
    status: str
    parsed: int
    loaded: int
    error: str

    @property
    def rejection(self) -> Rejection | None:
        """The rejected rows, if any."""
        # COPY may have parsed a skipped file only up to its first error.
        refused = max(self.parsed - self.loaded, 0)
        if self.status in ("LOADED", "LOAD_SKIPPED") and not refused:
            return None
        return Rejection(self.file, refused, self.error or "no reason given")


def _execute_table(table: TableScript, cursor: SnowflakeCursor, on_progress: Progress) -> TableResult:
    kept = _set_aside(table, cursor)
    try:
        result = _run_statements(table, cursor, on_progress)
    except BaseException:
        if kept is not None:
            _put_back(table, kept, cursor)
        raise
    if kept is None:
        return result
    if result.error is not None:
        reason = f"{result.error.rstrip('.')}. {_put_back(table, kept, cursor)}"
        return dataclasses.replace(result, rows_loaded=0, error=reason)
    _drop(kept, cursor)
    return result


def _set_aside(table: TableScript, cursor: SnowflakeCursor) -> str | None:
    """Rename the table that CREATE OR REPLACE would drop, so that a failed load leaves no empty table.

    Returns:
        The temporary name, or None if the table does not exist or is not replaced.
    """
    from snowflake.connector.errors import Error

    if not any(
        statement.purpose == "table" and statement.sql.startswith("CREATE OR REPLACE")
        for statement in table.statements
    ):
        return None
    suffix = f"_BEFORE_{uuid.uuid4().hex[:8].upper()}"
    quote = '"' if table.target.endswith('"') else ""
    kept = f"{table.target.removesuffix(quote)}{suffix}{quote}"
    try:
        cursor.execute(f"ALTER TABLE {table.target} RENAME TO {kept}")
    except Error:
        return None  # there is none, or CREATE is refused too and says why
    return kept


def _put_back(table: TableScript, kept: str, cursor: SnowflakeCursor) -> str:
    """Restore a table's name, and return a sentence about the result."""
    from snowflake.connector.errors import Error

    try:
        cursor.execute(f"DROP TABLE IF EXISTS {table.target}")
        cursor.execute(f"ALTER TABLE {kept} RENAME TO {table.target}")
    except Error as error:
        return (
            f"The earlier table is now called {kept}, because renaming it back failed: "
            f"{_server_message(error)}. Rename it "
            f"to {table.target}."
        )
    return "The table keeps its last loaded data."


def _drop(kept: str, cursor: SnowflakeCursor) -> None:
    from snowflake.connector.errors import Error

    # The load is done; what is left over tells by its name what it is.
    with contextlib.suppress(Error):
        cursor.execute(f"DROP TABLE IF EXISTS {kept}")


def _run_statements(table: TableScript, cursor: SnowflakeCursor, on_progress: Progress) -> TableResult:
    from snowflake.connector.errors import Error

    started = time.monotonic()
    ran: list[str] = []
    reports: list[_Report] = []
    failure: str | None = None
    is_open = False
    on_progress(table.name, 0, len(table.statements))
    for statement in table.statements:
        if failure is None and statement.purpose in ("commit", "clean-up"):
            failure = _missing(table, reports)
        if failure is not None and is_open:
            # A lost session is rolled back anyway.
            with contextlib.suppress(Error):
                cursor.execute("ROLLBACK")
            is_open, reports = False, []
        if failure is not None and statement.purpose != "clean-up":
            continue
        try:
            cursor.execute(statement.sql)
            ran.append(statement.sql)
            if statement.purpose == "load":
                reports += _reports(cursor)
        except BaseException as error:
            # Whatever it is, it is the failure of one table.
            if not is_isolated(error):
                raise
            # A temporary stage ends with the session, and may not have been created.
            if statement.purpose != "clean-up":
                failure = failure_of(statement, error)
        else:
            is_open = statement.purpose == "begin" or (is_open and statement.purpose != "commit")
        on_progress(table.name, len(ran), len(table.statements))
    return TableResult(
        table.name,
        table.target,
        sum(report.loaded for report in reports),
        tuple(one for report in reports if (one := report.rejection) is not None),
        time.monotonic() - started,
        tuple(ran),
        failure,
    )


def _missing(table: TableScript, reports: Sequence[_Report]) -> str | None:
    """A message if the number of loaded rows differs from the footers, or None.

    Files that COPY reports as rejected, or as loaded before, are not counted on either side.
    """
    left_out = {
        report.file for report in reports if report.rejection is not None or report.status == "LOAD_SKIPPED"
    }
    expected = table.rows
    if left_out:
        rows = {file.path: file.rows for file in table.files}
        expected -= sum(
            rows[path] for path in {_path_in(name, rows) for name in left_out} if path is not None
        )
    loaded = sum(report.loaded for report in reports if report.file not in left_out)
    if loaded == expected:
        return None
    return (
        f"COPY loaded {loaded:,} rows into {table.target} of files with {expected:,}. If files were loaded "
        "before, --force loads them again; else see the results of PUT and COPY in Snowflake's query history."
    )


def _path_in(name: str, paths: Container[str]) -> str | None:
    """The file that COPY names with the path of the stage before it: the longest path that ends the name."""
    parts = name.split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in paths), None)


def _reports(cursor: SnowflakeCursor) -> Iterator[_Report]:
    """The reports, one for each file, of the COPY that a cursor has just run."""
    names = [column.name.lower() for column in cursor.description]
    if "rows_loaded" not in names:
        return  # no file was left to load
    for row in cursor.fetchall():
        file = dict(zip(names, row, strict=True))
        yield _Report(
            str(file["file"]),
            str(file["status"]),
            int(file["rows_parsed"] or 0),
            int(file["rows_loaded"] or 0),
            str(file["first_error"] or ""),
        )


def copied(cursor: SnowflakeCursor) -> tuple[int, Sequence[Rejection]]:
    """The result of the COPY that a cursor has just run: rows loaded and rows rejected."""
    reports = list(_reports(cursor))
    rejections = [one for report in reports if (one := report.rejection) is not None]
    return sum(report.loaded for report in reports), rejections


def failure_of(statement: Statement, error: BaseException) -> str:
    """A failed statement and Snowflake's error, in one line."""
    from snowflake.connector.errors import Error

    first = statement.sql.splitlines()[0][:120]
    if not isinstance(error, Error):
        return f"`{first}` failed before Snowflake answered: {reason_of(error)}"
    return f"Snowflake refused `{first}`: {_server_message(error)}"


def _server_message(error: BaseException) -> str:
    """Snowflake's own error message in one line."""
    return " ".join(str(getattr(error, "msg", None) or error).split())[:600]
