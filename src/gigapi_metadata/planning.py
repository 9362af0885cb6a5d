"""The rules of what happens to a file after it is added (FORMAT, "What adding a file does").

Pure functions over plain values; whoever needs the time passes it as `now_s`. The stores call these
and do the writing; Redis packs merge plans in Lua (`stores/redis/lua/commit.lua`), and SQLite a
single file in a trigger (`stores/sqlite/schema.sql`), by the same rule as `pack` here, and the
contract suite holds them together.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gigapi_metadata.errors import InvalidEntry, InvalidName, UnknownLayer
from gigapi_metadata.model import IndexEntry, Layer, MergeConfiguration, QueuedPlan
from gigapi_metadata.names import (
    check_name,
    check_path,
    check_writer,
    dir_of,
    file_path,
    iteration_of,
)
from gigapi_metadata.timerange import INT64_MAX

DEFAULT_LEASE_S = 1800
"""How long a plan is handed out for (FORMAT, "Leasing and ending a plan")."""

DEFAULT_DROP_GRACE_S = 30
"""How long readers may go on using a file that has left the catalog (FORMAT, "What removing…")."""

COMPLETION_MEMORY_S = 7 * 24 * 3600
"""How long a store remembers that a plan was ended, so that ending it again has no effect."""

UNFINISHED = "gigapi-metadata-unfinished"
"""The writer of drops that the worker queues for results which are not registered yet."""

SET_ASIDE_S = 20 * 365 * 86_400
"""For so long a plan is held back that is set aside: until somebody asks for it with `retry`."""


def is_set_aside(due_s: int, now_s: float) -> bool:
    """Whether a plan that is due at `due_s` has been set aside."""
    return due_s - now_s > SET_ASIDE_S / 2


class MergeQueue(msgspec.Struct, frozen=True):
    """Files wait here to be merged with others of their iteration, dir, layer and writer."""

    iteration: int
    timeout_s: int
    max_size: int


class MoveQueue(msgspec.Struct, frozen=True):
    """Files wait here for their layer's time to run out. `layer_to` is "" after the last layer."""

    layer_to: str
    ttl_s: int


class Rules(msgspec.Struct, frozen=True):
    """A table's configuration: everything planning depends on but the entries and the time."""

    layers: tuple[Layer, ...]
    merge_configurations: tuple[MergeConfiguration, ...]
    lease_s: int = DEFAULT_LEASE_S
    drop_grace_s: int = DEFAULT_DROP_GRACE_S

    def check_layer(self, name: str) -> str:
        """`name` itself if it is one of the layers; without layers "" is the only one.

        Raises:
            UnknownLayer: it is not.
        """
        if not self.layers:
            if name == "":
                return name
            raise UnknownLayer(f"layer {name!r} is unknown: this table has no layers, use ''")
        if any(layer.name == name for layer in self.layers):
            return name
        known = ", ".join(repr(layer.name) for layer in self.layers)
        raise UnknownLayer(f"layer {name!r} is unknown; the table's layers are {known}")

    def queue_for(self, layer_name: str, iteration: int) -> MergeQueue | MoveQueue | None:
        """Where a new file of `layer_name` at `iteration` waits: to be merged, to be moved, or
        nowhere. With both possible, whichever comes first; merging on a tie."""
        merge = self._merge_queue(iteration)
        move = self._move_queue(layer_name)
        if merge is None or move is None:
            return merge or move
        return merge if merge.timeout_s <= move.ttl_s else move

    def _merge_queue(self, iteration: int) -> MergeQueue | None:
        if not 1 <= iteration <= len(self.merge_configurations):
            return None
        row = self.merge_configurations[iteration - 1]
        return MergeQueue(iteration, row.timeout_sec, row.max_size)

    def _move_queue(self, layer_name: str) -> MoveQueue | None:
        for position, layer in enumerate(self.layers):
            if layer.name == layer_name and layer.ttl_sec > 0:
                following = self.layers[position + 1 : position + 2]
                return MoveQueue(following[0].name if following else "", layer.ttl_sec)
        return None


MAX_TIME_S = 2**53
"""The last second that a plan may wait for: beyond it, JSON readers lose the last digit."""


def merge_due_s(now_s: int, timeout_s: int) -> int:
    """The Unix second from which a merge plan made now may be handed out."""
    return min(now_s + timeout_s, MAX_TIME_S)


def move_due_s(entry: IndexEntry, ttl_s: int) -> int:
    """The Unix second from which a file may leave its layer."""
    return min(entry.chunk_time // 1_000_000_000 + ttl_s, MAX_TIME_S)


def move_target(path: str, id: str) -> str:
    """Where a moved file goes: same dir, same iteration, a name of its own made from `id`."""
    return file_path(dir_of(path), id, iteration_of(path))


def pack(
    last_size: int | None, sizes: Iterable[int], max_size: int
) -> list[tuple[bool, list[int]]]:
    """Distribute new files over merge plans, in order.

    A file joins the last plan while the sum of sizes does not exceed `max_size`, else it opens a
    new one. `last_size` is the size of the queue's last waiting plan, None when there is none.

    Returns:
        One (opens a new plan, indices of its files) for each plan that gains files.
    """
    plans: list[tuple[bool, list[int]]] = []
    total = last_size
    for index, size in enumerate(sizes):
        if total is None or total + size > max_size:
            plans.append((True, [index]))
            total = size
        else:
            if not plans:
                plans.append((False, []))
            plans[-1][1].append(index)
            total += size
    return plans


def merge_target(plan_id: str, dir: str, iteration: int, first_path: str) -> str:
    """Where a merge's result goes: same dir, next iteration, a name derived from the plan's id.

    Derived and not drawn, so that a second attempt at a plan overwrites what the first one left.
    The plan's first path goes in as well, for GigAPI hands the same id to different plans.
    """
    from uuid import UUID, uuid5

    names = UUID("5b0d9a5e-9c06-5ad4-8c8e-1f6a5a4c7d11")
    name = uuid5(names, f"{plan_id}\n{first_path}")
    return file_path(dir, str(name), iteration + 1)


ATTEMPT_STEM_CHARS = 24
"""Of a target's name, a UUID: what all attempts at a merge have in common in their files' names."""


def unregistered(plan: QueuedPlan) -> str:
    """How the path begins of whatever carrying out `plan` writes, before the catalog names it; ""
    if it writes nothing."""
    if plan.kind == "merge" and plan.paths:
        target = merge_target(plan.id, plan.dir, plan.iteration, plan.paths[0])
        return target[: len(f"{plan.dir}/" if plan.dir else "") + ATTEMPT_STEM_CHARS]
    return plan.path_to


def check_queued(plan: QueuedPlan) -> QueuedPlan:
    """`plan` itself if it may be queued in another catalog than the one that listed it. Pure.

    Raises:
        InvalidEntry: naming the plan and the rule that it breaks.
    """
    if not isinstance(plan, QueuedPlan):
        raise InvalidEntry(f"a plan must be a QueuedPlan, not {type(plan).__name__}")
    fault = _text_fault(plan) or _fault(plan)
    if fault:
        raise InvalidEntry(f"{plan.kind} plan {plan.id!r}: {fault}")
    return plan


def _text_fault(plan: QueuedPlan) -> str:
    try:
        check_writer(plan.writer_id)
        for layer in filter(None, (plan.layer, plan.layer_to)):
            check_name("layer", layer)
        for path in (*plan.paths, *filter(None, [plan.path_to])):
            check_path(path)
        (plan.id + plan.error).encode()
    except InvalidName as fault:
        return str(fault)
    except UnicodeEncodeError:
        return "its id or its error is not valid Unicode text"
    return "" if plan.id else "it has no id"


def _fault(plan: QueuedPlan) -> str:
    if not plan.paths or (plan.kind != "merge" and len(plan.paths) != 1):
        return "a merge names files, a move or drop one file"
    if any(dir_of(path) != plan.dir for path in plan.paths):
        return f"its files must lie in its folder {plan.dir!r}"
    if plan.kind == "merge" and plan.iteration < 1:
        return f"its iteration {plan.iteration} must be 1 or more"
    if plan.kind == "move" and plan.layer_to and not plan.path_to:
        return "it does not say where to"
    if not (
        0 <= plan.size_bytes <= INT64_MAX and abs(plan.due_s) <= MAX_TIME_S and plan.attempts >= 0
    ):
        return "size_bytes, due_s or attempts is out of range"
    return ""
