"""Declarations of the tables of findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from platform_assets.column_lineage import ROWS, ColumnRef, DeclaredTable, StatedEdge, Subtype
from platform_assets.dlp.model import Likelihood, Status
from platform_assets.model.table import Column, Float, Integer, Text, Timestamp

OBJECT_COLUMNS = (
    Column("inspection_id", Text(), "Identity of the inspection; its findings have the same"),
    Column("watch", Text(), "Watch of the object"),
    Column("uri", Text(), "URI of the object, with sensitive parts masked"),
    Column("object_id", Text(), "SHA-256 of the unmasked URI, hexadecimal"),
    Column("version", Text(), "Version of the object: etag, generation, or time and size"),
    Column("size", Integer(64), "Size of the object in bytes", nullable=True),
    Column("modified_at", Timestamp(utc=True), "Time of the last write to the object, UTC", nullable=True),
    Column("status", Text(), "INSPECTED, PARTIAL or UNREADABLE", accepted=tuple(Status)),
    Column("reason", Text(), "Reason why the inspection is incomplete; empty otherwise"),
    Column("problems", Text(), "Problems that prevented the inspection of parts, as JSON"),
    Column("bytes_inspected", Integer(64), "Bytes of inspected text"),
    Column("bytes_total", Integer(64), "Bytes of the object, if known", nullable=True),
    Column("rows_inspected", Integer(64), "Inspected rows of its tables"),
    Column("rows_total", Integer(64), "Rows of its tables, if known", nullable=True),
    Column("findings", Integer(64), "Number of findings"),
    Column("info_types", Text(), "Count and highest likelihood by info type, as JSON"),
    Column("likelihood", Text(), "Highest likelihood; NULL without findings", nullable=True),
    Column("decision", Text(), "Decision of the policy: allow, alert, quarantine, block"),
    Column("rule", Text(), "Rule that decided; NULL if no rule matched", nullable=True),
    Column("detector", Text(), "Name of the inspector"),
    Column("detector_version", Text(), "Version of the inspector"),
    Column("inspected_at", Timestamp(utc=True), "Time of the inspection, UTC"),
    Column("run_id", Text(), "Run of the inspection"),
)
FINDING_COLUMNS = (
    Column("inspection_id", Text(), "Identity of the inspection; valid if it is in `dlp/objects`"),
    Column("uri", Text(), "URI of the object, with sensitive parts masked"),
    Column("version", Text(), "Version of the object"),
    Column("container", Text(), "Nested files and sheet, as a JSON list from the outside in"),
    Column("info_type", Text(), "Info type of the value"),
    Column(
        "likelihood",
        Text(),
        "Likelihood of the info type",
        accepted=tuple(likelihood.name for likelihood in Likelihood),
    ),
    Column("evidence", Text(), "Kinds of evidence, separated by commas"),
    Column("row", Integer(64), "Row of the table, from 0", nullable=True),
    Column("column", Text(), "Column of the table", nullable=True),
    Column("byte_start", Integer(64), "First byte in the text or value, from 0"),
    Column("byte_end", Integer(64), "First byte after the value"),
    Column("codepoint_start", Integer(64), "First code point, from 0"),
    Column("codepoint_end", Integer(64), "First code point after the value"),
    Column("fingerprint", Text(), "Keyed HMAC of type and value: equal for equal values"),
    Column("detector", Text(), "Name of the inspector"),
    Column("detector_version", Text(), "Version of the info type's detector"),
    Column("inspected_at", Timestamp(utc=True), "Time of the inspection, UTC"),
    Column("run_id", Text(), "Run of the inspection"),
)
COLUMN_COLUMNS = (
    Column("place", Text(), "`lake`, or the name of a warehouse"),
    Column("table", Text(), "The table's asset key, such as `totesys/staff`"),
    Column("column", Text(), "The column"),
    Column("info_type", Text(), "Info type of its values; NULL without findings", nullable=True),
    Column("likelihood", Text(), "Likelihood of the info type", nullable=True),
    Column("share", Float(), "Share of the distinct values that are of the info type, 0 to 1"),
    Column("distinct_values", Integer(64), "Distinct values that were inspected"),
    Column("rows_inspected", Integer(64), "Rows from which the values were read"),
    Column("rows_total", Integer(64), "Rows of the table"),
    Column("table_version", Text(), "Inspected version; empty if a column failed"),
    Column("problem", Text(), "Reason why the column was not inspected; NULL if it was", nullable=True),
    Column("decision", Text(), "Decision of the policy"),
    Column("rule", Text(), "Rule that decided; NULL if no rule matched", nullable=True),
    Column("detector", Text(), "Name of the inspector"),
    Column("detector_version", Text(), "Version of the inspector"),
    Column("inspected_at", Timestamp(utc=True), "Time of the inspection, UTC"),
    Column("run_id", Text(), "Run of the inspection"),
)

_CONTENT = ColumnRef(("file", "objects"), "content")
_OBJECT_FIELDS = ("uri", "version", "size", "modified_at")
_SAYS = "Recorded by the inspection"


def declared_objects() -> Iterator[DeclaredTable]:
    """Yield uploaded objects, and the tables of their inspections and findings, for the lineage graph."""
    known = {column.name: column for column in OBJECT_COLUMNS}
    columns = (
        *(known[name] for name in _OBJECT_FIELDS),
        Column("content", Text(), "What is in the object"),
    )
    yield DeclaredTable(
        _CONTENT.asset,
        columns,
        constants={column.name: "Uploaded" for column in columns},
        description="Uploaded objects.",
        is_asset=False,
        kind="file",
    )
    of_content = {
        "objects": ("findings", "info_types", "likelihood", "decision", "rule"),
        "findings": ("info_type", "likelihood", "evidence", "fingerprint"),
    }
    described = {
        "objects": (OBJECT_COLUMNS, "Every inspected version of an uploaded object."),
        "findings": (FINDING_COLUMNS, "Every finding in an uploaded object; never the value."),
    }
    for name, (declared, description) in described.items():
        edges = [
            StatedEdge(ColumnRef(_CONTENT.asset, column.name), column.name)
            for column in declared
            if column.name in _OBJECT_FIELDS
        ]
        edges += [
            StatedEdge(_CONTENT, column, Subtype.TRANSFORMATION, masking=True) for column in of_content[name]
        ]
        yield DeclaredTable(
            ("dlp", name),
            declared,
            edges=tuple(edges),
            constants=_others(declared, edges),
            group="dlp",
            description=description,
        )


def declared_columns(inspected: Iterable[tuple[tuple[str, ...], Sequence[str]]]) -> DeclaredTable:
    """Return the table of the inspected columns for the lineage graph.

    Args:
        inspected: The inspected tables, each with its columns.
    """
    edges = []
    for path, columns in inspected:
        edges += [
            StatedEdge(ColumnRef(path, column), "info_type", Subtype.AGGREGATION, masking=True)
            for column in columns
        ]
        edges += [
            StatedEdge(ColumnRef(path, ROWS), count, Subtype.AGGREGATION, masking=True)
            for count in ("distinct_values", "rows_inspected", "rows_total")
        ]
    own = ("dlp", "columns")
    # All that is told of a column hangs on what its values were found to be.
    edges += [
        StatedEdge(ColumnRef(own, "info_type"), told, Subtype.TRANSFORMATION, masking=True)
        for told in ("likelihood", "share", "decision", "rule")
    ]
    return DeclaredTable(
        own,
        COLUMN_COLUMNS,
        edges=tuple(edges),
        constants=_others(COLUMN_COLUMNS, edges),
        group="dlp",
        description="The verdict on every inspected column.",
    )


def _others(columns: Sequence[Column], edges: Iterable[StatedEdge]) -> dict[str, str]:
    """Return the reason why columns without edges have no source."""
    have = {edge.column for edge in edges}
    return {column.name: _SAYS for column in columns if column.name not in have}
