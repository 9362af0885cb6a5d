"""Commits: what one adds, replaces and removes, and what that plans.

Every function runs in a transaction that the caller has opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gigapi_metadata.errors import Conflict
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import iteration_of
from gigapi_metadata.planning import MergeQueue, MoveQueue, Rules
from gigapi_metadata.stores.base import Change, TableRef
from gigapi_metadata.stores.sqlite import leases, queues
from gigapi_metadata.stores.sqlite.connection import Database
from gigapi_metadata.stores.sqlite.rows import ARRIVE, INSERT, REPLACE, row_of, split_path

_MANY = 8  # rows, for which a savepoint costs less than it saves


def creates(change: Change) -> bool:
    """Whether the table is made by `change` if it is not there."""
    return change.ends is None and bool(change.add)


def commit(db: Database, table: TableRef, change: Change, rules: Rules, now_s: int) -> None:
    """See `Store.commit`."""
    table_id = db.table_id(table)
    if table_id is None:  # where nothing ever was, there is nothing to end or to remove
        if change.ends is not None:
            raise leases.lost(change.ends)
        if not creates(change):
            return
        table_id = db.make_table(table)
    if change.ends is not None:
        seq = leases.find_leased(db, table_id, change.ends)
        if seq is None:
            if leases.was_ended(db, table_id, change.ends, change.completes):
                return
            raise leases.lost(change.ends)
        leases.end(db, table_id, seq, change.ends, change.completes, now_s)
    _add(db, table_id, change.add, rules, now_s)
    if not change.remove:
        return
    gone = _remove(db, table_id, change, now_s + rules.drop_grace_s)
    if gone is not None:
        raise Conflict(
            f"{gone!r} is no longer in {table.database}.{table.table}: it was removed or "
            "changed its layer after the plan was handed out; nothing was changed"
        )


def arrival(change: Change, rules: Rules) -> tuple[IndexEntry, MergeQueue] | None:
    """The file and its queue, if all that `change` does is to add one that waits to be merged."""
    if len(change.add) != 1 or change.remove or change.ends is not None:
        return None
    entry = change.add[0]
    queue = rules.queue_for(entry.layer, iteration_of(entry.path))
    return (entry, queue) if isinstance(queue, MergeQueue) else None


def arrive(db: Database, table: TableRef, entry: IndexEntry, queue: MergeQueue) -> bool:
    """Add the file in one statement; False, and nothing is changed, where that can't be done."""
    table_id = db.table_id(table)
    return table_id is not None and db.attempt(
        ARRIVE, (*row_of(entry, table_id), queue.iteration, queue.max_size)
    )


def _add(
    db: sqlite3.Connection,
    table_id: int,
    entries: Sequence[IndexEntry],
    rules: Rules,
    now_s: int,
) -> None:
    rows = [row_of(entry, table_id) for entry in entries]
    planned: dict[tuple[str, str, str, int], list[IndexEntry]] = {}
    all_new = _insert_new(db, rows)
    for entry, row in zip(entries, rows, strict=True):
        if not (all_new or db.execute(INSERT, row).rowcount or _replace(db, row, entry.layer)):
            continue
        place = (row[-2], entry.layer, entry.writer_id, iteration_of(entry.path))
        planned.setdefault(place, []).append(entry)
    for (dir, layer, _, iteration), files in planned.items():
        queue = rules.queue_for(layer, iteration)
        if isinstance(queue, MergeQueue):
            queues.queue_merge(db, table_id, dir, queue, files, now_s)
        elif isinstance(queue, MoveQueue):
            queues.queue_move(db, table_id, queue, files)


def _insert_new(db: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> bool:
    """Insert many rows at once if none of their paths is there, as is nearly always so; else
    nothing."""
    if len(rows) < _MANY:
        return False
    db.execute("SAVEPOINT new")
    inserted = db.executemany(INSERT, rows).rowcount == len(rows)
    if not inserted:
        db.execute("ROLLBACK TO new")
    db.execute("RELEASE new")
    return inserted


def _replace(db: sqlite3.Connection, row: tuple[object, ...], layer: str) -> bool:
    """Replace the entry that is there; whether it was in another layer."""
    (before,) = db.execute(
        "SELECT layer FROM files WHERE table_id = ? AND dir = ? AND name = ?", row[-3:]
    ).fetchone()
    db.execute(REPLACE, row)
    return bool(before != layer)


def _remove(db: sqlite3.Connection, table_id: int, change: Change, drop_due_s: int) -> str | None:
    """Remove what is there. Under a plan, all of it must be, in the plan's layer: else the path
    that is not."""
    drops: list[tuple[str, str, str]] = []
    for path in change.remove:
        removed = db.execute(
            """DELETE FROM files WHERE table_id = ? AND dir = ? AND name = ?
               RETURNING layer, writer_id""",
            (table_id, *split_path(path)),
        ).fetchall()
        if change.ends is not None and (
            not removed or removed[0][0] != leases.layer_of(change.ends)
        ):
            return path
        drops += ((path, layer, writer_id) for layer, writer_id in removed)
    queues.queue_drops(db, table_id, drops, drop_due_s)
    return None
