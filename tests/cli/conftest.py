"""The command line, called as a user would, and lakes for it to work on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gigapi_metadata.cli import main

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


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a folder of its own, without anybody's settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GIGAPI_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


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


@pytest.fixture
def lake(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A scanned lake, as the working folder; its paths."""
    root = tmp_path / "lake"
    paths = write_lake(root)
    monkeypatch.chdir(root)
    assert cli("scan", ".").code == 0
    return paths
