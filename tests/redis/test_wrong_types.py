"""A key of our own that holds another type of value: a call fails before it changes anything, says
which key it is and what mends it; and that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from fix_redis import redis_params
from fix_stores import dump_redis, entry

from gigapi_metadata import CorruptState, IndexEntry, Layer, RedisIndex
from gigapi_metadata.checking import CheckOptions, Footers, check_table, repair_table
from gigapi_metadata.storage import Storages

LAYERS = [
    Layer("file:///hot", "hot", "fs", 3600),
    Layer("file:///cold", "cold", "fs", 1),
    Layer("file:///old", "old"),
]
ROWS = [[0, 10**9, 1]]
DIR = entry(1).path.rpartition("/")[0]
LONG = "long" * 50
MANY = 180  # of such names fill a cell of the time index
HASHES = ("seen", "indexed", "noted", "full", "attempts", "targets")
SORTED = ("cells", "ended", "dropping")
INDEX = ("seen", "indexed", "noted", "full", "cells", "cell")

KEYS: dict[str, str] = {
    **{name: f"gigapi-metadata:{name}:db:t" for name in (*HASHES, *SORTED)},
    "cell": f"gigapi-metadata:cell:db:t:0:{DIR}",
    "full cell": f"gigapi-metadata:cell:db:t:1:{DIR}",
    "ready": "gigapi-metadata:ready:db:t:1:hot:",
    "looked": "gigapi-metadata:looked:db:t:1:hot:",
}
MUST_FAIL = {
    "attempts": {"remove", "complete", "renew", "release", "drop", "lease a merge"},
    "targets": {"remove", "complete a move", "lease a move"},
    "dropping": {"remove", "drop", "lease a drop"},
    "ended": {"complete", "end", "drop", "lease a merge"},
    "full cell": {"remove", "complete", "add again"},
    "ready": {"add", "release", "lease a merge"},
    "looked": {"lease a merge"},
}
"""Calls that can't do without a key; of the index, all that change files."""


def hot(number: int, **changes: Any) -> IndexEntry:
    path = f"{DIR}/{LONG}{number}.1.parquet"
    return entry(number, **{"layer": "hot", "path": path, **changes})


def cold(number: int) -> IndexEntry:
    return entry(number, layer="cold", path=f"{DIR}/x{number}.2.parquet", chunk_time=0)


class Table:
    """One with files, a full cell of the index, and a plan of each kind held."""

    def __init__(self, url: str, client: redis.Redis) -> None:
        self.client = client
        self.index = RedisIndex(url, "db", "t", LAYERS, ROWS, drop_grace_s=0)
        client.flushdb()
        self.index.batch([hot(n) for n in range(MANY)])
        self.index.batch([cold(1), cold(2)])
        self.index.batch([], [hot(0).path])
        merge = self.index.get_merge_plan("", "hot", 1)
        move = self.index.get_move_plan("", "cold")
        drop = self.index.get_drop_queue("", "hot")
        assert merge is not None and move is not None and drop is not None  # noqa: PT018
        self.merge, self.move, self.drop = merge, move, drop
        self.index.batch([hot(n) for n in range(MANY, MANY + 3)])
        self.index.batch([], [hot(MANY).path])
        self.whole = {key: client.dump(key) for key in client.scan_iter(count=1000)}

    def restore(self) -> None:
        self.client.flushdb()
        for key, content in self.whole.items():
            self.client.restore(key, 0, content)

    def spoil(self, name: str) -> None:
        """Have the key hold another type of value."""
        self.restore()
        key = KEYS[name]
        self.client.delete(key)
        if "cell" in name and name != "cells":
            self.client.hset(key, "not", "ours")
        else:
            self.client.set(key, "not ours")

    def calls(self) -> dict[str, Callable[[], Any]]:
        index = self.index
        merged = hot(5000, path=self.merge.path_to)
        moved = entry(5001, layer=self.move.layer_to, path=self.move.path_to)
        return {
            "add": lambda: index.batch([hot(6000)]),
            "add again": lambda: index.batch([hot(3)]),
            "fill": lambda: index.batch([hot(n) for n in range(7000, 7000 + MANY)]),
            "add and remove": lambda: index.batch([hot(6001)], [hot(MANY + 1).path]),
            "remove": lambda: index.batch([], [hot(1).path]),
            "complete": lambda: index.complete_merge(self.merge, merged),
            "complete a move": lambda: index.complete_move(self.move, moved),
            "end": lambda: index.end_merge(self.merge),
            "drop": lambda: index.rm_from_drop_queue(self.drop),
            "lease a merge": lambda: index.get_merge_plan("", "hot", 1),
            "lease a move": lambda: index.get_move_plan("", "cold"),
            "lease a drop": lambda: index.get_drop_queue("", "hot"),
            "renew": lambda: index.renew(self.merge, lease_s=10**5),
            "release": lambda: index.release(self.merge, "broken", delay_s=5),
        }

    def repair(self) -> None:
        with Footers(1) as footers:
            options = CheckOptions(storage=False)
            parts = (self.index, Storages(()), footers)
            for _ in range(3):
                repair_table(*parts, check_table(*parts, options), options)
            assert not check_table(*parts, options).faults


@pytest.fixture(scope="module", params=redis_params())
def table(request: pytest.FixtureRequest, redis_pool: Any) -> Any:
    server = redis_pool.get(request.param)
    with server.client() as client:
        made = Table(server.url(), client)
        yield made
        made.index.close()


@pytest.mark.parametrize("name", KEYS)
def test_nothing_changes_and_the_remedy_works(table: Table, name: str) -> None:
    key, failed = KEYS[name], dict[str, str]()
    remedy = "reindex" if name.rsplit(maxsplit=1)[-1] in INDEX else "check --repair"
    for call_name in table.calls():
        table.spoil(name)
        before = dump_redis(table.client)
        call = table.calls()[call_name]
        try:
            call()
        except CorruptState as fault:
            failed[call_name] = str(fault)
            assert dump_redis(table.client) == before, f"{call_name} has changed something"
    for call_name, fault_text in failed.items():
        assert f"{key} holds another type" in fault_text, call_name
        assert f"`gigapi-metadata {remedy}` mends it" in fault_text, call_name
    assert set(failed) >= MUST_FAIL.get(name, {"add", "add and remove", "remove", "complete"})
    table.spoil(name)
    table.repair()
    assert len(table.index.query(after=0)) == len(table.index.get_all()) == MANY + 3
    for call_name in ("add", "remove", "release", "drop"):
        table.calls()[call_name]()


@pytest.mark.parametrize("name", INDEX)
def test_reindex_makes_the_index_anew(table: Table, name: str) -> None:
    table.spoil(name)
    table.index.reindex()
    assert len(table.index.query(after=0)) == MANY + 3
    table.index.batch([hot(6000)], [hot(1).path])
    assert len(table.index.query(after=0)) == MANY + 3


def test_a_count_that_is_none(table: Table) -> None:
    day = DIR.partition("/")[0]
    for name, field in (("seen", DIR), ("full", DIR), ("indexed", day), ("indexed", "/cells")):
        table.restore()
        table.client.hset(KEYS[name], field, "many")
        before = dump_redis(table.client)
        with pytest.raises(CorruptState, match=KEYS[name]):
            table.index.batch([hot(6000)])
        assert dump_redis(table.client) == before
        table.index.reindex()
        table.index.batch([hot(6000)])
        assert len(table.index.query(after=0)) == MANY + 4


def test_a_cell_that_was_cut_off(table: Table) -> None:
    """Taking a file out of it succeeds, and the next query lists the day anew."""
    for length in (20, 300, 1000):
        table.restore()
        cell = table.client.get(KEYS["full cell"])
        assert isinstance(cell, bytes)
        table.client.set(KEYS["full cell"], cell[:length])
        table.index.batch([], [hot(100).path])
        assert table.index.query(after=0) == table.index.get_all()
        assert len(table.index.get_all()) == MANY + 2
