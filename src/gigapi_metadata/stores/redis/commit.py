"""A change as commit.lua wants it: grouped by folder and queue, keys named, documents encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec

from gigapi_metadata.model import IndexEntry, MovePlan, Plan
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
from gigapi_metadata.stores.redis import documents, keys
from gigapi_metadata.stores.redis.queues import queue_of

_encode_json = msgspec.json.encode


class CommitCall:
    """Gathers what commit.lua is called with: see that file's header."""

    def __init__(self, table: TableRef, rules: Rules) -> None:
        self._table = table
        self._rules = rules
        # KEYS[1] is the receipt, which is put before these.
        self.keys = [
            keys.folders(table),
            keys.ended(table),
            keys.attempts(table),
            keys.targets(table),
        ]
        self._positions: dict[str, int] = {}
        self.args: list[str | bytes | int] = []
        self.job: dict[str, Any] = {
            "seed": new_id(),
            "groups": [],
            "removals": [],
            "drop": {
                "prefix": keys.drop_queue(table, "\n", "").partition("\n")[0],
                "database": table.database,
                "table": table.table,
                "grace_s": rules.drop_grace_s,
            },
        }

    @classmethod
    def of(cls, table: TableRef, change: Change, rules: Rules) -> Self:
        """The call that makes `change`."""
        call = cls(table, rules)
        call.add(change.add)
        call.remove(change.remove)
        if change.ends is not None:
            call.end(change.ends)
        return call

    def _key(self, key: str) -> int:
        position = self._positions.get(key)
        if position is None:
            self.keys.append(key)
            position = self._positions[key] = len(self.keys) + 1
        return position

    def add(self, entries: Sequence[IndexEntry]) -> None:
        """Group `entries` by dir and queue, each group in the order given."""
        groups: dict[tuple[str, str, str, int], list[IndexEntry]] = {}
        for entry in entries:
            path = entry.path
            place = (dir_of(path), entry.layer, entry.writer_id, iteration_of(path))
            group = groups.get(place)
            if group is None:
                groups[place] = [entry]
            else:
                group.append(entry)
        for (dir, layer, writer_id, iteration), group in groups.items():
            job: dict[str, Any] = {
                "files": self._key(keys.files(self._table, day_of(dir))),
                "dir": dir,
                "count": len(group),
            }
            queue = self._rules.queue_for(layer, iteration)
            if isinstance(queue, MergeQueue):
                name = keys.merge_queue(self._table, iteration, dir, layer, writer_id)
                job["queue"] = self._key(keys.idle(name))
                job["max_size"], job["timeout_s"] = queue.max_size, queue.timeout_s
            elif isinstance(queue, MoveQueue):
                name = keys.move_queue(self._table, layer, writer_id)
                job["queue"] = self._key(keys.idle(name))
            self.job["groups"].append(job)
            self._append(group, self._extra(queue))

    def _extra(
        self, queue: MergeQueue | MoveQueue | None
    ) -> Callable[[IndexEntry], str | bytes | int]:
        if isinstance(queue, MergeQueue):
            return lambda entry: entry.size_bytes
        if isinstance(queue, MoveQueue):
            return lambda entry: _move_item(entry, queue)
        return lambda entry: ""

    def _append(
        self, group: Sequence[IndexEntry], extra: Callable[[IndexEntry], str | bytes | int]
    ) -> None:
        append, encode = self.args.append, documents.encode
        for entry in group:
            append(entry.path)
            append(encode(entry))
            append(extra(entry))

    def remove(self, paths: Sequence[str]) -> None:
        """Group `paths` by dir."""
        groups: dict[str, list[str]] = {}
        for path in paths:
            groups.setdefault(dir_of(path), []).append(path)
        for dir, group in groups.items():
            files = self._key(keys.files(self._table, day_of(dir)))
            self.job["removals"].append({"files": files, "dir": dir, "count": len(group)})
            self.args.extend(group)

    def end(self, plan: Plan) -> None:
        """Make the change only under `plan`'s lease, and end the plan with it."""
        queue = queue_of(self._table, plan)
        self.job["ends"] = {
            "queue": self._key(keys.processing(queue)),
            "id": plan.id,
            "lease_s": plan.lease_s,
            "mark": f"{queue}:{plan.id}:{plan.lease_s}",
            "path_to": plan.path_to if isinstance(plan, MovePlan) else "",
            "memory_s": COMPLETION_MEMORY_S,
        }


def _move_item(entry: IndexEntry, queue: MoveQueue) -> bytes:
    id = new_id()
    return _encode_json(
        {
            "id": id,
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
