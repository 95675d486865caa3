"""The content of a source on its way to the renderers: as it may leave, and with a checksum if wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from platform_assets.delivery.interfaces import Bytes, DestinationUnavailable, Rows
from platform_assets.delivery.staging import LocalState, chunks_of
from platform_assets.lake.protection import Protection

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


class DataReading:
    """One reading of a source.

    Args:
        protection: Changes or holds back sensitive data.
        places: The places of the data in the policy.
        folder: Where files wait that have to be inspected.
        with_version: Compute a checksum of the data.

    Attributes:
        columns: The names that rules apply to: the columns of each stream of rows; of a file, its own.
    """

    def __init__(
        self, protection: Protection, places: Sequence[str], folder: Path, with_version: bool
    ) -> None:
        self.protection, self.places, self.folder = protection, places, folder
        self.columns: list[tuple[str, ...]] = []
        self._hash = hashlib.sha256() if with_version else None

    @property
    def version(self) -> str:
        """The checksum of all data that was read; empty if it was not wanted."""
        return f"sha256:{self._hash.hexdigest()}" if self._hash is not None else ""

    def through(self, content: Iterator[Rows | Bytes]) -> Iterator[Rows | Bytes]:
        """Yield the content as it may leave.

        Raises:
            PlatformError: It may not.
        """
        for item in content:
            if isinstance(item, Rows):
                self.columns.append(tuple(item.batches.schema.names))
                batches = self._hashed_rows(item.batches)
                for place in self.places:
                    batches = self.protection.applied(batches, place)
                query = item.query if batches is item.batches else None
                yield replace(item, batches=batches, query=query)
            else:
                # The empty name stands for the place of the delivery itself.
                self.columns.append(("", item.name))
                yield from self._file(item)

    def _file(self, content: Bytes) -> Iterator[Bytes]:
        if self._hash is not None:
            # A file that is taken from its path would not be read here.
            chunks = chunks_of(content.path) if content.path is not None else content.chunks
            content = replace(content, path=None, chunks=self._hashed_bytes(content.name, chunks))
        places = [place for place in self.places if self.protection.concerns_file(content.name, place)]
        if not places:
            yield content
        elif content.path is not None:
            before = LocalState.of(content.path)
            self._check(content.path, content, places)
            yield content
            if LocalState.of(content.path) != before:
                raise DestinationUnavailable(
                    f"The file {content.path} changed while it was inspected and read."
                )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            waiting = self.folder / f"inspected-{len(self.columns):06d}"
            try:
                with open(waiting, "wb") as sink:
                    sink.writelines(content.chunks)
                self._check(waiting, content, places)
                yield replace(content, chunks=chunks_of(waiting))
            finally:
                waiting.unlink(missing_ok=True)

    def _check(self, file: Path, content: Bytes, places: Sequence[str]) -> None:
        for place in places:
            with open(file, "rb") as source:
                self.protection.check_file(source, content.name, file.stat().st_size, place)

    def _hashed_rows(self, batches: pa.RecordBatchReader) -> pa.RecordBatchReader:
        if (known := self._hash) is None:
            return batches
        import pyarrow as pa

        known.update(batches.schema.serialize())

        def hashed() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                known.update(batch.serialize())
                yield batch

        return pa.RecordBatchReader.from_batches(batches.schema, hashed())

    def _hashed_bytes(self, name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._hash is not None:
                self._hash.update(chunk)
            yield chunk
        if self._hash is not None:
            self._hash.update(f"\0{name}\0".encode())
