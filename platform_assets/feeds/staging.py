"""Staging of one object: read and converted completely before any of it is written to the lake."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.feeds.feed import Feed
from platform_assets.feeds.layout import Layout, LayoutChanged, layout_of
from platform_assets.feeds.rows import BadRow, Chunk, RowFile
from platform_assets.feeds.values import convert, rule_name, type_name
from platform_assets.lake.arrow import arrow_type
from platform_assets.model.table import Text

LETTER_SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("row", pa.string())])
"""Schema of the staged dead letters."""

_SAMPLED_ROWS = 10_000
_SAMPLED_BYTES = 32 * 1024 * 1024
_ROWS_TO_JUDGE = 10
_LONGEST_VALUE = 1_000
_LETTERS_PER_BATCH = 1_000


@dataclass
class Staged:
    """A staged object.

    Attributes:
        layout: The table's columns after loading it.
        rows: Number of its rows.
        dead_letters: Number of rejected rows.
        path: File of the rows, with the columns of `layout` and `_line`.
        letters: File of the rejected rows, as `LETTER_SCHEMA`.
    """

    layout: Layout
    path: Path
    letters: Path
    rows: int = 0
    dead_letters: int = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        return _batches(self.path)

    def letter_batches(self) -> Iterator[pa.RecordBatch]:
        """The rejected rows."""
        return _batches(self.letters)

    @property
    def schema(self) -> pa.Schema:
        """The schema of the rows."""
        return _schema(self.layout)


@dataclass
class _Tally:
    """Counts of a column's values."""

    given: int = 0
    wrong: int = 0


@dataclass
class _Counts:
    """Counts of a file's rows."""

    columns: dict[str, _Tally] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)


def stage(feed: Feed, known: Layout, file: RowFile, folder: Path, *, is_clean: bool) -> Staged:
    """Convert a file's rows, and separate the rows that break a rule.

    Args:
        feed: The feed.
        known: The columns of its table so far.
        file: The file.
        folder: The folder for the result.
        is_clean: True if nothing sensitive was found in the file, so that dead letters may contain values and
            messages may contain column names. Otherwise they contain their lengths only.

    Raises:
        LayoutChanged: The file has other columns, or hardly any valid row.
        Unreadable: The file does not have the feed's format.
        ObjectsError: The object cannot be read.
    """
    sample = _sampled(file.chunks)
    layout = layout_of(feed, known, file, sample, names_are_shown=is_clean)
    staged = Staged(layout, folder / "rows", folder / "letters")
    counts = _Counts()
    with _writer(staged.path, staged.schema) as rows, _writer(staged.letters, LETTER_SCHEMA) as letters:
        for chunk in chain(_drained(sample), file.chunks):
            batch, bad = _shaped(feed, layout, chunk, counts)
            if batch.num_rows:
                rows.write_batch(batch)
            for some in _cut(bad):
                letters.write_batch(_letters(some, is_clean=is_clean))
            counts.reasons.update(bad_row.reason for bad_row in bad)
            staged.rows += batch.num_rows
            staged.dead_letters += len(bad)
    _refuse_other_content(layout, counts, staged)
    return staged


def _sampled(chunks: Iterator[Chunk]) -> list[Chunk]:
    sample: list[Chunk] = []
    rows = size = 0
    for chunk in chunks:
        sample.append(chunk)
        rows += len(chunk.lines)
        size += sum(column.nbytes for column in chunk.columns.values())
        if rows >= _SAMPLED_ROWS or size >= _SAMPLED_BYTES:
            break
    return sample


def _drained(sample: list[Chunk]) -> Iterator[Chunk]:
    sample.reverse()
    while sample:
        yield sample.pop()


def _shaped(feed: Feed, layout: Layout, chunk: Chunk, counts: _Counts) -> tuple[pa.RecordBatch, list[BadRow]]:
    names = {column.name for column in layout.columns}
    more = [name for name in chunk.columns if name not in names]
    count = len(chunk.lines)
    if more and count and feed.new_columns != "ignore":
        raise LayoutChanged(
            f"near line {chunk.lines[0]:,} it has undeclared columns that its first rows lack ({len(more)})"
        )
    reasons: dict[int, list[str]] = {}
    arrays = []
    for column in layout.columns:
        given = chunk.columns.get(column.name)
        if given is None:
            given = pa.nulls(count, pa.string())
        converted = convert(given, column.type, feed.formats.get(column.name))
        tally = counts.columns.setdefault(column.name, _Tally())
        tally.given += count - given.null_count
        tally.wrong += len(converted.bad)
        for index in converted.bad:
            reasons.setdefault(index, []).append(f"{rule_name(column.type)}({column.name})")
        rules: list[tuple[str, Any]] = []
        if not column.nullable or column.name in feed.key:
            rules.append(("not_null", pc.is_null(given)))
        if isinstance(column.type, Text) and column.type.max_length is not None:
            rules.append(("max_length", pc.greater(pc.utf8_length(given), column.type.max_length)))
        if column.accepted:
            is_other = pc.invert(pc.is_in(converted.values, pa.array(column.accepted)))
            rules.append(("accepted_values", pc.and_(is_other, pc.is_valid(converted.values))))
        for rule, mask in rules:
            for index in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist():
                reasons.setdefault(index, []).append(f"{rule}({column.name})")
        arrays.append(converted.values)
    schema = _schema(layout)
    batch = pa.RecordBatch.from_arrays([*arrays, pa.array(chunk.lines, pa.int64())], schema=schema)
    bad = [
        BadRow(
            chunk.lines[index],
            "; ".join(reasons[index]),
            {name: column[index].as_py() for name, column in chunk.columns.items()},
        )
        for index in sorted(reasons)
    ]
    if reasons:
        batch = batch.filter(pa.array([index not in reasons for index in range(count)]))
    return batch, sorted([*chunk.bad, *bad], key=lambda bad_row: bad_row.line)


def _refuse_other_content(layout: Layout, counts: _Counts, staged: Staged) -> None:
    """Reject a file as changed if a column has no value of its type, or if no row is valid."""
    for column in layout.columns:
        tally = counts.columns.get(column.name, _Tally())
        if tally.given >= _ROWS_TO_JUDGE and tally.wrong == tally.given:
            raise LayoutChanged(
                f"column {column.name} has another type: none of its {tally.given:,} values is "
                f"{type_name(column.type)}"
            )
    if not staged.rows and staged.dead_letters >= _ROWS_TO_JUDGE:
        [(reason, number)] = counts.reasons.most_common(1)
        raise LayoutChanged(
            f"none of its {staged.dead_letters:,} rows is valid; {number:,} break the rule {reason}"
        )


def _letters(bad: Sequence[BadRow], *, is_clean: bool) -> pa.RecordBatch:
    rows = [_row(bad_row.values, _value if is_clean else _shape) for bad_row in bad]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([bad_row.line for bad_row in bad], pa.int64()),
            pa.array([bad_row.reason for bad_row in bad], pa.string()),
            pa.array(rows, pa.string()),
        ],
        schema=LETTER_SCHEMA,
    )


def _row(values: Mapping[str, Any] | Sequence[str], tell: Any) -> str:
    if isinstance(values, Mapping):
        shown: Any = {name: tell(value) for name, value in values.items()}
    else:
        shown = [tell(value) for value in values]
    # Bytes that are not text were decoded to U+FFFD.
    return json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace").decode()


def _value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _shape(value: Any) -> dict[str, Any] | None:
    """The length and kinds of characters of a value, which do not disclose it."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return {"length": len(value), "of": "bytes"}
    text = str(value)
    kinds = {
        "letters": any(character.isalpha() for character in text),
        "digits": any(character.isdigit() for character in text),
        "blanks": any(character.isspace() for character in text),
    }
    others = any(not (sign.isalpha() or sign.isdigit() or sign.isspace()) for sign in text)
    made_of = [kind for kind, is_there in {**kinds, "others": others}.items() if is_there]
    return {"length": len(text), "of": ", ".join(made_of)}


def _cut(bad: Sequence[BadRow]) -> Iterable[Sequence[BadRow]]:
    return (bad[start : start + _LETTERS_PER_BATCH] for start in range(0, len(bad), _LETTERS_PER_BATCH))


def _schema(layout: Layout) -> pa.Schema:
    fields = [pa.field(column.name, arrow_type(column.type)) for column in layout.columns]
    return pa.schema([*fields, pa.field("_line", pa.int64())])


@contextlib.contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatchStreamWriter]:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with path.open("wb") as file, pa.ipc.new_stream(file, schema, options=options) as writer:
        yield writer


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader
