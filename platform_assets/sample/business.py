"""Simulation of the sample business: working days, orders, payments and designs, as columns of numbers.

The simulation is pure and deterministic: the same random generator gives the same columns. Its distributions
were measured on the real database. Connections are in sample.py. Times are wall-clock times in microseconds
since 1970-01-01; dates are days since then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from platform_assets.model.totesys.source import (
    ADDRESS,
    COUNTERPARTY,
    CURRENCY,
    DEPARTMENT,
    PAYMENT,
    PAYMENT_TYPE,
    PURCHASE_ORDER,
    SALES_ORDER,
    STAFF,
    TRANSACTION,
)
from platform_assets.sample import names, rows
from platform_assets.sample.rows import Flags, Integers

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (the source's timestamps have no zone)
OPENING = dt.datetime(2022, 11, 3, 14, 20, 49, 962_000)  # noqa: DTZ001
"""Time when offices, partners and first designs were entered; the first orders followed seconds later."""

SALES_A_DAY = 21
PURCHASES_PER_SALE = 0.4125
WORKING_DAYS = 619
"""Working days of the default business, until March 2025; a larger one has more orders on the same days."""

_PEOPLE_ENTERED_US = 1_601_000
_FIRST_ORDERS_US = 2_224_000
_FIRST_ORDERS = 10
_FIRST_DESIGNS = 10
_DESIGNS_A_DAY = 0.95
_DAILY_SPREAD = 0.24
_OPENS, _CLOSES = 8 * 60, 19 * 60
_FIRST_DAY_OPENS = 14 * 60 + 21
_PAYMENT_RUN_US = (7 * 60 + 55) * 60 * SECOND_US + 11 * SECOND_US

_PAID_AFTER_DAYS = np.repeat(np.arange(7), (74, 164, 161, 163, 163, 174, 101))
_DELIVERED_AFTER_DAYS = np.repeat(np.arange(8), (59, 145, 142, 147, 147, 139, 138, 83))
LATEST_DELIVERY_DAYS = 720
_PUSHED_DELIVERIES = 0.007
_SHORTEST_PUSH_DAYS = 11
_SWAPPED_PAIRS = 0.0012
_WHOLE_SECONDS = 1 / 600
_DISPLACED_ROWS = 0.02

_SALES_RECEIPT, _PURCHASE_PAYMENT = 1, 3
_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)
_CHUNK_ORDERS = 120_000


def generator(*seeds: int) -> np.random.Generator:
    """Create a random generator that depends only on the seeds."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seeds)))


def day_number(day: dt.date) -> int:
    """Return the number of days from 1970-01-01 to `day`."""
    return (day - _EPOCH.date()).days


def working_days(first: dt.date, count: int) -> Integers:
    """Return the first `count` days from `first` on that are not Saturdays or Sundays."""
    days = np.busday_offset(np.datetime64(first), np.arange(count), roll="forward")
    return days.astype("datetime64[D]").astype(np.int64)


def working_days_between(first: dt.date, last: dt.date) -> int:
    """Return the number of working days from `first` to `last`, both included."""
    return int(np.busday_count(first, last + dt.timedelta(days=1)))


def iso_dates(days: Integers) -> rows.Field:
    """Build a `text` column of dates as YYYY-MM-DD."""
    first = int(days.min())
    calendar = np.arange(first, int(days.max()) + 1).astype("datetime64[D]").astype("S10")
    return rows.fixed_text(calendar[days - first])


@dataclass(frozen=True)
class PaymentRuns:
    """Payment runs: one run on every working day, with one timestamp for all its payments.

    Args:
        first: The first day that the runs cover.
        times: The run's time on each day from `first` on, or -1 for days without a run (weekends).
    """

    first: int
    times: Integers

    @classmethod
    def on(cls, days: Integers, random: np.random.Generator) -> PaymentRuns:
        """Create a run shortly after 07:55:11 on each of the days, given in order."""
        first = int(days[0])
        times = np.full(int(days[-1]) - first + 1, -1, np.int64)
        delay = random.integers(400, 1_050, len(days)) * 1_000
        times[days - first] = days * DAY_US + _PAYMENT_RUN_US + delay
        return cls(first, times)

    def time_of(self, days: Integers) -> Integers:
        """Return the run's time on each day, -1 for days without a run."""
        place = days - self.first
        inside = (place >= 0) & (place < len(self.times))
        return np.where(inside, self.times[np.where(inside, place, 0)], -1)


@dataclass(frozen=True)
class NextIds:
    """The first free id in each of the growing tables."""

    sales_order: int = 1
    purchase_order: int = 1
    transaction: int = 1
    payment: int = 1


@dataclass(frozen=True)
class Plan:
    """Working days in order, and the amount of business on each.

    Args:
        days: The days.
        sales: Number of sales orders of each day.
        purchases: Number of purchase orders of each day.
        designs_known: Number of designs that exist at the beginning of each day.
        opening: Whether the first day is the opening day, on which business began in the afternoon.
    """

    days: Integers
    sales: Integers
    purchases: Integers
    designs_known: Integers
    opening: bool = False

    def chunks(self) -> Iterator[Plan]:
        """Split the plan into runs of whole days with a bounded number of orders, except for larger days."""
        orders = np.cumsum(self.sales + self.purchases)
        start = 0
        while start < len(self.days):
            before = int(orders[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(orders, before + _CHUNK_ORDERS, "right")))
            piece = slice(start, end)
            yield Plan(
                self.days[piece],
                self.sales[piece],
                self.purchases[piece],
                self.designs_known[piece],
                self.opening and start == 0,
            )
            start = end


@dataclass(frozen=True)
class BusinessChunk:
    """Rows of the four growing tables for some days, as the columns of a COPY, in natural row order.

    Args:
        fields: Columns by name, by table name.
        counts: Number of rows by table name.
        next_ids: The first free ids after this chunk.
        paid: Number of payments that have been made.
    """

    fields: dict[str, dict[str, rows.Field]]
    counts: dict[str, int]
    next_ids: NextIds
    paid: int


def opening_plan(sales: int, random: np.random.Generator) -> Plan:
    """Plan a new business with exactly `sales` sales orders; designs_known is that of the opening."""
    days = working_days(OPENING.date(), min(WORKING_DAYS, -(-sales // SALES_A_DAY)))
    purchases = max(1, round(sales * PURCHASES_PER_SALE))
    return Plan(
        days,
        _spread(sales, len(days), random),
        _spread(purchases, len(days), random),
        np.full(len(days), _FIRST_DESIGNS, np.int64),
        opening=True,
    )


def next_plan(
    last: dt.date, days: int, sales_a_day: float, purchases_a_day: float, random: np.random.Generator
) -> Plan:
    """Plan the `days` working days after `last`, with the given amount of business per day."""
    following = working_days(last + dt.timedelta(days=1), days)
    volumes = [
        np.maximum(0, np.rint(mean * random.normal(1, _DAILY_SPREAD, days))).astype(np.int64)
        for mean in (sales_a_day, purchases_a_day)
    ]
    # A day without any business would look like a day that has not happened yet.
    volumes[0] = np.maximum(volumes[0], 1)
    return Plan(following, volumes[0], volumes[1], np.zeros(days, np.int64))


def _spread(total: int, days: int, random: np.random.Generator) -> Integers:
    """Split a total over the days, unevenly but exactly."""
    weights = np.clip(random.normal(1, _DAILY_SPREAD, days), 0.3, 1.7)
    shares = np.rint(np.cumsum(weights) / weights.sum() * total).astype(np.int64)
    per_day: Integers = np.diff(shares, prepend=0)
    return per_day


def designs(
    plan: Plan, first_id: int, known: int, random: np.random.Generator
) -> tuple[dict[str, rows.Field], Integers]:
    """Create the designs of the plan's days.

    Args:
        plan: The days.
        first_id: Id of the first design.
        known: Number of designs that already exist; at the opening, the first designs are created here.
        random: The random generator.

    Returns:
        The columns of the new rows, and the number of designs at the beginning of each day.
    """
    made = random.poisson(_DESIGNS_A_DAY, len(plan.days))
    created = np.repeat(plan.days, made) * DAY_US + _minutes(random, int(made.sum())) * 60 * SECOND_US
    created += _odd_milliseconds(random, len(created)) * 1_000
    first_day = plan.days[0] * DAY_US
    if plan.opening:
        made[0] = 0
        opening = np.full(_FIRST_DESIGNS, microseconds(OPENING))
        created = np.concatenate((opening, created[created >= first_day + DAY_US]))
        known = _FIRST_DESIGNS
    created = np.sort(created)
    count = len(created)
    labels = [names.DESIGN_NAMES[number] for number in random.integers(0, len(names.DESIGN_NAMES), count)]
    folders = [
        names.DESIGN_FOLDERS[number] for number in random.integers(0, len(names.DESIGN_FOLDERS), count)
    ]
    drawn = (created // DAY_US - random.integers(1, 900, count)).astype("datetime64[D]")
    suffixes = np.char.lower(_codes(random, count, 4)).astype("U4")
    files = [
        f"{label.lower()}-{str(day).replace('-', '')}-{suffix}.json"
        for label, day, suffix in zip(labels, drawn, suffixes, strict=True)
    ]
    fields = {
        "design_id": rows.integer(np.arange(first_id, first_id + count)),
        "design_name": rows.text(labels),
        "file_location": rows.text(folders),
        "file_name": rows.text(files),
        "created_at": rows.timestamp(created),
        "last_updated": rows.timestamp(created),
    }
    return fields, known + np.cumsum(made) - made


def static_tables() -> dict[str, dict[str, rows.Field]]:
    """Return the columns of the six tables that never grow."""
    entered = microseconds(OPENING)
    people = entered + _PEOPLE_ENTERED_US
    address = list(zip(*names.ADDRESSES, strict=True))
    partner = list(zip(*names.COUNTERPARTIES, strict=True))
    department = list(zip(*names.DEPARTMENTS, strict=True))
    staff = list(zip(*names.STAFF, strict=True))
    mail = [f"{given}.{family}@{names.MAIL_DOMAIN}".lower() for given, family, _ in names.STAFF]
    texts: dict[str, tuple[int, dict[str, Sequence[str | None]], dict[str, Sequence[int]]]] = {
        ADDRESS.name: (entered, dict(zip(ADDRESS.column_names[1:8], address, strict=True)), {}),
        COUNTERPARTY.name: (
            people,
            {
                "counterparty_legal_name": partner[0],
                "commercial_contact": partner[2],
                "delivery_contact": partner[3],
            },
            {"legal_address_id": partner[1]},
        ),
        CURRENCY.name: (entered, {"currency_code": names.CURRENCIES}, {}),
        DEPARTMENT.name: (entered, dict(zip(DEPARTMENT.column_names[1:4], department, strict=True)), {}),
        STAFF.name: (
            people,
            {"first_name": staff[0], "last_name": staff[1], "email_address": mail},
            {"department_id": staff[2]},
        ),
        PAYMENT_TYPE.name: (
            entered,
            {"payment_type_name": PAYMENT_TYPE.column("payment_type_name").accepted},
            {},
        ),
    }
    tables = {}
    for name, (when, text_columns, integer_columns) in texts.items():
        count = len(next(iter(text_columns.values())))
        time = rows.timestamp(np.full(count, when))
        tables[name] = {
            f"{name}_id": rows.integer(np.arange(1, count + 1)),
            **{column: rows.text(values) for column, values in text_columns.items()},
            **{column: rows.integer(np.array(values)) for column, values in integer_columns.items()},
            "created_at": time,
            "last_updated": time,
        }
    return tables


def wall_clock(time: int) -> dt.datetime:
    """Convert microseconds since 1970-01-01 00:00 to a time without zone."""
    return _EPOCH + dt.timedelta(microseconds=time)


def microseconds(when: dt.datetime) -> int:
    """Convert a time without zone to microseconds since 1970-01-01 00:00 on the same clock."""
    return (when - _EPOCH) // dt.timedelta(microseconds=1)


def orders(plan: Plan, ids: NextIds, runs: PaymentRuns, random: np.random.Generator) -> BusinessChunk:
    """Create the orders of some days with their transactions and payments.

    Each order shares its `created_at` with its transaction and payment. A payment is made by the run of its
    own payment date. A payment that is due on the day of the order or on a weekend is never made, as in the
    real database.

    Args:
        plan: The days.
        ids: The first free ids.
        runs: The payment runs that have happened, including those after the plan's days.
        random: The random generator.
    """
    created, is_sale, day_index = _order_times(plan, random)
    count = len(created)
    created, swapped = _crossing_pairs(created, is_sale, day_index, random)
    created_day = plan.days[day_index]

    position = np.arange(count)
    transaction_id = ids.transaction + position
    payment_id = ids.payment + position
    payment_id[swapped], payment_id[swapped + 1] = payment_id[swapped + 1], payment_id[swapped]
    sale, purchase = np.flatnonzero(is_sale), np.flatnonzero(~is_sale)
    sales_order_id = ids.sales_order + np.cumsum(is_sale) - 1
    purchase_order_id = ids.purchase_order + np.cumsum(~is_sale) - 1

    counterparty = random.integers(1, len(names.COUNTERPARTIES) + 1, count)
    currency = random.integers(1, len(names.CURRENCIES) + 1, count)
    staff = random.integers(1, len(names.STAFF) + 1, count)
    location = random.integers(1, len(names.ADDRESSES) + 1, count)
    payment_day = created_day + _PAID_AFTER_DAYS[random.integers(0, len(_PAID_AFTER_DAYS), count)]
    delivery_day = created_day + _delivery_lags(random, count)
    quantity, price = np.empty(count, np.int64), np.empty(count, np.int64)
    quantity[sale] = random.integers(1_000, 100_000, len(sale))
    price[sale] = random.integers(200, 401, len(sale))
    quantity[purchase] = random.integers(1, 1_000, len(purchase))
    price[purchase] = random.integers(100, 100_000, len(purchase))

    run = runs.time_of(payment_day)
    paid = (run >= 0) & (payment_day > created_day)
    payment_updated = np.where(paid, run, created)

    def order_columns(of: Integers) -> dict[str, rows.Field]:
        return {
            "staff_id": rows.integer(staff[of]),
            "counterparty_id": rows.integer(counterparty[of]),
            "currency_id": rows.integer(currency[of]),
            "agreed_delivery_date": iso_dates(delivery_day[of]),
            "agreed_payment_date": iso_dates(payment_day[of]),
            "agreed_delivery_location_id": rows.integer(location[of]),
            "created_at": rows.timestamp(created[of]),
            "last_updated": rows.timestamp(created[of]),
        }

    fields: dict[str, dict[str, rows.Field]] = {}
    if len(sale):
        of = sale[_natural_order(random, len(sale))]
        design = 1 + (random.random(len(of)) * plan.designs_known[day_index[of]]).astype(np.int64)
        fields[SALES_ORDER.name] = {
            "sales_order_id": rows.integer(sales_order_id[of]),
            "design_id": rows.integer(design),
            "units_sold": rows.integer(quantity[of]),
            "unit_price": rows.numeric(price[of]),
            **order_columns(of),
        }
    if len(purchase):
        codes = _codes(random, len(purchase), 7)
        if ids.purchase_order == 1:
            codes[len(codes) // 2] = names.ALL_DIGITS_ITEM_CODE.encode()
        shuffled = _natural_order(random, len(purchase))
        of = purchase[shuffled]
        fields[PURCHASE_ORDER.name] = {
            "purchase_order_id": rows.integer(purchase_order_id[of]),
            "item_code": rows.fixed_text(codes[shuffled]),
            "item_quantity": rows.integer(quantity[of]),
            "item_unit_price": rows.numeric(price[of]),
            **order_columns(of),
        }
    of = _natural_order(random, count)
    kinds = np.array([b"PURCHASE", b"SALE"])
    fields[TRANSACTION.name] = {
        "transaction_id": rows.integer(transaction_id[of]),
        "transaction_type": rows.text(kinds[is_sale[of].astype(np.int64)]),
        "sales_order_id": rows.integer(sales_order_id[of], null=~is_sale[of]),
        "purchase_order_id": rows.integer(purchase_order_id[of], null=is_sale[of]),
        "created_at": rows.timestamp(created[of]),
        "last_updated": rows.timestamp(created[of]),
    }
    # An update moves a row to a new position, so payments lie in the order of their last write.
    of = np.argsort(payment_updated, kind="stable")
    accounts = random.integers(10_000_000, 100_000_000, (2, count))
    fields[PAYMENT.name] = {
        "payment_id": rows.integer(payment_id[of]),
        "transaction_id": rows.integer(transaction_id[of]),
        "counterparty_id": rows.integer(counterparty[of]),
        "payment_amount": rows.numeric((quantity * price)[of]),
        "currency_id": rows.integer(currency[of]),
        "payment_type_id": rows.integer(np.where(is_sale[of], _SALES_RECEIPT, _PURCHASE_PAYMENT)),
        "paid": rows.boolean(paid[of]),
        "payment_date": iso_dates(payment_day[of]),
        "company_ac_number": rows.integer(accounts[0]),
        "counterparty_ac_number": rows.integer(accounts[1]),
        "created_at": rows.timestamp(created[of]),
        "last_updated": rows.timestamp(payment_updated[of]),
    }
    return BusinessChunk(
        fields=fields,
        counts={
            SALES_ORDER.name: len(sale),
            PURCHASE_ORDER.name: len(purchase),
            TRANSACTION.name: count,
            PAYMENT.name: count,
        },
        next_ids=NextIds(
            ids.sales_order + len(sale),
            ids.purchase_order + len(purchase),
            ids.transaction + count,
            ids.payment + count,
        ),
        paid=int(paid.sum()),
    )


def _order_times(plan: Plan, random: np.random.Generator) -> tuple[Integers, Flags, Integers]:
    """Return each order's time, whether it is a sale, and the index of its day; ordered by time."""
    days = np.arange(len(plan.days))
    day_index = np.concatenate((np.repeat(days, plan.sales), np.repeat(days, plan.purchases)))
    is_sale = np.arange(len(day_index)) < plan.sales.sum()
    minutes = _minutes(random, len(day_index))
    if plan.opening:
        first_day = np.flatnonzero(day_index == 0)
        minutes[first_day] = random.integers(_FIRST_DAY_OPENS, _CLOSES, len(first_day))
    created = plan.days[day_index] * DAY_US + minutes * 60 * SECOND_US
    created += _odd_milliseconds(random, len(created)) * 1_000
    if plan.opening:
        burst = random.permutation(first_day)[:_FIRST_ORDERS]
        created[burst] = microseconds(OPENING) + _FIRST_ORDERS_US + random.integers(0, 3, len(burst)) * 1_000
    order = np.argsort(created, kind="stable")
    return created[order], is_sale[order], day_index[order]


def _minutes(random: np.random.Generator, count: int) -> Integers:
    """Draw minutes of the day within office hours."""
    return random.integers(_OPENS, _CLOSES, count)


def _odd_milliseconds(random: np.random.Generator, count: int) -> Integers:
    """Draw milliseconds of the minute: the real application writes about ten seconds past the full minute."""
    drawn = np.clip(np.rint(random.normal(9_950, 270, count)), 9_400, 11_500).astype(np.int64)
    drawn[random.random(count) < _WHOLE_SECONDS] = 10_000
    return drawn


def _crossing_pairs(
    created: Integers, is_sale: Flags, day_index: Integers, random: np.random.Generator
) -> tuple[Integers, Integers]:
    """Make a few pairs of neighbours concurrent, so that ids do not follow the order of time.

    Returns:
        The times, and the index of each pair's first order, which gets the second order's payment id. In half
        of the pairs the orders and transactions are out of order, in the other half the payments.
    """
    same_day = day_index[1:] == day_index[:-1]
    chosen = same_day & (random.random(len(same_day)) < _SWAPPED_PAIRS)
    # Even the smallest business has such a pair; if two sales are neighbours, the pair consists of sales.
    wanted = np.flatnonzero(same_day & is_sale[1:] & is_sale[:-1])
    if not len(wanted):
        wanted = np.flatnonzero(same_day)
    certain = wanted[len(wanted) // 2 : len(wanted) // 2 + 1]
    chosen[certain] = True
    pairs = np.flatnonzero(chosen)
    pairs = pairs[np.diff(pairs, prepend=-2) > 1]
    backwards = (random.random(len(pairs)) < 0.5) | np.isin(pairs, certain)
    apart = random.integers(1, 21, len(pairs)) * 1_000
    created = created.copy()
    created[pairs + 1] = created[pairs] + np.where(backwards, -apart, apart)
    return created, pairs


def _delivery_lags(random: np.random.Generator, count: int) -> Integers:
    """Draw the days from order to delivery: at most a week, except for a few postponed deliveries."""
    lags = _DELIVERED_AFTER_DAYS[random.integers(0, len(_DELIVERED_AFTER_DAYS), count)]
    pushed = np.flatnonzero(random.random(count) < _PUSHED_DELIVERIES)
    reach = np.log(LATEST_DELIVERY_DAYS / _SHORTEST_PUSH_DAYS)
    lags[pushed] = np.rint(_SHORTEST_PUSH_DAYS * np.exp(random.random(len(pushed)) * reach))
    return lags


def _natural_order(random: np.random.Generator, count: int) -> Integers:
    """Draw the physical positions of rows: mostly in id order, but later writes have moved some rows."""
    place = np.arange(count)
    moved = np.flatnonzero(random.random(count) < _DISPLACED_ROWS)
    if not len(moved):
        moved = np.array([0])
    place[moved] += random.integers(2, 200, len(moved))
    return np.argsort(place, kind="stable")


def _codes(
    random: np.random.Generator, count: int, length: int
) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    letters = np.ascontiguousarray(_ALPHABET[random.integers(0, len(_ALPHABET), (count, length))])
    codes: np.ndarray[tuple[int], np.dtype[np.bytes_]] = letters.view(f"S{length}").reshape(count)
    return codes
