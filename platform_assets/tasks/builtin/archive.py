"""The task `archive`: files as one tar.gz, tar.zst or zip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from platform_assets.tasks.archives import archive_kind, write_archive
from platform_assets.tasks.publishing import publish, temporary_path
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome
from platform_assets.tasks.trees import source_files


def _known(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError("write a relative folder")
    return value.strip("/")


class Archive(Task):
    """Pack the files of a folder, or one file, into a tar.gz, tar.zst or zip archive.

    The same files give the same bytes: they are packed in order, and without times and owners. Links are
    refused.

    Idempotent: an archive that would have the same bytes is left alone.
    """

    def run(
        self,
        context: TaskContext,
        source: Path,
        target: Path,
        pattern: str = "**/*",
        prefix: Annotated[str, AfterValidator(_known)] = "",
        skip_links: bool = False,
        may_be_empty: bool = False,
    ) -> TaskOutcome:
        """Pack.

        Args:
            context: The task's context.
            source: A folder, or a file.
            target: The archive: its suffix, .tar.gz, .tgz, .tar.zst or .zip, says its kind.
            pattern: Which files of the folder are packed, such as **/*.json.
            prefix: A folder in the archive to put the files into.
            skip_links: Leave links out instead of failing.
            may_be_empty: Write an empty archive if the folder has no such file, instead of failing.
        """
        kind = archive_kind(target)
        if not source.exists():
            raise TaskError(f"{source} does not exist. Correct its path, or let an earlier task make it.")
        if source.is_dir():
            if source in target.parents:
                raise TaskError(f"{target} is inside {source}, which it packs. Write the archive elsewhere.")
            links = "skip" if skip_links else "refuse"
            names = source_files(source, pattern, links=links, may_be_empty=may_be_empty)
            files = [(name, source / name) for name in names]
        else:
            files = [(source.name, source)]
        named = [(f"{prefix}/{name}" if prefix else name, file) for name, file in files]
        with temporary_path(target) as part:
            write_archive(part, kind, named)
            size = part.stat().st_size
            changed = publish(part, target)
        context.log(f"{target}: {len(named)} files, {size:,} bytes{'' if changed else ', unchanged'}")
        return TaskOutcome([target], {"files": len(named), "bytes": size}, changed)
