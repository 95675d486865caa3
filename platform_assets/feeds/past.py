"""The table of a feed at an earlier time: the rows of the loads that counted then."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from platform_assets.errors import LakeError
from platform_assets.feeds.counting import counting_rows_sql
from platform_assets.lake.past import TOUCHED, Past, PastTable
from platform_assets.model.dialects import columns_sql, literal, quote

if TYPE_CHECKING:
    from platform_assets.feeds.feed import Feed
    from platform_assets.feeds.layout import Layout
    from platform_assets.feeds.load import Feeds


def past_feed_table(feeds: Feeds, feed: Feed, layout: Layout, name: str) -> PastTable:
    """Return the table of a feed at an earlier time, with the columns that it has today.

    Loads count from the time of their entry in the feed's ledger. Rows of a withdrawn file are shown at times
    before its withdrawal until upkeep has removed them.

    Args:
        feeds: The feeds' tables.
        feed: The feed.
        layout: The columns of its table.
        name: The name of the table, such as `uploads/orders`.
    """
    table, ledger = feeds.table(feed, layout), feeds.ledger(feed).table
    names = tuple(column.name for column in layout.columns)
    # Without a key of its own, a row is identified by its load and its place in the file.
    key = feed.key if feed.mode == "merge" else ("_batch", "_line")
    columns = tuple(dict.fromkeys((*names, *key)))

    def whole(past: Past) -> str:
        stored, _ = past.relation(table, table.open())
        entries, _ = past.relation(ledger, ledger.open())
        at = literal(dt.datetime.fromtimestamp(past.at / 1e6, dt.UTC).isoformat())
        shown = columns_sql([column.name for column in table.columns])
        return (
            f"WITH stored AS (SELECT * FROM {stored}), ledger AS (SELECT * FROM {entries} "
            f'WHERE "at" <= {at}::TIMESTAMPTZ) SELECT {shown} FROM ({counting_rows_sql(feed)})'
        )

    def select(past: Past, touched: bool) -> str:
        some = f" SEMI JOIN {quote(TOUCHED)} USING ({columns_sql(key)})" if touched else ""
        return f"SELECT * FROM ({whole(past)}){some}"

    def changed(past: Past, after: int) -> str:
        # Batches of feeds are not those of sources, and a later load can end the validity of any earlier row.
        stored, _ = past.relation(table, table.open())
        return f"SELECT DISTINCT {columns_sql(key)} FROM {stored}"

    return PastTable(name, tuple(key), columns, select, changed)


def unreadable_feed_table(name: str, reason: str) -> PastTable:
    """Return the table of a feed whose ledger cannot be read: it has no rows to show, only the reason."""

    def refuse(*_: object) -> str:
        raise LakeError(f"{name} cannot be looked at: {reason}")

    return PastTable(name, ("_batch",), (), refuse, refuse)
