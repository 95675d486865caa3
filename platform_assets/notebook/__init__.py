"""IPython magics: StackQL, the warehouse, the lake and the platform's state, in a notebook.

`%load_ext platform_assets.notebook` loads them. Nothing of the platform is read before a magic is used, and
Dagster is not imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics and their completion; IPython calls it for `%load_ext`."""
    from platform_assets.notebook.completion import complete_names
    from platform_assets.notebook.magics import PlatformMagics

    # Every result is a DataFrame: what loads slowly is loaded here, so that the first query answers at once.
    importlib.import_module("pandas")
    importlib.import_module("duckdb")
    magics = PlatformMagics(shell)
    shell.register_magics(magics)
    if shell.Completer is not None:
        complete_names(shell.Completer, magics.tables)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the completion; IPython calls it for `%unload_ext`, and forgets the magics at its end."""
    from platform_assets.notebook.completion import forget_names

    if shell.Completer is not None:
        forget_names(shell.Completer)
