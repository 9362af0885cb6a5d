"""A request on the wire: sent through redis-py, its answer read.

Nearly all requests go straight over a connection of the client's pool. redis-py's way through
`execute_command` (retries, metrics, callbacks) costs 10 µs a call and looks at each argument twice,
and the whole of a request has to be there before any of it is sent. The sync and the async function
differ by their awaits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

from redis import exceptions
from redis.exceptions import ResponseError

from gigapi_metadata.stores.redis.durability import Unconfirmed
from gigapi_metadata.stores.redis.packing import as_stored, pack
from gigapi_metadata.stores.redis.scripts import (
    SCAN_COUNT,
    Command,
    Pipeline,
    Plain,
    Request,
    Scan,
)

PART_BYTES = 65536
"""How much of a request is gathered before it is sent."""

_ASKING = b"*1\r\n$6\r\nASKING\r\n"


class How(NamedTuple):
    """How a request is sent.

    direct: the client speaks RESP2, so that nothing comes between an answer and the next.
    unknown_script: the server does not know the script by its hash.
    timeout_s: for each answer; None: what the client was made with.
    asking: the node of a cluster is still being given the slot.
    """

    direct: bool
    unknown_script: bool = False
    timeout_s: float | None = None
    asking: bool = False


def exchange(client: Any, request: Request, how: How) -> Any:
    """The answer to `request`. Errors are redis-py's own, or `Unconfirmed`."""
    if _through_client(request, how):
        return through_client(client, request, unknown_script=how.unknown_script)
    pool = client.connection_pool
    connection = pool.get_connection()
    timeout = {} if how.timeout_s is None else {"timeout": how.timeout_s}
    answers = Answers(request, how)
    try:
        connection.send_packed_command(packed(request, how))
        while answers.left:
            try:
                answers.take(connection.read_response(**timeout))
            except ResponseError as error:
                answers.take(error)
        return answers.understood(client)
    except BaseException:
        if answers.left:
            connection.disconnect()
        raise
    finally:
        pool.release(connection)


async def aexchange(client: Any, request: Request, how: How) -> Any:
    """As `exchange`."""
    if _through_client(request, how):
        return await through_client(client, request, unknown_script=how.unknown_script)
    pool = client.connection_pool
    connection = await pool.get_connection()
    answers = Answers(request, how)
    try:
        await connection.send_packed_command(packed(request, how))
        while answers.left:
            try:
                answers.take(await _read(connection, how.timeout_s))
            except ResponseError as error:
                answers.take(error)
        return answers.understood(client)
    except BaseException:
        if answers.left:
            await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def _read(connection: Any, timeout_s: float | None) -> Any:
    if timeout_s is None:
        return await connection.read_response()
    try:
        async with asyncio.timeout(timeout_s):
            return await connection.read_response()
    except TimeoutError:  # Python's; redis-py has one of its own
        raise exceptions.TimeoutError(
            f"Timeout reading from {connection.host}:{connection.port}"
        ) from None


class Answers:
    """The answers to what `packed` sends. As long as some are left, the connection is not fit for
    another request: they would be taken for the answers to that."""

    def __init__(self, request: Request, how: How) -> None:
        self._request = request
        asks = int(how.asking)
        self._before = asks
        self._step = asks + 1
        count = len(request.commands) if isinstance(request, Pipeline) else 1
        count += 0 if request.confirm is None else len(request.confirm.commands)
        self.left = count * self._step
        self._taken: list[Any] = []

    def take(self, answer: Any) -> None:
        """The next of them. An error of a confirmation is an answer.

        Raises:
            ResponseError: it is the server's answer to the request itself.
        """
        at = len(self._taken)
        self._taken.append(answer)
        self.left -= 1
        if isinstance(answer, ResponseError) and (
            self._request.confirm is None or at <= self._before
        ):
            raise answer

    def understood(self, client: Any) -> Any:
        """What the request has come to.

        Raises:
            Unconfirmed: it was made, and not as safe as asked.
        """
        request, told = self._request, self._taken[self._before :: self._step]
        if isinstance(request, Pipeline):
            return told
        if request.confirm is not None and (fault := request.confirm.fault(told[0], told[1:])):
            raise Unconfirmed(fault)
        if isinstance(request, Command) and request.args[0] in client.response_callbacks:
            try:
                return client.response_callbacks[request.args[0]](told[0])
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise exceptions.InvalidResponse(
                    f"{request.args[0]!s} was answered by nonsense; is it a Redis server?"
                ) from error
        return told[0]


def keeps_cancellations(connection_class: type[Any]) -> type[Any]:
    """redis-py's class of asyncio connections, without its way of losing a cancellation.

    It sends by `asyncio.wait_for`, which on Python 3.11 forgets that it was cancelled when what it
    waits for is done at that moment; the call would then go on for as long as the server is silent.
    """

    class KeepsCancellations(connection_class):  # type: ignore[misc]
        async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
            task = asyncio.current_task()
            before = task.cancelling() if task else 0
            await super().send_packed_command(*args, **kwargs)
            if task and task.cancelling() > before:
                await self.disconnect(nowait=True)
                raise asyncio.CancelledError

    return KeepsCancellations


def packed(request: Request, how: How) -> Iterator[bytes]:
    """The request in the server's protocol, in parts: large arguments are made one at a time."""
    ask = _ASKING if how.asking else b""
    if ask:
        yield ask
    yield from _packed(request, how.unknown_script)
    if request.confirm is not None:
        yield b"".join(ask + pack(command) for command in request.confirm.commands)


def _packed(request: Request, unknown_script: bool) -> Iterator[bytes]:
    assert not isinstance(request, Scan), "a scan is many requests"
    if isinstance(request, Pipeline):
        yield b"".join([pack(command) for command in request.commands])
        return
    if isinstance(request, (Command, Plain)):
        yield pack((*str(request.args[0]).split(), *request.args[1:]))
        return
    head = request.head(unknown_script=unknown_script)
    first = pack(head)
    rest = first[first.index(b"\n") + 1 :]
    parts = [b"*%d\r\n" % (len(head) + len(request.arguments)), rest]
    size = len(rest)
    for argument in request.arguments:
        parts += (b"$%d\r\n" % len(argument), argument, b"\r\n")
        size += len(argument)
        if size >= PART_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _through_client(request: Request, how: How) -> bool:
    if isinstance(request, Scan):
        return True
    return not how.direct and not how.asking and request.confirm is None


def through_client(client: Any, request: Request, *, unknown_script: bool = False) -> Any:
    """The answer, or an awaitable of it, as redis-py gives it."""
    if isinstance(request, Pipeline):
        pipeline = client.pipeline(transaction=False)
        for command in request.commands:
            pipeline.execute_command(*_named(command))
        return pipeline.execute()
    if isinstance(request, Scan):
        found = client.scan_iter(match=request.pattern, count=SCAN_COUNT)
        return _gathered(found) if hasattr(found, "__anext__") else set(found)
    if isinstance(request, (Command, Plain)):
        return client.execute_command(*_named(request.args))
    head = request.head(unknown_script=unknown_script)
    return client.execute_command(*_named(head), *request.arguments)


def _named(arguments: Sequence[Any]) -> list[Any]:
    """As `as_stored`; redis-py looks for the command's name, which is text."""
    return [arguments[0], *as_stored(arguments[1:])]


async def _gathered(found: AsyncIterator[bytes]) -> set[bytes]:
    return {key async for key in found}
