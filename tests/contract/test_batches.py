"""A batch is all or nothing, adding again replaces, removing the unknown has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fix_stores import START_S, Backend, OpenIndex, entry, path_of

from gigapi_metadata import IndexEntry, InvalidEntry, Layer, MetadataError, UnknownLayer

HOT = [Layer("file:///hot", "hot", ttl_sec=60), Layer("file:///cold", "cold")]

BAD = {
    "absolute path": {"path": "/date=2027-01-15/hour=08/a.1.parquet"},
    "dots in the path": {"path": "date=2027-01-15/../hour=08/a.1.parquet"},
    "a dot in the path": {"path": "date=2027-01-15/./hour=08/a.1.parquet"},
    "doubled slash": {"path": "date=2027-01-15//hour=08/a.1.parquet"},
    "trailing slash": {"path": "date=2027-01-15/hour=08/"},
    "backslash": {"path": "date=2027-01-15\\hour=08/a.1.parquet"},
    "NUL": {"path": "date=2027-01-15/hour=08/a\0.1.parquet"},
    "empty path": {"path": ""},
    "path of another type": {"path": None},
    "half a surrogate pair": {"path": "date=2027-01-15/hour=08/\ud800.1.parquet"},
    "another database": {"database": "other"},
    "another table": {"table": "other"},
    "min after max": {"min_time": 2, "max_time": 1},
    "negative size": {"size_bytes": -1},
    "negative rows": {"row_count": -1},
    "size over 64 bits": {"size_bytes": 2**63},
    "rows over 64 bits": {"row_count": 2**63},
    "time over 64 bits": {"max_time": 2**63},
    "time under 64 bits": {"min_time": -(2**63) - 1},
    "chunk time over 64 bits": {"chunk_time": 2**63},
    "size as a float": {"size_bytes": 1.0},
    "time as a bool": {"min_time": True},
    "NaN in min": {"min_data": {"a": float("nan")}},
    "infinity in max": {"max_data": {"a": float("inf")}},
    "NaN deep in min": {"min_data": {"a": [1, {"b": float("nan")}]}},
    "stat over 64 bits": {"max_data": {"a": 2**64}},
    "stat under 64 bits": {"max_data": {"a": -(2**63) - 1}},
    "bytes in stats": {"max_data": {"a": b"x"}},
    "column that is no string": {"max_data": {1: 1}},
    "half a surrogate pair in stats": {"max_data": {"a": "\ud800"}},
    "stats that are no dict": {"max_data": [1]},
    "empty stats that are no dict": {"min_data": []},
    "writer with a colon": {"writer_id": "w:1"},
    "writer of another type": {"writer_id": None},
    "layer with a star": {"layer": "h*t"},
    "layer of another type": {"layer": None},
}


@pytest.mark.parametrize("fault", BAD)
def test_one_bad_entry_anywhere_refuses_the_whole_batch(
    open_index: OpenIndex, backend: Backend, fault: str
) -> None:
    index = open_index()
    index.batch([entry(9)])
    before = backend.dump()
    bad = entry(7, **BAD[fault])
    for position in range(3):
        batch = [entry(1), entry(2)]
        batch.insert(position, bad)
        with pytest.raises(InvalidEntry) as caught:
            index.batch(batch, [entry(9)])
        assert repr(bad.path) in str(caught.value), "the message names the entry"
        assert backend.dump() == before


@pytest.mark.parametrize("removal", ["/absolute", "a/../b", "", None, entry(1, table="other")])
def test_one_bad_removal_refuses_the_whole_batch(
    open_index: OpenIndex, backend: Backend, removal: Any
) -> None:
    index = open_index()
    index.batch([entry(9)])
    before = backend.dump()
    with pytest.raises(InvalidEntry):
        index.batch([entry(1)], [entry(9), removal])
    assert backend.dump() == before


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_unknown_layer_refuses_the_whole_batch(
    open_index: OpenIndex, backend: Backend, position: int
) -> None:
    index = open_index(layers=HOT)
    batch = [entry(1, layer="hot"), entry(2, layer="cold")]
    batch.insert(position, entry(3, layer="warm"))
    with pytest.raises(UnknownLayer, match=r"'warm'.*'hot', 'cold'"):
        index.batch(batch)
    assert index.get_all() == []
    assert index.plans() == []
    assert backend.databases().databases() == []


def test_the_empty_layer_is_unknown_to_a_table_that_has_layers(open_index: OpenIndex) -> None:
    with pytest.raises(UnknownLayer):
        open_index(layers=HOT).batch([entry(1)])


def test_a_named_layer_is_unknown_to_a_table_without_layers(open_index: OpenIndex) -> None:
    with pytest.raises(UnknownLayer):
        open_index().batch([entry(1, layer="hot")])


@pytest.mark.parametrize("what", [entry(1), [{"path": path_of(1)}], [None], ["path"]])
def test_what_is_no_list_of_entries_is_refused(open_index: OpenIndex, what: Any) -> None:
    index = open_index()
    with pytest.raises(InvalidEntry):
        index.batch(what)
    assert index.get_all() == []


@pytest.mark.parametrize("what", [entry(1), "date=2027-01-15/hour=08/file.1.parquet", [7]])
def test_what_is_no_list_of_removals_is_refused(open_index: OpenIndex, what: Any) -> None:
    with pytest.raises(InvalidEntry):
        open_index().batch([], what)


@pytest.mark.parametrize("folder", ["day", "date=2027-01-15/h=8"])
def test_a_folder_that_crashes_gigapi_is_refused_on_redis_only(
    open_index: OpenIndex, backend: Backend, folder: str
) -> None:
    index = open_index()
    odd = entry(path=f"{folder}/a.1.parquet")
    if backend.is_redis:
        with pytest.raises(InvalidEntry, match="GigAPI"):
            index.batch([entry(2), odd])
        assert index.get_all() == []
    else:
        index.batch([odd])
        assert index.get_all() == [odd]


def test_every_error_of_a_batch_is_a_metadata_error(open_index: OpenIndex) -> None:
    for error in (InvalidEntry, UnknownLayer):
        assert issubclass(error, MetadataError)
    with pytest.raises(MetadataError):
        open_index().batch([entry(1, size_bytes=-1)])


def test_a_batch_returns_zero_and_its_entries_are_there(open_index: OpenIndex) -> None:
    index = open_index()
    assert index.batch([entry(1), entry(2)]) == 0
    assert index.get_all() == [entry(1), entry(2)]
    assert index.get(path_of(2)) == entry(2)
    assert index.get(path_of(3)) is None


def test_empty_batches_do_nothing(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index()
    index.batch([entry(1)])
    before = backend.dump()
    for batch in ((None, None), ([], []), (None,), ((), ())):
        assert index.batch(*batch) == 0
    assert backend.dump() == before


def test_a_batch_may_be_any_iterable(open_index: OpenIndex) -> None:
    index = open_index()

    def entries() -> Iterator[IndexEntry]:
        yield entry(1)
        yield entry(2)

    index.batch(entries())
    index.batch(None, (path for path in [path_of(1)]))
    assert index.get_all() == [entry(2)]


def test_adding_again_replaces_the_entry_and_plans_nothing_anew(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index()
    index.batch([entry(1), entry(2)])
    plans = index.plans()
    changed = entry(1, size_bytes=5, row_count=6, min_time=7, max_time=8, min_data={"a": 1})
    backend.advance(5)
    index.batch([changed])
    assert index.get_all() == [changed, entry(2)]
    assert index.plans() == plans
    index.batch(None, [entry(1), entry(2)])
    assert index.paths() == [], "each file was counted once"


def test_adding_again_in_another_layer_plans_the_file_there(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(layers=HOT, merge_configurations=[[10, 1000, 1]])
    index.batch([entry(n, layer="hot") for n in (1, 2)])
    index.batch([entry(1, layer="cold"), entry(2, layer="hot")])
    assert index.get_all() == [entry(1, layer="cold"), entry(2, layer="hot")]
    both, one = [path_of(1), path_of(2)], [path_of(1)]
    assert [(p.layer, p.paths) for p in index.plans()] == [("cold", one), ("hot", both)]
    backend.advance(10)
    assert index.get_merge_plan("", "cold", 1).paths_from == one
    assert index.get_merge_plan("", "hot", 1).paths_from == [path_of(2)]
    index.batch(None, both)
    assert index.paths() == [], "each file was counted once"
    drops = [(p.layer, p.paths) for p in index.plans() if p.kind == "drop"]
    assert drops == [("cold", one), ("hot", [path_of(2)])]


def test_a_file_that_comes_back_to_its_layer_is_merged_once(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(layers=HOT, merge_configurations=[[10, 1000, 1]])
    for layer in ("hot", "cold", "hot"):
        index.batch([entry(1, layer=layer)])
    backend.advance(10)
    plan = index.get_merge_plan("", "hot", 1)
    assert plan.paths_from == [path_of(1)]
    index.complete_merge(plan, entry(path=plan.path_to, layer="hot"))
    assert index.get_merge_plan("", "hot", 1) is None
    assert index.get_merge_plan("", "cold", 1) is None
    assert [each.path for each in index.get_all()] == [plan.path_to]


def test_a_path_given_twice_is_added_once_as_given_last(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([entry(1, row_count=1), entry(2), entry(1, row_count=3)])
    assert index.get_all() == [entry(1, row_count=3), entry(2)]
    assert sorted(index.plans()[0].paths) == [path_of(1), path_of(2)]
    index.batch(None, [entry(1), entry(1), path_of(2)])
    assert index.paths() == []
    assert sum(plan.kind == "drop" for plan in index.plans()) == 2


def test_a_path_in_both_lists_ends_up_removed(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([entry(1)])
    index.batch([entry(1, row_count=9), entry(2)], [entry(1)])
    assert index.get_all() == [entry(2)]
    index.batch([entry(3)], [entry(3)])
    assert index.get_all() == [entry(2)]
    assert [plan.paths for plan in index.plans() if plan.kind == "drop"] == [[path_of(1)]]


def test_removing_an_unknown_path_has_no_effect(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index()
    index.batch([entry(1)])
    before = backend.dump()
    index.batch([], [entry(2), path_of(3), "date=2030-01-01/hour=00/x.1.parquet"])
    assert backend.dump() == before


def test_a_removal_names_its_file_and_needs_no_more(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([entry(1)])
    index.batch(None, [entry(1, size_bytes=-5, layer="gone", min_time=9, max_time=1)])
    assert index.get_all() == []


def test_a_removed_file_can_be_added_again_and_is_planned_again(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([entry(1)])
    index.batch(None, [entry(1)])
    index.batch([entry(1)])
    assert index.get_all() == [entry(1)]
    assert index.paths() == ["date=2027-01-15/hour=08"]


def test_tables_and_databases_are_kept_apart(open_index: OpenIndex) -> None:
    indexes = {(d, t): open_index(d, t) for d in ("a", "b") for t in ("x", "y")}
    for (database, table), index in indexes.items():
        index.batch([entry(1, database=database, table=table)])
    indexes["a", "x"].batch(None, [path_of(1)])
    assert [bool(index.get_all()) for index in indexes.values()] == [False, True, True, True]


@pytest.mark.parametrize("count", [17_280])
def test_a_day_of_five_second_files_is_one_batch(open_index: OpenIndex, count: int) -> None:
    index = open_index(merge_configurations=[[10, 1_000_000, 1]])
    entries = [
        entry(
            path=path_of(n, dir=f"date=2027-01-15/hour={n // 720:02}"),
            min_time=START_S * 10**9 + n,
            max_time=START_S * 10**9 + n,
        )
        for n in range(count)
    ]
    index.batch(entries)
    assert index.get_all() == entries
    assert len(index.paths()) == 24
    index.batch(None, entries)
    assert index.get_all() == []
    assert index.paths() == []
    assert sum(plan.kind == "drop" for plan in index.plans()) == count
