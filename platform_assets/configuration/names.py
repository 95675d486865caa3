"""Names that users give to sources, warehouses, watches and feeds."""

from __future__ import annotations

import keyword
import re

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""A name that is valid for assets, sensors, jobs and folders."""


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
            "inventory",
            "io_manager",
            "lake",
        ),
        *("lake_io_manager", "lake_upkeep", "lineage", "notebook", "objects", "snowflake", "star", "tasks"),
        "snowflake_copies",
        *("warehouse", "warehouse_io_manager", "arg_dict", "bool", "conf", "config", "context", "dict"),
        *("float", "input", "input_arg_dict", "int", "meta", "output", "output_arg_dict", "str", "type"),
        *(word.lower() for word in keyword.kwlist),
    }
)


_RESERVED_ENDINGS = (*("_checks", "_io_manager", "_job", "_load", "_schedule", "_to_lake", "_to_warehouse"),)


def unusable_name(name: str) -> str:
    """The reason why a source or warehouse cannot have a name; empty if the name is valid."""
    if not NAME.fullmatch(name):
        return "it starts with a letter and has up to 40 characters"
    if name in _RESERVED_NAMES:
        return "the platform, Dagster or Python uses that name"
    ending = next((ending for ending in _RESERVED_ENDINGS if name.endswith(ending)), "")
    return f"names of jobs and steps end in {ending}" if ending else ""
