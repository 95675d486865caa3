"""The `notebook` command: an IPython shell in which the magics are loaded."""

from __future__ import annotations

import typer

from platform_assets.terminal import plain_errors

app = typer.Typer(help="IPython with the magics %stackql, %warehouse and %platform.")


@app.callback(invoke_without_command=True)
def start() -> None:
    """Start IPython with the magics loaded; in Jupyter, load them with %load_ext platform_assets.notebook."""
    with plain_errors():
        try:
            from IPython import start_ipython
        except ImportError:
            from platform_assets.errors import SettingsError

            raise SettingsError(
                "A notebook needs IPython, which is not installed: pip install 'platform-assets[notebook]'."
            ) from None
    start_ipython(argv=["--no-banner", "--ext=platform_assets.notebook"])
