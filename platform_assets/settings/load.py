"""Loading a configuration, with full validation before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from platform_assets.errors import NoConfiguration, SettingsError
from platform_assets.settings.checks import (
    check_deletions,
    check_feeds,
    check_rules,
    check_source_names,
    check_sources,
    check_warehouse_files,
    check_warehouse_names,
    check_watch_names,
    check_zones,
    take_out_ignored_connections,
)
from platform_assets.settings.document import Document, parse_document
from platform_assets.settings.mistakes import Mistake, description_of, explained
from platform_assets.settings.schema import Settings
from platform_assets.settings.secrets import absolute_path


def load_settings(path: Path | None = None, *, given: Mapping[str, Any] | None = None) -> Settings:
    """Load and validate the configuration: one file, plus the sources in `sources/*.conf` beside it.

    Args:
        path: The HOCON file. If None: the environment variable PLATFORM_CONFIG, else `config/platform.conf`
            of the project that holds this package, else of the working directory.
        given: Additional sources by name, each with the content that its file would have; they replace
            sources of the same name that are read from files.

    Raises:
        SettingsError: if the file is missing, is not HOCON or contains mistakes. The message lists all
            mistakes at once, each with file, key path, found and expected; it never repeats a secret's value.
    """
    document, mistakes = _with_sources(parse_document(_locate(path)), given or {})
    content = {**document.content}
    mistakes += [
        *take_out_ignored_connections(document, content),
        *check_source_names(content),
        *check_warehouse_names(content),
    ]
    try:
        context = {"base": document.file.parent, "file": document.file}
        settings = Settings.model_validate(content, context=context)
    except ValidationError as error:
        mistakes += [explained(document, detail) for detail in error.errors(include_url=False)]
    else:
        mistakes += [
            *check_zones(settings),
            *check_sources(settings),
            *check_deletions(settings),
            *check_watch_names(settings),
            *check_feeds(settings),
            *check_rules(settings),
            *check_warehouse_files(settings),
        ]
        if not mistakes and not document.unread:
            return settings
    lines = sorted({*document.unread, *(description_of(document, mistake) for mistake in mistakes)})
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    raise SettingsError("\n  ".join([f"The configuration has {count}; nothing was started.", *lines]))


def _locate(path: Path | None) -> Path:
    named = path if path is not None else os.environ.get("PLATFORM_CONFIG")
    if named:
        origin = "" if path is not None else " (from the environment variable PLATFORM_CONFIG)"
        try:
            file = absolute_path(str(named), None)
        except ValueError as error:
            raise SettingsError(
                f"The configuration file {named}{origin} cannot be opened: {error}."
            ) from None
        if file.is_file():
            return file
        raise SettingsError(f"There is no configuration file {file}{origin}; name one that exists.")
    roots = (Path(__file__).parents[2], Path.cwd())
    candidates = [root / "config" / "platform.conf" for root in roots]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    tried = " nor ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise NoConfiguration(
        f"There is neither {tried}; set PLATFORM_CONFIG to the path of a configuration file."
    )


def _with_sources(document: Document, given: Mapping[str, Any]) -> tuple[Document, list[Mistake]]:
    """Merge the sources from files and from the caller into the document's `sources`."""
    folder = document.file.parent / "sources"
    found = document.content.get("sources")
    if not isinstance(found, dict):
        return document, []
    sources, variables, unread = {**found}, {**document.variables}, [*document.unread]
    files: dict[str, Path] = {}
    mistakes = []
    for file in sorted(folder.glob("*.conf")):
        part = parse_document(file)
        unread += part.unread
        for name, block in part.content.items():
            if name in given:
                continue
            if name in sources:
                first = files.get(name, document.file)
                mistakes.append(
                    Mistake(("sources", name), "it once more", f"it in one file; {first} has it too")
                )
            sources[name], files[name] = block, file
        variables |= {("sources", *key): names for key, names in part.variables.items()}
    for name, block in given.items():
        if name in sources:
            expected = f"a name of its own; {document.file} has a source of this name"
            mistakes.append(Mistake(("sources", name), "it once more", expected))
        sources[name], files[name] = block, folder / f"{name}.conf"
    content = {**document.content, "sources": sources}
    return Document(document.file, content, variables, files, tuple(unread)), mistakes
