"""Queue items as plans: which queue a plan stands in, a leased item, a whole queue to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import DropPlan, MergePlan, MovePlan, Plan, PlanKind, QueuedPlan
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.planning import merge_target
from gigapi_metadata.stores.base import QueueRef, TableRef
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.documents import FAULTS
from gigapi_metadata.timerange import INT64_MAX

_SHOWN_CHARS = 200
_MOST_S = 10**11  # the year 5138: later is never, and no clock need show it


def queue_of(table: TableRef, plan: Plan) -> str:
    """The queue that `plan` was taken from."""
    if isinstance(plan, MergePlan):
        dir = dir_of(plan.path_to)
        return keys.merge_queue(table, plan.iteration, dir, plan.layer, plan.writer_id)
    if isinstance(plan, MovePlan):
        return keys.move_queue(table, plan.layer_from, plan.writer_id)
    return keys.drop_queue(table, plan.layer, plan.writer_id)


def plans_from(table: TableRef, queue: QueueRef, reply: bytes) -> list[Plan]:
    """The plans that lease.lua has handed out of `queue`.

    Raises:
        CorruptState: the first one lacks what its kind must have. A later one is left to come back
            when its lease has run out.
    """
    try:
        handed_out = msgspec.json.decode(reply, type=list[dict[str, Any]])
    except FAULTS as fault:
        raise CorruptState(
            f"a {queue.kind} queue of {table.database}.{table.table} holds an item that can't be "
            f"read: {fault}"
        ) from fault
    plans: list[Plan] = []
    for handed in handed_out:
        try:
            plans.append(_plan(table, queue, handed))
        except CorruptState:
            if not plans:
                raise
            break
    return plans


def _plan(table: TableRef, queue: QueueRef, handed: dict[str, Any]) -> Plan:
    raw, dir, owner, attempts = handed["item"], handed["dir"], handed["owner"], handed["attempts"]
    try:
        item = msgspec.json.decode(raw)
        id, lease_s = str(item["id"]), int(item["time_s"])
        if queue.kind == "merge":
            return MergePlan(
                id,
                table.database,
                table.table,
                queue.layer,
                queue.writer_id,
                queue.iteration,
                handed["paths"],
                # From the first path as queued, living or not: it must not change between attempts.
                merge_target(id, dir, queue.iteration, item["paths"][0]),
                lease_s,
                attempts,
            )
        if queue.kind == "move":
            path_from, path_to = _text(item, "path_from"), _text(item, "path_to")
            if path_to == path_from or (owner and owner != path_from):
                path_to = merge_target(
                    id, dir_of(path_from), iteration_of(path_from) - 1, path_from
                )
            return MovePlan(
                id,
                table.database,
                table.table,
                queue.writer_id,
                path_from,
                queue.layer,
                path_to,
                _text(item, "layer_to"),
                lease_s,
                attempts,
            )
        return DropPlan(
            id,
            table.database,
            table.table,
            queue.layer,
            queue.writer_id,
            _text(item, "path"),
            int(handed["due_s"]),
            lease_s,
            attempts,
        )
    except (KeyError, IndexError, *FAULTS) as fault:
        raise CorruptState(
            f"a {queue.kind} plan of {table.database}.{table.table} can't be used "
            f"({type(fault).__name__}: {fault}): {str(raw)[:_SHOWN_CHARS]}"
        ) from fault


def _text(item: dict[str, Any], field: str) -> str:
    value = item[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} is no text")
    return value


class QueueList(NamedTuple):
    """One list of a queue, as read off its key. Sorts by kind, place and state."""

    kind: PlanKind
    dir: str
    iteration: int
    layer: str
    writer_id: str
    leased: bool
    key: str

    @classmethod
    def parse(cls, kind: PlanKind, rest: str, key: str) -> Self | None:
        """From what follows ``<kind>:<database>:<table>:`` in a key; None if that is no queue's."""
        place, _, state = rest.rpartition(":")
        if state not in ("idle", "processing"):
            return None
        # A dir may hold colons; a layer and a writer_id can't.
        parts = place.rsplit(":", 2)
        level, _, dir = parts[0].partition(":") if kind == "merge" else ("0", "", "")
        expected = 3 if kind == "merge" else 2
        if len(parts) != expected or not level.isdecimal():
            return None
        return cls(kind, dir, int(level), parts[-2], parts[-1], state == "processing", key)


class _Item(msgspec.Struct):
    id: str = ""
    time_s: int | float | None = 0
    paths: list[str] = []
    size: int | float | None = 0
    path: str = ""
    path_from: str = ""
    path_to: str | None = ""
    layer_to: str | None = ""


class _Record(msgspec.Struct):
    """What release.lua keeps of a plan."""

    held_until_s: int = 0
    attempts: int = 0
    error: str = ""


def plans_in(
    queue: QueueList, items: Sequence[bytes], records: Mapping[bytes, bytes]
) -> Iterator[QueuedPlan]:
    """The plans of one list, in its order.

    Raises:
        CorruptState: an item is no JSON object of the kind.
    """
    for raw in items:
        try:
            item = msgspec.json.decode(raw, type=_Item)
            kept = records.get(item.id.encode())
            record = msgspec.json.decode(kept, type=_Record) if kept else _Record()
            due_s = min(max(int(item.time_s or 0), -_MOST_S), _MOST_S)
        except FAULTS as fault:
            raise CorruptState(f"{queue.key} holds an item that can't be read: {fault}") from fault
        # A plan given back with a delay waits among the leased ones, until the second noted.
        leased = queue.leased and due_s != record.held_until_s
        yield QueuedPlan(
            kind=queue.kind,
            state="leased" if leased else "waiting",
            id=item.id,
            layer=queue.layer,
            writer_id=queue.writer_id,
            dir=queue.dir or dir_of(item.path_from or item.path),
            iteration=queue.iteration,
            paths=item.paths or [item.path_from or item.path],
            size_bytes=min(max(int(item.size or 0), 0), INT64_MAX),
            due_s=due_s,
            attempts=record.attempts,
            error=record.error,
            path_to=item.path_to or "",
            layer_to=item.layer_to or "",
        )
