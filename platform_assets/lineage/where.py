"""The report about every place where an info type can be, with the way to each."""

from __future__ import annotations

import json
from collections.abc import Sequence

from platform_assets.classification import Origin
from platform_assets.column_lineage import ColumnRef
from platform_assets.lineage.classification import Trail


def as_text(info_type: str, trails: Sequence[Trail]) -> str:
    """Return the report for a terminal.

    Args:
        info_type: The info type.
        trails: The columns that can hold it.
    """
    lines = [f"{info_type} can be in {_columns(trails)}:"]
    width = max((len(str(trail.mark.column)) for trail in trails), default=0)
    for trail in trails:
        lines.append(f"  {trail.mark.column!s:<{width}}  {_known(trail)}")
        if trail.edges:
            lines.append(f"      {_way(trail)}")
    return "\n".join(lines)


def as_markdown(info_type: str, trails: Sequence[Trail]) -> str:
    """Return the report as a Markdown table."""
    lines = [
        f"`{info_type}` can be in {_columns(trails)}.",
        "",
        "| column | known by | way |",
        "|---|---|---|",
    ]
    lines += [
        f"| {_code(str(trail.mark.column))} | {_known(trail)} | {_code(_way(trail)) if trail.edges else ''} |"
        for trail in trails
    ]
    return "\n".join(lines)


def as_json(info_type: str, trails: Sequence[Trail]) -> str:
    """Return the report as JSON."""
    places = [
        {
            "column": str(trail.mark.column),
            "known_by": trail.mark.origin.value,
            "likelihood": trail.mark.likelihood,
            "way": [
                {
                    "from": str(edge.source),
                    "to": str(edge.target),
                    "subtype": str(edge.subtype),
                    "masking": edge.masking,
                    "proved": edge.proved,
                }
                for edge in trail.edges
            ],
        }
        for trail in trails
    ]
    return json.dumps({"info_type": info_type, "places": places}, indent=2, ensure_ascii=False)


def _columns(trails: Sequence[Trail]) -> str:
    return f"{len(trails)} column{'' if len(trails) == 1 else 's'}"


def _known(trail: Trail) -> str:
    origin = trail.mark.origin
    text = f"{origin} ({trail.mark.likelihood})"
    return text if origin is not Origin.DERIVED else f"{origin} from {trail.start}"


def _way(trail: Trail) -> str:
    steps: list[ColumnRef | str] = [trail.start]
    for edge in trail.edges:
        steps += [f"-{'masking ' if edge.masking else ''}{str(edge.subtype).lower()}->", edge.target]
    return " ".join(map(str, steps))


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|').replace('`', chr(39))}`"
