"""The task `download`: files of a bucket or an address to a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, PlainValidator
from pydantic_core.core_schema import ValidationInfo

from platform_assets.tasks.publishing import publish, temporary_path
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome
from platform_assets.tasks.trees import refuse_links_on_the_way

_MIB = 1 << 20


def _source(value: object, info: ValidationInfo) -> object:
    try:
        from platform_assets.delivery.sources.settings import DataSourceSettings
    except ImportError:
        raise ValueError("this needs the package platform_assets.delivery, which was removed") from None
    return DataSourceSettings.model_validate(value, context=info.context)


Source = Annotated[
    Any, PlainValidator(_source), Field(description="a block as `source` of a delivery, that gives files")
]


class Download(Task):
    """Copy the files of a data source, such as a bucket or a web address, into a folder.

    The source is a block as in a delivery's file.

    Idempotent: a file that has the same bytes already is left alone with its modification time.
    """

    def run(
        self,
        context: TaskContext,
        source: Source,
        target: Path,
        max_mb: Annotated[float, Field(gt=0)] = 10_240,
    ) -> TaskOutcome:
        """Copy them.

        Args:
            context: The task's context.
            source: The data source.
            target: The folder to write to; it is created.
            max_mb: The most megabytes of all files together.
        """
        left, written = int(max_mb * _MIB), 0
        files: list[Path] = []
        with context.deliveries.download(source) as found:
            for name, chunks in found:
                place = _place(target, name)
                with temporary_path(place) as part:
                    left -= _write(part, chunks, left)
                    changed = publish(part, place)
                written += changed
                files.append(place)
                context.log(f"{place}: {'written' if changed else 'unchanged'}")
        return TaskOutcome(files, {"files": len(files), "written": written}, written > 0)


def _place(target: Path, name: str) -> Path:
    """Return where a file goes; its name comes from elsewhere, and must not lead out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise TaskError(
            f"The source has a file {name[:200]!r}, which is outside of {target}. Nothing was written."
        )
    refuse_links_on_the_way(target, name)
    return target / path


def _write(part: Path, chunks: Iterator[bytes], limit: int) -> int:
    size = 0
    with part.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TaskError("The source has more than max_mb allows. Raise it if that is right.")
            file.write(chunk)
    return size
