"""Declaration of what `lake/tables` shows of each Delta table."""

from __future__ import annotations

from platform_assets.model.table import Column, Integer, Text

UPKEEP_COLUMNS = (
    Column("table", Text(), "The table's asset key or folder"),
    Column("rows", Integer(64), "Its rows, as its statistics count them"),
    Column("files", Integer(64), "Files of its newest version, after upkeep"),
    Column("to merge", Integer(64), "Small files that the next upkeep would merge"),
    Column("bytes", Integer(64), "Bytes of the files of its newest version"),
    Column("versions", Integer(64), "Versions that can still be read"),
    Column("oldest needed version", Integer(64), "The oldest version that a reader refers to", nullable=True),
    Column("kept for", Text(), "The readers that refer to old versions"),
    Column("old versions removed", Text(), "When old versions were last removed, UTC"),
    Column("problem", Text(), "Why its upkeep failed; empty if it succeeded"),
)
"""Columns of the preview of `lake/tables`."""
