"""Private parts of asyncssh: quicker packets, and a request that it does not know.

asyncssh sends an empty packet before every packet, a protection that only ciphers in CBC mode need, and
copies and logs each several times; that is a quarter of the time of an upload. Its client also has no request
for the checksum of a remote file. Where a version of asyncssh lacks one of these parts, its public ones are
used.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import asyncssh
from asyncssh.connection import SSHClientConnection

_CHANNEL_DATA = 94  # SSH_MSG_CHANNEL_DATA, RFC 4254, 5.2
_EXTENDED_REPLY = 201  # SSH_FXP_EXTENDED_REPLY
_PARTS = (
    *("_auth_complete", "_kex_complete", "_compressor", "_rekey_bytes_sent", "_rekey_bytes"),
    *(
        "_rekey_seconds",
        "_rekey_time",
        "_send_encryption",
        "_send_enchdrlen",
        "_send_blocksize",
        "_send_seq",
        "_send",
    ),
)


class _QuickConnection(SSHClientConnection):
    """A connection that sends data of channels with fewer copies, and without empty packets before it."""

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send a packet; see RFC 4253, 6."""
        this: Any = self
        is_plain = this._auth_complete and this._kex_complete and not this._compressor
        is_due = this._rekey_bytes_sent >= this._rekey_bytes or (
            this._rekey_seconds and time.monotonic() >= this._rekey_time
        )
        if pkttype != _CHANNEL_DATA or not is_plain or is_due:
            super().send_packet(pkttype, *args, handler=handler)
            return
        size = 1 + sum(map(len, args))
        padding = -(this._send_enchdrlen + size) % this._send_blocksize
        if padding < 4:
            padding += this._send_blocksize
        packet = b"".join((bytes((padding, pkttype)), *args, os.urandom(padding)))
        header = len(packet).to_bytes(4, "big")
        this._send(b"".join(this._send_encryption.encrypt_packet(this._send_seq, header, packet)))
        this._send_seq = (this._send_seq + 1) & 0xFFFFFFFF
        this._rekey_bytes_sent += len(packet)


def quicken(connection: asyncssh.SSHClientConnection) -> bool:
    """Have a connection send quicker packets, if its cipher needs no empty ones.

    Args:
        connection: A connection that is signed in.

    Returns:
        False if the connection stays as it is.
    """
    cipher = str(connection.get_extra_info("send_cipher"))
    is_known = type(connection) is SSHClientConnection and all(hasattr(connection, part) for part in _PARTS)
    if not is_known or "cbc" in cipher:
        return False
    connection.__class__ = _QuickConnection
    return True


async def remote_checksum(client: asyncssh.SFTPClient, path: str) -> bytes | None:
    """Ask for the SHA-256 of a remote file, by the extension `check-file`.

    Returns:
        The answer, which ends with the checksum; None if the server has no such extension.
    """
    handler: Any = getattr(client, "_handler", None)
    send = getattr(handler, "_send_request", None)
    if send is None:
        return None
    name, algorithms = path.encode(), b"sha256"
    arguments = (_string(name), _string(algorithms), bytes(8), bytes(8), bytes(4))
    waiter: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
    send(b"check-file-name", arguments, waiter)
    kind, packet = await waiter
    if kind != _EXTENDED_REPLY:
        return None
    answer: bytes = packet.get_remaining_payload()
    return answer if algorithms in answer else None


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content
