"""Folders of files, without following links."""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path

from platform_assets.tasks.task import TaskError

_MOST_NAMED = 5


def files_of(folder: Path, pattern: str = "**/*", *, links: str = "refuse") -> list[str]:
    """Return the files of a folder whose names match a pattern, relative to it and in order.

    Args:
        folder: The folder.
        pattern: In it, `**/` stands for any folders or none, `*` for anything but a slash.
        links: `refuse` to raise an error for a link, `skip` to leave links out.

    Raises:
        TaskError: The folder has links, pipes or the like that match.
    """
    matches = pattern_of(pattern)
    found, others = [], []

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        inner = Path(place).relative_to(folder)
        for name in sorted((*names, *(folder for folder in folders if (Path(place) / folder).is_symlink()))):
            relative = (inner / name).as_posix()
            if matches.fullmatch(relative) is None:
                continue
            path = Path(place, name)
            if path.is_symlink() or not path.is_file():
                others.append(relative)
            else:
                found.append(relative)
    if others and links == "refuse":
        named = ", ".join(sorted(others)[:_MOST_NAMED])
        raise TaskError(
            f"{folder} has {len(others)} links or special files, such as {named}. They are not followed: "
            "remove "
            "them, or leave them out with a pattern."
        )
    return sorted(found)


def source_files(
    folder: Path, pattern: str = "**/*", *, links: str = "refuse", may_be_empty: bool = False
) -> list[str]:
    """Return the files of a folder that a task reads, as `files_of`.

    Args:
        folder: The folder.
        pattern: As in `files_of`.
        links: As in `files_of`.
        may_be_empty: Return an empty list if no file matches: otherwise a task would replace an archive by an
            empty one, or find nothing sensitive where it has looked at nothing.

    Raises:
        TaskError: No file matches, or `files_of` raises it.
    """
    found = files_of(folder, pattern, links=links)
    if not found and not may_be_empty:
        raise TaskError(
            f"{folder} has no file that matches {pattern}. Correct its path or the pattern, let an earlier "
            "task make the files, or set may_be_empty = true."
        )
    return found


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of names: `**/` is any folders or none, `*` anything but a slash."""
    parts = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern):
        match part:
            case "**/":
                parts.append("(?:.*/)?")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if part.startswith("["):
                parts.append(fnmatch.translate(part).removeprefix("(?s:").removesuffix(")\\Z"))
            case _:
                parts.append(re.escape(part))
    return re.compile("".join(parts), re.DOTALL)


def refuse_links_on_the_way(folder: Path, name: str) -> None:
    """Raise an error if a folder between a target and a file in it is a link.

    Args:
        folder: The target.
        name: The file's name relative to it.

    Raises:
        TaskError: Something would be written elsewhere.
    """
    place = folder
    for part in Path(name).parts[:-1]:
        place = place / part
        if place.is_symlink():
            raise TaskError(f"{place} is a link, which is not followed. Remove it, or choose another target.")
