"""Completion of the names of tables and columns in the magics' queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from platform_assets.isolation import result_or_reason

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, IPCompleter, SimpleMatcherResult

    from platform_assets.notebook.tables import NotebookTables, Tables

_IDENTIFIER = "platform_assets.tables_and_columns"
_CELL = re.compile(r"\s*%%warehouse\b(?P<line>[^\n]*)")
_LINE = re.compile(r"^\s*(?:[\w.,\s]+=\s*)?%warehouse\b(?P<line>.*)$")
_OF = re.compile(r"--of[=\s]+(\S+)")
_RELATION = re.compile(
    r"""\b(?:from|join)\s+(?P<table>[\w."/]+)(?:\s+(?:as\s+)?(?!(?:on|using|where|join|left|right|inner|full|cross|group
    |order|limit|union|having|as|natural|window|qualify)\b)(?P<alias>\w+))?""",
    re.IGNORECASE | re.VERBOSE,
)
_NEEDS_A_TABLE = re.compile(r"\b(?:from|join|describe|summarize)\s+[\w.\"/]*$", re.IGNORECASE)


def complete_names(completer: IPCompleter, tables_of: Callable[[], NotebookTables]) -> None:
    """Have a completer complete the names in queries of the magics.

    Args:
        completer: The shell's completer.
        tables_of: Returns the tables; called when there is something to complete.
    """
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=_IDENTIFIER)  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> SimpleMatcherResult:
        # Whatever goes wrong while somebody types, such as a broken configuration, the magic will tell.
        found = result_or_reason(lambda wanted: candidates(wanted, tables_of), context)
        names = [] if isinstance(found, str) else found
        return {
            "completions": [SimpleCompletion(name, type=kind) for name, kind in names],
            "suppress": bool(names),
            "ordered": True,
        }

    forget_names(completer)
    completer.custom_matchers.append(match)


def forget_names(completer: IPCompleter) -> None:
    """Undo `complete_names`."""
    completer.custom_matchers[:] = [
        custom_matcher
        for custom_matcher in completer.custom_matchers
        if getattr(custom_matcher, "matcher_identifier", None) != _IDENTIFIER
    ]


def candidates(context: CompletionContext, tables_of: Callable[[], NotebookTables]) -> list[tuple[str, str]]:
    """Return what may stand at the cursor, each with its kind; empty outside the magics."""
    in_cell = _CELL.match(context.full_text)
    in_line = _LINE.match(context.line_with_cursor)
    if in_line is not None:
        line, query = in_line["line"], in_line["line"]
    elif in_cell is not None:
        line, query = in_cell["line"], context.full_text[in_cell.end() :]
    else:
        return []
    until = context.text_until_cursor
    token = context.token
    if _is_in_text(until if in_line is not None else _until_cursor(context)):
        return []
    if re.search(r"(?:^|\s)--lake\b", line):
        relations = [(match["table"].replace('"', ""), match["alias"]) for match in _RELATION.finditer(query)]
        tables = tables_of().lake_tables([table for table, _ in relations])
    else:
        named = _OF.search(line)
        tables = tables_of().warehouse_tables(*((named[1],) if named else ()))
    wanted = _NEEDS_A_TABLE.search(
        " ".join(_until_cursor(context).split("\n")[-2:]) if in_line is None else until
    )
    offered = _tables(tables) if wanted else _columns(tables, query, token)
    prefix = token.casefold()
    return sorted(
        {
            candidate
            for candidate in offered
            if candidate[0].casefold().startswith(prefix) and candidate[0] != token
        }
    )


def _until_cursor(context: CompletionContext) -> str:
    lines = context.full_text.split("\n")
    return "\n".join([*lines[: context.cursor_line], context.text_until_cursor])


def _is_in_text(before: str) -> bool:
    return before.count("'") % 2 == 1


def _tables(tables: Tables) -> Iterator[tuple[str, str]]:
    for name in tables:
        yield name, "table"


def _columns(tables: Tables, query: str, token: str) -> Iterator[tuple[str, str]]:
    """Yield the columns of the tables in the query, of all tables if it has none; and the tables."""
    used = _used(tables, query)
    head, dot, _ = token.rpartition(".")
    if dot:
        for name in {used.get(head), head} & tables.keys():
            yield from ((f"{head}.{column}", "column") for column in tables[name or ""])
        yield from _tables(tables)
        return
    for name in set(used.values()) or tables:
        yield from ((column, "column") for column in tables[name])
    yield from ((alias, "table") for alias in used)


def _used(tables: Mapping[str, Sequence[str]], query: str) -> dict[str, str]:
    """Return the tables that a query names, by their aliases and by their own last names."""
    short: dict[str, str] = {name.rpartition(".")[2]: name for name in tables}
    used: dict[str, str] = {}
    for match in _RELATION.finditer(query):
        name = match["table"].replace('"', "")
        known = name if name in tables else short.get(name)
        if known is not None:
            used[match["alias"] or known.rpartition(".")[2]] = known
    return used
