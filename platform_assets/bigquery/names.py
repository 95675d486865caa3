"""Valid names of datasets and tables in BigQuery."""

from __future__ import annotations

import re
import unicodedata

from platform_assets.errors import WarehouseError

# https://cloud.google.com/bigquery/docs/datasets#dataset-naming and .../docs/tables#table_naming
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_IN_TABLES = ("L", "M", "N", "Pc", "Pd", "Zs")
_LONGEST_TABLE = 1024


def check_dataset(name: str) -> None:
    """Reject an invalid dataset name.

    Raises:
        WarehouseError: The name is invalid.
    """
    if not _DATASET.fullmatch(name):
        raise WarehouseError(
            f"BigQuery cannot have a dataset called {name!r}: letters from A to Z, digits and underscores "
            "are allowed. Give it another name."
        )


def check_table(name: str) -> None:
    """Reject an invalid table name.

    Raises:
        WarehouseError: The name is invalid.
    """
    refused = sorted({letter for letter in name if not _is_in_tables(letter)})
    found = ""
    if refused:
        found = f"it has {' '.join(refused)} in it"
    elif not name.strip() or len(name.encode()) > _LONGEST_TABLE:
        found = f"it is empty, or longer than {_LONGEST_TABLE} bytes"
    if found:
        raise WarehouseError(
            f"BigQuery cannot have a table called {name!r}: {found}. Letters, digits, underscores, dashes "
            "and spaces are allowed. Give it another name."
        )


def table_name(text: str) -> str:
    """The nearest name that is valid for a table without quotes, such as `sales_2024` for `sales 2024`."""
    plain = "".join(letter if letter == "_" or letter.isalnum() else "_" for letter in text).strip("_")
    return plain.encode()[:_LONGEST_TABLE].decode(errors="ignore") or "table"


def _is_in_tables(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return kind.startswith(_IN_TABLES) and letter not in "\u00a0\u2000"
