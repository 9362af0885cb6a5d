"""What a worker would do, and why it would leave a folder alone. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gigapi_metadata.errors import UnknownLayer
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import IndexEntry, PlanKind, QueuedPlan
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.planning import UNFINISHED, MergeQueue, MoveQueue, Rules, is_set_aside
from gigapi_metadata.worker.finder import Filter

MANY_FILES = 8
"""From so many files of one level a folder without a plan is worth a word."""


class Group(msgspec.Struct, frozen=True):
    """Plans of one kind for files of one folder, level, layer and writer.

    `state`: "due", "waiting" (the first is due in `due_in_s`), "leased", "set aside" (until
    `retry`), or "refused": this worker does not take it. `error` says why.
    """

    database: str
    table: str
    kind: PlanKind
    dir: str
    level: int
    layer: str
    writer_id: str
    state: str
    plans: int
    files: int
    size_bytes: int
    due_in_s: int
    error: str = ""


class Unplanned(msgspec.Struct, frozen=True):
    """Many files of one folder and level that no merge is planned for."""

    database: str
    table: str
    dir: str
    level: int
    layer: str
    files: int
    size_bytes: int
    why: str


def plan_groups(index: Index[Any], wanted: Filter, now_s: float) -> list[Group]:
    """What `wanted` lets through, group by group, in the queues' order."""
    entries = {entry.path: entry for entry in index.get_all()}
    rules = Rules(tuple(index.layers), tuple(index.merge_configurations))
    found: dict[tuple[PlanKind, str, int, str, str, str], list[QueuedPlan]] = {}
    for plan in index.plans():
        if plan.writer_id != UNFINISHED and _passes(plan, wanted, entries):
            state = "refused" if _refusal(plan, rules) else _state(plan, now_s)
            place = (plan.dir, plan.iteration, plan.layer, plan.writer_id)
            found.setdefault((plan.kind, *place, state), []).append(plan)
    return [
        Group(
            index.database,
            index.table,
            *key,
            len(plans),
            sum(len(plan.paths) for plan in plans),
            sum(_bytes(plan, entries) for plan in plans),
            max(0, round(min(plan.due_s for plan in plans) - now_s)),
            _refusal(plans[0], rules) or next((plan.error for plan in plans if plan.error), ""),
        )
        for key, plans in found.items()
    ]


def _refusal(plan: QueuedPlan, rules: Rules) -> str:
    """Why the worker would not carry out `plan`, "" if it would."""
    try:
        rules.check_layer(plan.layer)
        if plan.layer_to:
            rules.check_layer(plan.layer_to)
    except UnknownLayer as fault:
        return str(fault)
    return ""


def _passes(plan: QueuedPlan, wanted: Filter, entries: dict[str, IndexEntry]) -> bool:
    return (
        plan.kind in wanted.kinds
        and (wanted.writer_id is None or plan.writer_id == wanted.writer_id)
        and (wanted.levels is None or plan.kind != "merge" or plan.iteration in wanted.levels)
        and (plan.kind == "drop" or _fits(plan, wanted, entries))
    )


def _fits(plan: QueuedPlan, wanted: Filter, entries: dict[str, IndexEntry]) -> bool:
    if wanted.max_input_bytes is not None and _bytes(plan, entries) > wanted.max_input_bytes:
        return False
    window = wanted.window
    there = [entries[path] for path in plan.paths if path in entries]
    return window.unbounded or any(window.overlaps(each.min_time, each.max_time) for each in there)


def _bytes(plan: QueuedPlan, entries: dict[str, IndexEntry]) -> int:
    return sum(entries[path].size_bytes for path in plan.paths if path in entries)


def _state(plan: QueuedPlan, now_s: float) -> str:
    if is_set_aside(plan.due_s, now_s):
        return "set aside"
    if plan.due_s <= now_s:
        return "due"
    return plan.state


def unplanned(index: Index[Any]) -> list[Unplanned]:
    """The folders with many files of one level that are in no merge plan, and why."""
    planned = {path for plan in index.plans() if plan.kind == "merge" for path in plan.paths}
    rules = Rules(tuple(index.layers), tuple(index.merge_configurations))
    groups: dict[tuple[str, int, str], list[IndexEntry]] = {}
    for entry in index.get_all():
        if entry.path not in planned:
            key = (dir_of(entry.path), iteration_of(entry.path), entry.layer)
            groups.setdefault(key, []).append(entry)
    return list(_explained(index, rules, sorted(groups.items())))


def _explained(
    index: Index[Any],
    rules: Rules,
    groups: Iterable[tuple[tuple[str, int, str], list[IndexEntry]]],
) -> Iterator[Unplanned]:
    for (dir, level, layer), entries in groups:
        if len(entries) >= MANY_FILES:
            size = sum(entry.size_bytes for entry in entries)
            why = _why(rules, level, layer)
            yield Unplanned(index.database, index.table, dir, level, layer, len(entries), size, why)


def _why(rules: Rules, level: int, layer: str) -> str:
    if rules.layers and all(each.name != layer for each in rules.layers):
        return f"layer {layer!r} is not configured here"
    queue = rules.queue_for(layer, level)
    if isinstance(queue, MergeQueue):
        return (
            "they were added when this level had no merge configuration, or their plan ended "
            "without a result; remove their entries and add them again to plan anew"
        )
    if isinstance(queue, MoveQueue) and level <= len(rules.merge_configurations):
        return (
            f"they move on after {queue.ttl_s} s, sooner than they would be merged; raise the "
            "layer's ttl or lower the merge timeout"
        )
    return (
        f"merges are configured up to level {len(rules.merge_configurations)}; these files are of "
        f"level {level}"
    )
