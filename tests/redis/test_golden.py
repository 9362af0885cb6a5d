"""Recorded cases of GigAPI's own engine, both ways: read what it wrote, write as it would."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis
from fix_golden import Dump, dump, entry, golden_cases, layers, load, restore

from gigapi_metadata import (
    IndexEntry,
    MergePlan,
    MovePlan,
    RedisDBIndex,
    RedisIndex,
    RedisKVStore,
)

OWN = "gigapi-metadata:"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def opened(case: dict[str, Any], url: str) -> RedisIndex:
    given = case["open"]
    return RedisIndex(url, given["database"], given["table"], layers(given), given["merge"])


def replay(index: RedisIndex, ops: list[dict[str, Any]]) -> None:
    for op in ops:
        index.batch([entry(each) for each in op["add"]], [entry(each) for each in op["rm"]])


def rounded(value: Any) -> Any:
    """As cjson leaves it: 14 digits of every number."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(f"{value:.14g}")
    return value


def as_go(found: IndexEntry) -> IndexEntry:
    """An exact entry as it comes back out of a document that Go wrote: its times are kept apart."""
    return msgspec.structs.replace(
        found,
        size_bytes=int(rounded(found.size_bytes)),
        row_count=int(rounded(found.row_count)),
        min_data=rounded(found.min_data),
        max_data=rounded(found.max_data),
    )


def canonical(catalog: Dump) -> dict[str, Any]:
    """Keys of the format with their JSON parsed, without what is drawn or depends on the clock."""
    result: dict[str, Any] = {}
    for key, item in catalog.items():
        if key.startswith("files:"):
            value: Any = {path: json.loads(text) for path, text in item["value"].items()}
        elif item["type"] == "list":
            value = [json.loads(text) for text in item["value"]]
            for plan in value:
                plan.pop("id")
                plan.pop("time_s", None)
                target = plan.pop("path_to", "")
                dir, _, name = target.rpartition("/")
                plan["path_to"] = [dir, name.partition(".")[2]]
        else:
            value = item["value"]
        result[key] = {"type": item["type"], "value": value}
    return result


def without_own(client: redis.Redis) -> Dump:
    """The keys of the format; ours are left where they are."""
    result: Dump = {}
    for raw in sorted(client.scan_iter(count=1000)):
        key = raw.decode()
        if key.startswith(OWN):
            continue
        if client.type(raw) == b"hash":
            value: Any = {k.decode(): v.decode() for k, v in client.hgetall(raw).items()}
            result[key] = {"type": "hash", "value": value}
        else:
            result[key] = {
                "type": "list",
                "value": [each.decode() for each in client.lrange(raw, 0, -1)],
            }
    return result


def truth(case: dict[str, Any]) -> dict[str, IndexEntry]:
    """What the ops leave, by the rules and not by Go's mishaps."""
    kept: dict[str, IndexEntry] = {}
    for op in case["ops"]:
        kept |= {each["path"]: entry(each) for each in op["add"]}
        for each in op["rm"]:
            kept.pop(each["path"], None)
    return kept


WITH_DUMP = [p for p in golden_cases("redis_") if p.id not in ("redis_kv", "redis_scars")]


@pytest.mark.parametrize("case", WITH_DUMP)
def test_what_go_wrote_is_read(case: str, redis_url: str, client: redis.Redis) -> None:
    golden = load(case)
    restore(client, golden.get("dump") or golden["dump_before"])
    with opened(golden, redis_url) as index:
        expected = {path: as_go(each) for path, each in truth(golden).items()}
        assert {each.path: each for each in index.get_all()} == expected
        for each in expected.values():
            found = index.get(each.path)
            assert found == each
            assert (type(found.size_bytes), type(found.row_count)) == (int, int)
        for wanted in golden.get("gets", []):
            assert index.get(wanted["path"]) == entry(wanted)
        for query in golden.get("queries", []):
            found_paths = [
                each.path for each in index.query(after=query["after"], before=query["before"])
            ]
            assert sorted(found_paths) == sorted(query["paths"])
            assert found_paths == sorted(found_paths, key=lambda p: (expected[p].min_time, p))


@pytest.mark.parametrize("case", WITH_DUMP)
def test_names_are_read_off_what_go_wrote(case: str, redis_url: str, client: redis.Redis) -> None:
    golden = load(case)
    restore(client, golden.get("dump") or golden["dump_before"])
    database, table = golden["open"]["database"], golden["open"]["table"]
    dirs = sorted({path.rpartition("/")[0] for path in truth(golden)})
    names = golden.get("names") or {"databases": [database], "tables": [table], "paths": dirs}
    with RedisDBIndex(redis_url) as found:
        assert found.databases() == names["databases"]
        assert found.tables(database) == names["tables"]
        assert found.paths(database, table) == names["paths"] == dirs


@pytest.mark.parametrize("case", WITH_DUMP)
def test_the_same_batches_leave_the_same_keys(
    case: str, redis_url: str, client: redis.Redis
) -> None:
    golden = load(case)
    with opened(golden, redis_url) as index:
        replay(index, golden["ops"])
    ours = canonical(without_own(client))
    theirs = canonical(golden.get("dump") or golden["dump_before"])
    assert ours.keys() == theirs.keys()
    for key, theirs_value in theirs.items():
        if key.startswith("files:"):
            mine, other = ours[key]["value"], theirs_value["value"]
            assert mine.keys() == other.keys()
            for path, document in other.items():
                empty = {"min", "max"}
                exact = {k: v for k, v in mine[path].items() if k not in empty}
                assert rounded(exact) == rounded(
                    {k: v for k, v in document.items() if k not in empty}
                )
                for which in empty:
                    # Go's client itself drops what it can't tell from nothing.
                    assert rounded(mine[path][which] or None) == rounded(document[which] or None)
        else:
            assert rounded(ours[key]) == rounded(theirs_value), key


@pytest.mark.parametrize("case", WITH_DUMP)
def test_due_times_differ_from_gos_by_rounding_only(
    case: str, redis_url: str, client: redis.Redis
) -> None:
    golden = load(case)
    before = client.time()[0]
    with opened(golden, redis_url) as index:
        replay(index, golden["ops"])
    after = client.time()[0]
    ours, theirs = without_own(client), golden.get("dump") or golden["dump_before"]
    rows = golden["open"]["merge"]
    for key in theirs:
        kind, _, _, iteration = [*key.split(":"), ""][:4]
        if kind not in ("merge", "move"):
            continue
        times = [json.loads(text)["time_s"] for text in ours[key]["value"]]
        assert all(type(time_s) is int for time_s in times)
        if kind == "merge":
            timeout = rows[int(iteration) - 1][0]
            assert all(before + timeout <= time_s <= after + timeout for time_s in times)
        else:
            go = [json.loads(text)["time_s"] for text in theirs[key]["value"]]
            assert times == [int(time_s) for time_s in go]


@pytest.mark.parametrize("case", WITH_DUMP)
def test_what_we_write_go_can_read(case: str, redis_url: str, client: redis.Redis) -> None:
    golden = load(case)
    with opened(golden, redis_url) as index:
        replay(index, golden["ops"])
        expected = truth(golden)
        assert {each.path: each for each in index.get_all()} == expected, "to the last digit"
    for key, item in without_own(client).items():
        if key.startswith("files:"):
            for document in item["value"].values():
                assert_go_reads(document)


def assert_go_reads(document: str) -> None:
    """Go's decoder takes int64 from integer notation only, and nothing over 64 bits."""
    numbers: dict[str, str] = {}

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        numbers.update({key: value for key, value in pairs if isinstance(value, Spelled)})
        return dict(pairs)

    class Spelled(str):
        pass

    fields = json.loads(document, object_pairs_hook=keep, parse_int=Spelled, parse_float=Spelled)
    for name in ("size_bytes", "row_count", "min_time", "max_time", "chunk_time"):
        assert fields[name].lstrip("-").isdigit(), f"{name} stands as {fields[name]}"
        assert -(2**63) <= int(fields[name]) < 2**63
    for name in ("str_min_time", "str_max_time", "str_chunk_time"):
        assert type(fields[name]) is str
        assert -(2**63) <= int(fields[name]) < 2**63
    assert fields["cmd"] == "ADD"
    assert set(fields) == {
        *("layer", "database", "table", "path", "size_bytes", "row_count", "min", "max"),
        *("writer_id", "min_time", "max_time", "chunk_time", "cmd"),
        *("str_min_time", "str_max_time", "str_chunk_time"),
    }


@pytest.mark.parametrize("case", golden_cases("redis_merge_cycle"))
def test_a_merge_is_leased_completed_and_ended_as_go_does(
    case: str, redis_url: str, client: redis.Redis
) -> None:
    golden = load(case)
    restore(client, golden["dump_before"])
    wanted = golden["plan"]
    make_due(client)
    with opened(golden, redis_url) as index:
        plan = index.get_merge_plan(wanted["WriterID"], wanted["Layer"], wanted["Iteration"])
        assert isinstance(plan, MergePlan)
        assert (plan.id, plan.paths_from) == (wanted["ID"], wanted["From"])
        assert (plan.database, plan.table) == (wanted["Database"], wanted["Table"])
        ours, theirs = plan.path_to, wanted["To"]
        assert ours.rpartition("/")[0] == theirs.rpartition("/")[0]
        assert ours.endswith(".2.parquet")
        assert theirs.endswith(".2.parquet")
        assert canonical(without_own(client)) == canonical(golden["dump_leased"])
        merged = msgspec.structs.replace(entry(golden["swap"]["add"][0]), path=plan.path_to)
        index.batch([merged], [entry(each) for each in golden["swap"]["rm"]])
        swapped = canonical(without_own(client))
        assert swapped == renamed(canonical(golden["dump_swapped"]), theirs, ours)
        index.end_merge(plan)
        assert canonical(without_own(client)) == renamed(
            canonical(golden["dump_ended"]), theirs, ours
        )


def renamed(catalog: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    text = json.dumps(catalog).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    found: dict[str, Any] = json.loads(text)
    return found


def make_due(client: redis.Redis) -> None:
    """As if enough time had gone by for everything that waits."""
    for key in list(client.scan_iter("*:idle", count=1000)):
        for index, raw in enumerate(client.lrange(key, 0, -1)):
            item = json.loads(raw)
            if "time_s" in item:
                client.lset(key, index, json.dumps({**item, "time_s": 1}, separators=(",", ":")))


@pytest.mark.parametrize("case", golden_cases("redis_move_cycle"))
def test_a_move_is_leased_and_ended_as_go_does(
    case: str, redis_url: str, client: redis.Redis
) -> None:
    golden = load(case)
    restore(client, golden["dump_before"])
    wanted = golden["plan"]
    with opened(golden, redis_url) as index:
        plan = index.get_move_plan(wanted["writer_id"], wanted["layer_from"])
        assert isinstance(plan, MovePlan)
        fields = ("id", "database", "table", "writer_id", "path_from", "path_to")
        for name in (*fields, "layer_from", "layer_to"):
            assert getattr(plan, name) == wanted[name]
        assert canonical(without_own(client)) == canonical(golden["dump_leased"])
        index.end_move(plan)
        assert canonical(without_own(client)) == canonical(golden["dump_ended"])


@pytest.mark.parametrize("case", golden_cases("redis_kv"))
def test_values_are_bytes_under_the_same_keys(
    case: str, redis_url: str, client: redis.Redis
) -> None:
    golden = load(case)
    restore(client, golden["dump"])
    pairs = {key: base64.b64decode(value) for key, value in golden["pairs"].items()}
    with RedisKVStore(redis_url) as values:
        assert {key: values.get(key) for key in pairs} == pairs
        client.flushdb()
        for key, value in pairs.items():
            values.put(key, value)
    assert dump(client) == golden["dump"]
