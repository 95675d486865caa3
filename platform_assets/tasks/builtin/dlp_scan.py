"""The task `dlp_scan`: files are inspected for sensitive data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome
from platform_assets.tasks.trees import source_files

_NAMED = 20


class DlpScan(Task):
    """Inspect files for sensitive data with the platform's inspection, and fail if there is any.

    Values are never logged: only files, info types and counts.

    Idempotent: it only looks.
    """

    def run(
        self,
        context: TaskContext,
        paths: list[Path],
        pattern: str = "**/*",
        on_findings: Literal["fail", "warn"] = "fail",
        info_types: list[str] | None = None,
        allow_partial: bool = False,
        may_be_empty: bool = False,
    ) -> TaskOutcome:
        """Inspect.

        Args:
            context: The task's context.
            paths: Files, and folders whose files are inspected.
            pattern: Which files of folders are inspected, such as **/*.csv.
            on_findings: What a finding does: fail the task, or only warn.
            info_types: Only findings of these types count; by default all that the platform looks for.
            allow_partial: Go on although a file could not be inspected in full.
            may_be_empty: Accept folders without such a file, instead of failing.
        """
        files: list[Path] = []
        for path in paths:
            if not path.exists():
                raise TaskError(f"{path} does not exist. Correct its path, or let an earlier task make it.")
            if path.is_dir():
                names = source_files(path, pattern, may_be_empty=may_be_empty)
                files += [path / name for name in names]
            else:
                files.append(path)
        totals: Counter[str] = Counter()
        found_in, partial = [], []
        for inspected in context.inspection.inspect(files):
            counts = {
                name: n for name, n in inspected.counts.items() if info_types is None or name in info_types
            }
            if counts:
                totals.update(counts)
                found_in.append(inspected.path)
                listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
                if len(found_in) <= _NAMED:
                    context.warn(f"{inspected.path}: {listed}")
            if inspected.problem:
                partial.append(inspected.path)
                context.warn(f"{inspected.path}: {inspected.problem}")
        listed = ", ".join(f"{count} {name}" for name, count in sorted(totals.items()))
        if totals and on_findings == "fail":
            raise TaskError(
                f"{len(found_in)} of {len(files)} files hold sensitive data: {listed}. See the log above."
            )
        if partial and not allow_partial:
            raise TaskError(
                f"{len(partial)} of {len(files)} files could not be inspected in full. See the log above, "
                "or set "
                "allow_partial."
            )
        return TaskOutcome(facts={"files": len(files), "findings": totals.total()}, changed=False)
