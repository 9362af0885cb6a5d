"""A change as commit.lua wants it: grouped by folder and queue, keys named, documents encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gigapi_metadata.model import DropPlan, IndexEntry, MovePlan, Plan
from gigapi_metadata.names import day_of, dir_of, iteration_of, new_id
from gigapi_metadata.planning import (
    COMPLETION_MEMORY_S,
    MergeQueue,
    MoveQueue,
    Rules,
    move_due_s,
    move_target,
)
from gigapi_metadata.stores.base import Change, TableRef
from gigapi_metadata.stores.redis import cells, documents, keys
from gigapi_metadata.stores.redis.queues import queue_of

Job = dict[str, Any]


def commit_job(table: TableRef, change: Change, rules: Rules) -> tuple[list[str], Job, bytes]:
    """KEYS (but for the receipt, which comes first), the job and the records of commit.lua."""
    declared = _Keys(
        keys.folders(table),
        keys.ended(table),
        keys.attempts(table),
        keys.targets(table),
        keys.dropping(table),
        keys.cells(table),
        keys.state(table),
        keys.indexed(table),
        keys.noted(table),
    )
    records: list[bytes] = []
    job: Job = {
        "seed": new_id(),
        "database": table.database,
        "table": table.table,
        "drop_prefix": keys.drop_queue(table, "\n", "").partition("\n")[0],
        "cell_prefix": keys.cell(table, ""),
        "grace_s": rules.drop_grace_s,
        "groups": _groups(declared, table, change.add, rules, records),
        "removals": _removals(declared, table, change.remove),
    }
    if change.ends is not None:
        job["ends"] = _ends(declared, table, change.ends, change.completes)
    return declared.names, job, b"".join(records)


class _Keys:
    """The keys of a call, each once, and their indices in KEYS."""

    def __init__(self, *first: str) -> None:
        self.names = list(first)
        self._indices: dict[str, int] = {}

    def index(self, key: str) -> int:
        found = self._indices.get(key)
        if found is None:
            self.names.append(key)
            # KEYS[1] is the receipt, and Lua counts from 1.
            found = self._indices[key] = len(self.names) + 1
        return found


def _ends(declared: _Keys, table: TableRef, plan: Plan, completes: bool) -> Job:
    queue = queue_of(table, plan)
    lease = f"{queue}:{plan.id}:{plan.lease_s}"
    completed, ended = f"{lease}:completed", f"{lease}:ended"
    return {
        "list": declared.index(keys.processing(queue)),
        "id": plan.id,
        "lease_s": plan.lease_s,
        "layer": plan.layer_from if isinstance(plan, MovePlan) else plan.layer,
        "mark": completed if completes else ended,
        "done": [completed] if completes else [completed, ended],
        "path_to": plan.path_to if isinstance(plan, MovePlan) else "",
        "dropped": f"{plan.layer}:{plan.path}" if isinstance(plan, DropPlan) else "",
        "memory_s": COMPLETION_MEMORY_S,
    }


def _groups(
    declared: _Keys,
    table: TableRef,
    entries: Sequence[IndexEntry],
    rules: Rules,
    records: list[bytes],
) -> list[Job]:
    groups: dict[tuple[str, str, str, int], list[IndexEntry]] = {}
    for entry in entries:
        path = entry.path
        place = (dir_of(path), entry.layer, entry.writer_id, iteration_of(path))
        group = groups.get(place)
        if group is None:
            groups[place] = [entry]
        else:
            group.append(entry)
    return [
        _group(declared, table, place, group, rules, records) for place, group in groups.items()
    ]


def _group(
    declared: _Keys,
    table: TableRef,
    place: tuple[str, str, str, int],
    entries: Sequence[IndexEntry],
    rules: Rules,
    records: list[bytes],
) -> Job:
    dir, layer, writer_id, iteration = place
    # As text, for Lua's MessagePack does not know byte strings.
    documents_of: list[str] = []
    for entry in entries:
        documents_of += (entry.path, documents.encode(entry))
    job: Job = {
        "files": declared.index(keys.files(table, day_of(dir))),
        "dir": dir,
        "place": f"{layer}:{writer_id}",
        "entries": documents_of,
        "parts": cells.list_files(dir, entries, records),
    }
    queue = rules.queue_for(layer, iteration)
    if isinstance(queue, MergeQueue):
        name = keys.merge_queue(table, iteration, dir, layer, writer_id)
        job["queue"] = declared.index(keys.idle(name))
        job["ready"] = declared.index(keys.ready(table, iteration, layer, writer_id))
        job["max_size"] = queue.max_size
        job["timeout_s"] = queue.timeout_s
        job["sizes"] = [entry.size_bytes for entry in entries]
        job["quoted"] = any('"' in entry.path for entry in entries)
    elif isinstance(queue, MoveQueue):
        name = keys.move_queue(table, layer, writer_id)
        job["queue"] = declared.index(keys.idle(name))
        job["items"] = [_move_item(entry, queue) for entry in entries]
    return job


def _removals(declared: _Keys, table: TableRef, paths: Sequence[str]) -> list[Job]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(dir_of(path), []).append(path)
    return [
        {
            "files": declared.index(keys.files(table, day_of(dir))),
            "dir": dir,
            "paths": group,
        }
        for dir, group in groups.items()
    ]


def _move_item(entry: IndexEntry, queue: MoveQueue) -> str:
    item = msgspec.json.encode(
        {
            "id": new_id(),
            "time_s": move_due_s(entry, queue.ttl_s),
            "writer_id": entry.writer_id,
            "database": entry.database,
            "table": entry.table,
            "path_from": entry.path,
            "layer_from": entry.layer,
            "path_to": move_target(entry.path, new_id()),
            "layer_to": queue.layer_to,
        }
    )
    return item.decode()
