"""The star schema of Totesys under the name that the warehouses use."""

from platform_assets.model.star_model import STREAM, columns_of
from platform_assets.model.totesys.star import TABLES

__all__ = ["STREAM", "TABLES", "columns_of"]
