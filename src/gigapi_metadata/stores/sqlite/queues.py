"""The queues of merges, moves and drops: what goes in, and what stands in them.

Rows of `plans` with leased = 0 are GigAPI's idle lists, the others its processing lists, both in
the order of `position`. Every function runs in a transaction that the caller has opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import IndexEntry, PlanKind, QueuedPlan
from gigapi_metadata.names import dir_of, new_id
from gigapi_metadata.planning import (
    MergeQueue,
    MoveQueue,
    merge_due_s,
    move_due_s,
    move_target,
    pack,
)
from gigapi_metadata.stores.base import QueueRef
from gigapi_metadata.stores.sqlite.rows import join_path, split_path

# The index is named, here and in leases.py, and a kind compared as +:kind: SQLite would else weigh
# the partial indexes by a parameter's value, and so compile the statement anew for each.
NEXT_POSITION = """
    (SELECT coalesce(max(position), 0) + 1 FROM plans INDEXED BY plans_queue
     WHERE table_id = :table_id AND kind = :kind AND layer = :layer AND writer_id = :writer_id
       AND iteration = :iteration AND dir = :dir AND leased = :leased)
"""
"""The place after the last plan of a queue, idle or leased: SQL with named parameters."""

_Place = tuple[int, str, str, int, str]
"""A merge queue: table, layer, writer, iteration, dir."""


def queue_merge(
    db: sqlite3.Connection,
    table_id: int,
    dir: str,
    queue: MergeQueue,
    files: Sequence[IndexEntry],
    now_s: int,
) -> None:
    """Add new files of one dir, layer and writer to its merge queue."""
    place = (table_id, files[0].layer, files[0].writer_id, queue.iteration, dir)
    last = db.execute(_LAST_FILE, place).fetchone()
    seq, position, total = last or (None, -1, None)
    sizes = [file.size_bytes for file in files]
    rows: list[tuple[object, ...]] = []
    for opens, indices in pack(total, sizes, queue.max_size):
        if opens:
            seq = _open_merge(db, place, merge_due_s(now_s, queue.timeout_s))
            position, total = -1, 0
        for index in indices:
            position, total = position + 1, _clamp((total or 0) + sizes[index])
            rows.append((seq, position, split_path(files[index].path)[1], total))
    db.executemany(_ADD_FILE, rows)


# The last file of a queue's last waiting plan.
_LAST_FILE = """
    SELECT plan, position, total_bytes FROM plan_files
    WHERE plan = (SELECT seq FROM plans
                  WHERE table_id = ? AND kind = 'merge' AND layer = ? AND writer_id = ?
                    AND iteration = ? AND dir = ? AND leased = 0
                  ORDER BY position DESC LIMIT 1)
    ORDER BY position DESC LIMIT 1
"""
_ADD_FILE = "INSERT INTO plan_files (plan, position, name, total_bytes) VALUES (?, ?, ?, ?)"


def _open_merge(db: sqlite3.Connection, place: _Place, due_s: int) -> int | None:
    """The row of a new plan at the end of a merge queue."""
    table_id, layer, writer_id, iteration, dir = place
    return db.execute(
        f"""INSERT INTO plans (table_id, kind, layer, writer_id, iteration, dir, due_s, id,
                               position)
            VALUES (:table_id, :kind, :layer, :writer_id, :iteration, :dir, :due_s, :id,
                    {NEXT_POSITION})""",
        {
            "table_id": table_id,
            "kind": "merge",
            "layer": layer,
            "writer_id": writer_id,
            "iteration": iteration,
            "dir": dir,
            "leased": 0,
            "due_s": due_s,
            "id": new_id(),
        },
    ).lastrowid


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


def queue_drops(
    db: sqlite3.Connection, table_id: int, files: Sequence[tuple[str, str, str]], due_s: int
) -> None:
    """Schedule the deletion of files that have left the catalog: (path, layer, writer) of each."""
    following: dict[tuple[str, str], int] = {}
    rows = []
    for path, layer, writer_id in files:
        queue = (layer, writer_id)
        if queue not in following:
            following[queue] = _next_position(db, table_id, "drop", layer, writer_id)
        rows.append((table_id, layer, writer_id, following[queue], due_s, new_id(), path))
        following[queue] += 1
    db.executemany(
        """INSERT INTO plans (table_id, kind, layer, writer_id, position, due_s, id, path)
           VALUES (?, 'drop', ?, ?, ?, ?, ?, ?)""",
        rows,
    )


def _next_position(
    db: sqlite3.Connection, table_id: int, kind: PlanKind, layer: str, writer_id: str
) -> int:
    """The place after the last waiting move or drop of a layer and writer."""
    place = {
        "table_id": table_id,
        "kind": kind,
        "layer": layer,
        "writer_id": writer_id,
        "iteration": 0,
        "dir": "",
        "leased": 0,
    }
    position: int = db.execute(f"SELECT {NEXT_POSITION}", place).fetchone()[0]
    return position


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
            VALUES (:table_id, :kind, :layer, :writer_id, {NEXT_POSITION}, :due_s, :id, :path,
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


def import_plans(db: sqlite3.Connection, table_id: int, plans: Sequence[QueuedPlan]) -> int:
    """Queue plans of another catalog, but for those that are there; how many."""
    return sum(_import(db, table_id, plan) for plan in plans)


def _import(db: sqlite3.Connection, table_id: int, plan: QueuedPlan) -> bool:
    is_merge = plan.kind == "merge"
    row = {
        "table_id": table_id,
        "kind": plan.kind,
        "layer": plan.layer,
        "writer_id": plan.writer_id,
        "iteration": plan.iteration if is_merge else 0,
        "dir": plan.dir if is_merge else "",
        "leased": 0,
        "due_s": plan.due_s,
        "id": plan.id,
        "path": "" if is_merge else plan.paths[0],
        "path_to": plan.path_to,
        "layer_to": plan.layer_to,
        "attempts": plan.attempts,
        "error": plan.error,
    }
    added = db.execute(
        f"""INSERT INTO plans (table_id, kind, layer, writer_id, iteration, dir, position, due_s,
                               id, path, path_to, layer_to, attempts, error)
            SELECT :table_id, :kind, :layer, :writer_id, :iteration, :dir, {NEXT_POSITION}, :due_s,
                   :id, :path, :path_to, :layer_to, :attempts, :error
            WHERE NOT EXISTS (
                SELECT 1 FROM plans
                WHERE table_id = :table_id AND kind = :kind AND layer = :layer
                  AND writer_id = :writer_id AND iteration = :iteration AND dir = :dir
                  AND id = :id)""",
        row,
    )
    if added.rowcount and is_merge:
        # Only the sum is known; of the running totals only the last is ever asked for.
        db.executemany(
            _ADD_FILE,
            [
                (added.lastrowid, position, split_path(path)[1], plan.size_bytes)
                for position, path in enumerate(plan.paths)
            ],
        )
    return bool(added.rowcount)


def queues(db: sqlite3.Connection, table_id: int) -> list[QueueRef]:
    """The queues that hold plans."""
    rows = db.execute(
        """SELECT DISTINCT kind, layer, writer_id, iteration FROM plans WHERE table_id = ?
           ORDER BY kind, layer, writer_id, iteration""",
        (table_id,),
    )
    found = [QueueRef(*row) for row in rows]
    if not all(isinstance(each.layer, str) and isinstance(each.writer_id, str) for each in found):
        raise CorruptState("a plan's layer or writer is no text")
    return found


def queued(db: sqlite3.Connection, table_id: int) -> list[QueuedPlan]:
    """Every plan, by kind and place, in its queue's order."""
    names: dict[int, list[str]] = {}
    totals: dict[int, int] = {}
    for seq, dir, name, total in db.execute(
        """SELECT plan_files.plan, plans.dir, plan_files.name, plan_files.total_bytes
           FROM plans JOIN plan_files ON plan_files.plan = plans.seq
           WHERE plans.table_id = ? ORDER BY plan_files.plan, plan_files.position""",
        (table_id,),
    ):
        names.setdefault(seq, []).append(join_path(dir, name))
        totals[seq] = total
    rows = db.execute(
        """SELECT seq, kind, leased AND NOT given_back, id, layer, writer_id, dir, iteration, path,
                  due_s, attempts, error, path_to, layer_to
           FROM plans WHERE table_id = ?
           ORDER BY CASE kind WHEN 'merge' THEN 0 WHEN 'move' THEN 1 ELSE 2 END,
                    dir, iteration, layer, writer_id, leased, position""",
        (table_id,),
    )
    found = [
        {
            "kind": kind,
            "state": "leased" if leased else "waiting",
            "id": id,
            "layer": layer,
            "writer_id": writer_id,
            "dir": dir or dir_of(str(path)),
            "iteration": iteration,
            "paths": names.get(seq, [path]),
            "size_bytes": totals.get(seq, 0),
            "due_s": due_s,
            "attempts": attempts,
            "error": error,
            "path_to": path_to,
            "layer_to": layer_to,
        }
        for (
            seq, kind, leased, id, layer, writer_id, dir, iteration, path, due_s, attempts, error,
            path_to, layer_to
        ) in rows
    ]  # fmt: skip
    try:
        # SQLite keeps a value of any kind in any column.
        return msgspec.convert(found, list[QueuedPlan])
    except msgspec.ValidationError as fault:
        raise CorruptState(f"a plan can't be read: {fault}") from fault


def _clamp(size: int) -> int:
    """A sum of sizes as SQLite can hold it; beyond 64 bits every bound is exceeded anyway."""
    return min(size, 2**63 - 1)
