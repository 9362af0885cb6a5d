"""To which node of a cluster a request goes, and where to when that sends it elsewhere. No I/O.

redis-py's cluster clients are not used for requests. The asyncio one closes connections that other
tasks read from (its errors then have no class of its own), both wait for a node that hangs as long
as for any answer before they look for its successor, and neither says whether slots have moved
while the nodes were asked one after the other.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redis import exceptions
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MaxConnectionsError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from gigapi_metadata.stores.base import Steps
from gigapi_metadata.stores.redis.scripts import (
    SCAN_COUNT,
    Call,
    Command,
    Pipeline,
    Plain,
    Request,
    Scan,
)
from gigapi_metadata.stores.redis.slots import (
    LIST_NODES,
    LIST_SLOTS,
    Address,
    SlotMap,
    own_slots,
    slot_of,
)

LOOK_S = 1.5
"""How long one node is given to connect, and to answer what it has ready: its view of the slots."""

LOOKS = 3
"""How many nodes are asked for it, one after the other, until one answers."""

REDIRECTIONS = 5
PASSES = 3
"""How often the nodes are scanned while slots move."""

_KEYLESS = ("INFO", "TIME", "PING")
_EVERYWHERE = ("SCRIPT LOAD",)


class To(NamedTuple):
    """A request on its way to a node. asking: the node is still being given the slot. hasty: it is
    given LOOK_S."""

    node: Address
    request: Request
    asking: bool = False
    hasty: bool = False


class Look(NamedTuple):
    """Find out anew who has which slot (`Router.look`), one caller at a time; unless somebody has
    done so since `looks` were counted."""

    looks: int


class Router:
    """What a client knows of a cluster. Its generators yield To and Look, and are sent answers and
    thrown errors.

    hosts: those of the URL.
    """

    def __init__(self, hosts: Iterable[Address]) -> None:
        self._hosts = list(hosts)
        self._map: SlotMap | None = None
        self._doubtful = False
        self._silent: set[Address] = set()
        self._fault: RedisClusterException | None = None
        self.looks = 0

    def steps(self, request: Request) -> Steps[Any]:
        """The answer to `request`.

        Raises:
            RedisClusterException: no node could be asked for the slots; the request was not sent.
        """
        if isinstance(request, Scan):
            return (yield from self._scan(request))
        if isinstance(request, Pipeline):
            return (yield from self._pipeline(request))
        if isinstance(request, Call):
            return (yield from self._routed(request, _key_of(request)))
        name = request.args[0]
        if name in _EVERYWHERE or name in _KEYLESS:
            masters = yield from self._masters()
            answer = None
            for node in masters if name in _EVERYWHERE else [random.choice(masters)]:
                answer = yield from self._sent(To(node, request))
            return answer
        return (yield from self._routed(request, _key_of(request)))

    def node_of(self, request: Request) -> Address | None:
        """The node that a request of one key goes to, as far as is known."""
        if self._map is None or isinstance(request, (Pipeline, Scan)):
            return None
        return self._map.owner(slot_of(_key_of(request)))

    def look(self) -> Steps[None]:
        """Ask for the slots: the nodes that are known and those of the URL, in any order, but last
        those that failed."""
        try:
            yield from self._look()
        except RedisClusterException as error:
            self._fault = error
            raise
        else:
            self._fault = None
        finally:
            self.looks += 1

    def seen(self, looks: int) -> bool:
        """Whether somebody has looked since.

        Raises:
            RedisClusterException: who did had no success.
        """
        if looks == self.looks:
            return False
        if self._fault is not None:
            raise RedisClusterException(*self._fault.args) from self._fault.__cause__
        return True

    def _look(self) -> Steps[None]:
        known = [*self._map.masters, *self._map.replicas] if self._map else []
        nodes = list(dict.fromkeys([*known, *self._hosts]))
        random.shuffle(nodes)
        nodes.sort(key=self._silent.__contains__)
        fault: Exception | None = None
        said = []
        for node in nodes[:LOOKS]:
            try:
                answer = yield To(node, Plain(LIST_SLOTS), hasty=True)
            except (RedisError, OSError) as error:
                self._silent.add(node)
                # What a node refuses says more than that another is silent.
                fault = error if fault is None or isinstance(error, ResponseError) else fault
                said.append(f"{node[0]}:{node[1]}: {error}")
                continue
            self._silent.discard(node)
            self._map = SlotMap(answer, node)
            self._doubtful = not self._map.masters
            return
        raise RedisClusterException(
            f"no node of the cluster tells its slots ({'; '.join(said)})"
        ) from fault

    def _current(self) -> Steps[SlotMap]:
        if self._map is None or self._doubtful:
            yield Look(self.looks)
        assert self._map is not None
        return self._map

    def _masters(self) -> Steps[Sequence[Address]]:
        masters = (yield from self._current()).masters
        if not masters:
            raise ClusterDownError("CLUSTERDOWN no node has a slot")
        return masters

    def _sent(self, way: To) -> Steps[Any]:
        try:
            answer = yield way
        except MaxConnectionsError:
            raise
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
            self._silent.add(way.node)
            self._doubtful = True
            raise
        except ClusterDownError:
            self._doubtful = True
            raise
        self._silent.discard(way.node)
        return answer

    def _routed(self, request: Request, key: str) -> Steps[Any]:
        slot = slot_of(key)
        known = yield from self._current()
        node = known.owner(slot)
        if node is None:
            self._doubtful = True
            raise ClusterDownError("CLUSTERDOWN nobody serves the slot")
        asking = False
        for _ in range(REDIRECTIONS):
            try:
                return (yield from self._sent(To(node, request, asking)))
            except MovedError as error:
                node, asking = _named(error, node), False
                known.move(slot, node)
            except AskError as error:
                node, asking = _named(error, node), True
        self._doubtful = True
        raise TryAgainError("TRYAGAIN sent from node to node too often")

    def _pipeline(self, request: Pipeline) -> Steps[list[Any]]:
        """At once, if all keys have one slot and are on one node."""
        first, *rest = {slot_of(str(command[1])) for command in request.commands}
        if not rest:
            node = (yield from self._current()).owner(first)
            if node is not None:
                try:
                    return list((yield from self._sent(To(node, request))))
                except (AskError, TryAgainError):  # and MovedError
                    pass
        answers: list[Any] = [None] * len(request.commands)
        for at, command in enumerate(request.commands):
            answers[at] = yield from self._routed(Plain(command), str(command[1]))
        return answers

    def _scan(self, request: Scan) -> Steps[set[bytes]]:
        """What all masters hold. A key that goes from a node that is yet to be scanned to one that
        has been would be missed; so while slots move, the nodes are scanned again. A key that moves
        once is then in its old place for the whole of one pass, or in its new one for the whole of
        the next."""
        found: set[bytes] = set()
        before = yield from self._places()
        for _ in range(PASSES):
            for node in (yield from self._masters()):
                yield from self._scan_node(node, request, found)
            after = yield from self._places()
            if before is not None and after == before:
                break
            before = after
        return found

    def _scan_node(self, node: Address, request: Scan, found: set[bytes]) -> Steps[None]:
        cursor = 0
        while True:
            step = Plain(("SCAN", str(cursor), "MATCH", request.pattern, "COUNT", str(SCAN_COUNT)))
            place, keys = yield from self._sent(To(node, step))
            found.update(keys)
            cursor = int(place)
            if not cursor:
                return

    def _places(self) -> Steps[Any]:
        """Where all slots are, to be compared; None while one is on its way, or when we may not
        know."""
        yield Look(self.looks)
        masters = yield from self._masters()
        said = []
        for node in masters:
            try:
                own = own_slots((yield from self._sent(To(node, Plain(LIST_NODES)))))
            except ResponseError:
                return None
            if any(slot.startswith("[") for slot in own):
                return None
            said.append((node, own))
        return sorted(said)


def _key_of(request: Call | Command | Plain) -> str:
    return request.keys[0] if isinstance(request, Call) else str(request.args[1])


def _named(error: AskError, asked: Address) -> Address:
    """The node that an answer names; without a host, it is on that of the node that says so."""
    return (error.host or asked[0], error.port)
