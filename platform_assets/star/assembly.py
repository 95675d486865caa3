"""The star schema in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaredTable
from platform_assets.errors import SettingsError
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import KeptTable
from platform_assets.model.totesys.star import STAR
from platform_assets.rooms import Assembly
from platform_assets.status import TableHoldings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.interfaces import CurrentTable, Loss, Rebuilding, RebuildOptions
    from platform_assets.lake.past import PastTable
    from platform_assets.model.star_model import StarModel
    from platform_assets.model.table import Table
    from platform_assets.star.engine import StarEngine
    from platform_assets.star.rebuild import StarRebuilder


class StarRoom(Assembly[None]):
    """The tables of the star schema."""

    @property
    def model(self) -> StarModel:
        """The star schema that this platform builds: that of Totesys."""
        return STAR

    @property
    def engine_name(self) -> str:
        """Name of the engine that runs the SQL of the tables."""
        return self.rooms.of(LakeRoom).settings.engine.name

    def star_engine(self, embedded: SqlEngine) -> StarEngine:
        """Return the engine that runs the SQL of the tables; it is started when it is first used.

        Args:
            embedded: DuckDB, in case that it is the engine.

        Raises:
            SettingsError: The room of the engine was removed.
        """
        from platform_assets.star.engine import EmbeddedEngine, HasStarEngines

        name = self.engine_name
        if name == "duckdb":
            return EmbeddedEngine(embedded)
        for room in self.rooms.offering(HasStarEngines):
            if (build := room.star_engines().get(name)) is not None:
                return build()
        raise SettingsError(
            f"No room has the engine {name}: the package platform_assets.spark was removed. Put it back, or "
            "set engine = duckdb."
        )

    def star_tables(self) -> tuple[Table, ...]:
        """See `HasStarTables.star_tables`."""
        return self.model.tables

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: the star tables, and the reference inputs that they read."""
        from platform_assets.column_lineage import LineageQuery
        from platform_assets.lake.rules import row_checks
        from platform_assets.model.star_model import columns_of
        from platform_assets.star.declared_inputs import declared_inputs

        model = self.model
        yield from declared_inputs(model.tables)
        for table in model.tables:
            dense = {"record_ids_dense": table.primary_key} if table.kind == "fact" else {}
            yield DeclaredTable(
                ("star", table.name),
                columns_of(table),
                query=LineageQuery(
                    model.select_of(table),
                    {
                        **{f"{model.source}.{name}": (model.source, name) for name in table.reads},
                        **{f"reference.{name}": ("reference", name) for name in table.inputs},
                    },
                    file=model.displayed_file(table),
                    is_model=True,
                ),
                constants=dict(table.constants),
                group="star",
                description=table.description,
                checks={"primary_key": table.primary_key, **dense, **row_checks(table)},
            )

    def lake_paths(self) -> list[tuple[str, ...]]:
        """See `HasLakeTables.lake_paths`."""
        return [("star", table.name) for table in self.model.tables]

    def lake_tables(self) -> dict[tuple[str, ...], LakeTable]:
        """See `HasLakeTables.lake_tables`."""
        lake = self.rooms.of(LakeRoom).lake
        return {("star", table.name): lake.star(table) for table in self.model.tables}

    def current_paths(self) -> list[tuple[str, ...]]:
        """See `HasCurrentTables.current_paths`."""
        return self.lake_paths()

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """See `HasCurrentTables.current_table`."""
        from platform_assets.lake.lake import current_star_table
        from platform_assets.model.star_model import STREAM

        return current_star_table(self.rooms.of(LakeRoom).lake, self.model.table(path[1]), STREAM)

    def delta_tables(self) -> list[KeptTable]:
        """See `HasDeltaTables.delta_tables`."""
        return [
            KeptTable("/".join(path), table, is_loaded_elsewhere=True)
            for path, table in self.lake_tables().items()
        ]

    def problems(self) -> list[str]:
        """See `HasProblems.problems`: tables whose SQL has changed since their rows were built."""
        return self.outdated_tables()

    def outdated_tables(self) -> list[str]:
        """See `HasOutdatedTables.outdated_tables`."""
        from platform_assets.star.transform import outdated_advice

        found = [
            outdated_advice(self.model, self.model.table(name), table, table.look())
            for (_, name), table in self.lake_tables().items()
        ]
        return [item for item in found if item]

    def losses(self, *, deep: bool) -> Iterator[Loss]:
        """See `VerifiesTables.losses`: tables ahead of the ledger, of older SQL, or unlike bronze."""
        from platform_assets.lake.interfaces import Loss, RebuildOptions
        from platform_assets.model.star_model import STREAM

        for advice in self.outdated_tables():
            yield Loss(advice.split()[3], "Its SQL has changed since its rows were built.", advice)
        state = self.rooms.of(LakeRoom).lake.ledger.read()
        ahead = set()
        for path, table in self.lake_tables().items():
            name, handle = "/".join(path), table.open()
            reads = [(self.model.source, read) for read in self.model.table(path[1]).reads]
            if handle is None and state.last_batch_of(reads):
                advice = f"Build it: platform-assets lake rebuild {name} --apply, or the next tick."
                yield Loss(name, "It does not exist.", advice)
            cursor = table.cursor(handle, STREAM)
            if cursor > state.last_batch:
                ahead.add(name)
                what = f"It is at batch {cursor}, and the ledger at batch {state.last_batch}."
                yield Loss(name, what, f"Take it back: platform-assets lake rebuild {name} --apply.")
        if deep:
            others = [name for name in self.rebuildable() if name not in ahead]
            for rebuilt in self._rebuilder(RebuildOptions()).rebuild(self._declared(others)):
                if rebuilt.problem or (rebuilt.why and rebuilt.inserted + rebuilt.updated + rebuilt.deleted):
                    rows = rebuilt.inserted + rebuilt.updated + rebuilt.deleted
                    what = rebuilt.problem or f"{rows:,} of its rows differ from those that bronze gives."
                    yield Loss(
                        rebuilt.table,
                        what,
                        f"platform-assets lake rebuild {rebuilt.table} shows more.",
                        rows=rows,
                    )

    def past_tables(self) -> list[PastTable]:
        """See `HasPastTables.past_tables`."""
        from platform_assets.star.past import past_star_table

        room = self.rooms.of(LakeRoom)
        return [past_star_table(room.lake, self.model, room.engine, table) for table in self.model.tables]

    def rebuildable(self) -> list[str]:
        """See `RebuildsTables.rebuildable`."""
        return ["/".join(path) for path in self.lake_paths()]

    def rebuild(self, tables: Sequence[str], options: RebuildOptions) -> Iterator[Rebuilding]:
        """See `RebuildsTables.rebuild`; a table that breaks one of its checks afterwards has failed."""
        rebuilder = self._rebuilder(options)
        return rebuilder.checked(rebuilder.rebuild(self._declared(tables)))

    def _declared(self, names: Sequence[str]) -> list[Table]:
        return [self.model.table(name.partition("/")[2]) for name in names]

    def _rebuilder(self, options: RebuildOptions) -> StarRebuilder:
        from platform_assets.star.rebuild import StarRebuilder
        from platform_assets.star.transform import StarBuilder

        lake = self.rooms.of(LakeRoom)
        builder = StarBuilder(
            lake.lake, self.model, lake.engine, options.report, self.star_engine(lake.engine)
        )
        return StarRebuilder(builder, options.first, options.apply, options.report)

    def holdings(self) -> list[TableHoldings]:
        """Return the content of the tables.

        Raises:
            LakeError: The lake cannot be read.
        """
        state = self.rooms.of(LakeRoom).lake.ledger.read()
        found = []
        for (layer, name), table in self.lake_tables().items():
            handle = table.look()
            batch = table.last_batch(handle)
            found.append(TableHoldings(layer, name, table.row_count(handle), batch, state.seen_at(batch)))
        return found


ROOM = StarRoom
