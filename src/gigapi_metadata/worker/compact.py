"""Maintenance that does not wait: plans are made due, then carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgspec

from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import PlanKind, QueuedPlan
from gigapi_metadata.storage import Storages
from gigapi_metadata.timerange import Window
from gigapi_metadata.worker.finder import Filter, Selector, Tables
from gigapi_metadata.worker.loop import Options, Worker
from gigapi_metadata.worker.outcome import Outcome

ALWAYS = Window()


def compact(
    catalog: Tables,
    storages: Storages,
    database: str,
    table: str,
    *,
    until_level: int | None = None,
    window: Window = ALWAYS,
    options: Options | None = None,
    report: Callable[[Outcome], None] = lambda outcome: None,
    started: Callable[[Worker], None] = lambda worker: None,
    now: Callable[[], float] = time.time,
) -> list[Outcome]:
    """Merge what waits to be merged, level by level, without waiting for timeouts.

    Merges up to files of `until_level`; without it as far as the table's merge configurations go.
    With a window only plans with a file that overlaps it. What waits alone goes on waiting, and
    what other workers hold is left to them: see `held_merges`. A merge whose worker died is carried
    out once its lease has run out. `started` is handed each worker, so that a signal handler can
    stop it.
    """
    options = options or Options()
    index = catalog.table(database, table)
    levels = None if until_level is None else range(1, until_level)
    wanted = Filter([Selector(database, table)], ("merge",), None, levels, window)
    outcomes: list[Outcome] = []

    def record(outcome: Outcome) -> None:
        outcomes.append(outcome)
        report(outcome)

    tried: set[str] = set()
    while True:
        plans = [plan for plan in _mergeable(index, levels, window) if plan.id not in tried]
        # A plan whose worker died is due as it is, once its lease has run out.
        hurried = [plan.id for plan in plans if index.retry(plan) or plan.due_s <= now()]
        if not hurried:
            return outcomes
        tried.update(hurried)
        settings = msgspec.structs.replace(options, wanted=wanted)
        with Worker(catalog, storages, settings, report=record) as worker:
            started(worker)
            worker.run(once=True)
            if worker.stopped:
                return outcomes


class Held(msgspec.Struct, frozen=True):
    """Merges that others hold, until `until_s` (Unix seconds) at the latest unless they renew."""

    layer: str
    writer_id: str
    level: int
    plans: int
    files: int
    until_s: int


def held_merges(
    index: Index[Any],
    *,
    until_level: int | None = None,
    window: Window = ALWAYS,
    now: Callable[[], float] = time.time,
) -> list[Held]:
    """What `compact` would carry out if nobody held it, by layer, writer and level. Reads only."""
    levels = None if until_level is None else range(1, until_level)
    groups: dict[tuple[str, str, int], list[QueuedPlan]] = {}
    for plan in _mergeable(index, levels, window):
        if plan.state == "leased" and plan.due_s > now():
            key = (plan.layer, plan.writer_id, plan.iteration)
            groups.setdefault(key, []).append(plan)
    return [
        Held(
            *key,
            len(plans),
            sum(len(plan.paths) for plan in plans),
            max(plan.due_s for plan in plans),
        )
        for key, plans in groups.items()
    ]


def _mergeable(
    index: Index[Any], levels: Collection[int] | None, window: Window
) -> Iterator[QueuedPlan]:
    for plan in index.plans():
        if plan.kind != "merge" or (levels is not None and plan.iteration not in levels):
            continue
        if len(plan.paths) < 2:
            continue
        if window.unbounded:
            yield plan
            continue
        entries = (index.get(path) for path in plan.paths)
        if any(e is not None and window.overlaps(e.min_time, e.max_time) for e in entries):
            yield plan


def hurry(index: Index[Any], kinds: Collection[PlanKind]) -> int:
    """Make every plan of these kinds due now that nobody holds; how many. A drop that is hurried
    leaves its readers no grace."""
    return sum(index.retry(plan) for plan in index.plans() if plan.kind in kinds)
