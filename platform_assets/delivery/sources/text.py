"""Literal text."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from platform_assets.delivery.interfaces import Bytes, Rows
from platform_assets.delivery.sources.files import content_type_of


@dataclass(frozen=True)
class TextSource:
    """A text from the configuration, as one file in UTF-8.

    Args:
        name: Name of the file.
        content: The text.
    """

    name: str
    content: str

    def version(self) -> str | None:
        """See `DataSource.version`."""
        return hashlib.sha256(f"{self.name}\n{self.content}".encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`."""
        content = self.content.encode()
        type_ = content_type_of(self.name)
        charset = "; charset=utf-8" if type_.startswith("text/") else ""
        yield iter([Bytes(self.name, iter([content]), len(content), content_type=f"{type_}{charset}")])
