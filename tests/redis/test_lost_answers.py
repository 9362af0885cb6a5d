"""A connection that breaks: nothing is done twice, and an error says what is known."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fix_redis import RedisServer
from fix_stores import SECOND, dump_redis, entry, path_of
from wire import Proxy, proxy

from gigapi_metadata import (
    AsyncRedisIndex,
    AsyncRedisKVStore,
    Layer,
    OutcomeUnknown,
    RedisDBIndex,
    RedisIndex,
    RedisKVStore,
    Unavailable,
)
from gigapi_metadata.stores.redis.scripts import Call

NewServer = Callable[..., RedisServer]
ROWS = [[0, 150, 1]]
LAYERS = [Layer("file:///hot", "hot", ttl_sec=60), Layer("file:///cold", "cold")]


@pytest.fixture
def server(new_redis_server: NewServer) -> RedisServer:
    return new_redis_server()


@pytest.fixture
def line(server: RedisServer) -> Iterator[Proxy]:
    """What the clients of a test are connected through."""
    with proxy(server.port) as made:
        yield made


@pytest.fixture
def index(line: Proxy) -> Iterator[RedisIndex]:
    url = f"redis://127.0.0.1:{line.port}"
    with RedisIndex(url, "db", "t", merge_configurations=ROWS) as index:
        index.batch([entry(8), entry(9)])  # scripts are known, a connection is open
        yield index


def counted(server: RedisServer) -> tuple[int, int, int]:
    """Folder count, waiting merge plans, paths in them."""
    with server.client() as client:
        counts = client.hgetall("folders:db:t").values()
        keys = list(client.scan_iter("merge:*"))
        items = [item for key in keys for item in client.lrange(key, 0, -1)]
    return sum(map(int, counts)), len(items), sum(item.count(b".1.parquet") for item in items)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_batch_whose_answer_is_lost_is_made_once(
    server: RedisServer, line: Proxy, index: RedisIndex, where: Any, times: int
) -> None:
    assert counted(server) == (2, 2, 2)
    line.cut(where, times)
    sent = line.requests
    assert index.batch([entry(1), entry(2)], [entry(8)]) == 0
    assert line.requests == sent + times + 1, "it was sent again"
    assert counted(server) == (3, 4, 4)
    assert [each.path for each in index.get_all()] == [path_of(n) for n in (1, 2, 9)]
    with server.client() as client:
        assert client.llen("drop:db:t:::idle") == 1


@pytest.mark.parametrize("where", ["before", "after"])
def test_every_write_whose_answer_is_lost_is_made_once(
    server: RedisServer, line: Proxy, index: RedisIndex, where: Any
) -> None:
    line.cut(where, 2)
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    assert [each.state for each in index.plans()] == ["waiting", "leased"]
    line.cut(where, 2)
    renewed = index.renew(plan, lease_s=4000)
    assert renewed.lease_s > plan.lease_s
    line.cut(where, 2)
    index.release(renewed, "why", delay_s=0)
    assert [(each.state, each.attempts) for each in index.plans()] == [
        ("waiting", 1),
        ("waiting", 0),
    ]
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    line.cut(where, 2)
    index.complete_merge(plan, entry(path=plan.path_to))
    assert sorted(each.path for each in index.get_all()) == sorted([plan.path_to, path_of(9)])
    with server.client() as client:
        assert client.hgetall("folders:db:t") == {b"date=2027-01-15/hour=08": b"2"}
        assert client.llen("drop:db:t:::idle") == 1


def test_a_read_whose_answer_is_lost_is_made_again(server: RedisServer) -> None:
    with proxy(server.port) as line:
        line._marker = b"HVALS"
        with RedisIndex(f"redis://127.0.0.1:{line.port}", "db", "t") as index:
            index.batch([entry(1)])
            line.cut("after", 2)
            assert index.get_all() == [entry(1)]
            line.cut_always("after")
            with pytest.raises(Unavailable):
                index.get_all()


@pytest.mark.parametrize("where", ["before", "after"])
def test_when_no_answer_ever_comes_the_outcome_is_unknown(
    server: RedisServer, line: Proxy, index: RedisIndex, where: Any
) -> None:
    line.cut_always(where)
    with pytest.raises(OutcomeUnknown, match="Repeating the same call is safe"):
        index.batch([entry(1)])
    line.cut_always(None)
    assert index.batch([entry(1)]) == 0
    assert counted(server) == (3, 3, 3)


def test_a_completion_of_unknown_outcome_can_be_repeated(line: Proxy, index: RedisIndex) -> None:
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    line.cut_always("after")
    with pytest.raises(OutcomeUnknown):
        index.complete_merge(plan, entry(path=plan.path_to))
    line.cut_always(None)
    index.complete_merge(plan, entry(path=plan.path_to))
    assert sorted(each.path for each in index.get_all()) == sorted([plan.path_to, path_of(9)])


@pytest.mark.parametrize("where", ["before", "after"])
async def test_async_writes_whose_answer_is_lost_are_made_once(
    server: RedisServer, line: Proxy, where: Any
) -> None:
    url = f"redis://127.0.0.1:{line.port}"
    async with AsyncRedisIndex(url, "db", "t", merge_configurations=ROWS) as index:
        await index.batch([entry(8), entry(9)])
        line.cut(where, 3)
        assert await index.batch([entry(1), entry(2)], [entry(8)]) == 0
        assert counted(server) == (3, 4, 4)
        line.cut(where, 3)
        plan = await index.get_merge_plan("", "", 1)
        assert plan is not None
        assert [each.state for each in await index.plans()].count("leased") == 1
        line.cut(where, 3)
        await index.complete_merge(plan, entry(path=plan.path_to))
        line.cut_always(where)
        with pytest.raises(OutcomeUnknown):
            await index.batch([entry(3)])
        line.cut_always(None)
        await index.batch([entry(3)])
        assert len(await index.get_all()) == 4


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def test_a_closed_port_is_unavailable(closed_port: int) -> None:
    url = f"redis://:s3cret@127.0.0.1:{closed_port}"
    with RedisIndex(url, "db", "t") as index:
        for call in (
            lambda: index.batch([entry(1)]),
            index.get_all,
            lambda: index.get_merge_plan("", "", 1),
        ):
            with pytest.raises(Unavailable) as caught:
                call()
            assert "s3cret" not in str(caught.value)
            assert caught.value.__cause__ is not None
    with RedisDBIndex(url) as names, pytest.raises(Unavailable):
        names.databases()
    with RedisKVStore(url) as values, pytest.raises(Unavailable):
        values.put("key", b"")


async def test_a_closed_port_is_unavailable_to_asyncio(closed_port: int) -> None:
    async with AsyncRedisIndex(f"redis://127.0.0.1:{closed_port}", "db", "t") as index:
        with pytest.raises(Unavailable):
            await index.batch([entry(1)])
        with pytest.raises(Unavailable):
            await index.get_all()


@pytest.mark.parametrize("url", ["redis://no-such-host.invalid", "unix:///no/such/socket"])
def test_a_server_that_is_not_there_is_unavailable(url: str) -> None:
    with RedisIndex(url, "db", "t") as index, pytest.raises(Unavailable):
        index.batch([entry(1)])


def test_a_server_that_hangs_is_given_up(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    with RedisIndex(f"{server.url()}?socket_timeout=0.1", "db", "t") as index:
        index.batch([entry(1)])
        server.pause()
        with pytest.raises(OutcomeUnknown):
            index.batch([entry(2)])
        with pytest.raises(Unavailable):
            index.get_all()
        server.resume()
        index.batch([entry(2)])
        assert index.get_all() == [entry(1), entry(2)]
        with server.client() as client:
            assert client.hget("folders:db:t", "date=2027-01-15/hour=08") == b"2"


def test_a_write_made_late_by_a_server_that_hung_is_made_once(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    url = f"{server.url()}?socket_timeout=0.1"
    with RedisIndex(url, "db", "t", LAYERS, []) as index:
        index.batch([entry(1, layer="hot", chunk_time=SECOND)])
        server.pause()
        with pytest.raises(OutcomeUnknown):
            index.get_move_plan("", "hot")
        server.resume()
        assert len(index.plans()) == 1
        # Whoever got the lease has died; it was given once, however often it was asked for.
        assert index.get_move_plan("", "hot") is None or index.plans()[0].state == "leased"


def test_a_slot_whose_write_failed_is_not_used_again(server: RedisServer) -> None:
    """A lost request may still arrive, and would overwrite the receipt of the slot's next write."""
    with RedisIndex(server.url(), "db", "t") as index:
        perform = index.connection.perform
        receipts: list[str] = []

        def interrupted(request: Call) -> None:
            receipts.append(request.keys[0])
            raise KeyboardInterrupt

        index.connection.perform = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            index.batch([entry(1)])
        index.connection.perform = perform  # type: ignore[method-assign]
        index.batch([entry(2)])
        with server.client() as client:
            assert not client.exists(receipts[0])
            assert client.keys("gigapi-metadata:receipt:*")


async def test_a_cancelled_call_leaves_the_client_usable(server: RedisServer) -> None:
    async with AsyncRedisIndex(server.url(), "db", "t") as index:
        await index.batch([entry(1)])
        cancelled = 0
        for _ in range(5):
            server.pause()
            calls = [
                asyncio.create_task(index.batch([entry(2)])),
                asyncio.create_task(index.get_all()),
                asyncio.create_task(index.get_merge_plan("", "", 1)),
            ]
            await asyncio.sleep(0.02)
            for call in calls:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            # On a busy machine the server may stop a moment late, and have answered one.
            errors = [result for result in results if isinstance(result, BaseException)]
            assert {type(error) for error in errors} <= {asyncio.CancelledError}
            cancelled += len(errors)
            server.resume()
            assert entry(1) in await index.get_all()
            assert await index.get(path_of(1)) == entry(1)
        assert cancelled
        await index.batch([entry(2)])
        assert await index.get_all() == [entry(1), entry(2)]
        with server.client() as client:
            assert client.hgetall("folders:db:t") == {b"date=2027-01-15/hour=08": b"2"}


async def test_many_calls_at_once_share_a_client(server: RedisServer) -> None:
    async with AsyncRedisIndex(server.url(), "db", "t") as index:
        await asyncio.gather(*(index.batch([entry(n)]) for n in range(100)))
        found = await asyncio.gather(*(index.get(path_of(n)) for n in range(100)))
        assert found == [entry(n) for n in range(100)]
        with server.client() as client:
            assert client.hgetall("folders:db:t") == {b"date=2027-01-15/hour=08": b"100"}


def test_scripts_may_be_flushed_between_calls(server: RedisServer) -> None:
    with RedisIndex(server.url(), "db", "t", merge_configurations=ROWS) as index:
        with server.client() as client:

            def forget() -> None:
                client.script_flush()

            forget()
            index.batch([entry(1), entry(2)])
            forget()
            plan = index.get_merge_plan("", "", 1)
            assert plan is not None
            forget()
            plan = index.renew(plan, lease_s=9999)
            forget()
            index.release(plan)
            plan = index.get_merge_plan("", "", 1)
            assert plan is not None
            forget()
            index.complete_merge(plan, entry(path=plan.path_to))
        assert len(index.get_all()) == 2


def test_a_restarted_server_is_no_error(server: RedisServer) -> None:
    with RedisIndex(server.url(), "db", "t") as index, RedisKVStore(server.url()) as values:
        index.batch([entry(1)])
        values.put("key", b"1")
        server.restart()
        assert index.get_all() == []
        server.restart()
        index.batch([entry(1)])
        server.restart()
        assert index.get_merge_plan("", "", 1) is None
        server.restart()
        assert values.get("key") is None


async def test_a_restarted_server_is_no_error_to_asyncio(server: RedisServer) -> None:
    async with (
        AsyncRedisIndex(server.url(), "db", "t") as index,
        AsyncRedisKVStore(server.url()) as values,
    ):
        await index.batch([entry(1)])
        await values.put("key", b"1")
        server.restart()
        assert await index.get_all() == []
        server.restart()
        await index.batch([entry(1)])
        server.restart()
        assert await index.get_merge_plan("", "", 1) is None
        server.restart()
        assert await values.get("key") is None


def test_a_full_server_refuses_a_batch_whole(server: RedisServer) -> None:
    with RedisIndex(server.url(), "db", "t") as index, server.client() as client:
        index.batch([entry(1)])
        server.config(maxmemory="1", maxmemory_policy="noeviction")
        before = dump_redis(client)
        with pytest.raises(Exception, match=r"OOM|maxmemory"):
            index.batch([entry(2)], [entry(1)])
        assert dump_redis(client) == before
        server.config(maxmemory="0")
        index.batch([entry(2)], [entry(1)])
        assert index.get_all() == [entry(2)]
