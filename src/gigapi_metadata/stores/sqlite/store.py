"""The SQLite store: each verb is one transaction (stores/base.py says what they promise)."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gigapi_metadata.errors import Conflict
from gigapi_metadata.model import IndexEntry, Plan, QueuedPlan
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.planning import MergeQueue, MoveQueue, Rules
from gigapi_metadata.stores.base import Change, QueueRef, Selection, Steps, TableRef
from gigapi_metadata.stores.sqlite import leases, queues
from gigapi_metadata.stores.sqlite.connection import Transaction
from gigapi_metadata.stores.sqlite.repair import SQLiteRepairs
from gigapi_metadata.stores.sqlite.rows import (
    COLUMNS,
    INSERT,
    end_of_prefix,
    entry_of,
    find_table,
    row_of,
)
from gigapi_metadata.timerange import INT64_MIN, Window

Clock = Callable[[], float]

_UPDATE = """
    UPDATE files SET path = ?, size_bytes = ?, min_time = ?, max_time = ?, layer = ?, row_count = ?,
        chunk_time = ?, min_data = ?, max_data = ?, writer_id = ?, span = ?
    WHERE table_id = ?12 AND path = ?1
"""


class SQLiteStore(SQLiteRepairs):
    """Answers for every table of one file. `clock` tells the Unix time, for leases and timeouts."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    def check_path(self, path: str) -> None:
        """Every legal path will do."""

    # Writing

    def commit(self, table: TableRef, change: Change, rules: Rules) -> Steps[None]:
        """See `Store.commit`."""
        work = partial(self._commit, table, change, rules)
        yield Transaction(work, writes=True, creates=_creates(change))

    def _commit(
        self, table: TableRef, change: Change, rules: Rules, db: sqlite3.Connection
    ) -> None:
        now_s = int(self._clock())
        table_id = _table_id(db, table) if _creates(change) else find_table(db, table)
        if table_id is None:  # where nothing ever was, there is nothing to end or to remove
            if change.ends is not None:
                raise leases.lost(change.ends)
            return
        if change.ends is not None:
            seq = leases.find_leased(db, table_id, change.ends)
            if seq is None:
                if leases.was_ended(db, table_id, change.ends, change.completes):
                    return
                raise leases.lost(change.ends)
            leases.end(db, table_id, seq, change.ends, change.completes, now_s)
        _add(db, table_id, change.add, rules, now_s)
        gone = _remove(db, table_id, change, now_s + rules.drop_grace_s)
        if gone is not None:
            raise Conflict(
                f"{gone!r} is no longer in {table.database}.{table.table}: it was removed or "
                "changed its layer after the plan was handed out; nothing was changed"
            )

    def lease(self, table: TableRef, queue: QueueRef, lease_s: int) -> Steps[Plan | None]:
        """See `Store.lease`."""

        def work(db: sqlite3.Connection) -> Plan | None:
            table_id = find_table(db, table)
            if table_id is None:
                return None
            return leases.lease(db, table, table_id, queue, lease_s, int(self._clock()))

        plan: Plan | None = yield Transaction(work, writes=True, creates=False)
        return plan

    def renew(self, table: TableRef, plan: Plan, lease_s: int) -> Steps[Plan]:
        """See `Store.renew`."""

        def work(db: sqlite3.Connection) -> Plan:
            table_id = find_table(db, table)
            if table_id is None:
                raise leases.lost(plan)
            return leases.renew(db, table_id, plan, lease_s, int(self._clock()))

        renewed: Plan = yield Transaction(work, writes=True, creates=False)
        return renewed

    def release(self, table: TableRef, plan: Plan, error: str | None, delay_s: int) -> Steps[None]:
        """See `Store.release`."""

        def work(db: sqlite3.Connection) -> None:
            table_id = find_table(db, table)
            if table_id is None:
                raise leases.lost(plan)
            leases.release(db, table_id, plan, error, delay_s, int(self._clock()))

        yield Transaction(work, writes=True, creates=False)

    def retry(self, table: TableRef, plan: QueuedPlan) -> Steps[bool]:
        """See `Store.retry`."""

        def work(db: sqlite3.Connection) -> bool:
            table_id = find_table(db, table)
            return table_id is not None and leases.retry(db, table_id, plan, int(self._clock()))

        found: bool = yield Transaction(work, writes=True, creates=False)
        return found

    def import_plans(self, table: TableRef, plans: Sequence[QueuedPlan]) -> Steps[int]:
        """See `Store.import_plans`."""

        def work(db: sqlite3.Connection) -> int:
            return queues.import_plans(db, _table_id(db, table), plans)

        added: int = yield Transaction(work, writes=True)
        return added

    # Reading

    def get(self, table: TableRef, path: str) -> Steps[IndexEntry | None]:
        """See `Store.get`."""
        row = yield Transaction(
            lambda db: db.execute(
                f"""SELECT {COLUMNS} FROM files JOIN tables ON tables.id = files.table_id
                    WHERE database = ? AND name = ? AND path = ?""",
                (*table, path),
            ).fetchone()
        )
        return None if row is None else entry_of(table, row)

    def select(self, table: TableRef, selection: Selection) -> Steps[list[IndexEntry]]:
        """See `Store.select`. With a window, the cost follows the files found, not those there."""
        rows = yield Transaction(partial(_select, table, selection))
        entries = [entry_of(table, row) for row in rows]
        entries.sort(key=lambda entry: (entry.min_time, entry.path))
        return entries

    def queued(self, table: TableRef) -> Steps[list[QueuedPlan]]:
        """See `Store.queued`."""

        def work(db: sqlite3.Connection) -> list[QueuedPlan]:
            table_id = find_table(db, table)
            return [] if table_id is None else queues.queued(db, table_id)

        found: list[QueuedPlan] = yield Transaction(work)
        return found

    def queues(self, table: TableRef) -> Steps[list[QueueRef]]:
        """See `Store.queues`."""

        def work(db: sqlite3.Connection) -> list[QueueRef]:
            table_id = find_table(db, table)
            return [] if table_id is None else queues.queues(db, table_id)

        found: list[QueueRef] = yield Transaction(work)
        return found

    def planned(self) -> Steps[list[TableRef]]:
        """See `Store.planned`."""

        def work(db: sqlite3.Connection) -> list[TableRef]:
            query = """SELECT database, name FROM tables
                       WHERE EXISTS (SELECT 1 FROM plans WHERE table_id = tables.id)"""
            return sorted(TableRef(*row) for row in db.execute(query))

        found: list[TableRef] = yield Transaction(work)
        return found

    def databases(self) -> Steps[list[str]]:
        """See `Store.databases`."""
        found: list[str] = yield _column(
            "SELECT DISTINCT database FROM tables JOIN folders ON table_id = id"
        )
        return found

    def tables(self, database: str) -> Steps[list[str]]:
        """See `Store.tables`."""
        found: list[str] = yield _column(
            "SELECT DISTINCT name FROM tables JOIN folders ON table_id = id WHERE database = ?",
            database,
        )
        return found

    def folders(self, table: TableRef) -> Steps[list[str]]:
        """See `Store.folders`."""
        found: list[str] = yield _column(
            """SELECT dir FROM folders JOIN tables ON table_id = id
                   WHERE database = ? AND name = ?""",
            *table,
        )
        return found

    # Key-value

    def kv_get(self, key: str) -> Steps[bytes | None]:
        """See `Store.kv_get`."""
        row = yield Transaction(
            lambda db: db.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
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


def _add(
    db: sqlite3.Connection,
    table_id: int,
    entries: Sequence[IndexEntry],
    rules: Rules,
    now_s: int,
) -> None:
    new: dict[tuple[str, str, str, int], list[IndexEntry]] = {}
    for entry in entries:
        row = row_of(entry, table_id)
        if db.execute(INSERT, row).rowcount:
            place = (dir_of(entry.path), entry.layer, entry.writer_id, iteration_of(entry.path))
            new.setdefault(place, []).append(entry)
        else:
            db.execute(_UPDATE, row)
    for (dir, layer, _, iteration), files in new.items():
        db.execute(
            """INSERT INTO folders (table_id, dir, files) VALUES (?, ?, ?)
               ON CONFLICT DO UPDATE SET files = files + excluded.files""",
            (table_id, dir, len(files)),
        )
        queue = rules.queue_for(layer, iteration)
        if isinstance(queue, MergeQueue):
            queues.queue_merge(db, table_id, dir, queue, files, now_s)
        elif isinstance(queue, MoveQueue):
            queues.queue_move(db, table_id, queue, files)


def _creates(change: Change) -> bool:
    """Whether the table is made by `change` if it is not there."""
    return change.ends is None and bool(change.add)


def _remove(db: sqlite3.Connection, table_id: int, change: Change, drop_due_s: int) -> str | None:
    """Remove what is there. Under a plan, all of it must be, in the plan's layer: else the path
    that is not."""
    drops: list[tuple[str, str, str]] = []
    for path in change.remove:
        removed = db.execute(
            "DELETE FROM files WHERE table_id = ? AND path = ? RETURNING layer, writer_id",
            (table_id, path),
        ).fetchall()
        if change.ends is not None and (
            not removed or removed[0][0] != leases.layer_of(change.ends)
        ):
            return path
        drops += ((path, layer, writer_id) for layer, writer_id in removed)
    fewer = Counter(dir_of(path) for path, _, _ in drops)
    db.executemany(
        "UPDATE folders SET files = files - ? WHERE table_id = ? AND dir = ?",
        [(number, table_id, dir) for dir, number in fewer.items()],
    )
    db.executemany(
        "DELETE FROM folders WHERE table_id = ? AND dir = ? AND files <= 0",
        [(table_id, dir) for dir in fewer],
    )
    queues.queue_drops(db, table_id, drops, drop_due_s)
    return None


def _select(table: TableRef, selection: Selection, db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    table_id = find_table(db, table)
    if table_id is None:
        return []
    window = selection.window
    condition, values = _filters(selection)
    if window.unbounded:
        return db.execute(
            f"SELECT {COLUMNS} FROM files WHERE table_id = ? {condition}", (table_id, *values)
        ).fetchall()
    rows: list[tuple[Any, ...]] = []
    for span in _spans(db, table_id):
        rows += db.execute(
            f"""SELECT {COLUMNS} FROM files INDEXED BY files_time
                WHERE table_id = ? AND span = ? AND min_time BETWEEN ? AND ? AND max_time >= ?
                {condition}""",
            (table_id, span, _earliest(window, span), window.before, window.after, *values),
        ).fetchall()
    return rows


def _earliest(window: Window, span: int) -> int:
    """The first min_time that a file of `span` overlapping `window` can have."""
    return max(window.after - (1 << span) + 1, INT64_MIN)


def _spans(db: sqlite3.Connection, table_id: int) -> list[int]:
    """The spans that occur: a few, each found by one step in the index."""
    spans: list[int] = []
    last = -1
    while True:
        (found,) = db.execute(
            "SELECT min(span) FROM files WHERE table_id = ? AND span > ?", (table_id, last)
        ).fetchone()
        if found is None:
            return spans
        spans.append(last := found)


def _filters(selection: Selection) -> tuple[str, list[object]]:
    """The conditions beside the window, as SQL to append and its values."""
    conditions: list[str] = []
    values: list[object] = []
    if selection.folder:
        conditions.append("path >= ?")
        values.append(selection.folder)
        if (end := end_of_prefix(selection.folder)) is not None:
            conditions.append("path < ?")
            values.append(end)
    if selection.iteration:
        conditions.append("substr(path, ?) = ?")
        values += [-len(selection.suffix), selection.suffix]
    if selection.layer is not None:
        conditions.append("layer = ?")
        values.append(selection.layer)
    return "".join(f" AND {condition}" for condition in conditions), values


def _table_id(db: sqlite3.Connection, table: TableRef) -> int:
    """The table's number, given on the first write to it."""
    found = find_table(db, table)
    if found is not None:
        return found
    made = db.execute("INSERT INTO tables (database, name) VALUES (?, ?)", table).lastrowid
    assert made is not None
    return made


def _column(query: str, *values: object) -> Transaction:
    """The first column of a query, sorted as Python sorts."""
    return Transaction(lambda db: sorted(row[0] for row in db.execute(query, values)))


def _statement(statement: str, *values: object) -> Transaction:
    def work(db: sqlite3.Connection) -> None:
        db.execute(statement, values)

    return Transaction(work, writes=True)
