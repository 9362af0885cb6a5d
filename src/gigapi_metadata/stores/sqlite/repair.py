"""What a SQLite catalog holds, as it is stored, and mending it: see stores/repairing.py.

Every repair is one transaction that looks again before it writes.
"""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.names import day_of, dir_of
from gigapi_metadata.planning import MAX_TIME_S
from gigapi_metadata.stores.base import Steps, TableRef
from gigapi_metadata.stores.repairing import (
    EntryRepair,
    PlanRepair,
    StoredEntry,
    StoredPlan,
    StoreFault,
)
from gigapi_metadata.stores.sqlite import reading, rows
from gigapi_metadata.stores.sqlite.connection import Database, Transaction

_PLAN = (
    "seq, kind, layer, writer_id, iteration, dir, leased, position, due_s, id, path, path_to, "
    "layer_to, waited_s, used_leases, given_back, attempts, error"
)
_SET_ASIDE = """
    CREATE TABLE IF NOT EXISTS set_aside (
        table_id INTEGER NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL,
        PRIMARY KEY (table_id, name, content)
    ) WITHOUT ROWID
"""
_ROW = f"dir, name, {rows.COLUMNS}"
_AT_PATH = "table_id = ? AND dir = ? AND name = ?"
_FILES = "the table files"
_TEXTS = ("dir", "name", "layer", "writer_id")
_INTEGERS = ("size_bytes", "min_time", "max_time", "row_count", "chunk_time")


class SQLiteRepairs:
    """The ability `Repairable` of SQLiteStore."""

    _clock: Callable[[], float]

    # Reading

    def now_s(self) -> Steps[int]:
        """See `Repairable.now_s`."""
        yield from ()
        return int(self._clock())

    def places(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.places`: the first folders of paths."""
        found: list[str] = yield Transaction(lambda db: reading.folders(db, table))
        return sorted({day_of(str(dir)) for dir in found})

    def place_of(self, table: TableRef, path: str, layer: str) -> str:
        """See `Repairable.place_of`."""
        return day_of(dir_of(path))

    def stored(self, table: TableRef, place: str) -> Steps[list[StoredEntry]]:
        """See `Repairable.stored`."""

        def work(db: Database) -> list[tuple[Any, ...]]:
            return db.execute(
                f"""SELECT {_ROW} FROM files INDEXED BY files_path
                    WHERE table_id = ? AND dir >= ? AND dir < ? AND (dir = ? OR dir >= ?)""",
                # 0 follows the slash
                (db.table_id(table), place, f"{place}0", place, f"{place}/"),
            ).fetchall()

        found: list[tuple[Any, ...]] = yield Transaction(work)
        return [_stored(table, place, row) for row in found]

    def stored_plans(self, table: TableRef) -> Steps[list[StoredPlan]]:
        """See `Repairable.stored_plans`."""

        def work(db: Database) -> list[StoredPlan]:
            table_id = db.table_id(table)
            found = db.execute(
                f"""SELECT {_PLAN} FROM plans WHERE table_id = ?
                    ORDER BY kind, dir, iteration, layer, writer_id, leased, position""",
                (table_id,),
            ).fetchall()
            return [_stored_plan(db, row) for row in found]

        plans: list[StoredPlan] = yield Transaction(work)
        return plans

    def counts(self, table: TableRef) -> Steps[dict[str, str] | None]:
        """See `Repairable.counts`: folders are those of the rows."""
        yield from ()
        return None

    def set_aside(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.set_aside`."""

        def work(db: Database) -> list[str]:
            made = "SELECT count(*) FROM sqlite_master WHERE name = 'set_aside'"
            if not db.execute(made).fetchone()[0]:
                return []
            query = "SELECT name FROM set_aside WHERE table_id = ? ORDER BY name"
            return [name for (name,) in db.execute(query, (db.table_id(table),))]

        found: list[str] = yield Transaction(work)
        return found

    def index_faults(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.index_faults`: rows whose span is not that of their times."""
        wrong: list[_Span] = yield Transaction(partial(_wrong_spans, table))
        return [
            f"the span of {rows.join_path(dir, name)!r} is wrong: queries may not find it"
            for _, dir, name in wrong
        ]

    # Mending

    def store_faults(self, table: TableRef) -> Steps[list[StoreFault]]:
        """See `Repairable.store_faults`: SQLite sees to the types of what it keeps."""
        yield from ()
        return []

    def mend_faults(self, table: TableRef, faults: Sequence[StoreFault]) -> Steps[list[bool]]:
        """See `Repairable.mend_faults`: nothing to do."""
        yield from ()
        return [False for _ in faults]

    def mend_entries(self, table: TableRef, repairs: Sequence[EntryRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_entries`. One transaction."""

        def work(db: Database) -> list[bool]:
            table_id = db.table_id(table)
            if table_id is None:
                return [False for _ in repairs]
            return [_mend_entry(db, table_id, repair) for repair in repairs]

        done: list[bool] = yield Transaction(work, writes=True, creates=False)
        return done

    def mend_plans(self, table: TableRef, repairs: Sequence[PlanRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_plans`. One transaction."""

        def work(db: Database) -> list[bool]:
            table_id = db.table_id(table)
            if table_id is None:
                return [False for _ in repairs]
            return [_mend_plan(db, table_id, repair) for repair in repairs]

        done: list[bool] = yield Transaction(work, writes=True, creates=False)
        return done

    def recount(self, table: TableRef, places: Sequence[str]) -> Steps[None]:
        """See `Repairable.recount`: there is nothing to count."""
        yield from ()

    def reindex(self, table: TableRef) -> Steps[None]:
        """See `Repairable.reindex`. One transaction."""

        def work(db: Database) -> None:
            table_id = db.table_id(table)
            db.executemany(
                f"UPDATE files SET span = ? WHERE {_AT_PATH}",
                [(span, table_id, dir, name) for span, dir, name in _wrong_spans(table, db)],
            )

        yield Transaction(work, writes=True, creates=False)


def _stored(table: TableRef, place: str, row: tuple[Any, ...]) -> StoredEntry:
    found = dict(zip(_ROW.split(", "), row, strict=True))
    name, raw = rows.join_path(str(found["dir"]), str(found["name"])), _raw_of(row)
    wrong = [column for column in _INTEGERS if type(found[column]) is not int]
    wrong += [column for column in _TEXTS if type(found[column]) is not str]
    writer_id = found["writer_id"] if type(found["writer_id"]) is str else ""
    if wrong:
        fault = f"{_FILES}: row {name!r}: {wrong[0]} is {found[wrong[0]]!r}"
        return StoredEntry(place, name, raw, None, fault, writer_id=writer_id)
    try:
        entry = rows.entry_of(table, (*row[2:], *row[:2]))
    except CorruptState as fault:
        shown = f"{_FILES}: row {name!r}: {fault}"
        return StoredEntry(place, name, raw, None, shown, writer_id=writer_id)
    misplaced = ""
    if rows.split_path(name) != row[:2]:
        misplaced = f"its dir is {found['dir']!r} and its name {found['name']!r}"
    return StoredEntry(place, name, raw, entry, misplaced=misplaced)


def _raw_of(row: tuple[Any, ...]) -> bytes:
    """A row of _ROW, where it stands in a line of its own."""
    return f"{row[:2]!r}\n{row[2:]!r}".encode()


def _place_in(raw: bytes) -> tuple[Any, Any]:
    """The dir and name in what `_raw_of` returned."""
    dir, name = ast.literal_eval(raw.partition(b"\n")[0].decode())
    return dir, name


def _stored_plan(db: sqlite3.Connection, row: tuple[Any, ...]) -> StoredPlan:
    found = dict(zip(_PLAN.split(", "), row, strict=True))
    files = db.execute(
        "SELECT name, total_bytes FROM plan_files WHERE plan = ? ORDER BY position",
        (found["seq"],),
    ).fetchall()
    due = found["due_s"]
    due_s = due if type(due) is int and abs(due) <= MAX_TIME_S else None
    held_back = bool(found["leased"] and found["given_back"])
    leased = bool(found["leased"]) and not held_back
    plan = QueuedPlan(
        kind=found["kind"],
        state="leased" if leased else "waiting",
        id=found["id"],
        layer=found["layer"],
        writer_id=found["writer_id"],
        dir=found["dir"] or dir_of(found["path"]),
        iteration=found["iteration"],
        paths=[rows.join_path(found["dir"], name) for name, _ in files] or [found["path"]],
        size_bytes=files[-1][1] if files else 0,
        due_s=due_s or 0,
        attempts=found["attempts"],
        error=found["error"],
        path_to=found["path_to"],
        layer_to=found["layer_to"],
    )
    raw = repr((row, files)).encode()
    return StoredPlan(str(found["seq"]), raw, plan, leased, due_s, held_back)


def _mend_entry(db: sqlite3.Connection, table_id: int, repair: EntryRepair) -> bool:
    old, new = repair.old, repair.new
    place = (table_id, *_place_in(old.raw))
    row = db.execute(f"SELECT {_ROW} FROM files WHERE {_AT_PATH}", place).fetchone()
    if row is None or _raw_of(row) != old.raw:
        return False
    db.execute(f"DELETE FROM files WHERE {_AT_PATH}", place)
    taken = new is not None and not db.execute(rows.INSERT, rows.row_of(new, table_id)).rowcount
    if repair.keep or taken:
        _put_aside(db, table_id, old.name, old.raw.decode())
    return True


def _mend_plan(db: sqlite3.Connection, table_id: int, repair: PlanRepair) -> bool:
    old, new = repair.old, repair.new
    row = db.execute(f"SELECT {_PLAN} FROM plans WHERE seq = ?", (int(old.place),)).fetchone()
    if row is None or _stored_plan(db, row).raw != old.raw or old.plan is None:
        return False
    layer = old.plan.layer
    if not all(_is_living(db, table_id, path, layer) for path in repair.living):
        return False
    if any(_is_living(db, table_id, path, layer) for path in repair.dead):
        return False
    if repair.keep:
        _put_aside(db, table_id, f"plan {old.plan.id}", old.raw.decode())
    seq = int(old.place)
    if new is None:
        db.execute("DELETE FROM plan_files WHERE plan = ?", (seq,))
        db.execute("DELETE FROM plans WHERE seq = ?", (seq,))
        return True
    db.execute(
        "UPDATE plans SET id = ?, due_s = ?, leased = 0, given_back = 0, path_to = ? WHERE seq = ?",
        (new.id, new.due_s, new.path_to, seq),
    )
    if new.kind == "merge" and new.paths != old.plan.paths:
        db.execute("DELETE FROM plan_files WHERE plan = ?", (seq,))
        db.executemany(
            "INSERT INTO plan_files (plan, position, name, total_bytes) VALUES (?, ?, ?, ?)",
            [
                (seq, position, rows.split_path(path)[1], new.size_bytes)
                for position, path in enumerate(new.paths)
            ],
        )
    return True


def _is_living(db: sqlite3.Connection, table_id: int, path: str, layer: str) -> bool:
    query = f"SELECT 1 FROM files WHERE {_AT_PATH} AND layer = ?"
    found = db.execute(query, (table_id, *rows.split_path(path), layer))
    return found.fetchone() is not None


def _put_aside(db: sqlite3.Connection, table_id: int, name: str, content: str) -> None:
    db.execute(_SET_ASIDE)
    db.execute("INSERT OR IGNORE INTO set_aside VALUES (?, ?, ?)", (table_id, name, content))


_Span = tuple[int, str, str]
"""The right span of a row, its dir and name."""


def _wrong_spans(table: TableRef, db: Database) -> list[_Span]:
    """Rows that queries may pass over."""
    found = db.execute(
        "SELECT dir, name, min_time, max_time, span FROM files WHERE table_id = ?",
        (db.table_id(table),),
    )
    return [
        (right, dir, name)
        for dir, name, first, last, span in found
        if type(first) is type(last) is int and span != (right := rows.span_of(first, last))
    ]
