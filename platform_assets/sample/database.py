"""The sample database: creates a Totesys of any size, and lets its business continue as the real one does.

business.py simulates the business; ddl.py defines the tables. Creating and advancing are one transaction
each: other sessions see all of it or nothing, and an interrupted transaction leaves nothing behind. Heavy
modules are imported only for writing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.errors import SampleError
from platform_assets.model.dialects import POSTGRES
from platform_assets.model.totesys.source import (
    DESIGN,
    PAYMENT,
    PURCHASE_ORDER,
    SALES_ORDER,
    TABLES,
    TRANSACTION,
)
from platform_assets.sample import ddl
from platform_assets.sample.embedded import READER, EmbeddedPostgres
from platform_assets.source.connection import Connection

if TYPE_CHECKING:
    import numpy as np
    from pg8000.native import Connection as Session

    from platform_assets.sample import business, rows

SALES = 13_000
SEED = 2022
MOST_SALES = 50_000_000
"""Most sales orders, also in the configuration; every id fits a 32-bit integer."""

_STAGING = "sample_in_progress"
_ADVISORY_LOCK = 7_274_635_991
_EDITS_BY_TABLE = {SALES_ORDER.name: 155, PURCHASE_ORDER.name: 161, DESIGN.name: 145}
"""Number of edits per table, between the real snapshots, that left no trace in `last_updated`."""

Progress = Callable[[str, int, int], None]
"""Called with the step's name, the amount done and the total."""


@dataclass(frozen=True)
class Sample:
    """Content of a new sample database.

    Args:
        sales_orders: Number of sales orders.
        purchase_orders: Number of purchase orders.
        designs: Number of designs.
        payments_made: Number of payments that have been made; each order has one payment.
        first_day: The first day of business.
        last_day: The last day of business so far.
    """

    sales_orders: int
    purchase_orders: int
    designs: int
    payments_made: int
    first_day: dt.date
    last_day: dt.date


@dataclass(frozen=True)
class Advance:
    """Changes of the sample database while its business continued.

    Args:
        first_day: The first working day that was added.
        last_day: The last working day that was added.
        sales_orders: Number of new sales orders, each with its transaction and payment.
        purchase_orders: Number of new purchase orders, likewise.
        designs: Number of new designs.
        payments_made: Number of old and new payments that the daily runs have made.
        silent_edits: Number of rows edited without a change of `last_updated`.
        deleted_orders: Number of deleted orders, each with its payment.
        orphaned_transactions: Number of remaining transactions whose order was deleted.
    """

    first_day: dt.date
    last_day: dt.date
    sales_orders: int
    purchase_orders: int
    designs: int
    payments_made: int
    silent_edits: int
    deleted_orders: int
    orphaned_transactions: int


def ensure_sample(
    embedded: EmbeddedPostgres, sales: int = SALES, seed: int = SEED, progress: Progress | None = None
) -> Connection:
    """Start the server, and create the sample if the database is empty. Several processes may call it.

    An existing sample stays unchanged, whatever its size and seed.

    Args:
        embedded: The server.
        sales: Number of sales orders of a new sample.
        seed: Seed of a new sample.
        progress: Called with the progress of the creation.

    Returns:
        The connection of the read-only role.

    Raises:
        SampleError: The server does not start, or the database holds something other than a sample.
    """
    owner = embedded.start()
    names = ", ".join(POSTGRES.literal(table.name) for table in TABLES)
    schema = POSTGRES.literal(owner.schema)
    found = embedded.query(
        f"SELECT count(*) FROM pg_tables WHERE schemaname = {schema} AND tablename IN ({names});"
    )
    if int(found[0][0]) < len(TABLES):
        with contextlib.suppress(_SampleExistsError):  # another process has created it first
            _create(owner, sales, seed, replace=False, progress=progress)
    return embedded.reader()


def create_sample(
    connection: Connection,
    *,
    sales: int = SALES,
    seed: int = SEED,
    replace: bool = False,
    progress: Progress | None = None,
) -> Sample:
    """Write a complete sample database; the same arguments give the same rows in the same order.

    Up to 13,000 sales orders, the business has 21 per working day from 2022-11-03 on. A larger business ends
    on the same day in March 2025 and has more orders per day.

    Args:
        connection: The owner of the database.
        sales: Number of sales orders, 1 to 50,000,000.
        seed: An integer of at least 0.
        replace: Whether existing tables may be dropped.
        progress: Called with the progress.

    Returns:
        The content of the database.

    Raises:
        SampleError: Tables exist and `replace` is false, or the database rejects a statement.
    """
    return _create(connection, sales, seed, replace=replace, progress=progress)


def advance_sample(
    connection: Connection,
    *,
    days: int,
    silent_edits: int = 0,
    deletes: int = 0,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Advance:
    """Continue the business after its latest order, with the same number of orders per working day as before.

    Edits and deletions affect rows that existed before. The same database and arguments give the same
    outcome.

    Args:
        connection: The owner of the database.
        days: Number of working days to add, at least 1.
        silent_edits: Number of rows to edit without changing `last_updated`.
        deletes: Number of orders to delete with their payments.
        seed: An integer of at least 0; without it, randomness depends only on the state of the database.
        progress: Called with the progress.

    Returns:
        The changes.

    Raises:
        SampleError: The database has no sample, the sample has too few rows, or a statement is rejected.
    """
    if days < 1 or silent_edits < 0 or deletes < 0:
        raise SampleError(
            "the sample can advance by 1 working day or more, with 0 or more edits and deletions; asked for "
            f"{days} days, {silent_edits} edits, {deletes} deletions."
        )
    from platform_assets.sample import business

    report = progress or _silent
    with _transaction(connection, "advance the sample") as session:
        if set(_existing_tables(session, connection.schema)) < {table.name for table in TABLES}:
            raise SampleError(
                f"the database {connection.database} holds no sample to advance. Create one with "
                "`platform-assets sample create`."
            )
        session.run(f"SET LOCAL search_path = {POSTGRES.quote(connection.schema)}")
        session.run(
            "LOCK TABLE design, sales_order, purchase_order, transaction, payment IN SHARE ROW EXCLUSIVE MODE"
        )
        state = _state(session)
        random = business.generator(
            0 if seed is None else seed + 1, business.day_number(state.last_day), state.transactions
        )
        elapsed = business.working_days_between(business.OPENING.date(), state.last_day)
        plan = business.next_plan(
            state.last_day, days, state.sales_orders / elapsed, state.purchase_orders / elapsed, random
        )
        runs = business.PaymentRuns.on(plan.days, random)

        deleted, orphaned = _delete_orders(session, state, deletes, random)
        edited = _edit_silently(session, state, silent_edits, random)
        paid = _pay(session, runs)

        design_fields, known = business.designs(plan, state.designs + 1, state.designs, random)
        new_designs = len(design_fields["design_id"].values)
        if new_designs:
            _copy(session, connection.schema, DESIGN.name, design_fields)
        plan = dataclasses.replace(plan, designs_known=known)
        first = business.NextIds(
            state.sales_orders + 1, state.purchase_orders + 1, state.transactions + 1, state.payments + 1
        )
        ids = first
        total = int(plan.sales.sum() + plan.purchases.sum())
        for piece in plan.chunks():
            chunk = business.orders(piece, ids, runs, random)
            for name, fields in chunk.fields.items():
                _copy(session, connection.schema, name, fields)
            paid += chunk.paid
            ids = chunk.next_ids
            report("orders", ids.transaction - first.transaction, total)
        _set_sequences(
            session,
            connection.schema,
            {
                DESIGN.name: state.designs + new_designs,
                SALES_ORDER.name: ids.sales_order - 1,
                PURCHASE_ORDER.name: ids.purchase_order - 1,
                TRANSACTION.name: ids.transaction - 1,
                PAYMENT.name: ids.payment - 1,
            },
        )
    return Advance(
        first_day=_date(int(plan.days[0])),
        last_day=_date(int(plan.days[-1])),
        sales_orders=ids.sales_order - first.sales_order,
        purchase_orders=ids.purchase_order - first.purchase_order,
        designs=new_designs,
        payments_made=paid,
        silent_edits=edited,
        deleted_orders=deleted,
        orphaned_transactions=orphaned,
    )


class _SampleExistsError(SampleError):
    """Tables already exist in the sample's schema."""


def _create(
    connection: Connection, sales: int, seed: int, *, replace: bool, progress: Progress | None
) -> Sample:
    if not 1 <= sales <= MOST_SALES:
        raise SampleError(f"a sample has between 1 and {MOST_SALES:,} sales orders; asked for {sales:,}.")
    if seed < 0:
        raise SampleError(f"a seed is an integer from 0 on; found {seed}.")
    from platform_assets.sample import business

    report = progress or _silent
    with _transaction(connection, "create the sample") as session:
        existing = _existing_tables(session, connection.schema)
        if existing and not replace:
            raise _SampleExistsError(_what_exists(session, connection, existing))
        session.run("SET LOCAL maintenance_work_mem = '256MB'")
        # Built beside its final schema, so that an older sample stays readable until the end.
        session.run(f"DROP SCHEMA IF EXISTS {_STAGING} CASCADE")
        session.run(f"CREATE SCHEMA {_STAGING}")
        for statement in ddl.create_types(_STAGING):
            session.run(statement)
        for table in TABLES:
            session.run(ddl.create_table(_STAGING, table))
        for statement in ddl.create_migrations_table(_STAGING):
            session.run(statement)

        plan = business.opening_plan(sales, business.generator(seed, 1))
        design_fields, known = business.designs(plan, 1, 0, business.generator(seed, 2))
        plan = dataclasses.replace(plan, designs_known=known)
        runs = business.PaymentRuns.on(plan.days, business.generator(seed, 3))
        whole = {**business.static_tables(), DESIGN.name: design_fields}
        for name, fields in whole.items():
            _copy(session, _STAGING, name, fields, frozen=True)
        ids, paid = business.NextIds(), 0
        total = int(plan.sales.sum() + plan.purchases.sum())
        report("orders", 0, total)
        for number, piece in enumerate(plan.chunks()):
            chunk = business.orders(piece, ids, runs, business.generator(seed, 4, number))
            for name, fields in chunk.fields.items():
                _copy(session, _STAGING, name, fields, frozen=True)
            ids, paid = chunk.next_ids, paid + chunk.paid
            report("orders", ids.transaction - 1, total)

        _build_keys(session, report)
        session.run("ANALYZE " + ", ".join(POSTGRES.quote(_STAGING, table.name) for table in TABLES))
        highest = {name: len(next(iter(fields.values())).values) for name, fields in whole.items()}
        highest |= {
            SALES_ORDER.name: ids.sales_order - 1,
            PURCHASE_ORDER.name: ids.purchase_order - 1,
            TRANSACTION.name: ids.transaction - 1,
            PAYMENT.name: ids.payment - 1,
        }
        _set_sequences(session, _STAGING, highest)
        _move_into_place(session, connection.schema)
    return Sample(
        sales_orders=ids.sales_order - 1,
        purchase_orders=ids.purchase_order - 1,
        designs=highest[DESIGN.name],
        payments_made=paid,
        first_day=_date(int(plan.days[0])),
        last_day=_date(int(plan.days[-1])),
    )


def _build_keys(session: Session, report: Progress) -> None:
    """Add all keys after the load, when each costs one sort or one join instead of many look-ups."""
    statements = [statement for table in TABLES for statement in ddl.create_keys(_STAGING, table)]
    statements += [statement for table in TABLES for statement in ddl.create_foreign_keys(_STAGING, table)]
    for done, statement in enumerate(statements):
        report("keys", done, len(statements))
        session.run(statement)
    report("keys", len(statements), len(statements))


def _move_into_place(session: Session, schema: str) -> None:
    for name in (ddl.MIGRATIONS_TABLE, *(table.name for table in TABLES)):
        session.run(f"DROP TABLE IF EXISTS {POSTGRES.quote(schema, name)} CASCADE")
        session.run(f"ALTER TABLE {POSTGRES.quote(_STAGING, name)} SET SCHEMA {POSTGRES.quote(schema)}")
    for name in ddl.enum_types():
        session.run(f"DROP TYPE IF EXISTS {POSTGRES.quote(schema, name)} CASCADE")
        session.run(f"ALTER TYPE {POSTGRES.quote(_STAGING, name)} SET SCHEMA {POSTGRES.quote(schema)}")
    session.run(f"DROP SCHEMA {_STAGING}")
    if session.run("SELECT 1 FROM pg_roles WHERE rolname = :role", role=READER):
        session.run(f"GRANT USAGE ON SCHEMA {POSTGRES.quote(schema)} TO {READER}")
        for table in TABLES:
            session.run(f"GRANT SELECT ON {POSTGRES.quote(schema, table.name)} TO {READER}")


def _existing_tables(session: Session, schema: str) -> list[str]:
    found = session.run(
        "SELECT tablename FROM pg_tables WHERE schemaname = :schema AND tablename = ANY(:names) ORDER BY 1",
        schema=schema,
        names=[table.name for table in TABLES],
    )
    return [name for (name,) in found]


def _what_exists(session: Session, connection: Connection, existing: Sequence[str]) -> str:
    what = f"the tables {', '.join(existing)}"
    if SALES_ORDER.name in existing:
        name = POSTGRES.quote(connection.schema, SALES_ORDER.name)
        [[count, first, last]] = session.run(
            f"SELECT count(*), min(created_at)::date, max(created_at)::date FROM {name}"
        )
        what = f"{count:,} sales orders" + (f" from {first} to {last}" if count else "")
    return (
        f"the database {connection.database} already holds {what}. Use --replace to drop its tables and "
        "write new ones: the next run of the platform will then see the differences as edits, deletions and "
        "new rows, and the lake keeps their history. To add to what is there, use "
        "`platform-assets sample advance`."
    )


@contextlib.contextmanager
def _transaction(connection: Connection, purpose: str) -> Iterator[Session]:
    """Open a transaction in which no other process can create or advance the sample of this database."""
    from pg8000.exceptions import DatabaseError, InterfaceError
    from pg8000.native import Connection as NativeSession

    where = f"{connection.host}:{connection.port}/{connection.database}"
    try:
        # Use our own socket, because pg8000 would apply the connect timeout to every statement.
        sock = socket.create_connection((connection.host, connection.port), connection.connect_timeout)
        sock.settimeout(None)
    except OSError as error:
        raise SampleError(
            f"could not {purpose} at {where}: {error}. Check that the database server is running."
        ) from error
    try:
        with contextlib.closing(
            NativeSession(
                connection.user,
                host=connection.host,
                sock=sock,
                database=connection.database,
                password=connection.password,
                ssl_context=_ssl_context(connection),
                application_name=connection.application_name,
            )
        ) as session:
            session.run("START TRANSACTION")
            session.run("SELECT pg_advisory_xact_lock(:key)", key=_ADVISORY_LOCK)
            yield session
            session.run("COMMIT")
    except DatabaseError as error:
        detail = error.args[0] if error.args else {}
        reason = detail.get("M", detail) if isinstance(detail, dict) else detail
        raise SampleError(f"could not {purpose} at {where}: PostgreSQL answered: {reason}.") from error
    except (InterfaceError, OSError) as error:
        raise SampleError(f"could not {purpose} at {where}: the connection broke: {error}.") from error
    finally:
        sock.close()


def _ssl_context(connection: Connection) -> Any:
    """Convert libpq's sslmode for pg8000: False never encrypts, None encrypts if possible, else a context."""
    if connection.sslmode == "disable":
        return False
    if connection.sslmode in ("allow", "prefer"):
        return None
    import ssl

    context = ssl.create_default_context(cafile=connection.sslrootcert)
    context.check_hostname = connection.sslmode == "verify-full"
    if connection.sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def _copy(
    session: Session, schema: str, table: str, fields: Mapping[str, rows.Field], *, frozen: bool = False
) -> None:
    from platform_assets.sample import rows

    columns = ", ".join(map(POSTGRES.quote, fields))
    options = "FORMAT binary, FREEZE" if frozen else "FORMAT binary"
    session.run(
        f"COPY {POSTGRES.quote(schema, table)} ({columns}) FROM STDIN WITH ({options})",
        stream=rows.pieces(rows.encode(list(fields.values()))),
    )


def _set_sequences(session: Session, schema: str, highest: Mapping[str, int]) -> None:
    for table, last in highest.items():
        session.run(
            "SELECT setval(pg_get_serial_sequence(:table, :column), :last)",
            table=POSTGRES.quote(schema, table),
            column=f"{table}_id",
            last=last,
        )


@dataclass(frozen=True)
class _State:
    """The last day of business, and the highest id that each table has ever assigned."""

    last_day: dt.date
    sales_orders: int
    purchase_orders: int
    transactions: int
    payments: int
    designs: int


def _state(session: Session) -> _State:
    [[last]] = session.run(
        "SELECT greatest((SELECT max(created_at) FROM sales_order), "
        "(SELECT max(created_at) FROM purchase_order), (SELECT max(created_at) FROM transaction))"
    )
    if last is None:
        raise SampleError("the sample has no orders left to go on from. Create it again with --replace.")
    highest = []
    for table in (SALES_ORDER, PURCHASE_ORDER, TRANSACTION, PAYMENT, DESIGN):
        # The sequence remembers ids of deleted rows, which must not be reused.
        [[found]] = session.run(
            f"SELECT greatest((SELECT max({table.name}_id) FROM {table.name}), "
            f"pg_sequence_last_value(pg_get_serial_sequence('{table.name}', '{table.name}_id')::regclass))"
        )
        highest.append(int(found or 0))
    return _State(last.date(), *highest)


def _pay(session: Session, runs: business.PaymentRuns) -> int:
    """Make the payments that are due on the days of the runs, except those due on the day of the order."""
    from platform_assets.sample import business

    days, times = [], []
    for offset, time in enumerate(runs.times.tolist()):
        if time >= 0:
            days.append(_date(runs.first + offset).isoformat())
            times.append(business.wall_clock(time).isoformat())
    session.run(
        "UPDATE payment SET paid = true, last_updated = run.time "
        "FROM unnest(CAST(:days AS text[]), CAST(:times AS timestamp[])) AS run (day, time) "
        "WHERE payment_date = run.day AND NOT paid AND payment_date > to_char(created_at, 'YYYY-MM-DD')",
        days=days,
        times=times,
    )
    return int(session.row_count)


def _delete_orders(
    session: Session, state: _State, wanted: int, random: np.random.Generator
) -> tuple[int, int]:
    """Delete orders with their payments; about half of the transactions stay, without an order.

    Returns:
        The number of deleted orders, and the number of remaining transactions.
    """
    chosen = _pick(
        session,
        "SELECT transaction_id, sales_order_id, purchase_order_id FROM transaction "
        "WHERE transaction_id = ANY(CAST(:ids AS integer[])) "
        "AND (sales_order_id IS NOT NULL OR purchase_order_id IS NOT NULL)",
        state.transactions,
        wanted,
        random,
        "orders to delete",
    )
    if not chosen:
        return 0, 0
    gone = [row[0] for row, leaves in zip(chosen, random.random(wanted) < 0.5, strict=True) if leaves]
    ids = "ANY(CAST(:ids AS integer[]))"
    session.run(f"DELETE FROM payment WHERE transaction_id = {ids}", ids=[row[0] for row in chosen])
    session.run(f"DELETE FROM transaction WHERE transaction_id = {ids}", ids=gone)
    session.run(
        f"DELETE FROM sales_order WHERE sales_order_id = {ids}", ids=[row[1] for row in chosen if row[1]]
    )
    session.run(
        f"DELETE FROM purchase_order WHERE purchase_order_id = {ids}",
        ids=[row[2] for row in chosen if row[2]],
    )
    return wanted, wanted - len(gone)


def _edit_silently(session: Session, state: _State, wanted: int, random: np.random.Generator) -> int:
    """Edit one column in each of `wanted` rows without changing `last_updated`."""
    from platform_assets.sample import names

    weights = list(_EDITS_BY_TABLE.values())
    shares = [int(share) for share in random.multinomial(wanted, [w / sum(weights) for w in weights])]
    # Few designs allow only few edits; the orders get the rest.
    limits = (state.sales_orders, state.purchase_orders, state.designs)
    spare = sum(max(0, share - limit // 2) for share, limit in zip(shares[1:], limits[1:], strict=True))
    shares[1:] = [min(share, limit // 2) for share, limit in zip(shares[1:], limits[1:], strict=True)]
    shares[0] += spare

    def other(current: int, count: int) -> int:
        return int((current - 1 + random.integers(1, max(2, count))) % count + 1)

    def pushed(current: str, created: dt.datetime) -> str:
        latest = created.date() + dt.timedelta(days=_latest_delivery_days())
        soon = max(
            dt.date.fromisoformat(current) + dt.timedelta(days=1),
            state.last_day + dt.timedelta(days=int(random.integers(1, 8))),
        )
        new = min(soon, latest)
        return (new if new.isoformat() != current else latest - dt.timedelta(days=1)).isoformat()

    def other_code(_: str) -> str:
        return "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[number] for number in random.integers(0, 36, 7))

    def other_folder(current: str) -> str:
        choices = [folder for folder in names.DESIGN_FOLDERS if folder != current]
        return choices[int(random.integers(0, len(choices)))]

    editors: dict[str, dict[str, tuple[str, Callable[[Any, dt.datetime], Any]]]] = {
        SALES_ORDER.name: {
            "design_id": ("integer", lambda value, _: other(value, state.designs)),
            "staff_id": ("integer", lambda value, _: other(value, len(names.STAFF))),
            "agreed_delivery_date": ("text", pushed),
            "agreed_delivery_location_id": ("integer", lambda value, _: other(value, len(names.ADDRESSES))),
        },
        PURCHASE_ORDER.name: {
            "staff_id": ("integer", lambda value, _: other(value, len(names.STAFF))),
            "item_code": ("text", lambda value, _: other_code(value)),
            "agreed_delivery_date": ("text", pushed),
            "agreed_delivery_location_id": ("integer", lambda value, _: other(value, len(names.ADDRESSES))),
        },
        DESIGN.name: {"file_location": ("text", lambda value, _: other_folder(value))},
    }
    for (table, columns), share, limit in zip(editors.items(), shares, limits, strict=True):
        chosen = _pick(
            session,
            f"SELECT {table}_id, created_at, {', '.join(columns)} FROM {table} "
            f"WHERE {table}_id = ANY(CAST(:ids AS integer[]))",
            limit,
            share,
            random,
            f"rows of {table} to edit",
        )
        which = random.integers(0, len(columns), len(chosen)).tolist()
        for index, (column, (sql_type, edit)) in enumerate(columns.items()):
            mine = [row for row, column_index in zip(chosen, which, strict=True) if column_index == index]
            session.run(
                f"UPDATE {table} SET {column} = edit.value "
                f"FROM unnest(CAST(:ids AS integer[]), CAST(:values AS {sql_type}[])) AS edit (id, value) "
                f"WHERE {table}_id = edit.id",
                ids=[row[0] for row in mine],
                values=[edit(row[2 + index], row[1]) for row in mine],
            )
    return wanted


def _pick(
    session: Session, query: str, highest: int, wanted: int, random: np.random.Generator, what: str
) -> list[Any]:
    """Choose random rows without reading the table: draw ids and query which of them exist.

    Args:
        session: The database.
        query: Returns the rows whose ids are in the array :ids, the id first.
        highest: The highest possible id.
        wanted: Number of rows to choose.
        random: The random generator.
        what: Name of the rows, for the error.
    """
    chosen: dict[int, Any] = {}

    def ask(ids: list[int]) -> None:
        found = {row[0]: row for row in session.run(query, ids=ids)}
        for number in ids:
            if number in found and len(chosen) < wanted:
                chosen[number] = found[number]

    for _ in range(20):
        if len(chosen) == wanted:
            break
        ask(random.integers(1, highest + 1, 2 * (wanted - len(chosen)) + 8).tolist())
    # If nearly all rows are wanted, random draws do not find the last ones.
    for start in range(1, highest + 1, 10_000):
        if len(chosen) == wanted:
            break
        ask(list(range(start, min(start + 10_000, highest + 1))))
    if len(chosen) < wanted:
        raise SampleError(f"asked for {wanted:,} {what}, but the sample has only {len(chosen):,}.")
    return list(chosen.values())


def _latest_delivery_days() -> int:
    from platform_assets.sample import business

    return business.LATEST_DELIVERY_DAYS


def _date(day: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=day)


def _silent(step: str, done: int, total: int) -> None:
    """Discard the progress report."""
