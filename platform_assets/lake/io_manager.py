"""The lake IO manager: assets as Delta tables, in and out, on local disk or object storage."""

from typing import Any

import dagster as dg

from platform_assets.lake.defs import clear_failures, row_count_metadata


class LakeIOManager(dg.IOManager):
    """Keeps an asset's value as a Delta table in the processed zone, under the asset's key.

    A value is a `pyarrow.Table`, a `pyarrow.RecordBatchReader` (streamed) or a `pandas.DataFrame`; it
    replaces what was there in one commit, and the older versions stay readable. An input is given in
    whichever of these its parameter is annotated with, a `pyarrow.Table` without annotation. Where the
    upstream asset is one of the platform's:

    - a source table gives the rows that the source has now; with the input metadata `{"versions": "all"}`,
      every committed version, each with `_change`, `_batch`, `_seen_at` and `_hash`;
    - a star table gives what it holds.

    Args:
        sources: Declared source tables by source and table name.
        star: Declared star tables by name.
    """

    def __init__(self, sources: dict[str, dict[str, Any]], star: dict[str, Any]) -> None:
        self._sources = sources
        self._star = star

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Write the value; the row count goes into the materialization."""
        from platform_assets.lake.exchange import as_rows
        from platform_assets.lake.lake import write_table

        with clear_failures():
            count = write_table(context.resources.lake, context.asset_key.path, as_rows(obj))
        context.add_output_metadata(row_count_metadata(count))

    def load_input(self, context: dg.InputContext) -> object:
        """Read the table in the form that the input is annotated with."""
        from platform_assets.lake.exchange import as_form
        from platform_assets.lake.lake import stream_current, stream_star, stream_table, stream_versions

        resources, path = context.resources, context.asset_key.path
        with clear_failures():
            if path[0] in self._sources and len(path) == 2 and path[1] in self._sources[path[0]]:
                table = self._sources[path[0]][path[1]]
                wants_all = context.definition_metadata.get("versions") == "all"
                read = stream_versions if wants_all else stream_current
                rows = read(resources.lake, resources.engine, path[0], table)
            elif path[0] == "star" and len(path) == 2 and path[1] in self._star:
                rows = stream_star(resources.lake, self._star[path[1]])
            else:
                rows = stream_table(resources.lake, path)
            return as_form(rows, context.dagster_type.typing_type)
