"""Fingerprints of found values: equal for equal values under one key, for every inspector."""

from __future__ import annotations

import hashlib
import hmac

from platform_assets.errors import SettingsError

_SEPARATORS = b" -./()\t,"
_DIGITS = 32
_SHORTEST_KEY = 16


def check_key(key: bytes) -> None:
    """Reject a key that could be guessed.

    Raises:
        SettingsError: The key has less than 16 bytes.
    """
    if len(key) < _SHORTEST_KEY:
        raise SettingsError(
            f"the key of the fingerprints has {len(key)} bytes; give at least {_SHORTEST_KEY}, from a secret "
            "reference"
        )


def fingerprint(key: bytes, info_type: str, value: bytes) -> str:
    """The fingerprint of a value: keyed HMAC-SHA256 of the info type and the value without its separators.

    Args:
        key: The key, of at least 16 bytes.
        info_type: Name of the info type.
        value: The found value, in UTF-8.

    Returns:
        32 hexadecimal digits.
    """
    text = info_type.encode() + b"\0" + value.translate(None, _SEPARATORS)
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:_DIGITS]
