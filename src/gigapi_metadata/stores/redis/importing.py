"""Plans of another catalog as import.lua wants them: grouped by queue, written as queue items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.redis import keys

Job = dict[str, Any]


def import_job(table: TableRef, plans: Sequence[QueuedPlan]) -> tuple[list[str], Job]:
    """KEYS (but for the receipt, which comes first) and the job of import.lua."""
    names = [keys.attempts(table), keys.dropping(table)]
    groups: dict[str, Job] = {}
    for plan in plans:
        queue = queue_of_queued(table, plan)
        group = groups.get(queue)
        if group is None:
            # KEYS[1] is the receipt, and Lua counts from 1.
            at = len(names) + 2
            names += (keys.idle(queue), keys.processing(queue))
            group = groups[queue] = {"idle": at, "processing": at + 1, "plans": []}
            if plan.kind == "merge":
                names.append(keys.ready(table, plan.iteration, plan.layer, plan.writer_id))
                group |= {"ready": at + 2, "dir": plan.dir}
        group["plans"].append(_plan(table, plan))
    return names, {"groups": list(groups.values())}


def queue_of_queued(table: TableRef, plan: QueuedPlan) -> str:
    """The queue that a plan stands in."""
    if plan.kind == "merge":
        return keys.merge_queue(table, plan.iteration, plan.dir, plan.layer, plan.writer_id)
    if plan.kind == "move":
        return keys.move_queue(table, plan.layer, plan.writer_id)
    return keys.drop_queue(table, plan.layer, plan.writer_id)


def _plan(table: TableRef, plan: QueuedPlan) -> Job:
    item = msgspec.json.encode(item_of(table, plan)).decode()
    job: Job = {"id": plan.id, "due_s": plan.due_s, "item": item}
    if plan.kind == "drop":
        job["dropped"] = f"{plan.layer}:{plan.paths[0]}"
    if plan.attempts or plan.error:
        record = {"used": [], "held_until_s": 0, "attempts": plan.attempts, "error": plan.error}
        job["record"] = msgspec.json.encode(record).decode()
    return job


def item_of(table: TableRef, plan: QueuedPlan) -> Job:
    """The item (FORMAT, "Redis keys"). A merge's fields are in the order commit.lua looks for."""
    item: Job = {"id": plan.id, "time_s": plan.due_s}
    if plan.kind == "merge":
        return item | {"paths": plan.paths, "size": plan.size_bytes}
    path = plan.paths[0]
    item |= {"writer_id": plan.writer_id, "database": table.database, "table": table.table}
    if plan.kind == "drop":
        return item | {"layer": plan.layer, "path": path}
    return item | {
        "path_from": path,
        "layer_from": plan.layer,
        "path_to": plan.path_to,
        "layer_to": plan.layer_to,
    }
