"""A small lake to damage, in whatever store its catalog is."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from fix_redis import redis_params

from gigapi_metadata import IndexEntry, Layer, connect
from gigapi_metadata.checking import (
    Checked,
    CheckOptions,
    Footers,
    Repaired,
    check_table,
    rebuild_table,
    repair_table,
)
from gigapi_metadata.checking.rebuild import RebuildReport
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.storage import Storages
from gigapi_metadata.stores.repairing import StoredEntry
from gigapi_metadata.stores.sqlite.rows import split_path

DAY = "date=2024-01-15"
BASE_NS = 1_705_276_800_000_000_000
SECOND = 10**9


def stores() -> list[Any]:
    """Every kind of store, and every server."""
    return [
        pytest.param(("sqlite", None), id="sqlite"),
        pytest.param(("json", None), id="json"),
        *(
            pytest.param(("redis", kind.values[0]), id=kind.id, marks=kind.marks)
            for kind in redis_params()
        ),
    ]


class Lake:
    """Table db.t in layers hot and cold. Files are a day old unless told otherwise."""

    def __init__(
        self, kind: str, url: str, folder: Path, layers: list[Layer] | None = None
    ) -> None:
        self.kind, self.url, self.folder = kind, url, folder
        self.layers = layers or [
            Layer(f"file://{folder}/hot", "hot"),
            Layer(f"file://{folder}/cold", "cold"),
        ]
        for name in ("hot", "cold"):
            (folder / name).mkdir(exist_ok=True)
        self.storages = Storages(self.layers)
        self.catalog = connect(url, self.layers, [[3600, 10**9, 1]])
        self.index: Index[Any] = self.catalog.table("db", "t")
        self.footers = Footers(1)
        self.raw = TableRepairs(self.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.footers.close()
        self.catalog.close()

    # Filling

    def file(self, path: str, layer: str = "hot") -> Path:
        return self.folder / layer / "db" / "t" / "data" / path

    def write(
        self, name: str, hour: int = 0, layer: str = "hot", rows: int = 10, *, young: bool = False
    ) -> str:
        """Write a file, not registered; its path."""
        path = f"{DAY}/hour={hour:02}/{name}.parquet"
        file = self.file(path, layer)
        file.parent.mkdir(parents=True, exist_ok=True)
        start = BASE_NS + hour * 3600 * SECOND
        times = [start + number * SECOND for number in range(rows)]
        values = [f"{name} {number}" for number in range(rows)]
        pq.write_table(pa.table({"__timestamp": pa.array(times, pa.int64()), "v": values}), file)
        if not young:
            self.age(file)
        return path

    @staticmethod
    def age(file: Path, seconds: float = 86_400) -> None:
        moment = time.time() - seconds
        os.utime(file, (moment, moment))

    def entry(self, path: str, layer: str = "hot") -> IndexEntry:
        file = self.file(path, layer)
        data = self.folder / layer / "db" / "t" / "data"
        return IndexEntry.from_parquet(file, root=data, database="db", table="t", layer=layer)

    def fill(self, count: int = 3, hours: int = 2) -> list[IndexEntry]:
        paths = [self.write(f"f{n}.1", hour) for hour in range(hours) for n in range(count)]
        entries = [self.entry(path) for path in paths]
        self.index.batch(entries)
        return entries

    def bare(self, count: int = 2) -> list[IndexEntry]:
        """Entries with their files, and no plan."""
        entries = [self.entry(self.write(f"bare{n}.1", 4)) for n in range(count)]
        self.index.import_entries(entries)
        return entries

    # Checking

    def options(self, **changes: Any) -> CheckOptions:
        return msgspec.structs.replace(CheckOptions(), **changes)

    def check(self, **changes: Any) -> Checked:
        return check_table(self.index, self.storages, self.footers, self.options(**changes))

    def kinds(self, **changes: Any) -> list[str]:
        """The kinds of faults found, sorted, each once."""
        return sorted({finding.kind for finding in self.check(**changes).faults})

    def notes(self, **changes: Any) -> list[str]:
        """The kinds of notes, likewise."""
        return sorted({finding.kind for finding in self.check(**changes).notes})

    def repair(self, **changes: Any) -> Repaired:
        checked, options = self.check(**changes), self.options(**changes)
        return repair_table(self.index, self.storages, self.footers, checked, options)

    def rebuild(self, **changes: Any) -> RebuildReport:
        return rebuild_table(self.index, self.storages, self.footers, **changes)

    # Damage by hand

    @property
    def client(self) -> redis.Redis:
        assert self.kind == "redis"
        client: redis.Redis = self.index.connection.client
        return client

    def sql(self, statement: str, *values: object) -> None:
        assert self.kind == "sqlite"
        with closing(sqlite3.connect(self.folder / "catalog.db")) as db, db:
            assert db.execute(statement, values).rowcount > 0

    def document(self, path: str, layer: str = "hot") -> Path:
        return self.file(path, layer).with_name("metadata.json")

    def forget(self, entry: IndexEntry) -> None:
        """Take an entry out behind everybody's back, its plan and count left as they are."""
        if self.kind == "redis":
            assert self.client.hdel(f"files:db:t:{DAY}", entry.path) == 1
        elif self.kind == "sqlite":
            self.sql("DELETE FROM files WHERE dir = ? AND name = ?", *split_path(entry.path))
        else:
            file = self.document(entry.path)
            content = json.loads(file.read_bytes())
            content["files"] = [e for e in content["files"] if e["path"] != entry.path]
            file.write_text(json.dumps(content))

    def garble(self, entry: IndexEntry) -> None:
        """Make what is stored of an entry unreadable."""
        if self.kind == "redis":
            self.client.hset(f"files:db:t:{DAY}", entry.path, '{"layer":"hot","pa')
        elif self.kind == "sqlite":
            at = "WHERE dir = ? AND name = ?"
            self.sql(f"UPDATE files SET min_data = '{{\"v\":' {at}", *split_path(entry.path))
        else:
            file = self.document(entry.path)
            content = json.loads(file.read_bytes())
            for each in content["files"]:
                if each["path"] == entry.path:
                    each["size_bytes"] = "many"
            file.write_text(json.dumps(content))

    def stored(self) -> list[StoredEntry]:
        return [each for place in self.raw.places() for each in self.raw.stored(place)]


def queued(entry: IndexEntry, kind: Any = "merge", **changes: Any) -> QueuedPlan:
    """A plan about one file, to be imported."""
    fields: dict[str, Any] = {
        "kind": kind,
        "state": "waiting",
        "id": f"{kind}-plan",
        "layer": entry.layer,
        "writer_id": entry.writer_id,
        "dir": entry.path.rpartition("/")[0],
        "iteration": 1 if kind == "merge" else 0,
        "paths": [entry.path],
        "size_bytes": entry.size_bytes if kind == "merge" else 0,
        "due_s": int(time.time()),
    }
    return QueuedPlan(**{**fields, **changes})
