"""The heartbeat: a sign of life after each successful run of the main job, for somebody outside to miss."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platform_assets.configuration.secrets import Secret
from platform_assets.errors import AlertError, path_error


@dataclass(frozen=True)
class Heartbeat:
    """A dead man's switch.

    Args:
        url: A reference to an address that is asked; the address is a secret, as whoever has it can ask it.
        file: A file whose time of change is set.
        method: `GET` or `POST`.
        timeout: Seconds to connect, and to wait for an answer.
        attempts: Number of attempts.
    """

    url: Secret | None = None
    file: Path | None = None
    method: Literal["GET", "POST"] = "GET"
    timeout: float = 5.0
    attempts: int = 3

    def beat(self) -> None:
        """Give the sign of life.

        Raises:
            AlertError: The address did not answer with success, or the file cannot be written.
            SettingsError: The address cannot be fetched.
        """
        if self.file is not None:
            self._touch(self.file)
        if self.url is not None:
            self._ask(self.url)

    def _touch(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}\n", encoding="ascii")
            os.utime(file)
        except OSError as error:
            raise AlertError(
                f"The heartbeat's file {file} cannot be written: {path_error(error) or error.strerror}",
                retryable=True,
            ) from None

    def _ask(self, url: Secret) -> None:
        import requests

        address, reason = url.resolve(), ""
        for _ in range(self.attempts):
            try:
                answer = requests.request(
                    self.method,
                    address,
                    json={"status": "ok"} if self.method == "POST" else None,
                    timeout=self.timeout,
                    allow_redirects=False,
                    stream=True,
                )
            except (requests.RequestException, ValueError) as error:
                # Never the error's text: it has the address.
                reason = type(error).__name__
                continue
            with answer:
                if 200 <= answer.status_code < 300:
                    return
                reason = f"it answered {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    break
        raise AlertError(
            f"The heartbeat's address {url} did not take the sign of life: {reason}. The next successful run "
            "tries again.",
            retryable=True,
        )
