"""Conversion between row streams and `pyarrow.Table`, `pyarrow.RecordBatchReader` or `pandas.DataFrame`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

FORMS = "pyarrow.Table, pyarrow.RecordBatchReader or pandas.DataFrame"


def as_form(rows: pa.RecordBatchReader, form: object) -> Any:
    """Convert a stream of rows to the type of an annotation; without annotation, to a `pyarrow.Table`.

    Raises:
        TypeError: The annotated type is not supported.
    """
    if form is pa.RecordBatchReader:
        return rows
    if form is pa.Table or form is Any or form is object or form is None:
        return rows.read_all()
    if getattr(form, "__name__", "") == "DataFrame" and getattr(form, "__module__", "").startswith("pandas"):
        return rows.read_all().to_pandas()
    raise TypeError(f"a table can be loaded as {FORMS}, not as {form}")


def as_rows(value: object) -> pa.RecordBatchReader:
    """Convert a value of any of the three types to a stream of rows.

    Raises:
        TypeError: The value has none of these types.
    """
    if isinstance(value, pa.RecordBatchReader):
        return value
    if isinstance(value, pa.Table):
        return value.to_reader()
    if type(value).__name__ == "DataFrame" and type(value).__module__.startswith("pandas"):
        return pa.Table.from_pandas(value, preserve_index=False).to_reader()
    raise TypeError(f"a table is written from {FORMS}, not from {type(value).__name__}")
