"""The task `copy`: files and folders of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from platform_assets.tasks.publishing import is_same, publish, temporary_path
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome
from platform_assets.tasks.trees import files_of, refuse_links_on_the_way, source_files


class Copy(Task):
    """Copy a file, or the files of a folder, on this machine.

    Each file appears under its name when it is complete. Links are refused, not followed.

    Idempotent: a file that is the same already, with the same bytes, is left alone with its modification
    time.
    """

    def run(
        self,
        context: TaskContext,
        source: Path,
        target: Path,
        pattern: str = "**/*",
        remove_others: bool = False,
        may_be_empty: bool = False,
    ) -> TaskOutcome:
        """Copy.

        Args:
            context: The task's context.
            source: A file, or a folder whose files are copied with their folders.
            target: The file or folder to write. Where `source` is a file and this is a folder, the copy
                keeps its name.
            pattern: Which files of a folder are copied, such as *.json or **/*.csv.
            remove_others: Remove files of the target folder that match the pattern and are not in the source.
            may_be_empty: Copy nothing if the folder has no such file, instead of failing.
        """
        if not source.exists():
            raise TaskError(f"{source} does not exist. Correct its path, or let an earlier task make it.")
        if source.is_file():
            place = target / source.name if target.is_dir() else target
            changed = int(_copy(source, place))
            context.log(f"{place}: {'written' if changed else 'unchanged'}")
            return TaskOutcome([place], {"files": 1, "written": changed}, changed > 0)
        if source == target or source in target.parents or target in source.parents:
            raise TaskError(f"{target} and {source} contain each other. Choose a target beside the source.")
        names = source_files(source, pattern, may_be_empty=may_be_empty)
        written = 0
        for name in names:
            refuse_links_on_the_way(target, name)
            written += _copy(source / name, target / name)
        removed = 0
        if remove_others and target.is_dir():
            for name in sorted(set(files_of(target, pattern)) - set(names)):
                (target / name).unlink()
                removed += 1
        context.log(f"{len(names)} files, {written} written, {removed} removed")
        facts = {"files": len(names), "written": written, "removed": removed}
        return TaskOutcome([target], facts, written + removed > 0)


def _copy(source: Path, target: Path) -> bool:
    if is_same(source, target):
        return False
    with temporary_path(target) as part:
        shutil.copyfile(source, part)
        shutil.copymode(source, part)
        return publish(part, target)
