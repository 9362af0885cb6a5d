"""Asks the servers of a cluster, or those behind sentinels, about themselves and each other.

Read-only. All are asked at once; one that does not answer is a fact like others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

import msgspec
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from gigapi_metadata.doctor import cluster
from gigapi_metadata.doctor.cluster import ClusterFacts, Node
from gigapi_metadata.doctor.reading import redis as reading
from gigapi_metadata.doctor.redis_facts import Member, RedisFacts, Silent
from gigapi_metadata.doctor.sentinels import Sentinel, is_down
from gigapi_metadata.errors import StoreError
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.connection import RedisConnection
from gigapi_metadata.stores.redis.scripts import Plain

PATIENCE_S = 3.0
"""How long a server is given for an answer."""

AT_ONCE = 8

MOVES_S = 1.5
"""How long to see whether a slot that is on its way gets on."""

Servers = dict[str, RedisFacts | Silent]
"""What was read of each server, by its `host:port`."""

Counts = dict[int, int | None]
"""Slots that are on their way to or from a node, and how many keys of each it has, if it says."""

_T = TypeVar("_T")
_Answer = TypeVar("_Answer")


def read_cluster(connection: RedisConnection, url: str) -> tuple[Servers, ClusterFacts]:
    """Facts of the cluster, and of each node that is not known to be down."""
    nodes, silent = _nodes(connection)
    living = [node for node in nodes if not node.fails]
    looks = _all(lambda node: _look(connection, url, node), living)
    servers: Servers = {}
    unread: dict[str, str] = {}
    states: dict[str, str] = {}
    open_slots: list[tuple[Node, Counts]] = []
    for node, look in zip(living, looks, strict=True):
        if isinstance(look, Silent):
            unread[node.name] = look.why
            continue
        servers[node.name], state, own = look
        if state:
            states[node.name] = state
        if own:
            open_slots.append((node, own))
    moving = sorted({slot for _, own in open_slots for slot in own})
    stuck = _stuck(connection, open_slots)
    return servers, ClusterFacts(nodes, silent, unread, states, moving, stuck)


def _stuck(connection: RedisConnection, open_slots: Sequence[tuple[Node, Counts]]) -> list[int]:
    """The open slots whose keys have not become fewer or more within MOVES_S seconds. A reshard
    goes through a slot in that time, or a good part of it."""
    if not open_slots:
        return []
    time.sleep(MOVES_S)
    later = _all(lambda each: _open_slots(connection, each[0]), open_slots)
    seen = {slot for _, before in open_slots for slot in before}
    gets_on = {
        slot
        for (_, before), after in zip(open_slots, later, strict=True)
        for slot, keys_ in before.items()
        if keys_ is None or after.get(slot) != keys_
    }
    return sorted(seen - gets_on)


def _open_slots(connection: RedisConnection, node: Node) -> Counts:
    with _node(connection, node.host, node.port) as asked, suppress(StoreError):
        return _own_moves(asked, node)
    return {}


def _own_moves(asked: RedisConnection, node: Node) -> Counts:
    own = cluster.parse(asked.perform(Plain(("CLUSTER", "NODES"))).decode(), node.host)
    slots = [slot for each in own if "myself" in each.flags for slot in each.moving]
    counts: Counts = dict.fromkeys(slots)
    with suppress(StoreError):  # may be forbidden
        for slot in slots:
            counts[slot] = asked.perform(Plain(("CLUSTER", "COUNTKEYSINSLOT", str(slot))))
    return counts


def _nodes(connection: RedisConnection) -> tuple[list[Node], dict[str, str]]:
    """The nodes, as the first host of the URL that answers knows them, and the hosts that do not
    answer, with what they do instead."""
    silent: dict[str, str] = {}
    hosts = connection.target.hosts
    answers = _all(lambda address: _seen_from(connection, *address), hosts)
    nodes: list[Node] = []
    for (host, port), answer in zip(hosts, answers, strict=True):
        if isinstance(answer, Silent):
            silent[f"[{host}]:{port}" if ":" in host else f"{host}:{port}"] = answer.why
        else:
            nodes = nodes or answer
    return nodes, silent


def _seen_from(connection: RedisConnection, host: str, port: int) -> list[Node] | Silent:
    with _node(connection, host, port) as asked:
        try:
            text = asked.perform(Plain(("CLUSTER", "NODES"))).decode()
            slots = asked.perform(Plain(("CLUSTER", "SLOTS")))
        except StoreError as fault:
            return Silent(_why(fault))
    # How clients are to reach a node, which may be by a name.
    ways = {
        name.decode(): ((at or host.encode()).decode(), int(port))
        for _, _, *members in slots
        for at, port, name, *_ in members
    }
    return [
        msgspec.structs.replace(node, **dict(zip(("host", "port"), ways[node.id], strict=True)))
        if node.id in ways
        else node
        for node in cluster.parse(text, host)
    ]


def _look(
    connection: RedisConnection, url: str, node: Node
) -> tuple[RedisFacts, str, Counts] | Silent:
    """What a node says of itself, the state that it sees the cluster in, and its open slots."""
    member: Member = "master" if node.is_master else "replica"
    with _node(connection, node.host, node.port) as asked:
        try:
            facts = reading.read(asked, url, _nowhere(node), member)
        except StoreError as fault:
            return Silent(_why(fault))
        try:
            info = asked.perform(Plain(("CLUSTER", "INFO"))).decode()
            moves = _own_moves(asked, node)
        except StoreError as fault:
            info, moves = "", {}
            refused = {**facts.refused, "CLUSTER INFO": _line(fault.__cause__ or fault)}
            facts = msgspec.structs.replace(facts, refused=refused)
    lines = dict(line.partition(":")[::2] for line in info.split())
    facts = msgspec.structs.replace(facts, durability=connection.durability)
    return facts, lines.get("cluster_state", ""), moves


def _nowhere(node: Node) -> TableRef:
    """A table that is not there, and would lie on `node`."""
    slots = [range(first, last + 1) for first, last in node.slots]
    for number in count() if slots else ():
        table = keys.ClusterTable(reading.NOWHERE.database, f"{reading.NOWHERE.table}{number}")
        slot = key_slot(keys.folders(table).encode())
        if any(slot in each for each in slots):
            return table
    return keys.ClusterTable(*reading.NOWHERE)


def read_sentinels(connection: RedisConnection, url: str) -> tuple[Servers, list[Sentinel]]:
    """What each sentinel of the URL says, and facts of the master and the replicas it names."""
    service = connection.target.topology.service
    pool: Any = connection.client.connection_pool
    said = _all(lambda client: _ask_sentinel(client, service), pool.sentinel_manager.sentinels)
    answering = [each for each in said if each.answers]
    named = list(dict.fromkeys(each.master for each in answering))[:1]
    members: dict[str, Member] = dict.fromkeys(named, "master")
    for each in answering:
        for name, flags in each.replicas.items():
            if not is_down(flags):
                members.setdefault(name, "replica")

    def look(item: tuple[str, Member]) -> RedisFacts | Silent:
        host, _, port = item[0].rpartition(":")
        with _node(connection, host, int(port)) as asked:
            try:
                facts = reading.read(asked, url, reading.NOWHERE, item[1])
            except StoreError as fault:
                return Silent(_why(fault), item[1])
        return msgspec.structs.replace(facts, durability=connection.durability)

    return dict(zip(members, _all(look, members.items()), strict=True)), said


def _ask_sentinel(client: Any, service: str) -> Sentinel:
    kwargs = client.connection_pool.connection_kwargs
    name = f"{kwargs['host']}:{kwargs['port']}"
    try:
        master = _fields(client.execute_command("SENTINEL", "MASTER", service))
        replicas = client.execute_command("SENTINEL", "REPLICAS", service)
        others = client.execute_command("SENTINEL", "SENTINELS", service)
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        return Sentinel(name, refused=_line(error))
    except ResponseError as error:
        unknown = "No such master" in str(error)
        return Sentinel(name) if unknown else Sentinel(name, refused=_line(error))
    except (RedisError, OSError) as error:
        return Sentinel(name, fault=_line(error))
    try:
        verdict = client.execute_command("SENTINEL", "CKQUORUM", service).decode()
    except (RedisError, OSError) as error:
        verdict = _line(error)
    return Sentinel(
        name,
        master=_address(master),
        flags=master["flags"],
        quorum=int(master["quorum"]),
        verdict=verdict,
        replicas={_address(each): _flags(each) for each in map(_fields, replicas)},
        others={_address(each): each["flags"] for each in map(_fields, others)},
    )


def _fields(raw: Any) -> dict[str, str]:
    pairs = raw.items() if isinstance(raw, dict) else zip(raw[::2], raw[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}


def _address(fields: dict[str, str]) -> str:
    return f"{fields['ip']}:{fields['port']}"


def _flags(replica: dict[str, str]) -> str:
    cut_off = replica.get("master-link-status", "ok") != "ok"
    return f"{replica['flags']},disconnected" if cut_off else replica["flags"]


def _node(connection: RedisConnection, host: str, port: int) -> RedisConnection:
    """One server of the group, by the login of the URL."""
    target = connection.target
    url = target.node_url(host, port, protocol=2, **_patience(connection))
    asked = RedisConnection(url, call_s=PATIENCE_S)
    asked.placed = True
    return asked


def alone(connection: RedisConnection) -> RedisConnection:
    """The server of `connection`, which is one, asked with less patience."""
    url = connection.target.url_with(**_patience(connection))
    asked = RedisConnection(url, connection.durability, call_s=PATIENCE_S)
    asked.shown_url = connection.shown_url
    return asked


def _patience(connection: RedisConnection) -> dict[str, float]:
    patience = min(PATIENCE_S, float(connection.socket_timeout_s))
    return {"socket_timeout": patience, "socket_connect_timeout": patience}


def _why(fault: StoreError) -> str:
    cause = fault.__cause__ or fault
    if isinstance(cause, AuthenticationError):
        return f"refuses the login: {_line(cause)}"
    if isinstance(cause, ResponseError):
        return f"refuses to say: {_line(cause)}"
    explained = str(fault).partition(" can't be reached: ")[2]
    return f"does not answer: {explained or _line(cause)}"


def _line(fault: BaseException) -> str:
    return " ".join(str(fault).split()).rstrip(".")


def _all(work: Callable[[_T], _Answer], items: Iterable[_T]) -> list[_Answer]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(work, items))
