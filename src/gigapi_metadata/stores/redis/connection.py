"""Getting a request to the server and its answer back.

`RedisConnection` and `AsyncRedisConnection` differ by one await. What to do after a failure is
decided in one place, `Attempts`, without I/O.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from typing import Any, Self

import msgspec
import redis
import redis.asyncio
from redis.exceptions import MaxConnectionsError, ReadOnlyError, ResponseError

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.stores.redis import durability as asked_for
from gigapi_metadata.stores.redis import scripts, topology
from gigapi_metadata.stores.redis.answers import check_answer
from gigapi_metadata.stores.redis.attempts import FAILURES, Attempts, passes, unconfirmed
from gigapi_metadata.stores.redis.durability import LOCAL, Durability, Unconfirmed
from gigapi_metadata.stores.redis.health import INFO, Watch
from gigapi_metadata.stores.redis.keys import never
from gigapi_metadata.stores.redis.pool import Turns
from gigapi_metadata.stores.redis.scripts import Call, Pipeline, Request
from gigapi_metadata.stores.redis.session import Session
from gigapi_metadata.stores.redis.url import POOL_TIMEOUT_S, parse_url
from gigapi_metadata.stores.redis.wire import aexchange, exchange, through_client
from gigapi_metadata.urls import hide


@contextmanager
def _as_configuration(shown: str) -> Iterator[None]:
    """What redis-py says of an option's value, as our error."""
    try:
        yield
    except (ValueError, TypeError) as fault:
        raise InvalidConfiguration(f"{shown}: {fault}") from None


class _Connection:
    """What the sync and the async connection share: the URL, and what a client remembers."""

    def __init__(self, url: str, durability: str | Durability | None = None) -> None:
        self._target = parse_url(url)
        self.shared = self._target.shared
        self.shown_url = hide(url)
        self.session = Session()
        self.clustered = self._target.topology.kind == "cluster"
        self._failover = self._target.topology.kind != "server"
        self.first_url = self._target.url
        """Of the first host alone, as of an ordinary server. It holds the password."""
        # A RESP3 connection may be told other things between an answer and the next.
        self.direct = not self.clustered and "protocol=3" not in self._target.url
        self._watch = Watch(self.shown_url)
        self._tried: set[tuple[int, Durability]] = set()
        asked = self._target.durability if durability is None else durability
        self.durability = asked if isinstance(asked, Durability) else Durability.parse(asked)
        with _as_configuration(self.shown_url):
            options = topology.node_options(self._target.url, self._target.settings)
        self._options = options
        if self.durability != LOCAL and float(options["socket_timeout"]) <= asked_for.WAIT_S:
            raise InvalidConfiguration(
                f"{self.shown_url}: with durability {self.durability} the socket_timeout must be "
                f"above {asked_for.WAIT_S:g} s, for which a server may wait until a write is safe"
            )

    def _attempts(self, request: Request) -> Attempts:
        return Attempts(request, self.shown_url, failover=self._failover)

    def _guarded(self, request: Request) -> Request:
        """A script call as a cluster is sent it. While a table moves from one node to another, its
        keys lie on both; with a key that is on neither, the cluster says "try again" to a call,
        instead of running it on half of the table."""
        if not isinstance(request, Call):
            return request
        return msgspec.structs.replace(request, keys=[*request.keys, never(request.keys[0])])

    def _untried(self, request: Request, client: Any) -> tuple[int, Durability] | None:
        if request.confirm is None or (id(client), request.confirm.durability) in self._tried:
            return None
        return (id(client), request.confirm.durability)

    def _cannot_confirm(self, durability: Durability, error: ResponseError) -> Exception:
        if "replica instances" in str(error) or "slave instances" in str(error) or passes(error):
            return ReadOnlyError(str(error))  # it was the master a moment ago
        return InvalidConfiguration(
            f"{self.shown_url}: durability {durability} {durability.remedy}: {error}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown_url!r})"

    def _answered(self, attempts: Attempts) -> None:
        if attempts.doubtful_receipt is not None:
            self.session.receipts.doubt(attempts.doubtful_receipt)


def _key_to_find(request: Request) -> str | None:
    """A key of a request whose node redis-py does not look up anew by itself after a failure: it is
    sent to a node by us, or in a pipeline."""
    if isinstance(request, Pipeline):
        return str(request.commands[0][1])
    if request.confirm is None:
        return None
    return request.keys[0] if isinstance(request, Call) else str(request.args[1])


class RedisConnection(_Connection):
    """A pool of connections to one server, to the master behind sentinels, or to a cluster.

    Threads may share it. Connections are made when they are needed, so making one can't fail for
    want of a server; `load_scripts` asks for one.

    durability: "local", "replicated:N" or "fsynced" (docs/stores.md); None: as the URL says.
    """

    def __init__(self, url: str, durability: str | Durability | None = None) -> None:
        super().__init__(url, durability)
        self._made: Any = None
        self._making = threading.Lock()
        self._nodes: dict[tuple[str, int], redis.Redis] = {}
        # Their clients refuse a call when all connections are busy; it is to wait.
        self._turns = Turns(int(self._options["max_connections"]))
        if not self.clustered:
            _ = self.client

    @cached_property
    def client(self) -> redis.Redis:
        """redis-py's own client; of a cluster, its RedisCluster, which asks the nodes for their
        slots when it is made: at first use. After an interrupt it is another."""
        with self._making:
            if self._made is None:
                target = self._target
                with _as_configuration(self.shown_url):
                    self._made = topology.blocking(
                        target.topology, target.url, target.settings, target.sentinels
                    )
        client: redis.Redis = self._made
        return client

    def perform(self, request: Request) -> Any:
        """The answer to `request`; retried where that is safe."""
        attempts = self._attempts(request)
        while True:
            try:
                answer = self._exchange(request, attempts)
                check_answer(request, answer)
                break
            except FAILURES as error:
                pause = attempts.failed(error)
            except Unconfirmed as fault:
                raise unconfirmed(fault, request, self.shown_url) from None
            except BaseException:
                # A signal has raised, wherever: a connection may be lost to its pool.
                self._make_anew()
                raise
            time.sleep(pause)
        self._answered(attempts)
        if request.writes and self._watch.due:
            self._watch.begin()
            with suppress(*FAILURES):  # may be forbidden
                self._watch.say(through_client(self.client, INFO))
        return answer

    def _exchange(self, request: Request, attempts: Attempts) -> Any:
        if not self._failover and request.confirm is None:
            return exchange(
                self.client,
                request,
                unknown_script=attempts.unknown_script,
                direct=self.direct,
            )
        with self._turn():
            client: Any = self.client
            if self.clustered:
                request = self._guarded(request)
                key = _key_to_find(request)
                if key is not None and attempts.again:
                    client.execute_command("EXISTS", key)  # follows a move, or a new master
                if key is not None and request.confirm is not None:
                    client = self._node_of(key)
            if untried := self._untried(request, client):
                try:
                    client.execute_command(*untried[1].trial)
                except ResponseError as error:
                    raise self._cannot_confirm(untried[1], error) from error
                self._tried.add(untried)
            return exchange(
                client, request, unknown_script=attempts.unknown_script, direct=self.direct
            )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        turns = self._turns
        if not turns.take(POOL_TIMEOUT_S):
            raise MaxConnectionsError("No connection available.")
        try:
            yield
        finally:
            turns.give_back()

    def _make_anew(self) -> None:
        """Have other clients from now on. Calls under way in other threads end with the old ones,
        which close their connections when nobody holds them any more."""
        self._turns = Turns(int(self._options["max_connections"]))
        self._tried = set()
        self._nodes = {}
        self._made = None
        self.__dict__.pop("client", None)

    def _node_of(self, key: str) -> redis.Redis:
        """A client of the node that has `key`: to write and to wait on one connection."""
        cluster: Any = self.client
        node = cluster.get_node_from_key(key)
        address = (node.host, node.port)
        with self._making:
            if address not in self._nodes:
                host, port = address
                self._nodes[address] = topology.packing_texts(
                    redis.Redis(host=host, port=port, **self._options)
                )
            return self._nodes[address]

    def load_scripts(self) -> None:
        """Make the scripts known to the server ahead of their first use."""
        for script in scripts.ALL:
            self.perform(scripts.Command(("SCRIPT LOAD", script.source)))

    def close(self) -> None:
        """Close all connections. May be called again."""
        if self._made is None:
            return
        self._made.close()
        for client in [*self._nodes.values(), *_sentinels_of(self._made)]:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _sentinels_of(client: Any) -> list[Any]:
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


class AsyncRedisConnection(_Connection):
    """As RedisConnection, for one event loop."""

    def __init__(self, url: str, durability: str | Durability | None = None) -> None:
        super().__init__(url, durability)
        target = self._target
        self._nodes: dict[tuple[str, int], redis.asyncio.Redis] = {}
        self._turns = asyncio.BoundedSemaphore(int(self._options["max_connections"]))
        with _as_configuration(self.shown_url):
            client = topology.awaitable(
                target.topology, target.url, target.settings, target.sentinels
            )
        self.client: redis.asyncio.Redis = client

    async def perform(self, request: Request) -> Any:
        """The answer to `request`; retried where that is safe."""
        attempts = self._attempts(request)
        while True:
            try:
                answer = await self._exchange(request, attempts)
                check_answer(request, answer)
                break
            except FAILURES as error:
                pause = attempts.failed(error)
            except Unconfirmed as fault:
                raise unconfirmed(fault, request, self.shown_url) from None
            await asyncio.sleep(pause)
        self._answered(attempts)
        if request.writes and self._watch.due:
            self._watch.begin()
            with suppress(*FAILURES):  # may be forbidden
                self._watch.say(await through_client(self.client, INFO))
        return answer

    async def _exchange(self, request: Request, attempts: Attempts) -> Any:
        if not self._failover and request.confirm is None:
            return await aexchange(
                self.client,
                request,
                unknown_script=attempts.unknown_script,
                direct=self.direct,
            )
        async with self._turn():
            client: Any = self.client
            if self.clustered:
                request = self._guarded(request)
                key = _key_to_find(request)
                if key is not None and attempts.again:
                    await client.execute_command("EXISTS", key)  # follows a move, or a new master
                if key is not None and request.confirm is not None:
                    client = await self._node_of(key)
            if untried := self._untried(request, client):
                try:
                    await client.execute_command(*untried[1].trial)
                except ResponseError as error:
                    raise self._cannot_confirm(untried[1], error) from error
                self._tried.add(untried)
            return await aexchange(
                client, request, unknown_script=attempts.unknown_script, direct=self.direct
            )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(POOL_TIMEOUT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise MaxConnectionsError("No connection available.") from None
        try:
            yield
        finally:
            self._turns.release()

    async def _node_of(self, key: str) -> redis.asyncio.Redis:
        cluster: Any = self.client
        await cluster.initialize()
        node = cluster.get_node_from_key(key)
        address = (node.host, node.port)
        if address not in self._nodes:
            options = {**self._options, "retry": topology.no_retry()}
            host, port = address
            self._nodes[address] = redis.asyncio.Redis(host=host, port=port, **options)
        return self._nodes[address]

    async def load_scripts(self) -> None:
        """Make the scripts known to the server ahead of their first use."""
        for script in scripts.ALL:
            await self.perform(scripts.Command(("SCRIPT LOAD", script.source)))

    async def close(self) -> None:
        """Close all connections. May be called again."""
        await self.client.aclose()
        for client in [*self._nodes.values(), *_sentinels_of(self.client)]:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
