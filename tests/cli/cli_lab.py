"""What tests of the command line share: a command's result, and lakes to work on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SECOND = 10**9
HOUR = 3600 * SECOND
DAY_START = 1_705_276_800 * SECOND  # 2024-01-15T00:00:00Z


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Cli = Callable[..., Result]


def write_parquet(
    file: Path, start: int = DAY_START, rows: int = 3, column: str = "__timestamp"
) -> Path:
    """A file with a reading a second from `start` on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    times = [start + SECOND * row for row in range(rows)]
    table = pa.table(
        {column: pa.array(times, pa.int64()), "value": pa.array(range(rows), pa.int64())}
    )
    pq.write_table(table, file)
    return file


def write_lake(root: Path, files: int = 6, database: str = "db", table: str = "t") -> list[str]:
    """`files` files, one an hour from 2024-01-15 on; their paths below the data folder."""
    paths = []
    for number in range(files):
        day, hour = 15 + number // 24, number % 24
        path = f"date=2024-01-{day}/hour={hour:02}/file{number}.1.parquet"
        write_parquet(root / database / table / "data" / path, DAY_START + number * HOUR)
        paths.append(path)
    return paths
