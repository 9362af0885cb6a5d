"""Footers that pyarrow does not write: of old, foreign and faulty writers, and damaged ones."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata.parquet_footer import (
    BOOLEAN,
    BYTE_ARRAY,
    DOUBLE,
    FIXED_LEN_BYTE_ARRAY,
    FLOAT,
    INT32,
    INT64,
    INT96,
    FooterError,
    parse_footer,
)
from gigapi_metadata.parquet_stats import (
    chunk_bounds,
    codec_of,
    column_bounds,
    following,
    time_unit_ns,
)

# Fields of parquet.thrift's Statistics.
OLD_MAX, OLD_MIN, NULLS, MAX, MIN, MAX_EXACT, MIN_EXACT, NANS = 1, 2, 3, 5, 6, 7, 8, 9


def thrift(value: Any) -> tuple[int, bytes]:
    """The kind and the bytes of a value in Thrift's compact protocol; a float stands for a byte."""
    if isinstance(value, bool):
        return (1 if value else 2), b""
    if isinstance(value, float):
        return 3, bytes([int(value)])
    if isinstance(value, int):
        return 6, varint(value << 1 if value >= 0 else ~(value << 1))
    if isinstance(value, bytes):
        return 8, varint(len(value)) + value
    if isinstance(value, list):
        items = [thrift(item) for item in value]
        kind = items[0][0] if items else 12
        return 9, bytes([0xF0 | kind]) + varint(len(items)) + b"".join(data for _, data in items)
    fields = b""
    for field, content in value.items():
        kind, data = thrift(content)
        fields += bytes([kind]) + varint(field << 1) + data
    return 12, fields + b"\0"


def varint(value: int) -> bytes:
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def footer(
    element: dict[int, Any], *groups: dict[int, Any], ordered: bool = True, writer: bytes = b"x"
) -> bytes:
    """A file's footer with one column `c`, and ten rows in each group of these statistics."""
    fields = {
        1: 2,
        2: [{4: b"schema", 5: 1}, {3: 1, 4: b"c", **element}],
        3: 10 * len(groups),
        4: [{1: [{3: {1: element[1], 5: 10, 12: statistics}}], 3: 10} for statistics in groups],
        6: writer,
        **({7: [{1: {}}]} if ordered else {}),
    }
    return thrift(fields)[1]


def found(element: dict[int, Any], *groups: dict[int, Any], **options: Any) -> tuple[Any, Any]:
    low, high = column_bounds(parse_footer(footer(element, *groups, **options)))
    return low.get("c"), high.get("c")


def i64(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=value < 0)


def f64(value: float) -> bytes:
    return struct.pack("<d", value)


INTEGER = {1: INT64}
UNSIGNED = {1: INT64, 6: 14}
TEXT = {1: BYTE_ARRAY, 6: 0}
REAL = {1: DOUBLE}
DECIMAL = {1: FIXED_LEN_BYTE_ARRAY, 2: 9, 6: 5, 7: 2, 8: 18}


def test_old_min_and_max_count_only_where_their_order_was_right() -> None:
    assert found(INTEGER, {OLD_MIN: i64(-1), OLD_MAX: i64(5)}, ordered=False) == (-1, 5)
    assert found(REAL, {OLD_MIN: f64(-1), OLD_MAX: f64(5)}, ordered=False) == (-1, 5)
    # Bytes and unsigned numbers were compared as if signed.
    for element in (UNSIGNED, TEXT, DECIMAL):
        assert found(element, {OLD_MIN: i64(1), OLD_MAX: i64(5)}) == (None, None)


def test_new_bounds_count_when_the_file_promises_an_order_or_there_is_only_one() -> None:
    assert found(UNSIGNED, {MIN: i64(1), MAX: i64(5)}) == (1, 5)
    assert found(UNSIGNED, {MIN: i64(1), MAX: i64(5)}, ordered=False) == (None, None)
    assert found(TEXT, {MIN: b"a", MAX: b"b"}) == ("a", "b")
    assert found(TEXT, {MIN: b"a", MAX: b"b"}, ordered=False) == (None, None)
    assert found(INTEGER, {MIN: i64(1), MAX: i64(5)}, ordered=False) == (1, 5)


def test_writers_known_for_a_wrong_order_are_not_believed() -> None:
    misordered = b"parquet-cpp version 1.5.1-SNAPSHOT"
    decimals = {MIN: b"\0" * 9, MAX: b"\0" * 8 + b"\7"}
    assert found(DECIMAL, decimals) == (0, 0.07)
    assert found(DECIMAL, decimals, writer=misordered) == (None, None)
    assert found(INTEGER, {MIN: i64(1), MAX: i64(5)}, writer=misordered) == (1, 5)


def test_one_bound_without_the_other_is_kept() -> None:
    assert found(INTEGER, {MIN: i64(1)}, {MIN: i64(0), MAX: i64(9)}) == (0, None)
    assert found(INTEGER, {MIN: i64(1)}, {MAX: i64(9)}) == (None, None)


def test_a_row_group_without_statistics_undoes_the_bounds_unless_it_is_all_null() -> None:
    known = {MIN: i64(1), MAX: i64(5), NULLS: 0}
    assert found(INTEGER, known, {}) == (None, None)
    assert found(INTEGER, known, {NULLS: 9}) == (None, None)
    assert found(INTEGER, known, {NULLS: 10}) == (1, 5)
    assert found(INTEGER, {NULLS: 10}, {NULLS: 10}) == (None, None)


@pytest.mark.parametrize(
    ("element", "statistics"),
    [
        (INTEGER, {MIN: i64(5), MAX: i64(1)}),
        (TEXT, {MIN: b"b", MAX: b"a"}),
        (INTEGER, {MIN: b"\1\0\0\0", MAX: i64(5)}),
        (INTEGER, {MIN: b"", MAX: i64(5)}),
        ({1: BOOLEAN}, {MIN: b"", MAX: b""}),
        (DECIMAL, {MIN: b"", MAX: b""}),
        (INTEGER, {MIN: 3, MAX: i64(5)}),
        (TEXT, {MIN: [1], MAX: b"b"}),
        (REAL, {MIN: f64(float("nan")), MAX: f64(1)}),
        (REAL, {MIN: f64(1), MAX: f64(float("nan"))}),
        ({1: FLOAT}, {MIN: b"\0\0\xc0\x7f", MAX: b"\0\0\xc0\x7f"}),
    ],
)
def test_statistics_that_make_no_sense_are_not_believed(
    element: dict[int, Any], statistics: dict[int, Any]
) -> None:
    assert found(element, statistics) == (None, None)


def test_where_nan_are_counted_they_take_the_upper_bound_away() -> None:
    assert found(REAL, {MIN: f64(1), MAX: f64(2), NANS: 0}) == (1, 2)
    assert found(REAL, {MIN: f64(1), MAX: f64(2), NANS: 3}) == (1, None)


def test_bounds_cut_within_a_character_stay_bounds() -> None:
    emoji = "\U0001f600".encode()
    cut = {MIN: b"a" + emoji[:2], MAX: b"a" + emoji[:3], MIN_EXACT: False, MAX_EXACT: False}
    assert found(TEXT, cut) == ("a", "b")
    assert found(TEXT, {MIN: b"a", MAX: b"\xff\xff"}) == ("a", None)
    assert found(TEXT, {MIN: b"\xc3", MAX: "é".encode() + b"\xff"}) == ("", "ê")


def test_bounds_are_known_to_be_exact_or_not() -> None:
    # Only the time column asks: what is inexact there is read.
    for statistics, exact in (
        ({MIN: i64(1), MAX: i64(5)}, True),
        ({MIN: i64(1), MAX: i64(5), MIN_EXACT: True, MAX_EXACT: True}, True),
        ({MIN: i64(1), MAX: i64(5), MAX_EXACT: False}, False),
        ({MIN: i64(1), MAX: i64(5), MIN_EXACT: False}, False),
    ):
        parsed = parse_footer(footer(INTEGER, statistics))
        codec = codec_of(parsed.columns[0])
        assert codec is not None
        bounds = chunk_bounds(parsed.columns[0], codec, parsed.row_groups[0].chunks[0])
        assert bounds is not None
        assert bounds.exact is exact


@pytest.mark.parametrize(
    ("element", "statistics", "bounds"),
    [
        ({1: INT32, 6: 6}, {MIN: b"\1\0\0\0", MAX: b"\2\0\0\0"}, (86400 * 10**9, 172800 * 10**9)),
        ({1: INT32, 6: 7}, {MIN: b"\1\0\0\0", MAX: b"\2\0\0\0"}, (10**6, 2 * 10**6)),
        ({1: INT64, 6: 8}, {MIN: i64(1), MAX: i64(2)}, (1000, 2000)),
        ({1: INT64, 6: 9}, {MIN: i64(-1), MAX: i64(2)}, (-(10**6), 2 * 10**6)),
        ({1: INT64, 6: 10}, {MIN: i64(1), MAX: i64(2)}, (1000, 2000)),
        ({1: INT64, 6: 10}, {MIN: i64(1), MAX: i64(2**62)}, (1000, None)),
        ({1: INT32, 6: 13}, {MIN: b"\1\0\0\0", MAX: b"\xff" * 4}, (1, 2**32 - 1)),
        ({1: INT32, 6: 15}, {MIN: b"\xff" * 4, MAX: b"\1\0\0\0"}, (-1, 1)),
        (
            {1: INT64, 10: {10: {1: 64.0, 2: False}}},
            {MIN: i64(1), MAX: b"\xff" * 8},
            (1, 2**64 - 1),
        ),
        ({1: BYTE_ARRAY, 6: 4}, {MIN: b"a", MAX: b"b"}, ("a", "b")),
        ({1: BYTE_ARRAY, 6: 19}, {MIN: b"1", MAX: b"2"}, ("1", "2")),
        ({1: INT32, 6: 5, 7: 1}, {MIN: b"\5\0\0\0", MAX: b"\x0a\0\0\0"}, (0.5, 1)),
        ({1: BYTE_ARRAY, 6: 5, 7: 0}, {MIN: b"\xff", MAX: b"\1\0"}, (-1, 256)),
        ({1: BYTE_ARRAY, 6: 5, 7: 0}, {MIN: b"\x80" + b"\0" * 63, MAX: b"\1"}, (-(2.0**511), 1)),
        # No order, no sense, or no such type.
        ({1: BYTE_ARRAY}, {MIN: b"a", MAX: b"b"}, (None, None)),
        ({1: BYTE_ARRAY, 6: 20}, {MIN: b"a", MAX: b"b"}, (None, None)),
        ({1: INT96}, {MIN: b"\0" * 12, MAX: b"\1" * 12}, (None, None)),
        ({1: FIXED_LEN_BYTE_ARRAY, 2: 12, 6: 21}, {MIN: b"a" * 12, MAX: b"b" * 12}, (None, None)),
        ({1: FIXED_LEN_BYTE_ARRAY, 10: {14: {}}}, {MIN: b"a" * 16, MAX: b"b" * 16}, (None, None)),
        ({1: INT64, 10: {99: {}}}, {MIN: i64(1), MAX: i64(2)}, (None, None)),
        ({1: INT64, 10: {8: {1: True, 2: {4: {}}}}}, {MIN: i64(1), MAX: i64(2)}, (None, None)),
        ({1: BOOLEAN, 6: 0}, {MIN: b"\0", MAX: b"\1"}, (None, None)),
        ({1: INT64, 6: 0}, {MIN: i64(1), MAX: i64(2)}, (None, None)),
        ({1: DOUBLE, 6: 5, 7: 0}, {MIN: f64(1), MAX: f64(2)}, (None, None)),
        ({1: 77}, {MIN: i64(1), MAX: i64(2)}, (None, None)),
        ({1: INT32, 6: 5, 7: 2**31}, {MIN: b"\5\0\0\0", MAX: b"\6\0\0\0"}, (None, None)),
        ({1: INT32, 6: 5, 7: -1}, {MIN: b"\5\0\0\0", MAX: b"\6\0\0\0"}, (None, None)),
        ({1: BYTE_ARRAY, 6: 5, 7: 0}, {MIN: b"\x80" + b"\0" * 99, MAX: b"\1"}, (None, None)),
    ],
)
def test_types_as_older_and_odd_writers_give_them(
    element: dict[int, Any], statistics: dict[int, Any], bounds: tuple[Any, Any]
) -> None:
    assert found(element, statistics) == bounds


@pytest.mark.parametrize(
    ("element", "unit", "name"),
    [
        ({1: INT64}, 1, "int64"),
        ({1: INT64, 6: 14}, 1, "uint64"),
        ({1: INT64, 6: 9}, 10**6, "timestamp"),
        ({1: INT64, 10: {8: {1: True, 2: {3: {}}}}}, 1, "timestamp"),
        ({1: INT32, 6: 6}, 86400 * 10**9, "date"),
        ({1: INT64, 6: 8}, None, "time of day"),
        ({1: INT64, 6: 5}, None, "decimal"),
        ({1: INT32}, None, "int32"),
        ({1: INT96}, None, "int96"),
        ({1: 99}, None, "fixed-size binary"),
        ({1: BYTE_ARRAY, 10: {77: {}}}, None, "binary"),
    ],
)
def test_the_types_that_can_be_a_time(element: dict[int, Any], unit: int | None, name: str) -> None:
    (column,) = parse_footer(footer(element)).columns
    assert time_unit_ns(column) == unit
    assert column.type_name == name


def test_a_repeated_column_or_group_is_known_as_such() -> None:
    (column,) = parse_footer(footer({1: INT64, 3: 2})).columns
    assert column.repeated
    schema = [{4: b"root", 5: 1}, {3: 2, 4: b"g", 5: 1}, {1: INT64, 3: 0, 4: b"x"}]
    (column,) = parse_footer(thrift({2: schema, 3: 0, 4: []})[1]).columns
    assert (column.path, column.repeated, column.ordered) == (("g", "x"), True, False)


@given(st.text(min_size=1), st.text())
def test_what_follows_a_prefix_is_above_everything_that_begins_with_it(
    prefix: str, rest: str
) -> None:
    above = following(prefix)
    if above is None:
        assert set(prefix) == {"\U0010ffff"}
    else:
        assert above > prefix + rest
        assert above.encode() > (prefix + rest).encode()
        assert len(above) <= len(prefix)


# ---------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, "damaged"),
        ({2: [], 3: 0, 4: []}, "damaged"),
        ({2: [{4: b"r", 5: 2}, {1: 2, 4: b"a"}], 3: 0, 4: []}, "schema ends early"),
        ({2: [{4: b"r", 5: 1}, {1: 2, 4: b"a"}, {1: 2, 4: b"b"}], 3: 0, 4: []}, "damaged"),
        ({2: [{4: b"r", 5: 1}, {1: 2, 4: b"\xff"}], 3: 0, 4: []}, "damaged"),
        ({2: [{4: b"r", 5: 1}, {1: b"2", 4: b"a"}], 3: 0, 4: []}, "damaged"),
        ({2: [{4: b"r", 5: 1}, {1: 2, 4: b"a", 6: 88}], 3: 0, 4: []}, "damaged"),
        ({2: [{4: b"r", 5: 1}, {1: 2, 4: b"a"}], 3: 5, 4: []}, "do not add up"),
        ({2: [{4: b"r", 5: 1}, {1: 2, 4: b"a"}], 3: -1, 4: [{1: [], 3: -1}]}, "negative"),
        ({2: [{4: b"r", 5: 1}, {1: 2, 4: b"a"}], 3: 1, 4: [{1: [], 3: 1}]}, "all the columns"),
        ({2: [{4: b"r", 5: 1}, {1: 2, 4: b"a"}], 3: 1, 4: [{1: [{2: 1}], 3: 1}]}, "no metadata"),
        ({2: [{4: b"r", 5: 1}] + [{4: b"g", 5: 1}] * 500, 3: 0, 4: []}, "nested too deeply"),
    ],
)
def test_a_footer_that_makes_no_sense_is_refused(fields: dict[int, Any], fault: str) -> None:
    with pytest.raises(FooterError, match=fault):
        parse_footer(thrift(fields)[1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1c" * 10_000,  # structs in structs
        b"\x19" * 10_000,  # lists in lists
        b"\x1b\x01\xbb" + b"\x01\xbb" * 10_000,  # maps in maps
        b"\x19\xfc\xff\xff\xff\xff\x0f" + b"\0" * 100,  # a list of 2**32 structs
        b"\x19\xf1\xff\xff\xff\xff\x0f" + b"\1" * 100,  # ... of booleans
        b"\x18\xff\xff\xff\xff\x0f" + b"\1" * 100,  # 2**32 bytes
        b"\x16" + b"\xff" * 100,  # an integer without end
        b"\x1e\x01\0",  # a kind that does not exist
        b"\x17\1\2\3",  # half a double
    ],
)
def test_garbage_is_refused_quickly(data: bytes) -> None:
    with pytest.raises(FooterError):
        parse_footer(data)


def test_fields_of_every_kind_are_passed_over() -> None:
    unknown = (
        b"\x03\xc8\x01\x07"  # field 100: a byte
        b"\x17"
        + b"\0" * 8
        + b"\x1d"
        + b"\0" * 16  # a double, a UUID
        + b"\x1a\x31\1\2\1"  # a set of booleans
        b"\x1b\0"  # an empty map
        b"\x1b\1\x86\x01a\x02"  # a map of bytes to an integer
        b"\x11\x12\x14\x02"  # true, false, an i16
    )
    whole = footer(INTEGER, {MIN: i64(1), MAX: i64(5)})
    assert column_bounds(parse_footer(whole[:-1] + unknown + b"\0")) == ({"c": 1}, {"c": 5})


def real_footer() -> bytes:
    table = pa.table(
        {
            "time": pa.array([1, 2, 3], pa.timestamp("us")),
            "u": pa.array([1, 2, None], pa.uint32()),
            "s": ["a", "b", "c" * 100],
            "f": [1.0, float("nan"), 3.0],
            "l": [[{"x": 1}], [], None],
            "d": pa.array([1, 2, 3], pa.decimal128(9, 2)),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=2, store_schema=False)
    data = file.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


def test_no_damage_ends_in_anything_but_a_footer_or_a_footer_error() -> None:
    whole = real_footer()
    dice = random.Random(20240115)
    survived = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 5))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            column_bounds(parse_footer(bytes(data)))
        except FooterError:
            continue
        survived += 1
    assert 0 < survived < 3000


def test_a_footer_cut_anywhere_is_refused() -> None:
    whole = real_footer()
    for size in range(len(whole)):
        with pytest.raises(FooterError):
            parse_footer(whole[:size])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_footer_or_a_footer_error(data: bytes) -> None:
    try:
        parse_footer(data)
    except FooterError:
        return
