"""Runs a script in Snowflake, statement by statement, and says for each table what became of its rows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.errors import WarehouseError
from platform_assets.snowflake.script import Script, Statement, TableScript

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

Progress = Callable[[str, int, int], None]
"""Told a table's name, how many of its statements have run, and how many there are."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rows of a file that COPY did not take.

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
    """What became of one table.

    Attributes:
        name: The table's name as in the files.
        target: Its name in Snowflake, as SQL.
        rows_loaded: Number of rows that are in it now and were not before.
        rejections: Rows that were refused, where ON_ERROR lets others pass.
        seconds: How long it took.
        statements: The statements that ran, in order.
        error: Why the table is not loaded; None where it is.
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
        """Number of rows that were refused."""
        return sum(rejection.rows for rejection in self.rejections)


def execute(
    script: Script, connection: SnowflakeConnection, on_progress: Progress = lambda *_: None
) -> tuple[TableResult, ...]:
    """Run a script. A table that fails is reported and its stage dropped; the others are still loaded.

    Args:
        script: What to run.
        connection: An open connection with a current warehouse, and a current database and schema where the
            script names none.
        on_progress: Told after every statement.

    Returns:
        One result for each table, in the script's order.

    Raises:
        WarehouseError: What comes before the tables failed.
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
                # What was asked for is done, and the session that this tidies up is about to end.
                with contextlib.suppress(Error):
                    cursor.execute(statement.sql)


def _execute_table(table: TableScript, cursor: SnowflakeCursor, on_progress: Progress) -> TableResult:
    from snowflake.connector.errors import Error

    started = time.monotonic()
    ran: list[str] = []
    loaded = 0
    rejections: list[Rejection] = []
    failure: str | None = None
    on_progress(table.name, 0, len(table.statements))
    for statement in table.statements:
        if failure is not None and statement.purpose != "clean-up":
            continue
        try:
            cursor.execute(statement.sql)
            ran.append(statement.sql)
            if statement.purpose == "load":
                rows, refused = copied(cursor)
                loaded += rows
                rejections += refused
        except Error as error:
            # A stage that is not dropped goes with the session, and may not even have been made.
            if statement.purpose != "clean-up":
                failure = failure_of(statement, error)
        on_progress(table.name, len(ran), len(table.statements))
    return TableResult(
        table.name,
        table.target,
        loaded,
        tuple(rejections),
        time.monotonic() - started,
        tuple(ran),
        failure,
    )


def copied(cursor: SnowflakeCursor) -> tuple[int, Iterable[Rejection]]:
    """What the COPY that a cursor has just run says it did: rows loaded, and what it refused."""
    names = [column.name.lower() for column in cursor.description]
    if "rows_loaded" not in names:
        return 0, ()  # it found no file that was not loaded before
    loaded = 0
    rejections = []
    for row in cursor.fetchall():
        file = dict(zip(names, row, strict=True))
        rows = int(file["rows_loaded"] or 0)
        loaded += rows
        # A file that was passed over as a whole may have been parsed up to its first error only.
        refused = max(int(file["rows_parsed"] or 0) - rows, 0)
        if file["status"] not in ("LOADED", "LOAD_SKIPPED") or refused:
            rejections.append(Rejection(str(file["file"]), refused, str(file["first_error"] or "not said")))
    return loaded, rejections


def failure_of(statement: Statement, error: Exception) -> str:
    """A statement that failed and what Snowflake said of it, in one line."""
    said = getattr(error, "msg", None) or str(error)
    first = statement.sql.splitlines()[0][:120]
    return f"Snowflake refused `{first}`: {' '.join(str(said).split())[:600]}"
