"""A staged file's content, its names at a destination, and its sidecar; no protocol is known here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from email.header import Header
from pathlib import Path
from typing import BinaryIO

from platform_assets.delivery.interfaces import DeliveryError, Progress, StagedFile

BLOCK = 1 << 20
"""Bytes that are read at once."""

SIDECAR = ".metadata.json"
"""The end of a sidecar's name."""


def safe_name(file: StagedFile) -> str:
    """Return a file's name at the destination.

    Raises:
        DeliveryError: The name would lead out of the destination, or no destination could take it.
    """
    name = file.name
    parts = name.split("/")
    if re.search(r"[\x00-\x1f\x7f]", name):
        reason = "it has control characters in it"
    elif any(part in ("", ".", "..") for part in parts):
        reason = "it is empty, absolute, or leads out of the destination's folder"
    elif any(part != part.strip() for part in parts):
        reason = "one of its parts starts or ends with white space"
    else:
        return name
    raise DeliveryError(f"The file name {name!r} cannot be used: {reason}. Correct the delivery's file name.")


def temporary_name(file: StagedFile) -> str:
    """Return the name under which a file is written before it gets its final name, in the same folder.

    The name is the same in every attempt of one delivery, so that an attempt finds what the one before left.
    It is short whatever the file's name is, because file systems limit a name to 255 bytes.
    """
    folder, slash, name = safe_name(file).rpartition("/")
    mark = hashlib.sha256(f"{file.stamp.uuid}\n{name}".encode()).hexdigest()[:24]
    return f"{folder}{slash}.{mark}.part"


def sidecar(file: StagedFile) -> bytes:
    """Return the content of a file's sidecar: its name, size, type and metadata as JSON."""
    about = {
        "name": file.name.rpartition("/")[2],
        "size": file.size,
        "content_type": file.content_type,
        **file.metadata,
    }
    return (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()


def is_sidecar_of(content: bytes, file: StagedFile) -> bool:
    """Return whether a sidecar says that its file is the same delivery of the same bytes."""
    try:
        about = json.loads(content)
    except ValueError:
        return False
    if not isinstance(about, dict):
        return False
    return (about.get("uuid"), about.get("sha256"), about.get("size")) == (
        file.stamp.uuid,
        file.sha256,
        file.size,
    )


def ascii_text(value: str) -> str:
    """Encode text for a header in one line: RFC 2047, which S3 itself uses, for what is not ASCII."""
    line = " ".join(value.split())
    return line if line.isascii() else Header(line, "utf-8", maxlinelen=10_000).encode()


def blocks(source: BinaryIO, progress: Progress, size: int = BLOCK) -> Iterator[bytes]:
    """Read the rest of a file, and report every block once the next one is asked for."""
    while block := source.read(size):
        yield block
        progress(len(block))


def sha256_of(path: Path) -> str:
    """Return the checksum of a local file, hexadecimal."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def changed(file: StagedFile) -> DeliveryError:
    """Return the error for a staged file that is no longer what it was."""
    return DeliveryError(
        f"{file.path} was changed while it was sent: it no longer has the size or the checksum that were "
        "recorded when it was staged. The next run stages it again."
    )
