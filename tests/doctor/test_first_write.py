"""What endangers a catalog is logged beside a process's first write to it, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fix_redis import RedisServer
from fix_stores import entry
from fix_topologies import Cluster

from gigapi_metadata import RedisIndex, connect, connect_async
from gigapi_metadata.stores import surroundings
from gigapi_metadata.stores.redis.health import harms
from gigapi_metadata.stores.watch import Watch

NewServer = Callable[..., RedisServer]


@pytest.fixture(autouse=True)
def nothing_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "_looked_at", set())


@pytest.fixture(params=["blocking", "asyncio"])
def write(request: pytest.FixtureRequest) -> Any:
    """Opens the catalog of a URL and writes to each of some tables."""

    async def by_asyncio(url: str, *tables: str) -> None:
        async with connect_async(url) as catalog:
            for table in tables:
                await catalog.table("db", table).batch([entry(1, table=table)])

    async def blocking(url: str, *tables: str) -> None:
        with connect(url) as catalog:
            for table in tables:
                catalog.table("db", table).batch([entry(1, table=table)])

    return blocking if request.param == "blocking" else by_asyncio


async def test_a_harmful_server_is_warned_of_once(
    new_redis_server: NewServer, write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server(
        "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"
    )
    with RedisIndex(server.url(), "db", "t") as index:
        index.get_all()
    assert not caplog.records
    with server.client() as client:
        client.config_resetstat()
    for _ in range(2):
        await write(server.url(), "t", "u", "t")
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "gigapi_metadata.redis")
    assert "allkeys-lru" in caplog.text
    with server.client() as client:
        stats = client.info("commandstats")
    assert stats["cmdstat_info"]["calls"] == 1
    assert not [name for name in stats if name == "cmdstat_config|get"]


async def test_a_server_that_keeps_nothing_is_warned_of(
    new_redis_server: NewServer, write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server()
    await write(server.url(), "t", "t")
    (record,) = caplog.records
    assert "neither AOF nor save points" in record.message


async def test_the_node_that_has_the_table_is_warned_of(
    redis_cluster: Cluster, write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    node = redis_cluster.owner("{db:t}")
    other = next(
        name for name in map(str, range(100)) if redis_cluster.owner(f"{{db:{name}}}") is not node
    )
    try:
        for server in redis_cluster.masters:
            server.config(save="3600 1")
        node.config(maxmemory_policy="allkeys-lru")
        await write(redis_cluster.url, other)
        assert not caplog.records
        await write(redis_cluster.url, "t", other, "t")
    finally:
        node.config(maxmemory_policy="noeviction")
        for server in redis_cluster.masters:
            server.config(save="")
    (record,) = caplog.records
    assert f"(node 127.0.0.1:{node.port}) deletes keys" in record.message


def test_a_failed_save_is_warned_of(
    new_redis_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server("--stop-writes-on-bgsave-error", "no")
    with server.client() as client:
        client.set("x", 1)
        (server.folder / "dump.rdb").mkdir()  # no file can be put there
        client.bgsave()
        deadline = time.monotonic() + 30
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            assert time.monotonic() < deadline
    with RedisIndex(server.url(), "db", "t") as index:
        index.batch([entry(1)])
    assert "could not save" in caplog.text


@pytest.mark.parametrize(
    ("info", "points", "words"),
    [
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": 1}, None, "when its memory is full"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, None, "as soon as it is given"),
        ({"maxmemory": 100, "used_memory": 91}, None, "nearly full"),
        ({"evicted_keys": 7}, None, "has deleted 7 keys"),
        ({"aof_last_write_status": "err"}, None, "could not write its AOF"),
        ({"rdb_last_bgsave_status": "err"}, None, "could not save"),
        ({}, "", "neither AOF nor save points"),
        ({}, b"", "neither AOF nor save points"),
        ({}, "3600 1", ""),
        ({"maxmemory": 100, "used_memory": 89, "maxmemory_policy": "noeviction"}, None, ""),
        ({}, None, ""),
    ],
)
def test_what_harms(info: dict[str, Any], points: Any, words: str) -> None:
    found = list(harms(info, points))
    assert len(found) == bool(words)
    assert words in " ".join(found)


def test_what_a_server_says_can_not_upset_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    Watch("redis", "redis://host").say(harms({"maxmemory_policy": "\x1b[2Jlru\r"}), "\x1b]0;x")
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert "?[2Jlru?" in record.getMessage()


async def test_a_server_that_does_not_say_is_not_warned_of(
    new_redis_server: NewServer, write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_redis_server()  # keeps nothing
    with server.client() as client:
        for name, right in (("app", "-info"), ("service", "-config")):
            client.execute_command("ACL", "SETUSER", name, "on", ">pw", "~*", "+@all", right)
    for name in ("app", "service"):
        await write(f"redis://{name}:pw@127.0.0.1:{server.port}", "t")
    assert not caplog.records


@pytest.mark.parametrize("kind", ["sqlite", "json"])
async def test_files_that_everybody_can_change_are_warned_of(
    tmp_path: Path, kind: str, write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "lake"
    place.mkdir()
    place.chmod(0o777)
    url = f"sqlite://{place}/catalog.db" if kind == "sqlite" else f"json://{place}"
    for _ in range(2):
        await write(url, "t", "u")
    (record,) = caplog.records
    assert record.name == f"gigapi_metadata.{kind}"
    assert f"changed by every user of this machine ({place})" in record.message


@pytest.mark.parametrize("kind", ["sqlite", "json"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"free": 10 << 20}, "10 MiB left"),
        ({"kind": "nfs4"}, "is on nfs4: "),
        ({"free": 10 << 20, "fault": "Stale file handle"}, ""),
        ({}, ""),
    ],
)
async def test_a_disk_that_is_full_or_far_away_is_warned_of(
    tmp_path: Path,
    kind: str,
    change: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    facts = {"kind": "ext4", "free": 50 << 30, "total": 100 << 30} | change
    monkeypatch.setattr(surroundings, "read", lambda path: surroundings.DiskFacts(path, **facts))
    url = f"sqlite://{tmp_path}/catalog.db" if kind == "sqlite" else f"json://{tmp_path}"
    with connect(url) as catalog:
        catalog.table("db", "t").get_all()
        assert not caplog.records
        catalog.table("db", "t").batch([entry(1)])
    assert len(caplog.records) == bool(words)
    assert words in caplog.text
