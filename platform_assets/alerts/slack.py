"""Slack by an incoming webhook: Block Kit, with a text for notifications and screen readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_assets.alerts.alert import Alert, Severity, plain
from platform_assets.errors import AlertError
from platform_assets.settings import Secret

# Slack's limits, less a little; what is longer makes it refuse the whole message. Sources: its references of
# header, section and context blocks, and of the text of a message.
_HEADER, _FIELD, _SECTION, _TEXT = 140, 1_900, 2_900, 3_900
_FIELDS = 10
_TIMEOUT = (5, 15)  # seconds to connect, and to wait for an answer
_SIGNS = {
    Severity.INFO: "\u2139\ufe0f",
    Severity.WARNING: "\u26a0\ufe0f",
    Severity.ERROR: "\u274c",
    Severity.CRITICAL: "\U0001f6a8",
}
_MARKUP = str.maketrans("*_~`", "    ")
_BRACKETS = str.maketrans("<>", "\u2039\u203a")
# What is said when the webhook itself is of no use any more: somebody has to mend it, and then it goes on.
_MENDABLE = {401, 403, 404, 410}
_MENDED_AFTER = 900.0


@dataclass(frozen=True)
class SlackNotifier:
    """Posts to one channel of Slack.

    Args:
        webhook: A reference to the webhook's address, which is a secret: who has it may post.
    """

    webhook: Secret

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`."""
        import requests

        body = json.dumps(payload(alert)).encode()
        try:
            # No redirect is followed: it would carry the address, and the message, elsewhere.
            answer = requests.post(
                self.webhook.resolve(),
                data=body,
                headers={"Content-Type": "application/json; charset=utf-8"},
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
        except (requests.RequestException, ValueError) as error:
            # Never its text: it has the address.
            raise AlertError(
                f"Slack could not be told by {self.webhook}: {type(error).__name__}. It is tried again.",
                retryable=True,
            ) from None
        if answer.status_code == 200:
            return
        code = answer.status_code
        reason = f"{code} {plain(answer.text)[:80]}".strip()
        wait = _seconds(answer.headers)
        if code in _MENDABLE:
            raise AlertError(
                f"Slack refused the webhook {self.webhook}: {reason}. Make a new one, and set the secret to "
                "it; it is tried again.",
                retryable=True,
                wait=_MENDED_AFTER,
            )
        if code == 429 or code >= 500:
            raise AlertError(
                f"Slack could not take the message: {reason}. It is tried again.", retryable=True, wait=wait
            )
        raise AlertError(f"Slack refused the message: {reason}. It is not sent again.", retryable=False)


def payload(alert: Alert) -> dict[str, Any]:
    """The message as Slack takes it, whatever is in the alert."""
    # A header knows no markup, and what it does with entities is not said: other signs stand for them.
    title = f"{_SIGNS[alert.severity]} {plain(alert.title).translate(_BRACKETS)}"
    fields = [
        _mrkdwn(f"*{escaped(name.translate(_MARKUP), 100)}*\n{_code(value)}")
        for name, value in alert.details[:_FIELDS]
    ]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(title, _HEADER), "emoji": True}},
        {"type": "section", "fields": fields},
    ]
    if alert.findings:
        blocks.append({"type": "section", "text": _mrkdwn(_lines(alert.findings))})
    if alert.run_url.startswith(("https://", "http://")):
        blocks.append({"type": "section", "text": _mrkdwn(f"<{_address(alert.run_url)}|Open the run>")})
    where = f" in {plain(alert.where)}" if alert.where else ""
    fallback = f"{alert.severity.name}: {plain(alert.title)}{where}. {'; '.join(alert.findings)}"
    return {"text": escaped(fallback, _TEXT), "blocks": blocks}


def cut(text: str, limit: int) -> str:
    """Text of at most so many characters, with an ellipsis where something is left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escaped(text: str, limit: int) -> str:
    """Text in which nothing is Slack's markup, of at most so many characters; no entity is cut in two."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    pieces: list[str] = []
    length = 0
    for char in text:
        piece = entities.get(char, char)
        if length + len(piece) > limit - 1:
            return "".join(pieces) + "…"
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces)


def _code(value: str) -> str:
    """A value in a form in which Slack looks for no emphasis, links or names in it."""
    return f"`{escaped(value.replace('`', chr(39)), _FIELD - 110)}`"


def _lines(findings: list[str]) -> str:
    """As many whole lines as there is room for."""
    lines: list[str] = []
    length = 0
    for place, finding in enumerate(findings):
        line = f"• {_code(finding)}"
        length += len(line) + 1
        if length > _SECTION - 40:
            return "\n".join([*lines, f"and {len(findings) - place} lines more"])
        lines.append(line)
    return "\n".join(lines)


def _mrkdwn(text: str) -> dict[str, Any]:
    # Verbatim: Slack makes no links and no mentions of what looks like some.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _address(url: str) -> str:
    from urllib.parse import quote

    return quote(plain(url), safe=":/?=&%~#+,@!").replace("&", "&amp;")


def _seconds(headers: Mapping[str, str]) -> float | None:
    given = headers.get("Retry-After", "")
    return float(min(int(given), 86_400)) if given.isascii() and given.isdecimal() else None
