"""A request on the wire: sent through redis-py, its answer read.

What nearly all calls consist of, one command whose answer redis-py leaves as it is, goes straight
over a connection of the client's pool. redis-py's way through `execute_command` (retries, metrics,
callbacks) costs 10 µs a call and looks at each argument twice. The sync and the async function
differ by their awaits.
"""

from __future__ import annotations

from typing import Any

import hiredis
from redis.exceptions import ResponseError

from gigapi_metadata.stores.redis.scripts import Call, Command, Pipeline, Plain, Request


def exchange(client: Any, request: Request, *, unknown_script: bool, direct: bool) -> Any:
    """The answer to `request`.

    direct: the client has one pool and speaks RESP2. Errors are redis-py's own.
    """
    if not (direct and isinstance(request, (Call, Plain))):
        return through_client(client, request, unknown_script=unknown_script)
    packed = hiredis.pack_command(request.arguments_for(unknown_script=unknown_script))
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command((packed,))
        return connection.read_response()
    except ResponseError:
        raise
    except BaseException:
        # An answer that comes later must not be taken for that to the next request.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


async def aexchange(client: Any, request: Request, *, unknown_script: bool, direct: bool) -> Any:
    """As `exchange`."""
    if not (direct and isinstance(request, (Call, Plain))):
        return await through_client(client, request, unknown_script=unknown_script)
    packed = hiredis.pack_command(request.arguments_for(unknown_script=unknown_script))
    pool = client.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command((packed,))
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
    if isinstance(request, Command):
        return client.execute_command(*request.args)
    return client.execute_command(*request.arguments_for(unknown_script=unknown_script))
