"""Entries as Redis holds them: vectors written by hand from FORMAT.md, and our own spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fix_stores import entry
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata import CorruptState, IndexEntry, RedisIndexEntry
from gigapi_metadata.stores.redis import documents

PATH = "date=2024-01-15/hour=14/a.1.parquet"
OURS = IndexEntry(
    "db", "t", PATH, 10, -5, 7, "hot", 3, 9, {"a": 1}, {"b": "x"}, "w"
)  # size, min, max, layer, rows, chunk, min, max, writer


def document(**fields: Any) -> dict[str, Any]:
    return {
        "layer": "hot",
        "database": "db",
        "table": "t",
        "path": PATH,
        "size_bytes": 10,
        "row_count": 3,
        "min": {"a": 1},
        "max": {"b": "x"},
        "writer_id": "w",
        "min_time": 0,
        "max_time": 0,
        "chunk_time": 0,
        "str_min_time": "-5",
        "str_max_time": "7",
        "str_chunk_time": "9",
        "cmd": "ADD",
        **fields,
    }


def read(text: str | bytes) -> IndexEntry:
    return documents.decode(text.encode() if isinstance(text, str) else text, "files:db:t:day")


def test_the_document_of_an_entry_is_as_the_format_says() -> None:
    assert RedisIndexEntry(OURS).to_dict() == document()
    assert RedisIndexEntry(OURS, "DELETE").to_dict() == document(cmd="DELETE")
    assert json.loads(documents.encode(OURS)) == document()


def test_whatever_the_order_of_fields_it_is_the_same_entry() -> None:
    fields = list(document().items())
    for turn in range(len(fields)):
        assert read(json.dumps(dict(fields[turn:] + fields[:turn]))) == OURS
    assert read(json.dumps(dict(reversed(fields)), indent=2)) == OURS


def test_escaped_slashes_and_unicode_are_read() -> None:
    text = json.dumps(document(writer_id="w-ü", path="día/日本/é.1.parquet"))
    for spelled in (text, text.replace("/", "\\/"), text.replace("\\u00fc", "ü")):
        found = read(spelled)
        assert (found.writer_id, found.path) == ("w-ü", "día/日本/é.1.parquet")


@pytest.mark.parametrize(
    ("spelled", "value"),
    [
        ("1.1529215046068e+18", 1152921504606800000),
        ("1.2345678901235e+17", 123456789012350000),
        ("3.6028797018964e+16", 36028797018964000),
        ("1e15", 10**15),
        ("7.0", 7),
        ("9223372036854775807", 2**63 - 1),
        ("0", 0),
        ("null", 0),
    ],
)
def test_sizes_and_rows_in_any_notation_become_integers(spelled: str, value: int) -> None:
    text = json.dumps(document(size_bytes="@", row_count="@")).replace('"@"', spelled)
    found = read(text)
    assert (found.size_bytes, found.row_count) == (value, value)
    assert type(found.size_bytes) is type(found.row_count) is int


def test_true_times_are_in_the_strings() -> None:
    found = read(
        json.dumps(
            document(
                str_min_time=str(-(2**63)),
                str_max_time=str(2**63 - 1),
                str_chunk_time=str(2**53 + 1),
            )
        )
    )
    assert (found.min_time, found.max_time) == (-(2**63), 2**63 - 1)
    assert found.chunk_time == 2**53 + 1
    rounded = json.dumps(document(min_time="@", max_time=1, chunk_time=2)).replace(
        '"@"', "1.7054333121817e+18"
    )
    assert read(rounded) == OURS, "what stands in the numbers does not count"


def test_times_without_strings_are_read_off_the_numbers() -> None:
    fields = document(min_time=5, max_time=6, chunk_time=7)
    for name in ("str_min_time", "str_max_time", "str_chunk_time"):
        del fields[name]
    found = read(json.dumps(fields))
    assert (found.min_time, found.max_time, found.chunk_time) == (5, 6, 7)
    empty = document(min_time=5, max_time=6, chunk_time=7)
    empty.update(str_min_time="", str_max_time=None, str_chunk_time="")
    assert read(json.dumps(empty)) == found


@pytest.mark.parametrize(
    ("spelled", "value"),
    [
        ("null", None),
        ("{}", {}),
        ("[]", {}),
        ('{"n":9.007199254741e+15}', {"n": 9007199254741000.0}),
        ('{"n":9007199254740993}', {"n": 2**53 + 1}),
        ('{"host":"z\\u00fcrich","temp":-3.25}', {"host": "zürich", "temp": -3.25}),
    ],
)
def test_statistics_are_read_as_they_stand(spelled: str, value: Any) -> None:
    found = read(json.dumps(document(min="@")).replace('"@"', spelled))
    assert found.min == value


@pytest.mark.parametrize(
    "missing", ["layer", "writer_id", "min", "max", "row_count", "size_bytes", "cmd", "chunk_time"]
)
def test_missing_fields_have_their_empty_value(missing: str) -> None:
    fields = document()
    del fields[missing]
    found = read(json.dumps(fields))
    empty = {
        "layer": "",
        "writer_id": "",
        "min": None,
        "max": None,
        "row_count": 0,
        "size_bytes": 0,
    }
    name = {"min": "min_data", "max": "max_data"}.get(missing, missing)
    for field in IndexEntry.__struct_fields__:
        kept = getattr(OURS, field)
        assert getattr(found, field) == (
            empty[missing] if field == name and missing in empty else kept
        )


@pytest.mark.parametrize("value", [None, 1, "x", [1], {"deep": {"a": []}}])
def test_unknown_fields_are_no_error(value: Any) -> None:
    assert read(json.dumps({"new_field": value, **document(), "another": value})) == OURS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        "not json",
        b"\xff\xfe",
        json.dumps(document())[:-5],
        json.dumps(document(path=5)),
        json.dumps(document(size_bytes="ten")),
        json.dumps(document(str_min_time="yesterday")),
        json.dumps({"layer": "x"}),
        json.dumps(document(size_bytes="@")).replace('"@"', "1e999"),
    ],
)
def test_what_is_no_entry_is_corrupt_and_its_key_is_named(text: str | bytes) -> None:
    with pytest.raises(CorruptState, match="files:db:t:day"):
        read(text)


numbers = st.integers(0, 2**63 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)


@given(numbers, numbers, int64s, int64s, int64s, st.floats(allow_nan=False, allow_infinity=False))
def test_no_document_of_ours_holds_what_go_can_not_read(
    size: int, rows: int, one: int, other: int, chunk: int, value: float
) -> None:
    low, high = sorted((one, other))
    kept = entry(
        1, size_bytes=size, row_count=rows, min_time=low, max_time=high, chunk_time=chunk,
        min_data={"x": value}, max_data={"n": one},
    )  # fmt: skip
    text = documents.encode(kept)
    spelled = json.loads(text, parse_int=lambda digits: f"int {digits}", parse_float=lambda _: "no")
    assert spelled["size_bytes"] == f"int {size}"
    assert spelled["row_count"] == f"int {rows}"
    assert (spelled["min_time"], spelled["max_time"], spelled["chunk_time"]) == ("int 0",) * 3
    assert (spelled["str_min_time"], spelled["str_max_time"]) == (str(low), str(high))
    assert spelled["str_chunk_time"] == str(chunk)
    assert read(text) == kept
