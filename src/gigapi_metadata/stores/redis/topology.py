"""Where the servers are: one, a group that sentinels watch, or a cluster; and a client for each.

    redis://user:password@host:port/0
    redis+sentinel://user:password@sentinel:26379,sentinel:26379/service/0
    redis+cluster://user:password@node:6379,node:6379

Behind sentinels, each new connection asks them who the master is. In a cluster there is a client
for each node; routing.py knows which has what.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.stores.redis.encryption import encrypts_in_time
from gigapi_metadata.stores.redis.greeting import async_greets_in_time, greets_in_time
from gigapi_metadata.stores.redis.packing import Packer
from gigapi_metadata.stores.redis.pool import Stack
from gigapi_metadata.stores.redis.routing import LOOK_S
from gigapi_metadata.stores.redis.sentinels import AsyncSentinels, Sentinels
from gigapi_metadata.stores.redis.slots import Address
from gigapi_metadata.stores.redis.wire import keeps_cancellations
from gigapi_metadata.urls import has_bad_port

Kind = Literal["server", "sentinel", "cluster"]

HASTE = {"socket_timeout": LOOK_S, "socket_connect_timeout": LOOK_S}
"""What a client is made with that is to find out which node has what."""

_DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}
_BLOCKING_POOL_ONLY = "timeout"


class Topology(NamedTuple):
    """What the first half of a URL says. `url`: the same as if the first host were the only one,
    and an ordinary server."""

    kind: Kind
    url: str
    hosts: tuple[Address, ...] = ()
    service: str = ""


def split(url: str, shown: str) -> Topology:
    """Which servers `url` names. What is a URL of one server already is left as it is.

    Raises:
        InvalidConfiguration: a host, the service or the database can't be one. It shows `shown`.
    """
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.lower().partition("+")
    if kind not in ("sentinel", "cluster"):
        return Topology("server", url)
    place, mark, query = rest.partition("?")
    authority, _, path = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    parsed = [_address(host, _DEFAULT_PORTS[kind]) for host in hosts.split(",")]
    addresses = [address for address in parsed if address is not None]
    if len(addresses) < len(parsed) or "@" in path:
        # What follows may be a part of the password: none of it is shown.
        raise InvalidConfiguration(
            f"{shown}: each host must be host or host:port, with commas between them; a password "
            "is percent-encoded (/ as %2F, @ as %40)"
        )
    service, _, database = ("", "", path) if kind == "cluster" else path.partition("/")
    if kind == "sentinel" and not service:
        raise InvalidConfiguration(
            f"{shown}: the service that the sentinels watch is missing; the form is "
            "redis+sentinel://host:port,host:port/service/0"
        )
    if kind == "cluster" and database.strip("/") not in ("", "0"):
        raise InvalidConfiguration(f"{shown}: a cluster has one database, 0")
    first = hosts.partition(",")[0]
    database = f"/{database}" if database.strip("/") else ""
    plain = f"{base}://{login}{at}{first}{database}{mark}{query}"
    return Topology(cast(Kind, kind), plain, tuple(addresses), unquote(service))


def _address(host: str, port: int) -> Address | None:
    if has_bad_port(f"x://{host}"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname, parts.port or port) if parts.hostname else None
    except ValueError:
        return None


def blocking(
    topology: Topology, url: str, settings: dict[str, Any], sentinels: dict[str, Any]
) -> Any:
    """redis-py's client. Making one for a cluster asks a node for its slots; others connect later.

    url, settings: what redis-py is told of the server; sentinels: the login at those.
    """
    if topology.kind == "server":
        pool = redis.BlockingConnectionPool.from_url(url, queue_class=Stack, **settings)
        return _in_time(redis.Redis.from_pool(pool))
    options = _options(redis.connection.parse_url(url), settings)  # type: ignore[no-untyped-call]
    if topology.kind == "cluster":
        nodes = [redis.cluster.ClusterNode(*address) for address in topology.hosts]  # type: ignore[no-untyped-call]
        return redis.cluster.RedisCluster(startup_nodes=nodes, **options)
    manager = Sentinels(  # type: ignore[no-untyped-call]
        topology.hosts, sentinel_kwargs=_sentinel_options(options) | sentinels
    )
    for client in manager.sentinels:
        _in_time(client)
    return _in_time(manager.master_for(topology.service, **options))  # type: ignore[no-untyped-call]


def _in_time(client: Any) -> Any:
    pool = client.connection_pool
    if issubclass(pool.connection_class, redis.SSLConnection):
        pool.connection_class = encrypts_in_time(pool.connection_class)
    pool.connection_class = greets_in_time(pool.connection_class)
    pool.connection_kwargs["command_packer"] = Packer()
    return client


def _async_in_time(client: Any) -> Any:
    pool = client.connection_pool
    pool.connection_class = async_greets_in_time(keeps_cancellations(pool.connection_class))
    return client


def awaitable(
    topology: Topology, url: str, settings: dict[str, Any], sentinels: dict[str, Any]
) -> Any:
    """As `blocking`, for asyncio. None of them connects yet."""
    settings = {**settings, "retry": no_retry()}
    if topology.kind == "server":
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, **settings)
        return _async_in_time(redis.asyncio.Redis.from_pool(pool))
    options = _options(dict(redis.asyncio.connection.parse_url(url)), settings)
    if topology.kind == "cluster":
        nodes = [redis.asyncio.cluster.ClusterNode(*address) for address in topology.hosts]
        cluster = redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, **options)
        plain = cluster.connection_kwargs.get("connection_class", redis.asyncio.Connection)
        cluster.connection_kwargs["connection_class"] = keeps_cancellations(plain)
        return cluster
    manager = AsyncSentinels(  # type: ignore[no-untyped-call]
        topology.hosts,
        sentinel_kwargs={**_sentinel_options(options), "retry": settings["retry"], **sentinels},
    )
    for client in manager.sentinels:
        _async_in_time(client)
    return _async_in_time(manager.master_for(topology.service, **options))


def node(address: Address, options: dict[str, Any]) -> redis.Redis:
    """A client of one node of a cluster; options: as `node_options` gives them."""
    host, port = address
    client: redis.Redis = _in_time(redis.Redis(host=host, port=port, **options))
    return client


def async_node(address: Address, options: dict[str, Any]) -> redis.asyncio.Redis:
    """As `node`, for asyncio."""
    host, port = address
    client: redis.asyncio.Redis = _async_in_time(
        redis.asyncio.Redis(host=host, port=port, **{**options, "retry": no_retry()})
    )
    return client


def no_retry() -> AsyncRetry:
    """So that redis-py's asyncio clients leave it to us when to try again."""
    return AsyncRetry(NoBackoff(), 0)


def node_options(url: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a plain client of one node of a cluster takes beside `host` and `port`."""
    return _options(redis.connection.parse_url(url), settings)  # type: ignore[no-untyped-call]


def _options(parsed: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What clients of many servers take: no host of their own, TLS as a flag, no waiting pool."""
    options = {**settings, **parsed}
    for name in ("host", "port", _BLOCKING_POOL_ONLY):
        options.pop(name, None)
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    return options


def _sentinel_options(options: dict[str, Any]) -> dict[str, Any]:
    patience = min(float(options["socket_connect_timeout"]), LOOK_S)
    kept = {name: value for name, value in options.items() if name.startswith("ssl")}
    return kept | {
        "protocol": 2,
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "retry": Retry(NoBackoff(), 0),
    }
