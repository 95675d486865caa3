"""Proof of completeness: compares a table's rows in source and lake, and locates the differences.

PostgreSQL sums digests of its rows per key range, DuckDB does the same for the lake's latest versions, and
only the sums are transferred. The repair of differences is in other modules.

The digest of a row is 60 bits of the MD5 of a text, the same on both sides for equal values. It is not
stored, so its definition may change. It uses the values as the lake stores them: a value that the lake stores
as NULL, such as a numeric's NaN, is NULL on both sides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from platform_assets.model.dialects import quote
from platform_assets.model.table import (
    Binary,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Table,
    Text,
    Time,
    Timestamp,
)

if TYPE_CHECKING:
    import duckdb

Expression = Callable[[Column], str]
"""Returns the SQL that reads a column of the source, as `types.value_expression` does for its source type."""

ROWS_PER_RANGE = 50_000
MOST_RANGES = 256
"""Target number of rows per range, and maximum number of ranges, in the comparison of a table."""

_DIGEST_BITS = 60
_SEPARATOR = "chr(31)"
# PostgreSQL accepts 100 arguments per call, and a text needs two.
_COLUMNS_PER_CALL = 40
_LONGEST_IN_FULL = 1_000
_RANGES_NAMED = 10
# The two timestamps that represent the infinities in values from the source, see `source.types`, and their
# microseconds.
_INFINITIES = "294247-01-10 04:00:54.775806"
_INFINITY, _MINUS_INFINITY = "'775807'", "'775806'"


@dataclass(frozen=True)
class KeyRange:
    """The rows whose key, a single integer, is in a range.

    Args:
        lower: The first key, None if the range is open; an open range includes rows with a NULL key.
        upper: The first key beyond the range, None if the range is open.
    """

    lower: int | None = None
    upper: int | None = None


@dataclass(frozen=True)
class KeyBucket:
    """The rows whose key hash begins with given bits.

    Args:
        number: The bits as a number.
        bits: Number of bits; 0 for all rows.
    """

    number: int
    bits: int


Keys = KeyRange | KeyBucket


@dataclass(frozen=True)
class RangeDifference:
    """A range of keys whose rows differ between source and lake.

    Args:
        keys: The keys.
        source_rows: Number of rows in the source.
        lake_rows: Number of rows in the lake.
        source_predicate: PostgreSQL SQL that is true for exactly these rows of the source.
        lake_predicate: DuckDB SQL that is true for exactly their versions in the lake.
    """

    keys: Keys
    source_rows: int
    lake_rows: int
    source_predicate: str
    lake_predicate: str


@dataclass(frozen=True)
class TableComparison:
    """Result of comparing a table.

    Args:
        table: The table's declaration.
        rows_in_source: Number of its rows in the source.
        rows_in_lake: Number of its rows in the lake.
        ranges: Number of key ranges that were compared.
        differing: The ranges that differ, in key order.
    """

    table: Table
    rows_in_source: int
    rows_in_lake: int
    ranges: int
    differing: tuple[RangeDifference, ...]

    @property
    def equal(self) -> bool:
        """True if source and lake hold the same rows."""
        return not self.differing

    def __str__(self) -> str:
        """Return the result in words; of the rows themselves, it contains only bounds of integer keys."""
        if self.equal:
            return f"{self.table.name}: source and lake hold the same {_rows(self.rows_in_source)}."
        named = [self._difference(difference) for difference in self.differing[:_RANGES_NAMED]]
        if len(self.differing) > _RANGES_NAMED:
            named.append(f"and {len(self.differing) - _RANGES_NAMED:,} ranges more")
        return (
            f"{self.table.name}: {len(self.differing):,} of {self.ranges:,} ranges of keys differ between "
            f"source ({_rows(self.rows_in_source)}) and lake ({_rows(self.rows_in_lake)}): "
            f"{'; '.join(named)}."
        )

    def _difference(self, difference: RangeDifference) -> str:
        source, lake = difference.source_rows, difference.lake_rows
        counts = (
            f"{_rows(source)} in both, of different content"
            if source == lake
            else f"{_rows(source)} in the source and {lake:,} in the lake"
        )
        return f"{_in_words(self.table, difference.keys)} ({counts})"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _in_words(table: Table, keys: Keys) -> str:
    name = ", ".join(table.primary_key)
    match keys:
        case KeyBucket(bits=0) | KeyRange(lower=None, upper=None):
            return f"all of {name}"
        case KeyBucket(number=number, bits=bits):
            return f"{name} in hash bucket {number:,} of {2**bits:,}"
        case KeyRange(lower=None, upper=upper):
            return f"{name} below {upper}"
        case KeyRange(lower=lower, upper=None):
            return f"{name} from {lower} on"
        case KeyRange(lower=lower, upper=upper):
            return f"{name} from {lower} to below {upper}"


def compare_table(
    run: Callable[[str], Sequence[Sequence[Any]]],
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    *,
    relation: str,
    expression: Expression,
    versions: str,
    columns: Sequence[Column] | None = None,
    rows_per_range: int = ROWS_PER_RANGE,
) -> TableComparison:
    """Compare a table in the source with its latest versions in the lake, without deleted rows.

    Source and lake must be seen as of the same moment: a snapshot, and the batch that was made from it.
    PostgreSQL scans the table once.

    Args:
        run: Runs a statement in the snapshot and returns its rows; the session has `types.SESSION_SETTINGS`.
        connection: A DuckDB connection with the time zone UTC, in which `versions` exists.
        table: The table's declaration; it has a primary key.
        relation: The table's quoted, qualified name in the source.
        expression: Returns the SQL that reads a column.
        versions: Quoted view of the committed row versions, dead letters included, with bronze's columns.
        columns: The columns to compare: those that the source has; None for all columns.
        rows_per_range: Target number of rows per range.

    Raises:
        SourceUnavailable: The connection broke.
        SourceError: The server rejected a statement.
    """
    compared = tuple(columns or table.columns)
    key = tuple(table.column(name) for name in table.primary_key)
    ranges = _ranges(connection, table, versions, rows_per_range)
    read = {column.name: expression(column) for column in (*compared, *key)}
    scaled = _scaled(run, [column for column in compared if isinstance(column.type, Decimal)], relation, read)
    source_sql = _source_sql(compared, key, relation, read, scaled, ranges)
    lake_sql = _lake_sql(compared, key, versions, ranges)
    with ThreadPoolExecutor(1) as beside:
        of_lake = beside.submit(lambda: connection.execute(lake_sql).fetchall())
        in_source = _totals(run(source_sql))
        in_lake = _totals(of_lake.result())
    differing = []
    for number, keys in enumerate(ranges):
        source, lake = in_source.get(number, _Total()), in_lake.get(number, _Total())
        if source != lake:
            predicates = _predicates(keys, key, read, scaled)
            differing.append(RangeDifference(keys, source.rows, lake.rows, *predicates))
    return TableComparison(
        table,
        sum(total.rows for total in in_source.values()),
        sum(total.rows for total in in_lake.values()),
        len(ranges),
        tuple(differing),
    )


class _Total(NamedTuple):
    """Number of rows and sum of their digests."""

    rows: int = 0
    digests: int = 0


def _totals(rows: Iterable[Sequence[Any]]) -> dict[int, _Total]:
    return {number: _Total(count, int(digests)) for number, count, digests in rows}


def _ranges(
    connection: duckdb.DuckDBPyConnection, table: Table, versions: str, rows_per_range: int
) -> list[Keys]:
    """Return ranges with about the same number of rows, if old versions are distributed like the rows."""
    (rows,) = connection.sql(f"SELECT count(*) FROM {versions}").fetchall()[0]
    wanted = min(max(math.ceil(rows / rows_per_range), 1), MOST_RANGES)
    if not _is_ranged([table.column(name) for name in table.primary_key]):
        bits = (wanted - 1).bit_length()
        return [KeyBucket(number, bits) for number in range(2**bits)]
    bounds: list[int] = []
    if wanted > 1:
        quantiles = ", ".join(f"{number / wanted:.6f}" for number in range(1, wanted))
        name = quote(table.primary_key[0])
        query = f"SELECT approx_quantile({name}, [{quantiles}]) FROM {versions}"
        bounds = sorted(set(connection.sql(query).fetchall()[0][0] or ()))
    return [KeyRange(*pair) for pair in itertools.pairwise((None, *bounds, None))]


def _is_ranged(key: Sequence[Column]) -> bool:
    return len(key) == 1 and isinstance(key[0].type, Integer)


def _bounds(ranges: Sequence[Keys]) -> list[int]:
    return [keys.upper for keys in ranges if isinstance(keys, KeyRange) and keys.upper is not None]


def _bits(buckets: Sequence[Keys]) -> int:
    return (len(buckets) - 1).bit_length()


def _scaled(
    run: Callable[[str], Sequence[Sequence[Any]]],
    decimals: Sequence[Column],
    relation: str,
    read: Mapping[str, str],
) -> frozenset[str]:
    """Return the names of the decimals that are read as one integer, all digits without the point."""
    if not decimals:
        return frozenset()
    values = ", ".join(f"{read[column.name]} AS c{number}" for number, column in enumerate(decimals))
    types = ", ".join(f"CAST(pg_typeof(c{number}) AS text)" for number in range(len(decimals)))
    # The query reads no rows of the table, but still returns a row with the types.
    nothing = f"(SELECT {values} FROM {relation} LIMIT 0) AS nothing"
    found = run(f"SELECT {types} FROM (SELECT 1) AS one_row LEFT JOIN {nothing} ON true")[0]
    return frozenset(column.name for column, type_ in zip(decimals, found, strict=True) if type_ == "bigint")


def _source_sql(
    columns: Sequence[Column],
    key: Sequence[Column],
    relation: str,
    read: Mapping[str, str],
    scaled: frozenset[str],
    ranges: Sequence[Keys],
) -> str:
    """Return the statement for the number, row count and digest sum of each range that has rows."""
    names = {name: f"c{number}" for number, name in enumerate(read)}
    selected = ", ".join(f"{read[name]} AS {alias}" for name, alias in names.items())
    if _is_ranged(key):
        bounds = ", ".join(map(str, _bounds(ranges)))
        number = (
            f"coalesce(width_bucket(CAST({names[key[0].name]} AS int8), CAST(ARRAY[{bounds}] AS int8[])), 0)"
        )
    else:
        number = f"{_source_digest(key, names, scaled)} >> {_DIGEST_BITS - _bits(ranges)}"
    # OFFSET 0 keeps the planner from merging the queries: each expression is evaluated only once, and the
    # planner expects few groups, so it does not prepare to spill them.
    return f"""
        SELECT number, count(*), sum(digest) FROM (
          SELECT {number} AS number, {_source_digest(columns, names, scaled)} AS digest
          FROM (SELECT {selected} FROM {relation} OFFSET 0) AS source OFFSET 0) AS digested
        GROUP BY number
    """


def _lake_sql(
    columns: Sequence[Column],
    key: Sequence[Column],
    versions: str,
    ranges: Sequence[Keys],
) -> str:
    """Return the same statement for the lake's latest versions."""
    names = {column.name: quote("row", column.name) for column in columns}
    keys = {column.name: f"k{number}" for number, column in enumerate(key)}
    if _is_ranged(key):
        number = f"CASE WHEN k0 IS NULL THEN 0 ELSE {_width_bucket('k0', _bounds(ranges))} END"
    else:
        number = f"{_lake_digest(key, keys)} >> {_DIGEST_BITS - _bits(ranges)}"
    grouped = ", ".join(f"{quote('row', name)} AS {alias}" for name, alias in keys.items())
    places = ", ".join(str(place + 1) for place in range(len(keys)))
    # Batch, deletion flag and digest form one number, whose maximum is the latest version: 16 bytes per row.
    version = (
        f'CAST("row"._batch AS HUGEINT) * {2 ** (_DIGEST_BITS + 1)} + '
        f"CASE WHEN _change = 'delete' THEN {2**_DIGEST_BITS} ELSE {_lake_digest(columns, names)} END"
    )
    return f"""
        SELECT {number}, count(*), sum(CAST(version & {2**_DIGEST_BITS - 1} AS BIGINT)) FROM (
          SELECT {grouped}, max({version}) AS version FROM {versions} AS "row" GROUP BY {places})
        WHERE version & {2**_DIGEST_BITS} = 0
        GROUP BY 1
    """


def _width_bucket(value: str, bounds: Sequence[int], first: int = 0) -> str:
    """Return SQL that counts the ascending bounds not above the value, starting from `first`."""
    if not bounds:
        return str(first)
    middle = len(bounds) // 2
    below = _width_bucket(value, bounds[:middle], first)
    above = _width_bucket(value, bounds[middle + 1 :], first + middle + 1)
    return f"CASE WHEN {value} < {bounds[middle]} THEN {below} ELSE {above} END"


def _predicates(
    keys: Keys, key: Sequence[Column], read: Mapping[str, str], scaled: frozenset[str]
) -> tuple[str, str]:
    if isinstance(keys, KeyBucket):
        names = {column.name: f"({read[column.name]})" for column in key}
        in_lake = {column.name: quote(column.name) for column in key}
        shift = _DIGEST_BITS - keys.bits
        return (
            f"({_source_digest(key, names, scaled)} >> {shift}) = {keys.number}",
            f"({_lake_digest(key, in_lake)} >> {shift}) = {keys.number}",
        )
    # Uses the bare column, so that an index can be used.
    name = quote(key[0].name)
    limits = [f"{name} >= {keys.lower}"] if keys.lower is not None else []
    limits += [f"{name} < {keys.upper}"] if keys.upper is not None else []
    predicate = " AND ".join(limits) or "true"
    if keys.lower is None and limits:
        predicate = f"({predicate} OR {name} IS NULL)"
    return predicate, predicate


def _source_digest(columns: Sequence[Column], names: Mapping[str, str], scaled: frozenset[str]) -> str:
    """Return PostgreSQL SQL for a digest of the values of the expressions in `names`."""
    parts = [
        (names[column.name], _in_source(column.type, names[column.name], column.name in scaled))
        for column in columns
    ]
    # The server's encoding may differ from the lake's.
    text = f"convert_to({_joined(parts)}, 'UTF8')"
    return f"CAST(CAST('x' || substr(md5({text}), 1, {_DIGEST_BITS // 4}) AS bit({_DIGEST_BITS})) AS int8)"


def _lake_digest(columns: Sequence[Column], names: Mapping[str, str]) -> str:
    """Return DuckDB SQL for the same digest."""
    parts = [(names[column.name], _in_lake(column.type, names[column.name])) for column in columns]
    return f"CAST('0x' || substr(md5({_joined(parts)}), 1, {_DIGEST_BITS // 4}) AS BIGINT)"


def _joined(parts: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """Return SQL, valid in both dialects, that joins all values to one text, unique per distinct row.

    Nulls are left out of the text. If a row has nulls, its text begins with flags that mark the null columns.
    """
    calls = []
    for start in range(0, len(parts), _COLUMNS_PER_CALL):
        some = parts[start : start + _COLUMNS_PER_CALL]
        nulls = ", ".join(f"CASE WHEN {value} IS NULL THEN '1' ELSE '0' END" for value, _ in some)
        any_null = " OR ".join(f"{value} IS NULL" for value, _ in some)
        texts = ", ".join(text for _, texts in some for text in texts)
        calls.append(f"concat_ws({_SEPARATOR}, CASE WHEN {any_null} THEN concat('N', {nulls}) END, {texts})")
    return calls[0] if len(calls) == 1 else f"concat_ws({_SEPARATOR}, {', '.join(calls)})"


def _in_source(type_: LogicalType, value: str, is_scaled: bool) -> tuple[str, ...]:
    """Return PostgreSQL SQL for the parts, texts or numbers, that represent a value of the source."""
    match type_:
        case Integer():
            return (value,)
        case Decimal(scale=scale):
            if is_scaled:
                return (f"{value} * {_unit(scale)}" if scale else value,)
            return (f"round(CAST({value} AS numeric), {scale})",)
        case Float():
            bits = f"encode(float8send(CAST({value} AS float8)), 'hex')"
            return (f"CASE WHEN {value} = 'NaN' THEN 'NaN' ELSE {bits} END",)
        case Text() | Time():
            long = f"md5(convert_to(CAST({value} AS text), 'UTF8'))"
            # A database without an encoding counts bytes. The subquery runs once and costs nothing per row.
            length = (
                "CASE WHEN (SELECT getdatabaseencoding() = 'SQL_ASCII') "
                f"THEN length(convert_to(CAST({value} AS text), 'UTF8'), 'UTF8') "
                f"ELSE length(CAST({value} AS text)) END"
            )
            return (
                length,
                f"CASE WHEN {length} > {_LONGEST_IN_FULL} THEN {long} ELSE CAST({value} AS text) END",
            )
        case Binary():
            return (f"md5({value})",)
        case Boolean():
            return (f"CAST({value} AS int4)",)
        case Date(infinite=True):
            return (value,)  # already in days
        case Date():
            return (f"{value} - DATE '1970-01-01'",)
        case Timestamp(infinite=True):
            # The two values for the infinities are beyond the exact range of extract().
            seconds = f"CAST(extract(epoch FROM {value}) AS text)"
            return (f"CASE WHEN {value} < '{_INFINITIES}' THEN {seconds} ELSE to_char({value}, 'US') END",)
        case Timestamp():
            return (f"extract(epoch FROM {value})",)


def _in_lake(type_: LogicalType, value: str) -> tuple[str, ...]:
    """Return DuckDB SQL for the parts that represent a value of the lake, likewise."""
    match type_:
        case Integer():
            return (value,)
        case Decimal(precision=precision, scale=scale):
            text = f"CAST({value} AS VARCHAR)"
            if precision == scale:  # DuckDB omits the zero before the point
                text = f"CASE WHEN {value} < 0 THEN '-0' || substr({text}, 2) ELSE '0' || {text} END"
            return (text,)
        case Float():
            bits = f"lower(hex(CAST(CAST(CAST({value} AS DOUBLE) AS BIT) AS BLOB)))"
            return (f"CASE WHEN isnan({value}) THEN 'NaN' ELSE {bits} END",)
        case Text() | Time():
            text = f"CASE WHEN length({value}) > {_LONGEST_IN_FULL} THEN md5({value}) ELSE {value} END"
            return f"length({value})", text
        case Binary():
            return (f"md5({value})",)
        case Boolean():
            return (f"CAST({value} AS INTEGER)",)
        case Date():
            days = f"{value} - DATE '1970-01-01'"
            return (_or_infinite(value, days, "DATE '1970-01-01'", "2147483647", "-2147483647"),)
        case Timestamp():
            seconds = f"CAST(epoch_us({value}) AS DECIMAL(19, 0)) * CAST({_unit(6)} AS DECIMAL(6, 6))"
            text = f"CAST({seconds} AS VARCHAR)"
            return (_or_infinite(value, text, "TIMESTAMP '1970-01-01'", _INFINITY, _MINUS_INFINITY),)


def _or_infinite(value: str, finite: str, epoch: str, above: str, below: str) -> str:
    return (
        f"CASE WHEN isfinite({value}) THEN {finite} "
        f"WHEN {value} > {epoch} THEN {above} WHEN {value} < {epoch} THEN {below} END"
    )


def _unit(scale: int) -> str:
    return "0." + "1".rjust(scale, "0")
