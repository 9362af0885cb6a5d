"""`Index.retry`: a plan that waits or was set aside is due now."""

from __future__ import annotations

from typing import Any

from fix_stores import OpenIndex

import gigapi_metadata as gm

PATH = "date=2024-01-15/hour=14/{}.1.parquet"


def entry(name: str) -> gm.IndexEntry:
    return gm.IndexEntry("db", "t", PATH.format(name), 10, 1, 2)


def filled(open_index: OpenIndex) -> Any:
    index = open_index(merge_configurations=[[1000, 25, 1]])
    index.batch([entry(name) for name in "abcd"])  # two plans: ab, cd
    return index


def test_a_waiting_plan_is_due_ahead_of_others(open_index: OpenIndex) -> None:
    index = filled(open_index)
    assert index.get_merge_plan("", "", 1) is None
    _, second = index.plans()
    assert index.retry(second)
    leased = index.get_merge_plan("", "", 1)
    assert leased.paths_from == [PATH.format("c"), PATH.format("d")]
    assert index.get_merge_plan("", "", 1) is None


def test_a_plan_that_was_set_aside_is_due_and_its_attempts_are_forgotten(
    open_index: OpenIndex,
) -> None:
    index = filled(open_index)
    index.retry(index.plans()[0])
    index.release(index.get_merge_plan("", "", 1), "broken", delay_s=10**9)
    (held,) = [plan for plan in index.plans() if plan.attempts]
    assert (held.attempts, held.error) == (1, "broken")
    assert index.get_merge_plan("", "", 1) is None
    assert index.retry(held)
    plan = index.get_merge_plan("", "", 1)
    assert plan.id == held.id
    assert plan.attempts == 0
    index.complete_merge(plan, gm.IndexEntry("db", "t", plan.path_to, 20, 1, 2))
    assert len(index.plans()) == 3  # cd, and two drops


def test_a_plan_that_is_held_stays_with_its_holder(open_index: OpenIndex) -> None:
    index = filled(open_index)
    index.retry(index.plans()[0])
    plan = index.get_merge_plan("", "", 1)
    (leased,) = [each for each in index.plans() if each.state == "leased"]
    assert not index.retry(leased)
    index.renew(plan)


def test_a_plan_that_is_gone(open_index: OpenIndex) -> None:
    index = filled(open_index)
    first = index.plans()[0]
    index.retry(first)
    index.end_merge(index.get_merge_plan("", "", 1))
    assert not index.retry(first)


def test_a_file_to_drop_is_dropped_before_its_grace_is_over(open_index: OpenIndex) -> None:
    index = open_index(merge_configurations=[])
    index.batch([entry("a")])
    index.batch(None, [PATH.format("a")])
    assert index.get_drop_queue("", "") is None
    assert index.retry(index.plans()[0])
    plan = index.get_drop_queue("", "")
    assert plan.path == PATH.format("a")
    index.rm_from_drop_queue(plan)
    assert index.plans() == []
