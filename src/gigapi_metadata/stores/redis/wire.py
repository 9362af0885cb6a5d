"""A request on the wire: sent through redis-py, its answer read.

Nearly all requests go straight over a connection of the client's pool. redis-py's way through
`execute_command` (retries, metrics, callbacks) costs 10 µs a call and looks at each argument twice,
and the whole of a request has to be there before any of it is sent. The sync and the async function
differ by their awaits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from gigapi_metadata.stores.redis.durability import Confirm, Unconfirmed
from gigapi_metadata.stores.redis.packing import pack
from gigapi_metadata.stores.redis.scripts import (
    SCAN_COUNT,
    Call,
    Command,
    Pipeline,
    Plain,
    Request,
    Scan,
)

PART_BYTES = 65536
"""How much of a request is gathered before it is sent."""


def exchange(client: Any, request: Request, *, unknown_script: bool, direct: bool) -> Any:
    """The answer to `request`.

    direct: the client has one pool and speaks RESP2. Errors are redis-py's own.
    """
    if isinstance(request, Scan) or (
        request.confirm is None and (not direct or isinstance(request, Command))
    ):
        return through_client(client, request, unknown_script=unknown_script)
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command(packed(request, unknown_script))
        if isinstance(request, Pipeline):
            return [connection.read_response() for _ in request.commands]
        answer = connection.read_response()
        if request.confirm is not None:
            answers: list[Any] = []
            for _ in request.confirm.commands:
                try:
                    answers.append(connection.read_response())
                except ResponseError as error:
                    answers.append(error)
            _check(request.confirm, answers)
        return answer
    except BaseException as error:
        if not _is_whole(request, error):
            connection.disconnect()
        raise
    finally:
        pool.release(connection)


async def aexchange(client: Any, request: Request, *, unknown_script: bool, direct: bool) -> Any:
    """As `exchange`."""
    if isinstance(request, Scan) or (
        request.confirm is None and (not direct or isinstance(request, Command))
    ):
        return await through_client(client, request, unknown_script=unknown_script)
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(packed(request, unknown_script))
        if isinstance(request, Pipeline):
            return [await connection.read_response() for _ in request.commands]
        answer = await connection.read_response()
        if request.confirm is not None:
            answers: list[Any] = []
            for _ in request.confirm.commands:
                try:
                    answers.append(await connection.read_response())
                except ResponseError as error:
                    answers.append(error)
            _check(request.confirm, answers)
        return answer
    except BaseException as error:
        if not _is_whole(request, error):
            await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


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


def _check(confirm: Confirm, answers: Sequence[Any]) -> None:
    if fault := confirm.fault(answers):
        raise Unconfirmed(fault)


def _is_whole(request: Request, error: BaseException) -> bool:
    """Whether the server's answer was read to its end: an answer that comes later must not be taken
    for that to the next request."""
    if isinstance(error, Unconfirmed):
        return True
    one = not isinstance(request, Pipeline) and request.confirm is None
    return isinstance(error, ResponseError) and one


def packed(request: Call | Command | Plain | Pipeline, unknown_script: bool) -> Iterator[bytes]:
    """The request in the server's protocol, in parts: large arguments are made one at a time."""
    yield from _packed(request, unknown_script)
    if request.confirm is not None:
        yield _pack_all(request.confirm.commands)


def _packed(request: Call | Command | Plain | Pipeline, unknown_script: bool) -> Iterator[bytes]:
    if isinstance(request, Pipeline):
        yield _pack_all(request.commands)
        return
    if isinstance(request, (Command, Plain)):
        yield pack(request.args)
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


def _pack_all(commands: Sequence[Sequence[Any]]) -> bytes:
    return b"".join([pack(command) for command in commands])


def through_client(client: Any, request: Request, *, unknown_script: bool = False) -> Any:
    """The answer, or an awaitable of it, as redis-py gives it."""
    if isinstance(request, Pipeline):
        pipeline = client.pipeline(transaction=False)
        for command in request.commands:
            pipeline.execute_command(*command)
        return pipeline.execute()
    if isinstance(request, Scan):
        found = client.scan_iter(match=request.pattern, count=SCAN_COUNT)
        return _gathered(found) if hasattr(found, "__anext__") else set(found)
    if isinstance(request, (Command, Plain)):
        return client.execute_command(*request.args)
    head = request.head(unknown_script=unknown_script)
    return client.execute_command(*head, *request.arguments)


async def _gathered(found: AsyncIterator[bytes]) -> set[bytes]:
    return {key async for key in found}
