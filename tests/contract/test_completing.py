"""complete_merge and complete_move: one atomic step, once."""

from __future__ import annotations

from typing import Any

import pytest
from fix_stores import SECOND, Backend, entry, path_of

from gigapi_metadata import Conflict, InvalidEntry, Layer, UnknownLayer

TIERS = [
    Layer("file:///hot", "hot", ttl_sec=60),
    Layer("file:///cold", "cold", ttl_sec=600),
    Layer("file:///attic", "attic"),
]


def merging(backend: Backend, **options: Any) -> Any:
    index = backend.index(merge_configurations=[[10, 1000, 1], [20, 5000, 2]], **options)
    index.batch([entry(n) for n in (1, 2, 3)])
    backend.advance(10)
    return index


def test_a_merge_replaces_its_sources_by_its_result(backend: Backend) -> None:
    index = merging(backend)
    plan = index.get_merge_plan("", "", 1)
    merged = entry(path=plan.path_to, size_bytes=900, row_count=6, min_time=1, max_time=99)
    index.complete_merge(plan, merged)
    assert index.get_all() == [merged]
    assert index.paths() == ["date=2027-01-15/hour=08"]
    plans = {plan.kind: plan for plan in index.plans()}
    assert plans["merge"].paths == [plan.path_to]
    assert (plans["merge"].iteration, plans["merge"].due_s) == (2, backend.now_s + 20)
    drops = sorted(plan.paths[0] for plan in index.plans() if plan.kind == "drop")
    assert drops == [path_of(1), path_of(2), path_of(3)]
    index.batch(None, [merged])
    assert index.paths() == [], "its folder was counted right"


def test_the_last_level_is_merged_no_further(backend: Backend) -> None:
    index = backend.index(merge_configurations=[[0, 1000, 1]])
    index.batch([entry(1), entry(2)])
    plan = index.get_merge_plan("", "", 1)
    index.complete_merge(plan, entry(path=plan.path_to))
    assert {plan.kind for plan in index.plans()} == {"drop"}


def test_completing_again_has_no_effect_even_when_the_result_is_gone(backend: Backend) -> None:
    index = merging(backend)
    plan = index.get_merge_plan("", "", 1)
    merged = entry(path=plan.path_to)
    index.complete_merge(plan, merged)
    index.batch([entry(1)], [merged])
    before = backend.dump()
    index.complete_merge(plan, merged)
    index.end_merge(plan)
    assert backend.dump() == before


def test_a_merge_conflicts_when_a_source_has_vanished(backend: Backend) -> None:
    index = merging(backend)
    plan = index.get_merge_plan("", "", 1)
    index.batch(None, [path_of(2)])
    before = backend.dump()
    with pytest.raises(Conflict, match="file0002"):
        index.complete_merge(plan, entry(path=plan.path_to))
    assert backend.dump() == before
    index.release(plan, "conflict")
    again = index.get_merge_plan("", "", 1)
    assert again.paths_from == [path_of(1), path_of(3)]
    index.complete_merge(again, entry(path=again.path_to))
    assert [each.path for each in index.get_all()] == [again.path_to]


def test_a_merge_conflicts_when_a_source_now_lies_in_another_layer(backend: Backend) -> None:
    index = backend.index(layers=TIERS, merge_configurations=[[10, 1000, 1]])
    index.batch([entry(1, layer="hot"), entry(2, layer="hot")])
    backend.advance(10)
    plan = index.get_merge_plan("", "hot", 1)
    index.batch([entry(2, layer="cold")])
    before = backend.dump()
    with pytest.raises(Conflict, match="file0002"):
        index.complete_merge(plan, entry(path=plan.path_to, layer="hot"))
    assert backend.dump() == before


def test_a_move_conflicts_when_its_source_has_vanished(backend: Backend) -> None:
    index = backend.index(layers=TIERS, merge_configurations=[])
    index.batch([entry(1, layer="hot")])
    backend.advance(60)
    plan = index.get_move_plan("", "hot")
    index.batch(None, [path_of(1)])
    before = backend.dump()
    with pytest.raises(Conflict):
        index.complete_move(plan, entry(path=plan.path_to, layer="cold"))
    assert backend.dump() == before


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"path": path_of(7, 2)}, InvalidEntry),
        ({"layer": "cold"}, InvalidEntry),
        ({"layer": "warm"}, UnknownLayer),
        ({"table": "other"}, InvalidEntry),
        ({"size_bytes": -1}, InvalidEntry),
    ],
)
def test_a_result_that_is_not_the_plans_is_refused(
    backend: Backend, changes: dict[str, Any], error: type[Exception]
) -> None:
    index = backend.index(layers=TIERS, merge_configurations=[[0, 1000, 1]])
    index.batch([entry(1, layer="hot"), entry(2, layer="hot")])
    plan = index.get_merge_plan("", "hot", 1)
    before = backend.dump()
    with pytest.raises(error):
        index.complete_merge(plan, entry(**{"path": plan.path_to, "layer": "hot", **changes}))
    with pytest.raises(InvalidEntry):
        index.complete_merge(plan, None)
    assert backend.dump() == before


def test_a_file_moves_through_every_layer_and_expires(backend: Backend) -> None:
    tiers = [*TIERS[:2], Layer("file:///attic", "attic", ttl_sec=10)]
    index = backend.index(layers=tiers, merge_configurations=[])
    index.batch([entry(1, layer="hot")])
    path = path_of(1)
    for layer, following, wait in (("hot", "cold", 60), ("cold", "attic", 540), ("attic", "", 0)):
        backend.advance(wait)
        plan = index.get_move_plan("", layer)
        assert (plan.path_from, plan.layer_to) == (path, following)
        if following:
            with pytest.raises(InvalidEntry):
                index.complete_move(plan, None)
            moved = entry(1, path=plan.path_to, layer=following)
            index.complete_move(plan, moved)
            assert index.get_all() == [moved]
        else:
            with pytest.raises(InvalidEntry):
                index.complete_move(plan, entry(1, path=plan.path_to, layer="attic"))
            index.complete_move(plan, None)
        drops = [plan.paths for plan in index.plans() if plan.kind == "drop"]
        assert [path] in drops, "its old file is to be dropped"
        index.complete_move(plan, moved if following else None)
        path = plan.path_to
    assert index.get_all() == []
    assert index.paths() == []
    assert [plan.kind for plan in index.plans()] == ["drop"] * 3


def test_a_moved_file_is_dropped_in_the_layer_it_left(backend: Backend) -> None:
    index = backend.index(layers=TIERS, merge_configurations=[], drop_grace_s=5)
    index.batch([entry(1, layer="hot")])
    backend.advance(60)
    plan = index.get_move_plan("", "hot")
    index.complete_move(plan, entry(path=plan.path_to, layer="cold"))
    backend.advance(5)
    assert index.get_drop_queue("", "cold") is None
    assert index.get_drop_queue("", "hot").path == path_of(1)


def test_the_way_of_ending_that_gigapi_uses_works_as_well(backend: Backend) -> None:
    index = merging(backend)
    plan = index.get_merge_plan("", "", 1)
    index.batch([entry(path=plan.path_to)], plan.paths_from)
    index.end_merge(plan)
    assert [each.path for each in index.get_all()] == [plan.path_to]
    backend.advance(3600)
    assert index.get_merge_plan("", "", 1) is None


def test_a_merged_file_moves_by_its_own_clock(backend: Backend) -> None:
    index = backend.index(layers=TIERS, merge_configurations=[[10, 1000, 1]])
    index.batch([entry(1, layer="hot"), entry(2, layer="hot")])
    backend.advance(10)
    plan = index.get_merge_plan("", "hot", 1)
    newest = (backend.now_s - 3) * SECOND
    index.complete_merge(plan, entry(path=plan.path_to, layer="hot", chunk_time=newest))
    (move,) = [plan for plan in index.plans() if plan.kind == "move"]
    assert (move.paths, move.due_s) == ([plan.path_to], backend.now_s - 3 + 60)
