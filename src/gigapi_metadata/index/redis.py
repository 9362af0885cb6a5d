"""The public classes on Redis. Each takes a URL, or a connection to share."""

from __future__ import annotations

from collections.abc import Iterable

from gigapi_metadata.index.aio import AsyncDBIndex, AsyncIndex, AsyncKVStore
from gigapi_metadata.index.base import Family, MergeRows, table_verbs
from gigapi_metadata.index.sync import DBIndex, Index, KVStore
from gigapi_metadata.model import Layer
from gigapi_metadata.planning import DEFAULT_DROP_GRACE_S, DEFAULT_LEASE_S
from gigapi_metadata.stores.redis.connection import AsyncRedisConnection, RedisConnection
from gigapi_metadata.stores.redis.durability import Durability
from gigapi_metadata.stores.redis.repair import reindex
from gigapi_metadata.stores.redis.store import RedisStore


def _connection(url: str | RedisConnection) -> tuple[RedisConnection, bool]:
    """The connection, and whether it was made here."""
    return (url, False) if isinstance(url, RedisConnection) else (RedisConnection(url), True)


def _async_connection(url: str | AsyncRedisConnection) -> tuple[AsyncRedisConnection, bool]:
    if isinstance(url, AsyncRedisConnection):
        return url, False
    return AsyncRedisConnection(url), True


def _store(
    connection: RedisConnection | AsyncRedisConnection,
    shared: bool | None = None,
    durability: str | None = None,
) -> RedisStore:
    return RedisStore(
        connection.session,
        shared=connection.shared if shared is None else bool(shared),
        clustered=connection.clustered,
        durability=connection.durability if durability is None else Durability.parse(durability),
    )


class RedisIndex(Index[RedisConnection]):
    """A table of the catalog on a Redis or Valkey server, in GigAPI's format.

    url: redis://, rediss:// (certificates are verified), unix://, valkey:// or valkeys://, with
        user, password and database number as usual; redis+sentinel://host:port,host:port/service/0
        or redis+cluster://host:port,host:port; or a RedisConnection to share.
    layers: the table's storage tiers, hottest first; without, "" is the only one.
    merge_configurations: rows of (timeout_sec, max_size, iteration); [] plans no merges.
    lease_s: for how many seconds plans are handed out.
    drop_grace_s: how many seconds a removed file stays for readers that have listed it.
    shared: others than this package write to the table all the time, so that queries do without
        the time index (docs/time-index.md); None: as the URL says (`?shared=1`).
    durability: what a batch or a completion survives once it is acknowledged: "local",
        "replicated:N" or "fsynced" (docs/redis-topologies.md); None: as the URL says
        (`?durability=fsynced`).
    """

    def __init__(
        self,
        url: str | RedisConnection,
        database: str,
        table: str,
        layers: Iterable[Layer] | None = None,
        merge_configurations: MergeRows | None = None,
        *,
        lease_s: int = DEFAULT_LEASE_S,
        drop_grace_s: int = DEFAULT_DROP_GRACE_S,
        shared: bool | None = None,
        durability: str | None = None,
    ) -> None:
        connection, owned = _connection(url)
        store = _store(connection, shared, durability)
        verbs = table_verbs(
            store, database, table, layers, merge_configurations, lease_s, drop_grace_s
        )
        super().__init__(connection, owned, verbs)

    def reindex(self) -> None:
        """Make the index that queries by time use anew, from what is stored. Needed only where
        somebody has changed its keys, or entries, by hand. Safe at any time, in steps of some
        20,000 files: queries beside it find what they otherwise find, and new files are kept. Finds
        days whose folders GigAPI has lost count of, so that queries find them. Scans the
        keyspace."""
        self._run(reindex(self._verbs.ref))


class AsyncRedisIndex(AsyncIndex[AsyncRedisConnection]):
    """As RedisIndex, awaitable. For one event loop."""

    def __init__(
        self,
        url: str | AsyncRedisConnection,
        database: str,
        table: str,
        layers: Iterable[Layer] | None = None,
        merge_configurations: MergeRows | None = None,
        *,
        lease_s: int = DEFAULT_LEASE_S,
        drop_grace_s: int = DEFAULT_DROP_GRACE_S,
        shared: bool | None = None,
        durability: str | None = None,
    ) -> None:
        connection, owned = _async_connection(url)
        store = _store(connection, shared, durability)
        verbs = table_verbs(
            store, database, table, layers, merge_configurations, lease_s, drop_grace_s
        )
        super().__init__(connection, owned, verbs)

    async def reindex(self) -> None:
        """See `RedisIndex.reindex`."""
        await self._run(reindex(self._verbs.ref))


class RedisDBIndex(DBIndex[RedisConnection]):
    """What is in a Redis catalog."""

    def __init__(self, url: str | RedisConnection) -> None:
        connection, owned = _connection(url)
        super().__init__(connection, owned, _store(connection))


class AsyncRedisDBIndex(AsyncDBIndex[AsyncRedisConnection]):
    """As RedisDBIndex, awaitable."""

    def __init__(self, url: str | AsyncRedisConnection) -> None:
        connection, owned = _async_connection(url)
        super().__init__(connection, owned, _store(connection))


class RedisKVStore(KVStore[RedisConnection]):
    """Raw bytes on Redis, under the key as it is: no prefix. The catalog's own keys are refused."""

    def __init__(self, url: str | RedisConnection) -> None:
        connection, owned = _connection(url)
        super().__init__(connection, owned, _store(connection))


class AsyncRedisKVStore(AsyncKVStore[AsyncRedisConnection]):
    """As RedisKVStore, awaitable."""

    def __init__(self, url: str | AsyncRedisConnection) -> None:
        connection, owned = _async_connection(url)
        super().__init__(connection, owned, _store(connection))


BLOCKING = Family(RedisConnection, RedisIndex, RedisDBIndex, RedisKVStore)
AWAITABLE = Family(AsyncRedisConnection, AsyncRedisIndex, AsyncRedisDBIndex, AsyncRedisKVStore)
