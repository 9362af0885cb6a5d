"""What the worker adds to a merge: 100 files of 1 MB through it, and the bare DuckDB COPY of them.

    python benchmarks/worker_merge.py [--runs 5] [--files 100] [--json]

Both run in this process, in turn, on the same files, with the same memory and threads, so that the
ratio of their medians says something on any machine. The worker's time is everything: finding the
table and the plan, reading footers, the merge, verifying, flushing to disk, the catalog.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gigapi_metadata import IndexEntry, connect
from gigapi_metadata.storage import Storages
from gigapi_metadata.worker import Filter, Options, Worker
from gigapi_metadata.worker.columns import literal

LIMIT = 1.25
MEMORY = 2_000_000_000
ROWS = 45_000  # make 1 MB
START_NS = 1_705_276_800_000_000_000


def write_files(folder: Path, count: int) -> list[Path]:
    """Readings of 50 hosts, each file overlapping the next ones in time."""
    dice = random.Random(4)
    folder.mkdir(parents=True)
    files = []
    for number in range(count):
        start = START_NS + number * 10_000_000_000
        times = sorted(start + dice.randrange(1_000_000_000_000) for _ in range(ROWS))
        table = pa.table(
            {
                "__timestamp": pa.array(times, pa.int64()),
                "host": [f"host-{n % 50}" for n in range(ROWS)],
                "value": [dice.gauss(0, 1) for _ in range(ROWS)],
                "count": [dice.randrange(1_000_000) for _ in range(ROWS)],
            }
        )
        files.append(folder / f"{number}.1.parquet")
        pq.write_table(table, files[-1], compression="zstd")
    return files


def bare(files: list[Path], target: Path) -> float:
    """Seconds that DuckDB takes alone."""
    names = ", ".join(literal(os.fspath(file)) for file in files)
    started = time.perf_counter()
    settings = {"memory_limit": f"{MEMORY // 1_000_000}MB", "threads": os.cpu_count() or 1}
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_parquet([{names}]) ORDER BY __timestamp) "
            f"TO {literal(os.fspath(target))} "
            "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)"
        )
    return time.perf_counter() - started


def through_worker(root: Path, files: list[Path], number: int) -> float:
    """Seconds that a worker takes, from looking for work to having none."""
    data = root / "bench" / "t" / "data"
    url = f"sqlite://{root / f'catalog{number}.db'}"
    with connect(url, merge_configurations=[[0, 10**12, 1]]) as catalog:
        catalog.table("bench", "t").batch(
            [IndexEntry.from_parquet(f, root=data, database="bench", table="t") for f in files]
        )
        options = Options(Filter(kinds=("merge",)), memory=MEMORY, temporary=root / "temporary")
        started = time.perf_counter()
        with Worker(catalog, Storages(None, root), options) as worker:
            totals = worker.run(once=True)
        seconds = time.perf_counter() - started
        assert totals == {"done": 1}, totals
        (entry,) = catalog.table("bench", "t").get_all()
        assert entry.row_count == ROWS * len(files)
        (data / entry.path).unlink()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gigapi-bench-") as name:
        root = Path(name)
        files = write_files(root / "bench/t/data/date=2024-01-15/hour=00", args.files)
        size = sum(file.stat().st_size for file in files)
        bare(files, root / "warm.parquet")
        alone, worker = [], []
        for number in range(args.runs):
            alone.append(bare(files, root / "bare.parquet"))
            worker.append(through_worker(root, files, number))
    ratio = statistics.median(worker) / statistics.median(alone)
    result = {
        "name": "worker_merge",
        "files": args.files,
        "bytes": size,
        "bare_s": round(statistics.median(alone), 3),
        "worker_s": round(statistics.median(worker), 3),
        "ratio": round(ratio, 3),
        "limit": LIMIT,
        "ok": ratio <= LIMIT,
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(
            f"merging {args.files} files of {size / args.files / 1e6:.2f} MB: DuckDB alone "
            f"{result['bare_s']} s, the worker {result['worker_s']} s, ratio {ratio:.2f} "
            f"(at most {LIMIT})"
        )
    if ratio > LIMIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
