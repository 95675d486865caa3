"""Checks of a configuration as a whole, across its blocks."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Collection, Iterator
from typing import Any

from pydantic import ValidationError

from platform_assets.settings.document import Document
from platform_assets.settings.mistakes import Mistake, declared_field, explained, shown
from platform_assets.settings.schema import Settings
from platform_assets.settings.sources import SOURCE_NAMES, ConnectionSettings, matches

_SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


# A source's name is also a group, a resource and the prefix of its jobs and steps. Names already used for
# these, and names reserved by Dagster and Python, are therefore not allowed.
_RESERVED_NAMES = frozenset(
    {
        *(
            "alerts",
            "dashboard",
            "default",
            "uploads",
            "delivery",
            "dlp",
            "engine",
            "freshness",
            "io_manager",
            "lake",
        ),
        *("lake_io_manager", "lake_upkeep", "lineage", "notebook", "objects", "snowflake", "star", "tasks"),
        *("warehouse", "warehouse_io_manager", "arg_dict", "bool", "conf", "config", "context", "dict"),
        *("float", "input", "input_arg_dict", "int", "meta", "output", "output_arg_dict", "str", "type"),
        *(word.lower() for word in keyword.kwlist),
    }
)


_RESERVED_ENDINGS = (*("_checks", "_io_manager", "_job", "_load", "_schedule", "_to_lake", "_to_warehouse"),)


def take_out_ignored_connections(document: Document, content: dict[str, Any]) -> Iterator[Mistake]:
    """Drop the unused connection of an embedded source; report a connection block that would be ignored.

    The default file always has a connection block, filled from the environment. A user who sets TOTESYS_HOST
    expects that database to be read, so silently using the sample would be wrong.
    """
    sources = content.get("sources")
    if not isinstance(sources, dict):
        return
    content["sources"] = {**sources}
    for name, source in sources.items():
        connection = source.get("connection") if name in SOURCE_NAMES and isinstance(source, dict) else None
        if not isinstance(connection, dict) or not _is_true(source.get("embedded", True)):
            continue
        key = ("sources", name, "connection")
        places = ("host", "database", "user")
        from_environment = [
            variable
            for place in places
            if place in connection
            for variable in document.variables.get((*key, place), ())
            if variable in os.environ
        ]
        if from_environment or not any(place in connection for place in places):
            content["sources"][name] = {k: v for k, v in source.items() if k != "connection"}
            yield from _mistakes_in(document, key, connection)
        if from_environment:
            switch = document.variables.get(("sources", name, "embedded"), ())
            how = f"set {switch[0]}=false" if switch else f"set sources.{name}.embedded to false"
            verb = "is" if len(from_environment) == 1 else "are"
            missing = [
                (document.variables.get((*key, place)) or (place,))[-1]
                for place in places
                if place not in connection
            ]
            rest = f" and give {', '.join(missing)}" if missing else ""
            names = ", ".join(from_environment)
            yield Mistake(
                key,
                f"that {names} {verb} set in the environment while sources.{name}.embedded is true",
                f"either the embedded sample (unset {names}) or that database ({how}{rest})",
            )


def _mistakes_in(document: Document, key: tuple[str, ...], connection: dict[str, Any]) -> Iterator[Mistake]:
    """Mistakes in a connection that is not used now; reporting them avoids a surprise when it is used."""
    needed = {
        "host": "localhost",
        "database": "database",
        "user": "user",
        "password": "secret://env/PASSWORD",
    }
    try:
        ConnectionSettings.model_validate(needed | connection, context={"base": document.file.parent})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield explained(document, {**detail, "loc": (*key, *detail["loc"])})


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "yes", "on", "y", "t", "1")


def check_source_names(content: dict[str, Any]) -> Iterator[Mistake]:
    """Remove the sources whose name is already taken or that have no block, and report them."""
    sources = content.get("sources")
    if not isinstance(sources, dict):
        return
    for name in SOURCE_NAMES:
        if name not in sources:
            yield Mistake(("sources", name), "nothing", "a block: it is the source that the model declares")
    refused = {name: reason for name in sources if (reason := _unusable_name(name))}
    for name, reason in refused.items():
        expected = f"a name of lower case letters, digits and _ that nothing else has ({reason})"
        yield Mistake(("sources", name), f"a source called {shown(name)}", expected)
    content["sources"] = {name: source for name, source in sources.items() if name not in refused}


def check_warehouse_names(content: dict[str, Any]) -> Iterator[Mistake]:
    """Remove the additional warehouses whose name is already taken, and report them."""
    warehouses, sources = content.get("warehouses"), content.get("sources")
    if not isinstance(warehouses, dict):
        return
    taken = sources if isinstance(sources, dict) else {}
    refused = {
        name: reason
        for name in warehouses
        if (reason := "a source has that one" if name in taken else _unusable_name(name))
    }
    for name, reason in refused.items():
        expected = f"a name of lower case letters, digits and _ that nothing else has ({reason})"
        yield Mistake(("warehouses", name), f"a warehouse called {shown(name)}", expected)
    content["warehouses"] = {name: one for name, one in warehouses.items() if name not in refused}


def _unusable_name(name: str) -> str:
    """The reason why a source or warehouse cannot have a name; empty if the name is valid."""
    if not _SOURCE_NAME.fullmatch(name):
        return "it starts with a letter and has up to 40 characters"
    if name in _RESERVED_NAMES:
        return "the platform, Dagster or Python have that one"
    ending = next((ending for ending in _RESERVED_ENDINGS if name.endswith(ending)), "")
    return f"names of jobs and steps end in {ending}" if ending else ""


def check_sources(settings: Settings) -> Iterator[Mistake]:
    """Check that the blocks of a source are consistent with each other."""
    for name, source in settings.sources.discovered.items():
        key = ("sources", name)
        if source.schedule is not None and source.freshness is None:
            expected = f"{declared_field((*key, 'freshness'))[1]}, as the source has a schedule of its own"
            yield Mistake((*key, "freshness"), "nothing", expected)
        for table in source.overrides:
            if not matches(table, source.tables) or matches(table, source.exclude):
                yield Mistake(
                    (*key, "overrides", table),
                    "a block",
                    f"one of a table that sources.{name}.tables selects",
                )


def check_deletions(settings: Settings) -> Iterator[Mistake]:
    """Check that deleted rows can be detected before their tables count as stale."""
    for name in settings.sources.names:
        source, within = settings.sources[name], settings.fresh_within(name)
        blocks: dict[tuple[str, ...], int | None] = {(): source.deletions_every}
        blocks |= {("overrides", table): one.deletions_every for table, one in source.overrides.items()}
        for place, minutes in blocks.items():
            if minutes is not None and 2 * minutes > within:
                own = name in settings.sources.discovered and settings.sources.discovered[name].freshness
                where = f"sources.{name}.freshness.within" if own else "freshness.within"
                yield Mistake(
                    ("sources", name, *place, "deletions_every"),
                    shown(minutes),
                    f"whole minutes, up to {within // 2}: half of {where}, which is {within}, so that rows "
                    "that are gone are found before the table counts as stale; leave it out for that half",
                )


def check_zones(settings: Settings) -> Iterator[Mistake]:
    """Check that neither zone of the lake is inside the other."""
    ingestion, processed = settings.lake.ingestion, settings.lake.processed
    if f"{ingestion}/".startswith(f"{processed}/") or f"{processed}/".startswith(f"{ingestion}/"):
        expected = f"a place apart from lake.ingestion, which is {shown(ingestion)}"
        yield Mistake(("lake", "processed"), shown(processed), expected)


def check_feeds(settings: Settings) -> Iterator[Mistake]:
    """Check that feeds have valid table names and refer to existing watches."""
    for name, feed in settings.feeds.items():
        if not _SOURCE_NAME.fullmatch(name):
            expected = "a name of lower case letters, digits and _, from a letter on"
            yield Mistake(("feeds", name), f"a feed called {shown(name)}", expected)
        if feed.watch not in settings.watches:
            known = ", ".join(settings.watches) or "none"
            yield Mistake(
                ("feeds", name, "watch"), shown(feed.watch), f"the name of a block in watches: {known}"
            )


def check_watch_names(settings: Settings) -> Iterator[Mistake]:
    """Check that watches have names that are valid for sensors and folders."""
    for name in settings.watches:
        if not _SOURCE_NAME.fullmatch(name):
            expected = "a name of lower case letters, digits and _, from a letter on"
            yield Mistake(("watches", name), f"a watch called {shown(name)}", expected)


_LEVELS = ("VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY")


def check_rules(settings: Settings) -> Iterator[Mistake]:
    """Check that no rule of the policy stands behind one that decides everything."""
    dlp = settings.dlp
    lowest = _LEVELS.index(dlp.inspect.min_likelihood)
    everything = {
        name
        for name, rule in dlp.rules.items()
        if "*" in rule.info_types and "*" in rule.places and _LEVELS.index(rule.min_likelihood) <= lowest
    }
    # A column that a rule changes whatever is in it is changed before any other rule is asked.
    asked_first = {
        name
        for name, rule in dlp.rules.items()
        if "*" in rule.info_types and rule.action not in ("allow", "alert", "quarantine", "block")
    }
    yield from _unreached(("dlp", "rules"), dlp.rules, everything - asked_first, asked_first)
    every_problem = {
        name
        for name, rule in dlp.uninspected.items()
        if "*" in rule.problems and "*" in rule.places and len(set(rule.status)) == 2
    }
    yield from _unreached(("dlp", "uninspected"), dlp.uninspected, every_problem, set())


def _unreached(
    key: tuple[str, ...], rules: Collection[str], everything: set[str], asked_first: set[str]
) -> Iterator[Mistake]:
    names = list(rules)
    last = next((place for place, name in enumerate(names) if name in everything), len(names))
    for name in names[last + 1 :]:
        if name not in asked_first:
            yield Mistake(
                (*key, name),
                f'a rule behind "{names[last]}", which decides everything',
                "a place before it, as the first rule that matches decides",
            )


def check_warehouse_files(settings: Settings) -> Iterator[Mistake]:
    """Check that no two warehouses are one file."""
    taken: dict[object, str] = {}
    for name, one in {"": settings.warehouse, **settings.warehouses}.items():
        if one.engine != "duckdb" or one.duckdb is None:
            continue
        key = ("warehouses", name, "duckdb", "path") if name else ("warehouse", "duckdb", "path")
        other = taken.setdefault(one.duckdb.path, ".".join(key))
        if other != ".".join(key):
            yield Mistake(key, shown(str(one.duckdb.path)), f"a file of its own: {other} has this one")
