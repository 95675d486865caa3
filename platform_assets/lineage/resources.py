"""The type of the lineage's resource."""

from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from platform_assets.lineage.assembly import LineageRoom

    LineageResource: TypeAlias = dg.ResourceParam[LineageRoom]
else:
    LineageResource: TypeAlias = dg.ResourceParam[object]
