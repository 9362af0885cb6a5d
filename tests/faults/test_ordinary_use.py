"""What ordinary use leaves is no fault to `check`, at any moment: a monitor stays quiet.

Whatever calls are made, in whatever order, with workers that die, leases that run out, and GigAPI's
writers and workers on the same table.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import test_against_model as alone
import test_several_clients as several
from fix_stores import SEED, START_S, Backend, entry
from go_like import GoLike
from hypothesis.stateful import rule
from test_several_clients import Foreign, Place, place

from gigapi_metadata import Conflict, LeaseLost, MergePlan, MovePlan
from gigapi_metadata.checking import Checked, CheckOptions, Footers, check_table
from gigapi_metadata.storage import Storages
from gigapi_metadata.stores.base import Steps, TableRef
from gigapi_metadata.stores.redis.repair import RedisRepairs

__all__ = ["place"]

EXAMPLES = 5
GO_STEPS = 150


@pytest.fixture(autouse=True)
def test_clock(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check reads the time as the scripts under test do."""

    def now_s(store: RedisRepairs, table: TableRef | None = None) -> Steps[int]:
        yield from ()
        return place.backend.now_s

    monkeypatch.setattr(RedisRepairs, "now_s", now_s)


def check(index: Any) -> Checked:
    return check_table(index, Storages((), None), Footers(1), CheckOptions(storage=False))


class Watched(alone.Catalog):
    """Our own calls: files that were removed come back, and in other layers."""

    @rule()
    def a_check_finds_no_fault(self) -> None:
        found = check(self.index)
        assert not found.faults, found.faults

    def teardown(self) -> None:
        self.a_check_finds_no_fault()


def test_our_own_calls_leave_no_fault(place: Place) -> None:
    place.backend.loop = None
    machine = type("Watched", (Watched,), {"backend": place.backend})
    alone.run_machine(machine, EXAMPLES)


class Beside:
    """Our clients and GigAPI's on one table, which use new paths for new files, as both do."""

    def __init__(self, backend: Backend, draw: random.Random) -> None:
        backend.fresh()
        self._backend, self._draw = backend, draw
        self.index = backend.index(layers=alone.LAYERS, merge_configurations=alone.ROWS)
        self._go: GoLike | None = None
        if isinstance(backend, several.RedisBackend):
            self._go = Foreign(backend, draw)
        self.made = 0
        self._held: list[Any] = []

    def _entry(self) -> Any:
        self.made += 1
        draw = self._draw
        iteration = draw.choice([1, 1, 2, 3])
        return entry(
            path=f"{draw.choice(alone.DIRS)}/new{self.made}.{iteration}.parquet",
            layer=draw.choice(["hot", "cold"]),
            writer_id=draw.choice(["", "w"]),
            size_bytes=draw.randrange(200),
            chunk_time=(START_S - draw.randrange(100)) * 10**9 + draw.randrange(10**9),
        )

    def step(self) -> None:
        """One call of somebody."""
        calls = [self.add, self.remove, self.lease, self.lease, self.finish, self.wait]
        if self._go is not None:
            calls += [self.go_adds, self.go_removes, self.go_works]
        self._draw.choice(calls)()

    def add(self) -> None:
        self.index.batch([self._entry() for _ in range(self._draw.randrange(4))])

    def _some(self) -> list[Any]:
        there = self.index.get_all()
        return self._draw.sample(there, min(len(there), self._draw.randrange(3)))

    def remove(self) -> None:
        self.index.batch(None, self._some())

    def lease(self) -> None:
        """A worker, who may die with the plan: nobody finishes it."""
        layer, writer = self._draw.choice(["hot", "cold"]), self._draw.choice(["", "w"])
        seconds = self._draw.choice([5, 60, 1800])
        plan = self._draw.choice(
            [
                lambda: self.index.get_merge_plan(writer, layer, 1, lease_s=seconds),
                lambda: self.index.get_move_plan(writer, layer, lease_s=seconds),
                lambda: self.index.get_drop_queue(writer, layer, lease_s=seconds),
            ]
        )()
        if plan is not None:
            self._held.append(plan)

    def finish(self) -> None:
        if not self._held:
            return
        plan = self._held.pop(self._draw.randrange(len(self._held)))
        try:
            if isinstance(plan, MergePlan):
                result = entry(path=plan.path_to, layer=plan.layer, writer_id=plan.writer_id)
                self.index.complete_merge(plan, result)
            elif isinstance(plan, MovePlan):
                moved = entry(path=plan.path_to, layer=plan.layer_to, writer_id=plan.writer_id)
                self.index.complete_move(plan, moved if plan.layer_to else None)
            else:
                self.index.rm_from_drop_queue(plan)
        except (LeaseLost, Conflict):
            pass

    def wait(self) -> None:
        self._backend.advance(self._draw.choice([1, 10, 60, 900]))

    def go_adds(self) -> None:
        assert self._go is not None
        self._go.add(*(self._entry() for _ in range(self._draw.randrange(4))))

    def go_removes(self) -> None:
        assert self._go is not None
        self._go.remove(*self._some())

    def go_works(self) -> None:
        """GigAPI's worker: a merge as two calls, between which it may die."""
        assert self._go is not None
        layer, writer = self._draw.choice(["hot", "cold"]), self._draw.choice(["", "w"])
        queue = f"merge:db:t:1:{self._draw.choice(alone.DIRS)}:{layer}:{writer}"
        plan = self._go.lease(queue)
        if plan is None or self._draw.random() < 0.3:
            return
        there = [e for e in self.index.get_all() if e.path in plan["paths"] and e.layer == layer]
        if there:
            result = self._entry()
            self._go.add(msgspec.structs.replace(result, layer=layer))
            self._go.remove(*there)
        if self._draw.random() < 0.7:
            self._go.end(queue, plan["id"])


def test_our_calls_and_gigapis_leave_no_fault(place: Place) -> None:
    lake = Beside(place.backend, random.Random(SEED))
    for number in range(GO_STEPS):
        lake.step()
        if number % 5 == 4:
            found = check(lake.index)
            assert not found.faults, f"seed {SEED}, step {number}: {found.faults}"
    assert lake.made, "somebody has written"
