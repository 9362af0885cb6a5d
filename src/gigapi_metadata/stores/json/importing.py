"""Plans of another catalog, put into the queues of this one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from gigapi_metadata.errors import InvalidEntry
from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.names import dir_of
from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.json import queues
from gigapi_metadata.stores.json.places import Place
from gigapi_metadata.stores.json.queues import Queued
from gigapi_metadata.stores.json.session import Session

_Drop = tuple[str, str, str, int]


def add_plans(session: Session, plans: Sequence[QueuedPlan], rules: Rules) -> int:
    """Queue `plans`, but for those that are there; how many.

    Raises:
        UnknownLayer: the folder of a plan's layer is unknown.
        InvalidEntry: a plan's files do not lie in its folder.
    """
    start = time.time_ns()
    added = 0
    places: dict[tuple[Place, str], list[tuple[int, QueuedPlan]]] = {}
    for number, plan in enumerate(plans):
        _check_dir(plan)
        place = session.places.place_for(plan.layer)
        places.setdefault((place, plan.dir), []).append((start + number, plan))
    for (place, dir), group in places.items():
        there = {(each.queue, each.id) for each in session.queued(place, dir, rules)}
        missing = _missing_drops(session, place, dir, [plan for _, plan in group])
        new: list[Queued] = []
        for position, plan in group:
            if plan.kind == "drop":
                key = _drop_key(plan)
                if missing[key] > 0:
                    missing[key] -= 1
                    new.append(_dropped(session, place, plan, position))
                continue
            queued = _queued(plan, position)
            if (queued.queue, queued.id) not in there:
                there.add((queued.queue, queued.id))
                new.append(queued)
        if new:
            here = session.plans(place, dir)
            here = msgspec.structs.replace(here, queue=(*here.queue, *new))
            session.set_plans(place, dir, here)
            added += len(new)
    return added


def _queued(plan: QueuedPlan, position: int) -> Queued:
    is_merge = plan.kind == "merge"
    return Queued(
        plan.kind,
        plan.id,
        plan.layer,
        plan.writer_id,
        tuple(_name(path) for path in plan.paths),
        plan.due_s,
        position,
        iteration=plan.iteration if is_merge else 0,
        size_bytes=plan.size_bytes if is_merge else 0,
        file_to=_name(plan.path_to),
        layer_to=plan.layer_to,
        attempts=plan.attempts,
        error=plan.error,
    )


def _dropped(session: Session, place: Place, plan: QueuedPlan, position: int) -> Queued:
    drop = session.edit(place, plan.dir).add_drop(*_drop_key(plan))
    queued = queues.dropped(drop, position)
    return msgspec.structs.replace(queued, attempts=plan.attempts, error=plan.error)


def _missing_drops(
    session: Session, place: Place, dir: str, plans: Sequence[QueuedPlan]
) -> Counter[_Drop]:
    """How many drops of each kind have to be added: as many as are asked for, less those there."""
    missing = Counter(_drop_key(plan) for plan in plans if plan.kind == "drop")
    if missing:
        missing.subtract(
            (drop.writer_id, drop.layer, drop.path, drop.time_s)
            for drop in session.partition(place, dir).drops
        )
    return missing


def _drop_key(plan: QueuedPlan) -> _Drop:
    return plan.writer_id, plan.layer, plan.paths[0], plan.due_s


def _check_dir(plan: QueuedPlan) -> None:
    paths = [*plan.paths, *([plan.path_to] if plan.path_to else [])]
    strange = next((path for path in paths if dir_of(path) != plan.dir), None)
    if strange is not None:
        raise InvalidEntry(f"plan {plan.id}: {strange!r} does not lie in its folder {plan.dir!r}")


def _name(path: str) -> str:
    return path.rpartition("/")[2]
