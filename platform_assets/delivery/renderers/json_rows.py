"""Rows as JSON: one array of objects, or one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from platform_assets.delivery.interfaces import Bytes, Rows, Stamp
from platform_assets.delivery.renderers.lines import WHOLE, Cut, LineFormat
from platform_assets.delivery.renderers.parquet_rows import refuse_equal_names
from platform_assets.delivery.renderers.text_sql import json_text
from platform_assets.delivery.renderers.workshop import SqlColumn, Workshop, rows_only
from platform_assets.model.dialects import literal

_SEPARATOR = ",\n"


@dataclass(frozen=True)
class Json:
    """Renders rows as JSON in UTF-8.

    Args:
        workshop: Means to work with.
        lines: True for JSON lines: an object per line, without an array around them.
        cut: Largest size of a part.
    """

    workshop: Workshop
    lines: bool = False
    cut: Cut = WHOLE

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        if self.lines:
            format_ = LineFormat(
                lambda columns: f"{_object_sql(columns)} || chr(10)",
                ".jsonl",
                "application/x-ndjson",
                cut=self.cut,
            )
        else:
            format_ = LineFormat(
                lambda columns: f"{literal(_SEPARATOR)} || {_object_sql(columns)}",
                ".json",
                "application/json",
                head=lambda columns: "[\n",
                foot="\n]\n",
                first=len(_SEPARATOR),
                cut=self.cut,
            )
        for rows in rows_only(content, "jsonl" if self.lines else "json"):
            refuse_equal_names(rows, "JSON")
            yield from format_.files(rows, self.workshop)


def _object_sql(columns: Sequence[SqlColumn]) -> str:
    """Return SQL for a row as a JSON object."""
    members = []
    for place, column in enumerate(columns):
        key = ("," if place else "{") + json.dumps(column.name, ensure_ascii=False) + ":"
        members += [literal(key), f"coalesce({json_text(column.type, column.sql)}, 'null')"]
    return f"concat({', '.join(members)}, '}}')"
