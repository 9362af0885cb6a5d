"""Several Parquet files -> one: every row, value and type as it was."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gigapi_metadata.errors import LeaseLost, MergeFailed, SchemaConflict
from gigapi_metadata.storage import LocalStorage
from gigapi_metadata.storage.base import TEMP_PREFIX, TEMP_SUFFIX
from gigapi_metadata.worker import rewrite
from gigapi_metadata.worker.rewrite import Interrupt, Limits, Merged, merge_files
from gigapi_metadata.worker.sources import Input

Merge = Callable[..., tuple[Merged, pa.Table]]


def free() -> None:
    """Nothing stops the job."""


@pytest.fixture
def merge(tmp_path: Path) -> Merge:
    """Write the tables, merge their files, read the result."""

    def run(
        *tables: pa.Table | dict[str, Any], check: Callable[[], None] = free, **options: Any
    ) -> tuple[Merged, pa.Table]:
        inputs = []
        for number, table in enumerate(tables):
            file = tmp_path / f"{number}.parquet"
            written = table if isinstance(table, pa.Table) else pa.table(table)
            pq.write_table(written, file, **options)
            inputs.append(Input(f"file{number}", file))
        output = tmp_path / "output"
        limits = Limits(500_000_000, 1, tmp_path / "spill")
        merged = merge_files(inputs, output, limits, Interrupt(check))
        return merged, pq.read_table(output)

    return run


T2 = {"time": pa.array([2, 1])}

TYPES: dict[str, pa.Array] = {
    "int8": pa.array([1, None, -128], pa.int8()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "float32": pa.array([math.nan, None, -0.0], pa.float32()),
    "float64": pa.array([-math.nan, math.inf, -0.0]),
    "float16": pa.array([1, None, 2], pa.float16()),
    "bool": pa.array([True, None, False]),
    "string": pa.array(["", None, "ü\x00x"]),
    "large string": pa.array(["a", None, "b"], pa.large_string()),
    "categorical": pa.array(["a", None, "b"]).dictionary_encode(),
    "binary": pa.array([b"\xff\x00", None, b""]),
    "fixed binary": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "seconds": pa.array([1, None, 3], pa.timestamp("s")),
    "milliseconds": pa.array([1, None, 3], pa.timestamp("ms")),
    "microseconds": pa.array([1, None, 3], pa.timestamp("us")),
    "nanoseconds": pa.array([1, None, 3], pa.timestamp("ns")),
    "nanoseconds in a zone": pa.array([1, None, 3], pa.timestamp("ns", "Europe/Berlin")),
    "date": pa.array([1, None, -3], pa.date32()),
    "time of day": pa.array([1, None, 3], pa.time64("ns")),
    "duration": pa.array([1, None, 3], pa.duration("ns")),
    "decimal": pa.array([decimal.Decimal("1.25"), None, None], pa.decimal128(38, 2)),
    "wide decimal": pa.array([decimal.Decimal("1.25"), None, None], pa.decimal256(60, 2)),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int32())),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32())),
    "null": pa.nulls(3),
}


@pytest.mark.parametrize("name", TYPES)
def test_types_and_values_are_kept(merge: Merge, name: str) -> None:
    one = pa.table({"__timestamp": pa.array([5, 3, 4]), "x": TYPES[name]})
    two = pa.table({"__timestamp": pa.array([2, 6, 1]), "x": TYPES[name]})
    merged, found = merge(one, two)
    expected = pa.concat_tables([one, two]).sort_by("__timestamp")
    if "duration" not in name:
        assert found.schema.field("x").type == pq_type(expected.schema.field("x").type)
    assert merged.rows == 6
    assert found.column("__timestamp").to_pylist() == [1, 2, 3, 4, 5, 6]
    assert values(found.column("x")) == values(expected.column("x"))


def values(column: pa.ChunkedArray) -> list[str]:
    """The values as text: to the last nanosecond, and telling -0.0 from 0.0."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) and column.type.unit == "s":
        column = column.cast(pa.timestamp("ms", column.type.tz))
    try:
        return [repr(value) for value in column.to_pylist()]
    except ValueError:  # nanoseconds: Python's own times lack them
        return [repr(value) for value in column.cast(pa.int64()).to_pylist()]


def pq_type(kind: pa.DataType) -> pa.DataType:
    """Parquet knows no seconds."""
    return pa.timestamp("ms") if kind == pa.timestamp("s") else kind


def test_int96_keeps_its_nanoseconds(merge: Merge) -> None:
    table = pa.table({"time": pa.array([3, 1], pa.timestamp("ns"))})
    merged, found = merge(table, table, use_deprecated_int96_timestamps=True)
    assert merged.layout.engine == "arrow"
    assert found.column("time").cast(pa.int64()).to_pylist() == [1, 1, 3, 3]


NS = pa.timestamp("ns")
WIDENED = [
    (pa.array([1, 2], pa.int32()), pa.array([2**40, None]), pa.int64()),
    (pa.array([1, 2], pa.int32()), pa.array([0.5, None], pa.float32()), pa.float64()),
    (pa.array([2**53, 2]), pa.array([0.5, None]), pa.float64()),
    (pa.array([1, 2], pa.uint64()), pa.array([-1, None]), pa.int64()),
    (
        pa.array([1, 2], pa.timestamp("us")),
        pa.array([1, 2], pa.timestamp("ns")),
        pa.timestamp("ns"),
    ),
    (pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", None]), pa.string()),
    (pa.nulls(2), pa.array(["a", None]), pa.string()),
    (pa.array([{"a": 1}, None]), pa.array([{"b": 1.5}, None]), None),
    (pa.array([[1], None]), pa.array([[0.5], None]), pa.list_(pa.float64())),
]


@pytest.mark.parametrize(("one", "two", "kind"), WIDENED)
def test_widening(merge: Merge, one: pa.Array, two: pa.Array, kind: pa.DataType | None) -> None:
    for left, right in ((one, two), (two, one)):
        _, found = merge({**T2, "x": left}, {**T2, "x": right})
        if kind is not None:
            assert found.schema.field("x").type == kind
            both = pa.chunked_array([left.cast(kind), right.cast(kind)])
            assert sorted(values(found.column("x"))) == sorted(values(both))
        assert len(found) == 4


def test_a_missing_column_is_null(merge: Merge) -> None:
    _, found = merge({**T2, "x": [1, 2]}, {"y": ["a", "b"], **T2})
    rows = sorted(found.to_pylist(), key=repr)
    assert rows == [
        {"time": 1, "x": 2, "y": None},
        {"time": 1, "x": None, "y": "b"},
        {"time": 2, "x": 1, "y": None},
        {"time": 2, "x": None, "y": "a"},
    ]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (pa.array([1, 2]), pa.array(["a", "b"])),
        (pa.array(["a", "b"]), pa.array([b"a", b"b"])),
        (pa.array([1, 2], pa.timestamp("us")), pa.array([1, 2], pa.timestamp("us", "UTC"))),
        (pa.array([2**53 + 1, 2]), pa.array([0.5, None])),
        (pa.array([2**63, 2], pa.uint64()), pa.array([-1, None])),
    ],
)
def test_a_conflict_names_column_types_and_files(
    merge: Merge, one: pa.Array, two: pa.Array
) -> None:
    with pytest.raises(SchemaConflict, match=r"column 'x' is .* 'file[01]'"):
        merge({**T2, "x": one}, {**T2, "x": two})


def test_names_that_differ_in_case_only(merge: Merge) -> None:
    merged, found = merge({**T2, "x": [1, 2], "X": [3, 4]}, {**T2, "x": [5, 6], "X": [7, 8]})
    assert merged.layout.engine == "arrow"
    assert found.schema.names == ["time", "x", "X"]


def test_names_and_folders_mean_nothing(tmp_path: Path) -> None:
    """date=… is no column, [x] no pattern, a quote no end of a string."""
    folder = tmp_path / "date=2024-01-15" / "it's"
    folder.mkdir(parents=True)
    files = [folder / "[ab].parquet", folder / "a.parquet"]
    for file in files:
        pq.write_table(pa.table({'odd "name"': [1], "time": [1]}), file)
    output = tmp_path / "out"
    limits = Limits(500_000_000, 1, tmp_path / "spill")
    merge_files([Input("f", f) for f in files], output, limits, Interrupt(free))
    assert pq.read_table(output).to_pylist() == [{'odd "name"': 1, "time": 1}] * 2


def test_the_footers_own_keys_are_kept_where_files_agree(merge: Merge) -> None:
    tables = [
        pa.table(T2).replace_schema_metadata({"same": "it's", "other": str(number)})
        for number in range(2)
    ]
    _, found = merge(*tables)
    assert found.schema.metadata == {b"same": b"it's"}


@pytest.mark.parametrize("error", [MemoryError, duckdb.OutOfMemoryException])
def test_when_memory_runs_out_the_work_is_halved(
    merge: Merge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[Exception]
) -> None:
    real = rewrite._by_duckdb

    def limited(job: Any, output: Path) -> bool:
        if len(job.files) > 2:
            raise error("no memory")
        return real(job, output)

    monkeypatch.setattr(rewrite, "_by_duckdb", limited)
    tables = [{"time": pa.array([number + 10, number])} for number in range(7)]
    merged, found = merge(*tables)
    assert merged.parts == 4
    assert sorted(found.column("time").to_pylist()) == sorted([*range(7), *range(10, 17)])
    assert {path.name for path in tmp_path.glob("output*")} == {"output"}


def test_pieces_are_named_as_unfinished_files_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever is killed while the work is halved leaves pieces: they are known by both ends."""
    seen: set[str] = set()

    def limited(job: Any, output: Path) -> bool:
        seen.add(output.name)
        raise MemoryError("no memory")

    monkeypatch.setattr(rewrite, "_by_duckdb", limited)
    storage = LocalStorage("", tmp_path, ())
    inputs = []
    for number in range(3):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table(T2), file)
        inputs.append(Input(file.name, file))
    limits = Limits(64_000_000, 1, tmp_path / "spill")
    with storage.draft("0123.2.parquet") as draft:
        assert merge_files(inputs, draft, limits, Interrupt(free)).parts == 3
    assert len(seen) == 5
    assert all(name.startswith(f"{TEMP_PREFIX}0123") for name in seen)
    assert all(name.endswith(TEMP_SUFFIX) for name in seen)


def test_spilling_within_little_memory(tmp_path: Path) -> None:
    """Far more data than memory: sorted all the same, and nothing is left of what was spilled."""
    rows = 300_000
    inputs = []
    for number in range(4):
        file = tmp_path / f"{number}.parquet"
        times = pa.array(range(number, rows * 4, 4))
        pq.write_table(
            pa.table({"time": times, "text": pa.array([f"{n:064}" for n in range(rows)])}), file
        )
        inputs.append(Input(file.name, file))
    limits = Limits(64_000_000, 1, tmp_path / "spill")
    merged = merge_files(inputs, tmp_path / "output", limits, Interrupt(free))
    times = pq.read_table(tmp_path / "output", columns=["time"]).column("time").to_pylist()
    assert sorted(times) == list(range(rows * 4))
    assert merged.rows == rows * 4
    assert not list(tmp_path.glob("spill/*"))


def test_a_source_that_can_not_be_read(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.parquet", tmp_path / "bad.parquet"
    pq.write_table(pa.table(T2), good)
    bad.write_bytes(b"PAR1 this is none")
    limits = Limits(500_000_000, 1, tmp_path / "spill")
    with pytest.raises(MergeFailed, match="'the bad one' can't be read"):
        merge_files(
            [Input("good", good), Input("the bad one", bad)],
            tmp_path / "output",
            limits,
            Interrupt(free),
        )


@pytest.mark.parametrize(
    ("query", "rows"),
    [("{} WHERE time > 1", 2), ("FROM ({0}) UNION ALL BY NAME FROM ({0})", 8)],
    ids=["too few", "too many"],
)
def test_a_result_with_other_rows_than_its_sources_is_refused(
    merge: Merge, monkeypatch: pytest.MonkeyPatch, query: str, rows: int
) -> None:
    real = rewrite._query
    monkeypatch.setattr(rewrite, "_query", lambda job: query.format(real(job)))
    with pytest.raises(MergeFailed, match=f"has {rows} rows, its sources have 4"):
        merge(T2, T2)


def test_a_job_that_must_stop_stops(merge: Merge) -> None:
    def lost() -> None:
        raise LeaseLost("lost")

    with pytest.raises(LeaseLost):
        merge(T2, T2, check=lost)
