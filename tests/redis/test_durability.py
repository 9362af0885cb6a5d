"""durability: what a write has survived by the time it is acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from fix_redis import RedisServer, Source
from fix_stores import Blocking, entry, path_of
from fix_topologies import Cluster, Group, Sentinels, has_waitaof, wait_for
from wire import proxy

import gigapi_metadata as gm
from gigapi_metadata.errors import InvalidConfiguration, OutcomeUnknown
from gigapi_metadata.stores.redis.scripts import COMMIT

NewServer = Callable[..., RedisServer]


WAIT_S = "gigapi_metadata.stores.redis.durability.WAIT_S"
SHORT_S = 0.2  # for what will not come


class Pair(Group):
    """A master and a replica, which may be paused."""

    def __init__(self, source: Source, patch: pytest.MonkeyPatch) -> None:
        super().__init__(source)
        self._patch = patch
        try:
            self.master = self.add("--repl-diskless-sync-delay", "0")
            self.replica = self.add_replica_of(self.master)
            wait_for(self._is_in_step, "the replica is in step")
        except BaseException:
            self.close()
            raise

    def pause(self) -> None:
        """The replica stands still, and nobody waits for it for long."""
        self.replica.pause()
        self._patch.setattr(WAIT_S, SHORT_S)

    def resume(self) -> None:
        self.replica.resume()
        self._patch.setattr(WAIT_S, 5.0)

    def _is_in_step(self) -> bool:
        with self.master.client() as client:
            client.set("in", "step")
            return bool(client.execute_command("WAIT", 1, 100) == 1)


@pytest.fixture
def pair(topology_source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(topology_source, monkeypatch)
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def open_index(
    request: pytest.FixtureRequest, background_loop: asyncio.AbstractEventLoop
) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def new(url: str, durability: str, **options: Any) -> Any:
        if request.param == "sync":
            made.append(gm.RedisIndex(url, "db", "t", durability=durability, **options))
        else:
            index = gm.AsyncRedisIndex(url, "db", "t", durability=durability, **options)
            made.append(Blocking(index, background_loop))
        return made[-1]

    yield new
    for index in made:
        index.close()


def test_a_batch_is_on_the_replica_when_it_is_acknowledged(
    pair: Pair, open_index: Callable[..., Any]
) -> None:
    index = open_index(pair.master.url(), "replicated:1")
    for number in range(1, 30):
        index.batch([entry(number)])
        with pair.replica.client() as client:
            assert client.hlen("files:db:t:date=2027-01-15") == number


def test_a_batch_without_enough_replicas_is_of_unknown_outcome(
    pair: Pair, open_index: Callable[..., Any]
) -> None:
    index = open_index(pair.master.url(), "replicated:1")
    index.batch([entry(1)])
    pair.pause()
    with pytest.raises(OutcomeUnknown, match=r"0 of 1 replicas.*Repeating the same call is safe"):
        index.batch([entry(2)])
    assert len(index.get_all()) == 2
    with pytest.raises(OutcomeUnknown):
        index.batch([entry(2)])
    pair.resume()
    index.batch([entry(2)])
    assert len(index.get_all()) == 2


def test_repeating_a_completion_asks_again(pair: Pair, open_index: Callable[..., Any]) -> None:
    """It changes nothing then, so there is nothing that the server would wait for by itself."""
    rows = [[0, 10_000, 1]]
    index = open_index(pair.master.url(), "replicated:1", merge_configurations=rows)
    index.batch([entry(1), entry(2)])
    plan = index.get_merge_plan("", "", 1)
    merged = entry(3, path=plan.path_to)
    pair.pause()
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
            index.complete_merge(plan, merged)
    fresh = open_index(pair.master.url(), "replicated:1", merge_configurations=rows)
    with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
        fresh.complete_merge(plan, merged)
    pair.resume()
    fresh.complete_merge(plan, merged)
    with pair.replica.client() as client:
        assert client.hkeys("files:db:t:date=2027-01-15") == [plan.path_to.encode()]


def test_a_write_that_is_sent_again_is_confirmed_too(pair: Pair) -> None:
    """Its answer was lost; the receipt answers, and a new connection has written nothing yet."""
    with proxy(pair.master.port) as way:
        url = f"redis://127.0.0.1:{way.port}/0"
        with gm.RedisIndex(url, "db", "t", durability="replicated:1") as index:
            index.batch([entry(1)])
            pair.pause()
            way.cut("after", 1)
            with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
                index.batch([entry(2)])
            pair.resume()
            way.cut("after", 1)
            index.batch([entry(3)])
    assert way.requests >= 5


def test_a_receipt_that_is_deleted_at_once(
    pair: Pair, open_index: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server does that deletes keys with a time to live when its memory is full: what WAIT
    says then may be of nothing that the connection has written."""
    last = "receipt_write(KEYS[1], job.token, 'OK', job.receipt_s)\nreturn { 'OK' }"
    source = COMMIT.source.replace(last, "return { 'OK' }")
    assert source != COMMIT.source
    index = open_index(pair.master.url(), "replicated:1")
    index.batch([entry(1)])
    with monkeypatch.context() as patch:
        patch.setattr(COMMIT, "source", source)
        patch.setattr(COMMIT, "sha", hashlib.sha1(source.encode()).hexdigest())
        with pytest.raises(OutcomeUnknown, match="receipt is gone"):
            index.batch([entry(2)])
    index.batch([entry(2)])
    assert len(index.get_all()) == 2


def test_imported_plans_are_confirmed(pair: Pair, tmp_path: Path) -> None:
    rows = {"merge_configurations": [[0, 10_000, 1]]}
    there = gm.connect(pair.master.url(), durability="replicated:1", **rows)
    with there, gm.connect(tmp_path / "c.db", **rows) as source:
        source.table("db", "t").batch([entry(1), entry(2)])
        table = there.table("db", "t")
        plans = source.table("db", "t").plans()
        pair.pause()
        for _ in range(2):
            with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
                table.import_plans(plans)
        pair.resume()
        table.import_plans(plans)
        assert [each.id for each in table.plans()] == [each.id for each in plans]


def test_what_changes_nothing_has_nothing_to_confirm(
    pair: Pair, open_index: Callable[..., Any]
) -> None:
    index = open_index(
        pair.master.url(), "replicated:1", merge_configurations=[[0, 10_000, 1]], lease_s=1
    )
    index.batch([entry(1), entry(2)])
    plan = index.get_merge_plan("", "", 1)
    index.release(plan)
    pair.pause()
    with pytest.raises(gm.LeaseLost):
        index.complete_merge(plan, entry(3, path=plan.path_to))
    assert index.get_merge_plan("", "", 1) is not None  # nor is a lease waited for


def test_values_are_confirmed(pair: Pair) -> None:
    with gm.connect(pair.master.url(), durability="replicated:1") as catalog:
        catalog.kv.put("key", b"1")
        with pair.replica.client() as client:
            assert client.get("key") == b"1"
        pair.pause()
        with pytest.raises(OutcomeUnknown):
            catalog.kv.put("key", b"2")
        with pytest.raises(OutcomeUnknown):
            catalog.kv.delete("key")
        assert catalog.kv.get("key") is None


def test_fsynced_writes_survive_a_kill_of_the_machine(
    new_redis_server: NewServer, open_index: Callable[..., Any], tmp_path: Path
) -> None:
    """What is on the disk is all that counts: the folder is copied while the server runs."""
    server = new_redis_server("--appendonly", "yes", "--appendfsync", "always")
    url = server.url() + "?durability=fsynced"
    index = open_index(url, "fsynced")
    if not has_waitaof(server):
        with pytest.raises(InvalidConfiguration, match=r"WAITAOF|unknown command"):
            index.batch([entry(1)])
        assert index.get_all() == []
        return
    index.batch([entry(1), entry(2)])
    shutil.copytree(server.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("socket"))
    logs = b"".join(
        file.read_bytes() for file in (tmp_path / "copy" / "appendonlydir").glob("*.aof")
    )
    assert path_of(2).encode() in logs


def test_fsynced_on_a_server_without_aof(
    new_redis_server: NewServer, open_index: Callable[..., Any]
) -> None:
    index = open_index(new_redis_server().url(), "fsynced")
    for _ in range(2):
        with pytest.raises(InvalidConfiguration, match="durability fsynced needs"):
            index.batch([entry(1)])
    assert index.get_all() == []


def test_the_disk_is_waited_for(
    new_redis_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With appendfsync no, nothing reaches the disk within the time."""
    server = new_redis_server("--appendonly", "yes")
    if not has_waitaof(server):
        pytest.skip(f"{server.id} has no WAITAOF")
    with gm.RedisIndex(server.url() + "?durability=fsynced", "db", "t") as index:
        index.batch([entry(1)])
        server.config(appendfsync="no")
        monkeypatch.setattr(WAIT_S, SHORT_S)
        with pytest.raises(OutcomeUnknown, match="it was not on disk"):
            index.batch([entry(2)])
        server.config(appendfsync="always")
        monkeypatch.setattr(WAIT_S, 5.0)
        index.batch([entry(2)])


def test_the_disk_is_waited_for_also_by_what_is_sent_again(
    new_redis_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost: the receipt answers, and the new connection has written nothing."""
    server = new_redis_server("--appendonly", "yes", "--appendfsync", "always")
    if not has_waitaof(server):
        pytest.skip(f"{server.id} has no WAITAOF")
    with proxy(server.port) as way:
        url = f"redis://127.0.0.1:{way.port}/0?durability=fsynced"
        with gm.RedisIndex(url, "db", "t") as index:
            index.batch([entry(1)])
            server.config(appendfsync="no")
            monkeypatch.setattr(WAIT_S, SHORT_S)
            way.cut("after", 1)
            with pytest.raises(OutcomeUnknown, match="it was not on disk"):
                index.batch([entry(2)])
            server.config(appendfsync="always")
            monkeypatch.setattr(WAIT_S, 5.0)
            index.batch([entry(2)])
            assert len(index.get_all()) == 2


def test_behind_sentinels_and_in_a_cluster(
    redis_sentinels: Sentinels,
    redis_cluster: Cluster,
    open_index: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = open_index(redis_sentinels.url, "replicated:2")
    index.batch([entry(1)])
    for replica in redis_sentinels.servers[1:3]:
        with replica.client() as client:
            assert client.hlen("files:db:t:date=2027-01-15") == 1
    monkeypatch.setattr(WAIT_S, SHORT_S)
    index = open_index(redis_cluster.url, "replicated:1")
    with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
        index.batch([entry(1)])
    assert len(index.get_all()) == 1
    with gm.RedisKVStore(redis_cluster.url + "?durability=replicated:1") as values:
        with pytest.raises(OutcomeUnknown):
            values.put("key", b"1")
        assert values.get("key") == b"1"


def test_an_index_may_ask_for_more_than_its_connection(pair: Pair) -> None:
    pair.pause()
    with gm.RedisConnection(pair.master.url()) as connection:
        with gm.RedisIndex(connection, "db", "t") as index:
            index.batch([entry(1)])
        with (
            gm.RedisIndex(connection, "db", "t", durability="replicated:1") as index,
            pytest.raises(OutcomeUnknown),
        ):
            index.batch([entry(2)])


@pytest.mark.parametrize("durability", ["", "twice", "replicated", "replicated:x", "replicated:0"])
def test_what_is_no_durability(durability: str, redis_url: str, tmp_path: Path) -> None:
    for url in (redis_url, tmp_path / "lake.db", f"json://{tmp_path}"):
        with pytest.raises(InvalidConfiguration, match="durability must be"):
            gm.connect(url, durability=durability)


def test_where_the_catalog_is_files(tmp_path: Path) -> None:
    for durability, synchronous in (("local", 1), ("fsynced", 2)):
        with gm.connect(tmp_path / f"{durability}.db", durability=durability) as catalog:
            catalog.table("db", "t").batch([entry(1)])
            assert catalog.connection._synchronous == {1: "NORMAL", 2: "FULL"}[synchronous]
        with gm.connect(f"json://{tmp_path}/{durability}", durability=durability) as catalog:
            catalog.table("db", "t").batch([entry(1)])
    for url in (tmp_path / "lake.db", f"json://{tmp_path}"):
        with pytest.raises(InvalidConfiguration, match="local or fsynced where the catalog is"):
            gm.connect(url, durability="replicated:1")
    with closing(sqlite3.connect(tmp_path / "local.db")) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def test_a_user_without_the_right_to_wait(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all", "-wait")
    url = f"redis://few:pw@127.0.0.1:{server.port}/0?durability=replicated:1"
    with gm.RedisIndex(url, "db", "t") as index:
        with pytest.raises(InvalidConfiguration, match="the right to WAIT"):
            index.batch([entry(1)])
        assert index.get_all() == []
    with server.client() as client, pytest.raises(redis.ResponseError):
        client.execute_command("WAIT", "x", 1)
