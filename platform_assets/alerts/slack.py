"""Slack by an incoming webhook: Block Kit, with a text for notifications and screen readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_assets.alert import Alert, Severity, plain, plain_lines
from platform_assets.configuration.secrets import Secret
from platform_assets.errors import AlertError

# Limits slightly below Slack's own; Slack rejects the whole message if one is exceeded. Sources: its
# references of header, section and context blocks, and of the text of a message.
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
# Errors that mean the webhook itself is no longer valid: somebody has to replace it, then sending resumes.
_MENDABLE = {401, 403, 404, 410}
_MENDED_AFTER = 900.0


@dataclass(frozen=True)
class SlackNotifier:
    """Posts to one Slack channel.

    Args:
        webhook: A reference to the webhook's address. The address is a secret: anybody who has it can post.
    """

    webhook: Secret

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`."""
        import requests

        body = json.dumps(payload(alert)).encode()
        try:
            # Do not follow redirects: they would send the address and the message elsewhere.
            answer = requests.post(
                self.webhook.resolve(),
                data=body,
                headers={"Content-Type": "application/json; charset=utf-8"},
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
        except (requests.RequestException, ValueError) as error:
            # Never include the exception's text: it contains the address.
            raise AlertError(
                f"The Slack webhook {self.webhook} did not accept the message: {type(error).__name__}. The "
                "message is sent again later.",
                retryable=True,
            ) from None
        if answer.status_code == 200:
            return
        code = answer.status_code
        reason = f"{code} {plain(answer.text)[:80]}".strip()
        wait = _seconds(answer.headers)
        if code in _MENDABLE:
            raise AlertError(
                f"Slack refused the webhook {self.webhook}: {reason}. Create a new webhook and store its "
                "address as the secret; the message is sent again later.",
                retryable=True,
                wait=_MENDED_AFTER,
            )
        if code == 429 or code >= 500:
            raise AlertError(
                f"Slack did not accept the message: {reason}. The message is sent again later.",
                retryable=True,
                wait=wait,
            )
        raise AlertError(
            f"Slack refused the message: {reason}. The message is not sent again.", retryable=False
        )


def payload(alert: Alert) -> dict[str, Any]:
    """Build Slack's payload for an alert, whatever the alert contains."""
    # A header has no markup, and Slack does not document how it treats entities there, so special characters
    # are replaced by similar ones.
    title = f"{_SIGNS[alert.severity]} {plain(alert.title).translate(_BRACKETS)}"
    if alert.message:
        return {
            "text": escaped(plain(alert.title), _TEXT),
            "blocks": [
                {
                    "type": "header",
                    "text": {"type": "plain_text", "text": cut(title, _HEADER), "emoji": True},
                },
                {"type": "section", "text": _mrkdwn(_linked(alert.message))},
            ],
        }
    fields = [
        _mrkdwn(f"*{escaped(name.translate(_MARKUP), 100)}*\n{_code(value)}")
        for name, value in alert.details[:_FIELDS]
    ]
    blocks: list[dict[str, Any]] = [
        _header(title),
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
    """Text of at most the given number of characters, with an ellipsis if something is cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escaped(text: str, limit: int) -> str:
    """Escape Slack's markup in a text and limit its length; no entity is cut in two."""
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


def _header(title: str) -> dict[str, Any]:
    return {"type": "header", "text": {"type": "plain_text", "text": cut(title, _HEADER), "emoji": True}}


def _linked(message: str) -> str:
    """The lines of a message that fit, with its links as links."""
    lines: list[str] = []
    for line in plain_lines(message):
        shown = f"<{_address(line)}>" if line.startswith(("https://", "http://")) else escaped(line, _FIELD)
        if sum(map(len, lines)) + len(lines) + len(shown) > _SECTION:
            break
        lines.append(shown)
    return "\n".join(lines)


def _code(value: str) -> str:
    """A value as inline code, in which Slack does not look for emphasis, links or names."""
    return f"`{escaped(value.replace('`', chr(39)), _FIELD - 110)}`"


def _lines(findings: list[str]) -> str:
    """As many whole lines as fit."""
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
    # Verbatim: Slack then creates no links or mentions from the text.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _address(url: str) -> str:
    from urllib.parse import quote

    return quote("".join(url.split()), safe=":/?=&%~#+,@!").replace("&", "&amp;")


def _seconds(headers: Mapping[str, str]) -> float | None:
    given = headers.get("Retry-After", "")
    return float(min(int(given), 86_400)) if given.isascii() and given.isdecimal() else None
