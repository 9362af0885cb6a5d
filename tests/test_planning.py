"""The rules of what happens to a file after it is added, as pure functions."""

from __future__ import annotations

import pytest
from fix_stores import entry
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata import Layer, MergeConfiguration, UnknownLayer
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.planning import (
    MergeQueue,
    MoveQueue,
    Rules,
    merge_target,
    move_due_s,
    move_target,
    pack,
)

LAYERS = (Layer("a", "hot", ttl_sec=60), Layer("b", "cold", ttl_sec=600), Layer("c", "attic"))


def rules(*timeouts: int, layers: tuple[Layer, ...] = LAYERS) -> Rules:
    return Rules(layers, tuple(MergeConfiguration(t, 100, 1) for t in timeouts))


def slow_pack(last: int | None, sizes: list[int], most: int) -> list[tuple[bool, list[int]]]:
    """One file at a time, looking at the last plan only: FORMAT's own words."""
    plans = [] if last is None else [(False, [], last)]
    for index, size in enumerate(sizes):
        if plans and plans[-1][2] + size <= most:
            opens, indices, total = plans.pop()
            plans.append((opens, [*indices, index], total + size))
        else:
            plans.append((True, [index], size))
    return [(opens, indices) for opens, indices, _ in plans if indices]


@given(
    st.none() | st.integers(0, 150),
    st.lists(st.integers(0, 120), max_size=12),
    st.sampled_from([0, 1, 50, 100]),
)
def test_files_are_packed_as_if_one_by_one(last: int | None, sizes: list[int], most: int) -> None:
    assert pack(last, sizes, most) == slow_pack(last, sizes, most)


@given(st.lists(st.integers(0, 120), max_size=20), st.integers(0, 20), st.integers(0, 200))
def test_packing_does_not_depend_on_how_files_are_split_into_batches(
    sizes: list[int], cut: int, most: int
) -> None:
    whole = [[sizes[n] for n in indices] for _, indices in pack(None, sizes, most)]
    parts: list[list[int]] = []
    for part in (sizes[:cut], sizes[cut:]):
        for opens, indices in pack(sum(parts[-1]) if parts else None, part, most):
            if opens:
                parts.append([])
            parts[-1] += [part[n] for n in indices]
    assert parts == whole


@pytest.mark.parametrize(
    ("layer", "iteration", "queue"),
    [
        ("hot", 1, MergeQueue(1, 60, 100)),  # a tie
        ("hot", 2, MoveQueue("cold", 60)),
        ("hot", 3, MoveQueue("cold", 60)),
        ("hot", 0, MoveQueue("cold", 60)),
        ("cold", 2, MergeQueue(2, 61, 100)),
        ("cold", 3, MoveQueue("attic", 600)),
        ("attic", 1, MergeQueue(1, 60, 100)),
        ("attic", 3, None),
        ("nowhere", 3, None),
    ],
)
def test_a_file_waits_where_its_layer_and_iteration_say(
    layer: str, iteration: int, queue: object
) -> None:
    assert rules(60, 61).queue_for(layer, iteration) == queue


def test_after_the_last_layer_a_file_expires() -> None:
    only = rules(layers=(Layer("a", "only", ttl_sec=5),))
    assert only.queue_for("only", 1) == MoveQueue("", 5)


def test_a_layer_is_one_of_the_tables() -> None:
    assert rules().check_layer("cold") == "cold"
    for unknown in ("", "warm"):
        with pytest.raises(UnknownLayer, match="'hot', 'cold', 'attic'"):
            rules().check_layer(unknown)
    assert rules(layers=()).check_layer("") == ""
    with pytest.raises(UnknownLayer, match="no layers"):
        rules(layers=()).check_layer("hot")


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_move_is_due_a_whole_number_of_seconds_after_the_chunk(chunk: int, ttl: int) -> None:
    due = move_due_s(entry(1, chunk_time=chunk), ttl)
    assert due == min(chunk // 10**9 + ttl, 2**53)
    assert -(2**53) <= due <= 2**53, "a float holds it"


@pytest.mark.parametrize("path", ["a/b/x.3.parquet", "a/x.parquet", "x.1.parquet"])
def test_a_moved_file_keeps_its_dir_and_iteration(path: str) -> None:
    target = move_target(path, "new")
    assert (dir_of(target), iteration_of(target)) == (dir_of(path), iteration_of(path))
    assert "new" in target


def test_a_merges_target_depends_on_the_plan_alone() -> None:
    target = merge_target("id", "a/b", 2, "a/b/x.2.parquet")
    assert target == merge_target("id", "a/b", 2, "a/b/x.2.parquet")
    assert (dir_of(target), iteration_of(target)) == ("a/b", 3)
    others = {
        merge_target("other", "a/b", 2, "a/b/x.2.parquet"),
        merge_target("id", "a/b", 2, "a/b/y.2.parquet"),
    }
    assert len(others | {target}) == 3
