"""The lake IO manager: assets as Delta tables, in and out, on local disk or object storage."""

from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.orchestration import clear_failures, row_count_metadata

if TYPE_CHECKING:
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table


class LakeIOManager(dg.IOManager):
    """IO manager that stores an asset's value as a Delta table in the processed zone, under the asset's key.

    A value is a `pyarrow.Table`, a `pyarrow.RecordBatchReader` (streamed) or a `pandas.DataFrame`. It
    replaces the previous value in one commit; older versions stay readable. An input has the type that its
    parameter is annotated with; without annotation, it is a `pyarrow.Table`. If the upstream asset is one of
    the platform's own:

    - a source table loads the current rows of the source; with the input metadata `{"versions": "all"}`,
      every committed row version with `_change`, `_batch`, `_seen_at` and `_hash`; the columns are those of
      the model, or of the source's catalogue file, in the types that the lake stores;
    - a star table loads its rows.

    Args:
        sources: Source tables by source and table name; a table without columns is not in a catalogue yet and
            cannot be loaded.
        star: Declared star tables by name.
    """

    def __init__(self, sources: dict[str, dict[str, "Table"]], star: dict[str, "Table"]) -> None:
        self._sources = sources
        self._star = star

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Write the value, and add the row count to the materialization."""
        from platform_assets.lake.exchange import as_rows
        from platform_assets.lake.lake import write_table

        lake: Lake = context.resources.lake
        with clear_failures(retried=False):
            rows = as_rows(obj)
            # A value that is not a stream can be written again if another run commits first.
            content = rows if rows is obj else lambda: as_rows(obj)
            count = write_table(lake, context.asset_key.path, content)
        context.add_output_metadata(row_count_metadata(count))

    def load_input(self, context: dg.InputContext) -> object:
        """Read the table as the type that the input is annotated with."""
        from platform_assets.lake.exchange import as_form
        from platform_assets.lake.lake import (
            as_stored,
            stream_current,
            stream_star,
            stream_table,
            stream_versions,
        )

        lake: Lake = context.resources.lake
        engine: SqlEngine = context.resources.engine
        path = context.asset_key.path
        with clear_failures(retried=False):
            if path[0] in self._sources and len(path) == 2 and path[1] in self._sources[path[0]]:
                table = as_stored(lake, path[0], self._sources[path[0]][path[1]])
                wants_all = context.definition_metadata.get("versions") == "all"
                read = stream_versions if wants_all else stream_current
                rows = read(lake, engine, path[0], table)
            elif path[0] == "star" and len(path) == 2 and path[1] in self._star:
                rows = stream_star(lake, self._star[path[1]])
            else:
                rows = stream_table(lake, path)
            return as_form(rows, context.dagster_type.typing_type)
