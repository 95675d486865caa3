"""Declarations of the tables of findings."""

from __future__ import annotations

from platform_assets.dlp.model import Likelihood, Status
from platform_assets.model.table import Column, Float, Integer, Text, Timestamp

OBJECT_COLUMNS = (
    Column("inspection_id", Text(), "The inspection; its findings have the same"),
    Column("watch", Text(), "The watch that saw the object"),
    Column("uri", Text(), "Where the object is; what is sensitive in its name is masked"),
    Column("object_id", Text(), "SHA-256 of the URI as it is, hexadecimal"),
    Column("version", Text(), "The object's version: etag, generation, or time and size"),
    Column("size", Integer(64), "Bytes of the object", nullable=True),
    Column("modified_at", Timestamp(utc=True), "When it was last written, UTC", nullable=True),
    Column("status", Text(), "INSPECTED, PARTIAL or UNREADABLE", accepted=tuple(Status)),
    Column("reason", Text(), "Why the inspection came no further; empty where it did"),
    Column("problems", Text(), "What kept parts from being inspected, as JSON"),
    Column("bytes_inspected", Integer(64), "Bytes of text that were inspected"),
    Column("bytes_total", Integer(64), "Bytes of the object, as far as known", nullable=True),
    Column("rows_inspected", Integer(64), "Rows of its tables that were inspected"),
    Column("rows_total", Integer(64), "Rows of its tables, as far as known", nullable=True),
    Column("findings", Integer(64), "How often anything was found"),
    Column("info_types", Text(), "Count and highest likelihood by info type, as JSON"),
    Column(
        "likelihood", Text(), "The highest likelihood of all, NULL where nothing was found", nullable=True
    ),
    Column("decision", Text(), "What the policy decided: allow, alert, quarantine, block"),
    Column("rule", Text(), "The rule that decided, NULL where none did", nullable=True),
    Column("detector", Text(), "The inspector"),
    Column("detector_version", Text(), "Its version"),
    Column("inspected_at", Timestamp(utc=True), "When it was inspected, UTC"),
    Column("run_id", Text(), "The run that inspected it"),
)
FINDING_COLUMNS = (
    Column("inspection_id", Text(), "The inspection; `dlp/objects` has it too if it counts"),
    Column("uri", Text(), "Where the object is; what is sensitive in its name is masked"),
    Column("version", Text(), "The object's version"),
    Column("container", Text(), "File within the object, or sheet: a JSON list from the outside in"),
    Column("info_type", Text(), "What it is"),
    Column("likelihood", Text(), "How sure that is", accepted=tuple(one.name for one in Likelihood)),
    Column("evidence", Text(), "What speaks for it, separated by commas"),
    Column("row", Integer(64), "Row of the table, from 0", nullable=True),
    Column("column", Text(), "Column of the table", nullable=True),
    Column("byte_start", Integer(64), "First byte in the text or value, from 0"),
    Column("byte_end", Integer(64), "The byte behind its last"),
    Column("codepoint_start", Integer(64), "First code point, from 0"),
    Column("codepoint_end", Integer(64), "The code point behind its last"),
    Column("fingerprint", Text(), "Keyed HMAC of type and value: equal for equal values"),
    Column("detector", Text(), "The inspector"),
    Column("detector_version", Text(), "Version of the info type's detector"),
    Column("inspected_at", Timestamp(utc=True), "When it was inspected, UTC"),
    Column("run_id", Text(), "The run that inspected it"),
)
COLUMN_COLUMNS = (
    Column("place", Text(), "`lake`, or the name of a warehouse"),
    Column("table", Text(), "The table's asset key, such as `totesys/staff`"),
    Column("column", Text(), "The column"),
    Column("info_type", Text(), "What its values are, NULL where nothing was found", nullable=True),
    Column("likelihood", Text(), "How sure that is", nullable=True),
    Column("share", Float(), "Share of the distinct values that are of the info type, 0 to 1"),
    Column("distinct_values", Integer(64), "Distinct values that were inspected"),
    Column("rows_inspected", Integer(64), "Rows that the values were taken from"),
    Column("rows_total", Integer(64), "Rows of the table"),
    Column("table_version", Text(), "The version that was inspected; empty where a column could not be"),
    Column("problem", Text(), "Why the column could not be inspected, NULL where it could be", nullable=True),
    Column("decision", Text(), "What the policy decided"),
    Column("rule", Text(), "The rule that decided, NULL where none did", nullable=True),
    Column("detector", Text(), "The inspector"),
    Column("detector_version", Text(), "Its version"),
    Column("inspected_at", Timestamp(utc=True), "When it was inspected, UTC"),
    Column("run_id", Text(), "The run that inspected it"),
)
