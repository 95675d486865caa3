"""A Dagster code location: an operational PostgreSQL as a lake, three star schemas and a warehouse.

`platform_assets.Delivery`, `TaskFile`, `Feed` and `Source` are Dagster components, imported when first used.
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Import a room's Dagster component by its public name."""
    if name[:1].isupper():
        from platform_assets.rooms import component

        if (found := component(name)) is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the components too: Dagster's `dg` looks for them by their names."""
    from platform_assets.rooms import component_names

    return sorted({*globals(), *component_names()})
