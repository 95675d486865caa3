"""The task `unarchive`: the files of a tar.gz, tar.zst or zip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from platform_assets.tasks.archives import ArchiveLimits, archive_kind, extract_archive
from platform_assets.tasks.publishing import publish, temporary_path
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome
from platform_assets.tasks.trees import files_of, refuse_links_on_the_way

_MIB = 1 << 20


class Unarchive(Task):
    """Unpack a tar.gz, tar.zst or zip archive into a folder.

    An archive with a file outside of the folder (an absolute path, or one with ..), a link, a device, or
    more than the limits is refused as a whole, before anything appears in the folder.

    Idempotent: a file that is the same already is left alone with its modification time.
    """

    def run(
        self,
        context: TaskContext,
        source: Path,
        target: Path,
        max_files: Annotated[int, Field(ge=1)] = 100_000,
        max_mb: Annotated[int, Field(ge=1)] = 10_240,
    ) -> TaskOutcome:
        """Unpack.

        Args:
            context: The task's context.
            source: The archive: its suffix, .tar.gz, .tgz, .tar.zst or .zip, says its kind.
            target: The folder to write to; it is created.
            max_files: The most files that the archive may have.
            max_mb: The most megabytes that its files may have together.
        """
        if not source.is_file():
            raise TaskError(f"{source} does not exist. Correct its path, or let an earlier task make it.")
        if target.is_symlink():
            raise TaskError(f"{target} is a link, which is not followed. Name the folder itself.")
        kind = archive_kind(source)
        with temporary_path(target) as staged:
            staged.mkdir()
            extract_archive(source, kind, staged, ArchiveLimits(max_files, max_mb * _MIB))
            names = files_of(staged)
            for name in names:
                refuse_links_on_the_way(target, name)
            written = 0
            for name in names:
                place = target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                written += publish(staged / name, place)
            target.mkdir(parents=True, exist_ok=True)
        context.log(f"{target}: {len(names)} files, {written} written")
        return TaskOutcome([target], {"files": len(names), "written": written}, written > 0)
