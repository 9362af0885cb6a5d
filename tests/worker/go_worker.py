"""A process that writes files and merges them as GigAPI does, on the lake of a Lab on Redis."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import go_like
import pyarrow.parquet as pq
import redis
from go_like import GoLike
from worker_lab import CHUNK_NS, DAY, Lab, readings

from gigapi_metadata import IndexEntry

T = TypeVar("T")
WRITER = ""
HOURS = 3


class _Atomic:
    """Redis as one of GigAPI's Lua scripts sees it: nobody comes between its commands."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._writes: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def read(key: str, *args: Any) -> Any:
            self._pipe.watch(key)
            return getattr(self._pipe, name)(key, *args)

        def write(*args: Any) -> None:
            self._writes.append((name, args))

        return write if name in ("hset", "hdel", "lset", "rpush", "lpop", "lrem") else read

    def time(self) -> Any:
        return self._pipe.time()

    def hincrby(self, key: str, field: str, by: int) -> int:
        self._pipe.watch(key)
        self._writes.append(("hincrby", (key, field, by)))
        return int(self._pipe.hget(key, field) or 0) + by

    def write(self) -> None:
        self._pipe.multi()
        for name, args in self._writes:
            getattr(self._pipe, name)(*args)
        self._pipe.execute()


def rows_of_file(number: int) -> Any:
    """What GigAPI's file of that number holds."""
    return readings(number % HOURS, 1000 + number, 20)


class Go:
    def __init__(self, lab: Lab) -> None:
        go_like.GRACE_S = lab.drop_grace_s
        self._client = redis.Redis.from_url(lab.redis)
        self._lab = lab
        self._go = GoLike(
            self._client, lab.layers, lab.merge, database=lab.database, table=lab.table_name
        )
        self._go.draw = lambda: str(uuid.uuid4())  # type: ignore[method-assign]

    def atomically(self, call: Callable[[GoLike], T]) -> T:
        while True:
            with self._client.pipeline() as pipe:
                self._go._redis = atomic = _Atomic(pipe)  # type: ignore[assignment]
                try:
                    result = call(self._go)
                    atomic.write()
                except redis.WatchError as error:
                    if "changed" not in str(error):
                        raise  # it may have happened
                    continue
                return result

    def write(self, number: int) -> None:
        path = f"{DAY}/hour={number % HOURS:02}/{uuid.uuid4()}.1.parquet"
        self._register(path, rows_of_file(number))

    def merge(self, hour: int) -> bool:
        """Lease a plan, merge its files, register the result, then remove the sources."""
        lab = self._lab
        folder = f"{DAY}/hour={hour:02}"
        queue = f"merge:{lab.database}:{lab.table_name}:1:{folder}:{lab.layers[0].name}:{WRITER}"
        plan = self.atomically(lambda go: go.lease(queue))
        if plan is None:
            return False
        files = [self._file(path) for path in plan["paths"]]
        merged = pq.read_table(files[0]) if len(files) == 1 else _concatenated(files)
        self._register(f"{folder}/{uuid.uuid4()}.2.parquet", merged)
        sources = [self._entry(path) for path in plan["paths"]]
        self.atomically(lambda go: go.remove(*sources))
        self.atomically(lambda go: go.end(queue, plan["id"]))
        return True

    def _file(self, path: str) -> Path:
        return self._lab.data_folder(self._lab.layers[0].name) / path

    def _entry(self, path: str) -> IndexEntry:
        return IndexEntry.from_parquet(
            self._file(path),
            root=self._lab.data_folder(self._lab.layers[0].name),
            database=self._lab.database,
            table=self._lab.table_name,
            layer=self._lab.layers[0].name,
            chunk_time=CHUNK_NS,
        )

    def _register(self, path: str, table: Any) -> None:
        self._file(path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self._file(path))
        self.atomically(lambda go: go.add(self._entry(path)))


def _concatenated(files: list[Path]) -> Any:
    import pyarrow as pa

    return pa.concat_tables([pq.read_table(file) for file in files])


def run(lab: Lab, files: int, pipe: Connection) -> None:
    """Write so many files, and merge what is due in between; how many merges."""
    go = Go(lab)
    pipe.send("ready")
    merges = 0
    for number in range(files):
        go.write(number)
        if number % 4 == 3:
            merges += go.merge(number // 4 % HOURS)
    pipe.send(merges)
