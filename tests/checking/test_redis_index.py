"""The time index on Redis: what a check finds wrong with it, what it rightly does not, mending."""

from __future__ import annotations

import json
import random
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis
from fix_stores import START_S, entry, path_of
from go_like import GoLike

from gigapi_metadata import AsyncRedisIndex, IndexEntry, RedisIndex
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.stores.redis import verifying
from gigapi_metadata.stores.redis.keys import OWN
from gigapi_metadata.stores.repairing import EntryRepair, PlanRepair

DIR = "date=2027-01-15/hour=08"
DAY = "date=2027-01-15"
FILES = f"files:db:t:{DAY}"
CELLS = f"{OWN}:cells:db:t"
CELL = f"{OWN}:cell:db:t:"
FULL = f"{OWN}:full:db:t"
INDEXED = f"{OWN}:indexed:db:t"
FILES_THERE = 1500  # in one dir: a full cell, and one that is not
BASE_NS = START_S * 10**9
Damage = Callable[[redis.Redis], Any]


def file(number: int, dir: str = DIR, **changes: Any) -> IndexEntry:
    """A file a second."""
    start = BASE_NS + number * 10**9
    fields: dict[str, Any] = {"min_time": start, "max_time": start + 10**9}
    return entry(number, path=path_of(number, dir=dir), **{**fields, **changes})


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def index(redis_url: str) -> Iterator[RedisIndex]:
    with RedisIndex(redis_url, "db", "t", merge_configurations=[]) as index:
        yield index


def faults(index: RedisIndex) -> list[str]:
    return TableRepairs(index).index_faults()


def found(index: RedisIndex) -> list[str]:
    """What queries by time find of everything, through the index."""
    return [each.path for each in index.query(after=1)]


def fill(index: RedisIndex, number: int = FILES_THERE) -> list[IndexEntry]:
    entries = [file(n) for n in range(number)]
    index.batch(entries)
    assert faults(index) == []
    return entries


def cut(client: redis.Redis) -> None:
    """Take the first record out of a cell, its bounds left as they are."""
    cell = client.get(f"{CELL}0:{DIR}")
    (size,) = struct.unpack_from("<16xH", cell, 16)
    client.set(f"{CELL}0:{DIR}", cell[:16] + cell[16 + 18 + size :])


def changed_record(client: redis.Redis) -> None:
    cell = client.get(f"{CELL}0:{DIR}")
    low, high = struct.unpack_from("<dd", cell, 16)
    client.setrange(f"{CELL}0:{DIR}", 16, struct.pack("<dd", low, high + 1))


def repeated(client: redis.Redis) -> None:
    cell = client.get(f"{CELL}0:{DIR}")
    client.append(f"{CELL}0:{DIR}", cell[16:])


def hidden(client: redis.Redis) -> None:
    """As if a cell had been lost from the order of time, unnoticed."""
    client.zrem(CELLS, f"0:{DIR}")
    client.hincrby(INDEXED, "/cells", -1)


def exchanged(client: redis.Redis) -> None:
    """One file for another, by hand: the numbers stay."""
    path = path_of(0)
    document = json.loads(client.hget(FILES, path) or b"")
    client.hdel(FILES, path)
    client.hset(FILES, path_of(5000), json.dumps({**document, "path": path_of(5000)}))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a record is gone": (cut, "is not listed"),
    "a record's time": (changed_record, "times that are not its own"),
    "records twice": (repeated, "listed twice"),
    "cell not in order of time": (hidden, "not in use"),
    "cell lost": (lambda client: client.delete(f"{CELL}1:{DIR}"), "is lost"),
    "cell cut off": (lambda client: client.append(f"{CELL}0:{DIR}", b"x"), "cut off"),
    "cell without bounds": (lambda client: client.set(f"{CELL}0:{DIR}", b"x"), "cut off"),
    "wrong place in time": (lambda client: client.zadd(CELLS, {f"0:{DIR}": 7}), "wrong place"),
    "narrow bounds": (
        lambda client: client.setrange(f"{CELL}1:{DIR}", 8, struct.pack("<d", BASE_NS / 1000)),
        "leave it out",
    ),
    "full cells not counted": (lambda client: client.hdel(FULL, DIR), "not in use"),
    "a file was exchanged": (exchanged, "and is not there"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_queries_would_not_notice(client: redis.Redis, index: RedisIndex, name: str) -> None:
    fill(index)
    assert int(client.hget(FULL, DIR) or 0) > 0
    damage, said = DAMAGES[name]
    damage(client)
    told = faults(index)
    assert told
    assert any(said in fault for fault in told), told
    assert len(told) <= 11
    TableRepairs(index).reindex()
    assert faults(index) == []
    everything = [each.path for each in index.get_all()]
    assert found(index) == everything


@pytest.mark.parametrize("part", ["cells", "full", "seen", "indexed", "noted"])
def test_a_part_of_it_that_is_lost(client: redis.Redis, index: RedisIndex, part: str) -> None:
    """Queries and commits go on as before, and make it anew."""
    entries = fill(index)
    assert client.delete(f"{OWN}:{part}:db:t")
    assert found(index) == [each.path for each in entries]
    late = [file(n) for n in range(FILES_THERE, FILES_THERE + 900)]
    index.batch(late, [entries[3].path])
    assert found(index) == [each.path for each in [*entries, *late] if each is not entries[3]]
    assert faults(index) == []


def test_what_others_change_is_no_fault(client: redis.Redis, index: RedisIndex) -> None:
    fill(index, 20)
    go = GoLike(client)
    go.add(file(30), file(31, "date=2027-01-16/hour=00"))
    assert faults(index) == []
    go.remove(file(2), file(30))
    assert faults(index) == []
    client.hset("folders:db:t", DIR, 7)
    assert faults(index) == []
    client.hdel(FILES, path_of(4))
    assert faults(index) == []
    assert len(found(index)) == 19  # of 20, two gone and one come
    assert faults(index) == []


def test_a_day_that_nobody_counts(client: redis.Redis, index: RedisIndex) -> None:
    """GigAPI can lose count of a folder: then nothing leads to its files."""
    fill(index, 3)
    document = msgspec.json.decode(client.hget(FILES, path_of(1)) or b"")
    path = path_of(1, dir="date=2027-01-20/hour=00")
    client.hset("files:db:t:date=2027-01-20", path, json.dumps({**document, "path": path}))
    (fault,) = faults(index)
    assert fault == f"{path} is not listed"
    TableRepairs(index).recount(["files:db:t:date=2027-01-20"])
    assert faults(index) == []
    assert path in found(index)


def test_every_repair_is_known_to_the_next_query_of_any_window(
    client: redis.Redis, index: RedisIndex
) -> None:
    """Also where there are too many days and dirs for a query to check them all."""
    dirs = [
        f"date=2027-{month:02}-{day:02}/hour=01" for month in range(1, 7) for day in range(1, 28)
    ]
    entries = [file(n, dir) for n, dir in enumerate(dirs)]
    index.batch(entries)
    raw = TableRepairs(index)
    places = raw.places()
    stored = {each.name: each for place in places for each in raw.stored(place)}
    wanted = entries[40]
    assert index.query(after=wanted.min_time, before=wanted.min_time)
    far = 10**18 * 2
    moved = msgspec.structs.replace(wanted, min_time=far, max_time=far + 5)
    assert raw.mend_entries([EntryRepair(stored[wanted.path], moved)]) == [True]
    assert index.query(after=far - 5, before=far + 1) == [moved]
    assert faults(index) == []
    gone = entries[100]
    assert raw.mend_entries([EntryRepair(stored[gone.path], None)]) == [True]
    assert faults(index) == []
    assert found(index) == [e.path for e in entries if e not in (wanted, gone)] + [wanted.path]


def test_taking_out_the_drop_that_gives_a_foreign_change_away(
    client: redis.Redis, index: RedisIndex
) -> None:
    fill(index, 3)
    again = file(1, min_time=5, max_time=6)
    go = GoLike(client, rows=[])
    go.remove(file(1))
    go.add(again)
    raw = TableRepairs(index)
    (drop,) = [each for each in raw.stored_plans() if each.plan and each.plan.kind == "drop"]
    assert raw.mend_plans([PlanRepair(drop, None, living=[again.path])]) == [True]
    assert index.query(after=0, before=10) == [again]


@pytest.mark.parametrize("at_once", [1, verifying.FILES_AT_ONCE])
def test_random_changes_leave_no_fault(
    index: RedisIndex, seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "FILES_AT_ONCE", at_once)
    dice = random.Random(seed)
    there: dict[str, IndexEntry] = {}
    for _ in range(30):
        added = []
        for _ in range(dice.choice([1, 1, 3, 40, 900])):
            dir = f"date=2027-01-{dice.randint(14, 15)}/hour={dice.randint(0, 1):02}"
            start = dice.choice([0, -5, BASE_NS, 2**62, -(2**62)]) + dice.randint(-(10**12), 10**12)
            span = dice.choice([0, 999, 10**10, 10**18])
            end = min(start + span, 2**63 - 1)
            added.append(file(dice.randint(0, 3000), dir, min_time=start, max_time=end))
        removed = dice.sample(sorted(there), min(len(there), dice.choice([0, 1, 30, 600])))
        index.batch(added, removed)
        there |= {each.path: each for each in added}
        for path in removed:
            there.pop(path, None)
        assert faults(index) == []
    assert sorted(each.path for each in index.query(after=-(2**63))) == sorted(there)


def test_beside_writers_nothing_is_reported(redis_url: str, index: RedisIndex) -> None:
    over = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with RedisIndex(redis_url, "db", "t", merge_configurations=[]) as mine:
                number = 0
                while not over.is_set():
                    number += 1
                    mine.batch([file(number), file(number + 1)], [path_of(number - 40)])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(60):
            assert faults(index) == []
            if turn % 10 == 0:
                index.reindex()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert found(index) == [each.path for each in index.get_all()]


async def test_reindex_is_awaitable(client: redis.Redis, index: RedisIndex, redis_url: str) -> None:
    entries = fill(index, 5)
    cut(client)
    assert len(found(index)) == 4
    async with AsyncRedisIndex(redis_url, "db", "t") as awaitable:
        await awaitable.reindex()
    assert found(index) == [each.path for each in entries]
