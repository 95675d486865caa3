"""Declaration of the table of receipts."""

from __future__ import annotations

from platform_assets.model.table import Column, Float, Integer, Text, Timestamp

RECEIPT_COLUMNS = (
    Column("delivery", Text(), "Name of the delivery"),
    Column("destination", Text(), "Name of the destination; empty for the delivery as a whole"),
    Column("version", Text(), "Version of the data; empty while it is not known"),
    Column("definition", Text(), "Fingerprint of how the delivery is defined: source, rendering, file name"),
    Column("uuid", Text(), "Identifies the delivery of this version"),
    Column("file", Text(), "Name of the file at the destination; empty for all files"),
    Column("files", Integer(32), "Number of files of the delivery, 0 while it is not known"),
    Column("attempt", Integer(32), "Number of the attempt in its run, from 1; 0 for the delivery as a whole"),
    Column("status", Text(), "planned, started, delivered, partly, failed or skipped"),
    Column("at", Timestamp(utc=True), "When this was recorded, UTC"),
    Column("planned_at", Timestamp(utc=True), "The time of the delivery's first attempt, UTC", nullable=True),
    Column("seconds", Float(64), "How long it took"),
    Column("size", Integer(64), "Bytes, as the destination reports them", nullable=True),
    Column("sent", Integer(64), "Bytes that were sent: fewer than the size where a transfer was resumed"),
    Column("rows", Integer(64), "Rows in the file, if known", nullable=True),
    Column("sha256", Text(), "Checksum of the file"),
    Column("verified_by", Text(), "How the destination's copy was verified, such as sha256 or size"),
    Column("address", Text(), "Address of the file or of the destination, without credentials"),
    Column("reason", Text(), "Why it failed or was skipped; empty otherwise"),
    Column("claimed_until", Timestamp(utc=True), "Until when the run claims the delivery", nullable=True),
    Column("claimed_by", Text(), "Machine and process of the run"),
    Column("run", Text(), "Id of the run in Dagster; empty outside it"),
    Column("commit", Integer(64), "Number of the commit; of a delivery's rows, the largest is the newest"),
)
