"""What the sync and the async connection to Redis share: the URL, what a client remembers, and each
decision that needs no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.exceptions import ReadOnlyError, ResponseError

from gigapi_metadata.errors import InvalidConfiguration, Unavailable
from gigapi_metadata.stores.redis import durability as asked_for
from gigapi_metadata.stores.redis import topology
from gigapi_metadata.stores.redis.attempts import (
    Attempts,
    explained,
    node_of_cluster,
    passes,
)
from gigapi_metadata.stores.redis.durability import LOCAL, Confirm, Durability
from gigapi_metadata.stores.redis.encryption import mismatch
from gigapi_metadata.stores.redis.health import Watch
from gigapi_metadata.stores.redis.keys import never
from gigapi_metadata.stores.redis.routing import Router, To
from gigapi_metadata.stores.redis.scripts import Call, Request
from gigapi_metadata.stores.redis.session import Session
from gigapi_metadata.stores.redis.url import parse_url
from gigapi_metadata.stores.redis.wire import How
from gigapi_metadata.urls import hide


@contextmanager
def as_configuration(shown: str) -> Iterator[None]:
    """What redis-py says of an option's value, as our error."""
    try:
        yield
    except (ValueError, TypeError) as fault:
        raise InvalidConfiguration(f"{shown}: {fault}") from None


class Common:
    """What the sync and the async connection share: the URL, and what a client remembers."""

    def __init__(self, url: str, durability: str | Durability | None, call_s: float) -> None:
        self.target = parse_url(url)
        """What the URL says. It holds the password."""
        self.shared = self.target.shared
        self.shown_url = hide(url)
        self.session = Session()
        self.clustered = self.target.topology.kind == "cluster"
        self._failover = self.target.topology.kind != "server"
        # A RESP3 connection may be told other things between an answer and the next.
        self.direct = "protocol=3" not in self.target.url
        self._watch = Watch(self.shown_url)
        self._tried: set[Tried] = set()
        self._understood = False  # no server has answered yet, nor been asked why
        self.placed = self._failover
        """Whether the server is known to be no node of a cluster, or rightly taken for one."""
        self._call_s = call_s
        asked = self.target.durability if durability is None else durability
        self.durability = asked if isinstance(asked, Durability) else Durability.parse(asked)
        with as_configuration(self.shown_url):
            options = topology.node_options(self.target.url, self.target.settings)
        self._options = options
        self._router = Router(self.target.hosts) if self.clustered else None
        self.socket_timeout_s = float(options["socket_timeout"])
        if self.durability != LOCAL and self.socket_timeout_s <= asked_for.WAIT_S:
            raise InvalidConfiguration(
                f"{self.shown_url}: with durability {self.durability} the socket_timeout must be "
                f"above {asked_for.WAIT_S:g} s, for which a server may wait until a write is safe"
            )

    def _attempts(self, request: Request) -> Attempts:
        return Attempts(request, self.shown_url, failover=self._failover, call_s=self._call_s)

    def _guarded(self, request: Request) -> Request:
        """A script call as a cluster is sent it. While a table moves from one node to another, its
        keys lie on both; with a key that is on neither, the cluster says "try again" to a call,
        instead of running it on half of the table."""
        if not isinstance(request, Call):
            return request
        return msgspec.structs.replace(request, keys=[*request.keys, never(request.keys[0])])

    def _untried(self, request: Request, client: Any) -> Confirm | None:
        confirm = request.confirm
        return None if confirm is None or tried(client, confirm) in self._tried else confirm

    def _cannot_confirm(self, durability: Durability, error: ResponseError) -> Exception:
        if "replica instances" in str(error) or "slave instances" in str(error) or passes(error):
            return ReadOnlyError(str(error))  # it was the master a moment ago
        return InvalidConfiguration(
            f"{self.shown_url}: durability {durability} {durability.remedy}: {error}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown_url!r})"

    def _puzzled(self, error: Exception) -> bool:
        """Whether to ask why nothing was understood: once, unless a server has ever answered."""
        if self._understood or explained(error):
            return False
        self._understood = True
        return True

    def _check_encryption(self, error: Exception) -> None:
        """Raises:
        Unavailable: a server speaks TLS and the URL does not, or the other way round. Nothing was
            sent to it.
        """
        if text := mismatch(self.target.hosts, tls="ssl" in self._options):
            self._understood = False
            raise Unavailable(f"{self.shown_url} can't be reached: {text}") from error

    def _is_hollow(self, request: Request, answer: Any) -> bool:
        """Whether nothing was found, and it may be for want of a cluster's URL: once."""
        if self.placed or request.writes:
            return False
        if answer and (not isinstance(answer, list) or any(answer)):
            return False
        self.placed = True
        return True

    def _check_alone(self, info: Any) -> None:
        """Raises:
        StoreError: the server is a node of a cluster.
        """
        if isinstance(info, dict) and info.get("cluster_enabled"):
            self.placed = False
            raise node_of_cluster(self.shown_url)

    def _answered(self, attempts: Attempts) -> None:
        self._understood = True
        if attempts.doubtful_receipt is not None:
            self.session.receipts.doubt(attempts.doubtful_receipt)

    def _how(self, attempts: Attempts, way: To | None = None) -> How:
        timeout_s = attempts.answer_s(self.socket_timeout_s)
        hasty, asking = (way.hasty, way.asking) if way else (False, False)
        return How(
            # A client for haste has timeouts of its own.
            self.direct,
            attempts.unknown_script,
            None if hasty else timeout_s,
            asking,
        )


Tried = tuple[int, Durability, bool]


def tried(client: Any, confirm: Confirm) -> Tried:
    """What a client has shown, once it was tried, that it can do."""
    return (id(client), confirm.durability, confirm.receipt is None)
