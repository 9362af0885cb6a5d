"""A writer and worker that behaves as FORMAT.md says GigAPI's engine does, mishaps included.

Plain commands, one after the other. Documents and items are spelled as Lua's cjson spells them: 14
digits, escaped slashes, fields in any order.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from gigapi_metadata import IndexEntry, Layer

LEASE_S = 1800
GRACE_S = 30


class GoLike:
    def __init__(
        self,
        client: redis.Redis,
        layers: Sequence[Layer] = (),
        rows: Sequence[Sequence[int]] = ((10, 10_485_760, 1),),
        seed: int = 0,
        database: str = "db",
        table: str = "t",
    ) -> None:
        self._redis, self._layers, self._rows = client, layers, rows
        self._random = random.Random(seed)
        self.table = f"{database}:{table}"
        self.database, self.name = database, table

    def spell(self, value: Any) -> str:
        """As cjson encodes."""
        if isinstance(value, Mapping):
            fields = list(value.items())
            self._random.shuffle(fields)
            return "{" + ",".join(f"{self.spell(k)}:{self.spell(v)}" for k, v in fields) + "}"
        if isinstance(value, (list, tuple)):
            return "[" + ",".join(map(self.spell, value)) + "]" if value else "{}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return f"{value:.14g}"
        return json.dumps(value, ensure_ascii=False).replace("/", "\\/")

    def now(self) -> int:
        seconds: int = self._redis.time()[0]
        return seconds

    def add(self, *entries: IndexEntry) -> None:
        for entry in entries:
            dir, _, name = entry.path.rpartition("/")
            document = {
                "layer": entry.layer,
                "database": entry.database,
                "table": entry.table,
                "path": entry.path,
                "size_bytes": entry.size_bytes,
                "row_count": entry.row_count,
                "min": entry.min_data,
                "max": entry.max_data,
                "writer_id": entry.writer_id,
                "min_time": 0,
                "max_time": 0,
                "chunk_time": 0,
                "str_min_time": str(entry.min_time),
                "str_max_time": str(entry.max_time),
                "str_chunk_time": str(entry.chunk_time),
                "cmd": "ADD",
            }
            day = entry.path.partition("/")[0]
            self._redis.hset(f"files:{self.table}:{day}", entry.path, self.spell(document))
            self._redis.hincrby(f"folders:{self.table}", dir, 1)
            self._queue(entry, dir, int(name.split(".")[-2]))

    def _queue(self, entry: IndexEntry, dir: str, iteration: int) -> None:
        row = self._rows[iteration - 1] if iteration <= len(self._rows) else None
        names = [layer.name for layer in self._layers]
        ttl = self._layers[names.index(entry.layer)].ttl_sec if self._layers else 0
        if row is not None and (not ttl or row[0] <= ttl):
            key = f"merge:{self.table}:{iteration}:{dir}:{entry.layer}:{entry.writer_id}:idle"
            last = self._redis.lindex(key, -1)
            item = json.loads(last) if last else None
            if item is not None and item["size"] + entry.size_bytes <= row[1]:
                item["paths"].append(entry.path)
                item["size"] += entry.size_bytes
                self._redis.lset(key, -1, self.spell(item))
                return
            new = {
                "id": self.draw(),
                "time_s": self.now() + row[0],
                "paths": [entry.path],
                "size": entry.size_bytes,
            }
            self._redis.rpush(key, self.spell(new))
        elif ttl:
            following = [*names, ""][names.index(entry.layer) + 1]
            move: dict[str, Any] = {
                "id": self.draw(),
                "time_s": entry.chunk_time / 1e9 + ttl,
                "writer_id": entry.writer_id,
                "database": self.database,
                "table": self.name,
                "path_from": entry.path,
                "layer_from": entry.layer,
                "path_to": f"{dir}/{self.draw()}.{iteration}.parquet",
                "layer_to": following,
            }
            if row is None:
                del move["time_s"]
            key = f"move:{self.table}:{entry.layer}:{entry.writer_id}:idle"
            self._redis.rpush(key, self.spell(move))

    def draw(self) -> str:
        """Few ids, often the same."""
        return str(uuid.UUID(int=self._random.randrange(3), version=4))

    def remove(self, *entries: IndexEntry) -> None:
        for entry in entries:
            dir, day = entry.path.rpartition("/")[0], entry.path.partition("/")[0]
            self._redis.hdel(f"files:{self.table}:{day}", entry.path)
            if self._redis.hincrby(f"folders:{self.table}", dir, -1) == 0:
                self._redis.hdel(f"folders:{self.table}", dir)
            drop = {
                "id": self.draw(),
                "time_s": self.now() + GRACE_S,
                "writer_id": entry.writer_id,
                "database": self.database,
                "table": self.name,
                "layer": entry.layer,
                "path": entry.path,
            }
            key = f"drop:{self.table}:{entry.layer}:{entry.writer_id}:idle"
            self._redis.rpush(key, self.spell(drop))

    def lease(self, queue: str) -> dict[str, Any] | None:
        """The plan at the head of the queue, else the head of those whose worker died."""
        for state in ("idle", "processing"):
            raw = self._redis.lindex(f"{queue}:{state}", 0)
            if raw is None:
                continue
            item: dict[str, Any] = json.loads(raw)
            if item["time_s"] <= self.now():
                self._redis.lpop(f"{queue}:{state}")
                item["time_s"] = self.now() + LEASE_S
                self._redis.rpush(f"{queue}:processing", self.spell(item))
                return item
        return None

    def end(self, queue: str, id: str) -> None:
        for raw in self._redis.lrange(f"{queue}:processing", 0, -1):
            if json.loads(raw)["id"] == id:
                self._redis.lrem(f"{queue}:processing", 1, raw)

    def make_due(self, queue: str, by_s: int = 10**9) -> None:
        """As if time had gone by for all plans of the queue."""
        for state in ("idle", "processing"):
            key = f"{queue}:{state}"
            for index, raw in enumerate(self._redis.lrange(key, 0, -1)):
                item = json.loads(raw)
                if "time_s" in item:
                    item["time_s"] = int(item["time_s"]) - by_s
                    self._redis.lset(key, index, self.spell(item))

    def items(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(raw) for raw in self._redis.lrange(key, 0, -1)]

    def read(self) -> dict[str, tuple[int, int]]:
        """What Go sees: path -> (size, rows). Like its decoder, it takes integer notation only."""
        found = {}
        for key in self._redis.scan_iter(f"files:{self.table}:*"):
            for path, raw in self._redis.hgetall(key).items():
                fields = json.loads(raw, parse_float=_no_int64)
                found[path.decode()] = (fields["size_bytes"], fields["row_count"])
        return found


def _no_int64(spelled: str) -> int:
    raise ValueError(f"json: cannot unmarshal number {spelled} into Go struct field of type int64")


def paths_in(items: Iterable[Mapping[str, Any]]) -> list[str]:
    return [path for item in items for path in item["paths"]]
