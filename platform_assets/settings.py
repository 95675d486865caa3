"""Loading the configuration: typed, from HOCON and the environment, fully validated before anything starts.

Only this module and `configuration/` read the environment. Nothing is connected to: a `Secret` is a reference
until it is resolved. Durations are whole numbers; the description of each field gives the unit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from platform_assets.configuration.blocks import PlatformSettings, RoomSettings, Settings
from platform_assets.configuration.document import Document, Located, located, parse_document
from platform_assets.configuration.mistakes import Mistake, all_explained, description_of, explained, refusal
from platform_assets.configuration.secrets import absolute_path
from platform_assets.configuration.values import Block
from platform_assets.errors import NoConfiguration, SettingsError
from platform_assets.logs import configure
from platform_assets.rooms import BLOCKS_LEFT_BEHIND, door, present
from platform_assets.stored import refuse_state

__all__ = [
    "Settings",
    "dagster_home",
    "hand_on_dagster_home",
    "hand_on_page",
    "load_settings",
    "settings_classes",
    "settings_reference",
]


@dataclass(frozen=True)
class GivenBlock:
    """A block that stands in a file of another language, such as a component's `defs.yaml`.

    Args:
        key: The top-level key that it belongs to, such as `feeds`.
        name: Its name there.
        model: Its model.
        document: The file, with the block under its name; relative paths start from the file's folder.
    """

    key: str
    name: str
    model: type[Block]
    document: Document


def load_settings(
    path: Path | None = None,
    *,
    given: Mapping[str, Any] | None = None,
    blocks: Sequence[GivenBlock] = (),
    check_state: bool = True,
) -> Settings:
    """Load and validate the configuration: one file, plus the sources in `sources/*.conf` beside it.

    From here on, this process logs as the configuration says.

    Args:
        path: The HOCON file. If None: the environment variable PLATFORM_CONFIG, else `config/platform.conf`
            of the project that holds this package, else of the working directory.
        given: Additional sources by name, each with the content that its file would have; they replace
            sources of the same name that are read from files.
        blocks: Further blocks, whose names must not be taken yet.
        check_state: Whether to refuse the state folder of another version of the platform.

    Raises:
        SettingsError: if the file is missing, is not HOCON or contains mistakes. The message lists all
            mistakes at once, each with file, key path, found and expected; it never repeats a secret's value.
        StoredFileError: The state folder has the format of another version of the platform.
    """
    document, mistakes = _with_sources(parse_document(_locate(path)), given or {})
    classes, model = settings_classes(), _model()
    document, content, wrong = _with_blocks(document, blocks, model)
    mistakes += wrong
    for key in BLOCKS_LEFT_BEHIND - model.model_fields.keys():
        content.pop(key, None)
    for kind in classes:
        mistakes += kind.prepare(document, content)
    try:
        whole = model.model_validate(content, context={"base": document.file.parent, "file": document.file})
    except ValidationError as error:
        mistakes += all_explained(document, error.errors(include_url=False), model)
    else:
        settings = _taken_apart(whole, document.file)
        mistakes += [mistake for kind in classes for mistake in settings.of(kind).mistakes(settings)]
        if settings.platform.machines == "many":
            mistakes += [mistake for kind in classes for mistake in settings.of(kind).unshared()]
        if not mistakes and not document.unread:
            configure(settings.platform.logging.format, settings.platform.logging.level)
            if check_state:
                refuse_state(settings.platform.state_dir)
            return settings
    raise refusal([*document.unread, *(description_of(document, mistake) for mistake in mistakes)])


@cache
def settings_classes() -> tuple[type[RoomSettings], ...]:
    """Return the classes of the rooms' settings, from the ground up."""
    doors = (door(room, "settings") for room in present())
    return tuple(module.SETTINGS for module in doors if module is not None)


def settings_reference() -> str:
    """Describe all keys as a page of Markdown, with the environment variables of the project's own file.

    Raises:
        SettingsError: The project's own configuration file is missing or is not HOCON.
    """
    from platform_assets.configuration.reference import reference

    file = Path(__file__).parents[1] / "config" / "platform.conf"
    found = ((room.summary, door(room, "settings")) for room in present())
    modules = [(summary.rstrip("."), module) for summary, module in found if module is not None]
    sections = [(summary, module.SETTINGS) for summary, module in modules]
    files = [file for _, module in modules if hasattr(module, "files") for file in module.files()]
    return reference(
        [("The platform as a whole", PlatformSettings), *sections],
        parse_document(file).all_variables(),
        files,
    )


@cache
def _model() -> type[Block]:
    """Return the model of the whole configuration: the keys of the platform and of all rooms."""
    classes: tuple[type[Block], ...] = (PlatformSettings, *settings_classes())
    fields: dict[str, Any] = {
        name: (field.annotation, field) for kind in classes for name, field in kind.model_fields.items()
    }
    return create_model("Configuration", __base__=Block, **fields)


def _taken_apart(whole: Block, file: Path) -> Settings:
    """Return the settings of each room from the validated whole."""

    def part(kind: type[Any]) -> Any:
        return kind.model_construct(**{name: getattr(whole, name) for name in kind.model_fields})

    return Settings(part(PlatformSettings), {kind: part(kind) for kind in settings_classes()}, file)


def dagster_home(settings: Settings) -> Path:
    """The folder for Dagster's runs and events: DAGSTER_HOME, else `dagster/` in the state folder."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).expanduser() if named else settings.platform.state_dir / "dagster"


def hand_on_dagster_home(home: Path) -> None:
    """Set DAGSTER_HOME for Dagster's code in this process and its child processes, and disable telemetry."""
    os.environ |= {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}


def hand_on_page(address: str) -> None:
    """Set LINEAGE_URL for child processes, unless somebody has set it."""
    os.environ.setdefault("LINEAGE_URL", address)


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
        if file.is_dir():
            raise SettingsError(f"The configuration file {file}{origin} is a folder; name the file in it.")
        raise SettingsError(f"The configuration file {file}{origin} does not exist; name a file that exists.")
    roots = (Path(__file__).parents[1], Path.cwd())
    candidates = [root / "config" / "platform.conf" for root in roots]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    tried = " nor ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise NoConfiguration(
        f"No configuration file was found: neither {tried} exists. Set PLATFORM_CONFIG to the path of a "
        "configuration file."
    )


def _with_blocks(
    document: Document, blocks: Sequence[GivenBlock], model: type[Block]
) -> tuple[Document, dict[str, Any], list[Mistake]]:
    """Take further blocks into the document, and validate each from the folder of its own file.

    Returns:
        The document with the blocks as they were written; its content with the validated ones; the mistakes.
    """
    content, mistakes = {**document.content}, []
    for block in blocks:
        known = content.get(block.key, {})
        if not isinstance(known, dict):
            continue
        if block.name in known:
            file, _ = document.place((block.key, block.name))
            sentence = f"found a second definition; expected a name of its own; {file} has one of this name."
            found = located(block.document.place((block.name,)), (block.key, block.name), sentence)
            document = replace(document, unread=(*document.unread, found))
            continue
        raw = block.document.content[block.name]
        written = document.content.get(block.key, {})
        document = document.with_parts(
            block.key, {**written, block.name: raw}, {block.name: block.document}, block.document.unread
        )
        try:
            valid = block.model.model_validate(
                raw, context={"base": block.document.file.parent, "file": block.document.file}
            )
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                whole = {**detail, "loc": (block.key, block.name, *detail["loc"])}
                mistakes.append(explained(document, whole, model))
        else:
            content[block.key] = {**known, block.name: valid}
    return document, content, mistakes


def _with_sources(document: Document, given: Mapping[str, Any]) -> tuple[Document, list[Mistake]]:
    """Merge the sources from files and from the caller into the document's `sources`."""
    folder = document.file.parent / "sources"
    found = document.content.get("sources")
    if not isinstance(found, dict):
        return document, []
    sources, parts = {**found}, dict[str, Document]()
    unread: list[Located] = []
    broken, mistakes = [], []
    for file in sorted(folder.glob("*.conf")):
        try:
            part = parse_document(file)
        except SettingsError as error:
            broken.append(str(error))
            continue
        unread += part.unread
        for name, block in part.content.items():
            if name in given:
                continue
            if name in sources:
                first = parts[name].file if name in parts else document.file
                expected = f"it in one file only; {first} also has it"
                mistakes.append(Mistake(("sources", name), "a second definition", expected))
            sources[name], parts[name] = block, part
    if broken:
        raise SettingsError("\n  ".join(broken))
    for name, block in given.items():
        if name in sources:
            expected = f"a name of its own; {document.file} has a source of this name"
            mistakes.append(Mistake(("sources", name), "a second definition", expected))
        sources[name], parts[name] = block, Document(folder / f"{name}.conf", {name: block})
    return document.with_parts("sources", sources, parts, unread), mistakes
