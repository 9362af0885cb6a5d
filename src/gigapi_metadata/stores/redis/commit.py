"""A change as commit.lua wants it: grouped by folder and queue, keys named, documents encoded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

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
    pack,
)
from gigapi_metadata.stores.base import Change, TableRef
from gigapi_metadata.stores.redis import cells, documents, keys
from gigapi_metadata.stores.redis.queues import queue_of
from gigapi_metadata.stores.redis.unsettled import Ticket

Job = dict[str, Any]

MAX_SIZE = 2**63 - 1024
"""The most bytes that a plan says it has: as in lua/lib.lua."""

_pack = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode


class CommitCall(NamedTuple):
    """What commit.lua is called with: KEYS but for the receipt, which comes first, and ARGV, of
    which the job still lacks the receipt's token."""

    keys: list[str]
    job: Job
    arguments: Collection[bytes]


def commit_call(
    table: TableRef, change: Change, rules: Rules, parts_of: Sequence[Ticket] = ()
) -> CommitCall:
    """The call that makes `change`, unless one of the writes that it was a part of was made."""
    declared = _Keys(_always(table))
    if change.remove or change.ends is not None:
        for key in (keys.ended, keys.attempts, keys.targets, keys.dropping):
            declared.index(key(table))
    records: list[bytes] = []
    groups = _grouped(change.add)
    # Only moves need it: their queue is one for all dirs.
    order = {entry.path: at for at, entry in enumerate(change.add)} if rules.layers else {}
    job: Job = {
        "database": table.database,
        "table": table.table,
        "drop_prefix": keys.drop_queue(table, "\n", "").partition("\n")[0],
        "cell_prefix": keys.cell(table, ""),
        "grace_s": rules.drop_grace_s,
        "groups": [
            _group(declared, table, place, entries, rules, records, order)
            for place, entries in groups.items()
        ],
        "removals": _removals(declared, table, change.remove),
    }
    if change.ends is not None:
        job["ends"] = _ends(declared, table, change.ends, change.completes)
    if parts_of:
        job["parts_of"] = [
            [declared.index(keys.receipt(table, write.client, write.slot)), write.token]
            for write in parts_of
        ]
    return CommitCall(declared.names, job, _Arguments(b"".join(records), groups.values()))


class _Arguments(Collection[bytes]):
    """The records of the time index, then each group's paths and documents: encoded when their turn
    comes, so that the server reads some while the next are being encoded."""

    def __init__(self, records: bytes, groups: Iterable[Sequence[IndexEntry]]) -> None:
        self._records = records
        self._groups = list(groups)

    def __len__(self) -> int:
        return 1 + len(self._groups)

    def __iter__(self) -> Iterator[bytes]:
        yield self._records
        for entries in self._groups:
            # As text, for Lua's MessagePack does not know byte strings.
            flat: list[str] = []
            for entry in entries:
                flat += (entry.path, documents.encode(entry))
            yield _pack(flat)

    def __contains__(self, argument: object) -> bool:
        return any(argument == each for each in self)


@lru_cache(maxsize=256, typed=True)
def _always(table: TableRef) -> tuple[str, ...]:
    return (
        keys.folders(table),
        keys.cells(table),
        keys.seen(table),
        keys.indexed(table),
        keys.noted(table),
        keys.full(table),
    )


class _Keys:
    """The keys of a call, each once, and their indices in KEYS."""

    def __init__(self, first: Iterable[str]) -> None:
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


Place = tuple[str, str, str, int]
"""What entries of a group have in common: dir, layer, writer, iteration."""


def _grouped(entries: Sequence[IndexEntry]) -> dict[Place, list[IndexEntry]]:
    groups: dict[Place, list[IndexEntry]] = {}
    for entry in entries:
        path = entry.path
        place = (dir_of(path), entry.layer, entry.writer_id, iteration_of(path))
        group = groups.get(place)
        if group is None:
            groups[place] = [entry]
        else:
            group.append(entry)
    return groups


def _group(
    declared: _Keys,
    table: TableRef,
    place: Place,
    entries: Sequence[IndexEntry],
    rules: Rules,
    records: list[bytes],
    order: Mapping[str, int],
) -> Job:
    dir, layer, writer_id, iteration = place
    job: Job = {
        "files": declared.index(keys.files(table, day_of(dir))),
        "dir": dir,
        "place": f"{layer}:{writer_id}",
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
        job["packed"] = _packed_plans(entries, job["sizes"], queue.max_size)
    elif isinstance(queue, MoveQueue):
        name = keys.move_queue(table, layer, writer_id)
        job["queue"] = declared.index(keys.idle(name))
        job["items"] = [_move_item(entry, queue) for entry in entries]
        job["positions"] = [order[entry.path] for entry in entries]
    return job


def _packed_plans(
    entries: Sequence[IndexEntry], sizes: Sequence[int], max_size: int
) -> list[int | str]:
    """The merge plans of files where none is waiting yet: the size of each, and its paths as the
    inside of a JSON list."""
    if len(entries) == 1:
        return [min(sizes[0], MAX_SIZE), _encode_json(entries[0].path).decode()]
    plans: list[int | str] = []
    for _, indices in pack(None, sizes, max_size):
        paths = _encode_json([entries[index].path for index in indices])
        plans += (min(sum([sizes[index] for index in indices]), MAX_SIZE), paths[1:-1].decode())
    return plans


def _removals(declared: _Keys, table: TableRef, paths: Sequence[str]) -> list[Job]:
    groups: dict[str, Job] = {}
    for position, path in enumerate(paths):
        dir = dir_of(path)
        group = groups.get(dir)
        if group is None:
            files = declared.index(keys.files(table, day_of(dir)))
            group = groups[dir] = {"files": files, "dir": dir, "paths": [], "positions": []}
        group["paths"].append(path)
        group["positions"].append(position)
    return list(groups.values())


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
