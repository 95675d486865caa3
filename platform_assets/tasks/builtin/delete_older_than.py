"""The task `delete_older_than`: old files of a folder."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from platform_assets.isolation import Isolation
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome
from platform_assets.tasks.trees import pattern_of

_LEAST_DEPTH = 2
_LOGGED = 100
_DAY = 86_400
_OWN = ("dagster", "lake", "source")
"""Folders of the platform's state that only the platform itself changes."""


class DeleteOlderThan(Task):
    """Delete files of a folder that were last modified more than some days ago.

    Links are never followed and stay. A file that cannot be deleted, or a folder that cannot be read, fails
    the task after all others were deleted. Folders that hold much (/, /home, a home folder, the folder of the
    platform's state or of its configuration) are refused.

    Idempotent: a second run finds nothing to delete.
    """

    supports_dry_run = True

    def run(
        self,
        context: TaskContext,
        folder: Path,
        days: Annotated[float, Field(ge=0)],
        pattern: str = "**/*",
        keep: Annotated[int, Field(ge=0)] = 0,
        remove_empty_folders: bool = True,
    ) -> TaskOutcome:
        """Delete.

        Args:
            context: The task's context.
            folder: The folder; if it does not exist, nothing is done.
            days: Age in days, by the modification time.
            pattern: Which files may be deleted, such as *.tar.gz or **/*.log.
            keep: The newest files that match, however old, are kept: so many.
            remove_empty_folders: Remove folders that are empty after a deletion in them.
        """
        _refuse(folder, context)
        if not folder.exists():
            context.log(f"{folder} does not exist")
            return TaskOutcome(changed=False)
        before = time.time() - days * _DAY
        matches = pattern_of(pattern)
        found: list[tuple[float, str, int]] = []
        deleting = Isolation("Deleting old files")

        def unreadable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                deleting.record(str(error.filename), error)

        for place, _, names, directory in os.fwalk(folder, onerror=unreadable, follow_symlinks=False):
            inner = Path(place).relative_to(folder)
            for name in names:
                relative = (inner / name).as_posix()
                try:
                    state = os.stat(name, dir_fd=directory, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(state.st_mode) and matches.fullmatch(relative):
                    found.append((state.st_mtime, relative, state.st_size))
        found.sort(reverse=True)
        old = [file for file in found[keep:] if file[0] < before]
        if not context.dry_run:
            for _, relative, _ in old:
                with deleting.guard(relative):
                    _delete(folder, relative, remove_empty_folders)
        would = "would be deleted" if context.dry_run else "deleted"
        failed = {failure.name for failure in deleting.failures}
        done = [relative for _, relative, _ in old if relative not in failed]
        for relative in done[:_LOGGED]:
            context.log(f"{relative}: {would}")
        if len(done) > _LOGGED:
            context.log(f"... and {len(done) - _LOGGED:,} more {would}")
        deleting.raise_failures()
        facts = {"deleted": len(old), "bytes": sum(size for *_, size in old), "kept": len(found) - len(old)}
        return TaskOutcome(facts=facts, changed=bool(old))


def _refuse(folder: Path, context: TaskContext) -> None:
    """Raise an error for folders whose content nobody wants to lose.

    Raises:
        TaskError: The folder is one of them.
    """
    real = folder.resolve()
    guarded = {Path.home(), Path.cwd(), Path(context.variables.get("STATE", "/"))}
    guarded = {path.resolve() for path in guarded}
    state = Path(context.variables.get("STATE", "/")).resolve()
    if any(place == real or place in real.parents for place in (state / name for name in _OWN)):
        raise TaskError(f"{folder} belongs to the platform itself, which removes what it no longer needs.")
    if len(real.parts) <= _LEAST_DEPTH or any(real == path or real in path.parents for path in guarded):
        raise TaskError(f"{folder} holds too much to delete old files from it. Name a folder further down.")
    if folder.is_symlink():
        raise TaskError(f"{folder} is a link, which is not followed. Name the folder itself.")


def _delete(folder: Path, relative: str, remove_empty_folders: bool) -> None:
    """Delete a file through its opened folders, so that no link put there in the meantime is followed."""
    *folders, name = Path(relative).parts
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    opened = [os.open(folder, flags)]
    try:
        for inner_folder in folders:
            opened.append(os.open(inner_folder, flags, dir_fd=opened[-1]))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=opened[-1])
        for number in reversed(range(len(folders) if remove_empty_folders else 0)):
            if os.listdir(opened[number + 1]):
                break
            os.rmdir(folders[number], dir_fd=opened[number])
    finally:
        for handle in opened:
            os.close(handle)
