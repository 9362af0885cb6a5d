"""`IndexEntry.from_parquet`, on real files."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigapi_metadata import parquet
from gigapi_metadata.errors import InvalidEntry, MissingExtra
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.parquet_footer import Footer

DAY = 86_400 * 10**9
UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}

Write = Callable[..., IndexEntry]


def index(file: Path, root: Path, **options: Any) -> IndexEntry:
    return IndexEntry.from_parquet(file, root=root, database="db", table="t", **options)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Columns (or a table) -> a file -> its entry. Without a time column one is added."""

    def write(
        columns: Any, *, time_column: str | None = None, rows_a_group: int = 2, **options: Any
    ) -> IndexEntry:
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        if time_column is None and not {*table.column_names} & {*parquet.TIME_COLUMNS}:
            table = table.append_column("time", pa.array(range(table.num_rows), pa.int64()))
        file = tmp_path / "file.parquet"
        pq.write_table(table, file, row_group_size=rows_a_group, **options)
        return index(file, tmp_path, time_column=time_column)

    return write


def bounds(entry: IndexEntry, column: str) -> tuple[Any, Any]:
    assert entry.min is not None
    assert entry.max is not None
    return entry.min.get(column), entry.max.get(column)


# ---------------------------------------------------------------------------------- the entry


def test_an_entry_says_where_the_file_is_how_large_and_when_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "date=2024-01-15" / "hour=14" / "é.2.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"time": [5, 3, 9], "x": ["b", "a", None]}), file)
    os.utime(file, ns=(1, 1_700_000_000_123_456_789))

    assert index(file, tmp_path, layer="hot", writer_id="w1") == IndexEntry(
        database="db",
        table="t",
        path="date=2024-01-15/hour=14/é.2.parquet",
        size_bytes=file.stat().st_size,
        min_time=3,
        max_time=9,
        layer="hot",
        row_count=3,
        chunk_time=1_700_000_000_123_456_789,
        min_data={"time": 3, "x": "a"},
        max_data={"time": 9, "x": "b"},
        writer_id="w1",
    )
    assert index(file, tmp_path, chunk_time=7).chunk_time == 7


def test_paths_may_be_strings_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"time": [1]}), tmp_path / "data" / "f.parquet")
    monkeypatch.chdir(tmp_path)
    for file, root in (
        ("data/f.parquet", "data"),
        ("./data/f.parquet", tmp_path / "data"),
        ("data/../data/f.parquet", "data/"),
        (tmp_path / "data" / "f.parquet", "data/../data"),
    ):
        entry = IndexEntry.from_parquet(file, root=root, database="db", table="t")
        assert entry.path == "f.parquet"


def test_links_keep_their_own_name_and_a_linked_root_is_seen_through(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    pq.write_table(pa.table({"time": [1]}), real / "f.parquet")
    pq.write_table(pa.table({"time": [2]}), tmp_path / "outside.parquet")
    (real / "l.parquet").symlink_to(tmp_path / "outside.parquet")

    assert index(tmp_path / "link" / "f.parquet", real).path == "f.parquet"
    assert index(real / "f.parquet", tmp_path / "link").path == "f.parquet"
    assert index(tmp_path / "link" / "f.parquet", tmp_path).path == "link/f.parquet"
    linked = index(tmp_path / "link" / "l.parquet", real)
    assert (linked.path, linked.min_time) == ("l.parquet", 2)


def test_a_file_outside_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data2").mkdir()
    file = tmp_path / "data2" / "f.parquet"
    pq.write_table(pa.table({"time": [1]}), file)
    with pytest.raises(InvalidEntry, match=r"f\.parquet' is not below .*data'"):
        index(file, tmp_path / "data")
    with pytest.raises(InvalidEntry, match="is not below"):
        index(tmp_path / "data" / ".." / "data2" / "f.parquet", tmp_path / "data")


def test_a_file_name_that_no_path_may_have_is_refused(tmp_path: Path) -> None:
    for name in ("a\nb.parquet", "a\\b.parquet"):
        pq.write_table(pa.table({"time": [1]}), tmp_path / name)
        with pytest.raises(InvalidEntry, match=r"b\.parquet"):
            index(tmp_path / name, tmp_path)


# ------------------------------------------------------------------------------------- the time


@pytest.mark.parametrize("stats", [True, False])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_every_unit_become_exact_nanoseconds(
    write: Write, unit: str, zone: str | None, stats: bool
) -> None:
    first, last = -(2**62) // UNIT_NS[unit], (2**62 + 987_654_321) // UNIT_NS[unit]
    values = pa.array([7, None, last, 8, first, None], pa.timestamp(unit, zone))
    entry = write({"time": values}, write_statistics=stats)
    assert entry.min_time == first * UNIT_NS[unit]
    assert entry.max_time == last * UNIT_NS[unit]


@pytest.mark.parametrize("stats", [True, False])
@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_a_date_covers_its_whole_day(write: Write, kind: pa.DataType, stats: bool) -> None:
    values = pa.array([date(1969, 12, 30), date(2024, 2, 29), None], kind)
    entry = write({"time": values}, write_statistics=stats)
    assert entry.min_time == -2 * DAY
    assert entry.max_time == int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * 10**9 - 1
    assert bounds(entry, "time") == ((-2 * DAY, entry.max_time + 1 - DAY) if stats else (None,) * 2)


@pytest.mark.parametrize("stats", [True, False])
def test_the_last_day_that_int64_knows_ends_early(write: Write, stats: bool) -> None:
    values = pa.array([date(2262, 4, 11)], pa.date32())
    assert write({"time": values}, write_statistics=stats).max_time == 2**63 - 1


@pytest.mark.parametrize("stats", [True, False])
@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_int64_is_read_as_nanoseconds(write: Write, kind: pa.DataType, stats: bool) -> None:
    values = pa.array([2**63 - 1, 0, 2**53 + 1], kind)
    entry = write({"time": values}, write_statistics=stats)
    assert (entry.min_time, entry.max_time) == (0, 2**63 - 1)


def test_int96_timestamps_are_read(write: Write) -> None:
    values = pa.array([1_700_000_000_123_456_789, -5, None], pa.timestamp("ns"))
    entry = write({"time": values}, use_deprecated_int96_timestamps=True)
    assert (entry.min_time, entry.max_time) == (-5, 1_700_000_000_123_456_789)
    assert bounds(entry, "time") == (None, None)


def test_a_legacy_file_without_logical_types_is_read(write: Write) -> None:
    values = pa.array([1, 2**50], pa.timestamp("us", "UTC"))
    entry = write({"time": values, "s": ["a", "b"]}, version="1.0", store_schema=False)
    assert (entry.min_time, entry.max_time) == (1000, 2**50 * 1000)
    assert bounds(entry, "s") == ("a", "b")


@pytest.mark.parametrize("stats", [True, False])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 32_503_680_000], pa.timestamp("s")),
        ([-(10**10), 5], pa.timestamp("s", "UTC")),
        ([1, 10**17], pa.timestamp("us")),
        ([date(9999, 12, 31)], pa.date32()),
        ([1, 2**63], pa.uint64()),
    ],
)
def test_a_time_that_64_bits_of_nanoseconds_do_not_hold_is_an_error(
    write: Write, values: list[Any], kind: pa.DataType, stats: bool
) -> None:
    with pytest.raises(InvalidEntry, match=r"file.parquet': time column 'time' holds .*1677"):
        write({"time": pa.array(values, kind)}, write_statistics=stats)


def test_an_int96_out_of_range_is_an_error_and_does_not_wrap_around(write: Write) -> None:
    values = pa.array([1, 253_402_300_799_000_000], pa.timestamp("us"))
    with pytest.raises(InvalidEntry, match="1677"):
        write({"time": values}, use_deprecated_int96_timestamps=True)


def test_a_dictionary_of_timestamps_without_statistics_is_read(write: Write) -> None:
    values = pa.array([5, 3, 5], pa.timestamp("ns")).dictionary_encode()
    entry = write({"time": values}, write_statistics=False)
    assert (entry.min_time, entry.max_time) == (3, 5)


def test_only_row_groups_without_statistics_are_read(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, read = parquet.parse_footer, parquet._read_batches
    asked = []

    def parse_without_second_statistics(data: bytes) -> Footer:
        footer = parse(data)
        group = footer.row_groups[1]
        bare = group._replace(chunks=[chunk._replace(statistics={}) for chunk in group.chunks])
        return footer._replace(row_groups=[footer.row_groups[0], bare, *footer.row_groups[2:]])

    def note(name: str, column: str, row_groups: list[int], unit: str) -> Iterator[Any]:
        asked.append((column, row_groups))
        return read(name, column, row_groups, unit)

    monkeypatch.setattr(parquet, "parse_footer", parse_without_second_statistics)
    monkeypatch.setattr(parquet, "_read_batches", note)
    entry = write({"time": pa.array([5, 6, 1, 9, 7, 8], pa.timestamp("ms")), "x": range(6)})
    assert asked == [("time", [1])]
    assert (entry.min_time, entry.max_time) == (1_000_000, 9_000_000)
    assert (entry.min, entry.max) == ({}, {})


def test_a_row_group_of_nulls_has_no_say(write: Write) -> None:
    values = pa.array([None, None, 4, None, None, None], pa.timestamp("ns"))
    for stats in (True, False):
        entry = write({"time": values}, write_statistics=stats)
        assert (entry.min_time, entry.max_time, entry.row_count) == (4, 4, 6)


def test_the_time_column_is_the_first_of_the_usual_ones_or_the_one_named(write: Write) -> None:
    columns = {"ts": [4], "timestamp": [3], "time": [2], "__timestamp": [1], "Other": [5]}
    table = pa.table(columns)
    for name, expected in (("__timestamp", 1), ("time", 2), ("timestamp", 3), ("ts", 4)):
        assert write(table).min_time == expected
        table = table.drop_columns([name])
    for name, (value,) in columns.items():
        assert write(columns, time_column=name).min_time == value


def test_only_a_top_level_column_of_that_very_name_is_the_time_column(
    write: Write, tmp_path: Path
) -> None:
    table = pa.table({"a": [{"b": 1, "time": 1}], "TIME": [2]})
    with pytest.raises(InvalidEntry, match=r"no top-level column 'a\.b'"):
        write(table, time_column="a.b")
    with pytest.raises(InvalidEntry, match=r"no time column \(__timestamp.*columns are 'TIME'"):
        index(tmp_path / "file.parquet", tmp_path)
    for stats in (True, False):
        dotted = table.append_column("a.b", [[7]])
        assert write(dotted, time_column="a.b", write_statistics=stats).min_time == 7


def test_two_time_columns_of_one_name_are_an_error(write: Write) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["time", "time"])
    with pytest.raises(InvalidEntry, match="two columns 'time'"):
        write(table)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (["12:00"], "string"),
        ([1.5], "double"),
        (pa.array([1], pa.int32()), "int32"),
        (pa.array([1], pa.uint32()), "uint32"),
        (pa.array([time(1)], pa.time64("us")), "time of day"),
        (pa.array([Decimal(1)], pa.decimal128(5)), "decimal"),
        ([True], "boolean"),
        ([b"x"], "binary"),
        (pa.array([b"x"], pa.binary(1)), "fixed-size binary"),
        (pa.nulls(1), "null"),
    ],
)
def test_a_time_column_of_another_type_is_an_error_that_names_the_type(
    write: Write, values: Any, name: str
) -> None:
    with pytest.raises(InvalidEntry, match=f"file.parquet': time column 'time' is of type {name};"):
        write({"time": values})


def test_a_time_column_of_nulls_and_a_file_without_rows_are_errors(write: Write) -> None:
    for stats in (True, False):
        with pytest.raises(InvalidEntry, match=r"file\.parquet': .* holds nothing but nulls"):
            write({"time": pa.nulls(3, pa.timestamp("ns"))}, write_statistics=stats)
    with pytest.raises(InvalidEntry, match=r"file\.parquet' has no rows"):
        write({"time": pa.array([], pa.timestamp("ns"))})


# ----------------------------------------------------------------------------------- the bounds


@pytest.mark.parametrize(
    ("values", "kind", "low", "high"),
    [
        ([3, -5, None], pa.int8(), -5, 3),
        ([3, 255], pa.uint8(), 3, 255),
        ([3, 65_535], pa.uint16(), 3, 65_535),
        ([3, 2**32 - 1], pa.uint32(), 3, 2**32 - 1),
        ([3, 2**64 - 1], pa.uint64(), 3, 2**64 - 1),
        ([2**63 - 1, -(2**63)], pa.int64(), -(2**63), 2**63 - 1),
        ([True, False], pa.bool_(), False, True),
        ([0.5, -2.0], pa.float16(), -2.0, 0.5),
        ([0.5, -2.25], pa.float32(), -2.25, 0.5),
        ([0.1, 1e300], pa.float64(), 0.1, 1e300),
        ([date(2024, 1, 2), date(1969, 12, 31)], pa.date32(), -DAY, 19_724 * DAY),
        ([5, 1], pa.timestamp("ms"), 10**6, 5 * 10**6),
        ([2**62 + 1, 1], pa.timestamp("ns", "UTC"), 1, 2**62 + 1),
        ([5, 1], pa.time32("ms"), 10**6, 5 * 10**6),
        ([5, 1], pa.time64("us"), 1000, 5000),
        ([5, 1], pa.time64("ns"), 1, 5),
        (["b", "a", "\x00", ""], pa.string(), "", "b"),
        (["b", "a"], pa.large_string(), "a", "b"),
        (["z", "é", "\uffff", "\U0001f600"], pa.string(), "z", "\U0001f600"),
        ([Decimal("1.50"), Decimal("-7.00")], pa.decimal128(9, 2), -7, 1.5),
        ([Decimal("-0.5"), Decimal("2")], pa.decimal256(60, 1), -0.5, 2),
    ],
)
def test_each_type_has_its_bounds(
    write: Write, values: list[Any], kind: pa.DataType, low: Any, high: Any
) -> None:
    found = bounds(write({"x": pa.array(values, kind)}), "x")
    assert found == (low, high)
    assert [type(value) for value in found] == [type(low), type(high)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([b"a", b"\xff"], pa.binary()),
        ([b"a", b"b"], pa.binary()),
        ([b"aa", b"bb"], pa.binary(2)),
        ([None, None], pa.null()),
        ([None, None], pa.int64()),
        ([None, None], pa.string()),
        ([nan, nan], pa.float64()),
    ],
)
def test_what_has_no_bounds_is_left_out(write: Write, values: list[Any], kind: pa.DataType) -> None:
    assert bounds(write({"x": pa.array(values, kind)}), "x") == (None, None)


def test_decimals_between_two_floats_are_rounded_outwards(write: Write) -> None:
    texts = ["0.1", "0.3", "-0.1", "-0.3", "1234567890123456789.01", "9" * 30 + ".99"]
    for text in texts:
        value = Decimal(text)
        low, high = bounds(write({"x": pa.array([value], pa.decimal128(38, 2))}), "x")
        assert Decimal(low) <= value <= Decimal(high)
        assert abs(high - low) <= abs(float(value)) * 2**-52


def test_infinities_have_no_bound_on_their_side(write: Write) -> None:
    assert bounds(write({"x": [1.0, inf]}), "x") == (1.0, None)
    assert bounds(write({"x": [-inf, 1.0]}), "x") == (None, 1.0)
    assert bounds(write({"x": [1.0, 2.0, inf, 3.0, -inf, 5.0]}), "x") == (None, None)
    assert bounds(write({"x": pa.array([2.0, inf], pa.float32())}), "x") == (2.0, None)


def test_zero_bounds_cover_both_zeros(write: Write) -> None:
    for zero in (0.0, -0.0):
        found = bounds(write({"x": [zero]}), "x")
        assert str(found) == "(-0.0, 0.0)"


def test_nan_lies_outside_the_bounds_and_a_row_group_of_nan_undoes_them(write: Write) -> None:
    assert bounds(write({"x": [nan, 1.0, 2.0, nan]}), "x") == (1.0, None)
    assert bounds(write({"x": [1.0, 2.0, nan, nan]}), "x") == (None, None)


def test_an_upper_float_bound_says_that_there_is_no_nan(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"x": [nan, 1.0, 2.0, 3.0], "y": [1.0, 2.0, None, 4.0], "n": [1, 2, 3, 4]}
    entry = write(columns)
    assert bounds(entry, "x") == (1.0, None)
    assert bounds(entry, "y") == (1.0, 4.0)
    monkeypatch.setattr(parquet, "_MAX_NAN_VALUES", 7)  # too many to look through
    assert bounds(write(columns), "y") == (1.0, None)
    assert bounds(write(columns), "n") == (1, 4)


def test_duckdb_itself_says_that_there_is_no_nan(tmp_path: Path) -> None:
    file = tmp_path / "a.1.parquet"
    duckdb.sql(
        "COPY (SELECT 1::bigint AS ts, 'nan'::double AS x, 1.5::double AS y, "
        "{'z': 2.5::double} AS s) "
        f"TO '{file}' (FORMAT parquet)"
    )
    entry = IndexEntry.from_parquet(file, root=tmp_path, database="db", table="t")
    assert bounds(entry, "x") == (None, None)
    assert bounds(entry, "y") == (1.5, 1.5)
    assert bounds(entry, "s.z") == (2.5, 2.5)


def test_bounds_span_the_row_groups_and_nulls_do_not_count(write: Write) -> None:
    table = {"x": [5, None, None, None, 9, 1], "s": ["b", "c", None, None, "a", None]}
    entry = write(table)
    assert bounds(entry, "x") == (1, 9)
    assert bounds(entry, "s") == ("a", "c")


def test_a_column_with_statistics_in_some_row_groups_only_is_left_out(write: Write) -> None:
    # Arrow writes no bound of more than 4 KiB.
    long = "m" * 5000
    assert bounds(write({"s": ["a", "b", long, long]}), "s") == (None, None)
    low, high = bounds(write({"s": ["a", "b", "c", long]}), "s")
    assert (low, high) == ("a", None)


def test_only_columns_with_statistics_have_bounds(write: Write) -> None:
    table = {"time": [1, 2], "x": [3, 4], "y": [5, 6]}
    entry = write(table, write_statistics=["x"])
    assert (entry.min, entry.max) == ({"x": 3}, {"x": 4})
    assert (entry.min_time, entry.max_time) == (1, 2)


def test_long_strings_are_cut_and_upper_bounds_rounded_up(write: Write) -> None:
    top = "\U0010ffff"
    for longest, low, high in [
        ("a" * 64, "a" * 64, "a" * 64),
        ("a" * 65, "a" * 64, "a" * 63 + "b"),
        ("é" * 500, "é" * 64, "é" * 63 + "ê"),
        ("\U0001f600" * 70, "\U0001f600" * 64, "\U0001f600" * 63 + "\U0001f601"),
        ("\ud7ff" * 65, "\ud7ff" * 64, "\ud7ff" * 63 + "\ue000"),
        ("a" + top * 64, "a" + top * 63, "b"),
        (top * 64, top * 64, top * 64),
        (top * 65, top * 64, None),
    ]:
        assert bounds(write({"s": [longest]}), "s") == (low, high)


def test_nested_columns_are_named_by_their_path(write: Write) -> None:
    entry = write(
        {
            "a": [{"b": 1, "c": {"d": "x"}}, None, {"b": 3, "c": None}],
            "l": [[5, 4], [], None],
            "m": pa.array([[("k", 1)], [("j", 7)], None], pa.map_(pa.string(), pa.int64())),
        }
    )
    assert bounds(entry, "a.b") == (1, 3)
    assert bounds(entry, "a.c.d") == ("x", "x")
    assert bounds(entry, "l.list.element") == (4, 5)
    assert bounds(entry, "m.key_value.key") == ("j", "k")
    assert bounds(entry, "m.key_value.value") == (1, 7)


def test_two_columns_that_would_share_a_name_are_left_out(write: Write) -> None:
    entry = write({"a": [{"b": 1, "c": 2}], "a.b": [100], "a.d": [3]})
    assert bounds(entry, "a.b") == (None, None)
    assert bounds(entry, "a.c") == (2, 2)
    assert bounds(entry, "a.d") == (3, 3)


def test_thousands_of_columns_and_a_long_footer_are_read(write: Write) -> None:
    entry = write({f"column {i}": [i] for i in range(3000)})
    assert entry.min is not None
    assert len(entry.min) == 3001
    assert bounds(entry, "column 2999") == (2999, 2999)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=100) | st.builds(
    lambda head, char, count: head + char * count,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    st.sampled_from("a\x7f߿\ud7ff\uffff\U0001f600\U0010ffff"),
    st.integers(60, 90),
)
COLUMNS = {
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "u": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "f": (pa.float64(), st.floats()),
    "f4": (pa.float32(), st.floats(width=32)),
    "f2": (pa.float16(), st.floats(width=16)),
    "s": (pa.string(), TEXT),
    "d": (pa.decimal128(25, 7), st.decimals(-(10**17), 10**17, places=7)),
    "b": (pa.bool_(), st.booleans()),
    "ts": (pa.timestamp("us"), st.integers(-(2**63) // 1000 + 1, 2**63 // 1000 - 1)),
}


@settings(deadline=None)
@given(data=st.data())
def test_every_row_lies_within_the_bounds_and_the_times_are_attained(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 12))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(values | st.none(), min_size=count, max_size=count))

    rows = {name: column(values) for name, (_, values) in COLUMNS.items()}
    rows["time"] = column(st.integers(-(2**63), 2**63 - 1))
    rows["time"][data.draw(st.integers(0, count - 1))] = 2**60 + 1
    table = pa.table(
        {name: pa.array(rows[name], kind) for name, (kind, _) in COLUMNS.items()}
        | {
            "time": pa.array(rows["time"], pa.timestamp("ns")),
            "n": pa.array([{"s": text} for text in rows["s"]], pa.struct({"s": pa.string()})),
        }
    )
    root = tmp_path_factory.getbasetemp()
    stats = data.draw(st.just(True) | st.lists(st.sampled_from(sorted(rows)), unique=True))
    pq.write_table(
        table,
        root / "property.parquet",
        row_group_size=data.draw(st.integers(1, count)),
        write_statistics=stats if stats else False,
        use_dictionary=data.draw(st.booleans()),
    )
    entry = index(root / "property.parquet", root)

    times = [value for value in rows["time"] if value is not None]
    assert (entry.min_time, entry.max_time) == (min(times), max(times))
    assert msgspec.json.decode(msgspec.json.encode(entry), type=IndexEntry) == entry
    rows["n.s"] = rows["s"]
    rows["ts"] = [None if value is None else value * 1000 for value in rows["ts"]]
    for name, values in rows.items():
        low, high = bounds(entry, name)
        if stats is not True and name not in stats:
            assert (low, high) == (None, None)
        for value in values:
            if value is None or (isinstance(value, float) and isnan(value)):
                continue
            exact = Decimal if isinstance(value, Decimal) else lambda same: same
            assert low is None or exact(low) <= value
            assert high is None or value <= exact(high)
        if isinstance(low, str):
            assert len(low) <= 64
            assert high is None or len(high) <= 64


# -------------------------------------------------------------------------------- what is no file


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", r"is empty"),
        (b"time,x\n1,2\n", "is not a Parquet file"),
        (b"x" * 100_000, "is not a Parquet file"),
        (b"PAR1", "is cut short"),
        (b"PAR1PAR1", "is cut short"),
        (b"PAR1" + b"\0" * 50, "is cut short"),
        (b"PAR1\x00\x00\x00\x00PAR1", "its footer is damaged"),
        (b"PAR1\xff\xff\xff\x7fPAR1", "claims 2147483647 bytes of a file of 12"),
        (b"PAR1" + b"\x15" * 40 + b"\x28\x00\x00\x00PAR1", "damaged"),
    ],
)
def test_what_is_not_parquet_is_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    file = tmp_path / "odd.parquet"
    file.write_bytes(content)
    with pytest.raises(InvalidEntry, match=rf"odd\.parquet'.*{fault}"):
        index(file, tmp_path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"time": range(100)}), whole)
    content = whole.read_bytes()
    for size in range(0, len(content) - 1, 7):
        cut = tmp_path / "cut.parquet"
        cut.write_bytes(content[:size])
        with pytest.raises(InvalidEntry, match=r"cut\.parquet' is (empty|cut short|not)"):
            index(cut, tmp_path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidEntry, match=r"none\.parquet' does not exist"):
        index(tmp_path / "none.parquet", tmp_path)
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(InvalidEntry, match=r"folder\.parquet' is a folder or device"):
        index(tmp_path / "folder.parquet", tmp_path)
    with pytest.raises(InvalidEntry, match="can't be read: embedded null byte"):
        IndexEntry.from_parquet("a\0b", root=tmp_path, database="db", table="t")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(InvalidEntry, match=r"pipe\.parquet' is a folder or device"):
        index(tmp_path / "pipe.parquet", tmp_path)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, fault: str
) -> None:
    # Not by chmod: to root, who runs the tests in a container, every file is readable.
    pq.write_table(pa.table({"time": [1]}), tmp_path / "f.parquet")

    def refuse(*args: Any, **options: Any) -> Any:
        raise error

    expected = pytest.raises(InvalidEntry, match=rf"f\.parquet' can't be read: .*{fault}")
    with monkeypatch.context() as patch, expected:
        patch.setattr(os, "open", refuse)
        index(tmp_path / "f.parquet", tmp_path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"time": [1]}), file)
    status = file.stat()
    os.truncate(file, 100)
    monkeypatch.setattr(os, "fstat", lambda descriptor: status)
    with pytest.raises(InvalidEntry, match=r"f\.parquet' changed while it was read"):
        index(file, tmp_path)


def test_a_time_column_with_damaged_pages_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"time": range(1000)}), file, write_statistics=False)
    content = bytearray(file.read_bytes())
    content[4:400] = b"\xff" * 396
    file.write_bytes(content)
    with pytest.raises(InvalidEntry, match=r"f\.parquet': time column 'time' can't be read"):
        index(file, tmp_path)


def test_pyarrow_is_asked_for_only_when_a_column_must_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_statistics, without = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"time": range(9)}), with_statistics)
    pq.write_table(pa.table({"time": range(9)}), without, write_statistics=False)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert index(with_statistics, tmp_path).max_time == 8
    with pytest.raises(MissingExtra, match=r"pip install 'gigapi-metadata\[parquet\]'"):
        index(without, tmp_path)


# ----------------------------------------------------------------------------------- encryption


def encrypt(file: Path, table: pa.Table, *, columns: list[str], plaintext_footer: bool) -> None:
    encryption = pytest.importorskip(
        "pyarrow.parquet.encryption", reason="this pyarrow is built without encryption"
    )

    class InMemoryKms(encryption.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key: bytes, master: str) -> bytes:
            return base64.b64encode(key)

        def unwrap_key(self, wrapped: bytes, master: str) -> bytes:
            return base64.b64decode(wrapped)

    factory = encryption.CryptoFactory(lambda config: InMemoryKms())
    properties = factory.file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            footer_key="footer", column_keys={"k": columns}, plaintext_footer=plaintext_footer
        ),
    )
    with pq.ParquetWriter(file, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


SECRETS = pa.table({"time": [1, 2], "x": [3, 4], "y": [5, 6]})


def test_an_encrypted_footer_is_refused(tmp_path: Path) -> None:
    encrypt(tmp_path / "f.parquet", SECRETS, columns=["x"], plaintext_footer=False)
    with pytest.raises(InvalidEntry, match=r"f\.parquet' has an encrypted footer"):
        index(tmp_path / "f.parquet", tmp_path)


def test_an_encrypted_time_column_is_refused(tmp_path: Path) -> None:
    encrypt(tmp_path / "f.parquet", SECRETS, columns=["time"], plaintext_footer=True)
    with pytest.raises(InvalidEntry, match=r"f\.parquet': time column 'time' is encrypted"):
        index(tmp_path / "f.parquet", tmp_path)


def test_other_encrypted_columns_have_no_bounds(tmp_path: Path) -> None:
    # pyarrow's own metadata classes end the process on such a file.
    encrypt(tmp_path / "f.parquet", SECRETS, columns=["x"], plaintext_footer=True)
    entry = index(tmp_path / "f.parquet", tmp_path)
    assert (entry.min_time, entry.max_time) == (1, 2)
    assert (entry.min, entry.max) == ({"time": 1, "y": 5}, {"time": 2, "y": 6})
