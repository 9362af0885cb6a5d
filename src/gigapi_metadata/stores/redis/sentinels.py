"""Who is the master, as the sentinels say; and when none does, what each of them said instead.

redis-py's own way of asking leaves the reasons out. The sync and the async class differ by one
await.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.exceptions import AuthenticationError
from redis.sentinel import MasterNotFoundError, Sentinel

from gigapi_metadata.stores.redis.encryption import WRONG_CERTIFICATE

_SILENT = (exceptions.ConnectionError, exceptions.TimeoutError)
"""What a sentinel is passed over for; the first holds refused logins too."""


class Sentinels(Sentinel):
    """As redis-py's, with reasons."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port.

        Raises:
            RedisError: nobody names one; see `nobody`.
        """
        said: dict[str, Exception | None] = {}
        for sentinel in self.sentinels:
            try:
                masters: Any = sentinel.sentinel_masters()
                state = masters.get(service_name)
            except _SILENT as error:
                said[name_of(sentinel)] = error
                continue
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                self.sentinels = answering_first(sentinel, self.sentinels)
                return state["ip"], state["port"]
            said[name_of(sentinel)] = unknown(masters) if state is None else None
        raise nobody(service_name, said)


class AsyncSentinels(AsyncSentinel):
    """As redis-py's, with reasons."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """As `Sentinels.discover_master`."""
        said: dict[str, Exception | None] = {}
        for sentinel in self.sentinels:
            try:
                masters: Any = await sentinel.sentinel_masters()
                state = masters.get(service_name)
            except _SILENT as error:
                said[name_of(sentinel)] = error
                continue
            if state and self.check_master_state(state, service_name):
                self.sentinels = answering_first(sentinel, self.sentinels)
                return state["ip"], state["port"]
            said[name_of(sentinel)] = unknown(masters) if state is None else None
        raise nobody(service_name, said)


class UnknownService(exceptions.ResponseError):
    """A sentinel watches none of this name."""


def unknown(masters: Mapping[str, Any]) -> UnknownService:
    """`masters`: those that the sentinel does watch."""
    return UnknownService(f"watches {', '.join(map(str, masters)) or 'nothing'}")


def answering_first(sentinel: Any, sentinels: Sequence[Any]) -> list[Any]:
    """The sentinels in the order in which to ask the next time; those that are down are last."""
    return [sentinel, *(each for each in sentinels if each is not sentinel)]


def name_of(client: Any) -> str:
    """`host:port` that a client connects to."""
    place = client.connection_pool.connection_kwargs
    return f"{place['host']}:{place['port']}"


def nobody(service: str, said: Mapping[str, Exception | None]) -> Exception:
    """The error of a service for which no sentinel names a master. `said`: what each answered
    instead; None when its master is down. What will not pass by waiting, as all refuse the login,
    show a wrong certificate or know no such service, has a class of its own."""
    faults = [error for error in said.values() if error is not None]
    text = "; ".join(f"{name}: {error or 'its master is down'}" for name, error in said.items())
    if len(faults) == len(said):
        if all(isinstance(error, UnknownService) for error in faults):
            return UnknownService(
                f"no sentinel knows a service {service!r}: its name is the path of the URL ({text})"
            )
        if all(isinstance(error, AuthenticationError) for error in faults):
            return AuthenticationError(
                f"that of the sentinels, which is ?sentinel_username=…&sentinel_password=… ({text})"
            )
        if all(WRONG_CERTIFICATE in str(error) for error in faults):
            return exceptions.ConnectionError(f"Error connecting to the sentinels: {text}")
    return MasterNotFoundError(f"No master found for {service!r}: {text}")
