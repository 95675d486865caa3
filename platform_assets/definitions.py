"""The code location that Dagster loads."""

from platform_assets.build import build_defs
from platform_assets.settings import load_settings

defs = build_defs(load_settings())
