"""redis-py's connections, whose greetings (login, name) take no longer than connecting may, nor
than any other answer.

A server that hangs lets clients connect, for the system does that in its place. redis-py would then
wait for the answer to its greeting as for any other, on each new connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis import exceptions


def greets_in_time(connection_class: type[Any]) -> type[Any]:
    """The class of blocking connections."""

    class GreetsInTime(connection_class):  # type: ignore[misc]
        _greets = False

        def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
            self._greets = True
            try:
                super().on_connect_check_health(*args, **kwargs)
            except exceptions.TimeoutError:
                raise _silent(self) from None
            finally:
                self._greets = False

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            if self._greets:
                kwargs["timeout"] = _patience(self)
            return super().read_response(*args, **kwargs)

    return GreetsInTime


def async_greets_in_time(connection_class: type[Any]) -> type[Any]:
    """The class of asyncio connections."""

    class GreetsInTime(connection_class):  # type: ignore[misc]
        async def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
            try:
                async with asyncio.timeout(_patience(self)):
                    await super().on_connect_check_health(*args, **kwargs)
            except TimeoutError:
                raise _silent(self) from None

    return GreetsInTime


def _patience(connection: Any) -> float | None:
    limits = (connection.socket_connect_timeout, connection.socket_timeout)
    return min((limit for limit in limits if limit is not None), default=None)


def _silent(connection: Any) -> Exception:
    # The words tell that no request was sent (attempts.py).
    place = getattr(connection, "path", None) or f"{connection.host}:{connection.port}"
    return exceptions.TimeoutError(f"No answer after connecting to {place}")
