"""The SQLite store: each verb is one transaction (stores/base.py says what they promise)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from gigapi_metadata.model import IndexEntry, Plan, QueuedPlan
from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.base import (
    Change,
    Columns,
    Part,
    QueueRef,
    Selection,
    Steps,
    TableRef,
    one_by_one,
)
from gigapi_metadata.stores.broken_off import BrokenOff, Fate
from gigapi_metadata.stores.sqlite import leases, queues, reading, writing
from gigapi_metadata.stores.sqlite.connection import Database, Transaction
from gigapi_metadata.stores.sqlite.repair import SQLiteRepairs
from gigapi_metadata.stores.sqlite.rows import columns_of, entry_of
from gigapi_metadata.stores.sqlite.streaming import Begin, Fetch, Reading

Clock = Callable[[], float]

_by_time = attrgetter("min_time", "path")
_HOLDS_FILES = "EXISTS (SELECT 1 FROM files WHERE table_id = tables.id)"


class SQLiteStore(SQLiteRepairs):
    """Answers for every table of one file. `clock` tells the Unix time, for leases and timeouts;
    `broken_off` is the connection's."""

    ref = TableRef

    def __init__(self, clock: Clock = time.time, broken_off: BrokenOff | None = None) -> None:
        self._clock = clock
        self._broken_off = broken_off or BrokenOff()

    def check_paths(self, paths: Iterable[str]) -> None:
        """Every legal path will do."""

    # Writing

    def commit(self, table: TableRef, change: Change, rules: Rules) -> Steps[None]:
        """See `Store.commit`."""

        def make(change: Change, fate: Fate) -> Steps[None]:
            arriving = writing.arrival(change, rules)
            if arriving is not None and (
                yield Transaction(
                    lambda db: writing.arrive(db, table, *arriving),
                    writes=True,
                    single=True,
                    fate=fate,
                )
            ):
                return

            def work(db: Database) -> None:
                writing.commit(db, table, change, rules, int(self._clock()))

            # Nothing has come of the first try.
            fate.begin_anew()
            yield Transaction(work, writes=True, creates=writing.creates(change), fate=fate)

        return self._broken_off.commit(
            table, change, make, lambda fate: Transaction(lambda _: fate.wait(), single=True)
        )

    def lease(
        self, table: TableRef, queue: QueueRef, lease_s: int, limit: int
    ) -> Steps[list[Plan]]:
        """See `Store.lease`. One after the other."""
        return one_by_one(lambda: self._lease_one(table, queue, lease_s), limit)

    def _lease_one(self, table: TableRef, queue: QueueRef, lease_s: int) -> Steps[Plan | None]:
        def work(db: Database) -> Plan | None:
            table_id = db.table_id(table)
            if table_id is None:
                return None
            return leases.lease(db, table, table_id, queue, lease_s, int(self._clock()))

        plan: Plan | None = yield Transaction(work, writes=True, creates=False)
        return plan

    def renew(self, table: TableRef, plan: Plan, lease_s: int) -> Steps[Plan]:
        """See `Store.renew`."""

        def work(db: Database) -> Plan:
            table_id = db.table_id(table)
            if table_id is None:
                raise leases.lost(plan)
            return leases.renew(db, table_id, plan, lease_s, int(self._clock()))

        renewed: Plan = yield Transaction(work, writes=True, creates=False)
        return renewed

    def release(self, table: TableRef, plan: Plan, error: str | None, delay_s: int) -> Steps[None]:
        """See `Store.release`."""

        def work(db: Database) -> None:
            table_id = db.table_id(table)
            if table_id is None:
                raise leases.lost(plan)
            leases.release(db, table_id, plan, error, delay_s, int(self._clock()))

        yield Transaction(work, writes=True, creates=False)

    def retry(self, table: TableRef, plan: QueuedPlan) -> Steps[bool]:
        """See `Store.retry`."""

        def work(db: Database) -> bool:
            table_id = db.table_id(table)
            return table_id is not None and leases.retry(db, table_id, plan, int(self._clock()))

        found: bool = yield Transaction(work, writes=True, creates=False)
        return found

    def import_plans(self, table: TableRef, plans: Sequence[QueuedPlan]) -> Steps[int]:
        """See `Store.import_plans`."""

        def work(db: Database) -> int:
            table_id = db.table_id(table)
            if table_id is None:
                table_id = db.make_table(table)
            return queues.import_plans(db, table_id, plans)

        added: int = yield Transaction(work, writes=True)
        return added

    # Reading

    def get(self, table: TableRef, path: str) -> Steps[IndexEntry | None]:
        """See `Store.get`."""
        row = yield Transaction(lambda db: reading.get(db, table, path), single=True)
        return None if row is None else entry_of(table, row)

    def select(self, table: TableRef, selection: Selection) -> Steps[list[IndexEntry]]:
        """See `Store.select`. With a window, the cost follows the files found, not those there."""
        rows = yield Transaction(lambda db: reading.select(db, table, selection))
        entries = [entry_of(table, row) for row in rows]
        entries.sort(key=_by_time)
        return entries

    def columns(self, table: TableRef, selection: Selection) -> Steps[Columns]:
        """See `Store.columns`."""
        return columns_of((yield Transaction(lambda db: reading.select(db, table, selection))))

    def stream(self, table: TableRef, selection: Selection, size: int) -> Steps[None]:
        """See `Store.stream`. The parts are of one moment, that of the first."""
        answer: Reading = yield Begin(lambda db: reading.ordered(db, table, selection))
        try:
            while rows := (yield Fetch(answer, size)):
                yield Part([entry_of(table, row) for row in rows])
        finally:
            answer.close()

    def queued(self, table: TableRef) -> Steps[list[QueuedPlan]]:
        """See `Store.queued`."""

        def work(db: Database) -> list[QueuedPlan]:
            table_id = db.table_id(table)
            return [] if table_id is None else queues.queued(db, table_id)

        found: list[QueuedPlan] = yield Transaction(work)
        return found

    def queues(self, table: TableRef) -> Steps[list[QueueRef]]:
        """See `Store.queues`."""

        def work(db: Database) -> list[QueueRef]:
            table_id = db.table_id(table)
            return [] if table_id is None else queues.queues(db, table_id)

        found: list[QueueRef] = yield Transaction(work)
        return found

    def planned(self) -> Steps[list[TableRef]]:
        """See `Store.planned`."""

        def work(db: Database) -> list[TableRef]:
            query = """SELECT database, name FROM tables
                       WHERE EXISTS (SELECT 1 FROM plans WHERE table_id = tables.id)"""
            return sorted(TableRef(*row) for row in db.execute(query))

        found: list[TableRef] = yield Transaction(work)
        return found

    def databases(self) -> Steps[list[str]]:
        """See `Store.databases`."""
        found: list[str] = yield _column(
            f"SELECT DISTINCT database FROM tables WHERE {_HOLDS_FILES}"
        )
        return found

    def tables(self, database: str) -> Steps[list[str]]:
        """See `Store.tables`."""
        found: list[str] = yield _column(
            f"SELECT name FROM tables WHERE database = ? AND {_HOLDS_FILES}", database
        )
        return found

    def folders(self, table: TableRef) -> Steps[list[str]]:
        """See `Store.folders`."""
        found: list[str] = yield Transaction(lambda db: reading.folders(db, table))
        return found

    # Key-value

    def kv_get(self, key: str) -> Steps[bytes | None]:
        """See `Store.kv_get`."""
        row = yield Transaction(
            lambda db: db.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone(),
            single=True,
        )
        return None if row is None else row[0]

    def kv_put(self, key: str, value: bytes) -> Steps[None]:
        """See `Store.kv_put`."""
        yield _statement(
            "INSERT INTO kv VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            key,
            value,
        )

    def kv_delete(self, key: str) -> Steps[None]:
        """See `Store.kv_delete`."""
        yield _statement("DELETE FROM kv WHERE key = ?", key)


def _column(query: str, *values: object) -> Transaction:
    """The first column of a query, sorted as Python sorts."""
    return Transaction(lambda db: sorted(row[0] for row in db.execute(query, values)), single=True)


def _statement(statement: str, *values: object) -> Transaction:
    def work(db: Database) -> None:
        db.execute(statement, values)

    return Transaction(work, writes=True, single=True)
