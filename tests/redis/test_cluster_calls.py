"""Calls on a cluster whose nodes hang, whose connections break and whose tables move: each ends in
time, in an answer or an error of ours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fix_stores import entry, path_of
from fix_topologies import Cluster
from moving import Move
from redis import exceptions
from redis.exceptions import MovedError, RedisClusterException

import gigapi_metadata as gm
from gigapi_metadata.errors import MetadataError, OutcomeUnknown, StoreError, Unavailable
from gigapi_metadata.stores.redis import connection as connections
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.attempts import (
    CALL_S,
    LATER_ANSWER_S,
    Attempts,
)
from gigapi_metadata.stores.redis.durability import WAIT_S
from gigapi_metadata.stores.redis.routing import LOOKS, Look, Router, To
from gigapi_metadata.stores.redis.scripts import Command, Scan
from gigapi_metadata.stores.redis.slots import SLOTS, SlotMap, own_slots, slot_of
from gigapi_metadata.stores.redis.url import POOL_TIMEOUT_S, SOCKET_TIMEOUT_S

# Many calls at once


async def test_many_calls_at_once_on_a_fresh_client(redis_cluster: Cluster) -> None:
    for client in range(4):
        name = f"t{client}"
        async with gm.AsyncRedisIndex(redis_cluster.url, "db", name) as index:
            await asyncio.gather(
                *(
                    call
                    for n in range(60)
                    for call in (index.batch([entry(n, table=name)]), index.get_all())
                )
            )
            assert len(await index.get_all()) == 60


async def test_asyncio_goes_on_while_a_table_moves(new_cluster: Callable[..., Cluster]) -> None:
    """Writers and readers share one client. The keys of their table are moved one by one, in any
    order, and their connections are cut."""
    cluster = new_cluster()
    acknowledged: set[str] = set()
    async with gm.AsyncRedisIndex(cluster.url, "db", "t") as index:
        over = asyncio.Event()

        async def write(writer: int) -> None:
            for n in range(10_000):
                path = path_of(writer * 10_000 + n)
                await index.batch([entry(n, path=path)])
                acknowledged.add(path)
                if over.is_set():
                    return

        async def read() -> None:
            while not over.is_set():
                before = set(acknowledged)
                assert before <= {each.path for each in await index.get_all()}

        tasks = [asyncio.create_task(each) for each in (*map(write, range(4)), read(), read())]
        try:
            for _ in range(4):
                await asyncio.to_thread(_move_and_cut, cluster)
        finally:
            over.set()
            await asyncio.gather(*tasks)
        assert {each.path for each in await index.get_all()} == acknowledged
        assert len(acknowledged) > 20


def _move_and_cut(cluster: Cluster) -> None:
    move = Move(cluster, "{db:t}")
    left = move.left()
    random.shuffle(left)
    for key in left:
        move.take(key)
    move.finish()
    for server in cluster.masters:
        with server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


# Errors of other classes


@pytest.mark.parametrize("fault", [AttributeError("no writelines"), ZeroDivisionError("oops")])
def test_no_error_of_another_class_ever_leaves(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(*_: Any) -> Any:
        raise fault

    with gm.RedisIndex(redis_url, "db", "t") as index:
        index.batch([entry(1)])
        monkeypatch.setattr(connections, "exchange", broken)
        with pytest.raises(OutcomeUnknown, match=type(fault).__name__) as caught:
            index.batch([entry(2)])
        assert caught.value.__cause__ is fault
        with pytest.raises(Unavailable):
            index.get_all()
        monkeypatch.undo()
        index.batch([entry(2)])
        assert len(index.get_all()) == 2


async def test_nor_does_one_to_asyncio(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its connection says when another task has closed it: the call is repeated."""
    faults = [AttributeError("'NoneType' object has no attribute 'writelines'")]
    aexchange = connections.aexchange

    async def broken(*args: Any) -> Any:
        if faults:
            raise faults.pop()
        return await aexchange(*args)

    async with gm.AsyncRedisIndex(redis_url, "db", "t") as index:
        monkeypatch.setattr(connections, "aexchange", broken)
        await index.batch([entry(1)])
        assert len(await index.get_all()) == 1


# The end of a call


READ = Command(("GET", "x"))
WRITE = Command(("SET", "x", "y"), writes=True)


def ends_after(request: Any, attempt_s: Callable[[float], float], error: Exception) -> Any:
    """Seconds until the call gives up, and its error. attempt_s: how long each attempt takes."""
    now = 0.0
    attempts = Attempts(request, "redis://h", failover=True, clock=lambda: now)
    attempts.begin()
    while True:
        now += attempt_s(attempts.answer_s(SOCKET_TIMEOUT_S) or SOCKET_TIMEOUT_S)
        try:
            now += attempts.failed(error)
        except MetadataError as final:
            return now, final


def test_a_call_that_gets_no_answer_ends_in_time() -> None:
    silence = exceptions.TimeoutError("Timeout reading from socket")
    ended, error = ends_after(WRITE, lambda longest: longest, silence)
    assert isinstance(error, OutcomeUnknown)
    assert ended <= CALL_S
    ended, error = ends_after(READ, lambda _: 0.0, ConnectionRefusedError())
    assert isinstance(error, Unavailable)
    assert CALL_S / 2 < ended <= CALL_S
    half_moved = exceptions.TryAgainError("TRYAGAIN")
    assert CALL_S - 1 < ends_after(WRITE, lambda _: 0.0, half_moved)[0] <= CALL_S
    assert LATER_ANSWER_S > WAIT_S


def test_a_write_is_unknown_also_when_nobody_is_left_at_the_end() -> None:
    nowhere = RedisClusterException("no node of the cluster tells its slots")
    sent = Attempts(WRITE, "redis://h", failover=True)
    sent.failed(exceptions.TimeoutError("Timeout reading from socket"))
    with pytest.raises(OutcomeUnknown):
        fail(sent, nowhere)
    with pytest.raises(Unavailable):
        fail(Attempts(WRITE, "redis://h", failover=True), nowhere)


def fail(attempts: Attempts, error: Exception) -> None:
    for _ in range(1000):
        attempts.failed(error)


def test_receipts_outlive_calls(redis_url: str) -> None:
    """Of every write that leaves one: the last attempt must find that of the first."""
    rows = {"merge_configurations": [[0, 10_000, 1]], "lease_s": 1}
    with gm.RedisIndex(redis_url, "db", "t", **rows) as index, gm.connect(redis_url) as catalog:
        client: Any = index.connection.client
        seen: dict[str, int] = {}

        def note(what: str) -> None:
            receipts = list(client.scan_iter(f"{keys.OWN}:receipt:*"))
            seen[what] = min(client.ttl(key) for key in receipts)
            client.delete(*receipts)

        index.batch([entry(1), entry(2)])
        note("batch")
        plan = index.get_merge_plan("", "", 1)
        note("lease")
        plan = index.renew(plan)
        note("renew")
        index.release(plan)
        note("release")
        plan = index.get_merge_plan("", "", 1)
        client.delete(*client.scan_iter(f"{keys.OWN}:receipt:*"))
        index.complete_merge(plan, entry(3, path=plan.path_to))
        note("complete")
        assert catalog.databases() == ["db"]
    assert min(seen.values()) > 2 * (CALL_S + POOL_TIMEOUT_S), seen


# Nodes that hang


def opened(url: str, **options: Any) -> tuple[gm.RedisConnection, gm.RedisIndex]:
    connection = gm.RedisConnection(f"{url}?socket_timeout=0.5", **options)
    return connection, gm.RedisIndex(connection, "db", "t")


def test_a_cluster_that_hangs(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster()
    connection, index = opened(cluster.url, call_s=1.0)
    fresh, nobody = opened(f"{cluster.url}", call_s=1.0)
    with connection, fresh:
        index.batch([entry(1)])
        for server in cluster.masters:
            server.pause()
        with pytest.raises(OutcomeUnknown):
            index.batch([entry(2)])
        with pytest.raises(Unavailable):
            nobody.batch([entry(3)])
        for server in cluster.masters:
            server.resume()
        index.batch([entry(2)])
        nobody.batch([entry(3)])
        assert len(index.get_all()) == 3


async def test_a_node_hangs_and_its_replica_takes_over(new_cluster: Callable[..., Cluster]) -> None:
    """Clients that know it, and new ones, for whom it is the first host of the URL."""
    cluster = new_cluster(3, 1)
    victim = cluster.owner("{db:t}")
    cluster.masters.sort(key=lambda server: server is not victim)
    url = f"{cluster.url}?socket_timeout=1.5"
    async with gm.AsyncRedisIndex(url, "db", "t") as known:
        with gm.RedisIndex(url, "db", "t") as blocking:
            await known.batch([entry(1)])
            blocking.batch([entry(2)])
            with victim.client() as client:
                client.set("{db:t}", "behind them")
                assert client.execute_command("WAIT", 1, 10_000) == 1
            victim.pause()
            await known.batch([entry(3)])
            blocking.batch([entry(4)])
            for n in range(5, 9):
                with gm.RedisIndex(url, "db", "t") as fresh:
                    fresh.batch([entry(n)])
            assert len(await known.get_all()) == len(blocking.get_all()) == 8


# Lists


def test_a_list_is_whole_while_a_table_moves_behind_it(
    new_cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a node that is yet to be asked to one that has been."""
    cluster = new_cluster()
    names = [f"t{n}" for n in range(6)]
    scan_node = Router._scan_node
    moves: list[Move] = []

    def scanned(router: Router, node: Any, *args: Any) -> Any:
        yield from scan_node(router, node, *args)
        if not moves:
            to = cluster.at(node[1])
            tag = next(f"{{db:{each}}}" for each in names if cluster.owner(f"{{db:{each}}}") != to)
            moves.append(Move(cluster, tag, to))
            moves[0].finish()

    with gm.connect(cluster.url) as catalog:
        for name in names:
            catalog.table("db", name).batch([entry(1, table=name)])
        monkeypatch.setattr(Router, "_scan_node", scanned)
        assert catalog.tables("db") == names
        assert moves
        # A slot that is on its way for long.
        moves[:] = [Move(cluster, "{db:t0}")]
        moves[0].take(b"folders:{db:t0}")
        assert catalog.tables("db") == names
        moves[0].finish()


A, B, C = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)


def slots(*shares: tuple[int, int, tuple[str, int]]) -> list[Any]:
    return [[first, last, [at[0].encode(), at[1], b"id"]] for first, last, at in shares]


def drive(router: Router, request: Any, answers: Callable[[To], Any]) -> Any:
    """The answer, and to which nodes it went."""
    went: list[To] = []

    def perform(steps: Iterator[Any]) -> Any:
        answer: Any = None
        try:
            way = next(steps)
            while True:
                try:
                    if isinstance(way, Look):
                        if not router.seen(way.looks):
                            perform(router.look())
                        answer = None
                    else:
                        went.append(way)
                        answer = answers(way)
                except Exception as error:
                    way = steps.throw(error)  # type: ignore[attr-defined]
                else:
                    way = steps.send(answer)  # type: ignore[attr-defined]
        except StopIteration as stop:
            return stop.value

    return perform(router.steps(request)), went


def test_slots_are_looked_up_at_a_few_nodes_those_that_failed_last() -> None:
    router = Router([A, B, C])
    dead = {A}

    def answers(way: To) -> Any:
        if way.node in dead:
            raise exceptions.TimeoutError("Timeout connecting to server")
        return slots((0, SLOTS - 1, B)) if way.hasty else b"x"

    answer, went = drive(router, READ, answers)
    assert answer == b"x"
    assert went[-1] == To(B, READ)
    assert all(way.hasty for way in went[:-1])
    dead.add(B)
    with pytest.raises(exceptions.TimeoutError):
        drive(router, READ, answers)
    dead.discard(A)
    hosts = [(f"10.0.1.{n}", 1) for n in range(9)]
    asked: list[To] = []

    def silent(way: To) -> Any:
        asked.append(way)
        raise exceptions.TimeoutError("Timeout connecting to server")

    router = Router(hosts)
    for _ in range(3):
        with pytest.raises(RedisClusterException):
            drive(router, READ, silent)
    assert len(asked) == 3 * LOOKS
    assert len({way.node for way in asked}) == 9, "those that failed come last"


def test_nobody_serves_the_slot() -> None:
    with pytest.raises(exceptions.ClusterDownError):
        drive(Router([A]), READ, lambda _: slots((0, 1, A)))
    with pytest.raises(RedisClusterException, match=r"10\.0\.0\.1:1: gone"):
        drive(
            Router([A]), READ, lambda _: (_ for _ in ()).throw(exceptions.ConnectionError("gone"))
        )


def test_where_a_node_sends_us_is_remembered() -> None:
    router, slot = Router([A]), slot_of("x")

    def answers(way: To) -> Any:
        if way.hasty:
            return slots((0, SLOTS - 1, A))
        if way.node == A:
            raise MovedError(f"{slot} :7")  # without a host: on that of the node itself
        return b"x"

    _, went = drive(router, READ, answers)
    assert [way.node for way in went[1:]] == [A, (A[0], 7)]
    _, went = drive(router, READ, answers)
    assert [way.node for way in went] == [(A[0], 7)]
    with pytest.raises(exceptions.TryAgainError):
        drive(Router([A]), READ, lambda way: _round(way, slot))


def _round(way: To, slot: int) -> Any:
    if way.hasty:
        return slots((0, SLOTS - 1, A))
    raise MovedError(f"{slot} {B[0]}:{B[1]}" if way.node == A else f"{slot} {A[0]}:{A[1]}")


def test_what_a_node_says_of_the_slots() -> None:
    said = [
        [0, 9, [b"", 1, b"id"], [b"r", 4, b"id"]],
        [10, 19, [b"?", 2, b"id"]],
        [20, 29, [None, 5]],
    ]
    found = SlotMap(said, A)
    assert (found.owner(9), found.owner(10), found.owner(29)) == (A, None, (A[0], 5))
    assert found.masters == [A, (A[0], 5)]
    assert found.replicas == [("r", 4)]
    nodes = (
        b"a 10.0.0.1:1@2 myself,master - 0 0 7 connected 0-9 [5->-b]\nb x:1@2 master - 0 0 8 c 9"
    )
    assert own_slots(nodes) == ("7", "0-9", "[5->-b]")
    assert own_slots(b"b x:1@2 master - 0 0 8 c 9") == ()


def test_a_scan_asks_each_master_once_when_nothing_moves() -> None:
    def answers(way: To) -> Any:
        if way.hasty:
            return slots((0, 99, A), (100, SLOTS - 1, B))
        if way.request.args[0] == "CLUSTER":  # type: ignore[union-attr]
            return b"a x:1@2 myself,master - 0 0 7 connected 0-99"
        return [b"0", [str(way.node[1]).encode()]]

    found, went = drive(Router([A]), Scan("*"), answers)
    assert found == {b"1", b"2"}
    assert sum(way.request.args[0] == "SCAN" for way in went) == 2  # type: ignore[union-attr]


# URLs


def test_a_list_at_a_node_of_a_cluster_says_so(redis_cluster: Cluster) -> None:
    for node in redis_cluster.masters:
        with gm.connect(node.url()) as catalog:
            for _ in range(2):
                with pytest.raises(StoreError, match=r"write redis\+cluster://"):
                    catalog.databases()


def test_a_cluster_url_at_a_plain_server(redis_server: Any) -> None:
    url = redis_server.url().replace("redis://", "redis+cluster://").removesuffix("/0")
    with (
        gm.connect(url) as catalog,
        pytest.raises(StoreError, match="this is no cluster") as caught,
    ):
        catalog.databases()
    assert not isinstance(caught.value, Unavailable)
