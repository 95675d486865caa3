"""The magics `%stackql`, `%warehouse` and `%platform`."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import HTML, Image, display

from platform_assets.errors import PlatformError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.notebook.options import (
    Option,
    OptionError,
    describe,
    one_of,
    parse,
    seconds,
    variable_name,
    whole_number,
)
from platform_assets.notebook.variables import bound_sql, pasted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from IPython.core.interactiveshell import InteractiveShell

    from platform_assets.notebook.tables import NotebookTables
    from platform_assets.rooms import Rooms
    from platform_assets.warehouse.interface import BoundSql

Function = TypeVar("Function", bound=Callable[..., Any])

_CHARTS = ("line", "bar", "barh", "area", "scatter", "hist")
_OUTPUT = (
    Option("--as", "bind the result to this variable", "NAME", variable_name),
    Option("--no-display", "bind the result, and show nothing"),
    Option("--csv-download", "add a link that saves the result as CSV"),
    Option("--limit", "keep the first N rows", "N", whole_number),
    Option("--timeout", "give up after so many seconds", "SECONDS", seconds),
    Option("--raw", "send the query as it is: no variables"),
)
_STACKQL = (
    *_OUTPUT,
    Option("--connect", "another server: HOST:PORT or postgresql://USER@HOST:PORT/DATABASE", "ADDRESS"),
    Option(
        "--protocol",
        "simple, extended or auto, which tries extended first",
        "FORM",
        one_of(("simple", "extended", "auto")),
    ),
)
_WAREHOUSE = (
    *_OUTPUT,
    Option("--of", "an additional warehouse", "NAME"),
    Option("--lake", "query the lake's tables instead, as totesys.staff or star.dim_staff"),
    Option("--at", "with --lake: the tables as they were after a batch or at a time", "WHEN"),
    Option("--arrow", "give an Arrow table instead of a DataFrame: exact decimals, dates and times"),
    Option("--plot", "draw the result, the first column as the x axis", "[KIND]", one_of(_CHARTS), _CHARTS),
)
_STATUS = (
    Option("--as", "bind the result to this variable", "NAME", variable_name),
    Option("--no-display", "bind the result, and show nothing"),
)
_AT = (*_STATUS, Option("--limit", "keep the first N rows of each table", "N", whole_number))
_LINEAGE = (
    Option("--up", "only what the column depends on"),
    Option("--down", "only what depends on the column"),
    Option("--direct", "leave out what only decides about values and rows"),
    *_STATUS,
)


class NotebookError(PlatformError):
    """An error that a notebook shows as its message, in one line and without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{self}"]


def _one_line_errors(function: Function) -> Function:
    """Have a magic end every error as one readable line."""

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except BaseException as error:
            if not is_isolated(error):
                raise
            raise NotebookError(reason_of(error)) from None

    return cast("Function", run)


def _show(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _tell(text: str) -> None:
    """Say something beside the result."""
    sys.stderr.write(f"{text}\n")


@magics_class
class PlatformMagics(Magics):
    """The platform's magics.

    Args:
        shell: The IPython shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._rooms: Rooms | None = None
        self._tables: NotebookTables | None = None

    @property
    def _namespace(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.shell.user_ns) if self.shell is not None else {}

    @property
    def rooms(self) -> Rooms:
        """The rooms of the configuration, which is loaded when it is first needed."""
        if self._rooms is None:
            from platform_assets.rooms import Rooms
            from platform_assets.settings import load_settings

            self._rooms = Rooms(load_settings())
        return self._rooms

    def tables(self) -> NotebookTables:
        """Return the tables that can be queried."""
        if self._tables is None:
            from platform_assets.notebook.tables import NotebookTables

            self._tables = NotebookTables(self.rooms)
        return self._tables

    @no_var_expand
    @line_cell_magic
    @_one_line_errors
    def stackql(self, line: str, cell: str | None = None) -> Any:
        """Send a statement to a StackQL server; `%stackql --help` lists the options."""
        options, query = parse(line, _STACKQL)
        if "help" in options:
            _show(describe("%stackql [options] STATEMENT, or %%stackql [options] and a cell", _STACKQL))
            return None
        sql = _joined(query, cell, "stackql", "SHOW PROVIDERS")
        if "raw" not in options:
            sql = pasted(sql, self._namespace)
        self.rooms.require("inventory", "%stackql")
        from platform_assets.inventory.assembly import InventoryRoom

        server = self.rooms.of(InventoryRoom).server(options.get("connect"), options.get("protocol"))
        limit = options.get("limit")
        result = server.run(sql, limit=limit, timeout=options.get("timeout"))
        answer = result.answer
        if answer.columns:
            for notice in result.notices:
                _tell(notice)
            if len(result.answers) > 1:
                _tell(f"{len(result.answers)} statements ran; this is the last result.")
        return self._shown(result.table(), options, "stackql", has_more=answer.has_more)

    @no_var_expand
    @line_cell_magic
    @_one_line_errors
    def warehouse(self, line: str, cell: str | None = None) -> Any:
        """Query the warehouse or the lake; `%warehouse --help` lists the options."""
        options, query = parse(line, _WAREHOUSE)
        if "help" in options:
            _show(describe("%warehouse [options] QUERY, or %%warehouse [options] and a cell", _WAREHOUSE))
            return None
        from platform_assets.notebook.frames import first_rows
        from platform_assets.warehouse.interface import BoundSql

        sql = _joined(query, cell, "warehouse", "FROM star.dim_staff")
        given = BoundSql((sql,)) if "raw" in options else bound_sql(sql, self._namespace)
        with self._opened(given, options) as rows:
            table, has_more = first_rows(rows, options.get("limit"))
        return self._shown(table, options, "warehouse", has_more=has_more)

    @contextlib.contextmanager
    def _opened(self, sql: BoundSql, options: Mapping[str, Any]) -> Iterator[pa.RecordBatchReader]:
        timeout = options.get("timeout")
        if "lake" in options:
            if "of" in options:
                raise OptionError("--of names a warehouse, and --lake asks for the lake: use one of them.")
            with self.tables().query_lake(sql, timeout=timeout, at=options.get("at")) as rows:
                yield rows
            return
        if "at" in options:
            raise OptionError("--at looks back at the lake's tables: write --lake before it.")
        from platform_assets.warehouse.assembly import WarehouseRoom
        from platform_assets.warehouse.settings import MAIN_WAREHOUSE

        warehouse = self.rooms.of(WarehouseRoom).warehouse(options.get("of", MAIN_WAREHOUSE))
        with warehouse.query(sql, timeout=timeout) as rows:
            yield rows

    @no_var_expand
    @line_magic
    @_one_line_errors
    def platform(self, line: str) -> Any:
        """Show the platform's state: `%platform status`, `%platform lineage COLUMN`, `%platform at BATCH`."""
        what, _, rest = line.strip().partition(" ")
        match what:
            case "status":
                return self._status(rest)
            case "lineage":
                return self._lineage(rest)
            case "at":
                return self._at(rest)
        raise OptionError(
            f"{f'%platform {what}'.strip()} does not exist. Use %platform status, %platform lineage COLUMN "
            "or %platform at BATCH."
        )

    def _status(self, line: str) -> Any:
        from platform_assets.notebook.state import status_frame
        from platform_assets.status import HasProblems

        options, rest = parse(line, _STATUS)
        if "help" in options:
            _show(describe("%platform status [options]", _STATUS))
            return None
        if rest:
            raise OptionError(f"%platform status takes options only, not {rest}.")
        for room in self.rooms.offering(HasProblems):
            for problem in room.problems():
                _tell(problem)
        frame = status_frame(self.rooms)
        return self._bound(frame, options, "status_df")

    def _lineage(self, line: str) -> Any:
        from platform_assets.notebook.state import lineage_frame

        options, column = parse(line, _LINEAGE)
        if "help" in options:
            _show(describe("%platform lineage [options] COLUMN", _LINEAGE))
            return None
        if not column:
            raise OptionError("%platform lineage needs a column, such as star/dim_staff.first_name.")
        is_both = ("up" in options) == ("down" in options)
        frame = lineage_frame(
            self.rooms,
            column,
            up=is_both or "up" in options,
            down=is_both or "down" in options,
            indirect="direct" not in options,
        )
        return self._bound(frame, options, "lineage_df")

    def _at(self, line: str) -> Any:
        from platform_assets.notebook.state import past_tables

        options, rest = parse(line, _AT)
        if "help" in options:
            _show(describe("%platform at [options] BATCH_OR_TIME [TABLE ...]", _AT))
            return None
        when, *names = rest.split() or [""]
        if not when:
            raise OptionError("%platform at needs a batch, or a time such as 2026-03-01T12:00 (UTC).")
        past = past_tables(self.rooms, self.tables(), when, names, options.get("limit"))
        if len(past) == 1 and names:
            return self._bound(next(iter(past.values())), options, "past_df")
        return self._bound(past, options, "past")

    def _shown(
        self, table: pa.Table, options: Mapping[str, Any], name: str, *, has_more: bool
    ) -> pd.DataFrame | pa.Table | None:
        """Bind a result, and return it or show what was asked for instead."""
        from platform_assets.notebook.frames import chart, data_frame, download_link

        if has_more:
            _tell(f"The first {table.num_rows:,} rows; there are more.")
        is_arrow = "arrow" in options
        if is_arrow and ("plot" in options or "csv-download" in options):
            raise OptionError(
                "--arrow gives a table without a picture or a link: leave out one of the options."
            )
        result = table if is_arrow else data_frame(table)
        shown = self._bound(result, options, f"{name}_df")
        if shown is None or is_arrow:
            return shown
        if "csv-download" in options:
            link = download_link(result, f"{options.get('as', name)}.csv")
            display(HTML(link))  # type: ignore[no-untyped-call]
        if "plot" in options:
            picture = chart(result, options["plot"])
            display(Image(picture, format="png"))  # type: ignore[no-untyped-call]
            return None
        return shown

    def _bound(self, result: Any, options: Mapping[str, Any], name: str) -> Any:
        self._namespace[options.get("as", name)] = result
        return None if "no-display" in options else result


def _joined(query: str, cell: str | None, name: str, example: str) -> str:
    """Return the query of a line and its cell."""
    sql = "\n".join(part for part in (query, cell or "") if part.strip())
    if not sql.strip():
        raise OptionError(f"%{name} needs a statement, such as %{name} {example}.")
    return sql
