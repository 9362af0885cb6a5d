"""Ctrl-C at any moment of a call: the client goes on as if nothing had been."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from fix_redis import RedisServer
from fix_stores import entry, path_of
from interrupts import interrupted_at_steps

from gigapi_metadata import RedisIndex
from gigapi_metadata.stores.redis import connection, packing, pool, url

ONE = "?max_connections=1&durability=local"


@pytest.mark.parametrize("way", ["direct", "by turns"])
def test_no_connection_is_lost(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(url, "POOL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(connection, "POOL_TIMEOUT_S", 0.5)
    with RedisIndex(redis_server.url() + ONE, "db", "t") as index:
        index.batch([entry(1)])
        index.connection._failover = way == "by turns"
        places = 0
        for where in interrupted_at_steps(
            lambda: index.get(path_of(1)), "stores/redis/", "/redis/connection.py", "/redis/client"
        ):
            found = index.get(path_of(1))
            assert found is not None, where
            places += 1
        assert places > 50


def test_a_signal_that_raises_while_a_command_is_packed() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupted

    def pack_until_interrupted() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
        while True:
            packing.Packer().pack("EVALSHA", *range(50))

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(300):
            with pytest.raises(Interrupted):
                pack_until_interrupted()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("given", "packed"),
    [
        (("SELECT", 3), b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"),
        (("CONFIG GET", b"\xff"), b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$1\r\n\xff\r\n"),
        ((b"SET", "a", memoryview(b"b")), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"),
        (("EXPIRE", "a", 1.5), b"*3\r\n$6\r\nEXPIRE\r\n$1\r\na\r\n$3\r\n1.5\r\n"),
    ],
)
def test_what_redis_py_sends(given: tuple[Any, ...], packed: bytes) -> None:
    assert packing.Packer().pack(*given) == [packed]


def test_the_pool_gives_what_was_put_last() -> None:
    stack = pool.Stack(2)
    with pytest.raises(pool.Empty):
        stack.get(timeout=0.01)
    stack.put_nowait(1)
    stack.put_nowait(2)
    with pytest.raises(pool.Full):
        stack.put_nowait(3)
    assert [stack.get(), stack.get()] == [2, 1]
    with pytest.raises(pool.Empty):
        stack.get(block=False)
