"""Handing plans out, and what their holders may do: end, renew, release.

Every function runs in a transaction that the caller has opened.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from gigapi_metadata.errors import CorruptState, LeaseLost
from gigapi_metadata.model import DropPlan, MergePlan, MovePlan, Plan, PlanKind, QueuedPlan
from gigapi_metadata.planning import COMPLETION_MEMORY_S, merge_target
from gigapi_metadata.stores.base import QueueRef, TableRef
from gigapi_metadata.stores.sqlite.queues import NEXT_POSITION
from gigapi_metadata.stores.sqlite.rows import join_path, split_path

_decode_seconds = msgspec.json.Decoder(list[int]).decode


class _Due(NamedTuple):
    """A plan that may be handed out: a row of _FIRST_MERGE or _HEAD."""

    seq: int
    dir: str
    id: str
    due_s: int
    waited_s: int
    path: str
    path_to: str
    layer_to: str
    used_leases: str
    leased: int
    attempts: int

    def check(self) -> None:
        """SQLite keeps a value of any kind in any column; refuse what we have not written.

        Raises:
            CorruptState: naming the plan.
        """
        try:
            "".join((self.dir, self.id, self.path, self.path_to, self.layer_to, self.used_leases))
            _ = self.due_s | self.waited_s | self.leased | self.attempts
        except TypeError as fault:
            raise CorruptState(f"plan {self.id!r} can't be read: {fault}") from fault


_PLACE = """
    table_id = :table_id AND kind = +:kind AND layer = :layer AND writer_id = :writer_id
    AND iteration = :iteration
"""
_DUE = ", ".join(_Due._fields)

# Of each dir: the head of the waiting plans, else the first leased one whose lease ran out.
_FIRST_MERGE = f"""
    SELECT {_DUE}
    FROM plans AS plan INDEXED BY {{index}}
    WHERE {_PLACE} AND kind = 'merge' AND due_s <= :now_s
      AND (leased = 1 OR NOT EXISTS (
          SELECT 1 FROM plans AS earlier
          WHERE earlier.table_id = plan.table_id AND earlier.kind = plan.kind
            AND earlier.layer = plan.layer AND earlier.writer_id = plan.writer_id
            AND earlier.iteration = plan.iteration AND earlier.dir = plan.dir
            AND earlier.leased = 0 AND earlier.position < plan.position))
    ORDER BY dir, leased, position
    LIMIT 1
"""
_FEW = 64
_MANY_MERGES = f"""
    SELECT count(*) FROM (SELECT 1 FROM plans INDEXED BY plans_due
                          WHERE {_PLACE} AND kind = 'merge' AND due_s <= :now_s LIMIT {_FEW})
"""

# The same for moves and drops, which have one queue and so one head each.
_HEAD = f"""
    SELECT {_DUE} FROM (
        SELECT * FROM plans INDEXED BY plans_queue
        WHERE {_PLACE} AND dir = '' AND leased = 0 ORDER BY position LIMIT 1)
    WHERE due_s <= :now_s
"""
_FIRST_EXPIRED = f"""
    SELECT {_DUE} FROM plans INDEXED BY plans_due
    WHERE {_PLACE} AND leased = 1 AND due_s <= :now_s ORDER BY position LIMIT 1
"""


def _first_due(db: sqlite3.Connection, place: dict[str, object]) -> _Due | None:
    """The plan that is next to be handed out. Its cost does not grow with the plans that are not
    due, nor, but for a step each in the index, with those that are."""
    if place["kind"] == "merge":
        (due,) = db.execute(_MANY_MERGES, place).fetchone()
        if not due:
            return None
        # Few of them are sorted; among many, the first dir that has one is soon found.
        index = "plans_queue" if due == _FEW else "plans_due"
        row = db.execute(_FIRST_MERGE.format(index=index), place).fetchone()
    else:
        row = db.execute(_HEAD, place).fetchone() or db.execute(_FIRST_EXPIRED, place).fetchone()
    return None if row is None else _Due(*row)


def lease(
    db: sqlite3.Connection,
    table: TableRef,
    table_id: int,
    queue: QueueRef,
    lease_s: int,
    now_s: int,
) -> Plan | None:
    """Hand out the first plan that is due; discard those that name no living file on the way."""
    place: dict[str, object] = {
        "table_id": table_id,
        "kind": queue.kind,
        "layer": queue.layer,
        "writer_id": queue.writer_id,
        "iteration": queue.iteration if queue.kind == "merge" else 0,
        "now_s": now_s,
    }
    while (due := _first_due(db, place)) is not None:
        due.check()
        paths = _living(db, table_id, due, queue, now_s)
        if not paths:
            _delete(db, due.seq)
            continue
        used = set(_used(due.used_leases, now_s))
        until_s = now_s + lease_s
        while until_s in used:
            until_s += 1  # leases must differ, they are told apart by this
        waited_s = due.waited_s if due.leased else due.due_s
        db.execute(
            f"""UPDATE plans SET leased = 1, given_back = 0, due_s = :until_s,
                                 waited_s = :waited_s, position = {NEXT_POSITION}
                WHERE seq = :seq""",
            place
            | {"dir": due.dir, "leased": 1, "seq": due.seq}
            | {"until_s": until_s, "waited_s": waited_s},
        )
        return _plan(db, table, queue, due, paths, until_s, waited_s)
    return None


def _plan(
    db: sqlite3.Connection,
    table: TableRef,
    queue: QueueRef,
    due: _Due,
    paths: list[str],
    until_s: int,
    waited_s: int,
) -> Plan:
    database, name = table
    layer, writer_id, held = queue.layer, queue.writer_id, (until_s, due.attempts)
    if queue.kind == "merge":
        # From the first path as queued, living or not: it must not change between attempts.
        first = db.execute(
            "SELECT name FROM plan_files WHERE plan = ? ORDER BY position LIMIT 1", (due.seq,)
        ).fetchone()[0]
        level = queue.iteration
        target = merge_target(due.id, due.dir, level, join_path(due.dir, first))
        return MergePlan(due.id, database, name, layer, writer_id, level, paths, target, *held)
    if queue.kind == "move":
        to = (due.path_to, due.layer_to)
        return MovePlan(due.id, database, name, writer_id, due.path, layer, *to, *held)
    return DropPlan(due.id, database, name, layer, writer_id, due.path, waited_s, *held)


def _living(
    db: sqlite3.Connection, table_id: int, due: _Due, queue: QueueRef, now_s: int
) -> list[str]:
    """The files a plan still has to deal with; empty when there is nothing left to do."""
    if queue.kind == "merge":
        rows = db.execute(
            """SELECT plan_files.name FROM plan_files CROSS JOIN files USING (name)
               WHERE plan_files.plan = ? AND files.table_id = ? AND files.dir = ?
                 AND files.layer = ?
               ORDER BY plan_files.position""",
            (due.seq, table_id, due.dir, queue.layer),
        )
        return list(dict.fromkeys(join_path(due.dir, row[0]) for row in rows))
    path = due.path
    alive = db.execute(
        "SELECT 1 FROM files WHERE table_id = ? AND dir = ? AND name = ? AND layer = ?",
        (table_id, *split_path(path), queue.layer),
    ).fetchone()
    if queue.kind == "move":
        return [path] if alive else []
    # A file that was added again since is not to be deleted; one that was removed once more has a
    # later plan of its own, for readers may still use it.
    later = db.execute(
        """SELECT 1 FROM plans
           WHERE kind = 'drop' AND table_id = ? AND path = ? AND layer = ? AND leased = 0
             AND seq <> ? AND due_s > ?""",
        (table_id, path, queue.layer, due.seq, now_s),
    ).fetchone()
    return [] if alive or later else [path]


def _used(text: str, now_s: int) -> list[int]:
    """The leases of a plan that were given up before their time, and could come again.

    Raises:
        CorruptState: somebody else has written something else there.
    """
    try:
        return [second for second in _decode_seconds(text) if second > now_s]
    except (msgspec.DecodeError, TypeError, RecursionError) as fault:
        raise CorruptState(f"a plan's used leases can't be read: {fault}") from fault


def _give_up_lease(db: sqlite3.Connection, seq: int, lease_s: int, now_s: int) -> None:
    (text,) = db.execute("SELECT used_leases FROM plans WHERE seq = ?", (seq,)).fetchone()
    used = [*_used(text, now_s), lease_s]
    db.execute(
        "UPDATE plans SET used_leases = ? WHERE seq = ?", (msgspec.json.encode(used).decode(), seq)
    )


def find_leased(db: sqlite3.Connection, table_id: int, plan: Plan) -> int | None:
    """The row of the plan that is held under exactly this lease."""
    iteration = plan.iteration if isinstance(plan, MergePlan) else 0
    found = db.execute(
        """SELECT seq FROM plans INDEXED BY plans_due
           WHERE table_id = ? AND kind = +? AND layer = ? AND writer_id = ? AND iteration = ?
             AND due_s = ? AND id = ? AND leased = 1 AND given_back = 0""",
        (
            *(table_id, _kind_of(plan), layer_of(plan), plan.writer_id),
            *(iteration, plan.lease_s, plan.id),
        ),
    ).fetchone()
    return None if found is None else int(found[0])


def was_ended(db: sqlite3.Connection, table_id: int, plan: Plan, completes: bool) -> bool:
    """Whether the plan was ended under this very lease; if `completes`, with its result."""
    return (
        db.execute(
            """SELECT 1 FROM ended
               WHERE table_id = ? AND kind = ? AND id = ? AND lease_s = ? AND complete >= ?""",
            (table_id, _kind_of(plan), plan.id, plan.lease_s, completes),
        ).fetchone()
        is not None
    )


def end(
    db: sqlite3.Connection, table_id: int, seq: int, plan: Plan, completes: bool, now_s: int
) -> None:
    """Remove a plan that is held, and remember the lease."""
    _delete(db, seq)
    db.execute(
        """INSERT INTO ended (table_id, kind, id, lease_s, at_s, complete)
           VALUES (?, ?, ?, ?, ?, ?)""",
        (table_id, _kind_of(plan), plan.id, plan.lease_s, now_s, completes),
    )
    db.execute("DELETE FROM ended WHERE at_s < ?", (now_s - COMPLETION_MEMORY_S,))


def renew(db: sqlite3.Connection, table_id: int, plan: Plan, lease_s: int, now_s: int) -> Plan:
    """The plan under a longer lease."""
    seq = find_leased(db, table_id, plan)
    if seq is None:
        raise lost(plan)
    until_s = now_s + lease_s
    if until_s <= plan.lease_s:
        return plan
    (text,) = db.execute("SELECT used_leases FROM plans WHERE seq = ?", (seq,)).fetchone()
    while until_s in _used(text, now_s):
        until_s += 1
    _give_up_lease(db, seq, plan.lease_s, now_s)
    db.execute("UPDATE plans SET due_s = ? WHERE seq = ?", (until_s, seq))
    return msgspec.structs.replace(plan, lease_s=until_s)


def release(
    db: sqlite3.Connection, table_id: int, plan: Plan, error: str | None, delay_s: int, now_s: int
) -> None:
    """Give a plan back: to the head of its queue, or, with a delay, held back until then."""
    seq = find_leased(db, table_id, plan)
    if seq is None:
        raise lost(plan)
    _give_up_lease(db, seq, plan.lease_s, now_s)
    if error is not None:
        db.execute(
            "UPDATE plans SET attempts = attempts + 1, error = ? WHERE seq = ?", (error, seq)
        )
    if delay_s > 0:
        db.execute(
            "UPDATE plans SET due_s = ?, given_back = 1 WHERE seq = ?", (now_s + delay_s, seq)
        )
        return
    _to_the_head(db, seq, now_s)


def retry(db: sqlite3.Connection, table_id: int, plan: QueuedPlan, now_s: int) -> bool:
    """Make a plan due now that nobody holds, and forget its attempts; False if there is none."""
    found = db.execute(
        """SELECT seq FROM plans
           WHERE table_id = ? AND kind = ? AND layer = ? AND writer_id = ? AND id = ?
             AND (leased = 0 OR given_back = 1)""",
        (table_id, plan.kind, plan.layer, plan.writer_id, plan.id),
    ).fetchone()
    if found is None:
        return False
    db.execute(
        "UPDATE plans SET attempts = 0, error = '', given_back = 0 WHERE seq = ?", (found[0],)
    )
    _to_the_head(db, found[0], now_s)
    return True


def _to_the_head(db: sqlite3.Connection, seq: int, now_s: int) -> None:
    """Make a plan wait at the head of its queue, due now."""
    db.execute(
        """UPDATE plans SET leased = 0, due_s = ?, position =
               (SELECT coalesce(min(other.position), 1) - 1 FROM plans AS other
                WHERE other.table_id = plans.table_id AND other.kind = plans.kind
                  AND other.layer = plans.layer AND other.writer_id = plans.writer_id
                  AND other.iteration = plans.iteration AND other.dir = plans.dir
                  AND other.leased = 0)
           WHERE seq = ?""",
        (now_s, seq),
    )


def lost(plan: Plan) -> LeaseLost:
    return LeaseLost(
        f"plan {plan.id} is no longer held under this lease: it ran out and someone else has the "
        "plan, or it was given back or ended; nothing was changed"
    )


def _kind_of(plan: Plan) -> PlanKind:
    """ "merge", "move" or "drop"."""
    if isinstance(plan, MergePlan):
        return "merge"
    return "move" if isinstance(plan, MovePlan) else "drop"


def layer_of(plan: Plan) -> str:
    """The layer in whose queue the plan stood."""
    return plan.layer_from if isinstance(plan, MovePlan) else plan.layer


def _delete(db: sqlite3.Connection, seq: int) -> None:
    db.execute("DELETE FROM plan_files WHERE plan = ?", (seq,))
    db.execute("DELETE FROM plans WHERE seq = ?", (seq,))
