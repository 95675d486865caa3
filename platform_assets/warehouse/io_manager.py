"""The warehouse IO manager: assets as warehouse tables, in and out."""

from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.orchestration import clear_failures, row_count_metadata

if TYPE_CHECKING:
    from platform_assets.lake.protection import Protection
    from platform_assets.warehouse.interface import Warehouse


class WarehouseIOManager(dg.IOManager):
    """IO manager that stores an asset's value as a warehouse table, named by the key's last two parts.

    These parts are schema and table. A value is a `pyarrow.Table`, a `pyarrow.RecordBatchReader` (streamed)
    or a `pandas.DataFrame`; it replaces the table in one transaction. An input has the type that its
    parameter is annotated with; without annotation, it is a `pyarrow.Table`. `<warehouse>/<table>` are the
    star tables, which can be loaded but not written.

    Args:
        warehouse: Name of the warehouse's resource, and of the group of its star tables.
        star_schema: Schema of the star tables.
    """

    def __init__(self, warehouse: str, star_schema: str) -> None:
        self._warehouse = warehouse
        self._star_schema = star_schema

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Write the value, and add the row count to the materialization."""
        from platform_assets.lake.exchange import as_rows

        name = self._table_of(context.asset_key)
        warehouse: Warehouse = getattr(context.resources, self._warehouse)
        protection: Protection = context.resources.protection
        with clear_failures(retried=False):
            rows = protection.applied(as_rows(obj), "/".join(context.asset_key.path))
            count = warehouse.write(name, rows)
        context.add_output_metadata({**row_count_metadata(count), "dagster/table_name": ".".join(name)})

    def load_input(self, context: dg.InputContext) -> object:
        """Read the table as the type that the input is annotated with."""
        import pyarrow as pa

        from platform_assets.lake.exchange import as_form
        from platform_assets.warehouse.stream import detached, stream_relation

        form = context.dagster_type.typing_type
        warehouse: Warehouse = getattr(context.resources, self._warehouse)
        with clear_failures(retried=False):
            rows = stream_relation(warehouse, self._table_of(context.asset_key))
            # An asset may write the stream back to the warehouse, which allows no reader beside a writer.
            return as_form(detached(rows) if form is pa.RecordBatchReader else rows, form)

    def _table_of(self, key: dg.AssetKey) -> tuple[str, str]:
        path = ["main", *key.path]
        schema = self._star_schema if path[-2] == self._warehouse else path[-2]
        return schema, path[-1]
