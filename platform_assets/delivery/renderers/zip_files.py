"""Files packed into one zip archive."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows, Stamp
from platform_assets.delivery.renderers.workshop import Workshop, chunks_of, files_only

_MODE = 0o644 << 16
_UNIX = 3
_FIRST_YEAR, _LAST_YEAR = 1980, 2107


@dataclass(frozen=True)
class Zip:
    """Packs all files of a delivery into one archive, whose entries have the time of the delivery.

    Args:
        workshop: Means to work with.
    """

    workshop: Workshop = field(repr=False)

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        path = self.workshop.new_file(".zip")
        packed: list[Bytes] = []
        names: set[str] = set()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files_only(content, "zip"):
                _refuse(file.name, names)
                names.add(file.name.casefold())
                entry = zipfile.ZipInfo(file.name, _entry_time(stamp.at))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system, entry.external_attr = _UNIX, _MODE
                # Without a known size the entry must be ready for more than 4 GiB.
                entry.file_size = file.size or 0
                with archive.open(entry, "w", force_zip64=file.size is None) as target:
                    for chunk in file.chunks:
                        target.write(chunk)
                packed.append(file)

        def row_count() -> int | None:
            counts = [file.row_count() for file in packed]
            return None if None in counts else sum(count for count in counts if count is not None)

        size = path.stat().st_size
        yield Bytes(f"{stamp.delivery}.zip", chunks_of(path), size, path, row_count, "application/zip")


def _refuse(name: str, names: set[str]) -> None:
    """Refuse a name that two files have, or that leads out of the folder where the archive is unpacked.

    Raises:
        DeliveryError: The name cannot be used.
    """
    if name.casefold() in names:
        raise DeliveryError(
            f"Two files are called {name}, and an archive cannot hold both. Deliver them one by one, or from "
            "folders that a pattern with ** covers."
        )
    if name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise DeliveryError(f"{name!r} cannot be packed: it is no name of a file below a folder.")


def _entry_time(at: dt.datetime) -> tuple[int, int, int, int, int, int]:
    """Return a time as an archive holds it: to two seconds, from 1980 to 2107."""
    utc = at.astimezone(dt.UTC)
    year = min(max(utc.year, _FIRST_YEAR), _LAST_YEAR)
    return year, utc.month, utc.day, utc.hour, utc.minute, utc.second
