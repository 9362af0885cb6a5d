"""A request on the wire: sent through redis-py, its answer read.

What nearly all calls consist of, one command whose answer redis-py leaves as it is, goes straight
over a connection of the client's pool. redis-py's way through `execute_command` (retries, metrics,
callbacks) costs 10 µs a call and looks at each argument twice. The sync and the async function
differ by their awaits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hiredis
from redis.exceptions import ResponseError

from gigapi_metadata.stores.redis.scripts import Call, Command, Pipeline, Plain, Request

PART_BYTES = 65536
"""How much of a request is gathered before it is sent."""


def exchange(client: Any, request: Request, *, unknown_script: bool, direct: bool) -> Any:
    """The answer to `request`.

    direct: the client has one pool and speaks RESP2. Errors are redis-py's own.
    """
    if not (direct and isinstance(request, (Call, Plain))):
        return through_client(client, request, unknown_script=unknown_script)
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command(packed(request, unknown_script))
        return connection.read_response()
    except ResponseError:
        raise
    except BaseException:
        # An answer that comes later must not be taken for that to the next request.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def packed(request: Call | Plain, unknown_script: bool) -> Iterator[bytes]:
    """The request in the server's protocol, in parts: large arguments are made one at a time."""
    if isinstance(request, Plain):
        plain: tuple[Any, ...] = tuple(request.args)
        yield hiredis.pack_command(plain)
        return
    head = request.head(unknown_script=unknown_script)
    first = hiredis.pack_command(head)
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


async def aexchange(client: Any, request: Request, *, unknown_script: bool, direct: bool) -> Any:
    """As `exchange`."""
    if not (direct and isinstance(request, (Call, Plain))):
        return await through_client(client, request, unknown_script=unknown_script)
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(packed(request, unknown_script))
        return await connection.read_response()
    except ResponseError:
        raise
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def through_client(client: Any, request: Request, *, unknown_script: bool) -> Any:
    """The answer, or an awaitable of it, as redis-py gives it."""
    if isinstance(request, Pipeline):
        pipeline = client.pipeline(transaction=False)
        for command in request.commands:
            pipeline.execute_command(*command)
        return pipeline.execute()
    if isinstance(request, (Command, Plain)):
        return client.execute_command(*request.args)
    head = request.head(unknown_script=unknown_script)
    return client.execute_command(*head, *request.arguments)
