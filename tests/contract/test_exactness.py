"""What goes in comes out: every digit, every character, every legal name."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from fix_stores import Backend, OpenIndex, entry, path_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gigapi_metadata import IndexEntry, Layer

INT64 = [-(2**63), -(2**53) - 1, -1, 0, 1, 10**14, 10**15 + 1, 2**53 + 1, 2**63 - 1]
FLOATS = [0.1, -0.0, 1e22, 5e-324, sys.float_info.max, 1 / 3, 1e15, 123456789.12345679, 2.0]


@pytest.mark.parametrize("number", [n for n in INT64 if n >= 0])
def test_sizes_and_rows_keep_every_digit(open_index: OpenIndex, number: int) -> None:
    index = open_index()
    kept = entry(1, size_bytes=number, row_count=number)
    index.batch([kept])
    assert index.get(path_of(1)) == kept
    assert index.get_all() == [kept]


@pytest.mark.parametrize("number", INT64)
def test_times_and_stats_keep_every_digit(open_index: OpenIndex, number: int) -> None:
    index = open_index()
    kept = entry(
        1, min_time=number, max_time=number, chunk_time=number, min_data={"n": number}, max_data={}
    )
    index.batch([kept])
    assert index.get(path_of(1)) == kept


@pytest.mark.parametrize("number", FLOATS)
def test_floats_keep_every_bit(open_index: OpenIndex, number: float) -> None:
    index = open_index()
    index.batch([entry(1, min_data={"x": number})])
    found = index.get(path_of(1)).min["x"]
    assert type(found) is float
    assert found == number
    assert math.copysign(1, found) == math.copysign(1, number)


@pytest.mark.parametrize("stats", [None, {}, {"a": None}, {"a": {}, "b": [], "": ""}])
def test_unknown_and_empty_statistics_are_told_apart(open_index: OpenIndex, stats: Any) -> None:
    index = open_index()
    kept = entry(1, min_data=stats, max_data=stats)
    index.batch([kept])
    assert index.get(path_of(1)) == kept
    assert index.get(path_of(1)).min == stats
    assert index.get_all() == [kept]


ODD_PATHS = [
    "date=2027-01-15/hour=08/ä ö.1.parquet",
    "date=2027-01-15/hour=08/日本語/🗄.1.parquet",
    "date=2027-01-15/hour=08/'quotes\".1.parquet",
    'date=2027-01-15/hour=08/{"a":[1]}.1.parquet',
    "date=2027-01-15/hour=08/a:b*c?[d].1.parquet",
    "date=2027-01-15/hour=08/%s%d%%.1.parquet",
    "date=2027-01-15/hour=08/..a.1.parquet",
    "date=2027-01-15/hour=08/...",
    "date=2027-01-15/hour=08/ ",
    "date=2027-01-15/hour=08/.hidden",
    "date=2027-01-15/hour=08/no-suffix",
    'date=2027-01-15/hour=08/"],"size":1}.1.parquet',
    'date=2027-01-15/hour=08/"time_s":5,.1.parquet',
    "date=2027-01-15/hour=08/\u2028\u00a0\ufeff.1.parquet",
    "día=2027/größe/x.1.parquet",
    "date:2027*01?15/[hour]:08/x.1.parquet",
    "flat-folder/x.1.parquet",
    "a/b/c/d/e/f/g".replace("a/b", "aaaaa/bbbbb") + "/x.1.parquet",
    "date=2027-01-15/hour=08/" + "x" * 3000 + ".1.parquet",
]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_odd_but_legal_paths_go_through_everything(
    open_index: OpenIndex, backend: Backend, path: str
) -> None:
    index = open_index(merge_configurations=[[10, 1000, 1]], drop_grace_s=0)
    odd = entry(path=path)
    index.batch([odd])
    beside = entry(path=path.rpartition("/")[0] + "/beside.1.parquet")
    index.batch([beside])
    assert index.get(path) == odd
    assert index.query(folder=path) == [odd]
    assert index.paths() == [path.rpartition("/")[0]]
    (listed,) = index.plans()
    assert (listed.paths, listed.size_bytes) == ([path, beside.path], 202)
    backend.advance(10)
    plan = index.get_merge_plan("", "", 1)
    assert plan.paths_from == [path, beside.path]
    plan = index.renew(plan, lease_s=5000)
    index.release(plan)
    plan = index.get_merge_plan("", "", 1)
    index.complete_merge(plan, entry(path=plan.path_to))
    drops = {index.get_drop_queue("", "").path for _ in range(2)}
    assert drops == {path, beside.path}


@pytest.mark.parametrize(
    "name",
    [
        "métriques",
        "日本語",
        "🗄",
        "a b",
        'quo"te',
        "it's",
        "%s",
        "{x}",
        "a.b",
        "-",
        "a,b",
        "x" * 100,
    ],
)
def test_odd_but_legal_names_go_through_everything(
    open_index: OpenIndex, backend: Backend, name: str
) -> None:
    layers = [Layer("file:///x", name, ttl_sec=5), Layer("file:///y", name + "2")]
    index = open_index(name, name, layers=layers, merge_configurations=[], drop_grace_s=0)
    kept = entry(1, database=name, table=name, layer=name, writer_id=name)
    index.batch([kept])
    assert index.get_all() == index.query(layer=name) == [kept]
    assert backend.databases().databases() == [name]
    assert backend.databases().tables(name) == [name]
    (listed,) = index.plans()
    assert (listed.layer, listed.writer_id) == (name, name)
    backend.advance(10)
    plan = index.get_move_plan(name, name)
    moved = entry(database=name, table=name, layer=name + "2", writer_id=name, path=plan.path_to)
    index.complete_move(plan, moved)
    drop = index.get_drop_queue(name, name)
    assert (drop.path, drop.layer, drop.writer_id) == (path_of(1), name, name)
    index.rm_from_drop_queue(drop)
    assert index.plans() == []


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
stats = st.one_of(
    st.none(),
    st.dictionaries(
        texts,
        st.recursive(
            scalars,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
            max_leaves=4,
        ),
        max_size=4,
    ),
)
int64s = st.integers(-(2**63), 2**63 - 1)
sizes = st.integers(0, 2**63 - 1)


@st.composite
def entries(draw: st.DrawFn, number: int) -> IndexEntry:
    low, high = sorted((draw(int64s), draw(int64s)))
    return entry(
        number,
        size_bytes=draw(sizes),
        row_count=draw(sizes),
        min_time=low,
        max_time=high,
        chunk_time=draw(int64s),
        min_data=draw(stats),
        max_data=draw(stats),
        writer_id=draw(st.sampled_from(["", "w", "ü"])),
    )


@settings(max_examples=25)
@given(st.tuples(*(entries(number) for number in range(5))))
def check_round_trip(backend: Backend, batch: tuple[IndexEntry, ...]) -> None:
    backend.fresh()
    index = backend.index()
    index.batch(batch)
    for each in batch:
        found = index.get(each.path)
        assert found == each
        assert repr(found) == repr(each), "types and signs as well"


def test_any_entry_comes_back_to_the_last_digit(backend: Backend) -> None:
    check_round_trip(backend)
