"""A small metadata scanner: for each Delta table of a folder a JSON file with columns, files and rows."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deltalake import DeltaTable


def main() -> int:
    """Scan; the same tables give the same files. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", type=Path, required=True, help="folder of Delta tables")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    given = parser.parse_args()
    tables = sorted(log.parent for log in given.lake.glob("**/_delta_log"))
    if not tables:
        sys.stderr.write(f"There are no tables in {given.lake}. Run the main job first: make run\n")
        return 1
    given.output.mkdir(parents=True, exist_ok=True)
    for folder in tables:
        table = DeltaTable(folder)
        name = folder.relative_to(given.lake).as_posix().replace("/", ".")
        rows = table.get_add_actions(flatten=True).column("num_records").to_pylist()
        found = {
            "table": name,
            "version": table.version(),
            "files": len(rows),
            "rows": sum(count or 0 for count in rows),
            "columns": [{"name": one.name, "type": str(one.type.to_json())} for one in table.schema().fields],
        }
        (given.output / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
        sys.stdout.write(f"{name}: {found['rows']} rows, {len(found['columns'])} columns\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
