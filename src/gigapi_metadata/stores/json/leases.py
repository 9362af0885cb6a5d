"""Handing plans out, and what their holders may do with them. Pure, like queues.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from gigapi_metadata.errors import LeaseLost
from gigapi_metadata.model import DropPlan, MergePlan, MovePlan, Plan, PlanKind
from gigapi_metadata.planning import COMPLETION_MEMORY_S, merge_target
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.json.partition import Partition
from gigapi_metadata.stores.json.queues import Ended, Plans, Queued, path_in


def first_due(queue: Iterable[Queued], now_s: int) -> Queued | None:
    """What may be handed out of one queue: its head, else the first lease that ran out."""
    plans = sorted(queue, key=lambda each: (each.leased, each.position))
    for number, each in enumerate(plans):
        if each.due_s <= now_s and (each.leased or number == 0):
            return each
    return None


def leased(plan: Queued, lease_s: int, now_s: int, position: int) -> Queued:
    """`plan` handed out. No lease is like one before it: they are told apart by their end."""
    until_s = _unused(plan, now_s + lease_s)
    return msgspec.structs.replace(
        plan,
        leased=True,
        given_back=False,
        due_s=until_s,
        waited_s=plan.waited_s if plan.leased else plan.due_s,
        position=position,
    )


def _unused(plan: Queued, until_s: int) -> int:
    while until_s in plan.used_leases:
        until_s += 1
    return until_s


def _given_up(plan: Queued, now_s: int) -> Queued:
    used = (*(until_s for until_s in plan.used_leases if until_s > now_s), plan.due_s)
    return msgspec.structs.replace(plan, used_leases=used)


def renewed(plan: Queued, lease_s: int, now_s: int) -> Queued:
    """`plan` under a lease that lasts at least that long."""
    if now_s + lease_s <= plan.due_s:
        return plan
    return msgspec.structs.replace(_given_up(plan, now_s), due_s=_unused(plan, now_s + lease_s))


def find_held(plans: Plans, plan: Plan) -> Queued | None:
    """The plan that is held under exactly this lease."""
    for each in plans.queue:
        if (
            each.id == plan.id
            and each.leased
            and not each.given_back
            and each.due_s == plan.lease_s
            and (each.kind, each.layer) == (kind_of(plan), layer_of(plan))
            and each.writer_id == plan.writer_id
        ):
            return each
    return None


def lost(plan: Plan) -> LeaseLost:
    """What to raise of a plan that is not held under its lease."""
    return LeaseLost(
        f"plan {plan.id} is no longer held under this lease: it ran out and someone else has the "
        "plan, or it was given back or ended; nothing was changed"
    )


def was_ended(plans: Plans, plan: Plan, completes: bool) -> bool:
    """Whether the plan was ended under this very lease; if `completes`, with its result."""
    ended = (kind_of(plan), plan.id, plan.lease_s)
    return any(
        (each.kind, each.id, each.lease_s) == ended and each.complete >= completes
        for each in plans.ended
    )


def ended(plans: Plans, queued: Queued, completes: bool, now_s: int) -> Plans:
    """`plans` without one that is held; its lease is remembered for a while."""
    recent = [each for each in plans.ended if each.at_s >= now_s - COMPLETION_MEMORY_S]
    mark = Ended(queued.kind, queued.id, queued.due_s, now_s, completes)
    return msgspec.structs.replace(without(plans, queued), ended=(*recent, mark))


def without(plans: Plans, queued: Queued) -> Plans:
    """`plans` without one of them."""
    left = tuple(each for each in plans.queue if (each.kind, each.id) != (queued.kind, queued.id))
    return msgspec.structs.replace(plans, queue=left)


def replaced(plans: Plans, old: Queued, new: Queued) -> Plans:
    """`plans` with one in the place of another, which needs not be there yet."""
    return msgspec.structs.replace(plans, queue=(*without(plans, old).queue, new))


def released(plan: Queued, error: str | None, delay_s: int, now_s: int, position: int) -> Queued:
    """`plan` given back: to the head of its queue, at `position`, or held back for a while."""
    plan = _given_up(plan, now_s)
    if error is not None:
        plan = msgspec.structs.replace(plan, attempts=plan.attempts + 1, error=error)
    if delay_s > 0:
        return msgspec.structs.replace(plan, due_s=now_s + delay_s, given_back=True)
    return first_in_queue(plan, now_s, position)


def first_in_queue(plan: Queued, now_s: int, position: int) -> Queued:
    """`plan` waiting at `position`, due now."""
    return msgspec.structs.replace(
        plan, leased=False, given_back=False, due_s=now_s, position=position
    )


def handed_out(table: TableRef, dir: str, plan: Queued, living: Sequence[str]) -> Plan:
    """A leased plan as its holder gets it. `living` are the paths it still has to deal with."""
    database, name = table
    first, layer, writer = path_in(dir, plan.files[0]), plan.layer, plan.writer_id
    lease = (plan.due_s, plan.attempts)
    if plan.kind == "merge":
        # From the first path as queued, living or not: it must not change between attempts.
        level = plan.iteration
        target = merge_target(plan.id, dir, level, first)
        return MergePlan(
            plan.id, database, name, layer, writer, level, list(living), target, *lease
        )
    if plan.kind == "move":
        target = path_in(dir, plan.file_to)
        return MovePlan(
            plan.id, database, name, writer, first, layer, target, plan.layer_to, *lease
        )
    return DropPlan(plan.id, database, name, layer, writer, first, plan.waited_s, *lease)


def living(plan: Queued, partition: Partition, now_s: int) -> list[str]:
    """The files a plan still has to deal with; empty when there is nothing left to do."""
    paths = [path_in(partition.dir, name) for name in dict.fromkeys(plan.files)]
    there = [
        path
        for path in paths
        if (file := partition.files.get(path)) is not None and file.bare.layer == plan.layer
    ]
    if plan.kind != "drop":
        return there
    # A file that was added again since is not to be deleted; one that was removed once more has a
    # later plan of its own, for readers may still use it.
    last = partition.last_drops.get((plan.layer, paths[0]))
    later = last is not None and last.id != plan.id and last.time_s > now_s
    return [] if there or later else paths


def dead(queue: Iterable[Queued], partition: Partition, now_s: int, before: float) -> list[Queued]:
    """Those at the head of a queue that are due and have nothing left to do, as far as they would
    be next one after the other: up to the position `before`, where another folder's come. If there
    are none, the first lease that ran out, likewise."""
    plans = sorted(queue, key=lambda each: (each.leased, each.position))
    found: list[Queued] = []
    for each in plans:
        if each.leased or each.due_s > now_s or each.position >= before:
            break
        if living(each, partition, now_s):
            break
        found.append(each)
    if found:
        return found
    ran_out = next((each for each in plans if each.leased and each.due_s <= now_s), None)
    return [] if ran_out is None or living(ran_out, partition, now_s) else [ran_out]


def removed(plans: Plans, partition: Partition, gone: Sequence[Queued]) -> Plans:
    """`plans` without those in `gone`, and without leases on drops that others have ended."""
    ids = {each.id for each in gone}
    drops = {drop.id for drop in partition.drops}
    left = tuple(
        each
        for each in plans.queue
        if each.id not in ids and (each.kind != "drop" or each.id in drops or is_held(each))
    )
    return msgspec.structs.replace(plans, queue=left)


def is_held(plan: Queued) -> bool:
    """Whether somebody has the plan, be it after its lease ran out."""
    return plan.leased and not plan.given_back


def kind_of(plan: Plan) -> PlanKind:
    """ "merge", "move" or "drop"."""
    if isinstance(plan, MergePlan):
        return "merge"
    return "move" if isinstance(plan, MovePlan) else "drop"


def layer_of(plan: Plan) -> str:
    """The layer in whose queue the plan stood."""
    return plan.layer_from if isinstance(plan, MovePlan) else plan.layer


def source_of(plan: Plan) -> str:
    """A path in the folder that the plan is about."""
    if isinstance(plan, MergePlan):
        return plan.path_to
    return plan.path_from if isinstance(plan, MovePlan) else plan.path
