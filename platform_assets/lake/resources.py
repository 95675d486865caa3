"""Types of the lake's resources in the signatures of steps."""

from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.lake.protection import Protection

    LakeResource: TypeAlias = dg.ResourceParam[Lake]
    EngineResource: TypeAlias = dg.ResourceParam[SqlEngine]
    ProtectionResource: TypeAlias = dg.ResourceParam[Protection]
else:
    # Loading the code location does not need these classes and the libraries that they import.
    LakeResource = EngineResource = ProtectionResource = dg.ResourceParam[object]
