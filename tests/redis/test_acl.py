"""The users that docs/security.md gives each role: they can do its verbs, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from acl_lab import ROLES, further
from fix_redis import RedisServer
from fix_stores import entry

from gigapi_metadata import Catalog, Layer, StoreError, connect
from gigapi_metadata.checking import CheckOptions, Footers, check_table, repair_table
from gigapi_metadata.doctor import examine
from gigapi_metadata.storage import Storages

LAYERS = [Layer("file:///hot", "hot", "fs", 1), Layer("file:///cold", "cold")]
MERGE = [[0, 10**9, 1]]


@pytest.fixture
def server(new_redis_server: Callable[..., RedisServer]) -> RedisServer:
    made = new_redis_server()
    with made.client() as client:
        for line in ROLES.values():
            client.execute_command(*line.split())
    return made


OpenAs = Callable[..., Catalog]


@pytest.fixture
def open_as(server: RedisServer) -> Iterator[OpenAs]:
    opened: list[Catalog] = []

    def open_(role: str, db: int = 0) -> Catalog:
        url = f"redis://{role}:secret@127.0.0.1:{server.port}/{db}"
        opened.append(connect(url, LAYERS, MERGE, drop_grace_s=0))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def read_all(catalog: Catalog) -> None:
    table = catalog.table("db", "t")
    assert [each.path for each in table.query(after=0)] == [entry(1).path]
    assert [each.path for each in table.get_all()] == [entry(1).path]
    assert table.get(entry(1).path) is not None
    assert table.query(folder="date=")
    assert (catalog.databases(), catalog.tables("db")) == (["db"], ["t"])
    assert catalog.paths("db", "t")
    assert catalog.planned() == [("db", "t")]
    assert table.plans()
    assert table.queues()
    assert catalog.kv.get("app:none") is None


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(StoreError, match=r"(?i)noperm|permission|can't run|can't access"):
        call()


def in_hot(number: int) -> Any:
    return entry(number, layer="hot")


def test_there_is_a_user_for_each_role() -> None:
    assert set(ROLES) == {"reader", "writer", "worker", "monitor"}


@pytest.mark.parametrize("db", [0, 3])
def test_a_reader_reads_and_nothing_else(open_as: OpenAs, server: RedisServer, db: int) -> None:
    with connect(server.url(db), LAYERS, MERGE) as owner:
        owner.table("db", "t").batch([in_hot(1)])
        catalog = open_as("reader", db)
        read_all(catalog)
        table = catalog.table("db", "t")
        plan = owner.table("db", "t").get_merge_plan("", "hot", 1)
        assert plan is not None
        for write in (
            lambda: table.batch([in_hot(2)]),
            lambda: table.batch([], [entry(1).path]),
            lambda: table.get_merge_plan("", "hot", 1),
            lambda: table.get_drop_queue("", "hot"),
            lambda: table.end_merge(plan),
            lambda: table.complete_merge(plan, entry(9, layer="hot", path=plan.path_to)),
            lambda: table.renew(plan),
            lambda: table.release(plan),
            lambda: catalog.kv.put("app:x", b"1"),
            lambda: catalog.kv.delete("app:x"),
        ):
            refused(write)
        owner.table("db", "t").renew(plan)  # nobody has touched it
        assert len(owner.table("db", "t").get_all()) == 1


def test_a_reader_finds_what_a_go_process_has_written(open_as: OpenAs, server: RedisServer) -> None:
    """The time index is out of date then, and the reader may not mend it."""
    with connect(server.url(), LAYERS, MERGE) as owner:
        owner.table("db", "t").batch([in_hot(1)])
    with server.client() as client:
        for key in client.scan_iter("gigapi-metadata:*"):
            client.delete(key)
    read_all(open_as("reader"))


def test_a_writer_writes_but_does_not_take_plans(open_as: OpenAs) -> None:
    catalog = open_as("writer")
    table = catalog.table("db", "t")
    table.batch([in_hot(n) for n in range(5)])
    table.batch([in_hot(1)], [entry(n).path for n in (0, 2, 3, 4)])
    read_all(catalog)
    catalog.kv.put("app:x", b"1")
    assert catalog.kv.get("app:x") == b"1"
    catalog.kv.delete("app:x")
    before = table.plans()
    for take in (
        lambda: table.get_merge_plan("", "hot", 1),
        lambda: table.get_drop_queue("", "hot"),
    ):
        refused(take)
    assert table.plans() == before


def test_a_worker_carries_plans_out(open_as: OpenAs) -> None:
    catalog = open_as("worker")
    table = catalog.table("db", "t")
    table.batch([in_hot(n) for n in range(3)])
    plan = table.get_merge_plan("", "hot", 1)
    assert plan is not None
    table.release(table.renew(plan), "failed once", delay_s=0)
    plans = [each for each in table.plans() if each.kind == "merge"]
    table.retry(plans[0])
    plan = table.get_merge_plan("", "hot", 1)
    assert plan is not None
    table.complete_merge(plan, entry(7, layer="hot", path=plan.path_to, chunk_time=1))
    move = table.get_move_plan("", "hot")
    assert move is not None
    table.complete_move(move, entry(7, layer="cold", path=move.path_to))
    while drop := table.get_drop_queue("", "hot"):
        table.rm_from_drop_queue(drop)
    assert not table.plans()
    assert [each.layer for each in table.query(after=0)] == ["cold"]
    assert catalog.planned() == []


def test_a_worker_checks_and_mends(open_as: OpenAs, server: RedisServer) -> None:
    table = open_as("worker").table("db", "t")
    table.batch([in_hot(n) for n in range(3)])
    file = entry(0).path.rpartition("/")[2].encode()
    dir, day = entry(0).path.rpartition("/")[0], entry(0).path.partition("/")[0]
    with server.client() as owner:
        owner.hset("folders:db:t", dir, 7)
        owner.rpush("move:db:t:hot::idle", "{garbage")
        owner.hset(f"files:db:t:{day}", entry(2).path, "{garbage")
        cell = f"gigapi-metadata:cell:db:t:0:{dir}"
        owner.set(cell, (owner.get(cell) or b"").replace(file, file.upper()))
    with Footers(1) as footers:
        options = CheckOptions(storage=False)
        for _ in range(3):
            found = check_table(table, Storages(LAYERS), footers, options)
            repair_table(table, Storages(LAYERS), footers, found, options)
        assert check_table(table, Storages(LAYERS), footers, options).faults == []
    assert [each.path for each in table.query(after=0)] == [entry(0).path, entry(1).path]


def test_a_monitor_examines_and_reads_no_entry(open_as: OpenAs, server: RedisServer) -> None:
    catalog = open_as("monitor")
    found = list(examine(catalog, server.url()))
    assert not [each for each in found if each.check == "access"]
    assert {each.level for each in found if each.check in ("scripts", "version", "clock")} == {"ok"}
    refused(lambda: catalog.table("db", "t").get(entry(1).path))


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_beyond(server: RedisServer, role: str) -> None:
    """Other keys, the server's settings, other users, what holds the server up."""
    with server.client() as owner:
        owner.set("other", "secret")
    with redis.Redis(port=server.port, username=role, password="secret") as client:
        for command in (
            ("GET", "other"),
            ("SET", "other", "x"),
            ("DEL", "other"),
            ("EVAL", "return redis.call('GET', 'other')", 0),
            ("EVAL", "return redis.call('GET', KEYS[1])", 1, "other"),
            ("EVAL", "return redis.call('FLUSHALL')", 0),
            ("FLUSHALL",),
            ("FLUSHDB",),
            ("KEYS", "*"),
            ("CONFIG", "SET", "maxmemory", "1"),
            ("CONFIG", "REWRITE"),
            ("ACL", "LIST"),
            ("ACL", "SETUSER", "x"),
            ("SHUTDOWN",),
            ("MONITOR",),
            ("SAVE",),
            ("SCRIPT", "FLUSH"),
            ("CLIENT", "LIST"),
            ("REPLICAOF", "127.0.0.1", "1"),
            ("RENAME", "files:a", "files:b"),
        ):
            with pytest.raises(redis.ResponseError, match=r"(?i)noperm|permission|can't|run this"):
                client.execute_command(*command)
    with server.client() as owner:
        assert owner.get("other") == b"secret"


def test_the_workers_rights_are_what_the_code_calls() -> None:
    """No right too few, none too many."""
    source = Path(__file__).resolve().parents[2] / "src" / "gigapi_metadata" / "stores" / "redis"
    lua = "".join(file.read_text() for file in (source / "lua").glob("*.lua"))
    python = "".join(file.read_text() for file in source.glob("*.py"))
    called = {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", lua)}
    called |= {name.lower() for name in re.findall(r"\(\"([A-Z]{3,})\"", python)} - {"hset"}
    given = set(re.findall(r"\+(\w+)(?= |$)", ROLES["worker"]))
    by_library = {"ping", "select", "scan"}  # redis-py's own calls
    by_key_store = {"get", "set", "del"}
    for_durability = set(re.findall(r"\+(\w+)", further("replicated:N") + further("fsynced")))
    assert called - given - for_durability == {"cluster"}  # in a cluster
    assert given - called - by_library - by_key_store == set()
