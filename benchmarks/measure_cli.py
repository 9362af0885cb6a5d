"""The command line: a whole process that lists an hour's files, beside one that loads libraries.

Both are started in turn from the same interpreter; what is timed is the wall clock until they end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lake import FILES_AN_HOUR, HOUR_NS, START_NS, entries
from benchmarks.rows import Row, compare
from gigapi_metadata import SQLiteIndex

SIZES = (17_280, 200_000, 1_000_000)
CHUNK = 5_000
RUNS = 25
FLOOR = (sys.executable, "-c", "import msgspec, sqlite3")


def _start(command: Sequence[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def files_of_an_hour(file: Path, sizes: Sequence[int]) -> Iterator[Row]:
    """`gigapi-metadata files` for one hour, 240 files, out of ever more."""
    program = Path(sys.executable).with_name("gigapi-metadata")
    source, there = entries(max(sizes)), 0
    for size in sizes:
        with SQLiteIndex(file, "bench", "t") as index:
            while there < size:
                batch = list(islice(source, min(CHUNK, size - there)))
                index.batch(batch)
                there += len(batch)
        after = START_NS + size // FILES_AN_HOUR // 2 * HOUR_NS
        command = [
            str(program), "files", "bench.t", "--catalog", str(file),
            "--after", str(after), "--before", str(after + HOUR_NS - 1),
        ]  # fmt: skip
        listed = subprocess.run(command, capture_output=True, check=True).stdout
        assert listed.count(b"\n") == FILES_AN_HOUR + 1, listed[:500]
        yield compare(
            "SQLite", "gigapi-metadata files, 1 h, whole process", size,
            lambda: _start(FLOOR), lambda command=command: _start(command),
            at_most=3.0, runs=RUNS,
        )  # fmt: skip


def measure(sizes: Sequence[int] = SIZES) -> list[Row]:
    """Every row, on a catalog that is deleted afterwards."""
    with TemporaryDirectory() as folder:
        return list(files_of_an_hour(Path(folder) / "lake.db", sizes))
