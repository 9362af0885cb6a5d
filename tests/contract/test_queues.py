"""Where an added file waits: to be merged, to be moved, or nowhere; and with which others."""

from __future__ import annotations

import pytest
from fix_stores import SECOND, START_S, Backend, OpenIndex, entry, path_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gigapi_metadata import InvalidConfiguration, Layer, MergeConfiguration
from gigapi_metadata.planning import pack

COLD = Layer("file:///cold", "cold")


def hot(ttl_sec: int) -> Layer:
    return Layer("file:///hot", "hot", ttl_sec=ttl_sec)


@pytest.mark.parametrize(
    ("timeout", "ttl", "kind"),
    [
        (10, 0, "merge"),
        (10, 60, "merge"),
        (60, 60, "merge"),
        (61, 60, "move"),
        (None, 60, "move"),
        (None, 0, None),
        (0, 1, "merge"),
        (0, 0, "merge"),
    ],
)
def test_a_file_waits_for_whichever_comes_first(
    open_index: OpenIndex, timeout: int | None, ttl: int, kind: str | None
) -> None:
    rows = [] if timeout is None else [[timeout, 1000, 1]]
    index = open_index(layers=[hot(ttl), COLD], merge_configurations=rows)
    index.batch([entry(1, layer="hot", chunk_time=START_S * SECOND - 5 * SECOND)])
    waiting = [(plan.kind, plan.due_s) for plan in index.plans()]
    due = {"merge": START_S + (timeout or 0), "move": START_S - 5 + ttl}
    assert waiting == ([(kind, due[kind])] if kind else [])
    assert index.get_all(), "it is indexed all the same"


@pytest.mark.parametrize("iteration", [0, 3, 4, 10**8])
def test_an_iteration_without_a_row_is_not_merged(open_index: OpenIndex, iteration: int) -> None:
    index = open_index(merge_configurations=[[10, 1000, 1], [10, 1000, 2]])
    index.batch([entry(path=path_of(1, iteration))])
    assert index.plans() == []


@pytest.mark.parametrize("name", ["file.parquet", "file", "file.x.parquet", "file.1.parquet.tmp"])
def test_a_name_without_an_iteration_counts_as_a_fresh_file(
    open_index: OpenIndex, name: str
) -> None:
    index = open_index(merge_configurations=[[10, 1000, 1]])
    index.batch([entry(path=f"date=2027-01-15/hour=08/{name}")])
    (plan,) = index.plans()
    assert (plan.kind, plan.iteration) == ("merge", 1)


def test_the_nth_row_governs_iteration_n(open_index: OpenIndex) -> None:
    index = open_index(merge_configurations=[[10, 1000, 7], [20, 1000, 1]])
    index.batch([entry(path=path_of(1, 2))])
    (plan,) = index.plans()
    assert (plan.iteration, plan.due_s) == (2, START_S + 20)


def test_by_default_fresh_files_are_merged_and_no_others(open_index: OpenIndex) -> None:
    index = open_index()
    assert index.merge_configurations == [MergeConfiguration(10, 10 * 1024 * 1024, 1)]
    index.batch([entry(path=path_of(1, 1)), entry(path=path_of(2, 2))])
    assert [plan.paths for plan in index.plans()] == [[path_of(1)]]


def test_assigned_merge_configurations_hold_from_the_next_call(open_index: OpenIndex) -> None:
    index = open_index(merge_configurations=[])
    assert index.merge_configurations == []
    index.batch([entry(1)])
    index.merge_configurations = [[7, 1000, 1], MergeConfiguration(8, 2000, 2)]
    assert index.merge_configurations == [
        MergeConfiguration(7, 1000, 1),
        MergeConfiguration(8, 2000, 2),
    ]
    index.batch([entry(2)])
    assert [(plan.paths, plan.due_s) for plan in index.plans()] == [([path_of(2)], START_S + 7)]
    with pytest.raises(InvalidConfiguration):
        index.merge_configurations = [[1, 2]]
    assert len(index.merge_configurations) == 2


@pytest.mark.parametrize(
    "rows", [[[-1, 1, 1]], [[1, -1, 1]], [[1, 2**63, 1]], [[1.5, 1, 1]], ["abc"]]
)
def test_bad_merge_configurations_are_refused(open_index: OpenIndex, rows: list[object]) -> None:
    with pytest.raises(InvalidConfiguration):
        open_index(merge_configurations=rows)


def test_a_timeout_of_any_legal_length_can_be_waited_for(open_index: OpenIndex) -> None:
    index = open_index(merge_configurations=[[2**63 - 1, 1000, 1]])
    index.batch([entry(1)])
    (plan,) = index.plans()
    assert START_S < plan.due_s < 2**63
    assert index.get_merge_plan("", "", 1) is None


def test_a_ttl_of_any_legal_length_can_be_waited_for(open_index: OpenIndex) -> None:
    index = open_index(layers=[hot(2**63 - 1), COLD], merge_configurations=[])
    index.batch([entry(1, layer="hot", chunk_time=2**63 - 1), entry(2, layer="hot", chunk_time=0)])
    assert all(START_S < plan.due_s < 2**63 for plan in index.plans())
    assert index.get_move_plan("", "hot") is None


def test_merge_queues_are_apart_by_dir_layer_writer_and_iteration(open_index: OpenIndex) -> None:
    index = open_index(layers=[hot(0), COLD], merge_configurations=[[10, 10**6, 1], [10, 10**6, 2]])
    base = entry(1, layer="hot")
    others = [
        entry(2, layer="hot"),
        entry(3, layer="cold"),
        entry(4, layer="hot", writer_id="w"),
        entry(layer="hot", path=path_of(5, 2)),
        entry(layer="hot", path=path_of(6, dir="date=2027-01-15/hour=09")),
    ]
    index.batch([base, *others])
    assert sorted(len(plan.paths) for plan in index.plans()) == [1, 1, 1, 1, 2]


def test_plans_of_an_index_without_files_of_that_layer(open_index: OpenIndex) -> None:
    index = open_index(layers=[hot(0), COLD])
    index.batch([entry(1, layer="hot")])
    assert index.get_merge_plan("", "cold", 1) is None


@pytest.mark.parametrize(("layer", "layer_to"), [("hot", "cold"), ("cold", "attic"), ("attic", "")])
def test_a_file_moves_to_the_next_layer_and_expires_after_the_last(
    open_index: OpenIndex, backend: Backend, layer: str, layer_to: str
) -> None:
    layers = [Layer("file:///x", name, ttl_sec=60) for name in ("hot", "cold", "attic")]
    index = open_index(layers=layers, merge_configurations=[])
    index.batch([entry(1, layer=layer)])
    assert index.get_move_plan("", layer) is None
    backend.advance(59)
    assert index.get_move_plan("", layer) is None
    backend.advance(1)
    plan = index.get_move_plan("", layer)
    assert (plan.path_from, plan.layer_from, plan.layer_to) == (path_of(1), layer, layer_to)
    dir, _, name = plan.path_to.rpartition("/")
    assert dir == "date=2027-01-15/hour=08"
    assert name.endswith(".1.parquet")
    assert plan.path_to != plan.path_from


@settings(max_examples=15)
@given(
    batches=st.lists(st.lists(st.integers(0, 120), max_size=8), min_size=1, max_size=4),
    max_size=st.sampled_from([0, 1, 100, 250]),
)
def check_packing(backend: Backend, batches: list[list[int]], max_size: int) -> None:
    backend.fresh()
    index = backend.index(merge_configurations=[[10, max_size, 1]])
    expected: list[list[str]] = []
    total: int | None = None
    number = 0
    for sizes in batches:
        paths = [path_of(number + n) for n in range(len(sizes))]
        number += len(sizes)
        index.batch([entry(path=p, size_bytes=s) for p, s in zip(paths, sizes, strict=True)])
        for opens, indices in pack(total, sizes, max_size):
            if opens:
                expected.append([])
                total = 0
            expected[-1] += [paths[n] for n in indices]
            total = (total or 0) + sum(sizes[n] for n in indices)
    assert [plan.paths for plan in index.plans()] == expected
    sizes_of = {each.path: each.size_bytes for each in index.get_all()}
    for plan in index.plans():
        assert plan.size_bytes == sum(sizes_of[path] for path in plan.paths)


def test_files_are_packed_by_the_rule_however_they_arrive(backend: Backend) -> None:
    check_packing(backend)


def test_a_plan_is_full_at_exactly_its_size(open_index: OpenIndex) -> None:
    index = open_index(merge_configurations=[[10, 100, 1]])
    for number, size in enumerate((40, 60, 1)):
        index.batch([entry(number, size_bytes=size)])
    assert [plan.size_bytes for plan in index.plans()] == [100, 1]


@pytest.mark.parametrize("size", [2**53 + 1, 2**63 - 1])
def test_sizes_beyond_what_a_float_holds_do_not_break_a_queue(
    open_index: OpenIndex, backend: Backend, size: int
) -> None:
    index = open_index(merge_configurations=[[10, 2**63 - 1, 1]])
    index.batch([entry(1, size_bytes=size)])
    index.batch([entry(2, size_bytes=size)])
    assert all(plan.size_bytes < 2**63 for plan in index.plans()), "64 bits are what Go reads"
    backend.advance(10)
    assert index.get_merge_plan("", "", 1).paths_from[0] == path_of(1)


def test_a_plan_waits_from_its_first_file_on(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index()
    index.batch([entry(1)])
    backend.advance(9)
    index.batch([entry(2)])
    assert index.get_merge_plan("", "", 1) is None
    backend.advance(1)
    assert index.get_merge_plan("", "", 1).paths_from == [path_of(1), path_of(2)]
    index.batch([entry(3)])
    assert index.get_merge_plan("", "", 1) is None, "a leased plan takes no more files"
