"""SQL: planning beside the bare query of the index, and the command beside DuckDB alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.lake import FILES_AN_HOUR, HOUR_NS, START_NS, entries
from benchmarks.rows import Row, compare
from gigapi_metadata import Catalog, IndexEntry, connect
from gigapi_metadata.sql import engine, names, plan

SIZES = (17_280, 200_000, 1_000_000)
PLANNING_S = 0.015
"""What planning may take beyond the query of the index."""

_CHUNK = 20_000


def planning(root: Path, sizes: Sequence[int]) -> Iterator[Row]:
    """From SQL to the list of the 240 files of an hour, which are there; the floor is the query."""
    source, there = entries(max(sizes)), 0
    with connect(root) as catalog:
        for size in sizes:
            while there < size:
                batch = list(islice(source, min(_CHUNK, size - there)))
                catalog.table("bench", "t").import_entries(batch)
                there += len(batch)
            yield _planning(catalog, root, size)


def _planning(catalog: Catalog, root: Path, size: int) -> Row:
    after = START_NS + size // FILES_AN_HOUR // 2 * HOUR_NS
    before = after + HOUR_NS - 1
    index = catalog.table("bench", "t")
    found = index.query(after=after, before=before)
    for entry in found:
        _write(root, entry)
    query = f"SELECT count(*) FROM bench.t WHERE time >= {after} AND time <= {before - 1000}"
    made = engine.engine_for(catalog)
    planner = plan.Planner(made, names.Names(catalog), catalog.table)
    connection = made.connect()
    row = compare(
        "SQLite", f"SQL planned, 1 h, {len(found):,} files", size,
        lambda: index.query(after=after, before=before),
        lambda: planner.plan(connection, query), repeat=5,
    )  # fmt: skip
    row["at_most"] = (row["floor_s"] + PLANNING_S) / row["floor_s"]
    return row


def _write(root: Path, entry: IndexEntry) -> None:
    file = root / "bench/t/data" / entry.path
    file.parent.mkdir(parents=True, exist_ok=True)
    times = pa.array([entry.min_time, entry.max_time], pa.int64())
    pq.write_table(pa.table({"time": times, "temp": [1.0, 2.0]}), file)


def command(root: Path) -> Row:
    """The whole command on a small table; the floor is the duckdb module told the file's name."""
    start = START_NS
    paths = []
    with connect(root) as catalog:
        for number in range(48):
            entry = IndexEntry(
                database="small", table="t", path=f"date=2024-01-15/hour={number:02}/f.1.parquet",
                size_bytes=700, min_time=start + number * HOUR_NS, row_count=2,
                max_time=start + number * HOUR_NS + 1,
            )  # fmt: skip
            file = root / "small/t/data" / entry.path
            file.parent.mkdir(parents=True, exist_ok=True)
            times = pa.array([entry.min_time, entry.max_time], pa.int64())
            pq.write_table(pa.table({"time": times, "temp": [1.0, 2.0]}), file)
            catalog.table("small", "t").batch([entry])
            paths.append(str(file))
    condition = f"time < {start + 2 * HOUR_NS}"
    bare = f"SELECT count(*) FROM read_parquet({paths[:2]}) WHERE {condition}"
    ours = f"SELECT count(*) FROM small.t WHERE {condition}"
    floor = [sys.executable, "-c", f"import duckdb; print(duckdb.sql({bare!r}))"]
    words = [sys.executable, "-m", "gigapi_metadata", "sql", "--catalog", str(root), ours]
    return compare(
        "SQLite", "the sql command beside the duckdb module", 48,
        lambda: subprocess.run(floor, check=True, capture_output=True),
        lambda: subprocess.run(words, check=True, capture_output=True), at_most=2.0,
    )  # fmt: skip


def measure(sizes: Sequence[int] = SIZES) -> list[Row]:
    """Every row, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return [command(Path(folder, "small")), *planning(Path(folder, "large"), sizes)]
