"""The task `upload`: files of this machine to a folder, a bucket or a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator
from pydantic_core.core_schema import ValidationInfo

from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome
from platform_assets.tasks.trees import source_files


def _destination(value: object, info: ValidationInfo) -> object:
    try:
        from platform_assets.delivery.writers.settings import DestinationSettings
    except ImportError:
        raise ValueError("this needs the package platform_assets.delivery, which was removed") from None
    return DestinationSettings.model_validate(value, context=info.context)


Destination = Annotated[
    Any,
    PlainValidator(_destination),
    Field(description="a block with address, and the options of a delivery's destination"),
]


class Upload(Task):
    """Write a file, or the files of a folder, to a folder, S3, GCS, FTP, SFTP or HTTP server.

    The destination is a block as in a delivery's file, with the same options, attempts and verification.

    Idempotent: a destination that has the same file already is left alone, where its protocol can tell.
    """

    def run(
        self,
        context: TaskContext,
        source: Path,
        destination: Destination,
        pattern: str = "**/*",
        name: str | None = None,
        may_be_empty: bool = False,
    ) -> TaskOutcome:
        """Write them.

        Args:
            context: The task's context.
            source: A file, or a folder whose files are written with their folders.
            destination: The destination, such as { address = "s3://bucket/prefix" }.
            pattern: Which files of a folder are written, such as *.json or **/*.csv.
            name: The file's name at the destination, if it is another one.
            may_be_empty: Write nothing if the folder has no such file, instead of failing.
        """
        if not source.exists():
            raise TaskError(f"{source} does not exist. Correct its path, or let an earlier task make it.")
        if source.is_dir():
            if name is not None:
                raise TaskError(f"{source} is a folder; a name can be given to a single file only.")
            names = source_files(source, pattern, may_be_empty=may_be_empty)
            files = {name: source / name for name in names}
        else:
            files = {name or source.name: source}
        sent = context.deliveries.upload(files, destination)
        for address, size in sent.items():
            context.log(f"{address}: {f'{size:,} bytes sent' if size else 'unchanged'}")
        return TaskOutcome(
            facts={"files": len(files), "bytes": sum(sent.values())}, changed=any(sent.values())
        )
