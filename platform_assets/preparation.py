"""Preparation of the local state before the first run: folders, Dagster's home, the `.env` that names it."""

from __future__ import annotations

from pathlib import Path

from platform_assets.rooms import Rooms
from platform_assets.runs import prepare_home
from platform_assets.settings import dagster_home, load_settings
from platform_assets.status import HasFolders
from platform_assets.stored import stamp_new_state

_WRITTEN = "# Written by make"


def prepare_state() -> Path:
    """Create the folders that users expect before the first run, and return Dagster's.

    Raises:
        SettingsError: The configuration has mistakes.
    """
    settings = load_settings()
    stamp_new_state(settings.platform.state_dir)
    for room in Rooms(settings).offering(HasFolders):
        room.create_folders()
    home = dagster_home(settings)
    prepare_home(home)
    return home


def name_instance(env_file: Path, home: Path) -> None:
    """Write .env, so that commands without make find the same instance; a user's own file stays unchanged."""
    before = env_file.read_text() if env_file.exists() else _WRITTEN
    text = "\n".join(
        (
            f"{_WRITTEN}; remove this line to keep your changes.",
            f'DAGSTER_HOME="${{DAGSTER_HOME:-{home}}}"',
            "DAGSTER_DISABLE_TELEMETRY=yes\n",
        )
    )
    if before.startswith(_WRITTEN) and before != text:
        env_file.write_text(text)
