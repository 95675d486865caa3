"""The code location that Dagster loads."""

import gc

from platform_assets.build import build_defs
from platform_assets.processes import without_garbage_collection
from platform_assets.settings import load_settings

with without_garbage_collection():
    defs = build_defs(load_settings())
    # What is loaded by now lives as long as the process: the garbage collector need not visit it again, nor
    # once before it is switched on.
    gc.freeze()
