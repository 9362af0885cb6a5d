"""Plans against the entries, and against each other. Pure.

A plan that somebody holds is left to its holder: whatever is wrong with it is a note, until the
lease ends. All that is wrong with one other plan is mended by one repair.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from gigapi_metadata.checking.findings import Finding
from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.names import new_id
from gigapi_metadata.planning import MAX_TIME_S, UNFINISHED, Rules, move_target
from gigapi_metadata.stores.repairing import PlanRepair, StoredPlan

DEFAULT_MAX_LEASE_S = 86_400
"""A lease longer than this has no end that anybody waits for. GigAPI's last half an hour."""


def plan_findings(
    plans: Sequence[StoredPlan],
    layer_of: Mapping[str, str],
    rules: Rules,
    now_s: int,
    max_lease_s: int = DEFAULT_MAX_LEASE_S,
    unreadable: Collection[str] = (),
) -> list[Finding]:
    """What is wrong with `plans`. `layer_of`: path of each living file -> its layer; of those that
    are `unreadable` it can't be told."""
    look = _Look(layer_of, unreadable, rules, now_s, max_lease_s)
    held = [each for each in plans if look.is_held(each)]
    others = [each for each in plans if not look.is_held(each)]
    # What somebody works on comes first: files are left to that plan.
    return [finding for each in (*held, *others) for finding in look.at(each)]


class _Look:
    def __init__(
        self,
        layer_of: Mapping[str, str],
        unreadable: Collection[str],
        rules: Rules,
        now_s: int,
        max_lease_s: int,
    ) -> None:
        self._layer_of = layer_of
        self._unreadable = unreadable
        self._now_s = now_s
        self._max_lease_s = max_lease_s
        self._layers = {layer.name for layer in rules.layers} or {""}
        timeouts = (row.timeout_sec for row in rules.merge_configurations)
        self._max_wait_s = max(timeouts, default=0) + rules.drop_grace_s + max_lease_s
        self._planned: dict[str, str] = {}
        self._ids: set[tuple[object, ...]] = set()
        self._targets: set[tuple[str, str]] = set()

    def is_held(self, stored: StoredPlan) -> bool:
        """Whether somebody has the plan under a lease that will end."""
        return (
            stored.leased
            and stored.due_s is not None
            and self._now_s < stored.due_s <= self._now_s + self._max_lease_s
        )

    def at(self, stored: StoredPlan) -> list[Finding]:
        """What is wrong with one plan; called in order."""
        plan = stored.plan
        if plan is None:
            mend = PlanRepair(stored, None, keep=True)
            return [Finding("unreadable-plan", stored.fault, place=stored.place, mend=mend)]
        if plan.layer not in self._layers:
            return [
                self._finding(
                    stored, "plan-in-unknown-layer", f"layer {plan.layer!r} is not configured"
                )
            ]
        faults, new, living, dead = self._faults(stored, plan)
        if not faults:
            return []
        if self.is_held(stored):
            text = "; ".join(detail for _, detail in faults)
            return [self._finding(stored, "held", f"{text}; left to its holder")]
        mend = PlanRepair(stored, new, living, dead)
        return [
            msgspec.structs.replace(self._finding(stored, kind, detail), mend=mend)
            for kind, detail in faults
        ]

    def _finding(self, stored: StoredPlan, kind: str, detail: str) -> Finding:
        plan = stored.plan
        assert plan is not None
        text = f"{plan.kind} plan {plan.id or '(no id)'}: {detail}"
        return Finding(kind, text, plan.paths[0], plan.layer, stored.place)

    def _faults(
        self, stored: StoredPlan, plan: QueuedPlan
    ) -> tuple[list[tuple[str, str]], QueuedPlan | None, list[str], list[str]]:
        """(kind, detail) of each fault, the plan without them, and what must hold for that."""
        if plan.kind == "drop":
            path = plan.paths[0]
            # What a worker notes of a result is void once that is registered, and goes in time.
            if self._layer_of.get(path) == plan.layer and plan.writer_id != UNFINISHED:
                fault = ("drop-of-living-file", f"{path!r} is a living entry")
                return [fault], None, [path], []
            return *self._times_and_ids(stored, plan), [], []
        faults: list[tuple[str, str]] = []
        dead = [
            path
            for path in plan.paths
            if self._layer_of.get(path) != plan.layer and path not in self._unreadable
        ]
        left: list[str] = []
        for path in plan.paths:
            if path in dead:
                continue
            other = self._planned.get(path)
            if other is None and path not in left:
                left.append(path)
            else:
                faults.append(("planned-twice", f"{path!r} is in plan {other or plan.id} as well"))
        for path in left:
            self._planned[path] = plan.id
        if dead and not left and not faults:
            return [("dead-plan", f"{_some(dead)}: no such file")], None, [], dead
        if dead:
            faults.append(("dead-file-in-plan", f"{_some(dead)}: no such file"))
        if not left:
            return faults, None, [], dead
        more, new = self._times_and_ids(stored, plan)
        assert new is not None
        return [*faults, *more], msgspec.structs.replace(new, paths=left), [], dead

    def _times_and_ids(
        self, stored: StoredPlan, plan: QueuedPlan
    ) -> tuple[list[tuple[str, str]], QueuedPlan | None]:
        faults: list[tuple[str, str]] = []
        new = plan
        if stored.due_s is None:
            faults.append(("no-due-time", "it does not say from when on it is due"))
            new = msgspec.structs.replace(new, due_s=self._now_s)
        elif stored.leased and stored.due_s > self._now_s + self._max_lease_s:
            faults.append(
                ("endless-lease", f"its lease ends in {_days(stored.due_s - self._now_s)}")
            )
            new = msgspec.structs.replace(new, due_s=self._now_s)
        elif (
            plan.kind != "move"
            and not stored.held_back
            and stored.due_s > self._now_s + self._max_wait_s
        ):
            faults.append(("endless-lease", f"it waits for {_days(stored.due_s - self._now_s)}"))
            new = msgspec.structs.replace(new, due_s=self._now_s)
        queue = (plan.kind, plan.layer, plan.writer_id, plan.iteration)
        key = (*queue, plan.dir if plan.kind == "merge" else "", plan.id)
        if not plan.id or key in self._ids:
            faults.append(("shared-plan-id", "another plan of its queue has the same id"))
            new = msgspec.structs.replace(new, id=new_id())
        self._ids.add(key)
        target = (plan.layer_to, plan.path_to)
        if plan.kind == "move" and plan.layer_to:
            if target in self._targets or plan.path_to == plan.paths[0] or not plan.path_to:
                faults.append(("shared-target", f"another file goes to {plan.path_to!r}, too"))
                path_to = move_target(plan.paths[0], new_id())
                new = msgspec.structs.replace(new, path_to=path_to)
            self._targets.add(target)
        return faults, new


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]!r}{more}"


def _days(seconds: int) -> str:
    return f"{min(seconds, MAX_TIME_S) // 86_400:,} days"
