"""The scanner's results as one CSV file, with a line for each column."""

from __future__ import annotations

import csv
import json
from pathlib import Path


def rewrite(results: str, report: str) -> None:
    """Write the report.

    Args:
        results: Folder of the scanner's results.
        report: The CSV file to write.
    """
    with Path(report).open("w", newline="", encoding="utf-8") as written:
        lines = csv.writer(written, lineterminator="\n")
        lines.writerow(("table", "rows", "column", "type"))
        for file in sorted(Path(results).glob("*.json")):
            found = json.loads(file.read_text(encoding="utf-8"))
            for column in found["columns"]:
                lines.writerow((found["table"], found["rows"], column["name"], column["type"].strip('"')))
