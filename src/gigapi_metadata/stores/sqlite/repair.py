"""What a SQLite catalog holds, as it is stored, and mending it: see stores/repairing.py.

Every repair is one transaction that looks again before it writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.names import day_of, dir_of
from gigapi_metadata.planning import MAX_TIME_S
from gigapi_metadata.stores.base import Steps, TableRef
from gigapi_metadata.stores.repairing import EntryRepair, PlanRepair, StoredEntry, StoredPlan
from gigapi_metadata.stores.sqlite import rows
from gigapi_metadata.stores.sqlite.connection import Transaction

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
_FILES = "the table files"
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

        def work(db: sqlite3.Connection) -> list[str]:
            table_id = rows.find_table(db, table)
            paths = db.execute("SELECT path FROM files WHERE table_id = ?", (table_id,))
            return sorted({_place_of(str(path)) for (path,) in paths})

        found: list[str] = yield Transaction(work)
        return found

    def place_of(self, table: TableRef, path: str, layer: str) -> str:
        """See `Repairable.place_of`."""
        return _place_of(path)

    def stored(self, table: TableRef, place: str) -> Steps[list[StoredEntry]]:
        """See `Repairable.stored`."""

        def work(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
            table_id = rows.find_table(db, table)
            query = f"SELECT {rows.COLUMNS} FROM files WHERE table_id = ?"
            if not place:
                return db.execute(f"{query} AND instr(path, '/') = 0", (table_id,)).fetchall()
            head = f"{place}/"
            end = rows.end_of_prefix(head)
            return db.execute(
                f"{query} AND path >= ? AND path < ?", (table_id, head, end)
            ).fetchall()

        found: list[tuple[Any, ...]] = yield Transaction(work)
        return [_stored(table, row) for row in found]

    def stored_plans(self, table: TableRef) -> Steps[list[StoredPlan]]:
        """See `Repairable.stored_plans`."""

        def work(db: sqlite3.Connection) -> list[StoredPlan]:
            table_id = rows.find_table(db, table)
            found = db.execute(
                f"""SELECT {_PLAN} FROM plans WHERE table_id = ?
                    ORDER BY kind, dir, iteration, layer, writer_id, leased, position""",
                (table_id,),
            ).fetchall()
            return [_stored_plan(db, row) for row in found]

        plans: list[StoredPlan] = yield Transaction(work)
        return plans

    def counts(self, table: TableRef) -> Steps[dict[str, str] | None]:
        """See `Repairable.counts`."""

        def work(db: sqlite3.Connection) -> dict[str, str]:
            query = "SELECT dir, files FROM folders WHERE table_id = ?"
            return {dir: str(n) for dir, n in db.execute(query, (rows.find_table(db, table),))}

        found: dict[str, str] = yield Transaction(work)
        return found

    def set_aside(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.set_aside`."""

        def work(db: sqlite3.Connection) -> list[str]:
            made = "SELECT count(*) FROM sqlite_master WHERE name = 'set_aside'"
            if not db.execute(made).fetchone()[0]:
                return []
            query = "SELECT name FROM set_aside WHERE table_id = ? ORDER BY name"
            return [name for (name,) in db.execute(query, (rows.find_table(db, table),))]

        found: list[str] = yield Transaction(work)
        return found

    def index_faults(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.index_faults`: rows whose span is not that of their times."""
        wrong: list[tuple[str, int]] = yield Transaction(partial(_wrong_spans, table))
        return [f"the span of {path!r} is wrong: queries may not find it" for path, _ in wrong]

    # Mending

    def mend_entries(self, table: TableRef, repairs: Sequence[EntryRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_entries`. One transaction."""

        def work(db: sqlite3.Connection) -> list[bool]:
            table_id = rows.find_table(db, table)
            if table_id is None:
                return [False for _ in repairs]
            return [_mend_entry(db, table_id, repair) for repair in repairs]

        done: list[bool] = yield Transaction(work, writes=True, creates=False)
        return done

    def mend_plans(self, table: TableRef, repairs: Sequence[PlanRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_plans`. One transaction."""

        def work(db: sqlite3.Connection) -> list[bool]:
            table_id = rows.find_table(db, table)
            if table_id is None:
                return [False for _ in repairs]
            return [_mend_plan(db, table_id, repair) for repair in repairs]

        done: list[bool] = yield Transaction(work, writes=True, creates=False)
        return done

    def recount(self, table: TableRef, places: Sequence[str]) -> Steps[None]:
        """See `Repairable.recount`. One transaction."""
        wanted = set(places)

        def work(db: sqlite3.Connection) -> None:
            table_id = rows.find_table(db, table)
            counts: dict[str, int] = {}
            for (path,) in db.execute("SELECT path FROM files WHERE table_id = ?", (table_id,)):
                if _place_of(path) in wanted:
                    counts[dir_of(path)] = counts.get(dir_of(path), 0) + 1
            known = db.execute("SELECT dir FROM folders WHERE table_id = ?", (table_id,))
            stale = [(table_id, dir) for (dir,) in known.fetchall() if day_of(dir) in wanted]
            db.executemany("DELETE FROM folders WHERE table_id = ? AND dir = ?", stale)
            db.executemany(
                "INSERT INTO folders (table_id, dir, files) VALUES (?, ?, ?)",
                [(table_id, dir, number) for dir, number in counts.items()],
            )

        yield Transaction(work, writes=True, creates=False)

    def reindex(self, table: TableRef) -> Steps[None]:
        """See `Repairable.reindex`. One transaction."""

        def work(db: sqlite3.Connection) -> None:
            table_id = rows.find_table(db, table)
            for path, span in _wrong_spans(table, db):
                db.execute(
                    "UPDATE files SET span = ? WHERE table_id = ? AND path = ?",
                    (span, table_id, path),
                )

        yield Transaction(work, writes=True, creates=False)


def _place_of(path: str) -> str:
    """The first folder of a path, "" for a file that lies in none."""
    return day_of(dir_of(path))


def _stored(table: TableRef, row: tuple[Any, ...]) -> StoredEntry:
    named = dict(zip(rows.COLUMNS.split(", "), row, strict=True))
    name, raw = str(named["path"]), repr(row).encode()
    place = _place_of(name)
    wrong = [column for column in _INTEGERS if type(named[column]) is not int]
    wrong += [column for column in ("path", "layer", "writer_id") if type(named[column]) is not str]
    if wrong:
        fault = f"{_FILES}: row {name!r}: {wrong[0]} is {named[wrong[0]]!r}"
        return StoredEntry(place, name, raw, None, fault)
    try:
        return StoredEntry(place, name, raw, rows.entry_of(table, row))
    except CorruptState as fault:
        return StoredEntry(place, name, raw, None, f"{_FILES}: row {name!r}: {fault}")


def _stored_plan(db: sqlite3.Connection, row: tuple[Any, ...]) -> StoredPlan:
    found = dict(zip(_PLAN.split(", "), row, strict=True))
    files = db.execute(
        "SELECT path, total_bytes FROM plan_files WHERE plan = ? ORDER BY position",
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
        paths=[path for path, _ in files] or [found["path"]],
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
    row = db.execute(
        f"SELECT {rows.COLUMNS} FROM files WHERE table_id = ? AND path = ?", (table_id, old.name)
    ).fetchone()
    if row is None or repr(row).encode() != old.raw:
        return False
    if repair.keep:
        _put_aside(db, table_id, old.name, old.raw.decode())
    db.execute("DELETE FROM files WHERE table_id = ? AND path = ?", (table_id, old.name))
    _count(db, table_id, dir_of(old.name), -1)
    if new is not None and db.execute(rows.INSERT, rows.row_of(new, table_id)).rowcount:
        _count(db, table_id, dir_of(new.path), 1)
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
            "INSERT INTO plan_files (plan, position, path, total_bytes) VALUES (?, ?, ?, ?)",
            [(seq, position, path, new.size_bytes) for position, path in enumerate(new.paths)],
        )
    return True


def _is_living(db: sqlite3.Connection, table_id: int, path: str, layer: str) -> bool:
    query = "SELECT 1 FROM files WHERE table_id = ? AND path = ? AND layer = ?"
    return db.execute(query, (table_id, path, layer)).fetchone() is not None


def _put_aside(db: sqlite3.Connection, table_id: int, name: str, content: str) -> None:
    db.execute(_SET_ASIDE)
    db.execute("INSERT OR IGNORE INTO set_aside VALUES (?, ?, ?)", (table_id, name, content))


def _count(db: sqlite3.Connection, table_id: int, dir: str, change: int) -> None:
    db.execute(
        """INSERT INTO folders (table_id, dir, files) VALUES (?, ?, ?)
           ON CONFLICT DO UPDATE SET files = files + excluded.files""",
        (table_id, dir, change),
    )
    db.execute("DELETE FROM folders WHERE table_id = ? AND dir = ? AND files <= 0", (table_id, dir))


def _wrong_spans(table: TableRef, db: sqlite3.Connection) -> list[tuple[str, int]]:
    """(path, right span) of rows that queries may pass over."""
    found = db.execute(
        "SELECT path, min_time, max_time, span FROM files WHERE table_id = ?",
        (rows.find_table(db, table),),
    )
    return [
        (path, right)
        for path, first, last, span in found
        if type(first) is type(last) is int and span != (right := rows.span_of(first, last))
    ]
