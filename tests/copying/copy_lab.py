"""A catalog with everything in it that could get lost on the way, and the three kinds of stores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import redis

from gigapi_metadata import IndexEntry, Layer, connect
from gigapi_metadata.catalog import Catalog
from gigapi_metadata.copying import Writer, copy_table, tables_of

SECOND = 10**9
DAY_START_S = 1_705_276_800  # 2024-01-15
ROWS = [[10, 1000, 1], [10**9, 10**6, 2]]
ODD: dict[str, Any] = {
    "zero": -0.0, "tiny": 5e-324, "huge": 1e308, "sum": 0.1 + 0.2, "one": 1.0,
    "low": -(2**63), "high": 2**63 - 1, "unsigned": 2**64 - 1, "yes": True, "nothing": None,
    "größe ☃ \U0001f600": "ü\"\\/\n\u2028", "list": [1, 1.0, {"a": []}], "": "",
}  # fmt: skip


def layers(folder: Path) -> list[Layer]:
    """A hot layer and a cold one, below `folder`."""
    return [
        Layer(f"file://{folder}/hot", "hot", ttl_sec=3600),
        Layer(f"file://{folder}/cold", "cold", ttl_sec=7200),
    ]


def made(number: int, **changes: Any) -> IndexEntry:
    day, hour = 15 + number // 48, number // 2 % 24
    fields: dict[str, Any] = {
        "database": "db",
        "table": "t",
        "path": f"date=2024-01-{day:02}/hour={hour:02}/f{number:03}.1.parquet",
        "size_bytes": 100 + number,
        "min_time": (DAY_START_S + number) * SECOND + 1,
        "max_time": (DAY_START_S + number) * SECOND + 999_999_999,
        "layer": "hot",
        "row_count": number,
        "chunk_time": DAY_START_S * SECOND + number,
    }
    return IndexEntry(**{**fields, **changes})


def odd_entries() -> list[IndexEntry]:
    """Entries that are hard to keep."""
    plain = [made(number, min_data={"v": number}, max_data={"v": number}) for number in range(60)]
    return [
        *plain,
        made(100, min_data=ODD, max_data={}),
        made(101, min_data=None, max_data={}, writer_id="wörker-1"),
        made(102, min_data={}, max_data=None, layer="cold"),
        made(103, size_bytes=2**63 - 1, row_count=2**63 - 1, chunk_time=-(2**63)),
        made(104, min_time=-(2**63), max_time=2**63 - 1, layer="cold"),
        made(105, path='date=2024-01-20/hour=00/"quoted" ü.2.parquet', writer_id="w2"),
        made(106, path="date=2024-01-20/hour=01/level.2.parquet"),  # waits to be moved
        made(107, path="date=2024-01-20/hour=01/last.2.parquet", layer="cold"),  # or to expire
    ]


def fill(catalog: Catalog) -> None:
    """Entries, and plans of every kind: waiting, leased, failed, for living files and dead ones."""
    index = catalog.table("db", "t")
    index.batch(odd_entries())
    gone = [made(number).path for number in (1, 2, 3)] + [made(101).path]
    index.batch(None, gone)
    move = index.get_move_plan("", "hot")
    assert move is not None
    index.release(move, "disk on fire")
    assert index.get_merge_plan("", "hot", 1) is None  # due in ten seconds
    catalog.table("db", "andere").batch([made(1, table="andere", layer="cold")])
    catalog.table("zwei", "t").batch([made(1, database="zwei", min_data={"x": -0.0})])
    only_plans = catalog.table("zwei", "weg")
    only_plans.batch([made(1, database="zwei", table="weg")])
    only_plans.batch(None, [made(1).path])


def copy(source: Catalog, target: Catalog, **options: Any) -> Writer:
    writer = Writer(target, **options)
    for name in tables_of(source):
        copy_table(source.table(*name), writer)
    return writer


def content(catalog: Catalog) -> dict[str, str]:
    """Table -> its entries and plans, to the letter."""
    found = {}
    for name in tables_of(catalog):
        index = catalog.table(*name)
        found[".".join(name)] = repr((index.get_all(), plans(index)))
    return found


def plans(index: Any) -> list[Any]:
    """The plans. Those of one queue keep their order; the stores list queues in different ones."""

    def queue(plan: Any) -> Any:
        return (plan.kind, plan.dir if plan.kind == "merge" else "", plan.layer, plan.writer_id)

    return sorted((msgspec.structs.replace(each) for each in index.plans()), key=queue)


def dump(url: str) -> dict[str, Any]:
    """Everything a store holds, to compare before and after."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            return {
                key.decode(): _value(client, key) for key in client.scan_iter() if not _own(key)
            }
    if url.endswith(".db"):
        with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as db:
            return {"dump": list(db.iterdump())}
    root = Path(url.removeprefix("json://"))
    return {str(file): file.read_bytes() for file in root.rglob("*.json") if file.is_file()}


def opened(url: str, folder: Path) -> Catalog:
    """The catalog at `url`, with layers below `folder`."""
    return connect(url, layers(folder), ROWS)


def _own(key: bytes) -> bool:
    return key.startswith(b"gigapi-metadata:receipt:")  # any write leaves one


def _value(client: Any, key: bytes) -> Any:
    readers = {
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"set": client.smembers,
        b"string": client.get,
    }
    return readers[client.type(key)](key)
