"""Each script checks first and writes last; what can't be understood is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from fix_stores import dump_redis, entry, path_of

from gigapi_metadata import (
    CorruptState,
    Layer,
    MetadataError,
    RedisIndex,
    RedisKVStore,
    StoreError,
)
from gigapi_metadata.stores.redis import scripts
from gigapi_metadata.stores.redis.session import RECEIPT_S

DIR = "date=2027-01-15/hour=08"
FILES = "files:db:t:date=2027-01-15"
FOLDERS = "folders:db:t"
MERGE = f"merge:db:t:1:{DIR}:hot:"
MOVE = "move:db:t:hot:"
DROP = "drop:db:t:hot:"
OWN = "gigapi-metadata"
LAYERS = [Layer("file:///hot", "hot", ttl_sec=5), Layer("file:///cold", "cold")]
ROWS = [[0, 1000, 1]]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def index(redis_url: str) -> Iterator[RedisIndex]:
    with RedisIndex(redis_url, "db", "t", LAYERS, ROWS) as index:
        yield index


def hot(number: int, iteration: int = 1) -> Any:
    return entry(path=path_of(number, iteration), layer="hot", chunk_time=0)


def make_wrong(client: redis.Redis, key: str) -> None:
    """Let `key` hold a type that nothing of the catalog has."""
    client.delete(key)
    client.geoadd(key, (1, 1, "x")) if not key.startswith(f"{OWN}:ended") else client.set(key, "x")


def assert_refused(client: redis.Redis, call: Callable[[], Any], error: type[Exception]) -> None:
    before = dump_redis(client)
    with pytest.raises(error):
        call()
    after = dump_redis(client)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert not changed, "a refused call has written"


BATCH_KEYS = [FILES, FOLDERS, f"{MERGE}:idle", f"{MOVE}:idle", f"{DROP}:idle"]


@pytest.mark.parametrize("key", BATCH_KEYS)
def test_a_batch_over_a_key_of_another_type_writes_nothing(
    client: redis.Redis, index: RedisIndex, key: str
) -> None:
    other = entry(path=path_of(9, dir="date=2027-01-14/hour=00"), layer="hot")
    index.batch([hot(1), hot(2, 2), other])
    make_wrong(client, key)
    # Of every kind something: a new day, a merge, a move, a removal.
    batch = [
        entry(path=path_of(5, dir="date=2027-01-13/hour=00"), layer="cold"),
        hot(3),
        hot(4, 2),
        entry(path=path_of(6, dir="date=2027-01-16/hour=00"), layer="cold"),
    ]
    assert_refused(client, lambda: index.batch(batch, [other.path, path_of(1)]), CorruptState)


COMPLETE_KEYS = [
    *BATCH_KEYS[:2],
    f"{MERGE}:processing",
    f"{DROP}:idle",
    f"{MOVE}:idle",  # a file of level 2 is moved
    f"{OWN}:ended:db:t",
    f"{OWN}:attempts:db:t",
    f"{OWN}:targets:db:t",
]


@pytest.mark.parametrize("key", COMPLETE_KEYS)
def test_completing_over_a_key_of_another_type_writes_nothing(
    client: redis.Redis, index: RedisIndex, key: str
) -> None:
    index.batch([hot(1), hot(2)])
    plan = index.get_merge_plan("", "hot", 1)
    assert plan is not None
    make_wrong(client, key)
    result = entry(path=plan.path_to, layer="hot")
    assert_refused(client, lambda: index.complete_merge(plan, result), StoreError)


@pytest.mark.parametrize(
    "key",
    [f"{MOVE}:idle", f"{MOVE}:processing", FILES, f"{OWN}:targets:db:t", f"{OWN}:attempts:db:t"],
)
def test_leasing_over_a_key_of_another_type_writes_nothing(
    client: redis.Redis, index: RedisIndex, key: str
) -> None:
    index.batch([hot(1, 2), hot(2, 2)])
    make_wrong(client, key)
    assert_refused(client, lambda: index.get_move_plan("", "hot"), CorruptState)


@pytest.mark.parametrize("key", [f"{MOVE}:idle", f"{MOVE}:processing", f"{OWN}:attempts:db:t"])
def test_releasing_over_a_key_of_another_type_writes_nothing(
    client: redis.Redis, index: RedisIndex, key: str
) -> None:
    index.batch([hot(1, 2), hot(2, 2)])
    plan = index.get_move_plan("", "hot")
    assert plan is not None
    make_wrong(client, key)
    assert_refused(client, lambda: index.release(plan, "why"), CorruptState)


@pytest.mark.parametrize("count", ["many", "1.5", ""])
def test_a_count_that_is_no_number_does_not_tear_a_batch_apart(
    client: redis.Redis, index: RedisIndex, count: str
) -> None:
    index.batch([hot(1), hot(2)])
    client.hset(FOLDERS, DIR, count)
    before = dump_redis(client)
    try:
        index.batch([hot(3)], [path_of(1)])
    except StoreError:
        assert dump_redis(client) == before
    else:
        assert index.get_all() == [hot(2), hot(3)]
        assert client.llen(f"{DROP}:idle") == 1


CORRUPT = ["", "not json", "{", "5", "null", '{"id":"x","time_s":1']


@pytest.mark.parametrize("state", ["idle", "processing"])
@pytest.mark.parametrize("item", CORRUPT)
def test_a_corrupt_item_is_an_error_that_names_its_key(
    client: redis.Redis, index: RedisIndex, item: str, state: str
) -> None:
    index.batch([hot(1), hot(2, 2)])
    for queue, lease in (
        (MERGE, lambda: index.get_merge_plan("", "hot", 1)),
        (MOVE, lambda: index.get_move_plan("", "hot")),
        (DROP, lambda: index.get_drop_queue("", "hot")),
    ):
        client.delete(f"{queue}:idle", f"{queue}:processing")
        client.rpush(f"{queue}:{state}", item)
        with pytest.raises(CorruptState, match=f"{queue}:{state}".replace("?", ".")):
            lease()
        assert client.lrange(f"{queue}:{state}", 0, -1) == [item.encode()]
        with pytest.raises(CorruptState, match=f"{queue}:{state}"):
            index.plans()
        client.delete(f"{queue}:{state}")


@pytest.mark.parametrize("item", CORRUPT)
def test_adding_to_a_queue_that_ends_in_a_corrupt_item_writes_nothing(
    client: redis.Redis, index: RedisIndex, item: str
) -> None:
    client.rpush(f"{MERGE}:idle", item)
    assert_refused(client, lambda: index.batch([hot(1)]), CorruptState)


@pytest.mark.parametrize(
    "item",
    [
        {"id": "x", "time_s": 1},
        {"id": "x", "time_s": 1, "paths": None, "size": 5},
        {"id": "x", "time_s": 1, "paths": "text", "size": 5},
        {"id": "x", "time_s": 1, "paths": {}, "size": 0},
        {"id": "x", "time_s": 1, "paths": [5, None], "size": 0},
        {"id": None, "time_s": None, "paths": [], "size": None},
        {},
    ],
)
def test_an_item_that_lacks_something_is_got_over(
    client: redis.Redis, index: RedisIndex, item: dict[str, Any]
) -> None:
    client.rpush(f"{MERGE}:idle", json.dumps(item, separators=(",", ":")))
    index.batch([hot(1)])
    plan = index.get_merge_plan("", "hot", 1)
    assert plan is not None
    assert plan.paths_from == [path_of(1)]
    index.complete_merge(plan, entry(path=plan.path_to, layer="hot"))


def test_an_item_keeps_what_we_do_not_know(client: redis.Redis, index: RedisIndex) -> None:
    index.batch([hot(1), hot(2)])
    (raw,) = client.lrange(f"{MERGE}:idle", 0, -1)
    item = json.loads(raw)
    known = {"id": item["id"], "time_s": 1, "paths": item["paths"], "tags": ["a", "b"], "size": 5}
    client.lset(f"{MERGE}:idle", 0, json.dumps(known, separators=(",", ":")))
    index.batch([hot(3)])
    (raw,) = client.lrange(f"{MERGE}:idle", 0, -1)
    assert json.loads(raw)["paths"] == [path_of(n) for n in (1, 2, 3)]
    plan = index.get_merge_plan("", "hot", 1)
    assert plan is not None
    assert plan.paths_from == [path_of(n) for n in (1, 2, 3)]


@pytest.mark.parametrize("time_s", ["1", "1.5", "1e3", '"7"', "null", "-5", None])
def test_a_due_time_in_any_spelling_is_understood(
    client: redis.Redis, index: RedisIndex, time_s: str | None
) -> None:
    index.batch([hot(1)])
    client.delete(f"{MERGE}:idle")
    stamp = "" if time_s is None else f'"time_s": {time_s}, '
    client.rpush(f"{MERGE}:idle", f'{{"id": "x", {stamp}"paths": ["{path_of(1)}"], "size": 1}}')
    plan = index.get_merge_plan("", "hot", 1)
    assert plan is not None
    index.release(index.renew(plan))
    again = index.get_merge_plan("", "hot", 1)
    assert again is not None
    index.complete_merge(again, entry(path=plan.path_to, layer="hot"))
    assert client.llen(f"{MERGE}:processing") == 0


def test_a_corrupt_document_is_an_error_that_names_its_key(
    client: redis.Redis, index: RedisIndex
) -> None:
    index.batch([hot(1)])
    client.hset(FILES, path_of(1), "not json")
    for call in (index.get_all, lambda: index.get(path_of(1)), lambda: index.query(after=0)):
        with pytest.raises(CorruptState, match=FILES):
            call()
    index.batch(None, [path_of(1)])
    assert index.get_all() == [], "it can be removed"


def test_values_of_another_type_are_an_error(client: redis.Redis, redis_url: str) -> None:
    client.rpush("list", "x")
    with RedisKVStore(redis_url) as values:
        with pytest.raises(MetadataError):
            values.get("list")
        values.delete("list")
        assert values.get("list") is None


def test_a_write_that_is_sent_again_is_answered_and_not_made_again(
    client: redis.Redis, index: RedisIndex
) -> None:
    """Receipts, seen from a script's side: every call of every script, sent twice over."""
    answers: list[tuple[Any, Any]] = []
    perform = index.connection.perform

    def twice(request: Any) -> Any:
        first = perform(request)
        if isinstance(request, scripts.Call):
            before = dump_redis(client)
            answers.append((first, perform(request)))
            assert dump_redis(client) == before, f"{request.script.name} was made twice"
        return first

    index.connection.perform = twice  # type: ignore[method-assign]
    index.batch([hot(1), hot(2), hot(3, 2)], [path_of(9)])
    plan = index.get_merge_plan("", "hot", 1)
    assert plan is not None
    plan = index.renew(plan, lease_s=5000)
    index.release(plan, "why")
    again = index.get_merge_plan("", "hot", 1)
    assert again is not None
    index.complete_merge(again, entry(path=again.path_to, layer="hot"))
    assert len(answers) == 6
    assert all(first == second for first, second in answers)


def test_receipts_vanish_by_themselves_and_are_few(client: redis.Redis, index: RedisIndex) -> None:
    for number in range(20):
        index.batch([hot(number)])
    receipts = list(client.scan_iter(f"{OWN}:receipt:*"))
    assert len(receipts) == 1
    assert all(0 < client.ttl(key) <= RECEIPT_S for key in receipts)


def test_every_script_says_what_it_takes_and_returns() -> None:
    for script in scripts.ALL:
        own = script.source.split("-- Shared by every script", 1)[-1]
        for word in ("KEYS[1]", "ARGV[1]", "Returns"):
            assert word in own, f"{script.name} does not name {word} in its header"
