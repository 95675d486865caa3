"""Type of the source databases in the signatures of steps."""

from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

if TYPE_CHECKING:
    from platform_assets.source.snapshot import SourceDatabase

    DatabaseResource: TypeAlias = dg.ResourceParam[SourceDatabase]
else:
    # Loading the code location does not need this class and the libraries that it imports.
    DatabaseResource = dg.ResourceParam[object]
