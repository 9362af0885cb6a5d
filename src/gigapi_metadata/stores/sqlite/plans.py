"""The queues of merges, moves and drops, inside a transaction that the caller has opened.

Rows of `plans` with leased = 0 are GigAPI's idle lists, the others its processing lists, both in
the order of `position`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gigapi_metadata.errors import LeaseLost
from gigapi_metadata.model import (
    DropPlan,
    IndexEntry,
    MergePlan,
    MovePlan,
    Plan,
    PlanKind,
    QueuedPlan,
)
from gigapi_metadata.names import dir_of, new_id
from gigapi_metadata.planning import (
    COMPLETION_MEMORY_S,
    MergeQueue,
    MoveQueue,
    merge_target,
    move_due_s,
    move_target,
    pack,
)
from gigapi_metadata.stores.base import QueueRef, TableRef

_NEXT_POSITION = """
    (SELECT coalesce(max(position), 0) + 1 FROM plans
     WHERE table_id = :table_id AND kind = :kind AND layer = :layer AND writer_id = :writer_id
       AND iteration = :iteration AND dir = :dir AND leased = :leased)
"""


def queue_merge(
    db: sqlite3.Connection,
    table_id: int,
    dir: str,
    queue: MergeQueue,
    files: Sequence[IndexEntry],
    now_s: int,
) -> None:
    """Add new files of one dir, layer and writer to its merge queue."""
    place = {
        "table_id": table_id,
        "kind": "merge",
        "layer": files[0].layer,
        "writer_id": files[0].writer_id,
        "iteration": queue.iteration,
        "dir": dir,
        "leased": 0,
    }
    last = db.execute(
        """SELECT seq, size_bytes FROM plans
           WHERE table_id = :table_id AND kind = :kind AND layer = :layer
             AND writer_id = :writer_id AND iteration = :iteration AND dir = :dir AND leased = 0
           ORDER BY position DESC LIMIT 1""",
        place,
    ).fetchone()
    sizes = [file.size_bytes for file in files]
    for opens, indices in pack(last[1] if last else None, sizes, queue.max_size):
        added = sum(sizes[index] for index in indices)
        if opens:
            seq = db.execute(
                f"""INSERT INTO plans (table_id, kind, layer, writer_id, iteration, dir, due_s, id,
                                       size_bytes, position)
                    VALUES (:table_id, :kind, :layer, :writer_id, :iteration, :dir, :due_s, :id,
                            :size, {_NEXT_POSITION})""",
                {**place, "due_s": now_s + queue.timeout_s, "id": new_id(), "size": clamp(added)},
            ).lastrowid
            position = 0
        else:
            seq = last[0]
            db.execute(
                "UPDATE plans SET size_bytes = ? WHERE seq = ?", (clamp(last[1] + added), seq)
            )
            position = db.execute(
                "SELECT coalesce(max(position), -1) + 1 FROM plan_files WHERE plan = ?", (seq,)
            ).fetchone()[0]
        db.executemany(
            "INSERT INTO plan_files (plan, position, path) VALUES (?, ?, ?)",
            [(seq, position + n, files[index].path) for n, index in enumerate(indices)],
        )


def queue_move(
    db: sqlite3.Connection, table_id: int, queue: MoveQueue, files: Sequence[IndexEntry]
) -> None:
    """Add new files to the move queues of their layer and writer."""
    for file in files:
        _queue(
            db,
            table_id,
            "move",
            file.layer,
            file.writer_id,
            due_s=move_due_s(file, queue.ttl_s),
            path=file.path,
            path_to=move_target(file.path, new_id()),
            layer_to=queue.layer_to,
        )


def queue_drop(
    db: sqlite3.Connection, table_id: int, path: str, layer: str, writer_id: str, due_s: int
) -> None:
    """Schedule the deletion of a file that has left the catalog."""
    _queue(db, table_id, "drop", layer, writer_id, due_s=due_s, path=path)


def _queue(
    db: sqlite3.Connection,
    table_id: int,
    kind: PlanKind,
    layer: str,
    writer_id: str,
    *,
    due_s: int,
    path: str,
    path_to: str = "",
    layer_to: str = "",
) -> None:
    db.execute(
        f"""INSERT INTO plans (table_id, kind, layer, writer_id, position, due_s, id, path, path_to,
                               layer_to)
            VALUES (:table_id, :kind, :layer, :writer_id, {_NEXT_POSITION}, :due_s, :id, :path,
                    :path_to, :layer_to)""",
        {
            "table_id": table_id,
            "kind": kind,
            "layer": layer,
            "writer_id": writer_id,
            "iteration": 0,
            "dir": "",
            "leased": 0,
            "due_s": due_s,
            "id": new_id(),
            "path": path,
            "path_to": path_to,
            "layer_to": layer_to,
        },
    )


class _Due(NamedTuple):
    """A plan that may be handed out: a row of _FIRST_DUE."""

    seq: int
    dir: str
    id: str
    due_s: int
    waited_s: int
    path: str
    path_to: str
    layer_to: str
    last_lease_s: int
    leased: int
    attempts: int


# Of each dir: the head of the waiting plans, else the first leased one whose lease ran out.
_FIRST_DUE = f"""
    SELECT {", ".join(_Due._fields)}
    FROM plans AS plan
    WHERE table_id = :table_id AND kind = :kind AND layer = :layer AND writer_id = :writer_id
      AND iteration = :iteration AND due_s <= :now_s
      AND (leased = 1 OR NOT EXISTS (
          SELECT 1 FROM plans AS earlier
          WHERE earlier.table_id = plan.table_id AND earlier.kind = plan.kind
            AND earlier.layer = plan.layer AND earlier.writer_id = plan.writer_id
            AND earlier.iteration = plan.iteration AND earlier.dir = plan.dir
            AND earlier.leased = 0 AND earlier.position < plan.position))
    ORDER BY dir, leased, position
    LIMIT 1
"""


def lease(
    db: sqlite3.Connection,
    table: TableRef,
    table_id: int,
    queue: QueueRef,
    lease_s: int,
    now_s: int,
) -> Plan | None:
    """Hand out the first plan that is due; discard those that name no living file on the way."""
    place = {
        "table_id": table_id,
        "kind": queue.kind,
        "layer": queue.layer,
        "writer_id": queue.writer_id,
        "iteration": queue.iteration if queue.kind == "merge" else 0,
        "now_s": now_s,
    }
    while (row := db.execute(_FIRST_DUE, place).fetchone()) is not None:
        due = _Due(*row)
        paths = _living(db, table_id, due.seq, queue, due.path)
        if not paths:
            _delete(db, due.seq)
            continue
        until_s = now_s + lease_s
        if until_s == due.last_lease_s:
            until_s += 1  # successive leases must differ, they are told apart by this
        waited_s = due.waited_s if due.leased else due.due_s
        db.execute(
            f"""UPDATE plans SET leased = 1, given_back = 0, due_s = :until_s,
                                 last_lease_s = :until_s, waited_s = :waited_s,
                                 position = {_NEXT_POSITION}
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
            "SELECT path FROM plan_files WHERE plan = ? ORDER BY position LIMIT 1", (due.seq,)
        ).fetchone()[0]
        level = queue.iteration
        target = merge_target(due.id, due.dir, level, first)
        return MergePlan(due.id, database, name, layer, writer_id, level, paths, target, *held)
    if queue.kind == "move":
        to = (due.path_to, due.layer_to)
        return MovePlan(due.id, database, name, writer_id, due.path, layer, *to, *held)
    return DropPlan(due.id, database, name, layer, writer_id, due.path, waited_s, *held)


def _living(
    db: sqlite3.Connection, table_id: int, seq: int, queue: QueueRef, path: str
) -> list[str]:
    """The files a plan still has to deal with; empty when there is nothing left to do."""
    if queue.kind == "merge":
        rows = db.execute(
            """SELECT plan_files.path FROM plan_files JOIN files USING (path)
               WHERE plan_files.plan = ? AND files.table_id = ? AND files.layer = ?
               ORDER BY plan_files.position""",
            (seq, table_id, queue.layer),
        )
        return list(dict.fromkeys(row[0] for row in rows))
    alive = db.execute(
        "SELECT 1 FROM files WHERE table_id = ? AND path = ? AND layer = ?",
        (table_id, path, queue.layer),
    ).fetchone()
    # A file that was added again since is not to be deleted.
    return [path] if (alive is not None) == (queue.kind == "move") else []


def find_leased(db: sqlite3.Connection, table_id: int, plan: Plan) -> int | None:
    """The row of the plan that is held under exactly this lease."""
    found = db.execute(
        """SELECT seq FROM plans
           WHERE table_id = ? AND kind = ? AND layer = ? AND writer_id = ? AND id = ?
             AND leased = 1 AND given_back = 0 AND due_s = ?""",
        (table_id, kind_of(plan), layer_of(plan), plan.writer_id, plan.id, plan.lease_s),
    ).fetchone()
    return None if found is None else int(found[0])


def was_ended(db: sqlite3.Connection, table_id: int, plan: Plan) -> bool:
    """Whether the plan was ended under this very lease."""
    return (
        db.execute(
            "SELECT 1 FROM ended WHERE table_id = ? AND kind = ? AND id = ? AND lease_s = ?",
            (table_id, kind_of(plan), plan.id, plan.lease_s),
        ).fetchone()
        is not None
    )


def end(db: sqlite3.Connection, table_id: int, seq: int, plan: Plan, now_s: int) -> None:
    """Remove a plan that is held, and remember the lease."""
    _delete(db, seq)
    db.execute(
        "INSERT INTO ended (table_id, kind, id, lease_s, at_s) VALUES (?, ?, ?, ?, ?)",
        (table_id, kind_of(plan), plan.id, plan.lease_s, now_s),
    )
    db.execute("DELETE FROM ended WHERE at_s < ?", (now_s - COMPLETION_MEMORY_S,))


def renew(db: sqlite3.Connection, table_id: int, plan: Plan, lease_s: int, now_s: int) -> Plan:
    """The plan under a longer lease."""
    seq = find_leased(db, table_id, plan)
    if seq is None:
        raise lost(plan)
    until_s = max(plan.lease_s, now_s + lease_s)
    db.execute(
        "UPDATE plans SET due_s = ?, last_lease_s = ? WHERE seq = ?", (until_s, until_s, seq)
    )
    return msgspec.structs.replace(plan, lease_s=until_s)


def release(
    db: sqlite3.Connection, table_id: int, plan: Plan, error: str | None, delay_s: int, now_s: int
) -> None:
    """Give a plan back: to the head of its queue, or, with a delay, held back until then."""
    seq = find_leased(db, table_id, plan)
    if seq is None:
        raise lost(plan)
    if error is not None:
        db.execute(
            "UPDATE plans SET attempts = attempts + 1, error = ? WHERE seq = ?", (error, seq)
        )
    if delay_s > 0:
        db.execute(
            "UPDATE plans SET due_s = ?, given_back = 1 WHERE seq = ?", (now_s + delay_s, seq)
        )
        return
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


def queues(db: sqlite3.Connection, table_id: int) -> list[QueueRef]:
    """The queues that hold plans."""
    rows = db.execute(
        """SELECT DISTINCT kind, layer, writer_id, iteration FROM plans WHERE table_id = ?
           ORDER BY kind, layer, writer_id, iteration""",
        (table_id,),
    )
    return [QueueRef(*row) for row in rows]


def queued(db: sqlite3.Connection, table_id: int) -> list[QueuedPlan]:
    """Every plan, by kind and place, in its queue's order."""
    names: dict[int, list[str]] = {}
    for seq, path in db.execute(
        """SELECT plan_files.plan, plan_files.path
           FROM plans JOIN plan_files ON plan_files.plan = plans.seq
           WHERE plans.table_id = ? ORDER BY plan_files.plan, plan_files.position""",
        (table_id,),
    ):
        names.setdefault(seq, []).append(path)
    rows = db.execute(
        """SELECT seq, kind, leased AND NOT given_back, id, layer, writer_id, dir, iteration, path,
                  size_bytes, due_s, attempts, error
           FROM plans WHERE table_id = ?
           ORDER BY CASE kind WHEN 'merge' THEN 0 WHEN 'move' THEN 1 ELSE 2 END,
                    dir, iteration, layer, writer_id, leased, position""",
        (table_id,),
    )
    return [
        QueuedPlan(
            kind=kind,
            state="leased" if leased else "waiting",
            id=id,
            layer=layer,
            writer_id=writer_id,
            dir=dir or dir_of(path),
            iteration=iteration,
            paths=names.get(seq, [path]),
            size_bytes=size_bytes,
            due_s=due_s,
            attempts=attempts,
            error=error,
        )
        for (
            seq, kind, leased, id, layer, writer_id, dir, iteration, path, size_bytes, due_s,
            attempts, error,
        ) in rows
    ]  # fmt: skip


def kind_of(plan: Plan) -> PlanKind:
    """ "merge", "move" or "drop"."""
    if isinstance(plan, MergePlan):
        return "merge"
    return "move" if isinstance(plan, MovePlan) else "drop"


def layer_of(plan: Plan) -> str:
    """The layer in whose queue the plan stood."""
    return plan.layer_from if isinstance(plan, MovePlan) else plan.layer


def lost(plan: Plan) -> LeaseLost:
    return LeaseLost(
        f"plan {plan.id} is no longer held under this lease: it ran out and someone else has the "
        "plan, or it was given back or ended; nothing was changed"
    )


def clamp(size: int) -> int:
    """A sum of sizes as SQLite can hold it; beyond 64 bits every bound is exceeded anyway."""
    return min(size, 2**63 - 1)


def _delete(db: sqlite3.Connection, seq: int) -> None:
    db.execute("DELETE FROM plan_files WHERE plan = ?", (seq,))
    db.execute("DELETE FROM plans WHERE seq = ?", (seq,))
