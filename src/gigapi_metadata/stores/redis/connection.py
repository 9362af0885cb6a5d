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
from functools import cached_property, partial
from typing import Any, Self

import redis
import redis.asyncio
from redis.exceptions import AskError, MaxConnectionsError, ResponseError

from gigapi_metadata.errors import MetadataError
from gigapi_metadata.stores.base import arun, run
from gigapi_metadata.stores.redis import health, scripts, topology
from gigapi_metadata.stores.redis.answers import check_answer
from gigapi_metadata.stores.redis.attempts import (
    CALL_S,
    FAILURES,
    Attempts,
    unconfirmed,
)
from gigapi_metadata.stores.redis.common import Common, as_configuration, tried
from gigapi_metadata.stores.redis.durability import Durability, Unconfirmed
from gigapi_metadata.stores.redis.health import INFO, Asked
from gigapi_metadata.stores.redis.pool import Turns
from gigapi_metadata.stores.redis.routing import Look, To
from gigapi_metadata.stores.redis.scripts import Command, Request
from gigapi_metadata.stores.redis.slots import Address
from gigapi_metadata.stores.redis.url import POOL_TIMEOUT_S
from gigapi_metadata.stores.redis.wire import How, aexchange, exchange


class RedisConnection(Common):
    """A pool of connections to one server, to the master behind sentinels, or to a cluster.

    Threads may share it. Connections are made when they are needed, so making one can't fail for
    want of a server; `load_scripts` asks for one.

    durability: "local", "replicated:N" or "fsynced" (docs/stores.md); None: as the URL says.
    call_s: for so many seconds a call that fails is tried again; what is under way then ends soon.
    """

    def __init__(
        self, url: str, durability: str | Durability | None = None, *, call_s: float = CALL_S
    ) -> None:
        super().__init__(url, durability, call_s)
        self._made: Any = None
        self._making = threading.Lock()
        self._looking = threading.Lock()
        self._nodes: dict[Address, redis.Redis] = {}
        # Their clients refuse a call when all connections are busy; it is to wait.
        self._turns = Turns(int(self._options["max_connections"]))
        if not self.clustered:
            _ = self.client

    @cached_property
    def client(self) -> redis.Redis:
        """redis-py's own client; of a cluster, its RedisCluster, through which no request of ours
        goes, and which asks the nodes for their slots when it is made: at first use.
        After an interrupt it is another."""
        with self._making:
            if self._made is None:
                target = self.target
                with as_configuration(self.shown_url):
                    self._made = topology.blocking(
                        target.topology, target.url, target.settings, target.sentinels
                    )
        client: redis.Redis = self._made
        return client

    def perform(self, request: Request) -> Any:
        """The answer to `request`; retried where that is safe.

        Raises:
            MetadataError: whatever redis-py has raised, as one of ours.
        """
        attempts = self._attempts(request)
        while True:
            try:
                answer = self._exchange(request, attempts)
                check_answer(request, answer)
                break
            except Unconfirmed as fault:
                raise unconfirmed(fault, request, self.shown_url) from None
            except (MetadataError, MemoryError):
                raise
            except Exception as error:
                if self._puzzled(error):
                    self._check_encryption(error)
                pause = attempts.failed(error)
            time.sleep(pause)
        self._answered(attempts)
        if request.writes and (server := self._unwatched(request)) is not None:
            self._watch.say(run(health.look(), partial(self._ask, server)), server.name)
        elif self._is_hollow(request, answer):
            with suppress(*FAILURES):
                self._check_alone(self._exchange(INFO, self._attempts(INFO)))
        return answer

    def _ask(self, server: Asked, command: Command) -> Any:
        with suppress(Exception):  # may be forbidden, or nonsense; the write is made
            client: Any = self.client if server.node is None else self._node(server.node)
            return client.execute_command(*command.args)

    def _exchange(self, request: Request, attempts: Attempts) -> Any:
        try:
            return self._sent(request, attempts)
        except Exception:
            raise
        except BaseException:
            # A signal has raised, wherever: a connection may be lost to its pool.
            self._make_anew()
            raise

    def _sent(self, request: Request, attempts: Attempts) -> Any:
        if not self._failover and request.confirm is None:
            attempts.begin()
            return exchange(self.client, request, self._how(attempts))
        with self._turn():
            attempts.begin()
            if self._router is None:
                return self._confirmed(self.client, request, self._how(attempts))
            return run(
                self._router.steps(self._guarded(request)),
                lambda way: self._go(way, attempts),
            )

    def _go(self, way: To | Look, attempts: Attempts) -> Any:
        """One step of a request to a cluster."""
        assert self._router is not None
        if isinstance(way, Look):
            with self._looking:
                if not self._router.seen(way.looks):
                    run(self._router.look(), lambda each: self._go(each, attempts))
            return None
        if not way.hasty:
            return self._confirmed(self._node(way.node), way.request, self._how(attempts, way))
        with topology.node(way.node, self._options | topology.HASTE) as client:
            return exchange(client, way.request, self._how(attempts, way))

    def _confirmed(self, client: Any, request: Request, how: How) -> Any:
        """The answer, from a server that can confirm what it is to confirm."""
        untried = None if how.asking else self._untried(request, client)
        if untried is not None:
            try:
                for trial in untried.trials:
                    client.execute_command(*trial)
            except AskError:  # and MovedError: it is another node's affair
                raise
            except ResponseError as error:
                raise self._cannot_confirm(untried.durability, error) from error
            self._tried.add(tried(client, untried))
        return exchange(client, request, how)

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

    def _node(self, address: Address) -> redis.Redis:
        """The client of one node of the cluster."""
        with self._making:
            if address not in self._nodes:
                self._nodes[address] = topology.node(address, self._options)
            return self._nodes[address]

    def load_scripts(self) -> None:
        """Make the scripts known to the server ahead of their first use."""
        for script in scripts.ALL:
            self.perform(scripts.Command(("SCRIPT LOAD", script.source)))

    def close(self) -> None:
        """Close all connections. May be called again."""
        made = [] if self._made is None else [self._made]
        for client in [*made, *self._nodes.values(), *_sentinels_of(self._made)]:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _sentinels_of(client: Any) -> list[Any]:
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


class AsyncRedisConnection(Common):
    """As RedisConnection, for one event loop."""

    def __init__(
        self, url: str, durability: str | Durability | None = None, *, call_s: float = CALL_S
    ) -> None:
        super().__init__(url, durability, call_s)
        self._made: Any = None
        self._looking = asyncio.Lock()
        self._nodes: dict[Address, redis.asyncio.Redis] = {}
        self._turns = asyncio.BoundedSemaphore(int(self._options["max_connections"]))
        if not self.clustered:
            _ = self.client

    @cached_property
    def client(self) -> redis.asyncio.Redis:
        """redis-py's own client; of a cluster, its RedisCluster, through which no request of ours
        goes."""
        target = self.target
        with as_configuration(self.shown_url):
            self._made = topology.awaitable(
                target.topology, target.url, target.settings, target.sentinels
            )
        client: redis.asyncio.Redis = self._made
        return client

    async def perform(self, request: Request) -> Any:
        """As `RedisConnection.perform`."""
        attempts = self._attempts(request)
        while True:
            try:
                answer = await self._exchange(request, attempts)
                check_answer(request, answer)
                break
            except Unconfirmed as fault:
                raise unconfirmed(fault, request, self.shown_url) from None
            except (MetadataError, MemoryError):
                raise
            except Exception as error:
                if self._puzzled(error):
                    await asyncio.to_thread(self._check_encryption, error)
                pause = attempts.failed(error)
            await asyncio.sleep(pause)
        self._answered(attempts)
        if request.writes and (server := self._unwatched(request)) is not None:
            self._watch.say(await arun(health.look(), partial(self._ask, server)), server.name)
        elif self._is_hollow(request, answer):
            with suppress(*FAILURES):
                self._check_alone(await self._exchange(INFO, self._attempts(INFO)))
        return answer

    async def _ask(self, server: Asked, command: Command) -> Any:
        with suppress(Exception):  # may be forbidden, or nonsense; the write is made
            client: Any = self.client if server.node is None else self._node(server.node)
            return await client.execute_command(*command.args)

    async def _exchange(self, request: Request, attempts: Attempts) -> Any:
        if not self._failover and request.confirm is None:
            attempts.begin()
            return await aexchange(self.client, request, self._how(attempts))
        async with self._turn():
            attempts.begin()
            if self._router is None:
                return await self._confirmed(self.client, request, self._how(attempts))
            return await arun(
                self._router.steps(self._guarded(request)),
                lambda way: self._go(way, attempts),
            )

    async def _go(self, way: To | Look, attempts: Attempts) -> Any:
        """See `RedisConnection._go`."""
        assert self._router is not None
        if isinstance(way, Look):
            async with self._looking:
                if not self._router.seen(way.looks):
                    await arun(self._router.look(), lambda each: self._go(each, attempts))
            return None
        if not way.hasty:
            return await self._confirmed(
                self._node(way.node), way.request, self._how(attempts, way)
            )
        async with topology.async_node(way.node, self._options | topology.HASTE) as client:
            return await aexchange(client, way.request, self._how(attempts, way))

    async def _confirmed(self, client: Any, request: Request, how: How) -> Any:
        """See `RedisConnection._confirmed`."""
        untried = None if how.asking else self._untried(request, client)
        if untried is not None:
            try:
                for trial in untried.trials:
                    await client.execute_command(*trial)
            except AskError:  # and MovedError: it is another node's affair
                raise
            except ResponseError as error:
                raise self._cannot_confirm(untried.durability, error) from error
            self._tried.add(tried(client, untried))
        return await aexchange(client, request, how)

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

    def _node(self, address: Address) -> redis.asyncio.Redis:
        """The client of one node of the cluster."""
        if address not in self._nodes:
            self._nodes[address] = topology.async_node(address, self._options)
        return self._nodes[address]

    async def load_scripts(self) -> None:
        """Make the scripts known to the server ahead of their first use."""
        for script in scripts.ALL:
            await self.perform(scripts.Command(("SCRIPT LOAD", script.source)))

    async def close(self) -> None:
        """Close all connections. May be called again."""
        made = [] if self._made is None else [self._made]
        for client in [*made, *self._nodes.values(), *_sentinels_of(self._made)]:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
