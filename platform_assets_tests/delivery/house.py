"""A configuration with deliveries, in a folder of the test; everything is embedded."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from platform_assets.configuration.blocks import Settings
from platform_assets.delivery.assembly import DeliveryRoom
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings

PROJECT = Path(__file__).parents[2]
CHANNELS = """
alerts.channels {
  mail { named_only = true, email { spool = ${state_dir}"/mail", sender = "data@example.org",
                                    recipients = ["sales@example.org"] } }
  on-call { email { spool = ${state_dir}"/on-call", sender = "data@example.org",
                    recipients = ["on-call@example.org"] } }
}
delivery.attempts { number = 2, first_wait = 0.01, longest_wait = 0.01, jitter = 0 }
"""
HELLO = """
title = "Hello in the morning"
owners = ["data@example.org"]
source { text = "id,name" }
to { archive { address = ${state_dir}"/delivered/hello" } }
"""
NewHouse = Callable[..., Settings]


@pytest.fixture
def new_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewHouse:
    """Write a configuration with delivery files, given by name, and load it."""
    state = tmp_path / "state"
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(state))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    def new(more: str = "", **files: str) -> Settings:
        folder = tmp_path / "config"
        (folder / "deliveries").mkdir(parents=True, exist_ok=True)
        config = folder / "platform.conf"
        config.write_text(f'include "{PROJECT / "config" / "platform.conf"}"\n{CHANNELS}{more}\n')
        monkeypatch.setenv("PLATFORM_CONFIG", str(config))
        for name, text in files.items():
            (folder / "deliveries" / f"{name}.conf").write_text(text)
        return load_settings()

    return new


def room_of(settings: Settings) -> DeliveryRoom:
    return Rooms(settings).of(DeliveryRoom)


def mails(settings: Settings, spool: str) -> list[EmailMessage]:
    """The messages that a channel has kept, in order."""
    folder = settings.platform.state_dir / spool
    files = sorted(folder.glob("*.eml")) if folder.is_dir() else []
    found = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
    return [one for one in found if isinstance(one, EmailMessage)]


def body(message: EmailMessage) -> str:
    part = message.get_body()
    assert part is not None
    return str(part.get_content())
