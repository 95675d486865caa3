"""Types of the inspection's resources in the signatures of steps."""

from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from platform_assets.dlp.protect import StarProtection
    from platform_assets.dlp.service import InspectionService

    InspectionResource: TypeAlias = dg.ResourceParam[InspectionService]
    StarProtectionResource: TypeAlias = dg.ResourceParam[StarProtection]
else:
    # Loading the code location does not need these classes and the libraries that they import.
    InspectionResource = StarProtectionResource = dg.ResourceParam[object]
