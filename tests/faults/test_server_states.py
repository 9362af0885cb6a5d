"""A server that is full, read-only, or forgets its scripts: clear errors, whole answers, and the
client goes on by itself when that is over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import redis
from fault_checks import check_invariants, paths_of
from fault_line import Fault, fault_line
from fix_redis import RedisServer
from fix_stores import dump_redis, entry, path_of
from go_like import GoLike

from gigapi_metadata import (
    AsyncRedisIndex,
    LeaseLost,
    OutcomeUnknown,
    RedisIndex,
    StoreError,
    Unavailable,
)

NewServer = Callable[..., RedisServer]
ROWS = [[0, 150, 1]]


@pytest.fixture
def server(new_redis_server: NewServer) -> RedisServer:
    return new_redis_server()


@pytest.fixture
def index(server: RedisServer) -> Iterator[RedisIndex]:
    with RedisIndex(server.url(), "db", "t", merge_configurations=ROWS) as made:
        made.batch([entry(8), entry(9)])
        yield made


def writes(index: Any, plan: Any) -> list[Callable[[], Any]]:
    """Every kind of write, as calls."""
    return [
        lambda: index.batch([entry(1), entry(2)], [entry(8)]),
        lambda: index.get_merge_plan("", "", 1),
        lambda: index.renew(plan, lease_s=9999),
        lambda: index.complete_merge(plan, entry(path=plan.path_to)),
        lambda: index.release(plan, "why", delay_s=5),
        lambda: index.end_merge(plan),
        lambda: index.import_entries([entry(7)]),
    ]


# Out of memory


def test_a_full_server_refuses_every_write_whole_and_answers_reads(
    server: RedisServer, index: RedisIndex
) -> None:
    plan = index.get_merge_plan("", "", 1)
    with server.client() as client:
        GoLike(client).add(entry(5))  # the time index is behind, and can't be mended
        server.config(maxmemory="1", maxmemory_policy="noeviction")
        before = dump_redis(client)
        for number in (0, 2, 6):
            with pytest.raises(StoreError, match=r"OOM|maxmemory"):
                writes(index, plan)[number]()
            assert dump_redis(client) == before, f"write {number}"
        there = [entry(5), entry(8), entry(9)]
        assert index.get_all() == there
        assert index.query(after=0) == there
        assert index.query(after=entry(9).min_time, before=2**62) == there
        assert index.get(path_of(5)) is not None
        # Others may be carried out: what takes something away makes room. Whole, or not at all.
        reasons: list[str] = []
        for number in (1, 3, 4):
            before, changed = dump_redis(client), False
            try:
                writes(index, plan)[number]()
            except LeaseLost:
                pass
            except StoreError as error:
                reasons.append(str(error))
                changed = dump_redis(client) != before
            assert not changed, f"write {number}"
            assert not missing(index), f"write {number}"
        assert all("maxmemory" in reason for reason in reasons)
        server.config(maxmemory="0")
    assert index.batch([entry(1), entry(2)]) == 0
    assert {path_of(n) for n in (1, 2, 5)} <= {each.path for each in check_invariants(index)}


def missing(index: RedisIndex) -> set[str]:
    """Files that nobody removed and that are in no plan."""
    there = {each.path for each in index.get_all() if each.path.endswith(".1.parquet")}
    return there - {path for plan in index.plans() for path in plan.paths} - {path_of(5)}


def test_memory_runs_out_at_any_moment(server: RedisServer, index: RedisIndex) -> None:
    """The limit is drawn closer and closer, so that it is reached within some batch."""
    acknowledged = {path_of(8), path_of(9)}
    reasons: list[str] = []
    with server.client() as client:
        used = int(client.info("memory")["used_memory"])
        server.config(maxmemory=str(used + 600_000), maxmemory_policy="noeviction")
        for number in count(1):
            batch = [entry(100 * number + n) for n in range(60)]
            try:
                index.batch(batch)
                acknowledged |= {each.path for each in batch}
                index.get_merge_plan("", "", 1)
            except StoreError as error:
                reasons.append(str(error))
                if len(reasons) == 3:
                    break
                assert paths_of(index.get_all()) == sorted(acknowledged)
        assert all("maxmemory" in reason for reason in reasons)
        server.config(maxmemory="0")
    assert paths_of(check_invariants(index)) == sorted(acknowledged)


# A master that is a replica by now


@pytest.fixture
def other(new_redis_server: NewServer) -> RedisServer:
    return new_redis_server()


def demote(server: RedisServer) -> None:
    """Make it a read-only replica which keeps what it holds: its master is nowhere."""
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")


def promote(server: RedisServer) -> None:
    with server.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")


def test_a_replica_refuses_writes_and_answers_reads(server: RedisServer, index: RedisIndex) -> None:
    plan = index.get_merge_plan("", "", 1)
    with server.client() as client:
        GoLike(client).add(entry(5))
        demote(server)
        before = dump_redis(client)
        for number, call in enumerate(writes(index, plan)):
            with pytest.raises(Unavailable, match="read only replica"):
                call()
            assert dump_redis(client) == before, f"write {number}"
        there = [entry(5), entry(8), entry(9)]
        assert index.get_all() == there
        assert index.query(after=0) == there
        assert index.query(after=entry(9).min_time, before=2**62) == there
        assert index.plans()
    promote(server)
    for number in (3, 1, 0):
        writes(index, plan)[number]()
    check_invariants(index)


async def test_a_replica_refuses_asyncio_clients_alike(
    server: RedisServer, index: RedisIndex
) -> None:
    async with AsyncRedisIndex(server.url(), "db", "t", merge_configurations=ROWS) as awaitable:
        await awaitable.batch([entry(1)])
        demote(server)
        with pytest.raises(Unavailable, match="read only replica"):
            await awaitable.batch([entry(2)])
        assert len(await awaitable.query(after=0)) == 3
        promote(server)
        await awaitable.batch([entry(2)])
    assert len(check_invariants(index)) == 4


def test_a_write_waits_for_a_failover_that_is_short(
    server: RedisServer, index: RedisIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server becomes a master again while the client still tries."""
    from gigapi_metadata.stores.redis import connection

    demote(server)

    def pause(seconds: float) -> None:
        promote(server)

    monkeypatch.setattr(connection.time, "sleep", pause)
    index.batch([entry(1)])
    assert len(check_invariants(index)) == 3


def test_what_a_replica_got_is_whole(
    server: RedisServer, other: RedisServer, index: RedisIndex
) -> None:
    """A real failover: the replica takes over, clients go to it; the old master follows it."""
    server.config(repl_diskless_sync_delay=0)
    with server.client() as old, other.client() as new:
        new.execute_command("REPLICAOF", "127.0.0.1", server.port)
        index.batch([entry(1), entry(2)], [entry(8)])
        while dump_redis(new) != dump_redis(old):
            pass
        new.execute_command("REPLICAOF", "NO", "ONE")
        old.execute_command("REPLICAOF", "127.0.0.1", other.port)
    with pytest.raises(Unavailable, match="read only replica"):
        index.batch([entry(3)])
    with RedisIndex(other.url(), "db", "t", merge_configurations=ROWS) as moved:
        moved.batch([entry(3)])
        assert paths_of(check_invariants(moved)) == [path_of(n) for n in (1, 2, 3, 9)]


# A server that is busy, or has other users by now


def test_a_server_busy_with_a_script_is_unavailable(server: RedisServer, index: RedisIndex) -> None:
    server.config(lua_time_limit=1)

    def be_busy() -> None:
        with server.client() as client, suppress(redis.ResponseError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=be_busy)
    thread.start()
    try:
        with server.client() as client:
            while not _is_busy(client):
                pass
            with pytest.raises(Unavailable, match="is busy"):
                index.batch([entry(1)])
            with pytest.raises(Unavailable, match="is busy"):
                index.get_all()
            client.script_kill()
    finally:
        thread.join()
    index.batch([entry(1)])
    assert len(check_invariants(index)) == 3


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


def test_a_write_that_is_refused_after_its_answer_was_lost_may_have_happened(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password changes between the first attempt and the second."""
    from gigapi_metadata.stores.redis import connection

    with (
        fault_line(server.port) as line,
        RedisIndex(f"redis://127.0.0.1:{line.port}", "db", "t") as index,
    ):
        index.batch([entry(1)])
        line.arm(Fault("cut", "reply", 0))
        monkeypatch.setattr(
            connection.time, "sleep", lambda seconds: server.config(requirepass="other")
        )
        with pytest.raises(OutcomeUnknown):
            index.batch([entry(2)])
        with server.client(password="other") as client:
            client.config_set("requirepass", "")
        assert len(index.get_all()) == 2


# Scripts that are forgotten


def test_scripts_are_flushed_all_the_time(server: RedisServer, index: RedisIndex) -> None:
    over = threading.Event()

    def forget() -> None:
        with server.client() as client:
            while not over.is_set():
                client.script_flush()

    thread = threading.Thread(target=forget)
    thread.start()
    try:
        for number in range(100, 160):
            index.batch([entry(number)])
            assert len(index.query(after=0)) == number - 97
            plan = index.get_merge_plan("", "", 1)
            assert plan is not None
            index.release(index.renew(plan))
        plan = index.get_merge_plan("", "", 1)
        assert plan is not None
        index.complete_merge(plan, entry(path=plan.path_to))
    finally:
        over.set()
        thread.join()
    assert len(check_invariants(index)) == 62
