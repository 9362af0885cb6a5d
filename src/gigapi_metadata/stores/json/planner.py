"""Plans of a whole table: which is next, and what its holder does, folder by folder.

A plan itself says in which folder it stands, so only handing out looks at more than one. A damaged
folder has no plans to hand out; the others have.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import DropPlan, Plan, PlanKind, QueuedPlan
from gigapi_metadata.names import dir_of
from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.base import QueueRef
from gigapi_metadata.stores.json import leases, queues
from gigapi_metadata.stores.json.places import Place
from gigapi_metadata.stores.json.queues import Queued
from gigapi_metadata.stores.json.session import Session

_KINDS: dict[PlanKind, int] = {"merge": 0, "move": 1, "drop": 2}


class Found(NamedTuple):
    """A plan and where it stands. `before`: the position of what waits next in other folders."""

    place: Place
    dir: str
    plan: Queued
    before: float = math.inf


def lease(session: Session, queue: QueueRef, lease_s: int, rules: Rules, now_s: int) -> Plan | None:
    """Hand out the first plan that is due; discard those with nothing left to do on the way."""
    while (found := first_due(session, queue, rules, now_s)) is not None:
        place, dir, plan, _ = found
        here = session.partition(place, dir)
        paths = leases.living(plan, here, now_s)
        if not paths:
            _discard(session, found, rules, now_s)
            continue
        held = leases.leased(plan, lease_s, now_s, time.time_ns())
        plans = queues.settled(session.plans(place, dir), here, rules)
        session.set_plans(place, dir, leases.replaced(plans, plan, held))
        return leases.handed_out(session.places.ref, dir, held, paths)
    return None


def _discard(session: Session, found: Found, rules: Rules, now_s: int) -> None:
    place, dir, plan, before = found
    here = session.partition(place, dir)
    queue = [each for each in session.queued(place, dir, rules) if each.queue == plan.queue]
    gone = leases.dead(queue, here, now_s, before)
    if plan.kind == "drop":
        here = session.edit(place, dir)
        here.remove_drops({each.id for each in gone})
    plans = queues.settled(session.plans(place, dir), here, rules)
    session.set_plans(place, dir, leases.removed(plans, here, gone))


def first_due(session: Session, queue: QueueRef, rules: Rules, now_s: int) -> Found | None:
    """What `queue` hands out next: merges folder after folder, others from the whole table."""
    place = session.places.place(queue.layer)
    if place is None:
        return None
    dirs = sorted(session.dirs(place))
    if queue.kind == "merge":
        for dir in dirs:
            due = leases.first_due(_heads(session, place, dir, queue, rules), now_s)
            if due is not None:
                return Found(place, dir, due)
        return None
    where = {
        plan.id: (dir, plan) for dir in dirs for plan in _heads(session, place, dir, queue, rules)
    }
    due = leases.first_due((plan for _, plan in where.values()), now_s)
    if due is None:
        return None
    here = where[due.id][0]
    others = [plan.position for dir, plan in where.values() if dir != here and not plan.leased]
    return Found(place, here, due, min(others, default=math.inf))


def _heads(session: Session, place: Place, dir: str, queue: QueueRef, rules: Rules) -> list[Queued]:
    try:
        return session.heads(place, dir, rules).get(queue, [])
    except CorruptState:
        return []


def end(session: Session, plan: Plan, completes: bool, now_s: int) -> bool:
    """End a plan that is held; False when that has been done under this very lease.

    Raises:
        LeaseLost: neither is so.
    """
    where = _where(session, plan)
    plans = session.plans(*where)
    held = leases.find_held(plans, plan)
    if held is None:
        if leases.was_ended(plans, plan, completes):
            return False
        raise leases.lost(plan)
    session.set_plans(*where, leases.ended(plans, held, completes, now_s))
    if isinstance(plan, DropPlan):
        session.edit(*where).remove_drops({plan.id})
    return True


def renew(session: Session, plan: Plan, lease_s: int, now_s: int) -> Plan:
    """The plan under a longer lease. Or LeaseLost."""
    place, dir, held, _ = _held(session, plan)
    longer = leases.renewed(held, lease_s, now_s)
    session.set_plans(place, dir, leases.replaced(session.plans(place, dir), held, longer))
    return msgspec.structs.replace(plan, lease_s=longer.due_s)


def release(
    session: Session, plan: Plan, error: str | None, delay_s: int, rules: Rules, now_s: int
) -> None:
    """Give the plan back: to the head of its queue, or held back for a while. Or LeaseLost."""
    found = _held(session, plan)
    place, dir, held, _ = found
    head = _head_position(session, found, rules)
    waiting = leases.released(held, error, delay_s, now_s, head)
    session.set_plans(place, dir, leases.replaced(session.plans(place, dir), held, waiting))


def retry(session: Session, plan: QueuedPlan, rules: Rules, now_s: int) -> bool:
    """Make a plan due now that nobody holds, and forget its attempts; False if there is none."""
    place, dir = session.places.place(plan.layer), plan.dir
    if place is None:
        return False
    wanted = (plan.kind, plan.id, plan.writer_id)
    for each in session.queued(place, dir, rules):
        if (each.kind, each.id, each.writer_id) == wanted and not leases.is_held(each):
            head = _head_position(session, Found(place, dir, each), rules)
            fresh = msgspec.structs.replace(each, attempts=0, error="")
            fresh = leases.first_in_queue(fresh, now_s, head)
            plans = queues.settled(session.plans(place, dir), session.partition(place, dir), rules)
            session.set_plans(place, dir, leases.replaced(plans, each, fresh))
            return True
    return False


def _head_position(session: Session, found: Found, rules: Rules) -> int:
    """The position ahead of all that wait in the plan's queue."""
    place, dir, plan, _ = found
    dirs = [dir] if plan.kind == "merge" else session.dirs(place)
    waiting = (
        each.position
        for other in dirs
        for each in _heads(session, place, other, plan.queue, rules)
        if not each.leased
    )
    return min(waiting, default=time.time_ns()) - 1


def _held(session: Session, plan: Plan) -> Found:
    place, dir = _where(session, plan)
    held = leases.find_held(session.plans(place, dir), plan)
    if held is None:
        raise leases.lost(plan)
    return Found(place, dir, held)


def _where(session: Session, plan: Plan) -> tuple[Place, str]:
    place = session.places.place(leases.layer_of(plan))
    if place is None:
        raise leases.lost(plan)
    return place, dir_of(leases.source_of(plan))


def shown(session: Session, rules: Rules) -> list[QueuedPlan]:
    """Every plan, by kind and place, in its queue's order."""
    found = [
        Found(place, dir, plan)
        for place in session.places.places
        for dir in session.dirs(place)
        for plan in session.queued(place, dir, rules)
    ]
    found.sort(key=_order)
    return [each.plan.shown(each.dir) for each in found]


def _order(found: Found) -> tuple[object, ...]:
    plan = found.plan
    dir = found.dir if plan.kind == "merge" else ""
    kind = _KINDS[plan.kind]
    return kind, dir, plan.iteration, plan.layer, plan.writer_id, plan.leased, plan.position
