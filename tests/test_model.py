"""Entries, layers and configurations as plain values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fix_stores import entry

from gigapi_metadata import (
    IndexEntry,
    InvalidConfiguration,
    InvalidEntry,
    InvalidName,
    Layer,
    MergeConfiguration,
    MergePlan,
    MovePlan,
    QueryOptions,
    RedisIndexEntry,
)
from gigapi_metadata.model import check_layers, merge_configurations
from gigapi_metadata.validation import check_entry


def test_constructors_take_what_the_design_says_in_its_order() -> None:
    made = IndexEntry("db", "t", "p", 1, 2, 3, "l", 4, 5, {"a": 1}, {"b": 2}, "w")
    assert made == IndexEntry(
        database="db", table="t", path="p", size_bytes=1, min_time=2, max_time=3, layer="l",
        row_count=4, chunk_time=5, min_data={"a": 1}, max_data={"b": 2}, writer_id="w",
    )  # fmt: skip
    least = IndexEntry("db", "t", "p", 1, 2, 3)
    assert (least.layer, least.row_count, least.chunk_time, least.writer_id) == ("", 0, 0, "")
    assert (least.min, least.max) == (None, None)
    assert (made.min, made.max) == ({"a": 1}, {"b": 2})
    assert QueryOptions() == QueryOptions(folder="", after=None, before=None, iteration=0)
    assert Layer("u", "n") == Layer(url="u", name="n", type="fs", ttl_sec=0)
    assert MergeConfiguration(1, 2, 3) == MergeConfiguration(timeout_sec=1, max_size=2, iteration=3)
    merge = MergePlan("i", "db", "t", "l", "w", 1, ["a"], "b")
    assert (merge.paths_from, merge.path_to, merge.iteration) == (["a"], "b", 1)
    move = MovePlan("i", "db", "t", "w", "a", "hot", "b", "cold")
    assert (move.path_from, move.layer_from, move.path_to, move.layer_to) == (
        "a",
        "hot",
        "b",
        "cold",
    )


def test_values_can_not_be_changed_under_anybodys_hands() -> None:
    for value in (entry(1), QueryOptions(), Layer("u", "n"), MergeConfiguration(1, 2, 3)):
        with pytest.raises(AttributeError):
            setattr(value, value.__struct_fields__[0], None)


def test_building_an_entry_checks_nothing() -> None:
    foreign = entry(1, size_bytes=-1, path="/", min_time=9, max_time=1)
    with pytest.raises(InvalidEntry):
        check_entry(foreign, "db", "t")


def test_a_good_entry_is_handed_back_as_it_is() -> None:
    for good in (
        entry(1),
        entry(1, size_bytes=0, row_count=0, min_time=5, max_time=5),
        entry(1, size_bytes=2**63 - 1, min_time=-(2**63), max_time=2**63 - 1),
        entry(1, min_data={}, max_data={"a": [None, True, 1, 1.5, "x", {"b": []}]}),
    ):
        assert check_entry(good, "db", "t") is good


def test_statistics_may_not_be_nested_without_end() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidEntry, match="nested"):
        check_entry(entry(1, min_data={"a": deep}), "db", "t")
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(InvalidEntry, match="nested"):
        check_entry(entry(1, max_data=endless), "db", "t")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("size_bytes", -1, "size_bytes -1 is negative"),
        ("row_count", 2**64, "does not fit 64 bits"),
        ("min_time", 9 * 10**18, "is after max_time"),
        ("min_data", {"temp": float("nan")}, "min['temp'] is nan"),
        ("writer_id", "a:b", "writer name 'a:b'"),
        ("database", "x", "it belongs to 'x'.'t', this index is of 'db'.'t'"),
    ],
)
def test_an_error_names_the_entry_the_field_and_the_rule(field: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidEntry) as caught:
        check_entry(entry(7, **{field: value}), "db", "t")
    assert entry(7).path in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("nothing", [None, 5, "path", {"path": "x"}, RedisIndexEntry(entry(1))])
def test_what_is_no_entry_is_refused(nothing: Any) -> None:
    with pytest.raises(InvalidEntry, match="IndexEntry"):
        check_entry(nothing, "db", "t")


def test_merge_configurations_come_as_rows_of_any_kind() -> None:
    rows = (MergeConfiguration(1, 2, 3), MergeConfiguration(4, 5, 6))
    assert merge_configurations([[1, 2, 3], (4, 5, 6)]) == rows
    assert merge_configurations(rows) == rows
    assert merge_configurations([]) == ()
    assert merge_configurations(None) == (MergeConfiguration(10, 10 * 1024 * 1024, 1),)
    assert msgspec.json.decode(b"[[1,2,3]]", type=list[MergeConfiguration]) == [rows[0]]


@pytest.mark.parametrize(
    "rows",
    [[[1, 2]], [[1, 2, 3, 4]], [["1", 2, 3]], [[True, 2, 3]], [[1.0, 2, 3]], [[-1, 2, 3]], [5],
     ["123"], [None], [[1, 2**63, 1]], [MergeConfiguration(-1, 1, 1)], 5,
     MergeConfiguration(1, 2, 3)],
)  # fmt: skip
def test_rows_that_can_not_be_are_refused(rows: Any) -> None:
    with pytest.raises(InvalidConfiguration):
        merge_configurations(rows)


def test_layers_are_kept_in_their_order() -> None:
    layers = [Layer("a", "hot", "fs", 5), Layer("b", "cold", "s3")]
    assert check_layers(layers) == tuple(layers)
    assert check_layers(iter(layers)) == tuple(layers)
    assert check_layers(None) == check_layers([]) == ()


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        ([Layer("a", "x"), Layer("b", "x")], InvalidConfiguration),
        ([Layer("a", "x", "ftp")], InvalidConfiguration),  # type: ignore[arg-type]
        ([Layer("a", "x", "fs", -1)], InvalidConfiguration),
        ([Layer("a", "x", "fs", 1.5)], InvalidConfiguration),  # type: ignore[arg-type]
        ([Layer("a", "x", "fs", 2**63)], InvalidConfiguration),
        ([Layer("a", "")], InvalidName),
        ([Layer("a", "x:y")], InvalidName),
    ],
)
def test_layers_that_can_not_be_are_refused(layers: list[Layer], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_layers(layers)
