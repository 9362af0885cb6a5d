"""What GigAPI's engine leaves behind after its mishaps, and what we make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from fix_golden import entry, golden_cases, layers, load, restore

from gigapi_metadata import MovePlan, RedisDBIndex, RedisIndex

SCARS = golden_cases("redis_scars")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def opened(case: dict[str, Any], url: str) -> RedisIndex:
    given = case["open"]
    return RedisIndex(url, given["database"], given["table"], layers(given), given["merge"])


@pytest.mark.parametrize("case", SCARS)
def test_the_files_that_are_there_are_found(case: str, redis_url: str, client: redis.Redis) -> None:
    golden = load(case)
    restore(client, golden["dump"])
    with opened(golden, redis_url) as index, RedisDBIndex(redis_url) as names:
        assert sorted(each.path for each in index.get_all()) == sorted(golden["live"])
        assert sorted(e.path for e in index.query(after=0)) == sorted(golden["live"])
        assert names.databases() == [golden["open"]["database"]]


@pytest.mark.parametrize("case", SCARS)
def test_no_item_is_destroyed_and_no_target_given_twice(
    case: str, redis_url: str, client: redis.Redis
) -> None:
    golden = load(case)
    restore(client, golden["dump"])
    waiting = [
        json.loads(text)
        for key, item in golden["dump"].items()
        if key.startswith("move:")
        for text in item["value"]
    ]
    writer, layer = waiting[0]["writer_id"], waiting[0]["layer_from"]
    with opened(golden, redis_url) as index:
        plans = leased(index, writer, layer)
        assert sorted((plan.id, plan.path_from) for plan in plans) == sorted(
            (item["id"], item["path_from"]) for item in waiting
        ), "one without time_s is due now, and none is lost"
        targets: dict[str, str] = {}
        for plan in plans:
            assert targets.setdefault(plan.path_to, plan.path_from) == plan.path_from
        held = {(plan.id, plan.path_from, plan.lease_s) for plan in plans}
        assert len(held) == len(plans)
        assert len({(plan.id, plan.lease_s) for plan in plans}) == len(plans)
        for raw in client.lrange(f"move:db7:events:{layer}:{writer}:processing", 0, -1):
            item = json.loads(raw)
            assert type(item["time_s"]) is int
            assert item in [{**each, "time_s": item["time_s"]} for each in waiting]


def leased(index: RedisIndex, writer: str, layer: str) -> list[MovePlan]:
    plans = []
    while (plan := index.get_move_plan(writer, layer)) is not None:
        plans.append(plan)
    return plans


@pytest.mark.parametrize("case", SCARS)
def test_every_file_moves_once(case: str, redis_url: str, client: redis.Redis) -> None:
    golden = load(case)
    restore(client, golden["dump"])
    with opened(golden, redis_url) as index:
        moved: dict[str, str] = {}
        while (plan := index.get_move_plan("w1", "hot")) is not None:
            source = index.get(plan.path_from)
            assert source is not None
            assert plan.path_to not in moved.values()
            moved[plan.path_from] = plan.path_to
            fields = {name: getattr(source, name) for name in source.__struct_fields__}
            result = type(source)(**{**fields, "path": plan.path_to, "layer": plan.layer_to})
            index.complete_move(plan, result)
        # One live file is of Go's refused batch, whose move Go has queued all the same.
        assert sorted(moved) == sorted(golden["live"])
        assert sorted(e.path for e in index.get_all()) == sorted(moved.values())
        assert {each.layer for each in index.get_all()} == {"cold"}


@pytest.mark.parametrize("case", SCARS)
def test_our_writer_leaves_no_scars(case: str, redis_url: str, client: redis.Redis) -> None:
    golden = load(case)
    with opened(golden, redis_url) as index:
        for op in golden["ops"]:
            add = [each for each in op["add"] if "broken" not in each["path"]]
            index.batch([entry(each) for each in add], [entry(each) for each in op["rm"]])
        there = len(index.get_all())
    (counts,) = (client.hgetall(key) for key in client.scan_iter("folders:*"))
    assert sum(map(int, counts.values())) == there
    assert not list(client.scan_iter("drop:*"))
    moves = [
        json.loads(raw) for key in client.scan_iter("move:*") for raw in client.lrange(key, 0, -1)
    ]
    assert len({item["path_from"] for item in moves}) == len(moves)
    assert len({item["path_to"] for item in moves}) == len(moves)
    assert len({item["id"] for item in moves}) == len(moves)
    assert all(type(item["time_s"]) is int for item in moves)
