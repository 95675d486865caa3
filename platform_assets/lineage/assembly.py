"""The graph of columns, derived from what the rooms declare, what its columns hold, and its page."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from platform_assets.classification import KnowsSensitiveColumns, Mark, Origin
from platform_assets.column_lineage import DeclaresLineage
from platform_assets.description import TableNotes
from platform_assets.lineage.settings import LineageSettings
from platform_assets.rooms import Assembly

if TYPE_CHECKING:
    from pathlib import Path

    from platform_assets.column_lineage import ColumnRef, DeclaredTable
    from platform_assets.lineage.classification import Classified, Contradiction
    from platform_assets.lineage.graph import Graph
    from platform_assets.lineage.notes import Notes


class LineageRoom(Assembly[LineageSettings]):
    """The lineage of columns."""

    settings_class = LineageSettings

    @cached_property
    def graph(self) -> Graph:
        """The graph of the columns of all tables.

        Raises:
            LineageError: The lineage of model SQL cannot be derived.
        """
        from platform_assets.lineage.cache import cached_graph

        return cached_graph(*self._derived_from)

    @cached_property
    def _derived_from(self) -> tuple[Path | None, Sequence[DeclaredTable], Sequence[str]]:
        """The folder of what is derived, None to keep nothing; the declared tables; functions that mask."""
        declared = self.declared()
        own = self._own(declared)
        # While the code location is being loaded, its own assets are not known: two graphs, two caches.
        folder = self._folder / ("own" if own else "")
        # Loading the code location makes no folder for state; the first run does.
        has_state = self.platform.state_dir.is_dir()
        return folder if has_state else None, [*declared, *own], self.settings.lineage.masking

    def declared(self) -> list[DeclaredTable]:
        """Return the tables that the rooms declare."""
        return [table for room in self.rooms.offering(DeclaresLineage) for table in room.declared_tables()]

    def _own(self, declared: Sequence[DeclaredTable]) -> list[DeclaredTable]:
        """Return users' own assets in the code location.

        Args:
            declared: The tables that the rooms declare.

        Raises:
            LineageError: A declaration has mistakes.
        """
        from platform_assets.lineage.modules import has_own_assets

        if not has_own_assets(self.settings.lineage.definitions):
            return []
        from platform_assets.lineage.dagster_facts import own_tables

        return own_tables(self.settings.lineage.definitions, {table.asset for table in declared})

    @cached_property
    def proved_graph(self) -> Graph:
        """The graph with the results of experiments, which are made once for each graph.

        Raises:
            LineageError: The graph cannot be derived.
        """
        from platform_assets.lineage.cache import cached_proof

        return cached_proof(self._folder, self.graph)

    @property
    def _folder(self) -> Path:
        return self.platform.state_dir / "lineage"

    @cached_property
    def _knows(self) -> KnowsSensitiveColumns | None:
        """The room that knows which columns are sensitive; None where it was removed."""
        return next(self.rooms.offering(KnowsSensitiveColumns), None)

    def _removes(self, column: ColumnRef, info_type: str, likelihood: str) -> bool:
        knows = self._knows
        return knows is not None and knows.removed_on_the_way(column, info_type, likelihood)

    def classify(self, found: Sequence[Mark]) -> Classified:
        """Return the marks of all columns, by what is declared and what was found.

        Args:
            found: Marks of findings.

        Raises:
            LineageError: The graph cannot be derived.
        """
        return self._classify([*found, *self._declared_marks()])

    def _declared_marks(self) -> Sequence[Mark]:
        return self._knows.declared_marks() if self._knows is not None else []

    def _classify(self, marks: Sequence[Mark]) -> Classified:
        from platform_assets.lineage.classification import at_the_source, classify

        return classify(self.graph, at_the_source(self.graph, marks), self._removes)

    def derived_marks(self, marks: Sequence[Mark]) -> list[Mark]:
        """See `CarriesClassification.derived_marks`.

        Marks that the policy removes on the way into a column are among them: the policy has to know of
        them to do so.
        """
        from platform_assets.lineage.classification import classify

        classified = classify(self.graph, marks, self._removes)
        trails = (*classified.trails, *classified.stopped)
        return [trail.mark for trail in trails if trail.mark.origin is Origin.DERIVED]

    def found_marks(self) -> list[Mark]:
        """Return the marks of all findings, and remember them for what may not read the lake.

        Raises:
            LakeError: The findings cannot be read.
        """
        from platform_assets.lineage.remembered import remember_marks

        found = list(self._knows.found_marks()) if self._knows is not None else []
        remember_marks(self._folder, found)
        return found

    def remembered_marks(self) -> list[Mark]:
        """Return the marks of findings as they were known last; nothing but a local file is read."""
        from platform_assets.lineage.remembered import remembered_marks

        return remembered_marks(self._folder)

    def contradictions(self, classified: Classified) -> list[Contradiction]:
        """Return the findings that the lineage cannot explain.

        Raises:
            LakeError: The inspections cannot be read.
        """
        from platform_assets.lineage.classification import contradictions

        inspected = self._knows.inspected_assets() if self._knows is not None else frozenset()
        return contradictions(self.graph, classified, inspected)

    def unknown_columns(self) -> list[str]:
        """Return the columns that are declared sensitive and do not exist, as users write them."""
        found = []
        for column in dict.fromkeys(mark.column for mark in self._declared_marks()):
            table = self.graph.table(column.asset)
            if table is None or (not table.unknown and table.column(column.column) is None):
                found.append(str(column))
        return found

    def problems(self) -> list[str]:
        """See `HasProblems.problems`."""
        return [
            f"dlp.columns names {column}, which is no column of the lineage graph: it has no effect."
            for column in self.unknown_columns()
        ]

    def write_page(self, classified: Classified) -> Path:
        """Write the explorer's page, and return its file.

        Raises:
            OSError: The file cannot be written.
        """
        import datetime as dt

        from platform_assets.lineage.explorer.page import explorer_page
        from platform_assets.processes import write_whole

        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        file = self._folder / "columns.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        page = explorer_page(self.proved_graph, classified.marks, f"Made by platform-assets on {now}.")
        write_whole(file, page.encode())
        return file

    def link(self, asset: Sequence[str] = (), column: str = "") -> str:
        """Return the address of a table's or a column's place in the page; empty if it is not served."""
        if self.settings.lineage.url is None:
            return ""
        from platform_assets.lineage.explorer.page import anchor

        start = self.settings.lineage.url.rstrip("/") + "/"
        return f"{start}#{anchor(asset, column)}" if asset else start

    @contextlib.contextmanager
    def serve_page(self, host: str, port: int) -> Iterator[str]:
        """See `ServesPage.serve_page`: the page is first written again, and read for each request."""
        import threading

        from platform_assets.isolation import result_or_reason
        from platform_assets.lineage.serving import address_for, serving_page

        file = self._folder / "columns.html"
        first: list[object] = []

        def write() -> None:
            first.append(result_or_reason(self._write_remembered, None))

        # The UI does not wait for it; the first reader does.
        writing = threading.Thread(target=write, name="writing the lineage page", daemon=True)
        writing.start()

        def page() -> str:
            writing.join()
            if isinstance(first[0], str) and not file.exists():
                return first[0]
            return file.read_text(encoding="utf-8")

        with serving_page(page, host, port) as served:
            yield address_for(host, served)

    def _write_remembered(self, _: None) -> Path:
        return self.write_page(self.classify(self.remembered_marks()))

    def notes_on(self, asset: tuple[str, ...]) -> TableNotes | None:
        """See `DescribesTables.notes_on`."""
        found = self._notes.get(asset)
        return dataclasses.replace(found, link=self.link(asset)) if found is not None else None

    @cached_property
    def _notes(self) -> Notes:
        from platform_assets.isolation import result_or_reason

        noted = result_or_reason(self._noted, None)
        # Without a graph, assets are shown without notes; the asset of the lineage and the commands say why.
        return {} if isinstance(noted, str) else noted

    def _noted(self, _: None) -> Notes:
        from platform_assets.lineage.cache import cached_notes

        marks = [*self.remembered_marks(), *self._declared_marks()]
        rules = self._knows.removal_rules() if self._knows is not None else ""

        def derive() -> Notes:
            from platform_assets.lineage.notes import notes_of

            return notes_of(self.graph, self._classify(marks).marks)

        return cached_notes(*self._derived_from, (marks, rules), derive)


ROOM = LineageRoom
