"""Type of the warehouses in the signatures of steps."""

from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from platform_assets.warehouse.interface import Warehouse

    WarehouseResource: TypeAlias = dg.ResourceParam[Warehouse]
else:
    # Loading the code location does not need this class and the libraries that it imports.
    WarehouseResource = dg.ResourceParam[object]
