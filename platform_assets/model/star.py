"""The star schema of Totesys under the name that the warehouses use."""

from platform_assets.model.star_model import STREAM, columns_of
from platform_assets.model.totesys.star import DIM_DATE, TABLES

__all__ = ["DIM_DATE", "STREAM", "TABLES", "columns_of"]
