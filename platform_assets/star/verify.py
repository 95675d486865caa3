"""Verifies star tables in the lake against their declarations: all rows, or only new rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platform_assets.lake.checks import CheckOutcome, check_rows, check_unique
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.races import Patience, attempts
from platform_assets.model.dialects import columns_sql, quote

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from platform_assets.lake.lake import Lake
    from platform_assets.model.star_model import StarModel
    from platform_assets.model.table import Table


# Time to wait for another run that has written rows but not yet rows that they point to: days of a calendar.
_PATIENCE = Patience(idle_tries=5)


@dataclass
class StarVerifier:
    """Verifier that runs checks in one DuckDB connection and opens each table once.

    Another run may be about to write the target of a broken reference. The verifier therefore opens the
    tables again for as long as another run writes to them.
    """

    lake: Lake
    model: StarModel
    connection: duckdb.DuckDBPyConnection
    opened: dict[str, DeltaTable | None] = field(default_factory=dict)
    is_quiet: bool = False

    @classmethod
    @contextlib.contextmanager
    def open(cls, lake: Lake, model: StarModel, engine: SqlEngine) -> Iterator[StarVerifier]:
        """Open a verifier of the tables in their current state."""
        with engine.connect() as connection:
            yield cls(lake, model, connection)

    def verify(self, table: Table, check: str, after: int) -> CheckOutcome:
        """Run one check of a table.

        Args:
            table: The star table.
            check: `primary_key`, `record_ids_dense`, or one of `RULES_OF_CHECK`.
            after: Check only rows of later batches; 0 checks all rows.
        """
        outcome = self._look(table, check, after)
        if check != "foreign_key" or not outcome.broken or self.is_quiet:
            return outcome
        related = [table, *map(self.model.table, dict.fromkeys(dict(table.foreign_keys).values()))]
        for _ in attempts(lambda: [self.lake.star(name).version() for name in related], patience=_PATIENCE):
            self.opened.clear()
            outcome = self._look(table, check, after)
            if not outcome.broken:
                return outcome
        self.is_quiet = True
        return outcome

    def _look(self, table: Table, check: str, after: int) -> CheckOutcome:
        relation = self._relation(table)
        after = 0 if table.is_backdated else after
        if check == "primary_key":
            return check_unique(self.connection, relation, table.primary_key, after=after)
        if check == "record_ids_dense":
            return self._dense(relation, table, after)
        parents = {
            column: f"SELECT {columns_sql(parent.primary_key)} FROM {self._relation(parent)}"
            for column, name in (table.foreign_keys if check == "foreign_key" else ())
            for parent in [self.model.table(name)]
        }
        return check_rows(self.connection, relation, table, check, after=after, parents=parents)

    def _dense(self, relation: str, table: Table, after: int) -> CheckOutcome:
        record_id = columns_sql(table.primary_key)
        total = self.lake.star(table).row_count(self.opened[table.name])
        new, low, high = self.connection.sql(
            f"SELECT count(*), min({record_id}), max({record_id}) FROM {relation} WHERE _batch > {after:d}"
        ).fetchall()[0]
        if not new or (high == total and low == total - new + 1):
            return CheckOutcome(0)
        return CheckOutcome(1, (f"{total} rows; the {new} new ones have ids from {low} to {high}",))

    def _relation(self, table: Table) -> str:
        if table.name not in self.opened:
            source = self.lake.star(table)
            self.opened[table.name] = source.look()
            source.create_view(self.connection, [table.name], self.opened[table.name])
        return quote(table.name)
