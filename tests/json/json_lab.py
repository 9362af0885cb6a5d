"""A table in folders for the tests beside this file, and what lies in its folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fix_stores import SECOND, START_S

from gigapi_metadata import IndexEntry, JSONIndex, Layer

HOURS = [f"date=2027-01-15/hour={hour:02}" for hour in range(4)]


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


def tiers(root: Path, ttl_sec: int = 0) -> list[Layer]:
    return [
        Layer(f"file://{root}/hot", "hot", ttl_sec=ttl_sec),
        Layer(f"file://{root}/cold", "cold"),
    ]


def made(number: int, dir: str = HOURS[0], **changes: Any) -> IndexEntry:
    """An entry of db.t."""
    fields: dict[str, Any] = {
        "database": "db",
        "table": "t",
        "path": f"{dir}/f{number:05}.1.parquet",
        "size_bytes": 100,
        "min_time": START_S * SECOND + number,
        "max_time": START_S * SECOND + number,
        "row_count": 1,
        "chunk_time": START_S * SECOND,
    }
    return IndexEntry(**{**fields, **changes})


def data(root: Path, dir: str = HOURS[0]) -> Path:
    """The folder of `dir` in a table without layers."""
    return root / "db" / "t" / "data" / dir


def document(root: Path, dir: str = HOURS[0]) -> dict[str, Any]:
    """The `metadata.json` of `dir` in a table without layers."""
    found: dict[str, Any] = json.loads((data(root, dir) / "metadata.json").read_bytes())
    return found


def go_entry(number: int, dir: str = HOURS[0], **changes: Any) -> dict[str, Any]:
    """An entry as GigAPI writes it."""
    return {
        "layer": "",
        "database": "db",
        "table": "t",
        "path": f"{dir}/go{number}.1.parquet",
        "size_bytes": 100,
        "row_count": 1,
        "chunk_time": START_S * SECOND,
        "min": None,
        "max": None,
        "min_time": START_S * SECOND + number,
        "max_time": START_S * SECOND + number,
        "writer_id": "",
        "id": number,
        "range": "1h",
        "type": "compacted",
        **changes,
    }


def go_writes(
    folder: Path, files: list[dict[str, Any]], drops: list[Any] | None = None, **fields: Any
) -> None:
    """Another process puts a `metadata.json` into `folder`, as GigAPI does."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "type": "t",
        "parquet_size_bytes": sum(file.get("size_bytes", 0) for file in files),
        "row_count": sum(file.get("row_count", 0) for file in files),
        "min_time": min((file["min_time"] for file in files), default=0),
        "max_time": max((file["max_time"] for file in files), default=0),
        "wal_sequence": 0,
        "drop_queue": drops or [],
        "files": files,
        **fields,
    }
    backup = folder / "metadata.json.bak"
    backup.write_text(json.dumps(content, separators=(",", ":")))
    backup.rename(folder / "metadata.json")


def go_drop(path: str, time_s: int, **changes: Any) -> dict[str, Any]:
    """A drop as GigAPI writes it."""
    names = {"ID": "", "WriterID": "", "Layer": "", "Database": "db", "Table": "t"}
    return {**names, "Path": path, "TimeS": time_s, **changes}


def contents(root: Path) -> Mapping[str, bytes]:
    """Every file of a catalog, but for the lock and the journal."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file() and file.name not in ("lock", "journal.json")
    }


def index(root: Path, *, clock: Clock | None = None, **options: Any) -> JSONIndex:
    options.setdefault("merge_configurations", [[10, 1000, 1]])
    return JSONIndex(root, "db", "t", clock=clock or Clock(), **options)
