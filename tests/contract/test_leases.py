"""Handing plans out: in which order, when, for how long, and what they name."""

from __future__ import annotations

from typing import Any

import pytest
from fix_stores import SECOND, START_S, Backend, OpenIndex, entry, path_of

from gigapi_metadata import InvalidConfiguration, InvalidName, Layer, UnknownLayer

HOURS = [f"date=2027-01-15/hour={hour:02}" for hour in range(4)]
TIERS = [Layer("file:///hot", "hot", ttl_sec=60), Layer("file:///cold", "cold")]


def test_nothing_is_handed_out_of_an_empty_catalog(open_index: OpenIndex) -> None:
    index = open_index()
    assert index.get_merge_plan("", "", 1) is None
    assert index.get_move_plan("", "") is None
    assert index.get_drop_queue("", "") is None


@pytest.mark.parametrize("writer", ["", "w1", "wörker 1"])
def test_a_merge_plan_says_all_that_its_worker_needs(
    open_index: OpenIndex, backend: Backend, writer: str
) -> None:
    index = open_index(layers=TIERS)
    index.batch([entry(n, layer="hot", writer_id=writer) for n in (1, 2)])
    assert index.get_merge_plan(writer, "hot", 1) is None, "not due yet"
    backend.advance(10)
    plan = index.get_merge_plan(writer, "hot", 1)
    assert (plan.database, plan.table) == ("db", "t")
    assert (plan.layer, plan.writer_id, plan.iteration) == ("hot", writer, 1)
    assert plan.paths_from == [path_of(1), path_of(2)]
    assert plan.path_to.startswith("date=2027-01-15/hour=08/")
    assert plan.path_to.endswith(".2.parquet")
    assert plan.lease_s == backend.now_s + 1800
    assert plan.id
    assert index.get_merge_plan(writer, "hot", 1) is None, "it is held"


def test_writers_layers_and_iterations_have_queues_of_their_own(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(layers=TIERS, merge_configurations=[[10, 1000, 1], [10, 1000, 2]])
    index.batch([entry(1, layer="hot", writer_id="w")])
    backend.advance(10)
    for writer, layer, iteration in (("", "hot", 1), ("w", "cold", 1), ("w", "hot", 2)):
        assert index.get_merge_plan(writer, layer, iteration) is None
    assert index.get_merge_plan("w", "hot", 1) is not None


def test_a_worker_is_handed_folder_after_folder(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(merge_configurations=[[10, 0, 1]])
    for number, dir in enumerate(reversed(HOURS * 2)):
        index.batch([entry(path=path_of(number, dir=dir), size_bytes=1)])
    backend.advance(10)
    dirs = [index.get_merge_plan("", "", 1).path_to.rpartition("/")[0] for _ in range(8)]
    assert dirs == sorted(HOURS * 2)
    assert index.get_merge_plan("", "", 1) is None


def test_plans_of_one_folder_are_handed_out_first_come_first_served(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(merge_configurations=[[10, 0, 1]])
    for number in (5, 3, 4):
        index.batch([entry(number)])
    backend.advance(10)
    order = [index.get_merge_plan("", "", 1).paths_from for _ in range(3)]
    assert order == [[path_of(5)], [path_of(3)], [path_of(4)]]


def test_the_head_of_a_queue_holds_up_what_is_behind_it(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(layers=TIERS, merge_configurations=[])
    late, early = START_S * SECOND, (START_S - 3600) * SECOND
    index.batch([entry(1, layer="hot", chunk_time=late)])
    index.batch([entry(2, layer="hot", chunk_time=early)])
    assert index.get_move_plan("", "hot") is None
    backend.advance(60)
    assert index.get_move_plan("", "hot").path_from == path_of(1)
    assert index.get_move_plan("", "hot").path_from == path_of(2)


def test_a_folder_whose_head_is_not_due_holds_up_no_other_folder(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index()
    index.batch([entry(path=path_of(1, dir=HOURS[1]))])
    backend.advance(10)
    index.batch([entry(path=path_of(2, dir=HOURS[0]))])
    assert index.get_merge_plan("", "", 1).paths_from == [path_of(1, dir=HOURS[1])]


def test_an_expired_lease_is_taken_over(open_index: OpenIndex, backend: Backend) -> None:
    index, other = open_index(), open_index()
    index.batch([entry(1), entry(2)])
    backend.advance(10)
    first = index.get_merge_plan("", "", 1, lease_s=60)
    backend.advance(59)
    assert other.get_merge_plan("", "", 1) is None
    backend.advance(1)
    second = other.get_merge_plan("", "", 1)
    assert second.id == first.id
    assert second.path_to == first.path_to, "a second attempt overwrites the first one's file"
    assert second.paths_from == first.paths_from
    assert second.lease_s == backend.now_s + 1800


def test_an_expired_lease_with_nothing_left_to_do_behind_a_plan_that_is_not_due(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index()
    index.batch([entry(1)])
    backend.advance(10)
    assert index.get_merge_plan("", "", 1, lease_s=5) is not None
    index.batch([entry(2)], [path_of(1)])
    backend.advance(6)
    assert index.get_merge_plan("", "", 1) is None
    backend.advance(4)
    assert index.get_merge_plan("", "", 1).paths_from == [path_of(2)]


def test_any_expired_lease_may_be_taken_over_not_only_the_first(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(merge_configurations=[[10, 0, 1]])
    index.batch([entry(1), entry(2)])
    backend.advance(10)
    index.get_merge_plan("", "", 1, lease_s=1000)
    second = index.get_merge_plan("", "", 1, lease_s=60)
    backend.advance(60)
    assert index.get_merge_plan("", "", 1).id == second.id
    assert index.get_merge_plan("", "", 1) is None


def test_waiting_plans_go_before_expired_leases(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(merge_configurations=[[10, 0, 1]])
    index.batch([entry(1), entry(2)])
    backend.advance(10)
    first = index.get_merge_plan("", "", 1, lease_s=1)
    backend.advance(1)
    assert index.get_merge_plan("", "", 1).id != first.id
    assert index.get_merge_plan("", "", 1).id == first.id


def test_leases_last_as_the_index_says_unless_the_call_does(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(lease_s=7, merge_configurations=[[0, 0, 1]])
    index.batch([entry(1), entry(2)])
    assert index.get_merge_plan("", "", 1).lease_s == backend.now_s + 7
    assert index.get_merge_plan("", "", 1, lease_s=9).lease_s == backend.now_s + 9


def test_a_plan_names_living_files_only(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(layers=[Layer("file:///a", "a"), Layer("file:///b", "b")])
    index.batch([entry(n, layer="a") for n in range(1, 6)])
    index.batch([entry(2, layer="b")], [path_of(1)])
    index.batch(None, [path_of(3)])
    index.batch([entry(3, layer="a")])
    backend.advance(10)
    plan = index.get_merge_plan("", "a", 1)
    assert sorted(plan.paths_from) == [path_of(3), path_of(4), path_of(5)]
    assert len(set(plan.paths_from)) == len(plan.paths_from)


def test_a_plan_without_living_files_is_never_handed_out(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(merge_configurations=[[10, 0, 1]])
    index.batch([entry(1), entry(2), entry(3)])
    index.batch(None, [path_of(1), path_of(2)])
    backend.advance(10)
    assert index.get_merge_plan("", "", 1).paths_from == [path_of(3)]
    assert index.get_merge_plan("", "", 1) is None


def test_plans_of_a_folder_that_has_vanished_are_cleared_away(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index()
    index.batch([entry(1), entry(2)])
    index.batch(None, [path_of(1), path_of(2)])
    backend.advance(10)
    assert index.get_merge_plan("", "", 1) is None
    assert [plan.kind for plan in index.plans()] == ["drop", "drop"]


def test_a_leased_plan_whose_files_vanish_is_not_handed_out_again(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(merge_configurations=[[10, 1000, 1]])
    index.batch([entry(1), entry(2), entry(path=path_of(3, 2))])
    backend.advance(10)
    index.get_merge_plan("", "", 1, lease_s=5)
    index.batch(None, [path_of(1), path_of(2)])
    backend.advance(5)
    assert index.get_merge_plan("", "", 1) is None
    assert {plan.kind for plan in index.plans()} == {"drop"}


def test_the_target_stays_when_the_first_file_of_a_plan_vanishes(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index()
    index.batch([entry(1), entry(2)])
    backend.advance(10)
    first = index.get_merge_plan("", "", 1, lease_s=5)
    index.batch(None, [path_of(1)])
    backend.advance(5)
    second = index.get_merge_plan("", "", 1)
    assert second.paths_from == [path_of(2)]
    assert second.path_to == first.path_to


def test_targets_of_different_plans_differ(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(layers=TIERS, merge_configurations=[[0, 0, 1]])
    index.batch([entry(n, layer="hot") for n in range(200)])
    targets = [index.get_merge_plan("", "hot", 1).path_to for _ in range(200)]
    assert len(set(targets)) == 200


def test_move_targets_and_ids_differ(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(layers=TIERS, merge_configurations=[])
    index.batch([entry(n, layer="hot") for n in range(200)])
    backend.advance(60)
    plans = [index.get_move_plan("", "hot") for _ in range(200)]
    assert len({plan.path_to for plan in plans}) == 200
    assert len({plan.id for plan in plans}) == 200


def test_a_plan_of_one_file_is_promoted(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(merge_configurations=[[10, 1000, 1], [20, 1000, 2]])
    index.batch([entry(1)])
    backend.advance(10)
    plan = index.get_merge_plan("", "", 1)
    assert plan.paths_from == [path_of(1)]
    index.complete_merge(plan, entry(path=plan.path_to))
    assert index.get_all() == [entry(path=plan.path_to)]
    backend.advance(1800)
    assert index.get_merge_plan("", "", 1) is None
    assert index.get_merge_plan("", "", 2).paths_from == [plan.path_to]


def test_a_move_of_a_vanished_or_moved_file_is_not_handed_out(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(layers=TIERS, merge_configurations=[])
    index.batch([entry(n, layer="hot") for n in (1, 2, 3)])
    index.batch([entry(2, layer="cold")], [path_of(1)])
    backend.advance(60)
    assert index.get_move_plan("", "hot").path_from == path_of(3)
    assert index.get_move_plan("", "hot") is None


@pytest.mark.parametrize("seconds", [0, -1, 1.5, True, "60", 2**63])
def test_a_lease_of_no_length_is_refused(open_index: OpenIndex, seconds: Any) -> None:
    index = open_index()
    for verb in (index.get_move_plan, index.get_drop_queue):
        with pytest.raises(InvalidConfiguration):
            verb("", "", lease_s=seconds)
    with pytest.raises(InvalidConfiguration):
        index.get_merge_plan("", "", 1, lease_s=seconds)
    with pytest.raises(InvalidConfiguration):
        open_index(lease_s=seconds)
    if seconds != 0:
        with pytest.raises(InvalidConfiguration):
            open_index(drop_grace_s=seconds)


def test_asking_for_what_can_not_be_is_refused(open_index: OpenIndex) -> None:
    index = open_index(layers=TIERS)
    with pytest.raises(UnknownLayer):
        index.get_merge_plan("", "warm", 1)
    with pytest.raises(UnknownLayer):
        index.get_move_plan("", "")
    with pytest.raises(InvalidName):
        index.get_drop_queue("a:b", "hot")
    for iteration in (0, -1, True, "1", None):
        with pytest.raises(InvalidConfiguration):
            index.get_merge_plan("", "hot", iteration)


def test_plans_are_listed_with_their_state(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(layers=TIERS, merge_configurations=[[10, 0, 1]])
    index.batch([entry(1, layer="hot"), entry(2, layer="hot")])
    index.batch([entry(path=path_of(3, 2), layer="hot", writer_id="w")])
    index.batch([entry(4, layer="cold")])
    index.batch(None, [path_of(4)])
    backend.advance(10)
    leased = index.get_merge_plan("", "hot", 1)
    listed = index.plans()
    assert [(plan.kind, plan.state, plan.paths, plan.due_s) for plan in listed] == [
        ("merge", "waiting", [path_of(4)], START_S + 10),
        ("merge", "waiting", [path_of(2)], START_S + 10),
        ("merge", "leased", [path_of(1)], START_S + 10 + 1800),
        ("move", "waiting", [path_of(3, 2)], START_S + 60),
        ("drop", "waiting", [path_of(4)], START_S + 30),
    ]
    assert listed[2].id == leased.id
    assert [plan.dir for plan in listed] == ["date=2027-01-15/hour=08"] * 5
    assert [plan.layer for plan in listed] == ["cold", "hot", "hot", "hot", "cold"]
    assert [plan.writer_id for plan in listed] == ["", "", "", "w", ""]
    assert [plan.iteration for plan in listed] == [1, 1, 1, 0, 0]
    assert [plan.size_bytes for plan in listed[:3]] == [104, 102, 101]
    assert {(plan.attempts, plan.error) for plan in listed} == {(0, "")}
