"""Any mix of batches, re-adds, removals, queries and plans equals a plain-Python model."""

from __future__ import annotations

from typing import Any

import pytest
from fix_stores import SECOND, START_S, Backend, entry, path_of
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model_reference import Item, Kind, ModelTable

from gigapi_metadata import Conflict, IndexEntry, InvalidEntry, Layer, LeaseLost

LAYERS = [Layer("file:///hot", "hot", ttl_sec=60), Layer("file:///cold", "cold", ttl_sec=900)]
ROWS = [[10, 300, 1], [70, 1000, 2]]  # level 2 is merged in cold and moved in hot
DIRS = ["date=2027-01-15/hour=08", "date=2027-01-15/hour=09", "date=2027-01-16/hour=00"]
PATHS = [path_of(n, 1 + n % 3 // 2, DIRS[n % 3]) for n in range(9)]

some_entries = st.lists(
    st.builds(
        lambda path, layer, writer, size, low, length, age: entry(
            path=path,
            layer=layer,
            writer_id=writer,
            size_bytes=size,
            min_time=low,
            max_time=low + length,
            chunk_time=(START_S - age) * SECOND,
        ),
        st.sampled_from(PATHS),
        st.sampled_from(["hot", "cold"]),
        st.sampled_from(["", "w"]),
        st.integers(0, 200),
        st.integers(-5, 5),
        st.sampled_from([0, 1, 2**40]),
        st.integers(0, 100),
    ),
    max_size=4,
)
some_paths = st.lists(st.sampled_from(PATHS), max_size=3)
Held = tuple[Any, Item]


class Catalog(RuleBasedStateMachine):
    """`handed` holds every plan ever handed out, the stale ones as well."""

    backend: Backend

    def __init__(self) -> None:
        super().__init__()
        self.backend.fresh()
        self.index = self.backend.index(layers=LAYERS, merge_configurations=ROWS)
        self.model = ModelTable(LAYERS, ROWS, self.backend.now_s)
        self.handed: list[Held] = []
        self.targets: dict[str, str] = {}

    # Entries

    @rule(add=some_entries, remove=some_paths)
    def batch(self, add: list[IndexEntry], remove: list[str]) -> None:
        assert self.index.batch(add, remove) == 0
        self.model.batch(add, remove)

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data())
    def remove_what_is_there(self, data: st.DataObject) -> None:
        there = data.draw(st.sampled_from(sorted(self.model.entries)))
        self.index.batch(None, [there])
        self.model.batch([], [there])

    @rule(add=some_entries, position=st.integers(0, 3))
    def refused_batch(self, add: list[IndexEntry], position: int) -> None:
        add.insert(position, entry(path=PATHS[0], layer="hot", size_bytes=-1))
        with pytest.raises(InvalidEntry):
            self.index.batch(add, PATHS)

    @rule(after=st.none() | st.integers(-8, 8), before=st.none() | st.integers(-8, 8))
    def query(self, after: int | None, before: int | None) -> None:
        assert self.index.query(after=after, before=before) == self.model.query(after, before)

    @rule(seconds=st.sampled_from([1, 5, 10, 29, 60, 900]))
    def time_passes(self, seconds: int) -> None:
        self.backend.advance(seconds)
        self.model.now_s = self.backend.now_s

    # Plans

    def _lease(self, kind: Kind, layer: str, writer: str, iteration: int, lease_s: int) -> None:
        if kind == "merge":
            plan = self.index.get_merge_plan(writer, layer, iteration, lease_s=lease_s)
        elif kind == "move":
            plan = self.index.get_move_plan(writer, layer, lease_s=lease_s)
        else:
            plan = self.index.get_drop_queue(writer, layer, lease_s=lease_s)
        item = self.model.next_due(kind, layer, writer, iteration)
        assert (plan is None) == (item is None), (plan, item)
        if plan is None or item is None:
            return
        living = self.model.living(item)
        if kind == "merge":
            assert plan.paths_from == living
            assert plan.path_to.rpartition("/")[0] == item.place.dir
            assert plan.path_to.endswith(f".{iteration + 1}.parquet")
        elif kind == "move":
            assert ([plan.path_from], plan.layer_to) == (living, item.layer_to)
        else:
            assert [plan.path] == living
        if kind != "drop":
            assert self.targets.setdefault(plan.id, plan.path_to) == plan.path_to
            assert len(set(self.targets.values())) == len(self.targets)
        assert item.id in ("", plan.id)
        assert plan.attempts == item.attempts
        earlier = [old.lease_s for old, other in self.handed if other is item]
        assert plan.lease_s not in earlier, "each lease must be told from every other one"
        now = self.model.now_s
        assert now + lease_s <= plan.lease_s <= max([now + lease_s, *earlier]) + 1
        self.model.lease(item, plan.id, plan.lease_s)
        self.handed.append((plan, item))

    @rule(
        kind=st.sampled_from(["merge", "merge", "move", "drop"]),
        layer=st.sampled_from(["hot", "cold"]),
        writer=st.sampled_from(["", "w"]),
        iteration=st.integers(1, 2),
        lease_s=st.sampled_from([5, 60, 1800]),
    )
    def lease(self, kind: Kind, layer: str, writer: str, iteration: int, lease_s: int) -> None:
        self._lease(kind, layer, writer, iteration, lease_s)

    @precondition(lambda self: self.handed)
    @rule(data=st.data(), wholly=st.booleans())
    def finish(self, data: st.DataObject, wholly: bool) -> None:
        plan, item = data.draw(st.sampled_from(self.handed[-4:]))
        kind, add, remove = item.place.kind, [], []
        if wholly and kind == "merge":
            add = [entry(path=plan.path_to, layer=item.place.layer, writer_id=plan.writer_id)]
            remove = plan.paths_from
        elif wholly and kind == "move":
            if plan.layer_to:
                add = [entry(path=plan.path_to, layer=plan.layer_to, writer_id=plan.writer_id)]
            remove = [plan.path_from]
        expected = self.model.finish(item, plan.lease_s, add, remove)

        def call() -> None:
            if kind == "drop":
                self.index.rm_from_drop_queue(plan)
            elif not wholly:
                (self.index.end_merge if kind == "merge" else self.index.end_move)(plan)
            elif kind == "merge":
                self.index.complete_merge(plan, add[0])
            else:
                self.index.complete_move(plan, add[0] if add else None)

        if expected in ("lost", "conflict"):
            with pytest.raises(LeaseLost if expected == "lost" else Conflict):
                call()
        else:
            call()

    @precondition(lambda self: self.handed)
    @rule(data=st.data(), seconds=st.sampled_from([1, 60, 1800]))
    def renew(self, data: st.DataObject, seconds: int) -> None:
        plan, item = data.draw(st.sampled_from(self.handed[-4:]))
        if not self.model.holds(item, plan.lease_s):
            with pytest.raises(LeaseLost):
                self.index.renew(plan, lease_s=seconds)
            return
        renewed = self.index.renew(plan, lease_s=seconds)
        assert renewed.lease_s == max(plan.lease_s, self.model.now_s + seconds)
        self.model.renew(item, plan.lease_s, renewed.lease_s)
        if renewed.lease_s != plan.lease_s:
            self.handed.append((renewed, item))

    @precondition(lambda self: self.handed)
    @rule(
        data=st.data(),
        error=st.none() | st.sampled_from(["broken", 'odd "\\']),
        delay_s=st.sampled_from([0, 0, 3, 40]),
    )
    def release(self, data: st.DataObject, error: str | None, delay_s: int) -> None:
        plan, item = data.draw(st.sampled_from(self.handed[-4:]))
        if not self.model.holds(item, plan.lease_s):
            with pytest.raises(LeaseLost):
                self.index.release(plan, error, delay_s=delay_s)
            return
        self.index.release(plan, error, delay_s=delay_s)
        self.model.release(item, plan.lease_s, error, delay_s)
        # Redis may hold it back for a second more, to tell it from the lease that ended.
        shown = [each.due_s for each in self.index.plans() if each.id == plan.id]
        assert len(shown) == 1
        assert item.due_s <= shown[0] <= item.due_s + bool(delay_s)
        item.due_s = shown[0]

    # What must hold after each step

    @invariant()
    def entries_and_folders_are_equal(self) -> None:
        assert self.index.get_all() == self.model.query(None, None)
        assert self.index.paths() == self.model.paths()

    @invariant()
    def plans_are_equal(self) -> None:
        shown = [
            (
                *(plan.kind, plan.state, plan.layer, plan.writer_id, plan.iteration, plan.paths),
                *(plan.size_bytes, plan.due_s, plan.attempts, plan.error),
            )
            for plan in self.index.plans()
            if self._has_work(plan)
        ]
        assert shown == self.model.listing()

    def _has_work(self, plan: Any) -> bool:
        there = [
            path in self.model.entries and self.model.entries[path].layer == plan.layer
            for path in plan.paths
        ]
        return not any(there) if plan.kind == "drop" else any(there)


def run_machine(machine: Any, examples: int) -> None:
    """So many runs of 40 steps."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
            # Shrinking takes minutes on a store; a failure is printed with all its steps.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )


def test_any_sequence_of_calls_equals_the_model(backend: Backend) -> None:
    run_machine(type("Catalog", (Catalog,), {"backend": backend}), 20)
