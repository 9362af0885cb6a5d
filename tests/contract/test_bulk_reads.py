"""Long answers: in parts, as columns, and several plans in one call."""

from __future__ import annotations

import json
import random

import pytest
from fix_stores import SECOND, START_S, Backend, OpenIndex, entry, path_of

from gigapi_metadata import InvalidConfiguration, QueryOptions

HOUR = 3600 * SECOND


def some(seed: int) -> list[object]:
    dice = random.Random(seed)
    return [
        entry(
            n,
            path=path_of(n, dir=f"date=2027-01-{15 + n % 3}/hour={n % 5:02}", iteration=1 + n % 2),
            min_time=(low := START_S * SECOND + dice.randrange(-HOUR, 40 * HOUR)),
            max_time=low + dice.randrange(3 * HOUR),
            min_data=dice.choice([None, {}, {"é": 1, "b": 2.5}]),
            max_data={"long": 2**60 + n, "text": 'a "quoted"\\ one'},
            writer_id=dice.choice(["", "w"]),
        )
        for n in range(120)
    ]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_iter_query_gives_what_query_gives_in_its_order(
    open_index: OpenIndex, size: int, seed: int
) -> None:
    index = open_index()
    index.batch(some(seed))
    at = START_S * SECOND + 10 * HOUR
    for options in (
        {}, {"after": at, "before": at + HOUR}, {"folder": "date=2027-01-16/"}, {"iteration": 2},
        {"after": 5, "before": 4},
    ):  # fmt: skip
        assert list(index.iter_query(**options, size=size)) == index.query(**options)
    assert list(index.iter_query(QueryOptions(iteration=1))) == index.query(iteration=1)


def test_iter_query_of_nothing(open_index: OpenIndex) -> None:
    assert list(open_index().iter_query()) == []
    with pytest.raises(InvalidConfiguration, match="size must be 1 or more"):
        list(open_index().iter_query(size=0))


def test_an_iterator_left_before_its_end_holds_nothing_up(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([entry(n) for n in range(50)])
    found = index.iter_query(size=2)
    next(found)
    if hasattr(found, "close"):
        found.close()
    index.batch([entry(51)])
    assert len(index.get_all()) == 51


def test_query_arrow_has_the_entries_as_rows(open_index: OpenIndex, seed: int) -> None:
    index = open_index()
    index.batch(some(seed))
    at = START_S * SECOND + 10 * HOUR
    for options in ({}, {"after": at, "before": at + HOUR}, {"iteration": 2}, {"before": -5}):
        expected = index.query(**options)
        table = index.query_arrow(**options)
        assert table.column_names == [
            "database", "table", "path", "layer", "writer_id", "size_bytes", "row_count",
            "min_time", "max_time", "chunk_time", "min", "max",
        ]  # fmt: skip
        rows = table.to_pylist()
        assert [row["path"] for row in rows] == [each.path for each in expected]
        for row, each in zip(rows, expected, strict=True):
            for name in ("database", "table", "layer", "writer_id", "size_bytes", "row_count",
                         "min_time", "max_time", "chunk_time"):  # fmt: skip
                assert row[name] == getattr(each, name)
            for name in ("min", "max"):
                text = row[name]
                assert (None if text is None else json.loads(text)) == getattr(each, name)


def test_several_plans_in_one_call(backend: Backend) -> None:
    backend.fresh()
    index = backend.index(merge_configurations=[[0, 1, 1]])
    index.batch([entry(n) for n in range(5)])
    backend.advance(1)
    first = index.get_merge_plans("", "", 1, limit=3)
    rest = index.get_merge_plans("", "", 1, limit=30)
    assert [plan.paths_from for plan in [*first, *rest]] == [[path_of(n)] for n in range(5)]
    assert (len(first), len(rest)) == (3, 2)
    assert len({plan.id for plan in [*first, *rest]}) == 5
    assert index.get_merge_plans("", "", 1, limit=3) == []
    for plan in [*first, *rest]:
        index.release(plan)
    assert len(index.get_merge_plans("", "", 1, limit=30)) == 5
    with pytest.raises(InvalidConfiguration, match="limit must be 1 or more"):
        index.get_merge_plans("", "", 1, limit=0)
