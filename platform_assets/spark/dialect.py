"""The SQL of star tables in Spark's dialect, with record ids that several workers can number.

A fact's SELECT numbers its rows by `ROW_NUMBER() OVER (ORDER BY ...)`: one worker would sort all of them.
Instead the rows are split into ranges of the order, each range is numbered by itself, and its numbers start
after the rows of the ranges before it. The result is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import sqlglot
from sqlglot import exp

from platform_assets.errors import LakeError
from platform_assets.model.dialects import SPARK
from platform_assets.model.table import LogicalType

_MONDAY = exp.cast(exp.Literal.string("1970-01-05"), "DATE")
LAST_RECORD_ID = "last_record_id"
"""Parameter of a fact's SELECT: the last record id that is taken."""


def spark_sql(sql: str, views: Mapping[str, str], values: Mapping[str, int] | None = None) -> exp.Select:
    """Translate a SELECT from DuckDB's dialect.

    Args:
        sql: The SELECT.
        views: The views in place of its tables, by the names that the SELECT uses.
        values: Its parameters.

    Raises:
        LakeError: It is not a SELECT.
    """
    select = sqlglot.parse_one(sql, read="duckdb")
    if not isinstance(select, exp.Select):
        raise LakeError("The SQL of a star table must be one SELECT.")

    def translated(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Table) and (view := views.get(_name_of(node))) is not None:
            alias = node.alias or node.name
            return exp.to_table(view).as_(alias, quoted=True)
        if isinstance(node, exp.Extract) and node.name.upper() == "ISODOW":
            days = exp.Anonymous(this="DATEDIFF", expressions=[node.expression, _MONDAY.copy()])
            # WEEKDAY would do on Spark, but in Sail 0.7 it is -1 on a Sunday.
            place = exp.Anonymous(this="PMOD", expressions=[days, exp.Literal.number(7)])
            return exp.paren(exp.Add(this=place, expression=exp.Literal.number(1)))
        if isinstance(node, exp.Parameter | exp.Placeholder) and node.name in (values or {}):
            return exp.Literal.number((values or {})[node.name])
        return node

    return cast("exp.Select", select.transform(translated))


def sql_of(select: exp.Expr) -> str:
    """Return SQL as Spark reads it."""
    return select.sql(dialect="spark", comments=False)


def _name_of(table: exp.Table) -> str:
    return f"{table.db}.{table.name}" if table.db else table.name


@dataclass(frozen=True)
class Numbering:
    """The one place of a SELECT where all of its rows are numbered.

    Args:
        select: The SELECT, in Spark's dialect.
        order: What the rows are numbered by.
    """

    select: exp.Select
    order: tuple[exp.Expr, ...]

    @classmethod
    def find(cls, select: exp.Select) -> Numbering | None:
        """Return the numbering of a SELECT; None if there is none that can be split into ranges."""
        windows = list(select.find_all(exp.Window))
        if len(windows) != 1 or any(
            select.args.get(name) for name in ("group", "having", "qualify", "distinct", "limit", "with_")
        ):
            return None
        [window] = windows
        order = window.args.get("order")
        if order is None or window.args.get("partition_by") or window.args.get("spec"):
            return None
        is_plain = isinstance(window.this, exp.RowNumber) and (
            all(
                isinstance(expression, exp.Ordered) and not expression.args.get("desc")
                for expression in order.expressions
            )
        )
        return cls(select, tuple(expression.this for expression in order.expressions)) if is_plain else None

    def rows(self, selected: Sequence[exp.Expr]) -> exp.Select:
        """Return a SELECT of other expressions from the same rows."""
        found = self.select.copy()
        found.set("expressions", [term.copy() for term in selected])
        return found

    def sample(self, one_in: int) -> str:
        """Return SQL for the order of about one in so many rows, sorted."""
        hashed = exp.Anonymous(this="XXHASH64", expressions=[term.copy() for term in self.order])
        chosen = exp.EQ(
            this=exp.Anonymous(this="PMOD", expressions=[hashed, exp.Literal.number(one_in)]),
            expression=exp.Literal.number(0),
        )
        named = [term.copy().as_(f"o{place}") for place, term in enumerate(self.order)]
        select = self.rows(named).where(chosen)
        return sql_of(select.order_by(*(f"o{place}" for place in range(len(named)))))

    def counts(self, bounds: Sequence[Sequence[exp.Expr]]) -> str:
        """Return SQL for the number of rows in each range that has any."""
        selected = [self._range(bounds).as_("place"), exp.Count(this=exp.Star()).as_("how_many")]
        return sql_of(self.rows(selected).group_by(self._range(bounds)))

    def numbered(self, bounds: Sequence[Sequence[exp.Expr]], before: Sequence[int]) -> exp.Select:
        """Return the SELECT, with each range numbered by itself.

        Args:
            bounds: The lower bounds of all ranges but the first, in order.
            before: For each range, the number of rows in the ranges before it.
        """
        found = self.select.copy()
        [window] = found.find_all(exp.Window)
        window.set("partition_by", [self._range(bounds)])
        numbers = [exp.Literal.number(value) for value in before]
        window.replace(exp.paren(exp.Add(this=self._by_range(bounds, numbers), expression=window.copy())))
        return found

    def _range(self, bounds: Sequence[Sequence[exp.Expr]]) -> exp.Expr:
        return self._by_range(bounds, [exp.Literal.number(place) for place in range(len(bounds) + 1)])

    def _by_range(self, bounds: Sequence[Sequence[exp.Expr]], values: Sequence[exp.Expr]) -> exp.Expr:
        """Return SQL for the value of a row's range, found by bisection; NULLs are in the last range."""
        if not bounds:
            return values[0].copy()
        middle = len(bounds) // 2
        low = self._by_range(bounds[:middle], values[: middle + 1])
        high = self._by_range(bounds[middle + 1 :], values[middle + 1 :])
        return exp.Case(ifs=[exp.If(this=self._is_before(bounds[middle]), true=low)], default=high)

    def _is_before(self, bound: Sequence[exp.Expr]) -> exp.Expr:
        condition: exp.Expr = exp.false()
        for value, limit in reversed(list(zip(self.order, bound, strict=True))):
            below = exp.LT(this=value.copy(), expression=limit.copy())
            equal = exp.EQ(this=value.copy(), expression=limit.copy())
            condition = exp.paren(exp.or_(below, exp.and_(equal, condition)))
        return condition


def constant(value: object, type_: LogicalType) -> exp.Expr:
    """Return a value as a constant of a type."""
    return exp.cast(exp.Literal.string(str(value)), SPARK.type_name(type_), dialect="spark")
