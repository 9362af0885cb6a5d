"""Clocks that jump, in the stores that go by ours: SQLite and JSON folders.

Whatever a clock does, a plan is held by one holder at a time, nothing is lost or doubled, and when
the clock is right again the work gets done.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fault_checks import check_invariants
from fix_stores import START_S, entry, path_of

from gigapi_metadata import Conflict, JSONIndex, LeaseLost, SQLiteIndex

ROWS = [[10, 250, 1]]
JUMPS = (-3_000_000, -4000, -61, -1, 0, 1, 61, 4000, 3_000_000)
Open = Callable[[], Any]


class Clock:
    def __init__(self) -> None:
        self.now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "json"])
def open_one(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Open]:
    with ExitStack() as stack:

        def make() -> Any:
            options: dict[str, Any] = {"clock": clock, "merge_configurations": ROWS}
            if request.param == "sqlite":
                made: Any = SQLiteIndex(tmp_path / "catalog.db", "db", "t", **options)
            else:
                made = JSONIndex(tmp_path, "db", "t", **options)
            return stack.enter_context(made)

        yield make


def test_a_lease_taken_before_the_clock_went_back_ends_when_it_says(
    open_one: Open, clock: Clock
) -> None:
    index = open_one()
    index.batch([entry(1)])
    clock.now_s += 10
    plan = index.get_merge_plan("", "", 1, lease_s=60)
    assert plan is not None
    clock.now_s -= 5000
    assert index.get_merge_plan("", "", 1) is None, "it is held, whatever the clock says"
    renewed = index.renew(plan, lease_s=60)
    assert renewed.lease_s >= plan.lease_s, "a lease is never made shorter"
    index.complete_merge(renewed, entry(path=renewed.path_to))
    assert [each.path for each in check_invariants(index)] == [plan.path_to]


def test_a_lease_overtaken_by_a_jump_is_lost_for_good(open_one: Open, clock: Clock) -> None:
    """Forward past its end, taken over, and back to where the first holder thinks it is valid."""
    index, other = open_one(), open_one()
    index.batch([entry(1)])
    clock.now_s += 10
    plan = index.get_merge_plan("", "", 1, lease_s=60)
    clock.now_s += 4000
    taken = other.get_merge_plan("", "", 1, lease_s=60)
    assert taken is not None
    assert taken.id == plan.id
    clock.now_s -= 4000
    with pytest.raises(LeaseLost):
        index.complete_merge(plan, entry(path=plan.path_to))
    with pytest.raises(LeaseLost):
        index.renew(plan)
    other.complete_merge(taken, entry(path=taken.path_to))
    index.batch([entry(2)])
    assert len(check_invariants(index)) == 2


@pytest.mark.parametrize("turn", range(3))
def test_any_jumps(open_one: Open, clock: Clock, seed: int, turn: int) -> None:
    draw = random.Random(f"{seed}/{turn}")
    clients = [open_one(), open_one()]
    expected: set[str] = set()
    held: list[Any] = []
    done: Counter[tuple[str, int]] = Counter()
    leases: Counter[tuple[str, int]] = Counter()
    for number in range(60):
        clock.now_s += draw.choice(JUMPS)
        index = draw.choice(clients)
        what = draw.random()
        if what < 0.4:
            index.batch([entry(number)])
            expected.add(path_of(number))
        elif what < 0.6:
            plan = index.get_merge_plan("", "", 1, lease_s=draw.choice([1, 60, 5000]))
            if plan is not None:
                leases[plan.id, plan.lease_s] += 1
                held.append(plan)
        elif held:
            plan = held.pop(draw.randrange(len(held)))
            try:
                index.complete_merge(plan, entry(path=plan.path_to))
            except (LeaseLost, Conflict):
                continue
            done[plan.id, plan.lease_s] += 1
            expected = expected - set(plan.paths_from) | {plan.path_to}
        there = {each.path for each in index.get_all()}
        assert there == expected, f"seed {seed}, turn {turn}, step {number}"
    assert all(times == 1 for times in leases.values()), "two leases must differ"
    clock.now_s = START_S + 1_000_000_000
    while plan := index.get_merge_plan("", "", 1):
        index.complete_merge(plan, entry(path=plan.path_to))
        expected = expected - set(plan.paths_from) | {plan.path_to}
    assert {each.path for each in check_invariants(index)} == expected
    assert not [path for path in expected if path.endswith(".1.parquet")], "all was merged"
