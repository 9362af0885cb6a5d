"""A plan is ended, completed, renewed or released under its own lease only, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fix_stores import Backend, entry, path_of

from gigapi_metadata import InvalidConfiguration, InvalidEntry, Layer, LeaseLost

TIERS = [Layer("file:///hot", "hot", ttl_sec=60), Layer("file:///cold", "cold")]
KINDS = ["merge", "move", "drop"]


class Work:
    """One plan of a kind on a fresh catalog, and the verbs that go with the kind."""

    def __init__(self, backend: Backend, kind: str) -> None:
        rows = [[10, 1000, 1]] if kind == "merge" else []
        self.backend, self.kind = backend, kind
        self.index = backend.index(layers=TIERS, merge_configurations=rows)
        self.index.batch([entry(1, layer="hot")])
        if kind == "drop":
            self.index.batch(None, [path_of(1)])
        backend.advance(60)

    def lease(self, lease_s: int | None = None) -> Any:
        if self.kind == "merge":
            return self.index.get_merge_plan("", "hot", 1, lease_s=lease_s)
        if self.kind == "move":
            return self.index.get_move_plan("", "hot", lease_s=lease_s)
        return self.index.get_drop_queue("", "hot", lease_s=lease_s)

    def end(self, plan: Any) -> None:
        ends = {
            "merge": self.index.end_merge,
            "move": self.index.end_move,
            "drop": self.index.rm_from_drop_queue,
        }
        ends[self.kind](plan)

    def complete(self, plan: Any) -> None:
        if self.kind == "merge":
            self.index.complete_merge(plan, entry(path=plan.path_to, layer="hot"))
        elif self.kind == "move":
            self.index.complete_move(plan, entry(path=plan.path_to, layer="cold"))
        else:
            self.index.rm_from_drop_queue(plan)

    def renew(self, plan: Any) -> None:
        self.index.renew(plan)

    def release(self, plan: Any) -> None:
        self.index.release(plan, "no luck")

    def release_later(self, plan: Any) -> None:
        self.index.release(plan, delay_s=5)


VERBS: dict[str, Callable[[Work, Any], None]] = {
    "end": Work.end,
    "complete": Work.complete,
    "renew": Work.renew,
    "release": Work.release,
    "release with delay": Work.release_later,
}


@pytest.fixture(params=KINDS)
def work(request: pytest.FixtureRequest, backend: Backend) -> Work:
    return Work(backend, request.param)


def assert_lost(work: Work, stale: Any) -> None:
    before = work.backend.dump()
    for name, verb in VERBS.items():
        with pytest.raises(LeaseLost):
            verb(work, stale)
        assert work.backend.dump() == before, f"{name} under a lost lease has changed something"


def test_a_lease_that_was_taken_over_is_lost(work: Work) -> None:
    stale = work.lease(60)
    work.backend.advance(60)
    current = work.lease()
    assert_lost(work, stale)
    work.complete(current)


def test_a_lease_that_was_given_back_is_lost(work: Work) -> None:
    stale = work.lease()
    work.index.release(stale)
    assert_lost(work, stale)
    current = work.lease()
    assert_lost(work, stale)
    work.complete(current)


def test_a_lease_that_was_given_back_with_delay_is_lost(work: Work) -> None:
    stale = work.lease(5)
    work.index.release(stale, delay_s=5)
    assert_lost(work, stale)
    work.backend.advance(6)
    current = work.lease()
    assert_lost(work, stale)
    work.complete(current)


def test_a_lease_that_was_renewed_is_had_under_the_new_one_only(work: Work) -> None:
    stale = work.lease()
    work.backend.advance(1)
    renewed = work.index.renew(stale)
    assert renewed == msgspec.structs.replace(stale, lease_s=stale.lease_s + 1)
    assert_lost(work, stale)
    work.complete(renewed)


def test_a_lease_that_never_was_is_lost(work: Work) -> None:
    plan = work.lease()
    assert_lost(work, msgspec.structs.replace(plan, lease_s=plan.lease_s - 1))
    assert_lost(work, msgspec.structs.replace(plan, lease_s=0))
    assert_lost(work, msgspec.structs.replace(plan, id="another"))


def test_a_plan_that_waits_is_held_by_nobody(work: Work) -> None:
    plan = work.lease(5)
    due = work.backend.now_s
    work.index.release(plan)
    assert_lost(work, msgspec.structs.replace(plan, lease_s=due))


def test_successive_leases_within_one_second_all_differ(work: Work) -> None:
    held = []
    for _ in range(5):
        plan = work.lease()
        held.append(plan)
        work.index.release(plan)
    current = work.lease()
    leases = [plan.lease_s for plan in [*held, current]]
    assert len(set(leases)) == len(leases), leases
    for stale in held:
        assert_lost(work, stale)


def test_a_lease_of_before_a_renewal_never_comes_back(work: Work) -> None:
    first = work.lease(100)
    renewed = work.index.renew(first, lease_s=200)
    work.index.release(renewed)
    current = work.lease(100)
    for stale in (first, renewed):
        assert_lost(work, stale)
    work.complete(current)


def test_delayed_releases_never_bring_a_lease_back(work: Work) -> None:
    first = work.lease(20)
    work.index.release(first, delay_s=10)
    work.backend.advance(10)
    second = work.lease(10)
    work.index.release(second, delay_s=1)
    work.backend.advance(1)
    third = work.lease(9)
    for stale in (first, second):
        assert_lost(work, stale)
    work.complete(third)


def test_an_expired_lease_that_nobody_took_is_still_good(work: Work) -> None:
    plan = work.lease(60)
    work.backend.advance(1000)
    work.complete(plan)
    assert work.lease() is None


def test_ending_again_has_no_effect(work: Work) -> None:
    plan = work.lease()
    work.end(plan)
    before = work.backend.dump()
    work.backend.advance(3600)
    for _ in range(2):
        work.end(plan)
    work.backend.advance(-3600)
    assert work.backend.dump() == before


def test_completing_again_has_no_effect(work: Work) -> None:
    plan = work.lease()
    work.complete(plan)
    before = work.backend.dump()
    work.backend.advance(3600)
    for _ in range(2):
        work.complete(plan)
        work.end(plan)
    work.backend.advance(-3600)
    assert work.backend.dump() == before


def test_a_plan_that_was_only_ended_is_not_taken_for_completed(work: Work) -> None:
    if work.kind == "drop":
        return  # there, ending is all there is
    plan = work.lease()
    work.end(plan)
    before = work.backend.dump()
    with pytest.raises(LeaseLost):
        work.complete(plan)
    assert work.backend.dump() == before


def test_an_ended_plan_can_be_neither_renewed_nor_released(work: Work) -> None:
    plan = work.lease()
    work.end(plan)
    before = work.backend.dump()
    for verb in (work.renew, work.release, work.release_later):
        with pytest.raises(LeaseLost):
            verb(plan)
    assert work.backend.dump() == before


def test_ending_under_one_lease_does_not_count_for_another(work: Work) -> None:
    stale = work.lease(5)
    work.backend.advance(5)
    current = work.lease()
    work.complete(current)
    before = work.backend.dump()
    with pytest.raises(LeaseLost):
        work.complete(stale)
    assert work.backend.dump() == before


def test_renewing_makes_a_lease_longer_and_never_shorter(work: Work) -> None:
    plan = work.lease(100)
    assert work.index.renew(plan, lease_s=10).lease_s == plan.lease_s
    longer = work.index.renew(plan, lease_s=200)
    assert longer.lease_s == work.backend.now_s + 200
    work.backend.advance(199)
    assert work.lease() is None, "it is held yet"
    work.complete(longer)


def test_a_released_plan_is_first_in_its_queue_and_due_at_once(work: Work) -> None:
    plan = work.lease()
    work.index.release(plan)
    assert work.lease().id == plan.id


def test_a_plan_released_with_delay_holds_up_nothing_behind_it(backend: Backend) -> None:
    index = backend.index(merge_configurations=[[10, 0, 1]])
    index.batch([entry(1), entry(2)])
    backend.advance(10)
    first = index.get_merge_plan("", "", 1)
    index.release(first, "not now", delay_s=50)
    second = index.get_merge_plan("", "", 1)
    assert second.id != first.id
    backend.advance(49)
    assert index.get_merge_plan("", "", 1) is None
    backend.advance(1)
    again = index.get_merge_plan("", "", 1)
    assert (again.id, again.path_to) == (first.id, first.path_to)


def test_attempts_are_counted_when_a_reason_is_given(work: Work) -> None:
    def shown() -> list[tuple[str, int, str, int]]:
        return [
            (plan.state, plan.attempts, plan.error, plan.due_s)
            for plan in work.index.plans()
            if plan.id == first.id
        ]

    first = work.lease()
    now = work.backend.now_s
    work.index.release(first)
    assert shown() == [("waiting", 0, "", now)]
    work.index.release(work.lease(), 'disk füll "/\\\n\x00 \ud800')
    ((_, attempts, error, _),) = shown()
    assert attempts == 1
    assert error.startswith('disk füll "/\\\n\x00 ')
    work.index.release(work.lease(), "again", delay_s=7)
    assert shown() == [("waiting", 2, "again", now + 7)]
    work.backend.advance(7)
    plan = work.lease()
    assert shown() == [("leased", 2, "again", plan.lease_s)]
    work.complete(plan)
    assert shown() == []


@pytest.mark.parametrize("delay", [-1, 1.5, True, "5", 2**63])
def test_a_delay_must_be_a_number_of_seconds(work: Work, delay: Any) -> None:
    plan = work.lease()
    with pytest.raises(InvalidConfiguration):
        work.index.release(plan, delay_s=delay)
    work.complete(plan)


def test_a_plan_of_another_kind_or_table_is_refused(work: Work) -> None:
    plan = work.lease()
    other = work.backend.index("db", "other", layers=TIERS)
    for verb in (other.renew, other.release):
        with pytest.raises(InvalidEntry):
            verb(plan)
    wrong = {"merge": "move", "move": "drop", "drop": "merge"}[work.kind]
    mistaken = Work.__new__(Work)
    mistaken.__dict__.update(work.__dict__, kind=wrong)
    before = work.backend.dump()
    with pytest.raises(InvalidEntry):
        mistaken.end(plan)
    for nonsense in (None, "plan", entry(1)):
        with pytest.raises(InvalidEntry):
            work.index.renew(nonsense)
    assert work.backend.dump() == before
